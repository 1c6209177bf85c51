//! Evaluation of expressions: the functions beyond those of the evaluator's crates, and values as rules see them.

use std::{cell::OnceCell, sync::Arc};

use base64::Engine as _;
use kube_cel::{
    KubeCelExt as _,
    cel::{
        Context, ExecutionError, ResolveResult, Value as CelValue,
        common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr},
        extractors::This,
        objects::{Key, Map},
        parser::{Expression, Parser},
    },
};
use serde_json::Value;

use super::{
    expression::Nesting,
    format::go_duration,
    schema::{ListKind, Schema, Type},
};

thread_local! {
    /// All functions; made once per thread because a context cannot be shared between threads.
    static FUNCTIONS: OnceCell<Context<'static>> = const { OnceCell::new() };
}

/// Calls `run` with a context that has all functions.
pub(super) fn with_functions<T>(run: impl FnOnce(&Context<'static>) -> T) -> T {
    FUNCTIONS.with(|functions| run(functions.get_or_init(functions_of_rules)))
}

fn functions_of_rules() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function("dyn", |This(value): This<CelValue>| -> ResolveResult {
        Ok(value)
    });
    context.add_function("type", |This(value): This<CelValue>| -> ResolveResult {
        Ok(type_name(&value))
    });
    context.add_function("size", |This(value): This<CelValue>| size(&value));
    context.add_function("bool", |This(value): This<CelValue>| to_bool(value));
    for name in [
        "bool",
        "bytes",
        "double",
        "int",
        "uint",
        "string",
        "list",
        "map",
        "null_type",
        "type",
    ] {
        context.add_variable_from_value(name, type_value(name));
    }
    context
}

/// Names of types are told apart from texts.
fn type_value(name: &str) -> CelValue {
    CelValue::String(Arc::new(format!("type {name}")))
}

fn type_name(value: &CelValue) -> CelValue {
    type_value(match value {
        CelValue::List(_) => "list",
        CelValue::Map(_) => "map",
        CelValue::Int(_) => "int",
        CelValue::UInt(_) => "uint",
        CelValue::Float(_) => "double",
        CelValue::String(_) => "string",
        CelValue::Bytes(_) => "bytes",
        CelValue::Bool(_) => "bool",
        CelValue::Null => "null_type",
        _ => "type",
    })
}

/// Characters of texts, elements of lists.
fn size(value: &CelValue) -> Result<i64, ExecutionError> {
    let size = match value {
        CelValue::String(text) => text.chars().count(),
        CelValue::Bytes(bytes) => bytes.len(),
        CelValue::List(items) => items.len(),
        CelValue::Map(map) => map.map.len(),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(i64::try_from(size).unwrap_or(i64::MAX))
}

fn to_bool(value: CelValue) -> Result<CelValue, ExecutionError> {
    match &value {
        CelValue::Bool(_) => Ok(value),
        CelValue::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(CelValue::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(CelValue::Bool(false)),
            _ => Err(ExecutionError::function_error(
                "bool",
                "type conversion error from 'string' to 'bool'",
            )),
        },
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

/// An expression that can be evaluated.
#[derive(Debug)]
pub(super) struct Program {
    expression: Expression,
    nesting: Nesting,
}

impl Program {
    /// Parses an expression.
    ///
    /// # Errors
    /// With the syntax errors and the lines where they are, or that it is nested too deeply.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let nesting = Nesting::checked(source)?;
        nesting.run(|| {
            let mut expression = Parser::default()
                .enable_optional_syntax(true)
                .max_recursion_depth(u16::MAX)
                .parse(source)
                .map_err(|errors| errors.to_string().replace("\n|", "\n |"))?;
            refuse_nulls(&mut expression);
            Ok(Self { expression, nesting })
        })
    }

    pub(super) fn nesting(&self) -> Nesting {
        self.nesting
    }

    /// Whether it reads this variable.
    pub(super) fn uses(&self, variable: &str) -> bool {
        self.nesting
            .run(|| self.expression.references().has_variable(variable))
    }

    /// Evaluates it.
    pub(super) fn resolve(&self, context: &Context<'_>) -> ResolveResult {
        self.nesting.run(|| context.resolve(&self.expression))
    }
}

/// A member that is null does not count as set: `has(a.b)` becomes `has(a.b) && a.b != null`.
fn refuse_nulls(node: &mut IdedExpr) {
    match &mut node.expr {
        Expr::Select(select) => {
            refuse_nulls(&mut select.operand);
            if select.test {
                let id = node.id;
                let part = |expr: Expr| IdedExpr { id, expr };
                let plain = SelectExpr {
                    test: false,
                    ..select.clone()
                };
                let call = |name: &str, args: Vec<IdedExpr>| {
                    Expr::Call(CallExpr {
                        func_name: name.to_owned(),
                        target: None,
                        args,
                    })
                };
                let is_set = call(
                    "_!=_",
                    vec![part(Expr::Select(plain)), part(Expr::Literal(LiteralValue::Null))],
                );
                let test = part(Expr::Select(select.clone()));
                node.expr = call("_&&_", vec![test, part(is_set)]);
            }
        }
        Expr::Call(call) => {
            for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                refuse_nulls(part);
            }
        }
        Expr::Comprehension(comprehension) => {
            for part in [
                &mut comprehension.iter_range,
                &mut comprehension.accu_init,
                &mut comprehension.loop_cond,
                &mut comprehension.loop_step,
                &mut comprehension.result,
            ] {
                refuse_nulls(part);
            }
        }
        Expr::List(list) => {
            for part in &mut list.elements {
                refuse_nulls(part);
            }
        }
        _ => {}
    }
}

/// What upstream says of an expression that cannot be evaluated.
pub(super) fn problem(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("no such key: {name}"),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::IndexOutOfBounds(CelValue::Int(index)) => format!("index out of bounds: {index}"),
        ExecutionError::FunctionError { message, .. } => function_problem(message),
        _ => "no such overload".to_owned(),
    }
}

fn function_problem(message: &str) -> String {
    if message.contains("quantity") || message.contains("numeric value") {
        let pattern = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";
        return format!("quantities must match the regular expression '{pattern}'");
    }
    let index = message
        .contains("out of range for string")
        .then(|| {
            message
                .split_whitespace()
                .find_map(|word| word.parse::<i64>().ok())
        })
        .flatten();
    index.map_or_else(
        || message.to_owned(),
        |index| format!("index out of range: {index}"),
    )
}

/// A former value whose lists of type set and map have the order of those of the new value: their order means nothing,
/// and expressions compare lists in order.
pub(super) fn align(schema: &Schema, old: &Value, new: &Value) -> Value {
    match (old, new) {
        (Value::Array(old_items), Value::Array(new_items)) => {
            let inner = schema.items.as_deref();
            let same = |a: &Value, b: &Value| match &schema.list {
                ListKind::Atomic => false,
                ListKind::Set => a == b,
                ListKind::Map(keys) => keys.iter().all(|key| a.get(key) == b.get(key)),
            };
            if schema.list == ListKind::Atomic {
                return old.clone();
            }
            let mut rest: Vec<&Value> = old_items.iter().collect();
            let mut aligned = Vec::with_capacity(rest.len());
            for item in new_items {
                if let Some(place) = rest.iter().position(|other| same(other, item)) {
                    let found = rest.remove(place);
                    aligned.push(inner.map_or_else(|| found.clone(), |inner| align(inner, found, item)));
                }
            }
            aligned.extend(rest.into_iter().cloned());
            aligned.into()
        }
        (Value::Object(old_members), Value::Object(_)) => old_members
            .iter()
            .map(|(name, member)| match (schema.member(name), new.get(name)) {
                (Some(inner), Some(other)) => (name.clone(), align(inner, member, other)),
                _ => (name.clone(), member.clone()),
            })
            .collect::<serde_json::Map<String, Value>>()
            .into(),
        _ => old.clone(),
    }
}

/// A value as rules see it: members that the schema knows, texts with a format as times, durations and bytes.
pub(super) fn to_cel(schema: &Schema, value: &Value, is_resource: bool) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(flag) => CelValue::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(integer) if schema.kind != Some(Type::Number) => CelValue::Int(integer),
            _ => CelValue::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => text_to_cel(schema, text),
        Value::Array(items) => {
            let items = match schema.items.as_deref() {
                Some(inner) => items
                    .iter()
                    .map(|item| to_cel(inner, item, inner.embedded))
                    .collect(),
                None => Vec::new(),
            };
            CelValue::List(Arc::new(items))
        }
        Value::Object(members) => CelValue::Map(Map {
            map: Arc::new(
                members
                    .iter()
                    .filter_map(|(name, member)| member_to_cel(schema, name, member, is_resource))
                    .collect(),
            ),
        }),
    }
}

fn member_to_cel(schema: &Schema, name: &str, member: &Value, is_resource: bool) -> Option<(Key, CelValue)> {
    let key = |name: String| Key::String(Arc::new(name));
    if is_resource && matches!(name, "apiVersion" | "kind") {
        return Some((
            key(name.to_owned()),
            CelValue::String(Arc::new(member.as_str()?.to_owned())),
        ));
    }
    if is_resource && name == "metadata" {
        let names = ["name", "generateName"].into_iter().filter_map(|name| {
            let text = member.get(name)?.as_str()?;
            Some((key(name.to_owned()), CelValue::String(Arc::new(text.to_owned()))))
        });
        return Some((
            key(name.to_owned()),
            CelValue::Map(Map {
                map: Arc::new(names.collect()),
            }),
        ));
    }
    if let Some(inner) = schema.properties.get(name) {
        return Some((key(escape(name)?), to_cel(inner, member, inner.embedded)));
    }
    let inner = schema.additional()?;
    Some((key(name.to_owned()), to_cel(inner, member, inner.embedded)))
}

fn text_to_cel(schema: &Schema, text: &str) -> CelValue {
    let plain = || CelValue::String(Arc::new(text.to_owned()));
    match schema.format.as_ref().map(|(name, _)| name.as_str()) {
        Some("byte") => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_or_else(|_| plain(), |bytes| CelValue::Bytes(Arc::new(bytes))),
        Some("duration") => go_duration(text).map_or_else(plain, |nanoseconds| {
            CelValue::Duration(kube_cel_duration(nanoseconds))
        }),
        Some("date-time") => timestamp(text).unwrap_or_else(plain),
        Some("date") => timestamp(&format!("{text}T00:00:00Z")).unwrap_or_else(plain),
        _ => plain(),
    }
}

fn kube_cel_duration(nanoseconds: i64) -> chrono::Duration {
    chrono::Duration::nanoseconds(nanoseconds)
}

fn timestamp(text: &str) -> Option<CelValue> {
    chrono::DateTime::parse_from_rfc3339(text)
        .ok()
        .map(CelValue::Timestamp)
}

/// Words that cannot be names of members in expressions.
pub(super) const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name of a member in expressions; `None` if it cannot be written there.
pub(super) fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let width = if rest.starts_with("__") {
            escaped.push_str("__underscores__");
            2
        } else {
            match c {
                '.' => escaped.push_str("__dot__"),
                '-' => escaped.push_str("__dash__"),
                '/' => escaped.push_str("__slash__"),
                c if c.is_ascii_alphanumeric() || c == '_' => escaped.push(c),
                _ => return None,
            }
            c.len_utf8()
        };
        rest = rest.get(width..).unwrap_or_default();
    }
    Some(escaped)
}
