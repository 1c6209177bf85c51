use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{Config, Server, auth::Caller};
use tokio_util::sync::CancellationToken;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn server() -> Server {
    let config = Config {
        rbac: true,
        admin_token: Some("let-me-in".to_owned()),
        ..Config::default()
    };
    Server::start(config).unwrap()
}

/// Sends a request over a connection without a certificate; `headers` are lines such as `Authorization: Bearer x`.
async fn send(server: &Server, method: Method, path: &str, headers: &[&str], body: Value) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    for line in headers {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let service = server.service_for(Caller::Connection(None), CancellationToken::new());
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let bytes = Full::new(Bytes::from(text));
    let response: Response<_> = service.answer(request.body(bytes).unwrap()).await;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn create(server: &Server, path: &str, object: Value) -> Value {
    let (code, body) = send(
        server,
        Method::POST,
        path,
        &["Authorization: Bearer let-me-in"],
        object,
    )
    .await;
    assert_eq!(code, 201, "{body}");
    body
}

async fn grant(server: &Server, rules: Value) {
    let role = json!({"metadata": {"name": "r"}, "rules": rules});
    create(server, &format!("{RBAC}/namespaces/default/roles"), role).await;
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    });
    create(
        server,
        &format!("{RBAC}/namespaces/default/rolebindings"),
        binding,
    )
    .await;
}

async fn robot(server: &Server, request: Value) -> String {
    let account = json!({"metadata": {"name": "robot"}});
    create(server, "/api/v1/namespaces/default/serviceaccounts", account).await;
    token(server, request).await
}

async fn token(server: &Server, request: Value) -> String {
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let answer = create(server, path, json!({"spec": request})).await;
    answer["status"]["token"].as_str().unwrap().to_owned()
}

#[rstest]
#[case(
    "/api/v1/namespaces/default/pods",
    "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
)]
#[case(
    "/api/v1/pods",
    "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
)]
#[case(
    "/api/v1/namespaces/default",
    "namespaces \"default\" is forbidden: User \"system:anonymous\" cannot get resource \"namespaces\" in API group \"\" in the namespace \"default\""
)]
#[case(
    "/apis/apps/v1/namespaces/default/deployments/d/scale",
    "deployments.apps \"d\" is forbidden: User \"system:anonymous\" cannot get resource \"deployments/scale\" in API group \"apps\" in the namespace \"default\""
)]
#[case(
    "/metrics",
    "forbidden: User \"system:anonymous\" cannot get path \"/metrics\""
)]
#[tokio::test]
async fn api_19_refusals_say_what_was_wanted(#[case] path: &str, #[case] want: &str) {
    let (code, body) = send(&server(), Method::GET, path, &[], Value::Null).await;
    assert_eq!((code, body["message"].as_str().unwrap()), (403, want));
}

#[rstest]
#[case("/healthz")]
#[case("/livez")]
#[case("/readyz")]
#[case("/version")]
#[tokio::test]
async fn api_577_health_and_version_need_no_credentials(#[case] path: &str) {
    assert_eq!(send(&server(), Method::GET, path, &[], Value::Null).await.0, 200);
}

#[tokio::test]
async fn api_17_a_bad_token_is_refused_even_where_none_is_needed() {
    let permissive = Server::start(Config::default()).unwrap();
    for server in [server(), permissive] {
        let (code, body) = send(
            &server,
            Method::GET,
            "/version",
            &["Authorization: Bearer x"],
            Value::Null,
        )
        .await;
        assert_eq!((code, &body["reason"]), (401, &json!("Unauthorized")));
    }
}

#[tokio::test]
async fn api_680_a_role_gives_what_it_says() {
    let server = server();
    let bearer = format!("Authorization: Bearer {}", robot(&server, json!({})).await);
    grant(
        &server,
        json!([
            {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]},
            {"verbs": ["list"], "apiGroups": ["*"], "resources": ["*/scale", "secrets"]},
        ]),
    )
    .await;
    let code = async |path: &str| send(&server, Method::GET, path, &[&bearer], Value::Null).await.0;
    assert_eq!(
        code("/api/v1/namespaces/default/configmaps/a").await,
        404,
        "allowed, but missing"
    );
    assert_eq!(code("/api/v1/namespaces/default/configmaps/b").await, 403);
    assert_eq!(code("/api/v1/namespaces/default/secrets").await, 200);
    assert_eq!(code("/api/v1/secrets").await, 403);
    assert_eq!(code("/api/v1/namespaces/kube-system/secrets").await, 403);
    let path = format!("{RBAC}/namespaces/default/rolebindings/b");
    let admin = ["Authorization: Bearer let-me-in"];
    assert_eq!(
        send(&server, Method::DELETE, &path, &admin, Value::Null).await.0,
        200
    );
    assert_eq!(code("/api/v1/namespaces/default/secrets").await, 403, "at once");
}

#[tokio::test]
async fn api_473_a_token_dies_with_what_it_is_bound_to() {
    let server = server();
    create(
        &server,
        "/api/v1/namespaces/default/secrets",
        json!({"metadata": {"name": "s"}}),
    )
    .await;
    let plain = robot(&server, json!({})).await;
    let reference = json!({"kind": "Secret", "apiVersion": "v1", "name": "s"});
    let bound = token(&server, json!({"boundObjectRef": reference})).await;
    let works = async |token: &str| {
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let review = json!({"spec": {"token": token}});
        create(&server, path, review).await["status"]["authenticated"] == true
    };
    assert!(works(&plain).await && works(&bound).await);
    let delete = async |path: &str| {
        let admin = ["Authorization: Bearer let-me-in"];
        send(&server, Method::DELETE, path, &admin, Value::Null).await.0
    };
    assert_eq!(delete("/api/v1/namespaces/default/secrets/s").await, 200);
    assert!(works(&plain).await && !works(&bound).await);
    assert_eq!(
        delete("/api/v1/namespaces/default/serviceaccounts/robot").await,
        200
    );
    assert!(!works(&plain).await);
}

#[tokio::test]
async fn api_473_tokens_survive_a_restart_with_the_same_data() {
    let data = tempfile::tempdir().unwrap();
    let start = || {
        let data = Some(data.path().to_owned());
        super::token::Signer::open(data.as_deref()).unwrap()
    };
    let token = start().issue_for_secret("default", "robot", "1", "s").unwrap();
    assert!(start().read(&token).is_some());
    let other = super::token::Signer::open(None).unwrap();
    assert!(other.read(&token).is_none());
}

#[tokio::test]
async fn api_18_impersonation_replaces_the_identity() {
    let server = server();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let admin = "Authorization: Bearer let-me-in";
    let headers = [admin, "Impersonate-User: bob", "Impersonate-Group: g1"];
    let (code, body) = send(&server, Method::POST, path, &headers, json!({})).await;
    let user = &body["status"]["userInfo"];
    assert_eq!((code, &user["username"]), (201, &json!("bob")));
    assert_eq!(user["groups"], json!(["g1", "system:authenticated"]));
    let robot = format!("Authorization: Bearer {}", robot(&server, json!({})).await);
    let (code, body) = send(
        &server,
        Method::POST,
        path,
        &[&robot, "Impersonate-User: bob"],
        json!({}),
    )
    .await;
    assert_eq!(code, 403);
    let message = body["message"].as_str().unwrap();
    assert!(
        message.contains("cannot impersonate-on:user-info:create"),
        "{message}"
    );
}

#[tokio::test]
async fn api_680_nobody_grants_more_than_they_have() {
    let server = server();
    let bearer = format!("Authorization: Bearer {}", robot(&server, json!({})).await);
    grant(
        &server,
        json!([
            {"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        ]),
    )
    .await;
    let path = format!("{RBAC}/namespaces/default/roles");
    let role = |verbs: Value| {
        json!({"metadata": {"name": "more"}, "rules": [
            {"verbs": verbs, "apiGroups": [""], "resources": ["pods"]},
        ]})
    };
    let (code, body) = send(
        &server,
        Method::POST,
        &path,
        &[&bearer],
        role(json!(["get", "list"])),
    )
    .await;
    assert_eq!(code, 403);
    assert_eq!(
        body["message"],
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"system:serviceaccount:default:robot\" \
         (groups=[\"system:serviceaccounts\" \"system:serviceaccounts:default\" \"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], \
         Verbs:[\"list\"]}"
    );
    assert_eq!(
        send(&server, Method::POST, &path, &[&bearer], role(json!(["get"])))
            .await
            .0,
        201
    );
}
