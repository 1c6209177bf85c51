//! The scale subresource (API-442, API-548).

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::{
    apply::{self, scale::replicas_path},
    json,
    names::GroupKind,
    negotiation::{self, Form},
    patch::merge,
    registry::{Kind, ScalePaths},
    schema::Types,
    status::Failure,
    store::Object,
    validate::FieldErrorKind,
    verbs::{
        Answer, Call, Written, field_error, patch,
        pod::silent,
        update::{ATTEMPTS, Scope, UpdateError, change},
    },
};

/// How a Scale changes.
enum Change {
    Put(Value),
    Patch(crate::patch::PatchKind, Value),
    Apply(Value),
}

pub(crate) fn scale(call: &mut Call<'_>, method: &Method) -> Result<Answer, Failure> {
    let root = Types::built_in().kind("autoscaling", "v1", "Scale");
    let (input, options) = match method.as_str() {
        "GET" => {
            let current = call.current()?;
            return answer(call, &scale_of(&call.kind, &current.parse(), &current));
        }
        "PUT" => (
            Change::Put(call.decode_body()?),
            call.write_options("UpdateOptions")?,
        ),
        _ => {
            let format = patch::format(call)?;
            let options = call.patch_options(format == patch::Format::Apply)?;
            let change = match format {
                patch::Format::Patch(kind) => Change::Patch(kind, patch::decode(call)?),
                patch::Format::Apply => {
                    let scale = GroupKind::new("autoscaling", "Scale");
                    let (config, problems) = patch::read_config(call, &scale, "autoscaling/v1")?;
                    apply::scale::check_config(&config)?;
                    patch::report(call, &problems, options)?;
                    Change::Apply(config)
                }
            };
            (change, options)
        }
    };
    for _ in 0..ATTEMPTS {
        let current = call.current()?;
        let target = current.parse();
        let before = scale_of(&call.kind, &target, &current);
        let (after, conditional) = match &input {
            Change::Put(sent) => (sent.clone(), true),
            Change::Apply(config) => (merge::apply(before.clone(), config), true),
            Change::Patch(kind, body) => (
                patch::apply_patch(*kind, root, &before, body)?,
                patch::insists_on_version(*kind, body),
            ),
        };
        check(call, &after, &target)?;
        let version = json::text(&after, &["metadata", "resourceVersion"]);
        if conditional && !matches!(version, "" | "0") && version != current.revision.to_string() {
            return Err(Failure::stale(&call.kind.resource, &current.key.name));
        }
        let count = |scale: &Value| json::at(scale, &["spec", "replicas"]).and_then(Value::as_i64);
        let live = count(&before).unwrap_or(0);
        let (replicas, ownership) = if let Change::Apply(config) = &input {
            apply::scale::applied(call, &current, live, config, call.query.flag("force"))?
        } else {
            let replicas = count(&after).unwrap_or(0);
            (replicas, apply::scale::updated(call, &current, replicas != live))
        };
        let mut new = target.clone();
        set_at(&mut new, &replicas_path(&call.kind), replicas);
        match change(call, &current, new, Scope::Main, silent(options), Some(ownership)) {
            Ok(Written::Stored(stored)) => {
                return answer(call, &scale_of(&call.kind, &stored.parse(), &stored));
            }
            Ok(Written::Unstored(value)) => return answer(call, &scale_of(&call.kind, &value, &current)),
            Err(UpdateError::Failed(failure)) => return Err(failure),
            Err(UpdateError::Undecodable(why)) => return Err(Failure::internal(why)),
            Err(UpdateError::Raced) => {}
        }
    }
    Err(Failure::stale(
        &call.kind.resource,
        call.path.name.as_deref().unwrap_or_default(),
    ))
}

fn check(call: &Call<'_>, scale: &Value, target: &Value) -> Result<(), Failure> {
    let name = call.path.name.as_deref().unwrap_or_default();
    let sent_name = json::text(scale, &["metadata", "name"]);
    if sent_name != name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({sent_name}) does not match the name on the URL ({name})"
        )));
    }
    let uid = json::text(scale, &["metadata", "uid"]);
    let stored = json::text(target, &["metadata", "uid"]);
    if !uid.is_empty() && uid != stored {
        let cause = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(Failure::conflict(&call.kind.resource, name, &cause));
    }
    match json::at(scale, &["spec", "replicas"]) {
        None | Some(Value::Null) => Ok(()),
        Some(replicas) => match replicas.as_i64() {
            Some(0..=0x7fff_ffff) => Ok(()),
            // The object itself is refused.
            Some(_) if call.kind.custom.is_some() => Ok(()),
            Some(_) => {
                let detail = format!("{replicas}: must be greater than or equal to 0");
                let error = field_error(FieldErrorKind::Invalid, "spec.replicas", detail);
                Err(Failure::invalid(
                    &GroupKind::new("autoscaling", "Scale"),
                    name,
                    &[error],
                ))
            }
            None => Err(Failure::bad_request(
                "Scale in version \"v1\" cannot be handled as a Scale: spec.replicas must be an integer",
            )),
        },
    }
}

fn answer(call: &Call<'_>, scale: &Value) -> Result<Answer, Failure> {
    negotiation::accept(call.header(http::header::ACCEPT), |accepted| {
        accepted.form == Form::Plain
    })?;
    Ok(Answer::object(200, scale.clone()))
}

/// The Scale of an object.
fn scale_of(kind: &Kind, target: &Value, object: &Arc<Object>) -> Value {
    let metadata: serde_json::Map<String, Value> = ["name", "namespace", "uid", "creationTimestamp"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), json::at(target, &["metadata", name])?.clone())))
        .chain([("resourceVersion".to_owned(), object.revision.to_string().into())])
        .collect();
    let custom = kind.custom.as_ref().and_then(|custom| custom.scale.as_ref());
    let replicas = get_at(target, &replicas_path(kind))
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let status_path = custom.map_or(".status.replicas", |paths| &paths.status_replicas);
    let current = get_at(target, &path(status_path))
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let mut spec = json!({});
    if replicas != 0 {
        json::set(&mut spec, &[], "replicas", replicas);
    }
    let mut status = json!({"replicas": current});
    let selector = selector_text(kind, custom, target);
    if !selector.is_empty() {
        json::set(&mut status, &[], "selector", selector);
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status,
    })
}

fn path(text: &str) -> Vec<String> {
    text.split('.')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn get_at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, member| value.get(member))
}

fn set_at(value: &mut Value, path: &[String], new: i64) {
    if let Some((last, parents)) = path.split_last() {
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        json::set(value, &parents, last, new);
    }
}

/// The selector in its text form, as autoscalers read it.
fn selector_text(kind: &Kind, custom: Option<&ScalePaths>, target: &Value) -> String {
    if let Some(paths) = custom {
        let place = paths.label_selector.as_deref().map(path);
        return place
            .and_then(|place| get_at(target, &place).and_then(Value::as_str))
            .unwrap_or_default()
            .to_owned();
    }
    let selector = json::at(target, &["spec", "selector"]).unwrap_or(&Value::Null);
    let labels = if kind.is_core("ReplicationController") {
        Some(selector)
    } else {
        selector.get("matchLabels")
    };
    let mut terms: Vec<String> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    terms.extend(
        json::list(selector, &["matchExpressions"])
            .iter()
            .map(expression_text),
    );
    terms.sort();
    terms.join(",")
}

fn expression_text(expression: &Value) -> String {
    let key = json::text(expression, &["key"]);
    let mut values: Vec<&str> = json::list(expression, &["values"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    values.sort_unstable();
    let values = values.join(",");
    match json::text(expression, &["operator"]) {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}
