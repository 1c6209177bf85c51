//! Starting from the dump of a cluster: what `kubectl get … -o yaml` (or `-o json`) prints, with any number of kinds,
//! lists and documents.
//!
//! An object with a uid comes from a cluster and is stored as it is: uid, times, generation, status, owners, addresses and
//! node names stay, only the resource version is new. Its types are checked and unknown fields dropped, as for any request;
//! admission, defaults of creation and rules between fields are left out, for a server has accepted it already. An object
//! without a uid is a manifest: it is created as a request would create it. Nothing is refused because of something else
//! that is refused.
//!
//! Three things are changed, so that the copy lives:
//! - nodes are marked as simulated, and those that were not ready stay silent (see [`crate::nodes`]);
//! - namespaces of which the dump only has the content are created;
//! - references to owners that are not in the dump are dropped, or garbage collection would remove their objects.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashSet;
use serde_json::{Value, json};

use crate::{
    bootstrap, crd, json,
    names::GroupKind,
    nodes::{DOWN, SIMULATED},
    registry::{Kind, Offer, api_version},
    server::{Core, Server},
    services,
    store::Key,
    verbs::{
        Call, FieldValidation, WriteOptions,
        create::{create_object, decode, default, draft},
    },
};

/// Objects of dumps, in the order in which they are to be stored.
#[derive(Debug, Default)]
pub struct Dump {
    entries: Vec<Entry>,
    refused: Vec<Refused>,
}

/// One object of a dump.
#[derive(Debug)]
struct Entry {
    place: Place,
    object: Value,
}

/// Where something stands in the dumps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    file: Arc<str>,
    /// Counted from 1.
    document: usize,
    /// Number in a list, from 1.
    item: Option<usize>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, document {}", self.file, self.document)?;
        match self.item {
            Some(item) => write!(f, ", item {item}"),
            None => Ok(()),
        }
    }
}

/// Something of a dump that was not stored. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {object}: {why}")]
pub struct Refused {
    /// File and number of the document.
    pub place: String,
    /// Kind and name, as far as they are known.
    pub object: String,
    /// Why.
    pub why: String,
}

/// What became of dumps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of objects that are stored.
    pub loaded: usize,
    /// Names of nodes among them.
    pub nodes: Vec<String>,
    /// What was not stored.
    pub refused: Vec<Refused>,
    /// What was stored, but not as it was in the dump.
    pub changed: Vec<String>,
}

impl Dump {
    /// Reads the text of a file, YAML or JSON; `file` names it in the report. What does not parse is noted, the rest goes
    /// on with the next document.
    pub fn read(&mut self, file: &str, text: &str) {
        let file: Arc<str> = file.into();
        let mut number = 0;
        let blank = |line: &str| line.trim().is_empty() || line.starts_with('#');
        for document in documents(text)
            .into_iter()
            .filter(|document| !document.lines().all(blank))
        {
            for parsed in parse(document) {
                number += 1;
                let place = Place {
                    file: Arc::clone(&file),
                    document: number,
                    item: None,
                };
                match parsed {
                    Ok(object) => self.add(place, object),
                    Err(why) => self.refuse(&place, "no object".to_owned(), why),
                }
            }
        }
    }

    fn add(&mut self, place: Place, mut object: Value) {
        let list = json::text(&object, &["kind"])
            .strip_suffix("List")
            .map(|item| (json::text(&object, &["apiVersion"]).to_owned(), item.to_owned()));
        let items = object
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .map(std::mem::take);
        let (Some((version, kind)), Some(items)) = (list, items) else {
            self.entries.push(Entry { place, object });
            return;
        };
        for (index, mut item) in items.into_iter().enumerate() {
            // Items of a list of one kind need not name it.
            if !kind.is_empty()
                && item.get("kind").is_none()
                && let Some(members) = item.as_object_mut()
            {
                members.insert("apiVersion".to_owned(), version.as_str().into());
                members.insert("kind".to_owned(), kind.as_str().into());
            }
            let place = Place {
                item: Some(index + 1),
                ..place.clone()
            };
            self.add(place, item);
        }
    }

    fn refuse(&mut self, place: &Place, object: String, why: String) {
        self.refused.push(Refused {
            place: place.to_string(),
            object,
            why,
        });
    }
}

/// The documents of a YAML stream: what stands between lines that begin with `---`. Those are markers wherever they are, as
/// text of a document is indented.
fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            documents.push(text.get(start..at).unwrap_or_default());
            start = at + 3;
        }
        at += line.len();
    }
    documents.push(text.get(start..).unwrap_or_default());
    documents
}

/// The values of one document. Several JSON objects may follow each other.
fn parse(document: &str) -> Vec<Result<Value, String>> {
    if document.trim_start().starts_with('{') {
        let values: Vec<_> = serde_json::Deserializer::from_str(document).into_iter().collect();
        if values.first().is_some_and(Result::is_ok) {
            return values
                .into_iter()
                .map(|value| value.map_err(|error| error.to_string()))
                .collect();
        }
    }
    // The default limits are for input from strangers: they end at some thousand objects.
    let options = serde_saphyr::options! { budget: None };
    vec![serde_saphyr::from_str_with_options(document, options).map_err(|error| error.to_string())]
}

/// Definitions come before what they define, namespaces before their content.
fn rank(object: &Value) -> u8 {
    match (json::text(object, &["apiVersion"]), json::text(object, &["kind"])) {
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => 0,
        ("v1", "Namespace") => 1,
        _ => 2,
    }
}

fn describe(object: &Value) -> String {
    let kind = json::text(object, &["kind"]);
    let name = json::text(object, &["metadata", "name"]);
    match json::text(object, &["metadata", "namespace"]) {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

impl Server {
    /// Stores the objects of dumps; one that exists is replaced. Meant to be called before anything else uses the server.
    #[must_use]
    pub fn load(&self, mut dump: Dump) -> Report {
        let mut entries = std::mem::take(&mut dump.entries);
        entries.sort_by_key(|entry| rank(&entry.object));
        let mut loading = Loading {
            core: &self.core,
            report: Report::default(),
            unknown: BTreeMap::new(),
            owned: Vec::new(),
        };
        for Entry { place, mut object } in entries {
            let description = describe(&object);
            match loading.store(&mut object) {
                Ok(()) => loading.report.loaded += 1,
                Err(why) => dump.refuse(&place, description, why),
            }
        }
        loading.drop_missing_owners();
        let mut report = loading.report;
        for (field, count) in loading.unknown {
            let text = format!("{field} is not known here and was dropped from {count} objects");
            report.changed.push(text);
        }
        report.refused = dump.refused;
        report
    }

    /// Names of all nodes that a simulation runs.
    #[must_use]
    pub fn simulated_nodes(&self) -> Vec<String> {
        let nodes = self.core.store.list(&"nodes".into(), None, None).objects;
        let ours = nodes
            .iter()
            .filter(|node| json::text(&node.parse(), &["metadata", "labels", SIMULATED]) == "true");
        ours.map(|node| node.key.name.to_string()).collect()
    }
}

struct Loading<'a> {
    core: &'a Arc<Core>,
    report: Report,
    /// Unknown fields and how many objects have them.
    unknown: BTreeMap<String, usize>,
    /// Objects with owners.
    owned: Vec<(Arc<Kind>, Key)>,
}

impl Loading<'_> {
    fn store(&mut self, object: &mut Value) -> Result<(), String> {
        let kind = self.kind(object)?;
        if json::text(object, &["metadata", "name"]).is_empty() {
            return Err("it has no name".to_owned());
        }
        let namespace = kind.namespaced.then(|| {
            let named = json::text(object, &["metadata", "namespace"]);
            (if named.is_empty() { "default" } else { named }).to_owned()
        });
        if let Some(namespace) = &namespace {
            self.ensure_namespace(namespace)?;
        }
        let is_copy = !json::text(object, &["metadata", "uid"]).is_empty();
        if kind.is_core("Node") {
            self.simulate(object, is_copy);
        }
        let headers = bootstrap::headers();
        let mut call = Call::of_server(self.core, &kind, namespace.as_deref(), &headers);
        let options = WriteOptions {
            dry_run: false,
            field_validation: FieldValidation::Warn,
        };
        if is_copy {
            copy(&mut call, object, namespace.as_deref())?;
            if !json::list(object, &["metadata", "ownerReferences"]).is_empty() {
                let name = json::text(object, &["metadata", "name"]);
                let key = Key::new(namespace.as_deref().unwrap_or_default(), name);
                self.owned.push((Arc::clone(&kind), key));
            }
        } else {
            create_object(&mut call, object.take(), options, None).map_err(|failure| failure.message)?;
        }
        for warning in std::mem::take(&mut call.warnings) {
            if let Some(field) = warning.strip_prefix("unknown field ") {
                let field = format!("{} {field}", kind.gk.kind);
                *self.unknown.entry(field).or_default() += 1;
            }
        }
        Ok(())
    }

    fn kind(&self, object: &Value) -> Result<Arc<Kind>, String> {
        let version = json::text(object, &["apiVersion"]);
        let name = json::text(object, &["kind"]);
        if version.is_empty() || name.is_empty() {
            return Err("it has no apiVersion or kind".to_owned());
        }
        let kinds = self.core.registry.kinds();
        let found = kinds.iter().find(|kind| {
            kind.gk.kind == name && api_version(&kind.gk.group, &kind.resource.version) == version
        });
        match found {
            Some(kind) if kind.offer != Offer::CreateOnly => Ok(Arc::clone(kind)),
            _ => Err(format!("kind {name} of {version} is not stored here")),
        }
    }

    fn ensure_namespace(&mut self, name: &str) -> Result<(), String> {
        let kinds = self.core.registry.kinds();
        let (Some(kind), None) = (
            kinds.get("", "v1", "namespaces"),
            self.core.store.get(&"namespaces".into(), &Key::new("", name)),
        ) else {
            return Ok(());
        };
        let headers = bootstrap::headers();
        let mut call = Call::of_server(self.core, kind, None, &headers);
        let options = WriteOptions {
            dry_run: false,
            field_validation: FieldValidation::Ignore,
        };
        create_object(&mut call, json!({"metadata": {"name": name}}), options, None)
            .map_err(|failure| failure.message)?;
        let text = format!("namespace {name} was not in the dump before its content and was created");
        self.report.changed.push(text);
        Ok(())
    }

    /// Gives a node to the simulation. One that was not ready stays silent, as it was.
    fn simulate(&mut self, node: &mut Value, is_copy: bool) {
        let ready = json::list(node, &["status", "conditions"])
            .iter()
            .find(|condition| json::text(condition, &["type"]) == "Ready")
            .map(|ready| json::text(ready, &["status"]) == "True");
        let name = json::text(node, &["metadata", "name"]).to_owned();
        json::set(node, &["metadata", "labels"], SIMULATED, "true");
        if is_copy && ready == Some(false) {
            json::set(node, &["metadata", "annotations"], DOWN, "true");
            let text = format!("node {name} is not ready and stays silent: annotation {DOWN}");
            self.report.changed.push(text);
        }
        self.report.nodes.push(name);
    }

    /// Owners that nobody knows would make garbage collection remove what they own.
    fn drop_missing_owners(&mut self) {
        let kinds = self.core.registry.kinds();
        let owners: FxHashSet<GroupKind> = kinds.iter().map(|kind| kind.gk.clone()).collect();
        let tables: FxHashSet<_> = kinds.iter().map(|kind| Arc::clone(&kind.table)).collect();
        let store = &self.core.store;
        let objects = tables
            .iter()
            .flat_map(|table| store.list(table, None, None).objects);
        let uids: FxHashSet<String> = objects
            .map(|object| json::text(&object.parse(), &["metadata", "uid"]).to_owned())
            .collect();
        let mut dropped = 0;
        for (kind, key) in std::mem::take(&mut self.owned) {
            let Some(stored) = store.get(&kind.table, &key) else {
                continue;
            };
            let mut object = stored.parse();
            let references = json::list(&object, &["metadata", "ownerReferences"]);
            let kept: Vec<Value> = references
                .iter()
                .filter(|owner| {
                    let version = json::text(owner, &["apiVersion"]);
                    let group = version.split_once('/').map_or("", |(group, _)| group);
                    let owner_kind =
                        GroupKind::new(group.to_owned(), json::text(owner, &["kind"]).to_owned());
                    uids.contains(json::text(owner, &["uid"])) || !owners.contains(&owner_kind)
                })
                .cloned()
                .collect();
            if kept.len() == references.len() {
                continue;
            }
            dropped += references.len() - kept.len();
            json::set(&mut object, &["metadata"], "ownerReferences", kept);
            // Nobody else writes yet.
            let draft = draft(&kind, &object, stored.managed_fields());
            let _ = store.replace(&kind.table, &key, stored.revision, &draft);
        }
        if dropped > 0 {
            let text = format!("{dropped} references to owners that are not in the dump were dropped");
            self.report.changed.push(text);
        }
    }
}

/// Stores an object as it was in its cluster.
fn copy(call: &mut Call<'_>, object: &mut Value, namespace: Option<&str>) -> Result<(), String> {
    let kind = Arc::clone(&call.kind);
    if let Some(metadata) = json::map_mut(object, &["metadata"]) {
        for member in ["resourceVersion", "selfLink"] {
            metadata.remove(member);
        }
        metadata.retain(|_, value| !value.is_null());
        if namespace.is_none() {
            metadata.remove("namespace");
        }
    }
    let managed_fields = json::remove(object, &["metadata"], "managedFields")
        .filter(Value::is_array)
        .map_or_else(String::new, |fields| fields.to_string());
    decode(call, object, FieldValidation::Warn)?;
    default(call, object);
    let key = Key::new(
        namespace.unwrap_or_default(),
        json::text(object, &["metadata", "name"]),
    );
    let store = &call.core.store;
    let draft = draft(&kind, object, managed_fields.as_bytes());
    let written = match store.get(&kind.table, &key) {
        Some(present) => {
            services::release(call.core, &kind, &present.parse());
            store.replace(&kind.table, &key, present.revision, &draft)
        }
        None => store.create(&kind.table, &key, &draft),
    };
    written.map_err(|error| error.to_string())?;
    services::adopt(call.core, &kind, &key, object);
    crd::after_write(call.core, &kind, &key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn load(text: &str) -> (Server, Report) {
        let server = Server::start(Config::default()).unwrap();
        let mut dump = Dump::default();
        dump.read("dump.yaml", text);
        let report = server.load(dump);
        (server, report)
    }

    fn stored(server: &Server, table: &str, namespace: &str, name: &str) -> Value {
        let stored = server.core.store.get(&table.into(), &Key::new(namespace, name));
        let mut object = stored.unwrap().parse();
        json::remove(&mut object, &["metadata"], "resourceVersion");
        object
    }

    #[test]
    fn api_683_a_dump_stays_as_it_was() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web-1", "namespace": "shop", "uid": "u-1", "resourceVersion": "812",
                "creationTimestamp": "2024-03-01T08:00:00Z", "generation": 3, "labels": {"app": "web"},
            },
            "spec": {"nodeName": "ip-10-1-2-3", "containers": [{"name": "c", "image": "i:1"}]},
            "status": {"phase": "Running", "podIP": "192.168.7.7", "startTime": "2024-03-01T08:00:02Z"},
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-2"},
            "spec": {"clusterIP": "172.20.0.9", "clusterIPs": ["172.20.0.9"], "ports": [{"port": 80}]},
        });
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "u-0"}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod, service, namespace]});
        let (server, report) = load(&list.to_string());
        assert_eq!(
            (report.loaded, report.refused, report.changed),
            (3, vec![], vec![])
        );
        let found = stored(&server, "pods", "shop", "web-1");
        for member in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "generation",
            "labels",
        ] {
            assert_eq!(found["metadata"][member], pod["metadata"][member]);
        }
        assert_eq!(found["status"]["phase"], "Running");
        assert_eq!(found["status"]["podIP"], "192.168.7.7");
        assert_eq!(found["spec"]["nodeName"], "ip-10-1-2-3");
        assert_eq!(found.get("kind"), None);
        let found = stored(&server, "services", "shop", "web");
        assert_eq!(found["spec"]["clusterIP"], "172.20.0.9");
        assert_eq!(
            stored(&server, "namespaces", "", "shop")["metadata"]["uid"],
            "u-0"
        );
    }

    #[test]
    fn api_683_what_is_broken_is_named_and_the_rest_goes_on() {
        let (_server, report) = load(
            "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n\
             data:\n  text: |\n    --- not a marker\n---\napiVersion: v1\nkind: [\n---\nkind: Nothing\napiVersion: x/v1\n\
             metadata: {name: some}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, uid: u}\ndata: {k: [1]}\n\
             ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, uid: v}\nextra: 1\n---\n",
        );
        let lines: Vec<String> = report.refused.iter().map(ToString::to_string).collect();
        assert_eq!((report.loaded, lines.len()), (2, 3), "{lines:#?}");
        for (line, start) in lines.iter().zip([
            "dump.yaml, document 2: no object: ",
            "dump.yaml, document 3: Nothing some: kind Nothing of x/v1 is not stored here",
            "dump.yaml, document 4: ConfigMap b: ",
        ]) {
            assert!(line.starts_with(start), "{line}");
        }
        assert_eq!(
            report.changed,
            ["ConfigMap \"extra\" is not known here and was dropped from 1 objects"]
        );
    }

    #[test]
    fn api_683_definitions_come_first_and_owners_that_are_missing_go() {
        let widget = json!({
            "apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": {"name": "w", "namespace": "n", "uid": "u-1", "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u-9"},
                {"apiVersion": "v1", "kind": "Namespace", "name": "n", "uid": "u-2"},
                {"apiVersion": "other.io/v1", "kind": "Unknown", "name": "x", "uid": "u-8"},
            ]},
            "spec": {"n": 1},
        });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        });
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "uid": "u-2"}});
        // JSON objects one after the other.
        let (server, report) = load(&format!("{widget}\n{definition}\n{namespace}\n"));
        assert_eq!((report.loaded, report.refused), (3, vec![]));
        assert_eq!(
            report.changed,
            ["1 references to owners that are not in the dump were dropped"]
        );
        let found = stored(&server, "widgets.example.com", "n", "w");
        let owners: Vec<&str> = json::list(&found, &["metadata", "ownerReferences"])
            .iter()
            .map(|owner| json::text(owner, &["uid"]))
            .collect();
        assert_eq!(owners, ["u-2", "u-8"]);
        assert_eq!(found["spec"]["n"], 1);
    }

    #[test]
    fn api_683_nodes_become_simulated_and_silent_ones_stay_silent() {
        let node = |name: &str, ready: &str| {
            json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name},
                "status": {"conditions": [{"type": "Ready", "status": ready}], "capacity": {"cpu": "4"}},
            })
        };
        let (server, report) = load(&format!("{}\n{}", node("a", "True"), node("b", "Unknown")));
        assert_eq!(report.nodes, ["a", "b"]);
        assert_eq!(server.simulated_nodes(), ["a", "b"]);
        let down = |name: &str| stored(&server, "nodes", "", name)["metadata"]["annotations"][DOWN].clone();
        assert_eq!((down("a"), down("b")), (Value::Null, json!("true")));
    }
}
