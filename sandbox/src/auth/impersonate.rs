//! Acting as somebody else (API-18): `Impersonate-*` headers, with the constrained modes of 1.36 before the old right
//! `impersonate`.

use std::{fmt::Write as _, sync::Arc};

use http::HeaderMap;

use super::{
    ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User, attributes::Attributes, rbac, service_account_groups,
    split_service_account,
};
use crate::{request::percent_decode, server::Core, status::Failure, validate::gofmt};

const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE: &str = "system:node:";

/// The user that the headers ask for, exactly as they say.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Option<User>, Failure> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut user = User {
        name: text("impersonate-user"),
        uid: text("impersonate-uid"),
        groups: headers
            .get_all("impersonate-group")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect(),
        ..User::default()
    };
    for (name, value) in headers {
        let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) else {
            continue;
        };
        let key = percent_decode(key).to_lowercase();
        user.extra.entry(key).or_default().push(value.to_owned());
    }
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user == User::default() {
        return Ok(None);
    }
    Err(Failure::bad_request(format!(
        "requested {} without impersonating a user name",
        shown(&user)
    )))
}

/// The user in the notation of the real server's message.
fn shown(user: &User) -> String {
    let list = |items: &[String]| {
        let quoted: Vec<String> = items.iter().map(|item| gofmt::quote(item)).collect();
        if items.is_empty() {
            "[]string(nil)".to_owned()
        } else {
            format!("[]string{{{}}}", quoted.join(", "))
        }
    };
    let mut text = format!(
        "&user.DefaultInfo{{Name:\"\", UID:{}, Groups:{}, Extra:map[string][]string",
        gofmt::quote(&user.uid),
        list(&user.groups)
    );
    if user.extra.is_empty() {
        text.push_str("(nil)}");
        return text;
    }
    let pairs: Vec<String> = user
        .extra
        .iter()
        .map(|(key, values)| format!("{}:{}", gofmt::quote(key), list(values)))
        .collect();
    // Writing to a string does not fail.
    let _ = write!(text, "{{{}}}}}", pairs.join(", "));
    text
}

/// The groups that come with the name.
pub(crate) fn complete(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = split_service_account(&user.name)
    {
        user.groups = service_account_groups(namespace);
    }
    if user.name == ANONYMOUS {
        if !user.is_in(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !user.is_in(UNAUTHENTICATED) && !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// A way to impersonate, with rights of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account acts as the node that its pod runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    /// The verb `impersonate`, whatever the request does.
    Legacy,
}

impl Mode {
    const ALL: [Self; 5] = [
        Self::AssociatedNode,
        Self::ArbitraryNode,
        Self::ServiceAccount,
        Self::UserInfo,
        Self::Legacy,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    /// Whether the mode is meant for this pair.
    fn applies(self, requestor: &User, wanted: &User) -> bool {
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = wanted.name.strip_prefix(NODE);
        let is_account = split_service_account(&wanted.name).is_some();
        match self {
            Self::AssociatedNode => {
                let own = requestor
                    .extra
                    .get("authentication.kubernetes.io/node-name")
                    .and_then(|names| names.first());
                let is_own = node.is_some() && own.map(String::as_str) == node;
                only_name && is_own && split_service_account(&requestor.name).is_some()
            }
            Self::ArbitraryNode => only_name && node.is_some(),
            Self::ServiceAccount => only_name && is_account,
            Self::UserInfo => node.is_none() && !is_account,
            Self::Legacy => true,
        }
    }
}

/// The user to act as, if the requestor may.
pub(crate) fn authorize(
    core: &Arc<Core>,
    requestor: &User,
    wanted: User,
    attributes: &Attributes,
) -> Result<User, Failure> {
    let mut refused = None;
    for mode in Mode::ALL {
        if !mode.applies(requestor, &wanted) {
            continue;
        }
        match check(core, requestor, &wanted, attributes, mode) {
            Ok(()) => {
                let mut user = wanted;
                if matches!(mode, Mode::AssociatedNode | Mode::ArbitraryNode) {
                    user.groups = vec!["system:nodes".to_owned()];
                }
                return Ok(complete(user));
            }
            Err(failure) => {
                refused.get_or_insert(failure);
            }
        }
    }
    Err(refused.unwrap_or_else(|| attributes.forbidden(requestor, "")))
}

/// Every part of the wanted identity needs a right.
fn check(
    core: &Arc<Core>,
    requestor: &User,
    wanted: &User,
    attributes: &Attributes,
    mode: Mode,
) -> Result<(), Failure> {
    let (verb, group) = if mode == Mode::Legacy {
        ("impersonate".to_owned(), "")
    } else {
        let on = Attributes {
            verb: format!("impersonate-on:{}:{}", mode.name(), attributes.verb),
            ..attributes.clone()
        };
        rbac::authorize(core, requestor, &on)?;
        (format!("impersonate:{}", mode.name()), AUTHENTICATION)
    };
    let right = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
        verb: verb.clone(),
        namespace: namespace.to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        name: name.to_owned(),
        path: None,
    };
    let node = wanted.name.strip_prefix(NODE).filter(|_| mode != Mode::Legacy);
    let of_name = match (node, split_service_account(&wanted.name)) {
        (Some(_), _) if mode == Mode::AssociatedNode => right(group, "nodes", "", "", "*"),
        (Some(node), _) => right(group, "nodes", "", "", node),
        (None, Some((namespace, name))) => right(group, "serviceaccounts", "", namespace, name),
        (None, None) => right(group, "users", "", "", &wanted.name),
    };
    rbac::authorize(core, requestor, &of_name)?;
    if !wanted.uid.is_empty() {
        rbac::authorize(
            core,
            requestor,
            &right(AUTHENTICATION, "uids", "", "", &wanted.uid),
        )?;
    }
    for name in &wanted.groups {
        rbac::authorize(core, requestor, &right(group, "groups", "", "", name))?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            rbac::authorize(
                core,
                requestor,
                &right(AUTHENTICATION, "userextras", key, "", value),
            )?;
        }
    }
    Ok(())
}
