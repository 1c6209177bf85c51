//! Types of expressions and the functions that take them.

use std::{fmt, sync::LazyLock};

use rustc_hash::FxHashMap;

use crate::crd::{
    evaluate::escape,
    schema::{Schema, Type},
};

/// Type of a part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Ty<'a> {
    /// Known only when it is evaluated; also of parts that are wrong, so that one mistake is reported once.
    Dyn,
    Null,
    /// A type by its name: `int`, `kubernetes.Quantity`.
    Named(&'static str),
    List(Box<Ty<'a>>),
    Map(Box<Ty<'a>>, Box<Ty<'a>>),
    Optional(Box<Ty<'a>>),
    /// An object with the members of a schema; resources have metadata, too.
    Object {
        schema: &'a Schema,
        is_resource: bool,
    },
    /// The metadata of a resource.
    Metadata,
    /// Any type, the same wherever it occurs in a signature.
    Parameter(char),
}

pub(super) const BOOL: Ty<'static> = Ty::Named("bool");
pub(super) const INT: Ty<'static> = Ty::Named("int");
pub(super) const STRING: Ty<'static> = Ty::Named("string");

impl<'a> Ty<'a> {
    /// The type of values of a schema; `None` if expressions do not see them.
    pub(super) fn of(schema: &'a Schema, is_resource: bool) -> Option<Self> {
        if schema.int_or_string {
            return Some(Self::Dyn);
        }
        Some(match schema.kind {
            Some(Type::Array) => {
                let items = schema.items.as_deref()?;
                Self::List(Box::new(Self::of(items, items.embedded)?))
            }
            Some(Type::Object) => match schema.additional() {
                Some(inner) => Self::Map(Box::new(STRING), Box::new(Self::of(inner, inner.embedded)?)),
                None => Self::Object { schema, is_resource },
            },
            Some(Type::String) => match schema.format.as_ref().map(|(name, _)| name.as_str()) {
                Some("byte") => Self::Named("bytes"),
                Some("duration") => Self::Named("duration"),
                Some("date" | "date-time") => Self::Named("timestamp"),
                _ => STRING,
            },
            Some(Type::Boolean) => BOOL,
            Some(Type::Number) => Self::Named("double"),
            Some(Type::Integer) => INT,
            None if is_resource => Self::Object { schema, is_resource },
            None => return None,
        })
    }

    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Named(own) if *own == name)
    }

    pub(super) fn list(items: Self) -> Self {
        Self::List(Box::new(items))
    }

    pub(super) fn optional(of: Self) -> Self {
        Self::Optional(Box::new(of))
    }
}

impl fmt::Display for Ty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Named(name) => f.write_str(name),
            Self::List(items) => write!(f, "list({items})"),
            Self::Map(keys, values) => write!(f, "map({keys}, {values})"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Object { .. } | Self::Metadata => f.write_str("object"),
            Self::Parameter(name) => write!(f, "{name}"),
        }
    }
}

/// The member of an object that an expression calls `name`, and its schema if it has one.
pub(super) fn member<'a>(
    schema: &'a Schema,
    is_resource: bool,
    name: &str,
) -> Option<(Ty<'a>, Option<&'a Schema>)> {
    if is_resource {
        match name {
            "apiVersion" | "kind" => return Some((STRING, None)),
            "metadata" => return Some((Ty::Metadata, None)),
            _ => {}
        }
    }
    let (_, property) = schema
        .properties
        .iter()
        .find(|(known, _)| escape(known).as_deref() == Some(name))?;
    Some((Ty::of(property, property.embedded)?, Some(property)))
}

/// Types that parameters stand for.
pub(super) type Bindings<'a> = FxHashMap<char, Ty<'a>>;

/// Whether a value of type `given` can be passed where `wanted` is expected.
pub(super) fn fits<'a>(wanted: &Ty<'a>, given: &Ty<'a>, bindings: &mut Bindings<'a>) -> bool {
    match (wanted, given) {
        (Ty::Parameter(name), given) => {
            let Some(bound) = bindings.get(name).cloned() else {
                bindings.insert(*name, given.clone());
                return true;
            };
            if matches!(bound, Ty::Dyn) {
                return true;
            }
            if matches!(
                (&bound, given),
                (Ty::Null, Ty::Object { .. } | Ty::Optional(_) | Ty::Metadata)
            ) {
                bindings.insert(*name, given.clone());
                return true;
            }
            fits(&bound, given, bindings)
        }
        // Objects, times and durations may be null.
        (Ty::Dyn, _)
        | (_, Ty::Dyn)
        | (Ty::Metadata, Ty::Metadata)
        | (Ty::Null | Ty::Object { .. } | Ty::Optional(_) | Ty::Metadata, Ty::Null) => true,
        (Ty::Named(name), Ty::Null) => matches!(*name, "timestamp" | "duration"),
        (Ty::Named(a), Ty::Named(b)) => a == b,
        (Ty::List(a), Ty::List(b)) | (Ty::Optional(a), Ty::Optional(b)) => fits(a, b, bindings),
        (Ty::Map(a, b), Ty::Map(c, d)) => fits(a, c, bindings) && fits(b, d, bindings),
        (Ty::Object { schema: a, .. }, Ty::Object { schema: b, .. }) => std::ptr::eq(*a, *b),
        _ => false,
    }
}

/// A type with its parameters replaced.
pub(super) fn resolve<'a>(ty: &Ty<'a>, bindings: &Bindings<'a>) -> Ty<'a> {
    match ty {
        Ty::Parameter(name) => bindings.get(name).cloned().unwrap_or(Ty::Dyn),
        Ty::List(items) => Ty::list(resolve(items, bindings)),
        Ty::Optional(of) => Ty::optional(resolve(of, bindings)),
        Ty::Map(keys, values) => Ty::Map(
            Box::new(resolve(keys, bindings)),
            Box::new(resolve(values, bindings)),
        ),
        other => other.clone(),
    }
}

/// One overload of a function.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) receiver: Option<Ty<'static>>,
    pub(super) arguments: Vec<Ty<'static>>,
    pub(super) result: Ty<'static>,
}

/// Overloads by name; names of functions with a namespace contain it.
static SIGNATURES: LazyLock<FxHashMap<&'static str, Vec<Signature>>> = LazyLock::new(|| {
    let mut table: FxHashMap<&'static str, Vec<Signature>> = FxHashMap::default();
    let numbers = ["int", "uint", "double"];
    let ordered = ["bool", "string", "bytes", "timestamp", "duration"];
    for name in ["_<_", "_<=_", "_>_", "_>=_"] {
        let same = ordered.into_iter().map(|kind| (kind, kind));
        let mixed = numbers
            .into_iter()
            .flat_map(|a| numbers.into_iter().map(move |b| (a, b)));
        table
            .entry(name)
            .or_default()
            .extend(same.chain(mixed).map(|(a, b)| Signature {
                receiver: None,
                arguments: vec![Ty::Named(a), Ty::Named(b)],
                result: BOOL,
            }));
    }
    for line in include_str!("signatures.txt").lines() {
        if let Some((name, signature)) = parse(line) {
            table.entry(name).or_default().push(signature);
        }
    }
    table
});

/// The overloads of a function.
pub(super) fn overloads(name: &str) -> &'static [Signature] {
    SIGNATURES.get(name).map_or(&[], Vec::as_slice)
}

/// Names in front of functions.
const NAMESPACES: &[&str] = &["optional", "strings", "sets", "lists", "format", "ip"];

/// Whether a name stands in front of functions: `sets.contains`.
pub(super) fn is_namespace(name: &str) -> bool {
    NAMESPACES.contains(&name)
}

/// Types that expressions can name: `type(self.a) == string`.
pub(super) fn is_type(name: &str) -> bool {
    matches!(
        name,
        "bool"
            | "bytes"
            | "double"
            | "int"
            | "uint"
            | "string"
            | "list"
            | "map"
            | "null_type"
            | "type"
            | "optional_type"
    )
}

fn parse(line: &'static str) -> Option<(&'static str, Signature)> {
    if line.starts_with('#') {
        return None;
    }
    let (head, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(')')?;
    let (receiver, name) = match head.rsplit_once('.') {
        Some((namespace, _)) if is_namespace(namespace) => (None, head),
        Some((receiver, name)) => (Some(type_of(receiver)), name),
        None => (None, head),
    };
    let signature = Signature {
        receiver,
        arguments: split(arguments).into_iter().map(type_of).collect(),
        result: type_of(result.trim()),
    };
    Some((name, signature))
}

/// Parts between commas, those inside of angle brackets left alone.
fn split(text: &'static str) -> Vec<&'static str> {
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (index, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.extend(text.get(start..index).map(str::trim));
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..).map(str::trim).filter(|part| !part.is_empty()));
    parts
}

fn type_of(text: &'static str) -> Ty<'static> {
    let inner = text
        .split_once('<')
        .and_then(|(outer, inner)| Some((outer, inner.strip_suffix('>')?)));
    match (text, inner) {
        (_, Some(("list", inner))) => Ty::list(type_of(inner)),
        (_, Some(("optional_type", inner))) => Ty::optional(type_of(inner)),
        (_, Some(("map", inner))) => match split(inner).as_slice() {
            [keys, values] => Ty::Map(Box::new(type_of(keys)), Box::new(type_of(values))),
            _ => Ty::Dyn,
        },
        ("dyn", _) => Ty::Dyn,
        ("A" | "B" | "C", _) => Ty::Parameter(text.chars().next().unwrap_or('A')),
        (name, _) => Ty::Named(name),
    }
}
