//! From credentials to a user (API-17).

use std::sync::Arc;

use http::{HeaderMap, header};

use super::{Caller, User, token};
use crate::{server::Core, status::Failure};

/// The user of a request: of the client certificate, else of the bearer token, else nobody in particular.
pub(crate) fn authenticate(
    core: &Arc<Core>,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Arc<User>, Failure> {
    if let Caller::Connection(Some(user)) = caller {
        return Ok(Arc::clone(user));
    }
    match bearer(headers) {
        Some(text) => token::authenticate(core, text, &[])
            .map(|known| Arc::new(known.user))
            .map_err(|_| Failure::unauthorized()),
        // Without enforcement a cluster needs no credentials.
        None if matches!(caller, Caller::InProcess) || !core.config.rbac => Ok(Arc::new(User::admin())),
        None => Ok(Arc::new(User::anonymous())),
    }
}

/// The token of an `Authorization: Bearer` header; another scheme is no credential here.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
