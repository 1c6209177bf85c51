//! Quantities: exact values and the canonical text (API-76).

use std::{cmp::Ordering, fmt, str::FromStr};

const NANO: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;
/// Largest magnitude, 2^63-1, in nanos; larger values are capped.
const LIMIT: i128 = 9_223_372_036_854_775_807 * NANO;

/// The text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    Decimal,
    Binary,
    Exponent,
}

/// A resource quantity, exact to a thousandth (finer values are rounded up). Displays in canonical form: without a
/// fraction and with the largest suffix that allows this. Compares by value, whatever the suffix.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    notation: Notation,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self::of(0);
    /// One.
    pub const ONE: Self = Self::of(1);

    /// A whole number.
    #[must_use]
    pub const fn of(number: i64) -> Self {
        // Fits: 2^63 times 10^9 is below 2^127.
        Self {
            nanos: (number as i128) * NANO,
            notation: Notation::Decimal,
        }
    }

    /// The sum, in the notation of the first that is not zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_add(other.nanos).clamp(-LIMIT, LIMIT),
            notation: if self.nanos == 0 {
                other.notation
            } else {
                self.notation
            },
        }
    }

    /// The difference, in the notation of the first that is not zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self {
            nanos: -other.nanos,
            ..other
        })
    }

    /// The value for ratios, where the last digits do not matter.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ratios are shown with six digits")]
    pub fn to_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether the value is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number of times `unit`.
    #[must_use]
    pub fn is_multiple_of(self, unit: &Self) -> bool {
        unit.nanos != 0 && self.nanos % unit.nanos == 0
    }

    /// Whether the value has no fraction.
    #[must_use]
    pub fn is_integer(self) -> bool {
        self.nanos % NANO == 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(QuantityError);
        }
        let (unit, notation) = unit(suffix)?;
        let nanos = scaled(whole, fraction, unit).map_or(LIMIT, |nanos| nanos.min(LIMIT));
        let nanos = if text.starts_with('-') { -nanos } else { nanos };
        let milli_up = nanos.div_euclid(NANOS_PER_MILLI) + i128::from(nanos.rem_euclid(NANOS_PER_MILLI) != 0);
        Ok(Self {
            nanos: milli_up * NANOS_PER_MILLI,
            notation,
        })
    }
}

/// What a suffix multiplies by: a fraction, numerator and denominator.
fn unit(suffix: &str) -> Result<((i128, i128), Notation), QuantityError> {
    let decimal = |power: u32| Ok(((10_i128.pow(power), 1), Notation::Decimal));
    let binary = |power: u32| Ok(((1024_i128.pow(power), 1), Notation::Binary));
    match suffix {
        "n" => Ok(((1, NANO), Notation::Decimal)),
        "u" => Ok(((1, 1_000_000), Notation::Decimal)),
        "m" => Ok(((1, 1000), Notation::Decimal)),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix
                .strip_prefix(['e', 'E'])
                .and_then(|digits| digits.parse().ok())
                .ok_or(QuantityError)?;
            let power = 10_i128.pow(exponent.unsigned_abs().min(18));
            Ok((
                if exponent < 0 { (1, power) } else { (power, 1) },
                Notation::Exponent,
            ))
        }
    }
}

/// `whole.fraction * unit` in nanos, rounded up; `None` if out of range.
fn scaled(whole: &str, fraction: &str, (times, over): (i128, i128)) -> Option<i128> {
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(times)?.checked_mul(NANO)?;
    let mut divisor = 1_i128;
    let mut part = 0_i128;
    for digit in fraction.bytes().take(18) {
        part = part * 10 + i128::from(digit - b'0');
        divisor *= 10;
    }
    let numerator = part.checked_mul(times)?;
    let fraction = match numerator.checked_mul(NANO) {
        Some(numerator) => numerator.div_euclid(divisor) + i128::from(numerator.rem_euclid(divisor) != 0),
        None => numerator.div_euclid(divisor).checked_mul(NANO)?,
    };
    nanos = nanos.checked_add(fraction)?;
    Some(nanos.div_euclid(over) + i128::from(nanos.rem_euclid(over) != 0))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nanos;
        if nanos == 0 {
            return f.write_str("0");
        }
        if self.notation == Notation::Binary && self.is_integer() && (nanos / NANO).abs() >= 1024 {
            let mut number = nanos / NANO;
            let mut suffix = "";
            for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
                if number % 1024 != 0 {
                    break;
                }
                number /= 1024;
                suffix = next;
            }
            return write!(f, "{number}{suffix}");
        }
        let mut number = nanos / NANOS_PER_MILLI;
        let mut power = -3;
        while power < 18 && number % 1000 == 0 {
            number /= 1000;
            power += 3;
        }
        if self.notation == Notation::Exponent {
            return if power == 0 {
                write!(f, "{number}")
            } else {
                write!(f, "{number}e{power}")
            };
        }
        let suffix = match power {
            -3 => "m",
            0 => "",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            _ => "E",
        };
        write!(f, "{number}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0.5", "500m")]
    #[case("0.5Gi", "512Mi")]
    #[case("1.5Gi", "1536Mi")]
    #[case("2048Mi", "2Gi")]
    #[case("1000000", "1M")]
    #[case("1000m", "1")]
    #[case("1500m", "1500m")]
    #[case("0.0001", "1m")]
    #[case("1E", "1E")]
    #[case("1Ei", "1Ei")]
    #[case("0", "0")]
    #[case("-1", "-1")]
    #[case("1e3", "1e3")]
    #[case("0.5Ki", "512")]
    #[case("0.1Mi", "104857600m")]
    #[case(".5", "500m")]
    #[case("100000000000000000000E", "9223372036854775807")]
    fn api_76_canonical_form(#[case] text: &str, #[case] want: &str) {
        assert_eq!(
            text.parse::<Quantity>().map(|quantity| quantity.to_string()),
            Ok(want.to_owned())
        );
    }

    #[rstest]
    #[case("")]
    #[case("abc")]
    #[case("1e3m")]
    #[case("1.2.3")]
    #[case("1 Gi")]
    #[case("1ki")]
    fn api_76_not_a_quantity(#[case] text: &str) {
        assert_eq!(text.parse::<Quantity>(), Err(QuantityError));
    }

    proptest::proptest! {
        #[test]
        fn api_76_canonical_form_is_stable(whole in 0_u64..1_000_000_000, unit in 0_usize..10) {
            let suffix = ["m", "", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e-3"][unit];
            let first: Quantity = format!("{whole}{suffix}").parse().unwrap();
            let second: Quantity = first.to_string().parse().unwrap();
            proptest::prop_assert_eq!(first, second);
            proptest::prop_assert_eq!(first.to_string(), second.to_string());
        }

        #[test]
        fn api_76_any_text_parses_or_is_refused(text in "[-+0-9.eEKMGikmnu]{0,12}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                proptest::prop_assert_eq!(quantity.to_string().parse::<Quantity>(), Ok(quantity));
            }
        }
    }
}
