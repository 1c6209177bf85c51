//! Carries adoptions and releases out (RS-14, RS-16).

use crate::objects::Uid;
use crate::ownership::{AdoptionRefused, FreshOwner, fresh_adoption_check};
use crate::sink::{Done, Sink};

/// What an action does to the controller reference of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// Sets it.
    Adopt(&'a Uid),
    /// Removes it.
    Release(&'a Uid),
}

/// Actions of a controller with children, some of which are claims.
pub trait Claiming {
    /// The claim, if the action is one.
    fn claim(&self) -> Option<Claim<'_>>;
}

/// What became of adoptions and releases.
#[derive(Debug)]
pub struct Claims<E> {
    /// Children adopted.
    pub adopted: Vec<Uid>,
    /// At least one orphan was gone.
    pub orphan_gone: bool,
    /// The first failure; the others were tried nevertheless.
    pub error: Option<E>,
}

impl<E> Claims<E> {
    /// Whether the rest of the plan may be carried out: after a failure nothing else is written (RS-16), and without
    /// an orphan that it counted on the plan is wrong.
    ///
    /// # Errors
    /// The first failure, else `orphan_gone`.
    pub fn finished(self, orphan_gone: E) -> Result<(), E> {
        match self.error {
            Some(error) => Err(error),
            None if self.orphan_gone => Err(orphan_gone),
            None => Ok(()),
        }
    }
}

/// Adopts and releases, one by one, skipping all other actions; the owner is read live before the first adoption, and
/// only then (RS-14, RS-16).
pub async fn apply_claims<A, S, E>(sink: &S, owner: &impl FreshOwner, uid: &Uid, actions: &[A]) -> Claims<E>
where
    A: Claiming + Sync,
    S: Sink<A>,
    S::Done: Into<Done> + Send,
    S::Error: Into<E> + Send,
    E: From<AdoptionRefused> + Send,
{
    let mut claims = Claims {
        adopted: Vec::new(),
        orphan_gone: false,
        error: None,
    };
    let mut may_adopt = None;
    for action in actions {
        let adopted = match action.claim() {
            Some(Claim::Adopt(child)) => Some(child),
            Some(Claim::Release(_)) => None,
            None => continue,
        };
        if adopted.is_some() {
            if may_adopt.is_none() {
                let checked = fresh_adoption_check(uid, owner).await;
                may_adopt = Some(checked.is_ok());
                claims.error = claims.error.or(checked.err().map(E::from));
            }
            if may_adopt == Some(false) {
                continue;
            }
        }
        match (sink.apply(action).await.map(Into::into), adopted) {
            (Ok(Done::Gone), Some(_)) => claims.orphan_gone = true,
            (Ok(_), Some(adopted)) => claims.adopted.push(adopted.clone()),
            (Ok(_), None) => {}
            (Err(error), _) => claims.error = claims.error.or_else(|| Some(error.into())),
        }
    }
    claims
}
