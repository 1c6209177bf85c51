//! Sets of fields: which parts of an object a manager owns, and their JSON form `FieldsV1` (API-293).
//!
//! A set is a tree of path elements. Each list of branches is sorted by element, so that the operations on two sets
//! walk both once.

use std::{borrow::Cow, cmp::Ordering, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    schema::{Node, Shape},
    validate::gofmt,
};

/// A JSON value with an order: numbers by value, then strings, booleans, lists, maps, and null last.
#[derive(Clone, Debug)]
pub(crate) struct Literal(pub(crate) Value);

impl Literal {
    fn rank(&self) -> u8 {
        match self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
}

impl Ord for Literal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(one), Value::Number(two)) => {
                if let (Some(one), Some(two)) = (one.as_i64(), two.as_i64()) {
                    return one.cmp(&two);
                }
                let number = |number: &serde_json::Number| number.as_f64().unwrap_or_default();
                number(one).total_cmp(&number(two))
            }
            (Value::String(one), Value::String(two)) => one.cmp(two),
            (Value::Bool(one), Value::Bool(two)) => one.cmp(two),
            (Value::Array(_) | Value::Object(_), Value::Array(_) | Value::Object(_)) => self
                .rank()
                .cmp(&other.rank())
                .then_with(|| self.0.to_string().cmp(&other.0.to_string())),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Literal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Literal {}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(text) => f.write_str(&gofmt::quote(text)),
            other => write!(f, "{other}"),
        }
    }
}

/// One step of a path. The order is that of upstream's JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Element {
    /// A member of a struct or map.
    Field(Box<str>),
    /// The element of a list of maps with these members, sorted by name.
    Key(Vec<(Box<str>, Literal)>),
    /// The element of a set.
    Value(Literal),
    /// The element of a list at a position.
    Index(i64),
}

impl Element {
    /// Reads `f:<name>`, `k:<object>`, `v:<value>` or `i:<index>`; `None` for a sort of element that is not known.
    fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((sort, rest)) = text.split_once(':').filter(|(sort, _)| sort.len() == 1) else {
            return Err(format!("missing colon: {text}"));
        };
        let read = |rest: &str| serde_json::from_str::<Value>(rest).map_err(|error| error.to_string());
        Ok(Some(match sort {
            "f" => Self::Field(rest.into()),
            "v" => Self::Value(Literal(read(rest)?)),
            "i" => Self::Index(rest.parse().map_err(|_| format!("{rest:?} is no index"))?),
            "k" => {
                let members: Map<String, Value> =
                    serde_json::from_str(rest).map_err(|error| error.to_string())?;
                let mut members: Vec<(Box<str>, Literal)> = members
                    .into_iter()
                    .map(|(name, value)| (name.into(), Literal(value)))
                    .collect();
                members.sort();
                Self::Key(members)
            }
            _ => return Ok(None),
        }))
    }

    /// Appends the element as a JSON string.
    fn write(&self, json: &mut Vec<u8>) {
        if let Self::Field(name) = self
            && name
                .bytes()
                .all(|letter| matches!(letter, b' '..=b'~') && letter != b'"' && letter != b'\\')
        {
            json.extend_from_slice(b"\"f:");
            json.extend_from_slice(name.as_bytes());
            json.push(b'"');
            return;
        }
        let text = match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Value(value) => format!("v:{}", value.0),
            Self::Index(index) => format!("i:{index}"),
            Self::Key(members) => {
                let mut text = "k:{".to_owned();
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    text += comma;
                    text += &Value::from(&**name).to_string();
                    text.push(':');
                    text += &value.0.to_string();
                }
                text.push('}');
                text
            }
        };
        // Writing a string into memory cannot fail.
        let _ = serde_json::to_writer(json, &text);
    }
}

/// As in messages: `.name`, `[key="value"]`, `[="value"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Key(members) => {
                f.write_str("[")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_str("]")
            }
        }
    }
}

/// What a set holds at and below one element: never nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) element: Element,
    /// Whether the set has the path that ends here.
    pub(crate) member: bool,
    /// Longer paths.
    pub(crate) below: Set,
}

/// A set of paths. The empty path is never in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    branches: Vec<Branch>,
}

impl Set {
    pub(crate) fn is_empty(&self) -> bool {
        self.branches.is_empty()
    }

    /// Builds a set from branches in any order; those that hold nothing are dropped.
    pub(crate) fn from_branches(mut branches: Vec<Branch>) -> Self {
        branches.retain(|branch| branch.member || !branch.below.is_empty());
        let is_sorted = branches
            .windows(2)
            .all(|pair| matches!(pair, [one, two] if one.element < two.element));
        if !is_sorted {
            branches.sort_by(|one, two| one.element.cmp(&two.element));
            let mut merged: Vec<Branch> = Vec::with_capacity(branches.len());
            for branch in branches {
                match merged.last_mut() {
                    Some(last) if last.element == branch.element => {
                        last.member |= branch.member;
                        last.below = last.below.union(&branch.below);
                    }
                    _ => merged.push(branch),
                }
            }
            branches = merged;
        }
        Self { branches }
    }

    /// The set of one path of member names.
    pub(crate) fn of_fields(path: &[impl AsRef<str>]) -> Self {
        let Some((first, rest)) = path.split_first() else {
            return Self::default();
        };
        let branch = Branch {
            element: Element::Field(first.as_ref().into()),
            member: rest.is_empty(),
            below: Self::of_fields(rest),
        };
        Self {
            branches: vec![branch],
        }
    }

    pub(crate) fn branch(&self, element: &Element) -> Option<&Branch> {
        let index = self
            .branches
            .binary_search_by(|branch| branch.element.cmp(element))
            .ok()?;
        self.branches.get(index)
    }

    fn field(&self, name: &str) -> Option<&Branch> {
        let index = self
            .branches
            .binary_search_by(|branch| match &branch.element {
                Element::Field(other) => (**other).cmp(name),
                _ => Ordering::Greater,
            })
            .ok()?;
        self.branches.get(index)
    }

    /// Pairs the branches of two sets by element.
    fn zip<'a>(
        &'a self,
        other: &'a Self,
        mut combine: impl FnMut(Option<&'a Branch>, Option<&'a Branch>) -> Option<Branch>,
    ) -> Self {
        let mut branches = Vec::new();
        let (mut left, mut right) = (self.branches.iter().peekable(), other.branches.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Self { branches },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(two)) => one.element.cmp(&two.element),
            };
            let one = if order.is_le() { left.next() } else { None };
            let two = if order.is_ge() { right.next() } else { None };
            let combined = combine(one, two);
            branches.extend(combined.filter(|branch| branch.member || !branch.below.is_empty()));
        }
    }

    /// Paths in either set.
    pub(crate) fn union(&self, other: &Self) -> Self {
        self.zip(other, |one, two| match (one, two) {
            (Some(one), Some(two)) => Some(Branch {
                element: one.element.clone(),
                member: one.member || two.member,
                below: one.below.union(&two.below),
            }),
            (one, two) => one.or(two).cloned(),
        })
    }

    /// Paths in both sets.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |one, two| {
            let (one, two) = one.zip(two)?;
            Some(Branch {
                element: one.element.clone(),
                member: one.member && two.member,
                below: one.below.intersection(&two.below),
            })
        })
    }

    /// Paths in this set and not in the other.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.zip(other, |one, two| match (one, two) {
            (Some(one), Some(two)) => Some(Branch {
                element: one.element.clone(),
                member: one.member && !two.member,
                below: one.below.difference(&two.below),
            }),
            (one, _) => one.cloned(),
        })
    }

    /// Paths in this set of which no beginning is in the other.
    pub(crate) fn without(&self, other: &Self) -> Self {
        self.zip(other, |one, two| match (one, two) {
            (Some(_), Some(two)) if two.member => None,
            (Some(one), Some(two)) => Some(Branch {
                element: one.element.clone(),
                member: one.member,
                below: one.below.without(&two.below),
            }),
            (one, _) => one.cloned(),
        })
    }

    /// Paths on the way to the given path, at it, or below it; `*` stands for any element.
    pub(crate) fn only_below(&self, path: &[&str]) -> Self {
        let Some((name, rest)) = path.split_first() else {
            return self.clone();
        };
        let branches = self
            .branches
            .iter()
            .filter(|branch| match &branch.element {
                _ if *name == "*" => true,
                Element::Field(field) => **field == **name,
                _ => false,
            })
            .map(|branch| Branch {
                below: branch.below.only_below(rest),
                ..branch.clone()
            })
            .collect();
        Self::from_branches(branches)
    }

    /// The set with all members of structs on the way to its paths.
    pub(crate) fn with_named_fields(&self, node: Option<Node<'_>>) -> Self {
        let shape = node.map(Node::shape);
        let branches = self
            .branches
            .iter()
            .map(|branch| {
                let (named, child) = match (&branch.element, &shape, node) {
                    (Element::Field(name), Some(Shape::Struct { .. }), Some(node)) => {
                        (node.facts(name).is_some(), node.field(name))
                    }
                    (Element::Field(_), Some(Shape::Map { values, .. }), _) => (false, Some(*values)),
                    (Element::Key(_), Some(Shape::List { items, .. }), _) => (false, Some(*items)),
                    (_, Some(Shape::Untyped), _) => (false, node),
                    _ => (false, None),
                };
                Branch {
                    element: branch.element.clone(),
                    member: branch.member || named && !branch.below.is_empty(),
                    below: branch.below.with_named_fields(child),
                }
            })
            .collect();
        Self { branches }
    }

    /// All paths as they stand in messages; of each level first the members themselves, then what is below them.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut String, paths: &mut Vec<String>) {
        for branch in self.branches.iter().filter(|branch| branch.member) {
            paths.push(format!("{prefix}{}", branch.element));
        }
        for branch in &self.branches {
            let length = prefix.len();
            prefix.push_str(&branch.element.to_string());
            branch.below.collect_paths(prefix, paths);
            prefix.truncate(length);
        }
    }

    /// Appends the set as `FieldsV1`.
    pub(crate) fn write(&self, json: &mut Vec<u8>) {
        self.write_level(false, json);
    }

    fn write_level(&self, with_self: bool, json: &mut Vec<u8>) {
        json.push(b'{');
        if with_self {
            json.extend_from_slice(b"\".\":{}");
        }
        for (index, branch) in self.branches.iter().enumerate() {
            if index > 0 || with_self {
                json.push(b',');
            }
            branch.element.write(json);
            json.push(b':');
            branch
                .below
                .write_level(branch.member && !branch.below.is_empty(), json);
        }
        json.push(b'}');
    }

    /// The set as `FieldsV1`.
    pub(crate) fn to_json(&self) -> String {
        let mut json = Vec::with_capacity(256);
        self.write(&mut json);
        String::from_utf8(json).unwrap_or_default()
    }

    /// Reads `FieldsV1`. Sorts of elements that are not known are left out.
    ///
    /// # Errors
    /// With what is not as the format wants it.
    pub(crate) fn parse(json: &str) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let (set, _) = Level.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(set)
    }
}

/// A map key, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path element")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads one level: the set, and whether the level's own path is a member.
struct Level;

impl<'de> DeserializeSeed<'de> for Level {
    type Value = (Set, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(Set, bool), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = (Set, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of path elements")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(Set, bool), A::Error> {
        let mut branches = Vec::new();
        let mut own = false;
        while let Some(Name(name)) = members.next_key()? {
            if name == "." {
                own = true;
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let Some(element) = Element::parse(&name).map_err(A::Error::custom)? else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let (below, member) = members.next_value_seed(Level)?;
            branches.push(Branch {
                element,
                member,
                below,
            });
        }
        let set = Set::from_branches(branches);
        let own = own || set.is_empty();
        Ok((set, own))
    }
}

/// Whether a set in its JSON form has a path in common with `other`. Skips what `other` does not reach, so that an
/// entry that a write does not touch costs one pass over its text.
pub(crate) fn touches(json: &str, other: &Set) -> bool {
    let mut hit = false;
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let read = Probe { other, hit: &mut hit }.deserialize(&mut deserializer);
    // What cannot be read is decoded by the caller, who then reports it.
    hit || read.is_err()
}

struct Probe<'a> {
    other: &'a Set,
    hit: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    /// Whether the level's own path is a member.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of path elements")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let (mut own, mut any) = (false, false);
        while let Some(Name(name)) = members.next_key()? {
            if name == "." {
                own = true;
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            any = true;
            let branch = match name.strip_prefix("f:") {
                _ if *self.hit => None,
                Some(field) => self.other.field(field),
                None => Element::parse(&name)
                    .map_err(A::Error::custom)?
                    .and_then(|element| self.other.branch(&element)),
            };
            let Some(branch) = branch else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let member = members.next_value_seed(Probe {
                other: &branch.below,
                hit: &mut *self.hit,
            })?;
            *self.hit |= member && branch.member;
        }
        Ok(own || !any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn set(value: &Value) -> Set {
        Set::parse(&value.to_string()).unwrap()
    }

    fn elements() -> impl Strategy<Value = Element> {
        prop_oneof![
            "[a-c]".prop_map(|name| Element::Field(name.into())),
            (0..3i64, "[xy]").prop_map(|(port, name)| Element::Key(vec![
                ("name".into(), Literal(name.into())),
                ("port".into(), Literal(port.into())),
            ])),
            (0..3i64).prop_map(|value| Element::Value(Literal(value.into()))),
            (0..2i64).prop_map(Element::Index),
        ]
    }

    fn sets() -> impl Strategy<Value = Set> {
        let leaf = Just(Set::default()).boxed();
        leaf.prop_recursive(3, 24, 4, |inner| {
            proptest::collection::vec((elements(), any::<bool>(), inner), 0..4).prop_map(|branches| {
                let branches = branches
                    .into_iter()
                    .map(|(element, member, below)| Branch {
                        element,
                        member,
                        below,
                    })
                    .collect();
                Set::from_branches(branches)
            })
        })
    }

    proptest! {
        #[test]
        fn api_293_sets_survive_their_json_form(one in sets()) {
            prop_assert_eq!(Set::parse(&one.to_json()).unwrap(), one);
        }

        #[test]
        fn api_293_set_algebra(one in sets(), two in sets(), three in sets()) {
            prop_assert_eq!(one.union(&two), two.union(&one));
            prop_assert_eq!(one.intersection(&two), two.intersection(&one));
            prop_assert_eq!(one.union(&two).union(&three), one.union(&two.union(&three)));
            prop_assert_eq!(one.difference(&two).union(&one.intersection(&two)), one.clone());
            prop_assert_eq!(one.difference(&two).intersection(&two), Set::default());
            prop_assert_eq!(one.difference(&one), Set::default());
            prop_assert_eq!(
                one.intersection(&two.union(&three)),
                one.intersection(&two).union(&one.intersection(&three))
            );
            prop_assert_eq!(one.without(&two).difference(&one), Set::default());
        }

        #[test]
        fn api_294_probing_the_text_agrees_with_the_intersection(one in sets(), two in sets()) {
            prop_assert_eq!(touches(&one.to_json(), &two), !one.intersection(&two).is_empty());
        }
    }

    #[test]
    fn api_293_the_form_of_upstream() {
        let text = r#"{"f:data":{".":{},"f:a":{}},"f:l":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{}}},"f:s":{"v:\"b\"":{}},"f:t":{"i:0":{}}}"#;
        let parsed = Set::parse(text).unwrap();
        assert_eq!(parsed.to_json(), text);
        assert_eq!(
            parsed.paths(),
            [
                ".data",
                ".data.a",
                ".l[containerPort=80,protocol=\"TCP\"]",
                ".l[containerPort=80,protocol=\"TCP\"].name",
                ".s[=\"b\"]",
                ".t[0]"
            ]
        );
    }

    #[test]
    fn api_293_unknown_sorts_are_left_out_and_nonsense_is_refused() {
        assert_eq!(set(&json!({"x:1": {}, "f:a": {}})), set(&json!({"f:a": {}})));
        assert!(Set::parse(r#"{"nope": {}}"#).is_err());
        assert!(Set::parse(r#"{"k:[]": {}}"#).is_err());
        assert!(Set::parse("[]").is_err());
    }

    #[test]
    fn api_297_removal_takes_what_is_below() {
        let all = set(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        assert_eq!(all.without(&set(&json!({"f:a": {}}))), set(&json!({"f:c": {}})));
        assert_eq!(
            all.difference(&set(&json!({"f:a": {}}))),
            set(&json!({"f:a": {"f:b": {}}, "f:c": {}}))
        );
    }
}
