//! Amounts that planners compute with. Sums saturate: an absurd request never wraps around to a small one.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::Serialize;

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
                amounts.fold(Self::ZERO, Add::add)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

amount!(
    /// CPU in thousandths of a core; fractions of one round up (SCH-48).
    MilliCpu
);
amount!(
    /// Memory or storage in bytes; fractions of one round up (SCH-48).
    Bytes
);
amount!(
    /// Units of an extended resource, of huge pages (bytes) or of attachable volumes (SCH-48).
    Units
);
amount!(
    /// What a score plugin says of one node: 0..=100 once normalised, any value before (SCH-69).
    Score
);

impl Score {
    /// Best normalised score (kube-scheduler 1.36 `MaxNodeScore`).
    pub const MAX: Self = Self(100);
}

/// Factor of a plugin's normalised score in a node's total (SCH-69); at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Weight(pub i64);

impl Weight {
    /// The score's share in the total.
    #[must_use]
    pub fn of(self, score: Score) -> Score {
        Score(self.0.saturating_mul(score.0))
    }
}

/// Share of `part` in `whole` scaled to 0..=100, truncated; `whole` is positive. Computed in 128 bits: the product of
/// two sizes in bytes does not fit 64.
pub(crate) fn percent(part: i64, whole: i64) -> i64 {
    if whole == 0 {
        return 0;
    }
    match part.checked_mul(100) {
        Some(scaled) => scaled / whole,
        None => i64::try_from(i128::from(part) * 100 / i128::from(whole)).unwrap_or(i64::MAX),
    }
}
