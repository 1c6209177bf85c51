//! Objects and namespaces that are to be left alone (TAKE-12).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Namespace;
use rustc_hash::FxHashSet;
use tokio::sync::watch;

use crate::cache::Cache;
use crate::informer::{Informers, KindId, trim};
use crate::objects::{ObjectKey, Uid};
use crate::rbac::Rule;
use crate::recorder::{EventType, Recorder, reference};

/// Annotation of a Deployment, a ReplicaSet, or a namespace for all that is in it. `"false"`: left to the native
/// controller, ignored while that is absent. `"never"`: left alone whatever happens.
pub const MANAGED: &str = "steersman.dev/managed";
/// Value of [`MANAGED`] that counts only while the native controller would do the work.
pub const NOT_BY_US: &str = "false";
/// Value of [`MANAGED`] that always counts.
pub const BY_NOBODY: &str = "never";
/// Reason of the event when an opt-out is ignored.
const REFUSED: &str = "OptOutRefused";
/// Refusals that are remembered, so that each is told once.
const TOLD: usize = 10_000;

/// What it takes to see the annotations of namespaces.
pub const RBAC: &[Rule] = &[Rule {
    api_groups: &[""],
    resources: &["namespaces"],
    verbs: &["list", "watch"],
}];

/// What the annotations of an object and its namespace ask for; the object's own come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Managed,
    NotByUs,
    ByNobody,
}

impl Wish {
    fn of(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        match annotations?.get(MANAGED)?.as_str() {
            NOT_BY_US => Some(Self::NotByUs),
            BY_NOBODY => Some(Self::ByNobody),
            _ => Some(Self::Managed),
        }
    }
}

/// Who is to be left alone. Clones share what they know.
#[derive(Clone, Default)]
pub struct OptOuts {
    namespaces: Option<Arc<Cache<Namespace>>>,
    changes: Option<watch::Receiver<u64>>,
    recorder: Option<Arc<Recorder>>,
    told: Arc<Mutex<FxHashSet<Uid>>>,
}

impl fmt::Debug for OptOuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptOuts")
            .field("namespaces", &self.namespaces.is_some())
            .finish_non_exhaustive()
    }
}

/// Of a namespace only the annotation is kept.
fn trim_namespace(namespace: &mut Namespace) {
    trim(namespace);
    (namespace.spec, namespace.status) = (None, None);
    namespace.metadata.labels = None;
    if let Some(annotations) = &mut namespace.metadata.annotations {
        annotations.retain(|key, _| key == MANAGED);
    }
}

impl OptOuts {
    /// Those of objects and of their namespaces; refusals are told by `recorder`. Without this, by default, only the
    /// annotations of objects count and refusals are silent.
    #[must_use]
    pub fn new(informers: &Informers, recorder: Recorder) -> Self {
        let informer = informers.get_trimmed::<Namespace>(trim_namespace);
        let (count, changes) = watch::channel(0_u64);
        informer.subscribe(Box::new(move |change| {
            let wishes = change
                .versions()
                .map(|it| Wish::of(it.metadata.annotations.as_ref()));
            // Most namespaces say nothing, before and after.
            if wishes.into_iter().any(|wish| wish.is_some()) {
                count.send_modify(|count| *count = count.wrapping_add(1));
            }
        }));
        Self {
            namespaces: Some(Arc::clone(informer.cache())),
            changes: Some(changes),
            recorder: Some(Arc::new(recorder)),
            told: Arc::default(),
        }
    }

    /// Kinds whose caches have to be synced before anything is decided.
    #[must_use]
    pub fn kinds(&self) -> Option<KindId> {
        self.namespaces.as_ref().map(|_| KindId::of::<Namespace>())
    }

    /// Completes when a namespace opted out or in.
    pub async fn changed(&mut self) {
        let heard = match &mut self.changes {
            Some(changes) => changes.changed().await.is_ok(),
            None => false,
        };
        if !heard {
            std::future::pending::<()>().await;
        }
    }

    /// Whether nothing of that object is to be touched, status included. `acting`: ours does the work and the native
    /// controller is absent, so that leaving it alone leaves it to nobody; that has to be asked for in so many words,
    /// and an event says so.
    pub fn leaves_alone(&self, object: &impl kube::Resource<DynamicType = ()>, acting: bool) -> bool {
        let meta = object.meta();
        let of_namespace = || {
            let namespaces = self.namespaces.as_ref()?;
            let namespace = namespaces.get(&ObjectKey::new("", meta.namespace.as_deref()?))?;
            Wish::of(namespace.metadata.annotations.as_ref())
        };
        match Wish::of(meta.annotations.as_ref()).or_else(of_namespace) {
            None | Some(Wish::Managed) => false,
            Some(Wish::NotByUs) if acting => {
                self.refuse(object);
                false
            }
            Some(Wish::NotByUs | Wish::ByNobody) => true,
        }
    }

    fn refuse(&self, object: &impl kube::Resource<DynamicType = ()>) {
        let Some(recorder) = &self.recorder else { return };
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= TOLD {
                told.clear();
            }
            if !told.insert(Uid::of(object)) {
                return;
            }
        }
        let message = format!(
            "{MANAGED}={NOT_BY_US} is ignored: the native controller is absent and nobody else would manage this; \
             {MANAGED}={BY_NOBODY} insists"
        );
        recorder.event(&reference(object), EventType::Warning, REFUSED, "", message);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::{Feed, deployment};

    #[rstest]
    #[case::says_nothing(None, None, (false, false))]
    #[case::not_by_us(Some("false"), None, (true, false))]
    #[case::by_nobody(Some("never"), None, (true, true))]
    #[case::namespace(None, Some("false"), (true, false))]
    #[case::namespace_forced(None, Some("never"), (true, true))]
    #[case::object_wins(Some("true"), Some("never"), (false, false))]
    #[case::garbage_is_ignored(Some("maybe"), None, (false, false))]
    fn take_12_an_opt_out_is_refused_while_nobody_else_would_manage_it(
        #[case] object: Option<&str>,
        #[case] namespace: Option<&str>,
        #[case] (standing_by, acting): (bool, bool),
    ) {
        let informers = Informers::detached();
        let clock: Arc<dyn crate::clock::Clock> = Arc::new(crate::testing::SimClock::new(crate::testing::T0));
        let (recorders, mut backlog) =
            crate::recorder::Recorders::new(clock, "test", &crate::metrics::Metrics::default());
        let opt_outs = OptOuts::new(&informers, recorders.core("guard"));
        let mut default = Namespace::default();
        default.metadata.name = Some("default".to_owned());
        default.metadata.annotations = namespace.map(|value| [(MANAGED.to_owned(), value.to_owned())].into());
        Feed::new(informers.get()).list([default]);
        let mut web = deployment("web");
        if let Some(value) = object {
            web = web.annotation(MANAGED, value);
        }
        let web = web.build();
        assert_eq!(opt_outs.leaves_alone(&web, false), standing_by);
        assert_eq!(opt_outs.leaves_alone(&web, true), acting);
        assert_eq!(opt_outs.leaves_alone(&web, true), acting);
        drop((recorders, opt_outs));
        let told = std::iter::from_fn(|| backlog.next_reason()).collect::<Vec<_>>();
        let refused = standing_by && !acting;
        assert_eq!(told.len(), usize::from(refused), "told once: {told:?}");
    }

    #[tokio::test]
    async fn take_12_a_namespace_that_opts_out_is_news() {
        let informers = Informers::detached();
        let clock: Arc<dyn crate::clock::Clock> = Arc::new(crate::testing::SimClock::new(crate::testing::T0));
        let recorders = crate::recorder::Recorders::discard(clock, &crate::metrics::Metrics::default());
        let mut opt_outs = OptOuts::new(&informers, recorders.core("guard"));
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("default".to_owned());
        let feed = Feed::new(informers.get());
        feed.list([namespace.clone()]);
        assert!(futures::FutureExt::now_or_never(opt_outs.changed()).is_none());
        namespace.metadata.annotations = Some([(MANAGED.to_owned(), BY_NOBODY.to_owned())].into());
        namespace.metadata.resource_version = Some("2".to_owned());
        feed.apply(namespace);
        opt_outs.changed().await;
    }
}
