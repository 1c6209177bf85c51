use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use crate::support::server;

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])),
        ..ConfigMap::default()
    }
}

#[tokio::test(start_paused = true)]
async fn api_631_a_kube_client_without_a_network() {
    let api: Api<ConfigMap> = Api::default_namespaced(server().client());
    let created = api
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    assert_eq!(created.namespace().as_deref(), Some("default"));
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap()["k"], "2");
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn api_630_a_watcher_lists_and_follows() {
    let server = server();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    api.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut objects = watcher(api.clone(), config).applied_objects().boxed();
        assert_eq!(objects.try_next().await.unwrap().unwrap().name_any(), "a");
        api.create(&PostParams::default(), &config_map("b"))
            .await
            .unwrap();
        assert_eq!(objects.try_next().await.unwrap().unwrap().name_any(), "b");
        api.delete("b", &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn api_630_a_watcher_survives_compaction() {
    let server = server();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client());
    let mut events = watcher(api.clone(), watcher::Config::default())
        .default_backoff()
        .boxed();
    while !matches!(events.next().await.unwrap(), Ok(watcher::Event::InitDone)) {}
    api.create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    server.compact();
    let found = async {
        loop {
            if let Some(Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object))) =
                events.next().await
            {
                return object.name_any();
            }
        }
    };
    assert_eq!(found.await, "a");
}

#[tokio::test(start_paused = true)]
async fn api_634_discovery_finds_what_is_served() {
    let client = server().client();
    let discovery = kube::Discovery::new(client.clone()).run().await.unwrap();
    assert!(discovery.has_group("apps"));
    let namespaces: Api<Namespace> = Api::all(client);
    let names: Vec<String> = namespaces
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(
        names,
        ["default", "kube-node-lease", "kube-public", "kube-system"]
    );
}
