//! What is known about the members of objects: for built-in kinds from `types.txt`, for custom resources from their
//! OpenAPI schema. Server-side apply, strategic merge, protobuf and OpenAPI ask the same tables.

mod custom;
mod table;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::LazyLock};

use rustc_hash::FxHashMap;
use serde_json::Value;

/// Place of a definition in its [`Types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(u32);

/// A set of type definitions that refer to each other: all built-in types, or those of one custom resource version.
#[derive(Debug, Default)]
pub(crate) struct Types {
    defs: Vec<Def>,
    /// Structs by package alias and name; empty for a custom resource.
    names: FxHashMap<(&'static str, &'static str), Id>,
    /// Root objects by group, version and kind; empty for a custom resource.
    kinds: FxHashMap<(&'static str, &'static str, &'static str), Id>,
    root: Option<Id>,
}

/// A leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// A string.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Base64 in JSON.
    Bytes,
    /// Like `100m`.
    Quantity,
    /// A port or a percentage: number or string.
    IntOrString,
    /// RFC 3339 in whole seconds.
    Time,
    /// RFC 3339 with six decimals.
    MicroTime,
}

/// How the JSON below an untyped node travels in protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untyped {
    /// Any value, as JSON text.
    Json,
    /// The field set of a manager, as JSON text.
    Fields,
    /// An object in any form: `RawExtension`.
    Raw,
    /// A schema or a list of them.
    SchemaOrArray,
    /// A schema or a boolean.
    SchemaOrBool,
    /// A schema or a list of strings.
    SchemaOrStrings,
}

/// A definition.
#[derive(Debug)]
enum Def {
    /// `wide`: an integer of 64 bits.
    Scalar {
        scalar: Scalar,
        wide: bool,
    },
    Struct(Struct),
    Map {
        atomic: bool,
        values: Id,
    },
    List {
        list: OwnedListType,
        items: Id,
    },
    Untyped(Untyped),
    /// A struct whose place decides otherwise about its ownership.
    Owned {
        target: Id,
        atomic: bool,
    },
    /// A type of [`Types::built_in`] within those of a custom resource.
    BuiltIn(Id),
}

#[derive(Clone, Debug)]
enum OwnedListType {
    Atomic,
    Set,
    Map(Vec<KeyField>),
}

/// A struct type.
#[derive(Debug, Default)]
pub(crate) struct Struct {
    /// Name without the package; empty in custom resources.
    pub(crate) name: &'static str,
    /// Name in OpenAPI documents up to the last dot; empty in custom resources.
    pub(crate) prefix: &'static str,
    /// Group and version if objects of this type stand alone; they have the members `apiVersion` and `kind`.
    pub(crate) group_version: Option<(&'static str, &'static str)>,
    atomic: bool,
    /// Sorted by name; those of included types too.
    fields: Vec<Field>,
    /// Own members in the order of their protobuf numbers: indices of `fields`.
    numbered: Vec<u32>,
    /// Types whose members are members of this one, with their protobuf numbers.
    included: Vec<(u32, Id)>,
    /// Type of members that are not in `fields`, where unknown members are preserved.
    rest: Option<Id>,
}

impl Struct {
    fn position(&self, name: &str) -> Result<usize, usize> {
        self.fields
            .binary_search_by(|field| field.name.as_ref().cmp(name))
    }

    fn get(&self, name: &str) -> Option<&Field> {
        self.fields.get(self.position(name).ok()?)
    }
}

/// A member of a struct.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// As in JSON.
    pub(crate) name: Cow<'static, str>,
    id: Id,
    /// Protobuf number; 0 if it belongs to an included type, or has none.
    pub(crate) number: u32,
    /// What else the table says.
    pub(crate) facts: Facts,
}

/// What the table says about a member, apart from its type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Absent and zero differ.
    pub(crate) pointer: bool,
    /// Required by the OpenAPI schema.
    pub(crate) required: bool,
    /// Zero is written to JSON.
    pub(crate) kept: bool,
    /// Treatment in strategic merge patches, if it is not the usual one.
    pub(crate) patch: Option<Patch>,
    /// Allowed strings.
    pub(crate) allowed: Vec<Cow<'static, str>>,
    /// Default in the schema, where it is not implied by the type.
    pub(crate) default: Option<Value>,
}

/// Treatment of a member in strategic merge patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    /// `merge`, `replace`, `retainKeys`, joined by commas.
    pub(crate) strategies: &'static str,
    /// Member by which elements are told apart.
    pub(crate) merge_key: Option<&'static str>,
}

impl Patch {
    /// Whether `strategy` is one of the strategies.
    pub(crate) fn has(self, strategy: &str) -> bool {
        self.strategies.split(',').any(|one| one == strategy)
    }
}

/// A place in an object as far as its type is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    types: &'a Types,
    id: Id,
}

/// What a [`Node`] is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    /// A leaf.
    Scalar(Scalar),
    /// An object with known members: [`Node::field`].
    Struct {
        /// Whether it is owned as a whole.
        atomic: bool,
    },
    /// An object whose member names are free.
    Map {
        /// Whether it is owned as a whole.
        atomic: bool,
        /// Its values.
        values: Node<'a>,
    },
    /// A list.
    List {
        /// How elements are told apart.
        list: ListType<'a>,
        /// Its elements.
        items: Node<'a>,
    },
    /// Any JSON: members of objects have owners of their own, lists are owned as a whole.
    Untyped,
}

/// How the elements of a list are told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListType<'a> {
    /// Not at all.
    Atomic,
    /// By value.
    Set,
    /// By these members.
    Map(&'a [KeyField]),
}

/// A member by which elements are told apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyField {
    /// Its name.
    pub(crate) name: Cow<'static, str>,
    /// What counts where it is absent.
    pub(crate) default: Option<Value>,
}

impl Types {
    /// The built-in types.
    pub(crate) fn built_in() -> &'static Self {
        static BUILT_IN: LazyLock<Types> = LazyLock::new(table::built_in);
        &BUILT_IN
    }

    /// The root object of a built-in kind.
    pub(crate) fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Node<'_>> {
        self.kinds.get(&(group, version, kind)).map(|id| self.node(*id))
    }

    /// A built-in type by the alias of its package and its name, for example `meta.v1` and `ObjectMeta`.
    pub(crate) fn named(&self, package: &str, name: &str) -> Option<Node<'_>> {
        self.names.get(&(package, name)).map(|id| self.node(*id))
    }

    /// The object that a custom resource's schema describes. `None` for built-in types.
    pub(crate) fn root(&self) -> Option<Node<'_>> {
        self.root.map(|id| self.node(id))
    }

    /// Types of an `openAPIV3Schema` of a `CustomResourceDefinition`.
    pub(crate) fn of_schema(schema: &Value) -> Self {
        custom::types(schema)
    }

    fn node(&self, id: Id) -> Node<'_> {
        match self.def(id) {
            Some(Def::BuiltIn(id)) => Types::built_in().node(*id),
            _ => Node { types: self, id },
        }
    }

    fn def(&self, id: Id) -> Option<&Def> {
        self.defs.get(usize::try_from(id.0).ok()?)
    }

    fn add(&mut self, def: Def) -> Id {
        let id = Id(u32::try_from(self.defs.len()).unwrap_or(u32::MAX));
        self.defs.push(def);
        id
    }
}

impl<'a> Node<'a> {
    fn def(self) -> Option<&'a Def> {
        self.types.def(self.id)
    }

    /// What it is.
    pub(crate) fn shape(self) -> Shape<'a> {
        match self.def() {
            None | Some(Def::Untyped(_) | Def::BuiltIn(_)) => Shape::Untyped,
            Some(Def::Scalar { scalar, .. }) => Shape::Scalar(*scalar),
            Some(Def::Struct(definition)) => Shape::Struct {
                atomic: definition.atomic,
            },
            Some(Def::Owned { atomic, .. }) => Shape::Struct { atomic: *atomic },
            Some(Def::Map { atomic, values }) => Shape::Map {
                atomic: *atomic,
                values: self.types.node(*values),
            },
            Some(Def::List { list, items }) => Shape::List {
                list: match list {
                    OwnedListType::Atomic => ListType::Atomic,
                    OwnedListType::Set => ListType::Set,
                    OwnedListType::Map(keys) => ListType::Map(keys),
                },
                items: self.types.node(*items),
            },
        }
    }

    /// The struct that it is.
    pub(crate) fn definition(self) -> Option<&'a Struct> {
        match self.def()? {
            Def::Struct(definition) => Some(definition),
            Def::Owned { target, .. } => self.types.node(*target).definition(),
            _ => None,
        }
    }

    /// Whether it is an integer of 64 bits.
    pub(crate) fn is_wide(self) -> bool {
        matches!(self.def(), Some(Def::Scalar { wide: true, .. }))
    }

    /// How it travels in protobuf, if it is untyped.
    pub(crate) fn untyped(self) -> Option<Untyped> {
        match self.def()? {
            Def::Untyped(untyped) => Some(*untyped),
            _ => None,
        }
    }

    /// A member of a struct; `None` if the schema does not have it.
    pub(crate) fn field(self, name: &str) -> Option<Node<'a>> {
        let definition = self.definition()?;
        let id = definition.get(name).map(|field| field.id).or(definition.rest)?;
        Some(self.types.node(id))
    }

    /// What the table says about a member of a struct.
    pub(crate) fn facts(self, name: &str) -> Option<&'a Facts> {
        Some(&self.definition()?.get(name)?.facts)
    }

    /// The default of a member of a struct: what the schema says, or the zero value of a scalar that is always written.
    pub(crate) fn default_of(self, name: &str) -> Option<Value> {
        let facts = self.facts(name)?;
        if facts.default.is_some() || facts.pointer || !facts.kept {
            return facts.default.clone();
        }
        match self.field(name)?.shape() {
            Shape::Scalar(Scalar::String) => Some(Value::from("")),
            Shape::Scalar(Scalar::Integer) => Some(Value::from(0)),
            Shape::Scalar(Scalar::Boolean) => Some(Value::from(false)),
            _ => None,
        }
    }

    /// The members of a struct with what the table says about them, sorted by name.
    pub(crate) fn members(self) -> impl Iterator<Item = (&'a Field, Node<'a>)> {
        let fields = self
            .definition()
            .map_or(&[][..], |definition| definition.fields.as_slice());
        fields.iter().map(move |field| (field, self.types.node(field.id)))
    }

    /// The own members of a struct in the order of their protobuf numbers.
    pub(crate) fn numbered(self) -> impl Iterator<Item = (&'a Field, Node<'a>)> {
        self.definition().into_iter().flat_map(move |definition| {
            let index = |&index: &u32| definition.fields.get(usize::try_from(index).ok()?);
            definition
                .numbered
                .iter()
                .filter_map(index)
                .map(move |field| (field, self.types.node(field.id)))
        })
    }

    /// The types whose members are members of this struct, with their protobuf numbers.
    pub(crate) fn included(self) -> impl Iterator<Item = (u32, Node<'a>)> {
        let included = self
            .definition()
            .map_or(&[][..], |definition| definition.included.as_slice());
        included
            .iter()
            .map(move |(number, id)| (*number, self.types.node(*id)))
    }
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.types, other.types) && self.id == other.id
    }
}
