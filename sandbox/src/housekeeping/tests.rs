use kube::api::{DeleteParams, Patch, PatchParams};
use rstest::rstest;
use serde_json::{Value, json};

use super::testing::{Cluster, named, owned_by};
use super::*;
use crate::faults::{FaultLayer, storm};

const MAP: &str = "ConfigMap";
const NS: &str = "default";

fn collected() -> Cluster {
    let mut cluster = Cluster::start();
    let (client, clock, stop) = (
        cluster.client.clone(),
        Arc::clone(&cluster.clock),
        cluster.stop.clone(),
    );
    cluster.spawn(gc::run(client, clock, stop));
    cluster
}

#[tokio::test(start_paused = true)]
async fn api_170_dependents_go_when_their_last_owner_is_gone() {
    let cluster = collected();
    let first = cluster.create(MAP, NS, named("first", &[])).await;
    let second = cluster.create("Secret", NS, named("second", &[])).await;
    cluster
        .create(
            MAP,
            NS,
            named("both", &[owned_by(&first, false), owned_by(&second, false)]),
        )
        .await;
    let child = cluster
        .create(MAP, NS, named("child", &[owned_by(&first, true)]))
        .await;
    cluster
        .create(MAP, NS, named("grandchild", &[owned_by(&child, false)]))
        .await;
    cluster.create(MAP, NS, named("free", &[])).await;
    cluster.pass(2).await;

    cluster.delete(MAP, NS, "first", &DeleteParams::default()).await;
    cluster.until_gone(MAP, NS, "grandchild").await;
    cluster.pass(2).await;
    assert_eq!(cluster.names(MAP, NS).await, ["both", "free"]);
    let both = cluster.get(MAP, NS, "both").await.unwrap();
    assert_eq!(
        both["metadata"]["ownerReferences"],
        json!([owned_by(&second, false)])
    );

    cluster
        .delete("Secret", NS, "second", &DeleteParams::default())
        .await;
    cluster.until_gone(MAP, NS, "both").await;
}

#[tokio::test(start_paused = true)]
async fn api_170_what_is_left_from_before_the_start_is_collected() {
    let mut cluster = Cluster::start();
    let owner = cluster.create(MAP, NS, named("owner", &[])).await;
    cluster
        .create(MAP, NS, named("child", &[owned_by(&owner, false)]))
        .await;
    cluster.create(MAP, NS, named("orphan", &[])).await;
    cluster.delete(MAP, NS, "owner", &DeleteParams::default()).await;
    let (client, clock, stop) = (
        cluster.client.clone(),
        Arc::clone(&cluster.clock),
        cluster.stop.clone(),
    );
    cluster.spawn(gc::run(client, clock, stop));
    cluster.until_gone(MAP, NS, "child").await;
    assert_eq!(cluster.names(MAP, NS).await, ["orphan"]);
}

#[tokio::test(start_paused = true)]
async fn api_171_foreground_owners_wait_for_blocking_dependents() {
    let cluster = collected();
    let owner = cluster.create(MAP, NS, named("owner", &[])).await;
    let child = cluster
        .create(MAP, NS, named("child", &[owned_by(&owner, true)]))
        .await;
    let mut held = named("grandchild", &[owned_by(&child, true)]);
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    cluster.create(MAP, NS, held).await;
    cluster.pass(2).await;

    cluster
        .delete(MAP, NS, "owner", &DeleteParams::foreground())
        .await;
    cluster.pass(10).await;
    for name in ["owner", "child"] {
        let waiting = cluster.get(MAP, NS, name).await.expect(name);
        assert_eq!(
            waiting["metadata"]["finalizers"],
            json!(["foregroundDeletion"]),
            "{name}"
        );
    }
    cluster
        .patch(
            MAP,
            NS,
            "grandchild",
            json!({ "metadata": { "finalizers": null } }),
        )
        .await;
    cluster.until_gone(MAP, NS, "owner").await;
    assert_eq!(cluster.names(MAP, NS).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn api_171_dependents_that_do_not_block_hold_up_nobody() {
    let cluster = collected();
    let owner = cluster.create(MAP, NS, named("owner", &[])).await;
    let mut held = named("child", &[owned_by(&owner, false)]);
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    cluster.create(MAP, NS, held).await;
    cluster.pass(2).await;
    cluster
        .delete(MAP, NS, "owner", &DeleteParams::foreground())
        .await;
    cluster.until_gone(MAP, NS, "owner").await;
    let child = cluster.get(MAP, NS, "child").await.unwrap();
    assert!(child["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test(start_paused = true)]
async fn api_171_owners_of_each_other_do_not_wait_for_ever() {
    let cluster = collected();
    let one = cluster.create(MAP, NS, named("one", &[])).await;
    let other = cluster
        .create(MAP, NS, named("other", &[owned_by(&one, true)]))
        .await;
    cluster
        .patch(
            MAP,
            NS,
            "one",
            json!({ "metadata": { "ownerReferences": [owned_by(&other, true)] } }),
        )
        .await;
    cluster.pass(2).await;
    cluster.delete(MAP, NS, "one", &DeleteParams::foreground()).await;
    cluster.until_gone(MAP, NS, "one").await;
    cluster.until_gone(MAP, NS, "other").await;
}

#[tokio::test(start_paused = true)]
async fn api_172_orphans_stay_without_their_owner() {
    let cluster = collected();
    let owner = cluster.create(MAP, NS, named("owner", &[])).await;
    let other = cluster.create(MAP, NS, named("other", &[])).await;
    cluster
        .create(MAP, NS, named("child", &[owned_by(&owner, true)]))
        .await;
    cluster
        .create(
            MAP,
            NS,
            named("shared", &[owned_by(&owner, true), owned_by(&other, false)]),
        )
        .await;
    cluster.pass(2).await;
    cluster.delete(MAP, NS, "owner", &DeleteParams::orphan()).await;
    cluster.until_gone(MAP, NS, "owner").await;
    cluster.pass(5).await;
    let references = |object: Value| object["metadata"]["ownerReferences"].clone();
    assert_eq!(
        references(cluster.get(MAP, NS, "child").await.unwrap()),
        Value::Null
    );
    assert_eq!(
        references(cluster.get(MAP, NS, "shared").await.unwrap()),
        json!([owned_by(&other, false)])
    );
}

#[tokio::test(start_paused = true)]
async fn api_173_an_owner_in_another_namespace_does_not_count() {
    let cluster = collected();
    cluster.create("Namespace", "", named("elsewhere", &[])).await;
    let owner = cluster.create(MAP, "elsewhere", named("owner", &[])).await;
    let node = cluster.create("Node", "", named("node", &[])).await;
    cluster
        .create(MAP, NS, named("of-node", &[owned_by(&node, false)]))
        .await;
    cluster.pass(2).await;
    cluster
        .create(MAP, NS, named("stranger", &[owned_by(&owner, false)]))
        .await;
    cluster
        .create("Namespace", "", named("unowned", &[owned_by(&owner, false)]))
        .await;
    cluster.until_gone(MAP, NS, "stranger").await;
    cluster
        .until(30, "the namespace is deleted", || async {
            let namespace = cluster.get("Namespace", "", "unowned").await;
            namespace.is_none_or(|namespace| namespace["metadata"]["deletionTimestamp"].is_string())
        })
        .await;
    let events = cluster
        .api("Event", NS)
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let mut found: Vec<String> = Vec::new();
    for event in events.items {
        let event = event.data;
        assert_eq!(
            (&event["reason"], &event["type"]),
            (&json!("OwnerRefInvalidNamespace"), &json!("Warning"))
        );
        found.push(event["involvedObject"]["name"].as_str().unwrap().to_owned());
    }
    found.sort();
    assert_eq!(found, ["stranger", "unowned"]);
    assert_eq!(cluster.names(MAP, NS).await, ["of-node"]);
}

#[tokio::test(start_paused = true)]
async fn api_174_a_recreated_owner_is_another_one() {
    let cluster = collected();
    let owner = cluster.create(MAP, NS, named("owner", &[])).await;
    let mut false_uid = owned_by(&owner, false);
    false_uid["uid"] = json!("00000000-0000-4000-8000-000000000000");
    cluster.create(MAP, NS, named("child", &[false_uid])).await;
    cluster
        .create(MAP, NS, named("kept", &[owned_by(&owner, false)]))
        .await;
    cluster.until_gone(MAP, NS, "child").await;
    assert_eq!(cluster.names(MAP, NS).await, ["kept", "owner"]);
}

#[tokio::test(start_paused = true)]
async fn api_174_an_owner_of_an_unknown_kind_is_not_judged() {
    let cluster = collected();
    let owner = json!({ "apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "u-1" });
    cluster.create(MAP, NS, named("child", &[owner])).await;
    cluster.pass(120).await;
    assert_eq!(cluster.names(MAP, NS).await, ["child"]);
}

fn definition() -> Value {
    json!({ "metadata": { "name": "things.example.com" }, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": { "plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList" },
        "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        } } }],
    } })
}

#[tokio::test(start_paused = true)]
async fn api_170_custom_resources_that_appear_later_own_and_are_owned() {
    let cluster = collected();
    cluster.pass(2).await;
    cluster
        .create(
            "apiextensions.k8s.io/v1 CustomResourceDefinition",
            "",
            definition(),
        )
        .await;
    cluster.pass(2).await;
    let thing = "example.com/v1 Thing";
    let top = cluster
        .create(
            thing,
            NS,
            json!({ "apiVersion": "example.com/v1", "kind": "Thing", "metadata": { "name": "top" } }),
        )
        .await;
    cluster
        .create(MAP, NS, named("map", &[owned_by(&top, false)]))
        .await;
    let mut below = named("below", &[owned_by(&top, false)]);
    below["apiVersion"] = json!("example.com/v1");
    below["kind"] = json!("Thing");
    cluster.create(thing, NS, below).await;
    cluster.pass(2).await;
    cluster.delete(thing, NS, "top", &DeleteParams::default()).await;
    cluster.until_gone(MAP, NS, "map").await;
    cluster.until_gone(thing, NS, "below").await;
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn api_170_to_172_hold_under_faults(#[values(1, 2, 3, 4, 5, 6, 7, 8)] seed: u64) {
    let mut cluster = Cluster::start();
    let layer = FaultLayer::new(seed, storm());
    let client = kube::Client::new(tower::Layer::layer(&layer, cluster.server.service()), NS);
    let (clock, stop) = (Arc::clone(&cluster.clock), cluster.stop.clone());
    cluster.spawn(gc::run(client, clock, stop));
    let keeper = cluster.create(MAP, NS, named("keeper", &[])).await;
    for (index, policy) in [
        DeleteParams::background(),
        DeleteParams::foreground(),
        DeleteParams::orphan(),
    ]
    .iter()
    .enumerate()
    {
        let owner = cluster
            .create(MAP, NS, named(&format!("owner-{index}"), &[]))
            .await;
        for child in 0..5 {
            let name = format!("child-{index}-{child}");
            let child = cluster
                .create(MAP, NS, named(&name, &[owned_by(&owner, true)]))
                .await;
            let owners = [owned_by(&owner, true), owned_by(&keeper, false)];
            cluster
                .create(MAP, NS, named(&format!("kept-{index}-{}", name.len()), &owners))
                .await;
            cluster
                .create(
                    MAP,
                    NS,
                    named(&format!("below-{name}"), &[owned_by(&child, true)]),
                )
                .await;
            cluster
                .delete(
                    MAP,
                    NS,
                    &format!("kept-{index}-{}", name.len()),
                    &DeleteParams::default(),
                )
                .await;
        }
        cluster
            .create(
                MAP,
                NS,
                named(
                    &format!("kept-{index}"),
                    &[owned_by(&owner, true), owned_by(&keeper, false)],
                ),
            )
            .await;
        cluster.pass(seed % 3).await;
        cluster.delete(MAP, NS, &format!("owner-{index}"), policy).await;
    }
    cluster.pass(30).await;
    layer.faults().quiesce();
    let wanted = |name: &String| name.starts_with("kept-") || name == "keeper" || name.contains("child-2-");
    cluster
        .until(600, "only what has owners or was orphaned is left", || async {
            cluster.names(MAP, NS).await.iter().all(&wanted)
        })
        .await;
    cluster.pass(60).await;
    // 3 kept, the keeper, 5 orphans and what they own.
    assert_eq!(cluster.names(MAP, NS).await.len(), 3 + 1 + 10);
    for index in 0..3 {
        let kept = cluster.get(MAP, NS, &format!("kept-{index}")).await.unwrap();
        assert_eq!(
            kept["metadata"]["ownerReferences"],
            json!([owned_by(&keeper, false)]),
            "{index}"
        );
    }
}

fn with_namespaces() -> Cluster {
    let mut cluster = Cluster::start();
    let (client, clock, stop) = (
        cluster.client.clone(),
        Arc::clone(&cluster.clock),
        cluster.stop.clone(),
    );
    cluster.spawn(namespaces::run(client, clock, stop));
    cluster
}

#[tokio::test(start_paused = true)]
async fn api_177_a_deleted_namespace_is_emptied_and_gone() {
    let cluster = with_namespaces();
    cluster.create("Namespace", "", named("shop", &[])).await;
    for name in ["a", "b"] {
        cluster.create(MAP, "shop", named(name, &[])).await;
    }
    cluster.create("apps/v1 ReplicaSet", "shop", json!({ "metadata": { "name": "web" }, "spec": {
        "selector": { "matchLabels": { "app": "web" } },
        "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": "c:1" }] } },
    } })).await;
    cluster.create(MAP, NS, named("elsewhere", &[])).await;
    cluster
        .delete("Namespace", "", "shop", &DeleteParams::default())
        .await;
    cluster.until_gone("Namespace", "", "shop").await;
    assert_eq!(cluster.names(MAP, "shop").await, Vec::<String>::new());
    assert_eq!(
        cluster.names("apps/v1 ReplicaSet", "shop").await,
        Vec::<String>::new()
    );
    assert_eq!(cluster.names(MAP, NS).await, ["elsewhere"]);
}

#[tokio::test(start_paused = true)]
async fn api_177_conditions_name_what_holds_a_namespace() {
    let cluster = with_namespaces();
    cluster.create("Namespace", "", named("shop", &[])).await;
    let mut held = named("held", &[]);
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    cluster.create(MAP, "shop", held).await;
    cluster
        .delete("Namespace", "", "shop", &DeleteParams::default())
        .await;
    cluster.pass(10).await;
    let namespace = cluster.get("Namespace", "", "shop").await.unwrap();
    assert_eq!(namespace["status"]["phase"], "Terminating");
    let conditions: Vec<(&str, &str, &str)> = namespace["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            (
                c["type"].as_str().unwrap(),
                c["status"].as_str().unwrap(),
                c["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        conditions,
        [
            (
                "NamespaceDeletionDiscoveryFailure",
                "False",
                "ResourcesDiscovered"
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                "False",
                "ParsedGroupVersions"
            ),
            ("NamespaceDeletionContentFailure", "False", "ContentDeleted"),
            ("NamespaceContentRemaining", "True", "SomeResourcesRemain"),
            ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain"),
        ]
    );
    cluster
        .patch(MAP, "shop", "held", json!({ "metadata": { "finalizers": null } }))
        .await;
    cluster.until_gone("Namespace", "", "shop").await;
}

#[tokio::test(start_paused = true)]
async fn api_176_namespaces_that_were_deleted_before_the_start_are_finished() {
    let mut cluster = Cluster::start();
    cluster.create("Namespace", "", named("shop", &[])).await;
    cluster
        .delete("Namespace", "", "shop", &DeleteParams::default())
        .await;
    assert!(cluster.get("Namespace", "", "shop").await.is_some());
    let (client, clock, stop) = (
        cluster.client.clone(),
        Arc::clone(&cluster.clock),
        cluster.stop.clone(),
    );
    cluster.spawn(namespaces::run(client, clock, stop));
    cluster.until_gone("Namespace", "", "shop").await;
}

#[tokio::test(start_paused = true)]
async fn api_178_every_active_namespace_has_an_account_and_the_root_certificate() {
    let mut cluster = Cluster::start();
    let config = Config {
        root_ca: Some("PEM".into()),
        ..Config::default()
    };
    let (client, clock, stop) = (
        cluster.client.clone(),
        Arc::clone(&cluster.clock),
        cluster.stop.clone(),
    );
    cluster.spawn(run(client, config, clock, stop));
    let complete = |namespace: &'static str| {
        let cluster = &cluster;
        async move {
            let map = cluster.get(MAP, namespace, "kube-root-ca.crt").await;
            let right = map.is_some_and(|map| map["data"] == json!({ "ca.crt": "PEM" }));
            right
                && cluster
                    .get("ServiceAccount", namespace, "default")
                    .await
                    .is_some()
        }
    };
    cluster.until(10, "default has both", || complete(NS)).await;
    cluster.create("Namespace", "", named("shop", &[])).await;
    cluster.until(10, "shop has both", || complete("shop")).await;

    cluster
        .delete("ServiceAccount", "shop", "default", &DeleteParams::default())
        .await;
    cluster
        .delete(MAP, "shop", "kube-root-ca.crt", &DeleteParams::default())
        .await;
    cluster.until(10, "both are back", || complete("shop")).await;
    let spoilt = Patch::Merge(json!({ "data": { "ca.crt": "other" } }));
    cluster
        .api(MAP, "shop")
        .patch("kube-root-ca.crt", &PatchParams::default(), &spoilt)
        .await
        .unwrap();
    cluster
        .until(10, "the certificate is right again", || complete("shop"))
        .await;

    cluster
        .delete("Namespace", "", "shop", &DeleteParams::default())
        .await;
    cluster.until_gone("Namespace", "", "shop").await;
}

#[tokio::test(start_paused = true)]
async fn api_509_quotas_follow_what_comes_and_goes() {
    let mut cluster = Cluster::start();
    let (client, clock, stop) = (
        cluster.client.clone(),
        Arc::clone(&cluster.clock),
        cluster.stop.clone(),
    );
    cluster.create(MAP, NS, named("before", &[])).await;
    cluster.spawn(quota::run(client, clock, stop));
    let mut limits = named("q", &[]);
    limits["spec"] =
        json!({"hard": {"configmaps": "2", "count/deployments.apps": "1", "count/nopes.example.com": "1"}});
    cluster.create("ResourceQuota", NS, limits).await;
    let used = async |cluster: &Cluster| {
        cluster.pass(2).await;
        cluster.get("ResourceQuota", NS, "q").await.unwrap()["status"]["used"].clone()
    };
    let counts = |maps: &str| json!({"configmaps": maps, "count/deployments.apps": "0", "count/nopes.example.com": "0"});
    assert_eq!(used(&cluster).await, counts("1"));
    cluster.create(MAP, NS, named("second", &[])).await;
    assert_eq!(used(&cluster).await, counts("2"));
    cluster.delete(MAP, NS, "before", &DeleteParams::default()).await;
    assert_eq!(used(&cluster).await, counts("1"));
}

#[tokio::test(start_paused = true)]
async fn api_682_events_expire_an_hour_after_their_last_write() {
    let mut cluster = Cluster::start();
    let (server, stop) = (cluster.server.clone(), cluster.stop.clone());
    cluster.spawn(async move { server.expire_events(stop).await });
    for name in ["once", "again"] {
        let mut event = named(name, &[]);
        event["involvedObject"] = json!({"namespace": NS});
        cluster.create("Event", NS, event).await;
    }
    cluster.pass(40 * 60).await;
    cluster.patch("Event", NS, "again", json!({"count": 2})).await;
    cluster.pass(30 * 60).await;
    assert_eq!(cluster.names("Event", NS).await, ["again"]);
    cluster.pass(40 * 60).await;
    assert!(cluster.names("Event", NS).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn api_681_aggregated_roles_have_the_rules_of_those_they_select() {
    let mut cluster = Cluster::start();
    cluster.spawn(cluster_roles::run(cluster.client.clone(), cluster.stop.clone()));
    cluster.pass(2).await;
    let role = "rbac.authorization.k8s.io/v1 ClusterRole";
    let count = |role: &Value| role["rules"].as_array().map_or(0, Vec::len);
    let view = cluster.get(role, "", "view").await.unwrap();
    let admin = cluster.get(role, "", "admin").await.unwrap();
    assert!(count(&view) > 5 && count(&admin) > count(&view), "through edit");
    let mut more = named("more", &[]);
    more["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let added = json!({"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["widgets"]});
    more["rules"] = json!([added]);
    cluster.create(role, "", more).await;
    cluster.pass(2).await;
    for name in ["view", "edit", "admin"] {
        let rules = cluster.get(role, "", name).await.unwrap()["rules"].clone();
        assert!(rules.as_array().unwrap().contains(&added), "{name}");
    }
    cluster.delete(role, "", "more", &DeleteParams::default()).await;
    cluster.pass(2).await;
    assert_eq!(
        cluster.get(role, "", "view").await.unwrap()["rules"],
        view["rules"]
    );
}

#[tokio::test(start_paused = true)]
async fn api_473_token_secrets_live_as_long_as_their_account() {
    let mut cluster = Cluster::start();
    let signer = cluster.server.token_signer();
    let (client, stop) = (cluster.client.clone(), cluster.stop.clone());
    cluster.spawn(token_secrets::run(client, signer, Some("CA".to_owned()), stop));
    let account = cluster.create("ServiceAccount", NS, named("robot", &[])).await;
    let mut secret = named("token", &[]);
    secret["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": "robot"});
    secret["type"] = json!("kubernetes.io/service-account-token");
    cluster.create("Secret", NS, secret).await;
    cluster.pass(2).await;
    let filled = cluster.get("Secret", NS, "token").await.unwrap();
    assert_eq!(filled["data"]["ca.crt"], "Q0E=");
    assert_eq!(filled["data"]["namespace"], "ZGVmYXVsdA==");
    assert!(!filled["data"]["token"].as_str().unwrap().is_empty());
    assert_eq!(
        filled["metadata"]["annotations"]["kubernetes.io/service-account.uid"],
        account["metadata"]["uid"]
    );
    cluster
        .delete("ServiceAccount", NS, "robot", &DeleteParams::default())
        .await;
    cluster.until_gone("Secret", NS, "token").await;
}
