//! Rules of schemas, `x-kubernetes-validations` (API-545): evaluated for every value that has some, after the checks of
//! the schema itself have found nothing that makes them meaningless.
//!
//! A rule cannot run away: a definition is refused if the cost of its rules, estimated from the limits of lists, maps
//! and strings, exceeds upstream's budget (`expression`), and without limits the size of a request bounds them.

use std::sync::Arc;

use kube_cel::cel::{Context, Value as CelValue, objects::OptionalValue};
use serde_json::Value;

use super::{
    correlate::{Pair, same_keys},
    evaluate::{self, Program, align, to_cel},
    schema::{Schema, Type},
};
use crate::{
    json,
    validate::{FieldError, FieldErrorKind, Path, gofmt},
};

/// Longest message that an expression may make (kube-apiserver 1.36).
const LONGEST_MESSAGE: usize = 5 * 1024;

/// One rule with its compiled expressions.
#[derive(Debug)]
pub(crate) struct Rule {
    source: String,
    message: String,
    reason: String,
    /// Path below the value that is reported.
    field_path: String,
    optional_old_self: bool,
    uses_old_self: bool,
    program: Option<Program>,
    message_program: Option<Program>,
}

impl Rule {
    /// The rules of a schema node; compiled here, once.
    pub(super) fn parse_all(schema: &Value) -> Vec<Self> {
        json::list(schema, &["x-kubernetes-validations"])
            .iter()
            .map(Self::parse)
            .collect()
    }

    fn parse(rule: &Value) -> Self {
        let text = |member: &str| json::text(rule, &[member]).to_owned();
        let source = text("rule");
        let program = Program::parse(&source).ok();
        let message = text("messageExpression");
        Self {
            uses_old_self: program.as_ref().is_some_and(|program| program.uses("oldSelf")),
            program,
            message_program: (!message.is_empty())
                .then(|| Program::parse(&message).ok())
                .flatten(),
            message: text("message").trim().to_owned(),
            reason: text("reason"),
            field_path: text("fieldPath").trim().to_owned(),
            optional_old_self: json::at(rule, &["optionalOldSelf"]) == Some(&Value::Bool(true)),
            source: source.trim().to_owned(),
        }
    }

    /// How errors name the rule.
    fn title(&self) -> &str {
        if self.message.is_empty() {
            &self.source
        } else {
            &self.message
        }
    }
}

/// Broken rules of an object, and of everything in it.
pub(super) fn check(
    schema: &Schema,
    object: &Value,
    old: Option<&Value>,
    prefix: Option<&Path<'_>>,
) -> Verdict {
    let mut verdict = Verdict::default();
    if schema.has_rules {
        let root = Path::root();
        // A default is no update: nothing is tolerated.
        let pair = old.filter(|_| prefix.is_none()).map(|old| Pair {
            new: object,
            old,
            schema,
        });
        let site = Site {
            old,
            nearest: None,
            pair,
            is_root: prefix.is_none(),
        };
        check_value(schema, object, site, prefix.unwrap_or(&root), &mut verdict);
    }
    verdict
}

/// Broken rules of a default, which has no former value and is its own.
pub(super) fn check_default(schema: &Schema, default: &Value, field: &str) -> Vec<FieldError> {
    let root = Path::root();
    let place = root.member(field);
    let mut errors = check(schema, default, Some(default), Some(&place)).errors;
    if errors.is_empty() {
        errors = check(schema, default, None, Some(&place)).errors;
    }
    errors
}

/// What rules say of an object.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) errors: Vec<FieldError>,
    /// Broken rules about values that have not changed.
    pub(super) warnings: Vec<String>,
}

/// What is known of the former value at a place.
#[derive(Clone, Copy)]
struct Site<'a> {
    /// What `oldSelf` is.
    old: Option<&'a Value>,
    pair: Option<Pair<'a>>,
    /// The innermost value around that can be correlated.
    nearest: Option<Pair<'a>>,
    is_root: bool,
}

impl<'a> Site<'a> {
    fn below(self, old: Option<&'a Value>, step: impl FnOnce(Pair<'a>) -> Option<Pair<'a>>) -> Self {
        match self.pair {
            Some(pair) => Self {
                old,
                pair: step(pair),
                nearest: Some(pair),
                is_root: false,
            },
            None => Self {
                old,
                is_root: false,
                ..self
            },
        }
    }

    fn is_unchanged(self) -> bool {
        self.pair.or(self.nearest).is_some_and(Pair::is_unchanged)
    }
}

fn check_value(schema: &Schema, value: &Value, site: Site<'_>, path: &Path<'_>, verdict: &mut Verdict) {
    if value.is_null() || !schema.has_rules {
        return;
    }
    if !schema.rules.is_empty() {
        check_rules(schema, value, site, path, verdict);
    }
    match value {
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                for (index, item) in items.iter().enumerate() {
                    let old = site.old.and_then(|old| same_keys(schema, old, item));
                    let below = site.below(old, |pair| pair.item(index));
                    check_value(inner, item, below, &path.item(index), verdict);
                }
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let old = site.old.and_then(|old| old.get(name));
                let below = || site.below(old, |pair| pair.member(name));
                if let Some(inner) = schema.properties.get(name) {
                    check_value(inner, member, below(), &path.member(name), verdict);
                } else if let Some(inner) = schema.additional() {
                    check_value(inner, member, below(), &path.key(name), verdict);
                }
            }
        }
        _ => {}
    }
}

fn check_rules(schema: &Schema, value: &Value, site: Site<'_>, path: &Path<'_>, verdict: &mut Verdict) {
    evaluate::with_functions(|functions| {
        let own = to_cel(schema, value, site.is_root || schema.embedded);
        let old = site.old.map(|old| {
            to_cel(
                schema,
                &align(schema, old, value),
                site.is_root || schema.embedded,
            )
        });
        for rule in &schema.rules {
            if rule.uses_old_self && old.is_none() && !rule.optional_old_self {
                continue;
            }
            let mut context = functions.new_inner_scope();
            context.add_variable_from_value("self", own.clone());
            if rule.optional_old_self {
                let old = old.clone().map_or_else(OptionalValue::none, OptionalValue::of);
                context.add_variable_from_value("oldSelf", CelValue::Opaque(Arc::new(old)));
            } else if let Some(old) = &old {
                context.add_variable_from_value("oldSelf", old.clone());
            }
            let Some(error) = check_rule(rule, schema, value, &context, path) else {
                continue;
            };
            if error.tolerable && !rule.uses_old_self && site.is_unchanged() {
                verdict.warnings.push(error.error.to_string());
            } else {
                verdict.errors.push(error.error);
            }
        }
    });
}

/// An error of a rule, and whether it may be tolerated if the value has not changed.
struct Broken {
    error: FieldError,
    tolerable: bool,
}

fn check_rule(
    rule: &Rule,
    schema: &Schema,
    value: &Value,
    context: &Context<'_>,
    path: &Path<'_>,
) -> Option<Broken> {
    let field = match path.to_string() {
        text if text.is_empty() => "<nil>".to_owned(),
        text => text,
    };
    let program = rule.program.as_ref()?;
    let failed = |problem: String| {
        let kind = gofmt::quote(schema.kind.map_or("", Type::name));
        Some(Broken {
            error: FieldError::new(
                FieldErrorKind::Invalid,
                field.clone(),
                format!("{kind}: {problem}"),
            ),
            tolerable: false,
        })
    };
    match program.resolve(context) {
        Ok(CelValue::Bool(true)) => return None,
        Ok(CelValue::Bool(false)) => {}
        Ok(_) => {
            return failed(format!(
                "cel expression must evaluate to a bool: {}",
                rule.title()
            ));
        }
        Err(error) => {
            let problem = evaluate::problem(&error);
            return if problem == "no such overload" {
                failed(format!(
                    "'{problem}': call arguments did not match a supported operator, function or macro signature \
                     for rule: {}",
                    rule.title()
                ))
            } else {
                failed(format!("{problem} evaluating rule: {}", rule.title()))
            };
        }
    }
    let detail = rule
        .message_program
        .as_ref()
        .and_then(|program| message_text(program, context))
        .unwrap_or_else(|| {
            if rule.message.is_empty() {
                format!("failed rule: {}", rule.source)
            } else {
                rule.message.clone()
            }
        });
    let field = match (rule.field_path.strip_prefix('.'), path.to_string()) {
        (None, _) if rule.field_path.is_empty() => field,
        (Some(below), at) if at.is_empty() => below.to_owned(),
        (Some(below), at) => format!("{at}.{below}"),
        (None, at) => format!("{at}{}", rule.field_path),
    };
    let is_container = matches!(schema.kind, Some(Type::Object | Type::Array));
    let shown = if is_container {
        detail.clone()
    } else {
        format!("{}: {detail}", gofmt::show(value))
    };
    let (kind, detail) = match rule.reason.as_str() {
        "FieldValueForbidden" => (FieldErrorKind::Forbidden, detail),
        "FieldValueRequired" => (FieldErrorKind::Required, detail),
        "FieldValueDuplicate" if is_container => (FieldErrorKind::Duplicate, String::new()),
        "FieldValueDuplicate" => (FieldErrorKind::Duplicate, gofmt::show(value)),
        _ => (FieldErrorKind::Invalid, shown),
    };
    Some(Broken {
        error: FieldError::new(kind, field, detail),
        tolerable: true,
    })
}

/// What an expression makes of a broken rule; `None` if it does not make a usable text.
fn message_text(program: &Program, context: &Context<'_>) -> Option<String> {
    let Ok(CelValue::String(text)) = program.resolve(context) else {
        return None;
    };
    let text = text.trim();
    let usable = !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n');
    usable.then(|| text.to_owned())
}
