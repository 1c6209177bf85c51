//! Tables: columns and cells by kind (API-601 to API-629) and printer columns of custom resources (API-549).

mod age;
mod builtin;
mod custom;
mod pod;

use std::{borrow::Cow, sync::LazyLock};

use jiff::Timestamp;
use rustc_hash::FxHashMap;
use serde_json::Value;

pub use self::{age::human_duration, custom::PrinterColumn};
use crate::names::GroupKind;

/// One column of a Table, as in `columnDefinitions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: Cow<'static, str>,
    /// `type` of the cells: `string`, `integer`, `boolean`, `number` or `date`.
    pub kind: Cow<'static, str>,
    /// `name` for the first column, otherwise empty unless a custom resource says more.
    pub format: Cow<'static, str>,
    /// What the cells mean.
    pub description: Cow<'static, str>,
    /// 0, or 1 for columns that only wide output shows.
    pub priority: i64,
}

impl Column {
    /// The JSON of `columnDefinitions`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

type Cell = fn(&Value, Timestamp) -> Value;

/// A row of the table of columns: heading, type of the cells, priority, and how a cell comes from an object.
#[derive(Clone, Copy)]
struct Spec(&'static str, &'static str, i64, Cell);

struct Kind {
    columns: Vec<Column>,
    cells: Vec<Cell>,
}

impl Kind {
    fn new(specs: &[Spec]) -> Self {
        let column = |Spec(name, kind, priority, _): &Spec| Column {
            name: Cow::Borrowed(name),
            kind: Cow::Borrowed(kind),
            format: Cow::Borrowed(if *name == "Name" { "name" } else { "" }),
            description: Cow::Owned(format!("{name} of the object")),
            priority: *priority,
        };
        Self {
            columns: specs.iter().map(column).collect(),
            cells: specs.iter().map(|spec| spec.3).collect(),
        }
    }
}

/// By group, then kind.
static KINDS: LazyLock<FxHashMap<&'static str, FxHashMap<&'static str, Kind>>> = LazyLock::new(|| {
    let mut kinds: FxHashMap<&'static str, FxHashMap<&'static str, Kind>> = FxHashMap::default();
    for (group, kind, specs) in builtin::KINDS {
        kinds.entry(group).or_default().insert(kind, Kind::new(specs));
    }
    kinds
});

static OTHER: LazyLock<Kind> = LazyLock::new(|| Kind::new(builtin::OTHER));

fn kind(gk: &GroupKind) -> &'static Kind {
    KINDS
        .get(gk.group.as_ref())
        .and_then(|kinds| kinds.get(gk.kind.as_ref()))
        .unwrap_or(&OTHER)
}

/// Columns of a built-in kind; Name and Created At for kinds without a table of their own (API-629).
#[must_use]
pub fn columns(gk: &GroupKind) -> &'static [Column] {
    &kind(gk).columns
}

/// Whether a built-in kind has columns of its own.
#[must_use]
pub fn has_own_columns(gk: &GroupKind) -> bool {
    KINDS
        .get(gk.group.as_ref())
        .is_some_and(|kinds| kinds.contains_key(gk.kind.as_ref()))
}

/// Cells of one object, one per column. Ages are relative to `now`.
#[must_use]
pub fn cells(gk: &GroupKind, object: &Value, now: Timestamp) -> Vec<Value> {
    kind(gk).cells.iter().map(|cell| cell(object, now)).collect()
}

#[cfg(test)]
mod tests;
