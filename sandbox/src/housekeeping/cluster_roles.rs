//! Aggregated cluster roles: one with an `aggregationRule` has the rules of all that its selectors match (API-681).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backlog::Backlog;
use super::follow::{Followed, follow};
use crate::selector::LabelSelector;

/// A request that takes longer counts as failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// The rules that an aggregating role should have: those of the matching roles, by name, each once. `None`: the role
/// does not aggregate.
fn aggregated(role: &ClusterRole, roles: &BTreeMap<String, ClusterRole>) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
    let selectors: Vec<LabelSelector> = selectors
        .iter()
        .filter_map(|selector| LabelSelector::from_value(&json!(selector)).ok().flatten())
        .collect();
    let own = role.metadata.name.as_deref().unwrap_or_default();
    let mut found: Vec<PolicyRule> = Vec::new();
    for (name, other) in roles {
        let labels = json!(other.metadata.labels);
        if name == own || !selectors.iter().any(|selector| selector.matches(&labels)) {
            continue;
        }
        for rule in other.rules.iter().flatten() {
            if !found.contains(rule) {
                found.push(rule.clone());
            }
        }
    }
    Some(found)
}

/// Keeps aggregated roles filled until `stop`.
pub async fn run(client: Client, stop: CancellationToken) {
    let api: Api<ClusterRole> = Api::all(client);
    let mut changes = follow(api.clone(), watcher::Config::default());
    let mut roles: BTreeMap<String, ClusterRole> = BTreeMap::new();
    let mut listed: BTreeMap<String, ClusterRole> = BTreeMap::new();
    let mut known = false;
    let mut backlog: Backlog<String> = Backlog::new();
    let mut writes: FuturesUnordered<BoxFuture<'static, (String, Result<(), kube::Error>)>> =
        FuturesUnordered::new();
    loop {
        while known && writes.is_empty() {
            let Some(name) = backlog.take() else { break };
            let wanted = roles.get(&name).and_then(|role| {
                aggregated(role, &roles)
                    .filter(|rules| role.rules.as_ref().map_or(&[][..], Vec::as_slice) != rules.as_slice())
            });
            let Some(missing) = wanted else {
                backlog.done(&name);
                continue;
            };
            let api = api.clone();
            writes.push(Box::pin(async move {
                let patch = Patch::Merge(json!({ "rules": missing }));
                let params = PatchParams {
                    field_manager: Some("clusterrole-aggregation-controller".to_owned()),
                    ..PatchParams::default()
                };
                let timeout = tokio::time::timeout(DEADLINE, api.patch(&name, &params, &patch)).await;
                let written = match timeout {
                    Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
                    Ok(written) => written.map(drop),
                    Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
                };
                (name, written)
            }));
        }
        // All branches are cancel-safe: what is not taken stays in its stream or set.
        let dirty = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some((name, written)) = writes.next(), if !writes.is_empty() => {
                match written {
                    Ok(()) => backlog.done(&name),
                    Err(error) => {
                        debug!(name, error = &error as &dyn std::error::Error, "aggregation is tried again");
                        backlog.failed(&name);
                    }
                }
                false
            }
            Some(change) = changes.next() => match change {
                Followed::Failed => false,
                Followed::Event(Event::Init) => {
                    listed.clear();
                    false
                }
                Followed::Event(Event::InitApply(role)) => {
                    listed.extend(role.metadata.name.clone().map(|name| (name, role)));
                    false
                }
                Followed::Event(Event::InitDone) => {
                    roles = std::mem::take(&mut listed);
                    known = true;
                    true
                }
                Followed::Event(Event::Apply(role)) => {
                    roles.extend(role.metadata.name.clone().map(|name| (name, role)));
                    true
                }
                Followed::Event(Event::Delete(role)) => {
                    roles.remove(role.metadata.name.as_deref().unwrap_or_default());
                    true
                }
            },
            () = backlog.due(), if known && writes.is_empty() => false,
        };
        if dirty {
            let aggregating = roles.iter().filter(|(_, role)| role.aggregation_rule.is_some());
            for (name, _) in aggregating {
                backlog.add(name.clone());
            }
        }
    }
}
