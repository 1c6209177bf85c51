//! Which representation the client asks for (API-1, API-2, API-5, API-6, API-572, API-600).

use crate::{protobuf, status::Failure};

/// Encoding of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// Form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object as it is.
    Plain,
    /// `as=Table`, with the API version that was asked for.
    Table {
        /// `meta.k8s.io/v1beta1` instead of `v1`.
        beta: bool,
    },
    /// `as=PartialObjectMetadata`, with the API version that was asked for.
    Metadata {
        /// `meta.k8s.io/v1beta1` instead of `v1`.
        beta: bool,
    },
    /// `as=PartialObjectMetadataList`, with the API version that was asked for.
    MetadataList {
        /// `meta.k8s.io/v1beta1` instead of `v1`.
        beta: bool,
    },
    /// `g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`.
    Discovery,
}

/// The representation that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Encoding.
    pub(crate) encoding: Encoding,
    /// Form.
    pub(crate) form: Form,
}

impl Accepted {
    /// Plain JSON.
    pub(crate) const JSON: Self = Self {
        encoding: Encoding::Json,
        form: Form::Plain,
    };
}

/// Media types of answers and of bodies of creates and updates (API-1, API-3).
pub(crate) const OFFERED: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
/// What else collections of built-in kinds offer, to watchers.
const STREAMS: &[&str] = &[
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// Whether a path of a built-in resource is answered at all in one of the media types, parameters aside. Ranges such
/// as `application/*` are not understood here, only `*/*`.
///
/// # Errors
/// 406 with the list of what is offered; that of a collection is longer.
pub(crate) fn check_media_types(header: Option<&str>, is_collection: bool) -> Result<(), Failure> {
    let Some(header) = header.filter(|header| !header.is_empty()) else {
        return Ok(());
    };
    let fits = |range: &str| {
        let media_type = range.split(';').next().unwrap_or_default().trim();
        media_type == "*/*" || OFFERED.contains(&media_type)
    };
    if header.split(',').any(fits) {
        return Ok(());
    }
    let streams = if is_collection { STREAMS } else { &[] };
    let offered: Vec<&str> = OFFERED.iter().chain(streams).copied().collect();
    Err(Failure::no_representation(&offered))
}

impl Accepted {
    /// Whether built-in kinds have this representation. Tables and the old forms of metadata have no protobuf.
    pub(crate) fn is_built_in(self) -> bool {
        self.encoding != Encoding::Protobuf
            || matches!(
                self.form,
                Form::Plain
                    | Form::Discovery
                    | Form::Metadata { beta: false }
                    | Form::MetadataList { beta: false }
            )
    }

    /// Whether custom resources have this representation: of them, only the metadata has a protobuf form.
    pub(crate) fn is_custom(self) -> bool {
        self.is_built_in() && (self.encoding != Encoding::Protobuf || self.form != Form::Plain)
    }
}

/// The encoding in which objects that have no other form are answered: Status, reviews, discovery.
pub(crate) fn plain_encoding(header: Option<&str>) -> Encoding {
    accept(header, |accepted| accepted.form == Form::Plain)
        .map_or(Encoding::Json, |accepted| accepted.encoding)
}

/// Picks the first acceptable media range of the highest quality for which `offered` holds.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn accept(header: Option<&str>, offered: impl Fn(Accepted) -> bool) -> Result<Accepted, Failure> {
    let Some(header) = header.filter(|header| !header.is_empty()) else {
        return Ok(Accepted::JSON);
    };
    let mut best: Option<(f64, Accepted)> = None;
    for range in header.split(',') {
        if let Some((quality, accepted)) = parse_range(range)
            && offered(accepted)
            && best.is_none_or(|(other, _)| quality > other)
        {
            best = Some((quality, accepted));
        }
    }
    best.map(|(_, accepted)| accepted)
        .ok_or_else(|| Failure::not_acceptable(OFFERED))
}

/// Media type of a body in lower case, without its parameters; `None` if the header is malformed.
pub(crate) fn body_type(content_type: &str) -> Option<String> {
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
    };
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let media_type = media_type.trim();
    if content_type.is_empty() {
        return Some(String::new());
    }
    if !media_type.split('/').all(is_token) {
        return None;
    }
    let well_formed = parameters
        .split(';')
        .map(str::trim)
        .filter(|parameter| !parameter.is_empty())
        .all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
                is_token(name.trim()) && (quoted || is_token(value))
            })
        });
    well_formed.then(|| media_type.to_ascii_lowercase())
}

/// A media range with its quality; `None` if it is not understood. A quality that is no number counts as 1.
fn parse_range(range: &str) -> Option<(f64, Accepted)> {
    let mut parts = range.split(';').map(str::trim);
    let encoding = match parts.next()? {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        protobuf::MEDIA_TYPE => Encoding::Protobuf,
        _ => return None,
    };
    let (mut quality, mut form, mut group, mut version) = (1.0, "", "", "");
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name.trim() {
            "q" => {
                quality = value
                    .parse::<f64>()
                    .ok()
                    .filter(|quality| quality.is_finite())
                    .unwrap_or(1.0);
            }
            "as" => form = value,
            "g" => group = value,
            "v" => version = value,
            _ => {}
        }
    }
    let form = match (form, group, version) {
        ("", "", "") => Form::Plain,
        ("Table", "meta.k8s.io", "v1" | "v1beta1") => Form::Table {
            beta: version == "v1beta1",
        },
        ("PartialObjectMetadata", "meta.k8s.io", "v1" | "v1beta1") => Form::Metadata {
            beta: version == "v1beta1",
        },
        ("PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => Form::MetadataList {
            beta: version == "v1beta1",
        },
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Form::Discovery,
        _ => return None,
    };
    Some((quality, Accepted { encoding, form }))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none("", Some((Encoding::Json, Form::Plain)))]
    #[case::any("*/*", Some((Encoding::Json, Form::Plain)))]
    #[case::yaml_preferred("application/json;q=0.5,application/yaml", Some((Encoding::Yaml, Form::Plain)))]
    #[case::first_of_equals("application/yaml,application/json", Some((Encoding::Yaml, Form::Plain)))]
    #[case::client_go("application/vnd.kubernetes.protobuf,application/json", Some((Encoding::Protobuf, Form::Plain)))]
    #[case::protobuf_only("application/vnd.kubernetes.protobuf", Some((Encoding::Protobuf, Form::Plain)))]
    #[case::protobuf_watch("application/vnd.kubernetes.protobuf;stream=watch", Some((Encoding::Protobuf, Form::Plain)))]
    #[case::no_protobuf_table("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", None)]
    #[case::informer(
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
        Some((Encoding::Protobuf, Form::MetadataList { beta: false }))
    )]
    #[case::kubectl(
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        Some((Encoding::Json, Form::Table { beta: false }))
    )]
    #[case::odd_quality("application/json;q=x,application/yaml;q=0", Some((Encoding::Json, Form::Plain)))]
    #[case::empty_parameters("application/json;as=;v=;g=", Some((Encoding::Json, Form::Plain)))]
    #[case::old_version(
        "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io",
        Some((Encoding::Json, Form::Metadata { beta: true }))
    )]
    #[case::upper_case("APPLICATION/JSON", None)]
    #[case::unknown_falls_back("application/json;as=Nope;v=v1;g=meta.k8s.io,application/json", Some((Encoding::Json, Form::Plain)))]
    fn api_1_api_2_picks_a_representation(#[case] header: &str, #[case] want: Option<(Encoding, Form)>) {
        let got = accept(Some(header), Accepted::is_built_in).ok();
        assert_eq!(got.map(|accepted| (accepted.encoding, accepted.form)), want);
    }

    #[rstest]
    #[case("", true)]
    #[case("*/*", true)]
    #[case("text/html, application/yaml;q=0.1", true)]
    #[case("application/vnd.kubernetes.protobuf", true)]
    #[case("application/*", false)]
    #[case("text/html", false)]
    #[case(",", false)]
    #[case(" ", false)]
    fn api_2_media_types_of_a_path(#[case] header: &str, #[case] want: bool) {
        assert_eq!(check_media_types(Some(header), true).is_ok(), want);
    }
}
