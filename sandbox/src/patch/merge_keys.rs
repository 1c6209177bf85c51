//! How strategic merge treats a member (API-266, API-269): answered by the table of types.

use crate::schema::{Node, Shape};

/// What a patch does to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Elements are objects, identified by this member.
    MergeBy(&'static str),
    /// A set of scalars.
    MergeSet,
    /// The value of the patch takes the place of the old one.
    Replace,
}

/// Strategy of the list `member` of an object.
pub(super) fn of_list(object: Option<Node<'_>>, member: &str) -> Strategy {
    let patch = object
        .and_then(|object| object.facts(member))
        .and_then(|facts| facts.patch);
    match patch.filter(|patch| patch.has("merge")) {
        None => Strategy::Replace,
        Some(patch) => patch.merge_key.map_or(Strategy::MergeSet, Strategy::MergeBy),
    }
}

/// Whether the map `member` of an object is replaced instead of merged (API-269).
pub(super) fn replaces_map(object: Option<Node<'_>>, member: &str) -> bool {
    let patch = object
        .and_then(|object| object.facts(member))
        .and_then(|facts| facts.patch);
    patch.is_some_and(|patch| patch.has("replace"))
}

/// The type of the value, or of the elements, of a member.
pub(super) fn below<'a>(object: Option<Node<'a>>, member: &str) -> Option<Node<'a>> {
    let object = object?;
    let value = match object.shape() {
        Shape::Map { values, .. } => values,
        _ => object.field(member)?,
    };
    match value.shape() {
        Shape::List { items, .. } => Some(items),
        _ => Some(value),
    }
}
