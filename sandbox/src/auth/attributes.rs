//! What a request wants to do, in the words of authorization.

use http::{Method, request::Parts};

use crate::{
    request::{Query, Route, route},
    selector::FieldSelector,
    status::Failure,
    validate::gofmt,
};

use super::User;

/// An action that somebody may be allowed to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    /// Empty for cluster-scoped resources, and for all namespaces.
    pub(crate) namespace: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) name: String,
    /// Set for what is not a resource.
    pub(crate) path: Option<String>,
}

impl Attributes {
    /// What an HTTP request wants.
    pub(crate) fn of_request(parts: &Parts) -> Self {
        let Route::Resource(path) = route(parts.uri.path()) else {
            return Self {
                verb: parts.method.as_str().to_ascii_lowercase(),
                path: Some(parts.uri.path().to_owned()),
                ..Self::default()
            };
        };
        let query = Query::parse(parts.uri.query());
        let mut name = path.name.unwrap_or_default();
        let verb = match parts.method {
            _ if path.watch => "watch",
            Method::GET | Method::HEAD if name.is_empty() && query.flag("watch") => "watch",
            Method::GET | Method::HEAD if name.is_empty() => "list",
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => "",
        };
        if name.is_empty() && matches!(verb, "list" | "watch") {
            // A list of one name counts as access to that object, so that `resourceNames` can allow it.
            name = FieldSelector::parse(query.get("fieldSelector"))
                .ok()
                .and_then(|selector| selector.exact("metadata.name").map(str::to_owned))
                .unwrap_or_default();
        }
        let namespace = match path.namespace {
            Some(namespace) => namespace,
            // A namespace counts as being in itself.
            None if path.resource == "namespaces" && verb != "list" => name.clone(),
            None => String::new(),
        };
        let subresource = path.subresource.unwrap_or_default();
        Self {
            verb: verb.to_owned(),
            namespace,
            group: path.group,
            resource: path.resource,
            subresource: subresource.split('/').next().unwrap_or_default().to_owned(),
            name,
            path: None,
        }
    }

    /// `pods`, or `pods/log`.
    pub(crate) fn combined_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// 403 for this action (API-19); `reason` may be empty.
    pub(crate) fn forbidden(&self, user: &User, reason: &str) -> Failure {
        let who = gofmt::quote(&user.name);
        let mut cause = if let Some(path) = &self.path {
            format!("User {who} cannot {} path {}", self.verb, gofmt::quote(path))
        } else {
            let place = if self.namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {}", gofmt::quote(&self.namespace))
            };
            format!(
                "User {who} cannot {} resource {} in API group {} {place}",
                self.verb,
                gofmt::quote(&self.combined_resource()),
                gofmt::quote(&self.group),
            )
        };
        // What a browser could take for markup is never sent back.
        cause = cause
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        if !reason.is_empty() {
            cause = format!("{cause}: {reason}");
        }
        Failure::denied(&self.group, &self.resource, &self.name, &cause)
    }
}
