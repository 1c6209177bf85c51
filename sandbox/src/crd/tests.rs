//! Pruning, defaults and validation from outside, and that no schema and no object makes them panic.

use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{schema::Types, table::PrinterColumn};

fn custom(schema: Value) -> Custom {
    Custom {
        types: Types::of_schema(&schema),
        columns: PrinterColumn::of(&[]),
        selectable: Vec::new(),
        scale: None,
        deprecation: None,
        type_meta: ["example.com/v1".to_owned(), "Widget".to_owned()],
        terminating: false,
        settled: None,
        storage: None,
        validation: Arc::new(Schema::parse(&schema)),
        schema,
    }
}

fn with_spec(properties: &Value) -> Custom {
    custom(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}))
}

/// Errors of an object with this spec, in upstream's form.
fn errors(custom: &Custom, spec: &Value, old: Option<&Value>) -> Vec<String> {
    let object = |spec: &Value| json!({"metadata": {"name": "a"}, "spec": spec});
    let old = old.map(object);
    validate(custom, &object(spec), old.as_ref(), Part::Whole)
        .errors
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[rstest]
#[case(json!({"i": 11}), "spec.i: Invalid value: 11: spec.i in body should be less than or equal to 10")]
#[case(json!({"i": "x"}), "spec.i: Invalid value: \"string\": spec.i in body must be of type integer: \"string\"")]
#[case(json!({"e": "z"}), "spec.e: Unsupported value: \"z\": supported values: \"a\", \"b\"")]
#[case(json!({"s": "toolong"}), "spec.s: Too long: may not be more than 4 bytes")]
#[case(json!({"s": "a"}), "spec.s: Invalid value: \"a\": spec.s in body should be at least 2 chars long")]
#[case(json!({"s": "AB"}), "spec.s: Invalid value: \"AB\": spec.s in body should match '^[a-z]+$'")]
#[case(json!({"l": [1, 2, 3]}), "spec.l: Too many: 3: must have at most 2 items")]
#[case(json!({"l": []}), "spec.l: Invalid value: 0: spec.l in body should have at least 1 items")]
#[case(json!({"l": [null]}), "spec.l[0]: Invalid value: \"null\": spec.l[0] in body must be of type integer: \"null\"")]
#[case(json!({"r": {}}), "spec.r.x: Required value")]
#[case(json!({"m": {"k": 1}}), "spec.m.k: Invalid value: \"integer\": spec.m.k in body must be of type string: \"integer\"")]
#[case(json!({"n": 0.3}), "spec.n: Invalid value: 0.3: spec.n in body should be a multiple of 0.25")]
#[case(json!({"p": true}), "spec.p: Invalid value: \"boolean\": spec.p in body must be of type integer,string: \"boolean\"")]
#[case(json!({"t": "x"}), "spec.t: Invalid value: \"x\": spec.t in body must be of type date-time: \"x\"")]
#[case(json!({"c": 2_147_483_648_i64}), "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.c")]
#[case(json!({"not": 6}), "<nil>: Invalid value: \"\": \"spec.not\" must not validate the schema (not)")]
#[case(json!({"one": 6}), "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid alternatives")]
#[case(json!({"set": [1, 2, 1]}), "spec.set[2]: Duplicate value: 1")]
#[case(json!({"map": [{"k": "1"}, {"k": "1"}]}), "spec.map[1]: Duplicate value: {\"k\":\"1\"}")]
#[case(json!({"emb": {"apiVersion": "v1"}}), "spec.emb.kind: Required value")]
fn api_543_api_544_violations(#[case] spec: Value, #[case] want: &str) {
    let custom = with_spec(&json!({
        "i": {"type": "integer", "minimum": 1, "maximum": 10},
        "e": {"type": "string", "enum": ["a", "b"]},
        "s": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        "l": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}},
        "r": {"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}},
        "m": {"type": "object", "additionalProperties": {"type": "string"}},
        "n": {"type": "number", "multipleOf": 0.25}, "p": {"x-kubernetes-int-or-string": true},
        "t": {"type": "string", "format": "date-time"}, "c": {"type": "integer", "format": "int32"},
        "not": {"type": "integer", "not": {"minimum": 5}},
        "one": {"type": "integer", "oneOf": [{"minimum": 5}, {"multipleOf": 2}]},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
        "emb": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }));
    assert_eq!(errors(&custom, &spec, None), [want]);
}

#[test]
fn api_545_unchanged_values_are_tolerated() {
    let custom = with_spec(&json!({
        "a": {"type": "string", "maxLength": 1}, "b": {"type": "integer"},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 5}}}},
    }));
    let old = json!({"a": "long", "b": 1, "map": [{"k": "x", "v": 9}]});
    let mut new = old.clone();
    new["b"] = 2.into();
    assert_eq!(errors(&custom, &new, Some(&old)), Vec::<String>::new());
    new["map"] = json!([{"k": "y", "v": 1}, {"k": "x", "v": 9}]);
    assert_eq!(errors(&custom, &new, Some(&old)), Vec::<String>::new());
    new["map"] = json!([{"k": "x", "v": 8}]);
    assert_eq!(errors(&custom, &new, Some(&old)).len(), 1);
    new["a"] = "other".into();
    assert_eq!(errors(&custom, &new, Some(&old)).len(), 2);
}

#[test]
fn api_545_rules() {
    let custom = with_spec(&json!({
        "n": {"type": "integer", "x-kubernetes-validations": [{
            "rule": "self >= 0", "messageExpression": "'value ' + string(self) + ' is negative'", "reason": "FieldValueForbidden",
        }]},
        "im": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]},
        "o": {"type": "object", "properties": {"p": {"type": "integer"}}, "x-kubernetes-validations": [
            {"rule": "self.p < 5", "fieldPath": ".p"}, {"rule": "self.p != 9", "message": "nine"},
        ]},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "changed"}]},
    }));
    assert_eq!(
        errors(&custom, &json!({"n": -1}), None),
        ["spec.n: Forbidden: value -1 is negative"]
    );
    assert_eq!(errors(&custom, &json!({"im": "a"}), None), Vec::<String>::new());
    let old = json!({"im": "a", "set": ["x", "y"]});
    assert_eq!(
        errors(&custom, &json!({"im": "b"}), Some(&old)),
        ["spec.im: Invalid value: \"b\": immutable"]
    );
    assert_eq!(
        errors(&custom, &json!({"o": {"p": 9}}), None),
        [
            "spec.o.p: Invalid value: failed rule: self.p < 5",
            "spec.o: Invalid value: nine"
        ]
    );
    assert_eq!(
        errors(&custom, &json!({"o": {}}), None),
        [
            "spec.o: Invalid value: \"object\": no such key: p evaluating rule: self.p < 5",
            "spec.o: Invalid value: \"object\": no such key: p evaluating rule: nine"
        ]
    );
    let swapped = json!({"im": "a", "set": ["y", "x"]});
    assert_eq!(errors(&custom, &swapped, Some(&old)), Vec::<String>::new());
    assert_eq!(
        errors(&custom, &json!({"set": ["y"]}), Some(&old)),
        ["spec.set: Invalid value: changed"]
    );
}

#[test]
fn api_545_rules_wait_for_a_valid_schema() {
    let custom =
        with_spec(&json!({"n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}}));
    let found = errors(&custom, &json!({"n": "x"}), None);
    assert_eq!(found.len(), 2);
    assert!(found[1].starts_with("<nil>: Invalid value: null: some validation rules were not checked"));
}

#[test]
fn api_541_api_542_pruning_and_defaults() {
    let custom = with_spec(&json!({
        "a": {"type": "object", "default": {}, "properties": {"x": {"type": "string", "default": "d"}}},
        "n": {"type": "string", "nullable": true, "default": "nd"}, "nn": {"type": "string"},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "integer", "default": 80}}}},
    }));
    let mut object = json!({"metadata": {"name": "a"}, "top": 1, "spec": {
        "zz": 1, "n": null, "nn": null, "any": {"x": {"y": 1}}, "list": [{}, {"q": 1.0, "p": 2.0}],
    }});
    let problems = decode(&custom, &mut object).unwrap();
    assert_eq!(
        problems,
        [
            "unknown field \"spec.list[1].q\"",
            "unknown field \"spec.zz\"",
            "unknown field \"top\""
        ]
    );
    assert_eq!(
        object["spec"],
        json!({"a": {"x": "d"}, "n": null, "any": {"x": {"y": 1}}, "list": [{"p": 80}, {"p": 2}]})
    );
}

#[test]
fn api_550_other_versions_only_drop() {
    let storage = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "string"}, "c": {"type": "integer", "default": 1}}}}});
    let mut custom = with_spec(&json!({"a": {"type": "string"}, "b": {"type": "integer", "default": 4}}));
    custom.storage = Some(Arc::new(Schema::parse(&storage)));
    let mut object = json!({"spec": {"a": "x"}});
    on_read(&custom, &mut object);
    assert_eq!(object, json!({"spec": {"a": "x"}}));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9:%./ -]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d]|metadata|kind", inner, 0..4)
                .prop_map(|members| { Value::Object(members.into_iter().collect()) }),
        ]
    })
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = (any::<usize>(), any::<i8>(), any_json()).prop_map(|(pick, bound, default)| {
        let formats = ["date-time", "duration", "byte", "ipv4", "cidr", "uri", "email", "hostname", "isbn", "mac"];
        let mut schema = match pick % 6 {
            0 => json!({"type": "string", "format": formats[pick / 6 % formats.len()], "minLength": bound}),
            1 => json!({"type": "integer", "format": "int32", "minimum": bound, "multipleOf": bound}),
            2 => json!({"type": "number", "maximum": f64::from(bound) / 3.0, "exclusiveMaximum": true}),
            3 => json!({"x-kubernetes-int-or-string": true, "anyOf": [{"minimum": bound}, {"pattern": "^[0-9]+%$"}]}),
            4 => json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            _ => json!({"type": "boolean", "enum": [default.clone()], "nullable": true}),
        };
        if pick % 5 == 0 {
            schema["default"] = default;
        }
        schema
    });
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items, "maxItems": 2, "x-kubernetes-list-type": "set"})),
            inner.clone().prop_map(|items| json!({
                "type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
            })),
            inner.clone().prop_map(|values| json!({"type": "object", "additionalProperties": values, "minProperties": 1})),
            prop::collection::btree_map("[a-d]", inner, 0..3).prop_map(|properties| json!({
                "type": "object", "properties": properties, "required": ["a"],
                "x-kubernetes-validations": [{"rule": "has(self.a) || self.b == oldSelf.b"}],
                "oneOf": [{"required": ["b"]}, {"required": ["c"]}],
            })),
        ]
    })
}

proptest! {
    /// Neither a schema nor an object makes the server panic, and pruning once is enough.
    #[test]
    fn api_541_api_543_any_object_under_any_schema(schema in any_schema(), new in any_json(), old in any_json()) {
        let custom = custom(json!({"type": "object", "properties": {"spec": schema}}));
        let mut object = json!({"metadata": {"name": "a"}, "spec": new});
        let old = json!({"metadata": {"name": "a"}, "spec": old});
        if decode(&custom, &mut object).is_ok() {
            let mut again = object.clone();
            on_read(&custom, &mut again);
            prop_assert_eq!(&again, &object);
        }
        validate(&custom, &object, None, Part::Whole);
        validate(&custom, &object, Some(&old), Part::Whole);
        validate(&custom, &object, Some(&old), Part::Status);
    }

    /// Any JSON in place of a schema is checked without a panic.
    #[test]
    fn api_531_any_json_as_definition(schema in any_json(), text in "\\PC{0,40}") {
        let definition = json!({"metadata": {"name": "a.b.c"}, "spec": {"group": "b.c", "names": {"plural": "a"},
            "versions": [{"name": "v1", "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": schema}, "x-kubernetes-validations": [{"rule": text.clone()}],
            }}}]}});
        check::check(&definition, None);
        pattern::Pattern::new(&text).matches(&text);
        let root = Schema::parse(&json!({"type": "object"}));
        let _ = expression::Environment::new(&root, true).check_rule(&text, false);
    }
}
