//! `steersman run`: the controllers against a cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use steersman_shared::guard;
use steersman_shared::supervisor::Supervisor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Admin, Pulse};
use crate::cli::RunArgs;
use crate::failure::{Usage, report};
use crate::manager::{Controllers, Election, Manager};
use crate::signals;

/// Writes in flight get so long to finish after a signal (STY-77).
pub(crate) const DRAIN: Duration = Duration::from_secs(10);
/// Pause between two attempts to reach the API server at start.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until a signal.
///
/// # Errors
///
/// Wrong settings, or a part of the program that ended by itself.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    let config = load(args.kubeconfig.as_deref(), args.context.as_deref())
        .await
        .map_err(Usage)?;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config)
        .context("the kubeconfig's credentials")
        .map_err(Usage)?;
    let stop = signals::stop_on_signal()?;
    let window = Duration::from_secs(args.shadow_window_seconds);
    let manager = Manager::new(client.clone(), window, stop.clone());
    let listener = admin::bind(&args.admin_address).await.map_err(Usage)?;

    // The lease is released last, after the controllers have stopped writing.
    let released = CancellationToken::new();
    let mut supervisor = Supervisor::new(stop.clone());
    let mut keeper = Supervisor::new(released.clone());
    let pulse = Pulse::new();
    supervisor.spawn("pulse", pulse.clone().beat(stop.clone()));
    if let Some(listener) = listener {
        let readiness = manager.readiness.clone();
        let registry = Arc::clone(&manager.registry);
        let admin = Admin {
            readiness,
            registry,
            shadows: manager.shadows.clone(),
            pulse,
            stop: stop.clone(),
        };
        keeper.spawn("admin", Arc::new(admin).serve(listener, released.clone()));
    }
    let unreached = manager.readiness.guard("the API server's version");
    if reach(&client, &url, &stop).await {
        drop(unreached);
        let election = if args.no_leader_election {
            warn!("writing without a leader lease: only one copy may run");
            Election::Alone
        } else {
            Election::Lease(args.lease_namespace.clone(), args.lease_name.clone())
        };
        let controllers = Controllers::from_args(&args.controllers);
        let protection = guard::Config {
            namespace: args.lease_namespace.clone(),
            name: format!("{}-probe", args.lease_name),
            quiet: Duration::from_secs(args.guard_quiet_seconds),
            declared_absent: args.no_native_controller_manager,
        };
        manager.start(
            &mut supervisor,
            &mut keeper,
            &controllers,
            election,
            Some(protection),
            &released,
        )?;
    }
    // Outcome of the controllers first: it is the reason why the process ends.
    let ended = supervisor.run(DRAIN).await;
    released.cancel();
    let kept = keeper.run(DRAIN).await;
    ended.and(kept).context("a part of the program ended")?;
    info!("stopped");
    Ok(())
}

/// Asks for the server's version until it answers; tells the trouble once per state, not once per attempt. `false`: the
/// process is to stop.
async fn reach(client: &Client, url: &str, stop: &CancellationToken) -> bool {
    let mut told = String::new();
    loop {
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            // Cancel-safe: a read.
            answer = client.apiserver_version() => answer,
        };
        match answer {
            Ok(version) => {
                info!(url, version = version.git_version, "connected to the API server");
                return true;
            }
            Err(error) => {
                let trouble = report(&error);
                if trouble != told {
                    warn!(
                        url,
                        verb = "get",
                        resource = "/version",
                        error = trouble,
                        "API server not reached, trying again"
                    );
                    told = trouble;
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Loads a kubeconfig, or finds the credentials where kubectl would.
///
/// # Errors
///
/// The file or context is missing or not usable; the message names it.
pub(crate) async fn load(file: Option<&Path>, context: Option<&str>) -> anyhow::Result<Config> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    if let Some(file) = file {
        let kubeconfig =
            Kubeconfig::read_from(file).with_context(|| format!("kubeconfig {}", file.display()))?;
        return Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(|| format!("kubeconfig {}", file.display()));
    }
    if context.is_some() {
        return Config::from_kubeconfig(&options)
            .await
            .context("kubeconfig of $KUBECONFIG or ~/.kube/config");
    }
    Config::infer().await.context(
        "no cluster: neither --kubeconfig, $KUBECONFIG, ~/.kube/config nor in-cluster credentials; \
         `steersman sandbox` needs none",
    )
}
