//! Places in a document as cases name them: `a.b[0].c`, `items[metadata.name=x].y`, `a["x.y/z"]`.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::python;

static PART: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\[(?:"(?P<quoted>[^"]*)"|(?P<index>-?\d+)|(?P<key>[^=\]]+)=(?P<value>[^\]]*))\]|(?P<word>[^.\[\]]+)"#)
        .unwrap()
});

/// One step down from an object or list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Member(String),
    /// Negative ones count from the end.
    Index(i64),
    /// The first element whose member has this text.
    Having(String, String),
}

pub(super) fn split(path: &str) -> Vec<Part> {
    let text = |found: regex::Match<'_>| found.as_str().to_owned();
    PART.captures_iter(path)
        .map(|found| {
            if let Some(name) = found.name("quoted").or_else(|| found.name("word")) {
                return Part::Member(text(name));
            }
            if let Some(index) = found.name("index") {
                return Part::Index(index.as_str().parse().unwrap());
            }
            Part::Having(
                text(found.name("key").unwrap()),
                text(found.name("value").unwrap()),
            )
        })
        .collect()
}

fn has(element: &Value, key: &str, value: &str) -> bool {
    let found = if key.contains('.') {
        lookup(element, key)
    } else {
        element.get(key)
    };
    element.is_object() && found.map_or("None".to_owned(), python::text) == value
}

fn position(list: &[Value], part: &Part) -> Option<usize> {
    match part {
        Part::Member(_) => None,
        Part::Index(index) => {
            let length = i64::try_from(list.len()).unwrap();
            let index = if *index < 0 { index + length } else { *index };
            usize::try_from(index).ok().filter(|&index| index < list.len())
        }
        Part::Having(key, value) => list.iter().position(|element| has(element, key, value)),
    }
}

/// The value at `path`, if there is one.
pub(super) fn lookup<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    split(path)
        .iter()
        .try_fold(document, |at, part| match (part, at) {
            (Part::Member(name), Value::Object(members)) => members.get(name),
            (Part::Member(_), _) => None,
            (part, Value::Array(list)) => list.get(position(list, part)?),
            _ => None,
        })
}

/// Removes what stands at `path`; `*` stands for every element of a list.
pub(super) fn remove(document: &mut Value, path: &str) {
    remove_parts(document, &split(path));
}

fn remove_parts(document: &mut Value, parts: &[Part]) {
    let Some((part, rest)) = parts.split_first() else {
        return;
    };
    match document {
        Value::Array(list) if *part == Part::Member("*".to_owned()) => {
            for element in list {
                remove_parts(element, rest);
            }
        }
        Value::Array(list) => {
            let Some(index) = position(list, part) else {
                return;
            };
            if rest.is_empty() && matches!(part, Part::Index(_)) {
                list.remove(index);
            } else {
                remove_parts(&mut list[index], rest);
            }
        }
        Value::Object(members) => {
            let Part::Member(name) = part else {
                return;
            };
            if rest.is_empty() {
                members.remove(name);
            } else if let Some(member) = members.get_mut(name) {
                remove_parts(member, rest);
            }
        }
        _ => {}
    }
}

#[test]
fn paths_name_members_elements_and_elements_by_content() {
    let document =
        serde_json::json!({"a": {"x.y/z": 1}, "items": [{"metadata": {"name": "p"}, "n": 80}, {"n": 81}]});
    assert_eq!(lookup(&document, r#"a["x.y/z"]"#), Some(&1.into()));
    assert_eq!(lookup(&document, "items[metadata.name=p].n"), Some(&80.into()));
    assert_eq!(lookup(&document, "items[-1].n"), Some(&81.into()));
    assert_eq!(lookup(&document, "items[n=81].n"), Some(&81.into()));
    assert_eq!(lookup(&document, "items[2].n"), None);
    let mut document = document;
    remove(&mut document, "items.*.n");
    remove(&mut document, "a");
    assert_eq!(
        document,
        serde_json::json!({"items": [{"metadata": {"name": "p"}}, {}]})
    );
}
