//! `steersman sandbox`: API server, simulated nodes and all controllers in this process, or the simulated nodes alone
//! on another API server.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use steersman_sandbox::clock::{Clock, WallClock};
use steersman_sandbox::housekeeping;
use steersman_sandbox::nodes::{self, Simulation};
use steersman_sandbox::tls::Certificates;
use steersman_sandbox::{Config, Server};
use steersman_shared::shadow::WINDOW;
use steersman_shared::supervisor::Supervisor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::SandboxArgs;
use crate::crds;
use crate::demo;
use crate::dump;
use crate::failure::Usage;
use crate::manager::Manager;
use crate::run::{DRAIN, load};
use crate::signals;

/// Simulated nodes of a cluster that has none and was not told how many.
const NODES: u32 = 5;

/// Runs until a signal, or to the end of the demo with `--exit`.
///
/// # Errors
///
/// Wrong settings, a port or file that cannot be used, or a part that ended by itself.
pub(crate) async fn run(args: SandboxArgs) -> anyhow::Result<()> {
    let stop = signals::stop_on_signal()?;
    match &args.external {
        Some(kubeconfig) => external(&args, kubeconfig, stop).await,
        None => embedded(&args, stop).await,
    }
}

async fn external(args: &SandboxArgs, kubeconfig: &Path, stop: CancellationToken) -> anyhow::Result<()> {
    let config = load(Some(kubeconfig), None).await.map_err(Usage)?;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config)
        .context("the kubeconfig's credentials")
        .map_err(Usage)?;
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let mut supervisor = Supervisor::new(stop.clone());
    let count = args.nodes.unwrap_or(NODES);
    start_nodes(&mut supervisor, args, (count, Vec::new()), &client, &clock, &stop)?;
    if args.housekeeping {
        start_housekeeping(
            &mut supervisor,
            &client,
            &clock,
            housekeeping::Config::default(),
            &stop,
        );
    }
    say(&format!("{count} simulated nodes on {url}, until Ctrl-C"))?;
    supervisor.run(DRAIN).await.context("a part of the program ended")
}

async fn embedded(args: &SandboxArgs, stop: CancellationToken) -> anyhow::Result<()> {
    if args.rbac && args.http && args.admin_token.is_none() {
        return Err(Usage(anyhow::anyhow!(
            "--rbac with --http needs --admin-token: without TLS there is no client certificate"
        ))
        .into());
    }
    let config = Config {
        validation: !args.no_validation,
        rbac: args.rbac,
        service_account_admission: true,
        admin_token: args.admin_token.clone(),
        data: args.data.clone(),
        ..Config::default()
    };
    let server = Server::start(config).context("the API server")?;
    let (count, adopted) = fill(&server, args)?;
    let listener = TcpListener::bind(SocketAddr::new(args.address, args.port))
        .await
        .with_context(|| format!("--address {} --port {} cannot be bound", args.address, args.port))
        .map_err(Usage)?;
    let bound = listener.local_addr().context("the listener's address")?;
    let certificates = if args.http {
        None
    } else {
        Some(Certificates::generate(&[args.address])?)
    };
    let tls = certificates
        .as_ref()
        .map(Certificates::server_config)
        .transpose()?;
    let scheme = if args.http { "http" } else { "https" };
    let reachable = if bound.ip().is_unspecified() {
        "127.0.0.1".parse()?
    } else {
        bound.ip()
    };
    let url = format!("{scheme}://{}", SocketAddr::new(reachable, bound.port()));

    // The API server ends after everything that uses it.
    let finished = CancellationToken::new();
    let mut keeper = Supervisor::new(finished.clone());
    let api = server.clone();
    let until = finished.clone();
    keeper.spawn("API server", async move { api.serve(listener, tls, until).await });
    if args.data.is_some() {
        let (server, until) = (server.clone(), finished.clone());
        keeper.spawn("data directory", async move { server.keep_data(until).await });
    }

    let (events, until) = (server.clone(), finished.clone());
    keeper.spawn("event expiry", async move {
        events.expire_events(until).await;
        Ok::<_, Infallible>(())
    });

    let client = server.client();
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let mut supervisor = Supervisor::new(stop.clone());
    let authority = certificates
        .as_ref()
        .map(|certificates| certificates.authority.clone());
    let config = housekeeping::Config {
        root_ca: authority,
        token_signer: Some(server.token_signer()),
        ..housekeeping::Config::default()
    };
    start_housekeeping(&mut supervisor, &client, &clock, config, &stop);
    let total = nodes::Config::total(usize::try_from(count)?, &adopted);
    start_nodes(&mut supervisor, args, (count, adopted), &client, &clock, &stop)?;
    if !args.no_controllers {
        crds::install(&client).await?;
        let manager = Manager::new(client.clone(), WINDOW, stop.clone());
        manager.start_alone(&mut supervisor, &mut keeper, &finished)?;
    }

    let path = args.kubeconfig_out.clone().unwrap_or_else(default_kubeconfig);
    write_private(&path, &server.kubeconfig(&url, certificates.as_ref())?)?;
    say(&format!(
        "API server {url}, {total} simulated nodes; kubeconfig {}",
        path.display()
    ))?;
    if args.demo {
        let (client, stop, stay) = (client.clone(), stop.clone(), !args.exit);
        let hint = path.clone();
        supervisor.spawn(
            "demo",
            async move { show_demo(&client, &hint, stay, &stop).await },
        );
    } else {
        say(&format!(
            "try: kubectl --kubeconfig {} get nodes   (Ctrl-C ends it)",
            path.display()
        ))?;
    }
    let ended = supervisor.run(DRAIN).await;
    finished.cancel();
    let kept = keeper.run(DRAIN).await;
    ended.and(kept).context("a part of the program ended")
}

/// Loads the dumps; returns how many nodes to simulate, and which others: those of a dump and of earlier runs go on.
fn fill(server: &Server, args: &SandboxArgs) -> anyhow::Result<(u32, Vec<String>)> {
    if server.is_restored() && !args.load.is_empty() {
        say("--data holds a cluster already: it goes on with that, nothing is loaded")?;
    } else if !args.load.is_empty() {
        dump::load(server, &args.load)?;
    }
    let adopted = server.simulated_nodes();
    let count = args.nodes.unwrap_or(if adopted.is_empty() { NODES } else { 0 });
    Ok((count, adopted))
}

async fn show_demo(
    client: &Client,
    kubeconfig: &Path,
    stay: bool,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        // Not resumed after `stop`: the process ends.
        done = demo::run(client, &mut out) => done?,
    }
    if !stay {
        writeln!(
            out,
            "\nWithout --exit the cluster stays, to look around with kubectl."
        )?;
        stop.cancel();
        return Ok(());
    }
    let kubectl = format!("kubectl --kubeconfig {} -n shop", kubeconfig.display());
    writeln!(
        out,
        "\nLook around:\n  {kubectl} get deployments,replicasets,pods -o wide"
    )?;
    writeln!(
        out,
        "  {kubectl} rollout undo deployment/web\n  {kubectl} scale deployment/catalog --replicas=12"
    )?;
    writeln!(out, "Ctrl-C ends it.")?;
    stop.cancelled().await;
    Ok(())
}

fn start_nodes(
    supervisor: &mut Supervisor,
    args: &SandboxArgs,
    (count, adopted): (u32, Vec<String>),
    client: &Client,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let delay = Duration::from_millis(args.start_delay_ms);
    let config = nodes::Config {
        count: usize::try_from(count)?,
        adopted,
        zones: usize::try_from(args.zones)?,
        start_delay: delay * 2 / 5,
        ready_delay: delay * 3 / 5,
        ..nodes::Config::default()
    };
    let simulation = Simulation::new(client.clone(), config, Arc::clone(clock))
        .context("--nodes")
        .map_err(Usage)?;
    let stop = stop.clone();
    supervisor.spawn("simulated nodes", async move {
        simulation.run(stop).await;
        Ok::<_, Infallible>(())
    });
    Ok(())
}

fn start_housekeeping(
    supervisor: &mut Supervisor,
    client: &Client,
    clock: &Arc<dyn Clock>,
    config: housekeeping::Config,
    stop: &CancellationToken,
) {
    let (client, clock, stop) = (client.clone(), Arc::clone(clock), stop.clone());
    supervisor.spawn("housekeeping", async move {
        housekeeping::run(client, config, clock, stop).await;
        Ok::<_, Infallible>(())
    });
}

fn default_kubeconfig() -> PathBuf {
    std::env::temp_dir().join("steersman-sandbox.kubeconfig")
}

/// Writes a file with a key in it: readable by its owner only, complete or not at all.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let told = || format!("--kubeconfig-out {}", path.display());
    let part = path.with_extension("part");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&part)
        .with_context(told)?;
    file.write_all(text.as_bytes()).with_context(told)?;
    std::fs::rename(&part, path).with_context(told)?;
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output")
}
