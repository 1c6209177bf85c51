//! JSON patch (RFC 6902) with the one liberty of API-262: `replace` of a missing member adds it.

use serde_json::Value;

use super::PatchError;

const MAX_OPERATIONS: usize = 10_000;

/// Applies the operations in order; the first that fails rejects all.
pub(super) fn apply(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = patch
        .as_array()
        .ok_or_else(|| PatchError::Malformed("a JSON patch has to be an array of operations".into()))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut object = current.clone();
    for operation in operations {
        step(&mut object, operation).ok_or(PatchError::Rejected)?;
    }
    Ok(object)
}

fn step(object: &mut Value, operation: &Value) -> Option<()> {
    let text = |member: &str| operation.get(member).and_then(Value::as_str);
    let path = text("path")?;
    match text("op")? {
        "add" => add(object, path, operation.get("value")?.clone()),
        "remove" => remove(object, path).map(drop),
        "replace" => replace(object, path, operation.get("value")?.clone()),
        "move" => {
            let from = text("from")?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return None; // into itself
            }
            let value = remove(object, from)?;
            add(object, path, value)
        }
        "copy" => {
            let value = object.pointer(text("from")?)?.clone();
            add(object, path, value)
        }
        "test" => {
            let found = object.pointer(path).unwrap_or(&Value::Null);
            (found == operation.get("value").unwrap_or(&Value::Null)).then_some(())
        }
        _ => None,
    }
}

/// The container that a pointer points into, and the last part of the pointer, unescaped.
fn parent<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((
        object.pointer_mut(parent)?,
        last.replace("~1", "/").replace("~0", "~"),
    ))
}

fn index(text: &str) -> Option<usize> {
    let plain = text == "0" || !text.starts_with('0');
    text.parse()
        .ok()
        .filter(|_| plain && text.bytes().all(|c| c.is_ascii_digit()))
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    match parent(object, path)? {
        (Value::Object(members), name) => {
            members.insert(name, value);
        }
        (Value::Array(items), at) => {
            let at = if at == "-" {
                items.len()
            } else {
                index(&at).filter(|at| *at <= items.len())?
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
        (Value::Array(items), at) => index(&at)
            .filter(|at| *at < items.len())
            .map(|at| items.remove(at)),
        _ => None,
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    match parent(object, path)? {
        (Value::Object(members), name) => {
            members.insert(name, value);
        }
        (Value::Array(items), at) => *items.get_mut(index(&at)?)? = value,
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
    #[case(json!({"op": "add", "path": "/list/01", "value": {}}))]
    #[case(json!({"op": "add", "path": "/data/x"}))]
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
}
