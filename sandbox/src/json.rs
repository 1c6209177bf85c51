//! Small accessors for objects that are plain JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses JSON and names the members that occur twice; the last one wins (API-39, API-40).
pub(crate) fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Checked {
        path: &Place::Root,
        duplicates: &mut duplicates,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, duplicates))
}

/// Where a value is; printed only when something is found there.
enum Place<'a> {
    Root,
    Member(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Checked<'a> {
    path: &'a Place<'a>,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = Place::Item(self.path, list.len());
            match items.next_element_seed(Checked {
                path: &path,
                duplicates: &mut *self.duplicates,
            })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let path = Place::Member(self.path, &name);
            let value = members.next_value_seed(Checked {
                path: &path,
                duplicates: &mut *self.duplicates,
            })?;
            if map.contains_key(&name) {
                self.duplicates.push(format!("duplicate field \"{path}\""));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// The value at a path of map members.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, member| value.get(*member))
}

/// The text at a path; empty if absent or not a string.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of the list at a path; none if absent.
pub(crate) fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A map below `value`, made if absent. `None` if `value` or what is there is not a map.
pub(crate) fn map_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut current = value.as_object_mut()?;
    for member in path {
        let next = current
            .entry(*member)
            .or_insert_with(|| Value::Object(Map::new()));
        if next.is_null() {
            *next = Value::Object(Map::new());
        }
        current = next.as_object_mut()?;
    }
    Some(current)
}

/// Sets a member of the map at `path`, which is made if absent.
pub(crate) fn set(value: &mut Value, path: &[&str], member: &str, new: impl Into<Value>) {
    if let Some(map) = map_mut(value, path) {
        map.insert(member.to_owned(), new.into());
    }
}

/// Removes a member of the map at `path`.
pub(crate) fn remove(value: &mut Value, path: &[&str], member: &str) -> Option<Value> {
    let mut current = value;
    for step in path {
        current = current.get_mut(*step)?;
    }
    current.as_object_mut()?.remove(member)
}

/// Makes a member of `to` what it is in `from`, absent included.
pub(crate) fn copy_member(from: &Value, to: &mut Value, path: &[&str], member: &str) {
    match at(from, path).and_then(|map| map.get(member)) {
        Some(value) => set(to, path, member, value.clone()),
        None => {
            remove(to, path, member);
        }
    }
}

/// Whether a member is missing, null or an empty string.
pub(crate) fn is_blank(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}
