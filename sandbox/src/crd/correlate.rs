//! Which part of a former object a part of its successor stands for. Errors of parts that have not changed are
//! tolerated (ratcheting, API-545), and transition rules compare a part with what it was.

use serde_json::Value;

use super::schema::{ListKind, Schema};

/// A value together with the one that it replaces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) new: &'a Value,
    pub(super) old: &'a Value,
    pub(super) schema: &'a Schema,
}

impl Pair<'_> {
    /// The pair of a member that both objects have.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        Some(Self {
            new: self.new.get(name)?,
            old: self.old.get(name)?,
            schema: self.schema.member(name)?,
        })
    }

    /// The pair of an item: only the items of lists of type map can be told apart.
    pub(super) fn item(self, index: usize) -> Option<Self> {
        let new = self.new.get(index)?;
        Some(Self {
            new,
            old: same_keys(self.schema, self.old, new)?,
            schema: self.schema.items.as_deref()?,
        })
    }

    /// Whether nothing has changed. Parts that cannot be correlated count as changed.
    pub(super) fn is_unchanged(self) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                if matches!(self.schema.list, ListKind::Map(_)) {
                    (0..new.len()).all(|index| self.item(index).is_some_and(Self::is_unchanged))
                } else {
                    new == old
                }
            }
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len()
                    && new
                        .keys()
                        .all(|name| self.member(name).is_some_and(Self::is_unchanged))
            }
            (new, old) => new == old,
        }
    }
}

/// The item of `old`, a list of type map, that has the keys of `new`.
pub(super) fn same_keys<'a>(schema: &Schema, old: &'a Value, new: &Value) -> Option<&'a Value> {
    let (ListKind::Map(keys), Value::Object(_)) = (&schema.list, new) else {
        return None;
    };
    // Of several items with the same keys the last one counts.
    old.as_array()?
        .iter()
        .rev()
        .find(|item| item.is_object() && keys.iter().all(|key| item.get(key) == new.get(key)))
}
