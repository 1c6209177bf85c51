//! Whether a schema is structural (API-531): every value has a place and a type outside of `anyOf` and the like, so that
//! pruning, defaults and ownership of fields know what a value is.

use serde_json::{Value, json};

use super::{pattern, schema::properties};
use crate::{
    json,
    validate::{FieldError, gofmt},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// The first construct that rules out a structural schema altogether; reported if nothing else is wrong.
pub(super) fn unsupported(schema: &Value) -> Option<String> {
    const FORBIDDEN: &[(&str, &str)] = &[
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ];
    let is_used = |member: &str| match schema.get(member) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
        Some(_) => true,
    };
    if let Some((_, name)) = FORBIDDEN.iter().find(|(member, _)| is_used(member)) {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    if flag(schema, "x-kubernetes-preserve-unknown-fields") == Some(false) {
        return Some(
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned(),
        );
    }
    let inner = ["items", "not", "additionalProperties"]
        .into_iter()
        .filter_map(|member| schema.get(member).filter(|inner| inner.is_object()));
    let listed = ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .flat_map(|member| json::list(schema, &[member]));
    inner
        .chain(listed)
        .chain(properties(schema).map(|(_, property)| property))
        .find_map(unsupported)
}

/// What keeps a schema from being structural, sorted by text.
pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, path, &mut errors);
    completeness(schema, Some(schema), path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn flag(schema: &Value, member: &str) -> Option<bool> {
    schema.get(member).and_then(Value::as_bool)
}

fn is_true(schema: &Value, member: &str) -> bool {
    flag(schema, member) == Some(true)
}

fn object<'a>(schema: &'a Value, member: &str) -> Option<&'a Value> {
    schema.get(member).filter(|inner| inner.is_object())
}

fn invariants(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let field = |member: &str| format!("{path}.{member}");
    let kind = json::text(schema, &["type"]);
    let embedded = is_true(schema, "x-kubernetes-embedded-resource");
    let preserves = is_true(schema, "x-kubernetes-preserve-unknown-fields");
    let int_or_string = is_true(schema, "x-kubernetes-int-or-string");
    match object(schema, "items") {
        Some(items) => invariants(items, Level::Item, &field("items"), errors),
        None if kind == "array" => errors.push(FieldError::required(field("items"), "must be specified")),
        None => {}
    }
    for (name, property) in properties(schema) {
        invariants(
            property,
            Level::Field,
            &format!("{path}.properties[{name}]"),
            errors,
        );
    }
    let additional = schema
        .get("additionalProperties")
        .filter(|inner| !inner.is_null());
    if let Some(inner) = additional {
        if level == Level::Root {
            errors.push(FieldError::forbidden(
                field("additionalProperties"),
                "must not be used at the root",
            ));
        }
        if inner.is_object() {
            invariants(inner, Level::Field, &field("additionalProperties"), errors);
        }
    }
    for (member, used) in [
        ("x-kubernetes-preserve-unknown-fields", preserves),
        ("x-kubernetes-embedded-resource", embedded),
    ] {
        if int_or_string && used {
            let problem = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(field(member), &true.into(), problem));
        }
    }
    let int_or_string_any_of = json!([{"type": "integer"}, {"type": "string"}]);
    let is_pattern = |schema: &Value| schema.get("anyOf") == Some(&int_or_string_any_of);
    let skips = Skips {
        any_of: is_pattern(schema),
        first_all_of: json::list(schema, &["allOf"]).first().is_some_and(is_pattern),
    };
    value_validation(schema, skips, path, errors);
    if embedded && kind != "object" {
        let problem = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(field("type"), problem)
        } else {
            FieldError::invalid(field("type"), &kind.into(), problem)
        });
    } else if kind.is_empty() && !int_or_string && !preserves {
        let problem = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(field("type"), problem));
    }
    if embedded && additional.is_some() {
        let problem = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(field("additionalProperties"), problem));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(
            field("type"),
            &kind.into(),
            "must be object at the root",
        ));
    }
    if level == Level::Root || embedded {
        check_meta(schema, level, path, errors);
    }
    if embedded && !preserves && properties(schema).next().is_none() {
        let problem = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(field("properties"), problem));
    }
}

/// The schema of a whole object says little of its type and metadata.
fn check_meta(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let property = |name: &str| json::at(schema, &["properties", name]);
    for (name, wanted) in [
        ("kind", "string"),
        ("apiVersion", "string"),
        ("metadata", "object"),
    ] {
        if let Some(found) = property(name).map(|property| json::text(property, &["type"]))
            && found != wanted
        {
            let field = format!("{path}.properties[{name}].type");
            errors.push(FieldError::invalid(
                field,
                &found.into(),
                format!("must be {wanted}"),
            ));
        }
    }
    let Some(metadata) = property("metadata").filter(|_| level == Level::Root) else {
        return;
    };
    let names_only = properties(metadata).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let nothing_else = metadata.as_object().into_iter().flatten().all(|(member, value)| {
        matches!(member.as_str(), "type" | "default" | "properties") || super::go_struct::is_zero(value)
    });
    if !(names_only && nothing_else) {
        let problem = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(
            format!("{path}.properties[metadata]"),
            problem,
        ));
    }
}

/// The ways to write int-or-string, in which types may be repeated.
#[derive(Clone, Copy, Default)]
struct Skips {
    any_of: bool,
    first_all_of: bool,
}

fn value_validation(schema: &Value, skips: Skips, path: &str, errors: &mut Vec<FieldError>) {
    let listed = |member: &str| json::list(schema, &[member]).iter().enumerate();
    if !skips.any_of {
        for (index, inner) in listed("anyOf") {
            nested(inner, Skips::default(), &format!("{path}.anyOf[{index}]"), errors);
        }
    }
    for (index, inner) in listed("allOf") {
        let skips = Skips {
            any_of: skips.first_all_of && index == 0,
            first_all_of: false,
        };
        nested(inner, skips, &format!("{path}.allOf[{index}]"), errors);
    }
    for (index, inner) in listed("oneOf") {
        nested(inner, Skips::default(), &format!("{path}.oneOf[{index}]"), errors);
    }
    if let Some(inner) = object(schema, "not") {
        nested(inner, Skips::default(), &format!("{path}.not"), errors);
    }
    let source = json::text(schema, &["pattern"]);
    if let Some(problem) = pattern::problem(source).filter(|_| !source.is_empty()) {
        let problem = format!("must be a valid regular expression, but isn't: {problem}");
        errors.push(FieldError::invalid(
            format!("{path}.pattern"),
            &source.into(),
            problem,
        ));
    }
}

/// A schema inside `anyOf` and the like: it may demand, but not define.
fn nested(schema: &Value, skips: Skips, path: &str, errors: &mut Vec<FieldError>) {
    const EMPTY: &str = "must be empty to be structural";
    const UNDEFINED: &str = "must be undefined to be structural";
    const FALSE: &str = "must be false to be structural";
    value_validation(schema, skips, path, errors);
    if let Some(items) = object(schema, "items") {
        nested(items, Skips::default(), &format!("{path}.items"), errors);
    }
    for (name, property) in properties(schema) {
        nested(
            property,
            Skips::default(),
            &format!("{path}.properties[{name}]"),
            errors,
        );
    }
    for (member, problem) in [
        ("type", EMPTY),
        ("additionalProperties", UNDEFINED),
        ("default", UNDEFINED),
        ("title", EMPTY),
        ("description", EMPTY),
        ("nullable", FALSE),
        ("x-kubernetes-preserve-unknown-fields", FALSE),
        ("x-kubernetes-embedded-resource", FALSE),
        ("x-kubernetes-int-or-string", FALSE),
        ("x-kubernetes-list-map-keys", EMPTY),
        ("x-kubernetes-list-type", UNDEFINED),
        ("x-kubernetes-map-type", UNDEFINED),
        ("x-kubernetes-validations", EMPTY),
    ] {
        let set = match schema.get(member) {
            Some(value) if problem == UNDEFINED => !value.is_null(),
            Some(value) => !super::go_struct::is_zero(value),
            None => false,
        };
        if set {
            errors.push(FieldError::forbidden(format!("{path}.{member}"), problem));
        }
    }
    if json::at(schema, &["properties", "metadata"]).is_some() {
        let problem = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(
            format!("{path}.properties[metadata]"),
            problem,
        ));
    }
}

/// Everything that `anyOf` and the like speak of has to be defined outside of them. `defined` is the schema outside, at
/// `place`; `at` is where it is spoken of.
fn completeness(
    schema: &Value,
    defined: Option<&Value>,
    place: &str,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    for member in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in json::list(schema, &[member]).iter().enumerate() {
            nested_completeness(inner, defined, place, &format!("{at}.{member}[{index}]"), errors);
        }
    }
    if let Some(inner) = object(schema, "not") {
        nested_completeness(inner, defined, place, &format!("{at}.not"), errors);
    }
}

fn nested_completeness(
    schema: &Value,
    defined: Option<&Value>,
    place: &str,
    at: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(outside) = defined else {
        errors.push(FieldError::required(
            place,
            format!("because it is defined in {at}"),
        ));
        return;
    };
    completeness(schema, defined, place, at, errors);
    if let Some(items) = object(schema, "items") {
        let inner = object(outside, "items");
        nested_completeness(
            items,
            inner,
            &format!("{place}.items"),
            &format!("{at}.items"),
            errors,
        );
    }
    for (name, property) in properties(schema) {
        let inner = json::at(outside, &["properties", name]);
        let step = format!(".properties[{name}]");
        nested_completeness(
            property,
            inner,
            &format!("{place}{step}"),
            &format!("{at}{step}"),
            errors,
        );
    }
}

/// How errors show a list of texts.
pub(super) fn shown_texts(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| gofmt::quote(text)).collect();
    format!("[{}]", quoted.join(","))
}
