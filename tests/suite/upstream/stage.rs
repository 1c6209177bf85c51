//! A namespace to play a scenario in, and what scenarios do there.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::history::History;
use crate::cluster::{Cluster, STEERSMAN};

/// A condition that a cluster under load reaches in a second or two.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(40);

/// A client of the cluster.
pub(super) async fn client(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// A namespace of its own on a cluster with our controllers.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) client: Client,
    pub(super) namespace: String,
    kubeconfig: PathBuf,
}

impl Stage {
    pub(super) async fn new(client: Client, kubeconfig: PathBuf, scenario: &str) -> Self {
        let namespace: String = scenario.replace('_', "-").chars().take(50).collect();
        let namespace = namespace.trim_end_matches('-').to_owned();
        let stage = Self {
            client,
            namespace,
            kubeconfig,
        };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.namespace}});
        stage
            .send("POST", "/api/v1/namespaces", "application/json", &body)
            .await
            .unwrap();
        stage
    }

    /// `deployments/web`, `pods?labelSelector=…` and the like, in this namespace.
    fn path(&self, what: &str) -> String {
        let plural = what.split(['/', '?']).next().unwrap_or_default();
        let group = match plural {
            "deployments" | "replicasets" => "/apis/apps/v1",
            _ => "/api/v1",
        };
        format!("{group}/namespaces/{}/{what}", self.namespace)
    }

    async fn send(&self, method: &str, path: &str, content: &str, body: &Value) -> kube::Result<Value> {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content)
            .body(bytes)
            .unwrap();
        self.client.request(request).await
    }

    pub(super) async fn try_get(&self, what: &str) -> Option<Value> {
        match self
            .send("GET", &self.path(what), "application/json", &Value::Null)
            .await
        {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.is_not_found() => None,
            Err(error) => panic!("get {what}: {error}"),
        }
    }

    pub(super) async fn get(&self, what: &str) -> Value {
        self.try_get(what)
            .await
            .unwrap_or_else(|| panic!("{what} does not exist"))
    }

    /// All objects of a kind, or those that a query selects.
    pub(super) async fn list(&self, what: &str) -> Vec<Value> {
        self.get(what).await["items"].as_array().unwrap().clone()
    }

    pub(super) async fn create(&self, plural: &str, object: &Value) -> Value {
        let created = self
            .send("POST", &self.path(plural), "application/json", object)
            .await;
        created.unwrap_or_else(|error| panic!("create {plural}: {error}"))
    }

    /// Whether the API server forbids to create that.
    pub(super) async fn is_refused(&self, plural: &str, object: &Value) -> bool {
        let created = self
            .send("POST", &self.path(plural), "application/json", object)
            .await;
        matches!(created, Err(kube::Error::Api(status)) if status.is_forbidden())
    }

    /// Merge patch; `what` may end in a subresource.
    pub(super) async fn patch(&self, what: &str, patch: &Value) -> Value {
        let patched = self
            .send("PATCH", &self.path(what), "application/merge-patch+json", patch)
            .await;
        patched.unwrap_or_else(|error| panic!("patch {what}: {error}"))
    }

    /// Reads, changes and puts back until nobody wrote in between.
    pub(super) async fn replace(&self, what: &str, change: impl Fn(&mut Value)) -> Value {
        loop {
            let mut object = self.get(what).await;
            change(&mut object);
            match self
                .send("PUT", &self.path(what), "application/json", &object)
                .await
            {
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                other => return other.unwrap_or_else(|error| panic!("replace {what}: {error}")),
            }
        }
    }

    /// `Background`, `Foreground` or `Orphan`; a collection if `what` names no object.
    pub(super) async fn delete(&self, what: &str, propagation: &str) {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation});
        let deleted = self
            .send("DELETE", &self.path(what), "application/json", &options)
            .await;
        match deleted {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => panic!("delete {what}: {error}"),
        }
    }

    /// Looks until there is something to see.
    pub(super) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let looked = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(seen) = look().await {
                    return seen;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        let Ok(seen) = looked.await else {
            panic!("{}: not in time: {what}\n{}", self.namespace, self.state().await)
        };
        seen
    }

    /// [`Self::until`] an object satisfies a condition.
    pub(super) async fn object(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.until(what, async || {
            self.try_get(what).await.filter(|object| is_so(object))
        })
        .await
    }

    /// [`Self::until`] a Deployment is complete (DEP-75).
    pub(super) async fn complete(&self, name: &str) -> Value {
        self.object(&format!("deployments/{name}"), is_complete).await
    }

    async fn state(&self) -> String {
        let mut lines = Vec::new();
        for plural in ["deployments", "replicasets", "pods"] {
            for it in self.list(plural).await {
                let (name, size) = (name(&it), &it["spec"]["replicas"]);
                lines.push(format!("{plural} {name} {size} {}", it["status"]));
            }
        }
        lines.join("\n")
    }

    /// From now on every version of every Deployment, ReplicaSet and pod of this namespace is kept.
    pub(super) async fn record(&self) -> History {
        History::start(self).await
    }

    /// kubectl in this namespace: whether it succeeded, and what it printed.
    pub(super) async fn try_kubectl(&self, args: &[&str]) -> (bool, String) {
        let flags = ["-n", &self.namespace];
        self.program("kubectl", &[args, &flags].concat()).await
    }

    pub(super) async fn kubectl(&self, args: &[&str]) -> String {
        let (success, output) = self.try_kubectl(args).await;
        assert!(success, "kubectl {args:?}: {output}");
        output
    }

    /// Our own binary with the same kubeconfig.
    pub(super) async fn steersman(&self, args: &[&str]) -> (bool, String) {
        self.program(STEERSMAN, args).await
    }

    async fn program(&self, program: &str, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.kubeconfig.parent().unwrap())
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }
}

/// A template with label `app: APP` and one container of that image, which stops as soon as it is asked to.
pub(super) fn template(app: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": image}]},
    })
}

pub(super) fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, image)},
    })
}

/// A ReplicaSet with label `pod: NAME` beside `app: APP`, as one made by hand has it.
pub(super) fn replica_set(name: &str, app: &str, replicas: u32, image: &str) -> Value {
    let mut template = template(app, image);
    template["metadata"]["labels"]["pod"] = json!(name);
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "labels": {"app": app, "pod": name}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": app, "pod": name}}, "template": template},
    })
}

pub(super) fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}})
}

pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(super) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(super) fn revision(object: &Value) -> &str {
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
        .as_str()
        .unwrap_or_default()
}

/// Uid of the controller; empty for orphans.
pub(super) fn controller(object: &Value) -> &str {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let mut controllers = owners.into_iter().flatten().filter(|it| it["controller"] == true);
    controllers.next().map_or("", |it| text(it, "/uid"))
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = object["status"]["conditions"].as_array()?;
    all.iter().find(|it| it["type"] == kind)
}

pub(super) fn reason<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition(object, kind).map_or("", |it| text(it, "/reason"))
}

pub(super) fn is_observed(object: &Value) -> bool {
    count(object, "/status/observedGeneration") >= count(object, "/metadata/generation")
}

/// DEP-75, from the stored status.
pub(super) fn is_complete(deployment: &Value) -> bool {
    let wanted = count(deployment, "/spec/replicas");
    is_observed(deployment)
        && ["updatedReplicas", "replicas", "availableReplicas"]
            .iter()
            .all(|field| count(deployment, &format!("/status/{field}")) == wanted)
        && reason(deployment, "Progressing") == "NewReplicaSetAvailable"
}

/// Neither finished nor being deleted (RS-21).
pub(super) fn is_active(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null() && !is_finished(pod)
}

pub(super) fn is_finished(pod: &Value) -> bool {
    ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

pub(super) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|it| it["status"] == "True")
}
