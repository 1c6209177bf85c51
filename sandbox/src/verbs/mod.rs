//! What requests do. One file per verb or subresource; all of them are generic over the kind.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod eviction;
pub(crate) mod log;
pub(crate) mod patch;
pub(crate) mod pod;
pub(crate) mod read;
pub(crate) mod review;
pub(crate) mod scale;
pub(crate) mod token;
pub(crate) mod update;
pub(crate) mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    admission, apply,
    auth::User,
    json,
    negotiation::{self, Accepted, Encoding, Form},
    protobuf,
    registry::{Kind, Offer},
    render::{IncludeObject, View},
    request::{Query, ResourcePath},
    schema::{Node, Types},
    server::Core,
    status::Failure,
    store::{Key, Object},
    validate::{FieldError, FieldErrorKind, gofmt},
    verbs::watch::WatchStream,
};

/// API-396.
const ENDPOINTS_DEPRECATED: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// A finished answer to a request.
pub(crate) enum Answer {
    /// A body that is complete.
    Full {
        code: u16,
        content_type: &'static str,
        body: Bytes,
    },
    /// An object in the encoding that the client prefers.
    Object { code: u16, value: Value },
    /// The events of a watch.
    Watch {
        content_type: &'static str,
        events: WatchStream,
    },
}

impl Answer {
    pub(crate) fn json(code: u16, value: &Value) -> Self {
        Self::Full {
            code,
            content_type: "application/json",
            body: crate::render::encode(Encoding::Json, value),
        }
    }

    /// Objects that are made for the answer: Status, reviews, Scale.
    pub(crate) fn object(code: u16, value: Value) -> Self {
        Self::Object { code, value }
    }

    pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Self {
        Self::Full {
            code,
            content_type: "text/plain; charset=utf-8",
            body: text.into(),
        }
    }
}

/// What a write has led to.
#[derive(Debug)]
pub(crate) enum Written {
    /// This version is stored, or was the last one.
    Stored(Arc<Object>),
    /// The object is not stored: after a dry run, or because this write has removed it.
    Unstored(Value),
}

/// What happens to fields that are unknown or given twice (API-39, API-40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options that all writes share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
}

/// A request for a resource, taken apart.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a Arc<Core>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: &'a HeaderMap,
    /// On whose behalf it runs.
    pub(crate) user: Arc<User>,
    /// Ends watches that this request opens.
    pub(crate) stop: CancellationToken,
    pub(crate) body: Bytes,
    /// Members that the body has twice, as texts of strict decoding.
    pub(crate) duplicates: Vec<String>,
    /// Texts for `Warning` headers, each sent once (API-9).
    pub(crate) warnings: Vec<String>,
}

/// Answers a request for a resource.
pub(crate) async fn dispatch(call: &mut Call<'_>, method: &Method) -> Result<Answer, Failure> {
    let misplaced = if call.kind.namespaced {
        call.path.namespace.is_none() && call.path.name.is_some()
    } else {
        call.path.namespace.is_some()
    };
    if misplaced && call.kind.custom.is_some() {
        return Ok(crate::service::not_found_page());
    }
    check_scope(call, method)?;
    if call.kind.is_core("Endpoints") {
        call.warn(ENDPOINTS_DEPRECATED.to_owned());
    }
    if let Some(warning) = call
        .kind
        .custom
        .as_ref()
        .and_then(|custom| custom.deprecation.clone())
    {
        call.warn(warning);
    }
    if let Some(subresource) = call.path.subresource.clone() {
        return subresource_call(call, method, &subresource);
    }
    let single = call.path.name.is_some();
    let offered = |verb: &str| {
        let verbs = call.kind.offer.verbs(false);
        if verbs.contains(&verb) {
            check_request(call, method)
        } else {
            Err(Failure::method_not_allowed())
        }
    };
    match (method.as_str(), single) {
        ("GET", false) => {
            offered("list")?;
            if call.path.watch || call.query.flag("watch") {
                watch::watch(call)
            } else {
                read::list(call).await
            }
        }
        ("GET", true) if call.path.watch => watch::watch(call),
        ("GET", true) => {
            offered("get")?;
            read::get(call)
        }
        ("POST", false) if call.kind.offer == Offer::CreateOnly => {
            check_request(call, method)?;
            review::create(call)
        }
        ("POST", false) => {
            offered("create")?;
            admission::service_account::wait_for_default(call).await;
            create::create(call)
        }
        ("PUT", true) => {
            offered("update")?;
            update::update(call, update::Scope::Main)
        }
        ("PATCH", true) => {
            offered("patch")?;
            patch::patch(call, update::Scope::Main)
        }
        ("DELETE", true) => {
            offered("delete")?;
            delete::delete(call)
        }
        ("DELETE", false) => {
            offered("deletecollection")?;
            delete::delete_collection(call).await
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

/// Refuses what cannot be answered, or names nothing, before anything is done (API-2, API-4).
fn check_request(call: &Call<'_>, method: &Method) -> Result<(), Failure> {
    if call.kind.custom.is_none() {
        if method == Method::PATCH && !patch::BUILT_IN.contains(&call.media_type()) {
            return Err(Failure::unsupported_patch_type());
        }
        let is_collection = method == Method::GET && call.path.name.is_none();
        negotiation::check_media_types(call.header(header::ACCEPT), is_collection)?;
    }
    let name = call.path.name.as_deref().unwrap_or_default();
    let problem = match name {
        "." | ".." => Some(format!("may not be '{name}'")),
        name if name.contains('%') => Some("may not contain '%'".to_owned()),
        _ => None,
    };
    if let Some(problem) = problem {
        let name = gofmt::quote(name);
        return Err(Failure::bad_request(format!(
            "Name parameter invalid: {name}: {problem}"
        )));
    }
    call.accepted().map(drop)
}

/// Namespaced kinds need a namespace for everything but reading across namespaces; cluster-scoped ones have none.
fn check_scope(call: &Call<'_>, method: &Method) -> Result<(), Failure> {
    let across = call.path.namespace.is_none() && call.path.name.is_none();
    if call.kind.namespaced && call.path.namespace.is_none() {
        if across && (method == Method::GET || call.kind.offer == Offer::CreateOnly) {
            return Ok(());
        }
        return Err(if across {
            Failure::method_not_allowed()
        } else {
            Failure::unknown_resource()
        });
    }
    if call.kind.offer == Offer::CreateOnly && call.path.name.is_some() {
        return Err(Failure::unknown_resource());
    }
    // The prefix `watch/` only reads.
    if call.path.watch && method != Method::GET {
        return Err(Failure::method_not_allowed());
    }
    if !call.kind.namespaced && call.path.namespace.is_some() {
        return Err(Failure::unknown_resource());
    }
    Ok(())
}

fn subresource_call(call: &mut Call<'_>, method: &Method, subresource: &str) -> Result<Answer, Failure> {
    // The old path of a binding.
    let subresource = if call.kind.is_core("Pod") && subresource == "bindings" {
        "binding"
    } else {
        subresource
    };
    let Some(row) = call.kind.subresource(subresource) else {
        return Err(if call.kind.custom.is_some() {
            call.not_found()
        } else {
            Failure::unknown_resource()
        });
    };
    let verb = match method.as_str() {
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        _ => return Err(Failure::method_not_allowed()),
    };
    if !row.verbs.contains(&verb) {
        return Err(Failure::method_not_allowed());
    }
    if !matches!(subresource, "log" | "exec" | "attach" | "portforward") {
        check_request(call, method)?;
    }
    let scope = match subresource {
        "scale" => return scale::scale(call, method),
        "status" => update::Scope::Status,
        "finalize" => update::Scope::Finalize,
        "ephemeralcontainers" => update::Scope::EphemeralContainers,
        "resize" => update::Scope::Resize,
        "binding" => return pod::bind(call),
        "eviction" => return eviction::evict(call),
        "log" => return log::log(call),
        "exec" | "attach" | "portforward" => return pod::connect(call),
        "token" => return token::request(call),
        _ => return Err(Failure::unknown_resource()),
    };
    match verb {
        "get" => read::get(call),
        "update" => update::update(call, scope),
        "patch" => patch::patch(call, scope),
        _ => Err(Failure::method_not_allowed()),
    }
}

impl<'a> Call<'a> {
    /// A request of the server itself to a collection of `kind`, as administrator.
    pub(crate) fn of_server(
        core: &'a Arc<Core>,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        headers: &'a HeaderMap,
    ) -> Self {
        Self {
            core,
            kind: Arc::clone(kind),
            path: ResourcePath {
                group: kind.resource.group.to_string(),
                version: kind.resource.version.to_string(),
                resource: kind.resource.resource.to_string(),
                namespace: namespace.map(str::to_owned),
                name: None,
                subresource: None,
                watch: false,
            },
            query: Query::default(),
            headers,
            user: Arc::new(User::admin()),
            stop: CancellationToken::new(),
            body: Bytes::new(),
            duplicates: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl Call<'_> {
    /// Where the object of the URL is stored.
    pub(crate) fn key(&self) -> Key {
        let name = self.path.name.as_deref().unwrap_or_default();
        Key::new(self.path.namespace.as_deref().unwrap_or_default(), name)
    }

    /// The object of the URL.
    pub(crate) fn current(&self) -> Result<Arc<Object>, Failure> {
        self.core
            .store
            .get(&self.kind.table, &self.key())
            .ok_or_else(|| self.not_found())
    }

    pub(crate) fn not_found(&self) -> Failure {
        Failure::not_found(&self.kind.resource, self.path.name.as_deref().unwrap_or_default())
    }

    /// Media type of the body as it was sent, without its parameters.
    pub(crate) fn media_type(&self) -> &str {
        let content_type = self.header(header::CONTENT_TYPE).unwrap_or_default();
        content_type.split(';').next().unwrap_or_default().trim()
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How single objects are shown to the client.
    pub(crate) fn object_view(&self) -> Result<View, Failure> {
        let view = self.view()?;
        if matches!(view.accepted.form, Form::MetadataList { .. }) {
            return Err(Failure::wrong_form(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{})",
                self.kind.type_name()
            )));
        }
        Ok(view)
    }

    /// How lists are shown to the client.
    pub(crate) fn list_view(&self) -> Result<View, Failure> {
        let view = self.view()?;
        if matches!(view.accepted.form, Form::Metadata { .. }) {
            return Err(Failure::wrong_form(format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{}List)",
                self.kind.type_name()
            )));
        }
        Ok(view)
    }

    /// The representation that the client asks for.
    pub(crate) fn accepted(&self) -> Result<Accepted, Failure> {
        let is_custom = self.kind.custom.is_some();
        negotiation::accept(self.header(header::ACCEPT), |accepted| {
            let offered = if is_custom {
                accepted.is_custom()
            } else {
                accepted.is_built_in()
            };
            offered && accepted.form != Form::Discovery
        })
    }

    fn view(&self) -> Result<View, Failure> {
        let accepted = self.accepted()?;
        let include = match accepted.form {
            Form::Table { .. } => IncludeObject::parse(self.query.get("includeObject"))?,
            _ => IncludeObject::Metadata,
        };
        Ok(View {
            kind: Arc::clone(&self.kind),
            accepted,
            include,
            now: self.core.now(),
        })
    }

    /// The answer that shows one object.
    pub(crate) fn answer_object(&self, code: u16, written: &Written) -> Result<Answer, Failure> {
        let view = self.object_view()?;
        let body = match written {
            Written::Stored(object) => view.object(object),
            Written::Unstored(value) => view.value(value.clone()),
        };
        Ok(Answer::Full {
            code,
            content_type: content_type(view.accepted.encoding),
            body,
        })
    }

    /// Reads the options of a write; `kind` names them in errors (API-37, API-40, API-125, API-126).
    pub(crate) fn write_options(&self, kind: &'static str) -> Result<WriteOptions, Failure> {
        self.write_options_after(kind, Vec::new())
    }

    /// The same for a PATCH: an apply needs a manager, and only an apply can be forced (API-290).
    pub(crate) fn patch_options(&self, is_apply: bool) -> Result<WriteOptions, Failure> {
        let mut errors = Vec::new();
        if is_apply && self.query.get("fieldManager").is_empty() {
            errors.push(field_error(
                FieldErrorKind::Required,
                "fieldManager",
                "is required for apply patch",
            ));
        } else if !is_apply && self.query.has("force") {
            errors.push(field_error(
                FieldErrorKind::Forbidden,
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        self.write_options_after("PatchOptions", errors)
    }

    fn write_options_after(
        &self,
        kind: &'static str,
        mut errors: Vec<FieldError>,
    ) -> Result<WriteOptions, Failure> {
        let manager = self.query.get("fieldManager");
        if manager.len() > 128 {
            let detail = "may not be more than 128 bytes".to_owned();
            errors.push(field_error(FieldErrorKind::TooLong, "fieldManager", detail));
        } else if let Some((position, odd)) = manager.char_indices().find(|(_, c)| !gofmt::is_print(*c)) {
            let code = u32::from(odd);
            let detail = format!(
                "{}: invalid character U+{code:04X} (at position {position})",
                gofmt::quote(manager)
            );
            errors.push(field_error(FieldErrorKind::Invalid, "fieldManager", detail));
        }
        let dry_run = self.dry_run(&mut errors);
        let field_validation = match self.query.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let detail = format!(
                    "{}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
                    gofmt::quote(other)
                );
                errors.push(field_error(
                    FieldErrorKind::NotSupported,
                    "fieldValidation",
                    detail,
                ));
                FieldValidation::Warn
            }
        };
        if errors.is_empty() {
            Ok(WriteOptions {
                dry_run,
                field_validation,
            })
        } else {
            Err(Failure::invalid_option(kind, &errors))
        }
    }

    /// Whether the query asks for a dry run.
    pub(crate) fn dry_run(&self, errors: &mut Vec<FieldError>) -> bool {
        let values: Vec<&str> = self.query.all("dryRun").collect();
        check_dry_run(&values, errors)
    }

    /// Parses the body as an object (API-3, API-38).
    pub(crate) fn decode_body(&mut self) -> Result<Value, Failure> {
        let unsupported = || Failure::unsupported_media_type(negotiation::OFFERED);
        let content_type = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let media_type = negotiation::body_type(content_type).ok_or_else(unsupported)?;
        let parsed = match media_type.as_str() {
            "" | "application/json" => json::parse(&self.body).map_err(|error| error.to_string()),
            "application/yaml" => {
                let options = serde_saphyr::options! {
                    budget: serde_saphyr::budget! { max_depth: apply::body::DEEPEST },
                };
                apply::body::on_deep_stack(|| serde_saphyr::from_slice_with_options(&self.body, options))
                    .map(|object| (object, Vec::new()))
                    .map_err(|error| error.to_string())
            }
            protobuf::MEDIA_TYPE => return self.decode_protobuf(),
            _ => return Err(unsupported()),
        };
        match parsed {
            Ok((object @ Value::Object(_), duplicates)) => {
                self.duplicates = duplicates;
                Ok(object)
            }
            // Nothing is an object without members.
            Ok((Value::Null, _)) => Ok(Value::Object(serde_json::Map::new())),
            Ok(_) => Err(self.undecodable("the body must be an object")),
            Err(error) => Err(self.undecodable(&error)),
        }
    }

    /// Reads the body as protobuf (API-5). Custom resources have no such form, the options of their deletion do.
    fn decode_protobuf(&self) -> Result<Value, Failure> {
        let sent = protobuf::decode(&self.body, self.exchanged());
        let is_options = |object: &Value| json::text(object, &["kind"]) == "DeleteOptions";
        if self.kind.custom.is_some() && !sent.as_ref().is_ok_and(is_options) {
            return Err(Failure::unsupported_media_type(negotiation::OFFERED));
        }
        sent.map_err(|error| match error {
            protobuf::Error::Unrecognized(why) => Failure::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): {why} ({})",
                self.kind.gk.kind,
                summary(&self.body)
            )),
            protobuf::Error::UnknownKind {
                ref kind,
                ref version,
            } => Failure::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {}: {error}",
                self.kind.gk.kind
            )),
            protobuf::Error::Message(why) => self.undecodable(&why.to_string()),
        })
    }

    /// The built-in type of the objects that this path exchanges.
    fn exchanged(&self) -> Option<Node<'static>> {
        let row = self
            .path
            .subresource
            .as_deref()
            .and_then(|name| self.kind.subresource(name));
        let gvr = &self.kind.resource;
        let (group, version, kind) = match row {
            Some(row) if !row.kind.is_empty() => (
                row.group.unwrap_or(&gvr.group),
                row.version.unwrap_or(&gvr.version),
                row.kind,
            ),
            _ => (
                gvr.group.as_ref(),
                gvr.version.as_ref(),
                self.kind.gk.kind.as_ref(),
            ),
        };
        Types::built_in().kind(group, version, kind)
    }

    /// 400 for a body that does not parse (API-38).
    pub(crate) fn undecodable(&self, why: &str) -> Failure {
        let kind = &self.kind.gk.kind;
        let version = &self.kind.resource.version;
        Failure::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
        ))
    }

    pub(crate) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// The start of a body that is not recognised, for the message that says so (kube-apiserver 1.36: 30 bytes).
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let start = body.get(..SHOWN).unwrap_or(body);
    let mut text = if body.starts_with(b"{") {
        String::from_utf8_lossy(start).into_owned()
    } else {
        start
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };
    if start.len() < body.len() {
        text.push_str(" ...");
    }
    text
}

/// Whether these values of `dryRun` ask for a dry run (API-125).
pub(crate) fn check_dry_run(values: &[&str], errors: &mut Vec<FieldError>) -> bool {
    if values.iter().any(|value| *value != "All") {
        let listed: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("[{}]: supported values: \"All\"", listed.join(","));
        errors.push(field_error(FieldErrorKind::NotSupported, "dryRun", detail));
    }
    !values.is_empty()
}

pub(crate) fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Yaml => "application/yaml",
        Encoding::Protobuf => protobuf::MEDIA_TYPE,
    }
}

pub(crate) fn field_error(
    kind: FieldErrorKind,
    field: impl Into<String>,
    detail: impl Into<String>,
) -> FieldError {
    FieldError {
        kind,
        field: field.into(),
        detail: detail.into(),
    }
}
