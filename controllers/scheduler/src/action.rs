//! What the scheduler writes, and every text that users see.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use steersman_shared::objects::{ObjectKey, Uid};

/// One write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Binds a pod to a node. Refused by the API server if `uid` no longer matches (SCH-156).
    Bind {
        /// The pod.
        pod: ObjectKey,
        /// Its identity.
        uid: Uid,
        /// The node.
        node: Arc<str>,
    },
    /// Says in the pod's status why it has no node (SCH-162).
    Condition {
        /// The pod.
        pod: ObjectKey,
        /// Its identity: a namesake is left alone.
        uid: Uid,
        /// `metadata.generation` that was looked at.
        observed_generation: Option<i64>,
        /// Since when the pod has no node: kept while only reason or message change.
        since: Timestamp,
        /// Why.
        reason: UnscheduledReason,
        /// The full text.
        message: String,
    },
    /// Tells users about an attempt (SCH-160, SCH-161).
    Event {
        /// The pod.
        pod: ObjectKey,
        /// Its identity.
        uid: Uid,
        /// Name under which the pod is scheduled: who reports.
        scheduler: Arc<str>,
        /// What happened.
        what: Told,
        /// The text, at most 1024 bytes.
        note: String,
    },
}

/// The two things that events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Told {
    /// The pod has a node.
    Scheduled,
    /// It has none.
    FailedScheduling,
}

impl Action {
    /// Word for logs and metrics.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::Condition { .. } => "patch",
            Self::Event { .. } => "tell",
        }
    }

    /// The pod concerned.
    #[must_use]
    pub fn pod(&self) -> &ObjectKey {
        match self {
            Self::Bind { pod, .. } | Self::Condition { pod, .. } | Self::Event { pod, .. } => pod,
        }
    }

    /// Identity of the pod concerned.
    #[must_use]
    pub fn uid(&self) -> &Uid {
        match self {
            Self::Bind { uid, .. } | Self::Condition { uid, .. } | Self::Event { uid, .. } => uid,
        }
    }
}

/// Reason of the condition `PodScheduled=False` (SCH-162).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum UnscheduledReason {
    /// Plugins rejected every node.
    Unschedulable,
    /// The attempt ended in an error.
    SchedulerError,
}

impl UnscheduledReason {
    /// As in the condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unschedulable => "Unschedulable",
            Self::SchedulerError => "SchedulerError",
        }
    }
}

/// Events of the scheduler (SCH-160, SCH-161).
pub(crate) mod event {
    /// Reason of the event on success.
    pub(crate) const SCHEDULED: &str = "Scheduled";
    /// Action of the event on success.
    pub(crate) const BINDING: &str = "Binding";
    /// Reason of the event on failure.
    pub(crate) const FAILED_SCHEDULING: &str = "FailedScheduling";
    /// Action of the event on failure.
    pub(crate) const SCHEDULING: &str = "Scheduling";
    /// Longest note of an event, in bytes.
    const NOTE_LIMIT: usize = 1024;
    const CUT: &str = " ...";

    /// Note of the event on success.
    pub(crate) fn scheduled(pod: &steersman_shared::objects::ObjectKey, node: &str) -> String {
        format!("Successfully assigned {pod} to {node}")
    }

    /// Note about a pod that is being deleted (SCH-5).
    pub(crate) fn skipped(pod: &steersman_shared::objects::ObjectKey) -> String {
        format!("skip schedule deleting pod: {pod}")
    }

    /// A failure text that fits an event.
    pub(crate) fn note(message: &str) -> String {
        if message.len() <= NOTE_LIMIT {
            return message.to_owned();
        }
        let mut end = NOTE_LIMIT - CUT.len();
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let (head, _) = message.split_at(end);
        format!("{head}{CUT}")
    }
}

/// Why nodes are rejected (table of chapter 6).
pub(crate) mod reason {
    use std::borrow::Cow;

    pub(crate) const NODE_UNSCHEDULABLE: &str = "node(s) were unschedulable";
    pub(crate) const NODE_NAME: &str = "node(s) didn't match the requested node name";
    pub(crate) const UNTOLERATED_TAINT: &str = "node(s) had untolerated taint(s)";
    pub(crate) const NODE_AFFINITY: &str = "node(s) didn't match Pod's node affinity/selector";
    pub(crate) const ENFORCED_NODE_AFFINITY: &str = "node(s) didn't match scheduler-enforced node affinity";
    pub(crate) const AFFINITY_TERMS_CONFLICT: &str = "pod affinity terms conflict";
    pub(crate) const NODE_PORTS: &str = "node(s) didn't have free ports for the requested pod ports";
    pub(crate) const TOO_MANY_PODS: &str = "Too many pods";
    /// No node exists (SCH-57).
    pub(crate) const NO_NODES: &str = "no nodes available to schedule pods";

    pub(crate) fn insufficient(resource: &str) -> Cow<'static, str> {
        match resource {
            "cpu" => "Insufficient cpu".into(),
            "memory" => "Insufficient memory".into(),
            "ephemeral-storage" => "Insufficient ephemeral-storage".into(),
            other => format!("Insufficient {other}").into(),
        }
    }

    /// Nodes outside the set to which plugins restricted the pod (SCH-61).
    pub(crate) fn outside_restriction(plugins: &[&str]) -> String {
        format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "))
    }

    /// No node is in every plugin's set (SCH-58).
    pub(crate) fn empty_restriction(plugins: &[&str]) -> String {
        match plugins {
            [only] => format!("node(s) didn't satisfy plugin {only}"),
            several => format!(
                "node(s) didn't satisfy plugin(s) [{}] simultaneously",
                several.join(" ")
            ),
        }
    }
}

/// Text of a failed attempt (SCH-163): how many nodes there are, then why none will do.
pub(crate) struct FailureText<'a> {
    /// Nodes that exist.
    pub(crate) nodes: usize,
    /// Why.
    pub(crate) why: Why<'a>,
}

/// Second half of a [`FailureText`].
pub(crate) enum Why<'a> {
    /// A plugin rejected the pod before looking at nodes.
    PreFilter(&'a str),
    /// Nodes per reason.
    Counts(&'a std::collections::BTreeMap<String, usize>),
}

impl fmt::Display for FailureText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0/{} nodes are available:", self.nodes)?;
        match &self.why {
            Why::PreFilter(message) => write!(f, " {message}."),
            Why::Counts(counts) => {
                // Sorted as text, counts included.
                let mut parts: Vec<String> = counts
                    .iter()
                    .map(|(reason, count)| format!("{count} {reason}"))
                    .collect();
                parts.sort_unstable();
                write!(f, " {}.", parts.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn sch_163_counts_are_sorted_as_text() {
        let counts = BTreeMap::from([
            ("Insufficient cpu".to_owned(), 2),
            ("Too many pods".to_owned(), 10),
        ]);
        let text = FailureText {
            nodes: 12,
            why: Why::Counts(&counts),
        }
        .to_string();
        assert_eq!(
            text,
            "0/12 nodes are available: 10 Too many pods, 2 Insufficient cpu."
        );
    }

    #[test]
    fn sch_161_long_notes_are_cut() {
        assert_eq!(event::note("short"), "short");
        let note = event::note(&"x".repeat(2000));
        assert_eq!(note.len(), 1024);
        assert!(note.ends_with("xxx ..."));
    }
}
