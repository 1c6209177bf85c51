//! Ownership of the replica count when it is written through the scale subresource (API-300).
//!
//! Upstream turns the entries of the object that own the count into those of a Scale, lets these take part in the
//! write, and turns them back. On the way back entries of updates lose their time, and one that owns more than the
//! count comes back as two. Clients see that, and so it is done here.

use serde_json::Value;

use super::{
    Ownership, Served, check, conflict,
    fields::Set,
    manager,
    managers::{self, BEFORE_FIRST_APPLY, Entry, Operation, Writer, describe},
    shown_as,
};
use crate::{json, registry::Kind, schema::Types, status::Failure, store::Object, verbs::Call};

const SUBRESOURCE: &str = "scale";
const SCALE_VERSION: &str = "autoscaling/v1";

/// Where a kind keeps its replica count.
pub(crate) fn replicas_path(kind: &Kind) -> Vec<String> {
    let custom = kind.custom.as_ref().and_then(|custom| custom.scale.as_ref());
    let path = custom.map_or(".spec.replicas", |paths| &paths.spec_replicas);
    path.split('.')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The entries of an object and those of its Scale.
struct Owners {
    /// With the path of the replica count in the version of each.
    parents: Vec<(Entry, Set)>,
    /// Who owns the replica count, as of the Scale.
    scale: Vec<(Operation, Writer)>,
}

impl Owners {
    fn read(call: &Call<'_>, current: &Object) -> Self {
        let served = Served::new(call);
        let parents: Vec<(Entry, Set)> = managers::parse(current.managed_fields())
            .into_iter()
            .filter_map(|entry| {
                let kind = served.version(&entry.writer.api_version)?;
                Some((entry, Set::of_fields(&replicas_path(kind))))
            })
            .collect();
        let scale = parents
            .iter()
            .filter(|(entry, replicas)| entry.touches(replicas))
            .map(|(entry, _)| {
                let writer = Writer {
                    api_version: SCALE_VERSION.to_owned(),
                    ..entry.writer.clone()
                };
                (entry.operation, writer)
            })
            .collect();
        Self { parents, scale }
    }

    /// The entries of the object after those of its Scale have taken part in a write.
    fn finish(mut self, call: &Call<'_>, current: &Object) -> Ownership {
        let mut entries = Vec::with_capacity(self.parents.len() + 1);
        for (mut entry, replicas) in self.parents {
            if entry.touches(&replicas) {
                let own = self.scale.iter().position(|(operation, writer)| {
                    *operation == Operation::Apply && entry.is_of(writer, *operation)
                });
                if let Some(own) = own {
                    self.scale.remove(own);
                } else {
                    let rest = entry.set().difference(&replicas);
                    if rest.is_empty() {
                        continue;
                    }
                    entry.put(rest);
                }
            }
            entries.push(entry);
        }
        let replicas = Set::of_fields(&replicas_path(&call.kind));
        entries.extend(self.scale.into_iter().map(|(operation, writer)| {
            let writer = Writer {
                api_version: call.kind.api_version(),
                ..writer
            };
            Entry::new(writer, operation, None, replicas.clone())
        }));
        Ownership::of(Some(current), entries)
    }
}

fn writer(call: &Call<'_>) -> Writer {
    Writer {
        manager: manager(call),
        api_version: SCALE_VERSION.to_owned(),
        subresource: SUBRESOURCE.to_owned(),
    }
}

/// The entries after an update of the Scale.
pub(crate) fn updated(call: &Call<'_>, current: &Object, changed: bool) -> Ownership {
    if !call.core.config.managed_fields {
        return Ownership::kept(current);
    }
    let mut owners = Owners::read(call, current);
    // Without an owner the Scale is not tracked.
    if changed && !owners.scale.is_empty() {
        owners.scale = vec![(Operation::Update, writer(call))];
    }
    owners.finish(call, current)
}

/// Whether an applied Scale fits the schema.
///
/// # Errors
/// 500 if not (API-298).
pub(crate) fn check_config(config: &Value) -> Result<(), Failure> {
    match Types::built_in().kind("autoscaling", "v1", "Scale") {
        Some(node) => check(node, config, || shown_as(config, "autoscaling", "v1", "Scale")),
        None => Ok(()),
    }
}

/// Applies a Scale, which may leave out the replica count, and returns the count that results with the entries.
///
/// # Errors
/// 409 if another manager owns the count with another value (API-295).
pub(crate) fn applied(
    call: &Call<'_>,
    current: &Object,
    live: i64,
    config: &Value,
    force: bool,
) -> Result<(i64, Ownership), Failure> {
    let applied = json::at(config, &["spec", "replicas"]).and_then(Value::as_i64);
    let mut owners = Owners::read(call, current);
    let writer = writer(call);
    if owners.scale.is_empty() && live != 0 {
        let before = Writer {
            manager: BEFORE_FIRST_APPLY.to_owned(),
            ..writer.clone()
        };
        owners.scale.push((Operation::Update, before));
    }
    let had = owners.scale.len();
    owners
        .scale
        .retain(|owner| *owner != (Operation::Apply, writer.clone()));
    let Some(replicas) = applied else {
        // Left out: it falls to zero if only this manager has owned it.
        let had_it = owners.scale.len() < had;
        let replicas = if had_it && owners.scale.is_empty() {
            0
        } else {
            live
        };
        // An empty spec is something too.
        if had_it && json::at(config, &["spec"]).is_some() {
            owners.scale.push((Operation::Apply, writer));
        }
        return Ok((replicas, owners.finish(call, current)));
    };
    if replicas != live {
        if !force && !owners.scale.is_empty() {
            let shown = Set::of_fields(&["spec", "replicas"]);
            let entries: Vec<Entry> = owners
                .scale
                .into_iter()
                .map(|(operation, writer)| Entry::new(writer, operation, None, shown.clone()))
                .collect();
            let conflicts = (0..entries.len()).map(|index| (index, shown.clone())).collect();
            return Err(conflict(&describe(&entries, conflicts)));
        }
        owners.scale.clear();
    }
    owners.scale.push((Operation::Apply, writer));
    Ok((replicas, owners.finish(call, current)))
}
