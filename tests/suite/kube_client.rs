//! kube-rs over the network: what operators and the controllers of this tree rest on (API-630 to API-634).

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, EvictParams, ListParams, LogParams, Patch, PatchParams,
    PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::{Discovery, verbs};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config, Error, ResourceExt as _};
use serde_json::json;

use crate::cluster::Cluster;

macro_rules! on_both {
    ($($name:ident)*) => {
        mod sandbox {
            $(#[test] fn $name() { super::$name(&crate::cluster::Cluster::sandbox(1)); })*
        }
        mod real_api_server {
            $(#[test] fn $name() {
                if let Some(cluster) = crate::cluster::Cluster::real(1) { super::$name(&cluster); }
            })*
        }
    };
}

on_both! {
    api_630_watchers_list_and_stream
    api_634_apply_scale_evict_and_log
    api_634_discovery_names_what_can_be_listed
}

/// Runs `scenario` with a client of the cluster, for two minutes at most.
fn with_client<F: Future<Output = ()>>(cluster: &Cluster, scenario: impl FnOnce(Client) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
        let context = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &context)
            .await
            .unwrap();
        let client = Client::try_from(config).unwrap();
        tokio::time::timeout(Duration::from_mins(2), scenario(client))
            .await
            .unwrap();
    });
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).unwrap()
}

/// What the server says is wrong.
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result.unwrap_err() {
        Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("{other}"),
    }
}

fn api_634_discovery_names_what_can_be_listed(cluster: &Cluster) {
    with_client(cluster, |client| async move {
        let plain = Discovery::new(client.clone()).run().await.unwrap();
        let aggregated = Discovery::new(client.clone()).run_aggregated().await.unwrap();
        let names = |discovery: &Discovery| -> Vec<(String, bool)> {
            let resources = discovery
                .groups()
                .flat_map(kube::discovery::ApiGroup::recommended_resources);
            let mut names: Vec<_> = resources
                .map(|(resource, capabilities)| {
                    let listed = capabilities.supports_operation(verbs::LIST);
                    (format!("{}.{}", resource.plural, resource.api_version), listed)
                })
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&plain), names(&aggregated));
        assert!(names(&plain).contains(&("deployments.apps/v1".to_owned(), true)));
        for (resource, capabilities) in plain
            .groups()
            .flat_map(kube::discovery::ApiGroup::recommended_resources)
        {
            if capabilities.supports_operation(verbs::LIST) {
                let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
                let list = api.list(&ListParams::default().limit(3)).await;
                assert!(list.is_ok(), "{}: {list:?}", resource.plural);
            }
        }
    });
}

fn api_630_watchers_list_and_stream(cluster: &Cluster) {
    with_client(cluster, |client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        let labelled = |name: &str| {
            let mut object = config_map(name);
            object.labels_mut().insert("watched".to_owned(), "yes".to_owned());
            object
        };
        for name in ["a", "b", "c"] {
            api.create(&PostParams::default(), &labelled(name)).await.unwrap();
        }
        let watched = watcher::Config::default().labels("watched");
        for config in [watched.clone().page_size(2), watched.streaming_lists()] {
            let mut events = watcher(api.clone(), config).boxed();
            let mut names = Vec::new();
            loop {
                match events.try_next().await.unwrap().unwrap() {
                    Event::Init => {}
                    Event::InitApply(object) => names.push(object.name_any()),
                    Event::InitDone => break,
                    other => panic!("{other:?}"),
                }
            }
            names.sort();
            assert_eq!(names, ["a", "b", "c"]);
            api.create(&PostParams::default(), &config_map("unseen"))
                .await
                .unwrap();
            api.create(&PostParams::default(), &labelled("d")).await.unwrap();
            // An object that stops to match is gone for who watches.
            let hide = Patch::Merge(json!({"metadata": {"labels": {"watched": null}}}));
            api.patch("d", &PatchParams::default(), &hide).await.unwrap();
            let mut changes = Vec::new();
            while changes.len() < 2 {
                changes.push(match events.try_next().await.unwrap().unwrap() {
                    Event::Apply(object) => format!("+{}", object.name_any()),
                    Event::Delete(object) => format!("-{}", object.name_any()),
                    other => panic!("{other:?}"),
                });
            }
            assert_eq!(changes, ["+d", "-d"]);
            for name in ["d", "unseen"] {
                api.delete(name, &DeleteParams::default()).await.unwrap();
            }
        }
    });
}

fn api_634_apply_scale_evict_and_log(cluster: &Cluster) {
    let has_kubelets = !cluster.is_real;
    with_client(cluster, |client| async move {
        let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]},
                },
            },
        });
        let apply = PatchParams::apply("first");
        let created = deployments
            .patch("web", &apply, &Patch::Apply(&web))
            .await
            .unwrap();
        let again = deployments
            .patch("web", &apply, &Patch::Apply(&web))
            .await
            .unwrap();
        assert_eq!(created.resource_version(), again.resource_version());
        let replicas = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}});
        let second = PatchParams::apply("second");
        let refused = deployments.patch("web", &second, &Patch::Apply(&replicas)).await;
        assert_eq!(refusal(refused), (409, "Conflict".to_owned()));
        let forced = second.force();
        let changed = deployments
            .patch("web", &forced, &Patch::Apply(&replicas))
            .await
            .unwrap();
        let managers: Vec<String> = changed
            .managed_fields()
            .iter()
            .filter_map(|it| it.manager.clone())
            .collect();
        assert_eq!(managers, ["first", "second"]);

        assert_eq!(
            deployments.get_scale("web").await.unwrap().spec.unwrap().replicas,
            Some(3)
        );
        let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
        deployments
            .patch_scale("web", &PatchParams::default(), &five)
            .await
            .unwrap();
        assert_eq!(
            deployments.get("web").await.unwrap().spec.unwrap().replicas,
            Some(5)
        );
        let status = Patch::Merge(json!({"status": {"replicas": 1}}));
        let patched = deployments
            .patch_status("web", &PatchParams::default(), &status)
            .await
            .unwrap();
        assert_eq!(patched.status.unwrap().replicas, Some(1));

        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "automountServiceAccountToken": false,
                "nodeName": "node-1",
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "example.com/p:1"}],
            },
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
            .await
            .unwrap();
        let running = kube::runtime::wait::await_condition(
            pods.clone(),
            "p",
            kube::runtime::wait::conditions::is_pod_running(),
        );
        running.await.unwrap();
        if has_kubelets {
            pods.logs("p", &LogParams::default()).await.unwrap();
        }
        assert_eq!(refusal(pods.logs("none", &LogParams::default()).await).0, 404);
        pods.evict("p", &EvictParams::default()).await.unwrap();
        let gone = kube::runtime::wait::await_condition(pods.clone(), "p", |pod: Option<&Pod>| pod.is_none());
        gone.await.unwrap();
        assert_eq!(refusal(pods.evict("p", &EvictParams::default()).await).0, 404);

        let resource = ApiResource::erase::<ConfigMap>(&());
        let dynamic: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made"}, "data": {"a": "b"}});
        let made = dynamic
            .patch("made", &PatchParams::apply("first"), &Patch::Apply(object))
            .await
            .unwrap();
        assert_eq!(made.data["data"], json!({"a": "b"}));
    });
}
