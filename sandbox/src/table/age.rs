//! Ages as tables show them (API-601).

use jiff::Timestamp;
use serde_json::Value;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// `93s`, `4m10s`, `26h`, `3d4h`: two units while the first is small, then one.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let two = |unit: i64, name: &str, part: i64, part_name: &str| match seconds % unit / part {
        0 => format!("{}{name}", seconds / unit),
        rest => format!("{}{name}{rest}{part_name}", seconds / unit),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// Age of an RFC 3339 time; `<unknown>` if there is none.
pub(super) fn since(time: &Value, now: Timestamp) -> String {
    match time.as_str().and_then(|time| time.parse::<Timestamp>().ok()) {
        Some(time) => human_duration(now.duration_since(time).as_secs()),
        None => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(0, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(250, "4m10s")]
    #[case(600, "10m")]
    #[case(10_799, "179m")]
    #[case(10_800, "3h")]
    #[case(12_660, "3h31m")]
    #[case(28_800, "8h")]
    #[case(172_799, "47h")]
    #[case(172_800, "2d")]
    #[case(273_600, "3d4h")]
    #[case(691_200, "8d")]
    #[case(63_071_999, "729d")]
    #[case(63_072_000, "2y")]
    #[case(70_000_000, "2y80d")]
    #[case(252_288_000, "8y")]
    #[case(-1, "0s")]
    #[case(-5, "<invalid>")]
    fn api_601_ages(#[case] seconds: i64, #[case] want: &str) {
        assert_eq!(human_duration(seconds), want);
    }

    #[test]
    fn api_601_no_time() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(since(&Value::Null, now), "<unknown>");
        assert_eq!(since(&json!("1969-12-31T23:59:00Z"), now), "60s");
    }
}
