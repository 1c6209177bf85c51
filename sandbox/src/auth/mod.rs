//! Who calls, and whether they may: authentication, impersonation and RBAC (API-17 to API-19, API-637, API-680).
//!
//! ```text
//! request ─► authenticate ─► impersonate ─► authorize ─► verbs (with the user)
//!            certificate,     Impersonate-*   rbac, only
//!            bearer token                     when enforced
//! ```
//!
//! Without [`Config::rbac`](crate::Config::rbac) everybody may do everything, and who sends no credentials is the
//! administrator. The identity is known all the same: reviews and webhooks of charts ask for it.

pub(crate) mod attributes;
mod authenticate;
pub(crate) mod default_policy;
pub(crate) mod escalation;
mod impersonate;
pub(crate) mod rbac;
pub mod token;

use std::{collections::BTreeMap, sync::Arc};

use http::request::Parts;
use serde_json::{Value, json};

use self::attributes::Attributes;
use crate::{server::Core, status::Failure};

/// Group whose members may do everything, whatever the roles say.
pub(crate) const MASTERS: &str = "system:masters";
/// Group of everybody with credentials.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Group of everybody without.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of a caller without credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// Name of the administrator: the user of the kubeconfig, and of clients in this process.
pub(crate) const ADMIN: &str = "system:admin";

/// A caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User name, for example `system:serviceaccount:default:robot`.
    pub name: String,
    /// Unique id; empty if the credentials have none.
    pub uid: String,
    /// Groups in the order in which the credentials name them.
    pub groups: Vec<String>,
    /// What else the credentials say.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The administrator.
    #[must_use]
    pub fn admin() -> Self {
        Self {
            name: ADMIN.to_owned(),
            groups: vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// Whether the user is in `group`.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The user with group `system:authenticated`.
    pub(crate) fn authenticated(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// As `userInfo` of reviews shows it.
    pub(crate) fn to_value(&self) -> Value {
        let mut info = json!({"username": self.name});
        if !self.uid.is_empty() {
            crate::json::set(&mut info, &[], "uid", self.uid.as_str());
        }
        if !self.groups.is_empty() {
            crate::json::set(&mut info, &[], "groups", self.groups.clone());
        }
        if !self.extra.is_empty() {
            crate::json::set(&mut info, &[], "extra", json!(self.extra));
        }
        info
    }
}

/// User name of a service account.
pub(crate) fn service_account_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Namespace and name from the user name of a service account.
pub(crate) fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// Groups of a service account, without `system:authenticated`.
pub(crate) fn service_account_groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// This process: an administrator unless the request carries a token.
    InProcess,
    /// A connection, with the user of its client certificate if it has one.
    Connection(Option<Arc<User>>),
}

/// Finds out who sends the request and whether they may: the user on whose behalf it runs.
pub(crate) fn admit(core: &Arc<Core>, caller: &Caller, parts: &Parts) -> Result<Arc<User>, Failure> {
    let requestor = authenticate::authenticate(core, caller, &parts.headers)?;
    let wanted = impersonate::wanted(&parts.headers)?;
    if !core.config.rbac {
        return Ok(wanted.map_or(requestor, |wanted| Arc::new(impersonate::complete(wanted))));
    }
    let attributes = Attributes::of_request(parts);
    let user = match wanted {
        Some(wanted) => Arc::new(impersonate::authorize(core, &requestor, wanted, &attributes)?),
        None => requestor,
    };
    rbac::authorize(core, &user, &attributes)?;
    Ok(user)
}

#[cfg(test)]
mod tests;
