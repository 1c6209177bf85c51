//! Defaults and nulls (API-542): absent members get the default of their schema where the parent exists; a null that the
//! schema does not allow gives way to the default, or goes.

use serde_json::Value;

use super::schema::Schema;

/// Fills an object; on writing and on reading.
pub(crate) fn default(schema: &Schema, object: &mut Value) {
    drop_nulls(schema, object);
    if schema.has_defaults {
        fill(schema, object);
    }
}

/// Removes nulls that are neither allowed nor replaced by a default.
fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|name, member| {
            let Some(inner) = schema.member(name) else {
                return true;
            };
            if member.is_null() {
                return inner.nullable || inner.default.is_some();
            }
            drop_nulls(inner, member);
            true
        }),
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                for item in items {
                    drop_nulls(inner, item);
                }
            }
        }
        _ => {}
    }
}

fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, property) in &schema.properties {
                if let Some(default) = &property.default
                    && members
                        .get(name)
                        .is_none_or(|found| found.is_null() && !property.nullable)
                {
                    members.insert(name.clone(), default.clone());
                }
            }
            for (name, member) in members {
                if let Some(property) = schema.properties.get(name) {
                    fill(property, member);
                } else if let Some(inner) = schema.additional() {
                    replace_null(inner, member);
                    fill(inner, member);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                for item in items {
                    replace_null(inner, item);
                    fill(inner, item);
                }
            }
        }
        _ => {}
    }
}

fn replace_null(schema: &Schema, value: &mut Value) {
    if let (Value::Null, false, Some(default)) = (&*value, schema.nullable, &schema.default) {
        *value = default.clone();
    }
}

/// Brings numbers into the form in which they are stored: a whole number is an integer, however it was written.
pub(crate) fn settle_numbers(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(settle_numbers),
        Value::Array(items) => items.iter_mut().for_each(settle_numbers),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole) {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

/// The integer that a number is, if it is one that fits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked: below 2^53 every whole number is exact"
)]
pub(super) fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}
