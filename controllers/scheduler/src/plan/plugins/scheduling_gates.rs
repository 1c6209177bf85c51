//! `SchedulingGates`: a pod with gates is not tried (SCH-17).

use super::{Hint, Plugin, PluginName};
use crate::plan::event::{Event, PodAspect};
use crate::plan::pod::PodInfo;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> PluginName {
        PluginName::SchedulingGates
    }

    fn gate(&self, pod: &PodInfo) -> Option<String> {
        (!pod.gates.is_empty()).then(|| format!("waiting for scheduling gates: [{}]", pod.gates.join(" ")))
    }

    fn hint(&self, pod: &PodInfo, event: &Event) -> Option<Hint> {
        match event {
            Event::PendingUpdated {
                aspect: PodAspect::GatesEliminated,
                new,
                ..
            } => Some(Hint::queue_if(new.uid == pod.uid)),
            _ => None,
        }
    }
}
