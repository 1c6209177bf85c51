//! JSON patch (API-261 to API-263), JSON merge patch (API-264) and strategic merge patch (API-266 to API-270).
//!
//! Pure: from an object and a patch to the patched object, neither defaulted nor validated. What a patch may not
//! change (API-265) is checked where the object is written.

mod json;
pub(crate) mod merge;
mod merge_keys;
mod strategic;

use serde_json::Value;

use crate::schema::Node;

/// Which of the patch formats a PATCH carries, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`, RFC 6902.
    Json,
    /// `application/merge-patch+json`, RFC 7386.
    Merge,
    /// `application/strategic-merge-patch+json`; built-in kinds only.
    Strategic,
}

/// Why a patch cannot be applied. Displays as the message of the Status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not of the shape of its format.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// An operation of a JSON patch fails: a `test`, a path, an index, an unknown operation.
    #[error("the server rejected our request due to an error in our request")]
    Rejected,
    /// More than 10000 operations.
    #[error("Request entity too large: The allowed maximum operations in a JSON patch is 10000, got {0}")]
    TooManyOperations(usize),
    /// A strategic merge patch whose lists or directives do not fit (API-41).
    #[error("{0}")]
    Strategic(String),
    /// A directive of a strategic merge patch that does not have its form.
    #[error("invalid patch format of {0}")]
    Directive(&'static str),
}

impl PatchError {
    /// HTTP status and `code`.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Directive(_) => 400,
            Self::Rejected => 422,
            Self::TooManyOperations(_) => 413,
            Self::Strategic(_) => 500,
        }
    }

    /// `reason` of the Status; the 500 of API-41 has none.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(_) | Self::Directive(_) => Some("BadRequest"),
            Self::Rejected => Some("Invalid"),
            Self::TooManyOperations(_) => Some("RequestEntityTooLarge"),
            Self::Strategic(_) => None,
        }
    }
}

/// The object that results from `patch` on `current`, whose type is `root` where it is known.
///
/// # Errors
/// If the patch is malformed or does not fit the object.
pub(crate) fn apply(
    kind: PatchKind,
    root: Option<Node<'_>>,
    current: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    match kind {
        PatchKind::Json => json::apply(current, patch),
        PatchKind::Merge if patch.is_object() => Ok(merge::apply(current.clone(), patch)),
        PatchKind::Strategic if patch.is_object() => strategic::apply(root, current, patch),
        PatchKind::Merge | PatchKind::Strategic => {
            Err(PatchError::Malformed("the patch has to be an object".into()))
        }
    }
}
