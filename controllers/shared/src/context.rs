//! What every controller is handed at its start.

use std::fmt;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::guard::{Licence, Standing};
use crate::informer::Informers;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::objects::ObjectKey;
use crate::opt_out::OptOuts;
use crate::queue::Queue;
use crate::recorder::Recorders;
use crate::shadow::Shadows;
pub use crate::sink::Mode;
use crate::writes::Writes;

/// Handles to what the controllers of a process share. Cloning is cheap.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// The watches of the process.
    pub informers: Informers,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the process is to end. Workers then take no more keys.
    pub stop: CancellationToken,
    /// The right to write.
    pub leadership: Leadership,
    /// Makes a recorder of events per controller.
    pub recorder: Recorders,
    /// Where a controller registers metrics of its own.
    pub metrics: Arc<Mutex<Registry>>,
    /// Metrics of the shared machinery.
    pub shared_metrics: Metrics,
    /// Whether this controller acts.
    pub mode: Mode,
    /// What the guard says to this controller. Only asked in the mode [`Mode::Active`].
    pub licence: Licence,
    /// Who is to be left alone (TAKE-12).
    pub opt_outs: OptOuts,
    /// Where plans are compared with what native controllers do (TAKE-13).
    pub shadows: Shadows,
    /// Name of this process, unique among its replicas: the pod's name.
    pub instance: String,
}

impl Context {
    /// The same context for a controller in another mode.
    #[must_use]
    pub fn with_mode(&self, mode: Mode) -> Self {
        Self { mode, ..self.clone() }
    }

    /// The same context for a controller with a guard.
    #[must_use]
    pub fn with_licence(&self, licence: Licence) -> Self {
        Self {
            licence,
            ..self.clone()
        }
    }

    /// Whether the controller acts at present, and why not, for people.
    pub fn standing(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let (mode, licence) = (self.mode, self.licence.clone());
        move || match (mode, licence.standing()) {
            (Mode::Active, Standing::StandBy { why, .. }) => format!("standing by: {why}"),
            (mode, _) => mode.to_string(),
        }
    }

    /// A work queue with the controller's name.
    #[must_use]
    pub fn queue(&self, name: &'static str) -> Queue<ObjectKey> {
        Queue::new(name, &self.shared_metrics)
    }

    /// Open writes of the keys of that queue.
    #[must_use]
    pub fn writes(&self, queue: &Queue<ObjectKey>) -> Writes {
        Writes::new(&self.informers, queue, &self.shared_metrics)
    }

    /// The current moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("mode", &self.mode)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
