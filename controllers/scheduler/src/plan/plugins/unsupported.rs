//! `UnsupportedFields`: holds a pod whose constraints no plugin here can judge, instead of breaking them silently.
//! The list is [`crate::plan::pod::Unsupported`]; it shrinks as plugins are added.

use super::{Cycle, Hardness, Hint, Plugin, PluginName, PreFilter};
use crate::plan::event::{Event, PodAspect};
use crate::plan::pod::PodInfo;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnsupportedFields;

impl Plugin for UnsupportedFields {
    fn name(&self) -> PluginName {
        PluginName::UnsupportedFields
    }

    fn prefilter<'a>(&'a self, cycle: Cycle<'a>) -> PreFilter<'a> {
        if cycle.pod.unsupported.is_empty() {
            return PreFilter::Skip;
        }
        let fields: Vec<String> = cycle.pod.unsupported.iter().map(ToString::to_string).collect();
        PreFilter::Reject(
            Hardness::UnschedulableAndUnresolvable,
            format!(
                "steersman does not support {} yet and holds the pod",
                fields.join(", ")
            ),
        )
    }

    /// Only a change of the pod itself can help.
    fn hint(&self, pod: &PodInfo, event: &Event) -> Option<Hint> {
        match event {
            Event::PendingUpdated {
                aspect: PodAspect::Other | PodAspect::ScaleDown,
                new,
                ..
            } => Some(Hint::queue_if(new.uid == pod.uid && new.unsupported.is_empty())),
            _ => None,
        }
    }
}
