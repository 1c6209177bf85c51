//! From stored definitions to what is served: names, conditions, and the versions in the registry (API-530).

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    check::{self, Approval},
    cleanup, names,
    schema::{Schema, texts},
};
use crate::{
    apply,
    json::{self, is_blank},
    names::Gvr,
    registry::{Custom, CustomVersion, Kind, ScalePaths, api_version},
    schema::Types,
    server::Core,
    store::Key,
    table::PrinterColumn,
};

pub(super) const TABLE: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// The resource whose objects are definitions.
pub(super) fn resource() -> Gvr {
    Gvr::new("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}

pub(super) fn is_definition(kind: &Kind) -> bool {
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
        match core.store.get(&TABLE.into(), key) {
            None => withdraw(core, key),
            Some(stored) if is_blank(json::at(&stored.parse(), &["metadata", "deletionTimestamp"])) => {
                if establish(core, key) {
                    establish_others(core, key);
                }
            }
            Some(stored) => {
                serve(core, &stored.parse());
                cleanup::clean_up(core, key);
            }
        }
    } else if is_terminating(core, kind) {
        cleanup::finish_clean_up(core, &Key::new("", &kind.resource.to_string()));
    }
}

/// Whether objects of a kind are being deleted with their definition; as of now, not as of when the write began.
fn is_terminating(core: &Core, kind: &Kind) -> bool {
    let resource = &kind.resource;
    kind.custom.is_some()
        && core
            .registry
            .kinds()
            .get(&resource.group, &resource.version, &resource.resource)
            .and_then(|kind| kind.custom.as_ref())
            .is_some_and(|custom| custom.terminating)
}

/// Stops to serve a definition that is gone; its names may be what another one waits for.
pub(super) fn withdraw(core: &Core, key: &Key) {
    let (plural, group) = key.name.split_once('.').unwrap_or((&key.name, ""));
    core.registry.define(group, plural, Vec::new());
    establish_others(core, key);
}

/// Looks again at the names of the definitions of a group after those of one of them have changed.
fn establish_others(core: &Core, key: &Key) {
    let group = key.name.split_once('.').map_or("", |(_, group)| group);
    for other in core.store.list(&TABLE.into(), None, None).objects {
        let definition = other.parse();
        let waits =
            json::at(&definition, &["spec", "names"]) != json::at(&definition, &["status", "acceptedNames"]);
        if waits
            && other.key != *key
            && json::text(&definition, &["spec", "group"]) == group
            && is_blank(json::at(&definition, &["metadata", "deletionTimestamp"]))
        {
            establish(core, &other.key);
        }
    }
}

/// Sets the conditions and names of a definition and starts to serve it. Returns whether its names have changed.
fn establish(core: &Core, key: &Key) -> bool {
    let now = core.timestamp();
    loop {
        let Some(stored) = core.store.get(&TABLE.into(), key) else {
            return false;
        };
        let before = stored.parse();
        let mut definition = before.clone();
        accept_names(core, key, &mut definition, &now);
        approve(&mut definition, &now);
        let versions: BTreeSet<String> = json::at(&definition, &["status"])
            .map_or_else(Vec::new, |status| texts(status, "storedVersions"))
            .into_iter()
            .chain(
                json::list(&definition, &["spec", "versions"])
                    .iter()
                    .filter(|version| json::at(version, &["storage"]) == Some(&Value::Bool(true)))
                    .map(|version| json::text(version, &["name"]).to_owned()),
            )
            .collect();
        let known = json::at(&definition, &["status"])
            .map_or_else(Vec::new, |status| texts(status, "storedVersions"));
        if known.len() != versions.len() {
            json::set(
                &mut definition,
                &["status"],
                "storedVersions",
                Vec::from_iter(versions),
            );
        }
        let names = &["status", "acceptedNames"];
        let renamed = json::at(&before, names) != json::at(&definition, names);
        // Nobody owns the list of stored versions: upstream makes it within the client's write.
        let mut owned = before.clone();
        json::copy_member(&definition, &mut owned, &["status"], "storedVersions");
        let draft = apply::draft_of_status(core, &resource(), &stored, (&owned, &definition));
        if definition == before
            || core
                .store
                .replace(&TABLE.into(), key, stored.revision, &draft)
                .is_ok()
        {
            serve(core, &definition);
            return renamed;
        }
    }
}

fn accept_names(core: &Core, key: &Key, definition: &mut Value, now: &str) {
    let group = json::text(definition, &["spec", "group"]).to_owned();
    let others: Vec<Value> = core
        .store
        .list(&TABLE.into(), None, None)
        .objects
        .into_iter()
        .filter(|other| other.key != *key)
        .map(|other| other.parse())
        .filter(|other| json::text(other, &["spec", "group"]) == group)
        .collect();
    let accepted = names::accept(definition, others.iter());
    json::set(definition, &["status"], "acceptedNames", accepted.names);
    let established = condition_status(definition, "Established") == "True";
    match accepted.conflict {
        None => {
            set_condition(
                definition,
                "NamesAccepted",
                "True",
                "NoConflicts",
                "no conflicts found",
                now,
            );
            if !established {
                let message = "the initial names have been accepted";
                set_condition(
                    definition,
                    "Established",
                    "True",
                    "InitialNamesAccepted",
                    message,
                    now,
                );
            }
        }
        Some((reason, message)) => {
            set_condition(definition, "NamesAccepted", "False", reason, &message, now);
            if !established {
                let message = "not all names are accepted";
                set_condition(definition, "Established", "False", "NotAccepted", message, now);
            }
        }
    }
}

/// The condition of definitions in the groups of the community.
fn approve(definition: &mut Value, now: &str) {
    if let Some((state, reason)) = check::approval(definition) {
        let (status, word) = match state {
            Approval::Missing => ("False", "MissingAnnotation"),
            Approval::Invalid => ("False", "InvalidAnnotation"),
            Approval::Bypassed => ("False", "UnapprovedAnnotation"),
            Approval::Approved => ("True", "ApprovedAnnotation"),
        };
        set_condition(
            definition,
            "KubernetesAPIApprovalPolicyConformant",
            status,
            word,
            &reason,
            now,
        );
    }
}

fn condition_status<'a>(definition: &'a Value, kind: &str) -> &'a str {
    json::list(definition, &["status", "conditions"])
        .iter()
        .find(|condition| json::text(condition, &["type"]) == kind)
        .map_or("", |condition| json::text(condition, &["status"]))
}

pub(super) fn set_condition(
    object: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &str,
) {
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

/// Makes the served versions of a definition known to the registry.
fn serve(core: &Core, definition: &Value) {
    let group = json::text(definition, &["spec", "group"]);
    let plural = json::text(definition, &["spec", "names", "plural"]);
    if condition_status(definition, "Established") != "True" {
        core.registry.define(group, plural, Vec::new());
        return;
    }
    let versions = json::list(definition, &["spec", "versions"]);
    let alike = versions
        .iter()
        .all(|version| version.get("schema") == versions.first().and_then(|first| first.get("schema")));
    let kinds = core.registry.kinds();
    let served = versions
        .iter()
        .filter(|version| json::at(version, &["served"]) == Some(&Value::Bool(true)))
        .map(|version| {
            let mut version = custom_version(definition, version, group, plural);
            // Objects written under another schema are brought into the form of this one when they are read.
            let known = kinds.get(group, &version.resource.version, plural);
            version.custom.settled = match known.and_then(|kind| kind.custom.as_ref()) {
                _ if !alike => None,
                Some(known) if known.schema == version.custom.schema && known.settled.is_some() => {
                    known.settled
                }
                _ => Some(core.store.revision()),
            };
            Kind::from(version)
        })
        .collect();
    core.registry.define(group, plural, served);
}

fn custom_version(definition: &Value, version: &Value, group: &str, plural: &str) -> CustomVersion {
    let names = json::at(definition, &["status", "acceptedNames"]).unwrap_or(&Value::Null);
    let kind = json::text(names, &["kind"]).to_owned();
    let or = |text: &str, fallback: String| {
        if text.is_empty() {
            fallback
        } else {
            text.to_owned()
        }
    };
    let scale = json::at(version, &["subresources", "scale"])
        .filter(|scale| scale.is_object())
        .map(|scale| {
            let selector = json::text(scale, &["labelSelectorPath"]);
            ScalePaths {
                spec_replicas: json::text(scale, &["specReplicasPath"]).to_owned(),
                status_replicas: json::text(scale, &["statusReplicasPath"]).to_owned(),
                label_selector: (!selector.is_empty()).then(|| selector.to_owned()),
            }
        });
    let schema = json::at(version, &["schema", "openAPIV3Schema"])
        .cloned()
        .unwrap_or(Value::Null);
    let resource = Gvr::new(
        group.to_owned(),
        json::text(version, &["name"]).to_owned(),
        plural.to_owned(),
    );
    CustomVersion {
        list_kind: or(json::text(names, &["listKind"]), format!("{kind}List")),
        singular: or(json::text(names, &["singular"]), kind.to_ascii_lowercase()),
        short_names: texts(names, "shortNames"),
        categories: texts(names, "categories"),
        namespaced: json::text(definition, &["spec", "scope"]) != "Cluster",
        status: json::at(version, &["subresources", "status"]).is_some_and(|status| !status.is_null()),
        custom: Custom {
            types: Types::of_schema(&schema),
            storage: storage_schema(definition, &schema),
            validation: Arc::new(Schema::parse(&schema)),
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
            deprecation: deprecation(version, &resource, &kind),
            type_meta: [api_version(&resource.group, &resource.version), kind.clone()],
            terminating: !is_blank(json::at(definition, &["metadata", "deletionTimestamp"])),
            settled: None,
        },
        resource,
        kind,
    }
}

/// The schema of the storage version, if it is not `schema`.
fn storage_schema(definition: &Value, schema: &Value) -> Option<Arc<Schema>> {
    json::list(definition, &["spec", "versions"])
        .iter()
        .find(|version| json::at(version, &["storage"]) == Some(&Value::Bool(true)))
        .and_then(|version| json::at(version, &["schema", "openAPIV3Schema"]))
        .filter(|storage| *storage != schema)
        .map(|storage| Arc::new(Schema::parse(storage)))
}

/// Text of the `Warning` header of a deprecated version (API-550).
fn deprecation(version: &Value, resource: &Gvr, kind: &str) -> Option<String> {
    let own = json::text(version, &["deprecationWarning"]);
    (json::at(version, &["deprecated"]) == Some(&Value::Bool(true))).then(|| {
        if own.is_empty() {
            format!("{}/{} {kind} is deprecated", resource.group, resource.version)
        } else {
            own.to_owned()
        }
    })
}
