//! GET of one object and of lists (API-121, API-190 to API-198, API-220 to API-223).

use std::{sync::Arc, time::Duration};

use base64::{DecodeError, Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    registry::Kind,
    render::{ListMeta, served},
    request::parse_version,
    selector::{FieldSelector, LabelSelector},
    server::Core,
    status::Failure,
    store::{Key, Object, Page, ReadError, Revision},
    validate::FieldErrorKind,
    verbs::{Answer, Call, Written, content_type, field_error},
};

/// How long a reader waits for a revision that has not been written (kube-apiserver 1.36, API-196).
const FRESHNESS_WAIT: Duration = Duration::from_secs(3);

pub(crate) fn get(call: &Call<'_>) -> Result<Answer, Failure> {
    let version = call.query.get("resourceVersion");
    if !version.is_empty() {
        parse_version(version).map_err(Failure::unmapped)?;
    }
    call.answer_object(200, &Written::Stored(call.current()?))
}

/// Label and field selectors of a request.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    kind: Arc<Kind>,
    labels: LabelSelector,
    /// What the JSON of an object must contain for its labels to be looked at.
    evidence: Option<Finder<'static>>,
    fields: FieldSelector,
}

impl Filter {
    pub(crate) fn parse(call: &Call<'_>) -> Result<Self, Failure> {
        let bad = |error: crate::selector::SelectorError| Failure::bad_request(error.to_string());
        let labels = LabelSelector::parse(call.query.get("labelSelector")).map_err(bad)?;
        let fields = FieldSelector::parse(call.query.get("fieldSelector")).map_err(bad)?;
        let extra = call
            .kind
            .custom
            .as_ref()
            .map_or(&[][..], |custom| &custom.selectable);
        fields.check(&call.kind.gk, extra).map_err(bad)?;
        Ok(Self {
            kind: Arc::clone(&call.kind),
            evidence: labels.evidence().map(|text| Finder::new(&text).into_owned()),
            labels,
            fields,
        })
    }

    /// Restricts a watch of one object.
    pub(crate) fn named(mut self, name: &str) -> Result<Self, Failure> {
        self.fields = FieldSelector::parse(&format!("metadata.name={name}"))
            .map_err(|error| Failure::bad_request(error.to_string()))?;
        Ok(self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the object is selected. Objects are parsed only where the selectors ask for more than the name.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        let pinned = |field: &str, value: &str| self.fields.exact(field).is_none_or(|wanted| wanted == value);
        if !pinned("metadata.name", &object.key.name) || !pinned("metadata.namespace", &object.key.namespace)
        {
            return false;
        }
        if self.is_empty() {
            return true;
        }
        let is_out = |evidence: &Finder<'_>| evidence.find(object.json()).is_none();
        if self.evidence.as_ref().is_some_and(is_out)
            || !self.labels.is_empty() && !self.labels.matches(&labels_of(object))
        {
            return false;
        }
        self.fields.is_empty()
            || self
                .fields
                .matches(&self.kind.gk, &served(&self.kind, object.parse()))
    }
}

/// The labels of an object, or null. Everything around them is skipped.
fn labels_of(object: &Object) -> Value {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Labelled {
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Metadata {
        labels: Value,
    }
    let labelled: Labelled = serde_json::from_slice(object.json()).unwrap_or_default();
    labelled.metadata.labels
}

/// Place at which a paged list goes on; opaque to clients (API-192, API-193). Of the form that kube-apiserver uses, so
/// that a token of elsewhere is refused for the same reasons.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Token {
    v: String,
    /// Revision of the first page; negative: go on with the present state (API-197).
    rv: i64,
    /// The first key that is possible, relative to the collection: the last one with a NUL.
    start: String,
}

/// A decoded token: the key to go on after, and the revision of the list.
struct Place {
    after: Key,
    at: At,
}

impl Token {
    const VERSION: &str = "meta.k8s.io/v1";

    fn after(key: &Key, namespace: Option<&str>, revision: Option<Revision>) -> Self {
        let name = &key.name;
        Self {
            v: Self::VERSION.to_owned(),
            rv: revision.map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX)),
            start: if namespace.is_some() || key.namespace.is_empty() {
                format!("{name}\0")
            } else {
                format!("{}/{name}\0", key.namespace)
            },
        }
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str, namespace: Option<&str>) -> Result<Place, Failure> {
        let invalid = |problem: &str| {
            Failure::bad_request(format!(
                "invalid continue token: continue key is not valid: {problem}"
            ))
        };
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|error| match error {
            DecodeError::InvalidByte(at, _) => invalid(&format!("illegal base64 data at input byte {at}")),
            _ => invalid("illegal base64 data at input byte 0"),
        })?;
        let Self { v, rv, start } = serde_json::from_slice::<Option<Self>>(&json)
            .map_err(|error| invalid(&error.to_string()))?
            .unwrap_or_default();
        if v != Self::VERSION {
            return Err(invalid(&format!(
                "server does not recognize this encoded version {v}"
            )));
        }
        if rv == 0 {
            return Err(invalid(&format!(
                "incorrect encoded start resourceVersion (version {v})"
            )));
        }
        if start.is_empty() {
            return Err(invalid(&format!("encoded start key empty (version {v})")));
        }
        let key = start.strip_prefix('/').unwrap_or(&start);
        if key
            .split('/')
            .any(|part| matches!(part.trim_end_matches('\0'), "" | "." | ".."))
        {
            return Err(invalid(&start));
        }
        let key = key.trim_end_matches('\0');
        let (own, name) = match namespace {
            Some(namespace) => (namespace, key),
            None => key.split_once('/').unwrap_or(("", key)),
        };
        Ok(Place {
            after: Key::new(own, name),
            at: u64::try_from(rv).map_or(At::Now, |revision| At::Exactly(Revision(revision))),
        })
    }
}

/// Where a list is read.
enum At {
    Now,
    Exactly(Revision),
}

pub(crate) async fn list(call: &Call<'_>) -> Result<Answer, Failure> {
    let view = call.list_view()?;
    let filter = Filter::parse(call)?;
    let limit = limit(call)?;
    call.query.integer("timeoutSeconds")?;
    check_options(call)?;
    let page = page(call, limit).await?;
    let (objects, meta) = select(page, &filter, call.path.namespace.as_deref(), limit);
    let body = view.list(&objects, &meta);
    Ok(Answer::Full {
        code: 200,
        content_type: content_type(view.accepted.encoding),
        body,
    })
}

/// Objects that a deletion of a collection names, in list order, and the metadata of their list.
pub(crate) async fn selected(call: &Call<'_>) -> Result<(Vec<Arc<Object>>, ListMeta), Failure> {
    let filter = Filter::parse(call)?;
    let limit = limit(call)?;
    check_options(call)?;
    let page = page(call, limit).await?;
    Ok(select(page, &filter, call.path.namespace.as_deref(), limit))
}

/// The objects from which a list is made, at the version and from the place that the request names.
async fn page(call: &Call<'_>, limit: Option<usize>) -> Result<Page, Failure> {
    let namespace = call.path.namespace.as_deref();
    let token = call.query.get("continue");
    if token.is_empty() {
        let at = freshness(call, limit.is_some()).await?;
        return read(call, &at, None).map_err(|error| expired(call, error, None));
    }
    let place = Token::decode(token, namespace)?;
    if !matches!(call.query.get("resourceVersion"), "" | "0") {
        return Err(Failure::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let after = Some(&place.after);
    read(call, &place.at, after).map_err(|error| expired(call, error, after))
}

fn limit(call: &Call<'_>) -> Result<Option<usize>, Failure> {
    let limit = call.query.integer("limit")?.filter(|limit| *limit > 0);
    // What may come from a cache comes as a whole (API-195).
    let from_cache = call.query.get("resourceVersion") == "0";
    Ok(limit
        .filter(|_| !from_cache)
        .and_then(|limit| usize::try_from(limit).ok()))
}

fn read(call: &Call<'_>, at: &At, after: Option<&Key>) -> Result<Page, ReadError> {
    let namespace = call.path.namespace.as_deref();
    match at {
        At::Now => Ok(call.core.store.list(&call.kind.table, namespace, after)),
        At::Exactly(revision) => call
            .core
            .store
            .list_at(&call.kind.table, namespace, after, *revision),
    }
}

/// API-197.
fn expired(call: &Call<'_>, error: ReadError, after: Option<&Key>) -> Failure {
    match (error, after) {
        (ReadError::Future { current }, _) => Failure::too_large_version(u64::MAX, current.0),
        (ReadError::Compacted { .. }, None) => {
            Failure::expired("The resourceVersion for the provided list is too old.")
        }
        (ReadError::Compacted { .. }, Some(key)) => {
            let resource = &call.kind.resource;
            Failure::expired(format!(
                "The provided continue parameter is too old to display a consistent list result of {resource}. \
                 Continue with the token in this answer for the rest of the present state, or start over without one."
            ))
            .continuing(&Token::after(key, call.path.namespace.as_deref(), None).encode())
        }
    }
}

fn select(
    page: Page,
    filter: &Filter,
    namespace: Option<&str>,
    limit: Option<usize>,
) -> (Vec<Arc<Object>>, ListMeta) {
    let mut meta = ListMeta {
        revision: page.revision,
        ..ListMeta::default()
    };
    let total = page.objects.len();
    let mut selected: Vec<Arc<Object>> = Vec::new();
    for (index, object) in page.objects.into_iter().enumerate() {
        // Whether anything of the rest is selected is left to the next page.
        if limit.is_some_and(|limit| selected.len() >= limit) {
            meta.continue_token = selected
                .last()
                .map(|last| Token::after(&last.key, namespace, Some(page.revision)).encode());
            meta.remaining = filter.is_empty().then_some(total - index);
            break;
        }
        if filter.matches(&object) {
            selected.push(object);
        }
    }
    (selected, meta)
}

/// API-195, API-196.
async fn freshness(call: &Call<'_>, limited: bool) -> Result<At, Failure> {
    let version = call.query.get("resourceVersion");
    let matching = call.query.get("resourceVersionMatch");
    if version.is_empty() {
        return Ok(At::Now);
    }
    let revision = parse_version(version)
        .map_err(|problem| Failure::bad_request(format!("invalid resource version: {problem}")))?;
    if revision == 0 {
        return Ok(At::Now);
    }
    wait_for(call.core, Revision(revision)).await?;
    let exactly = matching == "Exact" || (matching.is_empty() && limited);
    Ok(if exactly {
        At::Exactly(Revision(revision))
    } else {
        At::Now
    })
}

/// Waits until a revision has been written.
async fn wait_for(core: &Core, revision: Revision) -> Result<(), Failure> {
    const STEP: Duration = Duration::from_millis(50);
    let deadline = tokio::time::Instant::now() + FRESHNESS_WAIT;
    loop {
        let current = core.store.revision();
        if current >= revision {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Failure::too_large_version(revision.0, current.0));
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Combinations of list options that are refused (API-196, API-238).
fn check_options(call: &Call<'_>) -> Result<(), Failure> {
    let version = call.query.get("resourceVersion");
    let matching = call.query.get("resourceVersionMatch");
    let mut errors = Vec::new();
    let field = "resourceVersionMatch";
    if call.query.has("sendInitialEvents") {
        let detail = "sendInitialEvents is forbidden for list";
        errors.push(field_error(
            FieldErrorKind::Forbidden,
            "sendInitialEvents",
            detail,
        ));
    }
    if !matching.is_empty() {
        if version.is_empty() {
            let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(field_error(FieldErrorKind::Forbidden, field, detail));
        }
        if !call.query.get("continue").is_empty() {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(field_error(FieldErrorKind::Forbidden, field, detail));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let detail = format!("{matching:?}: supported values: \"Exact\", \"NotOlderThan\", \"\"");
            errors.push(field_error(FieldErrorKind::NotSupported, field, detail));
        }
        if matching == "Exact" && version == "0" {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(field_error(FieldErrorKind::Forbidden, field, detail));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid_option("ListOptions", &errors))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Draft;

    #[test]
    fn api_220_labels_are_found_without_the_rest() {
        let labels = json!({"app": "a\"b", "tier": ""});
        for object in [
            json!({"metadata": {"name": "n", "labels": labels, "managedFields": [{"fieldsV1": {"f:labels": {}}}]}}),
            json!({"spec": {"metadata": {"labels": {"x": "y"}}}, "metadata": {"name": "n"}}),
            json!({"metadata": {"labels": null}, "labels": {"x": "y"}}),
            json!({}),
        ] {
            let stored = Draft::new(&object).stamp(Key::new("", "n"), Revision(7));
            // The slow way.
            let parsed = stored.parse();
            let wanted = parsed.pointer("/metadata/labels").cloned().unwrap_or(Value::Null);
            assert_eq!(labels_of(&stored), wanted, "{object}");
        }
    }
}
