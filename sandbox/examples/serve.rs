//! Serves an empty API server in plain HTTP on a loopback port, without nodes and controllers:
//! `cargo run -p steersman-sandbox --example serve -- 8080`, then `kubectl --server http://127.0.0.1:8080 get ns`.
//! `--rbac` enforces roles, with `--token TOKEN` for the administrator; `--service-accounts` runs the admission of
//! service accounts and creates the default ones.

use std::{error::Error, io::Write, sync::Arc};

use steersman_sandbox::{Config, Server, clock::WallClock, housekeeping};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let port: u16 = arguments.first().map_or("0", String::as_str).parse()?;
    let token = arguments
        .iter()
        .skip_while(|argument| *argument != "--token")
        .nth(1);
    let config = Config {
        rbac: has("--rbac"),
        admin_token: token.cloned(),
        service_account_admission: has("--service-accounts"),
        ..Config::default()
    };
    let server = Server::start(config)?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    let stop = CancellationToken::new();
    let accounts = housekeeping::Config {
        garbage_collector: false,
        namespaces: false,
        service_accounts: has("--service-accounts"),
        quotas: false,
        cluster_roles: false,
        ..housekeeping::Config::default()
    };
    let clock = Arc::new(WallClock);
    tokio::select! {
        () = housekeeping::run(server.client(), accounts, clock, stop.clone()), if has("--service-accounts") => {}
        ended = server.serve(listener, None, stop.clone()) => ended?,
        signal = tokio::signal::ctrl_c() => signal?,
    }
    Ok(())
}
