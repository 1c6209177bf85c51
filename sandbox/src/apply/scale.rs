//! Ownership of the replica count when it is written through the scale subresource (API-300).

use super::{
    Ownership, Served, conflict,
    fields::Set,
    manager,
    managers::{self, Entry, Operation, Writer, describe},
};
use crate::{registry::Kind, status::Failure, store::Object, verbs::Call};

const SUBRESOURCE: &str = "scale";

/// Where a kind keeps its replica count.
pub(crate) fn replicas_path(kind: &Kind) -> Vec<String> {
    let custom = kind.custom.as_ref().and_then(|custom| custom.scale.as_ref());
    let path = custom.map_or(".spec.replicas", |paths| &paths.spec_replicas);
    path.split('.')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The entries of an object, and the set of its replica count in the version of each.
struct Owners {
    entries: Vec<(Entry, Set)>,
    writer: Writer,
    /// The replica count in the version of the request.
    own: Set,
}

impl Owners {
    fn read(call: &Call<'_>, current: &Object) -> Self {
        let served = Served::new(call);
        let entries = managers::parse(current.managed_fields());
        let entries = entries
            .into_iter()
            .filter_map(|entry| {
                let kind = served.version(&entry.writer.api_version)?;
                Some((entry, Set::of_fields(&replicas_path(kind))))
            })
            .collect();
        Self {
            entries,
            writer: Writer {
                manager: manager(call),
                api_version: call.kind.api_version(),
                subresource: SUBRESOURCE.to_owned(),
            },
            own: Set::of_fields(&replicas_path(&call.kind)),
        }
    }

    /// Takes the replica count from everybody, with or without the writer's own entry.
    fn take(&mut self, operation: Option<Operation>) {
        let writer = &self.writer;
        for (entry, replicas) in &mut self.entries {
            let is_own = operation.is_some_and(|operation| entry.is_of(writer, operation));
            if !is_own && entry.touches(replicas) {
                let rest = entry.set().difference(replicas);
                entry.put(rest);
            }
        }
        self.entries.retain(|(entry, _)| !entry.set().is_empty());
    }

    fn finish(self, current: &Object) -> Ownership {
        let entries = self.entries.into_iter().map(|(entry, _)| entry).collect();
        Ownership::of(Some(current), entries)
    }
}

/// The entries after an update of the replica count. As upstream does it, the new entry has no time.
pub(crate) fn updated(call: &Call<'_>, current: &Object, changed: bool) -> Ownership {
    if !changed || !call.core.config.managed_fields || current.managed_fields().is_empty() {
        return Ownership::kept(current);
    }
    let mut owners = Owners::read(call, current);
    owners.take(None);
    let entry = Entry::new(owners.writer.clone(), Operation::Update, None, owners.own.clone());
    owners.entries.push((entry, owners.own.clone()));
    owners.finish(current)
}

/// Applies a replica count, or leaves it out, and returns the count that results with the entries.
///
/// # Errors
/// 409 if another manager owns the count with another value (API-295).
pub(crate) fn applied(
    call: &Call<'_>,
    current: &Object,
    live: i64,
    applied: Option<i64>,
    force: bool,
) -> Result<(i64, Ownership), Failure> {
    let mut owners = Owners::read(call, current);
    let own = owners
        .entries
        .iter()
        .position(|(entry, _)| entry.is_of(&owners.writer, Operation::Apply));
    let others: Vec<usize> = owners
        .entries
        .iter()
        .enumerate()
        .filter(|(index, (entry, replicas))| Some(*index) != own && entry.touches(replicas))
        .map(|(index, _)| index)
        .collect();
    let Some(replicas) = applied else {
        // Left out: it falls to zero if only this manager has owned it.
        if let Some(index) = own {
            owners.entries.remove(index);
        }
        let replicas = if own.is_some() && others.is_empty() {
            0
        } else {
            live
        };
        return Ok((replicas, owners.finish(current)));
    };
    if replicas != live {
        if !force && !others.is_empty() {
            let shown = Set::of_fields(&["spec", "replicas"]);
            let conflicts = others.into_iter().map(|index| (index, shown.clone())).collect();
            let entries: Vec<Entry> = owners.entries.into_iter().map(|(entry, _)| entry).collect();
            return Err(conflict(&describe(&entries, conflicts)));
        }
        owners.take(Some(Operation::Apply));
    }
    if own.is_none() {
        let entry = Entry::new(owners.writer.clone(), Operation::Apply, None, owners.own.clone());
        owners.entries.push((entry, owners.own.clone()));
    }
    Ok((replicas, owners.finish(current)))
}
