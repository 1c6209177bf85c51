//! Operations: what can be asked of each path, with the parameters and the marks that kubectl looks for (API-574).

use serde_json::{Map, Value, json};

use super::schemas::{Dialect, Schemas};
use crate::registry::{Kind, Offer, Subresource};

const ANSWERS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const STREAMS: &[&str] = &[
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const CUSTOM_PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// A query parameter: name and type.
type Parameter = (&'static str, &'static str);

const WRITE: &[Parameter] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];
const FORCE: &[Parameter] = &[("force", "boolean")];
const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const SELECT: &[Parameter] = &[
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
];

/// Texts of the parameters that people meet in clients that are generated from these documents.
fn text(parameter: &str) -> &'static str {
    match parameter {
        "dryRun" => "What is not to be persisted: `All` runs all stages and persists nothing.",
        "fieldManager" => "Name of the actor that makes the change, at most 128 printable characters.",
        "fieldValidation" => "What becomes of unknown and duplicate fields: Ignore, Warn or Strict.",
        "force" => "Take the fields of an apply that other managers own.",
        "fieldSelector" => "Restricts the objects by their fields.",
        "labelSelector" => "Restricts the objects by their labels.",
        "limit" => "Most objects that one answer holds.",
        "continue" => "Where the list goes on, from the answer before.",
        "name" => "name of the object",
        "namespace" => "object name and auth scope, such as for teams and projects",
        "pretty" => "If 'true', then the output is pretty printed.",
        _ => "",
    }
}

/// A kind that an operation exchanges.
struct Exchanged<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl Exchanged<'_> {
    fn gvk(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }
}

/// One operation before it is put into a dialect.
struct Operation<'a> {
    id: String,
    action: &'static str,
    about: String,
    exchanged: &'a Exchanged<'a>,
    parameters: Vec<Parameter>,
    body: Option<(Value, &'a [&'a str])>,
    answer: Value,
    produces: Vec<&'static str>,
    codes: &'a [u16],
}

/// Adds the paths of a kind.
pub(super) fn add(paths: &mut Map<String, Value>, schemas: &mut Schemas, kind: &Kind) {
    let (object, list) = schemas.kind(kind);
    let maker = Maker {
        kind,
        schemas,
        tag: tag(&kind.resource.group, &kind.resource.version),
    };
    maker.add(paths, &object, &list);
}

/// Group and version as a name: `apps_v1`, `rbacAuthorization_v1`, `core_v1`.
fn tag(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    let mut words = group.strip_suffix(".k8s.io").unwrap_or(group).split('.');
    let first = words.next().unwrap_or_default().to_owned();
    let name = words.fold(first, |name, word| name + &capitalized(word));
    format!("{name}_{version}")
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

struct Maker<'a> {
    kind: &'a Kind,
    schemas: &'a mut Schemas,
    tag: String,
}

impl Maker<'_> {
    fn add(mut self, paths: &mut Map<String, Value>, object: &Value, list: &Value) {
        let kind = self.kind;
        let own = Exchanged {
            group: &kind.resource.group,
            version: &kind.resource.version,
            kind: &kind.gk.kind,
        };
        let name = &kind.gk.kind;
        let plural = &kind.resource.resource;
        let prefix = if own.group.is_empty() { "/api" } else { "/apis" };
        let base = format!("{prefix}/{}", kind.api_version());
        let (collection, scope) = if kind.namespaced {
            (format!("{base}/namespaces/{{namespace}}/{plural}"), "Namespaced")
        } else {
            (format!("{base}/{plural}"), "")
        };
        let single = format!("{collection}/{{name}}");
        let mut create = self.operation("create", scope, "", "post", &own, object);
        create.about = format!("create {} {name}", article(name));
        create.body = Some((object.clone(), &["*/*"]));
        create.parameters = WRITE.to_vec();
        create.codes = &[200, 201, 202];
        if kind.offer == Offer::CreateOnly {
            self.put(paths, &collection, [("post", create)]);
            return;
        }
        let listing = |maker: &Self, scope: &str| {
            let mut listing = maker.operation("list", scope, "", "list", &own, list);
            listing.about = format!("list or watch objects of kind {name}");
            listing.parameters = LIST.to_vec();
            listing.produces.extend(STREAMS);
            listing
        };
        if kind.namespaced {
            let mut everywhere = listing(&self, "");
            everywhere.id.push_str("ForAllNamespaces");
            self.put(paths, &format!("{base}/{plural}"), [("get", everywhere)]);
        }
        let mut operations = vec![("get", listing(&self, scope)), ("post", create)];
        let status = self.schemas.built_in("", "v1", "Status").unwrap_or_default();
        let options = self
            .schemas
            .built_in("", "v1", "DeleteOptions")
            .unwrap_or_default();
        if kind.offer == Offer::All {
            let mut delete = self.operation(
                "delete",
                &format!("Collection{scope}"),
                "",
                "deletecollection",
                &own,
                &status,
            );
            delete.about = format!("delete collection of {name}");
            delete.parameters = DELETE.iter().chain(SELECT).copied().collect();
            delete.body = Some((options.clone(), &["*/*"]));
            operations.push(("delete", delete));
        }
        self.put(paths, &collection, operations);
        let mut operations = self.exchange(scope, "", &["get", "patch", "update"], &own, object);
        let mut delete = self.operation("delete", scope, "", "delete", &own, &status);
        delete.about = format!("delete {} {name}", article(name));
        delete.parameters = DELETE.to_vec();
        delete.body = Some((options, &["*/*"]));
        delete.codes = &[200, 202];
        operations.push(("delete", delete));
        self.put(paths, &single, operations);
        for row in &kind.subresources {
            self.subresource(paths, &single, scope, row, object);
        }
    }

    fn subresource(
        &mut self,
        paths: &mut Map<String, Value>,
        single: &str,
        scope: &str,
        row: &Subresource,
        object: &Value,
    ) {
        let kind = self.kind;
        let exchanged = Exchanged {
            group: row.group.unwrap_or(&kind.resource.group),
            version: row.version.unwrap_or(&kind.resource.version),
            kind: if row.kind.is_empty() {
                &kind.gk.kind
            } else {
                row.kind
            },
        };
        let schema = if exchanged.kind == kind.gk.kind {
            Some(object.clone())
        } else {
            self.schemas
                .built_in(exchanged.group, exchanged.version, exchanged.kind)
        };
        let schema = schema.unwrap_or_else(|| json!({"type": "string"}));
        let operations = self.exchange(scope, &capitalized(row.name), row.verbs, &exchanged, &schema);
        self.put(paths, &format!("{single}/{}", row.name), operations);
    }

    /// Operations that read or write one object.
    fn exchange<'b>(
        &mut self,
        scope: &str,
        suffix: &str,
        verbs: &[&str],
        exchanged: &'b Exchanged<'b>,
        object: &Value,
    ) -> Vec<(&'static str, Operation<'b>)> {
        let part = if suffix.is_empty() {
            String::new()
        } else {
            format!("{} of ", suffix.to_ascii_lowercase())
        };
        let name = &self.kind.gk.kind;
        let mut operations = Vec::new();
        for verb in verbs {
            let (method, word, action, about) = match *verb {
                "get" => ("get", "read", "get", "read"),
                "update" => ("put", "replace", "put", "replace"),
                "patch" => ("patch", "patch", "patch", "partially update"),
                "create" => ("post", "create", "post", "create"),
                _ => continue,
            };
            let mut operation = self.operation(word, scope, suffix, action, exchanged, object);
            operation.about = format!("{about} {part}the specified {name}");
            match method {
                "put" | "post" => {
                    operation.parameters = WRITE.to_vec();
                    operation.body = Some((object.clone(), &["*/*"]));
                    operation.codes = &[200, 201];
                }
                "patch" => {
                    operation.parameters = WRITE.iter().chain(FORCE).copied().collect();
                    let formats = if self.kind.custom.is_some() {
                        CUSTOM_PATCHES
                    } else {
                        PATCHES
                    };
                    operation.body = Some((self.schemas.patch(), formats));
                    operation.codes = &[200, 201];
                }
                _ => {}
            }
            operations.push((method, operation));
        }
        operations
    }

    fn operation<'b>(
        &self,
        word: &str,
        scope: &str,
        suffix: &str,
        action: &'static str,
        exchanged: &'b Exchanged<'b>,
        answer: &Value,
    ) -> Operation<'b> {
        let (group, version) = self.tag.split_once('_').unwrap_or((&self.tag, ""));
        let (group, version) = (capitalized(group), capitalized(version));
        Operation {
            id: format!("{word}{group}{version}{scope}{}{suffix}", self.kind.gk.kind),
            action,
            about: String::new(),
            exchanged,
            parameters: Vec::new(),
            body: None,
            answer: answer.clone(),
            produces: ANSWERS.to_vec(),
            codes: &[200],
        }
    }

    fn put<'b>(
        &self,
        paths: &mut Map<String, Value>,
        path: &str,
        operations: impl IntoIterator<Item = (&'static str, Operation<'b>)>,
    ) {
        let dialect = self.schemas.dialect();
        let mut item: Map<String, Value> = operations
            .into_iter()
            .map(|(method, operation)| (method.to_owned(), self.shown(&operation)))
            .collect();
        let mut common = vec![parameter(dialect, "query", ("pretty", "string"))];
        for name in ["name", "namespace"] {
            if path.contains(&format!("{{{name}}}")) {
                common.push(parameter(dialect, "path", (name, "string")));
            }
        }
        item.insert("parameters".to_owned(), Value::Array(common));
        paths.insert(path.to_owned(), Value::Object(item));
    }

    fn shown(&self, operation: &Operation<'_>) -> Value {
        let dialect = self.schemas.dialect();
        let mut parameters: Vec<Value> = operation
            .parameters
            .iter()
            .map(|query| parameter(dialect, "query", *query))
            .collect();
        let mut shown = json!({
            "description": operation.about, "operationId": operation.id, "tags": [self.tag],
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": operation.exchanged.gvk(),
        });
        let Some(members) = shown.as_object_mut() else {
            return shown;
        };
        let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
        let mut responses = Map::new();
        match dialect {
            Dialect::V3 => {
                if let Some((schema, types)) = &operation.body {
                    add("requestBody", json!({"content": content(types, schema)}));
                }
                for code in operation.codes {
                    let answer = json!({"description": phrase(*code), "content": content(&operation.produces, &operation.answer)});
                    responses.insert(code.to_string(), answer);
                }
            }
            Dialect::V2 => {
                let mut consumes: &[&str] = &["*/*"];
                if let Some((schema, types)) = &operation.body {
                    consumes = types;
                    parameters
                        .push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
                }
                add("consumes", json!(consumes));
                add("produces", json!(operation.produces));
                add("schemes", json!(["https"]));
                for code in operation.codes {
                    let answer = json!({"description": phrase(*code), "schema": operation.answer});
                    responses.insert(code.to_string(), answer);
                }
            }
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        add("responses", Value::Object(responses));
        if !parameters.is_empty() {
            add("parameters", Value::Array(parameters));
        }
        shown
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['A', 'E', 'I', 'O', 'U']) {
        "an"
    } else {
        "a"
    }
}

fn phrase(code: u16) -> &'static str {
    match code {
        201 => "Created",
        202 => "Accepted",
        _ => "OK",
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    let content: Map<String, Value> = types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({"schema": schema})))
        .collect();
    Value::Object(content)
}

fn parameter(dialect: Dialect, place: &str, (name, kind): Parameter) -> Value {
    let mut parameter = json!({"name": name, "in": place, "description": text(name)});
    let Some(members) = parameter.as_object_mut() else {
        return parameter;
    };
    match dialect {
        Dialect::V3 => {
            members.insert("schema".to_owned(), json!({"type": kind, "uniqueItems": true}));
        }
        Dialect::V2 => {
            members.insert("type".to_owned(), kind.into());
            members.insert("uniqueItems".to_owned(), true.into());
        }
    }
    if place == "path" {
        members.insert("required".to_owned(), true.into());
    }
    parameter
}
