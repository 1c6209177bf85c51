//! From the watches to the scheduler: changes wait in an inbox until the next decision (SCH-52).

use std::hash::Hash;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Node, Pod};
use rustc_hash::FxHashMap;
use steersman_shared::cache::Change;
use steersman_shared::informer::{Informers, KindId};
use steersman_shared::objects::Uid;
use tokio::sync::Notify;

use crate::cycle::Scheduler;

/// Kinds whose watches feed the scheduler.
#[must_use]
pub fn watches() -> [KindId; 2] {
    [KindId::of::<Pod>(), KindId::of::<Node>()]
}

/// One change.
#[derive(Clone, Debug)]
pub enum Input {
    /// Of a pod.
    Pod(Change<Pod>),
    /// Of a node.
    Node(Change<Node>),
}

/// Changes that the scheduler has not seen yet. Changes of one object are merged, so that the inbox never holds more
/// entries than there are objects (STY-71: coalesce by key).
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// In order of the first change of each object.
#[derive(Debug, Default)]
struct Waiting {
    inputs: Vec<Input>,
    index: FxHashMap<(Kind, Uid), usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Pod,
    Node,
}

impl Inbox {
    /// An inbox that hears every change of these watches.
    #[must_use]
    pub fn subscribed(informers: &Informers) -> Arc<Self> {
        let inbox = Arc::new(Self::default());
        let receiver = Arc::clone(&inbox);
        informers
            .get::<Pod>()
            .subscribe(Box::new(move |change| receiver.add(Input::Pod(change.clone()))));
        let receiver = Arc::clone(&inbox);
        informers
            .get::<Node>()
            .subscribe(Box::new(move |change| receiver.add(Input::Node(change.clone()))));
        inbox
    }

    /// Adds a change.
    pub fn add(&self, input: Input) {
        let key = match &input {
            Input::Pod(change) => (Kind::Pod, Uid::of(&**change.latest())),
            Input::Node(change) => (Kind::Node, Uid::of(&**change.latest())),
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let end = waiting.inputs.len();
        let place = *waiting.index.entry(key).or_insert(end);
        match (waiting.inputs.get_mut(place), input) {
            (Some(Input::Pod(known)), Input::Pod(new)) => merge(known, new),
            (Some(Input::Node(known)), Input::Node(new)) => merge(known, new),
            (_, input) => waiting.inputs.push(input),
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Takes all changes, in order of the first of each object.
    pub fn take(&self) -> Vec<Input> {
        mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)).inputs
    }

    /// Waits until something was added since the last wait. Cancel-safe: what is not consumed stays.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// Makes one change of two that follow each other.
fn merge<K>(known: &mut Change<K>, new: Change<K>) {
    let merged = match (&*known, &new) {
        (Change::Added(_), Change::Updated { new, .. }) => Change::Added(Arc::clone(new)),
        (Change::Updated { old, .. }, Change::Updated { new, .. })
        | (Change::Removed(old), Change::Added(new)) => Change::Updated {
            old: Arc::clone(old),
            new: Arc::clone(new),
        },
        _ => new,
    };
    *known = merged;
}

impl Scheduler {
    /// Takes over what the watches told.
    pub fn observe(&mut self, inputs: impl IntoIterator<Item = Input>, now: jiff::Timestamp) {
        for input in inputs {
            match input {
                Input::Pod(change) => self.observe_pod(&change, now),
                Input::Node(change) => self.observe_node(&change, now),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steersman_shared::testing::pod;

    #[test]
    fn sty_71_changes_of_one_object_are_merged() {
        let [first, second, third] = [1, 2, 3].map(|version| Arc::new(pod("a").version(version).build()));
        let inbox = Inbox::default();
        inbox.add(Input::Pod(Change::Added(Arc::clone(&first))));
        inbox.add(Input::Pod(Change::Updated {
            old: first,
            new: Arc::clone(&second),
        }));
        inbox.add(Input::Pod(Change::Added(Arc::new(pod("b").build()))));
        inbox.add(Input::Pod(Change::Updated {
            old: second,
            new: Arc::clone(&third),
        }));
        let inputs = inbox.take();
        assert_eq!(inputs.len(), 2);
        assert!(matches!(&inputs[0], Input::Pod(Change::Added(pod)) if Arc::ptr_eq(pod, &third)));
        inbox.add(Input::Pod(Change::Removed(third)));
        assert!(matches!(
            inbox.take().as_slice(),
            [Input::Pod(Change::Removed(_))]
        ));
        assert!(inbox.take().is_empty());
    }
}
