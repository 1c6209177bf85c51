//! Where actions go, and what becomes of a key whose actions failed.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tracing::info;

use crate::context::Context;
use crate::guard::Licence;
use crate::lease::{Leadership, NotLeading, WriteToken};

/// Carries out actions: against the API server, into a shadow report, on a simulated cluster.
pub trait Sink<A>: Send + Sync {
    /// What is known after success, for instance the written version.
    type Done;
    /// Why an action failed.
    type Error;

    /// Carries out one action.
    fn apply(&self, action: &A) -> impl Future<Output = Result<Self::Done, Self::Error>> + Send;
}

/// What became of an action that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Carried out.
    Changed,
    /// The object was gone already, or has become another one.
    Gone,
    /// Refused because the namespace is being deleted: more of the same would be refused too (RS-38, DEP-20).
    NamespaceTerminating,
}

impl Done {
    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Changed => "done",
            Self::Gone => "gone",
            Self::NamespaceTerminating => "namespace_terminating",
        }
    }
}

/// A sink that only reports takes everything for carried out.
impl From<()> for Done {
    fn from((): ()) -> Self {
        Self::Changed
    }
}

/// Where the plans of one controller go. `L` writes to the API server, and reads live what no cache may answer.
#[derive(Debug)]
pub struct Sinks<L> {
    live: L,
    shadow: ShadowSink,
    mode: Mode,
    leadership: Leadership,
    licence: Licence,
}

/// Where the plan of one sync goes.
#[derive(Debug)]
pub enum Way<'a, L> {
    /// To the API server, for as long as the token holds.
    Live(&'a L, WriteToken),
    /// Into reports. Orphans are checked live nevertheless: that reads only.
    Shadow(&'a ShadowSink, &'a L),
}

impl<L> Sinks<L> {
    /// As the mode of `ctx` asks for. `controller` names the reports.
    #[must_use]
    pub fn new(ctx: &Context, controller: &'static str, live: L) -> Self {
        Self {
            live,
            shadow: ShadowSink::new(controller),
            mode: ctx.mode,
            leadership: ctx.leadership.clone(),
            licence: ctx.licence.clone(),
        }
    }

    /// Whether plans go to the API server right now: asked for, and the guard has nothing against it.
    #[must_use]
    pub fn is_acting(&self) -> bool {
        self.mode == Mode::Active && self.licence.is_active()
    }

    /// The client, for live reads.
    #[must_use]
    pub fn live(&self) -> &L {
        &self.live
    }

    /// Where the plan of a sync that starts now goes.
    ///
    /// # Errors
    /// This process may not write (INV-12).
    pub fn way(&self) -> Result<Way<'_, L>, NotLeading> {
        let term = self.licence.term();
        if self.mode == Mode::Active && term.is_valid() {
            return Ok(Way::Live(&self.live, self.leadership.token()?.under(term)));
        }
        Ok(Way::Shadow(&self.shadow, &self.live))
    }
}

/// What the queue does with a key after an error. Decided in one place per crate, `Error::retry` (STY-33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not before the next change of something the key depends on.
    OnChange,
    /// After this time; longer when it happens again and again.
    Soon(Duration),
    /// With the key's exponential back-off and the overall rate (STY-22).
    Backoff,
    /// Like [`Retry::Backoff`], but given up after so many retries until the next change (15 for a
    /// Deployment).
    Drop {
        /// Retries before the key is dropped.
        after: u32,
    },
}

/// Writes nothing: counts and logs each action as it would be serialised into a shadow report.
#[derive(Debug)]
pub struct ShadowSink {
    controller: &'static str,
    actions: AtomicU64,
}

impl ShadowSink {
    /// A sink for that controller.
    #[must_use]
    pub fn new(controller: &'static str) -> Self {
        Self {
            controller,
            actions: AtomicU64::new(0),
        }
    }

    /// Actions so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.actions.load(Ordering::Relaxed)
    }
}

impl<A: Serialize + Sync> Sink<A> for ShadowSink {
    type Done = ();
    type Error = Unserialisable;

    async fn apply(&self, action: &A) -> Result<(), Unserialisable> {
        let action = serde_json::to_string(action).map_err(|source| Unserialisable { source })?;
        self.actions.fetch_add(1, Ordering::Relaxed);
        info!(
            controller = self.controller,
            action, "action planned, not carried out"
        );
        Ok(())
    }
}

/// An action that has no serialised form; a mistake in its type.
#[derive(Debug, thiserror::Error)]
#[error("action cannot be serialised")]
pub struct Unserialisable {
    #[source]
    source: serde_json::Error,
}

/// Whether a controller acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Plans and acts.
    #[default]
    Active,
    /// Plans and reports; writes nothing.
    Shadow,
    /// Does not run.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Shadow => "shadow",
            Self::Off => "off",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn inv_13_the_shadow_sink_counts_and_writes_nothing() {
        let sink = ShadowSink::new("replicaset");
        sink.apply(&serde_json::json!({ "CreatePods": { "count": 3 } }))
            .await
            .unwrap();
        sink.apply(&serde_json::json!("DeletePod")).await.unwrap();
        assert_eq!(sink.count(), 2);
    }
}
