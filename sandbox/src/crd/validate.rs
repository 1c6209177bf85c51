//! Violations of a schema, in upstream's words (API-543), with ratcheting: errors of values that an update leaves as they
//! are do not count (API-545).

use std::fmt;

use serde_json::{Number, Value};

use super::{
    correlate::Pair,
    format::Format,
    schema::{Additional, Bound, Checks, Schema, Type},
};
use crate::validate::{FieldError, FieldErrorKind, gofmt};

/// Checks a value, the whole object or a part of it, against its schema. `prefix` is the path of the value, empty for
/// the whole object; messages name fields relative to the value.
pub(super) fn validate(
    schema: &Schema,
    value: &Value,
    old: Option<Pair<'_>>,
    prefix: &str,
) -> Vec<FieldError> {
    let mut outcome = schema.check(value, old, &Place::Root);
    if !outcome.faults.is_empty() && old.is_some_and(Pair::is_unchanged) {
        outcome.faults.clear();
    }
    outcome
        .faults
        .into_iter()
        .map(|fault| fault.into_error(prefix))
        .collect()
}

/// Where a value is, as messages name it: members of maps like members of objects.
enum Place<'a> {
    Root,
    Member(&'a Place<'a>, &'a str),
    /// A member that is not in `properties`: has its dot even at the root.
    Extra(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(parent, name) | Self::Extra(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// One violation before it has its final path.
#[derive(Debug)]
struct Fault {
    kind: FieldErrorKind,
    /// Path; `None` for errors about combinations of schemas and ranges of types, which have none.
    field: Option<String>,
    /// Text in front of the message.
    value: String,
    /// Also tells faults apart: no message is reported twice.
    message: String,
}

impl Fault {
    fn new(
        kind: FieldErrorKind,
        place: &Place<'_>,
        value: impl Into<String>,
        message: impl fmt::Display,
    ) -> Self {
        Self {
            kind,
            field: Some(place.to_string()),
            value: value.into(),
            message: message.to_string(),
        }
    }

    fn invalid(place: &Place<'_>, value: impl Into<String>, problem: impl fmt::Display) -> Self {
        let message = format!("{place} in body {problem}");
        Self::new(FieldErrorKind::Invalid, place, value, message)
    }

    /// A value of another type; the word found stands for the value.
    fn of_type(place: &Place<'_>, wanted: &str, found: &str) -> Self {
        let found = gofmt::quote(found);
        let message = format!("{place} in body must be of type {wanted}: {found}");
        Self::new(FieldErrorKind::TypeInvalid, place, found, message)
    }

    fn without_field(message: String) -> Self {
        Self {
            kind: FieldErrorKind::Invalid,
            field: None,
            value: "\"\"".to_owned(),
            message,
        }
    }

    fn into_error(self, prefix: &str) -> FieldError {
        let field = match self.field.as_deref().map(|field| field.trim_start_matches('.')) {
            Some("") | None if prefix.is_empty() => "<nil>".to_owned(),
            Some("") | None => prefix.to_owned(),
            Some(field) if prefix.is_empty() => field.to_owned(),
            Some(field) => format!("{prefix}.{field}"),
        };
        let detail = match self.kind {
            FieldErrorKind::Required => String::new(),
            FieldErrorKind::Invalid | FieldErrorKind::TypeInvalid => {
                format!("{}: {}", self.value, self.message)
            }
            _ => self.value,
        };
        FieldError::new(self.kind, field, detail)
    }
}

/// Result of one schema. Of several alternatives that fail, the one with most matching checks explains why.
#[derive(Debug, Default)]
struct Outcome {
    faults: Vec<Fault>,
    matches: usize,
}

impl Outcome {
    fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    fn push(&mut self, fault: Fault) {
        if self.faults.iter().all(|known| known.message != fault.message) {
            self.faults.push(fault);
        }
    }

    fn merge(&mut self, other: Self) {
        self.matches += other.matches;
        other.faults.into_iter().for_each(|fault| self.push(fault));
    }
}

/// A number as upstream holds it.
#[derive(Clone, Copy)]
enum Numeric {
    Integer(i64),
    Float(f64),
}

impl Numeric {
    fn of(number: &Number) -> Self {
        match number.as_i64() {
            Some(integer) => Self::Integer(integer),
            None => Self::Float(number.as_f64().unwrap_or(f64::MAX)),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "upstream compares such numbers as floats"
    )]
    fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }

    fn is_whole(self) -> bool {
        match self {
            Self::Integer(_) => true,
            Self::Float(float) => is_json_integer(float),
        }
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Float(float) => f.write_str(&float_text(*float)),
        }
    }
}

/// Whether a float stands for an integer that JSON can hold exactly.
fn is_json_integer(float: f64) -> bool {
    const MOST: f64 = 9_007_199_254_740_991.0;
    float.is_finite()
        && float.abs() <= MOST
        && (float - float.round()).abs() < 1e-9 * float.abs().max(f64::MIN_POSITIVE)
        || float == 0.0
}

/// A float as messages show it: exponents from 21 digits on.
pub(super) fn float_text(float: f64) -> String {
    if float != 0.0 && !(1e-4..1e21).contains(&float.abs()) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    float.to_string()
}

impl Schema {
    fn check(&self, value: &Value, old: Option<Pair<'_>>, place: &Place<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if value.is_null() {
            if self.is_typed() && !self.nullable {
                outcome.push(Fault::of_type(place, self.type_names(), "null"));
            } else {
                outcome.matches += 1;
            }
            self.checks.check_enumeration(value, place, &mut outcome);
            return outcome;
        }
        if self.is_typed() || self.format.is_some() {
            match self.type_fault(value, place) {
                Some(fault) => outcome.push(fault),
                None => outcome.matches += 1,
            }
            outcome.matches += 1;
        }
        outcome.merge(self.check_combinations(value, old, place));
        outcome.matches += 1;
        match value {
            Value::String(text) => {
                outcome.matches += 1;
                self.check_text(text, place, &mut outcome);
            }
            Value::Number(number) => {
                outcome.merge(self.check_number(Numeric::of(number), place));
                outcome.matches += 1;
            }
            Value::Array(items) => {
                outcome.merge(self.check_items(items, old, place));
                outcome.matches += 1;
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => {}
        }
        self.checks.check_enumeration(value, place, &mut outcome);
        outcome.matches += 1;
        if let Value::Object(members) = value {
            outcome.merge(self.check_members(members, old, place));
            outcome.matches += 1;
        }
        outcome.matches += 1;
        outcome
    }

    /// Checks a member or an item; if it is the same as before, its faults are tolerated.
    fn check_part(&self, value: &Value, old: Option<Pair<'_>>, place: &Place<'_>) -> Outcome {
        let mut outcome = self.check(value, old, place);
        if !outcome.is_valid() && old.is_some_and(Pair::is_unchanged) {
            outcome.faults.clear();
        }
        outcome
    }

    fn type_fault(&self, value: &Value, place: &Place<'_>) -> Option<Fault> {
        let number = match value {
            Value::Number(number) => Some(Numeric::of(number)),
            _ => None,
        };
        let (found, kind, format) = match (value, number) {
            (Value::Bool(_), _) => ("boolean", Type::Boolean, ""),
            (Value::String(_), _) => ("string", Type::String, ""),
            (Value::Array(_), _) => ("array", Type::Array, ""),
            (Value::Object(_), _) => ("object", Type::Object, ""),
            (_, Some(Numeric::Integer(_))) => ("integer", Type::Integer, "int64"),
            _ => ("number", Type::Number, "float64"),
        };
        let fits = self.accepts(kind)
            || (kind == Type::Integer && self.accepts(Type::Number))
            || (kind == Type::Number && self.accepts(Type::Integer) && number.is_some_and(Numeric::is_whole));
        let is_list_or_text = matches!(kind, Type::String | Type::Array);
        if let Some((name, _)) = &self.format {
            if !is_list_or_text && !fits && format != name {
                return Some(Fault::of_type(place, name, format));
            }
            if is_list_or_text && !self.accepts(Type::Number) && !self.accepts(Type::Integer) {
                return None;
            }
        }
        (!fits).then(|| Fault::of_type(place, self.type_names(), found))
    }

    fn check_combinations(&self, value: &Value, old: Option<Pair<'_>>, place: &Place<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let quoted = || gofmt::quote(&place.to_string());
        if !self.checks.any_of.is_empty() {
            let mut best: Option<Outcome> = None;
            for schema in &self.checks.any_of {
                let result = schema.check(value, old, place);
                if result.is_valid() || best.as_ref().is_none_or(|best| result.matches > best.matches) {
                    let done = result.is_valid();
                    best = Some(result);
                    if done {
                        break;
                    }
                }
            }
            if best.as_ref().is_none_or(|best| !best.is_valid()) {
                let message = format!("{} must validate at least one schema (anyOf)", quoted());
                outcome.push(Fault::without_field(message));
            }
            outcome.merge(best.unwrap_or_default());
        }
        if !self.checks.one_of.is_empty() {
            outcome.merge(self.check_one_of(value, old, place));
        }
        if !self.checks.all_of.is_empty() {
            let mut valid = 0;
            for schema in &self.checks.all_of {
                let result = schema.check(value, old, place);
                valid += usize::from(result.is_valid());
                outcome.merge(result);
            }
            if valid != self.checks.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                let message = format!("{} must validate all the schemas (allOf){none}", quoted());
                outcome.push(Fault::without_field(message));
            }
        }
        if let Some(schema) = &self.checks.not
            && schema.check(value, old, place).is_valid()
        {
            let message = format!("{} must not validate the schema (not)", quoted());
            outcome.push(Fault::without_field(message));
        }
        outcome.matches += 1;
        outcome
    }

    fn check_one_of(&self, value: &Value, old: Option<Pair<'_>>, place: &Place<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut valid = 0_usize;
        let mut first: Option<Outcome> = None;
        let mut best: Option<Outcome> = None;
        for schema in &self.checks.one_of {
            let result = schema.check(value, old, place);
            if result.is_valid() {
                valid += 1;
                best = None;
                first.get_or_insert(result);
            } else if valid == 0 && best.as_ref().is_none_or(|best| result.matches > best.matches) {
                best = Some(result);
            }
        }
        if valid == 1 {
            outcome.merge(first.unwrap_or_default());
            return outcome;
        }
        let found = if valid == 0 {
            "Found none valid".to_owned()
        } else {
            format!("Found {valid} valid alternatives")
        };
        let quoted = gofmt::quote(&place.to_string());
        let message = format!("{quoted} must validate one and only one schema (oneOf). {found}");
        outcome.push(Fault::without_field(message));
        outcome.merge(best.unwrap_or_default());
        outcome
    }

    /// Of the rules for texts only the first that is broken is reported, and the format apart from them.
    fn check_text(&self, text: &str, place: &Place<'_>, outcome: &mut Outcome) {
        let checks = &self.checks;
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let quoted = || gofmt::quote(text);
        if let Some(most) = checks.max_length.filter(|most| length > *most) {
            let detail = format!("may not be more than {most} bytes");
            let message = format!("{place} in body should be at most {most} chars long");
            outcome.push(Fault::new(FieldErrorKind::TooLong, place, detail, message));
        } else if let Some(least) = checks.min_length.filter(|least| length < *least) {
            let problem = format!("should be at least {least} chars long");
            outcome.push(Fault::invalid(place, quoted(), problem));
        } else if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            let problem = format!("should match '{}'", pattern.source);
            outcome.push(Fault::invalid(place, quoted(), problem));
        }
        if let Some((name, Format::Text(test))) = &self.format {
            outcome.matches += 1;
            if !test(text) {
                outcome.push(Fault::of_type(place, name, text));
            }
        }
    }

    fn check_number(&self, number: Numeric, place: &Place<'_>) -> Outcome {
        let checks = &self.checks;
        let mut outcome = Outcome::default();
        let mut check = |what: &str, number: Numeric| {
            let fault = self.range_fault(what, number, place);
            let fits = fault.is_none();
            if let Some(fault) = fault {
                outcome.push(fault);
            }
            fits
        };
        check("Checked", number);
        let factor = checks
            .multiple_of
            .map(|factor| (factor, check("MultipleOf", Numeric::Float(factor))));
        let most = checks
            .maximum
            .map(|bound| (bound, check("Maximum boundary", Numeric::Float(bound.value))));
        let least = checks
            .minimum
            .map(|bound| (bound, check("Minimum boundary", Numeric::Float(bound.value))));
        if let Some((factor, native)) = factor {
            outcome
                .faults
                .extend(multiple_fault(number, factor, native, place));
        }
        if let Some((bound, native)) = least {
            let broken = |relation: std::cmp::Ordering| relation.is_lt();
            outcome
                .faults
                .extend(bound_fault(number, bound, native, place, "greater", broken));
        }
        if let Some((bound, native)) = most {
            let broken = |relation: std::cmp::Ordering| relation.is_gt();
            outcome
                .faults
                .extend(bound_fault(number, bound, native, place, "less", broken));
        }
        outcome.matches += 1;
        outcome
    }

    /// Whether a number fits into the type and format of the schema.
    fn range_fault(&self, what: &str, number: Numeric, place: &Place<'_>) -> Option<Fault> {
        let format = self.format.as_ref();
        let fits = match (self.kind, format.map(|(_, format)| format)) {
            (Some(Type::Integer), Some(Format::Int32)) => {
                number.is_whole()
                    && number.as_f64().abs() <= 2_147_483_648.0
                    && number.as_f64() < 2_147_483_648.0
            }
            (Some(Type::Integer), _) => match number {
                Numeric::Integer(_) => true,
                Numeric::Float(float) => float.fract() == 0.0 && float.abs() < 9_223_372_036_854_775_808.0,
            },
            (Some(Type::Number), Some(Format::Float)) => number.as_f64().abs() <= f64::from(f32::MAX),
            _ => true,
        };
        if fits {
            return None;
        }
        let kind = self.type_names();
        let detail = match format {
            Some((name, _)) => format!("of type {kind} with format {name}"),
            None => format!("of type {kind} (default format)"),
        };
        Some(Fault::without_field(format!(
            "{what} value must be {detail} in {place}"
        )))
    }

    fn check_items(&self, items: &[Value], old: Option<Pair<'_>>, place: &Place<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(schema) = self.items.as_deref() {
            for (index, item) in items.iter().enumerate() {
                let old = old.and_then(|old| old.item(index));
                outcome.merge(schema.check_part(item, old, &Place::Item(place, index)));
            }
        }
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(least) = self.checks.min_items.filter(|least| count < *least) {
            let problem = format!("should have at least {least} items");
            outcome.push(Fault::invalid(place, count.to_string(), problem));
        }
        if let Some(most) = self.checks.max_items.filter(|most| count > *most) {
            outcome.push(too_many(place, count, most, "items"));
        }
        outcome.matches += 1;
        outcome
    }

    fn check_members(
        &self,
        members: &serde_json::Map<String, Value>,
        old: Option<Pair<'_>>,
        place: &Place<'_>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let count = i64::try_from(members.len()).unwrap_or(i64::MAX);
        if let Some(least) = self.checks.min_properties.filter(|least| count < *least) {
            let problem = format!("should have at least {least} properties");
            outcome.push(Fault::invalid(place, count.to_string(), problem));
        }
        if let Some(most) = self.checks.max_properties.filter(|most| count > *most) {
            outcome.push(too_many(place, count, most, "properties"));
        }
        let is_root = matches!(place, Place::Root);
        // Former objects have another version at most: nothing is known of a change of these two.
        let pair = |name: &str| {
            old.filter(|_| !(is_root && matches!(name, "kind" | "apiVersion")))
                .and_then(|old| old.member(name))
        };
        for (name, member) in members {
            if self.properties.contains_key(name) {
                continue;
            }
            match &self.additional {
                Additional::Typed(schema) => {
                    outcome.merge(schema.check_part(member, pair(name), &Place::Extra(place, name)));
                }
                Additional::Allowed(false) => {
                    let message = format!("{place}.{name} in body is a forbidden property");
                    let value = gofmt::quote(name);
                    outcome.push(Fault::new(FieldErrorKind::Invalid, place, value, message));
                }
                Additional::Allowed(true) | Additional::Absent => {}
            }
        }
        for (name, schema) in &self.properties {
            if let Some(member) = members.get(name) {
                outcome.merge(schema.check_part(member, pair(name), &Place::Member(place, name)));
            }
        }
        for name in &self.checks.required {
            if !members.contains_key(name) {
                let place = Place::Extra(place, name);
                let message = format!("{place} in body is required");
                outcome.push(Fault::new(FieldErrorKind::Required, &place, "", message));
            }
        }
        outcome
    }
}

impl Checks {
    fn check_enumeration(&self, value: &Value, place: &Place<'_>, outcome: &mut Outcome) {
        if self.allowed.is_empty()
            || (!value.is_null() && self.allowed.iter().any(|allowed| same(value, allowed)))
        {
            return;
        }
        let listed: Vec<String> = self
            .allowed
            .iter()
            .map(|allowed| match allowed {
                Value::String(text) => gofmt::quote(text),
                other => gofmt::quote(&other.to_string()),
            })
            .collect();
        let shown = match value {
            Value::Number(number) => Numeric::of(number).to_string(),
            other => gofmt::show(other),
        };
        let detail = format!("{shown}: supported values: {}", listed.join(", "));
        let message = format!("{place} in body should be one of {}", listed.join(" "));
        outcome.push(Fault::new(FieldErrorKind::NotSupported, place, detail, message));
    }
}

/// Equality of JSON values in which numbers are compared as numbers.
#[expect(clippy::float_cmp, reason = "upstream compares exactly")]
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Numeric::of(a).as_f64() == Numeric::of(b).as_f64(),
        _ => a == b,
    }
}

fn too_many(place: &Place<'_>, count: i64, most: i64, what: &str) -> Fault {
    let detail = format!("{count}: must have at most {most} items");
    let message = format!("{place} in body should have at most {most} {what}");
    Fault::new(FieldErrorKind::TooMany, place, detail, message)
}

/// The integer part: bounds of integers lose their fraction, as they do upstream.
#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates, like upstream's conversion"
)]
fn truncated(float: f64) -> i64 {
    float as i64
}

/// `native`: the factor fits the type of the schema, so that integers are compared as integers.
fn multiple_fault(number: Numeric, factor: f64, native: bool, place: &Place<'_>) -> Option<Fault> {
    if let (Numeric::Integer(integer), true) = (number, native) {
        let factor = truncated(factor);
        if factor <= 0 {
            return Some(not_positive(place, factor));
        }
        return (integer % factor != 0).then(|| {
            Fault::invalid(
                place,
                integer.to_string(),
                format!("should be a multiple of {factor}"),
            )
        });
    }
    if factor <= 0.0 {
        return Some(not_positive(place, float_text(factor)));
    }
    let value = number.as_f64();
    let quotient = if factor < 1.0 {
        1.0 / factor * value
    } else {
        value / factor
    };
    (!is_json_integer(quotient)).then(|| {
        let problem = format!("should be a multiple of {}", float_text(factor));
        Fault::invalid(place, float_text(value), problem)
    })
}

fn not_positive(place: &Place<'_>, factor: impl fmt::Display) -> Fault {
    let message = format!("factor MultipleOf declared for {place} must be positive: {factor}");
    Fault::new(FieldErrorKind::Invalid, place, factor.to_string(), message)
}

fn bound_fault(
    number: Numeric,
    bound: Bound,
    native: bool,
    place: &Place<'_>,
    relation: &str,
    broken: fn(std::cmp::Ordering) -> bool,
) -> Option<Fault> {
    let (ordering, shown) = match number {
        Numeric::Integer(integer) if native => {
            let bound = truncated(bound.value);
            (integer.cmp(&bound), bound.to_string())
        }
        number => (number.as_f64().total_cmp(&bound.value), float_text(bound.value)),
    };
    let or_equal = if bound.exclusive { "" } else { " or equal to" };
    // Upstream writes "less than 5" and "less than or equal to 5".
    let than = if bound.exclusive {
        format!("{relation} than {shown}")
    } else {
        format!("{relation} than{or_equal} {shown}")
    };
    let is_broken = broken(ordering) || (bound.exclusive && ordering.is_eq());
    is_broken.then(|| Fault::invalid(place, number.to_string(), format!("should be {than}")))
}
