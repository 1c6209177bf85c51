//! Watches every write that a simulated API server commits and checks the safety invariants of
//! `docs/specs/workloads.md` chapter 5 that can be seen from there.
//!
//! A controller decides on what its watches showed a moment ago. A write is therefore held against every state of the
//! Deployment (or ReplicaSet) within [`LAG`] before it, never against states that are older.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How far behind a plan may be: the longest delay of a watch that the faults inject, plus the time of the calls.
pub(crate) const LAG: SignedDuration = SignedDuration::from_secs(20);

/// How long a pod has to be available before a controller must know it: a delayed event behind a slow answer. A pod
/// that became available more recently may be taken for one that is not, and go first when a ReplicaSet shrinks.
const KNOWN: SignedDuration = SignedDuration::from_secs(12);

/// One committed write.
pub(crate) struct Write<'a> {
    pub(crate) at: Timestamp,
    /// The process of ours that made it.
    pub(crate) by: Option<&'a str>,
    /// `deployments`, `replicasets`, `pods` …
    pub(crate) resource: &'a str,
    pub(crate) old: Option<&'a Value>,
    pub(crate) new: Option<&'a Value>,
}

impl Write<'_> {
    fn is_ours(&self) -> bool {
        self.by.is_some()
    }
}

/// Name of the Lease that processes of ours compete for, if there are several.
pub(crate) const LEASE: &str = "steersman";

/// A number and when it was in force, newest last.
#[derive(Clone, Debug, Default)]
struct History(VecDeque<(Timestamp, i64)>);

impl History {
    fn set(&mut self, at: Timestamp, value: i64) {
        if self.0.back().is_none_or(|(_, last)| *last != value) {
            self.0.push_back((at, value));
        }
    }

    /// Values in force at any time since `at - LAG`.
    fn recent(&self, at: Timestamp) -> impl Iterator<Item = i64> + '_ {
        let since = at - LAG;
        let first = self.0.iter().rposition(|(from, _)| *from <= since).unwrap_or(0);
        self.0.iter().skip(first).map(|(_, value)| *value)
    }

    fn largest(&self, at: Timestamp) -> i64 {
        self.recent(at).max().unwrap_or(0)
    }
}

#[derive(Clone, Debug, Default)]
struct DeploymentState {
    key: String,
    /// Replicas plus surge.
    ceiling: History,
    /// Replicas minus unavailable; what availability must not be brought below.
    floor: History,
    /// 1 while paused.
    paused: History,
    /// 1 while the strategy is Recreate.
    recreate: History,
    /// 1 while a rollback is asked for by annotation: that makes sure of the new ReplicaSet first, at its full size under
    /// Recreate, as upstream does (DEP-15, DEP-95).
    rollback: History,
    observed: i64,
}

#[derive(Clone, Debug, Default)]
struct SetState {
    owner: Option<String>,
    replicas: i64,
    sizes: History,
    revision: i64,
    template: Value,
    min_ready: SignedDuration,
    deleting: bool,
}

#[derive(Clone, Debug, Default)]
struct PodState {
    owner: Option<String>,
    /// Neither finished nor terminating.
    active: bool,
    /// Neither finished nor gone.
    alive: bool,
    ready_since: Option<Timestamp>,
}

/// A change of the size of a ReplicaSet.
struct Resize {
    uid: String,
    /// Its Deployment.
    owner: String,
    was: i64,
    replicas: i64,
    available_before: i64,
    /// Part of proportional scaling after a user changed `spec.replicas`: it looks at sizes, not at availability
    /// (DEP-42, DEP-43).
    of_scaling: bool,
}

/// The state of the cluster as stored, and what was found wrong with the way there.
#[derive(Default)]
pub(crate) struct Monitor {
    deployments: BTreeMap<String, DeploymentState>,
    sets: BTreeMap<String, SetState>,
    pods: BTreeMap<String, PodState>,
    /// When somebody else last took pods away, by the Deployment's key: INV-3 excuses what a controller decides before
    /// it can know that.
    pub(crate) robbed: BTreeMap<String, Timestamp>,
    /// When the process that writes began to: it starts from the statuses that it finds, as upstream does.
    pub(crate) takeover: Option<Timestamp>,
    /// Who holds the lease; `None` while there is none.
    holder: Option<String>,
    /// Writes of ours per resource since the last look.
    pub(crate) our_writes: BTreeMap<String, u64>,
    pub(crate) violations: Vec<String>,
    /// The writes up to the first violation, newest last.
    pub(crate) trail: VecDeque<String>,
}

const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Length of [`Monitor::trail`].
const TRAIL: usize = 40;

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

fn uid(object: &Value) -> String {
    text(object, "/metadata/uid").to_owned()
}

fn key(object: &Value) -> String {
    format!(
        "{}/{}",
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name")
    )
}

/// A write in one line.
fn summary(write: &Write<'_>) -> String {
    let verb = match (write.old, write.new) {
        (None, _) => "create",
        (_, None) => "delete",
        _ => "update",
    };
    let object = write.new.or(write.old).unwrap_or(&Value::Null);
    let who = write.by.unwrap_or("others");
    let status = &object["status"];
    let ready = status["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|it| it["type"] == "Ready"));
    format!(
        "{} {who} {verb} {} {} size {} generation {}/{} available {} ready {} deleting {}",
        write.at,
        write.resource,
        key(object),
        object["spec"]["replicas"],
        status["observedGeneration"],
        object["metadata"]["generation"],
        status["availableReplicas"],
        ready.map_or(&Value::Null, |it| &it["status"]),
        object["metadata"]["deletionTimestamp"].is_string(),
    )
}

fn controllers(object: &Value) -> Vec<&Value> {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    owners
        .into_iter()
        .flatten()
        .filter(|owner| owner["controller"] == true)
        .collect()
}

/// A pod template without the hash that tells ReplicaSets apart.
fn bare(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove("pod-template-hash");
    }
    template
}

/// Percent or number of `replicas`, rounded up or down (DEP-31).
fn resolve(value: &Value, replicas: i64, up: bool) -> i64 {
    let Some(percent) = value.as_str().and_then(|text| text.strip_suffix('%')) else {
        return value.as_i64().unwrap_or(0);
    };
    let product = percent.parse::<i64>().unwrap() * replicas;
    if up { (product + 99) / 100 } else { product / 100 }
}

impl Monitor {
    /// Takes note of a write and checks it.
    pub(crate) fn see(&mut self, write: &Write<'_>) {
        if write.resource == "leases" {
            if let Some(lease) = write.new.filter(|lease| text(lease, "/metadata/name") == LEASE) {
                let holder = Some(text(lease, "/spec/holderIdentity").to_owned());
                if self.holder != holder {
                    self.holder = holder;
                    self.takeover = Some(write.at);
                }
            }
            return;
        }
        if let (Some(by), Some(holder)) = (write.by, &self.holder)
            && by != holder
        {
            self.fail(
                write,
                "INV-12",
                &format!("{by} wrote while the lease was held by {holder:?}"),
            );
        }
        if write.is_ours() {
            *self.our_writes.entry(write.resource.to_owned()).or_default() += 1;
        }
        if self.violations.is_empty() {
            self.trail.push_back(summary(write));
            if self.trail.len() > TRAIL {
                self.trail.pop_front();
            }
        }
        match write.resource {
            "deployments" => self.see_deployment(write),
            "replicasets" => self.see_set(write),
            "pods" => self.see_pod(write),
            _ => {}
        }
    }

    fn fail(&mut self, write: &Write<'_>, invariant: &str, detail: &str) {
        let object = write.new.or(write.old).map(key).unwrap_or_default();
        self.violations.push(format!(
            "{invariant} at {} {} {object}: {detail}",
            write.at, write.resource
        ));
    }

    fn see_deployment(&mut self, write: &Write<'_>) {
        let Some(new) = write.new else {
            self.deployments.remove(&uid(write.old.unwrap()));
            return;
        };
        let replicas = number(new, "/spec/replicas");
        let rolling = text(new, "/spec/strategy/type") == "RollingUpdate";
        let limits = new
            .pointer("/spec/strategy/rollingUpdate")
            .cloned()
            .unwrap_or_default();
        let surge = if rolling {
            resolve(&limits["maxSurge"], replicas, true)
        } else {
            0
        };
        let mut unavailable = if rolling {
            resolve(&limits["maxUnavailable"], replicas, false)
        } else {
            replicas
        };
        if rolling && surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        let state = self.deployments.entry(uid(new)).or_default();
        state.key = key(new);
        state.ceiling.set(write.at, replicas + surge);
        state.floor.set(write.at, (replicas - unavailable).max(0));
        state
            .paused
            .set(write.at, i64::from(new["spec"]["paused"] == true));
        state.recreate.set(write.at, i64::from(!rolling));
        let asked = new["metadata"]["annotations"]["deprecated.deployment.rollback.to"].is_string();
        state.rollback.set(write.at, i64::from(asked));
        let observed = number(new, "/status/observedGeneration");
        let before = std::mem::replace(&mut state.observed, observed);
        if observed > number(new, "/metadata/generation") || observed < before {
            self.fail(
                write,
                "INV-9",
                &format!("observedGeneration {before} -> {observed}"),
            );
        }
    }

    /// INV-4: what has no controller is none of ours, except to adopt it.
    fn check_control(&mut self, write: &Write<'_>) {
        let Some(old) = write
            .old
            .filter(|old| write.is_ours() && controllers(old).is_empty())
        else {
            return;
        };
        let is_touched = write.new.is_none_or(|new| {
            let deleting = |object: &Value| object["metadata"]["deletionTimestamp"].clone();
            let changes_set = write.resource == "replicasets"
                && (old["spec"] != new["spec"]
                    || old["metadata"]["annotations"] != new["metadata"]["annotations"]);
            changes_set || deleting(old) != deleting(new)
        });
        if is_touched {
            self.fail(write, "INV-4", "written without being its controller");
        }
    }

    fn see_set(&mut self, write: &Write<'_>) {
        self.check_control(write);
        let Some(new) = write.new else {
            self.sets.remove(&uid(write.old.unwrap()));
            return;
        };
        let uid = uid(new);
        let controllers = controllers(new);
        if controllers.len() > 1 {
            self.fail(write, "INV-5", "two controllers");
        }
        let owner = controllers
            .first()
            .map(|owner| owner["uid"].as_str().unwrap_or_default().to_owned());
        let before = self.sets.get(&uid).cloned();
        let replicas = number(new, "/spec/replicas");
        let was = before.as_ref().map_or(0, |set| set.replicas);
        let template = new["spec"]["template"].clone();
        if write.is_ours() && before.as_ref().is_some_and(|set| set.template != template) {
            self.fail(write, "INV-10", "the template changed");
        }
        let revision = new["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        if write.is_ours() && before.as_ref().is_some_and(|set| revision < set.revision) {
            self.fail(write, "INV-8", "the revision fell");
        }
        let deployment = owner
            .as_ref()
            .and_then(|owner| self.deployments.get(owner))
            .cloned();
        let available_before = owner
            .as_deref()
            .map_or(0, |owner| self.available(owner, write.at - KNOWN));
        let mut sizes = before.as_ref().map(|set| set.sizes.clone()).unwrap_or_default();
        sizes.set(write.at, replicas);
        let deleting = new["metadata"]["deletionTimestamp"].is_string();
        let desired = |object: &Value| object["metadata"]["annotations"][DESIRED_REPLICAS].clone();
        let of_scaling = write.old.is_some_and(|old| desired(old) != desired(new));
        let min_ready = SignedDuration::from_secs(number(new, "/spec/minReadySeconds"));
        let set = SetState {
            owner: owner.clone(),
            replicas,
            sizes,
            revision,
            template,
            min_ready,
            deleting,
        };
        self.sets.insert(uid.clone(), set);
        let (Some(deployment), Some(owner), true) = (deployment, owner, write.is_ours()) else {
            return;
        };

        let siblings = |it: &Self| -> Vec<(String, SetState)> {
            let of_owner = it
                .sets
                .iter()
                .filter(|(_, set)| set.owner.as_ref() == Some(&owner));
            of_owner.map(|(uid, set)| (uid.clone(), set.clone())).collect()
        };
        if before.as_ref().is_none_or(|set| set.revision != revision)
            && revision != 0
            && siblings(self)
                .iter()
                .any(|(other, set)| *other != uid && set.revision == revision && !set.deleting)
        {
            self.fail(
                write,
                "INV-8",
                &format!("a second ReplicaSet with revision {revision}"),
            );
        }
        let is_twin = |set: &SetState| !set.deleting && bare(&set.template) == bare(&new["spec"]["template"]);
        if before.is_none()
            && siblings(self)
                .iter()
                .any(|(other, set)| *other != uid && is_twin(set))
        {
            self.fail(write, "INV-6", "a second ReplicaSet for the same template");
        }
        let paused_throughout = deployment.paused.recent(write.at).all(|paused| paused == 1);
        if before.is_none() && paused_throughout {
            self.fail(write, "INV-15", "created while paused");
        }
        self.check_size(
            write,
            &deployment,
            &Resize {
                uid,
                owner,
                was,
                replicas,
                available_before,
                of_scaling,
            },
        );
    }

    /// INV-1, INV-3 and INV-7 of a change of size.
    fn check_size(&mut self, write: &Write<'_>, deployment: &DeploymentState, resize: &Resize) {
        let Resize {
            uid,
            owner,
            was,
            replicas,
            available_before,
            of_scaling,
        } = resize;
        let (was, replicas, available_before) = (*was, *replicas, *available_before);
        let siblings: Vec<(&String, i64)> = self
            .sets
            .iter()
            .filter(|(_, set)| set.owner.as_ref() == Some(owner))
            .map(|(uid, set)| (uid, set.replicas))
            .collect();
        let of_rollback = write.old.is_none() && deployment.rollback.recent(write.at).any(|asked| asked == 1);
        if replicas > was && !of_rollback {
            let total: i64 = siblings.iter().map(|(_, replicas)| replicas).sum();
            let others: BTreeSet<&String> = siblings
                .iter()
                .map(|(other, _)| *other)
                .filter(|other| *other != uid)
                .collect();
            let alive =
                |pod: &&PodState| pod.alive && pod.owner.as_ref().is_some_and(|it| others.contains(it));
            let old_pods = self.pods.values().filter(alive).count();
            let ceiling = deployment.ceiling.largest(write.at);
            if total > ceiling {
                let detail = format!("raised {was} -> {replicas}: {total} pods wanted, limit {ceiling}");
                self.fail(write, "INV-1", &detail);
            }
            let recreate_throughout = deployment.recreate.recent(write.at).all(|recreate| recreate == 1);
            if was == 0 && recreate_throughout && old_pods > 0 {
                self.fail(
                    write,
                    "INV-7",
                    &format!("raised from 0 while {old_pods} old pods live"),
                );
            }
        }
        if replicas < was {
            let floor = deployment.floor.recent(write.at).min().unwrap_or(0);
            let after = self.available(owner, write.at);
            let excused = self
                .robbed
                .get(&deployment.key)
                .is_some_and(|at| write.at - KNOWN <= *at);
            if available_before >= floor && after < floor && !excused && !of_scaling {
                let detail = format!("lowered {was} -> {replicas}: {after} available, need {floor}");
                self.fail(write, "INV-3", &detail);
            }
        }
    }

    /// Sum over the ReplicaSets of a Deployment of min(size, pods that have been available since `at` or longer).
    fn available(&self, deployment: &str, at: Timestamp) -> i64 {
        let sets = self
            .sets
            .iter()
            .filter(|(_, set)| set.owner.as_deref() == Some(deployment));
        sets.map(|(uid, set)| {
            let available = self.pods.values().filter(|pod| {
                let lasting = pod.ready_since.is_some_and(|ready| ready + set.min_ready <= at);
                pod.active && lasting && pod.owner.as_ref() == Some(uid)
            });
            set.replicas.min(i64::try_from(available.count()).unwrap())
        })
        .sum()
    }

    fn see_pod(&mut self, write: &Write<'_>) {
        self.check_control(write);
        let Some(new) = write.new else {
            self.pods.remove(&uid(write.old.unwrap()));
            return;
        };
        let uid = uid(new);
        let controllers = controllers(new);
        if controllers.len() > 1 {
            self.fail(write, "INV-5", "two controllers");
        }
        let owner = controllers
            .first()
            .map(|owner| owner["uid"].as_str().unwrap_or_default().to_owned());
        let finished = matches!(text(new, "/status/phase"), "Succeeded" | "Failed");
        let terminating = new["metadata"]["deletionTimestamp"].is_string();
        let conditions = new.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|it| it["type"] == "Ready" && it["status"] == "True");
        let ready_since = ready.and_then(|it| it["lastTransitionTime"].as_str()?.parse().ok());
        let created = !self.pods.contains_key(&uid);
        if created && write.is_ours() && owner.is_none() {
            self.fail(write, "INV-6", "a pod of ours without controller");
        }
        self.pods.insert(
            uid,
            PodState {
                owner: owner.clone(),
                active: !finished && !terminating,
                alive: !finished,
                ready_since,
            },
        );
        let Some((set, owner)) = owner.and_then(|owner| Some((self.sets.get(&owner)?.clone(), owner))) else {
            return;
        };
        if created && write.is_ours() {
            let active = self
                .pods
                .values()
                .filter(|pod| pod.active && pod.owner.as_ref() == Some(&owner))
                .count();
            let largest = set.sizes.largest(write.at);
            if i64::try_from(active).unwrap() > largest {
                self.fail(
                    write,
                    "INV-2",
                    &format!("{active} pods, the largest size was {largest}"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(replicas: i64) -> Value {
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "s",
            "ownerReferences": [{"uid": "d", "controller": true}]}, "spec": {"replicas": replicas}})
    }

    /// The monitor itself can fail: each of these histories breaks one rule.
    #[test]
    fn inv_1_to_inv_12_violations_are_noticed() {
        let at = Timestamp::UNIX_EPOCH;
        let deployment = json!({"metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": 1},
            "spec": {"replicas": 4, "strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}});
        let pod = |name: &str| {
            json!({"metadata": {"name": name, "namespace": "n", "uid": name,
            "ownerReferences": [{"uid": "s", "controller": true}]}})
        };
        let mut monitor = Monitor::default();
        let mut see = |resource: &'static str, old: Option<Value>, new: Option<Value>| {
            monitor.see(&Write {
                at,
                by: Some("ours"),
                resource,
                old: old.as_ref(),
                new: new.as_ref(),
            });
            std::mem::take(&mut monitor.violations)
        };
        assert!(see("deployments", None, Some(deployment)).is_empty());
        assert!(see("replicasets", None, Some(set(1))).is_empty());
        assert!(see("pods", None, Some(pod("a"))).is_empty());
        assert!(see("pods", None, Some(pod("b")))[0].starts_with("INV-2"));
        assert!(see("replicasets", Some(set(1)), Some(set(5))).is_empty());
        assert!(see("replicasets", Some(set(5)), Some(set(6)))[0].starts_with("INV-1"));
        let mut second = set(6);
        second["metadata"]["ownerReferences"]
            .as_array_mut()
            .unwrap()
            .push(json!({"uid": "x", "controller": true}));
        assert!(see("replicasets", Some(set(6)), Some(second))[0].starts_with("INV-5"));
        let lease = json!({"metadata": {"name": LEASE}, "spec": {"holderIdentity": "another"}});
        assert!(see("leases", None, Some(lease)).is_empty());
        assert!(see("pods", None, Some(pod("c")))[0].starts_with("INV-12"));
    }

    /// What the monitor says about a history, write by write.
    #[derive(Default)]
    struct Script {
        monitor: Monitor,
        seconds: i64,
    }

    impl Script {
        fn see(
            &mut self,
            by: Option<&str>,
            resource: &str,
            old: Option<&Value>,
            new: Option<&Value>,
        ) -> String {
            let write = Write {
                at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(self.seconds),
                by,
                resource,
                old,
                new,
            };
            self.monitor.see(&write);
            std::mem::take(&mut self.monitor.violations).join("; ")
        }

        #[expect(
            clippy::needless_pass_by_value,
            reason = "histories are written down in place"
        )]
        fn users(&mut self, resource: &str, new: Value) {
            assert_eq!(self.see(None, resource, None, Some(&new)), "");
        }

        #[expect(
            clippy::needless_pass_by_value,
            reason = "histories are written down in place"
        )]
        fn ours(&mut self, resource: &str, old: Option<Value>, new: Option<Value>) -> String {
            self.see(Some("ours"), resource, old.as_ref(), new.as_ref())
        }
    }

    fn owner(strategy: &Value) -> Value {
        json!({"metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": 1},
            "spec": {"replicas": 4, "strategy": strategy}})
    }

    fn rolling() -> Value {
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    }

    fn child(name: &str, replicas: i64, image: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "annotations": {},
                "ownerReferences": [{"uid": "d", "controller": true}]},
            "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"pod-template-hash": name}},
                "spec": {"containers": [{"image": image}]}}}})
    }

    fn ready_pod(name: &str, set: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "uid": name,
                "ownerReferences": [{"uid": set, "controller": true}]},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z"}]}})
    }

    fn orphan(mut object: Value) -> Value {
        object["metadata"]["ownerReferences"] = json!([]);
        object
    }

    #[test]
    fn inv_3_a_shrink_below_the_minimum_is_noticed() {
        let mut script = Script::default();
        script.users("deployments", owner(&rolling()));
        script.users("replicasets", child("s", 4, "a"));
        for name in ["p", "q", "r", "t"] {
            script.users("pods", ready_pod(name, "s"));
        }
        script.seconds = 100;
        let smaller = |from, to| (Some(child("s", from, "a")), Some(child("s", to, "a")));
        let (old, new) = smaller(4, 3);
        assert_eq!(script.ours("replicasets", old, new), "");
        let (old, new) = smaller(3, 2);
        assert!(script.ours("replicasets", old, new).starts_with("INV-3"));
    }

    #[test]
    fn inv_4_a_write_to_what_is_not_ours_is_noticed() {
        let mut script = Script::default();
        let pod = orphan(ready_pod("p", "s"));
        let mut deleting = pod.clone();
        deleting["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        assert!(
            script
                .ours("pods", Some(pod.clone()), Some(deleting))
                .starts_with("INV-4")
        );
        assert!(script.ours("pods", Some(pod.clone()), None).starts_with("INV-4"));
        let (old, new) = (orphan(child("s", 4, "a")), orphan(child("s", 3, "a")));
        assert!(
            script
                .ours("replicasets", Some(old.clone()), Some(new))
                .starts_with("INV-4")
        );
        // Adoption is no such write, and the garbage collector may delete what it likes.
        assert_eq!(
            script.ours("replicasets", Some(old.clone()), Some(child("s", 4, "a"))),
            ""
        );
        assert_eq!(script.see(None, "replicasets", Some(&old), None), "");
    }

    #[test]
    fn inv_6_a_second_new_replica_set_and_a_pod_of_nobody_are_noticed() {
        let mut script = Script::default();
        script.users("deployments", owner(&rolling()));
        assert_eq!(script.ours("replicasets", None, Some(child("s", 1, "a"))), "");
        assert_eq!(script.ours("replicasets", None, Some(child("t", 1, "b"))), "");
        assert!(
            script
                .ours("replicasets", None, Some(child("u", 0, "a")))
                .starts_with("INV-6")
        );
        let nobodys = orphan(ready_pod("p", "s"));
        assert!(script.ours("pods", None, Some(nobodys)).starts_with("INV-6"));
    }

    #[test]
    fn inv_7_new_pods_beside_old_ones_under_recreate_are_noticed() {
        let mut script = Script::default();
        script.users("deployments", owner(&json!({"type": "Recreate"})));
        script.users("replicasets", child("old", 0, "a"));
        script.users("replicasets", child("new", 0, "b"));
        script.users("pods", ready_pod("p", "old"));
        let raised = || (Some(child("new", 0, "b")), Some(child("new", 4, "b")));
        script.seconds = 100;
        let (old, new) = raised();
        assert!(script.ours("replicasets", old, new).starts_with("INV-7"));
        script.see(None, "pods", Some(&ready_pod("p", "old")), None);
        script.users("replicasets", child("new", 0, "b"));
        let (old, new) = raised();
        assert_eq!(script.ours("replicasets", old, new), "");
    }

    #[test]
    fn inv_8_a_revision_that_falls_or_is_given_twice_is_noticed() {
        let revised = |name: &str, image: &str, revision: &str| {
            let mut set = child(name, 1, image);
            set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!(revision);
            set
        };
        let mut script = Script::default();
        script.users("deployments", owner(&rolling()));
        script.users("replicasets", revised("s", "a", "3"));
        let (old, new) = (revised("s", "a", "3"), revised("s", "a", "2"));
        assert!(
            script
                .ours("replicasets", Some(old), Some(new))
                .starts_with("INV-8")
        );
        assert!(
            script
                .ours("replicasets", None, Some(revised("t", "b", "2")))
                .starts_with("INV-8")
        );
    }

    #[test]
    fn inv_9_an_observed_generation_from_the_future_or_past_is_noticed() {
        let observed = |generation: i64| {
            let mut deployment = owner(&rolling());
            deployment["metadata"]["generation"] = json!(2);
            deployment["status"] = json!({ "observedGeneration": generation });
            deployment
        };
        let mut script = Script::default();
        assert_eq!(script.ours("deployments", None, Some(observed(2))), "");
        assert!(
            script
                .ours("deployments", None, Some(observed(1)))
                .starts_with("INV-9")
        );
        assert!(
            script
                .ours("deployments", None, Some(observed(3)))
                .starts_with("INV-9")
        );
    }

    #[test]
    fn inv_10_a_changed_template_is_noticed() {
        let mut script = Script::default();
        script.users("replicasets", child("s", 1, "a"));
        let (old, new) = (child("s", 1, "a"), child("s", 1, "b"));
        assert!(
            script
                .ours("replicasets", Some(old), Some(new))
                .starts_with("INV-10")
        );
    }

    #[test]
    fn inv_15_a_replica_set_made_while_paused_is_noticed() {
        let mut script = Script::default();
        let mut paused = owner(&rolling());
        paused["spec"]["paused"] = json!(true);
        script.users("deployments", paused);
        script.seconds = 100;
        let made = script.ours("replicasets", None, Some(child("s", 1, "a")));
        assert!(made.starts_with("INV-15"), "{made}");
    }
}
