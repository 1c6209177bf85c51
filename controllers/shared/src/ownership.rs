//! Which children belong to an owner, and the patches that adopt and release them (RS-10 to RS-18).

use std::future::Future;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use crate::api;
use crate::objects::Uid;

/// The owner reference with `controller: true`, if there is one.
#[must_use]
pub fn controller_of(object: &impl kube::Resource) -> Option<&OwnerReference> {
    controller_in(object.meta())
}

/// [`controller_of`] for bare metadata.
#[must_use]
pub fn controller_in(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .as_deref()
        .unwrap_or_default()
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// Uid of the controller, if there is one.
#[must_use]
pub fn controller_uid(object: &impl kube::Resource) -> Option<Uid> {
    controller_of(object).map(|owner| Uid(owner.uid.as_str().into()))
}

/// Whether the reference names this very object: kind, name and uid (RS-18).
#[must_use]
pub fn refers_to<K: kube::Resource<DynamicType = ()>>(reference: &OwnerReference, owner: &K) -> bool {
    let meta = owner.meta();
    reference.kind == K::kind(&())
        && group(&reference.api_version) == K::group(&())
        && Some(&reference.name) == meta.name.as_ref()
        && Some(&reference.uid) == meta.uid.as_ref()
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// The controller reference that a child of `owner` carries (RS-15, RS-35).
#[must_use]
pub fn reference_to<K: kube::Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What an owner does about a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimDecision {
    /// It belongs to the owner.
    Claimed,
    /// An orphan that matches: it belongs to the owner once [`adopt_patch`] is done.
    Adopt,
    /// The owner's, but no longer matching: [`release_patch`], and not the owner's in this sync.
    Release,
    /// None of the owner's business.
    Ignore,
}

/// Decides about one child in the owner's namespace. `matches`: the owner's selector selects the child.
#[must_use]
pub fn decide(owner: &ObjectMeta, child: &ObjectMeta, matches: bool) -> ClaimDecision {
    let (owner_deleted, child_deleted) = (
        owner.deletion_timestamp.is_some(),
        child.deletion_timestamp.is_some(),
    );
    match controller_in(child) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => ClaimDecision::Ignore,
        Some(_) if matches => ClaimDecision::Claimed,
        Some(_) if owner_deleted => ClaimDecision::Ignore,
        Some(_) => ClaimDecision::Release,
        None if !matches || owner_deleted || child_deleted => ClaimDecision::Ignore,
        None if owner.namespace != child.namespace => ClaimDecision::Ignore,
        None => ClaimDecision::Adopt,
    }
}

/// Strategic-merge patch that adopts the child. Its uid makes the patch fail if the name was reused (RS-15).
#[must_use]
pub fn adopt_patch<K: kube::Resource<DynamicType = ()>>(owner: &K, child: &Uid) -> Value {
    json!({ "metadata": { "uid": child, "ownerReferences": [reference_to(owner)] } })
}

/// Strategic-merge patch that removes the owner's reference from the child and leaves all others (RS-15).
#[must_use]
pub fn release_patch(owner: &Uid, child: &Uid) -> Value {
    json!({ "metadata": { "uid": child, "ownerReferences": [{ "$patch": "delete", "uid": owner }] } })
}

/// What became of an adoption or a release.
#[derive(Debug)]
pub enum ClaimAnswer<T> {
    /// The server changed the child.
    Done(T),
    /// The child is gone or another one by now: no error, and not claimed (RS-16).
    Gone,
    /// The sync goes on with the other children, changes nothing else, and is retried (RS-16).
    Failed(kube::Error),
}

/// Reads the answer to an [`adopt_patch`].
pub fn adopt_answer<T>(answer: Result<T, kube::Error>) -> ClaimAnswer<T> {
    match answer {
        Ok(child) => ClaimAnswer::Done(child),
        Err(error) if api::is_not_found(&error) => ClaimAnswer::Gone,
        Err(error) => ClaimAnswer::Failed(error),
    }
}

/// Reads the answer to a [`release_patch`].
pub fn release_answer<T>(answer: Result<T, kube::Error>) -> ClaimAnswer<T> {
    match answer {
        Ok(child) => ClaimAnswer::Done(child),
        Err(error) if api::is_not_found(&error) || api::is_invalid(&error) => ClaimAnswer::Gone,
        Err(error) => ClaimAnswer::Failed(error),
    }
}

/// Reads owners live, past every cache (RS-14). The client in production, a script in tests.
pub trait FreshOwner: Send + Sync {
    /// Metadata of the owner as stored right now; `None` if it is gone.
    fn fresh_owner(&self) -> impl Future<Output = Result<Option<ObjectMeta>, kube::Error>> + Send;
}

/// Reads an owner from the API server with a quorum read.
#[derive(Clone, Debug)]
pub struct LiveOwner<K> {
    api: kube::Api<K>,
    name: String,
}

impl<K> LiveOwner<K> {
    /// The owner of that name.
    pub fn new(api: kube::Api<K>, name: impl Into<String>) -> Self {
        Self {
            api,
            name: name.into(),
        }
    }
}

impl<K> FreshOwner for LiveOwner<K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync,
{
    async fn fresh_owner(&self) -> Result<Option<ObjectMeta>, kube::Error> {
        let read = api::within(api::REQUEST_DEADLINE, self.api.get_metadata_opt(&self.name)).await?;
        Ok(read.map(|partial| partial.metadata))
    }
}

/// Why no child may be adopted in this sync.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptionRefused {
    /// The live read failed.
    #[error("reading the owner before an adoption")]
    Read(#[source] kube::Error),
    /// The owner is gone, or its name belongs to another object by now.
    #[error("the owner that would adopt is gone")]
    Replaced,
    /// The owner is being deleted.
    #[error("the owner that would adopt is being deleted")]
    Deleted,
}

/// The check before the first adoption of a sync (RS-14): a stale cache must not re-adopt what the garbage collector
/// has just orphaned. Call it at most once per sync, and only if an adoption is wanted.
///
/// # Errors
/// Every adoption of this sync fails, and the sync is retried.
pub async fn fresh_adoption_check(owner: &Uid, live: &impl FreshOwner) -> Result<(), AdoptionRefused> {
    let stored = live.fresh_owner().await.map_err(AdoptionRefused::Read)?;
    match stored {
        Some(stored) if stored.uid.as_deref() != Some(&*owner.0) => Err(AdoptionRefused::Replaced),
        Some(stored) if stored.deletion_timestamp.is_some() => Err(AdoptionRefused::Deleted),
        Some(_) => Ok(()),
        None => Err(AdoptionRefused::Replaced),
    }
}

#[cfg(test)]
mod tests;
