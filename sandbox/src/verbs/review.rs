//! Kinds that are only asked, never stored: reviews of tokens and of access (API-637), and the old form of bindings.

use serde_json::{Value, json};

use crate::{
    auth::{
        User,
        attributes::Attributes,
        rbac::{self, Decision, Rule},
        token,
    },
    json,
    names::GroupKind,
    status::Failure,
    validate::{FieldError, FieldErrorKind},
    verbs::{
        Answer, Call,
        create::{check_namespace, check_type},
        field_error, pod,
    },
};

/// Why everything is allowed without `--rbac`.
const PERMISSIVE: &str = "the sandbox allows everything: it was started without RBAC";

pub(crate) fn create(call: &mut Call<'_>) -> Result<Answer, Failure> {
    if call.kind.is_core("Binding") {
        let body = call.decode_body()?;
        call.path.name = Some(json::text(&body, &["metadata", "name"]).to_owned());
        let pods = call
            .core
            .registry
            .kinds()
            .get("", "v1", "pods")
            .map(std::sync::Arc::clone);
        call.kind = pods.ok_or_else(Failure::unknown_resource)?;
        return pod::bind(call);
    }
    let options = call.write_options("CreateOptions")?;
    let mut review = call.decode_body()?;
    check_type(call, &review)?;
    if call.kind.namespaced {
        check_namespace(call, &review)?;
        let namespace = call.path.namespace.clone().unwrap_or_default();
        json::set(&mut review, &["metadata"], "namespace", namespace);
    }
    crate::verbs::create::decode(call, &mut review, options.field_validation)
        .map_err(|why| call.undecodable(&why))?;
    json::remove(&mut review, &[], "status");
    if json::map_mut(&mut review, &["metadata"]).is_some() {
        json::remove(&mut review, &["metadata"], "creationTimestamp");
    }
    let kind = std::sync::Arc::clone(&call.kind);
    let status = match kind.gk.kind.as_ref() {
        "SelfSubjectReview" => {
            json::set(
                &mut review,
                &["metadata"],
                "creationTimestamp",
                call.core.timestamp(),
            );
            json!({"userInfo": call.user.to_value()})
        }
        "TokenReview" => token_status(call, &review)?,
        "SelfSubjectRulesReview" => {
            let status = rules_status(call, &review)?;
            json::set(&mut review, &[], "spec", json!({}));
            status
        }
        kind => access_status(call, kind, &review)?,
    };
    json::set(&mut review, &[], "status", status);
    Ok(Answer::object(201, crate::render::typed(&call.kind, review)))
}

fn token_status(call: &Call<'_>, review: &Value) -> Result<Value, Failure> {
    let token = json::text(review, &["spec", "token"]);
    if token.is_empty() {
        return Err(Failure::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let audiences = texts(review, &["spec", "audiences"]);
    Ok(match token::authenticate(call.core, token, &audiences) {
        Ok(known) => json!({
            "authenticated": true, "user": known.user.to_value(), "audiences": known.audiences,
        }),
        Err(error) => json!({"user": {}, "error": error}),
    })
}

fn texts(value: &Value, path: &[&str]) -> Vec<String> {
    json::list(value, path)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn rules_status(call: &Call<'_>, review: &Value) -> Result<Value, Failure> {
    let namespace = json::text(review, &["spec", "namespace"]);
    if namespace.is_empty() {
        return Err(Failure::bad_request("no namespace on request"));
    }
    if !call.core.config.rbac {
        return Ok(json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }));
    }
    let found = rbac::policy(call.core).rules_of(&call.user, namespace);
    let shown = |wanted: fn(&Rule) -> bool| -> Vec<Value> {
        found
            .rules
            .iter()
            .filter(|rule| wanted(rule))
            .map(|rule| json!(rule))
            .collect()
    };
    let mut status = json!({
        "resourceRules": shown(|rule| !rule.resources.is_empty()),
        "nonResourceRules": shown(|rule| !rule.urls.is_empty()),
        "incomplete": false,
    });
    if !found.errors.is_empty() {
        json::set(&mut status, &[], "evaluationError", found.error());
    }
    Ok(status)
}

fn access_status(call: &Call<'_>, kind: &str, review: &Value) -> Result<Value, Failure> {
    let errors = access_errors(kind, review);
    if !errors.is_empty() {
        // The real server does not name the kind here.
        return Err(Failure::invalid(
            &GroupKind::new("authorization.k8s.io", ""),
            "",
            &errors,
        ));
    }
    let asked = attributes(review);
    let decision = if call.core.config.rbac {
        let other;
        let user = if kind == "SelfSubjectAccessReview" {
            &call.user
        } else {
            other = std::sync::Arc::new(subject(review));
            &other
        };
        rbac::decide(call.core, user, &asked)
    } else {
        Decision {
            allowed: true,
            reason: PERMISSIVE.to_owned(),
        }
    };
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        json::set(&mut status, &[], "reason", decision.reason);
    }
    Ok(status)
}

/// The user that a review asks about.
fn subject(review: &Value) -> User {
    let extra = json::at(review, &["spec", "extra"]).and_then(Value::as_object);
    User {
        name: json::text(review, &["spec", "user"]).to_owned(),
        uid: json::text(review, &["spec", "uid"]).to_owned(),
        groups: texts(review, &["spec", "groups"]),
        extra: extra
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.to_lowercase(), texts(values, &[])))
            .collect(),
    }
}

/// The action that a review asks about.
fn attributes(review: &Value) -> Attributes {
    let place = if is_set(review, "nonResourceAttributes") {
        "nonResourceAttributes"
    } else {
        "resourceAttributes"
    };
    let text = |member: &str| json::text(review, &["spec", place, member]).to_owned();
    Attributes {
        verb: text("verb"),
        namespace: text("namespace"),
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        name: text("name"),
        path: (place == "nonResourceAttributes").then(|| text("path")),
    }
}

fn is_set(review: &Value, member: &str) -> bool {
    json::at(review, &["spec", member]).is_some_and(|value| !value.is_null())
}

fn access_errors(kind: &str, review: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, detail: String| {
        errors.push(field_error(FieldErrorKind::Invalid, field, detail));
    };
    let (resource, path) = (
        is_set(review, "resourceAttributes"),
        is_set(review, "nonResourceAttributes"),
    );
    let asked = attributes(review);
    let shown_path = json!({"Path": asked.path.clone().unwrap_or_default(), "Verb": asked.verb}).to_string();
    if resource && path {
        wrong(
            "spec.nonResourceAttributes",
            format!("{shown_path}: cannot be specified in combination with resourceAttributes"),
        );
    }
    if !resource && !path {
        wrong(
            "spec.resourceAttributes",
            "null: exactly one of nonResourceAttributes or resourceAttributes must be specified".to_owned(),
        );
    }
    let own = kind == "SelfSubjectAccessReview";
    if !own
        && json::text(review, &["spec", "user"]).is_empty()
        && json::list(review, &["spec", "groups"]).is_empty()
    {
        wrong(
            "spec.user",
            "\"\": at least one of user or group must be specified".to_owned(),
        );
    }
    let local = kind == "LocalSubjectAccessReview";
    let metadata = json::at(review, &["metadata"]).and_then(Value::as_object);
    let is_extra = |(member, value): (&String, &Value)| {
        let ignored = member == "managedFields" || (local && member == "namespace");
        !ignored && !json::is_blank(Some(value))
    };
    if let Some(metadata) = metadata.filter(|metadata| metadata.iter().any(is_extra)) {
        let rule = if local {
            "must be empty except for namespace"
        } else {
            "must be empty"
        };
        wrong("metadata", format!("{}: {rule}", Value::Object(metadata.clone())));
    }
    if local {
        let namespace = json::text(review, &["metadata", "namespace"]);
        if resource && asked.namespace != namespace && !path {
            wrong(
                "spec.resourceAttributes.namespace",
                format!("{:?}: must match metadata.namespace", asked.namespace),
            );
        }
        if path {
            wrong(
                "spec.nonResourceAttributes",
                format!("{shown_path}: disallowed on this kind of request"),
            );
        }
    }
    errors
}
