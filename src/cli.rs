//! The command line: verbs, flags and their help texts.

#[cfg(feature = "sandbox")]
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use steersman_shared::context::Mode;

/// Kubernetes controllers and scheduler in one binary.
///
/// `steersman sandbox --demo` shows what it does without a cluster; `steersman run` works on the cluster of your
/// kubeconfig.
#[derive(Debug, Parser)]
#[command(name = "steersman", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// Log format and level.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

const EXIT_CODES: &str = "Exit codes: 0 success, 1 failure while running, 2 wrong usage or configuration.";

/// Flags that every verb takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    /// How log lines look on standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged: a level (error, warn, info, debug, trace) or directives such as `info,steersman_scheduler=debug`.
    /// Default: info, for the sandbox warn.
    #[arg(long, global = true, env = "STEERSMAN_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the controllers against a cluster: $KUBECONFIG, ~/.kube/config, or in-cluster credentials.
    Run(RunArgs),
    /// Start a throw-away cluster in this process: API server, simulated nodes and all controllers.
    #[cfg(feature = "sandbox")]
    Sandbox(SandboxArgs),
    /// Watch over a rollout that a RolloutPolicy takes in steps: let it go on, or send it back.
    Rollout(RolloutArgs),
    /// Print the definitions of steersman's custom resources: `steersman crds | kubectl apply -f -`.
    Crds,
    /// Tell what the controllers would do next with a Deployment or ReplicaSet, and what holds it up.
    ///
    /// Reads the object, its ReplicaSets and its pods once and writes nothing. It works whichever controllers run in the
    /// cluster: the plan is the one that `steersman run` would make now.
    Explain(ExplainArgs),
    /// Tell how far the plans of a running steersman agree with what the native controllers do.
    Shadow(ShadowArgs),
    /// Print the version and the Kubernetes API version it is built for.
    Version,
}

impl Verb {
    /// What is logged unless something else is asked for: the sandbox's own output is for a person. The client library
    /// repeats each failed watch, which ours tell once, and logs whole bodies that do not decode.
    pub(crate) fn default_log(&self) -> &'static str {
        match self {
            #[cfg(feature = "sandbox")]
            Self::Sandbox(_) => "warn,kube_runtime=error,kube_client=error",
            Self::Run(_) | Self::Crds | Self::Version => "info,kube_runtime=error,kube_client=error",
            Self::Explain(_) | Self::Rollout(_) | Self::Shadow(_) => "warn,kube_client=off",
        }
    }
}

/// Which cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file; default: $KUBECONFIG, then ~/.kube/config, then the in-cluster service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: its current context.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For a person.
    Text,
    /// For programs: one JSON document.
    Json,
}

/// Flags of `steersman shadow`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShadowArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) what: ShadowVerb,
}

/// What can be done about shadow mode.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ShadowVerb {
    /// Print per controller the rollouts compared, agreed and diverged, and each divergence.
    ///
    /// Asks the admin port of a `steersman run` whose controllers are in shadow or stand by. "no diff over N rollouts"
    /// is the sign to go on: switch the native controller off and ours to active.
    Report(ShadowReportArgs),
}

/// Flags of `steersman shadow report`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShadowReportArgs {
    /// Admin address of the running steersman.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8085")]
    pub(crate) admin: String,
    /// How the report is printed.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
}

/// Flags of `steersman explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// Kind of the object.
    #[arg(value_enum, ignore_case = true)]
    pub(crate) kind: ExplainKind,
    /// The object; without a namespace in the one of the kubeconfig's context.
    #[arg(value_name = "NAMESPACE/NAME")]
    pub(crate) object: ObjectName,
    /// How the result is printed.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Flags of `steersman rollout`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RolloutArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: RolloutVerb,
}

/// The verbs of `steersman rollout`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum RolloutVerb {
    /// Print how far the rollout of a Deployment is.
    Status(RolloutObject),
    /// Let the rollout leave the step that it waits at.
    Promote {
        /// Leave all steps: the rollout goes on to its end.
        #[arg(long)]
        all: bool,
        /// Which Deployment.
        #[command(flatten)]
        object: RolloutObject,
    },
    /// Send the rollout back to the last revision that was complete.
    Abort(RolloutObject),
}

/// A Deployment of a cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct RolloutObject {
    /// The Deployment; without a namespace in the one of the kubeconfig's context.
    #[arg(value_name = "NAMESPACE/NAME")]
    pub(crate) object: ObjectName,
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// What can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainKind {
    /// A Deployment with its ReplicaSets and pods.
    #[value(aliases = ["deployments", "deploy", "deployment.apps"])]
    Deployment,
    /// A ReplicaSet with its pods.
    #[value(aliases = ["replicasets", "rs", "replicaset.apps"])]
    Replicaset,
}

/// An object by name, with its namespace if that is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectName {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl std::str::FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        for (part, what) in [(namespace, "namespace"), (Some(name), "name")] {
            if let Some(part) = part.filter(|part| !is_object_name(part)) {
                return Err(format!(
                    "{part:?} is no {what} of an object (lower-case letters, digits, '-' and '.'); write it as NAMESPACE/NAME, like shop/web"
                ));
            }
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

/// Whether the API server takes that as a name (RFC 1123 subdomain).
fn is_object_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Flags of `steersman run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// Kubeconfig file; default: $KUBECONFIG, then ~/.kube/config, then the in-cluster service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; default: its current context.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// How the controllers run.
    #[command(flatten)]
    pub(crate) controllers: ControllerArgs,
    /// Take the leader lease in this namespace.
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub(crate) lease_namespace: String,
    /// Name of the leader lease: only one holder of it writes.
    #[arg(long, value_name = "NAME", default_value = "steersman")]
    pub(crate) lease_name: String,
    /// Say that no kube-controller-manager exists, not even one that is down: active controllers then start at once.
    ///
    /// Without it, a controller made active waits until the native one is proven to be off: a probe object in the
    /// lease's namespace stays untouched for 30 s while kube-controller-manager is alive (its Lease in kube-system is
    /// renewed). With or without it, a native controller that is seen at work makes ours stand by.
    #[arg(long)]
    pub(crate) no_native_controller_manager: bool,
    /// Seconds that the guard's probe has to stay untouched before a controller acts. Less than 30 only in tests.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) guard_quiet_seconds: u64,
    /// Seconds that a native controller gets for a write that ours would make, before the difference is reported.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) shadow_window_seconds: u64,
    /// Write without a leader lease. Only right while no second copy can run.
    #[arg(long)]
    pub(crate) no_leader_election: bool,
    /// Serve /healthz, /readyz, /metrics and /shadow on this address; port 0 takes a free one, `off` serves nothing.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8085")]
    pub(crate) admin_address: String,
}

/// Which controllers run, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct ControllerArgs {
    /// Mode of a controller as NAME=MODE; NAME is deployment, replicaset, scheduler or all, MODE is active, shadow
    /// (plans are logged and counted, nothing is written) or off. Repeatable, later ones win.
    ///
    /// Without it, deployment and replicaset shadow the cluster's own controllers, and the scheduler is active for
    /// the pods that name it. An active deployment or replicaset controller stands by, which is shadow, for as long
    /// as the native one may be at work.
    #[arg(long = "mode", value_name = "NAME=MODE", value_parser = parse_mode)]
    pub(crate) modes: Vec<(ControllerName, Mode)>,
    /// Schedule the pods whose spec.schedulerName is this; repeatable.
    #[arg(long = "scheduler-name", value_name = "NAME", default_values_t = [String::from("steersman")])]
    pub(crate) scheduler_names: Vec<String>,
}

/// A controller of this program, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ControllerName {
    /// Deployments.
    Deployment,
    /// ReplicaSets.
    Replicaset,
    /// The scheduler.
    Scheduler,
    /// Every one.
    All,
}

fn parse_mode(text: &str) -> Result<(ControllerName, Mode), String> {
    let (name, mode) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not NAME=MODE"))?;
    let name = ControllerName::from_str(name, true)
        .map_err(|_| format!("{name:?} is no controller: deployment, replicaset, scheduler or all"))?;
    let mode = match mode {
        "active" => Mode::Active,
        "shadow" => Mode::Shadow,
        "off" => Mode::Off,
        other => return Err(format!("{other:?} is no mode: active, shadow or off")),
    };
    Ok((name, mode))
}

impl ControllerArgs {
    /// The mode of one controller, given what it is by default.
    pub(crate) fn mode(&self, name: ControllerName, default: Mode) -> Mode {
        let chosen = self
            .modes
            .iter()
            .rev()
            .find(|(of, _)| *of == name || *of == ControllerName::All);
        chosen.map_or(default, |(_, mode)| *mode)
    }
}

/// Flags of `steersman sandbox`.
#[cfg(feature = "sandbox")]
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent command line switches")]
pub(crate) struct SandboxArgs {
    /// Number of simulated nodes; default: 5, or none beside those of --load and --data.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub(crate) nodes: Option<u32>,
    /// Number of zones that the nodes are spread over.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) zones: u32,
    /// Address to listen on. Without --rbac every caller is administrator: keep it on loopback.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub(crate) address: IpAddr,
    /// Port of the API server; 0 takes a free one.
    #[arg(long, value_name = "P", default_value_t = 0)]
    pub(crate) port: u16,
    /// Serve plain HTTP instead of HTTPS.
    #[arg(long)]
    pub(crate) http: bool,
    /// Write the kubeconfig to this file; default: steersman-sandbox.kubeconfig in the temporary directory.
    #[arg(long, value_name = "F")]
    pub(crate) kubeconfig_out: Option<PathBuf>,
    /// Keep the cluster in this directory and go on with it at the next start; default: in memory only.
    ///
    /// A write is answered when it is on disk: nothing acknowledged is lost, whatever ends the process.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Enforce RBAC: a caller may do what the stored roles and bindings give it, the kubeconfig's user everything.
    #[arg(long)]
    pub(crate) rbac: bool,
    /// Bearer token that makes its bearer the administrator, for clients without the kubeconfig's certificate; with
    /// --rbac and --http the kubeconfig needs it.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "STEERSMAN_ADMIN_TOKEN",
        hide_env_values = true
    )]
    pub(crate) admin_token: Option<String>,
    /// Start from a dump of a cluster, the output of `kubectl get … -o yaml` or `-o json`; `-` reads standard input;
    /// repeatable.
    ///
    /// Objects with a uid stay as they are in the dump (uid, times, status, owners, addresses, node names; only the
    /// resource version is new), others are created like by `kubectl create`. Nodes of the dump become simulated nodes,
    /// which go on with their pods; nodes that were not ready stay silent. For example:
    ///
    /// kubectl get namespaces,crds,nodes,pods,deploy,rs,services,pdb,priorityclasses -A -o yaml > dump.yaml
    ///
    /// What cannot be loaded is named with file, document and object; the rest goes on. With --data, a directory that
    /// already holds a cluster goes on with that, and nothing is loaded.
    #[arg(long, value_name = "FILE")]
    pub(crate) load: Vec<PathBuf>,
    /// Start no API server: run only the simulated nodes, on the cluster of this kubeconfig.
    #[arg(long, value_name = "KUBECONFIG", conflicts_with_all = ["port", "http", "kubeconfig_out", "data", "rbac", "admin_token"])]
    pub(crate) external: Option<PathBuf>,
    /// With --external: also do kube-controller-manager's other work (garbage collection, namespaces, service
    /// accounts), for API servers that run without one.
    #[arg(long, requires = "external")]
    pub(crate) housekeeping: bool,
    /// Start without steersman's controllers and definitions, to run them beside it with `steersman run`.
    #[arg(long)]
    pub(crate) no_controllers: bool,
    /// How long a simulated container takes from its start to ready, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub(crate) start_delay_ms: u64,
    /// Roll out a small shop, update it, and show both as they happen.
    #[arg(long, conflicts_with_all = ["external", "no_controllers"])]
    pub(crate) demo: bool,
    /// With --demo: end when the demo is through instead of serving until Ctrl-C.
    #[arg(long, requires = "demo")]
    pub(crate) exit: bool,
    /// Store objects without defaulting checks on their content (field validation off).
    #[arg(long)]
    pub(crate) no_validation: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sty_8_the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn issue_4_objects_are_named_by_namespace_and_name() {
        let parsed = |text: &str| text.parse::<ObjectName>().ok().map(|it| (it.namespace, it.name));
        assert_eq!(
            parsed("shop/web"),
            Some((Some("shop".to_owned()), "web".to_owned()))
        );
        assert_eq!(parsed("web.v2"), Some((None, "web.v2".to_owned())));
        for bad in ["", "shop/", "/web", "a/b/c", "Web", "shop/-web", "../x", "a..b"] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn take_14_controllers_shadow_unless_told_otherwise() {
        let args = |text: &[&str]| {
            let cli = Cli::try_parse_from([&["steersman", "run"], text].concat()).unwrap();
            let Verb::Run(run) = cli.verb else { panic!("run") };
            run.controllers
        };
        assert_eq!(
            args(&[]).mode(ControllerName::Deployment, Mode::Shadow),
            Mode::Shadow
        );
        let all = args(&["--mode", "all=active", "--mode", "replicaset=off"]);
        assert_eq!(all.mode(ControllerName::Deployment, Mode::Shadow), Mode::Active);
        assert_eq!(all.mode(ControllerName::Replicaset, Mode::Shadow), Mode::Off);
        assert!(Cli::try_parse_from(["steersman", "run", "--mode", "deployment=maybe"]).is_err());
    }
}
