//! Schemas of types: structure from the table of types, texts from [`Descriptions`].

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use crate::{
    json,
    registry::Kind,
    schema::{Field, ListType, Node, Scalar, Shape, Types, Untyped},
};

/// Form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.0.
    V3,
}

const RESOURCE: &str = "io.k8s.apimachinery.pkg.api.resource";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// The schemas of one document: those that something in it refers to.
pub(super) struct Schemas {
    dialect: Dialect,
    descriptions: Descriptions,
    /// By name.
    made: BTreeMap<String, Value>,
}

impl Schemas {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            descriptions: Descriptions::read(),
            made: BTreeMap::new(),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) fn finish(self) -> Value {
        self.made.into_iter().collect::<Map<_, _>>().into()
    }

    /// A reference to the schema of a kind; built-in kinds by group, version and kind.
    pub(super) fn built_in(&mut self, group: &str, version: &str, kind: &str) -> Option<Value> {
        let node = Types::built_in().kind(group, version, kind)?;
        Some(self.reference(node))
    }

    /// A reference to the type of patches.
    pub(super) fn patch(&mut self) -> Value {
        let text = "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.";
        self.special(
            &format!("{META}.Patch"),
            json!({"type": "object", "description": text}),
        )
    }

    /// References to the schema of a served kind and of its lists.
    pub(super) fn kind(&mut self, kind: &Kind) -> (Value, Value) {
        let (group, version) = (&kind.resource.group, &kind.resource.version);
        match &kind.custom {
            None => {
                let open = || json!({"type": "object"});
                (
                    self.built_in(group, version, &kind.gk.kind).unwrap_or_else(open),
                    self.built_in(group, version, &kind.list_kind)
                        .unwrap_or_else(open),
                )
            }
            Some(custom) => self.custom(kind, &custom.schema),
        }
    }

    fn link(&self, name: &str) -> Value {
        let place = match self.dialect {
            Dialect::V2 => "definitions",
            Dialect::V3 => "components/schemas",
        };
        json!({"$ref": format!("#/{place}/{name}")})
    }

    fn special(&mut self, name: &str, schema: Value) -> Value {
        self.made.entry(name.to_owned()).or_insert(schema);
        self.link(name)
    }

    /// A reference to a struct, whose schema is made if it is the first.
    fn reference(&mut self, node: Node<'_>) -> Value {
        let Some(definition) = node.definition() else {
            return json!({"type": "object"});
        };
        let name = format!("{}.{}", definition.prefix, definition.name);
        if !self.made.contains_key(&name) {
            // Stands for it while its own members refer to it.
            self.made.insert(name.clone(), Value::Null);
            let schema = self.object(&name, node);
            self.made.insert(name.clone(), schema);
        }
        self.link(&name)
    }

    fn object(&mut self, name: &str, node: Node<'_>) -> Value {
        let mut schema = Map::new();
        if let Some(text) = self.descriptions.of_type(name) {
            schema.insert("description".to_owned(), text.into());
        }
        schema.insert("type".to_owned(), "object".into());
        let mut required = Vec::new();
        let mut properties = Map::new();
        for (field, member) in node.members() {
            if field.facts.required {
                required.push(Value::from(field.name.as_ref()));
            }
            let text = self.descriptions.of_member(name, &field.name).map(str::to_owned);
            let property = self.member(node, field, member, text);
            properties.insert(field.name.to_string(), property);
        }
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), Value::Object(properties));
        }
        if !required.is_empty() {
            schema.insert("required".to_owned(), Value::Array(required));
        }
        if let Some(definition) = node.definition() {
            if let Some((group, version)) = definition.group_version {
                let gvk = json!([{"group": group, "version": version, "kind": definition.name}]);
                schema.insert("x-kubernetes-group-version-kind".to_owned(), gvk);
            }
            if matches!(node.shape(), Shape::Struct { atomic: true }) {
                schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
            }
        }
        Value::Object(schema)
    }

    /// The schema of a member, with what is said about it beside its type.
    fn member(&mut self, parent: Node<'_>, field: &Field, node: Node<'_>, text: Option<String>) -> Value {
        let facts = &field.facts;
        let mut beside = Map::new();
        let mut say = |name: &str, value: Value| beside.insert(name.to_owned(), value);
        if let Some(text) = text {
            say("description", text.into());
        }
        let is_struct = matches!(node.shape(), Shape::Struct { .. });
        if self.dialect == Dialect::V3 {
            match parent.default_of(&field.name) {
                Some(default) => {
                    say("default", default);
                }
                None if is_struct && !facts.pointer => {
                    say("default", json!({}));
                }
                None => {}
            }
        }
        match node.shape() {
            // The items of lists of objects are not owned at all.
            Shape::List { .. } if field.name == "items" && is_list_kind(parent) => {}
            Shape::List { list, .. } => {
                let (name, keys) = match list {
                    ListType::Atomic => ("atomic", None),
                    ListType::Set => ("set", None),
                    ListType::Map(keys) => (
                        "map",
                        Some(keys.iter().map(|key| key.name.as_ref()).collect::<Vec<_>>()),
                    ),
                };
                say("x-kubernetes-list-type", name.into());
                if let Some(keys) = keys {
                    say("x-kubernetes-list-map-keys", keys.into());
                }
            }
            Shape::Map { atomic: true, .. } => {
                say("x-kubernetes-map-type", "atomic".into());
            }
            _ => {}
        }
        if let Some(patch) = facts.patch {
            say("x-kubernetes-patch-strategy", patch.strategies.into());
            if let Some(key) = patch.merge_key {
                say("x-kubernetes-patch-merge-key", key.into());
            }
        }
        let mut schema = self.value(node);
        if !facts.allowed.is_empty() {
            let path: &[&str] = if matches!(node.shape(), Shape::List { .. }) {
                &["items"]
            } else {
                &[]
            };
            json::set(&mut schema, path, "enum", facts.allowed.clone());
        }
        self.beside(schema, beside)
    }

    /// In OpenAPI 3 nothing may stand beside a reference.
    fn beside(&self, schema: Value, beside: Map<String, Value>) -> Value {
        let mut schema = match schema {
            Value::Object(members)
                if self.dialect == Dialect::V3 && !beside.is_empty() && members.contains_key("$ref") =>
            {
                Map::from_iter([("allOf".to_owned(), json!([members]))])
            }
            Value::Object(members) => members,
            _ => Map::new(),
        };
        schema.extend(beside);
        Value::Object(schema)
    }

    fn value(&mut self, node: Node<'_>) -> Value {
        match node.shape() {
            Shape::Scalar(scalar) => self.scalar(scalar, node.is_wide()),
            Shape::Struct { .. } => self.reference(node),
            Shape::Map { values, .. } => {
                json!({"type": "object", "additionalProperties": self.value(values)})
            }
            Shape::List { items, .. } => json!({"type": "array", "items": self.value(items)}),
            Shape::Untyped => self.untyped(node.untyped()),
        }
    }

    fn scalar(&mut self, scalar: Scalar, wide: bool) -> Value {
        let either = |v2: Value, v3: Value| match self.dialect {
            Dialect::V2 => v2,
            Dialect::V3 => v3,
        };
        match scalar {
            Scalar::String => json!({"type": "string"}),
            Scalar::Integer => json!({"type": "integer", "format": if wide { "int64" } else { "int32" }}),
            Scalar::Number => json!({"type": "number", "format": "double"}),
            Scalar::Boolean => json!({"type": "boolean"}),
            Scalar::Bytes => json!({"type": "string", "format": "byte"}),
            Scalar::Quantity => {
                let schema = either(
                    json!({"type": "string"}),
                    json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
                );
                self.described(&format!("{RESOURCE}.Quantity"), schema)
            }
            Scalar::IntOrString => {
                let schema = either(
                    json!({"type": "string", "format": "int-or-string"}),
                    json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
                );
                self.described("io.k8s.apimachinery.pkg.util.intstr.IntOrString", schema)
            }
            Scalar::Time => self.described(
                &format!("{META}.Time"),
                json!({"type": "string", "format": "date-time"}),
            ),
            Scalar::MicroTime => self.described(
                &format!("{META}.MicroTime"),
                json!({"type": "string", "format": "date-time"}),
            ),
        }
    }

    fn described(&mut self, name: &str, mut schema: Value) -> Value {
        if let Some(text) = self.descriptions.of_type(name) {
            json::set(&mut schema, &[], "description", text);
        }
        self.special(name, schema)
    }

    fn untyped(&mut self, untyped: Option<Untyped>) -> Value {
        let (name, schema) = match untyped {
            None => return json!({}),
            Some(Untyped::Json) => (format!("{EXTENSIONS}.JSON"), json!({})),
            Some(Untyped::Fields) => (format!("{META}.FieldsV1"), json!({"type": "object"})),
            Some(Untyped::Raw) => (
                "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(),
                json!({"type": "object"}),
            ),
            Some(Untyped::SchemaOrArray) => (format!("{EXTENSIONS}.JSONSchemaPropsOrArray"), json!({})),
            Some(Untyped::SchemaOrBool) => (format!("{EXTENSIONS}.JSONSchemaPropsOrBool"), json!({})),
            Some(Untyped::SchemaOrStrings) => {
                (format!("{EXTENSIONS}.JSONSchemaPropsOrStringArray"), json!({}))
            }
        };
        self.described(&name, schema)
    }

    /// The schema of a custom resource is that of its definition, with what all objects have.
    fn custom(&mut self, kind: &Kind, schema: &Value) -> (Value, Value) {
        let reversed: Vec<&str> = kind.resource.group.rsplit('.').collect();
        let prefix = format!("{}.{}", reversed.join("."), kind.resource.version);
        let name = format!("{prefix}.{}", kind.gk.kind);
        let list_name = format!("{prefix}.{}", kind.list_kind);
        let gvk = |kind_name: &str| json!([{"group": kind.resource.group, "version": kind.resource.version, "kind": kind_name}]);
        let types = Types::built_in();
        // What all objects have is described alike in all types.
        let text = |member: &str| {
            let text = self.descriptions.of_member("io.k8s.api.core.v1.Pod", member);
            text.unwrap_or_default().to_owned()
        };
        let (version_text, kind_text, metadata_text) = (text("apiVersion"), text("kind"), text("metadata"));
        let own = |properties: &mut Value, metadata: Value| {
            json::set(
                properties,
                &[],
                "apiVersion",
                json!({"type": "string", "description": version_text}),
            );
            json::set(
                properties,
                &[],
                "kind",
                json!({"type": "string", "description": kind_text}),
            );
            json::set(properties, &[], "metadata", metadata);
        };
        let mut object = if schema.is_object() {
            schema.clone()
        } else {
            json!({"x-kubernetes-preserve-unknown-fields": true})
        };
        if self.dialect == Dialect::V2 {
            strip_for_v2(&mut object);
        }
        let about = Map::from_iter([("description".to_owned(), metadata_text.into())]);
        let metadata = types
            .named("meta.v1", "ObjectMeta")
            .map(|node| self.reference(node));
        let metadata = self.beside(metadata.unwrap_or_default(), about.clone());
        let mut properties = object.get("properties").cloned().unwrap_or_else(|| json!({}));
        own(&mut properties, metadata);
        json::set(&mut object, &[], "type", "object");
        json::set(&mut object, &[], "properties", properties);
        json::set(
            &mut object,
            &[],
            "x-kubernetes-group-version-kind",
            gvk(&kind.gk.kind),
        );
        let object = self.special(&name, object);
        let metadata = types
            .named("meta.v1", "ListMeta")
            .map(|node| self.reference(node));
        let metadata = self.beside(metadata.unwrap_or_default(), about);
        let mut properties = json!({"items": {
            "type": "array", "items": object,
            "description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", kind.resource.resource),
        }});
        own(&mut properties, metadata);
        let list = json!({
            "type": "object", "description": format!("{} is a list of {}", kind.list_kind, kind.gk.kind),
            "required": ["items"], "properties": properties,
            "x-kubernetes-group-version-kind": gvk(&kind.list_kind),
        });
        (object, self.special(&list_name, list))
    }
}

/// Whether a type is a list of objects of a kind.
fn is_list_kind(node: Node<'_>) -> bool {
    node.definition()
        .is_some_and(|definition| definition.group_version.is_some() && definition.name.ends_with("List"))
}

/// Takes out what Swagger 2.0 cannot say.
fn strip_for_v2(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else {
        return;
    };
    for name in [
        "allOf",
        "anyOf",
        "default",
        "not",
        "nullable",
        "oneOf",
        "x-kubernetes-validations",
    ] {
        members.remove(name);
    }
    for name in ["additionalProperties", "items"] {
        if let Some(below) = members.get_mut(name) {
            strip_for_v2(below);
        }
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(strip_for_v2);
    }
}
