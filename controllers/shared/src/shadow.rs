//! Compares what our plans would have done with what the native controller did (TAKE-13).
//!
//! Two questions per object. *Did it do what we planned?* A planned effect that is still planned after the window is a
//! divergence. *Did we plan what it did?* Each of its writes that a watch shows has to be among the effects of a plan
//! that was made before it, or of a plan for the same state without that write; one that is not, for the whole window,
//! is a divergence.
//!
//! A stretch of work on one object, from the first planned or seen effect until nothing is left to do, counts as one
//! *rollout*, compared as a whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::warn;

use crate::clock;
use crate::metrics::Labels;
use crate::objects::ObjectKey;

/// How long the native controller may take, and how long plans are remembered.
pub const WINDOW: Duration = Duration::from_secs(30);
/// Divergences that are kept for the report, per controller; older ones go first.
const KEPT: usize = 100;
/// Plans that are remembered per object; older ones go first.
const PLANS: usize = 16;

/// What one write changes, in terms that do not depend on who made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Effect {
    /// Kind of write: metric label.
    pub kind: &'static str,
    /// What is written, for instance `ReplicaSet web-5d4f`.
    pub subject: String,
    /// The state to be, for instance `3 replicas`.
    pub value: String,
    /// How many such writes: pods to create.
    pub count: u32,
}

impl Effect {
    /// One write.
    pub fn new(kind: &'static str, subject: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            kind,
            subject: subject.into(),
            value: value.into(),
            count: 1,
        }
    }

    /// So many of them.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count, ..self }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.subject, &self.value) == (other.kind, &other.subject, &other.value)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.subject)?;
        if !self.value.is_empty() {
            write!(f, ": {}", self.value)?;
        }
        if self.count != 1 {
            write!(f, " (x {})", self.count)?;
        }
        Ok(())
    }
}

/// What a plan comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Its effects; empty if nothing is to be done.
    pub effects: Vec<Effect>,
    /// Nothing is under way either: the rollout is over.
    pub settled: bool,
}

/// Which of the two questions has the wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// We planned it all the time, and it was not done.
    NotDone,
    /// It was done, and we did not plan it.
    NotPlanned,
}

/// One difference between our plans and what the native controller did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Divergence {
    /// Namespace and name of the object that is planned for.
    pub object: String,
    /// When it was certain.
    pub at: Timestamp,
    /// Which question it answers.
    pub fault: Fault,
    /// Kind of write.
    pub kind: String,
    /// What we planned; empty if nothing.
    pub planned: Vec<String>,
    /// What was seen; empty if nothing.
    pub observed: String,
}

/// Counts of one controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the controller.
    pub controller: String,
    /// Whether it acts, or why not.
    #[serde(default)]
    pub standing: String,
    /// Rollouts that are over.
    pub compared: u64,
    /// Of these, the ones without a divergence.
    pub agreed: u64,
    /// Of these, the others.
    pub diverged: u64,
    /// Rollouts under way.
    pub open: u64,
    /// Single writes by kind.
    pub effects: BTreeMap<String, Tally>,
    /// The last divergences, oldest first.
    pub divergences: Vec<Divergence>,
}

/// Agreements and divergences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Seen as planned.
    pub agreed: u64,
    /// Not so.
    pub diverged: u64,
}

/// Metrics of all comparisons. Clones share the values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    effects: Family<Labels<3>, Counter>,
    rollouts: Family<Labels<2>, Counter>,
}

impl Metrics {
    /// Creates the metrics and registers them. Once per registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "steersman_shadow_effects",
            "Writes of the native controller compared with our plans, by kind and result",
            metrics.effects.clone(),
        );
        registry.register(
            "steersman_shadow_rollouts",
            "Rollouts by the native controller compared with our plans, by result",
            metrics.rollouts.clone(),
        );
        metrics
    }
}

/// A controller whose plans can be made for a state that one write did not happen in.
pub trait Shadowed: Send + Sync + 'static {
    /// A write as a watch shows it.
    type Write: Clone + Send + Sync + 'static;

    /// A delete that no plan explains is somebody else's: users and kubelets delete pods.
    const STRAY_DELETES: bool;

    /// What a plan for the present state comes to, had that write not happened; `None` if there is nothing to plan.
    fn outlook_without(&self, key: &ObjectKey, write: &Self::Write, now: Timestamp) -> Option<Outlook>;
}

type Reports = Arc<Mutex<Vec<Box<dyn Fn() -> Report + Send + Sync>>>>;

/// All comparisons of a process. Clones share them.
#[derive(Clone, Default)]
pub struct Shadows {
    window: Option<Duration>,
    metrics: Metrics,
    reports: Reports,
}

impl fmt::Debug for Shadows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadows")
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl Shadows {
    /// No comparisons yet; the native controller gets `window` for each write, [`WINDOW`] by default.
    #[must_use]
    pub fn new(window: Duration, metrics: Metrics) -> Self {
        Self {
            window: Some(window),
            metrics,
            reports: Reports::default(),
        }
    }

    /// Compares for one controller from now on; `standing` tells in the report whether that acts.
    pub fn comparer<W: Clone + Send + 'static>(
        &self,
        controller: &'static str,
        standing: impl Fn() -> String + Send + Sync + 'static,
    ) -> Comparer<W> {
        let comparer = Comparer::new(controller, self.window.unwrap_or(WINDOW), &self.metrics);
        let reported = comparer.clone();
        let report = move || Report {
            standing: standing(),
            ..reported.report()
        };
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push(Box::new(report));
        comparer
    }

    /// What was found so far, per controller in order of their start.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.iter().map(|report| report()).collect()
    }
}

/// Compares for one controller. Clones share what they know. `W` is a write as a watch shows it.
pub struct Comparer<W> {
    controller: &'static str,
    window: Duration,
    metrics: Metrics,
    state: Arc<Mutex<State<W>>>,
}

impl<W> Clone for Comparer<W> {
    fn clone(&self) -> Self {
        Self {
            controller: self.controller,
            window: self.window,
            metrics: self.metrics.clone(),
            state: Arc::clone(&self.state),
        }
    }
}

impl<W> fmt::Debug for Comparer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparer")
            .field("controller", &self.controller)
            .finish_non_exhaustive()
    }
}

struct State<W> {
    objects: FxHashMap<ObjectKey, Watched<W>>,
    tallies: BTreeMap<&'static str, Tally>,
    divergences: VecDeque<Divergence>,
    compared: u64,
    agreed: u64,
}

impl<W> Default for State<W> {
    fn default() -> Self {
        Self {
            objects: FxHashMap::default(),
            tallies: BTreeMap::new(),
            divergences: VecDeque::new(),
            compared: 0,
            agreed: 0,
        }
    }
}

/// What is known of one object.
struct Watched<W> {
    /// The last plans, oldest first, with what is left of each.
    plans: VecDeque<(Instant, Vec<Effect>)>,
    /// Effects of the last plan, with the moment since when every plan had them.
    waiting: Vec<Waiting>,
    /// Writes that no plan had yet.
    suspects: Vec<Suspect<W>>,
    rollout: Option<Rollout>,
}

impl<W> Default for Watched<W> {
    fn default() -> Self {
        Self {
            plans: VecDeque::new(),
            waiting: Vec::new(),
            suspects: Vec::new(),
            rollout: None,
        }
    }
}

struct Waiting {
    effect: Effect,
    since: Instant,
    told: bool,
}

struct Suspect<W> {
    id: u64,
    effect: Effect,
    write: W,
    since: Instant,
}

#[derive(Default)]
struct Rollout {
    seen: u32,
    diverged: bool,
}

impl<W: Clone> Comparer<W> {
    /// Nothing compared yet. The native controller gets `window` for each write.
    fn new(controller: &'static str, window: Duration, metrics: &Metrics) -> Self {
        Self {
            controller,
            window,
            metrics: metrics.clone(),
            state: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is compared at present: always so while ours acts. Cheap.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lock().objects.is_empty()
    }

    /// Takes in a write of the native controller that a watch shows. What happened before the first plan for the object
    /// is not compared.
    pub fn witness<S: Shadowed<Write = W>>(
        &self,
        shadowed: &S,
        key: &ObjectKey,
        effect: &Effect,
        write: &W,
        now: Timestamp,
    ) {
        if !self.lock().objects.contains_key(key) || self.observe(key, effect, Instant::now()) {
            return;
        }
        let effects = shadowed
            .outlook_without(key, write, now)
            .map(|outlook| outlook.effects)
            .unwrap_or_default();
        if effects.iter().any(|it| it.is_same(effect)) {
            self.agree(key, effect.kind);
        } else if !(S::STRAY_DELETES && effect.kind == DELETE && effects.iter().all(|it| it.kind != DELETE)) {
            self.suspect(key, effect, write.clone(), Instant::now());
        }
    }

    /// Looks again at the writes that no plan had: the state that the native controller acted on may have been ahead of
    /// what the caches showed.
    fn review<S: Shadowed<Write = W>>(&self, shadowed: &S, key: &ObjectKey, now: Timestamp) {
        let doubts: Vec<(u64, Effect, W)> = {
            let state = self.lock();
            let suspects = state.objects.get(key).map(|object| object.suspects.as_slice());
            let suspects = suspects.unwrap_or_default().iter();
            suspects
                .map(|it| (it.id, it.effect.clone(), it.write.clone()))
                .collect()
        };
        for (id, effect, write) in doubts {
            let outlook = shadowed.outlook_without(key, &write, now);
            if outlook.is_some_and(|outlook| outlook.effects.iter().any(|it| it.is_same(&effect))) {
                self.acquit(key, id);
            }
        }
    }

    /// Takes in what a sync that only reports came to, [`Self::forget`]s the object if ours is `acting`. When to plan
    /// again at the latest, though nothing changes.
    pub fn compare<S: Shadowed<Write = W>>(
        &self,
        shadowed: &S,
        key: &ObjectKey,
        acting: bool,
        outlook: impl FnOnce() -> Outlook,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if acting {
            self.forget(key);
            return None;
        }
        self.review(shadowed, key, now);
        let wait = self.plan(key, outlook(), Instant::now(), now)?;
        Some(clock::after(now, wait))
    }

    /// Takes in a plan, after [`Self::review`]. When to plan again at the latest, though nothing changes.
    fn plan(&self, key: &ObjectKey, outlook: Outlook, now: Instant, at: Timestamp) -> Option<Duration> {
        let mut state = self.lock();
        let State {
            objects,
            tallies,
            divergences,
            compared,
            agreed,
        } = &mut *state;
        let object = objects.entry(key.clone()).or_default();
        let mut found = Vec::new();
        // What is planned no more was done, or became pointless; writes are counted when they are seen.
        let former = std::mem::take(&mut object.waiting);
        let is_gone = |it: &&Waiting| {
            let mut same = outlook.effects.iter();
            !same.any(|effect| (effect.kind, &effect.subject) == (it.effect.kind, &it.effect.subject))
        };
        let settled_by_state = former
            .iter()
            .filter(|it| !it.told && !WITNESSED.contains(&it.effect.kind));
        for waiting in settled_by_state.filter(is_gone) {
            tallies.entry(waiting.effect.kind).or_default().agreed += 1;
            self.count(waiting.effect.kind, "agreed");
        }
        for effect in &outlook.effects {
            let known = former.iter().find(|it| it.effect.is_same(effect));
            let mut waiting = Waiting {
                effect: effect.clone(),
                since: known.map_or(now, |it| it.since),
                told: known.is_some_and(|it| it.told),
            };
            if !waiting.told && now.saturating_duration_since(waiting.since) >= self.window {
                waiting.told = true;
                found.push(divergence(
                    key,
                    at,
                    Fault::NotDone,
                    effect,
                    std::slice::from_ref(effect),
                ));
            }
            object.waiting.push(waiting);
        }
        let planned: Vec<Effect> = outlook.effects.clone();
        object.suspects.retain(|suspect| {
            let is_due = now.saturating_duration_since(suspect.since) >= self.window;
            if is_due {
                let plans = object.plans.back().map_or(&planned, |(_, effects)| effects);
                found.push(divergence(key, at, Fault::NotPlanned, &suspect.effect, plans));
            }
            !is_due
        });
        if !outlook.effects.is_empty() {
            object.plans.push_back((now, outlook.effects));
            object.rollout.get_or_insert_default();
        }
        let window = self.window;
        object
            .plans
            .retain(|(made, _)| now.saturating_duration_since(*made) < window);
        while object.plans.len() > PLANS {
            object.plans.pop_front();
        }
        for divergence in found {
            warn!(
                controller = self.controller,
                object = divergence.object,
                fault = ?divergence.fault,
                planned = divergence.planned.join("; "),
                observed = divergence.observed,
                "shadow plan differs from the native controller"
            );
            object.rollout.get_or_insert_default().diverged = true;
            if let Some(kind) = KINDS.iter().find(|kind| **kind == divergence.kind) {
                tallies.entry(kind).or_default().diverged += 1;
                self.count(kind, "diverged");
            }
            divergences.push_back(divergence);
            if divergences.len() > KEPT {
                divergences.pop_front();
            }
        }
        if outlook.settled
            && object.waiting.is_empty()
            && object.suspects.is_empty()
            && let Some(rollout) = object.rollout.take()
            && (rollout.seen > 0 || rollout.diverged)
        {
            *compared += 1;
            *agreed += u64::from(!rollout.diverged);
            let result = if rollout.diverged { "diverged" } else { "agreed" };
            let labels = [("controller", self.controller), ("result", result)];
            self.metrics.rollouts.get_or_create(&labels).inc();
        }
        let oldest = object.waiting.iter().filter(|it| !it.told).map(|it| it.since);
        let oldest = oldest.chain(object.suspects.iter().map(|it| it.since)).min()?;
        Some((oldest + self.window).saturating_duration_since(now))
    }

    fn count(&self, kind: &'static str, result: &'static str) {
        let labels = [
            ("controller", self.controller),
            ("kind", kind),
            ("result", result),
        ];
        self.metrics.effects.get_or_create(&labels).inc();
    }

    /// Whether a remembered plan had that write.
    fn observe(&self, key: &ObjectKey, effect: &Effect, now: Instant) -> bool {
        let mut state = self.lock();
        let State { objects, tallies, .. } = &mut *state;
        let Some(object) = objects.get_mut(key) else {
            return false;
        };
        let window = self.window;
        let recent = |made: Instant| now.saturating_duration_since(made) < window;
        let mut is_planned = false;
        for (_, plan) in object.plans.iter_mut().filter(|(made, _)| recent(*made)) {
            // One write is done with in all plans that had it.
            if let Some(planned) = plan.iter_mut().find(|it| it.is_same(effect) && it.count > 0) {
                planned.count -= 1;
                is_planned = true;
            }
        }
        if is_planned {
            object.rollout.get_or_insert_default().seen += 1;
            tallies.entry(effect.kind).or_default().agreed += 1;
            self.count(effect.kind, "agreed");
        }
        is_planned
    }

    /// A plan for the state before the write had it.
    fn agree(&self, key: &ObjectKey, kind: &'static str) {
        let mut state = self.lock();
        let State { objects, tallies, .. } = &mut *state;
        if let Some(object) = objects.get_mut(key) {
            object.rollout.get_or_insert_default().seen += 1;
            tallies.entry(kind).or_default().agreed += 1;
            self.count(kind, "agreed");
        }
    }

    /// No plan had the write so far.
    fn suspect(&self, key: &ObjectKey, effect: &Effect, write: W, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        let object = state.objects.get_mut(key)?;
        object.rollout.get_or_insert_default().seen += 1;
        let id = object
            .suspects
            .iter()
            .map(|it| it.id)
            .max()
            .map_or(0, |id| id.saturating_add(1));
        object.suspects.push(Suspect {
            id,
            effect: effect.clone(),
            write,
            since: now,
        });
        Some(id)
    }

    /// A plan without that write has it after all.
    fn acquit(&self, key: &ObjectKey, id: u64) {
        let mut state = self.lock();
        let State { objects, tallies, .. } = &mut *state;
        let Some(object) = objects.get_mut(key) else {
            return;
        };
        if let Some(index) = object.suspects.iter().position(|it| it.id == id) {
            let suspect = object.suspects.swap_remove(index);
            tallies.entry(suspect.effect.kind).or_default().agreed += 1;
            self.count(suspect.effect.kind, "agreed");
        }
    }

    /// The object is gone, or ours acts: nothing to compare any more.
    pub fn forget(&self, key: &ObjectKey) {
        self.lock().objects.remove(key);
    }

    /// What was found so far.
    fn report(&self) -> Report {
        let state = self.lock();
        let open = state.objects.values().filter(|it| it.rollout.is_some()).count();
        Report {
            controller: self.controller.to_owned(),
            standing: String::new(),
            compared: state.compared,
            agreed: state.agreed,
            diverged: state.compared - state.agreed,
            open: u64::try_from(open).unwrap_or(u64::MAX),
            effects: state
                .tallies
                .iter()
                .map(|(kind, tally)| ((*kind).to_owned(), *tally))
                .collect(),
            divergences: state.divergences.iter().cloned().collect(),
        }
    }
}

/// Kind of effect: an object is created.
pub const CREATE: &str = "create";
/// Kind of effect: an object is deleted.
pub const DELETE: &str = "delete";
/// Kind of effect: a ReplicaSet is resized.
pub const SCALE: &str = "scale";
/// Kind of effect: a status is written.
pub const STATUS: &str = "status";
/// Kinds of effects that watches show one by one; the others show in the plan that has them no more.
const WITNESSED: [&str; 3] = [CREATE, DELETE, SCALE];
/// Kinds of effects of all controllers: metric labels.
const KINDS: [&str; 9] = [
    "adopt", "annotate", CREATE, DELETE, "release", "rollback", SCALE, STATUS, "report",
];

/// Members of two statuses that differ, as `name: old -> new`, times left out: they are never the same twice.
#[must_use]
pub fn status_changes(stored: &Value, planned: &Value) -> String {
    let empty = Map::new();
    let (old, new) = (
        stored.as_object().unwrap_or(&empty),
        planned.as_object().unwrap_or(&empty),
    );
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let is_zero = |it: &Value| it.is_null() || *it == 0 || it.as_array().is_some_and(Vec::is_empty);
    let mut changes = Vec::new();
    for name in names {
        let side = |members: &Map<String, Value>| members.get(name).map(timeless).unwrap_or_default();
        let (old, new) = (side(old), side(new));
        if old != new && !(is_zero(&old) && is_zero(&new)) {
            changes.push(format!("{name}: {old} -> {new}"));
        }
    }
    if changes.is_empty() {
        "times of conditions".to_owned()
    } else {
        changes.join(", ")
    }
}

/// Conditions without their times, sorted by type; everything else as it is.
fn timeless(value: &Value) -> Value {
    let Some(conditions) = value.as_array() else {
        return value.clone();
    };
    let mut shown: Vec<String> = conditions
        .iter()
        .map(|it| {
            let text = |member: &str| it.get(member).and_then(Value::as_str).unwrap_or_default();
            format!(
                "{}={} {} {:?}",
                text("type"),
                text("status"),
                text("reason"),
                text("message")
            )
        })
        .collect();
    shown.sort();
    Value::from(shown)
}

fn divergence(key: &ObjectKey, at: Timestamp, fault: Fault, effect: &Effect, plans: &[Effect]) -> Divergence {
    let planned = plans.iter().filter(|it| it.count > 0).map(ToString::to_string);
    Divergence {
        object: key.to_string(),
        at,
        fault,
        kind: effect.kind.to_owned(),
        planned: planned.collect(),
        observed: match fault {
            Fault::NotDone => String::new(),
            Fault::NotPlanned => effect.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::T0;

    struct Bench {
        comparer: Comparer<u32>,
        key: ObjectKey,
        start: Instant,
    }

    fn bench() -> Bench {
        Bench {
            comparer: Comparer::new("deployment", WINDOW, &Metrics::default()),
            key: ObjectKey::new("default", "web"),
            start: Instant::now(),
        }
    }

    fn scale(to: u32) -> Effect {
        Effect::new("scale", "ReplicaSet web-1", format!("{to} replicas"))
    }

    impl Bench {
        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn plan(&self, seconds: u64, effects: &[Effect]) -> Option<Duration> {
            let outlook = Outlook {
                effects: effects.to_vec(),
                settled: effects.is_empty(),
            };
            self.comparer.plan(&self.key, outlook, self.at(seconds), T0)
        }

        /// `None`: as planned.
        fn sees(&self, seconds: u64, effect: &Effect) -> Option<u64> {
            let at = self.at(seconds);
            let is_planned = self.comparer.observe(&self.key, effect, at);
            (!is_planned)
                .then(|| self.comparer.suspect(&self.key, effect, 0, at))
                .flatten()
        }

        fn counts(&self) -> (u64, u64, usize) {
            let report = self.comparer.report();
            (report.agreed, report.diverged, report.divergences.len())
        }
    }

    #[tokio::test]
    async fn take_13_what_was_planned_and_then_done_agrees() {
        let bench = bench();
        assert_eq!(bench.plan(0, &[scale(3)]), Some(WINDOW));
        assert_eq!(bench.sees(1, &scale(3)), None);
        assert_eq!(bench.plan(1, &[]), None);
        assert_eq!(bench.counts(), (1, 0, 0));
        let report = bench.comparer.report();
        assert_eq!(
            report.effects["scale"],
            Tally {
                agreed: 1,
                diverged: 0
            }
        );
    }

    #[tokio::test]
    async fn take_13_what_stays_planned_for_the_window_was_not_done() {
        let bench = bench();
        bench.plan(0, &[scale(3)]);
        assert_eq!(bench.plan(29, &[scale(3)]), Some(Duration::from_secs(1)));
        assert_eq!(bench.counts().2, 0);
        bench.plan(30, &[scale(3)]);
        bench.plan(31, &[scale(3)]);
        let [divergence] = &bench.comparer.report().divergences[..] else {
            panic!("told once")
        };
        assert_eq!(divergence.fault, Fault::NotDone);
        assert_eq!(divergence.planned, ["scale ReplicaSet web-1: 3 replicas"]);
        bench.plan(32, &[]);
        assert_eq!(bench.counts(), (0, 1, 1));
    }

    #[tokio::test]
    async fn take_13_what_was_done_unplanned_is_told_after_the_window() {
        let bench = bench();
        bench.plan(0, &[scale(3)]);
        assert!(bench.sees(1, &scale(2)).is_some());
        assert_eq!(bench.plan(1, &[]), Some(WINDOW));
        assert_eq!(bench.counts(), (0, 0, 0));
        bench.plan(31, &[]);
        assert_eq!(bench.counts(), (0, 1, 1));
        assert_eq!(bench.comparer.report().divergences[0].fault, Fault::NotPlanned);
    }

    #[tokio::test]
    async fn take_13_a_plan_for_the_state_before_the_write_acquits_it() {
        let bench = bench();
        bench.plan(0, &[scale(3)]);
        let doubt = bench.sees(1, &scale(2)).unwrap();
        bench.comparer.acquit(&bench.key, doubt);
        bench.plan(1, &[]);
        assert_eq!(bench.counts(), (1, 0, 0));
    }

    #[tokio::test]
    async fn take_13_counted_effects_are_used_up() {
        let bench = bench();
        let create = |count| Effect::new("create", "pods", "").times(count);
        bench.plan(0, &[create(2)]);
        assert_eq!(bench.sees(1, &create(1)), None);
        bench.plan(1, &[create(1)]);
        assert_eq!(bench.sees(2, &create(1)), None);
        assert!(bench.sees(3, &create(1)).is_some(), "one too many");
    }

    /// Had nothing happened, this would be planned.
    struct Otherwise(Vec<Effect>);

    impl Shadowed for Otherwise {
        type Write = u32;

        const STRAY_DELETES: bool = true;

        fn outlook_without(&self, _: &ObjectKey, _: &u32, _: Timestamp) -> Option<Outlook> {
            Some(Outlook {
                effects: self.0.clone(),
                settled: false,
            })
        }
    }

    #[tokio::test]
    async fn take_13_a_write_that_was_faster_than_our_plan_is_judged_by_the_state_before_it() {
        let bench = bench();
        bench.plan(0, &[]);
        let witness = |otherwise: Vec<Effect>, effect: &Effect| {
            let shadowed = Otherwise(otherwise);
            bench.comparer.witness(&shadowed, &bench.key, effect, &0, T0);
        };
        witness(vec![scale(2)], &scale(2));
        assert_eq!(bench.comparer.report().effects["scale"].agreed, 1);
        witness(vec![scale(5)], &scale(3));
        let later = Otherwise(vec![scale(3)]);
        bench.comparer.review(&later, &bench.key, T0);
        assert_eq!(bench.comparer.report().effects["scale"].agreed, 2);
        // Somebody deleted a pod that nobody had too many of.
        witness(vec![], &Effect::new(DELETE, "pod a", ""));
        bench.plan(40, &[]);
        assert_eq!(bench.counts(), (1, 0, 0));
    }

    #[test]
    fn take_13_statuses_are_compared_without_times() {
        let status = |replicas: i32, time: &str| {
            serde_json::json!({ "replicas": replicas, "readyReplicas": 0, "conditions": [
                { "type": "Available", "status": "True", "reason": "R", "message": "m", "lastUpdateTime": time }
            ]})
        };
        assert_eq!(
            status_changes(&status(1, "a"), &status(1, "b")),
            "times of conditions"
        );
        assert_eq!(
            status_changes(&status(1, "a"), &status(2, "b")),
            "replicas: 1 -> 2"
        );
    }

    #[tokio::test]
    async fn take_13_nothing_is_compared_before_the_first_plan() {
        let bench = bench();
        assert_eq!(bench.sees(0, &scale(3)), None);
        bench.plan(1, &[]);
        assert_eq!(bench.counts(), (0, 0, 0));
    }
}
