//! What annotations make a simulated pod or node do. The keys are documented in the module above.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use tracing::warn;

/// Readiness of a pod, or of a node: `"false"` makes it not ready.
pub const READY: &str = "sandbox.steersman.dev/ready";
/// Time from the start of a pod's containers to readiness, for example `5s`.
pub const READY_AFTER: &str = "sandbox.steersman.dev/ready-after";
/// Time from the binding of a pod to the start of its containers.
pub const START_AFTER: &str = "sandbox.steersman.dev/start-after";
/// Time from the start of a pod's containers to their exit: how Job-like pods finish.
pub const FINISH_AFTER: &str = "sandbox.steersman.dev/finish-after";
/// Exit code of a pod's containers, or `"true"` for 1. Without [`FINISH_AFTER`] they exit at once.
pub const FAIL: &str = "sandbox.steersman.dev/fail";
/// Time that a pod takes to stop; never longer than its grace period.
pub const STOP_AFTER: &str = "sandbox.steersman.dev/stop-after";
/// `"true"` makes a node fall silent: no lease, no status, nothing happens to its pods.
pub const DOWN: &str = "sandbox.steersman.dev/down";
/// Label on every node that a simulation made; a node without it is never touched.
pub const SIMULATED: &str = "sandbox.steersman.dev/simulated";

/// Parsed annotations of a pod. Values that do not parse count as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodBehaviour {
    pub(crate) unready: bool,
    pub(crate) ready_after: Option<Duration>,
    pub(crate) start_after: Option<Duration>,
    pub(crate) stop_after: Option<Duration>,
    pub(crate) exit: Option<Exit>,
}

/// How and when the containers of a pod end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Since the start of the container.
    pub(crate) after: Duration,
    pub(crate) code: i32,
}

/// Parsed annotations of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeBehaviour {
    pub(crate) unready: bool,
    pub(crate) down: bool,
}

type Annotations = BTreeMap<String, String>;

fn duration(annotations: &Annotations, key: &str) -> Option<Duration> {
    let text = annotations.get(key)?;
    let parsed = text
        .parse::<SignedDuration>()
        .ok()
        .and_then(|parsed| Duration::try_from(parsed).ok());
    if parsed.is_none() {
        warn!(
            annotation = key,
            value = text,
            "not a duration such as 5s or 1m30s, it is ignored"
        );
    }
    parsed
}

fn is(annotations: &Annotations, key: &str, value: &str) -> bool {
    annotations.get(key).is_some_and(|found| found == value)
}

impl PodBehaviour {
    pub(crate) fn of(annotations: Option<&Annotations>) -> Self {
        let Some(annotations) = annotations else {
            return Self::default();
        };
        let code = annotations.get(FAIL).and_then(|text| match text.as_str() {
            "true" => Some(1),
            "false" => None,
            other => other.parse().ok(),
        });
        let finish_after = duration(annotations, FINISH_AFTER);
        let exit = (code.is_some() || finish_after.is_some()).then(|| Exit {
            after: finish_after.unwrap_or_default(),
            code: code.unwrap_or_default(),
        });
        Self {
            unready: is(annotations, READY, "false"),
            ready_after: duration(annotations, READY_AFTER),
            start_after: duration(annotations, START_AFTER),
            stop_after: duration(annotations, STOP_AFTER),
            exit,
        }
    }
}

impl NodeBehaviour {
    pub(crate) fn of(annotations: Option<&Annotations>) -> Self {
        let Some(annotations) = annotations else {
            return Self::default();
        };
        Self {
            unready: is(annotations, READY, "false"),
            down: is(annotations, DOWN, "true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_152_annotations_are_parsed_and_bad_ones_ignored() {
        let annotations = |pairs: &[(&str, &str)]| -> Annotations {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let behaviour = PodBehaviour::of(Some(&annotations(&[
            (READY, "false"),
            (READY_AFTER, "1m30s"),
            (START_AFTER, "soon"),
            (STOP_AFTER, "-3s"),
            (FAIL, "137"),
        ])));
        let want = PodBehaviour {
            unready: true,
            ready_after: Some(Duration::from_secs(90)),
            exit: Some(Exit {
                after: Duration::ZERO,
                code: 137,
            }),
            ..PodBehaviour::default()
        };
        assert_eq!(behaviour, want);
        assert_eq!(
            PodBehaviour::of(Some(&annotations(&[(FAIL, "false")]))),
            PodBehaviour::default()
        );
        let node = NodeBehaviour::of(Some(&annotations(&[(DOWN, "true"), (READY, "true")])));
        assert_eq!(
            node,
            NodeBehaviour {
                down: true,
                unready: false
            }
        );
    }
}
