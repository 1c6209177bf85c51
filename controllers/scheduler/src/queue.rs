//! Pods that wait to be scheduled, and when each is tried again (SCH-13 to SCH-31). Pure: the caller passes `now`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustc_hash::FxHashMap;
use steersman_shared::objects::Uid;

use crate::plan::Profile;
use crate::plan::event::{Event, PodAspect};
use crate::plan::plugins::{Hint, PluginName};
use crate::plan::pod::PodInfo;

/// How long a rejected pod stays parked before it is tried again without a reason (kube-scheduler 1.36, SCH-24).
const MAX_PARKED: SignedDuration = SignedDuration::from_mins(5);

/// Waiting times after failed attempts (SCH-19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub initial: SignedDuration,
    /// The doubling ends here; 0 disables waiting.
    pub maximum: SignedDuration,
}

impl Default for Backoff {
    /// 1 s to 10 s (kube-scheduler 1.36).
    fn default() -> Self {
        Self {
            initial: SignedDuration::from_secs(1),
            maximum: SignedDuration::from_secs(10),
        }
    }
}

impl Backoff {
    fn after(self, failures: u32) -> SignedDuration {
        if failures == 0 {
            return SignedDuration::ZERO;
        }
        let doubled = 1_i32
            .checked_shl(failures - 1)
            .and_then(|factor| self.initial.checked_mul(factor));
        doubled.map_or(self.maximum, |wait| wait.min(self.maximum))
    }
}

/// Scheduling state of a pod, kept from attempt to attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The pod as last seen.
    pub pod: Arc<PodInfo>,
    /// Attempts so far, the current one included.
    pub attempts: u32,
    /// First time the pod could be tried; gated time does not count.
    pub first_tried: Option<Timestamp>,
    /// Whether the pod is tried only because it was parked for too long: no event said that it might fit.
    pub after_timeout: bool,
    /// When it last entered the queue, or its last attempt failed (SCH-14).
    timestamp: Timestamp,
    rejections: u32,
    errors: u32,
    rejected_by: BTreeSet<PluginName>,
    gated_by: Option<PluginName>,
    /// Orders pods that are equal otherwise by arrival.
    number: u64,
}

type ActiveOrder = (Reverse<i32>, Timestamp, u64);

impl Attempt {
    fn order(&self) -> ActiveOrder {
        (Reverse(self.pod.priority), self.timestamp, self.number)
    }
}

/// Where a waiting pod is (SCH-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Ready to be tried.
    Active,
    /// Waits after a rejection.
    Backoff,
    /// Waits after an error.
    ErrorBackoff,
    /// Waits for an event.
    Unschedulable,
    /// Waits for its gates to open.
    Gated,
    /// Being tried.
    InFlight,
}

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    place: Place,
}

/// The scheduling queue.
#[derive(Debug)]
pub struct Queue {
    backoff: Backoff,
    waiting: FxHashMap<Uid, Waiting>,
    active: BTreeSet<(ActiveOrder, Uid)>,
    backing_off: BTreeSet<(Timestamp, ActiveOrder, Uid)>,
    errors_backing_off: BTreeSet<(Timestamp, u64, Uid)>,
    /// Unschedulable and gated pods, in order of arrival.
    parked: BTreeSet<(u64, Uid)>,
    /// How many of them are gated.
    gated: usize,
    /// Pods being tried, with the number of the first event after they were taken.
    in_flight: FxHashMap<Uid, u64>,
    /// Events since the oldest of them was taken (SCH-26).
    events: VecDeque<Event>,
    /// Number of the first of `events`.
    first_event: u64,
    next_number: u64,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            waiting: FxHashMap::default(),
            active: BTreeSet::new(),
            backing_off: BTreeSet::new(),
            errors_backing_off: BTreeSet::new(),
            parked: BTreeSet::new(),
            gated: 0,
            in_flight: FxHashMap::default(),
            events: VecDeque::new(),
            first_event: 0,
            next_number: 0,
        }
    }

    /// Where a pod is, `None` if the queue does not know it.
    #[must_use]
    pub fn place(&self, uid: &Uid) -> Option<Place> {
        match self.waiting.get(uid) {
            Some(waiting) => Some(waiting.place),
            None => self.in_flight.contains_key(uid).then_some(Place::InFlight),
        }
    }

    /// Pods and their places, in no particular order.
    pub fn places(&self) -> impl Iterator<Item = (&Uid, Place)> {
        let waiting = self.waiting.iter().map(|(uid, waiting)| (uid, waiting.place));
        waiting.chain(self.in_flight.keys().map(|uid| (uid, Place::InFlight)))
    }

    /// Number of pods in a place.
    #[must_use]
    pub fn count(&self, place: Place) -> usize {
        match place {
            Place::Active => self.active.len(),
            Place::Backoff => self.backing_off.len(),
            Place::ErrorBackoff => self.errors_backing_off.len(),
            Place::InFlight => self.in_flight.len(),
            Place::Unschedulable => self.parked.len() - self.gated,
            Place::Gated => self.gated,
        }
    }

    /// Whether [`Self::pop`] would return a pod.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.active.is_empty() || !self.backing_off.is_empty()
    }

    /// Adds a pod that is not known yet (SCH-15).
    pub fn add(&mut self, pod: Arc<PodInfo>, now: Timestamp, profile: &Profile) {
        let number = self.next_number;
        self.next_number += 1;
        let attempt = Attempt {
            pod,
            attempts: 0,
            first_tried: None,
            after_timeout: false,
            timestamp: now,
            rejections: 0,
            errors: 0,
            rejected_by: BTreeSet::new(),
            gated_by: None,
            number,
        };
        self.enter(attempt, Place::Active, now, profile);
    }

    /// Takes over a new version of a pod; an unknown pod is added (SCH-30).
    pub fn update(&mut self, new: Arc<PodInfo>, now: Timestamp, profile: &Profile) {
        let Some(waiting) = self.waiting.remove(&new.uid) else {
            if self.in_flight.contains_key(&new.uid) {
                // The attempt under way judges the old version: have it judged again afterwards.
                let cause = "PodUpdate";
                self.events.push_back(Event::Any {
                    cause,
                    only: Some(new.uid.clone()),
                });
            } else {
                self.add(new, now, profile);
            }
            return;
        };
        let Waiting { mut attempt, place } = waiting;
        self.unlink(&attempt, place);
        let old = std::mem::replace(&mut attempt.pod, Arc::clone(&new));
        if !matches!(place, Place::Unschedulable | Place::Gated) {
            self.link(attempt, place);
            return;
        }
        let wakes = PodAspect::changed(&old, &new).into_iter().any(|aspect| {
            let (old, new) = (Arc::clone(&old), Arc::clone(&new));
            is_woken(
                &attempt,
                &Event::PendingUpdated { aspect, old, new },
                profile,
                &mut Deaf::default(),
            )
        });
        if wakes {
            self.enter_after_backoff(attempt, now, profile);
        } else {
            self.link(attempt, place);
        }
    }

    /// Forgets a pod, wherever it is.
    pub fn remove(&mut self, uid: &Uid) {
        if let Some(Waiting { attempt, place }) = self.waiting.remove(uid) {
            self.unlink(&attempt, place);
        }
        self.done(uid);
    }

    /// Takes the next pod, of the highest priority and longest waiting; if none is active, one that is still backing
    /// off after a rejection (SCH-18).
    pub fn pop(&mut self, now: Timestamp) -> Option<Attempt> {
        let uid = match self.active.first() {
            Some((_, uid)) => uid.clone(),
            None => self.backing_off.first()?.2.clone(),
        };
        let Waiting { mut attempt, place } = self.waiting.remove(&uid)?;
        self.unlink(&attempt, place);
        attempt.attempts = attempt.attempts.saturating_add(1);
        attempt.first_tried.get_or_insert(now);
        attempt.rejected_by.clear();
        self.in_flight
            .insert(uid, self.first_event + self.events.len() as u64);
        Some(attempt)
    }

    /// Ends an attempt; the pod is no longer the queue's concern.
    pub fn done(&mut self, uid: &Uid) {
        if self.in_flight.remove(uid).is_none() {
            return;
        }
        let end = self.first_event + self.events.len() as u64;
        let oldest = self.in_flight.values().min().copied().unwrap_or(end);
        while self.first_event < oldest && self.events.pop_front().is_some() {
            self.first_event += 1;
        }
    }

    /// Ends an attempt without a node. `rejected_by` is empty after an error (SCH-20, SCH-25, SCH-26).
    pub fn fail(
        &mut self,
        mut attempt: Attempt,
        latest: Arc<PodInfo>,
        rejected_by: BTreeSet<PluginName>,
        now: Timestamp,
        profile: &Profile,
    ) {
        attempt.pod = latest;
        attempt.timestamp = now;
        attempt.after_timeout = false;
        if rejected_by.is_empty() {
            attempt.errors = attempt.errors.saturating_add(1);
        } else {
            attempt.rejections = attempt.rejections.saturating_add(1);
            attempt.errors = 0;
        }
        attempt.rejected_by = rejected_by;
        let uid = attempt.pod.uid.clone();
        let since = self
            .in_flight
            .get(&uid)
            .map(|first| first.saturating_sub(self.first_event));
        let missed = self
            .events
            .iter()
            .skip(since.map_or(usize::MAX, |since| usize::try_from(since).unwrap_or(0)));
        let retry = attempt.rejected_by.is_empty()
            || missed
                .into_iter()
                .any(|event| is_woken(&attempt, event, profile, &mut Deaf::default()));
        self.done(&uid);
        if retry {
            self.enter_after_backoff(attempt, now, profile);
        } else {
            self.link(attempt, Place::Unschedulable);
        }
    }

    /// Wakes the parked pods that an event concerns (SCH-27 to SCH-29). Returns how many.
    pub fn wake(&mut self, event: &Event, now: Timestamp, profile: &Profile) -> usize {
        if !self.in_flight.is_empty() {
            self.events.push_back(event.clone());
        }
        let mut deaf = Deaf::default();
        let mut concerned = |uid: &Uid| {
            let waiting = self.waiting.get(uid);
            waiting.is_some_and(|waiting| is_woken(&waiting.attempt, event, profile, &mut deaf))
        };
        let woken: Vec<Uid> = self
            .parked
            .iter()
            .map(|(_, uid)| uid)
            .filter(|uid| concerned(uid))
            .cloned()
            .collect();
        for uid in &woken {
            if let Some(Waiting { attempt, place }) = self.waiting.remove(uid) {
                self.unlink(&attempt, place);
                self.enter_after_backoff(attempt, now, profile);
            }
        }
        woken.len()
    }

    /// Whether some event could wake a pod: if not, nothing has to be prepared for [`Self::wake`].
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        !self.parked.is_empty() || !self.in_flight.is_empty()
    }

    /// Makes every pod active whose back-off is over (SCH-23).
    pub fn flush_backoff(&mut self, now: Timestamp) {
        let second = whole_second(now);
        while let Some((expiry, _, uid)) = self.backing_off.first()
            && *expiry < second
        {
            let uid = uid.clone();
            self.activate(&uid);
        }
        while let Some((expiry, _, uid)) = self.errors_backing_off.first()
            && *expiry < second
        {
            let uid = uid.clone();
            self.activate(&uid);
        }
    }

    /// Retries pods that were parked for too long, in case an event was missed (SCH-24). Returns how many.
    pub fn flush_parked(&mut self, now: Timestamp, profile: &Profile) -> usize {
        let is_over = |uid: &Uid| {
            self.waiting
                .get(uid)
                .is_some_and(|waiting| now.duration_since(waiting.attempt.timestamp) > MAX_PARKED)
        };
        let over: Vec<Uid> = self
            .parked
            .iter()
            .map(|(_, uid)| uid)
            .filter(|uid| is_over(uid))
            .cloned()
            .collect();
        if !over.is_empty() && !self.in_flight.is_empty() {
            self.events.push_back(Event::Any {
                cause: "UnschedulableTimeout",
                only: None,
            });
        }
        let mut moved = 0;
        for uid in &over {
            if self.place(uid) == Some(Place::Unschedulable)
                && let Some(Waiting { mut attempt, place }) = self.waiting.remove(uid)
            {
                self.unlink(&attempt, place);
                attempt.after_timeout = true;
                self.enter_after_backoff(attempt, now, profile);
                moved += 1;
            }
        }
        moved
    }

    /// When [`Self::flush_backoff`] next has something to do.
    #[must_use]
    pub fn next_flush(&self) -> Option<Timestamp> {
        let first = self.backing_off.first().map(|(expiry, ..)| *expiry);
        let first_error = self.errors_backing_off.first().map(|(expiry, ..)| *expiry);
        let expiry = match (first, first_error) {
            (Some(first), Some(error)) => first.min(error),
            (first, error) => first.or(error)?,
        };
        expiry.checked_add(SignedDuration::from_secs(1)).ok()
    }

    /// Whether some pod is parked, so that [`Self::flush_parked`] may have something to do one day.
    #[must_use]
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// End of a pod's back-off: a whole second (SCH-21).
    fn expiry(&self, attempt: &Attempt) -> Timestamp {
        let failures = if attempt.errors > 0 {
            attempt.errors
        } else {
            attempt.rejections
        };
        let wait = self.backoff.after(failures);
        whole_second(
            attempt
                .timestamp
                .saturating_add(wait)
                .unwrap_or(attempt.timestamp),
        )
    }

    fn is_backing_off(&self, attempt: &Attempt, now: Timestamp) -> bool {
        let has_failed = attempt.errors > 0 || attempt.rejections > 0;
        let is_on = self.backoff.maximum > SignedDuration::ZERO;
        has_failed && is_on && self.expiry(attempt) >= whole_second(now)
    }

    fn enter_after_backoff(&mut self, attempt: Attempt, now: Timestamp, profile: &Profile) {
        let place = match (self.is_backing_off(&attempt, now), attempt.errors > 0) {
            (false, _) => Place::Active,
            (true, false) => Place::Backoff,
            (true, true) => Place::ErrorBackoff,
        };
        self.enter(attempt, place, now, profile);
    }

    /// Puts a pod where it may be tried from, unless a gate is closed (SCH-16).
    fn enter(&mut self, mut attempt: Attempt, place: Place, now: Timestamp, profile: &Profile) {
        if let Some((plugin, reason)) = profile.gate(&attempt.pod) {
            tracing::debug!(pod = %attempt.pod.key, plugin = plugin.as_str(), reason, "pod is gated");
            attempt.gated_by = Some(plugin);
            attempt.rejected_by.insert(plugin);
            self.link(attempt, Place::Gated);
            return;
        }
        attempt.gated_by = None;
        if place == Place::Active {
            attempt.first_tried.get_or_insert(now);
        }
        self.link(attempt, place);
    }

    /// Moves a pod whose back-off is over; gates are not asked again.
    fn activate(&mut self, uid: &Uid) {
        if let Some(Waiting { attempt, place }) = self.waiting.remove(uid) {
            self.unlink(&attempt, place);
            self.link(attempt, Place::Active);
        }
    }

    fn link(&mut self, attempt: Attempt, place: Place) {
        let uid = attempt.pod.uid.clone();
        match place {
            Place::Active => {
                self.active.insert((attempt.order(), uid.clone()));
            }
            Place::Backoff => {
                self.backing_off
                    .insert((self.expiry(&attempt), attempt.order(), uid.clone()));
            }
            Place::ErrorBackoff => {
                self.errors_backing_off
                    .insert((self.expiry(&attempt), attempt.number, uid.clone()));
            }
            Place::Unschedulable | Place::Gated => {
                self.parked.insert((attempt.number, uid.clone()));
                self.gated += usize::from(place == Place::Gated);
            }
            Place::InFlight => return,
        }
        self.waiting.insert(uid, Waiting { attempt, place });
    }

    fn unlink(&mut self, attempt: &Attempt, place: Place) {
        let uid = attempt.pod.uid.clone();
        match place {
            Place::Active => {
                self.active.remove(&(attempt.order(), uid));
            }
            Place::Backoff => {
                self.backing_off
                    .remove(&(self.expiry(attempt), attempt.order(), uid));
            }
            Place::ErrorBackoff => {
                self.errors_backing_off
                    .remove(&(self.expiry(attempt), attempt.number, uid));
            }
            Place::Unschedulable | Place::Gated => {
                self.parked.remove(&(attempt.number, uid));
                self.gated -= usize::from(place == Place::Gated);
            }
            Place::InFlight => {}
        }
    }
}

/// Plugins that turned out not to care about an event. Whether one does depends on the event alone, so that a scan
/// over many parked pods asks each plugin once.
#[derive(Clone, Copy, Debug, Default)]
struct Deaf(u16);

impl Deaf {
    fn contains(self, plugin: PluginName) -> bool {
        self.0 & (1 << plugin.index()) != 0
    }

    fn insert(&mut self, plugin: PluginName) {
        self.0 |= 1 << plugin.index();
    }
}

/// Whether an event is a reason to try a parked pod again (SCH-27, SCH-29).
fn is_woken(attempt: &Attempt, event: &Event, profile: &Profile, deaf: &mut Deaf) -> bool {
    let pod = &attempt.pod;
    if let Event::Any { only, .. } = event {
        return attempt.gated_by.is_none() && only.as_ref().is_none_or(|only| *only == pod.uid);
    }
    let mut hint = |plugin: PluginName| {
        if deaf.contains(plugin) {
            return None;
        }
        let hint = profile.hint(plugin, pod, event);
        if hint.is_none() {
            deaf.insert(plugin);
        }
        hint
    };
    if attempt.gated_by.is_some_and(|gate| hint(gate).is_none()) {
        return false;
    }
    attempt.rejected_by.is_empty()
        || attempt
            .rejected_by
            .iter()
            .any(|plugin| hint(*plugin) == Some(Hint::Queue))
}

fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(
        moment
            .as_nanosecond()
            .div_euclid(1_000_000_000)
            .try_into()
            .unwrap_or(i64::MAX),
    )
    .unwrap_or(moment)
}
