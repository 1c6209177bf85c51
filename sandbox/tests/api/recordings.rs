//! Replays what the real API server answered (`tests/recordings`, made by `apirec.py record`) and compares: the Rust
//! twin of `apirec.py replay`. Each case runs on a server of its own that has what the case `requires`, over HTTP on
//! loopback, because headers, chunks and the ends of watches are part of what is compared.
//!
//! `STEERSMAN_RECORDINGS=DIR` replays another folder of the same layout instead.

mod client;
mod compare;
mod normalise;
mod path;
mod python;
mod replay;
mod variables;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt, stream};
use serde_json::Value;
use steersman_sandbox::{Config, Server, housekeeping::service_accounts, tls::Certificates};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use client::Client;

/// Cases that run at the same time: most of a case's time is waiting.
const PARALLEL: usize = 24;
/// A case that takes longer has failed.
const CASE_TIMEOUT: Duration = Duration::from_mins(1);
/// Known differences may not be more than this share of the cases, in percent.
const KNOWN_LIMIT: usize = 3;
/// Differences printed per case.
const SHOWN: usize = 10;

/// One recorded case.
struct Case {
    /// Path below the folder, without `.json`.
    path: String,
    content: Value,
}

/// The capabilities that a case asks of its server, by the names of the table in the README of the recordings.
struct Plane<'a>(Vec<&'a str>);

/// The administrator's token where roles are enforced.
const TOKEN: &str = "recorder";

/// Every server has these.
const ALWAYS: &[&str] = &[
    "no-controllers",
    "exclusive",
    "service-cidr:10.0.0.0/16",
    "protobuf",
];
/// What a server can be made to have.
const POSSIBLE: &[&str] = &[
    "rv-1-expired",
    "client-cert",
    "rbac",
    "token",
    "admission:ServiceAccount",
];

impl<'a> Plane<'a> {
    fn for_case(case: &'a Value) -> Result<Self, String> {
        let mut plane = Vec::new();
        for capability in case["requires"].as_array().into_iter().flatten() {
            let capability = capability.as_str().unwrap_or_default();
            if POSSIBLE.contains(&capability) {
                plane.push(capability);
            } else if !ALWAYS.contains(&capability) {
                return Err(format!("the server lacks the capability {capability}"));
            }
        }
        Ok(Self(plane))
    }

    /// The history up to now is gone.
    fn is_compacted(&self) -> bool {
        self.0.contains(&"rv-1-expired")
    }

    /// Served over TLS, the caller has a client certificate of group system:masters.
    fn has_tls(&self) -> bool {
        self.0.contains(&"client-cert")
    }

    /// Roles are enforced; without TLS the caller is the administrator by a bearer token.
    fn has_rbac(&self) -> bool {
        self.0.contains(&"rbac") || self.0.contains(&"token")
    }

    /// Pods get a service account, and namespaces the account `default`.
    fn has_service_accounts(&self) -> bool {
        self.0.contains(&"admission:ServiceAccount")
    }
}

/// Runs one case on a new server; returns its differences.
async fn differences(case: &Case) -> Vec<String> {
    let plane = match Plane::for_case(&case.content) {
        Ok(plane) => plane,
        Err(lack) => return vec![lack],
    };
    let config = Config {
        rbac: plane.has_rbac(),
        admin_token: plane.has_rbac().then(|| TOKEN.to_owned()),
        service_account_admission: plane.has_service_accounts(),
        ..Config::default()
    };
    let server = match Server::start(config) {
        Ok(server) => server,
        Err(error) => return vec![format!("start the server: {error}")],
    };
    if plane.is_compacted() {
        server.compact();
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let certificates = plane.has_tls().then(|| Certificates::generate(&[]).unwrap());
    let tls = certificates
        .as_ref()
        .map(|certificates| certificates.server_config().unwrap());
    let token = Some(TOKEN).filter(|_| plane.has_rbac() && !plane.has_tls());
    let client = Client::new(address, certificates.as_ref(), token);
    let accounts = service_accounts::Config {
        default_account: true,
        root_ca: None,
    };
    let stop = CancellationToken::new();
    let answered = async {
        match tokio::time::timeout(CASE_TIMEOUT, replay::run(&case.content, client)).await {
            Ok(Ok(seen)) => compare::steps(&case.content, &seen),
            Ok(Err(error)) => vec![error],
            Err(_) => vec![format!("not finished after {} s", CASE_TIMEOUT.as_secs())],
        }
    };
    tokio::select! {
        found = answered => found,
        () = service_accounts::run(server.client(), accounts, stop.clone()), if plane.has_service_accounts() => {
            vec!["the default accounts ended".to_owned()]
        }
        ended = server.serve(listener, tls, stop.clone()) => vec![format!("the server ended: {ended:?}")],
    }
}

/// The cases below `root`, in order of their paths.
fn load(root: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read(&path).unwrap();
                let content = serde_json::from_slice(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let name = path.strip_prefix(root).unwrap().with_extension("");
                cases.push(Case {
                    path: name.to_str().unwrap().to_owned(),
                    content,
                });
            }
        }
    }
    cases.sort_by(|a, b| a.path.cmp(&b.path));
    cases
}

/// A difference that stands in the list: which cases, and why.
struct Known {
    glob: String,
    reason: String,
}

impl Known {
    /// Lines of `glob  # reason`; a line that begins with `#` is a comment.
    fn load(file: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (glob, reason) = line.split_once('#').unwrap_or((line, ""));
                assert!(!reason.trim().is_empty(), "{}: no reason: {line}", file.display());
                Self {
                    glob: glob.trim().to_owned(),
                    reason: reason.trim().to_owned(),
                }
            })
            .collect()
    }

    fn covers(&self, path: &str) -> bool {
        glob_matches(self.glob.as_bytes(), path.as_bytes())
    }
}

/// `*` stands for any text, slashes included; `?` for one character.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    match glob.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| glob_matches(rest, &text[at..])),
        Some((&letter, rest)) => text
            .split_first()
            .is_some_and(|(&first, tail)| (letter == b'?' || letter == first) && glob_matches(rest, tail)),
    }
}

/// Replays a folder; returns what is wrong with the outcome.
async fn replay_folder(root: &Path, list: &Path) -> Vec<String> {
    let cases = load(root);
    let known = Known::load(list);
    let runs = stream::iter(&cases).map(|case| async move { (case, differences(case).await) });
    let mut outcomes: Vec<_> = runs.buffer_unordered(PARALLEL).collect().await;
    outcomes.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    let (mut passed, mut failed, mut excused) = (0, 0, 0);
    let mut problems = Vec::new();
    if list.starts_with(root) {
        let stale = known
            .iter()
            .filter(|known| !cases.iter().any(|case| known.covers(&case.path)));
        problems.extend(stale.map(|known| format!("{} in {} is no case", known.glob, list.display())));
    }
    for (case, found) in outcomes {
        let excuse = known.iter().find(|known| known.covers(&case.path));
        match (found.is_empty(), excuse) {
            (true, None) => passed += 1,
            (true, Some(_)) => {
                passed += 1;
                problems.push(format!("{} passes but stands in {}", case.path, list.display()));
            }
            (false, Some(known)) => {
                excused += 1;
                println!("known {}: {}", case.path, known.reason);
            }
            (false, None) => {
                failed += 1;
                for difference in found.iter().take(SHOWN) {
                    println!("FAIL {}: {difference}", case.path);
                }
            }
        }
    }
    println!(
        "{}: {passed} passed, {failed} failed, {excused} known",
        root.display()
    );
    if failed > 0 {
        problems.push(format!("{failed} cases of {} differ", root.display()));
    }
    if passed == 0 {
        problems.push(format!("{} holds no case that passes", root.display()));
    }
    if excused * 100 > cases.len() * KNOWN_LIMIT {
        problems.push(format!(
            "{excused} known differences are more than {KNOWN_LIMIT} % of {}",
            cases.len()
        ));
    }
    problems
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let own = tests.join("recordings");
    let folders: Vec<PathBuf> = match std::env::var_os("STEERSMAN_RECORDINGS") {
        Some(folder) => vec![folder.into()],
        None => vec![own.clone(), tests.join("recordings-extra")],
    };
    let mut problems = Vec::new();
    for folder in folders {
        let mut list = folder.join("known-differences.txt");
        if !list.exists() {
            list = own.join("known-differences.txt");
        }
        problems.extend(replay_folder(&folder, &list).await);
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn known_differences_are_found_by_glob() {
    assert!(glob_matches(b"apply/*", b"apply/a/b"));
    assert!(glob_matches(b"*/na?e", b"crud/name"));
    assert!(!glob_matches(b"apply/*", b"crud/apply"));
}
