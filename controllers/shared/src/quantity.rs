//! Exact Kubernetes quantities (`100m`, `1Gi`, `1e3`): parsed once at the edge, compared by value.

use std::str::FromStr;

use crate::{Error, Result};

/// Nanos in one unit: the finest fraction that a quantity keeps (source: Kubernetes resource quantity rules).
const NANOS: i128 = 1_000_000_000;
/// Digits after the point that are evaluated in a binary quantity; finer ones round up.
const BINARY_FRACTION_DIGITS: usize = 18;

/// An exact amount. Fractions finer than a nano round away from zero; amounts beyond the range saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    nanos: i128,
}

impl Quantity {
    /// No amount.
    pub const ZERO: Self = Self { nanos: 0 };

    /// Whole units.
    #[must_use]
    pub const fn units(units: i64) -> Self {
        Self {
            nanos: units as i128 * NANOS,
        }
    }

    /// Thousandths.
    #[must_use]
    pub const fn millis(millis: i64) -> Self {
        Self {
            nanos: millis as i128 * (NANOS / 1000),
        }
    }

    /// Parses the text form of a quantity.
    ///
    /// # Errors
    /// [`Error::Quantity`] if the text is none.
    pub fn parse(text: &str) -> Result<Self> {
        parse_nanos(text)
            .map(|nanos| Self { nanos })
            .ok_or_else(|| Error::Quantity {
                text: text.to_owned(),
            })
    }

    /// Whole units, fractions rounded away from zero; saturates.
    #[must_use]
    pub fn value(self) -> i64 {
        saturate(divide_away_from_zero(self.nanos, NANOS))
    }

    /// Thousandths, fractions rounded away from zero; saturates.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        saturate(divide_away_from_zero(self.nanos, NANOS / 1000))
    }

    /// Whether the amount is exactly zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Sum; saturates.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
        }
    }

    /// Difference; saturates.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(other.nanos),
        }
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> for Quantity {
    type Error = Error;

    fn try_from(raw: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Result<Self> {
        Self::parse(&raw.0)
    }
}

/// What stands behind the number.
enum Scale {
    Ten(i32),
    Two(u32),
}

fn parse_nanos(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let magnitude = match scale(suffix)? {
        Scale::Ten(exponent) => decimal(whole, fraction, exponent.saturating_add(9)),
        Scale::Two(bits) => binary(whole, fraction, bits),
    };
    Some(if negative { -magnitude } else { magnitude })
}

fn scale(suffix: &str) -> Option<Scale> {
    let known = match suffix {
        "n" => Scale::Ten(-9),
        "u" => Scale::Ten(-6),
        "m" => Scale::Ten(-3),
        "" => Scale::Ten(0),
        "k" => Scale::Ten(3),
        "M" => Scale::Ten(6),
        "G" => Scale::Ten(9),
        "T" => Scale::Ten(12),
        "P" => Scale::Ten(15),
        "E" => Scale::Ten(18),
        "Ki" => Scale::Two(10),
        "Mi" => Scale::Two(20),
        "Gi" => Scale::Two(30),
        "Ti" => Scale::Two(40),
        "Pi" => Scale::Two(50),
        "Ei" => Scale::Two(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            return exponent.parse().ok().map(Scale::Ten);
        }
    };
    Some(known)
}

/// `whole.fraction * 10^exponent`, rounded up to an integer, saturating.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> i128 {
    if whole.is_empty() && fraction.is_empty() {
        return 0;
    }
    let shift = usize::try_from(exponent.unsigned_abs()).unwrap_or(usize::MAX);
    if exponent < 0 {
        let kept = whole.len().saturating_sub(shift);
        let (integer, rest) = whole.split_at(kept);
        let inexact = !fraction.is_empty() || rest.bytes().any(|b| b != b'0');
        return digits(integer).saturating_add(i128::from(inexact));
    }
    let (moved, rest) = fraction.split_at(shift.min(fraction.len()));
    let zeros = u32::try_from(shift - moved.len()).unwrap_or(u32::MAX);
    let integer = digits(whole)
        .saturating_mul(power_of_ten(u32::try_from(moved.len()).unwrap_or(u32::MAX)))
        .saturating_add(digits(moved));
    integer
        .saturating_mul(power_of_ten(zeros))
        .saturating_add(i128::from(!rest.is_empty()))
}

/// `whole.fraction * 2^bits` in nanos, rounded up, saturating.
fn binary(whole: &str, fraction: &str, bits: u32) -> i128 {
    let factor = 1_i128 << bits;
    let (kept, rest) = fraction.split_at(BINARY_FRACTION_DIGITS.min(fraction.len()));
    let unit = power_of_ten(u32::try_from(kept.len()).unwrap_or(u32::MAX));
    // Below 10^18 times 2^60, so this product is exact; the nanos come in after the whole units are split off.
    let scaled = digits(kept)
        .saturating_add(i128::from(!rest.is_empty()))
        .saturating_mul(factor);
    let units = scaled / unit;
    let nanos = divide_away_from_zero((scaled % unit).saturating_mul(NANOS), unit);
    digits(whole)
        .saturating_mul(factor)
        .saturating_add(units)
        .saturating_mul(NANOS)
        .saturating_add(nanos)
}

fn digits(text: &str) -> i128 {
    text.bytes().fold(0_i128, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(i128::from(digit.saturating_sub(b'0')))
    })
}

fn power_of_ten(exponent: u32) -> i128 {
    10_i128.saturating_pow(exponent)
}

fn divide_away_from_zero(amount: i128, by: i128) -> i128 {
    let quotient = amount / by;
    if amount % by == 0 {
        quotient
    } else {
        quotient.saturating_add(amount.signum())
    }
}

fn saturate(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", 0)]
    #[case("1", 1_000_000_000)]
    #[case("100m", 100_000_000)]
    #[case("0.1", 100_000_000)]
    #[case(".5", 500_000_000)]
    #[case("5.", 5_000_000_000)]
    #[case("+1.5", 1_500_000_000)]
    #[case("-1.5", -1_500_000_000)]
    #[case("1Ki", 1_024_000_000_000)]
    #[case("0.5Ki", 512_000_000_000)]
    #[case("0.1Ki", 102_400_000_000)]
    #[case("1k", 1_000_000_000_000)]
    #[case("1E", 1_000_000_000_000_000_000_000_000_000)]
    #[case("1e3", 1_000_000_000_000)]
    #[case("1E3", 1_000_000_000_000)]
    #[case("12e-3", 12_000_000)]
    #[case("1n", 1)]
    #[case("0.1n", 1)]
    #[case("-0.1n", -1)]
    #[case("5e-12", 1)]
    #[case("1500e-12", 2)]
    #[case("000.100", 100_000_000)]
    #[case("1Ei", 1_152_921_504_606_846_976_000_000_000)]
    fn dep_11_quantities_have_one_value(#[case] text: &str, #[case] nanos: i128) {
        assert_eq!(Quantity::parse(text).unwrap().nanos, nanos, "{text}");
    }

    #[rstest]
    #[case("")]
    #[case(".")]
    #[case("-")]
    #[case("m")]
    #[case("1.2.3")]
    #[case("1 Gi")]
    #[case("1gi")]
    #[case("1K")]
    #[case("1e")]
    #[case("1e+")]
    #[case("0x10")]
    #[case("1mi")]
    #[case("--1")]
    #[case("1e99999999999")]
    #[case("٣")]
    fn api_38_bad_quantities_are_refused(#[case] text: &str) {
        assert!(Quantity::parse(text).is_err(), "{text}");
    }

    #[test]
    fn sch_88_fractions_round_up() {
        assert_eq!(Quantity::parse("0.0001").unwrap().milli_value(), 1);
        assert_eq!(Quantity::parse("100.1m").unwrap().milli_value(), 101);
        assert_eq!(Quantity::parse("1.1").unwrap().value(), 2);
        assert_eq!(Quantity::parse("-1.1").unwrap().value(), -2);
        assert_eq!(
            Quantity::parse("1Gi").unwrap(),
            Quantity::parse("1073741824").unwrap()
        );
        assert_eq!(Quantity::parse("0.5").unwrap(), Quantity::millis(500));
        assert_eq!(Quantity::parse("1e1000").unwrap().value(), i64::MAX);
        assert_eq!(Quantity::parse("-9e400").unwrap().milli_value(), i64::MIN);
    }

    proptest! {
        #[test]
        fn dep_11_suffixes_agree_with_powers(n in 0_i64..1_000_000_000, exponent in 0_u32..6) {
            let suffix = ["", "k", "M", "G", "T", "P"][exponent as usize];
            let plain = Quantity::parse(&format!("{n}{}", "000".repeat(exponent as usize))).unwrap();
            prop_assert_eq!(Quantity::parse(&format!("{n}{suffix}")).unwrap(), plain);
            prop_assert_eq!(Quantity::parse(&format!("{n}e{}", exponent * 3)).unwrap(), plain);
        }

        #[test]
        fn api_38_no_text_panics(text in "[-+]?[0-9.]{0,45}[a-zA-Z]{0,3}[-+]?[0-9]{0,12}") {
            let _ = Quantity::parse(&text).map(|q| (q.value(), q.milli_value()));
        }
    }
}
