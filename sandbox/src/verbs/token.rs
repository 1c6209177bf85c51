//! Tokens for service accounts: the subresource `token` (API-473).

use serde_json::{Value, json};

use crate::{
    auth::{
        service_account_name,
        token::{Bound, Claims, ISSUER, Reference},
    },
    json,
    names::GroupKind,
    server::timestamp,
    status::Failure,
    store::Key,
    validate::{self, FieldError, FieldErrorKind},
    verbs::{Answer, Call, FieldValidation, create::check_namespace, field_error},
};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// Seconds that a token lives unless the request says otherwise.
const DEFAULT_LIFE: i64 = 3600;
const SHORTEST_LIFE: i64 = 600;
const LONGEST_LIFE: i64 = 1 << 32;
/// What kubelets ask for when they mount a token: such tokens keep working for a year, so that clients which never
/// read theirs again go on, and only count as old after the hour.
const MOUNTED_LIFE: i64 = 3607;
const EXTENDED_LIFE: i64 = 365 * 24 * 60 * 60;

/// What a token is bound to.
#[derive(Default)]
struct Binding {
    pod: Option<Reference>,
    node: Option<Reference>,
    secret: Option<Reference>,
}

pub(crate) fn request(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let options = call.write_options("CreateOptions")?;
    let mut sent = decode(call, options.field_validation)?;
    check_namespace(call, &sent)?;
    let name = call.path.name.clone().unwrap_or_default();
    let invalid =
        |name: &str, errors: &[FieldError]| Failure::invalid(&GroupKind::new(GROUP, KIND), name, errors);
    let sent_name = json::text(&sent, &["metadata", "name"]);
    if !sent_name.is_empty() && sent_name != name {
        let detail = format!("{sent_name:?}: must match the service account name if specified");
        let error = field_error(FieldErrorKind::Invalid, "metadata.name", detail);
        return Err(invalid(&name, &[error]));
    }
    let account = call.current()?.parse();
    let uid = json::text(&account, &["metadata", "uid"]).to_owned();
    let sent_uid = json::text(&sent, &["metadata", "uid"]);
    if !sent_uid.is_empty() && sent_uid != uid {
        let cause = format!(
            "the UID in the token request ({sent_uid}) does not match the UID of the service account ({uid})"
        );
        let what = format!("{KIND}.{GROUP}");
        return Err(Failure::conflict_on(&what, GROUP, KIND, &name, &cause));
    }
    let life = json::at(&sent, &["spec", "expirationSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(DEFAULT_LIFE);
    if let Some(limit) = wrong_life(life) {
        let error = field_error(
            FieldErrorKind::Invalid,
            "spec.expirationSeconds",
            format!("{life}: {limit}"),
        );
        return Err(invalid("", &[error]));
    }
    let mut audiences: Vec<String> = json::list(&sent, &["spec", "audiences"])
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let binding = bind(call, &name, &sent)?;
    let now = call.core.now();
    let for_server = audiences.iter().all(|audience| audience == ISSUER);
    let extended = life == MOUNTED_LIFE && binding.pod.is_some() && for_server;
    let second = now.as_second();
    let after = |seconds: i64| second.saturating_add(seconds);
    let namespace = call.path.namespace.clone().unwrap_or_default();
    let claims = Claims {
        aud: audiences.clone(),
        exp: after(if extended { EXTENDED_LIFE } else { life }),
        iat: second,
        iss: ISSUER.to_owned(),
        jti: call.core.uid(),
        nbf: second,
        sub: service_account_name(&namespace, &name),
        bound: Bound {
            namespace: namespace.clone(),
            node: binding.node,
            pod: binding.pod,
            secret: binding.secret,
            serviceaccount: Reference {
                name: name.clone(),
                uid: uid.clone(),
            },
            warnafter: extended.then(|| after(life)),
        },
    };
    let token = call.core.signer.issue(&claims).map_err(Failure::internal)?;
    let expires = now
        .saturating_add(jiff::SignedDuration::from_secs(life))
        .unwrap_or(now);
    json::set(&mut sent, &["spec"], "audiences", audiences);
    json::set(&mut sent, &["spec"], "expirationSeconds", life);
    if json::at(&sent, &["spec", "boundObjectRef"]).is_none() {
        json::set(&mut sent, &["spec"], "boundObjectRef", Value::Null);
    }
    for (member, value) in [
        ("name", name),
        ("namespace", namespace),
        ("uid", uid),
        ("creationTimestamp", call.core.timestamp()),
    ] {
        json::set(&mut sent, &["metadata"], member, value);
    }
    let status = json!({"token": token, "expirationTimestamp": timestamp(expires)});
    json::set(&mut sent, &[], "status", status);
    json::set(&mut sent, &[], "kind", KIND);
    json::set(&mut sent, &[], "apiVersion", format!("{GROUP}/v1"));
    Ok(Answer::object(201, sent))
}

/// The body, which has to be a `TokenRequest` if it says what it is.
fn decode(call: &mut Call<'_>, field_validation: FieldValidation) -> Result<Value, Failure> {
    let mut sent = call.decode_body()?;
    let (version, kind) = (json::text(&sent, &["apiVersion"]), json::text(&sent, &["kind"]));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    if !(version.is_empty() && kind.is_empty()) && (group, kind) != (GROUP, KIND) {
        let version = version.rsplit('/').next().unwrap_or_default();
        let group = group.split('.').next().unwrap_or_default();
        let from = if group.is_empty() { version } else { group };
        return Err(Failure::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {KIND}: converting ({from}.{kind}) to \
             (authentication.{KIND}): unknown conversion"
        )));
    }
    for member in ["kind", "apiVersion", "status"] {
        json::remove(&mut sent, &[], member);
    }
    let undecodable = |why: &str| {
        Failure::bad_request(format!(
            "{KIND} in version \"v1\" cannot be handled as a {KIND}: {why}"
        ))
    };
    let mut problems =
        validate::decode(&GroupKind::new(GROUP, KIND), &mut sent).map_err(|why| undecodable(&why))?;
    problems.append(&mut call.duplicates);
    match field_validation {
        FieldValidation::Strict if !problems.is_empty() => {
            let why = format!("strict decoding error: {}", problems.join(", "));
            return Err(undecodable(&why));
        }
        FieldValidation::Warn => problems.into_iter().for_each(|problem| call.warn(problem)),
        FieldValidation::Strict | FieldValidation::Ignore => {}
    }
    Ok(sent)
}

fn wrong_life(seconds: i64) -> Option<&'static str> {
    if seconds < SHORTEST_LIFE {
        Some("may not specify a duration less than 10 minutes")
    } else if seconds > LONGEST_LIFE {
        Some("may not specify a duration larger than 2^32 seconds")
    } else {
        None
    }
}

/// Looks up the object of `spec.boundObjectRef`.
fn bind(call: &Call<'_>, account: &str, sent: &Value) -> Result<Binding, Failure> {
    let Some(wanted) = json::at(sent, &["spec", "boundObjectRef"]).filter(|wanted| !wanted.is_null()) else {
        return Ok(Binding::default());
    };
    let (kind, version) = (json::text(wanted, &["kind"]), json::text(wanted, &["apiVersion"]));
    let name = json::text(wanted, &["name"]);
    let plural = match (version.contains('/'), kind) {
        (false, "Pod") => "pods",
        (false, "Node") => "nodes",
        (false, "Secret") => "secrets",
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            return Err(Failure::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    let get = |plural: &str, namespace: &str, name: &str| {
        let stored = call.core.store.get(&plural.into(), &Key::new(namespace, name));
        stored.map(|object| object.parse())
    };
    let place = if plural == "nodes" { "" } else { namespace };
    let missing = || Failure::not_found(&crate::names::Gvr::new("", "v1", plural.to_owned()), name);
    let object = get(plural, place, name).ok_or_else(missing)?;
    let reference = |name: &str, object: Option<&Value>| Reference {
        name: name.to_owned(),
        uid: object
            .map(|object| json::text(object, &["metadata", "uid"]))
            .unwrap_or_default()
            .to_owned(),
    };
    if kind == "Pod" && json::text(&object, &["spec", "serviceAccountName"]) != account {
        return Err(Failure::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let uid = json::text(wanted, &["uid"]);
    if !uid.is_empty() && uid != json::text(&object, &["metadata", "uid"]) {
        let cause = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(Failure::conflict_on(kind, "", kind, name, &cause));
    }
    let own = Some(reference(name, Some(&object)));
    Ok(match kind {
        "Pod" => {
            let node = json::text(&object, &["spec", "nodeName"]);
            Binding {
                pod: own,
                node: (!node.is_empty()).then(|| reference(node, get("nodes", "", node).as_ref())),
                secret: None,
            }
        }
        "Node" => Binding {
            node: own,
            ..Binding::default()
        },
        _ => Binding {
            secret: own,
            ..Binding::default()
        },
    })
}
