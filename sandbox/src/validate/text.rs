//! Formats of names, keys and values (API-100 to API-104): each function returns what is wrong with a text, nothing
//! if it is well-formed, which costs no allocation.

use std::net::{IpAddr, Ipv4Addr};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const SEARCH_DOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_CHARACTERS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENVIRONMENT: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// What is wrong with a text; empty if nothing.
pub(super) type Problems = Vec<String>;

fn is_label(text: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

fn too_long(problems: &mut Problems, text: &str, limit: usize, unit: &str) {
    if text.len() > limit {
        problems.push(format!("must be no more than {limit} {unit}"));
    }
}

/// DNS subdomain of at most 253 characters.
pub(super) fn dns_subdomain(text: &str) -> Problems {
    let mut problems = Problems::new();
    too_long(&mut problems, text, 253, "characters");
    if !is_subdomain(text) {
        problems.push(SUBDOMAIN.to_owned());
    }
    problems
}

/// DNS label of at most 63 characters.
pub(super) fn dns_label(text: &str) -> Problems {
    let mut problems = Problems::new();
    too_long(&mut problems, text, 63, "characters");
    if !is_label(text) {
        let dotted = is_subdomain(text);
        problems.push(if dotted {
            "must not contain dots".to_owned()
        } else {
            LABEL.to_owned()
        });
    }
    problems
}

/// DNS label of at most 63 characters that starts with a letter.
pub(super) fn dns_1035_label(text: &str) -> Problems {
    let mut problems = Problems::new();
    too_long(&mut problems, text, 63, "bytes");
    if !is_label(text) || text.starts_with(|c: char| c.is_ascii_digit()) {
        problems.push(LABEL_1035.to_owned());
    }
    problems
}

/// Host of an Ingress rule or TLS entry: a subdomain, `*.` in front allowed, no address.
pub(super) fn host(text: &str) -> Problems {
    let mut problems = Problems::new();
    if text.parse::<IpAddr>().is_ok() {
        problems.push("must be a DNS name, not an IP address".to_owned());
    } else if text.contains('*') {
        too_long(&mut problems, text, 253, "characters");
        if !text.strip_prefix("*.").is_some_and(is_subdomain) {
            problems.push(WILDCARD.to_owned());
        }
    } else {
        problems = dns_subdomain(text);
    }
    problems
}

/// Name that is one segment of a URL path.
pub(super) fn path_segment(text: &str) -> Problems {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|part| text.contains(part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// `[prefix/]name`: keys of labels, taints, extended resources, names of finalizers.
pub(super) fn qualified_name(text: &str) -> Problems {
    let mut problems = Problems::new();
    let mut parts = text.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(
                    dns_subdomain(prefix)
                        .iter()
                        .map(|problem| format!("prefix part {problem}")),
                );
            }
            name
        }
        _ => {
            let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {NAME_CHARACTERS} {optional}")];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name(name) {
        problems.push(format!("name part {NAME_CHARACTERS}"));
    }
    problems
}

/// Value of a label.
pub(super) fn label_value(text: &str) -> Problems {
    let mut problems = Problems::new();
    too_long(&mut problems, text, 63, "bytes");
    if !text.is_empty() && !is_name(text) {
        problems.push(LABEL_VALUE.to_owned());
    }
    problems
}

/// Key of a ConfigMap or Secret.
pub(super) fn config_key(text: &str) -> Problems {
    let mut problems = Problems::new();
    too_long(&mut problems, text, 253, "characters");
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(known) {
        problems.push(CONFIG_KEY.to_owned());
    } else if matches!(text, "." | "..") {
        problems.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        problems.push("must not start with '..'".to_owned());
    }
    problems
}

/// Name of a container port (IANA service name).
pub(super) fn port_name(text: &str) -> Problems {
    let mut problems = Problems::new();
    too_long(&mut problems, text, 15, "characters");
    if !text
        .bytes()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// Name of an environment variable.
pub(super) fn environment_name(text: &str) -> Problems {
    let printable = |c: u8| (b' '..=b'~').contains(&c) && c != b'=';
    if !text.is_empty() && text.bytes().all(printable) {
        Problems::new()
    } else {
        vec![ENVIRONMENT.to_owned()]
    }
}

/// Address of either family.
pub(super) fn ip(text: &str) -> Problems {
    match text.parse::<IpAddr>() {
        Ok(_) => Problems::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// Address that can be an endpoint: not unspecified, loopback, link-local or link-local multicast.
pub(super) fn endpoint_ip(text: &str) -> Problems {
    let Ok(address) = text.parse::<IpAddr>() else {
        return ip(text);
    };
    let (link_local, local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), in_local_multicast(v4)),
        IpAddr::V6(v6) => (
            v6.is_unicast_link_local(),
            v6.segments().first().is_some_and(|first| *first == 0xff02),
        ),
    };
    let unspecified = format!("may not be unspecified ({text})");
    let problems = [
        (address.is_unspecified(), unspecified.as_str()),
        (
            address.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            local_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ];
    problems
        .into_iter()
        .filter(|(found, _)| *found)
        .map(|(_, problem)| problem.to_owned())
        .collect()
}

fn in_local_multicast(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [224, 0, 0, _])
}

/// An address range.
pub(super) struct Network {
    /// As a number; of IPv4 the last 32 bits.
    address: u128,
    length: u8,
    bits: u8,
}

impl Network {
    /// Whether all addresses are in `other`, which has more.
    pub(super) fn is_strictly_within(&self, other: &Self) -> bool {
        let start = |address: u128| {
            let rest = u32::from(other.bits - other.length);
            address.checked_shr(rest).unwrap_or_default()
        };
        self.bits == other.bits && self.length > other.length && start(self.address) == start(other.address)
    }
}

/// A range in CIDR notation, if it is one.
pub(super) fn network(text: &str) -> Option<Network> {
    let (address, length) = text.split_once('/')?;
    let (address, bits) = match address.parse().ok()? {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let length = length.parse().ok().filter(|length| *length <= bits)?;
    Some(Network {
        address,
        length,
        bits,
    })
}

/// Network in CIDR notation.
pub(super) fn cidr(text: &str) -> Problems {
    if network(text).is_some() {
        Problems::new()
    } else {
        vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
    }
}

/// Where names are looked up: a subdomain that may have underscores.
pub(super) fn search_domain(text: &str) -> Problems {
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        is_label(&label.replace('_', "-"))
    };
    let mut problems = Problems::new();
    too_long(&mut problems, text, 253, "characters");
    if !text.split('.').all(label) {
        problems.push(SEARCH_DOMAIN.to_owned());
    }
    problems
}

/// A path below something: relative, without steps up.
pub(super) fn path_below(text: &str) -> Problems {
    let mut problems = Problems::new();
    if text.starts_with('/') {
        problems.push("must be a relative path".to_owned());
    }
    problems.extend(no_way_up(text));
    problems
}

/// A path without steps up.
pub(super) fn no_way_up(text: &str) -> Problems {
    if text.split('/').any(|part| part == "..") {
        vec!["must not contain '..'".to_owned()]
    } else {
        Problems::new()
    }
}

/// Number of percent in `25%`.
pub(super) fn percent(text: &str) -> Option<i64> {
    text.strip_suffix('%')
        .filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
}

/// What the string form of an int-or-percent field has to be.
pub(super) const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a.b-c.1", "")]
    #[case("A", SUBDOMAIN)]
    #[case("-a", SUBDOMAIN)]
    #[case("a..b", SUBDOMAIN)]
    #[case("a_b", SUBDOMAIN)]
    fn api_100_subdomain(#[case] text: &str, #[case] want: &str) {
        assert_eq!(dns_subdomain(text).join("|"), want);
    }

    #[test]
    fn api_101_length() {
        assert_eq!(
            dns_subdomain(&"a".repeat(254)),
            ["must be no more than 253 characters"]
        );
        assert_eq!(dns_label(&"x".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
    }

    #[test]
    fn api_102_keys_and_values() {
        assert_eq!(qualified_name("example.com/K_1.x"), Problems::new());
        assert_eq!(
            qualified_name(""),
            [
                "name part must be non-empty",
                &format!("name part {NAME_CHARACTERS}")
            ]
        );
        assert_eq!(
            qualified_name(&"x".repeat(64)),
            ["name part must be no more than 63 bytes"]
        );
        assert_eq!(
            qualified_name("Upper.example.com/k"),
            [format!("prefix part {SUBDOMAIN}")]
        );
        assert_eq!(qualified_name("/k"), ["prefix part must be non-empty"]);
        assert!(
            qualified_name("a/b/c")
                .concat()
                .starts_with("a valid label key must consist")
        );
        assert_eq!(label_value(""), Problems::new());
        assert_eq!(label_value("-x"), [LABEL_VALUE]);
        assert_eq!(label_value(&"x".repeat(64)), ["must be no more than 63 bytes"]);
    }

    #[test]
    fn api_129_config_keys() {
        assert_eq!(config_key("key.NAME_1-x"), Problems::new());
        assert_eq!(config_key("a/b"), [CONFIG_KEY]);
        assert_eq!(config_key(".."), ["must not be '..'"]);
        assert_eq!(config_key("..a"), ["must not start with '..'"]);
    }

    #[test]
    fn api_398_hosts() {
        assert_eq!(host("*.example.com"), Problems::new());
        assert_eq!(host("*.a.*"), [WILDCARD]);
        assert_eq!(host("192.0.2.1"), ["must be a DNS name, not an IP address"]);
    }

    #[rstest]
    #[case("192.0.2.1", true)]
    #[case("127.0.0.1", false)]
    #[case("169.254.1.1", false)]
    #[case("224.0.0.9", false)]
    #[case("0.0.0.0", false)]
    #[case("2001:db8::1", true)]
    #[case("bad", false)]
    fn api_396_endpoint_addresses(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(endpoint_ip(text).is_empty(), valid);
    }
}
