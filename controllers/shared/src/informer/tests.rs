use std::collections::VecDeque;

use futures::FutureExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::Status;
use tokio::task::JoinSet;

use super::*;
use crate::objects::ObjectKey;
use crate::testing::{Feed, pod};

/// What a scripted watch does next.
enum Step {
    Item(Box<WatchItem<Pod>>),
    Pause(Duration),
    /// Never anything again, until the watch is opened anew.
    Hang,
}

/// A source that plays one script per opening of the watch, and hangs after the last.
fn script(openings: Vec<Vec<Step>>) -> (Source<Pod>, Arc<Mutex<Vec<Instant>>>) {
    let openings: Mutex<VecDeque<Vec<Step>>> = Mutex::new(openings.into());
    let opened: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let log = Arc::clone(&opened);
    let source: Source<Pod> = Box::new(move || {
        log.lock().unwrap().push(Instant::now());
        let steps: VecDeque<Step> = openings.lock().unwrap().pop_front().unwrap_or_default().into();
        futures::stream::unfold(steps, async |mut steps| {
            loop {
                match steps.pop_front() {
                    Some(Step::Item(item)) => return Some((*item, steps)),
                    Some(Step::Pause(pause)) => tokio::time::sleep(pause).await,
                    Some(Step::Hang) | None => std::future::pending().await,
                }
            }
        })
        .boxed()
    });
    (source, opened)
}

fn item(event: Event<Pod>) -> Step {
    Step::Item(Box::new(Ok(match event {
        Event::Apply(pod) => Event::Apply(Decoded::Whole(pod)),
        Event::Delete(pod) => Event::Delete(Decoded::Whole(pod)),
        Event::InitApply(pod) => Event::InitApply(Decoded::Whole(pod)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    })))
}

fn list(pods: impl IntoIterator<Item = Pod>) -> Vec<Step> {
    let mut steps = vec![item(Event::Init)];
    steps.extend(pods.into_iter().map(|pod| item(Event::InitApply(pod))));
    steps.push(item(Event::InitDone));
    steps
}

fn refused(code: u16) -> Step {
    let status = Status::failure("pods is forbidden", "Forbidden")
        .with_code(code)
        .boxed();
    Step::Item(Box::new(Err(watcher::Error::InitialListFailed(
        kube::Error::Api(status),
    ))))
}

struct World {
    informer: Arc<Informer<Pod>>,
    readiness: Readiness,
    metrics: Metrics,
    opened: Arc<Mutex<Vec<Instant>>>,
    changes: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

fn world(openings: Vec<Vec<Step>>) -> World {
    let (readiness, metrics) = (Readiness::default(), Metrics::default());
    let informer = Informer::new(trim::<Pod>, false, Listeners::default(), &metrics, &readiness);
    let changes: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&changes);
    informer.subscribe(Box::new(move |change| log.lock().unwrap().push(describe(change))));
    let (source, opened) = script(openings);
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&informer).drive(source, CancellationToken::new()));
    World {
        informer,
        readiness,
        metrics,
        opened,
        changes,
        _tasks: tasks,
    }
}

fn describe(change: &Change<Pod>) -> String {
    let versions: Vec<_> = change
        .versions()
        .map(|pod| pod.metadata.resource_version.as_deref().unwrap())
        .collect();
    let verb = match change {
        Change::Added(_) => "added",
        Change::Updated { .. } => "updated",
        Change::Removed(_) => "removed",
    };
    format!(
        "{verb} {} {}",
        ObjectKey::of(&**change.latest()).name,
        versions.join("->")
    )
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

impl World {
    fn changes(&self) -> Vec<String> {
        std::mem::take(&mut self.changes.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn sty_20_a_relist_tells_only_the_differences() {
    let mut steps = list([pod("a").version(1).build(), pod("b").version(2).build()]);
    steps.push(item(Event::Apply(pod("c").version(3).build())));
    steps.extend(list([
        pod("b").version(5).build(),
        pod("c").version(3).build(),
        pod("d").version(6).build(),
    ]));
    let world = world(vec![steps]);
    pass(1).await;
    assert_eq!(
        world.changes(),
        [
            "added a 1",
            "added b 2",
            "added c 3",
            "removed a 1",
            "updated b 2->5",
            "added d 6"
        ]
    );
    assert_eq!(world.informer.progress().seen(), 6);
}

#[tokio::test(start_paused = true)]
async fn sty_78_not_ready_before_the_first_list_nor_while_the_watch_fails() {
    let mut steps = vec![
        refused(403),
        item(Event::Init),
        refused(403),
        Step::Pause(Duration::from_secs(1)),
    ];
    steps.extend(list([pod("a").build()]));
    steps.push(Step::Pause(Duration::from_mins(1)));
    let broken = watcher::Error::WatchStartFailed(kube::Error::TlsRequired);
    steps.push(Step::Item(Box::new(Err(broken))));
    steps.push(Step::Pause(Duration::from_mins(1)));
    steps.push(item(Event::Apply(pod("b").build())));
    let world = world(vec![steps]);
    assert_eq!(world.readiness.missing(), ["watch of pods"]);
    pass(20).await;
    assert!(world.readiness.is_ready());
    pass(60).await;
    assert!(!world.readiness.is_ready());
    assert_eq!(world.informer.cache().len(), 1, "what is known stays");
    pass(120).await;
    assert!(world.readiness.is_ready());
    let forbidden = [("resource", "pods"), ("reason", "forbidden")];
    assert_eq!(world.metrics.watch_errors.get_or_create(&forbidden).get(), 2);
}

#[test]
fn issue_2_trouble_names_what_has_to_be_mended() {
    let api = |code| {
        let status =
            Status::failure("pods is forbidden: User \"x\" cannot list", "Forbidden").with_code(code);
        Trouble::of(&watcher::Error::InitialListFailed(kube::Error::Api(
            status.boxed(),
        )))
    };
    assert_eq!((api(403).verb, api(403).reason), ("list", "forbidden"));
    assert!(api(403).text.contains("cannot list"));
    assert_eq!(api(404).reason, "not_served");
    let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
    let error = watcher::Error::WatchFailed(kube::Error::Service(refused.into()));
    assert_eq!(
        (Trouble::of(&error).verb, Trouble::of(&error).reason),
        ("watch", "unreachable")
    );
    assert_eq!(url::<Pod>(), "/api/v1/pods");
}

#[tokio::test(start_paused = true)]
async fn sty_74_retries_back_off() {
    let world = world(vec![(0..6).map(|_| refused(500)).collect()]);
    let labels = [("resource", "pods"), ("reason", "status")];
    let errors = || world.metrics.watch_errors.get_or_create(&labels).get();
    pass(1).await;
    assert!(errors() <= 2);
    pass(100).await;
    assert_eq!(errors(), 6);
}

#[tokio::test(start_paused = true)]
async fn sty_74_a_list_that_hangs_is_started_again() {
    let hanging = vec![
        item(Event::Init),
        item(Event::InitApply(pod("a").build())),
        Step::Hang,
    ];
    let world = world(vec![hanging, list([pod("b").build()])]);
    pass(50).await;
    assert_eq!(world.opened.lock().unwrap().len(), 1);
    pass(60).await;
    assert_eq!(world.changes(), ["added b 1"]);
}

#[tokio::test(start_paused = true)]
async fn sty_74_an_idle_watch_is_not_started_again() {
    let world = world(vec![list([])]);
    pass(24 * 3600).await;
    assert_eq!(world.opened.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rs_31_asked_for_lists_are_ten_seconds_apart() {
    let world = world(vec![list([]), list([]), list([]), list([])]);
    pass(1).await;
    let start = Instant::now();
    for _ in 0..3 {
        world.informer.relist(Relist::Throttled);
        pass(1).await;
    }
    pass(60).await;
    let opened: Vec<u64> = world
        .opened
        .lock()
        .unwrap()
        .iter()
        .skip(1)
        .map(|at| at.duration_since(start).as_secs())
        .collect();
    assert_eq!(
        opened,
        [9],
        "one list for three requests, ten seconds after the last"
    );
}

#[tokio::test(start_paused = true)]
async fn sty_25_a_broken_object_is_held_warned_of_once_and_mended_by_the_next_version() {
    let informer: Arc<Informer<Pod>> = Informer::detached();
    let feed = Feed::new(Arc::clone(&informer));
    feed.list([pod("a").version(1).build()]);
    let broken =
        r#"{"metadata":{"name":"a","namespace":"default","uid":"pod-a","resourceVersion":"7"},"spec":5}"#;
    feed.apply_json(broken).unwrap();
    feed.apply_json(broken).unwrap();
    let key = ObjectKey::new("default", "a");
    assert!(informer.cache().held(&key) && informer.cache().get(&key).is_some());
    assert_eq!(
        informer.progress().seen(),
        7,
        "a broken version is progress as well"
    );
    assert_eq!(
        informer
            .metrics
            .undecodable
            .get_or_create(&[("resource", "pods")])
            .get(),
        1
    );
    feed.apply(pod("a").version(8).build());
    assert!(!informer.cache().held(&key));
}

#[test]
fn sty_19_late_subscribers_hear_what_is_there() {
    let informer: Arc<Informer<Pod>> = Informer::detached();
    Feed::new(Arc::clone(&informer)).list([pod("a").build()]);
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&heard);
    informer.subscribe(Box::new(move |change| log.lock().unwrap().push(describe(change))));
    assert_eq!(*heard.lock().unwrap(), ["added a 1"]);
}

#[tokio::test(start_paused = true)]
async fn rs_32_synced_waits_for_the_kinds_asked_for_and_no_others() {
    let informers = Informers::detached();
    let (pods, _nodes) = (informers.get::<Pod>(), informers.get::<Node>());
    assert!(Arc::ptr_eq(&pods, &informers.get::<Pod>()), "one watch per kind");
    assert!(informers.synced(&[KindId::of::<Pod>()]).now_or_never().is_none());
    Feed::new(pods).list([]);
    assert!(informers.synced(&[KindId::of::<Pod>()]).now_or_never().is_some());
    assert!(informers.synced(&[KindId::of::<Node>()]).now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn take_5_a_new_term_waits_for_lists_that_started_in_it() {
    let informers = Informers::detached();
    let feed = Feed::new(informers.get::<Pod>());
    let kinds = [KindId::of::<Pod>()];
    feed.list([]);
    assert!(
        informers.fresh(0, &kinds).now_or_never().is_some(),
        "without a lease there was no other leader"
    );
    assert!(informers.fresh(1, &kinds).now_or_never().is_none());
    assert!(
        informers.get::<Pod>().lock().relist_at.is_some(),
        "the list is asked for"
    );
    let waiting = informers.fresh(1, &kinds);
    let ((), ()) = tokio::join!(waiting, async { feed.list([]) });
    assert!(informers.fresh(1, &kinds).now_or_never().is_some());
    assert!(informers.fresh(2, &kinds).now_or_never().is_none());
}

/// Through the real client and watcher: pages, a broken object, watch events in either field order, and a forbidden
/// kind beside it.
#[tokio::test(start_paused = true)]
async fn issue_2_one_forbidden_kind_does_not_stop_the_others() {
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let asked = Arc::clone(&log);
    let client = crate::testing::client_fn(move |request| {
        asked
            .lock()
            .unwrap()
            .push(format!("{} {}?{}", request.method, request.path, request.query));
        async move {
            let query = |part: &str| request.query.split('&').any(|given| given == part);
            match &*request.path {
                "/api/v1/pods" => (403, forbidden().to_owned()),
                "/api/v1/nodes" if query("watch=true") && query("resourceVersion=20") => {
                    (200, watch_lines().to_owned())
                }
                "/api/v1/nodes" if query("watch=true") => std::future::pending().await,
                "/api/v1/nodes" if query("continue=more") => (200, page("3", r#""resourceVersion":"20""#)),
                "/api/v1/nodes" => (200, page("1", r#""resourceVersion":"20","continue":"more""#)),
                _ => (404, String::new()),
            }
        }
    });
    let (readiness, metrics) = (Readiness::default(), Metrics::default());
    let informers = Informers::new(client, &metrics, &readiness);
    let (nodes, pods) = (informers.get::<Node>(), informers.get::<Pod>());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(informers.clone().run(stop.clone()));
    pass(30).await;
    let names: Vec<_> = nodes
        .cache()
        .all()
        .iter()
        .map(|node| node.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["n1", "n4", "n5"]);
    assert!(
        nodes.cache().held(&ObjectKey::new("", "broken3")),
        "{:?}",
        nodes.cache().all_held()
    );
    assert_eq!(nodes.progress().seen(), 33);
    assert_eq!(readiness.missing(), ["watch of pods"]);
    assert!(pods.synced().now_or_never().is_none());
    let first = log
        .lock()
        .unwrap()
        .iter()
        .find(|line| line.contains("nodes"))
        .cloned()
        .unwrap();
    assert_eq!(first, "GET /api/v1/nodes?&limit=500");
    let forbidden = [("resource", "pods"), ("reason", "forbidden")];
    let tries = metrics.watch_errors.get_or_create(&forbidden).get();
    assert!((2..=10).contains(&tries), "{tries} tries in 30 s");
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
}

fn forbidden() -> &'static str {
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,
        "message":"pods is forbidden: User \"steersman\" cannot list resource \"pods\""}"#
}

fn page(number: &str, meta: &str) -> String {
    format!(
        r#"{{"kind":"NodeList","apiVersion":"v1","metadata":{{{meta}}},"items":[
            {{"metadata":{{"name":"n{number}","uid":"n{number}","resourceVersion":"1{number}"}}}},
            {{"metadata":{{"name":"broken{number}","uid":"b{number}","resourceVersion":"1"}},"spec":[]}}]}}"#
    )
}

fn watch_lines() -> &'static str {
    concat!(
        r#"{"type":"ADDED","object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"n4","uid":"n4","resourceVersion":"30"}}}"#,
        "\n",
        r#"{"object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"n5","uid":"n5","resourceVersion":"31"}},"type":"ADDED"}"#,
        "\n",
        r#"{"type":"MODIFIED","object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"broken1","uid":"b1","resourceVersion":"32"}}}"#,
        "\n",
        r#"{"type":"DELETED","object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"n3","uid":"n3","resourceVersion":"33"}}}"#,
        "\n",
        r#"{"type":"DELETED","object":{"kind":"Node","apiVersion":"v1","metadata":{"name":"broken1","uid":"b1","resourceVersion":"33"}}}"#,
        "\n",
    )
}
