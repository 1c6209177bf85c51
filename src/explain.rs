//! `steersman explain`: what the controllers would do next with one Deployment or ReplicaSet, and what holds it up. Reads
//! once through the kubeconfig, makes the controllers' own snapshots and plans from that, writes nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use steersman_crds::RolloutPolicy;
use steersman_deployment::explain::Explanation as DeploymentExplanation;
use steersman_replicaset::explain::Explanation as ReplicaSetExplanation;
use steersman_shared::api;
use steersman_shared::cache::Cache;
use steersman_shared::clock::{self, Clock as _, SystemClock};
use steersman_shared::informer::{Decoded, Informers, Watched};
use steersman_shared::objects::{Deployment, ObjectKey, Pod, ReplicaSet};
use steersman_shared::obstacle::Obstacle;
use steersman_shared::opt_out::{BY_NOBODY, MANAGED, NOT_BY_US};

use crate::cli::{ClusterArgs, ExplainArgs, ExplainKind, ObjectName, OutputFormat};
use crate::failure::Usage;
use crate::run::load;

#[cfg(test)]
mod tests;
mod text;

/// Objects per page of a list (source: client-go 1.36).
const PAGE_SIZE: u32 = 500;
/// A page of that size may take a while on a busy API server.
const PAGE_DEADLINE: Duration = Duration::from_secs(30);
/// The controller looks at a deadline so long after it at the latest (DEP-76).
const DEADLINE_SLACK: Duration = Duration::from_secs(1);
/// Names offered when the one asked for does not exist.
const SUGGESTIONS: usize = 8;

/// Prints the explanation.
///
/// # Errors
///
/// The cluster is not reached or does not allow reading, the object does not exist, or it cannot be planned.
pub(crate) async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    let (reader, key) = Reader::connect(&args.cluster, args.object).await?;
    let text = match args.kind {
        ExplainKind::Deployment => {
            let mut report = reader.deployment(&key).await?;
            reader
                .add_probes(&key.namespace, &mut report.replica_set_plans)
                .await;
            match args.output {
                OutputFormat::Text => text::deployment(&report),
                OutputFormat::Json => json(&report)?,
            }
        }
        ExplainKind::Replicaset => {
            let mut report = reader.replica_set(&key).await?;
            let plans = std::slice::from_mut(&mut report.explanation);
            reader.add_probes(&key.namespace, plans).await;
            match args.output {
                OutputFormat::Text => text::replica_set(&report),
                OutputFormat::Json => json(&report)?,
            }
        }
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn json(report: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(report).context("the report as JSON")?;
    text.push('\n');
    Ok(text)
}

/// What is told about a Deployment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentReport {
    kind: &'static str,
    namespace: String,
    name: String,
    /// When it was read and planned, by this machine's clock.
    at: Timestamp,
    /// The controllers of this project are asked to leave it alone (TAKE-12).
    opt_out: Option<OptOut>,
    #[serde(flatten)]
    explanation: DeploymentExplanation,
    /// The plans of its ReplicaSets that have pods, should have some, or failed to make them; the new one first.
    replica_set_plans: Vec<ReplicaSetExplanation>,
    next_look: NextLook,
}

/// What is told about a ReplicaSet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplicaSetReport {
    kind: &'static str,
    namespace: String,
    at: Timestamp,
    /// The controllers of this project are asked to leave it alone (TAKE-12).
    opt_out: Option<OptOut>,
    #[serde(flatten)]
    explanation: ReplicaSetExplanation,
    next_look: NextLook,
}

/// An annotation that keeps the controllers away (TAKE-12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct OptOut {
    /// `object` or `namespace`.
    on: &'static str,
    /// `false` or `never`.
    value: String,
}

impl OptOut {
    /// The object's own annotation comes first.
    fn of(object: &impl kube::Resource, namespace: Option<&Namespace>) -> Option<Self> {
        let on = |on, annotations: Option<&BTreeMap<String, String>>| {
            let value = annotations?.get(MANAGED)?.clone();
            Some(Self { on, value })
        };
        let own = on("object", object.meta().annotations.as_ref());
        own.or_else(|| on("namespace", namespace?.metadata.annotations.as_ref()))
            .filter(|it| [NOT_BY_US, BY_NOBODY].contains(&it.value.as_str()))
    }
}

/// When the controller plans again, apart from changes made by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "when", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum NextLook {
    /// As soon as its own writes show.
    AfterWrites,
    /// At that moment.
    At {
        at: Timestamp,
        in_seconds: u64,
        reason: LookReason,
    },
    /// Not before something changes.
    OnChange,
}

/// Why time alone makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum LookReason {
    /// The progress deadline passes.
    ProgressDeadline,
    /// A moment that the RolloutPolicy sets.
    RolloutPolicy,
    /// A ready pod becomes available.
    MinReadySeconds,
}

impl NextLook {
    fn of(
        writes: bool,
        rollout: Option<(Timestamp, LookReason)>,
        pods: impl Iterator<Item = Timestamp>,
        now: Timestamp,
    ) -> Self {
        if writes {
            return Self::AfterWrites;
        }
        let pods = pods.map(|at| (at, LookReason::MinReadySeconds));
        let first = rollout.into_iter().chain(pods).min_by_key(|(at, _)| *at);
        first.map_or(Self::OnChange, |(at, reason)| Self::At {
            at,
            in_seconds: clock::until(now, at).as_secs(),
            reason,
        })
    }
}

/// Reads a cluster.
pub(crate) struct Reader {
    pub(crate) client: Client,
    url: String,
}

impl Reader {
    /// A reader of that cluster, and the object in it that is meant.
    ///
    /// # Errors
    ///
    /// The kubeconfig cannot be used.
    pub(crate) async fn connect(
        cluster: &ClusterArgs,
        object: ObjectName,
    ) -> anyhow::Result<(Self, ObjectKey)> {
        let config = load(cluster.kubeconfig.as_deref(), cluster.context.as_deref())
            .await
            .map_err(Usage)?;
        let default_namespace = config.default_namespace.clone();
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config)
            .context("the kubeconfig's credentials")
            .map_err(Usage)?;
        let ObjectName { namespace, name } = object;
        let key = ObjectKey::new(namespace.unwrap_or(default_namespace), name);
        Ok((Self { client, url }, key))
    }

    async fn deployment(&self, key: &ObjectKey) -> anyhow::Result<DeploymentReport> {
        let informers = self.around(key).await?;
        let mut report = deployment_report(&informers, key, SystemClock.now())?;
        let namespace = self.namespace(&key.namespace).await;
        let object = informers.get::<Deployment>().cache().get(key);
        report.opt_out = object.and_then(|it| OptOut::of(it.as_ref(), namespace.as_ref()));
        Ok(report)
    }

    /// All that the plan of a Deployment, which exists, is made from.
    ///
    /// # Errors
    ///
    /// The cluster is not reached or does not allow reading, or there is no such Deployment.
    pub(crate) async fn around(&self, key: &ObjectKey) -> anyhow::Result<Informers> {
        let informers = Informers::detached();
        // Children first: what is read of the owner is not older than they are.
        self.fill::<Pod>(&informers, &key.namespace).await?;
        self.fill::<ReplicaSet>(&informers, &key.namespace).await?;
        self.fill::<Deployment>(&informers, &key.namespace).await?;
        self.fill_policies(&informers, &key.namespace).await?;
        let deployments = informers.get::<Deployment>();
        check_exists(deployments.cache(), key, "Deployment")?;
        Ok(informers)
    }

    /// Lists the RolloutPolicies of a namespace; none where their definition is not installed.
    async fn fill_policies(&self, informers: &Informers, namespace: &str) -> anyhow::Result<()> {
        let api = Api::<Decoded<RolloutPolicy>>::namespaced(self.client.clone(), namespace);
        match self.list(api, &ListParams::default()).await {
            Ok(objects) => informers.get_if_served::<RolloutPolicy>().fill(objects),
            // Without the definition the server answers in plain text.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) if api::is_forbidden(&error) => tracing::warn!(
                error = api::message(&error),
                "RolloutPolicies cannot be read: planned as if there were none"
            ),
            Err(error) => return Err(self.refused(&error, "rolloutpolicies.steersman.dev", namespace)),
        }
        Ok(())
    }

    async fn replica_set(&self, key: &ObjectKey) -> anyhow::Result<ReplicaSetReport> {
        let informers = Informers::detached();
        self.fill::<Pod>(&informers, &key.namespace).await?;
        self.fill::<ReplicaSet>(&informers, &key.namespace).await?;
        let replica_sets = informers.get::<ReplicaSet>();
        check_exists(replica_sets.cache(), key, "ReplicaSet")?;
        let mut report = replica_set_report(&informers, key, SystemClock.now())?;
        let namespace = self.namespace(&key.namespace).await;
        let object = replica_sets.cache().get(key);
        report.opt_out = object.and_then(|it| OptOut::of(it.as_ref(), namespace.as_ref()));
        Ok(report)
    }

    /// The namespace, for its annotations; not everybody may read it.
    async fn namespace(&self, name: &str) -> Option<Namespace> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api::within(PAGE_DEADLINE, api.get(name)).await.ok()
    }

    /// Lists one kind of a namespace into its cache.
    async fn fill<K>(&self, informers: &Informers, namespace: &str) -> anyhow::Result<()>
    where
        K: Watched + kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let objects = self
            .list::<Decoded<K>>(
                Api::namespaced(self.client.clone(), namespace),
                &ListParams::default(),
            )
            .await
            .map_err(|error| self.refused(&error, &K::plural(&()), namespace))?;
        informers.get::<K>().fill(objects);
        Ok(())
    }

    async fn list<K: Clone + DeserializeOwned + Debug>(
        &self,
        api: Api<K>,
        params: &ListParams,
    ) -> kube::Result<Vec<K>> {
        let mut params = params.clone().limit(PAGE_SIZE);
        let mut objects = Vec::new();
        loop {
            let page = api::within(PAGE_DEADLINE, api.list(&params)).await?;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(objects),
            }
        }
    }

    /// What to do about a list that failed.
    fn refused(&self, error: &kube::Error, resource: &str, namespace: &str) -> anyhow::Error {
        let said = api::message(error);
        if api::is_forbidden(error) {
            return anyhow!(
                "list {resource} in namespace {namespace}: {said}; this needs the verb list on deployments, \
                 replicasets and pods there (`kubectl auth can-i list {resource} -n {namespace}`)"
            );
        }
        match error {
            kube::Error::Api(_) => anyhow!("list {resource} in namespace {namespace}: {said}"),
            _ => anyhow!(
                "API server {} not reached: {said}; --kubeconfig and --context choose another one",
                self.url
            ),
        }
    }

    /// Adds the words of failing readiness probes, which stand in events only. Without the right to read events the
    /// explanation does without.
    async fn add_probes(&self, namespace: &str, plans: &mut [ReplicaSetExplanation]) {
        let blocked = || plans.iter().flat_map(|plan| &plan.blocked);
        if !blocked().any(|it| matches!(it.obstacle, Obstacle::NotReady { .. })) {
            return;
        }
        let params = ListParams::default().fields("involvedObject.kind=Pod,reason=Unhealthy");
        let events: Vec<Event> = match self
            .list(Api::namespaced(self.client.clone(), namespace), &params)
            .await
        {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(
                    error = api::message(&error),
                    "events cannot be read: readiness probes stay mute"
                );
                return;
            }
        };
        let probes = last_words(&events);
        for it in plans.iter_mut().flat_map(|plan| &mut plan.blocked) {
            if let Obstacle::NotReady { probe, .. } = &mut it.obstacle {
                *probe = probes.get(it.pod.as_str()).map(|(_, words)| (*words).to_owned());
            }
        }
    }
}

/// The latest message about each pod.
fn last_words(events: &[Event]) -> BTreeMap<&str, (Option<Timestamp>, &str)> {
    let mut words: BTreeMap<&str, (Option<Timestamp>, &str)> = BTreeMap::new();
    for event in events {
        let series = event
            .series
            .as_ref()
            .and_then(|it| it.last_observed_time.as_ref());
        let at = series
            .or(event.event_time.as_ref())
            .map(|time| time.0)
            .max(event.last_timestamp.as_ref().map(|time| time.0));
        let (Some(pod), Some(message)) = (&event.involved_object.name, &event.message) else {
            continue;
        };
        let known = words.entry(pod).or_insert((at, message));
        if at >= known.0 {
            *known = (at, message);
        }
    }
    words
}

/// Says what there is instead of a name that does not exist, and which object cannot be read.
fn check_exists<K: Watched>(cache: &Cache<K>, key: &ObjectKey, kind: &str) -> anyhow::Result<()> {
    if let Some((_, held)) = cache.all_held().into_iter().find(|(held, _)| held == key) {
        bail!(
            "{kind} {key} does not decode: {}; the controller leaves it alone",
            held.error
        );
    }
    if cache.get(key).is_some() {
        return Ok(());
    }
    let names: Vec<String> = cache
        .all()
        .iter()
        .map(|it| it.meta().name.clone().unwrap_or_default())
        .collect();
    let namespace = &key.namespace;
    if names.is_empty() {
        bail!("{kind} {key} not found: namespace {namespace} has none, or does not exist");
    }
    let more = names.len().saturating_sub(SUGGESTIONS);
    let mut shown = names.into_iter().take(SUGGESTIONS).collect::<Vec<_>>().join(", ");
    if more > 0 {
        shown = format!("{shown} and {more} more");
    }
    bail!("{kind} {key} not found; namespace {namespace} has {shown}")
}

/// Plans a Deployment and its ReplicaSets from what the caches show.
fn deployment_report(
    informers: &Informers,
    key: &ObjectKey,
    now: Timestamp,
) -> anyhow::Result<DeploymentReport> {
    let observer = steersman_deployment::observe::Observer::new(informers);
    if observer.is_held(key) {
        bail!("Deployment {key}: one of its ReplicaSets does not decode; the controller waits until it does");
    }
    let unplanned = || format!("Deployment {key}: the controller cannot plan it and leaves it alone");
    let snapshot = observer.snapshot(key).with_context(unplanned)?;
    let snapshot = snapshot.with_context(|| format!("Deployment {key} not found"))?;
    let plan = steersman_deployment::plan::plan(&snapshot, now).with_context(unplanned)?;
    let explanation = steersman_deployment::explain::explain(&snapshot, &plan, now);
    let mut replica_set_plans = Vec::new();
    for member in &explanation.replica_sets {
        let key = ObjectKey::new(key.namespace.clone(), member.name.as_str());
        let told = explain_replica_set(informers, &key, now)?;
        let counts = told.pods;
        let concerned = member.size > 0 || counts.active > 0 || counts.terminating > 0;
        if concerned || told.failure.is_some() || !told.next.is_empty() {
            replica_set_plans.push(told);
        }
    }
    let writes = !explanation.next.is_empty() || replica_set_plans.iter().any(|it| !it.next.is_empty());
    let pods = replica_set_plans.iter().filter_map(|it| it.wake_at);
    // The deadline is looked at a moment after it passed (DEP-76).
    let deadline = explanation.deadline.and_then(|it| it.passes_at);
    let rollout = explanation.wake_at.map(|at| {
        let is_deadline =
            deadline.is_some_and(|passes| passes < at && clock::until(passes, at) <= DEADLINE_SLACK);
        let reason = if is_deadline {
            LookReason::ProgressDeadline
        } else {
            LookReason::RolloutPolicy
        };
        (at, reason)
    });
    Ok(DeploymentReport {
        kind: "Deployment",
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        at: now,
        opt_out: None,
        next_look: NextLook::of(writes, rollout, pods, now),
        explanation,
        replica_set_plans,
    })
}

fn replica_set_report(
    informers: &Informers,
    key: &ObjectKey,
    now: Timestamp,
) -> anyhow::Result<ReplicaSetReport> {
    let explanation = explain_replica_set(informers, key, now)?;
    let writes = !explanation.next.is_empty();
    Ok(ReplicaSetReport {
        kind: "ReplicaSet",
        namespace: key.namespace.to_string(),
        at: now,
        opt_out: None,
        next_look: NextLook::of(writes, None, explanation.wake_at.into_iter(), now),
        explanation,
    })
}

fn explain_replica_set(
    informers: &Informers,
    key: &ObjectKey,
    now: Timestamp,
) -> anyhow::Result<ReplicaSetExplanation> {
    let observer = steersman_replicaset::observe::Observer::new(informers);
    if observer.is_held(key) {
        bail!("ReplicaSet {key}: one of its pods does not decode; the controller waits until it does");
    }
    // A server that ever stored the number of terminating pods keeps it (RS-57).
    let all = informers.get::<ReplicaSet>().cache().all();
    let synced = |it: &ReplicaSet| it.status.observed_generation.unwrap_or_default() > 0;
    let stores_terminating =
        all.iter().any(|it| it.status.terminating_replicas.is_some()) || !all.iter().any(|it| synced(it));
    let snapshot = observer
        .snapshot(key, stores_terminating)
        .with_context(|| format!("ReplicaSet {key}: the controller cannot plan it and leaves it alone"))?
        .with_context(|| format!("ReplicaSet {key} not found"))?;
    let plan = steersman_replicaset::plan::plan(&snapshot, now);
    Ok(steersman_replicaset::explain::explain(&snapshot, &plan, now))
}
