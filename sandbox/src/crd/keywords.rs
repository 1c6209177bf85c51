//! What single keywords of a schema allow, list and map types, and rules (API-531, API-544, API-545).

use serde_json::Value;

use super::{
    expression::{self, Budget},
    field_path, go_struct,
    schema::{Schema, properties, texts},
    structural::shown_texts,
};
use crate::{
    json,
    validate::{FieldError, FieldErrorKind},
};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const REASONS: &[&str] = &[
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// Checks all nodes. Rules are compiled if `with_rules`; an `unchanged` schema is not refused because of its cost.
pub(super) fn check(schema: &Value, path: &str, with_rules: bool, unchanged: bool) -> Vec<FieldError> {
    let mut walk = Walk {
        budget: Budget::new(unchanged),
    };
    let site = Site {
        default_forbidden: None,
        inside_meta: false,
        uncorrelatable: None,
        cardinality: Some(1),
        compiles: with_rules,
        is_root: true,
    };
    let found = walk.check(Some(schema), path, &site);
    let mut errors = found.schema;
    errors.extend(found.rules);
    errors.extend(walk.budget.verdict(path));
    errors
}

/// Errors of a node and all below; those of rules come last.
#[derive(Default)]
struct Found {
    schema: Vec<FieldError>,
    rules: Vec<FieldError>,
}

impl Found {
    fn merge(&mut self, other: Self) {
        self.schema.extend(other.schema);
        self.rules.extend(other.rules);
    }

    fn forbidden(&mut self, field: String, problem: &str) {
        self.schema.push(FieldError::forbidden(field, problem));
    }

    fn required(&mut self, field: String, problem: &str) {
        self.schema.push(FieldError::required(field, problem));
    }

    fn invalid(&mut self, field: String, value: &Value, problem: &str) {
        self.schema.push(FieldError::invalid(field, value, problem));
    }
}

/// What the surroundings of a node mean for it.
#[derive(Clone, Debug)]
struct Site {
    default_forbidden: Option<&'static str>,
    inside_meta: bool,
    /// The outermost place whose content cannot be compared with what it was.
    uncorrelatable: Option<String>,
    /// How often the node can occur in an object; `None`: there is no limit.
    cardinality: Option<u64>,
    compiles: bool,
    is_root: bool,
}

struct Walk {
    budget: Budget,
}

fn is_true(schema: &Value, member: &str) -> bool {
    schema.get(member).and_then(Value::as_bool) == Some(true)
}

fn is_used(schema: &Value, member: &str) -> bool {
    match schema.get(member) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
        Some(_) => true,
    }
}

impl Walk {
    fn check(&mut self, schema: Option<&Value>, path: &str, site: &Site) -> Found {
        let mut found = Found::default();
        let Some(schema) = schema.filter(|schema| schema.is_object()) else {
            return found;
        };
        check_forbidden(schema, path, site, &mut found);
        self.check_below(schema, path, site, &mut found);
        check_extensions(schema, path, &mut found);
        check_keyed_items(schema, path, &mut found);
        self.check_rules(schema, path, site, &mut found);
        found
    }

    fn check_below(&mut self, schema: &Value, path: &str, site: &Site, found: &mut Found) {
        let child = Site {
            cardinality: site
                .cardinality
                .zip(most_elements(schema))
                .map(|(outer, inner)| outer.saturating_mul(inner)),
            is_root: false,
            ..site.clone()
        };
        if let Some(additional) = schema
            .get("additionalProperties")
            .filter(|inner| !inner.is_null())
        {
            if properties(schema).next().is_some() && additional != &Value::Bool(true) {
                found.forbidden(
                    format!("{path}.additionalProperties"),
                    "additionalProperties and properties are mutual exclusive",
                );
            }
            let mut child = child.clone();
            if site.inside_meta {
                child.default_forbidden = Some("inside additionalProperties applying to object metadata");
            }
            found.merge(self.check(Some(additional), &format!("{path}.additionalProperties"), &child));
        }
        let embedded = is_true(schema, "x-kubernetes-embedded-resource");
        for (name, property) in properties(schema) {
            let mut child = child.clone();
            if site.is_root || embedded {
                let forbidden = match name.as_str() {
                    "metadata" => Some("in top-level metadata"),
                    "kind" => Some("in top-level kind"),
                    "apiVersion" => Some("in top-level apiVersion"),
                    _ => None,
                };
                child.inside_meta |= forbidden.is_some();
                if site.is_root && forbidden.is_some() {
                    child.default_forbidden = forbidden;
                }
            }
            found.merge(self.check(Some(property), &format!("{path}.properties[{name}]"), &child));
        }
        // Rules inside of combinations are refused elsewhere.
        let nested = Site {
            compiles: false,
            ..child.clone()
        };
        found.merge(self.check(schema.get("not"), &format!("{path}.not"), &nested));
        for member in ["allOf", "oneOf", "anyOf"] {
            for (index, inner) in json::list(schema, &[member]).iter().enumerate() {
                found.merge(self.check(Some(inner), &format!("{path}.{member}[{index}]"), &nested));
            }
        }
        let mut child = child;
        if json::text(schema, &["x-kubernetes-list-type"]) != "map" && child.uncorrelatable.is_none() {
            child.uncorrelatable = Some(path.to_owned());
        }
        match schema.get("items") {
            Some(Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    found.merge(self.check(Some(item), &format!("{path}.items[{index}]"), &child));
                }
            }
            items => found.merge(self.check(items, &format!("{path}.items"), &child)),
        }
    }

    fn check_rules(&mut self, schema: &Value, path: &str, site: &Site, found: &mut Found) {
        let rules = json::list(schema, &["x-kubernetes-validations"]);
        for (index, rule) in rules.iter().enumerate() {
            check_rule_texts(
                schema,
                rule,
                &format!("{path}.x-kubernetes-validations[{index}]"),
                found,
            );
        }
        if rules.is_empty() || !site.compiles || !found.schema.is_empty() {
            return;
        }
        let parsed = Schema::parse_types(schema);
        let is_resource = site.is_root || is_true(schema, "x-kubernetes-embedded-resource");
        let environment = expression::Environment::new(&parsed, is_resource);
        for (index, rule) in rules.iter().enumerate() {
            let at = format!("{path}.x-kubernetes-validations[{index}]");
            self.check_rule(rule, &environment, &at, site, found);
        }
    }

    fn check_rule(
        &mut self,
        rule: &Value,
        environment: &expression::Environment<'_>,
        at: &str,
        site: &Site,
        found: &mut Found,
    ) {
        let field = |member: &str| format!("{at}.{member}");
        let shown = || go_struct::text(&go_struct::rule(rule));
        let invalid = |member: &str, problem: String| {
            FieldError::new(
                FieldErrorKind::Invalid,
                field(member),
                format!("{}: {problem}", shown()),
            )
        };
        let optional = is_true(rule, "optionalOldSelf");
        let checked = match environment.check_rule(json::text(rule, &["rule"]), optional) {
            Ok(checked) => checked,
            Err(problem) => {
                found.rules.push(invalid("rule", problem));
                return;
            }
        };
        let cost = environment.total_cost(checked.cost, site.cardinality);
        found
            .rules
            .extend(self.budget.spend(&field("rule"), "estimated rule cost", cost));
        let message = json::text(rule, &["messageExpression"]);
        if !message.is_empty() {
            match environment.check_message(message, optional) {
                Ok(checked) => {
                    let name = "estimated messageExpression cost";
                    let field = field("messageExpression");
                    found.rules.extend(self.budget.spend(&field, name, checked.cost));
                }
                Err(problem) => found.rules.push(invalid("messageExpression", problem)),
            }
        }
        if checked.uses_old_self {
            if let Some(outer) = &site.uncorrelatable {
                let problem = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {outer}"
                );
                let rule = rule.get("rule").unwrap_or(&Value::Null);
                found
                    .rules
                    .push(FieldError::invalid(field("rule"), rule, problem));
            }
        } else if let Some(optional) = rule.get("optionalOldSelf").filter(|optional| !optional.is_null()) {
            let problem = "may not be set if oldSelf is not used in rule";
            found
                .rules
                .push(FieldError::invalid(field("optionalOldSelf"), optional, problem));
        }
    }
}

/// By how much a list or map multiplies what is in it; `None`: without limit.
fn most_elements(schema: &Value) -> Option<u64> {
    let limit = |member: &str| {
        schema
            .get(member)
            .and_then(Value::as_i64)
            .map(|limit| u64::try_from(limit).unwrap_or(0))
    };
    match json::text(schema, &["type"]) {
        "object"
            if schema
                .get("additionalProperties")
                .is_some_and(|inner| !inner.is_null()) =>
        {
            limit("maxProperties")
        }
        "array" => limit("maxItems"),
        _ => Some(1),
    }
}

fn check_forbidden(schema: &Value, path: &str, site: &Site, found: &mut Found) {
    let field = |member: &str| format!("{path}.{member}");
    let kind = json::text(schema, &["type"]);
    if !kind.is_empty() && !TYPES.contains(&kind) {
        found
            .schema
            .push(FieldError::not_supported(field("type"), &kind.into(), TYPES));
    }
    if let Some(reason) = site.default_forbidden
        && schema.get("default").is_some_and(|default| !default.is_null())
    {
        found.forbidden(field("default"), &format!("must not be set {reason}"));
    }
    for member in [
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ] {
        if is_used(schema, member) {
            found.forbidden(field(member), &format!("{member} is not supported"));
        }
    }
    if kind == "null" {
        found.forbidden(
            field("type"),
            "type cannot be set to null, use nullable as an alternative",
        );
    }
    if schema.get("items").is_some_and(Value::is_array) {
        found.forbidden(field("items"), "items must be a schema object and not an array");
    }
    if site.inside_meta && is_true(schema, "x-kubernetes-embedded-resource") {
        found.forbidden(
            field("x-kubernetes-embedded-resource"),
            "must not be used inside of resource meta",
        );
    }
    if is_true(schema, "uniqueItems") {
        found.forbidden(
            field("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
}

/// Extensions that name a type are only for that type.
fn check_extensions(schema: &Value, path: &str, found: &mut Found) {
    let field = |member: &str| format!("{path}.{member}");
    let kind = json::text(schema, &["type"]);
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        found.invalid(
            field("x-kubernetes-preserve-unknown-fields"),
            &false.into(),
            "must be true or undefined",
        );
    }
    let of_type = |found: &mut Found, extension: &str, wanted: &str| {
        if kind != wanted {
            let problem = format!("must be {wanted} if {extension} is specified");
            if kind.is_empty() {
                found.required(field("type"), &problem);
            } else {
                found.invalid(field("type"), &kind.into(), &problem);
            }
        }
    };
    if let Some(map_type) = schema.get("x-kubernetes-map-type").and_then(Value::as_str) {
        of_type(found, "x-kubernetes-map-type", "object");
        if !matches!(map_type, "atomic" | "granular") {
            let supported = &["atomic", "granular"];
            let error =
                FieldError::not_supported(field("x-kubernetes-map-type"), &map_type.into(), supported);
            found.schema.push(error);
        }
    }
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    if let Some(list_type) = list_type {
        of_type(found, "x-kubernetes-list-type", "array");
        if kind == "array" && list_type == "set" {
            check_set_items(schema, path, found);
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            let supported = &["atomic", "set", "map"];
            let error =
                FieldError::not_supported(field("x-kubernetes-list-type"), &list_type.into(), supported);
            found.schema.push(error);
        }
    }
    if !json::list(schema, &["x-kubernetes-list-map-keys"]).is_empty() && list_type != Some("map") {
        let problem = "must be map if x-kubernetes-list-map-keys is non-empty";
        let field = field("x-kubernetes-list-type");
        match list_type {
            None => found.required(field, problem),
            Some(list_type) => found.invalid(field, &list_type.into(), problem),
        }
    }
}

fn check_set_items(schema: &Value, path: &str, found: &mut Found) {
    let items = schema.get("items").unwrap_or(&Value::Null);
    let problem = "must be atomic as item of a list with x-kubernetes-list-type=set";
    // Upstream shows the list type in both cases.
    let shown = items.get("x-kubernetes-list-type").unwrap_or(&Value::Null);
    match json::text(items, &["type"]) {
        "array" if !shown.is_null() && shown != "atomic" => {
            found.invalid(format!("{path}.items.x-kubernetes-list-type"), shown, problem);
        }
        "object" if json::text(items, &["x-kubernetes-map-type"]) != "atomic" => {
            found.invalid(format!("{path}.items.x-kubernetes-map-type"), shown, problem);
        }
        _ => {}
    }
}

fn check_keyed_items(schema: &Value, path: &str, found: &mut Found) {
    let list_type = json::text(schema, &["x-kubernetes-list-type"]);
    let field = |member: &str| format!("{path}.{member}");
    let items = schema.get("items").filter(|items| items.is_object());
    let keys = texts(schema, "x-kubernetes-list-map-keys");
    if list_type == "map" {
        if keys.is_empty() {
            found.required(
                field("x-kubernetes-list-map-keys"),
                "must not be empty if x-kubernetes-list-type is map",
            );
        }
        match items.map(|items| (items, json::text(items, &["type"]))) {
            None => found.required(
                field("items"),
                "must have a schema if x-kubernetes-list-type is map",
            ),
            Some((items, "object")) => check_keys(items, &keys, path, found),
            Some((_, kind)) => found.invalid(
                field("items.type"),
                &kind.into(),
                "must be object if parent array's x-kubernetes-list-type is map",
            ),
        }
    }
    let Some(items) = items.filter(|_| matches!(list_type, "map" | "set")) else {
        return;
    };
    if is_true(items, "nullable") {
        let problem = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        found.forbidden(field("items.nullable"), &problem);
    }
    if list_type == "map" {
        let required = texts(items, "required");
        for key in &keys {
            let Some(property) = json::at(items, &["properties", key]) else {
                continue;
            };
            let at = format!("{path}.items.properties[{key}]");
            if !required.contains(key) && property.get("default").is_none_or(Value::is_null) {
                let problem = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                found.required(format!("{at}.default"), problem);
            }
            if is_true(property, "nullable") {
                let problem = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                found.forbidden(format!("{at}.nullable"), problem);
            }
        }
    }
}

fn check_keys(items: &Value, keys: &[String], path: &str, found: &mut Found) {
    let field = format!("{path}.x-kubernetes-list-map-keys");
    let shown = shown_texts(keys);
    let invalid = |problem: &str| {
        FieldError::new(
            FieldErrorKind::Invalid,
            field.clone(),
            format!("{shown}: {problem}"),
        )
    };
    for (index, key) in keys.iter().enumerate() {
        match json::at(items, &["properties", key]) {
            Some(property) if matches!(json::text(property, &["type"]), "array" | "object") => found.invalid(
                format!("{path}.items.properties[{key}].type"),
                &"object".into(),
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            ),
            Some(_) => {}
            None => found
                .schema
                .push(invalid("entries must all be names of item properties")),
        }
        if keys.iter().take(index).any(|other| other == key) {
            found.schema.push(invalid("must not contain duplicate entries"));
        }
    }
}

/// The texts of a rule, before it is compiled.
fn check_rule_texts(schema: &Value, rule: &Value, at: &str, found: &mut Found) {
    const LINES: [char; 2] = ['\n', '\r'];
    let field = |member: &str| format!("{at}.{member}");
    let text = |member: &str| json::text(rule, &[member]);
    let (source, message) = (text("rule").trim(), text("message"));
    if source.is_empty() {
        found.required(field("rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        found.invalid(
            field("message"),
            &message.into(),
            "must be non-empty if specified",
        );
    } else if message.trim().contains(LINES) {
        found.invalid(field("message"), &message.into(), "must not contain line breaks");
    } else if source.contains(LINES) && message.trim().is_empty() {
        found.required(
            field("message"),
            "message must be specified if rule contains line breaks",
        );
    }
    let expression = text("messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        found.required(
            field("messageExpression"),
            "messageExpression must be non-empty if specified",
        );
    }
    if let Some(reason) = rule.get("reason").and_then(Value::as_str)
        && !REASONS.contains(&reason)
    {
        found.schema.push(FieldError::not_supported(
            field("reason"),
            &reason.into(),
            REASONS,
        ));
    }
    let path = text("fieldPath");
    if !path.is_empty() {
        let shown = Value::from(path);
        if path.trim().is_empty() {
            found.invalid(field("fieldPath"), &shown, "must be non-empty if specified");
        }
        if path.contains(LINES) {
            found.invalid(field("fieldPath"), &shown, "must not contain line breaks");
        }
        if field_path::resolve(path, schema, field_path::Arrays::Allowed).is_err() {
            found.invalid(field("fieldPath"), &shown, "must be a valid path");
        }
    }
}
