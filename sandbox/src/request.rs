//! From a URL to the resource that it names.

use std::num::{IntErrorKind, ParseIntError};

use crate::{status::Failure, validate::gofmt::quote};

/// Decoded query parameters in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes the part of a URL after `?`.
    #[must_use]
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = text
            .unwrap_or_default()
            .split('&')
            // What is malformed is dropped: pairs with a semicolon or a bad escape.
            .filter(|pair| !pair.is_empty() && !pair.contains(';') && is_well_escaped(pair))
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (
                    percent_decode(&name.replace('+', " ")),
                    percent_decode(&value.replace('+', " ")),
                )
            })
            .collect();
        Self(pairs)
    }

    /// First value of a parameter; empty if absent.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map_or("", |(_, value)| value)
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0
            .iter()
            .filter(move |(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the parameter was sent.
    #[must_use]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// A boolean parameter; `watch` alone means true, like `watch=1`.
    #[must_use]
    pub(crate) fn flag(&self, name: &str) -> bool {
        let value = self.get(name);
        self.has(name) && value != "0" && !value.eq_ignore_ascii_case("false")
    }

    /// A boolean parameter that may be absent.
    #[must_use]
    pub(crate) fn optional_flag(&self, name: &str) -> Option<bool> {
        self.has(name).then(|| self.flag(name))
    }

    /// An integer parameter (API-11).
    ///
    /// # Errors
    /// 400 if it is not an integer.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        if !self.has(name) {
            return Ok(None);
        }
        let text = self.get(name);
        text.parse().map(Some).map_err(|error: ParseIntError| {
            let problem = number_problem(&error);
            Failure::bad_request(format!("strconv.ParseInt: parsing {}: {problem}", quote(text)))
        })
    }
}

/// Why a text is no number, in upstream's words.
pub(crate) fn number_problem(error: &ParseIntError) -> &'static str {
    match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

/// Checks the query parameter `timeout` of a request that is not a watch: a duration such as `1m30s`.
///
/// # Errors
/// 400 if it is none.
pub(crate) fn check_timeout(text: &str) -> Result<(), Failure> {
    duration_problem(text).map_or(Ok(()), |problem| {
        Err(Failure::bad_request(format!(
            "invalid timeout specified in the request URL - time: {problem}"
        )))
    })
}

/// Why a text is no duration: numbers with units, perhaps with a sign before them.
fn duration_problem(text: &str) -> Option<String> {
    const UNITS: &[&str] = &["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    let invalid = || Some(format!("invalid duration {}", quote(text)));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return None;
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        if number.parse::<f64>().is_err() {
            return invalid();
        }
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Some(format!("missing unit in duration {}", quote(text)));
        }
        if !UNITS.contains(&unit) {
            return Some(format!(
                "unknown unit {} in duration {}",
                quote(unit),
                quote(text)
            ));
        }
        rest = after;
    }
    None
}

/// Parses a resource version.
///
/// # Errors
/// With the message of the answer, whose code depends on the verb.
pub(crate) fn parse_version(text: &str) -> Result<u64, String> {
    // Unlike upstream's parser, the one for u64 takes a leading plus sign.
    let parsed = if text.starts_with('+') {
        "+".parse()
    } else {
        text.parse()
    };
    parsed.map_err(|error: ParseIntError| {
        let (shown, problem) = (quote(text), number_problem(&error));
        format!("resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: {problem}")
    })
}

/// What a URL below `/api/v1` or `/apis/<group>/<version>` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    /// API group; empty for core.
    pub(crate) group: String,
    /// Version of the group.
    pub(crate) version: String,
    /// Plural resource name.
    pub(crate) resource: String,
    /// Set for paths below `namespaces/<namespace>`.
    pub(crate) namespace: Option<String>,
    /// Set for paths of single objects.
    pub(crate) name: Option<String>,
    /// Path below the object.
    pub(crate) subresource: Option<String>,
    /// Whether the path has the old prefix `watch/`.
    pub(crate) watch: bool,
}

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A resource path.
    Resource(ResourcePath),
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1` or `/apis/<group>/<version>`.
    Version {
        /// API group; empty for core.
        group: String,
        /// Version of the group.
        version: String,
    },
    /// Anything else.
    Other,
}

/// Finds out where a path leads.
#[must_use]
pub(crate) fn route(path: &str) -> Route {
    // Decoded before it is split: an encoded slash separates like any other.
    let path = percent_decode(path);
    let Some(path) = path.strip_prefix('/') else {
        return Route::Other;
    };
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    if segments.last().is_some_and(String::is_empty) {
        segments.pop();
    }
    let mut rest = segments.into_iter();
    let (group, version) = match rest.next().as_deref() {
        Some("api") => match rest.next() {
            None => return Route::CoreVersions,
            Some(version) => (String::new(), version),
        },
        Some("apis") => match (rest.next(), rest.next()) {
            (None, _) => return Route::Groups,
            (Some(group), None) => return Route::Group(group),
            (Some(group), Some(version)) => (group, version),
        },
        _ => return Route::Other,
    };
    let mut rest: Vec<String> = rest.collect();
    if rest.is_empty() {
        return Route::Version { group, version };
    }
    let watch = rest.len() > 1 && rest.first().is_some_and(|first| first == "watch");
    if watch {
        rest.remove(0);
    }
    let mut rest = rest.into_iter();
    let (mut namespace, mut resource) = (None, rest.next().unwrap_or_default());
    let mut name = rest.next();
    if resource == "namespaces"
        && let Some(inner) = rest.next()
    {
        if group.is_empty() && matches!(inner.as_str(), "status" | "finalize") && rest.len() == 0 {
            return Route::Resource(ResourcePath {
                group,
                version,
                resource,
                namespace,
                name,
                subresource: Some(inner),
                watch,
            });
        }
        // An empty segment is no namespace: `namespaces//pods` are the pods of all namespaces.
        namespace = name.filter(|namespace| !namespace.is_empty());
        resource = inner;
        name = rest.next();
    }
    let subresource: Vec<String> = rest.collect();
    let subresource = (!subresource.is_empty()).then(|| subresource.join("/"));
    Route::Resource(ResourcePath {
        group,
        version,
        resource,
        namespace,
        name,
        subresource,
        watch,
    })
}

/// Decodes `%xx`; what is not valid stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let decoded = match (first, tail) {
            (b'%', [high, low, after @ ..]) => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (high * 16 + low, after)),
            _ => None,
        };
        if let Some((byte, after)) = decoded {
            bytes.push(byte);
            rest = after;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether every `%` is followed by two hexadecimal digits.
pub(crate) fn is_well_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|part| {
        let mut digits = part.bytes().take(2).filter(u8::is_ascii_hexdigit);
        digits.next().is_some() && digits.next().is_some()
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/api/v1/pods", "v1 pods ns=- name=- sub=-")]
    #[case("/api/v1/pods/", "v1 pods ns=- name=- sub=-")]
    #[case("/api/v1/namespaces", "v1 namespaces ns=- name=- sub=-")]
    #[case("/api/v1/namespaces/a", "v1 namespaces ns=- name=a sub=-")]
    #[case("/api/v1/namespaces/a/finalize", "v1 namespaces ns=- name=a sub=finalize")]
    #[case("/api/v1/namespaces/a/pods", "v1 pods ns=a name=- sub=-")]
    #[case("/api/v1/namespaces/a/pods/p/log", "v1 pods ns=a name=p sub=log")]
    #[case(
        "/apis/apps/v1/namespaces/a/deployments/d%20x",
        "apps/v1 deployments ns=a name=d x sub=-"
    )]
    #[case("/api/v1/watch/namespaces/a/pods", "v1 pods ns=a name=- sub=- watch")]
    fn api_10_paths(#[case] path: &str, #[case] want: &str) {
        let Route::Resource(got) = route(path) else {
            panic!("{path} names no resource")
        };
        let or_dash = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
        let text = format!(
            "{} {} ns={} name={} sub={}{}",
            crate::registry::api_version(&got.group, &got.version),
            got.resource,
            or_dash(&got.namespace),
            or_dash(&got.name),
            or_dash(&got.subresource),
            if got.watch { " watch" } else { "" }
        );
        assert_eq!(text, want);
    }

    #[test]
    fn api_11_integers_are_checked() {
        let query = Query::parse(Some("limit=abc&watch&labelSelector=a%3Db%2Cc&x=1+2"));
        assert_eq!(
            query.integer("limit").unwrap_err().message,
            "strconv.ParseInt: parsing \"abc\": invalid syntax"
        );
        assert!(query.flag("watch"));
        assert_eq!(query.get("labelSelector"), "a=b,c");
        assert_eq!(query.get("x"), "1 2");
    }
}
