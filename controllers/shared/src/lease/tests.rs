use std::sync::{Mutex, PoisonError};

use kube::core::Status;
use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;
use crate::testing::{SimClock, T0};

/// A Lease that several processes share, each through a connection of its own that can break.
#[derive(Clone, Default)]
struct Script {
    stored: Arc<Mutex<Option<StoredLease>>>,
    broken: Arc<Mutex<Option<Breakage>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breakage {
    /// Refused.
    Refuses,
    /// No answer, and no effect.
    Silent,
    /// It takes effect, but the answer is lost.
    AnswerLost,
}

impl Script {
    /// Another process's connection to the same Lease.
    fn connect(&self) -> Self {
        Self {
            stored: Arc::clone(&self.stored),
            broken: Arc::default(),
        }
    }

    fn break_down(&self, breakage: Option<Breakage>) {
        *self.broken.lock().unwrap() = breakage;
    }

    fn spec(&self) -> LeaseSpec {
        self.stored.lock().unwrap().clone().unwrap().spec
    }

    async fn answer<T>(
        &self,
        effect: impl FnOnce(&mut Option<StoredLease>) -> Result<T, kube::Error>,
    ) -> Result<T, kube::Error> {
        let broken = *self.broken.lock().unwrap();
        match broken {
            None => effect(&mut self.stored.lock().unwrap_or_else(PoisonError::into_inner)),
            Some(Breakage::Refuses) => Err(status(503, "ServiceUnavailable")),
            Some(Breakage::Silent) => std::future::pending().await,
            Some(Breakage::AnswerLost) => {
                drop(effect(
                    &mut self.stored.lock().unwrap_or_else(PoisonError::into_inner),
                ));
                std::future::pending().await
            }
        }
    }
}

fn status(code: u16, reason: &str) -> kube::Error {
    kube::Error::Api(Status::failure("no", reason).with_code(code).boxed())
}

impl LeaseStore for Script {
    async fn read(&self) -> Result<Option<StoredLease>, kube::Error> {
        self.answer(|stored| Ok(stored.clone())).await
    }

    async fn create(&self, spec: &LeaseSpec) -> Result<StoredLease, kube::Error> {
        let spec = spec.clone();
        self.answer(|stored| {
            if stored.is_some() {
                return Err(status(409, "AlreadyExists"));
            }
            Ok(stored
                .insert(StoredLease {
                    version: "1".to_owned(),
                    spec,
                })
                .clone())
        })
        .await
    }

    async fn update(&self, version: &str, spec: &LeaseSpec) -> Result<StoredLease, kube::Error> {
        let spec = spec.clone();
        self.answer(|stored| match stored {
            Some(lease) if lease.version == version => {
                let next = lease.version.parse::<u64>().unwrap() + 1;
                *lease = StoredLease {
                    version: next.to_string(),
                    spec,
                };
                Ok(lease.clone())
            }
            _ => Err(status(409, "Conflict")),
        })
        .await
    }
}

/// Time between two writers, less the step in which the test looks.
const SAFE_GAP: Duration = Duration::from_millis(4750);

struct Process {
    script: Script,
    leadership: Leadership,
    stop: CancellationToken,
}

fn start(tasks: &mut JoinSet<Result<()>>, script: Script, identity: &str) -> Process {
    let config = Config::new("kube-system", "steersman", identity);
    let clock = Arc::new(SimClock::new(T0));
    let (elector, leadership) = Elector::new(script.clone(), config, clock, &Metrics::default()).unwrap();
    let stop = CancellationToken::new();
    tasks.spawn(elector.run(stop.clone()));
    Process {
        script,
        leadership,
        stop,
    }
}

async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn sty_76_the_first_process_takes_the_lease() {
    let mut tasks = JoinSet::new();
    let a = start(&mut tasks, Script::default(), "a");
    assert_eq!(a.leadership.until_leading().await, 1);
    let token = a.leadership.token().unwrap();
    pass(60.0).await;
    assert_eq!(token.check(), Ok(()), "renewed without a break");
    let spec = a.script.spec();
    assert_eq!(
        (spec.holder_identity.as_deref(), spec.lease_duration_seconds),
        (Some("a"), Some(15))
    );
    assert_eq!(spec.lease_transitions, Some(0));
    let written = serde_json::to_value(&spec).unwrap();
    assert_eq!(written["acquireTime"], "2026-01-02T03:04:05.000000Z");
}

#[tokio::test(start_paused = true)]
async fn sty_77_a_released_lease_is_taken_at_once() {
    let mut tasks = JoinSet::new();
    let a = start(&mut tasks, Script::default(), "a");
    a.leadership.until_leading().await;
    let b = start(&mut tasks, a.script.connect(), "b");
    pass(30.0).await;
    assert!(a.leadership.is_leading() && b.leadership.token().is_err());
    a.stop.cancel();
    let asked = Instant::now();
    b.leadership.until_leading().await;
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert!(a.leadership.token().is_err());
    assert_eq!(b.script.spec().lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn inv_12_a_holder_that_cannot_renew_stops_before_another_starts() {
    for breakage in [Breakage::Refuses, Breakage::Silent, Breakage::AnswerLost] {
        let mut tasks = JoinSet::new();
        let a = start(&mut tasks, Script::default(), "a");
        let term = a.leadership.until_leading().await;
        let b = start(&mut tasks, a.script.connect(), "b");
        pass(20.0).await;
        a.script.break_down(Some(breakage));
        let broken = Instant::now();
        a.leadership.until_lost(term).await;
        let (lost, still) = (Instant::now(), broken.elapsed());
        assert!(
            still <= Duration::from_secs(10) && still >= Duration::from_secs(5),
            "{breakage:?}: {still:?}"
        );
        assert!(a.leadership.token().is_err());
        if breakage != Breakage::AnswerLost {
            b.leadership.until_leading().await;
            let gap = lost.elapsed();
            assert!(
                gap >= api::REQUEST_DEADLINE,
                "{breakage:?}: only {gap:?} between the two"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn take_11_a_write_starts_only_if_it_ends_before_the_lease_does() {
    let mut tasks = JoinSet::new();
    let clock = SimClock::new(T0);
    let a = start(&mut tasks, Script::default(), "a");
    a.leadership.until_leading().await;
    let token = a.leadership.token().unwrap();
    pass(7.0).await;
    let renewed = a.script.spec().renew_time.unwrap();
    a.script.break_down(Some(Breakage::Silent));
    let config = Config::new("kube-system", "steersman", "a");
    let left = || config.lease_duration.as_secs_f64() - clock.now().duration_since(renewed.0).as_secs_f64();
    let mut refused = 0;
    for _ in 0..150 {
        let may_write = token.check().is_ok();
        // Somebody else may write once this much time has passed since the last renewal.
        let enough = left() > config.request_timeout.as_secs_f64();
        assert!(!may_write || enough, "{} s left", left());
        refused += u32::from(!may_write);
        pass(0.1).await;
    }
    assert!(refused > 0);
}

#[tokio::test(start_paused = true)]
async fn take_10_a_token_ends_with_the_licence_even_if_that_comes_back() {
    let leadership = Leadership::always();
    let (switch, licence) = Licence::switched();
    assert!(leadership.token().unwrap().under(licence.term()).check().is_err());
    switch.grant();
    let token = leadership.token().unwrap().under(licence.term());
    assert!(token.check().is_ok());
    switch.revoke();
    assert_eq!(token.check(), Err(NotLeading));
    switch.grant();
    assert_eq!(
        token.check(),
        Err(NotLeading),
        "what was planned before is not carried out after"
    );
    assert!(leadership.token().unwrap().under(licence.term()).check().is_ok());
}

#[tokio::test(start_paused = true)]
async fn take_11_a_token_of_a_former_term_stays_invalid() {
    let mut tasks = JoinSet::new();
    let a = start(&mut tasks, Script::default(), "a");
    let term = a.leadership.until_leading().await;
    let token = a.leadership.token().unwrap();
    a.script.break_down(Some(Breakage::Silent));
    a.leadership.until_lost(term).await;
    a.script.break_down(None);
    assert_eq!(a.leadership.until_leading().await, term + 1);
    assert_eq!(token.check(), Err(NotLeading));
    assert!(a.leadership.token().is_ok());
}

#[tokio::test]
async fn inv_12_leadership_without_a_lease_never_ends() {
    let leadership = Leadership::always();
    assert_eq!(leadership.until_leading().await, 0);
    assert!(leadership.token().unwrap().check().is_ok());
}

#[test]
fn sty_8_durations_that_do_not_fit_together_are_refused() {
    let config = Config {
        lease_duration: Duration::from_secs(12),
        ..Config::new("n", "l", "a")
    };
    let error = config.check().unwrap_err().to_string();
    assert_eq!(
        error,
        "leaseDuration: must be at least renewDeadline plus the timeout of a request"
    );
    assert!(Config::new("n", "l", "").check().is_err());
}

fn outage() -> impl Strategy<Value = (usize, Option<Breakage>, u64)> {
    let breakage = proptest::option::of(prop_oneof![
        Just(Breakage::Refuses),
        Just(Breakage::Silent),
        Just(Breakage::AnswerLost)
    ]);
    (0_usize..3, breakage, 1_u64..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever connections do: between the last write of one process and the first of another lies the time
    /// that a request may take.
    #[test]
    fn inv_12_never_two_writers(outages in proptest::collection::vec(outage(), 1..12), seed in any::<u64>()) {
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async move {
            let mut tasks = JoinSet::new();
            let first = Script::default();
            let scripts = [first.connect(), first.connect(), first];
            let processes: Vec<Process> =
                scripts.iter().zip(["a", "b", "c"]).map(|(script, name)| start(&mut tasks, script.clone(), name)).collect();
            let mut last_write: Option<(usize, Instant)> = None;
            for (at, breakage, seconds) in outages {
                processes[at].script.break_down(breakage);
                for _ in 0..seconds * 4 {
                    pass(0.25).await;
                    for (index, process) in processes.iter().enumerate() {
                        if process.leadership.token().is_err() {
                            continue;
                        }
                        let now = Instant::now();
                        if let Some((writer, when)) = last_write && writer != index {
                            prop_assert!(now.duration_since(when) >= SAFE_GAP,
                                "{writer} wrote {:?} before {index}", now.duration_since(when));
                        }
                        last_write = Some((index, now));
                    }
                }
            }
            prop_assert!(last_write.is_some() || processes.iter().any(|p| p.script.broken.lock().unwrap().is_some()));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn sty_15_the_lease_is_patched_with_its_version() {
    let log: Arc<Mutex<Vec<crate::testing::Asked>>> = Arc::default();
    let asked = Arc::clone(&log);
    let client = crate::testing::client_fn(move |request| {
        asked.lock().unwrap().push(request);
        async {
            (
                200,
                r#"{"metadata":{"name":"l","resourceVersion":"8"},"spec":{"holderIdentity":"a"}}"#.to_owned(),
            )
        }
    });
    let lease = KubeLease::new(client, &Config::new("n", "l", "a"));
    let spec = LeaseSpec {
        renew_time: Some(MicroTime(T0)),
        ..LeaseSpec::default()
    };
    let stored = lease.update("7", &spec).await.unwrap();
    assert_eq!(
        (stored.version.as_str(), stored.spec.holder_identity.as_deref()),
        ("8", Some("a"))
    );
    let log = log.lock().unwrap();
    assert_eq!(
        (&*log[0].method, &*log[0].path),
        ("PATCH", "/apis/coordination.k8s.io/v1/namespaces/n/leases/l")
    );
    assert_eq!(log[0].content_type, "application/merge-patch+json");
    assert_eq!(
        log[0].body,
        json!({ "metadata": { "resourceVersion": "7" }, "spec": { "renewTime": "2026-01-02T03:04:05.000000Z" } })
    );
}
