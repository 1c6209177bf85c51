use std::collections::BTreeSet;

use futures::FutureExt;
use prometheus_client::registry::Registry;
use proptest::prelude::*;

use super::*;

fn queue() -> Queue<u32> {
    Queue::new("test", &Metrics::default())
}

/// The next key if one is ready now.
fn take(queue: &Queue<u32>) -> Option<Item<u32>> {
    queue.next().now_or_never().flatten()
}

async fn delay_until_next(queue: &Queue<u32>) -> Duration {
    let start = Instant::now();
    let item = queue.next().await;
    assert!(item.is_some());
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn rs_7_additions_coalesce_and_keep_their_order() {
    let queue = queue();
    for key in [1, 2, 1, 3, 2] {
        queue.add(key);
    }
    let order: Vec<u32> = std::iter::from_fn(|| take(&queue).map(|item| *item)).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn rs_7_a_key_in_work_is_not_handed_out_again_until_it_is_done() {
    let queue = queue();
    queue.add(1);
    let item = take(&queue).unwrap();
    queue.add(1);
    queue.add(1);
    assert!(take(&queue).is_none());
    drop(item);
    let again = take(&queue).unwrap();
    assert_eq!(*again, 1);
    drop(again);
    assert!(take(&queue).is_none() && queue.is_idle());
}

#[tokio::test(start_paused = true)]
async fn sty_22_per_key_backoff_doubles_from_5_ms_to_1000_s() {
    let queue = queue();
    let mut want = Duration::from_millis(5);
    for _ in 0..25 {
        queue.add_rate_limited(1);
        let waited = delay_until_next(&queue).await;
        assert!(
            waited >= want && waited <= want + Duration::from_millis(1),
            "{waited:?} for {want:?}"
        );
        want = (want * 2).min(Duration::from_secs(1000));
    }
    assert_eq!(queue.retries(&1), 25);
    queue.forget(&1);
    queue.add_rate_limited(1);
    assert!(delay_until_next(&queue).await <= Duration::from_millis(6));
}

#[tokio::test(start_paused = true)]
async fn sty_22_overall_rate_is_10_per_second_after_a_burst_of_100() {
    let queue = queue();
    let start = Instant::now();
    for key in 0..150 {
        queue.add_rate_limited(key);
    }
    for _ in 0..100 {
        drop(queue.next().await);
    }
    assert!(start.elapsed() < Duration::from_millis(10));
    for _ in 0..50 {
        drop(queue.next().await);
    }
    let elapsed = start.elapsed();
    assert!(
        elapsed >= Duration::from_secs(5) && elapsed < Duration::from_millis(5100),
        "{elapsed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn rs_4_conflicts_come_back_soon_and_then_slower() {
    let queue = queue();
    let mut waits = Vec::new();
    for _ in 0..8 {
        queue.add_soon(1, Duration::from_millis(50));
        waits.push(delay_until_next(&queue).await.as_millis());
    }
    assert_eq!(waits[..4], [50, 50, 50, 50]);
    assert!(waits[7] >= 640, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn sty_22_the_earlier_of_two_delays_wins() {
    let queue = queue();
    queue.add_after(1, Duration::from_secs(10));
    queue.add_after(1, Duration::from_secs(2));
    queue.add_after(1, Duration::from_secs(5));
    assert_eq!(delay_until_next(&queue).await.as_secs(), 2);
    assert!(queue.next_timer().is_none());
}

#[tokio::test(start_paused = true)]
async fn rs_9_a_new_plan_replaces_the_wake_up_but_not_a_delay() {
    let queue = queue();
    queue.wake_after(1, Some(Duration::from_secs(3)));
    queue.wake_after(1, Some(Duration::from_secs(30)));
    queue.add_after(1, Duration::from_mins(1));
    assert_eq!(delay_until_next(&queue).await.as_secs(), 30);
    queue.wake_after(1, Some(Duration::from_secs(1)));
    queue.wake_after(1, None);
    assert_eq!(delay_until_next(&queue).await.as_secs(), 30);
    assert!(queue.next_timer().is_none());
}

#[tokio::test(start_paused = true)]
async fn rs_9_a_wake_up_beyond_all_clocks_is_no_panic() {
    let queue = queue();
    queue.wake_after(1, Some(Duration::MAX));
    queue.add_after(1, Duration::MAX);
    assert!(take(&queue).is_none());
}

#[tokio::test(start_paused = true)]
async fn rs_9_a_wake_up_in_the_past_is_no_busy_loop() {
    let queue = queue();
    queue.wake_after(1, Some(Duration::ZERO));
    assert_eq!(delay_until_next(&queue).await, SHORTEST_WAKE);
}

#[tokio::test(start_paused = true)]
async fn sty_77_shut_down_ends_waiting_workers_and_keeps_items() {
    let queue = queue();
    queue.add(1);
    let item = queue.next().await.unwrap();
    let other = queue.clone();
    let (next, ()) = tokio::join!(other.next(), async { queue.shut_down() });
    assert!(next.is_none());
    queue.add(2);
    queue.add_after(3, Duration::from_secs(1));
    drop(item);
    assert!(queue.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn rs_7_a_waiting_worker_learns_of_a_shorter_delay() {
    let queue = queue();
    queue.add_after(1, Duration::from_secs(100));
    let start = Instant::now();
    let (item, ()) = tokio::join!(queue.next(), async {
        tokio::task::yield_now().await;
        queue.add_after(2, Duration::from_secs(1));
    });
    assert_eq!((*item.unwrap(), start.elapsed().as_secs()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn sty_55_workqueue_metrics_keep_upstreams_names() {
    let mut registry = Registry::default();
    let queue: Queue<u32> = Queue::new("deployment", &Metrics::register(&mut registry));
    queue.add(1);
    queue.add(2);
    let item = queue.next().await.unwrap();
    tokio::time::advance(Duration::from_secs(3)).await;
    queue.add_rate_limited(7);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "workqueue_depth{name=\"deployment\"} 1",
        "workqueue_adds_total{name=\"deployment\"} 2",
        "workqueue_queue_duration_seconds_count{name=\"deployment\"} 1",
        "workqueue_retries_total{name=\"deployment\"} 1",
        "workqueue_unfinished_work_seconds{name=\"deployment\"} 3.0",
        "workqueue_longest_running_processor_seconds{name=\"deployment\"} 3.0",
    ] {
        assert!(text.contains(line), "{line} not in:\n{text}");
    }
    drop(item);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("workqueue_work_duration_seconds_count{name=\"deployment\"} 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rs_7_no_wake_up_is_lost_between_threads() {
    const KEYS: u32 = 20_000;
    let queue = queue();
    let seen: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (queue, seen) = (queue.clone(), Arc::clone(&seen));
        tasks.spawn(async move {
            while let Some(item) = queue.next().await {
                let all = {
                    let mut seen = seen.lock().unwrap();
                    seen.insert(*item);
                    seen.len() == KEYS as usize
                };
                if all {
                    queue.shut_down();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for part in 0..4 {
        let queue = queue.clone();
        tasks.spawn(async move {
            for key in (part..KEYS).step_by(4) {
                match key % 7 {
                    0 => queue.add_after(key, Duration::from_millis(1)),
                    _ => queue.add(key),
                }
                if key % 64 < 4 {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    assert!(
        tokio::time::timeout(Duration::from_mins(1), all).await.is_ok(),
        "{queue:?}"
    );
    assert_eq!(seen.lock().unwrap().len(), KEYS as usize);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32),
    AddAfter(u32, u64),
    Fail(u32),
    Wake(u32, Option<u64>),
    Take,
    Finish(usize),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0_u32..4;
    prop_oneof![
        3 => key.clone().prop_map(Step::Add),
        1 => (key.clone(), 0_u64..50).prop_map(|(key, ms)| Step::AddAfter(key, ms)),
        1 => key.clone().prop_map(Step::Fail),
        1 => (key, proptest::option::of(0_u64..50)).prop_map(|(key, ms)| Step::Wake(key, ms)),
        3 => Just(Step::Take),
        3 => (0_usize..4).prop_map(Step::Finish),
        2 => (1_u64..40).prop_map(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn rs_7_no_key_runs_twice_at_once_and_none_is_lost(steps in proptest::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async move {
            let queue = queue();
            let mut working: Vec<Item<u32>> = Vec::new();
            // Keys added and not taken since: each of them has to come out.
            let mut owed: BTreeSet<u32> = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Add(key) => { queue.add(key); owed.insert(key); }
                    Step::AddAfter(key, ms) => { queue.add_after(key, Duration::from_millis(ms)); owed.insert(key); }
                    Step::Fail(key) => { queue.add_rate_limited(key); owed.insert(key); }
                    Step::Wake(key, ms) => queue.wake_after(key, ms.map(Duration::from_millis)),
                    Step::Take => if let Some(item) = take(&queue) {
                        prop_assert!(working.iter().all(|other| **other != *item), "{} twice", *item);
                        owed.remove(&*item);
                        working.push(item);
                    },
                    Step::Finish(at) => if at < working.len() { drop(working.swap_remove(at)); },
                    Step::Advance(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
                }
            }
            working.clear();
            let mut seen: BTreeSet<u32> = BTreeSet::new();
            while !queue.is_idle() || queue.next_timer().is_some() {
                let item = queue.next().await;
                seen.insert(*item.unwrap());
            }
            prop_assert!(seen.is_superset(&owed), "{seen:?} lacks some of {owed:?}");
            prop_assert!(queue.is_idle() && queue.next_timer().is_none());
            Ok(())
        })?;
    }
}
