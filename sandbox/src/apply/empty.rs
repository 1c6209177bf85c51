//! Objects without content. Upstream's types have structs that are there even if nobody sets them: a create changes
//! what is in these but does not add them, and so owns their members and not themselves (API-294).

use serde_json::{Map, Value};

use crate::schema::{Node, Scalar, Shape};

/// Adds to an object what its type always has.
pub(super) fn complete(node: Node<'_>, object: &mut Value) {
    add(object, self::object(node));
}

fn add(object: &mut Value, empty: Value) {
    let (Value::Object(members), Value::Object(empty)) = (object, empty) else {
        return;
    };
    for (name, value) in empty {
        match members.get_mut(&name) {
            Some(known) => add(known, value),
            None => {
                members.insert(name, value);
            }
        }
    }
}

/// What a struct has when nothing in it is set: structs that are no pointers, and zero values that JSON shows.
pub(super) fn object(node: Node<'_>) -> Value {
    let mut members = Map::new();
    for (field, child) in node.members() {
        let facts = &field.facts;
        let zero = match child.shape() {
            Shape::Struct { .. } if !facts.pointer => Some(object(child)),
            Shape::Scalar(Scalar::Time | Scalar::MicroTime) if !facts.pointer => Some(Value::Null),
            Shape::Scalar(scalar) if facts.kept && !facts.pointer => Some(match scalar {
                Scalar::String | Scalar::Bytes => Value::from(""),
                Scalar::Quantity => Value::from("0"),
                Scalar::Integer | Scalar::Number | Scalar::IntOrString => Value::from(0),
                Scalar::Boolean => Value::from(false),
                Scalar::Time | Scalar::MicroTime => continue,
            }),
            _ if facts.kept => Some(Value::Null),
            _ => None,
        };
        if let Some(zero) = zero {
            members.insert(field.name.as_ref().to_owned(), zero);
        }
    }
    Value::Object(members)
}
