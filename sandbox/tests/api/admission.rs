use serde_json::{Value, json};

use crate::support::{Http, PODS, pod, server};

const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

#[tokio::test(start_paused = true)]
async fn api_502_pods_tolerate_lost_nodes_for_a_while() {
    let http = Http::new(&server());
    let stored = http.post(PODS, &pod("p")).await.ok();
    let tolerations = stored["spec"]["tolerations"].as_array().unwrap();
    let seconds: Vec<&Value> = tolerations
        .iter()
        .map(|toleration| &toleration["tolerationSeconds"])
        .collect();
    assert_eq!(seconds, [300, 300]);
    let mut own = pod("q");
    own["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    let stored = http.post(PODS, &own).await.ok();
    assert_eq!(stored["spec"]["tolerations"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn api_503_priorities() {
    let http = Http::new(&server());
    assert_eq!(http.post(PODS, &pod("none")).await.ok()["spec"]["priority"], 0);
    let mut critical = pod("critical");
    critical["spec"]["priorityClassName"] = "system-node-critical".into();
    assert_eq!(
        http.post(PODS, &critical).await.ok()["spec"]["priority"],
        2_000_001_000
    );
    let mut unknown = pod("unknown");
    unknown["spec"]["priorityClassName"] = "nope".into();
    let (code, _, message) = http.post(PODS, &unknown).await.failure();
    let want = "pods \"unknown\" is forbidden: no PriorityClass with name nope was found";
    assert_eq!((code, message.as_str()), (403, want));
    let class = json!({"metadata": {"name": "usual"}, "value": 7, "globalDefault": true});
    http.post(CLASSES, &class).await.ok();
    let stored = http.post(PODS, &pod("usual")).await.ok();
    assert_eq!(
        (&stored["spec"]["priority"], &stored["spec"]["priorityClassName"]),
        (&json!(7), &json!("usual"))
    );
    let second = json!({"metadata": {"name": "second"}, "value": 8, "globalDefault": true});
    assert_eq!(http.post(CLASSES, &second).await.failure().0, 403);
}

#[tokio::test(start_paused = true)]
async fn api_504_new_nodes_are_not_ready() {
    let http = Http::new(&server());
    let node = http
        .post("/api/v1/nodes", &json!({"metadata": {"name": "n"}}))
        .await
        .ok();
    assert_eq!(
        node["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
}

#[tokio::test(start_paused = true)]
async fn api_507_the_default_ingress_class() {
    let http = Http::new(&server());
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = |name: &str| json!({"metadata": {"name": name}, "spec": {"defaultBackend": backend}});
    let before = http.post(ingresses, &ingress("before")).await.ok();
    assert_eq!(before["spec"].get("ingressClassName"), None);
    let class = json!({
        "metadata": {"name": "c", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "example.com/c"},
    });
    http.post("/apis/networking.k8s.io/v1/ingressclasses", &class)
        .await
        .ok();
    assert_eq!(
        http.post(ingresses, &ingress("after")).await.ok()["spec"]["ingressClassName"],
        "c"
    );
}
