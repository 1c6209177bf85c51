//! Serves an empty API server in plain HTTP on a loopback port, without nodes and controllers:
//! `cargo run -p steersman-sandbox --example serve -- 8080`, then `kubectl --server http://127.0.0.1:8080 get ns`.

use std::{error::Error, io::Write};

use steersman_sandbox::{Config, Server};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).as_deref().unwrap_or("0").parse()?;
    let server = Server::start(Config::default())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    let stop = CancellationToken::new();
    tokio::select! {
        ended = server.serve(listener, None, stop.clone()) => ended?,
        signal = tokio::signal::ctrl_c() => signal?,
    }
    Ok(())
}
