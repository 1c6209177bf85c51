//! Kinds that are only asked, never stored (API-637), and the old form of bindings.

use serde_json::{Value, json};

use crate::{
    json,
    status::Failure,
    verbs::{Answer, Call, create::check_type, pod},
};

const REASON: &str = "the sandbox allows everything";

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
    let mut review = call.decode_body()?;
    check_type(call, &review)?;
    let user = json!({"username": "system:admin", "groups": ["system:masters", "system:authenticated"]});
    let status = match call.kind.gk.kind.as_ref() {
        "SelfSubjectReview" => json!({"userInfo": user}),
        "TokenReview" => json!({"authenticated": false, "user": {}, "error": "the sandbox issues no tokens"}),
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        _ => json!({"allowed": true, "reason": REASON}),
    };
    json::set(&mut review, &[], "status", status);
    if json::at(&review, &["metadata"]).is_none_or(Value::is_null) {
        json::set(&mut review, &[], "metadata", json!({}));
    }
    let created = match call.kind.gk.kind.as_ref() {
        "SelfSubjectReview" => call.core.timestamp().into(),
        _ => Value::Null,
    };
    json::set(&mut review, &["metadata"], "creationTimestamp", created);
    Ok(Answer::json(201, &crate::render::typed(&call.kind, review)))
}
