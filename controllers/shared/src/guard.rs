//! The guard: notices a native controller at work and makes ours stand by, instead of fighting (TAKE-8 to TAKE-14).
//!
//! ```text
//! probes, managedFields (watches) ┐
//! pods and Lease in kube-system   ┴► Evidence ─► decide (pure) ─► Verdict ─► Licence ─► each sync, each write
//! ```
//!
//! It runs while this process leads. Standing by, a controller plans and compares and writes nothing (INV-12); only the
//! guard goes on writing, its two probes: a Deployment and a ReplicaSet without pods that no controller of ours touches.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::api::core::v1::ObjectReference;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::api;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::informer::{Informers, KindId, Watched};
use crate::lease::{Leadership, WriteToken};
use crate::metrics::Labels;
use crate::objects::{Deployment, ObjectKey, Pod, ReplicaSet, Uid};
use crate::recorder::{EventType, Recorder};
use crate::wire;

mod decision;
mod evidence;
mod plane;

pub use decision::{Decision, QUIET, Why, decide};
pub use evidence::{
    Evidence, LeaseState, LeaseWatch, ManagerPod, NATIVE_LEASE, NATIVE_MANAGER, NATIVE_NAMESPACE,
    NATIVE_PODS, Native, Probe, Probed, Setting, is_enabled, native_status_entries, native_status_write,
    setting,
};
pub use plane::{KubePlane, PROBE_LABEL, Plane, RBAC, probe_body, probe_key};

/// An untouched probe is replaced after so long, so that it stays news to every controller (TAKE-9).
const PROBE_AGE: Duration = Duration::from_mins(10);
/// Time between two looks at the native controller manager's Lease and pods.
const POLL: Duration = Duration::from_secs(5);
/// Reason of the event when a native controller is seen.
const NATIVE_SEEN: &str = "NativeControllerActive";
/// Reason of the event when ours acts.
const TAKEN_OVER: &str = "TakenOver";

/// Whether a controller acts at present, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "standing")]
pub enum Standing {
    /// It writes.
    Active,
    /// It plans and compares only.
    StandBy {
        /// Why.
        why: Why,
        /// Since when for that reason.
        since: Timestamp,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    standing: Standing,
    /// Counts the times the controller became active: a write that began before the last interruption is refused.
    epoch: u64,
}

/// What the guard says to one controller. Clones hear the same; asked per sync and per write.
#[derive(Clone, Debug)]
pub struct Licence {
    verdict: Option<watch::Receiver<Verdict>>,
    /// The guard's probe, which no controller of ours touches.
    probe: Option<ObjectKey>,
}

impl Default for Licence {
    fn default() -> Self {
        Self::unguarded()
    }
}

impl Licence {
    /// No guard: the process is the only one that can act, as in the sandbox.
    #[must_use]
    pub const fn unguarded() -> Self {
        Self {
            verdict: None,
            probe: None,
        }
    }

    /// Whether the controller acts right now.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.verdict
            .as_ref()
            .is_none_or(|verdict| verdict.borrow().standing == Standing::Active)
    }

    /// Whether that is the guard's probe, of either kind.
    #[must_use]
    pub fn is_probe(&self, key: &ObjectKey) -> bool {
        self.probe.as_ref() == Some(key)
    }

    /// The present standing.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.verdict
            .as_ref()
            .map_or(Standing::Active, |verdict| verdict.borrow().standing.clone())
    }

    /// The licence of one sync: valid until the next interruption.
    #[must_use]
    pub fn term(&self) -> LicenceTerm {
        LicenceTerm {
            licence: self.clone(),
            epoch: self.verdict.as_ref().map_or(0, |verdict| verdict.borrow().epoch),
        }
    }

    /// Completes when the standing may have changed; never without a guard.
    pub async fn changed(&mut self) {
        let heard = match &mut self.verdict {
            Some(verdict) => verdict.changed().await.is_ok(),
            None => false,
        };
        if !heard {
            // No guard, or it has ended with the process.
            std::future::pending::<()>().await;
        }
    }
}

/// The part of a [`WriteToken`] that the guard gives.
#[derive(Clone, Debug)]
pub struct LicenceTerm {
    licence: Licence,
    epoch: u64,
}

impl LicenceTerm {
    /// Whether a write may start now.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.licence.verdict.as_ref().is_none_or(|verdict| {
            let verdict = verdict.borrow();
            verdict.standing == Standing::Active && verdict.epoch == self.epoch
        })
    }
}

/// Gives and takes a licence in tests; see [`Licence::switched`].
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct LicenceSwitch {
    verdict: watch::Sender<Verdict>,
}

#[cfg(any(test, feature = "testing"))]
impl LicenceSwitch {
    /// The controller may act from now on.
    pub fn grant(&self) {
        publish(&self.verdict, Decision::Active, Timestamp::UNIX_EPOCH);
    }

    /// A native controller was seen.
    pub fn revoke(&self) {
        publish(
            &self.verdict,
            Decision::StandBy(Why::ProbeTouched),
            Timestamp::UNIX_EPOCH,
        );
    }
}

#[cfg(any(test, feature = "testing"))]
impl Licence {
    /// A licence that a test gives and takes. Not given at first.
    #[must_use]
    pub fn switched() -> (LicenceSwitch, Self) {
        let (verdict, licence) = stand_by(Timestamp::UNIX_EPOCH, None);
        (LicenceSwitch { verdict }, licence)
    }
}

fn stand_by(since: Timestamp, probe: Option<ObjectKey>) -> (watch::Sender<Verdict>, Licence) {
    let verdict = watch::Sender::new(Verdict {
        standing: Standing::StandBy {
            why: Why::NotLeading,
            since,
        },
        epoch: 0,
    });
    let licence = Licence {
        verdict: Some(verdict.subscribe()),
        probe,
    };
    (verdict, licence)
}

/// Tells the controller; whether that is news.
fn publish(verdict: &watch::Sender<Verdict>, decision: Decision, now: Timestamp) -> bool {
    verdict.send_if_modified(|verdict| {
        let same = match (&verdict.standing, &decision) {
            (Standing::Active, Decision::Active) => true,
            (Standing::StandBy { why, .. }, Decision::StandBy(new)) => why == new,
            _ => false,
        };
        if same {
            return false;
        }
        verdict.standing = match decision {
            Decision::Active => {
                verdict.epoch = verdict.epoch.saturating_add(1);
                Standing::Active
            }
            Decision::StandBy(why) => Standing::StandBy { why, since: now },
        };
        true
    })
}

/// How the guard works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Namespace of the probes: that of our lease.
    pub namespace: String,
    /// Name of the probes, different for each installation.
    pub name: String,
    /// An untouched probe counts after so long; [`QUIET`] outside tests (TAKE-9).
    pub quiet: Duration,
    /// The user says that no native controller manager exists (TAKE-14).
    pub declared_absent: bool,
}

/// Metrics of the guard. Clones share the values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    standing_by: Family<Labels<1>, Gauge>,
    native_seen: Family<Labels<2>, Counter>,
}

impl Metrics {
    /// Creates the metrics and registers them. Once per registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "steersman_guard_standing_by",
            "1 while a controller that is to act stands by",
            metrics.standing_by.clone(),
        );
        registry.register(
            "steersman_guard_native_seen",
            "Times that a native controller was seen at work, by what showed it",
            metrics.native_seen.clone(),
        );
        metrics
    }
}

/// What the shared watches show of one native controller.
struct View {
    probe: Box<dyn Fn() -> Option<Probed> + Send + Sync>,
    /// The probe that was deleted last, by whomever.
    deleted: Arc<Mutex<Option<Uid>>>,
    written: watch::Receiver<Option<Timestamp>>,
}

/// A kind of probe, as its cache shows it.
trait ProbeKind: Watched {
    fn observed_generation(&self) -> Option<i64>;
}

impl ProbeKind for Deployment {
    fn observed_generation(&self) -> Option<i64> {
        self.status.observed_generation
    }
}

impl ProbeKind for ReplicaSet {
    fn observed_generation(&self) -> Option<i64> {
        self.status.observed_generation
    }
}

impl View {
    fn of<K: ProbeKind>(informers: &Informers, key: &ObjectKey, news: &Arc<Notify>) -> Self {
        let informer = informers.get::<K>();
        let (cache, wanted): (Arc<Cache<K>>, _) = (Arc::clone(informer.cache()), key.clone());
        let (news, watched) = (Arc::clone(news), key.clone());
        let deleted: Arc<Mutex<Option<Uid>>> = Arc::default();
        let gone = Arc::clone(&deleted);
        informer.subscribe(Box::new(move |change| {
            let meta = change.latest().meta();
            let is = |part: &Option<String>, wanted: &str| part.as_deref() == Some(wanted);
            if !is(&meta.name, &watched.name) || !is(&meta.namespace, &watched.namespace) {
                return;
            }
            if change.current().is_none() {
                *gone.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Uid::of(change.latest().as_ref()));
            }
            news.notify_one();
        }));
        let probe = move || {
            let found = cache.get(&wanted)?;
            Some(Probed {
                uid: Uid::of(found.as_ref()),
                made: found.meta().creation_timestamp.as_ref()?.0,
                touched: found.observed_generation().unwrap_or_default() > 0,
            })
        };
        Self {
            probe: Box::new(probe),
            deleted,
            written: informer.native_writes(),
        }
    }
}

/// One guarded controller.
struct Guarded {
    native: Native,
    verdict: watch::Sender<Verdict>,
    view: View,
    probe: Probe,
    /// Which probe that is, and when it is to be replaced.
    uid: Option<Uid>,
    replace_at: Instant,
    /// Pause before the next probe after a touched or refused one.
    pause: Duration,
    /// The native controller was seen at work.
    seen: bool,
    /// That was told, and ours was not active since.
    told: bool,
}

/// The guard of the controllers that are to act.
pub struct Guard<P> {
    plane: Arc<P>,
    config: Config,
    informers: Informers,
    leadership: Leadership,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    metrics: Metrics,
    news: Arc<Notify>,
    guarded: Vec<Guarded>,
    lease: LeaseWatch,
    pods: Option<Vec<ManagerPod>>,
    trouble: Option<String>,
    /// The control plane was looked at in this term.
    has_looked: bool,
    poll_at: Instant,
}

/// What a look at the native controller manager's Lease and pods brings.
type Looked = (
    Result<Option<LeaseSpec>, kube::Error>,
    Result<Vec<ManagerPod>, kube::Error>,
);
/// What became of the probes that were to be replaced, by index, or why not.
type Renewals = Vec<(usize, Result<Renewed, String>)>;

/// How the replacement of a probe ended.
enum Renewed {
    /// Not replaced: the former one was touched, which is news.
    Touched,
    /// There is a new one; `follows` one of ours that was untouched to the end.
    Made { probe: Probed, follows: bool },
}

impl<P> fmt::Debug for Guard<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a term of the guard ended.
enum Ended {
    Stopped,
    Lost,
}

impl<P: Plane> Guard<P> {
    /// A guard that has not looked yet: every licence says to stand by.
    #[must_use]
    pub fn new(
        plane: P,
        config: Config,
        informers: &Informers,
        leadership: &Leadership,
        clock: Arc<dyn Clock>,
        recorder: Recorder,
        metrics: Metrics,
    ) -> Self {
        Self {
            plane: Arc::new(plane),
            config,
            informers: informers.clone(),
            leadership: leadership.clone(),
            clock,
            recorder,
            metrics,
            news: Arc::default(),
            guarded: Vec::new(),
            lease: LeaseWatch::default(),
            pods: None,
            trouble: None,
            has_looked: false,
            poll_at: Instant::now(),
        }
    }

    /// Guards that controller too; its licence.
    pub fn guard(&mut self, native: Native) -> Licence {
        let key = probe_key(&self.config.namespace, &self.config.name);
        let (verdict, licence) = stand_by(self.clock.now(), Some(key.clone()));
        let view = match native {
            Native::Deployment => View::of::<Deployment>(&self.informers, &key, &self.news),
            Native::ReplicaSet => View::of::<ReplicaSet>(&self.informers, &key, &self.news),
        };
        self.metrics
            .standing_by
            .get_or_create(&[("controller", native.name())])
            .set(1);
        self.guarded.push(Guarded {
            native,
            verdict,
            view,
            probe: Probe::Missing { error: String::new() },
            uid: None,
            replace_at: Instant::now(),
            pause: self.config.quiet,
            seen: false,
            told: false,
        });
        licence
    }

    /// Watches until `stop`, then removes the probes. All controllers stand by whenever this process does not lead.
    ///
    /// # Errors
    /// Never; the type is that of a supervised task.
    pub async fn run(mut self, stop: CancellationToken) -> crate::Result<()> {
        loop {
            let term = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // Cancel-safe: only waits.
                term = self.leadership.until_leading() => term,
            };
            let ended = self.lead(term, &stop).await;
            for index in 0..self.guarded.len() {
                self.tell(index, Decision::StandBy(Why::NotLeading));
            }
            if matches!(ended, Ended::Stopped) {
                self.remove_probes().await;
                return Ok(());
            }
            self.forget();
        }
    }

    /// Another process leads now and replaces the probes: nothing known of them is worth anything.
    fn forget(&mut self) {
        (self.lease, self.pods, self.has_looked) = (LeaseWatch::default(), None, false);
        for guarded in &mut self.guarded {
            guarded.reset(Instant::now());
        }
    }

    async fn lead(&mut self, term: u64, stop: &CancellationToken) -> Ended {
        let (leadership, news) = (self.leadership.clone(), Arc::clone(&self.news));
        let informers = self.informers.clone();
        let kinds = [
            KindId::of::<Deployment>(),
            KindId::of::<ReplicaSet>(),
            KindId::of::<Pod>(),
        ];
        let (mut is_synced, mut is_fresh) = (false, false);
        let mut catching_up: Option<BoxFuture<'static, ()>> = None;
        // Requests run beside the watches: a slow API server does not delay the stop.
        let mut looking: Option<BoxFuture<'static, Looked>> = None;
        let mut renewing: Option<BoxFuture<'static, Renewals>> = None;
        self.poll_at = Instant::now();
        loop {
            if looking.is_none() && self.poll_at <= Instant::now() {
                looking = Some(self.look());
            }
            if renewing.is_none() {
                renewing = self.renew_probes();
            }
            let is_waiting = self.judge(is_synced, is_fresh);
            // A list that proves what the other side wrote last starts after that is proven (TAKE-5).
            match (is_waiting, is_fresh) {
                (true, false) if catching_up.is_none() => {
                    let informers = informers.clone();
                    catching_up = Some(Box::pin(async move { informers.renewed(&kinds).await }));
                }
                (false, _) => (catching_up, is_fresh) = (None, false),
                _ => {}
            }
            let next = self.next_look(looking.is_none(), renewing.is_none());
            let synced = async {
                if is_synced {
                    std::future::pending::<()>().await;
                }
                informers.synced(&kinds).await;
            };
            let caught_up = async {
                match &mut catching_up {
                    Some(lists) => lists.await,
                    None => std::future::pending().await,
                }
            };
            let looked = async {
                match &mut looking {
                    Some(requests) => requests.await,
                    None => std::future::pending().await,
                }
            };
            let renewed = async {
                match &mut renewing {
                    Some(requests) => requests.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                // Cancel-safe: all only wait, and requests under way are kept.
                () = leadership.until_lost(term) => return Ended::Lost,
                () = news.notified() => {}
                () = synced => {
                    is_synced = true;
                    // The quiet period starts when the watches are able to show that somebody ends it.
                    self.restart_quiet();
                }
                () = caught_up => (catching_up, is_fresh) = (None, true),
                (lease, pods) = looked => {
                    looking = None;
                    self.take_in(lease, pods);
                }
                outcomes = renewed => {
                    renewing = None;
                    self.take_in_renewals(outcomes);
                }
                () = Self::native_writes(&mut self.guarded) => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Completes when a watch shows a status write of a native controller that is newer than all before.
    async fn native_writes(guarded: &mut [Guarded]) {
        let news = guarded.iter_mut().map(|it| Box::pin(it.view.written.changed()));
        let news: Vec<_> = news.collect();
        if news.is_empty() {
            std::future::pending::<()>().await;
        }
        let (news, ..) = futures::future::select_all(news).await;
        if news.is_err() {
            // The informer is gone, with the process.
            std::future::pending::<()>().await;
        }
    }

    fn poll(&self) -> Duration {
        POLL.min(self.config.quiet / 4)
    }

    /// The next moment at which time alone may change something, or a request is due.
    fn next_look(&self, may_look: bool, may_renew: bool) -> Instant {
        let now = Instant::now();
        let quiet = self.config.quiet;
        let quiet_ends = self.guarded.iter().filter_map(|it| match &it.probe {
            Probe::Untouched { since, .. } => Some(*since + quiet).filter(|end| *end > now),
            Probe::Missing { .. } | Probe::Touched => None,
        });
        let poll = may_look.then_some(self.poll_at);
        let may_renew = may_renew && self.has_looked;
        let renewals = self.guarded.iter().filter(|_| may_renew).map(|it| it.replace_at);
        quiet_ends
            .chain(poll)
            .chain(renewals)
            .fold(now + PROBE_AGE, Instant::min)
    }

    fn restart_quiet(&mut self) {
        for guarded in &mut self.guarded {
            if let Probe::Untouched { since, .. } = &mut guarded.probe {
                *since = Instant::now();
            }
        }
    }

    /// Reads the native controller manager's Lease and pods.
    fn look(&self) -> BoxFuture<'static, Looked> {
        let plane = Arc::clone(&self.plane);
        Box::pin(async move { futures::future::join(plane.lease(), plane.pods()).await })
    }

    /// Takes in what a look brought. A change of either makes the probes old (TAKE-9).
    fn take_in(
        &mut self,
        lease: Result<Option<LeaseSpec>, kube::Error>,
        pods: Result<Vec<ManagerPod>, kube::Error>,
    ) {
        self.has_looked = true;
        self.poll_at = Instant::now() + self.poll();
        let now = Instant::now();
        let mut changed = false;
        let mut trouble = None;
        match lease {
            Ok(lease) => changed |= self.lease.see(lease, now),
            Err(error) => {
                trouble = Some(format!(
                    "Lease of kube-controller-manager: {}",
                    api::message(&error)
                ));
            }
        }
        match pods {
            Ok(pods) => {
                changed |= self.pods.as_ref().is_some_and(|known| *known != pods);
                self.pods = Some(pods);
            }
            Err(error) => {
                trouble = Some(format!(
                    "pods of kube-controller-manager: {}",
                    api::message(&error)
                ));
            }
        }
        if trouble.is_some() && trouble != self.trouble {
            warn!(
                error = trouble.as_deref().unwrap_or_default(),
                "guard cannot see all of the control plane"
            );
        }
        self.trouble = trouble;
        if changed {
            debug!(lease = ?self.lease.state(now), "the native controller manager changed");
            for guarded in &mut self.guarded {
                guarded.reset(now);
            }
        }
    }

    /// Makes the probes that are missing or due, if any. One that is still untouched is replaced without a new wait.
    fn renew_probes(&mut self) -> Option<BoxFuture<'static, Renewals>> {
        // The guard writes under the lease as everybody else does (TAKE-11).
        let token = self.leadership.token().ok().filter(|_| self.has_looked)?;
        let now = Instant::now();
        let mut due = Vec::new();
        for (index, guarded) in self.guarded.iter_mut().enumerate() {
            if guarded.replace_at <= now {
                // A reset meanwhile brings it nearer again.
                guarded.replace_at = now + PROBE_AGE;
                let known = guarded.uid.clone();
                let known = known.filter(|_| matches!(guarded.probe, Probe::Untouched { .. }));
                due.push((index, guarded.native, known));
            }
        }
        if due.is_empty() {
            return None;
        }
        let plane = Arc::clone(&self.plane);
        Some(Box::pin(async move {
            let mut outcomes = Vec::with_capacity(due.len());
            for (index, native, known) in due {
                outcomes.push((index, replace(plane.as_ref(), native, known, &token).await));
            }
            outcomes
        }))
    }

    fn take_in_renewals(&mut self, outcomes: Renewals) {
        for (index, outcome) in outcomes {
            if let Some(guarded) = self.guarded.get_mut(index) {
                guarded.take_in(outcome, self.config.quiet);
            }
        }
    }

    /// Decides for every controller. `true`: one is to become active as soon as the caches are fresh.
    fn judge(&mut self, is_synced: bool, is_fresh: bool) -> bool {
        if !self.has_looked {
            return false;
        }
        let now = Instant::now();
        let lease = self.lease.state(now);
        let mut is_waiting = false;
        for index in 0..self.guarded.len() {
            let Some(guarded) = self.guarded.get_mut(index) else {
                continue;
            };
            guarded.see();
            let evidence = Evidence {
                declared_absent: self.config.declared_absent,
                seen: guarded.seen,
                synced: is_synced,
                probe: guarded.probe.clone(),
                written: *guarded.view.written.borrow_and_update(),
                setting: self
                    .pods
                    .as_deref()
                    .map_or(Setting::Unknown, |pods| setting(pods, guarded.native)),
                lease,
            };
            let mut decision = decide(&evidence, self.config.quiet, now);
            let is_active = guarded.verdict.borrow().standing == Standing::Active;
            // Nobody wrote before this process where none was seen and none is said to exist.
            let has_history = guarded.seen || !self.config.declared_absent || lease == LeaseState::Alive;
            if decision == Decision::Active && !is_active && has_history && !is_fresh {
                is_waiting = true;
                decision = Decision::StandBy(Why::Waiting);
            }
            self.tell(index, decision);
        }
        is_waiting
    }

    /// Publishes a decision; says what is news in log, metrics and events.
    fn tell(&mut self, index: usize, decision: Decision) {
        let now = self.clock.now();
        let Some(guarded) = self.guarded.get_mut(index) else {
            return;
        };
        let was_active = guarded.verdict.borrow().standing == Standing::Active;
        let native = match &decision {
            Decision::StandBy(why) if why.is_native() => Some(why.clone()),
            _ => None,
        };
        let is_first = native.is_some() && !guarded.told;
        guarded.seen |= native.is_some();
        guarded.told |= native.is_some();
        if let Some(why) = &native {
            guarded.doubt(self.config.quiet);
            debug!(
                controller = guarded.native.name(),
                why = why.label(),
                "native controller seen"
            );
        }
        let why = match &decision {
            Decision::Active => None,
            Decision::StandBy(why) => Some(why.clone()),
        };
        if !publish(&guarded.verdict, decision, now) {
            return;
        }
        let controller = guarded.native.name();
        self.metrics
            .standing_by
            .get_or_create(&[("controller", controller)])
            .set(i64::from(why.is_some()));
        let about = self.config.about(guarded);
        match why {
            None => {
                (guarded.pause, guarded.told) = (self.config.quiet, false);
                info!(controller, "takes over: the native controller is off");
                let message = format!("steersman acts as {controller} controller: the native one is off");
                self.recorder
                    .event(&about, EventType::Normal, TAKEN_OVER, "", message);
            }
            Some(why) if is_first => {
                let labels = [("controller", controller), ("evidence", why.label())];
                self.metrics.native_seen.get_or_create(&labels).inc();
                warn!(controller, why = %why, was_active, "native controller at work: standing by");
                let message = format!("steersman stands by as {controller} controller: {why}");
                self.recorder
                    .event(&about, EventType::Warning, NATIVE_SEEN, "", message);
            }
            Some(why @ (Why::NoManager { .. } | Why::NoProbe { .. })) => {
                warn!(controller, why = %why, was_active, "stands by");
            }
            // Each probe that a native controller touches goes through these states.
            Some(why) if guarded.seen && !was_active => debug!(controller, why = %why, "stands by"),
            Some(why) => info!(controller, why = %why, was_active, "stands by"),
        }
    }

    /// Removes the probes; what cannot be removed stays until the next start.
    async fn remove_probes(&mut self) {
        for guarded in &mut self.guarded {
            let Ok(token) = self.leadership.token() else {
                return;
            };
            if let Some(uid) = guarded.uid.take()
                && token.check().is_ok()
                && let Err(error) = self.plane.delete_probe(guarded.native, &uid).await
            {
                debug!(error = api::message(&error), "probe not removed");
            }
        }
    }
}

impl Config {
    /// What events are about: the probe.
    fn about(&self, guarded: &Guarded) -> ObjectReference {
        ObjectReference {
            api_version: Some(wire::APPS_V1.to_owned()),
            kind: Some(guarded.native.kind().to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: guarded.uid.as_ref().map(ToString::to_string),
            ..ObjectReference::default()
        }
    }
}

impl Guarded {
    /// The next probe is due, and with it a new quiet period.
    fn reset(&mut self, now: Instant) {
        self.replace_at = now;
        if let Probe::Untouched { since, .. } = &mut self.probe {
            *since = now;
        }
    }

    /// After a proof that the native controller is at work: the next probe, later each time.
    fn doubt(&mut self, quiet: Duration) {
        if let Probe::Untouched { since, .. } = &mut self.probe {
            *since = Instant::now();
        }
        if self.replace_at > Instant::now() + self.pause {
            self.replace_at = Instant::now() + self.pause;
            self.pause = (self.pause * 2).clamp(quiet, PROBE_AGE);
        }
    }

    /// Takes in what the watch shows of the probe.
    fn see(&mut self) {
        let (Probe::Untouched { .. }, Some(uid)) = (&self.probe, &self.uid) else {
            return;
        };
        let deleted = self
            .view
            .deleted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if deleted.as_ref() == Some(uid) {
            self.probe = Probe::Missing {
                error: "somebody deleted it".to_owned(),
            };
            self.replace_at = Instant::now();
            return;
        }
        if let Some(shown) = (self.view.probe)()
            && shown.uid == *uid
            && shown.touched
        {
            self.probe = Probe::Touched;
            self.replace_at = Instant::now() + PROBE_AGE;
        }
    }

    /// Takes in what became of the replacement of the probe.
    fn take_in(&mut self, outcome: Result<Renewed, String>, quiet: Duration) {
        match outcome {
            Ok(Renewed::Touched) => self.probe = Probe::Touched,
            Ok(Renewed::Made { probe, follows }) => {
                let since = match self.probe {
                    Probe::Untouched { since, .. } if follows => since,
                    _ => Instant::now(),
                };
                self.uid = Some(probe.uid);
                self.probe = Probe::Untouched {
                    since,
                    made: probe.made,
                };
            }
            Err(error) => {
                debug!(controller = self.native.name(), error, "probe not renewed");
                if !matches!(self.probe, Probe::Touched) {
                    self.probe = Probe::Missing { error };
                }
                self.replace_at = self.replace_at.min(Instant::now() + quiet / 6);
            }
        }
    }
}

/// Replaces a probe; `known` is ours as long as nobody was seen to touch it. The former one is read first: what the watch
/// may have missed counts too, and is told before there is a new one.
async fn replace<P: Plane>(
    plane: &P,
    native: Native,
    known: Option<Uid>,
    token: &WriteToken,
) -> Result<Renewed, String> {
    let told = |error: kube::Error| api::message(&error);
    let lost = |_| "the leader lease is lost".to_owned();
    let former = plane.probe(native).await.map_err(told)?;
    let mut follows = false;
    if let Some(former) = former {
        let is_known = known.as_ref() == Some(&former.uid);
        if is_known && former.touched {
            return Ok(Renewed::Touched);
        }
        follows = is_known;
        token.check().map_err(lost)?;
        plane.delete_probe(native, &former.uid).await.map_err(told)?;
    }
    token.check().map_err(lost)?;
    let probe = plane.make_probe(native).await.map_err(told)?;
    Ok(Renewed::Made { probe, follows })
}

#[cfg(test)]
mod tests;
