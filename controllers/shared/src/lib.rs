//! What all controllers share: views of API objects, informers with indexed caches, the keyed work queue, the way
//! from a snapshot to actions, events, leadership and supervision. Spec: chapter 1 of `docs/specs/workloads.md`.
//!
//! ```text
//! watches ─► Informer ─► Cache ─► Change ─► keys ─► Queue ─► controller::run ─► Reconcile (observe, plan, act)
//!               │ progress                             ▲            │ read your writes, held keys, leadership
//!               └──────────► Writes ───────────────────┘            └─► Retry, wake_at
//! ```

pub mod api;
pub mod cache;
pub mod claims;
pub mod clock;
pub mod conditions;
pub mod context;
pub mod controller;
mod error;
pub mod guard;
pub mod informer;
pub mod lease;
pub mod metrics;
pub mod objects;
pub mod obstacle;
pub mod opt_out;
pub mod owners;
pub mod ownership;
pub mod pods;
pub mod quantity;
pub mod queue;
pub mod rbac;
pub mod ready;
pub mod recorder;
pub mod selector;
pub mod shadow;
pub mod sink;
pub mod supervisor;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;
pub mod writes;

pub use error::{Error, Result};
