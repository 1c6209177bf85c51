use futures::FutureExt;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::*;
use crate::queue::Item;
use crate::testing::{Feed, node, pod};

struct World {
    pods: Feed<Pod>,
    nodes: Feed<Node>,
    queue: Queue<ObjectKey>,
    writes: Writes,
}

fn world() -> World {
    let (informers, metrics) = (Informers::detached(), Metrics::default());
    let (pods, nodes) = (Feed::new(informers.get()), Feed::new(informers.get()));
    pods.list([pod("a").version(10).build()]);
    nodes.list([]);
    let queue = Queue::new("test", &metrics);
    let writes = Writes::new(&informers, &queue, &metrics);
    World {
        pods,
        nodes,
        queue,
        writes,
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn version(number: &str) -> Written {
    Written::Version {
        kind: KindId::of::<Pod>(),
        resource_version: number.to_owned(),
    }
}

impl World {
    /// Keys that the watches have brought back.
    fn woken(&self) -> Vec<String> {
        let items = std::iter::from_fn(|| self.queue.next().now_or_never().flatten());
        items.map(|item: Item<ObjectKey>| item.name.to_string()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn rs_31_a_key_waits_until_the_watch_shows_its_version() {
    let world = world();
    world.writes.record(&key("web"), version("15"));
    assert!(world.writes.park(&key("web")));
    world.pods.apply(pod("b").version(14).build());
    world.nodes.apply(node("n").version(99).build());
    assert!(world.woken().is_empty(), "too early, or another kind");
    world.pods.apply(pod("c").version(15).build());
    assert_eq!(world.woken(), ["web"]);
    assert!(!world.writes.park(&key("web")));
}

#[tokio::test(start_paused = true)]
async fn rs_31_what_the_cache_shows_already_holds_nothing_up() {
    let world = world();
    world.writes.record(&key("web"), version("10"));
    world
        .writes
        .record(&key("web"), Written::deleted::<Pod>(Uid("unknown".into())));
    assert!(world.writes.pending(&key("web")).is_none());
}

#[tokio::test(start_paused = true)]
async fn rs_31_the_highest_of_many_versions_counts() {
    let world = world();
    for number in ["12", "20", "16"] {
        world.writes.record(&key("web"), version(number));
    }
    assert!(world.writes.park(&key("web")));
    world.pods.apply(pod("b").version(16).build());
    assert!(world.woken().is_empty());
    world.pods.apply(pod("c").version(20).build());
    assert_eq!(world.woken(), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn rs_27_a_deletion_shows_as_a_timestamp_or_as_absence() {
    for terminating in [true, false] {
        let world = world();
        let a = pod("a").version(10).build();
        world
            .writes
            .record(&key("web"), Written::deleted::<Pod>(Uid::of(&a)));
        assert!(world.writes.park(&key("web")));
        world.pods.apply(pod("other").version(30).build());
        assert!(world.woken().is_empty());
        if terminating {
            world.pods.apply(pod("a").version(31).deleting().build());
        } else {
            world.pods.delete(pod("a").version(31).build());
        }
        assert_eq!(world.woken(), ["web"]);
        assert!(!world.writes.park(&key("web")));
    }
}

#[tokio::test(start_paused = true)]
async fn rs_31_a_list_that_started_after_the_write_shows_it() {
    let world = world();
    world.writes.record(&key("web"), version("50"));
    world
        .writes
        .record(&key("web"), Written::deleted::<Pod>(Uid("pod-a".into())));
    assert!(world.writes.park(&key("web")));
    // The object written at 50 was deleted by somebody else before the list.
    world.pods.list([]);
    assert_eq!(world.woken(), ["web"]);
    assert!(!world.writes.park(&key("web")));
}

#[tokio::test(start_paused = true)]
async fn inv_2_a_write_with_unknown_outcome_waits_for_a_fresh_list() {
    let world = world();
    world.writes.record(&key("web"), Written::unknown::<Pod>());
    assert!(world.writes.park(&key("web")));
    world.pods.apply(pod("b").version(1000).build());
    assert!(world.woken().is_empty());
    world.pods.list([]);
    assert_eq!(world.woken(), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn rs_31_versions_that_are_no_numbers_are_waited_for_one_by_one() {
    let world = world();
    let odd = |name: &str, version: &'static str| {
        pod(name)
            .with(move |pod| pod.metadata.resource_version = Some(version.to_owned()))
            .build()
    };
    world.pods.apply(odd("early", "v7"));
    world.writes.record(&key("done"), version("v7"));
    assert!(!world.writes.park(&key("done")));
    world.writes.record(&key("web"), version("v9"));
    assert!(world.writes.park(&key("web")));
    world.pods.apply(odd("x", "v8"));
    assert!(world.woken().is_empty());
    world.pods.apply(odd("y", "v9"));
    assert_eq!(world.woken(), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn rs_25_after_five_minutes_the_key_goes_on() {
    let world = world();
    let stop = CancellationToken::new();
    let start = Instant::now();
    world.writes.record(&key("web"), version("9999"));
    assert!(world.writes.park(&key("web")));
    let item = tokio::select! {
        () = world.writes.expire(&stop) => None,
        item = world.queue.next() => item,
    };
    assert_eq!(&*item.unwrap().name, "web");
    assert!(start.elapsed() >= CAP && start.elapsed() <= CAP + SWEEP + Duration::from_secs(1));
    assert!(!world.writes.park(&key("web")));
    let labels = [("controller", "test")];
    assert_eq!(
        world
            .writes
            .shared
            .metrics
            .writes_expired
            .get_or_create(&labels)
            .get(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn rs_29_forgotten_writes_hold_nothing_up() {
    let world = world();
    world.writes.record(&key("web"), version("9999"));
    assert!(world.writes.park(&key("web")));
    world.writes.forget(&key("web"));
    assert!(!world.writes.park(&key("web")));
    world.pods.apply(pod("z").version(9999).build());
    assert!(world.woken().is_empty());
}
