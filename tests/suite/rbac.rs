//! Roles and service accounts with the real kubectl (API-19, API-473, API-637, API-680): on `steersman sandbox --rbac`
//! always, on a real API server when `KUBEBUILDER_ASSETS` is set.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::cluster::Cluster;

#[test]
fn api_680_a_service_account_may_do_what_its_role_says_on_the_sandbox() {
    a_service_account(&Cluster::sandbox_with(1, &["--rbac"]));
}

#[test]
fn api_680_a_service_account_may_do_what_its_role_says_on_a_real_api_server() {
    if let Some(cluster) = Cluster::real(1) {
        a_service_account(&cluster);
    }
}

/// kubectl with nothing but a token: a client certificate would win over it.
struct Bearer<'a> {
    cluster: &'a Cluster,
    server: String,
    token: String,
}

impl Bearer<'_> {
    fn run(&self, command: &str) -> Output {
        Command::new("kubectl")
            .args([
                "--server",
                &self.server,
                "--insecure-skip-tls-verify",
                "--token",
                &self.token,
            ])
            .args(command.split_whitespace())
            .env("KUBECONFIG", "/dev/null")
            .env("HOME", self.cluster.dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("kubectl is on the PATH")
    }

    /// What kubectl prints when it succeeds.
    fn says(&self, command: &str) -> String {
        let output = self.run(command);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {command}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains about when it does not.
    fn refused(&self, command: &str) -> String {
        let output = self.run(command);
        assert!(!output.status.success(), "kubectl {command} was allowed");
        String::from_utf8(output.stderr).unwrap().trim().to_owned()
    }
}

fn a_service_account(cluster: &Cluster) {
    for command in [
        "create namespace shop",
        "create serviceaccount robot -n shop",
        "create role reader --verb=get,list --resource=configmaps,pods/log -n shop",
        "create rolebinding reads --role=reader --serviceaccount=shop:robot -n shop",
        "create configmap prices --from-literal=tea=3 -n shop",
    ] {
        cluster.kubectl(command);
    }
    let server = cluster.kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}");
    let token = cluster
        .kubectl("create token robot -n shop --duration=20m")
        .trim()
        .to_owned();
    assert_eq!(token.split('.').count(), 3, "a JWT");
    let robot = Bearer {
        cluster,
        server,
        token,
    };

    let who = robot.says("auth whoami -o json");
    let who: serde_json::Value = serde_json::from_str(&who).unwrap();
    let who = &who["status"]["userInfo"];
    assert_eq!(who["username"], "system:serviceaccount:shop:robot");
    assert_eq!(
        who["groups"],
        serde_json::json!([
            "system:serviceaccounts",
            "system:serviceaccounts:shop",
            "system:authenticated"
        ])
    );

    // Roles take effect within moments on a real server.
    cluster.wait("the role", Duration::from_secs(10), |_| {
        robot.run("get configmaps -n shop").status.success()
    });
    assert_eq!(
        robot.says("get configmap prices -n shop -o jsonpath={.data.tea}"),
        "3"
    );
    let forbidden = |what: &str, verb: &str, resource: &str, place: &str| {
        format!(
            "Error from server (Forbidden): {what} is forbidden: User \"system:serviceaccount:shop:robot\" cannot \
             {verb} resource \"{resource}\" in API group \"\" {place}"
        )
    };
    let shop = "in the namespace \"shop\"";
    for (command, want) in [
        (
            "get secrets -n shop",
            forbidden("secrets", "list", "secrets", shop),
        ),
        (
            "delete configmap prices -n shop",
            forbidden("configmaps \"prices\"", "delete", "configmaps", shop),
        ),
        (
            "get configmaps -n default",
            forbidden("configmaps", "list", "configmaps", "in the namespace \"default\""),
        ),
        (
            "get nodes",
            forbidden("nodes", "list", "nodes", "at the cluster scope"),
        ),
    ] {
        assert_eq!(robot.refused(command), want, "kubectl {command}");
    }

    assert_eq!(robot.says("auth can-i list configmaps -n shop").trim(), "yes");
    assert!(
        String::from_utf8(robot.run("auth can-i delete configmaps -n shop").stdout)
            .unwrap()
            .starts_with("no")
    );
    let list = robot.says("auth can-i --list -n shop");
    let row = |resource: &str| {
        let line = list.lines().find(|line| line.starts_with(resource));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(row("configmaps").as_deref(), Some("configmaps [] [] [get list]"));
    assert_eq!(row("pods/log").as_deref(), Some("pods/log [] [] [get list]"));
    let as_bob = cluster.try_kubectl(&["auth", "can-i", "list", "configmaps", "--as", "bob"]);
    assert_eq!(String::from_utf8(as_bob.stdout).unwrap().trim(), "no");

    let liar = Bearer {
        token: "nonsense".to_owned(),
        server: robot.server.clone(),
        cluster,
    };
    let refused = liar.refused("get configmaps -n shop");
    assert!(refused.contains("Unauthorized"), "{refused}");
}
