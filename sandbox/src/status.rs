//! Errors as clients see them: the Status object (API-30 to API-42).

use std::fmt;

use serde_json::{Map, Value, json};

use crate::{
    names::{GroupKind, Gvr},
    validate::{FieldError, FieldErrorKind, gofmt::quote},
};

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable reason, for example `FieldValueInvalid`.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
    /// Path of the field; empty if none.
    pub field: String,
}

/// A failed request. Converted to a Status object at the very end, so that the code that fails only names the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub code: u16,
    /// `reason` of the Status; empty for errors that nothing maps (API-41).
    pub reason: &'static str,
    /// `message` of the Status.
    pub message: String,
    details: Option<Box<Details>>,
    continue_token: Option<Box<str>>,
}

/// `details` of the Status. Empty members are not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    name: String,
    group: String,
    kind: String,
    causes: Vec<Cause>,
    retry_after: u32,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// The same with `details`, which may stay empty.
    fn with_details(mut self) -> Self {
        self.details_mut();
        self
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details_mut();
        group.clone_into(&mut details.group);
        kind.clone_into(&mut details.kind);
        name.clone_into(&mut details.name);
        self
    }

    /// Adds an entry to `details.causes`.
    #[must_use]
    pub fn because(mut self, cause: Cause) -> Self {
        self.details_mut().causes.push(cause);
        self
    }

    /// Asks the client to come back after `seconds` (API-32).
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details_mut().retry_after = seconds;
        self
    }

    /// Seconds for the header `Retry-After`, if any.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details
            .as_ref()
            .map(|details| details.retry_after)
            .filter(|seconds| *seconds > 0)
    }

    /// Offers a token with which an expired list can go on.
    #[must_use]
    pub fn continuing(mut self, token: &str) -> Self {
        self.continue_token = Some(token.into());
        self
    }

    /// 404 for an object.
    #[must_use]
    pub fn not_found(resource: &Gvr, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {} not found", quote(name))).about(
            &resource.group,
            &resource.resource,
            name,
        )
    }

    /// 404 for an unknown resource or subresource of a known group version.
    #[must_use]
    pub fn unknown_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details()
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with_details()
    }

    /// 409 for a name that is taken.
    #[must_use]
    pub fn already_exists(resource: &Gvr, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{resource} {} already exists", quote(name)),
        )
        .about(&resource.group, &resource.resource, name)
    }

    /// 409 with a cause.
    #[must_use]
    pub fn conflict(resource: &Gvr, name: &str, cause: &str) -> Self {
        Self::conflict_on(
            &resource.to_string(),
            &resource.group,
            &resource.resource,
            name,
            cause,
        )
    }

    /// 409 whose message and details name something else than a resource (API-145, API-450).
    #[must_use]
    pub fn conflict_on(what: &str, group: &str, kind: &str, name: &str, cause: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {what} {}: {cause}", quote(name));
        Self::new(409, "Conflict", message).about(group, kind, name)
    }

    /// 409 of an apply that would take fields from other managers (API-295).
    #[must_use]
    pub fn apply_conflict(message: impl Into<String>) -> Self {
        Self::new(409, "Conflict", message)
    }

    /// 409 for a stale resource version (API-34).
    #[must_use]
    pub fn stale(resource: &Gvr, name: &str) -> Self {
        let cause =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, cause)
    }

    /// 422 with all field errors (API-36).
    #[must_use]
    pub fn invalid(kind: &GroupKind, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_as(&kind.to_string(), &kind.group, &kind.kind, name, errors)
    }

    /// 422 whose message names something else than a kind (API-123).
    #[must_use]
    pub fn invalid_as(what: &str, group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for error in errors {
            let text = format!("{}: {}", error.field, field_error_text(error));
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let joined = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut failure = Self::new(
            422,
            "Invalid",
            format!("{what} {} is invalid: {joined}", quote(name)),
        )
        .about(group, kind, name);
        failure.details_mut().causes = errors
            .iter()
            .map(|error| Cause {
                reason: field_error_reason(error.kind),
                message: field_error_text(error),
                field: error.field.clone(),
            })
            .collect();
        failure
    }

    /// 422 for a query option (API-37); `kind` is `ListOptions` and the like.
    #[must_use]
    pub fn invalid_option(kind: &'static str, errors: &[FieldError]) -> Self {
        Self::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors)
    }

    /// 422 without causes, for patches that do not apply (API-261).
    #[must_use]
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message).with_details()
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403 for an object.
    #[must_use]
    pub fn forbidden(resource: &Gvr, name: &str, cause: impl fmt::Display) -> Self {
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {cause}")
        } else {
            format!("{resource} {} is forbidden: {cause}", quote(name))
        };
        Self::new(403, "Forbidden", message).about(&resource.group, &resource.resource, name)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 for what authorization does not allow (API-19); resource and name are empty where there is none.
    #[must_use]
    pub fn denied(group: &str, resource: &str, name: &str, cause: &str) -> Self {
        let what = match (resource, group) {
            ("", _) => String::new(),
            (resource, "") => format!("{resource} "),
            (resource, group) => format!("{resource}.{group} "),
        };
        let named = if resource.is_empty() || name.is_empty() {
            String::new()
        } else {
            format!("{name:?} ")
        };
        let is = if what.is_empty() { "" } else { "is " };
        Self::new(403, "Forbidden", format!("{what}{named}{is}forbidden: {cause}"))
            .about(group, resource, name)
    }

    /// 410 with reason `Expired`.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 429.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message).with_details()
    }

    /// 504 for a revision that has not been written (API-196).
    #[must_use]
    pub fn too_large_version(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        Self::new(504, "Timeout", message)
            .because(Cause {
                reason: "ResourceVersionTooLarge",
                message: "Too large resource version".to_owned(),
                field: String::new(),
            })
            .retry_after(1)
    }

    /// 415.
    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 406.
    #[must_use]
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let message = format!(
            "only the following media types are accepted: {}",
            offered.join(", ")
        );
        Self::new(406, "NotAcceptable", message)
    }

    /// 406 of a path that has nothing in the media types that were asked for (API-2).
    #[must_use]
    pub fn no_representation(offered: &[&str]) -> Self {
        let offered = offered.join(", ");
        let message = format!("406: Not Acceptable\n\nAvailable representations: {offered}");
        Self::new(406, "NotAcceptable", message).with_details()
    }

    /// 406 for an object in the form of a list, or the other way round (API-6).
    #[must_use]
    pub fn wrong_form(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    /// 415 of a path that takes no body of the type that was sent (API-4).
    #[must_use]
    pub fn unsupported_patch_type() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").with_details()
    }

    /// 413.
    #[must_use]
    pub fn too_large(cause: impl fmt::Display) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: {cause}"),
        )
    }

    /// 501 for what the sandbox does not do.
    #[must_use]
    pub fn not_implemented(what: impl fmt::Display) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("the sandbox does not implement {what}"),
        )
    }

    /// 500 without a reason (API-41).
    #[must_use]
    pub fn unmapped(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 500 with the reason `InternalError`.
    #[must_use]
    pub fn internal(cause: impl fmt::Display) -> Self {
        let message = cause.to_string();
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
        .because(Cause {
            reason: "",
            message,
            field: String::new(),
        })
    }

    /// A patch that could not be applied, with the code that the patch gave.
    #[must_use]
    pub fn of_patch(code: u16, message: String) -> Self {
        match code {
            400 => Self::bad_request(message),
            409 => Self::new(409, "Conflict", message),
            413 => Self::new(413, "RequestEntityTooLarge", message),
            415 => Self::new(415, "UnsupportedMediaType", message),
            422 => Self::unprocessable(message),
            _ => Self::unmapped(message),
        }
    }

    /// The Status object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".to_owned(), token.as_ref().into());
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(members) = status.as_object_mut() {
            if !self.reason.is_empty() {
                members.insert("reason".to_owned(), self.reason.into());
            }
            if let Some(details) = &self.details {
                members.insert("details".to_owned(), details.to_value());
            }
        }
        status
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut details = Map::new();
        for (member, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !text.is_empty() {
                details.insert(member.to_owned(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self.causes.iter().map(Cause::to_value).collect();
            details.insert("causes".to_owned(), causes.into());
        }
        if self.retry_after > 0 {
            details.insert("retryAfterSeconds".to_owned(), self.retry_after.into());
        }
        Value::Object(details)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut cause = Map::new();
        for (member, text) in [
            ("reason", self.reason),
            ("message", self.message.as_str()),
            ("field", self.field.as_str()),
        ] {
            if !text.is_empty() {
                cause.insert(member.to_owned(), text.into());
            }
        }
        Value::Object(cause)
    }
}

/// The answer to a DELETE that returns no object (API-42).
#[must_use]
pub fn deleted(resource: &Gvr, name: &str, uid: &str) -> Value {
    let mut details = Map::new();
    details.insert("name".to_owned(), name.into());
    if !resource.group.is_empty() {
        details.insert("group".to_owned(), resource.group.as_ref().into());
    }
    details.insert("kind".to_owned(), resource.resource.as_ref().into());
    details.insert("uid".to_owned(), uid.into());
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// The answer to a binding or an eviction (API-42).
#[must_use]
pub fn created() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

fn field_error_reason(kind: FieldErrorKind) -> &'static str {
    match kind {
        FieldErrorKind::Required => "FieldValueRequired",
        FieldErrorKind::Invalid => "FieldValueInvalid",
        FieldErrorKind::NotSupported => "FieldValueNotSupported",
        FieldErrorKind::Duplicate => "FieldValueDuplicate",
        FieldErrorKind::Forbidden => "FieldValueForbidden",
        FieldErrorKind::NotFound => "FieldValueNotFound",
        FieldErrorKind::TooLong => "FieldValueTooLong",
        FieldErrorKind::TooMany => "FieldValueTooMany",
        FieldErrorKind::TypeInvalid => "FieldValueTypeInvalid",
    }
}

/// Text of an error after its path, for example `Required value: name or generateName is required`.
fn field_error_text(error: &FieldError) -> String {
    let label = match error.kind {
        FieldErrorKind::Required => "Required value",
        FieldErrorKind::Invalid | FieldErrorKind::TypeInvalid => "Invalid value",
        FieldErrorKind::NotSupported => "Unsupported value",
        FieldErrorKind::Duplicate => "Duplicate value",
        FieldErrorKind::Forbidden => "Forbidden",
        FieldErrorKind::NotFound => "Not found",
        FieldErrorKind::TooLong => "Too long",
        FieldErrorKind::TooMany => "Too many",
    };
    if error.detail.is_empty() {
        label.to_owned()
    } else {
        format!("{label}: {}", error.detail)
    }
}
