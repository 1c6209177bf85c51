//! OpenAPI documents, as far as kubectl needs them to let the server validate (API-573 to API-575).
//!
//! Schemas only say which kind they are and leave their members open. Strategic merge patch is not listed among the
//! media types of PATCH: with it kubectl would look for merge keys in these schemas, without it kubectl uses those
//! that it has built in.

use http::{HeaderMap, header};
use serde_json::{Map, Value, json};

use crate::{
    negotiation::{self, Form},
    registry::{Kind, Kinds},
    server::Core,
    status::Failure,
    verbs::Answer,
};

/// `/openapi/v3` and the documents below it; `None` if there is no such document.
pub(crate) fn v3(core: &Core, rest: &str) -> Option<Answer> {
    let kinds = core.registry.kinds();
    let rest = rest.trim_matches('/');
    if rest.is_empty() {
        return Some(index(&kinds));
    }
    let (group, version) = match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => (String::new(), (*version).to_owned()),
        ["apis", group, version] => ((*group).to_owned(), (*version).to_owned()),
        _ => return None,
    };
    if !kinds.has_version(&group, &version) {
        return None;
    }
    Some(Answer::json(200, &document(&kinds, &group, &version)))
}

fn index(kinds: &Kinds) -> Answer {
    let mut paths = Map::new();
    for kind in kinds.iter() {
        let (group, version) = (&kind.resource.group, &kind.resource.version);
        let name = if group.is_empty() {
            format!("api/{version}")
        } else {
            format!("apis/{group}/{version}")
        };
        // The documents follow from the kinds alone, so that their number tells apart what clients have cached.
        let count = kinds
            .iter()
            .filter(|other| other.resource.group == *group)
            .count();
        let url = format!("/openapi/v3/{name}?hash={:016X}", fingerprint(&name, count));
        paths.insert(name, json!({"serverRelativeURL": url}));
    }
    let body = json!({"paths": paths}).to_string();
    Answer::Full {
        code: 200,
        content_type: "text/plain; charset=utf-8",
        body: body.into(),
    }
}

fn fingerprint(name: &str, count: usize) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(name.as_bytes());
    hasher.write_usize(count);
    hasher.finish()
}

fn of_version<'a>(kinds: &'a Kinds, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
    kinds
        .iter()
        .map(AsRef::as_ref)
        .filter(move |kind| kind.resource.group == group && kind.resource.version == version)
}

fn document(kinds: &Kinds, group: &str, version: &str) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for kind in of_version(kinds, group, version) {
        schemas.insert(schema_name(kind), schema(kind));
        let (collection, single) = urls(kind);
        if kind.offer.verbs(false).contains(&"list") {
            paths.insert(collection, json!({"get": operation(kind), "post": write(kind)}));
            paths.insert(
                single,
                json!({
                    "get": operation(kind), "put": write(kind), "patch": patch(kind), "delete": operation(kind),
                }),
            );
        } else {
            paths.insert(collection, json!({"post": write(kind)}));
        }
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.0"}, "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn urls(kind: &Kind) -> (String, String) {
    let prefix = if kind.resource.group.is_empty() {
        "/api"
    } else {
        "/apis"
    };
    let scope = if kind.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!(
        "{prefix}/{}{scope}/{}",
        kind.api_version(),
        kind.resource.resource
    );
    let single = format!("{collection}/{{name}}");
    (collection, single)
}

/// Like `io.k8s.api.apps.v1.Deployment`.
fn schema_name(kind: &Kind) -> String {
    let group = match kind.resource.group.as_ref() {
        "" => "core",
        group => group,
    };
    let (version, name) = (&kind.resource.version, &kind.gk.kind);
    match (&kind.custom, group.split_once('.')) {
        (None, Some((short, _))) => format!("io.k8s.api.{short}.{version}.{name}"),
        (None, None) => format!("io.k8s.api.{group}.{version}.{name}"),
        (Some(_), _) => {
            let reversed: Vec<&str> = group.rsplit('.').collect();
            format!("{}.{version}.{name}", reversed.join("."))
        }
    }
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.resource.group, "version": kind.resource.version, "kind": kind.gk.kind})
}

fn schema(kind: &Kind) -> Value {
    json!({
        "type": "object",
        "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}},
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-group-version-kind": [gvk(kind)],
    })
}

fn operation(kind: &Kind) -> Value {
    json!({"x-kubernetes-group-version-kind": gvk(kind), "responses": {"200": {"description": "OK"}}})
}

fn with_parameters(mut operation: Value) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let parameters = ["dryRun", "fieldManager", "fieldValidation"]
        .map(parameter)
        .to_vec();
    crate::json::set(&mut operation, &[], "parameters", parameters);
    operation
}

fn write(kind: &Kind) -> Value {
    with_parameters(operation(kind))
}

fn patch(kind: &Kind) -> Value {
    let mut patch = with_parameters(operation(kind));
    let content = json!({
        "application/json-patch+json": {"schema": {"type": "object"}},
        "application/merge-patch+json": {"schema": {"type": "object"}},
    });
    crate::json::set(&mut patch, &[], "requestBody", json!({"content": content}));
    patch
}

/// `/openapi/v2`: the kinds and their PATCH operations, for clients that know no v3.
pub(crate) fn v2(core: &Core, headers: &HeaderMap) -> Result<Answer, Failure> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    negotiation::accept(accept, |accepted| accepted.form == Form::Plain)?;
    let kinds = core.registry.kinds();
    let mut definitions = Map::new();
    let mut paths = Map::new();
    for kind in kinds.iter() {
        definitions.insert(schema_name(kind), schema(kind));
        let (_, single) = urls(kind);
        let mut patch = operation(kind);
        let consumes = ["application/json-patch+json", "application/merge-patch+json"];
        crate::json::set(&mut patch, &[], "consumes", json!(consumes));
        let parameter = |name: &str| json!({"name": name, "in": "query", "type": "string"});
        let parameters = ["dryRun", "fieldManager", "fieldValidation"]
            .map(parameter)
            .to_vec();
        crate::json::set(&mut patch, &[], "parameters", parameters);
        paths.insert(single, json!({"patch": patch}));
    }
    Ok(Answer::json(
        200,
        &json!({
            "swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.0"}, "paths": paths,
            "definitions": definitions,
        }),
    ))
}
