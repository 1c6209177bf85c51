//! `steersman shadow`: what a running steersman found when it compared its plans with the native controllers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use steersman_shared::shadow::{Divergence, Fault, Report};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::{OutputFormat, ShadowArgs, ShadowReportArgs, ShadowVerb};
use crate::failure::Usage;

/// The admin port answers from memory.
const DEADLINE: Duration = Duration::from_secs(10);

/// Prints the report.
///
/// # Errors
///
/// The admin port is not reached, or does not answer with a report.
pub(crate) async fn run(args: ShadowArgs) -> anyhow::Result<()> {
    let ShadowVerb::Report(args) = args.what;
    let answer = tokio::time::timeout(DEADLINE, fetch(&args)).await;
    let body = answer.with_context(|| format!("--admin {}: no answer", args.admin))??;
    let reports: Vec<Report> = serde_json::from_str(&body)
        .with_context(|| format!("--admin {}: the answer is no shadow report", args.admin))?;
    let printed = match args.output {
        OutputFormat::Text => text(&reports),
        OutputFormat::Json => serde_json::to_string_pretty(&reports)? + "\n",
    };
    std::io::stdout()
        .write_all(printed.as_bytes())
        .context("standard output")
}

/// The body of `/shadow`. Plain HTTP/1.0, so that the body ends with the connection.
async fn fetch(args: &ShadowReportArgs) -> anyhow::Result<String> {
    let told = || format!("--admin {}", args.admin);
    let rest = args.admin.strip_prefix("http://").unwrap_or(&args.admin);
    let address = rest.trim_end_matches('/');
    if address.contains('/') || !address.contains(':') {
        return Err(Usage(anyhow::anyhow!("{} is not http://ADDRESS:PORT", told())).into());
    }
    let mut stream = TcpStream::connect(address).await.with_context(told)?;
    let request = format!("GET /shadow HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.with_context(told)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.with_context(told)?;
    let answer = String::from_utf8(answer).with_context(told)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(told)?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("--admin {}: {status}", args.admin);
    }
    Ok(body.to_owned())
}

/// For people.
fn text(reports: &[Report]) -> String {
    let mut out = String::new();
    if reports.is_empty() {
        out.push_str("No controller of this steersman has a native counterpart.\n");
    }
    for (index, report) in reports.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        // Writing to a string does not fail.
        let _ = controller(&mut out, report);
    }
    out
}

fn controller(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "{}: {}", report.controller, report.standing)?;
    let Report {
        compared,
        agreed,
        diverged,
        open,
        ..
    } = report;
    writeln!(
        out,
        "  rollouts   {compared} compared, {agreed} agreed, {diverged} diverged, {open} under way"
    )?;
    let counted = report.effects.iter().map(|(kind, tally)| match tally.diverged {
        0 => format!("{kind} {}", tally.agreed),
        diverged => format!("{kind} {} (and {diverged} diverged)", tally.agreed),
    });
    let counted: Vec<String> = counted.collect();
    if !counted.is_empty() {
        writeln!(out, "  writes     {}", counted.join(", "))?;
    }
    for divergence in &report.divergences {
        difference(out, divergence)?;
    }
    match (report.divergences.is_empty() && *diverged == 0, *compared) {
        (true, 0) => writeln!(out, "  nothing compared yet"),
        (true, count) => writeln!(out, "  no diff over {count} rollouts"),
        (false, _) => writeln!(
            out,
            "  not ready to take over: look at each difference, or start steersman again to count anew"
        ),
    }
}

fn difference(out: &mut String, divergence: &Divergence) -> std::fmt::Result {
    let what = match divergence.fault {
        Fault::NotDone => "planned, and not done by the native controller",
        Fault::NotPlanned => "done by the native controller or a user, and not planned",
    };
    writeln!(out, "  {} {}: {what}", divergence.at, divergence.object)?;
    let planned = if divergence.planned.is_empty() {
        "nothing".to_owned()
    } else {
        divergence.planned.join("; ")
    };
    writeln!(out, "    planned    {planned}")?;
    if !divergence.observed.is_empty() {
        writeln!(out, "    observed   {}", divergence.observed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use steersman_shared::shadow::Tally;

    use super::*;

    fn report() -> Report {
        Report {
            controller: "deployment".to_owned(),
            standing: "shadow".to_owned(),
            compared: 3,
            agreed: 3,
            effects: [(
                "scale".to_owned(),
                Tally {
                    agreed: 7,
                    diverged: 0,
                },
            )]
            .into(),
            ..Report::default()
        }
    }

    #[test]
    fn take_13_no_diff_is_said_in_so_many_words() {
        assert_eq!(
            text(&[report()]),
            "deployment: shadow\n\
             \x20 rollouts   3 compared, 3 agreed, 0 diverged, 0 under way\n\
             \x20 writes     scale 7\n\
             \x20 no diff over 3 rollouts\n"
        );
    }

    #[test]
    fn take_13_a_difference_shows_both_sides() {
        let mut report = report();
        report.divergences.push(Divergence {
            object: "shop/web".to_owned(),
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            fault: Fault::NotPlanned,
            kind: "scale".to_owned(),
            planned: vec!["scale ReplicaSet web-1: 3 replicas".to_owned()],
            observed: "scale ReplicaSet web-1: 2 replicas".to_owned(),
        });
        let text = text(&[report]);
        for part in [
            "shop/web: done by the native controller or a user, and not planned",
            "planned    scale ReplicaSet web-1: 3 replicas",
            "observed   scale ReplicaSet web-1: 2 replicas",
            "not ready to take over",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
