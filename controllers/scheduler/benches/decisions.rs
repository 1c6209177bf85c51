//! Decisions per second on 1,000 nodes with 10,000 bound pods, without the API server. Prints one figure per line.

use std::io::{self, Write as _};
use std::sync::Arc;

use steersman_scheduler::config::Config;
use steersman_scheduler::cycle::{Scheduler, Step};
use steersman_shared::cache::Change;
use steersman_shared::testing::{T0, node, pod};
use tokio::time::Instant;

const NODES: usize = 1000;
const BOUND: usize = 10_000;
const PENDING: usize = 5000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut scheduler = Scheduler::new(&Config::default())?;
    for index in 0..NODES {
        let built = node(&format!("n{index}")).zone(&format!("z{}", index % 3));
        let built = built
            .allocatable("cpu", "32")
            .allocatable("memory", "128Gi")
            .allocatable("pods", "110");
        scheduler.observe_node(&Change::Added(Arc::new(built.build())), T0);
    }
    for index in 0..BOUND {
        let built = pod(&format!("b{index}"))
            .requests("cpu", "500m")
            .requests("memory", "1Gi");
        let built = built.on(&format!("n{}", index % NODES));
        scheduler.observe_pod(&Change::Added(Arc::new(built.build())), T0);
    }
    let started = Instant::now();
    for index in 0..PENDING {
        let built = pod(&format!("p{index}"))
            .requests("cpu", "100m")
            .requests("memory", "500Mi");
        scheduler.observe_pod(&Change::Added(Arc::new(built.scheduler("steersman").build())), T0);
    }
    let intake = started.elapsed();
    let started = Instant::now();
    let mut bound = 0;
    while let Some(step) = scheduler.step(T0) {
        bound += usize::from(matches!(step, Step::Bind(_)));
    }
    let deciding = started.elapsed();
    let mut out = io::stdout().lock();
    let per_second =
        |count: usize, seconds: f64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
    writeln!(
        out,
        "scheduler_intake_pods_per_second {:.0}",
        per_second(PENDING, intake.as_secs_f64())
    )?;
    writeln!(
        out,
        "scheduler_decisions_per_second {:.0}",
        per_second(bound, deciding.as_secs_f64())
    )?;
    Ok(())
}
