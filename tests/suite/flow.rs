//! Flows: what a user types and what a real server answers, as the text of a terminal.
//!
//! A file below `tests/flows/` is a shell session. A line that starts with `$ ` is a command, `~ ` one that is repeated
//! until it answers as written, `> ` continues it, `? N` is its exit code when it is not 0, `## ` a comment; everything
//! else is what it prints. Names, times and numbers that differ from run to run are masked on both sides.
//!
//! The answers are kube-apiserver's: `STEERSMAN_RECORD_FLOWS=1` with `KUBEBUILDER_ASSETS` writes them anew.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;

use crate::cluster::Cluster;

const FLOWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/flows");
/// How long a `~` command may take to answer as written; generous, for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// One command of a flow.
struct Step {
    line: usize,
    /// Comments that stand before it.
    comments: Vec<String>,
    is_repeated: bool,
    script: String,
    output: String,
    code: i32,
}

/// Steps of a flow, in order.
fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut comments = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(comment) = line.strip_prefix("## ") {
            comments.push(comment.to_owned());
            continue;
        }
        if let Some(script) = line.strip_prefix("$ ").or_else(|| line.strip_prefix("~ ")) {
            steps.push(Step {
                line: index + 1,
                comments: std::mem::take(&mut comments),
                is_repeated: line.starts_with('~'),
                script: script.to_owned(),
                output: String::new(),
                code: 0,
            });
            continue;
        }
        let Some(step) = steps.last_mut() else {
            assert!(line.is_empty(), "a flow starts with a command: {line}");
            continue;
        };
        if let Some(more) = line.strip_prefix('>').filter(|_| step.output.is_empty()) {
            step.script.push('\n');
            step.script.push_str(more.strip_prefix(' ').unwrap_or(more));
        } else if let Some(code) = line.strip_prefix("? ") {
            step.code = code.parse().unwrap();
        } else {
            step.output.push_str(line);
            step.output.push('\n');
        }
    }
    steps
}

/// The text that [`parse`] reads.
fn render(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        for comment in &step.comments {
            writeln!(text, "## {comment}").unwrap();
        }
        let sign = if step.is_repeated { '~' } else { '$' };
        let mut lines = step.script.lines();
        writeln!(text, "{sign} {}", lines.next().unwrap_or_default()).unwrap();
        for line in lines {
            writeln!(text, "{}", format!("> {line}").trim_end()).unwrap();
        }
        if !step.output.is_empty() {
            writeln!(text, "{}", step.output.trim_end()).unwrap();
        }
        if step.code != 0 {
            writeln!(text, "? {}", step.code).unwrap();
        }
    }
    text
}

/// What differs from run to run, in this order, and what stands for it.
struct Masks(Vec<(Regex, &'static str)>);

impl Masks {
    fn new() -> Self {
        // Generated names have no vowels and no 0, 1, 3.
        let masks = [
            (
                r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "UID",
            ),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
            (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "DATE"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}( UTC)?", "DATE"),
            (r"\b(MERGED|LIVE|kubectl-edit)-\d+", "${1}-N"),
            (r"https?://127\.0\.0\.1:\d+", "SERVER"),
            (r#"("?resourceVersion"?: ?)"\d+""#, "${1}RV"),
            (
                r"-[bcdfghjklmnpqrstvwxz24-9]{6,10}-[bcdfghjklmnpqrstvwxz24-9]{5}\b",
                "-HASH-NAME",
            ),
            (r"-[bcdfghjklmnpqrstvwxz24-9]{6,10}\b", "-HASH"),
            (r"-[bcdfghjklmnpqrstvwxz24-9]{5}\b", "-NAME"),
            (
                r"(pod-template-hash[=:] ?)[bcdfghjklmnpqrstvwxz24-9]+\b",
                "${1}HASH",
            ),
            (r"\bnode-\d+\b", "NODE"),
            (r"\b(?:\d{1,3}\.){3}\d{1,3}\b", "IP"),
            (r"\b3[0-2]\d{3}\b", "NODEPORT"),
            (r" \(x\d+ over \w+\)", ""),
            // Twice: neighbours share the blank between them.
            (r"(?m)(^|\s|\()(?:\d+[dhms]){1,3}([\s)]|$)", "${1}AGE${2}"),
            (r"(?m)(^|\s|\()(?:\d+[dhms]){1,3}([\s)]|$)", "${1}AGE${2}"),
            // Columns are as wide as what was masked in them.
            (r"(?m)(\S)(?: {2,}| *\t[\t ]*)", "${1}  "),
            (r"(?m)[ \t]+$", ""),
        ];
        let compiled = masks.map(|(regex, to)| (Regex::new(regex).unwrap(), to));
        Self(compiled.into_iter().collect())
    }

    fn apply(&self, output: &str, dir: &Path) -> String {
        let mut output = output.replace(dir.to_str().unwrap(), "DIR");
        for (regex, to) in &self.0 {
            output = regex.replace_all(&output, *to).into_owned();
        }
        output.trim_end().to_owned()
    }
}

/// Where the commands of a flow run: a folder with the files of `tests/flows/files`, a home of its own, and
/// the `helm` that `HELM` names on the path.
struct Shell {
    work: PathBuf,
    home: PathBuf,
    kubeconfig: PathBuf,
    path: OsString,
    masks: Masks,
}

impl Shell {
    fn new(cluster: &Cluster) -> Self {
        let [work, home, bin] = ["work", "home", "bin"].map(|name| cluster.dir.path().join(name));
        for dir in [&home, &bin] {
            fs::create_dir_all(dir).unwrap();
        }
        copy_all(&Path::new(FLOWS).join("files"), &work);
        copy_all(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/charts/shop")),
            &work.join("chart"),
        );
        if let Some(helm) = std::env::var_os("HELM") {
            std::os::unix::fs::symlink(helm, bin.join("helm")).unwrap();
        }
        // helm warns of one that others can read.
        let kubeconfig = home.join("kubeconfig");
        fs::copy(&cluster.kubeconfig, &kubeconfig).unwrap();
        fs::set_permissions(&kubeconfig, fs::Permissions::from_mode(0o600)).unwrap();
        let mut path = bin.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        Self {
            work,
            home,
            kubeconfig,
            path,
            masks: Masks::new(),
        }
    }

    /// What a command prints, masked, and its exit code.
    fn run(&self, script: &str) -> (String, i32) {
        let output = Command::new("timeout")
            .args(["90", "bash", "-c", &format!("exec 2>&1\n{script}")])
            .current_dir(&self.work)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("LC_ALL", "C")
            .envs(std::env::var_os("HELM4").map(|package| ("HELM4", package)))
            .env(
                "MANIFESTS",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests"),
            )
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        (
            self.masks.apply(&text, &self.work),
            output.status.code().unwrap_or(-1),
        )
    }
}

/// Fails with a word of how to get it unless the program that flows were recorded with is there: others print
/// other things.
fn demand(shell: &Shell, folder: &str) {
    let (version, wanted) = match folder {
        "helm" => (
            "helm version --short; ls -d $HELM4/helm_sdkpy-*.dist-info",
            &["v3.10", "helm_sdkpy-0.1.32"][..],
        ),
        _ => ("kubectl version --client", &["v1.36"][..]),
    };
    let (output, _) = shell.run(version);
    assert!(
        wanted.iter().all(|it| output.contains(it)),
        "`{version}` has to tell of {wanted:?}; .ci/run installs it below target/tools and sets PATH, HELM and \
         HELM4:\n{output}"
    );
}

/// Copies a folder with all that is in it.
fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Runs the flow `tests/flows/FOLDER/NAME.flow` on a cluster that nothing else uses, and tells every answer that differs.
pub(crate) fn run(folder: &str, name: &str, cluster: &Cluster) {
    let file = Path::new(FLOWS).join(folder).join(name).with_extension("flow");
    let mut steps = parse(&fs::read_to_string(&file).unwrap());
    let records = cluster.is_real && std::env::var_os("STEERSMAN_RECORD_FLOWS").is_some();
    cluster.wait("the nodes", Duration::from_mins(1), |it| {
        let ready = "-o=jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
        it.kubectl(&format!("get nodes {ready}")) == "True True True"
    });
    let shell = Shell::new(cluster);
    demand(&shell, folder);
    let mut differences = String::new();
    for step in &mut steps {
        // What is to be recorded settles in a moment.
        let is_new = records && step.output.is_empty();
        let until = Instant::now() + if is_new { Duration::from_secs(5) } else { PATIENCE };
        let (output, code) = loop {
            let (output, code) = shell.run(&step.script);
            let is_as_written = code == step.code && output == step.output.trim_end();
            if is_as_written || !step.is_repeated || Instant::now() > until {
                break (output, code);
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        if code != step.code || output != step.output.trim_end() {
            writeln!(
                differences,
                "{}:{}: {}\n{}",
                file.display(),
                step.line,
                step.script,
                difference(&step.output, step.code, &output, code)
            )
            .unwrap();
        }
        if records && (!step.is_repeated || step.output.is_empty()) {
            step.output = output;
            step.code = code;
        }
    }
    if records {
        fs::write(&file, render(&steps)).unwrap();
    }
    assert!(differences.is_empty() || records, "\n{differences}");
}

/// Lines that only one side has, in order.
fn difference(expected: &str, expected_code: i32, actual: &str, code: i32) -> String {
    let mut text = String::new();
    let (left, right): (Vec<&str>, Vec<&str>) =
        (expected.trim_end().lines().collect(), actual.lines().collect());
    let same = left
        .iter()
        .zip(&right)
        .take_while(|(left, right)| left == right)
        .count();
    let rest = left[same..].iter().rev().zip(right[same..].iter().rev());
    let same_end = rest.take_while(|(left, right)| left == right).count();
    for line in &left[same..left.len() - same_end] {
        writeln!(text, "  - {line}").unwrap();
    }
    for line in &right[same..right.len() - same_end] {
        writeln!(text, "  + {line}").unwrap();
    }
    if expected_code != code {
        writeln!(text, "  exit code {expected_code} expected, got {code}").unwrap();
    }
    text
}

/// Makes a test of each flow of a folder, on the sandbox and on a real API server, and one that none is forgotten.
/// Those of the second list have `steersman run` beside the server.
macro_rules! flows {
    ($folder:literal: $($plain:ident)*; with controllers: $($full:ident)*) => {
        mod sandbox {
            $(#[test] fn $plain() {
                crate::flow::run($folder, stringify!($plain), &crate::cluster::Cluster::sandbox(3));
            })*
            $(#[test] fn $full() {
                let cluster = crate::cluster::Cluster::sandbox(3).with_controllers();
                crate::flow::run($folder, stringify!($full), &cluster);
            })*
        }
        mod real_api_server {
            $(#[test] fn $plain() {
                if let Some(cluster) = crate::cluster::Cluster::real(3) {
                    crate::flow::run($folder, stringify!($plain), &cluster);
                }
            })*
            $(#[test] fn $full() {
                if let Some(cluster) = crate::cluster::Cluster::real(3) {
                    crate::flow::run($folder, stringify!($full), &cluster.with_controllers());
                }
            })*
        }
        #[test]
        fn every_flow_is_run() {
            crate::flow::assert_complete($folder, &[$(stringify!($plain),)* $(stringify!($full),)*]);
        }
    };
}
pub(crate) use flows;

/// Every file of a folder has its test.
pub(crate) fn assert_complete(folder: &str, names: &[&str]) {
    let files = fs::read_dir(Path::new(FLOWS).join(folder)).unwrap();
    let mut files: Vec<String> = files
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    files.sort();
    let mut names = names.to_vec();
    names.sort_unstable();
    assert_eq!(files, names);
}
