//! Sizes that values of a schema can have, from its limits or from the size of a request.

use crate::crd::schema::{Schema, Type};

/// Largest request (kube-apiserver 1.36).
const REQUEST: u64 = 3 * 1024 * 1024;

/// A size of which nothing is known.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// How many values of a schema fit into a request.
pub(super) fn most_in_request(schema: &Schema, is_resource: bool) -> u64 {
    REQUEST / (least_size(schema, is_resource) + 1)
}

fn count(limit: Option<i64>) -> Option<u64> {
    limit.map(|limit| u64::try_from(limit).unwrap_or(0))
}

/// Fewest bytes of a value in JSON.
fn least_size(schema: &Schema, is_resource: bool) -> u64 {
    if schema.int_or_string {
        return 1;
    }
    match schema.kind {
        Some(Type::Integer | Type::Number) => 1,
        Some(Type::Boolean) => 4,
        Some(Type::String) => match schema.format.as_ref().map(|(name, _)| name.as_str()) {
            Some("duration") => 3,
            Some("date") => 12,
            Some("date-time") => 21,
            _ => 2,
        },
        Some(Type::Object) if schema.additional().is_none() => {
            schema
                .checks
                .required
                .iter()
                .filter(|name| !(is_resource && matches!(name.as_str(), "kind" | "apiVersion" | "metadata")))
                .filter_map(|name| Some((name, schema.properties.get(name)?)))
                .filter(|(_, property)| property.default.is_none())
                .map(|(name, property)| {
                    least_size(property, property.embedded) + 4 + u64::try_from(name.len()).unwrap_or(0)
                })
                .sum::<u64>()
                + 2
        }
        _ => 2,
    }
}

/// Most elements, members or bytes of a value.
pub(super) fn most_elements(schema: &Schema) -> u64 {
    let checks = &schema.checks;
    let text = count(checks.max_length).map(|length| length.saturating_mul(4));
    if schema.int_or_string {
        return text.unwrap_or(REQUEST - 2);
    }
    match schema.kind {
        Some(Type::Array) => count(checks.max_items).unwrap_or_else(|| {
            let item = schema
                .items
                .as_deref()
                .map_or(2, |items| least_size(items, items.embedded));
            (REQUEST - 2) / (item + 1)
        }),
        Some(Type::Object) => match schema.additional() {
            Some(inner) => count(checks.max_properties)
                .unwrap_or_else(|| (REQUEST - 2) / (least_size(inner, inner.embedded) + 6)),
            None => UNKNOWN,
        },
        Some(Type::String) => match schema.format.as_ref().map(|(name, _)| name.as_str()) {
            Some("duration" | "date-time") => 32,
            Some("date") => 12,
            Some("byte") => count(checks.max_length).unwrap_or(REQUEST - 2),
            _ => text.or_else(|| longest_allowed(schema)).unwrap_or(REQUEST - 2),
        },
        _ => 1,
    }
}

fn longest_allowed(schema: &Schema) -> Option<u64> {
    schema
        .checks
        .allowed
        .iter()
        .map(|allowed| allowed.as_str().map_or(0, str::len))
        .max()
        .and_then(|longest| u64::try_from(longest).ok())
}

/// `size` times a fraction, rounded up.
pub(super) fn share(size: u64, percent: u64) -> u64 {
    if size == UNKNOWN {
        UNKNOWN
    } else {
        size.saturating_mul(percent).div_ceil(100)
    }
}
