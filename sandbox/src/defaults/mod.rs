//! Defaults of built-in kinds (API-320 to API-349) and the zero values that are always shown (API-74).
//!
//! Nearly all of it is a table (`rows`): a path, a member, and what it becomes if absent. What depends on other
//! members is in `code`. Everything is idempotent; [`create`] adds what only a new object gets.

mod code;
mod rows;

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use crate::names::GroupKind;

/// Fills the absent members of a decoded object, on create and on every update (API-320).
pub fn apply(gk: &GroupKind, object: &mut Value) {
    of_type(gk, object);
    of_server(gk, object);
}

/// The part of [`apply`] that belongs to the type: a client that writes the object owns it (API-294).
pub(crate) fn of_type(gk: &GroupKind, object: &mut Value) {
    run(gk, object, |fill| !fill.is_of_server());
}

/// The part of [`apply`] that the server decides.
pub(crate) fn of_server(gk: &GroupKind, object: &mut Value) {
    run(gk, object, Fill::is_of_server);
}

fn run(gk: &GroupKind, object: &mut Value, wanted: impl Fn(Fill) -> bool) {
    let rules = COMPILED.get(&(gk.group.as_ref(), gk.kind.as_ref()));
    for rule in rules.into_iter().flatten().filter(|rule| wanted(rule.fill)) {
        visit(object, &rule.at, rule);
    }
}

/// What a new object gets besides [`apply`], which this includes: finalizers of namespaces and volumes (API-175,
/// API-506), the taint of a new node (API-504), phase and quality of service class of a pod (API-329).
///
/// Expects `metadata.uid` to be set and a client's status to be removed where the kind has the status subresource.
pub fn create(gk: &GroupKind, object: &mut Value) {
    of_type(gk, object);
    created_by_server(gk, object);
}

/// The part of [`create`] that the server decides.
pub(crate) fn created_by_server(gk: &GroupKind, object: &mut Value) {
    code::on_create(gk, object);
    of_server(gk, object);
}

/// Where the pod spec of a kind is, if it has one.
pub(crate) fn pod_spec_path(gk: &GroupKind) -> Option<&'static str> {
    rows::POD_SPECS
        .iter()
        .find(|(group, kind, _)| *group == gk.group && *kind == gk.kind)
        .map(|(_, _, path)| *path)
}

/// What an absent member becomes.
#[derive(Clone, Copy)]
enum Fill {
    Text(&'static str),
    Number(i64),
    Flag(bool),
    /// `{}`
    Object,
    /// Shown as `null` (API-74).
    Null,
    /// Computed from the object around it; `None` leaves it absent.
    From(fn(&Map<String, Value>) -> Option<Value>),
    /// Like `From`, but decided by the server and not part of the type.
    ServerFrom(fn(&Map<String, Value>) -> Option<Value>),
    /// Not one member: code on the whole object. It has to be idempotent.
    Edit(fn(&mut Map<String, Value>)),
    /// Like `Edit`, but decided by the server and not part of the type.
    ServerEdit(fn(&mut Map<String, Value>)),
}

impl Fill {
    fn is_of_server(self) -> bool {
        matches!(self, Self::ServerFrom(_) | Self::ServerEdit(_))
    }
}

/// One default: where the object is, which member of it, and what that becomes.
///
/// Steps of the path are separated by dots; `a|b` is either, `a[*]` each element of a list. Nothing on the path is
/// created: rows with [`Fill::Object`] do that where upstream has a struct rather than a pointer.
#[derive(Clone, Copy)]
struct Row(&'static str, &'static str, Fill);

struct Step {
    names: Vec<&'static str>,
    each: bool,
}

struct Rule {
    at: Vec<Step>,
    member: &'static str,
    fill: Fill,
}

/// Rows by kind, paths parsed, the pod spec's put behind the path of the kind's pod spec.
static COMPILED: LazyLock<FxHashMap<(&'static str, &'static str), Vec<Rule>>> = LazyLock::new(|| {
    let mut compiled: FxHashMap<(&'static str, &'static str), Vec<Rule>> = FxHashMap::default();
    for (group, kind, rows) in rows::KINDS {
        compiled
            .entry((group, kind))
            .or_default()
            .extend(rows.iter().map(|row| compile("", row)));
    }
    for (group, kind, path) in rows::POD_SPECS {
        let rules = compiled.entry((group, kind)).or_default();
        rules.extend(parents(path));
        rules.extend(rows::POD_SPEC.iter().map(|row| compile(path, row)));
        if *kind == "Pod" {
            rules.extend(rows::POD_ONLY.iter().map(|row| compile("", row)));
        }
    }
    compiled
});

/// The structs on the way to a pod spec exist even if the request leaves them out.
fn parents(path: &'static str) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut at = "";
    for (index, _) in path.match_indices('.').chain([(path.len(), "")]) {
        let here = path.get(..index).unwrap_or_default();
        let member = here.rsplit('.').next().unwrap_or_default();
        rules.push(compile("", &Row(at, member, Fill::Object)));
        if member == "template" {
            rules.push(compile("", &Row(here, "metadata", Fill::Object)));
        }
        at = here;
    }
    rules
}

fn compile(prefix: &'static str, row: &Row) -> Rule {
    let Row(path, member, fill) = *row;
    let steps = |path: &'static str| {
        path.split('.')
            .filter(|step| !step.is_empty())
            .map(|step| match step.strip_suffix("[*]") {
                Some(names) => Step {
                    names: names.split('|').collect(),
                    each: true,
                },
                None => Step {
                    names: step.split('|').collect(),
                    each: false,
                },
            })
    };
    Rule {
        at: steps(prefix).chain(steps(path)).collect(),
        member,
        fill,
    }
}

fn visit(value: &mut Value, path: &[Step], rule: &Rule) {
    let Value::Object(members) = value else { return };
    let Some((step, rest)) = path.split_first() else {
        fill(members, rule);
        return;
    };
    for name in &step.names {
        match members.get_mut(*name) {
            Some(Value::Array(items)) if step.each => {
                for item in items {
                    visit(item, rest, rule);
                }
            }
            Some(value) if !step.each => visit(value, rest, rule),
            _ => {}
        }
    }
}

fn fill(members: &mut Map<String, Value>, rule: &Rule) {
    if let Fill::Edit(edit) | Fill::ServerEdit(edit) = rule.fill {
        edit(members);
        return;
    }
    if members.get(rule.member).is_some_and(|value| !value.is_null()) {
        return;
    }
    let value = match rule.fill {
        Fill::Text(text) => Value::from(text),
        Fill::Number(number) => Value::from(number),
        Fill::Flag(flag) => Value::from(flag),
        Fill::Object => Value::Object(Map::new()),
        Fill::Null => Value::Null,
        Fill::From(compute) | Fill::ServerFrom(compute) => match compute(members) {
            Some(value) => value,
            None => return,
        },
        Fill::Edit(_) | Fill::ServerEdit(_) => return,
    };
    members.insert(rule.member.to_owned(), value);
}

#[cfg(test)]
mod tests;
