//! When a ResourceQuota may let pods through that it kept out before (RS-40).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use steersman_shared::cache::Change;
use steersman_shared::quantity::Quantity;

type Amounts = BTreeMap<String, Text>;

/// Whether a quota has more room than before: it is gone, limits less, or something that it counts is used less.
#[must_use]
pub fn has_more_room(change: &Change<ResourceQuota>) -> bool {
    let (old, new) = match change {
        Change::Added(_) => return false,
        Change::Removed(_) => return true,
        Change::Updated { old, new } => (old, new),
    };
    if old.spec != new.spec {
        return true;
    }
    let limits = hard(old).into_iter().flatten();
    limits.map(|(resource, _)| resource).any(|resource| {
        let (before, after) = (room(old, resource), room(new, resource));
        match (before, after) {
            (Some(before), Some(after)) => after > before,
            // An amount that does not parse says nothing, a limit that is gone everything.
            (before, None) => before.is_some(),
            (None, Some(_)) => true,
        }
    })
}

fn hard(quota: &ResourceQuota) -> Option<&Amounts> {
    quota.status.as_ref()?.hard.as_ref()
}

/// What is left of a resource; negative amounts count as they are.
fn room(quota: &ResourceQuota, resource: &str) -> Option<Quantity> {
    let amount = |all: Option<&Amounts>| Quantity::parse(&all?.get(resource)?.0).ok();
    let used = amount(quota.status.as_ref()?.used.as_ref()).unwrap_or(Quantity::ZERO);
    Some(amount(hard(quota))?.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn quota(hard: &str, used: &str) -> ResourceQuota {
        let amounts = |pods: &str| json!({ "pods": pods, "requests.cpu": "4" });
        serde_json::from_value(json!({
            "metadata": { "name": "q", "namespace": "default", "uid": "q" },
            "spec": { "hard": { "pods": "5" } },
            "status": { "hard": amounts(hard), "used": amounts(used) },
        }))
        .unwrap()
    }

    #[rstest]
    #[case::less_used(quota("5", "5"), quota("5", "4"), true)]
    #[case::more_allowed(quota("5", "5"), quota("6", "5"), true)]
    #[case::more_used(quota("5", "4"), quota("5", "5"), false)]
    #[case::less_allowed(quota("5", "4"), quota("4", "4"), false)]
    #[case::the_same(quota("5", "4"), quota("5", "4"), false)]
    #[case::both_by_as_much(quota("5", "4"), quota("6", "5"), false)]
    fn rs_40_more_room_lets_pods_through(
        #[case] old: ResourceQuota,
        #[case] new: ResourceQuota,
        #[case] want: bool,
    ) {
        let change = Change::Updated {
            old: Arc::new(old),
            new: Arc::new(new),
        };
        assert_eq!(has_more_room(&change), want);
    }

    #[test]
    fn rs_40_a_quota_that_goes_leaves_room() {
        let change = |make: fn(Arc<ResourceQuota>) -> Change<ResourceQuota>| make(Arc::new(quota("5", "5")));
        assert!(has_more_room(&change(Change::Removed)));
        assert!(!has_more_room(&change(Change::Added)));
    }
}
