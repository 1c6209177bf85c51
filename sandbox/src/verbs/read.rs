//! GET of one object and of lists (API-121, API-190 to API-198, API-220 to API-223).

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    registry::Kind,
    render::{ListMeta, served},
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
    if matches!(call.path.name.as_deref(), Some("." | "..")) {
        return Err(Failure::bad_request("resource name may not be '.' or '..'"));
    }
    let version = call.query.get("resourceVersion");
    if !version.is_empty() && version.parse::<u64>().is_err() {
        return Err(Failure::unmapped(invalid_version(version)));
    }
    call.answer_object(200, &Written::Stored(call.current()?))
}

fn invalid_version(version: &str) -> String {
    format!(
        "resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
    )
}

/// Label and field selectors of a request.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    kind: Arc<Kind>,
    labels: LabelSelector,
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
        let value = served(&self.kind, object.parse());
        let labels = value
            .pointer("/metadata/labels")
            .unwrap_or(&serde_json::Value::Null);
        self.labels.matches(labels) && self.fields.matches(&self.kind.gk, &value)
    }
}

/// Place at which a paged list goes on; opaque to clients (API-192, API-193).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    /// Revision of the first page; absent: go on with the present state (API-197).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    namespace: String,
    name: String,
}

impl Token {
    fn after(key: &Key, revision: Option<Revision>) -> Self {
        Self {
            revision: revision.map(|revision| revision.0),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        }
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Result<Self, Failure> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| {
                Failure::bad_request("invalid continue token: continue key is not valid: unknown form")
            })
    }

    fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
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
    let token = match call.query.get("continue") {
        "" => None,
        text => Some(Token::decode(text)?),
    };
    let version = call.query.get("resourceVersion");
    if token.is_some() && !matches!(version, "" | "0") {
        return Err(Failure::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let at = match &token {
        Some(Token {
            revision: Some(revision),
            ..
        }) => At::Exactly(Revision(*revision)),
        Some(_) => At::Now,
        None => freshness(call, limit.is_some()).await?,
    };
    let after = token.as_ref().map(Token::key);
    let page = read(call, &at, after.as_ref()).map_err(|error| expired(call, error, after.as_ref()))?;
    let (objects, meta) = select(page, &filter, limit);
    let body = view.list(&objects, &meta);
    Ok(Answer::Full {
        code: 200,
        content_type: content_type(view.accepted.encoding),
        body,
    })
}

/// All objects that a collection request names, in list order; for deletions.
pub(crate) fn selected(call: &Call<'_>) -> Result<(Vec<Arc<Object>>, Revision), Failure> {
    let filter = Filter::parse(call)?;
    let page = call
        .core
        .store
        .list(&call.kind.table, call.path.namespace.as_deref(), None);
    let objects = page
        .objects
        .into_iter()
        .filter(|object| filter.matches(object))
        .collect();
    Ok((objects, page.revision))
}

fn limit(call: &Call<'_>) -> Result<Option<usize>, Failure> {
    let limit = call.query.integer("limit")?.filter(|limit| *limit > 0);
    Ok(limit.and_then(|limit| usize::try_from(limit).ok()))
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
            .continuing(&Token::after(key, None).encode())
        }
    }
}

fn select(page: Page, filter: &Filter, limit: Option<usize>) -> (Vec<Arc<Object>>, ListMeta) {
    let mut meta = ListMeta {
        revision: page.revision,
        ..ListMeta::default()
    };
    let total = page.objects.len();
    let mut selected: Vec<Arc<Object>> = Vec::new();
    for (index, object) in page.objects.into_iter().enumerate() {
        if !filter.matches(&object) {
            continue;
        }
        if limit.is_some_and(|limit| selected.len() >= limit) {
            meta.continue_token = selected
                .last()
                .map(|last| Token::after(&last.key, Some(page.revision)).encode());
            meta.remaining = filter.is_empty().then_some(total - index);
            break;
        }
        selected.push(object);
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
    let revision: u64 = version
        .parse()
        .map_err(|_| Failure::bad_request(invalid_version(version)))?;
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
