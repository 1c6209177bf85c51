//! Objects seen through their schema: which fields they have, how two of them differ, what an applied configuration
//! makes of the live object, and an object without some of its fields (API-293 to API-298).
//!
//! Leaves are scalars, atomic structs, maps and lists, and containers that are empty on both sides. Values that do not
//! fit their schema are leaves too: only an applied configuration is checked, by [`check`].

use serde_json::{Map, Value};

use super::fields::{Branch, Element, Literal, Set};
use crate::{
    schema::{ListType, Node, Scalar, Shape, Untyped},
    validate::gofmt,
};

/// How a new object differs from an old one.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Fields that the new object has with another value, or that the old one does not have.
    pub(crate) changed: Set,
    /// Fields that only the old object has.
    pub(crate) removed: Set,
}

impl Difference {
    /// All fields that the difference is about.
    pub(crate) fn all(&self) -> Set {
        self.changed.union(&self.removed)
    }
}

/// Whether two values are the same; numbers are compared by value.
pub(crate) fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(_), Value::Number(_)) => Literal(one.clone()) == Literal(two.clone()),
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && std::iter::zip(one, two).all(|(one, two)| same(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one
                    .iter()
                    .all(|(name, one)| two.get(name).is_some_and(|two| same(one, two)))
        }
        _ => one == two,
    }
}

/// How a place is walked, once the values there are known.
enum Walk<'a> {
    Leaf,
    Members(Member<'a>),
    Items(ListType<'a>, Node<'a>),
}

/// Where the types of members come from.
#[derive(Clone, Copy)]
enum Member<'a> {
    Struct(Node<'a>),
    Map(Node<'a>),
}

impl<'a> Member<'a> {
    /// Whether the member is one that the type names.
    fn declares(self, name: &str) -> bool {
        matches!(self, Self::Struct(node) if node.facts(name).is_some())
    }

    fn node(self, name: &str) -> Option<Node<'a>> {
        match self {
            Self::Struct(node) => node.field(name),
            Self::Map(values) => Some(values),
        }
    }
}

/// How values of this type are walked; `null` goes with whatever the other side is.
fn walk<'a>(node: Node<'a>, values: [Option<&Value>; 2]) -> Walk<'a> {
    let is_any = |test: fn(&Value) -> bool| values.iter().flatten().any(|value| test(value));
    match node.shape() {
        Shape::Struct { atomic: false } => Walk::Members(Member::Struct(node)),
        Shape::Map {
            atomic: false,
            values,
        } => Walk::Members(Member::Map(values)),
        // An object in any form belongs to one manager as a whole.
        Shape::Untyped if node.untyped() == Some(Untyped::Raw) => Walk::Leaf,
        Shape::Untyped if is_any(Value::is_object) => Walk::Members(Member::Map(node)),
        Shape::List {
            list: list @ (ListType::Set | ListType::Map(_)),
            items,
        } => Walk::Items(list, items),
        _ => Walk::Leaf,
    }
}

/// The path element of a list item; `None` if the item has none: a key that is missing, a set item that is no scalar.
fn item_element(list: &ListType<'_>, item: &Value) -> Result<Element, String> {
    match (list, item) {
        (ListType::Map(_), Value::Null) => {
            Err("associative list with keys may not have a null element".to_owned())
        }
        (ListType::Map(keys), Value::Object(members)) => {
            let mut key: Vec<(Box<str>, Literal)> = keys
                .iter()
                .filter_map(|field| {
                    let value = members.get(&*field.name).or(field.default.as_ref())?;
                    Some(((*field.name).into(), Literal(value.clone())))
                })
                .collect();
            if key.is_empty() {
                let names: Vec<String> = keys.iter().map(|field| format!("{:?}", &*field.name)).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have \
                     default values for any key fields)",
                    names.join(" ")
                ));
            }
            key.sort();
            Ok(Element::Key(key))
        }
        (ListType::Map(_), _) => Err("associative list with keys may not have non-map elements".to_owned()),
        (_, Value::Object(_)) => {
            Err("associative list without keys has an element that's a map type".to_owned())
        }
        (_, Value::Array(_)) => Err("not supported: associative list with lists as elements".to_owned()),
        (_, Value::Null) => {
            Err("associative list without keys has an element that's an explicit null".to_owned())
        }
        (_, scalar) => Ok(Element::Value(Literal(scalar.clone()))),
    }
}

fn members(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value
        .and_then(Value::as_object)
        .filter(|members| !members.is_empty())
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Names that either map has, in order.
fn names<'a>(
    one: Option<&'a Map<String, Value>>,
    two: Option<&'a Map<String, Value>>,
) -> impl Iterator<Item = &'a String> {
    let only_two = two
        .into_iter()
        .flat_map(Map::keys)
        .filter(move |name| !one.is_some_and(|one| one.contains_key(*name)));
    one.into_iter().flat_map(Map::keys).chain(only_two)
}

/// How `new` differs from `old`, both of the type of `node`.
pub(crate) fn compare(node: Node<'_>, old: &Value, new: &Value) -> Difference {
    let mut place = Place::default();
    place.compare(node, Some(old), Some(new));
    Difference {
        changed: Set::from_branches(place.changed.below),
        removed: Set::from_branches(place.removed.below),
    }
}

#[derive(Default)]
struct Found {
    member: bool,
    below: Vec<Branch>,
}

impl Found {
    fn put_below(self, element: &Element, parent: &mut Self) {
        if self.member || !self.below.is_empty() {
            parent.below.push(Branch {
                element: element.clone(),
                member: self.member,
                below: Set::from_branches(self.below),
            });
        }
    }
}

/// What the comparison has found at one place.
#[derive(Default)]
struct Place {
    changed: Found,
    removed: Found,
}

impl Place {
    fn compare(&mut self, node: Node<'_>, old: Option<&Value>, new: Option<&Value>) {
        match walk(node, [old, new]) {
            Walk::Members(types) => {
                let (old_members, new_members) = (members(old), members(new));
                if old_members.is_none() && new_members.is_none() {
                    return self.compare_leaf(old, new);
                }
                for name in names(old_members, new_members) {
                    let Some(child) = types.node(name) else { continue };
                    let (old, new) = (
                        old_members.and_then(|members| members.get(name)),
                        new_members.and_then(|members| members.get(name)),
                    );
                    let mut below = Self::default();
                    below.compare(child, old, new);
                    below.put_below(|| Element::Field(name.as_str().into()), self);
                }
                self.compare_scalar_beside(old, new);
            }
            Walk::Items(list, child) => {
                let (old_items, new_items) = (items(old), items(new));
                if old_items.is_empty() && new_items.is_empty() {
                    return self.compare_leaf(old, new);
                }
                self.compare_items(&list, child, old_items, new_items);
            }
            Walk::Leaf => return self.compare_leaf(old, new),
        }
        self.changed.member |= old.is_none();
        self.removed.member |= old.is_some() && new.is_none();
    }

    fn put_below(self, element: impl Fn() -> Element, parent: &mut Self) {
        let has = |found: &Found| found.member || !found.below.is_empty();
        if has(&self.changed) || has(&self.removed) {
            let element = element();
            self.changed.put_below(&element, &mut parent.changed);
            self.removed.put_below(&element, &mut parent.removed);
        }
    }

    fn compare_leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.changed.member = true,
            (Some(_), None) => self.removed.member = true,
            (Some(old), Some(new)) => self.changed.member |= !same(old, new),
        }
    }

    /// Where the schema says nothing, a map can become a scalar or a list and the other way round.
    fn compare_scalar_beside(&mut self, old: Option<&Value>, new: Option<&Value>) {
        if let (Some(old), Some(new)) = (old, new) {
            let is_container = |value: &Value| value.is_object() || value.is_null();
            self.changed.member |= is_container(old) != is_container(new);
        }
    }

    fn compare_items(&mut self, list: &ListType<'_>, node: Node<'_>, old: &[Value], new: &[Value]) {
        let mut groups = Groups::default();
        groups.add(list, old, |group| &mut group.old);
        groups.add(list, new, |group| &mut group.new);
        for group in groups.0 {
            let mut below = Self::default();
            match (group.old.as_slice(), group.new.as_slice()) {
                ([] | [_], [] | [_]) => {
                    below.compare(node, group.old.first().copied(), group.new.first().copied());
                }
                // Items that share a key are one leaf.
                ([_, _, ..], [_, _, ..]) => {
                    let equal = group.old.len() == group.new.len()
                        && std::iter::zip(&group.old, &group.new).all(|(one, two)| same(one, two));
                    below.changed.member = !equal;
                }
                ([_, _, ..], rest) => {
                    if let Some(new) = rest.first() {
                        below.compare(node, None, Some(new));
                    }
                    below.removed.member = true;
                }
                (rest, _) => {
                    if let Some(old) = rest.first() {
                        below.compare(node, Some(old), None);
                    }
                    below.changed.member = true;
                }
            }
            below.put_below(|| group.element.clone(), self);
        }
    }
}

/// Items of two lists with the same path element.
struct Group<'a> {
    element: Element,
    old: Vec<&'a Value>,
    new: Vec<&'a Value>,
}

#[derive(Default)]
struct Groups<'a>(Vec<Group<'a>>);

impl<'a> Groups<'a> {
    fn add(
        &mut self,
        list: &ListType<'_>,
        items: &'a [Value],
        side: impl for<'b> Fn(&'b mut Group<'a>) -> &'b mut Vec<&'a Value>,
    ) {
        for item in items {
            let Ok(element) = item_element(list, item) else {
                continue;
            };
            let index = match self.0.binary_search_by(|group| group.element.cmp(&element)) {
                Ok(index) => index,
                Err(index) => {
                    let group = Group {
                        element,
                        old: Vec::new(),
                        new: Vec::new(),
                    };
                    self.0.insert(index, group);
                    index
                }
            };
            if let Some(group) = self.0.get_mut(index) {
                side(group).push(item);
            }
        }
    }
}

/// All fields that an object has: its leaves, the items of its lists, and the members of its maps.
pub(crate) fn fields_of(node: Node<'_>, value: &Value) -> Set {
    let mut found = Found::default();
    collect(node, value, &mut found);
    Set::from_branches(found.below)
}

fn collect(node: Node<'_>, value: &Value, found: &mut Found) {
    match walk(node, [Some(value), None]) {
        Walk::Leaf => found.member = true,
        Walk::Members(types) => {
            for (name, value) in members(Some(value)).into_iter().flatten() {
                let Some(child) = types.node(name) else { continue };
                let mut below = Found::default();
                collect(child, value, &mut below);
                below.member |=
                    !types.declares(name) || value.is_null() || value.as_object().is_some_and(Map::is_empty);
                below.put_below(&Element::Field(name.as_str().into()), found);
            }
        }
        Walk::Items(list, child) => {
            let mut groups = Groups::default();
            groups.add(&list, items(Some(value)), |group| &mut group.new);
            for group in groups.0 {
                let mut below = Found::default();
                // Of items that share a key only the key is known.
                if let [item] = group.new.as_slice() {
                    collect(child, item, &mut below);
                }
                below.member = true;
                below.put_below(&group.element, found);
            }
        }
    }
}

/// The live object with an applied configuration put over it. `null` if nothing is left.
pub(crate) fn merge(node: Node<'_>, live: &Value, config: &Value) -> Value {
    merge_at(node, Some(live), Some(config)).unwrap_or_default()
}

fn merge_at(node: Node<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let leaf = || config.or(live).cloned();
    // Where the schema says nothing, the configuration decides what there is.
    if let (Shape::Untyped, Some(config)) = (node.shape(), config)
        && !config.is_object()
        && !config.is_null()
    {
        return leaf();
    }
    match walk(node, [live, config]) {
        Walk::Leaf => leaf(),
        Walk::Members(types) => {
            let (live_members, config_members) = (members(live), members(config));
            if live_members.is_none() && config_members.is_none() {
                return leaf();
            }
            let merged: Map<String, Value> = names(live_members, config_members)
                .filter_map(|name| {
                    let live = live_members.and_then(|members| members.get(name));
                    let config = config_members.and_then(|members| members.get(name));
                    let merged = match types.node(name) {
                        Some(child) => merge_at(child, live, config),
                        None => config.or(live).cloned(),
                    };
                    Some((name.clone(), merged?))
                })
                .collect();
            (!merged.is_empty()).then_some(Value::Object(merged))
        }
        Walk::Items(list, child) => {
            let (live_items, config_items) = (items(live), items(config));
            if live_items.is_empty() && config_items.is_empty() {
                return leaf();
            }
            let merged = merge_items(&list, child, live_items, config_items);
            (!merged.is_empty()).then_some(Value::Array(merged))
        }
    }
}

/// Live items keep their places as far as the order of the configuration's items allows it; new ones come where the
/// configuration has them, after the live ones before.
fn merge_items(list: &ListType<'_>, node: Node<'_>, live: &[Value], config: &[Value]) -> Vec<Value> {
    fn keyed<'a>(list: &ListType<'_>, items: &'a [Value]) -> Vec<(Element, &'a Value)> {
        items
            .iter()
            .filter_map(|item| Some((item_element(list, item).ok()?, item)))
            .collect()
    }
    let (live, config) = (keyed(list, live), keyed(list, config));
    // An element that the live list has twice counts as null.
    let find_live = |element: &Element| {
        let mut found = live
            .iter()
            .filter(|(other, _)| other == element)
            .map(|(_, item)| *item);
        let first = found.next();
        if found.next().is_some() {
            first.map(|_| &Value::Null)
        } else {
            first
        }
    };
    let in_live = |element: &Element| live.iter().any(|(other, _)| other == element);
    let in_config = |element: &Element| config.iter().any(|(other, _)| other == element);
    let mut shared = config
        .iter()
        .map(|(element, _)| element)
        .filter(|element| in_live(element));
    let mut next_shared = shared.next();
    let mut merged_elements: Vec<&Element> = Vec::new();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let (mut left, mut right) = (live.iter().peekable(), config.iter().peekable());
    while left.peek().is_some() || right.peek().is_some() {
        if let (Some((element, _)), Some((wanted, item))) = (left.peek(), right.peek()) {
            if element == wanted {
                merged_elements.push(wanted);
                merged.extend(merge_at(node, find_live(wanted), Some(item)));
                left.next();
                right.next();
                next_shared = shared.next();
                continue;
            }
            // Both have it, but another one comes first.
            if in_config(element) && next_shared.is_some_and(|next| next != element) {
                left.next();
                continue;
            }
        }
        if let Some((element, item)) = left.peek() {
            if !in_config(element) {
                merged.extend(merge_at(node, Some(item), None));
                left.next();
                continue;
            }
            if merged_elements.contains(&element) {
                left.next();
            }
        }
        if let Some((wanted, item)) = right.next() {
            merged_elements.push(wanted);
            merged.extend(merge_at(node, find_live(wanted), Some(item)));
            if next_shared == Some(wanted) {
                next_shared = shared.next();
            }
        }
    }
    merged
}

/// The object without these fields. Containers that only lose something inside stay, empty if need be.
pub(crate) fn remove(node: Node<'_>, value: &Value, fields: &Set) -> Value {
    if fields.is_empty() {
        return value.clone();
    }
    let kept = |value: &Value, child: Option<Node<'_>>, branch: Option<&Branch>| match (branch, child) {
        (Some(branch), _) if branch.member => None,
        (None, _) | (_, None) => Some(value.clone()),
        (Some(branch), Some(child)) => Some(match (remove(child, value, &branch.below), value) {
            (Value::Null, Value::Object(_)) => Value::Object(Map::new()),
            (Value::Null, Value::Array(_)) => Value::Array(Vec::new()),
            (rest, _) => rest,
        }),
    };
    match (walk(node, [Some(value), None]), value) {
        (Walk::Members(types), Value::Object(members)) if !members.is_empty() => {
            let mut descended = false;
            let rest: Map<String, Value> = members
                .iter()
                .filter_map(|(name, value)| {
                    let branch = fields.branch(&Element::Field(name.as_str().into()));
                    descended |= branch.is_some_and(|branch| !branch.member);
                    Some((name.clone(), kept(value, types.node(name), branch)?))
                })
                .collect();
            if rest.is_empty() && !descended {
                Value::Null
            } else {
                Value::Object(rest)
            }
        }
        (Walk::Items(list, child), Value::Array(items)) if !items.is_empty() => {
            let mut descended = false;
            let rest: Vec<Value> = items
                .iter()
                .filter_map(|item| {
                    let element = item_element(&list, item).ok();
                    let branch = element.and_then(|element| fields.branch(&element));
                    descended |= branch.is_some_and(|branch| !branch.member);
                    kept(item, Some(child), branch)
                })
                .collect();
            if rest.is_empty() && !descended {
                Value::Null
            } else {
                Value::Array(rest)
            }
        }
        // An atomic container below which something is to go, goes.
        (_, Value::Object(_) | Value::Array(_)) => Value::Null,
        (_, scalar) => scalar.clone(),
    }
}

/// What does not fit the schema in an applied configuration, as upstream words it; `None` if all is well.
pub(crate) fn check(node: Node<'_>, value: &Value, duplicates_allowed: bool) -> Option<String> {
    let mut check = Check {
        path: String::new(),
        errors: Vec::new(),
        duplicates_allowed,
    };
    check.visit(node, value);
    match check.errors.as_slice() {
        [] => None,
        [error] => Some(error.clone()),
        errors => Some(format!("errors:\n  {}", errors.join("\n  "))),
    }
}

struct Check {
    path: String,
    errors: Vec<String>,
    duplicates_allowed: bool,
}

impl Check {
    fn report(&mut self, message: impl std::fmt::Display) {
        let error = if self.path.is_empty() {
            message.to_string()
        } else {
            format!("{}: {message}", self.path)
        };
        self.errors.push(error);
    }

    fn below(&mut self, step: &str, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(step);
        visit(self);
        self.path.truncate(length);
    }

    fn visit(&mut self, node: Node<'_>, value: &Value) {
        if value.is_null() {
            return;
        }
        match node.shape() {
            Shape::Untyped | Shape::Scalar(Scalar::IntOrString) => {}
            Shape::Scalar(scalar) => {
                if let Some(wanted) = unfit(scalar, value) {
                    self.report(wanted);
                }
            }
            Shape::Struct { .. } => self.visit_members(Member::Struct(node), value),
            Shape::Map { values, .. } => self.visit_members(Member::Map(values), value),
            Shape::List { list, items } => self.visit_items(&list, items, value),
        }
    }

    fn visit_members(&mut self, types: Member<'_>, value: &Value) {
        let Value::Object(members) = value else {
            return self.report(format!("expected map, got {}", shown(value)));
        };
        for (name, value) in members {
            let child = types.node(name);
            self.below(&format!(".{name}"), |check| match child {
                Some(child) => check.visit(child, value),
                None => check.report("field not declared in schema"),
            });
            if child.is_none() {
                return;
            }
        }
    }

    fn visit_items(&mut self, list: &ListType<'_>, node: Node<'_>, value: &Value) {
        let Value::Array(items) = value else {
            return self.report(format!("expected list, got {}", shown(value)));
        };
        let mut seen: Vec<Element> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let element = match list {
                ListType::Atomic => Element::Index(i64::try_from(index).unwrap_or(i64::MAX)),
                list => match item_element(list, item) {
                    Ok(element) => element,
                    Err(why) => return self.report(format!("element {index}: {why}")),
                },
            };
            if seen.contains(&element) && !self.duplicates_allowed {
                self.report(format!("duplicate entries for key {element}"));
            }
            self.below(&element.to_string(), |check| check.visit(node, item));
            seen.push(element);
        }
    }
}

/// As upstream shows a value that it did not expect.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("&{{{text}}}"),
        Value::Object(_) => format!("&{{{}}}", gofmt::show_map(value)),
        other => format!("&{{{other}}}"),
    }
}

/// Why a value is no such scalar.
fn unfit(scalar: Scalar, value: &Value) -> Option<String> {
    let type_name = match value {
        Value::Null => return None,
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    match scalar {
        Scalar::Integer | Scalar::Number if !value.is_number() => {
            Some(format!("expected numeric (int or float), got {type_name}"))
        }
        Scalar::Boolean if !value.is_boolean() => Some(format!("expected boolean, got {}", shown(value))),
        Scalar::String | Scalar::Bytes if !value.is_string() => {
            let shown = gofmt::syntax(value);
            Some(format!(
                "expected string, got &value.valueUnstructured{{Value:{shown}}}"
            ))
        }
        _ if value.is_array() || value.is_object() => {
            Some(format!("expected any scalar, got {}", shown(value)))
        }
        _ => None,
    }
}
