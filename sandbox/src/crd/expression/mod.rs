//! Expressions of rules before they are accepted: types, references and cost (API-545). The evaluator has no types of its
//! own; here a rule is checked against the schema as upstream does, so that a definition with a rule that can never be
//! evaluated, or that costs too much, is refused with upstream's words.

mod check;
mod cost;
mod nesting;
mod parse;
mod types;

pub(super) use self::nesting::Nesting;
use self::types::Ty;
use super::{evaluate::Program, schema::Schema};
use crate::validate::FieldError;

/// Most that one rule may cost for one object (kube-apiserver 1.36).
const RULE_LIMIT: u64 = 10_000_000;
/// Most that all rules of a schema may cost together (kube-apiserver 1.36).
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many rules are named if the limit for the schema is exceeded.
const NAMED: usize = 4;

/// What is known of an accepted expression.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    /// Estimate of the most that one evaluation costs.
    pub(super) cost: u64,
    pub(super) uses_old_self: bool,
}

/// What expressions of a schema node can speak of.
#[derive(Debug)]
pub(super) struct Environment<'a> {
    schema: &'a Schema,
    is_resource: bool,
}

impl<'a> Environment<'a> {
    /// Expressions of `schema`, which is that of a whole object if `is_resource`.
    pub(super) fn new(schema: &'a Schema, is_resource: bool) -> Self {
        Self { schema, is_resource }
    }

    /// Checks a rule.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(super) fn check_rule(&self, source: &str, optional_old_self: bool) -> Result<Checked, String> {
        let (ty, checked) = self
            .check(source, optional_old_self)
            .map_err(|problem| format!("compilation failed: {problem}"))?;
        if ty.is("bool") {
            Ok(checked)
        } else {
            Err("cel expression must evaluate to a bool".to_owned())
        }
    }

    /// Checks an expression that makes a message.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(super) fn check_message(&self, source: &str, optional_old_self: bool) -> Result<Checked, String> {
        let (ty, checked) = self
            .check(source, optional_old_self)
            .map_err(|problem| format!("messageExpression compilation failed: {problem}"))?;
        if ty.is("string") {
            Ok(checked)
        } else {
            Err("messageExpression must evaluate to a string".to_owned())
        }
    }

    fn check(&self, source: &str, optional_old_self: bool) -> Result<(Ty<'a>, Checked), String> {
        Program::parse(source)?.nesting().run(|| {
            let node = parse::parse(source).ok_or("expression is not supported by this server")?;
            check::check(&node, self.schema, self.is_resource, optional_old_self)
                .map_err(|problems| show_problems(source, problems))
        })
    }

    /// Cost of an expression for all values that an object can have of this schema; `None`: no limit is declared.
    pub(super) fn total_cost(&self, cost: u64, cardinality: Option<u64>) -> u64 {
        cost.saturating_mul(
            cardinality.unwrap_or_else(|| cost::most_in_request(self.schema, self.is_resource)),
        )
    }
}

/// Something wrong at a byte of an expression.
#[derive(Debug)]
struct Problem {
    at: usize,
    text: String,
}

/// Problems with the lines where they are, in their order.
fn show_problems(source: &str, mut problems: Vec<Problem>) -> String {
    problems.sort_by_key(|problem| problem.at);
    let shown: Vec<String> = problems
        .into_iter()
        .map(|problem| {
            let before = source.get(..problem.at).unwrap_or(source);
            let start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let line = source
                .get(start..)
                .and_then(|rest| rest.lines().next())
                .unwrap_or_default();
            let number = before.matches('\n').count() + 1;
            let column = before.get(start..).map_or(0, |text| text.chars().count());
            let dots = ".".repeat(column);
            let column = column + 1;
            format!(
                "ERROR: <input>:{number}:{column}: {}\n | {line}\n | {dots}^",
                problem.text
            )
        })
        .collect();
    shown.join("\n")
}

/// What the rules of a definition cost together.
#[derive(Debug)]
pub(super) struct Budget {
    unchanged: bool,
    total: u64,
    most_expensive: Vec<(u64, String)>,
}

impl Budget {
    /// A single rule of an `unchanged` schema may cost what it wants.
    pub(super) fn new(unchanged: bool) -> Self {
        Self {
            unchanged,
            total: 0,
            most_expensive: Vec::new(),
        }
    }

    /// Counts the cost of an expression; an error if it is too much by itself.
    pub(super) fn spend(&mut self, field: &str, name: &str, cost: u64) -> Option<FieldError> {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.most_expensive.push((cost, field.to_owned()));
            self.most_expensive
                .sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.most_expensive.truncate(NAMED);
        }
        (cost > RULE_LIMIT && !self.unchanged)
            .then(|| FieldError::forbidden(field, exceeds(name, cost, RULE_LIMIT)))
    }

    /// Errors if all rules together cost too much.
    pub(super) fn verdict(&self, path: &str) -> Vec<FieldError> {
        if self.total <= SCHEMA_LIMIT {
            return Vec::new();
        }
        let part =
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        self.most_expensive
            .iter()
            .map(|(_, field)| FieldError::forbidden(field, part))
            .chain([FieldError::forbidden(
                path,
                exceeds(name, self.total, SCHEMA_LIMIT),
            )])
            .collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "the factor is shown with one digit")]
fn exceeds(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::parse(&json!({"type": "object", "properties": {
            "s": {"type": "string", "maxLength": 10}, "i": {"type": "integer"}, "n": {"type": "number"},
            "b": {"type": "boolean"}, "l": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 5}},
            "m": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}},
            "o": {"type": "object", "properties": {"x": {"type": "string", "maxLength": 3}}},
            "t": {"type": "string", "format": "date-time"}, "d": {"type": "string", "format": "duration"},
            "p": {"x-kubernetes-int-or-string": true}, "a-b": {"type": "string", "maxLength": 3},
            "namespace": {"type": "string", "maxLength": 3}, "any": {"type": "array", "items": {"type": "string"}},
        }}))
    }

    fn check(source: &str) -> Result<Checked, String> {
        Environment::new(&schema(), false).check_rule(source, false)
    }

    #[rstest]
    #[case("self.i > 5 && self.s.startsWith('a')")]
    #[case("self.l.all(x, x.matches('^[a-z]+$')) || self.l.exists(x, x == 'b')")]
    #[case("self.m.all(k, self.m[k] > 0)")]
    #[case("has(self.o) ? self.o.x == 'a' : true")]
    #[case("!has(oldSelf.o) || oldSelf.o.x == self.o.x")]
    #[case("self.t > timestamp('2020-01-01T00:00:00Z') && self.d < duration('1h')")]
    #[case("type(self.p) == int ? self.p < 5 : self.p.contains('%')")]
    #[case("self.a__dash__b == self.__namespace__")]
    #[case("quantity('1Gi').isGreaterThan(quantity('1Mi')) && isURL(self.s)")]
    #[case("self.?o.?x.orValue('') == ''")]
    #[case("self.l.map(x, x.size()).sum() < 9 && sets.contains(self.l, ['a'])")]
    #[case("self.l.filter(x, x in ['a', 'b']).size() == 1 && self.l.exists_one(x, x == 'a')")]
    #[case("self.n < self.i && double(self.i) == self.n")]
    #[case("ip(self.s).family() == 4 && cidr('10.0.0.0/8').containsIP(ip(self.s))")]
    #[case("!format.dns1123Label().validate(self.s).hasValue()")]
    #[case("self.o == oldSelf.o && self.l == oldSelf.l")]
    #[case("'a' in self.l && 'k' in self.m && self.m['k'] == 1")]
    fn api_545_rules_that_are_accepted(#[case] source: &str) {
        check(source).unwrap();
    }

    #[rstest]
    #[case(
        "self.foo == 'x'",
        "<input>:1:5: undefined field 'foo'\n | self.foo == 'x'\n | ....^"
    )]
    #[case(
        "self.s > 5",
        "<input>:1:8: found no matching overload for '_>_' applied to '(string, int)'\n"
    )]
    #[case(
        "foo(self.s)",
        "<input>:1:4: undeclared reference to 'foo' (in container '')\n"
    )]
    #[case("bar == 1", "<input>:1:1: undeclared reference to 'bar' (in container '')\n")]
    #[case(
        "self.s.startsWith(1)",
        "found no matching overload for 'startsWith' applied to 'string.(int)'"
    )]
    #[case(
        "self.l.all(x, x > 1)",
        "found no matching overload for '_>_' applied to '(string, int)'"
    )]
    #[case(
        "self.s.size() + 'a' == 'b'",
        "found no matching overload for '_+_' applied to '(int, string)'"
    )]
    #[case("self.i.x == 1", "type 'int' does not support field selection")]
    #[case("self.s", "cel expression must evaluate to a bool")]
    #[case("self.s.matches('[a')", "invalid matches argument")]
    fn api_545_rules_that_are_refused(#[case] source: &str, #[case] problem: &str) {
        let found = check(source).unwrap_err();
        assert!(found.contains(problem), "{found}");
    }

    #[test]
    fn api_545_several_problems_in_order() {
        let found = check("self.foo == 'x' && self.bar").unwrap_err();
        assert_eq!(found.matches("ERROR").count(), 2);
        assert!(found.find("foo'").unwrap() < found.find("bar'").unwrap());
    }

    #[test]
    fn api_545_cost() {
        let cheap = check("self.l.all(x, self.l.all(y, x == y))").unwrap();
        assert!(cheap.cost < 2_000, "{}", cheap.cost);
        let dear = check("self.any.all(x, self.any.all(y, x == y))").unwrap();
        assert!(dear.cost > RULE_LIMIT * 100);
        let mut budget = Budget::new(false);
        let error = budget.spend("f", "estimated rule cost", dear.cost).unwrap();
        assert!(
            error
                .detail
                .starts_with("estimated rule cost exceeds budget by factor of more than 100x")
        );
        assert_eq!(budget.verdict("p").len(), 2);
    }

    #[test]
    fn api_545_old_self() {
        assert!(check("self.i >= oldSelf.i").unwrap().uses_old_self);
        assert!(!check("self.i >= 1").unwrap().uses_old_self);
        let schema = schema();
        let environment = Environment::new(&schema, false);
        assert!(environment.check_rule("oldSelf.hasValue()", true).is_ok());
        assert!(environment.check_rule("oldSelf.hasValue()", false).is_err());
    }
}
