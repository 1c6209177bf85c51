//! Taints and tolerations (SCH-76 to SCH-79).

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// `NoSchedule`: nothing new is placed.
pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
/// `NoExecute`: nothing new is placed, and what runs is evicted.
pub(crate) const NO_EXECUTE: &str = "NoExecute";
/// `PreferNoSchedule`: placed there only if nothing better is left.
pub(crate) const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// Whether a toleration covers a taint (SCH-77). `Lt` and `Gt` never do: their feature gate is off by default
/// (SCH-78).
pub(crate) fn is_tolerated_by(taint: &Taint, toleration: &Toleration) -> bool {
    let same = |wanted: Option<&str>, actual: &str| {
        wanted.is_none_or(|wanted| wanted.is_empty() || wanted == actual)
    };
    if !same(toleration.effect.as_deref(), &taint.effect) || !same(toleration.key.as_deref(), &taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => {
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        "Exists" => true,
        _ => false,
    }
}

/// Whether any of the tolerations covers the taint.
pub(crate) fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations
        .iter()
        .any(|toleration| is_tolerated_by(taint, toleration))
}

/// Whether a taint keeps pods without a matching toleration off the node (SCH-76).
pub(crate) fn is_hard(taint: &Taint) -> bool {
    taint.effect == NO_SCHEDULE || taint.effect == NO_EXECUTE
}

/// Number of soft taints that the tolerations do not cover (SCH-79). Only tolerations for every effect or for
/// `PreferNoSchedule` count.
pub(crate) fn untolerated_soft(taints: &[Taint], tolerations: &[Toleration]) -> i64 {
    let count = taints
        .iter()
        .filter(|taint| taint.effect == PREFER_NO_SCHEDULE)
        .filter(|taint| !is_tolerated(taint, tolerations))
        .count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            time_added: None,
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            effect: Some(effect.into()),
            toleration_seconds: None,
        }
    }

    #[rstest]
    #[case::equal(toleration("a", "Equal", "1", "NoSchedule"), true)]
    #[case::default_operator(toleration("a", "", "1", "NoSchedule"), true)]
    #[case::other_value(toleration("a", "Equal", "2", "NoSchedule"), false)]
    #[case::exists(toleration("a", "Exists", "", ""), true)]
    #[case::everything(toleration("", "Exists", "", ""), true)]
    #[case::other_effect(toleration("a", "Exists", "", "NoExecute"), false)]
    #[case::other_key(toleration("b", "Exists", "", ""), false)]
    #[case::empty_key_equal_compares_the_value(toleration("", "Equal", "1", ""), true)]
    #[case::numeric_operator_gate_off(toleration("a", "Gt", "0", "NoSchedule"), false)]
    fn sch_77_tolerates(#[case] toleration: Toleration, #[case] want: bool) {
        assert_eq!(is_tolerated_by(&taint("a", "1", "NoSchedule"), &toleration), want);
    }

    #[test]
    fn sch_79_counts_soft_taints_left_untolerated() {
        let taints = [
            taint("a", "1", "PreferNoSchedule"),
            taint("b", "1", "PreferNoSchedule"),
            taint("c", "1", "NoSchedule"),
        ];
        assert_eq!(untolerated_soft(&taints, &[]), 2);
        assert_eq!(
            untolerated_soft(&taints, &[toleration("a", "Exists", "", "NoSchedule")]),
            2
        );
        assert_eq!(
            untolerated_soft(&taints, &[toleration("a", "Exists", "", "PreferNoSchedule")]),
            1
        );
    }
}
