//! What tools conclude from the status of Deployments and ReplicaSets (DEP-97 to DEP-106), as predicates that hold, or do
//! not, at every state of a rollout that anybody could have seen.

use serde_json::{Value, json};

use super::history::Moment;
use super::stage::{
    Stage, condition, count, deployment, image, is_active, is_complete, is_ready, name, reason, revision,
    text,
};

/// What a tool makes of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Waits,
    Done,
    Failed,
    Suspended,
}

/// DEP-97: `kubectl rollout status`.
fn kubectl(deployment: &Value) -> Verdict {
    if count(deployment, "/metadata/generation") > count(deployment, "/status/observedGeneration") {
        return Verdict::Waits;
    }
    if reason(deployment, "Progressing") == "ProgressDeadlineExceeded" {
        return Verdict::Failed;
    }
    let [updated, total, available] = ["updatedReplicas", "replicas", "availableReplicas"]
        .map(|it| count(deployment, &format!("/status/{it}")));
    if updated < count(deployment, "/spec/replicas") || total > updated || available < updated {
        Verdict::Waits
    } else {
        Verdict::Done
    }
}

/// DEP-102: `helm --wait` of Helm 3, here with maxUnavailable already resolved.
fn helm(deployment: &Value, new: Option<&Value>, max_unavailable: i64) -> Verdict {
    let Some(new) = new else { return Verdict::Waits };
    if deployment["spec"]["paused"] == true {
        return Verdict::Suspended;
    }
    let seen = |it: &Value| it["metadata"]["generation"] == it["status"]["observedGeneration"];
    let expected = count(deployment, "/spec/replicas") - max_unavailable;
    if seen(deployment) && seen(new) && count(new, "/status/readyReplicas") >= expected {
        Verdict::Done
    } else {
        Verdict::Waits
    }
}

/// DEP-103: kstatus, which Flux, kpt and Helm 4 use.
fn kstatus(deployment: &Value) -> Verdict {
    if count(deployment, "/metadata/generation") > count(deployment, "/status/observedGeneration") {
        return Verdict::Waits;
    }
    if reason(deployment, "Progressing") == "ProgressDeadlineExceeded" {
        return Verdict::Failed;
    }
    let status = |field: &str| count(deployment, &format!("/status/{field}"));
    let wanted = count(deployment, "/spec/replicas");
    let counts = status("replicas") == wanted
        && status("updatedReplicas") >= wanted
        && status("availableReplicas") >= status("updatedReplicas")
        && status("readyReplicas") >= wanted;
    let is_true = |kind: &str| condition(deployment, kind).is_some_and(|it| it["status"] == "True");
    if counts
        && is_true("Progressing")
        && reason(deployment, "Progressing") == "NewReplicaSetAvailable"
        && is_true("Available")
    {
        Verdict::Done
    } else {
        Verdict::Waits
    }
}

/// DEP-103 for a ReplicaSet.
fn kstatus_replica_set(set: &Value) -> Verdict {
    if count(set, "/metadata/generation") > count(set, "/status/observedGeneration") {
        return Verdict::Waits;
    }
    if condition(set, "ReplicaFailure").is_some_and(|it| it["status"] == "True") {
        return Verdict::Waits;
    }
    let wanted = count(set, "/spec/replicas");
    let all = [
        "fullyLabeledReplicas",
        "availableReplicas",
        "readyReplicas",
        "replicas",
    ];
    if all
        .iter()
        .all(|it| count(set, &format!("/status/{it}")) == wanted)
    {
        Verdict::Done
    } else {
        Verdict::Waits
    }
}

/// DEP-104: Argo CD's health of a Deployment.
fn argo(deployment: &Value) -> Verdict {
    if deployment["spec"]["paused"] == true {
        return Verdict::Suspended;
    }
    kubectl(deployment)
}

/// DEP-106: no more pods asked for, and no fewer available, than the strategy allows, from the first moment at which the
/// Deployment is there.
pub(super) fn stays_within_limits(moments: &[Moment], name: &str, most: i64, fewest: i64) {
    for moment in moments {
        let Some(deployment) = moment.deployment(name) else {
            continue;
        };
        let total: i64 = moment
            .replica_sets(deployment)
            .map(|it| count(it, "/spec/replicas"))
            .sum();
        assert!(
            total <= most,
            "{total} pods asked for at {}, {most} allowed",
            moment.at
        );
        let available = count(deployment, "/status/availableReplicas");
        assert!(
            available >= fewest,
            "{available} available at {}, {fewest} needed",
            moment.at
        );
    }
}

/// What is true of the pods, to hold the verdicts against.
struct Truth {
    /// Pods of the present template that are ready.
    ready: i64,
    /// Active pods of other templates.
    old: i64,
    wanted: i64,
}

impl Truth {
    fn of(moment: &Moment, deployment: &Value) -> Self {
        let new = moment.new_replica_set(deployment);
        let active = |set: &Value| moment.pods(set).filter(|pod| is_active(pod)).count();
        let ready = new.map_or(0, |set| {
            moment
                .pods(set)
                .filter(|pod| is_active(pod) && is_ready(pod))
                .count()
        });
        let old: usize = moment
            .replica_sets(deployment)
            .filter(|set| Some(name(set)) != new.map(name))
            .map(active)
            .sum();
        Self {
            ready: i64::try_from(ready).unwrap(),
            old: i64::try_from(old).unwrap(),
            wanted: count(deployment, "/spec/replicas"),
        }
    }

    fn is_done(&self) -> bool {
        self.ready >= self.wanted && self.old == 0
    }
}

/// Holds every verdict at every moment against what is true.
fn check_verdicts(moments: &[Moment], deployment_name: &str, max_unavailable: impl Fn(i64) -> i64) -> usize {
    let mut done = 0;
    for moment in moments {
        let Some(deployment) = moment.deployment(deployment_name) else {
            continue;
        };
        let truth = Truth::of(moment, deployment);
        let new = moment.new_replica_set(deployment);
        let allowed = max_unavailable(truth.wanted);
        let complete = [
            ("kubectl", kubectl(deployment)),
            ("kstatus", kstatus(deployment)),
            ("argo", argo(deployment)),
        ];
        for (tool, verdict) in complete {
            assert_ne!(
                verdict,
                Verdict::Failed,
                "{tool} at {}: {}",
                moment.at,
                deployment["status"]
            );
            if verdict == Verdict::Done {
                let Truth { ready, old, wanted } = truth;
                assert!(
                    truth.is_done(),
                    "{tool} at {} ({:?}): {ready} of {wanted} new pods ready, {old} old ones: {}",
                    moment.at,
                    moment.written,
                    deployment["status"]
                );
                done += 1;
            }
        }
        if helm(deployment, new, allowed) == Verdict::Done {
            assert!(
                truth.ready >= truth.wanted - allowed,
                "helm at {}: {} ready",
                moment.at,
                truth.ready
            );
        }
        for set in moment.replica_sets(deployment) {
            if kstatus_replica_set(set) == Verdict::Done {
                let ready = moment
                    .pods(set)
                    .filter(|pod| is_active(pod) && is_ready(pod))
                    .count();
                let wanted = count(set, "/spec/replicas");
                assert!(
                    i64::try_from(ready).unwrap() >= wanted,
                    "kstatus of {} at {}",
                    name(set),
                    moment.at
                );
            }
        }
    }
    done
}

pub(super) async fn dep_97_dep_102_dep_103_dep_104_no_tool_sees_a_rollout_done_too_early(stage: Stage) {
    let history = stage.record().await;
    stage
        .create("deployments", &deployment("judged", 3, "example.com/judged:1"))
        .await;
    stage.complete("judged").await;
    let restart = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    let changes = [
        image("example.com/judged:2"),
        json!({"spec": {"replicas": 6}}),
        restart,
        json!({"spec": {"replicas": 2}}),
        // Scaled and changed at once.
        json!({"spec": {"replicas": 5, "template": {"spec": {"containers": [{"name": "main", "image": "example.com/judged:3"}]}}}}),
        // Back to a template that has its ReplicaSet already.
        image("example.com/judged:2"),
        json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}}}}),
        image("example.com/judged:4"),
    ];
    for change in &changes {
        stage.patch("deployments/judged", change).await;
        stage.complete("judged").await;
    }
    // Rollovers: the next template comes while the last one rolls out.
    for tag in 5..9 {
        stage
            .patch("deployments/judged", &image(&format!("example.com/judged:{tag}")))
            .await;
        stage
            .object("deployments/judged", |it| {
                count(it, "/status/updatedReplicas") >= 1 && super::stage::is_observed(it)
            })
            .await;
    }
    stage.complete("judged").await;
    // Paused with a changed template: suspended, not done; resumed, and done in the end.
    stage
        .patch("deployments/judged", &json!({"spec": {"paused": true}}))
        .await;
    stage
        .patch("deployments/judged", &image("example.com/judged:9"))
        .await;
    let paused = stage
        .object("deployments/judged", |it| {
            reason(it, "Progressing") == "DeploymentPaused" && super::stage::is_observed(it)
        })
        .await;
    assert_eq!(
        (kubectl(&paused), argo(&paused)),
        (Verdict::Waits, Verdict::Suspended)
    );
    stage
        .patch("deployments/judged", &json!({"spec": {"paused": false}}))
        .await;
    let last = stage.complete("judged").await;
    for verdict in [kubectl(&last), kstatus(&last), argo(&last)] {
        assert_eq!(verdict, Verdict::Done, "{}", last["status"]);
    }
    let moments = history.end().await;
    let end = moments.last().unwrap();
    let deployment = end.deployment("judged").unwrap();
    assert_eq!(
        helm(deployment, end.new_replica_set(deployment), 0),
        Verdict::Done
    );
    assert!(check_verdicts(&moments, "judged", |replicas| replicas / 4) > 10);
}

pub(super) async fn dep_97_a_missed_deadline_fails_the_tools_until_progress(stage: Stage) {
    let mut body = deployment("late", 2, "example.com/late:1");
    body["spec"]["progressDeadlineSeconds"] = json!(1);
    // One second is short for the first rollout, too: it may pass in between.
    stage.create("deployments", &body).await;
    stage.complete("late").await;
    stage.patch("deployments/late", &image("fail/late:2")).await;
    let late = stage
        .object("deployments/late", |it| {
            reason(it, "Progressing") == "ProgressDeadlineExceeded"
        })
        .await;
    for verdict in [kubectl(&late), kstatus(&late), argo(&late)] {
        assert_eq!(verdict, Verdict::Failed, "{}", late["status"]);
    }
    let failed = condition(&late, "Progressing").unwrap();
    assert_eq!(failed["status"], "False");
    assert!(
        text(failed, "/message").ends_with("has timed out progressing."),
        "{failed}"
    );
    assert!(
        condition(&late, "Available").is_some_and(|it| it["status"] == "True"),
        "one pod may be missing"
    );
    let (success, said) = stage
        .try_kubectl(&["rollout", "status", "deployment/late", "--timeout=30s"])
        .await;
    assert!(
        !success && said.contains("deployment \"late\" exceeded its progress deadline"),
        "{said}"
    );
    stage
        .patch(
            "deployments/late",
            &json!({"spec": {"progressDeadlineSeconds": 600}}),
        )
        .await;
    stage
        .patch("deployments/late", &image("example.com/late:3"))
        .await;
    let done = stage.complete("late").await;
    assert_eq!((kubectl(&done), revision(&done)), (Verdict::Done, "3"));
}

pub(super) async fn dep_98_to_dep_101_kubectl_rolls_out_undoes_pauses_and_restarts(stage: Stage) {
    let mut body = deployment("web", 2, "example.com/web:1");
    body["metadata"]["annotations"] = json!({"kubernetes.io/change-cause": "first"});
    stage.create("deployments", &body).await;
    stage.complete("web").await;
    let first = name(&stage.list("replicasets").await[0]).to_owned();
    stage
        .until("the event of the first size", async || {
            let described = stage.kubectl(&["describe", "deployment", "web"]).await;
            described
                .contains(&format!("Scaled up replica set {first} from 0 to 2"))
                .then_some(())
        })
        .await;
    let mut second = image("example.com/web:2");
    second["metadata"] = json!({"annotations": {"kubernetes.io/change-cause": "second"}});
    stage.patch("deployments/web", &second).await;
    let status = stage
        .kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])
        .await;
    assert!(
        status.ends_with("deployment \"web\" successfully rolled out\n"),
        "{status}"
    );
    let status = stage
        .kubectl(&["rollout", "status", "deployment/web", "--revision=2"])
        .await;
    assert!(status.contains("successfully rolled out"), "{status}");
    let (success, said) = stage
        .try_kubectl(&["rollout", "status", "deployment/web", "--revision=1"])
        .await;
    assert!(
        !success && said.contains("desired revision (1) is different from the running revision (2)"),
        "{said}"
    );

    // DEP-99: causes were copied to the ReplicaSets, one line each.
    let history = stage.kubectl(&["rollout", "history", "deployment/web"]).await;
    let lines: Vec<Vec<&str>> = history
        .lines()
        .skip(2)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[..2], [vec!["1", "first"], vec!["2", "second"]], "{history}");
    let told = stage
        .kubectl(&["rollout", "history", "deployment/web", "--revision=1"])
        .await;
    assert!(
        told.contains("example.com/web:1") && told.contains("pod-template-hash="),
        "{told}"
    );

    // DEP-98, DEP-96.
    stage
        .kubectl(&["rollout", "undo", "deployment/web", "--to-revision=1"])
        .await;
    let undone = stage
        .object("deployments/web", |it| revision(it) == "3" && is_complete(it))
        .await;
    assert_eq!(
        text(&undone, "/spec/template/spec/containers/0/image"),
        "example.com/web:1"
    );
    let history = stage.kubectl(&["rollout", "history", "deployment/web"]).await;
    let revisions: Vec<_> = history
        .lines()
        .skip(2)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(revisions, ["2", "3"], "{history}");
    let sets = stage.list("replicasets").await;
    let again = sets.iter().find(|set| revision(set) == "3").unwrap();
    assert_eq!(
        again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1",
        "DEP-23"
    );
    pauses_resumes_restarts(&stage).await;
    is_described(&stage).await;
}

/// DEP-100, from revision 3 to revision 5.
async fn pauses_resumes_restarts(stage: &Stage) {
    stage.kubectl(&["rollout", "pause", "deployment/web"]).await;
    let (success, said) = stage.try_kubectl(&["rollout", "undo", "deployment/web"]).await;
    assert!(
        !success && said.contains("you cannot rollback a paused deployment"),
        "{said}"
    );
    stage.patch("deployments/web", &image("example.com/web:4")).await;
    stage
        .object("deployments/web", |it| {
            reason(it, "Progressing") == "DeploymentPaused" && super::stage::is_observed(it)
        })
        .await;
    assert_eq!(stage.list("replicasets").await.len(), 2, "INV-15");
    stage.kubectl(&["rollout", "resume", "deployment/web"]).await;
    stage
        .object("deployments/web", |it| revision(it) == "4" && is_complete(it))
        .await;
    stage.kubectl(&["rollout", "restart", "deployment/web"]).await;
    stage
        .object("deployments/web", |it| revision(it) == "5" && is_complete(it))
        .await;
}

/// DEP-101, at revision 5.
async fn is_described(stage: &Stage) {
    let ready = stage.kubectl(&["get", "deployment", "web", "--no-headers"]).await;
    assert_eq!(
        ready.split_whitespace().collect::<Vec<_>>()[1..4],
        ["2/2", "2", "2"],
        "{ready}"
    );
    let described = stage.kubectl(&["describe", "deployment", "web"]).await;
    let new = stage
        .list("replicasets")
        .await
        .iter()
        .find(|set| revision(set) == "5")
        .map(|it| name(it).to_owned());
    let new = new.unwrap();
    for part in [
        "2 desired | 2 updated | 2 total | 2 available | 0 unavailable",
        "Available      True    MinimumReplicasAvailable",
        "Progressing    True    NewReplicaSetAvailable",
        &format!("NewReplicaSet:   {new} (2/2 replicas created)"),
        "(0/0 replicas created)",
        "ScalingReplicaSet",
    ] {
        assert!(described.contains(part), "{part} is missing in\n{described}");
    }
}

pub(super) async fn dep_105_autoscaler_and_disruption_budget_find_the_numbers(stage: Stage) {
    stage
        .create("deployments", &deployment("scaled", 1, "example.com/scaled:1"))
        .await;
    stage.complete("scaled").await;
    let scale = stage.get("deployments/scaled/scale").await;
    assert_eq!(
        (count(&scale, "/spec/replicas"), count(&scale, "/status/replicas")),
        (1, 1)
    );
    assert_eq!(text(&scale, "/status/selector"), "app=scaled");
    let scale = stage
        .replace("deployments/scaled/scale", |scale| {
            scale["spec"]["replicas"] = json!(2);
        })
        .await;
    assert_eq!(count(&scale, "/spec/replicas"), 2);
    stage
        .object("deployments/scaled", |it| {
            count(it, "/spec/replicas") == 2 && is_complete(it)
        })
        .await;
    stage
        .patch("deployments/scaled/scale", &json!({"spec": {"replicas": 4}}))
        .await;
    let made = stage
        .object("deployments/scaled", |it| {
            count(it, "/spec/replicas") == 4 && is_complete(it)
        })
        .await;
    // The way of a disruption budget from a pod to the number expected: references by name and uid, then the scale.
    for pod in stage.list("pods").await {
        let owner = &pod["metadata"]["ownerReferences"][0];
        let set = stage.get(&format!("replicasets/{}", text(owner, "/name"))).await;
        assert_eq!(
            (&owner["kind"], &owner["uid"]),
            (&json!("ReplicaSet"), &set["metadata"]["uid"])
        );
        let owner = &set["metadata"]["ownerReferences"][0];
        assert_eq!(
            (&owner["kind"], &owner["uid"]),
            (&json!("Deployment"), &made["metadata"]["uid"])
        );
        let scale = stage
            .get(&format!("deployments/{}/scale", text(owner, "/name")))
            .await;
        assert_eq!(
            (count(&scale, "/spec/replicas"), count(&scale, "/status/replicas")),
            (4, 4)
        );
    }
}

pub(super) async fn dep_106_a_rolling_update_stays_within_its_limits(stage: Stage) {
    let history = stage.record().await;
    let limits = [
        ("surging", json!("30%"), json!(0), 8, 6),
        ("shrinking", json!(0), json!("25%"), 6, 5),
        ("both", json!(2), json!(1), 8, 5),
    ];
    let roll = async |(name, surge, unavailable, _, _): &(&str, Value, Value, i64, i64)| {
        let mut body = deployment(name, 6, &format!("example.com/{name}:1"));
        body["spec"]["strategy"] =
            json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        stage.create("deployments", &body).await;
        stage.complete(name).await;
        stage
            .patch(
                &format!("deployments/{name}"),
                &image(&format!("example.com/{name}:2")),
            )
            .await;
        stage.complete(name).await;
    };
    futures::future::join_all(limits.iter().map(roll)).await;
    let moments = history.end().await;
    for (name, _, _, most, fewest) in limits {
        let first = moments
            .iter()
            .position(|it| it.deployment(name).is_some_and(is_complete))
            .unwrap();
        assert!(moments.len() > first + 20, "the rollout was seen");
        stays_within_limits(&moments[first..], name, most, fewest);
    }
}

pub(super) async fn ask_9_explain_names_pods_and_reasons(stage: Stage) {
    stage
        .create("deployments", &deployment("web", 4, "example.com/web:1"))
        .await;
    stage.complete("web").await;
    let namespaced = |name: &str| format!("{}/{name}", stage.namespace);
    let (success, told) = stage
        .steersman(&["explain", "deployment", &namespaced("web")])
        .await;
    assert!(success, "{told}");
    assert!(
        told.contains("rolled out, revision 1: 4 of 4 pods updated, 4 ready, 4 available"),
        "{told}"
    );
    assert!(
        told.contains("nothing to write") && !told.contains("Held by"),
        "{told}"
    );

    stage.patch("deployments/web", &image("fail/web:2")).await;
    let stuck = async || {
        let (_, told) = stage
            .steersman(&["explain", "deployment", &namespaced("web"), "-o", "json"])
            .await;
        let told: Value = serde_json::from_str(&told).unwrap();
        let blocked = told
            .pointer("/replicaSetPlans/0/blocked")
            .and_then(Value::as_array)
            .cloned();
        let pulls = blocked
            .into_iter()
            .flatten()
            .filter(|it| it["obstacle"]["kind"] == "image")
            .count();
        (pulls == 2 && told["nextLook"]["when"] == "at").then_some(told)
    };
    let told = stage.until("two pods without image", stuck).await;
    assert_eq!(told["phase"], "rollingOut");
    assert_eq!(
        told["budget"],
        json!({"surge": 1, "unavailable": 1, "most": 5, "fewest": 3})
    );
    let holds: Vec<_> = told["heldBy"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].clone())
        .collect();
    assert_eq!(holds, ["surge", "unavailable"]);
    assert_eq!(
        (&told["nextLook"]["when"], &told["nextLook"]["reason"]),
        (&json!("at"), &json!("progressDeadline"))
    );
    let (_, told) = stage
        .steersman(&["explain", "deployment", &namespaced("web")])
        .await;
    for part in [
        "no old pod may go: 3 pods are available, 3 have to be",
        "image \"fail/web:2\" cannot be pulled",
        "Next look\n  at ",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }

    let (success, told) = stage
        .steersman(&["explain", "deployment", &namespaced("wep")])
        .await;
    assert!(
        !success && told.contains("not found; namespace") && told.contains("has web"),
        "{told}"
    );
    let set = stage
        .list("replicasets")
        .await
        .iter()
        .find(|set| revision(set) == "2")
        .map(|it| name(it).to_owned())
        .unwrap();
    let (success, told) = stage.steersman(&["explain", "rs", &namespaced(&set)]).await;
    assert!(success && told.contains("controlled by Deployment web"), "{told}");
}
