//! Custom resource definitions and the schemas of custom resources (API-530 to API-552).
//!
//! What a schema can say is checked for types, required members, enumerations, ranges, lengths and counts. Patterns,
//! formats, list types and validation rules (CEL) are not checked yet; a definition with validation rules is refused
//! rather than served without them (API-545).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    json::{self, is_blank},
    names::Gvr,
    registry::{Custom, CustomVersion, Kind, ScalePaths},
    schema::Types,
    server::Core,
    store::{Draft, Key, TableName},
    table::PrinterColumn,
    validate::{FieldError, FieldErrorKind},
    verbs::field_error,
};

const TABLE: &str = "customresourcedefinitions.apiextensions.k8s.io";
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

fn is_definition(kind: &Kind) -> bool {
    kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
}

/// Serves all stored definitions; at start.
pub(crate) fn serve_all(core: &Core) {
    for object in core.store.list(&TABLE.into(), None, None).objects {
        serve(core, &object.parse());
    }
}

/// Called after every write: keeps what is served in step with the definitions, and ends the deletion of a definition
/// when its last object is gone (API-530, API-532).
pub(crate) fn after_write(core: &Core, kind: &Kind, key: &Key) {
    if is_definition(kind) {
        let Some(stored) = core.store.get(&TABLE.into(), key) else {
            let (plural, group) = key.name.split_once('.').unwrap_or((&key.name, ""));
            core.registry.define(group, plural, Vec::new());
            return;
        };
        if is_blank(json::at(&stored.parse(), &["metadata", "deletionTimestamp"])) {
            establish(core, key);
        } else {
            clean_up(core, key);
        }
    } else if kind.custom.is_some() {
        finish_clean_up(core, &Key::new("", &kind.resource.to_string()));
    }
}

/// Sets the conditions and names of a definition and starts to serve it.
fn establish(core: &Core, key: &Key) {
    let now = core.timestamp();
    loop {
        let Some(stored) = core.store.get(&TABLE.into(), key) else {
            return;
        };
        let mut definition = stored.parse();
        let names = json::at(&definition, &["spec", "names"])
            .cloned()
            .unwrap_or_else(|| json!({}));
        json::set(&mut definition, &["status"], "acceptedNames", names);
        set_condition(
            &mut definition,
            "NamesAccepted",
            "True",
            "NoConflicts",
            "no conflicts found",
            &now,
        );
        let message = "the initial names have been accepted";
        set_condition(
            &mut definition,
            "Established",
            "True",
            "InitialNamesAccepted",
            message,
            &now,
        );
        let mut versions: BTreeSet<String> = json::list(&definition, &["status", "storedVersions"])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        versions.extend(
            json::list(&definition, &["spec", "versions"])
                .iter()
                .filter(|version| {
                    json::at(version, &["storage"])
                        .and_then(Value::as_bool)
                        .unwrap_or(false)
                })
                .map(|version| json::text(version, &["name"]).to_owned()),
        );
        json::set(
            &mut definition,
            &["status"],
            "storedVersions",
            Vec::from_iter(versions),
        );
        let draft = Draft::new(&definition);
        let unchanged = definition == stored.parse();
        if unchanged
            || core
                .store
                .replace(&TABLE.into(), key, stored.revision, &draft)
                .is_ok()
        {
            serve(core, &definition);
            return;
        }
    }
}

fn set_condition(object: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    let mut conditions = json::list(object, &["status", "conditions"]).to_vec();
    let position = conditions
        .iter()
        .position(|condition| json::text(condition, &["type"]) == kind);
    let since = position
        .and_then(|index| conditions.get(index))
        .filter(|condition| json::text(condition, &["status"]) == status)
        .map_or(now, |condition| json::text(condition, &["lastTransitionTime"]));
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    match position.and_then(|index| conditions.get_mut(index)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    json::set(object, &["status"], "conditions", conditions);
}

/// Condition of a definition whose deletion begins.
pub(crate) fn mark_deleting(kind: &Kind, object: &mut Value, now: &str) {
    if is_definition(kind) {
        let message = "CustomResource deletion is in progress";
        set_condition(
            object,
            "Terminating",
            "True",
            "InstanceDeletionInProgress",
            message,
            now,
        );
    }
}

/// Puts the cleanup finalizer on a definition that is to be deleted.
pub(crate) fn add_finalizer(kind: &Kind, object: &mut Value) {
    if is_definition(kind) {
        let mut finalizers = json::list(object, &["metadata", "finalizers"]).to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            finalizers.push(CLEANUP.into());
            json::set(object, &["metadata"], "finalizers", finalizers);
        }
    }
}

/// Deletes the objects of a definition that is being deleted; those with finalizers are marked.
fn clean_up(core: &Core, key: &Key) {
    let table: TableName = key.name.as_ref().into();
    for object in core.store.list(&table, None, None).objects {
        let mut value = object.parse();
        let waits = !json::list(&value, &["metadata", "finalizers"]).is_empty();
        // A writer that is faster only delays this: its own write ends here again.
        if !waits {
            let _ = core
                .store
                .remove(&table, &object.key, object.revision, &Draft::new(&value));
        } else if is_blank(json::at(&value, &["metadata", "deletionTimestamp"])) {
            json::set(&mut value, &["metadata"], "deletionTimestamp", core.timestamp());
            json::set(&mut value, &["metadata"], "deletionGracePeriodSeconds", 0);
            let _ = core
                .store
                .replace(&table, &object.key, object.revision, &Draft::new(&value));
        }
    }
    finish_clean_up(core, key);
}

/// Removes the finalizer of a definition that is being deleted once it has no objects.
fn finish_clean_up(core: &Core, key: &Key) {
    let table: TableName = key.name.as_ref().into();
    while let Some(stored) = core.store.get(&TABLE.into(), key) {
        let mut definition = stored.parse();
        if is_blank(json::at(&definition, &["metadata", "deletionTimestamp"]))
            || !core.store.is_table_empty(&table)
        {
            return;
        }
        let rest: Vec<Value> = json::list(&definition, &["metadata", "finalizers"])
            .iter()
            .filter(|finalizer| *finalizer != CLEANUP)
            .cloned()
            .collect();
        let is_last = rest.is_empty();
        if is_last {
            json::remove(&mut definition, &["metadata"], "finalizers");
        } else {
            json::set(&mut definition, &["metadata"], "finalizers", rest);
        }
        let draft = Draft::new(&definition);
        let done = if is_last {
            core.store
                .remove(&TABLE.into(), key, stored.revision, &draft)
                .is_ok()
        } else if definition == stored.parse() {
            true
        } else {
            core.store
                .replace(&TABLE.into(), key, stored.revision, &draft)
                .is_ok()
        };
        if done {
            if is_last {
                let (plural, group) = key.name.split_once('.').unwrap_or((&key.name, ""));
                core.registry.define(group, plural, Vec::new());
            }
            return;
        }
    }
}

/// Makes the served versions of a definition known to the registry.
fn serve(core: &Core, definition: &Value) {
    let group = json::text(definition, &["spec", "group"]);
    let plural = json::text(definition, &["spec", "names", "plural"]);
    let versions = json::list(definition, &["spec", "versions"])
        .iter()
        .filter(|version| {
            json::at(version, &["served"])
                .and_then(Value::as_bool)
                .unwrap_or(false)
        })
        .map(|version| Kind::from(custom_version(definition, version, group, plural)))
        .collect();
    core.registry.define(group, plural, versions);
}

fn custom_version(definition: &Value, version: &Value, group: &str, plural: &str) -> CustomVersion {
    let names = json::at(definition, &["spec", "names"]).unwrap_or(&Value::Null);
    let kind = json::text(names, &["kind"]).to_owned();
    let or = |text: &str, fallback: String| {
        if text.is_empty() {
            fallback
        } else {
            text.to_owned()
        }
    };
    let texts = |member: &str| -> Vec<String> {
        json::list(names, &[member])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let scale = json::at(version, &["subresources", "scale"]).map(|scale| {
        let selector = json::text(scale, &["labelSelectorPath"]);
        ScalePaths {
            spec_replicas: json::text(scale, &["specReplicasPath"]).to_owned(),
            status_replicas: json::text(scale, &["statusReplicasPath"]).to_owned(),
            label_selector: (!selector.is_empty()).then(|| selector.to_owned()),
        }
    });
    let schema = json::at(version, &["schema", "openAPIV3Schema"]);
    let schema = schema.cloned().unwrap_or(Value::Null);
    CustomVersion {
        resource: Gvr::new(
            group.to_owned(),
            json::text(version, &["name"]).to_owned(),
            plural.to_owned(),
        ),
        list_kind: or(json::text(names, &["listKind"]), format!("{kind}List")),
        singular: or(json::text(names, &["singular"]), kind.to_ascii_lowercase()),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        namespaced: json::text(definition, &["spec", "scope"]) != "Cluster",
        status: json::at(version, &["subresources", "status"]).is_some(),
        custom: Custom {
            types: Types::of_schema(&schema),
            schema,
            columns: PrinterColumn::of(json::list(version, &["additionalPrinterColumns"])),
            selectable: json::list(version, &["selectableFields"])
                .iter()
                .map(|field| {
                    json::text(field, &["jsonPath"])
                        .trim_start_matches('.')
                        .to_owned()
                })
                .collect(),
            scale,
        },
        kind,
    }
}

/// What is wrong with a definition (API-531, API-545, API-550).
pub(crate) fn validate_definition(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !is_definition(kind) {
        return errors;
    }
    let name = json::text(object, &["metadata", "name"]);
    let plural = json::text(object, &["spec", "names", "plural"]);
    let group = json::text(object, &["spec", "group"]);
    if name != format!("{plural}.{group}") {
        let detail = format!("{name:?}: must be spec.names.plural+\".\"+spec.group");
        errors.push(field_error(FieldErrorKind::Invalid, "metadata.name", detail));
    }
    if json::text(object, &["spec", "conversion", "strategy"]) == "Webhook" {
        let detail = "the sandbox does not support webhook conversion";
        errors.push(field_error(
            FieldErrorKind::Forbidden,
            "spec.conversion.strategy",
            detail,
        ));
    }
    let versions = json::list(object, &["spec", "versions"]);
    let stored = |version: &&Value| {
        json::at(version, &["storage"])
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    if versions.iter().filter(stored).count() != 1 {
        let listed = Value::from(versions.to_vec());
        let detail = format!("{listed}: must have exactly one version marked as storage version");
        errors.push(field_error(FieldErrorKind::Invalid, "spec.versions", detail));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}].schema.openAPIV3Schema");
        match json::at(version, &["schema", "openAPIV3Schema"]) {
            // Upstream reports a schema that all versions share at its old place.
            Some(schema) if !schema.is_null() && versions.len() == 1 => {
                check_schema(schema, "spec.validation.openAPIV3Schema", &mut errors);
            }
            Some(schema) if !schema.is_null() => check_schema(schema, &path, &mut errors),
            _ => errors.push(field_error(FieldErrorKind::Required, path, "")),
        }
    }
    errors
}

fn check_schema(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !json::list(schema, &["x-kubernetes-validations"]).is_empty() {
        let detail = "the sandbox does not support validation rules yet";
        errors.push(field_error(
            FieldErrorKind::Forbidden,
            format!("{path}.x-kubernetes-validations"),
            detail,
        ));
    }
    if json::text(schema, &["type"]).is_empty()
        && !flag(schema, "x-kubernetes-preserve-unknown-fields")
        && !flag(schema, "x-kubernetes-int-or-string")
    {
        let detail = "must not be empty for specified object fields";
        errors.push(field_error(
            FieldErrorKind::Required,
            format!("{path}.type"),
            detail,
        ));
    }
    for (name, property) in properties(schema) {
        check_schema(property, &format!("{path}.properties[{name}]"), errors);
    }
    for member in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(member).filter(|inner| inner.is_object()) {
            check_schema(inner, &format!("{path}.{member}"), errors);
        }
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// Drops members that the schema does not have, and names them (API-541).
pub(crate) fn prune(custom: &Custom, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(members) = object.as_object_mut() {
        let metadata = members.remove("metadata");
        prune_members(&custom.schema, members, "", &mut unknown);
        members.extend(metadata.map(|metadata| ("metadata".to_owned(), metadata)));
    }
    unknown
}

fn prune_value(schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if flag(schema, "x-kubernetes-embedded-resource") {
                let kept: Map<String, Value> = ["apiVersion", "kind", "metadata"]
                    .into_iter()
                    .filter_map(|name| members.remove_entry(name))
                    .collect();
                prune_members(schema, members, path, unknown);
                members.extend(kept);
            } else {
                prune_members(schema, members, path, unknown);
            }
        }
        Value::Array(items) => {
            let inner = schema.get("items").unwrap_or(&Value::Null);
            for (index, item) in items.iter_mut().enumerate() {
                prune_value(inner, item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn prune_members(schema: &Value, members: &mut Map<String, Value>, path: &str, unknown: &mut Vec<String>) {
    let declared = schema.get("properties").and_then(Value::as_object);
    let additional = schema.get("additionalProperties");
    let keeps =
        flag(schema, "x-kubernetes-preserve-unknown-fields") || additional == Some(&Value::Bool(true));
    let additional = additional.filter(|additional| additional.is_object());
    members.retain(|name, value| {
        let inner_path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match declared.and_then(|declared| declared.get(name)).or(additional) {
            Some(inner) => prune_value(inner, value, &inner_path, unknown),
            None if keeps => {}
            None => {
                unknown.push(format!("unknown field \"{inner_path}\""));
                return false;
            }
        }
        true
    });
}

/// Fills defaults of the schema (API-542).
pub(crate) fn default(custom: &Custom, object: &mut Value) {
    default_value(&custom.schema, object);
}

fn default_value(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, property) in properties(schema) {
                let nullable = flag(property, "nullable");
                if members.get(name).is_some_and(Value::is_null) && !nullable {
                    members.remove(name);
                }
                if !members.contains_key(name)
                    && let Some(default) = property.get("default")
                {
                    members.insert(name.clone(), default.clone());
                }
                if let Some(member) = members.get_mut(name) {
                    default_value(property, member);
                }
            }
            if let Some(additional) = schema
                .get("additionalProperties")
                .filter(|inner| inner.is_object())
            {
                members
                    .values_mut()
                    .for_each(|member| default_value(additional, member));
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                for item in items {
                    default_value(inner, item);
                }
            }
        }
        _ => {}
    }
}

/// Violations of the schema (API-543). Values that an update leaves as they are are tolerated.
pub(crate) fn validate(custom: &Custom, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, property) in properties(&custom.schema) {
        if matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
            continue;
        }
        if let Some(value) = object.get(name) {
            let before = old.and_then(|old| old.get(name));
            validate_value(property, value, before, name, &mut errors);
        }
    }
    required(&custom.schema, object, "", &mut errors);
    errors
}

fn required(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for name in json::list(schema, &["required"]).iter().filter_map(Value::as_str) {
        if value.get(name).is_none()
            && !(path.is_empty() && matches!(name, "metadata" | "kind" | "apiVersion"))
        {
            let field = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            errors.push(field_error(FieldErrorKind::Required, field, ""));
        }
    }
}

fn validate_value(
    schema: &Value,
    value: &Value,
    before: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if before == Some(value) || (value.is_null() && flag(schema, "nullable")) {
        return;
    }
    if let Some(problem) = wrong_type(schema, value, path) {
        errors.push(field_error(FieldErrorKind::TypeInvalid, path, problem));
        return;
    }
    let allowed = json::list(schema, &["enum"]);
    if !allowed.is_empty() && !allowed.contains(value) {
        let listed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let detail = format!("{value}: supported values: {}", listed.join(", "));
        errors.push(field_error(FieldErrorKind::NotSupported, path, detail));
    }
    let bound = |name: &str| {
        schema
            .get(name)
            .and_then(Value::as_u64)
            .and_then(|bound| usize::try_from(bound).ok())
    };
    match value {
        Value::Number(number) => range(schema, number, path, errors),
        Value::String(text) => {
            let length = text.chars().count();
            if let Some(most) = bound("maxLength").filter(|most| length > *most) {
                let detail = format!("may not be more than {most} bytes");
                errors.push(field_error(FieldErrorKind::TooLong, path, detail));
            }
            if let Some(least) = bound("minLength").filter(|least| length < *least) {
                let detail = format!("{value}: {path} in body should be at least {least} chars long");
                errors.push(field_error(FieldErrorKind::Invalid, path, detail));
            }
        }
        Value::Array(items) => {
            counts(
                items.len(),
                bound("minItems"),
                bound("maxItems"),
                path,
                value,
                errors,
            );
            if let Some(inner) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    let old = before.and_then(|before| before.get(index));
                    validate_value(inner, item, old, &format!("{path}[{index}]"), errors);
                }
            }
        }
        Value::Object(members) => {
            counts(
                members.len(),
                bound("minProperties"),
                bound("maxProperties"),
                path,
                value,
                errors,
            );
            required(schema, value, path, errors);
            let additional = schema
                .get("additionalProperties")
                .filter(|inner| inner.is_object());
            for (name, member) in members {
                let property = schema
                    .get("properties")
                    .and_then(|properties| properties.get(name));
                if let Some(inner) = property.or(additional) {
                    let old = before.and_then(|before| before.get(name));
                    validate_value(inner, member, old, &format!("{path}.{name}"), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn counts(
    length: usize,
    least: Option<usize>,
    most: Option<usize>,
    path: &str,
    value: &Value,
    errors: &mut Vec<FieldError>,
) {
    if let Some(most) = most.filter(|most| length > *most) {
        let detail = format!("{length}: must have at most {most} items");
        errors.push(field_error(FieldErrorKind::TooMany, path, detail));
    }
    if let Some(least) = least.filter(|least| length < *least) {
        let detail = format!("{value}: {path} in body should have at least {least} items");
        errors.push(field_error(FieldErrorKind::Invalid, path, detail));
    }
}

fn range(schema: &Value, number: &serde_json::Number, path: &str, errors: &mut Vec<FieldError>) {
    let Some(value) = number.as_f64() else { return };
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(most) = limit("maximum") {
        let exclusive = flag(schema, "exclusiveMaximum");
        if value > most || (exclusive && value >= most) {
            let relation = if exclusive {
                "less than"
            } else {
                "less than or equal to"
            };
            let bound = schema.get("maximum").unwrap_or(&Value::Null);
            let detail = format!("{number}: {path} in body should be {relation} {bound}");
            errors.push(field_error(FieldErrorKind::Invalid, path, detail));
        }
    }
    if let Some(least) = limit("minimum") {
        let exclusive = flag(schema, "exclusiveMinimum");
        if value < least || (exclusive && value <= least) {
            let relation = if exclusive {
                "greater than"
            } else {
                "greater than or equal to"
            };
            let bound = schema.get("minimum").unwrap_or(&Value::Null);
            let detail = format!("{number}: {path} in body should be {relation} {bound}");
            errors.push(field_error(FieldErrorKind::Invalid, path, detail));
        }
    }
}

/// Detail of the error if the JSON type is not that of the schema.
fn wrong_type(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let (wanted, fits) = if flag(schema, "x-kubernetes-int-or-string") {
        ("integer,string", matches!(found, "integer" | "string"))
    } else {
        match json::text(schema, &["type"]) {
            "" => return None,
            "number" => ("number", matches!(found, "number" | "integer")),
            other => (other, other == found),
        }
    };
    (!fits).then(|| format!("{found:?}: {path} in body must be of type {wanted}: {found:?}"))
}
