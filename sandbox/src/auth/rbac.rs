//! Role-based access control over the stored roles and bindings (API-680).
//!
//! The tables are parsed once per change of any of them; a decision then walks the bindings that name the user.

use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MASTERS, User, attributes::Attributes, split_service_account};
use crate::{
    names::Gvr,
    server::Core,
    status::Failure,
    store::{Revision, TableName},
};

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub(crate) api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub(crate) resources: Vec<String>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_empty",
        rename = "nonResourceURLs"
    )]
    pub(crate) urls: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "or_empty")]
    pub(crate) resource_names: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub(crate) verbs: Vec<String>,
}

/// `null` is an empty list.
fn or_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Debug)]
struct Binding {
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

impl Rule {
    /// The rules of a Role or `ClusterRole`.
    pub(crate) fn of_role(role: &Value) -> Vec<Self> {
        crate::json::at(role, &["rules"])
            .and_then(|rules| Option::<Vec<Self>>::deserialize(rules).ok())
            .flatten()
            .unwrap_or_default()
    }

    fn allows(&self, attributes: &Attributes) -> bool {
        let has = |set: &[String], wanted: &str| set.iter().any(|own| own == "*" || own == wanted);
        if !has(&self.verbs, &attributes.verb) {
            return false;
        }
        match &attributes.path {
            Some(path) => self.urls.iter().any(|url| {
                url == path
                    || url
                        .strip_suffix('*')
                        .is_some_and(|prefix| path.starts_with(prefix.trim_end_matches('*')))
            }),
            None => {
                has(&self.api_groups, &attributes.group)
                    && self.resources.iter().any(|own| covers_resource(own, attributes))
                    && (self.resource_names.is_empty() || self.resource_names.contains(&attributes.name))
            }
        }
    }
}

fn covers_resource(own: &str, attributes: &Attributes) -> bool {
    if own == "*" {
        return true;
    }
    if attributes.subresource.is_empty() {
        return own == attributes.resource;
    }
    match own.split_once('/') {
        Some((resource, subresource)) => {
            (resource == "*" || resource == attributes.resource) && subresource == attributes.subresource
        }
        None => false,
    }
}

impl Subject {
    fn is(&self, user: &User, namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => user.name == self.name,
            "Group" => user.is_in(&self.name),
            "ServiceAccount" => {
                split_service_account(&user.name) == Some((self.namespace_or(namespace), self.name.as_str()))
            }
            _ => false,
        }
    }

    fn namespace_or<'a>(&'a self, namespace: &'a str) -> &'a str {
        if self.namespace.is_empty() {
            namespace
        } else {
            &self.namespace
        }
    }
}

/// The parsed tables at one moment.
#[derive(Debug)]
pub(crate) struct Policy {
    version: Revision,
    /// By namespace, which is empty for cluster roles, and name.
    roles: FxHashMap<(String, String), Vec<Rule>>,
    cluster_bindings: Vec<Binding>,
    bindings: FxHashMap<String, Vec<Binding>>,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Who allowed it, or what could not be resolved; may be empty.
    pub(crate) reason: String,
}

/// All rules of a user in a namespace.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// Bindings whose role is missing, as messages.
    pub(crate) errors: Vec<String>,
}

impl Rules {
    /// The errors as one text: alone, or as a list in brackets.
    pub(crate) fn error(&self) -> String {
        match self.errors.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    }
}

fn tables() -> [TableName; 4] {
    ["clusterroles", "clusterrolebindings", "roles", "rolebindings"]
        .map(|plural| Gvr::new(GROUP, "v1", plural).to_string().into())
}

/// The policy as the tables are now.
pub(crate) fn policy(core: &Core) -> Arc<Policy> {
    let tables = core.rbac.tables();
    let version = core.store.version_of(tables);
    let mut cached = core.rbac.policy.lock().unwrap_or_else(PoisonError::into_inner);
    match &*cached {
        Some(policy) if policy.version == version => Arc::clone(policy),
        _ => {
            let policy = Arc::new(Policy::load(core, tables, version));
            *cached = Some(Arc::clone(&policy));
            policy
        }
    }
}

/// Where the server keeps the parsed policy.
#[derive(Debug)]
pub(crate) struct Cache {
    tables: [TableName; 4],
    policy: std::sync::Mutex<Option<Arc<Policy>>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            tables: tables(),
            policy: std::sync::Mutex::new(None),
        }
    }
}

impl Cache {
    fn tables(&self) -> &[TableName; 4] {
        &self.tables
    }
}

impl Policy {
    fn load(
        core: &Core,
        [cluster_roles, cluster_bindings, roles, bindings]: &[TableName; 4],
        version: Revision,
    ) -> Self {
        let mut policy = Self {
            version,
            roles: FxHashMap::default(),
            cluster_bindings: Vec::new(),
            bindings: FxHashMap::default(),
        };
        for table in [cluster_roles, roles] {
            for object in core.store.list(table, None, None).objects {
                let key = (object.key.namespace.to_string(), object.key.name.to_string());
                policy.roles.insert(key, Rule::of_role(&object.parse()));
            }
        }
        for table in [cluster_bindings, bindings] {
            for object in core.store.list(table, None, None).objects {
                let value = object.parse();
                let namespace = object.key.namespace.to_string();
                let binding = Binding {
                    name: object.key.name.to_string(),
                    role: value
                        .get("roleRef")
                        .and_then(|role| RoleRef::deserialize(role).ok())
                        .unwrap_or_default(),
                    subjects: value
                        .get("subjects")
                        .and_then(|subjects| Vec::deserialize(subjects).ok())
                        .unwrap_or_default(),
                    namespace: namespace.clone(),
                };
                if namespace.is_empty() {
                    policy.cluster_bindings.push(binding);
                } else {
                    policy.bindings.entry(namespace).or_default().push(binding);
                }
            }
        }
        policy
    }

    /// The rules of a role that a binding in `namespace` names.
    pub(crate) fn role(&self, kind: &str, name: &str, namespace: &str) -> Result<&[Rule], String> {
        let (place, resource) = match kind {
            "Role" => (namespace, "role"),
            "ClusterRole" => ("", "clusterrole"),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        self.roles
            .get(&(place.to_owned(), name.to_owned()))
            .map(Vec::as_slice)
            .ok_or_else(|| format!("{resource}.{GROUP} {name:?} not found"))
    }

    /// Calls `visit` with the binding, the subject and the rules of each binding that applies, until it returns false.
    fn visit<'a>(
        &'a self,
        user: &User,
        namespace: &str,
        mut visit: impl FnMut(&'a Binding, &'a Subject, Result<&'a [Rule], String>) -> bool,
    ) {
        let own = self.bindings.get(namespace).into_iter().flatten();
        for binding in self.cluster_bindings.iter().chain(own) {
            let subject = binding
                .subjects
                .iter()
                .find(|subject| subject.is(user, &binding.namespace));
            let Some(subject) = subject else { continue };
            let rules = self.role(&binding.role.kind, &binding.role.name, &binding.namespace);
            if !visit(binding, subject, rules) {
                return;
            }
        }
    }

    /// Everything that the user may do in the namespace.
    pub(crate) fn rules_of(&self, user: &User, namespace: &str) -> Rules {
        let mut found = Rules::default();
        self.visit(user, namespace, |_, _, rules| {
            match rules {
                Ok(rules) => found.rules.extend_from_slice(rules),
                Err(error) => found.errors.push(error),
            }
            true
        });
        found
    }

    /// Decides by the bindings alone.
    fn decide(&self, user: &User, attributes: &Attributes) -> Decision {
        let mut reason = None;
        let mut unresolved = Rules::default();
        self.visit(user, &attributes.namespace, |binding, subject, rules| {
            match rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    reason = Some(describe(binding, subject));
                }
                Ok(_) => {}
                Err(error) => unresolved.errors.push(error),
            }
            reason.is_none()
        });
        match reason {
            Some(by) => Decision {
                allowed: true,
                reason: format!("RBAC: allowed by {by}"),
            },
            None if unresolved.errors.is_empty() => Decision {
                allowed: false,
                reason: String::new(),
            },
            None => Decision {
                allowed: false,
                reason: format!("RBAC: {}", unresolved.error()),
            },
        }
    }
}

fn describe(binding: &Binding, subject: &Subject) -> String {
    let (kind, name) = if binding.namespace.is_empty() {
        ("ClusterRoleBinding", binding.name.clone())
    } else {
        ("RoleBinding", format!("{}/{}", binding.name, binding.namespace))
    };
    let subject_name = if subject.kind == "ServiceAccount" {
        format!("{}/{}", subject.name, subject.namespace_or(&binding.namespace))
    } else {
        subject.name.clone()
    };
    format!(
        "{kind} {name:?} of {} {:?} to {} {subject_name:?}",
        binding.role.kind, binding.role.name, subject.kind
    )
}

/// Whether `user` may do it.
pub(crate) fn decide(core: &Core, user: &User, attributes: &Attributes) -> Decision {
    if user.is_in(MASTERS) {
        return Decision {
            allowed: true,
            reason: String::new(),
        };
    }
    policy(core).decide(user, attributes)
}

/// 403 unless `user` may do it.
pub(crate) fn authorize(core: &Core, user: &User, attributes: &Attributes) -> Result<(), Failure> {
    let decision = decide(core, user, attributes);
    if decision.allowed {
        Ok(())
    } else {
        Err(attributes.forbidden(user, &decision.reason))
    }
}
