//! What the guard reads and writes: its probes, and the native controller manager's traces in `kube-system`.

use std::fmt;
use std::future::Future;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::evidence::{ManagerPod, NATIVE_LEASE, NATIVE_NAMESPACE, NATIVE_PODS, Native, Probed};
use crate::api::{self, REQUEST_DEADLINE, within};
use crate::objects::{Deployment, ObjectKey, ReplicaSet, Uid};
use crate::rbac::Rule;

/// Label of the probes, with the controller's name as value; also their selector.
pub const PROBE_LABEL: &str = "steersman.dev/probe";
/// Who writes the probes, in `managedFields`.
const FIELD_MANAGER: &str = "steersman-guard";

/// What the guard may do: probes in the namespace of our lease, the native manager's Lease and pods in `kube-system`.
pub const RBAC: &[Rule] = &[
    Rule {
        api_groups: &["apps"],
        resources: &["deployments", "replicasets"],
        verbs: &["get", "create", "delete"],
    },
    Rule {
        api_groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["get"],
    },
    Rule {
        api_groups: &[""],
        resources: &["pods"],
        verbs: &["list"],
    },
];

/// The API server as the guard needs it. Each call has a deadline of its own.
pub trait Plane: Send + Sync + 'static {
    /// The probe as stored.
    fn probe(&self, native: Native) -> impl Future<Output = Result<Option<Probed>, kube::Error>> + Send;
    /// Makes the probe.
    fn make_probe(&self, native: Native) -> impl Future<Output = Result<Probed, kube::Error>> + Send;
    /// Deletes that probe; one that is gone already counts as deleted.
    fn delete_probe(&self, native: Native, uid: &Uid)
    -> impl Future<Output = Result<(), kube::Error>> + Send;
    /// The native controller manager's Lease.
    fn lease(&self) -> impl Future<Output = Result<Option<LeaseSpec>, kube::Error>> + Send;
    /// The native controller manager's pods.
    fn pods(&self) -> impl Future<Output = Result<Vec<ManagerPod>, kube::Error>> + Send;
}

/// The API server.
#[derive(Clone)]
pub struct KubePlane {
    client: kube::Client,
    namespace: String,
    name: String,
}

impl KubePlane {
    /// Probes of that name in that namespace.
    #[must_use]
    pub fn new(client: kube::Client, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn probes(&self, native: Native) -> Api<DynamicObject> {
        let resource = match native {
            Native::Deployment => ApiResource::erase::<Deployment>(&()),
            Native::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }
}

impl fmt::Debug for KubePlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubePlane")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Key of the probes: both kinds have the same name.
#[must_use]
pub fn probe_key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace, name)
}

/// The probe to create: without pods, paused, and selecting nothing that exists.
#[must_use]
pub fn probe_body(native: Native, name: &str) -> Value {
    let labels = json!({ PROBE_LABEL: native.name() });
    let mut spec = json!({
        "replicas": 0,
        "selector": { "matchLabels": labels },
        "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "probe", "image": "steersman.invalid/probe" }] },
        },
    });
    if native == Native::Deployment
        && let Some(spec) = spec.as_object_mut()
    {
        spec.insert("paused".to_owned(), Value::Bool(true));
    }
    let about =
        "Belongs to steersman: shows whether a native controller is at work. It has no pods; leave it alone.";
    json!({
        "apiVersion": "apps/v1",
        "kind": native.kind(),
        "metadata": { "name": name, "labels": labels, "annotations": { "steersman.dev/about": about } },
        "spec": spec,
    })
}

fn probed(object: &DynamicObject) -> Probed {
    let observed = object
        .data
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    Probed {
        uid: Uid::of(object),
        made: object
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0)
            .unwrap_or_default(),
        touched: observed.unwrap_or_default() > 0,
    }
}

impl Plane for KubePlane {
    async fn probe(&self, native: Native) -> Result<Option<Probed>, kube::Error> {
        let found = within(REQUEST_DEADLINE, self.probes(native).get_opt(&self.name)).await?;
        Ok(found.as_ref().map(probed))
    }

    async fn make_probe(&self, native: Native) -> Result<Probed, kube::Error> {
        let body: DynamicObject =
            serde_json::from_value(probe_body(native, &self.name)).map_err(kube::Error::SerdeError)?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = within(REQUEST_DEADLINE, self.probes(native).create(&params, &body)).await?;
        Ok(probed(&made))
    }

    async fn delete_probe(&self, native: Native, uid: &Uid) -> Result<(), kube::Error> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_string()),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match within(REQUEST_DEADLINE, self.probes(native).delete(&self.name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if api::is_not_found(&error) || api::is_conflict(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn lease(&self) -> Result<Option<LeaseSpec>, kube::Error> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), NATIVE_NAMESPACE);
        let found = within(REQUEST_DEADLINE, api.get_opt(NATIVE_LEASE)).await?;
        Ok(found.map(|lease| lease.spec.unwrap_or_default()))
    }

    async fn pods(&self) -> Result<Vec<ManagerPod>, kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NATIVE_NAMESPACE);
        let params = ListParams::default().labels(NATIVE_PODS);
        let found = within(REQUEST_DEADLINE, api.list(&params)).await?;
        Ok(ManagerPod::of(&found.items))
    }
}
