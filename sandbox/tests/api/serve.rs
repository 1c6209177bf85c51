use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Config, api::ListParams, config::Kubeconfig};
use steersman_sandbox::tls::Certificates;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::server;

async fn namespaces(kubeconfig: &str) -> usize {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
        .await
        .unwrap();
    let api: Api<Namespace> = Api::all(Client::try_from(config).unwrap());
    api.list(&ListParams::default()).await.unwrap().items.len()
}

#[tokio::test]
async fn api_16_the_kubeconfig_reaches_the_server_over_tls() {
    let server = server();
    let certificates = Certificates::generate(&[IpAddr::V4(Ipv4Addr::LOCALHOST)]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = server.serve(
        listener,
        Some(certificates.server_config().unwrap()),
        stop.clone(),
    );
    let kubeconfig = server.kubeconfig(&url, Some(&certificates)).unwrap();
    let asking = async {
        let count = namespaces(&kubeconfig).await;
        stop.cancel();
        count
    };
    let (result, count) = tokio::join!(serving, asking);
    result.unwrap();
    assert_eq!(count, 4);
}

#[tokio::test]
async fn api_16_plain_http_is_enough_on_loopback() {
    let server = server();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = server.serve(listener, None, stop.clone());
    let kubeconfig = server.kubeconfig(&url, None).unwrap();
    let asking = async {
        let count = namespaces(&kubeconfig).await;
        stop.cancel();
        count
    };
    let (result, count) = tokio::join!(serving, asking);
    result.unwrap();
    assert_eq!(count, 4);
}
