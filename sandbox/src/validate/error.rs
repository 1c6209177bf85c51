//! What a validation rule found, in the words of API-36.

use std::fmt;

use serde_json::Value;

use super::gofmt::show;

/// Sort of a [`FieldError`]; decides `causes.reason` and the start of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// `Required value`
    Required,
    /// `Invalid value: …`
    Invalid,
    /// `Unsupported value: …`
    NotSupported,
    /// `Duplicate value: …`
    Duplicate,
    /// `Forbidden: …`
    Forbidden,
    /// `Not found: …`
    NotFound,
    /// `Too long: …`
    TooLong,
    /// `Too many: …`
    TooMany,
    /// A value of the wrong JSON type; printed like [`Invalid`](Self::Invalid).
    TypeInvalid,
}

impl FieldErrorKind {
    /// `reason` of the cause in a Status (API-36).
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotFound => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not found",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }
}

/// One thing wrong with one field. Displays as `path: Type: detail`, as it stands in the message of a 422.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Sort of problem.
    pub kind: FieldErrorKind,
    /// Path of the field as in API-37, `spec.ports[0].port`.
    pub field: String,
    /// The text after `Type: `; may be empty for [`FieldErrorKind::Required`].
    pub detail: String,
}

impl FieldError {
    /// An error from its parts.
    pub fn new(kind: FieldErrorKind, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            field: field.into(),
            detail: detail.into(),
        }
    }

    /// A field that has to be set; `detail` may be empty.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, field, detail)
    }

    /// A value that breaks a rule.
    pub fn invalid(field: impl Into<String>, value: &Value, problem: impl fmt::Display) -> Self {
        Self::new(
            FieldErrorKind::Invalid,
            field,
            format!("{}: {problem}", show(value)),
        )
    }

    /// A value that is not one of `supported`, which are printed in the order given.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("{}: supported values: {}", show(value), supported.join(", "));
        Self::new(FieldErrorKind::NotSupported, field, detail)
    }

    /// A value that another element of the list has already.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(FieldErrorKind::Duplicate, field, show(value))
    }

    /// A field that must not be set or changed.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, field, detail)
    }

    /// A reference to something that is not there.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new(FieldErrorKind::NotFound, field, show(value))
    }

    /// More bytes than allowed.
    pub fn too_long(field: impl Into<String>, limit: usize) -> Self {
        Self::new(
            FieldErrorKind::TooLong,
            field,
            format!("may not be more than {limit} bytes"),
        )
    }

    /// More items than allowed.
    pub fn too_many(field: impl Into<String>, found: usize, limit: usize) -> Self {
        Self::new(
            FieldErrorKind::TooMany,
            field,
            format!("{found}: must have at most {limit} items"),
        )
    }

    /// `Type: detail` without the path: `causes.message` of a Status.
    #[must_use]
    pub fn message(&self) -> String {
        if self.detail.is_empty() {
            self.kind.text().to_owned()
        } else {
            format!("{}: {}", self.kind.text(), self.detail)
        }
    }

    /// `causes.reason` of a Status.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message())
    }
}
