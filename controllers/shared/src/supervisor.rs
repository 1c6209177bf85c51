//! Long-lived tasks by name: if one ends, the process drains (STY-70).

use std::future::Future;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info_span};

use crate::{Error, Result};

type TaskError = Box<dyn std::error::Error + Send + Sync>;
type Ended = (Id, Result<(), TaskError>);

/// The tasks of a process.
#[derive(Debug)]
pub struct Supervisor {
    tasks: JoinSet<Result<(), TaskError>>,
    names: FxHashMap<Id, &'static str>,
    stop: CancellationToken,
}

impl Supervisor {
    /// No tasks yet. `stop` is cancelled when one ends that was not asked to, and asks all to end when cancelled.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            names: FxHashMap::default(),
            stop,
        }
    }

    /// Starts a task. It has to end soon after `stop` is cancelled, and not before.
    pub fn spawn<E>(&mut self, name: &'static str, task: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Into<TaskError> + 'static,
    {
        let named = async move { task.await.map_err(Into::into) }.instrument(info_span!("task", name));
        let handle = self.tasks.spawn(named);
        self.names.insert(handle.id(), name);
    }

    /// Waits until `stop` is cancelled or a task ends, then for all others, at most `drain` long.
    ///
    /// # Errors
    /// The first task that ended before `stop`, or ended badly; or [`Error::DrainDeadline`].
    pub async fn run(mut self, drain: Duration) -> Result<()> {
        let stop = self.stop.clone();
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            // Cancel-safe: a finished task stays in the set until it is returned.
            ended = self.tasks.join_next_with_id() => ended,
        };
        let mut verdict = match first {
            Some(ended) => self.judge(ended, Expected::No),
            None => Ok(()),
        };
        stop.cancel();
        let deadline = tokio::time::Instant::now() + drain;
        while !self.tasks.is_empty() {
            match tokio::time::timeout_at(deadline, self.tasks.join_next_with_id()).await {
                Ok(Some(ended)) => verdict = verdict.and(self.judge(ended, Expected::Yes)),
                Ok(None) => break,
                Err(_elapsed) => {
                    let mut names: Vec<&str> = self.names.values().copied().collect();
                    names.sort_unstable();
                    let late = Error::DrainDeadline {
                        tasks: names.join(", "),
                    };
                    error!(error = &late as &dyn std::error::Error, "giving up on tasks");
                    return verdict.and(Err(late));
                }
            }
        }
        verdict
    }

    fn judge(&mut self, ended: Result<Ended, JoinError>, expected: Expected) -> Result<()> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(died) => died.id(),
        };
        let task = self.names.remove(&id).unwrap_or("unnamed");
        let verdict = match ended {
            Ok((_, Ok(()))) if expected == Expected::Yes => {
                debug!(task, "task ended");
                return Ok(());
            }
            Ok((_, Ok(()))) => Error::TaskEnded { task },
            Ok((_, Err(source))) => Error::TaskFailed { task, source },
            Err(source) => Error::TaskDied { task, source },
        };
        error!(error = &verdict as &dyn std::error::Error, "the process drains");
        Err(verdict)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(10);

    fn until(stop: &CancellationToken) -> impl Future<Output = Result<()>> + Send + 'static {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sty_70_all_tasks_end_when_one_does() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("patient", until(&stop));
        supervisor.spawn("hasty", async { Ok::<(), Error>(()) });
        assert!(matches!(
            supervisor.run(DRAIN).await,
            Err(Error::TaskEnded { task: "hasty" })
        ));
        assert!(stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn sty_70_a_panic_is_noticed() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("patient", until(&stop));
        supervisor.spawn("broken", async {
            if true { panic!("bug") } else { Ok::<(), Error>(()) }
        });
        assert!(matches!(
            supervisor.run(DRAIN).await,
            Err(Error::TaskDied { task: "broken", .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn sty_77_draining_has_a_deadline() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("deaf", std::future::pending::<Result<()>>());
        supervisor.spawn("patient", until(&stop));
        stop.cancel();
        let error = supervisor.run(DRAIN).await.unwrap_err();
        assert_eq!(error.to_string(), "still running after the drain deadline: deaf");
    }

    #[tokio::test(start_paused = true)]
    async fn sty_77_an_orderly_stop_is_no_error() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.spawn("patient", until(&stop));
        stop.cancel();
        supervisor.run(DRAIN).await.unwrap();
    }
}
