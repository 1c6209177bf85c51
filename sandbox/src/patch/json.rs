//! JSON patch (RFC 6902) with the one liberty of API-262: `replace` of a missing member adds it.

use serde_json::Value;

use super::PatchError;

const MAX_OPERATIONS: usize = 10_000;

/// Bytes that the `copy` operations of one patch may add (kube-apiserver 1.36): without a bound each of them could
/// double the object.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies the operations in order; the first that fails rejects all. `null` is a patch without operations.
pub(super) fn apply(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = match patch {
        Value::Array(operations) => operations.as_slice(),
        Value::Null => &[],
        _ => {
            return Err(PatchError::Malformed(
                "a JSON patch has to be an array of operations".into(),
            ));
        }
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    operations.iter().try_for_each(check_shape)?;
    let mut object = current.clone();
    let mut copied = 0;
    for operation in operations {
        step(&mut object, operation, &mut copied).ok_or(PatchError::Rejected)?;
    }
    Ok(object)
}

fn check_shape(operation: &Value) -> Result<(), PatchError> {
    let is_text = |member: &str| {
        operation
            .get(member)
            .is_none_or(|value| value.is_string() || value.is_null())
    };
    if operation.is_null() || operation.is_object() && ["op", "path", "from"].into_iter().all(is_text) {
        return Ok(());
    }
    Err(PatchError::Malformed(
        "an operation has to be an object with op, path and from as strings".into(),
    ))
}

/// `None` if the operation does not apply. A missing `value` is null, as is a missing member that is tested or copied.
fn step(object: &mut Value, operation: &Value, copied: &mut usize) -> Option<()> {
    let text = |member: &str| operation.get(member).and_then(Value::as_str);
    let value = || operation.get("value").cloned().unwrap_or_default();
    let path = text("path")?;
    match text("op")? {
        "add" => add(object, path, value()),
        "remove" => remove(object, path).map(drop),
        "replace" => replace(object, path, value()),
        "move" => {
            let moved = remove(object, text("from")?)?;
            add(object, path, moved)
        }
        "copy" => {
            let value = find(object, text("from")?)?.clone();
            *copied = copied.saturating_add(value.to_string().len());
            if *copied > MAX_COPIED {
                return None;
            }
            add(object, path, value)
        }
        "test" => {
            let wanted = operation.get("value").unwrap_or(&Value::Null);
            let found = if path.is_empty() {
                &*object
            } else {
                find(object, path)?
            };
            (found == wanted).then_some(())
        }
        _ => None,
    }
}

/// The map or list that a pointer points into, and the last part of the pointer, unescaped. What stands before the
/// first slash does not count.
fn parent<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (_, path) = path.split_once('/')?;
    let mut parts: Vec<String> = path
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect();
    let last = parts.pop()?;
    let mut current = object;
    for part in parts {
        current = match current {
            Value::Object(members) => members.get_mut(&part)?,
            Value::Array(items) => {
                let at = index(&part, items.len())?;
                items.get_mut(at)?
            }
            _ => return None,
        };
    }
    matches!(current, Value::Object(_) | Value::Array(_)).then_some((current, last))
}

/// Place in a list of `length` elements; negative ones count from the end.
fn index(text: &str, length: usize) -> Option<usize> {
    let at: i64 = text.parse().ok()?;
    if at < 0 {
        length.checked_sub(usize::try_from(at.unsigned_abs()).ok()?)
    } else {
        usize::try_from(at).ok()
    }
}

fn find<'a>(object: &'a mut Value, path: &str) -> Option<&'a Value> {
    match parent(object, path)? {
        (Value::Object(members), name) => Some(members.get(&name).unwrap_or(&Value::Null)),
        (Value::Array(items), at) => items.get(index(&at, items.len())?),
        _ => None,
    }
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    match parent(object, path)? {
        (Value::Object(members), name) => {
            members.insert(name, value);
        }
        (Value::Array(items), at) => {
            let at = if at == "-" {
                items.len()
            } else {
                // The new element counts: -1 is behind the last one.
                index(&at, items.len() + 1).filter(|at| *at <= items.len())?
            };
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    match parent(object, path)? {
        (Value::Object(members), name) => members.remove(&name),
        (Value::Array(items), at) => index(&at, items.len())
            .filter(|at| *at < items.len())
            .map(|at| items.remove(at)),
        _ => None,
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        if !matches!(value, Value::Object(_) | Value::Array(_)) {
            return None;
        }
        *object = value;
        return Some(());
    }
    match parent(object, path)? {
        (Value::Object(members), name) => {
            members.insert(name, value);
        }
        (Value::Array(items), at) => {
            let at = index(&at, items.len())?;
            *items.get_mut(at)? = value;
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn object() -> Value {
        json!({"data": {"x": "1", "y": "2"}, "list": ["a", "b"], "a/b": {"~": 1}})
    }

    #[rstest]
    #[case(json!({"op": "add", "path": "/data/z", "value": "3"}), "/data/z", json!("3"))]
    #[case(json!({"op": "replace", "path": "/data/x", "value": "9"}), "/data/x", json!("9"))]
    #[case(json!({"op": "replace", "path": "/data/none", "value": "1"}), "/data/none", json!("1"))]
    #[case(json!({"op": "remove", "path": "/data/y"}), "/data", json!({"x": "1"}))]
    #[case(json!({"op": "add", "path": "/list/-", "value": "c"}), "/list", json!(["a", "b", "c"]))]
    #[case(json!({"op": "add", "path": "/list/0", "value": "c"}), "/list", json!(["c", "a", "b"]))]
    #[case(json!({"op": "remove", "path": "/list/1"}), "/list", json!(["a"]))]
    #[case(json!({"op": "move", "path": "/data/z", "from": "/data/x"}), "/data", json!({"y": "2", "z": "1"}))]
    #[case(json!({"op": "copy", "path": "/data/z", "from": "/data/x"}), "/data/z", json!("1"))]
    #[case(json!({"op": "test", "path": "/data/x", "value": "1"}), "/data/x", json!("1"))]
    #[case(json!({"op": "replace", "path": "/a~1b/~0", "value": 2}), "/a~1b/~0", json!(2))]
    #[case(json!({"op": "add", "path": "/list/-1", "value": "c"}), "/list", json!(["a", "b", "c"]))]
    #[case(json!({"op": "remove", "path": "/list/-2"}), "/list", json!(["b"]))]
    #[case(json!({"op": "add", "path": "/list/+1", "value": "c"}), "/list", json!(["a", "c", "b"]))]
    #[case(json!({"op": "add", "path": "/data/x"}), "/data/x", json!(null))]
    #[case(json!({"op": "copy", "path": "/data/z", "from": "/data/none"}), "/data/z", json!(null))]
    #[case(json!({"op": "test", "path": "/data/none"}), "/data/x", json!("1"))]
    fn api_261_operation(#[case] operation: Value, #[case] at: &str, #[case] want: Value) {
        let patched = apply(&object(), &json!([operation]));
        assert_eq!(patched.map(|object| object.pointer(at).cloned()), Ok(Some(want)));
    }

    #[rstest]
    #[case(json!({"op": "test", "path": "/data/x", "value": "9"}))]
    #[case(json!({"op": "nope", "path": "/data/x"}))]
    #[case(json!({"op": "add", "path": "/annotations/a", "value": "1"}))]
    #[case(json!({"op": "remove", "path": "/data/none"}))]
    #[case(json!({"op": "replace", "path": "/list/9", "value": {}}))]
    #[case(json!({"op": "add", "path": "/list/-4", "value": {}}))]
    #[case(json!({"op": "add", "path": "/list/18446744073709551615", "value": {}}))]
    #[case(json!({"op": "remove", "path": "/list/-9223372036854775808"}))]
    #[case(json!({"op": "add", "path": "", "value": {}}))]
    #[case(json!({"op": "replace", "path": "", "value": 1}))]
    #[case(json!({"op": "add", "path": "data", "value": {}}))]
    #[case(json!({"op": "copy", "path": "/data/y/z", "from": "/data/x"}))]
    #[case(json!({"op": "move", "path": "/data/x/y", "from": "/data/x"}))]
    fn api_261_rejected(#[case] operation: Value) {
        let error = apply(&object(), &json!([operation])).unwrap_err();
        assert_eq!((error.code(), error.reason()), (422, Some("Invalid")));
    }

    #[test]
    fn api_263_number_of_operations() {
        let test = json!({"op": "test", "path": "/data/x", "value": "1"});
        let error = apply(&object(), &Value::Array(vec![test; 10_001])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
        assert_eq!(apply(&object(), &json!({"op": "add"})).unwrap_err().code(), 400);
    }

    #[test]
    fn api_261_copies_do_not_double_without_end() {
        let copy = json!({"op": "copy", "from": "/data", "path": "/data/k"});
        let mut patch = vec![json!({"op": "add", "path": "/data/b", "value": "y".repeat(1000)})];
        patch.extend((0..40).map(|number| {
            let mut copy = copy.clone();
            copy["path"] = format!("/data/k{number}").into();
            copy
        }));
        assert_eq!(apply(&object(), &Value::Array(patch)), Err(PatchError::Rejected));
    }

    #[rstest]
    #[case(json!([1]))]
    #[case(json!([[]]))]
    #[case(json!([{"op": 1}]))]
    #[case(json!([{"op": "add", "path": 1}]))]
    #[case(json!("x"))]
    fn api_261_malformed(#[case] patch: Value) {
        assert_eq!(apply(&object(), &patch).unwrap_err().code(), 400);
    }
}
