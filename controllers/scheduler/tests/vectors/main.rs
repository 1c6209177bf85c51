//! Recorded decisions of kube-scheduler 1.36 (`tests/vectors/scheduler`), compared plugin by plugin. Set
//! `STEERSMAN_VECTORS` to a folder with a `scheduler` folder of the same layout to run other recordings.

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod hints;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod support;

use support::{Case, Report, load};

#[test]
fn vectors_scheduler() {
    let mut report = Report::default();
    let mut cases = 0;
    for file in [
        "resources",
        "strategies",
        "taints",
        "nodeaffinity",
        "hostports",
        "imagelocality",
        "edge",
        "mixed",
    ] {
        for case in load::<Case<cluster::Input, cluster::Expect>>(file) {
            cases += 1;
            cluster::check(&mut report, &case);
        }
    }
    for case in load::<Case<queue::Input, queue::Expect>>("queue") {
        cases += 1;
        queue::check(&mut report, &case);
    }
    for case in load::<Case<hints::Input, hints::Expect>>("hints") {
        cases += 1;
        hints::check(&mut report, &case);
    }
    println!(
        "{cases} cases, {} comparisons, {} differences",
        report.compared,
        report.failures.len()
    );
    for (reason, count) in &report.skipped {
        println!("not compared in {count} cases: {reason}");
    }
    assert!(
        report.failures.is_empty(),
        "{} differences\n{}",
        report.failures.len(),
        report.failures.join("\n")
    );
}
