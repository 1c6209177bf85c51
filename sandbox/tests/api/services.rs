use serde_json::{Value, json};

use crate::support::{Http, server, server_with};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: &Value) -> Value {
    let mut sent = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (member, value) in spec.as_object().unwrap() {
        sent["spec"][member] = value.clone();
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn api_178_the_cluster_has_its_own_service() {
    let http = Http::new(&server());
    let own = http.get(&format!("{SERVICES}/kubernetes")).await.ok();
    assert_eq!(own["spec"]["clusterIP"], "10.0.0.1");
    let slice = http
        .get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
        .await;
    assert_eq!(slice.code, 200);
}

#[tokio::test(start_paused = true)]
async fn api_480_api_336_addresses_come_from_the_upper_band() {
    let http = Http::new(&server());
    let stored = http.post(SERVICES, &service("s", &json!({}))).await.ok();
    let address: std::net::Ipv4Addr = stored["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    assert!(
        u32::from(address) >= u32::from(std::net::Ipv4Addr::new(10, 0, 1, 0)),
        "{address}"
    );
    assert_eq!(stored["spec"]["clusterIPs"], json!([stored["spec"]["clusterIP"]]));
    assert_eq!(
        (&stored["spec"]["ipFamilies"], &stored["spec"]["type"]),
        (&json!(["IPv4"]), &json!("ClusterIP"))
    );
}

#[tokio::test(start_paused = true)]
async fn api_480_addresses_run_out_and_are_given_back() {
    let server = server_with(|config| config.service_range = (std::net::Ipv4Addr::new(10, 9, 0, 0), 28));
    let http = Http::new(&server);
    let mut count = 0;
    while http
        .post(SERVICES, &service(&format!("s{count}"), &json!({})))
        .await
        .code
        == 201
    {
        count += 1;
    }
    assert_eq!(
        count, 13,
        "14 usable addresses, one of them taken by the cluster itself"
    );
    http.delete(&format!("{SERVICES}/s0")).await.ok();
    assert_eq!(http.post(SERVICES, &service("again", &json!({}))).await.code, 201);
}

#[tokio::test(start_paused = true)]
async fn api_481_api_482_addresses_asked_for() {
    let http = Http::new(&server());
    let headless = http
        .post(SERVICES, &service("h", &json!({"clusterIP": "None"})))
        .await
        .ok();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    http.post(SERVICES, &service("a", &json!({"clusterIP": "10.0.200.7"})))
        .await
        .ok();
    let taken = http
        .post(SERVICES, &service("b", &json!({"clusterIP": "10.0.200.7"})))
        .await
        .failure()
        .2;
    let want = "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.0.200.7\"]: failed to allocate IP \
                10.0.200.7: provided IP is already allocated";
    assert_eq!(taken, want);
    let outside = http
        .post(SERVICES, &service("b", &json!({"clusterIP": "10.1.0.7"})))
        .await
        .failure()
        .2;
    assert!(
        outside.ends_with("the provided network does not match the current range"),
        "{outside}"
    );
    http.delete(&format!("{SERVICES}/a")).await.ok();
    http.post(SERVICES, &service("b", &json!({"clusterIP": "10.0.200.7"})))
        .await
        .ok();
}

#[tokio::test(start_paused = true)]
async fn api_483_api_484_api_485_node_ports() {
    let http = Http::new(&server());
    let url = format!("{SERVICES}/s");
    let stored = http
        .post(SERVICES, &service("s", &json!({"type": "NodePort"})))
        .await
        .ok();
    let port = stored["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&port));
    let kept = http
        .put(&url, &service("s", &json!({"type": "NodePort"})))
        .await
        .ok();
    assert_eq!(kept["spec"], stored["spec"]);
    let ports = json!([{"port": 81, "nodePort": port}]);
    let taken = http
        .post(
            SERVICES,
            &service("t", &json!({"type": "NodePort", "ports": ports})),
        )
        .await
        .failure()
        .2;
    assert!(taken.ends_with("provided port is already allocated"), "{taken}");
    let plain = http
        .merge(&url, &json!({"spec": {"type": "ClusterIP"}}))
        .await
        .ok();
    assert_eq!(plain["spec"]["ports"][0].get("nodePort"), None);
    http.post(
        SERVICES,
        &service("t", &json!({"type": "NodePort", "ports": ports})),
    )
    .await
    .ok();
    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
    let external = http.merge(&url, &external).await.ok();
    assert_eq!(external["spec"].get("clusterIP"), None);
}
