use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::informer::{Decoded, Informers, Source};
use crate::lease::Leadership;
use crate::objects::Uid;
use crate::testing;
use crate::testing::{Feed, NAMESPACE, PodBuilder, pod, replica_set, silent_client, t};
use crate::writes::Written;

const WORKERS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

#[derive(Debug, thiserror::Error)]
#[error("scripted: {0:?}")]
struct Scripted(Retry);

impl ReconcileError for Scripted {
    fn retry(&self) -> Retry {
        self.0
    }
    fn label(&self) -> &'static str {
        "scripted"
    }
}

/// Answers reconciles as scripted, then with success, and logs when they happened.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Result<Outcome, Retry>>>>,
    log: Arc<Mutex<Vec<(String, u128)>>>,
    started: Option<Instant>,
    takes: Duration,
    held: Arc<Mutex<bool>>,
}

impl Reconcile for Script {
    type Error = Scripted;
    const NAME: &'static str = "scripted";

    fn watches(&self) -> Vec<KindId> {
        vec![KindId::of::<Pod>()]
    }

    fn held(&self, _: &ObjectKey) -> bool {
        *self.held.lock().unwrap()
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome, Scripted> {
        tokio::time::sleep(self.takes).await;
        let at = self.started.unwrap().elapsed().as_millis();
        self.log.lock().unwrap().push((key.name.to_string(), at));
        self.answers
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Ok(Outcome::done()))
            .map_err(Scripted)
    }
}

struct World {
    script: Script,
    ctx: Context,
    queue: Queue<ObjectKey>,
    pods: Feed<Pod>,
    tasks: JoinSet<Result<()>>,
}

fn world(answers: impl IntoIterator<Item = Result<Outcome, Retry>>, takes: Duration) -> World {
    build_world(answers, takes, |_| {})
}

fn world_with(change: impl FnOnce(&mut Context)) -> World {
    build_world([], Duration::ZERO, change)
}

fn build_world(
    answers: impl IntoIterator<Item = Result<Outcome, Retry>>,
    takes: Duration,
    change: impl FnOnce(&mut Context),
) -> World {
    let informers = Informers::detached();
    let mut ctx = Context {
        informers: informers.clone(),
        ..testing::context(silent_client())
    };
    change(&mut ctx);
    let script = Script {
        answers: Arc::new(Mutex::new(answers.into_iter().collect())),
        started: Some(Instant::now()),
        takes,
        ..Script::default()
    };
    let queue = ctx.queue(Script::NAME);
    let pods = Feed::new(informers.get());
    let mut tasks = JoinSet::new();
    let writes = ctx.writes(&queue);
    tasks.spawn(run(script.clone(), queue.clone(), writes, ctx.clone(), WORKERS));
    World {
        script,
        ctx,
        queue,
        pods,
        tasks,
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(NAMESPACE, name)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

impl World {
    fn times(&self) -> Vec<u128> {
        self.script
            .log
            .lock()
            .unwrap()
            .iter()
            .map(|(_, at)| *at)
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn rs_32_no_key_is_taken_before_the_caches_are_synced() {
    let world = world([], Duration::ZERO);
    world.queue.add(key("a"));
    pass(5).await;
    assert!(world.times().is_empty());
    world.pods.list([]);
    pass(1).await;
    assert_eq!(world.times(), [5000]);
}

#[tokio::test(start_paused = true)]
async fn sty_33_the_error_decides_when_the_key_comes_back() {
    let answers = [
        Err(Retry::Backoff),
        Err(Retry::Backoff),
        Err(Retry::Soon(Duration::from_millis(50))),
        Err(Retry::OnChange),
    ];
    let world = world(answers, Duration::ZERO);
    world.pods.list([]);
    world.queue.add(key("a"));
    pass(3600).await;
    let times = world.times();
    assert_eq!(
        times.len(),
        4,
        "after OnChange only a change brings it back: {times:?}"
    );
    assert!(times[3] < 100);
    assert_eq!(world.queue.retries(&key("a")), 0);
    let labels = [("controller", "scripted"), ("error", "scripted")];
    assert_eq!(
        world
            .ctx
            .shared_metrics
            .reconcile_errors
            .get_or_create(&labels)
            .get(),
        4
    );
}

#[tokio::test(start_paused = true)]
async fn rs_8_a_key_is_dropped_after_its_retries() {
    let world = world(
        std::iter::repeat_n(Err(Retry::Drop { after: 15 }), 100),
        Duration::ZERO,
    );
    world.pods.list([]);
    world.queue.add(key("a"));
    pass(3600).await;
    assert_eq!(world.times().len(), 16);
    let last = *world.times().last().unwrap();
    assert!((81_000..200_000).contains(&last), "5 ms to 82 s: {last}");
}

#[tokio::test(start_paused = true)]
async fn issue_2_bad_input_makes_no_hot_loop() {
    let world = world(std::iter::repeat_n(Err(Retry::Backoff), 10_000), Duration::ZERO);
    world.pods.list([]);
    world.queue.add(key("a"));
    pass(600).await;
    assert!(
        world.times().len() <= 18,
        "{} reconciles in 10 minutes",
        world.times().len()
    );
}

#[tokio::test(start_paused = true)]
async fn rs_61_a_plan_wakes_its_key_when_time_changes_it() {
    let wake = |seconds| Ok(Outcome::wake_at(Some(t(seconds))));
    let world = world([wake(100), wake(30)], Duration::ZERO);
    world.pods.list([]);
    world.queue.add(key("a"));
    pass(10).await;
    world.queue.add(key("a"));
    pass(3600).await;
    assert_eq!(world.times(), [0, 10_000, 30_000]);
}

#[tokio::test(start_paused = true)]
async fn sty_25_a_held_key_is_skipped_until_a_change_brings_it_back() {
    let world = world([], Duration::ZERO);
    *world.script.held.lock().unwrap() = true;
    world.pods.list([]);
    world.queue.add(key("a"));
    pass(600).await;
    assert!(world.times().is_empty());
    *world.script.held.lock().unwrap() = false;
    world.queue.add(key("a"));
    pass(1).await;
    assert_eq!(world.times(), [600_000]);
}

#[tokio::test(start_paused = true)]
async fn sty_77_a_stop_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut world = world([], Duration::from_secs(7));
    world.pods.list([]);
    for name in ["a", "b", "c", "d", "e"] {
        world.queue.add(key(name));
    }
    pass(1).await;
    world.ctx.stop.cancel();
    world.tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(world.times(), [7000, 7000, 7000], "three workers, three keys");
}

#[tokio::test(start_paused = true)]
async fn rs_7_one_key_has_one_worker() {
    let world = world([], Duration::from_secs(2));
    world.pods.list([]);
    for _ in 0..6 {
        world.queue.add(key("a"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pass(60).await;
    assert_eq!(world.times(), [2000, 4000]);
}

#[tokio::test(start_paused = true)]
async fn inv_12_no_key_is_taken_without_the_lease() {
    let (switch, leadership) = Leadership::switched();
    let world = world_with(|ctx| ctx.leadership = leadership);
    world.pods.list([]);
    world.queue.add(key("a"));
    pass(5).await;
    assert!(world.times().is_empty());
    switch.take();
    pass(5).await;
    assert!(
        world.times().is_empty(),
        "the caches may not show the former leader's writes yet (TAKE-5)"
    );
    world.pods.list([]);
    pass(1).await;
    assert_eq!(world.times(), [10_000]);
    switch.lose();
    world.queue.add(key("a"));
    pass(5).await;
    assert_eq!(world.times().len(), 1);
    switch.take();
    pass(1).await;
    world.pods.list([]);
    pass(1).await;
    assert_eq!(world.times(), [10_000, 17_000], "the key was not lost");
}

#[tokio::test(start_paused = true)]
async fn inv_13_a_shadow_needs_no_lease() {
    let (_switch, leadership) = Leadership::switched();
    let world = world_with(|ctx| {
        ctx.leadership = leadership;
        ctx.mode = Mode::Shadow;
    });
    world.pods.list([]);
    world.queue.add(key("a"));
    pass(5).await;
    assert_eq!(world.times(), [0]);
}

/// An API server for pods, with a watch that lags behind.
struct Server {
    state: Mutex<Stored>,
    grown: Notify,
    lag: Duration,
    /// Breaks the watch off now and then, so that it starts over with a list.
    breaks: Option<Mutex<fastrand::Rng>>,
}

#[derive(Default)]
struct Stored {
    version: u64,
    created: u64,
    pods: BTreeMap<String, Pod>,
    log: Vec<(Instant, Event<Decoded<Pod>>)>,
    most: usize,
    fewest: usize,
}

impl Server {
    fn new(lag: Duration, seed: Option<u64>) -> Arc<Self> {
        let breaks = seed.map(|seed| Mutex::new(fastrand::Rng::with_seed(seed)));
        Arc::new(Self {
            state: Mutex::default(),
            grown: Notify::new(),
            lag,
            breaks,
        })
    }

    /// The most and the fewest pods since the last call.
    fn extremes(&self) -> (usize, usize) {
        let mut state = self.state.lock().unwrap();
        let count = state.pods.len();
        (
            std::mem::replace(&mut state.most, count),
            std::mem::replace(&mut state.fewest, count),
        )
    }

    fn breaks_off(&self) -> bool {
        self.breaks
            .as_ref()
            .is_some_and(|random| random.lock().unwrap().u8(..8) == 0)
    }

    fn change(&self, change: impl FnOnce(&mut Stored) -> Option<Event<Decoded<Pod>>>) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        if let Some(event) = change(&mut state) {
            state.log.push((Instant::now(), event));
        }
        state.most = state.most.max(state.pods.len());
        state.fewest = state.fewest.min(state.pods.len());
        let version = state.version;
        drop(state);
        self.grown.notify_waiters();
        version
    }

    fn create(&self, builder: impl FnOnce(&str) -> PodBuilder) -> u64 {
        self.change(|state| {
            state.created += 1;
            let name = format!("p{}", state.created);
            let pod = builder(&name).version(state.version).build();
            state.pods.insert(name, pod.clone());
            Some(Event::Apply(Decoded::Whole(pod)))
        })
    }

    fn delete(&self, name: &str) {
        self.change(|state| {
            let mut pod = state.pods.remove(name)?;
            pod.metadata.resource_version = Some(state.version.to_string());
            Some(Event::Delete(Decoded::Whole(pod)))
        });
    }

    fn count(&self) -> usize {
        self.state.lock().unwrap().pods.len()
    }

    /// Lists at once, then tells each change `lag` after it happened, every third one twice.
    fn source(self: &Arc<Self>) -> Source<Pod> {
        let server = Arc::clone(self);
        Box::new(move || {
            let (snapshot, next) = {
                let state = server.state.lock().unwrap();
                let pods: Vec<Pod> = state.pods.values().cloned().collect();
                (pods, state.log.len())
            };
            let list = std::iter::once(Event::Init)
                .chain(
                    snapshot
                        .into_iter()
                        .map(|pod| Event::InitApply(Decoded::Whole(pod))),
                )
                .chain([Event::InitDone]);
            let server = Arc::clone(&server);
            let watch = futures::stream::unfold((server, next, false), async |(server, next, again)| {
                loop {
                    let event = server.state.lock().unwrap().log.get(next).cloned();
                    let Some((happened, event)) = event else {
                        // One thread: nothing grows between the look and this wait.
                        server.grown.notified().await;
                        continue;
                    };
                    tokio::time::sleep_until(happened + server.lag).await;
                    if server.breaks_off() {
                        return None;
                    }
                    let repeat = next % 3 == 0 && !again;
                    let next = if repeat { next } else { next + 1 };
                    return Some((event, (server, next, repeat)));
                }
            });
            futures::stream::iter(list).chain(watch).map(Ok).boxed()
        })
    }
}

/// Keeps the number of pods of a key at what is wanted, from what the cache shows.
#[derive(Clone)]
struct Keeper {
    server: Arc<Server>,
    informers: Informers,
    writes: Writes,
    wanted: Arc<Mutex<usize>>,
    /// Of so many creations, the answer to one is lost although it takes effect.
    lost_answers: Option<u64>,
}

impl Reconcile for Keeper {
    type Error = Scripted;
    const NAME: &'static str = "keeper";

    fn watches(&self) -> Vec<KindId> {
        vec![KindId::of::<Pod>()]
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome, Scripted> {
        let owner = replica_set(&key.name).build();
        let wanted = *self.wanted.lock().unwrap();
        let pods = self
            .informers
            .get::<Pod>()
            .cache()
            .controlled_by(&Uid::of(&owner));
        for _ in pods.len()..wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let version = self.server.create(|name| pod(name).owned_by(&owner));
            if self
                .lost_answers
                .is_some_and(|every| version.is_multiple_of(every))
            {
                self.writes.record(key, Written::unknown::<Pod>());
                return Err(Scripted(Retry::Backoff));
            }
            let kind = KindId::of::<Pod>();
            self.writes.record(
                key,
                Written::Version {
                    kind,
                    resource_version: version.to_string(),
                },
            );
        }
        for surplus in pods.iter().skip(wanted) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.server.delete(surplus.metadata.name.as_deref().unwrap());
            self.writes
                .record(key, Written::deleted::<Pod>(Uid::of(&**surplus)));
        }
        Ok(Outcome::done())
    }
}

/// Scales up, down and up again while the watch lags, and checks what the server sees.
async fn scale_with_lag(lag: Duration, lost_answers: Option<u64>, seed: Option<u64>) {
    let server = Server::new(lag, seed);
    let informers = Informers::detached();
    let ctx = Context {
        informers: informers.clone(),
        ..testing::context(silent_client())
    };
    let queue = ctx.queue(Keeper::NAME);
    let writes = ctx.writes(&queue);
    let wanted: Arc<Mutex<usize>> = Arc::default();
    let keeper = Keeper {
        server: Arc::clone(&server),
        informers: informers.clone(),
        writes: writes.clone(),
        wanted: Arc::clone(&wanted),
        lost_answers,
    };
    let pods = informers.get::<Pod>();
    let wake = queue.clone();
    pods.subscribe(Box::new(move |_| wake.add(key("web"))));
    let mut tasks: JoinSet<()> = JoinSet::new();
    tasks.spawn(Arc::clone(&pods).drive(server.source(), CancellationToken::new()));
    let controller = run(keeper, queue.clone(), writes.clone(), ctx.clone(), WORKERS);
    tasks.spawn(async { controller.await.unwrap() });

    let mut former = 0;
    for size in [5, 2, 7, 0, 3] {
        *wanted.lock().unwrap() = size;
        server.extremes();
        // Poked all the while, as every event of every pod does.
        for _ in 0..400 {
            queue.add(key("web"));
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let context = format!("{former} -> {size} pods, lag {lag:?}, seed {seed:?}");
        let (most, fewest) = server.extremes();
        assert!(
            most <= former.max(size) && fewest >= former.min(size),
            "{fewest} to {most} pods: {context}"
        );
        assert_eq!(server.count(), size, "{context}");
        assert!(
            writes.pending(&key("web")).is_none() && queue.is_idle(),
            "stalled: {context}"
        );
        former = size;
    }
}

#[tokio::test(start_paused = true)]
async fn inv_2_a_watch_that_lags_by_seconds_makes_no_duplicate_and_stalls_no_key() {
    for millis in [0, 20, 700, 3000, 15_000] {
        scale_with_lag(Duration::from_millis(millis), None, None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn inv_2_nor_does_it_when_answers_are_lost() {
    for millis in [0, 700, 5000] {
        scale_with_lag(Duration::from_millis(millis), Some(3), None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn inv_2_nor_when_the_watch_breaks_off_and_lists_again() {
    for seed in 0..40 {
        fastrand::seed(seed);
        let lost_answers = (seed % 2 == 0).then_some(2 + seed % 5);
        scale_with_lag(Duration::from_millis(seed * 173 % 6000), lost_answers, Some(seed)).await;
    }
}
