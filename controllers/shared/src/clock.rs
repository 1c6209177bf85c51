//! The clock that everything takes as an argument: production reads the wall clock, tests advance it.

use std::fmt;
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

/// A duration for people, in its two largest units: `40 s`, `8 min 20 s`, `3 d 4 h`. Parts of a second are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken(pub Duration);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 86_400, "d"),
            (seconds / 3600 % 24, "h"),
            (seconds / 60 % 60, "min"),
            (seconds % 60, "s"),
        ];
        let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        for (index, (count, unit)) in parts.iter().skip(first).take(2).enumerate() {
            match index {
                0 => write!(f, "{count} {unit}")?,
                _ if *count > 0 => write!(f, " {count} {unit}")?,
                _ => {}
            }
        }
        Ok(())
    }
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

    #[test]
    fn ask_9_durations_are_said_in_two_units() {
        let said = |seconds| Spoken(Duration::from_secs(seconds)).to_string();
        assert_eq!(said(0), "0 s");
        assert_eq!(said(59), "59 s");
        assert_eq!(said(500), "8 min 20 s");
        assert_eq!(said(3600), "1 h");
        assert_eq!(said(90_061), "1 d 1 h");
    }
}
