//! Rules of the cycle by example, and the invariants over random histories (STY-64).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerPort, Node, Pod, PodSchedulingGate, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use steersman_shared::cache::Change;
use steersman_shared::objects::Uid;
use steersman_shared::testing::{NodeBuilder, PodBuilder, T0, node, pod};

use super::*;
use crate::plan::{Choice, Outcome};

const NAME: &str = "steersman";

fn scheduler() -> Scheduler {
    Scheduler::new(&Config::default()).unwrap()
}

fn small(name: &str) -> NodeBuilder {
    node(name)
        .allocatable("cpu", "2")
        .allocatable("memory", "4Gi")
        .allocatable("pods", "4")
}

fn ours(name: &str) -> PodBuilder {
    pod(name).scheduler(NAME)
}

fn add_node(scheduler: &mut Scheduler, node: NodeBuilder, now: Timestamp) {
    scheduler.observe_node(&Change::Added(Arc::new(node.build())), now);
}

fn add_pod(scheduler: &mut Scheduler, pod: PodBuilder, now: Timestamp) -> Arc<Pod> {
    let pod = Arc::new(pod.build());
    scheduler.observe_pod(&Change::Added(Arc::clone(&pod)), now);
    pod
}

fn bind(step: Option<Step>) -> Binding {
    match step {
        Some(Step::Bind(binding)) => *binding,
        other => panic!("no binding: {other:?}"),
    }
}

fn failure(step: Option<Step>) -> Failure {
    match step {
        Some(Step::Failed(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

fn note(event: &Action) -> &str {
    match event {
        Action::Event { note, .. } => note,
        other => panic!("no event: {other:?}"),
    }
}

#[test]
fn sch_2_pods_of_other_schedulers_are_ignored() {
    let mut scheduler = scheduler();
    add_node(&mut scheduler, small("n1"), T0);
    add_pod(&mut scheduler, pod("a").scheduler("default-scheduler"), T0);
    assert!(scheduler.step(T0).is_none());
    assert_eq!(scheduler.queue().places().count(), 0);
}

#[test]
fn sch_160_a_pod_is_bound_and_told() {
    let mut scheduler = scheduler();
    add_node(&mut scheduler, small("n1"), T0);
    add_pod(&mut scheduler, ours("a"), T0);
    let binding = bind(scheduler.step(T0));
    assert_eq!(&*binding.node, "n1");
    assert!(scheduler.cluster().is_assumed(&Uid("pod-a".into())));
    assert_eq!(
        note(&scheduler.bound(&binding)),
        "Successfully assigned default/a to n1"
    );
}

#[test]
fn sch_57_no_nodes() {
    let mut scheduler = scheduler();
    add_pod(&mut scheduler, ours("a"), T0);
    let failure = failure(scheduler.step(T0));
    assert_eq!(note(&failure.event), "no nodes available to schedule pods");
    assert_eq!(failure.reason, UnscheduledReason::Unschedulable);
    assert_eq!(
        scheduler.queue().place(&failure.pod.uid),
        Some(Place::ErrorBackoff)
    );
}

#[test]
fn sch_162_the_same_condition_is_not_written_again() {
    let mut scheduler = scheduler();
    add_node(&mut scheduler, small("n1").unschedulable(), T0);
    let before = add_pod(&mut scheduler, ours("a"), T0);
    let first = failure(scheduler.step(T0));
    let message = "0/1 nodes are available: 1 node(s) were unschedulable.";
    assert_eq!(note(&first.event), message);
    let Some(Action::Condition {
        since,
        message: written,
        ..
    }) = first.condition
    else {
        panic!("no condition")
    };
    assert_eq!((since, written.as_str()), (T0, message));
    let shown = ours("a")
        .version(2)
        .condition("PodScheduled", "False", T0)
        .with(|pod| {
            let conditions = pod
                .status
                .as_mut()
                .and_then(|status| status.conditions.as_mut())
                .unwrap();
            conditions[0].reason = Some("Unschedulable".to_owned());
            conditions[0].message = Some(message.to_owned());
        });
    let shown = Arc::new(shown.build());
    scheduler.observe_pod(
        &Change::Updated {
            old: before,
            new: shown,
        },
        T0,
    );
    let later = T0 + SignedDuration::from_secs(400);
    scheduler.flush(T0);
    scheduler.flush(later);
    assert!(failure(scheduler.step(later)).condition.is_none());
}

#[test]
fn sch_5_a_terminating_pod_is_skipped() {
    let mut scheduler = scheduler();
    add_node(&mut scheduler, small("n1"), T0);
    add_pod(
        &mut scheduler,
        ours("a").with(|pod| pod.metadata.deletion_timestamp = Some(Time(T0))),
        T0,
    );
    let Some(Step::Dropped(Some(event))) = scheduler.step(T0) else {
        panic!("not skipped")
    };
    assert_eq!(note(&event), "skip schedule deleting pod: default/a");
    assert_eq!(scheduler.queue().places().count(), 0);
}

#[test]
fn sch_41_the_api_servers_node_wins() {
    let mut scheduler = scheduler();
    add_node(&mut scheduler, small("n1"), T0);
    let before = add_pod(&mut scheduler, ours("a").requests("cpu", "1"), T0);
    bind(scheduler.step(T0));
    add_node(&mut scheduler, small("n2"), T0);
    let bound = Arc::new(ours("a").requests("cpu", "1").version(2).on("n2").build());
    scheduler.observe_pod(
        &Change::Updated {
            old: before,
            new: bound,
        },
        T0,
    );
    let dump = scheduler.cluster().dump();
    assert_eq!(
        (dump.nodes["n1"].used.cpu.0, dump.nodes["n2"].used.cpu.0),
        (0, 1000)
    );
    assert_eq!(scheduler.cluster().assumed(), 0);
}

#[test]
fn sch_43_pods_of_an_unknown_node_count_once_it_appears() {
    let mut scheduler = scheduler();
    add_pod(&mut scheduler, pod("a").requests("cpu", "1500m").on("n1"), T0);
    assert!(scheduler.cluster().table().is_empty());
    add_node(&mut scheduler, small("n1"), T0);
    add_pod(&mut scheduler, ours("b").requests("cpu", "1"), T0);
    let text = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(note(&failure(scheduler.step(T0)).event), text);
}

#[test]
fn sch_158_a_failed_binding_wakes_others_and_waits() {
    let mut scheduler = scheduler();
    add_node(&mut scheduler, small("n1"), T0);
    add_pod(&mut scheduler, ours("a").requests("cpu", "2"), T0);
    add_pod(&mut scheduler, ours("b").requests("cpu", "2"), T0);
    let binding = bind(scheduler.step(T0));
    let loser = failure(scheduler.step(T0)).pod.uid.clone();
    assert_eq!(scheduler.queue().place(&loser), Some(Place::Unschedulable));
    let winner = binding.action.uid().clone();
    let step = scheduler.binding_failed(binding, "bind pod default/a: no", T0);
    let Step::Failed(failed) = step else {
        panic!("{step:?}")
    };
    assert_eq!(failed.reason, UnscheduledReason::SchedulerError);
    assert_eq!(scheduler.queue().place(&winner), Some(Place::ErrorBackoff));
    assert_eq!(scheduler.queue().place(&loser), Some(Place::Backoff));
    assert!(scheduler.cluster().is_empty());
}

#[test]
fn sch_62_a_nominated_node_that_fits_is_taken() {
    let mut scheduler = scheduler();
    add_node(&mut scheduler, small("n1"), T0);
    add_node(&mut scheduler, small("n2"), T0);
    add_pod(&mut scheduler, pod("x").requests("cpu", "1").on("n2"), T0);
    let nominated = ours("a").with(|pod| {
        pod.status.get_or_insert_default().nominated_node_name = Some("n2".to_owned());
    });
    let info = PodInfo::new(Arc::new(nominated.build()));
    let decision = plan::decide(scheduler.profile(), scheduler.cluster().table(), &info, 0);
    let Outcome::Place { node, choice, .. } = decision.outcome else {
        panic!("{decision:?}")
    };
    assert_eq!((&*node, choice), ("n2", Choice::Nominated));
}

#[test]
fn sch_70_ties_are_spread_over_the_best_nodes() {
    let mut scheduler = scheduler();
    for index in 0..8 {
        add_node(&mut scheduler, small(&format!("n{index}")), T0);
    }
    let drawn: BTreeSet<Arc<str>> = (0..64)
        .filter_map(|index| {
            let info = PodInfo::new(Arc::new(ours(&format!("p{index}")).build()));
            let decision = plan::decide(scheduler.profile(), scheduler.cluster().table(), &info, 1);
            match decision.outcome {
                Outcome::Place {
                    node,
                    choice: Choice::Tie(8),
                    ..
                } => Some(node),
                _ => None,
            }
        })
        .collect();
    assert_eq!(drawn.len(), 8);
}

#[test]
fn sch_140_a_pod_with_an_unsupported_constraint_is_held() {
    let mut scheduler = scheduler();
    add_node(&mut scheduler, small("n1"), T0);
    let claims = serde_json::json!([{ "name": "gpu", "resourceClaimName": "gpu" }]);
    let claims = serde_json::from_value(claims).unwrap();
    add_pod(
        &mut scheduler,
        ours("a").with(|pod| pod.spec.as_mut().unwrap().resource_claims = Some(claims)),
        T0,
    );
    let failure = failure(scheduler.step(T0));
    let text =
        "0/1 nodes are available: steersman does not support spec.resourceClaims yet and holds the pod.";
    assert_eq!(note(&failure.event), text);
    assert_eq!(
        scheduler.queue().place(&failure.pod.uid),
        Some(Place::Unschedulable)
    );
}

/// One step of a random history. Numbers choose among what exists at that moment.
#[derive(Clone, Debug)]
enum Op {
    PutNode {
        name: u8,
        cpu: u8,
        pods: u8,
        taint: bool,
        cordoned: bool,
        disk: u8,
    },
    RemoveNode {
        name: u8,
    },
    AddPod {
        cpu: u8,
        port: bool,
        tolerates: bool,
        disk: u8,
        gated: bool,
        held: bool,
        priority: u8,
    },
    AddForeign {
        node: u8,
        cpu: u8,
        port: bool,
    },
    RemovePod {
        index: usize,
    },
    TerminatePod {
        index: usize,
    },
    OpenGate {
        index: usize,
    },
    Step,
    /// The answer to a binding arrives.
    Answer {
        index: usize,
        accepted: bool,
    },
    /// The watch shows a binding that the API server accepted.
    Confirm {
        index: usize,
    },
    /// The API server bound a pod to another node than we decided.
    Rebind {
        index: usize,
        node: u8,
    },
    Wait {
        millis: u16,
    },
    LongWait,
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_u8, 1..4_u8, 1..4_u8, any::<bool>(), prop::bool::weighted(0.2), 0..2_u8).prop_map(
            |(name, cpu, pods, taint, cordoned, disk)| Op::PutNode { name, cpu, pods, taint, cordoned, disk }
        ),
        1 => (0..4_u8).prop_map(|name| Op::RemoveNode { name }),
        6 => (0..4_u8, prop::bool::weighted(0.3), any::<bool>(), 0..3_u8, prop::bool::weighted(0.1),
              prop::bool::weighted(0.1), 0..3_u8)
            .prop_map(|(cpu, port, tolerates, disk, gated, held, priority)| Op::AddPod {
                cpu, port, tolerates, disk, gated, held, priority
            }),
        2 => (0..5_u8, 0..3_u8, any::<bool>()).prop_map(|(node, cpu, port)| Op::AddForeign { node, cpu, port }),
        2 => any::<usize>().prop_map(|index| Op::RemovePod { index }),
        1 => any::<usize>().prop_map(|index| Op::TerminatePod { index }),
        1 => any::<usize>().prop_map(|index| Op::OpenGate { index }),
        10 => Just(Op::Step),
        4 => (any::<usize>(), prop::bool::weighted(0.7))
            .prop_map(|(index, accepted)| Op::Answer { index, accepted }),
        3 => any::<usize>().prop_map(|index| Op::Confirm { index }),
        1 => (any::<usize>(), 0..4_u8).prop_map(|(index, node)| Op::Rebind { index, node }),
        3 => (0..3000_u16).prop_map(|millis| Op::Wait { millis }),
        1 => Just(Op::LongWait),
    ]
}

/// The cluster as the API server has it, and the scheduler that watches it.
struct World {
    scheduler: Scheduler,
    now: Timestamp,
    version: u64,
    nodes: BTreeMap<String, Arc<Node>>,
    pods: BTreeMap<String, Arc<Pod>>,
    /// Bindings without an answer.
    sent: Vec<Binding>,
    /// Accepted bindings that the watch has not shown.
    accepted: Vec<(String, String)>,
    next_pod: u32,
}

impl World {
    fn new() -> Self {
        Self {
            scheduler: scheduler(),
            now: T0,
            version: 1,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            sent: Vec::new(),
            accepted: Vec::new(),
            next_pod: 0,
        }
    }

    fn put_pod(&mut self, mut pod: Pod) {
        self.version += 1;
        pod.metadata.resource_version = Some(self.version.to_string());
        let new = Arc::new(pod);
        let name = new.metadata.name.clone().unwrap();
        let change = match self.pods.insert(name, Arc::clone(&new)) {
            None => Change::Added(new),
            Some(old) => Change::Updated { old, new },
        };
        self.scheduler.observe_pod(&change, self.now);
    }

    fn change_pod(&mut self, name: &str, change: impl FnOnce(&mut Pod)) {
        let mut pod = (*self.pods[name]).clone();
        change(&mut pod);
        self.put_pod(pod);
    }

    fn pick(&self, index: usize, want: impl Fn(&Pod) -> bool) -> Option<String> {
        let found: Vec<&String> = self
            .pods
            .iter()
            .filter(|(_, pod)| want(pod))
            .map(|(name, _)| name)
            .collect();
        (!found.is_empty()).then(|| found[index % found.len()].clone())
    }

    fn remove_pod(&mut self, name: &str) {
        if let Some(old) = self.pods.remove(name) {
            self.accepted.retain(|(accepted, _)| accepted != name);
            self.scheduler.observe_pod(&Change::Removed(old), self.now);
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm per operation")]
    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::PutNode {
                name,
                cpu,
                pods,
                taint,
                cordoned,
                disk,
            } => {
                let name = format!("n{name}");
                let mut built = node(&name)
                    .allocatable("cpu", &cpu.to_string())
                    .allocatable("pods", &pods.to_string())
                    .with(|node| {
                        let labels = node.metadata.labels.get_or_insert_default();
                        labels.insert("disk".to_owned(), format!("d{disk}"));
                    });
                if taint {
                    built = built.taint("dedicated", "x", "NoSchedule");
                }
                if cordoned {
                    built = built.unschedulable();
                }
                let new = Arc::new(built.build());
                let change = match self.nodes.insert(name, Arc::clone(&new)) {
                    None => Change::Added(new),
                    Some(old) => Change::Updated { old, new },
                };
                self.scheduler.observe_node(&change, self.now);
            }
            Op::RemoveNode { name } => {
                if let Some(old) = self.nodes.remove(&format!("n{name}")) {
                    self.scheduler.observe_node(&Change::Removed(old), self.now);
                }
            }
            Op::AddPod {
                cpu,
                port,
                tolerates,
                disk,
                gated,
                held,
                priority,
            } => {
                let name = format!("p{}", self.next_pod);
                self.next_pod += 1;
                let built = ours(&name)
                    .requests("cpu", &format!("{}m", u32::from(cpu) * 500))
                    .with(|pod| {
                        let spec = pod.spec.as_mut().unwrap();
                        spec.priority = Some(i32::from(priority));
                        if port {
                            host_port(&mut spec.containers[0]);
                        }
                        if tolerates {
                            let toleration = Toleration {
                                operator: Some("Exists".to_owned()),
                                ..Toleration::default()
                            };
                            spec.tolerations = Some(vec![toleration]);
                        }
                        if disk > 0 {
                            let label = ("disk".to_owned(), format!("d{}", disk - 1));
                            spec.node_selector = Some(BTreeMap::from([label]));
                        }
                        if gated {
                            spec.scheduling_gates = Some(vec![PodSchedulingGate { name: "g".to_owned() }]);
                        }
                        if held {
                            spec.scheduling_group =
                                Some(k8s_openapi::api::core::v1::PodSchedulingGroup::default());
                        }
                    });
                self.put_pod(built.build());
            }
            Op::AddForeign { node, cpu, port } => {
                let name = format!("f{}", self.next_pod);
                self.next_pod += 1;
                let built = pod(&name)
                    .requests("cpu", &cpu.to_string())
                    .on(&format!("n{node}"))
                    .with(|pod| {
                        if port {
                            host_port(&mut pod.spec.as_mut().unwrap().containers[0]);
                        }
                    });
                self.put_pod(built.build());
            }
            Op::RemovePod { index } => {
                if let Some(name) = self.pick(index, |_| true) {
                    self.remove_pod(&name);
                }
            }
            Op::TerminatePod { index } => {
                if let Some(name) = self.pick(index, |pod| pod.metadata.deletion_timestamp.is_none()) {
                    self.change_pod(&name, |pod| pod.metadata.deletion_timestamp = Some(Time(T0)));
                }
            }
            Op::OpenGate { index } => {
                let is_gated = |pod: &Pod| {
                    pod.spec
                        .as_ref()
                        .is_some_and(|spec| spec.scheduling_gates.is_some())
                };
                if let Some(name) = self.pick(index, is_gated) {
                    self.change_pod(&name, |pod| pod.spec.as_mut().unwrap().scheduling_gates = None);
                }
            }
            Op::Step => self.step()?,
            Op::Answer { index, accepted } => self.answer(index, accepted)?,
            Op::Confirm { index } => {
                if !self.accepted.is_empty() {
                    let (name, node) = self.accepted.remove(index % self.accepted.len());
                    self.change_pod(&name, |pod| pod.spec.as_mut().unwrap().node_name = Some(node));
                }
            }
            Op::Rebind { index, node } => {
                if !self.accepted.is_empty() {
                    let (name, _) = self.accepted.remove(index % self.accepted.len());
                    let node = format!("n{node}");
                    self.change_pod(&name, |pod| pod.spec.as_mut().unwrap().node_name = Some(node));
                }
            }
            Op::Wait { millis } => {
                self.now += SignedDuration::from_millis(i64::from(millis));
                self.scheduler.flush(self.now);
            }
            Op::LongWait => {
                self.now += SignedDuration::from_secs(40);
                self.scheduler.flush(self.now);
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), TestCaseError> {
        let before = self.scheduler.cluster().dump();
        let Some(Step::Bind(binding)) = self.scheduler.step(self.now) else {
            prop_assert_eq!(before, self.scheduler.cluster().dump());
            return Ok(());
        };
        self.has_room(&binding)?;
        let pod = &self.pods[&*binding.attempt.pod.key.name];
        // SINV-3: not for a pod known to be going, gone, bound or gated.
        let spec = pod.spec.as_ref().unwrap();
        prop_assert!(pod.metadata.deletion_timestamp.is_none() && spec.node_name.is_none());
        prop_assert!(spec.scheduling_gates.is_none() && spec.scheduling_group.is_none());
        // SINV-4: one binding at a time.
        let uid = binding.action.uid();
        prop_assert!(self.sent.iter().all(|sent| sent.action.uid() != uid));
        if self.version.is_multiple_of(5) {
            // SINV-8: it fails at once, and nothing is left of it.
            let _step = self.scheduler.binding_failed(*binding, "no", self.now);
            prop_assert_eq!(before, self.scheduler.cluster().dump());
        } else {
            self.sent.push(*binding);
        }
        Ok(())
    }

    /// SINV-1, computed from the pods of the dump and not from the table's sums.
    fn has_room(&self, binding: &Binding) -> Result<(), TestCaseError> {
        let dump = self.scheduler.cluster().dump();
        let here: Vec<&Uid> = dump
            .pods
            .iter()
            .filter(|(_, _, node, _)| *node == binding.node)
            .map(|(_, uid, ..)| uid)
            .collect();
        let node = &self.nodes[&*binding.node];
        let allocatable = node
            .status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref())
            .unwrap();
        let amount = |name: &str| allocatable[name].0.parse::<i64>().unwrap();
        let cpu: i64 = here
            .iter()
            .map(|uid| self.scheduler.cluster().pod(uid).unwrap().demand.charge.cpu.0)
            .sum();
        prop_assert!(
            here.len() <= usize::try_from(amount("pods")).unwrap(),
            "{} pods on {}",
            here.len(),
            binding.node
        );
        if binding.attempt.pod.demand.request.cpu.0 > 0 {
            prop_assert!(
                cpu <= 1000 * amount("cpu"),
                "{cpu}m of {} on {}",
                amount("cpu"),
                binding.node
            );
        }
        Ok(())
    }

    fn answer(&mut self, index: usize, accepted: bool) -> Result<(), TestCaseError> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let binding = self.sent.remove(index % self.sent.len());
        let name = binding.attempt.pod.key.name.to_string();
        let can_be_bound = self.pods.get(&name).is_some_and(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none())
        });
        if accepted && can_be_bound {
            let event = self.scheduler.bound(&binding);
            prop_assert!(note(&event).starts_with("Successfully assigned default/"));
            self.accepted.push((name, binding.node.to_string()));
        } else {
            let _step = self.scheduler.binding_failed(binding, "no", self.now);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let scheduler = &self.scheduler;
        let mut places: BTreeMap<&Uid, Vec<Place>> = BTreeMap::new();
        for (uid, place) in scheduler.queue().places() {
            places.entry(uid).or_default().push(place);
        }
        for (name, pod) in &self.pods {
            let uid = Uid::of(&**pod);
            let spec = pod.spec.as_ref().unwrap();
            let is_ours = spec.scheduler_name.as_deref() == Some(NAME) && spec.node_name.is_none();
            let in_queue = places.remove(&uid).unwrap_or_default();
            let on_its_way = self.sent.iter().any(|sent| *sent.action.uid() == uid)
                || self.accepted.iter().any(|(accepted, _)| accepted == name);
            if !is_ours {
                prop_assert_eq!(in_queue.len(), 0, "{} is not ours to schedule", name);
            } else if pod.metadata.deletion_timestamp.is_none() {
                // SINV-5.
                prop_assert_eq!(
                    in_queue.len() + usize::from(on_its_way),
                    1,
                    "{} in {:?}",
                    name,
                    in_queue
                );
            }
            // SINV-6: whatever is parked does not fit.
            if in_queue == [Place::Unschedulable] {
                let info = PodInfo::new(Arc::clone(pod));
                let decision = plan::decide(scheduler.profile(), scheduler.cluster().table(), &info, 0);
                prop_assert!(decision.failure().is_some(), "{} is parked but fits", name);
            }
        }
        prop_assert!(places.is_empty(), "gone but queued: {:?}", places);
        Ok(())
    }

    /// The incremental cache equals one built anew in another order, and so do decisions (SINV-13, STY-83).
    fn check_rebuilt(&self) -> Result<(), TestCaseError> {
        let cluster = self.scheduler.cluster();
        let dump = cluster.dump();
        let mut rebuilt = Cluster::default();
        for (_, uid, node, state) in dump.pods.iter().rev() {
            let pod = cluster.pod(uid).unwrap();
            if *state == "assumed" {
                prop_assert!(rebuilt.assume(pod, node).is_ok());
            } else {
                rebuilt.confirm(Arc::clone(pod), node);
            }
        }
        for node in self.nodes.values().rev() {
            rebuilt.table_mut().set_node(node);
        }
        prop_assert_eq!(&dump, &rebuilt.dump());
        for pod in self.scheduler.pending() {
            let explain = |cluster: &Cluster| {
                let decision = plan::decide(self.scheduler.profile(), cluster.table(), pod, 42);
                decision.explain(cluster.table())
            };
            prop_assert_eq!(explain(cluster), explain(&rebuilt));
        }
        Ok(())
    }
}

fn host_port(container: &mut k8s_openapi::api::core::v1::Container) {
    container.ports = Some(vec![ContainerPort {
        container_port: 80,
        host_port: Some(8080),
        ..ContainerPort::default()
    }]);
}

proptest! {
    /// SINV-1, SINV-3, SINV-4, SINV-5, SINV-6, SINV-8 and SINV-13 after every step of a random history.
    #[test]
    fn sinv_1_to_13_hold_at_every_step(ops in prop::collection::vec(any_op(), 1..80)) {
        let mut world = World::new();
        for (index, op) in ops.into_iter().enumerate() {
            world.apply(&op)?;
            world.check()?;
            if index % 16 == 15 {
                world.check_rebuilt()?;
            }
        }
        world.check_rebuilt()?;
        prop_assert_eq!(world.scheduler.moved(), 0);
    }
}
