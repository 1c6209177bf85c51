//! Lists of conditions, as several kinds carry them in their status.

use k8s_openapi::api::apps::v1::{DeploymentCondition, ReplicaSetCondition};
use k8s_openapi::api::core::v1::{NodeCondition, PodCondition};

use crate::wire;

/// An element of `status.conditions`.
pub trait Condition {
    /// The condition's type, unique within its list.
    fn type_(&self) -> &str;
    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// Machine-readable reason; empty if there is none.
    fn reason(&self) -> &str;
}

macro_rules! condition {
    ($($type:ty),*) => {$(
        impl Condition for $type {
            fn type_(&self) -> &str {
                &self.type_
            }
            fn status(&self) -> &str {
                &self.status
            }
            fn reason(&self) -> &str {
                self.reason.as_deref().unwrap_or_default()
            }
        }
    )*};
}

condition!(
    PodCondition,
    NodeCondition,
    ReplicaSetCondition,
    DeploymentCondition
);

/// The condition of that type; the first one, should a list be malformed.
#[must_use]
pub fn find<'a, C: Condition>(list: &'a [C], type_: &str) -> Option<&'a C> {
    list.iter().find(|condition| condition.type_() == type_)
}

/// Whether the condition of that type exists with status `True`.
#[must_use]
pub fn is_true<C: Condition>(list: &[C], type_: &str) -> bool {
    find(list, type_).is_some_and(|condition| condition.status() == wire::TRUE)
}

/// Removes the condition of that type. Whether there was one.
pub fn remove<C: Condition>(list: &mut Vec<C>, type_: &str) -> bool {
    let before = list.len();
    list.retain(|condition| condition.type_() != type_);
    list.len() != before
}

/// Puts a condition at the end of the list in place of the one with its type, if any. The times in it are the
/// caller's business.
pub fn replace<C: Condition>(list: &mut Vec<C>, condition: C) {
    remove(list, condition.type_());
    list.push(condition);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(type_: &str, status: &str) -> ReplicaSetCondition {
        ReplicaSetCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn dep_77_a_replaced_condition_moves_to_the_end() {
        let mut list = vec![condition("A", "True"), condition("B", "True")];
        replace(&mut list, condition("A", "False"));
        let order: Vec<_> = list.iter().map(|c| (c.type_(), c.status())).collect();
        assert_eq!(order, [("B", "True"), ("A", "False")]);
        assert!(is_true(&list, "B") && !is_true(&list, "A") && !is_true(&list, "C"));
        assert!(remove(&mut list, "A") && !remove(&mut list, "A"));
    }
}
