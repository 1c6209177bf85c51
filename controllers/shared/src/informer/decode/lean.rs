//! A deserializer that reduces `metadata.managedFields` to what the guard needs before the type is built, and skips the
//! rest instead of building and dropping it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};
use serde_json::Value;

use crate::guard;

/// The member that is reduced.
pub(super) const MANAGED_FIELDS: &str = "managedFields";

/// Where in an object a map stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Metadata,
}

/// The deserializer, around one for a self-describing format.
pub(super) struct Lean<D> {
    inner: D,
    level: Level,
}

impl<D> Lean<D> {
    /// Reads an API object.
    pub(super) fn object(inner: D) -> Self {
        Self {
            inner,
            level: Level::Object,
        }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lean<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let level = self.level;
        self.inner.deserialize_any(LeanVisitor { visitor, level })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let level = self.level;
        self.inner.deserialize_option(LeanVisitor { visitor, level })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct LeanVisitor<V> {
    visitor: V,
    level: Level,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for LeanVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Lean {
            inner,
            level: self.level,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(LeanMap {
            map,
            level: self.level,
            in_metadata: false,
            reduced: None,
        })
    }
}

struct LeanMap<A> {
    map: A,
    level: Level,
    /// The value that comes next is that of `metadata`.
    in_metadata: bool,
    /// The value that comes next, if it is not the map's.
    reduced: Option<Value>,
}

/// An entry of `managedFields` without the fields.
#[derive(Deserialize, Serialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    manager: Cow<'a, str>,
    #[serde(borrow, default)]
    subresource: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
}

/// What is left of `managedFields`, usually nothing.
fn reduced(entries: &[Entry<'_>]) -> Option<Value> {
    let is_native = |entry: &Entry<'_>| entry.manager == guard::NATIVE_MANAGER;
    if !entries.iter().any(is_native) {
        return None;
    }
    guard::native_status_entries(&serde_json::to_value(entries).ok()?)
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for LeanMap<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(Name(name)) = self.map.next_key_seed(NameSeed)? {
            if self.level == Level::Metadata && name == MANAGED_FIELDS {
                self.reduced = reduced(&self.map.next_value::<Vec<Entry<'_>>>()?);
                if self.reduced.is_none() {
                    continue;
                }
            }
            self.in_metadata = self.level == Level::Object && name == "metadata";
            return seed.deserialize(name.into_deserializer()).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        if let Some(reduced) = self.reduced.take() {
            seed.deserialize(reduced).map_err(A::Error::custom)
        } else if self.in_metadata {
            self.map.next_value_seed(MetadataSeed(seed))
        } else {
            self.map.next_value_seed(seed)
        }
    }
}

struct MetadataSeed<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for MetadataSeed<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Lean {
            inner: deserializer,
            level: Level::Metadata,
        })
    }
}

/// The name of a member, borrowed where the text allows it.
struct Name<'de>(Cow<'de, str>);

struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}
