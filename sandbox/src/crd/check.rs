//! What is wrong with a definition: names, group, versions, conversion, columns, subresources, selectable fields
//! (API-531, API-547 to API-550). Schemas are the part of `structural`, `keywords` and `defaults`.

use serde_json::{Map, Value, json};

use super::{
    defaults, go_struct, keywords,
    schema::{properties, texts},
    structural,
};
use crate::{
    json,
    validate::{self, FieldError, FieldErrorKind},
};

const APPROVAL: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] = &[
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
/// kube-apiserver 1.36.
const MOST_SELECTABLE_FIELDS: usize = 8;

type Test = fn(&Value) -> bool;

/// Members of versions that upstream reports at their old place, `spec.*`, if all versions agree on them.
struct Hoisted {
    members: Vec<&'static str>,
}

impl Hoisted {
    fn of(versions: &[Value]) -> Self {
        let same = |member: &str, is_set: fn(&Value) -> bool| {
            let mut values = versions
                .iter()
                .map(|version| version.get(member).unwrap_or(&Value::Null));
            values
                .next()
                .is_some_and(|first| is_set(first) && values.all(|other| other == first))
        };
        let is_list: fn(&Value) -> bool = |value| value.as_array().is_some_and(|list| !list.is_empty());
        let rows: [(&str, Test); 4] = [
            ("schema", Value::is_object),
            ("subresources", Value::is_object),
            ("additionalPrinterColumns", is_list),
            ("selectableFields", is_list),
        ];
        Self {
            members: rows
                .into_iter()
                .filter(|(member, is_set)| same(member, *is_set))
                .map(|(member, _)| member)
                .collect(),
        }
    }

    fn has(&self, member: &str) -> bool {
        self.members.contains(&member)
    }
}

/// Everything wrong with a definition; `old` is the one that it replaces.
pub(super) fn check(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = json::at(definition, &["spec"]).unwrap_or(&Value::Null);
    let plural = json::text(spec, &["names", "plural"]);
    let group = json::text(spec, &["group"]);
    let name = json::text(definition, &["metadata", "name"]);
    if old.is_none() && name != format!("{plural}.{group}") {
        let problem = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &name.into(), problem));
    }
    check_spec(spec, old.and_then(|old| old.get("spec")), &mut errors);
    if let Some(old) = old {
        check_changes(spec, old, &mut errors);
    }
    check_names(
        json::at(definition, &["status", "acceptedNames"]).unwrap_or(&Value::Null),
        "status.acceptedNames",
        &mut errors,
    );
    check_stored_versions(definition, &mut errors);
    check_approval(definition, old, &mut errors);
    let preserves = |definition: &Value| {
        json::at(definition, &["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true))
    };
    if preserves(definition) && !old.is_some_and(preserves) {
        let problem = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            &true.into(),
            problem,
        ));
    }
    errors
}

fn check_spec(spec: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let group = json::text(spec, &["group"]);
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if let Some(problem) = validate::subdomain_problem(group) {
        errors.push(FieldError::invalid("spec.group", &group.into(), problem));
    } else if !group.contains('.') {
        let problem = "should be a domain with at least one dot";
        errors.push(FieldError::invalid("spec.group", &group.into(), problem));
    }
    one_of(
        errors,
        "spec.scope",
        json::text(spec, &["scope"]),
        &["Cluster", "Namespaced"],
    );
    let versions = json::list(spec, &["versions"]);
    let schema_of =
        |version: &Value| json::at(version, &["schema", "openAPIV3Schema"]).is_some_and(Value::is_object);
    for (index, version) in versions.iter().enumerate() {
        if !schema_of(version) {
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            errors.push(FieldError::required(field, ""));
        }
    }
    let hoisted = Hoisted::of(versions);
    for (index, version) in versions.iter().enumerate() {
        check_version(version, &format!("spec.versions[{index}]"), &hoisted, old, errors);
    }
    let shown = || {
        Value::from(
            versions
                .iter()
                .map(|version| shown_version(version, &hoisted))
                .collect::<Vec<_>>(),
        )
    };
    let names: Vec<&str> = versions
        .iter()
        .map(|version| json::text(version, &["name"]))
        .collect();
    if names
        .iter()
        .enumerate()
        .any(|(index, name)| names.iter().take(index).any(|other| other == name))
    {
        errors.push(ordered(
            "spec.versions".to_owned(),
            &shown(),
            "must contain unique version names",
        ));
    }
    if versions
        .iter()
        .filter(|version| is_set(version, "storage"))
        .count()
        != 1
    {
        let problem = "must have exactly one version marked as storage version";
        errors.push(ordered("spec.versions".to_owned(), &shown(), problem));
    }
    // The old place of the first version's name.
    if let Some(name) = names.first().filter(|name| !name.is_empty()) {
        label(errors, "spec.version", name, "");
    }
    for member in ["plural", "singular", "kind", "listKind"] {
        if json::text(spec, &["names", member]).is_empty() {
            errors.push(FieldError::required(format!("spec.names.{member}"), ""));
        }
    }
    check_names(
        json::at(spec, &["names"]).unwrap_or(&Value::Null),
        "spec.names",
        errors,
    );
    if let Some(first) = versions.first() {
        if hoisted.has("schema") {
            let status = versions.iter().any(has_status);
            check_schema(first, "spec.validation", status, old, errors);
        }
        if hoisted.has("subresources") {
            check_subresources(first, "spec.subresources", errors);
        }
        if hoisted.has("additionalPrinterColumns") {
            check_columns(first, "spec.additionalPrinterColumns", errors);
        }
        if hoisted.has("selectableFields") {
            check_selectable(first, "spec.selectableFields", errors);
        }
    }
    check_conversion(spec, errors);
}

fn is_set(value: &Value, member: &str) -> bool {
    value.get(member).and_then(Value::as_bool).unwrap_or(false)
}

fn has_status(version: &Value) -> bool {
    json::at(version, &["subresources", "status"]).is_some_and(|status| !status.is_null())
}

/// An error whose value is an object with members in the order of upstream's types.
fn ordered(field: String, shown: &Value, problem: &str) -> FieldError {
    let detail = format!("{}: {problem}", go_struct::text(shown));
    FieldError::new(FieldErrorKind::Invalid, field, detail)
}

fn shown_version(version: &Value, hoisted: &Hoisted) -> Value {
    go_struct::version(version, &hoisted.members)
}

fn one_of(errors: &mut Vec<FieldError>, field: &str, value: &str, accepted: &[&str]) {
    if value.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if !accepted.contains(&value) {
        errors.push(FieldError::not_supported(field, &value.into(), accepted));
    }
}

fn label(errors: &mut Vec<FieldError>, field: &str, text: &str, introduction: &str) {
    let checked = if introduction.is_empty() {
        text.to_owned()
    } else {
        text.to_lowercase()
    };
    if !text.is_empty()
        && let Some(problem) = validate::dns_1035_problem(&checked)
    {
        errors.push(FieldError::invalid(
            field,
            &text.into(),
            format!("{introduction}{problem}"),
        ));
    }
}

fn check_names(names: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const MIXED: &str = "may have mixed case, but should otherwise match: ";
    let field = |member: &str| format!("{path}.{member}");
    for (member, introduction) in [
        ("plural", ""),
        ("singular", ""),
        ("kind", MIXED),
        ("listKind", MIXED),
    ] {
        label(errors, &field(member), json::text(names, &[member]), introduction);
    }
    let (kind, list_kind) = (json::text(names, &["kind"]), json::text(names, &["listKind"]));
    for (index, name) in texts(names, "shortNames").iter().enumerate() {
        label_item(errors, &format!("{path}.shortNames[{index}]"), name);
    }
    if !kind.is_empty() && kind == list_kind {
        let problem = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(field("listKind"), &list_kind.into(), problem));
    }
    for (index, name) in texts(names, "categories").iter().enumerate() {
        label_item(errors, &format!("{path}.categories[{index}]"), name);
    }
}

fn label_item(errors: &mut Vec<FieldError>, field: &str, text: &str) {
    if let Some(problem) = validate::dns_1035_problem(text) {
        errors.push(FieldError::invalid(field, &text.into(), problem));
    }
}

fn check_version(
    version: &Value,
    path: &str,
    hoisted: &Hoisted,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) {
    let name = json::text(version, &["name"]);
    label_item(errors, &format!("{path}.name"), name);
    for problem in deprecation_problems(version) {
        let warning = version.get("deprecationWarning").unwrap_or(&Value::Null);
        errors.push(FieldError::invalid(
            format!("{path}.deprecationWarning"),
            warning,
            problem,
        ));
    }
    if !hoisted.has("schema") {
        check_schema(
            version,
            &format!("{path}.schema"),
            has_status(version),
            old,
            errors,
        );
    }
    if !hoisted.has("subresources") {
        check_subresources(version, &format!("{path}.subresources"), errors);
    }
    if !hoisted.has("additionalPrinterColumns") {
        check_columns(version, &format!("{path}.additionalPrinterColumns"), errors);
    }
    if !hoisted.has("selectableFields") {
        check_selectable(version, &format!("{path}.selectableFields"), errors);
    }
}

fn deprecation_problems(version: &Value) -> Vec<String> {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else {
        return Vec::new();
    };
    if !is_set(version, "deprecated") {
        return vec!["can only be set for deprecated versions".to_owned()];
    }
    let mut problems = Vec::new();
    if warning.len() > 256 {
        problems.push("must be <= 256 characters long".to_owned());
    }
    if warning.is_empty() {
        problems.push("must not be an empty string".to_owned());
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        problems.push(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
    problems
}

fn check_schema(
    version: &Value,
    path: &str,
    status: bool,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) {
    let Some(schema) = json::at(version, &["schema", "openAPIV3Schema"]).filter(|schema| schema.is_object())
    else {
        return;
    };
    let path = format!("{path}.openAPIV3Schema");
    let before = errors.len();
    if status {
        check_status_root(schema, &path, errors);
    }
    if is_set(schema, "nullable") {
        errors.push(FieldError::forbidden(
            format!("{path}.nullable"),
            "nullable cannot be true at the root",
        ));
    }
    let mut with_rules = false;
    let unsupported = structural::unsupported(schema);
    if unsupported.is_none() {
        let problems = structural::check(schema, &path);
        if problems.is_empty() {
            let problems = defaults::check(schema, &path);
            with_rules = problems.is_empty();
            errors.extend(problems);
        } else {
            errors.extend(problems);
        }
    }
    // What was accepted once is not refused later because of its cost.
    let unchanged = old.is_some_and(|old| {
        json::list(old, &["versions"]).iter().any(|other| {
            json::text(other, &["name"]) == json::text(version, &["name"])
                && other.get("schema") == version.get("schema")
        })
    });
    errors.extend(keywords::check(schema, &path, with_rules, unchanged));
    if let Some(problem) = unsupported
        && errors.len() == before
    {
        errors.push(FieldError::invalid(path, &"".into(), problem));
    }
}

/// With a status subresource, the root of the schema can say nothing that does not split between status and the rest.
fn check_status_root(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const ALLOWED: &[&str] = &[
        "Description",
        "Type",
        "Format",
        "Title",
        "Maximum",
        "ExclusiveMaximum",
        "Minimum",
        "ExclusiveMinimum",
        "MaxLength",
        "MinLength",
        "Pattern",
        "MaxItems",
        "MinItems",
        "UniqueItems",
        "MultipleOf",
        "Required",
        "Items",
        "Properties",
        "ExternalDocs",
        "Example",
        "XPreserveUnknownFields",
        "XValidations",
    ];
    for (member, name) in go_struct::schema_members() {
        let set = schema.get(member).is_some_and(|value| !go_struct::is_zero(value));
        if !set {
            continue;
        }
        if name == "Type" {
            let kind = json::text(schema, &["type"]);
            if kind != "object" {
                let problem = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                errors.push(FieldError::invalid(format!("{path}.type"), &kind.into(), problem));
                return;
            }
        } else if !ALLOWED.contains(&name) {
            let problem = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                ALLOWED.join(" ")
            );
            errors.push(ordered(path.to_owned(), &go_struct::schema(schema), &problem));
            return;
        }
    }
}

fn simple_path_problem(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("must not be empty")
    } else if path.starts_with('.') {
        None
    } else {
        Some("must be a simple json path starting with .")
    }
}

fn check_subresources(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(scale) = json::at(version, &["subresources", "scale"]).filter(|scale| scale.is_object()) else {
        return;
    };
    let rows = [
        (
            "specReplicasPath",
            &[".spec."][..],
            "should be a json path under .spec",
        ),
        (
            "statusReplicasPath",
            &[".status."],
            "should be a json path under .status",
        ),
        (
            "labelSelectorPath",
            &[".spec.", ".status."],
            "should be a json path under either .spec or .status",
        ),
    ];
    for (member, prefixes, elsewhere) in rows {
        let field = format!("{path}.scale.{member}");
        let text = json::text(scale, &[member]);
        if text.is_empty() {
            if member != "labelSelectorPath" {
                errors.push(FieldError::required(field, ""));
            }
        } else if let Some(problem) = simple_path_problem(text) {
            errors.push(FieldError::invalid(field, &text.into(), problem));
        } else if !prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            errors.push(FieldError::invalid(field, &text.into(), elsewhere));
        }
    }
}

fn check_columns(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (index, column) in json::list(version, &["additionalPrinterColumns"])
        .iter()
        .enumerate()
    {
        let field = |member: &str| format!("{path}[{index}].{member}");
        if json::text(column, &["name"]).is_empty() {
            errors.push(FieldError::required(field("name"), ""));
        }
        let kind = json::text(column, &["type"]);
        let types = || format!("must be one of {}", COLUMN_TYPES.join(","));
        if kind.is_empty() {
            errors.push(FieldError::required(field("type"), types()));
        } else if !COLUMN_TYPES.contains(&kind) {
            errors.push(FieldError::invalid(field("type"), &kind.into(), types()));
        }
        let format = json::text(column, &["format"]);
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let problem = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(field("format"), &format.into(), problem));
        }
        let json_path = json::text(column, &["jsonPath"]);
        if json_path.is_empty() {
            errors.push(FieldError::required(field("JSONPath"), ""));
        } else if let Some(problem) = simple_path_problem(json_path) {
            errors.push(FieldError::invalid(field("JSONPath"), &json_path.into(), problem));
        }
    }
}

fn check_selectable(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let fields = json::list(version, &["selectableFields"]);
    let schema = json::at(version, &["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null);
    let mut seen: Vec<String> = Vec::new();
    for (index, selectable) in fields.iter().enumerate() {
        let field = format!("{path}[{index}].jsonPath");
        let json_path = json::text(selectable, &["jsonPath"]);
        if json_path.is_empty() {
            errors.push(FieldError::required(field, ""));
            continue;
        }
        let (resolved, found) =
            match super::field_path::resolve(json_path, schema, super::field_path::Arrays::Refused) {
                Ok(resolved) => resolved,
                Err(problem) => {
                    let problem = format!("is an invalid path: {problem}");
                    errors.push(FieldError::invalid(field, &json_path.into(), problem));
                    continue;
                }
            };
        if resolved == "metadata" || resolved.starts_with("metadata.") {
            let problem = "must not point to fields in metadata";
            errors.push(FieldError::invalid(field.clone(), &json_path.into(), problem));
        }
        if !matches!(json::text(found, &["type"]), "string" | "boolean" | "integer") {
            let problem = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(field.clone(), &json_path.into(), problem));
        }
        if seen.contains(&resolved) {
            errors.push(FieldError::duplicate(field, &json_path.into()));
        } else {
            seen.push(resolved);
        }
    }
    if seen.len() > MOST_SELECTABLE_FIELDS {
        errors.push(FieldError::too_many(path, seen.len(), MOST_SELECTABLE_FIELDS));
    }
}

fn check_conversion(spec: &Value, errors: &mut Vec<FieldError>) {
    let Some(conversion) = spec.get("conversion").filter(|conversion| conversion.is_object()) else {
        return;
    };
    let strategy = json::text(conversion, &["strategy"]);
    one_of(errors, "spec.conversion.strategy", strategy, &["None", "Webhook"]);
    let client = json::at(conversion, &["webhook", "clientConfig"]).filter(|client| client.is_object());
    let reviews =
        json::at(conversion, &["webhook"]).map(|webhook| texts(webhook, "conversionReviewVersions"));
    let reviews = reviews.unwrap_or_default();
    if strategy != "Webhook" {
        let problem = "should not be set when strategy is not set to Webhook";
        if client.is_some() {
            errors.push(FieldError::forbidden(
                "spec.conversion.webhookClientConfig",
                problem,
            ));
        }
        if !reviews.is_empty() {
            errors.push(FieldError::forbidden(
                "spec.conversion.conversionReviewVersions",
                problem,
            ));
        }
        return;
    }
    let before = errors.len();
    let field = "spec.conversion.webhookClientConfig";
    match client {
        None => errors.push(FieldError::required(
            field,
            "required when strategy is set to Webhook",
        )),
        Some(client) => {
            let has = |member: &str| client.get(member).is_some_and(|value| !value.is_null());
            if has("url") == has("service") {
                errors.push(FieldError::required(
                    field,
                    "exactly one of url or service is required",
                ));
            }
        }
    }
    let field = "spec.conversion.conversionReviewVersions";
    if reviews.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else if !reviews
        .iter()
        .any(|version| REVIEW_VERSIONS.contains(&version.as_str()))
    {
        let problem = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.push(FieldError::invalid(field, &reviews.into(), problem));
    }
    if errors.len() == before {
        // A definition that upstream would accept: serving it without its webhook would return wrong objects.
        let detail = "conversion by webhooks is not supported by this server";
        errors.push(FieldError::forbidden("spec.conversion.strategy", detail));
    }
}

/// What an update may not change.
fn check_changes(spec: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let established = json::list(old, &["status", "conditions"])
        .iter()
        .any(|condition| {
            json::text(condition, &["type"]) == "Established" && json::text(condition, &["status"]) == "True"
        });
    let rows: &[(&[&str], bool)] = &[
        (&["scope"], established),
        (&["names", "kind"], established),
        (&["group"], true),
        (&["names", "plural"], true),
    ];
    for (path, fixed) in rows {
        let (new, before) = (
            json::at(spec, path),
            old.get("spec").and_then(|spec| json::at(spec, path)),
        );
        if *fixed && new != before {
            let field = format!("spec.{}", path.join("."));
            let new = new.unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(field, new, "field is immutable"));
        }
    }
}

fn check_stored_versions(definition: &Value, errors: &mut Vec<FieldError>) {
    let field = "status.storedVersions";
    let stored = json::at(definition, &["status", "storedVersions"]).unwrap_or(&Value::Null);
    let names =
        json::at(definition, &["status"]).map_or_else(Vec::new, |status| texts(status, "storedVersions"));
    if names.is_empty() {
        errors.push(FieldError::invalid(
            field,
            stored,
            "must have at least one stored version",
        ));
        return;
    }
    let versions = json::list(definition, &["spec", "versions"]);
    for version in versions.iter().filter(|version| is_set(version, "storage")) {
        let name = json::text(version, &["name"]);
        if !names.iter().any(|stored| stored == name) {
            let problem = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(field, stored, problem));
        }
    }
    for (index, name) in names.iter().enumerate() {
        if !versions
            .iter()
            .any(|version| json::text(version, &["name"]) == name)
        {
            let problem = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                 {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(
                format!("{field}[{index}]"),
                &name.as_str().into(),
                problem,
            ));
        }
    }
}

/// Whether the community approves of an API in one of its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Approval {
    Missing,
    Invalid,
    Bypassed,
    Approved,
}

/// The state of approval of a definition and its reason; `None` if the group is not protected.
pub(super) fn approval(definition: &Value) -> Option<(Approval, String)> {
    let group = json::text(definition, &["spec", "group"]);
    let protected = ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    let annotation = json::text(definition, &["metadata", "annotations", APPROVAL]);
    protected.then(|| {
        let see = "see https://github.com/kubernetes/enhancements/pull/1111";
        if annotation.is_empty() {
            let reason = format!("protected groups must have approval annotation {APPROVAL:?}, {see}");
            (Approval::Missing, reason)
        } else if annotation.starts_with("unapproved") {
            (Approval::Bypassed, format!("not approved: {annotation:?}"))
        } else if annotation
            .split_once("://")
            .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/'))
        {
            (Approval::Approved, format!("approved in {annotation}"))
        } else {
            let reason = format!(
                "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting \
                 with \"unapproved\", {see}"
            );
            (Approval::Invalid, reason)
        }
    })
}

fn check_approval(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let Some((state, reason)) = approval(definition) else {
        return;
    };
    if old.and_then(approval).is_some_and(|(before, _)| before == state) {
        return;
    }
    let field = format!("metadata.annotations[{APPROVAL}]");
    match state {
        Approval::Missing => errors.push(FieldError::required(field, reason)),
        Approval::Invalid => {
            let annotation = json::text(definition, &["metadata", "annotations", APPROVAL]);
            errors.push(FieldError::invalid(field, &annotation.into(), reason));
        }
        Approval::Bypassed | Approval::Approved => {}
    }
}

/// Formats that the server does not know, as texts for `Warning` headers.
pub(super) fn unknown_formats(definition: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for version in json::list(definition, &["spec", "versions"]) {
        if let Some(schema) = json::at(version, &["schema", "openAPIV3Schema"]) {
            collect_formats(schema, &mut found);
        }
    }
    found
}

fn collect_formats(schema: &Value, found: &mut Vec<String>) {
    let format = json::text(schema, &["format"]);
    let kind = super::schema::Type::of(json::text(schema, &["type"]));
    if !format.is_empty() && super::format::Format::of(kind, format).is_none() {
        let warning = format!("unrecognized format {format:?}");
        if !found.contains(&warning) {
            found.push(warning);
        }
    }
    for list in ["allOf", "anyOf", "oneOf"] {
        for inner in json::list(schema, &[list]) {
            collect_formats(inner, found);
        }
    }
    for member in ["items", "not", "additionalProperties"] {
        if let Some(inner) = schema.get(member).filter(|inner| inner.is_object()) {
            collect_formats(inner, found);
        }
    }
    for (_, property) in properties(schema) {
        collect_formats(property, found);
    }
}

/// Fills what a definition leaves open; also before it is checked.
pub(super) fn prepare(definition: &mut Value, old: Option<&Value>) {
    let kind = json::text(definition, &["spec", "names", "kind"]).to_owned();
    if json::text(definition, &["spec", "names", "singular"]).is_empty() && !kind.is_empty() {
        json::set(definition, &["spec", "names"], "singular", kind.to_lowercase());
    }
    if json::text(definition, &["spec", "names", "listKind"]).is_empty() && !kind.is_empty() {
        json::set(definition, &["spec", "names"], "listKind", format!("{kind}List"));
    }
    if json::at(definition, &["spec", "conversion"]).is_none_or(Value::is_null) {
        json::set(definition, &["spec"], "conversion", json!({"strategy": "None"}));
    }
    let mut stored = old
        .and_then(|old| old.get("status"))
        .map_or_else(Vec::new, |status| texts(status, "storedVersions"));
    let storage = json::list(definition, &["spec", "versions"])
        .iter()
        .find(|version| is_set(version, "storage"))
        .map(|version| json::text(version, &["name"]).to_owned());
    if let Some(name) = storage
        && !stored.contains(&name)
    {
        stored.push(name);
    }
    if json::at(definition, &["status"]).is_none() {
        json::set(definition, &[], "status", Value::Object(Map::new()));
    }
    if !stored.is_empty() {
        json::set(definition, &["status"], "storedVersions", stored);
    }
}
