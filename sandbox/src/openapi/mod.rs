//! OpenAPI documents: version 3 for each group version, version 2 for all (API-573 to API-575).
//!
//! Made when somebody asks, since they are large and most runs need none; then kept until the kinds change.

mod descriptions;
mod gnostic;
mod paths;
mod schemas;
#[cfg(test)]
mod tests;

use std::{
    hash::Hasher as _,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use rustc_hash::{FxHashMap, FxHasher};
use serde_json::{Map, Value, json};

use crate::{
    negotiation::{self, Form},
    registry::{Kind, Kinds},
    server::Core,
    status::Failure,
    verbs::Answer,
};
use schemas::{Dialect, Schemas};

/// Name of the version 2 document among the others.
const V2: &str = "v2";
/// Name of its binary form, as the last part of its media type.
const V2_BINARY: &str = "com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Documents that have been asked for, with the fingerprints of what they were made from.
#[derive(Default)]
pub(crate) struct Cache(Mutex<FxHashMap<String, (u64, Bytes)>>);

impl Cache {
    fn get(&self, name: &str, fingerprint: u64, make: impl FnOnce() -> Bytes) -> Bytes {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, body)) = lock()
            .get(name)
            .filter(|(made_from, _)| *made_from == fingerprint)
        {
            return body.clone();
        }
        let body = make();
        lock().insert(name.to_owned(), (fingerprint, body.clone()));
        body
    }
}

/// `/openapi/v3` and the documents below it; `None` if there is no such document.
pub(crate) fn v3(core: &Core, rest: &str) -> Option<Answer> {
    let kinds = core.registry.kinds();
    let rest = rest.trim_matches('/');
    if rest.is_empty() {
        return Some(index(&kinds));
    }
    let (group, version) = match rest.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    if !kinds.has_version(group, version) {
        return None;
    }
    let number = fingerprint(of_version(&kinds, group, version));
    let body = core.openapi.get(rest, number, || {
        document(Dialect::V3, of_version(&kinds, group, version))
            .to_string()
            .into()
    });
    Some(Answer::Full {
        code: 200,
        content_type: "application/json",
        body,
    })
}

fn index(kinds: &Kinds) -> Answer {
    let mut paths = Map::new();
    let versions = std::iter::once(String::new())
        .chain(kinds.groups())
        .flat_map(|group| {
            kinds
                .versions(&group)
                .into_iter()
                .map(move |version| (group.clone(), version))
        });
    for (group, version) in versions {
        let name = if group.is_empty() {
            format!("api/{version}")
        } else {
            format!("apis/{group}/{version}")
        };
        let number = fingerprint(of_version(kinds, &group, &version));
        let url = format!("/openapi/v3/{name}?hash={number:016X}");
        paths.insert(name, json!({"serverRelativeURL": url}));
    }
    let body = json!({"paths": paths}).to_string();
    Answer::Full {
        code: 200,
        content_type: "text/plain; charset=utf-8",
        body: body.into(),
    }
}

/// A number that changes with the document that is made from these kinds.
fn fingerprint<'a>(kinds: impl Iterator<Item = &'a Kind>) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(env!("CARGO_PKG_VERSION").as_bytes());
    for kind in kinds {
        hasher.write(kind.resource.to_string().as_bytes());
        hasher.write(kind.gk.kind.as_bytes());
        if let Some(custom) = &kind.custom {
            hasher.write(custom.schema.to_string().as_bytes());
            for subresource in &kind.subresources {
                hasher.write(subresource.name.as_bytes());
            }
        }
    }
    hasher.finish()
}

fn of_version<'a>(kinds: &'a Kinds, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
    all(kinds).filter(move |kind| kind.resource.group == group && kind.resource.version == version)
}

fn all(kinds: &Kinds) -> impl Iterator<Item = &Kind> {
    kinds.iter().map(AsRef::as_ref)
}

fn document<'a>(dialect: Dialect, kinds: impl Iterator<Item = &'a Kind>) -> Value {
    let mut schemas = Schemas::new(dialect);
    let mut paths = Map::new();
    for kind in kinds {
        paths::add(&mut paths, &mut schemas, kind);
    }
    let info = json!({"title": "Kubernetes", "version": "v1.36.0"});
    let schemas = schemas.finish();
    let token = json!({
        "type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication",
    });
    match dialect {
        Dialect::V2 => json!({
            "swagger": "2.0", "info": info, "paths": paths, "definitions": schemas,
            "securityDefinitions": {"BearerToken": token}, "security": [{"BearerToken": []}],
        }),
        Dialect::V3 => json!({
            "openapi": "3.0.0", "info": info, "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": {"BearerToken": token}},
        }),
    }
}

/// `/openapi/v2`, in the binary form for those who prefer it.
pub(crate) fn v2(core: &Core, headers: &HeaderMap) -> Result<Answer, Failure> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_binary = accept.is_some_and(prefers_binary);
    if !is_binary {
        negotiation::accept(accept, |accepted| accepted.form == Form::Plain)?;
    }
    let kinds = core.registry.kinds();
    let fingerprint = fingerprint(all(&kinds));
    let name = if is_binary { V2_BINARY } else { V2 };
    let body = core.openapi.get(name, fingerprint, || {
        let document = document(Dialect::V2, all(&kinds));
        if is_binary {
            gnostic::encode(&document).into()
        } else {
            document.to_string().into()
        }
    });
    Ok(Answer::Full {
        code: 200,
        content_type: if is_binary {
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        } else {
            "application/json"
        },
        body,
    })
}

/// The binary form stands before every other that is served. Clients write its version with `@`.
fn prefers_binary(accept: &str) -> bool {
    let media_types = accept
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    let mut known = media_types.filter_map(|name| match name {
        "application/json" | "application/*" | "*/*" => Some(false),
        name => {
            let name = name.strip_prefix("application/")?;
            (name.replace("v2@v1.0", "v2.v1.0") == V2_BINARY).then_some(true)
        }
    });
    known.next().unwrap_or_default()
}
