//! Names of definitions: within a group each name belongs to one definition (API-530).

use rustc_hash::FxHashSet;
use serde_json::{Map, Value};

use super::schema::texts;
use crate::json;

/// The names that a definition gets, and why not all that it wants.
pub(super) struct Accepted {
    pub(super) names: Value,
    /// Reason and message of the condition; `None` if there is no conflict.
    pub(super) conflict: Option<(&'static str, String)>,
}

/// Compares the wanted names of `definition` with those that `others`, the other definitions of its group, have got.
pub(super) fn accept<'a>(definition: &Value, others: impl Iterator<Item = &'a Value>) -> Accepted {
    let mut resources = FxHashSet::default();
    let mut kinds = FxHashSet::default();
    for other in others {
        let Some(names) = json::at(other, &["status", "acceptedNames"]) else {
            continue;
        };
        let text = |member: &str| json::text(names, &[member]).to_owned();
        resources.extend([text("plural"), text("singular")]);
        resources.extend(texts(names, "shortNames"));
        kinds.extend([text("kind"), text("listKind")]);
    }
    let empty = Value::Object(Map::new());
    let wanted = json::at(definition, &["spec", "names"]).unwrap_or(&empty);
    let held = json::at(definition, &["status", "acceptedNames"]).unwrap_or(&empty);
    let mut names = held.as_object().cloned().unwrap_or_default();
    let mut conflict = None;
    let rows = [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("shortNames", "ShortNamesConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ];
    for (member, reason, taken) in rows {
        let problems = if member == "shortNames" {
            let held = texts(held, member);
            let fresh = texts(wanted, member)
                .into_iter()
                .filter(|name| !held.contains(name));
            fresh
                .filter(|name| taken.contains(name))
                .map(|name| in_use(&name))
                .collect()
        } else {
            let name = json::text(wanted, &[member]);
            let is_taken = name != json::text(held, &[member]) && taken.contains(name);
            Vec::from_iter(is_taken.then(|| in_use(name)))
        };
        match problems.as_slice() {
            [] => copy(wanted, &mut names, member),
            [one] => conflict = Some((reason, one.clone())),
            several => conflict = Some((reason, format!("[{}]", several.join(", ")))),
        }
    }
    copy(wanted, &mut names, "categories");
    // These two are shown even if they are not accepted.
    for member in ["plural", "kind"] {
        names.entry(member).or_insert_with(|| "".into());
    }
    Accepted {
        names: names.into(),
        conflict,
    }
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

fn copy(from: &Value, to: &mut Map<String, Value>, member: &str) {
    match from.get(member) {
        Some(value) => {
            to.insert(member.to_owned(), value.clone());
        }
        None => {
            to.remove(member);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted() -> Value {
        json!({"spec": {"names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList", "shortNames": ["x"]}}})
    }

    #[test]
    fn api_530_names_without_conflict() {
        let accepted = accept(&wanted(), std::iter::empty());
        assert_eq!(accepted.names, wanted()["spec"]["names"]);
        assert_eq!(accepted.conflict, None);
    }

    #[test]
    fn api_530_names_of_another_definition() {
        let other = json!({"status": {"acceptedNames": {"plural": "bs", "singular": "x", "kind": "A", "listKind": "BList"}}});
        let accepted = accept(&wanted(), std::iter::once(&other));
        assert_eq!(
            accepted.conflict,
            Some(("KindConflict", "\"A\" is already in use".to_owned()))
        );
        assert_eq!(
            accepted.names,
            json!({"plural": "as", "singular": "a", "kind": "", "listKind": "AList"})
        );
    }
}
