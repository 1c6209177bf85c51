//! Types and cost of each part of an expression, from the leaves up.

use super::{
    Checked, Problem,
    cost::{UNKNOWN, most_elements, share},
    parse::{Kind, Node},
    types::{self, BOOL, Bindings, INT, STRING, Signature, Ty},
};
use crate::crd::{
    format::go_duration,
    pattern,
    schema::{Schema, Type},
};

/// Checks an expression about values of `schema`.
///
/// # Errors
/// With everything that is wrong.
pub(super) fn check<'a>(
    node: &Node,
    schema: &'a Schema,
    is_resource: bool,
    optional_old_self: bool,
) -> Result<(Ty<'a>, Checked), Vec<Problem>> {
    let own = Part {
        schema: Some(schema),
        size: most_elements(schema),
        cost: 1,
        ..Part::of(Ty::of(schema, is_resource).unwrap_or(Ty::Dyn))
    };
    let old = Part {
        ty: if optional_old_self {
            Ty::optional(own.ty.clone())
        } else {
            own.ty.clone()
        },
        ..own.clone()
    };
    let mut walk = Checker {
        problems: Vec::new(),
        literal_problems: Vec::new(),
        mixes: false,
        uses_old_self: false,
        own,
        old,
        variables: Vec::new(),
    };
    let part = walk.part(node);
    if walk.problems.is_empty() {
        walk.problems = walk.literal_problems;
    }
    if walk.problems.is_empty() {
        let checked = Checked {
            cost: part.cost,
            uses_old_self: walk.uses_old_self,
        };
        Ok((part.ty, checked))
    } else {
        Err(walk.problems)
    }
}

/// What is known of a part.
#[derive(Clone, Debug)]
struct Part<'a> {
    ty: Ty<'a>,
    /// Schema of the value, if it comes from the object.
    schema: Option<&'a Schema>,
    /// Most elements or bytes.
    size: u64,
    /// Most bytes of an element, if there is no schema.
    item_size: u64,
    cost: u64,
}

impl<'a> Part<'a> {
    fn of(ty: Ty<'a>) -> Self {
        let size = match &ty {
            Ty::Named("string" | "bytes") => UNKNOWN,
            Ty::Named(_) | Ty::Null => 1,
            _ => UNKNOWN,
        };
        Self {
            ty,
            schema: None,
            size,
            item_size: UNKNOWN,
            cost: 0,
        }
    }

    fn costing(self, cost: u64) -> Self {
        Self { cost, ..self }
    }

    fn from_schema(ty: Ty<'a>, schema: Option<&'a Schema>) -> Self {
        let part = Self::of(ty);
        match schema {
            Some(schema) => Self {
                size: most_elements(schema),
                schema: Some(schema),
                ..part
            },
            None => part,
        }
    }

    /// An element of a list or a value of a map.
    fn element(&self, ty: Ty<'a>) -> Self {
        let schema = self.schema.and_then(|schema| match schema.kind {
            Some(Type::Array) => schema.items.as_deref(),
            _ => schema.additional(),
        });
        let part = Self::from_schema(ty, schema);
        if schema.is_none() && part.size == UNKNOWN {
            return Self {
                size: self.item_size,
                ..part
            };
        }
        part
    }
}

struct Checker<'a> {
    problems: Vec<Problem>,
    /// Of literals; reported if all types are right.
    literal_problems: Vec<Problem>,
    /// Whether the elements of a list literal may differ in type.
    mixes: bool,
    uses_old_self: bool,
    own: Part<'a>,
    old: Part<'a>,
    /// Variables of macros, the innermost last.
    variables: Vec<(String, Part<'a>)>,
}

impl<'a> Checker<'a> {
    fn wrong(&mut self, at: usize, text: impl Into<String>) -> Part<'a> {
        self.problems.push(Problem {
            at,
            text: text.into(),
        });
        Part::of(Ty::Dyn)
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Part<'a> {
        self.wrong(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn part(&mut self, node: &Node) -> Part<'a> {
        match &node.kind {
            Kind::Null => Part::of(Ty::Null),
            Kind::Bool => Part::of(BOOL),
            Kind::Int => Part::of(INT),
            Kind::Uint => Part::of(Ty::Named("uint")),
            Kind::Double => Part::of(Ty::Named("double")),
            Kind::Text(text) => Part {
                size: u64::try_from(text.len()).unwrap_or(UNKNOWN),
                ..Part::of(STRING)
            },
            Kind::Bytes(length) => Part {
                size: u64::try_from(*length).unwrap_or(UNKNOWN),
                ..Part::of(Ty::Named("bytes"))
            },
            Kind::Name(name) => self.name(node.at, name),
            Kind::Select { of, name, optional } => {
                let part = self.select(node.at, of, name, *optional);
                let cost = part.cost.saturating_add(1);
                part.costing(cost)
            }
            Kind::Index { of, index, optional } => self.index(node.at, of, index, *optional),
            Kind::Call {
                target,
                function,
                arguments,
            } => self.call(node.at, target.as_deref(), function, arguments),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
        }
    }

    fn name(&mut self, at: usize, name: &str) -> Part<'a> {
        if let Some((_, part)) = self.variables.iter().rev().find(|(known, _)| known == name) {
            return part.clone().costing(1);
        }
        match name {
            "self" => self.own.clone(),
            "oldSelf" => {
                self.uses_old_self = true;
                self.old.clone()
            }
            name if types::is_type(name) => Part::of(Ty::Named("type")).costing(1),
            name => self.undeclared(at, name),
        }
    }

    /// A member; its cost is that of what it is selected from.
    fn select(&mut self, at: usize, of: &Node, name: &str, optional: bool) -> Part<'a> {
        let of = self.part(of);
        let (base, is_optional) = match &of.ty {
            Ty::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let part = match base {
            Ty::Dyn => Part::of(Ty::Dyn),
            Ty::Object { schema, is_resource } => match types::member(schema, is_resource, name) {
                Some((ty, property)) => Part::from_schema(ty, property),
                None => self.wrong(at, format!("undefined field '{name}'")),
            },
            Ty::Metadata if matches!(name, "name" | "generateName") => Part::of(STRING),
            Ty::Metadata => self.wrong(at, format!("undefined field '{name}'")),
            Ty::Map(_, values) => of.element((*values).clone()),
            other => self.wrong(at, format!("type '{other}' does not support field selection")),
        };
        let part = part.costing(of.cost);
        if optional || is_optional {
            Part {
                ty: Ty::optional(part.ty.clone()),
                ..part
            }
        } else {
            part
        }
    }

    fn index(&mut self, at: usize, of: &Node, index: &Node, optional: bool) -> Part<'a> {
        let of = self.part(of);
        let index = self.part(index);
        let (base, is_optional) = match &of.ty {
            Ty::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let mut bindings = Bindings::default();
        let part = match &base {
            Ty::Dyn => Part::of(Ty::Dyn),
            Ty::List(items) if types::fits(&INT, &index.ty, &mut bindings) => of.element((**items).clone()),
            Ty::Map(keys, values) if types::fits(keys, &index.ty, &mut bindings) => {
                of.element((**values).clone())
            }
            base => {
                let text = format!(
                    "found no matching overload for '_[_]' applied to '({base}, {})'",
                    index.ty
                );
                self.wrong(at, text)
            }
        };
        let part = part.costing(of.cost.saturating_add(index.cost).saturating_add(1));
        if optional || is_optional {
            Part {
                ty: Ty::optional(part.ty.clone()),
                ..part
            }
        } else {
            part
        }
    }

    /// All elements have to be of one type.
    fn list(&mut self, items: &[Node]) -> Part<'a> {
        let parts = self.parts(items.iter());
        let ty = self.common_type(items.iter().zip(&parts));
        Part {
            size: u64::try_from(items.len()).unwrap_or(UNKNOWN),
            // Upstream does not look into literals.
            item_size: UNKNOWN,
            cost: sum(&parts).saturating_add(10),
            ..Part::of(Ty::list(ty))
        }
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Part<'a> {
        let keys = self.parts(entries.iter().map(|(key, _)| key));
        let values = self.parts(entries.iter().map(|(_, value)| value));
        let key = self.common_type(entries.iter().map(|(key, _)| key).zip(&keys));
        let value = self.common_type(entries.iter().map(|(_, value)| value).zip(&values));
        Part {
            size: u64::try_from(entries.len()).unwrap_or(UNKNOWN),
            item_size: values.iter().map(|part| part.size).max().unwrap_or(0),
            cost: sum(&keys).saturating_add(sum(&values)).saturating_add(30),
            ..Part::of(Ty::Map(Box::new(key), Box::new(value)))
        }
    }

    fn parts<'n>(&mut self, nodes: impl Iterator<Item = &'n Node>) -> Vec<Part<'a>> {
        nodes.map(|node| self.part(node)).collect()
    }

    fn common_type<'n>(&mut self, parts: impl Iterator<Item = (&'n Node, &'n Part<'a>)>) -> Ty<'a>
    where
        'a: 'n,
    {
        let mut common: Option<Ty<'a>> = None;
        for (node, part) in parts {
            match &common {
                None => common = Some(part.ty.clone()),
                Some(known) if types::fits(known, &part.ty, &mut Bindings::default()) => {}
                Some(known) => {
                    if !self.mixes {
                        let text = format!("expected type '{known}' but found '{}'", part.ty);
                        self.literal_problems.push(Problem { at: node.at, text });
                    }
                    return Ty::Dyn;
                }
            }
        }
        common.unwrap_or(Ty::Dyn)
    }

    fn call(&mut self, at: usize, target: Option<&Node>, function: &str, arguments: &[Node]) -> Part<'a> {
        if let Some(part) = self.macro_call(at, target, function, arguments) {
            return part;
        }
        if let Some(Node {
            kind: Kind::Name(namespace),
            ..
        }) = target
            && types::is_namespace(namespace)
            && self.variables.iter().all(|(known, _)| known != namespace)
        {
            let arguments_of = self.parts(arguments.iter());
            let name = format!("{namespace}.{function}");
            return self.resolve(at, None, &name, arguments, arguments_of);
        }
        let target = target.map(|target| self.part(target));
        self.mixes = function == "format";
        let parts = self.parts(arguments.iter());
        self.mixes = false;
        self.resolve(at, target, function, arguments, parts)
    }

    /// Finds the overload of a function.
    fn resolve(
        &mut self,
        at: usize,
        target: Option<Part<'a>>,
        function: &str,
        nodes: &[Node],
        arguments: Vec<Part<'a>>,
    ) -> Part<'a> {
        let signatures = types::overloads(function);
        if signatures.is_empty() {
            return self.undeclared(at, function);
        }
        let mut result: Option<Ty<'a>> = None;
        for signature in signatures {
            let Some(found) = apply(signature, target.as_ref(), &arguments) else {
                continue;
            };
            result = Some(match result {
                Some(known) if known.to_string() != found.to_string() => Ty::Dyn,
                _ => found,
            });
        }
        let Some(ty) = result else {
            let listed: Vec<String> = arguments.iter().map(|part| part.ty.to_string()).collect();
            let listed = listed.join(", ");
            let applied = match &target {
                Some(target) => format!("{}.({listed})", target.ty),
                None => format!("({listed})"),
            };
            return self.wrong(
                at,
                format!("found no matching overload for '{function}' applied to '{applied}'"),
            );
        };
        self.check_literal(function, target.is_some(), nodes);
        let parts: Vec<Part<'a>> = target.into_iter().chain(arguments).collect();
        let (cost, size) = call_cost(function, &parts);
        let part = Part::of(ty).costing(cost);
        match size {
            Some(size) => Part { size, ..part },
            None => part,
        }
    }

    /// Texts that are part of the expression are checked with it.
    fn check_literal(&mut self, function: &str, is_member: bool, arguments: &[Node]) {
        let place = usize::from(function == "matches" && !is_member);
        let Some(Node {
            kind: Kind::Text(text),
            at,
        }) = arguments.get(place)
        else {
            return;
        };
        let is_wrong = match function {
            "matches" => pattern::problem(text).is_some(),
            "duration" => go_duration(text).is_none(),
            "timestamp" => text.parse::<jiff::Timestamp>().is_err(),
            _ => false,
        };
        if is_wrong {
            let text = format!("invalid {function} argument");
            self.literal_problems.push(Problem { at: *at, text });
        }
    }

    /// Functions that bind variables, or look at an expression instead of its value.
    fn macro_call(
        &mut self,
        at: usize,
        target: Option<&Node>,
        function: &str,
        arguments: &[Node],
    ) -> Option<Part<'a>> {
        if let (None, "has", [argument]) = (target, function, arguments) {
            let Kind::Select { of, name, .. } = &argument.kind else {
                return Some(self.wrong(argument.at, "invalid argument to has() macro"));
            };
            let part = self.select(argument.at, of, name, false);
            return Some(Part::of(BOOL).costing(part.cost));
        }
        let target = target?;
        match (function, arguments) {
            ("all" | "exists" | "exists_one" | "existsOne" | "filter", [variable, test]) => {
                Some(self.comprehension(target, variable, test, None, function))
            }
            ("map", [variable, result]) => Some(self.comprehension(target, variable, result, None, function)),
            ("map", [variable, test, result]) => {
                Some(self.comprehension(target, variable, result, Some(test), function))
            }
            // The evaluator has no comprehensions over two variables, no sorting by keys, no mapping of optionals.
            (
                "optMap" | "optFlatMap" | "all" | "exists" | "existsOne" | "transformList" | "transformMap"
                | "transformMapEntry" | "sortBy",
                [_, _, ..],
            ) => Some(self.wrong(at, format!("macro '{function}' is not supported by this server"))),
            _ => None,
        }
    }

    fn within(
        &mut self,
        variable: &Node,
        part: Part<'a>,
        body: impl FnOnce(&mut Self) -> Part<'a>,
    ) -> Part<'a> {
        let Kind::Name(name) = &variable.kind else {
            return self.wrong(variable.at, "argument must be a simple name");
        };
        self.variables.push((name.clone(), part));
        let result = body(self);
        self.variables.pop();
        result
    }

    fn comprehension(
        &mut self,
        target: &Node,
        variable: &Node,
        inner: &Node,
        condition: Option<&Node>,
        function: &str,
    ) -> Part<'a> {
        let range = self.part(target);
        let element = match &range.ty {
            Ty::List(items) => range.element((**items).clone()),
            Ty::Map(keys, _) => Part::of((**keys).clone()),
            Ty::Dyn => Part::of(Ty::Dyn),
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.wrong(target.at, text)
            }
        };
        let mut test_cost = 0;
        let kept = element.clone();
        let result = self.within(variable, element, |checker| {
            if let Some(test) = condition {
                let part = checker.part(test);
                checker.expect_bool(test, &part);
                test_cost = part.cost;
            }
            checker.part(inner)
        });
        if !matches!(function, "map") {
            self.expect_bool(inner, &result);
        }
        let step = result.cost.saturating_add(test_cost);
        // Cost of making the result, of each step, and of the end.
        let (before, each, after, ty) = match function {
            "all" => (0, 3, 1, BOOL),
            "exists" => (0, 4, 1, BOOL),
            "exists_one" | "existsOne" => (0, 2, 2, BOOL),
            "filter" => {
                let items = match &range.ty {
                    Ty::Map(..) => Ty::list(kept.ty.clone()),
                    other => other.clone(),
                };
                (10, 13, 1, items)
            }
            _ => (10, 12, 1, Ty::list(result.ty.clone())),
        };
        let loop_cost = range.size.saturating_mul(step.saturating_add(each));
        let cost = range
            .cost
            .saturating_add(before)
            .saturating_add(loop_cost)
            .saturating_add(after);
        let part = Part::of(ty).costing(cost);
        match (function, &part.ty) {
            ("filter", _) => Part {
                size: range.size,
                schema: range.schema,
                ..part
            },
            ("map", _) => Part {
                size: range.size,
                item_size: result.size,
                ..part
            },
            _ => part,
        }
    }

    fn expect_bool(&mut self, node: &Node, part: &Part<'a>) {
        if !types::fits(&BOOL, &part.ty, &mut Bindings::default()) {
            let text = format!("expected type 'bool' but found '{}'", part.ty);
            self.wrong(node.at, text);
        }
    }
}

fn sum(parts: &[Part<'_>]) -> u64 {
    parts
        .iter()
        .fold(0_u64, |sum, part| sum.saturating_add(part.cost))
}

/// The result of an overload, if its arguments fit.
fn apply<'a>(
    signature: &'static Signature,
    target: Option<&Part<'a>>,
    arguments: &[Part<'a>],
) -> Option<Ty<'a>> {
    let mut bindings = Bindings::default();
    match (&signature.receiver, target) {
        (Some(wanted), Some(given)) if types::fits(wanted, &given.ty, &mut bindings) => {}
        (None, None) => {}
        _ => return None,
    }
    if signature.arguments.len() != arguments.len() {
        return None;
    }
    signature
        .arguments
        .iter()
        .zip(arguments)
        .all(|(wanted, given)| types::fits(wanted, &given.ty, &mut bindings))
        .then(|| types::resolve(&signature.result, &bindings))
}

/// Cost of a call with that of its arguments, and the size of its result if it follows from theirs.
fn call_cost(function: &str, parts: &[Part<'_>]) -> (u64, Option<u64>) {
    let arguments = sum(parts);
    let size = |index: usize| parts.get(index).map_or(0, |part| part.size);
    let plus = |own: u64| arguments.saturating_add(own);
    match function {
        "_&&_" | "_||_" => (arguments, None),
        "_?_:_" => {
            let cost = |index: usize| parts.get(index).map_or(0, |part| part.cost);
            let cost = cost(0).saturating_add(cost(1).max(cost(2)));
            (cost, Some(size(1).max(size(2))))
        }
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => (plus(share(size(0).min(size(1)), 10)), None),
        "@in" if matches!(parts.get(1).map(|part| &part.ty), Some(Ty::List(_))) => (plus(size(1)), None),
        "_+_" => match parts.first().map(|part| &part.ty) {
            Some(Ty::Named("string" | "bytes")) => {
                let size = size(0).saturating_add(size(1));
                (plus(share(size, 10)), Some(size))
            }
            Some(Ty::List(_)) => (plus(1), Some(size(0).saturating_add(size(1)))),
            _ => (plus(1), None),
        },
        "startsWith" | "endsWith" => (plus(share(size(1), 10)), None),
        "contains" => (plus(share(size(0), 10).saturating_mul(share(size(1), 10))), None),
        "matches" | "find" | "findAll" => {
            let text = share(size(0).saturating_add(1), 10);
            (plus(text.saturating_mul(share(size(1), 25))), None)
        }
        "lowerAscii" | "upperAscii" | "substring" | "trim" | "url" => {
            (plus(share(size(0), 10)), Some(size(0)))
        }
        "join" => {
            let items = parts.first().map_or(UNKNOWN, |list| list.element(STRING).size);
            (plus(share(size(0).saturating_mul(items), 20)), None)
        }
        "replace" | "split" | "ip.isCanonical" => (plus(share(size(0), 20)), None),
        "quantity" | "isQuantity" | "semver" | "isSemver" | "ip" | "cidr" | "isIP" | "isCIDR" | "isURL"
        | "format" | "bytes" => (plus(share(size(0), 10)), None),
        "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" => (plus(size(0)), None),
        "validate" => (
            plus(share(size(1).saturating_add(1), 10).saturating_mul(32)),
            None,
        ),
        "sets.contains" | "sets.intersects" | "sets.equivalent" => {
            (plus(size(0).saturating_mul(size(1))), None)
        }
        _ => (plus(1), None),
    }
}
