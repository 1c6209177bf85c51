//! What the server offers: groups, versions, resources; version and health (API-570 to API-572, API-576, API-577).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};

use crate::{
    negotiation::{self, Encoding, Form},
    registry::{Kind, Kinds, Offer, Subresource, api_version},
    render,
    server::Core,
    service::not_found_page,
    status::Failure,
    verbs::Answer,
};

/// Media type of aggregated discovery (API-572).
fn aggregated_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Encoding::Yaml => "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Encoding::Protobuf => {
            "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        }
    }
}

/// Whether an answer of this media type is aggregated discovery.
pub(crate) fn is_aggregated_type(media_type: &str) -> bool {
    media_type.ends_with(";as=APIGroupDiscoveryList")
}

/// `/api`.
pub(crate) fn core_versions(core: &Core, headers: &HeaderMap) -> Result<Answer, Failure> {
    let kinds = core.registry.kinds();
    if let Some(encoding) = aggregated_encoding(headers)? {
        return Ok(aggregated(&kinds, &[String::new()], encoding));
    }
    Ok(Answer::object(
        200,
        json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}],
        }),
    ))
}

/// `/apis`.
pub(crate) fn groups(core: &Core, headers: &HeaderMap) -> Result<Answer, Failure> {
    let kinds = core.registry.kinds();
    let names = kinds.groups();
    if let Some(encoding) = aggregated_encoding(headers)? {
        return Ok(aggregated(&kinds, &names, encoding));
    }
    let groups: Vec<Value> = names.iter().map(|name| group_value(&kinds, name)).collect();
    Ok(Answer::object(
        200,
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
    ))
}

/// `/apis/<group>`.
pub(crate) fn group(core: &Core, name: &str) -> Answer {
    let kinds = core.registry.kinds();
    if name.is_empty() || !kinds.has_group(name) {
        return not_found_page();
    }
    let mut group = group_value(&kinds, name);
    crate::json::set(&mut group, &[], "kind", "APIGroup");
    crate::json::set(&mut group, &[], "apiVersion", "v1");
    Answer::object(200, group)
}

fn group_value(kinds: &Kinds, name: &str) -> Value {
    let versions: Vec<Value> = kinds
        .versions(name)
        .iter()
        .map(|version| json!({"groupVersion": api_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

/// The encoding of aggregated discovery, if that is what the client prefers.
fn aggregated_encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Failure> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let accepted = negotiation::accept(accept, |accepted| {
        matches!(accepted.form, Form::Plain | Form::Discovery)
    })?;
    Ok((accepted.form == Form::Discovery).then_some(accepted.encoding))
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub(crate) fn resources(core: &Core, group: &str, version: &str) -> Result<Answer, Failure> {
    let kinds = core.registry.kinds();
    if !kinds.has_version(group, version) {
        return if kinds.is_built_in_group(group) {
            Err(Failure::unknown_resource())
        } else {
            Ok(not_found_page())
        };
    }
    let resources: Vec<Value> = of_version(&kinds, group, version)
        .flat_map(|kind| {
            let subresources = kind.subresources.iter().map(move |row| subresource(kind, row));
            std::iter::once(resource(kind)).chain(subresources)
        })
        .collect();
    let mut list = json!({
        "kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": resources,
    });
    // The list of the core group has no apiVersion, as upstream.
    if !group.is_empty() {
        crate::json::set(&mut list, &[], "apiVersion", "v1");
    }
    Ok(Answer::object(200, list))
}

fn of_version<'a>(kinds: &'a Kinds, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Kind>> {
    kinds
        .iter()
        .filter(move |kind| kind.resource.group == group && kind.resource.version == version)
}

fn resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "name": kind.resource.resource, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.gk.kind, "verbs": kind.offer.verbs(kind.custom.is_some()),
    });
    if !kind.short_names.is_empty() {
        crate::json::set(&mut resource, &[], "shortNames", kind.short_names.clone());
    }
    if !kind.categories.is_empty() {
        crate::json::set(&mut resource, &[], "categories", kind.categories.clone());
    }
    if kind.offer != Offer::CreateOnly {
        crate::json::set(&mut resource, &[], "storageVersionHash", storage_hash(kind));
    }
    resource
}

/// Opaque to clients; equal for equal stored forms.
fn storage_hash(kind: &Kind) -> String {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(kind.table.as_bytes());
    hasher.write(kind.resource.version.as_bytes());
    STANDARD.encode(hasher.finish().to_be_bytes())
}

fn subresource(kind: &Kind, row: &Subresource) -> Value {
    let mut resource = json!({
        "name": format!("{}/{}", kind.resource.resource, row.name), "singularName": "",
        "namespaced": kind.namespaced, "kind": exchanged(kind, row), "verbs": row.verbs,
    });
    if let (Some(group), Some(version)) = (row.group, row.version) {
        crate::json::set(&mut resource, &[], "group", group);
        crate::json::set(&mut resource, &[], "version", version);
    }
    resource
}

fn exchanged<'a>(kind: &'a Kind, row: &Subresource) -> &'a str {
    if row.kind.is_empty() {
        &kind.gk.kind
    } else {
        row.kind
    }
}

fn aggregated(kinds: &Kinds, groups: &[String], encoding: Encoding) -> Answer {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let mut metadata = Map::new();
            if !group.is_empty() {
                metadata.insert("name".to_owned(), group.as_str().into());
            }
            let versions: Vec<Value> = kinds
                .versions(group)
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = of_version(kinds, group, version)
                        .map(|kind| discovered(kind))
                        .collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    Answer::Full {
        code: 200,
        content_type: aggregated_type(encoding),
        body: render::encode(encoding, &list),
    }
}

fn discovered(kind: &Kind) -> Value {
    let response_kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let (group, version) = (&kind.resource.group, &kind.resource.version);
    let mut resource = json!({
        "resource": kind.resource.resource,
        "responseKind": response_kind(group, version, &kind.gk.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.offer.verbs(kind.custom.is_some()),
    });
    if !kind.short_names.is_empty() {
        crate::json::set(&mut resource, &[], "shortNames", kind.short_names.clone());
    }
    if !kind.categories.is_empty() {
        crate::json::set(&mut resource, &[], "categories", kind.categories.clone());
    }
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|row| {
            json!({
                "subresource": row.name,
                "responseKind": response_kind(
                    row.group.unwrap_or(group), row.version.unwrap_or(version), exchanged(kind, row),
                ),
                "verbs": row.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        crate::json::set(&mut resource, &[], "subresources", subresources);
    }
    resource
}

/// `/`.
pub(crate) fn root(core: &Core) -> Answer {
    let kinds = core.registry.kinds();
    let mut paths: Vec<String> = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for group in kinds.groups() {
        paths.push(format!("/apis/{group}"));
        paths.extend(
            kinds
                .versions(&group)
                .iter()
                .map(|version| format!("/apis/{group}/{version}")),
        );
    }
    let others = [
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ];
    paths.extend(others.map(str::to_owned));
    Answer::json(200, &json!({"paths": paths}))
}

/// `/version` (API-576).
pub(crate) fn version() -> Answer {
    Answer::json(
        200,
        &json!({
            "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
            "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
            "gitVersion": "v1.36.0+steersman", "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
            "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        }),
    )
}

/// `/healthz`, `/livez`, `/readyz` (API-577).
pub(crate) fn health(path: &str, is_verbose: bool) -> Answer {
    if is_verbose {
        let name = path.trim_start_matches('/');
        Answer::text(200, format!("[+]ping ok\n{name} check passed\n"))
    } else {
        Answer::text(200, "ok")
    }
}
