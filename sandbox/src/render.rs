//! From stored versions to the bytes that a client asked for.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    crd, event,
    negotiation::{Accepted, Encoding, Form},
    protobuf,
    registry::Kind,
    status::Failure,
    store::{Object, Revision},
    table,
};

/// What the rows of a Table carry beside their cells (API-600).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    Metadata,
    Object,
    None,
}

impl IncludeObject {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            "None" => Ok(Self::None),
            other => Err(Failure::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be \
                 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// Metadata of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    pub(crate) revision: Revision,
    pub(crate) continue_token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

impl ListMeta {
    fn to_value(&self) -> Value {
        let mut meta = Map::new();
        meta.insert("resourceVersion".to_owned(), self.revision.to_string().into());
        if let Some(token) = &self.continue_token {
            meta.insert("continue".to_owned(), token.as_str().into());
        }
        if let Some(remaining) = self.remaining {
            meta.insert("remainingItemCount".to_owned(), remaining.into());
        }
        Value::Object(meta)
    }
}

/// How objects of a kind are shown to one client.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) kind: Arc<Kind>,
    pub(crate) accepted: Accepted,
    pub(crate) include: IncludeObject,
    pub(crate) now: Timestamp,
}

impl View {
    /// The stored object as the kind's API shows it, without `kind` and `apiVersion`.
    pub(crate) fn parse(&self, object: &Object) -> Value {
        served(&self.kind, object.parse_whole())
    }

    /// The body that answers a request for one object.
    pub(crate) fn object(&self, object: &Object) -> Bytes {
        if self.accepted == Accepted::JSON && is_served_as_stored(&self.kind, object) {
            let mut body = Vec::with_capacity(object.json().len() + 64);
            self.push_typed(&mut body, object);
            return body.into();
        }
        self.value(self.parse(object))
    }

    /// The body that answers a request for one object that is not stored (dry run).
    pub(crate) fn value(&self, object: Value) -> Bytes {
        self.encode(&self.transform(object, true))
    }

    /// The body of a list.
    pub(crate) fn list(&self, objects: &[Arc<Object>], meta: &ListMeta) -> Bytes {
        match self.accepted {
            Accepted {
                encoding: Encoding::Json,
                form: Form::Plain,
            } if objects
                .iter()
                .all(|object| is_served_as_stored(&self.kind, object)) =>
            {
                self.plain_list(objects, meta)
            }
            Accepted {
                encoding: Encoding::Protobuf,
                form: Form::Plain,
            } => {
                let items = objects.iter().map(|object| self.parse(object));
                let list = protobuf::list(
                    &self.kind.api_version(),
                    &self.kind.list_kind,
                    &meta.to_value(),
                    items,
                );
                list.unwrap_or_default().into()
            }
            Accepted {
                form: Form::Table { .. },
                ..
            } => {
                let rows: Vec<Value> = objects
                    .iter()
                    .map(|object| self.row(self.parse(object)))
                    .collect();
                let mut table = self.table(&rows, true, &meta.to_value());
                let is_plain = self.kind.custom.is_none() && !table::has_own_columns(&self.kind.gk);
                if rows.is_empty() && is_plain {
                    crate::json::set(&mut table, &[], "rows", Value::Null);
                }
                self.encode(&table)
            }
            Accepted {
                form: Form::MetadataList { .. },
                ..
            } => {
                let items: Vec<Value> = objects
                    .iter()
                    .map(|object| self.typed_metadata(object.parse_whole()))
                    .collect();
                self.encode(&json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": self.meta_version(),
                    "metadata": meta.to_value(),
                    // An empty list is null here, as upstream writes it.
                    "items": (!items.is_empty()).then_some(items),
                }))
            }
            Accepted { .. } => {
                let items: Vec<Value> = objects
                    .iter()
                    .map(|object| {
                        let value = self.parse(object);
                        if self.kind.custom.is_some() {
                            typed(&self.kind, value)
                        } else {
                            value
                        }
                    })
                    .collect();
                self.encode(&json!({
                    "kind": self.kind.list_kind, "apiVersion": self.kind.api_version(),
                    "metadata": self.list_meta(meta), "items": items,
                }))
            }
        }
    }

    /// Metadata of a list in the plain form: that of custom resources always has a `continue`.
    fn list_meta(&self, meta: &ListMeta) -> Value {
        let mut value = meta.to_value();
        if self.kind.custom.is_some() && meta.continue_token.is_none() {
            crate::json::set(&mut value, &[], "continue", "");
        }
        value
    }

    /// Joins the stored bytes of all items; nothing is parsed (API-190).
    fn plain_list(&self, objects: &[Arc<Object>], meta: &ListMeta) -> Bytes {
        let size: usize = objects.iter().map(|object| object.json().len() + 80).sum();
        let mut body = Vec::with_capacity(size + 256);
        body.extend_from_slice(b"{\"kind\":");
        push_string(&mut body, &self.kind.list_kind);
        body.extend_from_slice(b",\"apiVersion\":");
        push_string(&mut body, &self.kind.api_version());
        body.extend_from_slice(b",\"metadata\":");
        body.extend_from_slice(self.list_meta(meta).to_string().as_bytes());
        body.extend_from_slice(b",\"items\":[");
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            if self.kind.custom.is_some() {
                self.push_typed(&mut body, object);
            } else {
                body.extend_from_slice(object.json());
            }
        }
        body.extend_from_slice(b"]}\n");
        body.into()
    }

    /// One line of a watch; `first` tells whether a Table has to bring its columns (API-244).
    pub(crate) fn event(&self, event: &str, object: &Object, first: bool) -> Bytes {
        if self.accepted.encoding == Encoding::Protobuf {
            return self.event_of(event, &self.transform(self.parse(object), first));
        }
        let mut line = Vec::with_capacity(object.json().len() + 128);
        line.extend_from_slice(b"{\"type\":");
        push_string(&mut line, event);
        line.extend_from_slice(b",\"object\":");
        if self.accepted.form == Form::Plain && is_served_as_stored(&self.kind, object) {
            self.push_typed(&mut line, object);
        } else {
            let value = self.transform(self.parse(object), first);
            line.extend_from_slice(value.to_string().as_bytes());
        }
        line.extend_from_slice(b"}\n");
        line.into()
    }

    /// One event of a watch, about an object that is complete.
    pub(crate) fn event_of(&self, event: &str, object: &Value) -> Bytes {
        if self.accepted.encoding == Encoding::Protobuf {
            let object = protobuf::encode(object).unwrap_or_default();
            return protobuf::event(event, &object).into();
        }
        format!("{}\n", json!({"type": event, "object": object})).into()
    }

    /// A BOOKMARK line; `initial_end` marks the end of the initial events (API-235, API-236), `first` is as in
    /// [`event`](Self::event).
    pub(crate) fn bookmark(&self, revision: Revision, initial_end: bool, first: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            crate::json::set(
                &mut metadata,
                &["annotations"],
                "k8s.io/initial-events-end",
                "true",
            );
        }
        let object = match self.accepted.form {
            Form::Table { .. } => {
                // One row, for the object that is not there.
                let row = self.row(json!({"metadata": metadata}));
                self.table(&[row], first, &json!({"resourceVersion": revision.to_string()}))
            }
            Form::Metadata { .. } => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": self.meta_version(), "metadata": metadata})
            }
            _ => json!({
                "kind": self.kind.gk.kind, "apiVersion": self.kind.api_version(), "metadata": metadata,
            }),
        };
        self.event_of("BOOKMARK", &object)
    }

    fn transform(&self, object: Value, with_columns: bool) -> Value {
        match self.accepted.form {
            Form::Table { .. } => {
                let revision = object
                    .pointer("/metadata/resourceVersion")
                    .cloned()
                    .unwrap_or(Value::Null);
                self.table(
                    &[self.row(object)],
                    with_columns,
                    &json!({"resourceVersion": revision}),
                )
            }
            Form::Metadata { .. } | Form::MetadataList { .. } => self.typed_metadata(object),
            Form::Plain | Form::Discovery => typed(&self.kind, object),
        }
    }

    fn row(&self, object: Value) -> Value {
        let cells = match &self.kind.custom {
            Some(custom) => custom
                .columns
                .iter()
                .map(|column| column.cell(&object, self.now))
                .collect(),
            None => table::cells(&self.kind.gk, &object, self.now),
        };
        match self.include {
            IncludeObject::None => json!({"cells": cells, "object": null}),
            IncludeObject::Metadata => json!({"cells": cells, "object": self.typed_metadata(object)}),
            IncludeObject::Object => json!({"cells": cells, "object": typed(&self.kind, object)}),
        }
    }

    fn table(&self, rows: &[Value], with_columns: bool, metadata: &Value) -> Value {
        let columns = match (&self.kind.custom, with_columns) {
            (_, false) => Value::Null,
            (Some(custom), true) => custom
                .columns
                .iter()
                .map(|column| column.column.to_json())
                .collect(),
            (None, true) => table::columns(&self.kind.gk)
                .iter()
                .map(table::Column::to_json)
                .collect(),
        };
        json!({
            "kind": "Table", "apiVersion": self.meta_version(), "metadata": metadata, "columnDefinitions": columns, "rows": rows,
        })
    }

    /// Version of the forms of `meta.k8s.io` that was asked for.
    fn meta_version(&self) -> &'static str {
        match self.accepted.form {
            Form::Table { beta: true }
            | Form::Metadata { beta: true }
            | Form::MetadataList { beta: true } => "meta.k8s.io/v1beta1",
            _ => "meta.k8s.io/v1",
        }
    }

    fn typed_metadata(&self, object: Value) -> Value {
        let mut object = partial_metadata(object);
        if let Some(members) = object.as_object_mut() {
            members.insert("kind".to_owned(), "PartialObjectMetadata".into());
            members.insert("apiVersion".to_owned(), self.meta_version().into());
        }
        object
    }

    fn push_typed(&self, body: &mut Vec<u8>, object: &Object) {
        body.extend_from_slice(b"{\"kind\":");
        push_string(body, &self.kind.gk.kind);
        body.extend_from_slice(b",\"apiVersion\":");
        push_string(body, &self.kind.api_version());
        body.push(b',');
        body.extend_from_slice(object.json().get(1..).unwrap_or_default());
    }

    fn encode(&self, value: &Value) -> Bytes {
        encode(self.accepted.encoding, value)
    }
}

/// Writes a value in an encoding.
pub(crate) fn encode(encoding: Encoding, value: &Value) -> Bytes {
    match encoding {
        Encoding::Json => format!("{value}\n").into(),
        // JSON is YAML: the rare value that the YAML writer cannot express still arrives.
        Encoding::Yaml => serde_saphyr::to_string(value)
            .unwrap_or_else(|_| value.to_string())
            .into(),
        // Only what has a protobuf form is negotiated in it.
        Encoding::Protobuf => protobuf::encode(value).unwrap_or_default().into(),
    }
}

fn push_string(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(Value::from(text).to_string().as_bytes());
}

/// Whether the stored bytes are what the API of `kind` shows.
fn is_served_as_stored(kind: &Kind, object: &Object) -> bool {
    match &kind.custom {
        Some(custom) => custom.settled.is_some_and(|settled| object.revision > settled),
        None => !kind.is_new_event,
    }
}

/// The stored form of an object as the API of `kind` shows it.
pub(crate) fn served(kind: &Kind, mut object: Value) -> Value {
    match &kind.custom {
        Some(custom) => {
            crd::on_read(custom, &mut object);
            object
        }
        None if kind.is_new_event => event::to_new(object),
        None => object,
    }
}

/// Adds `kind` and `apiVersion`.
pub(crate) fn typed(kind: &Kind, mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert("kind".to_owned(), kind.gk.kind.as_ref().into());
        members.insert("apiVersion".to_owned(), kind.api_version().into());
    }
    object
}

fn partial_metadata(mut object: Value) -> Value {
    json!({"metadata": object.get_mut("metadata").map(Value::take)})
}
