//! Clusters for whole-program tests: the sandbox in its own process, or a real etcd and kube-apiserver from
//! `KUBEBUILDER_ASSETS`, both with simulated nodes. Everything listens on free loopback ports and ends with the test.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The binary under test.
pub(crate) const STEERSMAN: &str = env!("CARGO_BIN_EXE_steersman");

/// A child process that ends with its owner; its output is shown when the test fails.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start<S: AsRef<OsStr>>(
        name: &str,
        dir: &Path,
        program: impl AsRef<OsStr>,
        args: &[S],
    ) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        // It ends with the test process even when that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program.as_ref())
            .args(args)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// SIGKILL, as a crash would.
    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, then the exit code.
    pub(crate) fn terminate(&mut self, within: Duration) -> Option<i32> {
        Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        self.exit_code(within)
    }

    /// The exit code once it ends; `None` if it does not within the time.
    pub(crate) fn exit_code(&mut self, within: Duration) -> Option<i32> {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// What it printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(60).collect();
            eprintln!("--- last lines of {}:", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A running API server with simulated nodes, without any controller of ours.
pub(crate) struct Cluster {
    pub(crate) kubeconfig: PathBuf,
    /// A real kube-apiserver, not the sandbox.
    pub(crate) is_real: bool,
    // In this order: nodes stop before their API server.
    processes: Vec<Process>,
    pub(crate) dir: TempDir,
}

impl Cluster {
    /// The sandbox's API server.
    pub(crate) fn sandbox(nodes: u32) -> Self {
        Self::sandbox_with(nodes, &[])
    }

    /// The sandbox's API server with further flags.
    pub(crate) fn sandbox_with(nodes: u32, flags: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        let nodes = nodes.to_string();
        let args = [
            "sandbox",
            "--no-controllers",
            "--nodes",
            &nodes,
            "--kubeconfig-out",
            kubeconfig.to_str().unwrap(),
        ];
        let args = [&args[..], flags].concat();
        let server = Process::start("sandbox", dir.path(), STEERSMAN, &args);
        let cluster = Self {
            kubeconfig,
            is_real: false,
            processes: vec![server],
            dir,
        };
        cluster.wait("the sandbox's API server", Duration::from_secs(30), |it| {
            it.kubeconfig.exists() && it.try_kubectl(&["get", "--raw", "/readyz"]).status.success()
        });
        cluster
    }

    /// etcd and kube-apiserver from `KUBEBUILDER_ASSETS`; `None`, with a word about it, when that is not set.
    pub(crate) fn real(nodes: u32) -> Option<Self> {
        let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
            println!("skipped on a real API server: KUBEBUILDER_ASSETS is not set");
            return None;
        };
        let dir = TempDir::new().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let [client, peer, port] = free_ports();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        fs::write(
            path("tokens.csv"),
            "admin-token,admin,admin,system:masters\nbob-token,bob,bob\n",
        )
        .unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(path("sa.key"), key.serialize_pem()).unwrap();
        fs::write(path("sa.pub"), key.public_key_pem()).unwrap();
        let etcd = Process::start(
            "etcd",
            dir.path(),
            assets.join("etcd"),
            &[
                "--data-dir".to_owned(),
                path("etcd"),
                "--unsafe-no-fsync".to_owned(),
                "--listen-client-urls".to_owned(),
                url(client),
                "--advertise-client-urls".to_owned(),
                url(client),
                "--listen-peer-urls".to_owned(),
                url(peer),
                "--initial-advertise-peer-urls".to_owned(),
                url(peer),
                "--initial-cluster".to_owned(),
                format!("default={}", url(peer)),
            ],
        );
        let server = Process::start(
            "kube-apiserver",
            dir.path(),
            assets.join("kube-apiserver"),
            &[
                format!("--etcd-servers={}", url(client)),
                format!("--secure-port={port}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--cert-dir={}", path("certs")),
                format!("--token-auth-file={}", path("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", path("sa.pub")),
                format!("--service-account-signing-key-file={}", path("sa.key")),
                "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
            ],
        );
        let kubeconfig = dir.path().join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_with_token(port, "admin-token")).unwrap();
        fs::write(
            dir.path().join("bob.kubeconfig"),
            kubeconfig_with_token(port, "bob-token"),
        )
        .unwrap();
        let mut cluster = Self {
            kubeconfig,
            is_real: true,
            processes: vec![server, etcd],
            dir,
        };
        cluster.wait("kube-apiserver", Duration::from_secs(90), |it| {
            it.try_kubectl(&["get", "--raw", "/readyz"]).status.success()
        });
        let nodes = nodes.to_string();
        let args = [
            "sandbox",
            "--external",
            cluster.kubeconfig.to_str().unwrap(),
            "--housekeeping",
            "--nodes",
            &nodes,
        ];
        let simulation = Process::start("nodes", cluster.dir.path(), STEERSMAN, &args);
        cluster.processes.insert(0, simulation);
        Some(cluster)
    }

    /// What its processes printed so far.
    pub(crate) fn output(&self) -> String {
        self.processes.iter().map(Process::output).collect()
    }

    /// This cluster with `steersman run` beside it, which ends with it.
    pub(crate) fn with_controllers(mut self) -> Self {
        let run = self.run_steersman_with(&[
            "--mode",
            "all=active",
            "--scheduler-name",
            "default-scheduler",
            "--no-leader-election",
            "--no-native-controller-manager",
        ]);
        self.processes.insert(0, run);
        self
    }

    /// `steersman run` with every controller active, as the only scheduler.
    pub(crate) fn run_steersman(&self) -> Process {
        self.run_steersman_with(&[
            "--mode",
            "all=active",
            "--scheduler-name",
            "default-scheduler",
            "--no-native-controller-manager",
        ])
    }

    pub(crate) fn run_steersman_with(&self, flags: &[&str]) -> Process {
        self.run_steersman_as("run", flags)
    }

    /// kube-controller-manager from `KUBEBUILDER_ASSETS` with these controllers, under a Lease with short terms if it
    /// wants one; `None`, with a word about it, when there is none.
    pub(crate) fn run_native(&self, name: &str, controllers: &str, lease: bool) -> Option<Process> {
        let program = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS")?).join("kube-controller-manager");
        if !program.exists() {
            println!(
                "skipped beside the native controllers: {} does not exist",
                program.display()
            );
            return None;
        }
        let flags = [
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--controllers={controllers}"),
            "--secure-port=0".to_owned(),
            format!("--leader-elect={lease}"),
            "--leader-elect-lease-duration=4s".to_owned(),
            "--leader-elect-renew-deadline=3s".to_owned(),
            "--leader-elect-retry-period=1s".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ];
        Some(Process::start(name, self.dir.path(), program, &flags))
    }

    /// `steersman run` with these flags; its output goes to a file of that name.
    pub(crate) fn run_steersman_as(&self, name: &str, flags: &[&str]) -> Process {
        let kubeconfig = self.kubeconfig.to_str().unwrap();
        let base = [
            "run",
            "--kubeconfig",
            kubeconfig,
            "--admin-address",
            "127.0.0.1:0",
        ];
        Process::start(name, self.dir.path(), STEERSMAN, &[&base[..], flags].concat())
    }

    pub(crate) fn try_kubectl<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("kubectl is on the PATH")
    }

    /// What kubectl prints; fails the test when it fails.
    pub(crate) fn kubectl(&self, command: &str) -> String {
        let args: Vec<&str> = command.split_whitespace().collect();
        let output = self.try_kubectl(&args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {command}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `kubectl apply` of one object.
    pub(crate) fn apply(&self, object: &serde_json::Value) {
        let file = self.dir.path().join("object.json");
        fs::write(&file, object.to_string()).unwrap();
        self.kubectl(&format!("apply -f {}", file.display()));
    }

    /// JSON that kubectl prints for `get`.
    pub(crate) fn get(&self, what: &str) -> serde_json::Value {
        serde_json::from_str(&self.kubectl(&format!("get {what} -o json"))).unwrap()
    }

    /// Waits until `done` holds; fails with the state of the workloads when it does not in time.
    pub(crate) fn wait(&self, what: &str, within: Duration, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + within;
        while !done(self) {
            if Instant::now() > until {
                let state =
                    self.try_kubectl(&["get", "deployments,replicasets,pods,events", "-A", "-o", "wide"]);
                panic!(
                    "{what}: not within {within:?}\n{}",
                    String::from_utf8_lossy(&state.stdout)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a plain GET answers, headers included.
pub(crate) fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Three ports that were free a moment ago.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// kube-apiserver makes its own serving certificate here, so the client does not check it.
fn kubeconfig_with_token(port: u16, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:{port}\", insecure-skip-tls-verify: true}}}}]\n\
         users: [{{name: u, user: {{token: {token}}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    )
}
