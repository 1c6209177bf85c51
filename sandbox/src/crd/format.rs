//! Formats of strings and numbers (API-543).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use regex::Regex;

use super::schema::Type;

/// What a `format` demands. Hyphens in its name do not matter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// A string that the function accepts.
    Text(fn(&str) -> bool),
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// A number that fits into 32 bits.
    Float,
    /// Any number.
    Double,
}

impl Format {
    /// The format of this name for values of this type; `None` if the server knows none, or ignores it.
    pub(crate) fn of(kind: Option<Type>, name: &str) -> Option<Self> {
        match kind {
            None | Some(Type::String) => text_format(&name.replace('-', "")).map(Self::Text),
            Some(Type::Integer) => match name {
                "int32" => Some(Self::Int32),
                "int64" => Some(Self::Int64),
                _ => None,
            },
            Some(Type::Number) => match name {
                "float" => Some(Self::Float),
                "double" => Some(Self::Double),
                _ => None,
            },
            Some(Type::Array | Type::Boolean | Type::Object) => None,
        }
    }
}

fn text_format(name: &str) -> Option<fn(&str) -> bool> {
    Some(match name {
        "bsonobjectid" => |text| text.len() == 24 && text.bytes().all(|c| c.is_ascii_hexdigit()),
        "uri" => is_uri,
        "email" => is_email,
        "hostname" => is_hostname,
        "ipv4" => |text| text.contains('.') && loose_ip(text).is_some(),
        "ipv6" => |text| text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr,
        "mac" => is_mac,
        "uuid" => |text| UUID.is_match(text),
        "uuid3" => |text| UUID3.is_match(text),
        "uuid4" => |text| UUID4.is_match(text),
        "uuid5" => |text| UUID5.is_match(text),
        "isbn" => |text| is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10,
        "isbn13" => is_isbn13,
        "creditcard" => is_credit_card,
        "ssn" => |text| SSN.is_match(text),
        "hexcolor" => |text| HEX_COLOR.is_match(text),
        "rgbcolor" => |text| RGB_COLOR.is_match(text),
        "byte" => |text| BASE64.is_match(text),
        "password" => |_| true,
        "date" => is_date,
        "duration" => |text| go_duration(text).is_some() || is_long_duration(text),
        "datetime" => is_date_time,
        "k8sshortname" => |text| text.len() <= 63 && is_label(text),
        "k8slongname" => |text| text.len() <= 253 && text.split('.').all(is_label),
        _ => return None,
    })
}

#[expect(clippy::expect_used, reason = "constant patterns, compiled by the tests")]
fn constant(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

macro_rules! regexes {
    ($($name:ident = $pattern:expr;)*) => {
        $(
            static $name: LazyLock<Regex> = LazyLock::new(|| constant($pattern));
        )*
    };
}

regexes! {
    UUID = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID3 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    UUID4 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    UUID5 = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$";
    SSN = "^[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}$";
    HEX_COLOR = "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR = r"^rgb\([ \t]*(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[ \t]*,[ \t]*(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[ \t]*,[ \t]*(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[ \t]*\)$";
    BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$";
    TIME = r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    HOSTNAME = r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
    CARD = "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|(222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11}|6[27][0-9]{14})$";
    LONG_DURATION = r"([0-9]+)[\t\n\f\r ]*([A-Za-zµ]+)";
}

fn is_label(text: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

/// `2006-01-02`
fn is_date(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| {
        text.get(range)
            .filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()))
            .and_then(|digits| digits.parse::<i16>().ok())
    };
    let dashes = text.len() == 10 && text.get(4..5) == Some("-") && text.get(7..8) == Some("-");
    let parts = number(0..4).zip(number(5..7)).zip(number(8..10));
    dashes
        && parts.is_some_and(|((year, month), day)| {
            let month = i8::try_from(month).unwrap_or(0);
            let day = i8::try_from(day).unwrap_or(0);
            jiff::civil::Date::new(year, month, day).is_ok()
        })
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    is_date(date)
        && TIME.captures(time).is_some_and(|found| {
            let at_most =
                |index: usize, most: &str| found.get(index).is_some_and(|part| part.as_str() <= most);
            at_most(1, "23") && at_most(2, "59") && at_most(3, "59")
        })
}

/// Nanoseconds of a duration like `1h30m` or `-1.5s`; `None` if it is malformed or too long.
pub(crate) fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let whole = rest.get(..digits)?;
        rest = rest.get(digits..)?;
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            fraction = after.get(..digits)?;
            rest = after.get(digits..)?;
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit: i128 = match rest.get(..end)? {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = rest.get(end..)?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut sum = whole.checked_mul(unit)?;
        let mut scale = unit;
        for digit in fraction.chars() {
            scale /= 10;
            sum += scale * i128::from(digit.to_digit(10)?);
        }
        total = total.checked_add(sum)?;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// `2 weeks 3 days`: any text with a number in front of the name of a unit.
fn is_long_duration(text: &str) -> bool {
    const UNITS: &[&[&str]] = &[
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    let mut found = false;
    for part in LONG_DURATION.captures_iter(text) {
        let get = |index: usize| part.get(index).map_or("", |part| part.as_str());
        if get(1).parse::<i64>().is_err() {
            return false;
        }
        let unit = get(2).to_lowercase();
        found |= UNITS.iter().any(|names| {
            names.contains(&unit.as_str()) || names.last().is_some_and(|long| unit.starts_with(long))
        });
    }
    found
}

/// An address; zeros in front of its decimal parts do not matter.
fn loose_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let (head, tail) = text.rsplit_once(':')?;
        if tail.contains('.') {
            let tail = loose_v4(tail)?;
            return format!("{head}:{tail}").parse().ok();
        }
        return text.parse().ok();
    }
    loose_v4(text).map(IpAddr::V4)
}

fn loose_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, length)| {
        let Some(address) = loose_ip(address) else {
            return false;
        };
        let limit = if address.is_ipv4() { 32 } else { 128 };
        length.bytes().all(|c| c.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|length| length <= limit)
    })
}

fn is_mac(text: &str) -> bool {
    let hex = |part: &str, width: usize| part.len() == width && part.bytes().all(|c| c.is_ascii_hexdigit());
    let parts = |separator: char, width: usize| {
        text.split(separator)
            .try_fold(0_usize, |count, part| hex(part, width).then_some(count + 1))
    };
    matches!(parts(':', 2).or_else(|| parts('-', 2)), Some(6 | 8 | 20))
        || matches!(parts('.', 4), Some(3 | 4 | 10))
}

/// What may stand in a request line: an absolute URI or an absolute path.
fn is_uri(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let bytes = text.as_bytes();
    if text.is_empty() || bytes.iter().any(|c| *c < b' ' || *c == 0x7f) {
        return false;
    }
    let scheme = text.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
    });
    let rest = match scheme {
        Some((_, rest)) => rest,
        None if text.starts_with('/') => text,
        None => return false,
    };
    let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        // Opaque, like mailto:.
        return scheme.is_some();
    }
    let authority = rest
        .strip_prefix("//")
        .filter(|_| scheme.is_some() || !rest.starts_with("///"));
    let (host, path) = match authority {
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
        None => ("", rest),
    };
    is_authority(host) && has_valid_escapes(path)
}

fn is_authority(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let digits = |port: &str| port.bytes().all(|c| c.is_ascii_digit());
    let Some(bracketed) = host.strip_prefix('[') else {
        let (name, port) = host
            .rsplit_once(':')
            .map_or((host, None), |(name, port)| (name, Some(port)));
        let odd = |c: char| " ^\\{}|`#/?@".contains(c);
        return !name.contains(odd) && has_valid_escapes(name) && port.is_none_or(digits);
    };
    bracketed
        .split_once(']')
        .is_some_and(|(_, after)| after.is_empty() || after.strip_prefix(':').is_some_and(digits))
}

fn has_valid_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        after
            .get(..2)
            .is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))
    })
}

/// An address of a mail message, a display name in front of it allowed.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => {
            let name = name.trim();
            let phrase = name.split_whitespace().all(is_atom) || is_quoted(name);
            phrase && is_address(address)
        }
        None => is_address(text),
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        let local = local.split('.').all(is_atom) || is_quoted(local);
        let literal = domain.starts_with('[') && domain.ends_with(']') && domain.len() > 2;
        local && (literal || domain.split('.').all(is_atom))
    })
}

fn is_atom(text: &str) -> bool {
    let special = |c: char| c.is_ascii_control() || c == ' ' || "()<>[]:;@\\,.\"".contains(c);
    !text.is_empty() && !text.contains(special)
}

fn is_quoted(text: &str) -> bool {
    text.len() >= 2
        && text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .is_some_and(|inner| !inner.contains('"'))
}

fn is_hostname(text: &str) -> bool {
    HOSTNAME.is_match(text) && text.len() <= 255 && text.split('.').all(|part| part.len() <= 63)
}

fn digits_of(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '-')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = digits_of(text);
    if digits.len() != 10 {
        return false;
    }
    let sum = digits.chars().zip(1_u32..).try_fold(0_u32, |sum, (c, place)| {
        let digit = match c {
            'X' if place == 10 => 10,
            c => c.to_digit(10)?,
        };
        Some(sum + place * digit)
    });
    sum.is_some_and(|sum| sum.is_multiple_of(11))
}

fn is_isbn13(text: &str) -> bool {
    let digits = digits_of(text);
    if digits.len() != 13 {
        return false;
    }
    let sum = digits.chars().enumerate().try_fold(0_u32, |sum, (place, c)| {
        Some(sum + c.to_digit(10)? * if place % 2 == 0 { 1 } else { 3 })
    });
    sum.is_some_and(|sum| sum.is_multiple_of(10))
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !CARD.is_match(&digits) {
        return false;
    }
    let sum: u32 = digits
        .chars()
        .rev()
        .filter_map(|c| c.to_digit(10))
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// What kube-apiserver 1.36.2 accepts.
    #[rstest]
    #[case("date-time", &["2020-01-01T00:00:00Z", "2020-01-01t00:00:00z", "2020-01-01T00:00:00.123+01:00"],
        &["2020-01-01T00:00:00", "2020-13-01T00:00:00Z", "2020-01-01T24:00:00Z", "x", "2020-01-01T00:00:00+0100", "2020-01-01T23:59:60Z"])]
    #[case("date", &["2020-01-01"], &["2020-02-30", "2020-1-1", ""])]
    #[case("duration", &["1s", "1h30m", "5 days", "1w", "-1s", "2 weeks 3 days", "1.5h", "1d", "P1D", "0"],
        &["x", "1", "", "99999999999999999999s"])]
    #[case("byte", &["aGVsbG8="], &["aGVsbG8", "x", "", "_-__"])]
    #[case("ipv4", &["1.2.3.4", "01.2.3.4", "::ffff:1.2.3.4"], &["1.2.3", "::1", ""])]
    #[case("ipv6", &["::1", "::ffff:1.2.3.4"], &["1.2.3.4", "fe80::1%eth0", "x"])]
    #[case("cidr", &["10.0.0.0/8", "::/0", "010.0.0.0/8", "10.0.0.1/8"], &["10.0.0.0", "10.0.0.0/33"])]
    #[case("mac", &["00:00:5e:00:53:01", "00-00-5e-00-53-01", "0000.5e00.5301", "02:00:5e:10:00:00:00:01"], &["x"])]
    #[case("uri", &["http://a.b", "/path", "http://[::1]/x", "mailto:a@b", "*", "foo:bar", "//host/p"],
        &["a", "http://a b", "", "http://a/%zz"])]
    #[case("email", &["a@b.c", "Foo <a@b>", "a@b", "\"a b\"@c"], &["x", "a b@c", ""])]
    #[case("hostname", &["a", "EXAMPLE.com", "a.london"], &["a.b", "-a", "a_b", "a.b.", "1.2.3.4", "example.c", "a..b", ""])]
    #[case("uuid", &["123e4567-e89b-12d3-a456-426614174000", "123E4567E89B12D3A456426614174000"], &["x"])]
    #[case("uuid4", &["123e4567-e89b-42d3-a456-426614174000"], &["123e4567-e89b-12d3-a456-426614174000"])]
    #[case("isbn", &["0321751043", "978-0321751041"], &["x"])]
    #[case("isbn10", &["0321751043"], &["978-0321751041"])]
    #[case("creditcard", &["4111111111111111", "4111-1111-1111-1111"], &["4111111111111112", "x"])]
    #[case("hexcolor", &["#fff", "fff", "#FFFFFF"], &["#ffff"])]
    #[case("rgbcolor", &["rgb(1,2,3)", "rgb( 1 , 2 , 3 )"], &["rgb(256,2,3)", "x"])]
    #[case("k8s-short-name", &["a-b"], &["A", "-a", "a.b", ""])]
    #[case("k8s-long-name", &["a.b"], &["A.b", "a..b"])]
    fn api_543_formats(#[case] name: &str, #[case] valid: &[&str], #[case] invalid: &[&str]) {
        let Some(Format::Text(test)) = Format::of(Some(Type::String), name) else {
            panic!("{name} is not known");
        };
        for text in valid {
            assert!(test(text), "{name}: {text}");
        }
        for text in invalid {
            assert!(!test(text), "{name}: {text}");
        }
    }

    #[test]
    fn api_543_unknown_formats_are_ignored() {
        assert!(Format::of(Some(Type::String), "int32").is_none());
        assert!(Format::of(Some(Type::Object), "date").is_none());
        assert!(matches!(
            Format::of(Some(Type::Integer), "int32"),
            Some(Format::Int32)
        ));
    }

    #[test]
    fn api_545_durations_in_nanoseconds() {
        assert_eq!(go_duration("1h1.5s"), Some(3_601_500_000_000));
        assert_eq!(go_duration("-2ms"), Some(-2_000_000));
        assert_eq!(go_duration("1d"), None);
    }
}
