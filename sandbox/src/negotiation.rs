//! Which representation the client asks for (API-1, API-2, API-5, API-6, API-572, API-600).

use crate::status::Failure;

/// Encoding of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
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
    /// `as=PartialObjectMetadata`.
    Metadata,
    /// `as=PartialObjectMetadataList`.
    MetadataList,
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

const OFFERED: &[&str] = &["application/json", "application/yaml"];

/// Picks the first acceptable media range of the highest quality for which `offered` holds.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn accept(header: Option<&str>, offered: impl Fn(Form) -> bool) -> Result<Accepted, Failure> {
    let Some(header) = header.filter(|header| !header.trim().is_empty()) else {
        return Ok(Accepted::JSON);
    };
    let mut best: Option<(u32, Accepted)> = None;
    for range in header.split(',') {
        if let Some((quality, accepted)) = parse_range(range)
            && offered(accepted.form)
            && best.is_none_or(|(other, _)| quality > other)
        {
            best = Some((quality, accepted));
        }
    }
    best.map(|(_, accepted)| accepted)
        .ok_or_else(|| Failure::not_acceptable(OFFERED))
}

/// A media range with its quality in thousandths; `None` if it is not understood.
fn parse_range(range: &str) -> Option<(u32, Accepted)> {
    let mut parts = range.split(';').map(str::trim);
    let encoding = match parts.next()? {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let (mut quality, mut form, mut group, mut version) = (1000, None, None, None);
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name {
            "q" => {
                let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
                let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
                quality =
                    whole.parse::<u32>().ok()?.saturating_mul(1000) + thousandths.parse::<u32>().ok()?;
            }
            "as" => form = Some(value),
            "g" => group = Some(value),
            "v" => version = Some(value),
            _ => {}
        }
    }
    let form = match (form, group, version) {
        (None, None, None) => Form::Plain,
        (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Form::Table { beta: false },
        (Some("Table"), Some("meta.k8s.io"), Some("v1beta1")) => Form::Table { beta: true },
        (Some("PartialObjectMetadata"), Some("meta.k8s.io"), Some("v1")) => Form::Metadata,
        (Some("PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => Form::MetadataList,
        (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => Form::Discovery,
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
    #[case::client_go("application/vnd.kubernetes.protobuf,application/json", Some((Encoding::Json, Form::Plain)))]
    #[case::protobuf_only("application/vnd.kubernetes.protobuf", None)]
    #[case::kubectl(
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        Some((Encoding::Json, Form::Table { beta: false }))
    )]
    #[case::unknown_falls_back("application/json;as=Nope;v=v1;g=meta.k8s.io,application/json", Some((Encoding::Json, Form::Plain)))]
    fn api_1_api_2_picks_a_representation(#[case] header: &str, #[case] want: Option<(Encoding, Form)>) {
        let got = accept(Some(header), |_| true).ok();
        assert_eq!(got.map(|accepted| (accepted.encoding, accepted.form)), want);
    }
}
