//! The schema of one version, parsed once when the definition is served: everything that pruning, defaults, validation
//! and rules need, in types instead of JSON.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{format::Format, pattern::Pattern, rules::Rule};
use crate::json;

/// `type` of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl Type {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// Members of an object that are not in `properties`.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// The schema says nothing: they are pruned.
    #[default]
    Absent,
    /// They are kept; whether they are valid.
    Allowed(bool),
    /// They are kept and have this schema.
    Typed(Box<Schema>),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListKind {
    #[default]
    Atomic,
    Set,
    /// With the keys by which items are told apart.
    Map(Vec<String>),
}

/// A bound of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(super) value: f64,
    pub(super) exclusive: bool,
}

/// What a schema demands of values, apart from their type.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(super) minimum: Option<Bound>,
    pub(super) maximum: Option<Bound>,
    pub(super) multiple_of: Option<f64>,
    pub(super) min_length: Option<i64>,
    pub(super) max_length: Option<i64>,
    pub(super) pattern: Option<Pattern>,
    pub(super) min_items: Option<i64>,
    pub(super) max_items: Option<i64>,
    pub(super) min_properties: Option<i64>,
    pub(super) max_properties: Option<i64>,
    pub(super) required: Vec<String>,
    pub(super) allowed: Vec<Value>,
    pub(super) any_of: Vec<Schema>,
    pub(super) one_of: Vec<Schema>,
    pub(super) all_of: Vec<Schema>,
    pub(super) not: Option<Box<Schema>>,
}

/// One node of a schema.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "extensions of schemas are independent flags"
)]
pub(crate) struct Schema {
    pub(super) kind: Option<Type>,
    pub(super) int_or_string: bool,
    pub(super) nullable: bool,
    /// Unknown members are kept.
    pub(super) preserves: bool,
    /// A whole object of Kubernetes with `apiVersion`, `kind` and `metadata`.
    pub(super) embedded: bool,
    pub(super) default: Option<Value>,
    pub(super) properties: BTreeMap<String, Schema>,
    pub(super) additional: Additional,
    pub(super) items: Option<Box<Schema>>,
    pub(super) list: ListKind,
    /// Name of the format as the schema has it, and what it demands. Unknown formats are dropped.
    pub(super) format: Option<(String, Format)>,
    pub(super) checks: Checks,
    pub(super) rules: Vec<Rule>,
    /// Whether this node or one below has a default.
    pub(super) has_defaults: bool,
    /// Whether this node or one below, outside of `anyOf` and the like, has rules.
    pub(super) has_rules: bool,
    /// Whether this node or one below is a list of type set or map.
    pub(super) has_keyed_lists: bool,
    /// Whether this node or one below is an embedded resource.
    pub(super) has_embedded: bool,
}

impl Schema {
    /// Parses a schema that has passed the checks of its definition; what they would refuse is ignored.
    pub(crate) fn parse(schema: &Value) -> Self {
        Self::parse_with(schema, Rule::parse_all)
    }

    /// Parses a schema without its rules: all that the checks of rules need to know.
    pub(super) fn parse_types(schema: &Value) -> Self {
        Self::parse_with(schema, |_| Vec::new())
    }

    fn parse_with(schema: &Value, rules: fn(&Value) -> Vec<Rule>) -> Self {
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        let child = |name: &str| {
            schema
                .get(name)
                .filter(|inner| inner.is_object())
                .map(|inner| Self::parse_with(inner, rules))
        };
        let children = |name: &str| {
            json::list(schema, &[name])
                .iter()
                .map(|inner| Self::parse_with(inner, rules))
                .collect()
        };
        let int_or_string = flag("x-kubernetes-int-or-string");
        let kind = Type::of(json::text(schema, &["type"])).filter(|_| !int_or_string);
        let properties: BTreeMap<String, Self> = properties(schema)
            .map(|(name, property)| (name.clone(), Self::parse_with(property, rules)))
            .collect();
        let additional = match schema.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
            Some(inner @ Value::Object(_)) => Additional::Typed(Box::new(Self::parse_with(inner, rules))),
            _ => Additional::Absent,
        };
        let format = json::text(schema, &["format"]);
        let mut parsed = Self {
            kind,
            int_or_string,
            nullable: flag("nullable"),
            preserves: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            properties,
            additional,
            items: child("items").map(Box::new),
            list: list_kind(schema),
            format: Format::of(kind, format).map(|known| (format.to_owned(), known)),
            checks: Checks {
                not: child("not").map(Box::new),
                any_of: children("anyOf"),
                one_of: children("oneOf"),
                all_of: children("allOf"),
                ..Checks::parse(schema)
            },
            rules: rules(schema),
            ..Self::default()
        };
        parsed.summarise();
        parsed
    }

    fn summarise(&mut self) {
        let any = |test: fn(&Self) -> bool| self.children().any(test);
        let has_defaults = any(|child| child.has_defaults);
        let has_rules = any(|child| child.has_rules);
        let has_keyed_lists = any(|child| child.has_keyed_lists);
        let has_embedded = any(|child| child.has_embedded);
        self.has_defaults = has_defaults || self.default.is_some();
        self.has_rules = has_rules || !self.rules.is_empty();
        self.has_keyed_lists = has_keyed_lists || self.list != ListKind::Atomic;
        self.has_embedded = has_embedded || self.embedded;
    }

    /// Schemas of members and items, `anyOf` and the like left out.
    fn children(&self) -> impl Iterator<Item = &Self> {
        self.properties
            .values()
            .chain(self.additional())
            .chain(self.items.as_deref())
    }

    /// Schema of members that are not in `properties`, if there is one.
    pub(super) fn additional(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Typed(schema) => Some(schema),
            Additional::Absent | Additional::Allowed(_) => None,
        }
    }

    /// Schema of a member.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or_else(|| self.additional())
    }

    /// The types as messages name them; empty if any type will do.
    pub(super) fn type_names(&self) -> &'static str {
        if self.int_or_string {
            "integer,string"
        } else {
            self.kind.map_or("", Type::name)
        }
    }

    pub(super) fn accepts(&self, kind: Type) -> bool {
        if self.int_or_string {
            matches!(kind, Type::Integer | Type::String)
        } else {
            self.kind == Some(kind)
        }
    }

    pub(super) fn is_typed(&self) -> bool {
        self.int_or_string || self.kind.is_some()
    }
}

impl Checks {
    fn parse(schema: &Value) -> Self {
        let number = |name: &str| schema.get(name).and_then(Value::as_f64);
        let count = |name: &str| schema.get(name).and_then(Value::as_i64);
        let bound = |name: &str, exclusive: &str| {
            number(name).map(|value| Bound {
                value,
                exclusive: schema.get(exclusive).and_then(Value::as_bool).unwrap_or(false),
            })
        };
        let pattern = json::text(schema, &["pattern"]);
        Self {
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern: (!pattern.is_empty()).then(|| Pattern::new(pattern)),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            required: texts(schema, "required"),
            allowed: json::list(schema, &["enum"]).to_vec(),
            ..Self::default()
        }
    }
}

fn list_kind(schema: &Value) -> ListKind {
    match json::text(schema, &["x-kubernetes-list-type"]) {
        "set" => ListKind::Set,
        "map" => ListKind::Map(texts(schema, "x-kubernetes-list-map-keys")),
        _ => ListKind::Atomic,
    }
}

/// The strings of a list member.
pub(super) fn texts(value: &Value, member: &str) -> Vec<String> {
    json::list(value, &[member])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The members of `properties` of a schema in JSON.
pub(super) fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}
