//! Which state each container is in at one moment.

use std::time::Duration;

use jiff::Timestamp;

use super::{Container, Delays, PodRun, UNPULLABLE, after, until};

/// Time between the first failed pull of an image and the second report.
const PULL_BACK_OFF: Duration = Duration::from_secs(10);
/// Pause before the first restart of a container; doubles to [`LONGEST_RESTART_PAUSE`] (kubelet 1.36).
const FIRST_RESTART_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_RESTART_PAUSE: Duration = Duration::from_mins(5);
/// A run of a container that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) since: Timestamp,
    pub(super) at: Timestamp,
    pub(super) code: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting {
        reason: &'static str,
        message: Option<String>,
    },
    Running {
        since: Timestamp,
    },
    Ended(Ended),
}

/// Where a container stands.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) state: State,
    pub(super) last: Option<Ended>,
    pub(super) restarts: u32,
    pub(super) ready: bool,
    pub(super) started: bool,
}

impl Progress {
    pub(super) fn waiting(reason: &'static str) -> Self {
        let state = State::Waiting {
            reason,
            message: None,
        };
        Self {
            state,
            last: None,
            restarts: 0,
            ready: false,
            started: false,
        }
    }

    pub(super) fn running(since: Timestamp, ready: bool) -> Self {
        Self {
            state: State::Running { since },
            last: None,
            restarts: 0,
            ready,
            started: true,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }
}

/// Everything at one moment.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) init: Vec<Progress>,
    pub(super) main: Vec<Progress>,
    pub(super) initialized: bool,
    /// Code and time of the last exit, when the pod will not run again.
    pub(super) outcome: Option<Ended>,
    /// When time alone changes the scene.
    pub(super) wake_at: Option<Timestamp>,
}

impl Scene {
    pub(super) fn wake(&mut self, at: Timestamp, now: Timestamp) {
        if at > now {
            self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
        }
    }
}

impl PodRun {
    pub(super) fn stop_at(&self, delays: &Delays) -> Option<Timestamp> {
        let stopping = self.stopping?;
        let usual = stopping.grace.saturating_mul(delays.stop_percent.min(100)) / 100;
        let wait = self
            .object
            .behaviour
            .stop_after
            .unwrap_or(usual)
            .min(stopping.grace);
        Some(after(stopping.seen_at, wait))
    }

    /// Completed restarts of a container that keeps exiting and the start of its present run, or, in a pause, of the last
    /// one.
    pub(super) fn loops(&self, started: Timestamp, now: Timestamp) -> Option<(u32, Timestamp)> {
        let exit = self.object.behaviour.exit?;
        let (mut count, mut since, mut pause) = (0u32, started, FIRST_RESTART_PAUSE);
        loop {
            let next = after(since, exit.after.saturating_add(pause));
            if next > now || next <= since {
                return Some((count, since));
            }
            (count, since) = (count.saturating_add(1), next);
            pause = pause.saturating_mul(2).min(LONGEST_RESTART_PAUSE);
        }
    }

    fn init_containers(&self, delays: &Delays, now: Timestamp, scene: &mut Scene) -> Timestamp {
        let latest = self.main_started.unwrap_or(Timestamp::MAX);
        let mut next = after(
            self.admitted,
            self.object.behaviour.start_after.unwrap_or(delays.start),
        )
        .min(latest);
        let mut blocked = false;
        for container in &self.object.init {
            let begin = next;
            if blocked || now < begin {
                scene.wake(begin, now);
                scene.init.push(Progress::waiting("PodInitializing"));
                blocked = true;
                continue;
            }
            if container.unpullable() {
                scene
                    .init
                    .push(unpulled(container, begin, now, &mut scene.wake_at));
                blocked = true;
                continue;
            }
            let end = after(begin, delays.init).min(latest);
            next = end;
            scene.wake(end, now);
            scene.init.push(if container.sidecar {
                Progress {
                    started: now >= end,
                    ..Progress::running(begin, now >= end)
                }
            } else if now < end {
                Progress {
                    started: false,
                    ..Progress::running(begin, false)
                }
            } else {
                let ended = Ended {
                    since: begin,
                    at: end,
                    code: 0,
                };
                Progress {
                    state: State::Ended(ended),
                    ready: true,
                    started: false,
                    ..Progress::waiting("")
                }
            });
            blocked = now < end;
        }
        scene.initialized = !blocked;
        next
    }

    fn main_containers(&self, start: Timestamp, delays: &Delays, now: Timestamp, scene: &mut Scene) {
        if !scene.initialized || now < start {
            let reason = if scene.initialized {
                "ContainerCreating"
            } else {
                "PodInitializing"
            };
            if scene.initialized {
                scene.wake(start, now);
            }
            scene
                .main
                .extend(self.object.main.iter().map(|_| Progress::waiting(reason)));
            return;
        }
        let ready_at = after(start, self.object.behaviour.ready_after.unwrap_or(delays.ready));
        let (count, since) = self.loops(start, now).unwrap_or((0, start));
        let (ready_at, since) = if count == 0 {
            (ready_at, start)
        } else {
            (after(since, until(start, ready_at)), since)
        };
        for container in &self.object.main {
            let mut progress = if container.unpullable() {
                unpulled(container, start, now, &mut scene.wake_at)
            } else {
                self.main_container(since, ready_at, now, scene)
            };
            progress.restarts = self.restarts.saturating_add(count);
            scene.main.push(progress);
        }
    }

    fn main_container(
        &self,
        since: Timestamp,
        ready_at: Timestamp,
        now: Timestamp,
        scene: &mut Scene,
    ) -> Progress {
        let exits_at = self
            .object
            .behaviour
            .exit
            .map(|exit| (after(since, exit.after), exit.code));
        if let Some((at, code)) = exits_at.filter(|(at, _)| *at <= now) {
            let ended = Ended { since, at, code };
            if !self.object.restart.restarts(code) {
                scene.outcome = Some(ended);
                return Progress {
                    state: State::Ended(ended),
                    ..Progress::waiting("")
                };
            }
            let pause = restart_pause(
                self.loops(self.main_started.unwrap_or(since), now)
                    .map_or(0, |(n, _)| n),
            );
            scene.wake(after(at, pause), now);
            return Progress {
                last: Some(ended),
                ..Progress::waiting("CrashLoopBackOff")
            };
        }
        if let Some((at, _)) = exits_at {
            scene.wake(at, now);
        }
        if !self.object.behaviour.unready {
            scene.wake(ready_at, now);
        }
        Progress::running(since, now >= ready_at && !self.object.behaviour.unready)
    }

    pub(super) fn scene(&mut self, delays: &Delays, now: Timestamp) -> Scene {
        let mut scene = Scene {
            init: Vec::new(),
            main: Vec::new(),
            initialized: true,
            outcome: None,
            wake_at: None,
        };
        let end = self.stop_at(delays).filter(|at| *at <= now);
        // Nothing starts or ends by itself once the pod was stopped.
        let now = end.unwrap_or(now).max(self.admitted);
        let start = self.init_containers(delays, now, &mut scene);
        let start = self.main_started.unwrap_or(start);
        self.main_containers(start, delays, now, &mut scene);
        if scene.initialized && now >= start {
            self.main_started = Some(start);
        }
        if scene.outcome.is_none() {
            scene.outcome = self.outcome;
        }
        if let Some(outcome) = scene.outcome {
            self.outcome = Some(outcome);
            stop(&mut scene, outcome.at);
        }
        if let Some(at) = end {
            let was_running = scene.main.iter().any(Progress::is_running);
            stop(&mut scene, at);
            if was_running && scene.outcome.is_none() {
                scene.outcome = Some(Ended {
                    since: start,
                    at,
                    code: 0,
                });
            }
            scene.wake_at = None;
        }
        scene
    }
}

/// Ends everything that still runs.
fn stop(scene: &mut Scene, at: Timestamp) {
    for progress in scene.init.iter_mut().chain(scene.main.iter_mut()) {
        if let State::Running { since } = progress.state {
            progress.state = State::Ended(Ended { since, at, code: 0 });
            progress.ready = false;
            progress.started = false;
        }
    }
}

fn unpulled(
    container: &Container,
    since: Timestamp,
    now: Timestamp,
    wake_at: &mut Option<Timestamp>,
) -> Progress {
    let again = after(since, PULL_BACK_OFF);
    if now < again {
        *wake_at = Some(wake_at.map_or(again, |known| known.min(again)));
    }
    let reason = if now < again {
        "ErrImagePull"
    } else {
        "ImagePullBackOff"
    };
    let message = Some(format!(
        "cannot pull image \"{}\": the sandbox has no images under {UNPULLABLE}",
        container.image
    ));
    Progress {
        state: State::Waiting { reason, message },
        ..Progress::waiting("")
    }
}

fn restart_pause(restarts: u32) -> Duration {
    let factor = 1u32
        .checked_shl(restarts)
        .filter(|factor| *factor > 0)
        .unwrap_or(u32::MAX);
    FIRST_RESTART_PAUSE
        .saturating_mul(factor)
        .min(LONGEST_RESTART_PAUSE)
}
