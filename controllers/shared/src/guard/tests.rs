use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, MicroTime, Time};
use kube::core::Status;
use rstest::rstest;
use tokio::task::JoinSet;

use super::*;
use crate::testing::{Feed, SimClock, T0, deployment, replica_set, t};

const NATIVE: Native = Native::Deployment;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[rstest]
#[case::no_flag("kube-controller-manager --leader-elect=true", true)]
#[case::all("--controllers=*,bootstrapsigner,tokencleaner", true)]
#[case::off("--controllers=*,-deployment-controller", false)]
#[case::off_by_alias("--controllers=-deployment,*", false)]
#[case::another_is_off("--controllers=*,-replicaset-controller", true)]
#[case::only_others("--controllers=replicaset-controller,namespace", false)]
#[case::only_this("--controllers=deployment-controller", true)]
#[case::first_mention_counts("--controllers=deployment,-deployment", true)]
#[case::two_words("--controllers *,-deployment-controller --v=2", false)]
#[case::twice("--controllers=* --controllers=-deployment-controller", false)]
#[case::one_dash("-controllers=-deployment-controller,*", false)]
fn take_8_the_controllers_flag_is_read_as_upstream_does(#[case] arguments: &str, #[case] enabled: bool) {
    assert_eq!(is_enabled(&words(arguments), NATIVE), enabled);
}

#[test]
fn take_8_one_manager_pod_with_the_controller_on_is_enough() {
    let pod = |name: &str, arguments: &str| ManagerPod {
        name: name.to_owned(),
        uid: Uid(name.into()),
        arguments: words(arguments),
    };
    let off = pod(
        "a",
        "--controllers=*,-deployment-controller,-replicaset-controller",
    );
    assert_eq!(setting(&[], NATIVE), Setting::Unknown);
    assert_eq!(setting(std::slice::from_ref(&off), NATIVE), Setting::Disabled);
    let on = pod("b", "--controllers=*,-replicaset-controller");
    let pods = [off, on];
    assert_eq!(setting(&pods, NATIVE), Setting::Enabled { pod: "b".to_owned() });
    assert_eq!(setting(&pods, Native::ReplicaSet), Setting::Disabled);
}

fn held(renewed: u64, holder: &str) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(t(renewed))),
        ..LeaseSpec::default()
    }
}

#[tokio::test(start_paused = true)]
async fn take_8_a_lease_is_alive_when_it_is_seen_to_be_renewed() {
    let mut lease = LeaseWatch::default();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(lease.state(start), LeaseState::Absent);
    lease.see(Some(held(0, "a")), start);
    assert_eq!(
        lease.state(start),
        LeaseState::Expired,
        "its age is not known yet"
    );
    assert!(!lease.see(Some(held(5, "a")), at(5)), "as good as known before");
    assert_eq!(lease.state(at(19)), LeaseState::Alive);
    assert!(!lease.see(Some(held(7, "a")), at(7)));
    assert!(lease.see(Some(held(9, "b")), at(9)), "another holder is a change");
    assert_eq!(lease.state(at(24)), LeaseState::Expired);
    assert!(lease.see(None, at(30)) || lease.state(at(30)) == LeaseState::Absent);
    lease.see(Some(held(40, "")), at(40));
    lease.see(Some(held(42, "")), at(42));
    assert_eq!(lease.state(at(42)), LeaseState::Expired, "released");
}

/// What it takes to act, with one thing different.
fn decided(change: impl FnOnce(&mut Evidence)) -> Result<(), &'static str> {
    let now = Instant::now() + Duration::from_secs(100);
    let mut evidence = Evidence {
        declared_absent: false,
        seen: false,
        synced: true,
        probe: Probe::Untouched {
            since: now - QUIET,
            made: T0,
        },
        written: None,
        setting: Setting::Unknown,
        lease: LeaseState::Alive,
    };
    change(&mut evidence);
    match decide(&evidence, QUIET, now) {
        Decision::Active => Ok(()),
        Decision::StandBy(why) => Err(why.label()),
    }
}

fn touched(evidence: &mut Evidence) {
    evidence.probe = Probe::Touched;
}

fn just_made(evidence: &mut Evidence) {
    evidence.probe = Probe::Untouched {
        since: Instant::now() + Duration::from_secs(71),
        made: T0,
    };
}

fn declared(evidence: &mut Evidence) {
    (evidence.declared_absent, evidence.lease) = (true, LeaseState::Absent);
}

#[rstest]
#[case::all_quiet(|_: &mut Evidence| {}, Ok(()))]
#[case::touched(touched, Err("probe_touched"))]
#[case::written_later(|it: &mut Evidence| it.written = Some(t(1)), Err("native_write"))]
#[case::written_before(|it: &mut Evidence| it.written = Some(T0), Ok(()))]
#[case::switched_on(|it: &mut Evidence| it.setting = Setting::Enabled { pod: "a".to_owned() }, Err("switched_on"))]
#[case::switched_off(|it: &mut Evidence| it.setting = Setting::Disabled, Ok(()))]
#[case::not_synced(|it: &mut Evidence| it.synced = false, Err("not_synced"))]
#[case::too_soon(just_made, Err("waiting"))]
#[case::no_probe(|it: &mut Evidence| it.probe = Probe::Missing { error: String::new() }, Err("no_probe"))]
fn take_9_active_only_after_a_quiet_probe_and_no_native_write(
    #[case] change: fn(&mut Evidence),
    #[case] want: Result<(), &'static str>,
) {
    assert_eq!(decided(change), want);
}

#[rstest]
#[case::manager_lives(|_: &mut Evidence| {}, Ok(()))]
#[case::no_manager(|it: &mut Evidence| it.lease = LeaseState::Absent, Err("no_manager"))]
#[case::manager_is_down(|it: &mut Evidence| it.lease = LeaseState::Expired, Err("no_manager"))]
#[case::declared(declared, Ok(()))]
#[case::declared_needs_no_wait(|it: &mut Evidence| { declared(it); just_made(it) }, Ok(()))]
#[case::declared_but_touched(|it: &mut Evidence| { declared(it); touched(it) }, Err("probe_touched"))]
#[case::declared_but_seen(|it: &mut Evidence| { declared(it); it.seen = true; just_made(it) }, Err("waiting"))]
#[case::declared_seen_and_quiet_since(|it: &mut Evidence| { declared(it); it.seen = true }, Ok(()))]
#[case::declared_but_a_manager_lives(
    |it: &mut Evidence| { declared(it); it.lease = LeaseState::Alive; just_made(it) }, Err("waiting")
)]
fn take_14_silence_alone_is_not_enough(
    #[case] change: fn(&mut Evidence),
    #[case] want: Result<(), &'static str>,
) {
    assert_eq!(decided(change), want);
}

/// A control plane that tests change while the guard looks at it.
#[derive(Clone, Default)]
struct Script {
    stored: Arc<Mutex<Stored>>,
    uids: Arc<AtomicU64>,
}

#[derive(Default)]
struct Stored {
    deployment: Option<Probed>,
    replica_set: Option<Probed>,
    /// Somebody renews the Lease.
    lease: bool,
    pods: Vec<ManagerPod>,
    refuses: bool,
    /// No request is answered.
    hangs: bool,
    calls: Vec<String>,
}

impl Stored {
    fn probe(&mut self, native: Native) -> &mut Option<Probed> {
        match native {
            Native::Deployment => &mut self.deployment,
            Native::ReplicaSet => &mut self.replica_set,
        }
    }
}

impl Script {
    fn with<T>(&self, change: impl FnOnce(&mut Stored) -> T) -> T {
        change(&mut self.stored.lock().unwrap())
    }

    fn writes(&self) -> usize {
        self.with(|it| it.calls.len())
    }
}

impl Plane for Script {
    async fn probe(&self, native: Native) -> Result<Option<Probed>, kube::Error> {
        Ok(self.with(|it| it.probe(native).clone()))
    }

    async fn make_probe(&self, native: Native) -> Result<Probed, kube::Error> {
        let uid = Uid(self.uids.fetch_add(1, Ordering::Relaxed).to_string().into());
        self.with(|it| {
            it.calls.push(format!("make {}", native.name()));
            if it.refuses {
                let refused = Status::failure("quota", "Forbidden").with_code(403);
                return Err(kube::Error::Api(refused.boxed()));
            }
            let made = Probed {
                uid,
                made: T0,
                touched: false,
            };
            assert_eq!(it.probe(native).replace(made.clone()), None, "AlreadyExists");
            Ok(made)
        })
    }

    async fn delete_probe(&self, native: Native, uid: &Uid) -> Result<(), kube::Error> {
        self.with(|it| {
            it.calls.push(format!("delete {}", native.name()));
            it.probe(native).take_if(|probe| probe.uid == *uid);
        });
        Ok(())
    }

    async fn lease(&self) -> Result<Option<LeaseSpec>, kube::Error> {
        if self.with(|it| it.hangs) {
            std::future::pending::<()>().await;
        }
        let renewed = u64::try_from(Instant::now().elapsed().as_millis()).unwrap()
            + self.uids.fetch_add(1, Ordering::Relaxed);
        Ok(self.with(|it| it.lease.then(|| held(renewed, "native"))))
    }

    async fn pods(&self) -> Result<Vec<ManagerPod>, kube::Error> {
        Ok(self.with(|it| it.pods.clone()))
    }
}

struct World {
    script: Script,
    licence: Licence,
    deployments: Feed<Deployment>,
    replica_sets: Feed<ReplicaSet>,
    pods: Feed<Pod>,
    stop: CancellationToken,
    switch: crate::lease::LeadershipSwitch,
    tasks: JoinSet<crate::Result<()>>,
}

/// A guard of the Deployment controller that leads, over caches that are synced.
fn start(declared_absent: bool, lives: bool) -> World {
    let informers = Informers::detached();
    let script = Script::default();
    script.with(|it| it.lease = lives);
    let (switch, leadership) = Leadership::switched();
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(T0));
    let shared = crate::metrics::Metrics::default();
    let recorder = crate::recorder::Recorders::discard(Arc::clone(&clock), &shared).core("guard");
    let config = Config {
        namespace: "kube-system".to_owned(),
        name: "steersman-probe".to_owned(),
        quiet: QUIET,
        declared_absent,
    };
    let mut guard = Guard::new(
        script.clone(),
        config,
        &informers,
        &leadership,
        clock,
        recorder,
        Metrics::default(),
    );
    let licence = guard.guard(NATIVE);
    let world = World {
        script,
        licence,
        deployments: Feed::new(informers.get()),
        replica_sets: Feed::new(informers.get()),
        pods: Feed::new(informers.get()),
        stop: CancellationToken::new(),
        switch,
        tasks: JoinSet::new(),
    };
    let stop = world.stop.clone();
    let mut world = world;
    world.list();
    world.tasks.spawn(guard.run(stop));
    world.switch.take();
    world
}

impl World {
    fn list(&mut self) {
        self.deployments.list([]);
        self.replica_sets.list([]);
        self.pods.list([]);
    }

    /// Lets that many seconds pass; every second all kinds are listed again.
    async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            self.list();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// A native controller writes the probe's status; the watch shows it.
    fn touch(&mut self) {
        let uid = self.script.with(|it| {
            let probe = it.deployment.as_mut().unwrap();
            probe.touched = true;
            probe.uid.to_string()
        });
        let mut probe = deployment("steersman-probe")
            .namespace("kube-system")
            .uid(&uid)
            .build();
        probe.status.observed_generation = Some(1);
        self.deployments.apply(probe);
    }

    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn why(&self) -> String {
        match self.licence.standing() {
            Standing::Active => "active".to_owned(),
            Standing::StandBy { why, .. } => why.label().to_owned(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn take_9_it_acts_after_thirty_quiet_seconds() {
    let mut world = start(false, true);
    world.pass(29).await;
    assert_eq!(world.why(), "waiting");
    world.pass(8).await;
    assert_eq!(world.why(), "active");
    assert_eq!(world.script.with(|it| it.calls.clone()), ["make deployment"]);
}

#[tokio::test(start_paused = true)]
async fn take_5_it_acts_only_on_lists_that_began_after_the_proof() {
    let world = start(false, true);
    // Watches that show nothing for a minute: whatever the native controller wrote last may not have arrived.
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(1)).await;
        world.settle().await;
    }
    assert_eq!(world.why(), "waiting");
    world.deployments.list([]);
    world.replica_sets.list([]);
    world.settle().await;
    assert_eq!(world.why(), "waiting", "pods count too");
    world.pods.list([]);
    world.settle().await;
    assert_eq!(world.why(), "active");
}

#[tokio::test(start_paused = true)]
async fn take_10_it_stops_at_once_and_resumes_after_another_quiet_probe() {
    let mut world = start(false, true);
    world.pass(40).await;
    let term = world.licence.term();
    assert!(term.is_valid());
    world.touch();
    world.settle().await;
    assert_eq!(world.why(), "probe_touched");
    assert!(!term.is_valid(), "a sync under way writes no more");
    // It is still at work: every new probe is touched.
    for _ in 0..3 {
        world.pass(20).await;
        if world.why() == "waiting" {
            world.touch();
            world.settle().await;
            assert_eq!(world.why(), "probe_touched");
        }
    }
    // It is gone: the next probe stays untouched.
    world.pass(300).await;
    assert_eq!(world.why(), "active");
    assert!(!term.is_valid(), "not even after it resumed");
}

#[tokio::test(start_paused = true)]
async fn take_10_it_stops_at_once_even_while_a_request_hangs() {
    let mut world = start(false, true);
    world.pass(40).await;
    world.script.with(|it| it.hangs = true);
    world.pass(6).await;
    assert_eq!(world.why(), "active");
    world.touch();
    world.settle().await;
    assert_eq!(world.why(), "probe_touched");
}

#[tokio::test(start_paused = true)]
async fn take_9_the_probe_is_replaced_every_ten_minutes_without_a_pause() {
    let mut world = start(false, true);
    world.pass(40).await;
    let first = world.script.with(|it| it.deployment.clone().unwrap().uid);
    for _ in 0..60 {
        world.pass(10).await;
        assert_eq!(world.why(), "active");
    }
    assert_ne!(world.script.with(|it| it.deployment.clone().unwrap().uid), first);
}

#[tokio::test(start_paused = true)]
async fn take_9_a_change_of_the_control_plane_starts_a_new_probe_and_wait() {
    let mut world = start(false, true);
    world.pass(40).await;
    let first = world.script.with(|it| it.deployment.clone().unwrap().uid);
    let pod = ManagerPod {
        name: "kcm".to_owned(),
        uid: Uid("1".into()),
        arguments: words("--controllers=*,-deployment-controller"),
    };
    world.script.with(|it| it.pods = vec![pod]);
    world.pass(6).await;
    assert_eq!(world.why(), "waiting");
    assert_ne!(world.script.with(|it| it.deployment.clone().unwrap().uid), first);
    world.pass(40).await;
    assert_eq!(world.why(), "active");
    world
        .script
        .with(|it| it.pods[0].arguments = words("--controllers=*"));
    world.pass(6).await;
    assert_eq!(world.why(), "switched_on");
}

#[tokio::test(start_paused = true)]
async fn take_14_a_control_plane_that_is_down_is_waited_for() {
    let mut world = start(false, false);
    world.pass(100).await;
    assert_eq!(world.why(), "no_manager");
    world.script.with(|it| it.lease = true);
    world.pass(60).await;
    assert_eq!(world.why(), "active");
    world.script.with(|it| it.lease = false);
    world.pass(20).await;
    assert_ne!(world.why(), "active");
}

#[tokio::test(start_paused = true)]
async fn take_14_declared_absent_acts_at_once_and_still_looks() {
    let mut world = start(true, false);
    world.pass(1).await;
    assert_eq!(world.why(), "active");
    world.touch();
    world.settle().await;
    assert_eq!(world.why(), "probe_touched");
    world.pass(100).await;
    assert_eq!(world.why(), "active");
}

#[tokio::test(start_paused = true)]
async fn take_8_a_native_status_write_on_any_object_counts() {
    let mut world = start(false, true);
    world.pass(40).await;
    let mut other = deployment("web").version(9).build();
    other.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
        manager: Some(NATIVE_MANAGER.to_owned()),
        subresource: Some("status".to_owned()),
        time: Some(Time(t(1))),
        ..ManagedFieldsEntry::default()
    }]);
    world.deployments.apply(other);
    world.settle().await;
    assert_eq!(world.why(), "native_write");
}

#[tokio::test(start_paused = true)]
async fn inv_12_without_the_lease_the_guard_writes_nothing() {
    let mut world = start(false, true);
    world.switch.lose();
    world.settle().await;
    let before = world.script.writes();
    world.pass(700).await;
    assert_eq!(world.why(), "not_leading");
    assert_eq!(world.script.writes(), before);
    world.switch.take();
    world.pass(40).await;
    assert_eq!(world.why(), "active");
    world.stop.cancel();
    world.tasks.join_next().await.unwrap().unwrap().unwrap();
    assert!(
        world.script.with(|it| it.deployment.is_none()),
        "probes do not stay behind"
    );
    assert_eq!(world.why(), "not_leading");
}

#[tokio::test(start_paused = true)]
async fn take_9_a_probe_that_is_refused_or_deleted_is_no_proof() {
    let mut world = start(false, true);
    world.script.with(|it| it.refuses = true);
    world.pass(60).await;
    assert_eq!(world.why(), "no_probe");
    world.script.with(|it| it.refuses = false);
    world.pass(60).await;
    assert_eq!(world.why(), "active");
    let uid = world.script.with(|it| it.deployment.take().unwrap().uid);
    let gone = deployment("steersman-probe")
        .namespace("kube-system")
        .uid(&uid.to_string());
    world.deployments.apply(gone.clone().version(3).build());
    world.deployments.delete(gone.version(4).build());
    world.settle().await;
    assert_eq!(world.why(), "waiting");
    assert!(world.script.with(|it| it.deployment.is_some()));
}

#[test]
fn take_8_probes_have_no_pods_and_select_nothing() {
    for native in [Native::Deployment, Native::ReplicaSet] {
        let body = probe_body(native, "p");
        assert_eq!(body["spec"]["replicas"], 0);
        assert_eq!(body["spec"]["paused"] == true, native == Native::Deployment);
        assert_eq!(
            body["spec"]["selector"]["matchLabels"],
            body["metadata"]["labels"]
        );
        assert_eq!(
            body["spec"]["template"]["metadata"]["labels"],
            body["metadata"]["labels"]
        );
    }
    let of = |native| probe_body(native, "p")["metadata"]["labels"].clone();
    assert_ne!(
        of(Native::Deployment),
        of(Native::ReplicaSet),
        "one does not adopt the other"
    );
    assert_eq!(replica_set("x").build().metadata.labels, None);
}
