//! The clock that everything takes as an argument: production reads the wall clock, tests advance it.

use std::time::Duration;

use jiff::Timestamp;

/// Tells the current moment. Planners never call it: they get `now` as a value.
pub trait Clock: Send + Sync + 'static {
    /// The current moment.
    fn now(&self) -> Timestamp;
}

/// The wall clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Time from `now` until `moment`; zero if it has passed.
#[must_use]
pub fn until(now: Timestamp, moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Time since `moment`; zero if it lies ahead.
#[must_use]
pub fn since(now: Timestamp, moment: Timestamp) -> Duration {
    until(moment, now)
}

/// `moment` plus a duration; stays at the largest representable moment.
#[must_use]
pub fn after(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// The earlier of an optional moment and another one; used to fold `wake_at`.
#[must_use]
pub fn earliest(so_far: Option<Timestamp>, moment: Timestamp) -> Option<Timestamp> {
    Some(so_far.map_or(moment, |known| known.min(moment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sty_62_time_differences_saturate() {
        let early = Timestamp::UNIX_EPOCH;
        let late = after(early, Duration::from_secs(5));
        assert_eq!(until(early, late), Duration::from_secs(5));
        assert_eq!(until(late, early), Duration::ZERO);
        assert_eq!(since(late, early), Duration::from_secs(5));
        assert_eq!(after(Timestamp::MAX, Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(earliest(Some(late), early), Some(early));
        assert_eq!(earliest(None, late), Some(late));
    }
}
