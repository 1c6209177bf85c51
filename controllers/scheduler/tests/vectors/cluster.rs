//! Decisions on small clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Deserialize;
use serde_json::Value;
use steersman_scheduler::cluster::Cluster;
use steersman_scheduler::plan::plugins::{AddedAffinity, BalancedAllocationArgs, Cycle, FitArgs};
use steersman_scheduler::plan::pod::PodInfo;
use steersman_scheduler::plan::table::NodeRow;
use steersman_scheduler::plan::{self, Decision, Explanation, Outcome, Profile, ProfileArgs};

use crate::support::{Case, Report, is_ours};

/// Weights of the score plugins that do not exist here yet.
const OTHER_WEIGHTS: [(&str, i64); 4] = [
    ("VolumeBinding", 1),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 2),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Input {
    pod: Pod,
    #[serde(default)]
    nodes: Vec<Node>,
    #[serde(default)]
    pods: Vec<Pod>,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
}

#[derive(Deserialize)]
struct PluginConfig {
    name: String,
    args: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Expect {
    pre_filter: Option<Verdict>,
    pre_filter_nodes: Option<BTreeSet<String>>,
    #[serde(default)]
    nodes: BTreeMap<String, Verdict>,
    #[serde(default)]
    score_skipped: Vec<String>,
    scores: Option<BTreeMap<String, Scores>>,
    #[serde(default)]
    best: BTreeSet<String>,
    #[serde(default)]
    rejecting_plugins: BTreeSet<String>,
    message: Option<String>,
    post_filter: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[expect(clippy::struct_field_names, reason = "as in the recordings")]
struct Verdict {
    verdict: String,
    plugin: Option<String>,
    #[serde(default)]
    reasons: Vec<String>,
}

#[derive(Deserialize)]
struct Scores {
    plugins: BTreeMap<String, Score>,
    total: i64,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Score {
    raw: i64,
    norm: i64,
}

fn profile(configs: &[PluginConfig]) -> Profile {
    let mut args = ProfileArgs::default();
    for config in configs {
        let mut value = config.args.clone();
        if let Some(object) = value.as_object_mut() {
            object.remove("apiVersion");
            object.remove("kind");
        }
        match config.name.as_str() {
            "NodeResourcesFit" => args.fit = serde_json::from_value::<FitArgs>(value).unwrap(),
            "NodeResourcesBalancedAllocation" => {
                args.balanced = serde_json::from_value::<BalancedAllocationArgs>(value).unwrap();
            }
            "NodeAffinity" => {
                let added = serde_json::from_value(value["addedAffinity"].clone()).unwrap();
                args.added_affinity = AddedAffinity::parse(&added).unwrap();
            }
            other => assert!(!is_ours(other), "arguments of {other} are not read by this test"),
        }
    }
    Profile::new(args)
}

/// Compares one case.
pub(crate) fn check(report: &mut Report, case: &Case<Input, Expect>) {
    let label = format!("{} ({})", case.name, case.covers.join(" "));
    let (input, expect) = (&case.input, &case.expect);
    if input.pods.iter().any(is_nominated) {
        return report.skip("other pods are nominated: nominated pods are not counted yet (SCH-64)");
    }
    let profile = profile(&input.plugin_config);
    let cluster = cluster(input);
    let mut pod = PodInfo::new(Arc::new(input.pod.clone()));
    // The plugins that exist are compared even where others would have to agree; a nomination would end the search.
    pod.unsupported.clear();
    pod.nominated = None;
    let table = cluster.table();
    let decision = plan::decide(&profile, table, &pod, 7);
    let ours = decision.explain(table);
    if let Some(want) = &expect.pre_filter {
        check_rejection(report, &label, &decision, want);
    } else {
        let names = |names: &BTreeSet<Arc<str>>| names.iter().map(ToString::to_string).collect();
        report.same(
            &label,
            "PreFilter nodes",
            &ours.restricted_to.as_ref().map(names),
            &expect.pre_filter_nodes,
        );
    }
    let judged_by_others = check_verdicts(report, &label, &ours, expect);
    if let Some(want) = &expect.scores {
        check_scores(report, &label, &profile, Cycle { table, pod: &pod }, want, expect);
    }
    if judged_by_others > 0 {
        report.skip(
            "message and rejecting plugins: some node is rejected by a plugin that does not exist here yet",
        );
    } else if let Some(message) = &expect.message {
        let preemption = expect.post_filter.as_deref().unwrap_or_default();
        let want = message.strip_suffix(preemption).unwrap_or(message).trim_end();
        // Upstream's stray text after PreFilter rejections may be dropped (SCH-60).
        let want = want.strip_suffix(" not found").unwrap_or(want);
        report.same(
            &label,
            "message",
            &ours.failure.clone().unwrap_or_default(),
            &want.to_owned(),
        );
        let plugins = ours
            .rejecting_plugins
            .iter()
            .map(|plugin| plugin.as_str().to_owned())
            .collect();
        report.same(&label, "rejecting plugins", &plugins, &expect.rejecting_plugins);
    }
}

fn is_nominated(pod: &Pod) -> bool {
    let status = pod
        .status
        .as_ref()
        .and_then(|status| status.nominated_node_name.as_deref());
    pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none())
        && status.is_some_and(|node| !node.is_empty())
}

fn cluster(input: &Input) -> Cluster {
    let mut cluster = Cluster::default();
    for node in &input.nodes {
        cluster.table_mut().set_node(node);
    }
    for pod in &input.pods {
        let pod = PodInfo::new(Arc::new(pod.clone()));
        if let Some(node) = pod.node.clone() {
            cluster.confirm(Arc::new(pod), &node);
        }
    }
    cluster
}

fn check_rejection(report: &mut Report, label: &str, decision: &Decision, want: &Verdict) {
    if !want.plugin.as_deref().is_some_and(is_ours) {
        return report.skip("rejected before nodes are looked at by a plugin that does not exist here yet");
    }
    let Outcome::Rejected { plugins, message, .. } = &decision.outcome else {
        return report.failures.push(format!(
            "{label}: not rejected by PreFilter: {:?}",
            decision.outcome
        ));
    };
    report.same(label, "PreFilter reason", &vec![message.clone()], &want.reasons);
    let plugins: Vec<&str> = plugins.iter().map(|plugin| plugin.as_str()).collect();
    report.same(
        label,
        "PreFilter plugin",
        &plugins,
        &want.plugin.iter().map(String::as_str).collect(),
    );
}

/// Compares what is said of each node. Returns how many nodes plugins reject that do not exist here.
fn check_verdicts(report: &mut Report, label: &str, ours: &Explanation, expect: &Expect) -> usize {
    let mut judged_by_others = 0;
    for (name, want) in &expect.nodes {
        let ours = &ours.nodes[name.as_str()];
        let ours = Verdict {
            verdict: ours.verdict.to_owned(),
            plugin: ours.plugin.map(|plugin| plugin.as_str().to_owned()),
            reasons: ours.reasons.clone(),
        };
        if want.plugin.as_deref().is_some_and(|plugin| !is_ours(plugin)) {
            // The plugins here come first in the default order, so all of them let the pod pass.
            judged_by_others += 1;
            let pass = Verdict {
                verdict: "Pass".to_owned(),
                plugin: None,
                reasons: Vec::new(),
            };
            report.same(label, &format!("verdict on {name} before {want:?}"), &ours, &pass);
        } else {
            report.same(label, &format!("verdict on {name}"), &ours, want);
        }
    }
    if let (0, Some(node)) = (judged_by_others, &ours.node) {
        let chosen = expect.nodes.get(&**node).map(|want| want.verdict.as_str());
        report.same(label, "verdict on the chosen node", &chosen, &Some("Pass"));
    }
    judged_by_others
}

fn check_scores(
    report: &mut Report,
    label: &str,
    profile: &Profile,
    cycle: Cycle<'_>,
    want: &BTreeMap<String, Scores>,
    expect: &Expect,
) {
    let rows: Vec<NodeRow> = want.keys().map(|name| cycle.table.row(name).unwrap()).collect();
    let ranking = plan::rank(profile, cycle, &rows).unwrap();
    let ours = ranking.explain(cycle.table, &rows);
    let skipped: BTreeSet<&str> = ranking.skipped.iter().map(|plugin| plugin.as_str()).collect();
    let want_skipped = expect
        .score_skipped
        .iter()
        .map(String::as_str)
        .filter(|plugin| is_ours(plugin))
        .collect();
    report.same(label, "plugins that do not score", &skipped, &want_skipped);
    let mut others = BTreeSet::new();
    for (name, want) in want {
        let ours = &ours[name.as_str()];
        let mut total = ours.total.0;
        for (plugin, want) in &want.plugins {
            if let Some(ours) = ours.plugins.get(plugin.as_str()) {
                let ours = Score {
                    raw: ours.raw.0,
                    norm: ours.norm.0,
                };
                report.same(label, &format!("score of {plugin} for {name}"), &ours, want);
            } else {
                let weight = OTHER_WEIGHTS
                    .iter()
                    .find(|(other, _)| other == plugin)
                    .map_or(0, |(_, weight)| *weight);
                report.same(
                    label,
                    &format!("{plugin} scores {name}"),
                    &is_ours(plugin),
                    &false,
                );
                total += weight * want.norm;
            }
        }
        others.insert(total - ours.total.0);
        report.same(label, &format!("total of {name}"), &total, &want.total);
    }
    if others.len() > 1 {
        return report.skip("best nodes: a plugin that does not exist here yet tells them apart");
    }
    let best: BTreeSet<String> = ranking
        .best(&rows)
        .map(|row| cycle.table.name(row).to_owned())
        .collect();
    report.same(label, "best nodes", &best, &expect.best);
    let decision = plan::decide(profile, cycle.table, cycle.pod, 7);
    if let (true, Outcome::Place { node, .. }) =
        (decision.filtered.feasible.len() == rows.len(), &decision.outcome)
    {
        report.same(
            label,
            &format!("choice of {node} among the best"),
            &expect.best.contains(&**node),
            &true,
        );
    }
}
