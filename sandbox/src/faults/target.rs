//! Which operation a request is, read from its method and URL.

use std::fmt;

use http::{Method, Uri};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// GET of one object, or of anything that is no collection (discovery, health).
    Get,
    /// GET of a collection.
    List,
    /// GET of a collection with `watch`.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
}

impl Verb {
    /// True if the request may change something.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it does.
    pub verb: Verb,
    /// Group, empty for core.
    pub group: String,
    /// Resource in the plural; empty outside of the API (discovery, health).
    pub resource: String,
    /// Namespace, if the URL has one.
    pub namespace: Option<String>,
    /// Name, if the URL has one.
    pub name: Option<String>,
    /// Subresource such as `status`, if any.
    pub subresource: Option<String>,
}

impl Target {
    /// Reads method and URL.
    #[must_use]
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        let group = match parts.next() {
            Some("api") => Some(String::new()),
            Some("apis") => parts.next().map(str::to_owned),
            _ => None,
        };
        let known = group.is_some() && parts.next().is_some();
        let rest: Vec<&str> = if known { parts.collect() } else { Vec::new() };
        let (namespace, rest) = match rest.as_slice() {
            // `namespaces/x` and `namespaces/x/status` are the namespace itself.
            ["namespaces", namespace, resource, tail @ ..] if !matches!(*resource, "status" | "finalize") => {
                (Some((*namespace).to_owned()), [&[*resource], tail].concat())
            }
            other => (None, other.to_vec()),
        };
        let text = |index: usize| rest.get(index).map(|part| (*part).to_owned());
        let (resource, name, subresource) = (text(0).unwrap_or_default(), text(1), text(2));
        let watches = uri.query().is_some_and(|query| {
            query
                .split('&')
                .any(|pair| matches!(pair, "watch" | "watch=true" | "watch=1"))
        });
        let verb = match (method.as_str(), name.is_some()) {
            ("POST", _) => Verb::Create,
            ("PUT", _) => Verb::Update,
            ("PATCH", _) => Verb::Patch,
            ("DELETE", true) => Verb::Delete,
            ("DELETE", false) => Verb::DeleteCollection,
            (_, false) if !resource.is_empty() && watches => Verb::Watch,
            (_, false) if !resource.is_empty() => Verb::List,
            _ => Verb::Get,
        };
        Self {
            verb,
            group: group.unwrap_or_default(),
            resource,
            namespace,
            name,
            subresource,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.verb, self.resource)?;
        for part in [&self.namespace, &self.name, &self.subresource]
            .into_iter()
            .flatten()
        {
            write!(f, "/{part}")?;
        }
        Ok(())
    }
}
