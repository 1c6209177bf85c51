//! What every cluster has from its first moment (API-178, API-503).

use std::sync::{Arc, PoisonError};

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use crate::{
    apply::SERVER,
    auth::{default_policy, rbac},
    server::{Core, Error, Result},
    store::Key,
    verbs::{Call, FieldValidation, WriteOptions, create::create_object},
};

const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

/// Creates what is missing, through the same path as requests.
pub(crate) fn create_missing(core: &Arc<Core>) -> Result<()> {
    for name in NAMESPACES {
        ensure(core, "", "namespaces", None, json!({"metadata": {"name": name}}))?;
    }
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "For system pods that the cluster needs and that may move to another node.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "For system pods that must not be moved from their node.",
        ),
    ] {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description});
        ensure(core, "scheduling.k8s.io", "priorityclasses", None, class)?;
    }
    let address = core
        .addresses
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .first();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "clusterIP": address, "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    });
    ensure(core, "", "services", Some("default"), service)?;
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    });
    ensure(core, "discovery.k8s.io", "endpointslices", Some("default"), slice)?;
    // How other servers authenticate the callers of this one; there is no certificate authority that could vouch for
    // them, so that they ask it for reviews of tokens.
    let authentication = json!({"metadata": {"name": "extension-apiserver-authentication"}});
    ensure(core, "", "configmaps", Some("kube-system"), authentication)?;
    for entry in default_policy::entries() {
        let namespace = Some(entry.namespace).filter(|namespace| !namespace.is_empty());
        ensure(core, rbac::GROUP, entry.resource, namespace, entry.object)?;
    }
    Ok(())
}

/// Headers of what the server does itself.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(SERVER));
    headers
}

fn ensure(
    core: &Arc<Core>,
    group: &str,
    resource: &str,
    namespace: Option<&str>,
    object: Value,
) -> Result<()> {
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let failed = |message: String| Error::Bootstrap {
        object: format!("{resource} {name}"),
        message,
    };
    let kinds = core.registry.kinds();
    let kind = kinds
        .get(group, "v1", resource)
        .ok_or_else(|| failed("not served".to_owned()))?;
    if core
        .store
        .get(&kind.table, &Key::new(namespace.unwrap_or_default(), &name))
        .is_some()
    {
        return Ok(());
    }
    let headers = headers();
    let mut call = Call::of_server(core, kind, namespace, &headers);
    let options = WriteOptions {
        dry_run: false,
        field_validation: FieldValidation::Ignore,
    };
    create_object(&mut call, object, options, None)
        .map(|_| ())
        .map_err(|failure| failed(failure.message))
}
