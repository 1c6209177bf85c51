use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::{
    fields::Set,
    managers::{self, Application, Applied, Conflict, Entry, Reset, Versions, Writer},
    typed,
};
use crate::schema::{Node, Types};

const NOW: &str = "2024-01-01T00:00:00Z";
const LATER: &str = "2024-01-01T00:01:00Z";

/// One version of one kind.
struct One(Node<'static>);

impl One {
    fn new(group: &str, version: &str, kind: &str) -> Self {
        Self(Types::built_in().kind(group, version, kind).unwrap())
    }
}

impl Versions for One {
    fn node(&self, api_version: &str) -> Option<Node<'_>> {
        (api_version == "v1").then_some(self.0)
    }

    fn empty(&self, _: &str) -> Value {
        super::empty::object(self.0)
    }
}

fn writer(manager: &str) -> Writer {
    Writer {
        manager: manager.to_owned(),
        api_version: "v1".to_owned(),
        subresource: String::new(),
    }
}

fn nothing() -> Reset {
    Reset::These(Set::default())
}

/// An object with its owners.
struct World {
    versions: One,
    object: Value,
    entries: Vec<Entry>,
}

impl World {
    fn new(group: &str, kind: &str) -> Self {
        let versions = One::new(group, "v1", kind);
        let object = versions.empty("v1");
        Self {
            versions,
            object,
            entries: Vec::new(),
        }
    }

    fn config_map() -> Self {
        Self::new("", "ConfigMap")
    }

    fn apply(
        &mut self,
        manager: &str,
        config: &Value,
        force: bool,
        now: &str,
    ) -> Result<bool, Vec<Conflict>> {
        let application = Application {
            writer: &writer(manager),
            config,
            force,
            reset: &nothing(),
            now,
        };
        let Applied { object, entries } = managers::apply(
            &self.versions,
            self.entries.clone(),
            &self.object,
            &application,
            Set::default,
        )?;
        self.entries = entries;
        let changed = object.is_some();
        if let Some(object) = object {
            self.object = object;
        }
        Ok(changed)
    }

    fn update(&mut self, manager: &str, new: Value, now: &str) {
        let entries = std::mem::take(&mut self.entries);
        let pair = (&self.object, &new);
        self.entries = managers::update(&self.versions, entries, &writer(manager), pair, &nothing(), now);
        self.object = new;
    }

    /// `manager operation fields` of each entry, in upstream's order.
    fn owners(&mut self) -> Vec<String> {
        let entries: Value = serde_json::from_slice(&managers::encode(&mut self.entries)).unwrap_or_default();
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                format!(
                    "{} {} {}",
                    entry["manager"].as_str().unwrap(),
                    entry["operation"].as_str().unwrap(),
                    entry["fieldsV1"]
                )
            })
            .collect()
    }
}

fn data(pairs: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    json!({"data": data})
}

#[test]
fn api_294_an_update_takes_what_it_changes() {
    let mut world = World::config_map();
    world.update("a", data(&[("x", "1"), ("y", "1")]), NOW);
    assert_eq!(
        world.owners(),
        [r#"a Update {"f:data":{".":{},"f:x":{},"f:y":{}}}"#]
    );
    world.update("b", data(&[("x", "2"), ("y", "1")]), NOW);
    assert_eq!(
        world.owners(),
        [
            r#"a Update {"f:data":{".":{},"f:y":{}}}"#,
            r#"b Update {"f:data":{"f:x":{}}}"#
        ]
    );
    world.update("c", data(&[("y", "1")]), NOW);
    assert_eq!(world.owners(), [r#"a Update {"f:data":{".":{},"f:y":{}}}"#]);
}

#[test]
fn api_295_conflicts_name_manager_and_field() {
    let mut world = World::config_map();
    world.apply("a", &data(&[("x", "1")]), false, NOW).unwrap();
    world.update("e", data(&[("x", "1"), ("y", "1")]), NOW);
    let conflicts = world
        .apply("b", &data(&[("x", "2"), ("y", "2")]), false, NOW)
        .unwrap_err();
    let shown: Vec<String> = conflicts
        .iter()
        .map(|conflict| format!("{} {}", conflict.manager, conflict.field))
        .collect();
    assert_eq!(shown, [r#""a" .data.x"#, r#""e" using v1 .data.y"#]);
}

#[test]
fn api_296_shared_and_forced_ownership() {
    let mut world = World::config_map();
    world
        .apply("a", &data(&[("x", "1"), ("y", "1")]), false, NOW)
        .unwrap();
    assert_eq!(world.apply("b", &data(&[("x", "1")]), false, NOW), Ok(false));
    assert_eq!(world.apply("c", &data(&[("x", "2")]), true, NOW), Ok(true));
    assert_eq!(
        world.owners(),
        [
            r#"a Apply {"f:data":{"f:y":{}}}"#,
            r#"c Apply {"f:data":{"f:x":{}}}"#
        ]
    );
    assert_eq!(world.object["data"], json!({"x": "2", "y": "1"}));
}

#[test]
fn api_297_what_is_left_out_goes_unless_others_own_it() {
    let mut world = World::config_map();
    world
        .apply("a", &data(&[("x", "1"), ("y", "1"), ("z", "1")]), false, NOW)
        .unwrap();
    world.apply("b", &data(&[("y", "1")]), false, NOW).unwrap();
    world.apply("a", &data(&[("x", "1")]), false, NOW).unwrap();
    assert_eq!(world.object["data"], json!({"x": "1", "y": "1"}));
}

#[rstest]
#[case::by_name_in_order("env", json!([{"name": "A"}, {"name": "B"}]), json!([{"name": "Z"}, {"name": "B", "value": "2"}]),
    json!([{"name": "A"}, {"name": "Z"}, {"name": "B", "value": "2"}]))]
#[case::default_key("ports", json!([{"containerPort": 80, "protocol": "TCP"}]), json!([{"containerPort": 80, "name": "x"}]),
    json!([{"containerPort": 80, "protocol": "TCP", "name": "x"}]))]
#[case::other_protocol("ports", json!([{"containerPort": 80, "protocol": "TCP"}]), json!([{"containerPort": 80, "protocol": "UDP"}]),
    json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]))]
#[case::atomic("args", json!(["a", "b"]), json!(["c"]), json!(["c"]))]
fn api_298_lists_merge_by_their_type(
    #[case] member: &str,
    #[case] live: Value,
    #[case] config: Value,
    #[case] want: Value,
) {
    let pod = |list: &Value| json!({"spec": {"containers": [{"name": "c", member: list}]}});
    let node = Types::built_in().kind("", "v1", "Pod").unwrap();
    let merged = typed::merge(node, &pod(&live), &pod(&config));
    assert_eq!(merged, pod(&want));
}

#[rstest]
#[case(json!({"nope": 1}), ".nope: field not declared in schema")]
#[case(json!({"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}),
    r#".spec.containers: duplicate entries for key [name="c"]"#)]
#[case(json!({"spec": {"containers": [{"name": "c", "args": [1]}]}}),
    r#".spec.containers[name="c"].args[0]: expected string, got &value.valueUnstructured{Value:1}"#)]
#[case(json!({"spec": {"containers": [{"name": "c", "args": [[1, {"a": "b"}]]}]}}),
    r#".spec.containers[name="c"].args[0]: expected string, got &value.valueUnstructured{Value:[]interface {}{1, map[string]interface {}{"a":"b"}}}"#)]
#[case(json!({"spec": {"tolerations": [{"x": 1}]}}), ".spec.tolerations[0].x: field not declared in schema")]
#[case(json!({"spec": {"containers": {}}}), ".spec.containers: expected list, got &{map[]}")]
#[case(json!({"spec": {"priority": "x"}}), ".spec.priority: expected numeric (int or float), got string")]
fn api_298_configurations_have_to_fit_the_schema(#[case] pod: Value, #[case] want: &str) {
    let node = Types::built_in().kind("", "v1", "Pod").unwrap();
    assert_eq!(typed::check(node, &pod, false).as_deref(), Some(want));
}

#[test]
fn api_292_times_change_with_the_content_only() {
    let mut world = World::config_map();
    world.apply("a", &data(&[("x", "1")]), false, NOW).unwrap();
    let before = managers::encode(&mut world.entries);
    world.apply("a", &data(&[("x", "1")]), false, LATER).unwrap();
    assert_eq!(managers::encode(&mut world.entries), before);
    assert!(String::from_utf8(before).unwrap().contains(NOW));
    world.apply("a", &data(&[("x", "2")]), false, LATER).unwrap();
    let after = managers::encode(&mut world.entries);
    assert!(String::from_utf8(after).unwrap().contains(LATER));
}

#[test]
fn api_292_old_updates_are_merged() {
    let mut world = World::config_map();
    for index in 0..12 {
        let mut object = world.object.clone();
        object["data"][format!("k{index:02}")] = json!("v");
        let now = format!("2024-01-01T00:00:{index:02}Z");
        world.update(&format!("m{index:02}"), object, &now);
    }
    let owners = world.owners();
    assert_eq!(owners.len(), 10);
    assert_eq!(
        owners[0],
        r#"ancient-changes Update {"f:data":{".":{},"f:k00":{},"f:k01":{},"f:k02":{}}}"#
    );
    assert_eq!(owners[9], r#"m11 Update {"f:data":{"f:k11":{}}}"#);
}

#[test]
fn api_301_the_first_apply_finds_an_owner_for_what_is_there() {
    let mut world = World::config_map();
    world.object = data(&[("x", "1")]);
    world.apply("a", &data(&[("y", "1")]), false, NOW).unwrap();
    assert_eq!(
        world.owners(),
        [
            r#"a Apply {"f:data":{"f:y":{}}}"#,
            r#"before-first-apply Update {"f:data":{".":{},"f:x":{}}}"#
        ]
    );
}

#[test]
fn api_293_structs_that_are_always_there_are_not_owned() {
    let mut world = World::new("", "Pod");
    let pod = json!({
        "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}]},
    });
    world.update("a", pod, NOW);
    assert_eq!(
        world.owners(),
        [concat!(
            r#"a Update {"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":"#,
            r#"{".":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"#,
            r#""f:containerPort":{},"f:protocol":{}}},"f:resources":{}}}}}"#
        )]
    );
}

#[test]
fn api_301_sent_entries_have_to_be_valid() {
    let entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "time": "2024-01-01T01:00:00+01:00", "fieldsV1": {"f:data": {"f:b": {}, "f:a": {}}}});
    let mut entries = managers::decode(&json!([entry])).unwrap();
    assert_eq!(
        String::from_utf8(managers::encode(&mut entries)).unwrap(),
        concat!(
            r#"[{"manager":"m","operation":"Update","apiVersion":"v1","time":"2024-01-01T00:00:00Z","#,
            r#""fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:a":{},"f:b":{}}}}]"#
        )
    );
    for (member, value) in [
        ("operation", json!("Other")),
        ("apiVersion", json!("")),
        ("fieldsType", json!("V2")),
        ("fieldsV1", json!({"nope": {}})),
        ("time", json!("soon")),
    ] {
        let mut bad = entry.clone();
        bad[member] = value;
        assert!(managers::decode(&json!([bad])).is_none(), "{member}");
    }
    assert!(managers::decode(&json!([{"manager": "m"}])).is_none());
}

fn maps() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-d]", "[12]", 0..4).prop_map(|data| json!({"data": data}))
}

fn pods() -> impl Strategy<Value = Value> {
    let env = proptest::collection::btree_map("[a-c]", "[12]", 0..3);
    let ports = proptest::collection::btree_set(80..83u16, 0..3);
    let args = proptest::collection::vec("[xy]", 0..3);
    let container = (env, ports, args).prop_map(|(env, ports, args)| {
        let env: Vec<Value> = env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let ports: Vec<Value> = ports
            .iter()
            .map(|port| json!({"containerPort": port, "protocol": "TCP"}))
            .collect();
        json!({"env": env, "ports": ports, "args": args})
    });
    proptest::collection::btree_map("[a-c]", container, 1..3).prop_map(|containers| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, mut container)| {
                container["name"] = json!(name);
                container
            })
            .collect();
        json!({"spec": {"containers": containers}})
    })
}

proptest! {
    #[test]
    fn api_302_applying_twice_changes_nothing(live in pods(), config in pods()) {
        let mut world = World::new("", "Pod");
        world.update("editor", live, NOW);
        world.apply("a", &config, true, NOW).unwrap();
        let (object, owners) = (world.object.clone(), world.owners());
        prop_assert_eq!(world.apply("a", &config, false, LATER), Ok(false));
        prop_assert_eq!(&world.object, &object);
        prop_assert_eq!(world.owners(), owners);
    }

    #[test]
    fn api_297_the_last_manager_takes_all_it_brought_with_it(live in maps(), config in maps()) {
        let mut world = World::config_map();
        world.update("editor", live.clone(), NOW);
        world.apply("a", &config, true, NOW).unwrap();
        world.apply("a", &json!({}), true, NOW).unwrap();
        for (key, value) in world.object["data"].as_object().into_iter().flatten() {
            prop_assert_eq!(Some(value), live["data"].get(key));
        }
    }

    #[test]
    fn api_294_every_changed_field_has_one_owner(one in pods(), two in pods()) {
        let node = Types::built_in().kind("", "v1", "Pod").unwrap();
        let mut world = World::new("", "Pod");
        world.update("a", one.clone(), NOW);
        world.update("b", two.clone(), NOW);
        let difference = typed::compare(node, &one, &two);
        let sets: Vec<Set> = world.entries.iter().map(|entry| entry.set().into_owned()).collect();
        let all = sets.iter().fold(Set::default(), |all, set| all.union(set));
        prop_assert_eq!(difference.changed.difference(&all), Set::default());
        prop_assert_eq!(difference.removed.intersection(&all), Set::default());
        if let [one, two] = sets.as_slice() {
            prop_assert_eq!(one.intersection(two), Set::default());
        }
    }

    #[test]
    fn api_298_merging_again_changes_nothing(live in pods(), config in pods()) {
        let node = Types::built_in().kind("", "v1", "Pod").unwrap();
        let merged = typed::merge(node, &live, &config);
        prop_assert_eq!(&typed::merge(node, &merged, &config), &merged);
    }
}
