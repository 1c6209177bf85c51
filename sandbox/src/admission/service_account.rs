//! `ServiceAccount`: every pod runs as an account of its namespace and gets its token (API-501). Needs the accounts
//! that housekeeping makes, hence the switch [`Config::service_account_admission`](crate::Config).

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    json::{self, is_blank},
    status::Failure,
    store::{Key, TableName},
    verbs::Call,
};

const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const VOLUME: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds that the mounted token is asked for: an hour and a bit, by which the server knows such tokens.
const TOKEN_LIFE: i64 = 3607;
/// How long a pod waits for the account `default` of a namespace that has just been made.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits until the namespace of a new pod has its default account, which a controller makes.
pub(crate) async fn wait_for_default(call: &Call<'_>) {
    if !call.core.config.service_account_admission || !call.kind.is_core("Pod") {
        return;
    }
    let table: TableName = "serviceaccounts".into();
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    let key = Key::new(namespace, DEFAULT);
    let there = || call.core.store.get(&table, &key).is_some();
    let known = call
        .core
        .store
        .get(&"namespaces".into(), &Key::new("", namespace))
        .is_some();
    if there() || !known {
        return;
    }
    let sent = serde_json::from_slice(&call.body).unwrap_or(Value::Null);
    if !matches!(account_name(&sent), "" | DEFAULT) {
        return;
    }
    let mut changes = call.core.store.subscribe(&table);
    // Not there after that time: admission says so.
    let _ = tokio::time::timeout(PATIENCE, async {
        while !there() && changes.changed().await.is_ok() {}
    })
    .await;
}

fn account_name(pod: &Value) -> &str {
    json::text(pod, &["spec", "serviceAccountName"])
}

/// Gives a new pod its account, or refuses it.
pub(super) fn admit(call: &Call<'_>, pod: &mut Value) -> Result<(), Failure> {
    if !call.core.config.service_account_admission {
        return Ok(());
    }
    let pod_name = json::text(pod, &["metadata", "name"]).to_owned();
    let forbidden = |cause: String| Failure::forbidden(&call.kind.resource, &pod_name, cause);
    if !is_blank(json::at(pod, &["metadata", "annotations", MIRROR])) {
        return check_mirror(pod).map_err(|cause| forbidden(cause.to_owned()));
    }
    if account_name(pod).is_empty() {
        json::set(pod, &["spec"], "serviceAccountName", DEFAULT);
    }
    let name = account_name(pod).to_owned();
    json::set(pod, &["spec"], "serviceAccount", name.as_str());
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    let stored = call
        .core
        .store
        .get(&"serviceaccounts".into(), &Key::new(namespace, &name));
    let Some(account) = stored.map(|stored| stored.parse()) else {
        return Err(forbidden(format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        )));
    };
    let member = "automountServiceAccountToken";
    let wish = json::at(pod, &["spec", member]).or_else(|| account.get(member));
    if wish.and_then(Value::as_bool).unwrap_or(true) {
        mount_token(call, pod);
    }
    if json::list(pod, &["spec", "imagePullSecrets"]).is_empty() {
        let secrets = json::list(&account, &["imagePullSecrets"]);
        if !secrets.is_empty() {
            json::set(pod, &["spec"], "imagePullSecrets", secrets.to_vec());
        }
    }
    let enforced = matches!(
        json::text(&account, &["metadata", "annotations", ENFORCE_SECRETS]),
        "1" | "t" | "T" | "true" | "TRUE" | "True"
    );
    if enforced {
        check_secrets(pod, &account, &name).map_err(forbidden)?;
    }
    Ok(())
}

/// A pod that a kubelet reports from its own files has no account.
fn check_mirror(pod: &Value) -> Result<(), &'static str> {
    if !account_name(pod).is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if !secrets_of(pod).is_empty() || !json::list(pod, &["spec", "imagePullSecrets"]).is_empty() {
        return Err("a mirror pod may not reference secrets");
    }
    let projects_token = json::list(pod, &["spec", "volumes"])
        .iter()
        .flat_map(|volume| json::list(volume, &["projected", "sources"]))
        .any(|source| source.get("serviceAccountToken").is_some());
    if projects_token {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

fn mount_token(call: &Call<'_>, pod: &mut Value) {
    let own = json::list(pod, &["spec", "volumes"])
        .iter()
        .map(|volume| json::text(volume, &["name"]))
        .find(|name| name.starts_with(VOLUME))
        .map(str::to_owned);
    let is_there = own.is_some();
    let volume = own.unwrap_or_else(|| call.core.generated_name(VOLUME));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = pod
            .pointer_mut(&format!("/spec/{list}"))
            .and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut mounts = json::list(container, &["volumeMounts"]).to_vec();
            if mounts
                .iter()
                .any(|mount| json::text(mount, &["mountPath"]) == MOUNT_PATH)
            {
                continue;
            }
            needed = true;
            mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
            json::set(container, &[], "volumeMounts", mounts);
        }
    }
    if is_there || !needed {
        return;
    }
    let mut volumes = json::list(pod, &["spec", "volumes"]).to_vec();
    let namespace = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    volumes.push(
        json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFE, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
        ]}}),
    );
    json::set(pod, &["spec"], "volumes", volumes);
}

/// The secrets that a pod reads, each with the words for a refusal.
fn secrets_of(pod: &Value) -> Vec<(String, String)> {
    let mut secrets = Vec::new();
    for volume in json::list(pod, &["spec", "volumes"]) {
        let name = json::text(volume, &["secret", "secretName"]);
        if !name.is_empty() {
            secrets.push((name.to_owned(), "volume with".to_owned()));
        }
    }
    for (list, what) in [("initContainers", "init container"), ("containers", "container")] {
        for container in json::list(pod, &["spec", list]) {
            let container_name = json::text(container, &["name"]);
            for variable in json::list(container, &["env"]) {
                let secret = json::text(variable, &["valueFrom", "secretKeyRef", "name"]);
                if !secret.is_empty() {
                    let name = json::text(variable, &["name"]);
                    let words = format!("{what} {container_name} with envVar {name} referencing");
                    secrets.push((secret.to_owned(), words));
                }
            }
            for source in json::list(container, &["envFrom"]) {
                let secret = json::text(source, &["secretRef", "name"]);
                if !secret.is_empty() {
                    let words = format!("{what} {container_name} with envFrom referencing");
                    secrets.push((secret.to_owned(), words));
                }
            }
        }
    }
    secrets
}

/// Accounts that say so give their pods no other secrets than they list.
fn check_secrets(pod: &Value, account: &Value, name: &str) -> Result<(), String> {
    let lists = |member: &str, wanted: &str| {
        json::list(account, &[member])
            .iter()
            .any(|reference| json::text(reference, &["name"]) == wanted)
    };
    for (secret, words) in secrets_of(pod) {
        if !lists("secrets", &secret) {
            return Err(format!(
                "{words} secret.secretName=\"{secret}\" is not allowed because service account {name} does not \
                 reference that secret"
            ));
        }
    }
    for (index, reference) in json::list(pod, &["spec", "imagePullSecrets"]).iter().enumerate() {
        let secret = json::text(reference, &["name"]);
        if !lists("imagePullSecrets", secret) {
            return Err(format!(
                "imagePullSecrets[{index}].name=\"{secret}\" is not allowed because service account {name} does not \
                 reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}
