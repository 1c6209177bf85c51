//! Leader election on a Lease, and the token that each write needs (STY-76, TAKE-11, INV-12).
//!
//! The holder renews every 2 s. It stops writing 10 s after the start of its last successful renewal; another
//! process takes the lease no earlier than 15 s after it saw that renewal. A write started under a token and ended
//! within [`Config::request_timeout`] is therefore over before anybody else may write.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::guard::{Licence, LicenceTerm};
use crate::metrics::Metrics;
use crate::{Error, Result, api};

/// How the lease is held. Defaults: kube-controller-manager 1.36.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// This process, unique among its replicas.
    pub identity: String,
    /// Others wait this long after the last renewal they saw.
    pub lease_duration: Duration,
    /// The holder stops writing this long after its last renewal.
    pub renew_deadline: Duration,
    /// Pause between two attempts to take or renew.
    pub retry_period: Duration,
    /// Deadline of every write made under the lease.
    pub request_timeout: Duration,
}

impl Config {
    /// The defaults: 15 s, 10 s, 2 s, and [`api::REQUEST_DEADLINE`].
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            request_timeout: api::REQUEST_DEADLINE,
        }
    }

    fn check(&self) -> Result<()> {
        let rules = [
            (self.identity.is_empty(), "identity", "must not be empty"),
            (
                self.retry_period.is_zero(),
                "retryPeriod",
                "must be greater than 0",
            ),
            (
                self.renew_deadline <= self.retry_period,
                "renewDeadline",
                "must be greater than retryPeriod",
            ),
            (
                self.lease_duration < self.renew_deadline + self.request_timeout,
                "leaseDuration",
                "must be at least renewDeadline plus the timeout of a request",
            ),
        ];
        match rules.into_iter().find(|(broken, ..)| *broken) {
            Some((_, field, rule)) => Err(Error::Setting { field, rule }),
            None => Ok(()),
        }
    }
}

/// The lease is not held, or not long enough any more, or the guard stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process does not hold the leader lease, or stands by")]
pub struct NotLeading;

/// What the process may do at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// Counts the times the lease was taken.
    term: u64,
    right: Right,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    None,
    Until(Instant),
    Always,
}

impl Standing {
    fn is_leading(&self) -> bool {
        match self.right {
            Right::None => false,
            Right::Until(deadline) => Instant::now() < deadline,
            Right::Always => true,
        }
    }
}

/// Whether this process may write. Clones see the same lease.
#[derive(Clone, Debug)]
pub struct Leadership {
    standing: watch::Receiver<Standing>,
}

impl Leadership {
    /// Leadership without a lease: tests, and a process that is told to be alone.
    #[must_use]
    pub fn always() -> Self {
        Self {
            standing: watch::Sender::new(Standing {
                term: 0,
                right: Right::Always,
            })
            .subscribe(),
        }
    }

    /// Leadership that a test gives and takes. Not held at first.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn switched() -> (LeadershipSwitch, Self) {
        let standing = watch::Sender::new(Standing {
            term: 0,
            right: Right::None,
        });
        let leadership = Self {
            standing: standing.subscribe(),
        };
        (LeadershipSwitch { standing }, leadership)
    }

    /// The right to write, for as long as the lease is held without a break. Checked again before each write.
    ///
    /// # Errors
    /// The lease is not held.
    pub fn token(&self) -> Result<WriteToken, NotLeading> {
        let standing = *self.standing.borrow();
        let token = WriteToken {
            standing: self.standing.clone(),
            term: standing.term,
            licence: Licence::unguarded().term(),
        };
        token.check().map(|()| token)
    }

    /// Whether the lease is held right now.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.standing.borrow().is_leading()
    }

    /// The present or last term; 0 before the first and without a lease.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.standing.borrow().term
    }

    /// Waits until the lease is held; the term.
    pub async fn until_leading(&self) -> u64 {
        let mut standing = self.standing.clone();
        let term = match standing.wait_for(Standing::is_leading).await {
            Ok(standing) => Some(standing.term),
            Err(_gone) => None,
        };
        match term {
            Some(term) => term,
            // Nobody will ever take the lease: the process is ending.
            None => std::future::pending().await,
        }
    }

    /// Waits until the lease of that term is lost.
    pub async fn until_lost(&self, term: u64) {
        let mut standing = self.standing.clone();
        loop {
            let now = *standing.borrow_and_update();
            let deadline = match now.right {
                _ if now.term != term => return,
                Right::None => return,
                Right::Until(deadline) if deadline <= Instant::now() => return,
                Right::Until(deadline) => Some(deadline),
                Right::Always => None,
            };
            let expired = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(expired);
            tokio::select! {
                // Cancel-safe: both only wait. An error means that nobody renews any more; the deadline decides.
                changed = standing.changed() => if changed.is_err() {
                    expired.await;
                },
                () = &mut expired => {}
            }
        }
    }
}

/// Gives and takes leadership in tests; see [`Leadership::switched`].
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct LeadershipSwitch {
    standing: watch::Sender<Standing>,
}

#[cfg(any(test, feature = "testing"))]
impl LeadershipSwitch {
    /// The lease is taken: a new term.
    pub fn take(&self) {
        self.standing.send_modify(|standing| {
            *standing = Standing {
                term: standing.term.saturating_add(1),
                right: Right::Always,
            };
        });
    }

    /// The lease is lost.
    pub fn lose(&self) {
        self.standing.send_modify(|standing| standing.right = Right::None);
    }
}

/// The right to write during one term. `act` checks it before each write.
#[derive(Clone, Debug)]
pub struct WriteToken {
    standing: watch::Receiver<Standing>,
    term: u64,
    licence: LicenceTerm,
}

impl WriteToken {
    /// The same right for a controller with a guard: it ends with the licence too (TAKE-10).
    #[must_use]
    pub fn under(self, licence: LicenceTerm) -> Self {
        Self { licence, ..self }
    }

    /// Whether a write may start now.
    ///
    /// # Errors
    /// The lease was lost, even if it was taken again since, or what is left of it is less than a request takes; or
    /// the guard made the controller stand by since.
    pub fn check(&self) -> Result<(), NotLeading> {
        let standing = *self.standing.borrow();
        if standing.term == self.term && standing.is_leading() && self.licence.is_valid() {
            Ok(())
        } else {
            Err(NotLeading)
        }
    }

    /// The term it belongs to.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }
}

/// A Lease as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLease {
    /// `metadata.resourceVersion`: changes with each write.
    pub version: String,
    /// What it says.
    pub spec: LeaseSpec,
}

/// Where the Lease is stored. The API server, or a script in tests.
pub trait LeaseStore: Send + Sync + 'static {
    /// The Lease, if it exists.
    fn read(&self) -> impl Future<Output = Result<Option<StoredLease>, kube::Error>> + Send;
    /// Creates it; fails if it exists.
    fn create(&self, spec: &LeaseSpec) -> impl Future<Output = Result<StoredLease, kube::Error>> + Send;
    /// Changes it; fails with a conflict unless it still has that version.
    fn update(
        &self,
        version: &str,
        spec: &LeaseSpec,
    ) -> impl Future<Output = Result<StoredLease, kube::Error>> + Send;
}

/// The Lease in the API server, changed by merge patches that carry its resourceVersion.
#[derive(Clone)]
pub struct KubeLease {
    api: Api<Lease>,
    name: String,
}

impl KubeLease {
    /// The Lease of that configuration.
    #[must_use]
    pub fn new(client: kube::Client, config: &Config) -> Self {
        Self {
            api: Api::namespaced(client, &config.namespace),
            name: config.name.clone(),
        }
    }
}

impl fmt::Debug for KubeLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeLease")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl From<Lease> for StoredLease {
    fn from(lease: Lease) -> Self {
        Self {
            version: lease.metadata.resource_version.unwrap_or_default(),
            spec: lease.spec.unwrap_or_default(),
        }
    }
}

impl LeaseStore for KubeLease {
    async fn read(&self) -> Result<Option<StoredLease>, kube::Error> {
        Ok(self.api.get_opt(&self.name).await?.map(Into::into))
    }

    async fn create(&self, spec: &LeaseSpec) -> Result<StoredLease, kube::Error> {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        let lease = Lease {
            metadata,
            spec: Some(spec.clone()),
        };
        Ok(self.api.create(&PostParams::default(), &lease).await?.into())
    }

    async fn update(&self, version: &str, spec: &LeaseSpec) -> Result<StoredLease, kube::Error> {
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": spec });
        Ok(self
            .api
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?
            .into())
    }
}

/// Takes, renews and releases the lease.
pub struct Elector<S> {
    store: S,
    config: Config,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    standing: watch::Sender<Standing>,
    seen: Option<Seen>,
    trouble: Option<String>,
}

/// The Lease as last read or written, and when it was first seen like that. Other clocks are not trusted.
struct Seen {
    lease: StoredLease,
    since: Instant,
}

impl<S> fmt::Debug for Elector<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elector")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<S: LeaseStore> Elector<S> {
    /// An elector that has not tried yet, and the leadership it grants.
    ///
    /// # Errors
    /// [`Error::Setting`] if the durations do not fit together.
    pub fn new(
        store: S,
        config: Config,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<(Self, Leadership)> {
        config.check()?;
        let standing = watch::Sender::new(Standing {
            term: 0,
            right: Right::None,
        });
        let leadership = Leadership {
            standing: standing.subscribe(),
        };
        let metrics = metrics.clone();
        Ok((
            Self {
                store,
                config,
                clock,
                metrics,
                standing,
                seen: None,
                trouble: None,
            },
            leadership,
        ))
    }

    /// Takes and renews the lease until `stop`, then releases it. Cancel `stop` only after the last write: whoever
    /// takes the released lease writes at once (STY-77).
    ///
    /// # Errors
    /// Never; the type is that of a supervised task.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        loop {
            let started = Instant::now();
            let attempt = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Not resumed after `stop`: a write under way is either read back or overwritten by the release.
                attempt = tokio::time::timeout(self.config.request_timeout, self.attempt()) => attempt,
            };
            match attempt {
                Ok(Ok(Held::Ours)) => self.hold(started + self.config.renew_deadline),
                Ok(Ok(Held::Others)) => self.lose("another process holds it"),
                Ok(Err(error)) => self.fail(&api::message(&error)),
                Err(_elapsed) => self.fail("no answer in time"),
            }
            let pause = self.config.retry_period.mul_f64(1.0 + 0.2 * fastrand::f64());
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.release().await;
        Ok(())
    }

    async fn attempt(&mut self) -> Result<Held, kube::Error> {
        let Some(lease) = self.store.read().await? else {
            let lease = self.store.create(&self.claim(None)).await?;
            self.see(lease);
            return Ok(Held::Ours);
        };
        self.see(lease.clone());
        if !self.is_free(&lease.spec) {
            return Ok(Held::Others);
        }
        match self
            .store
            .update(&lease.version, &self.claim(Some(&lease.spec)))
            .await
        {
            Ok(lease) => {
                self.see(lease);
                Ok(Held::Ours)
            }
            // Somebody was faster; the next attempt reads who.
            Err(error) if api::is_conflict(&error) && !self.is_ours(&lease.spec) => Ok(Held::Others),
            Err(error) => Err(error),
        }
    }

    fn see(&mut self, lease: StoredLease) {
        if self.seen.as_ref().is_none_or(|seen| seen.lease != lease) {
            self.seen = Some(Seen {
                lease,
                since: Instant::now(),
            });
        }
    }

    fn is_ours(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_deref() == Some(&self.config.identity)
    }

    fn is_free(&self, spec: &LeaseSpec) -> bool {
        if self.is_ours(spec) || spec.holder_identity.as_deref().unwrap_or_default().is_empty() {
            return true;
        }
        // The holder's own idea of the duration counts; ours only if it says none.
        let theirs = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let duration = theirs.map_or(self.config.lease_duration, Duration::from_secs);
        self.seen
            .as_ref()
            .is_some_and(|seen| seen.since.elapsed() >= duration)
    }

    fn claim(&self, stored: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(self.clock.now());
        let kept = stored.filter(|spec| self.is_ours(spec));
        let transitions = stored.and_then(|spec| spec.lease_transitions);
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(
                i32::try_from(self.config.lease_duration.as_secs()).unwrap_or(i32::MAX),
            ),
            acquire_time: kept
                .and_then(|spec| spec.acquire_time.clone())
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: match (stored, kept) {
                (Some(_), None) => Some(transitions.unwrap_or(0).saturating_add(1)),
                _ => Some(transitions.unwrap_or(0)),
            },
            ..LeaseSpec::default()
        }
    }

    fn hold(&mut self, deadline: Instant) {
        let mut taken = false;
        self.standing.send_if_modified(|standing| {
            taken = !standing.is_leading();
            if taken {
                standing.term = standing.term.saturating_add(1);
            }
            standing.right = Right::Until(deadline);
            // A renewal wakes nobody up: whoever waits for the loss looks again at the former deadline.
            taken
        });
        self.trouble = None;
        self.metrics.leading.set(1);
        if taken {
            info!(
                lease = self.config.name,
                identity = self.config.identity,
                "leader lease taken"
            );
        }
    }

    fn lose(&mut self, why: &str) {
        let lost = self
            .standing
            .send_if_modified(|standing| std::mem::replace(&mut standing.right, Right::None) != Right::None);
        self.metrics.leading.set(0);
        if lost {
            warn!(lease = self.config.name, why, "leader lease lost");
        }
    }

    fn fail(&mut self, why: &str) {
        if self.trouble.as_deref() != Some(why) {
            warn!(
                lease = self.config.name,
                namespace = self.config.namespace,
                error = why,
                "lease request failed"
            );
            self.trouble = Some(why.to_owned());
        }
        if !self.standing.borrow().is_leading() {
            self.lose(why);
        }
    }

    /// Gives the lease up, so that another process need not wait for it to run out.
    async fn release(&mut self) {
        let was_leading = self.standing.borrow().is_leading();
        self.standing.send_modify(|standing| standing.right = Right::None);
        self.metrics.leading.set(0);
        let Some(seen) = self
            .seen
            .take()
            .filter(|seen| was_leading && self.is_ours(&seen.lease.spec))
        else {
            return;
        };
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(self.clock.now())),
            ..seen.lease.spec
        };
        match api::within(
            self.config.request_timeout,
            self.store.update(&seen.lease.version, &spec),
        )
        .await
        {
            Ok(_) => info!(lease = self.config.name, "leader lease released"),
            Err(error) => warn!(
                lease = self.config.name,
                error = api::message(&error),
                "lease not released"
            ),
        }
    }
}

enum Held {
    Ours,
    Others,
}

#[cfg(test)]
mod tests;
