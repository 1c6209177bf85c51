//! Reads `types.txt`; the form of the file is described at its top.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::{Def, Facts, Field, Id, KeyField, OwnedListType, Patch, Scalar, Struct, Types, Untyped};

const TEXT: &str = include_str!("types.txt");

#[expect(
    clippy::expect_used,
    reason = "the file is part of the program; a test reads it"
)]
pub(super) fn built_in() -> Types {
    parse(TEXT).expect("types.txt is well formed")
}

/// A line that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub(super) struct Error {
    /// From 1.
    line: usize,
    problem: String,
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// A line without its comment, with its number and the number of spaces before it.
struct Line {
    number: usize,
    indented: bool,
    text: &'static str,
}

impl Line {
    fn error(&self, problem: impl Into<String>) -> Error {
        Error {
            line: self.number,
            problem: problem.into(),
        }
    }
}

/// A package: alias, prefix of schema names, group and version.
#[derive(Clone, Copy)]
struct Package {
    alias: &'static str,
    prefix: &'static str,
    group_version: (&'static str, &'static str),
}

/// `apps/v1` and `v1`.
fn group_version(text: &'static str) -> (&'static str, &'static str) {
    text.rsplit_once('/').unwrap_or(("", text))
}

/// The part of `word` within the parentheses of `name(…)`.
fn argument(word: &'static str, name: &str) -> Option<&'static str> {
    word.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

pub(super) fn parse(text: &'static str) -> Result<Types> {
    let lines: Vec<Line> = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.starts_with('#') && !line.trim().is_empty())
        .map(|(line, number)| Line {
            number,
            indented: line.starts_with(' '),
            text: line.trim(),
        })
        .collect();
    let mut reader = Reader {
        types: Types::default(),
        shared: FxHashMap::default(),
    };
    let heads = reader.read_names(&lines)?;
    let mut current = None;
    for line in &lines {
        if line.indented {
            let (package, id) = current.ok_or_else(|| line.error("member outside of a type"))?;
            reader.read_member(line, package, id)?;
        } else {
            current = heads.get(&line.number).copied();
        }
    }
    Ok(reader.finish())
}

struct Reader {
    types: Types,
    /// Types without a name, by their text.
    shared: FxHashMap<&'static str, Id>,
}

impl Reader {
    /// Makes an empty struct of every type, so that members can refer to all. By line.
    fn read_names(&mut self, lines: &[Line]) -> Result<FxHashMap<usize, (Package, Id)>> {
        let mut heads = FxHashMap::default();
        let mut package = None;
        for line in lines.iter().filter(|line| !line.indented) {
            let mut words = line.text.split_whitespace();
            let first = words.next().unwrap_or_default();
            if first == "package" {
                let (Some(alias), Some(prefix), Some(group), None) =
                    (words.next(), words.next(), words.next(), words.next())
                else {
                    return Err(line.error("wants: package ALIAS PREFIX GROUP/VERSION"));
                };
                package = Some(Package {
                    alias,
                    prefix,
                    group_version: group_version(group),
                });
                continue;
            }
            let package: Package = package.ok_or_else(|| line.error("type outside of a package"))?;
            let mut definition = Struct {
                name: first,
                prefix: package.prefix,
                ..Struct::default()
            };
            for word in words {
                match (word, argument(word, "kind")) {
                    ("atomic", _) => definition.atomic = true,
                    ("kind", _) => definition.group_version = Some(package.group_version),
                    (_, Some(other)) => definition.group_version = Some(group_version(other)),
                    _ => return Err(line.error(format!("unknown word {word:?}"))),
                }
            }
            let group_version = definition.group_version;
            if group_version.is_some() {
                let text = self.scalar("string", Scalar::String, false);
                definition.fields = ["apiVersion", "kind"]
                    .map(|name| Field {
                        name: Cow::Borrowed(name),
                        id: text,
                        number: 0,
                        facts: Facts::default(),
                    })
                    .to_vec();
            }
            let id = self.types.add(Def::Struct(definition));
            if let Some((group, version)) = group_version {
                self.types.kinds.insert((group, version, first), id);
            }
            if self.types.names.insert((package.alias, first), id).is_some() {
                return Err(line.error(format!("second type {first}")));
            }
            heads.insert(line.number, (package, id));
        }
        Ok(heads)
    }

    fn read_member(&mut self, line: &Line, package: Package, id: Id) -> Result<()> {
        let mut words = line.text.split_whitespace();
        let (Some(name), Some(number), Some(kind)) = (words.next(), words.next(), words.next()) else {
            return Err(line.error("wants: MEMBER NUMBER TYPE"));
        };
        let number: u32 = number
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| line.error("the number is not one"))?;
        if name == "+" {
            let target = self.type_of(line, package, kind)?;
            if let Some(definition) = self.definition(id) {
                definition.included.push((number, target));
            }
            return Ok(());
        }
        let mut facts = Facts::default();
        let bare = kind.strip_prefix('*').unwrap_or(kind);
        facts.pointer = bare.len() < kind.len();
        let mut ownership = None;
        for word in words {
            match word {
                "required" => facts.required = true,
                "kept" => facts.kept = true,
                "atomic" | "granular" | "set" => ownership = Some(word),
                _ => {
                    if argument(word, "map").is_some() {
                        ownership = Some(word);
                    } else if let Some(patch) = argument(word, "patch") {
                        let (strategies, key) = patch.split_once(':').unwrap_or((patch, ""));
                        facts.patch = Some(Patch {
                            strategies,
                            merge_key: Some(key).filter(|key| !key.is_empty()),
                        });
                    } else if let Some(allowed) = argument(word, "enum") {
                        facts.allowed = allowed.split('|').map(with_blanks).collect();
                    } else if let Some(default) = argument(word, "default") {
                        facts.default = Some(default_value(line, bare, default)?);
                    } else {
                        return Err(line.error(format!("unknown word {word:?}")));
                    }
                }
            }
        }
        let target = self.member_type(line, package, bare, ownership)?;
        if let Some(definition) = self.definition(id) {
            definition.fields.push(Field {
                name: Cow::Borrowed(name),
                id: target,
                number,
                facts,
            });
        }
        Ok(())
    }

    fn definition(&mut self, id: Id) -> Option<&mut Struct> {
        match self.types.defs.get_mut(usize::try_from(id.0).ok()?)? {
            Def::Struct(definition) => Some(definition),
            _ => None,
        }
    }

    /// The type of a member, where the words beside it may say who owns it.
    fn member_type(
        &mut self,
        line: &Line,
        package: Package,
        text: &'static str,
        ownership: Option<&'static str>,
    ) -> Result<Id> {
        let atomic = ownership == Some("atomic");
        if let Some(items) = text.strip_prefix("[]") {
            let items = self.type_of(line, package, items)?;
            let list = match ownership {
                None | Some("atomic") => OwnedListType::Atomic,
                Some("set") => OwnedListType::Set,
                Some(word) => OwnedListType::Map(
                    argument(word, "map")
                        .ok_or_else(|| line.error("a list cannot be that"))?
                        .split(',')
                        .map(|name| KeyField {
                            name: Cow::Borrowed(name),
                            default: None,
                        })
                        .collect(),
                ),
            };
            return Ok(self.types.add(Def::List { list, items }));
        }
        if let Some(values) = text.strip_prefix("{}") {
            let values = self.type_of(line, package, values)?;
            return Ok(self.types.add(Def::Map { atomic, values }));
        }
        let target = self.type_of(line, package, text)?;
        match ownership {
            None => Ok(target),
            Some("atomic" | "granular") if self.definition(target).is_some() => {
                Ok(self.types.add(Def::Owned { target, atomic }))
            }
            Some(word) => Err(line.error(format!("{word} does not apply to {text}"))),
        }
    }

    fn type_of(&mut self, line: &Line, package: Package, text: &'static str) -> Result<Id> {
        if text.starts_with("[]") || text.starts_with("{}") {
            return self.member_type(line, package, text, None);
        }
        let (alias, name) = text.rsplit_once('.').unwrap_or((package.alias, text));
        if let Some(id) = self.types.names.get(&(alias, name)) {
            return Ok(*id);
        }
        let untyped = match text {
            "string" => return Ok(self.scalar(text, Scalar::String, false)),
            "bool" => return Ok(self.scalar(text, Scalar::Boolean, false)),
            "int32" => return Ok(self.scalar(text, Scalar::Integer, false)),
            "int64" => return Ok(self.scalar(text, Scalar::Integer, true)),
            "double" => return Ok(self.scalar(text, Scalar::Number, true)),
            "bytes" => return Ok(self.scalar(text, Scalar::Bytes, false)),
            "quantity" => return Ok(self.scalar(text, Scalar::Quantity, false)),
            "int-or-string" => return Ok(self.scalar(text, Scalar::IntOrString, false)),
            "time" => return Ok(self.scalar(text, Scalar::Time, false)),
            "micro-time" => return Ok(self.scalar(text, Scalar::MicroTime, false)),
            "fields" => Untyped::Fields,
            "json" => Untyped::Json,
            "raw" => Untyped::Raw,
            "schema-or-array" => Untyped::SchemaOrArray,
            "schema-or-bool" => Untyped::SchemaOrBool,
            "schema-or-strings" => Untyped::SchemaOrStrings,
            _ => return Err(line.error(format!("unknown type {text:?}"))),
        };
        Ok(self.shared(text, Def::Untyped(untyped)))
    }

    fn scalar(&mut self, text: &'static str, scalar: Scalar, wide: bool) -> Id {
        self.shared(text, Def::Scalar { scalar, wide })
    }

    /// The one definition of a type without a name.
    fn shared(&mut self, text: &'static str, def: Def) -> Id {
        let types = &mut self.types;
        *self.shared.entry(text).or_insert_with(|| types.add(def))
    }

    /// Own members of a type and those of the types that it includes; the latter without their numbers.
    fn all_fields(&self, id: Id) -> Vec<Field> {
        let Some(Def::Struct(definition)) = self.types.def(id) else {
            return Vec::new();
        };
        let mut fields = definition.fields.clone();
        for (_, included) in &definition.included {
            let others = self.all_fields(*included);
            fields.extend(others.into_iter().map(|field| Field { number: 0, ..field }));
        }
        fields
    }

    /// Adds the members of included types, sorts, and looks up the defaults of keys.
    fn finish(mut self) -> Types {
        let ids: Vec<Id> = self.types.names.values().copied().collect();
        let complete: Vec<(Id, Vec<Field>)> = ids.into_iter().map(|id| (id, self.all_fields(id))).collect();
        for (id, mut fields) in complete {
            fields.sort_by(|a, b| a.name.cmp(&b.name));
            let mut numbered: Vec<(u32, u32)> = fields
                .iter()
                .zip(0..)
                .filter(|(field, _)| field.number > 0)
                .map(|(field, index)| (field.number, index))
                .collect();
            numbered.sort_unstable();
            if let Some(definition) = self.definition(id) {
                definition.fields = fields;
                definition.numbered = numbered.into_iter().map(|(_, index)| index).collect();
            }
        }
        let defaults: Vec<Vec<Option<Value>>> =
            self.types.defs.iter().map(|def| self.key_defaults(def)).collect();
        for (def, defaults) in self.types.defs.iter_mut().zip(defaults) {
            if let Def::List {
                list: OwnedListType::Map(keys),
                ..
            } = def
            {
                for (key, default) in keys.iter_mut().zip(defaults) {
                    key.default = default;
                }
            }
        }
        self.types
    }

    /// For each key of a list the default of that member.
    fn key_defaults(&self, def: &Def) -> Vec<Option<Value>> {
        let Def::List {
            list: OwnedListType::Map(keys),
            items,
        } = def
        else {
            return Vec::new();
        };
        let items = self.types.node(*items);
        keys.iter().map(|key| items.default_of(&key.name)).collect()
    }
}

/// `_` stands for a blank.
fn with_blanks(text: &'static str) -> Cow<'static, str> {
    if text.contains('_') {
        Cow::Owned(text.replace('_', " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// The value that `default(TEXT)` stands for.
fn default_value(line: &Line, kind: &str, text: &str) -> Result<Value> {
    let value = match kind {
        "int32" | "int64" => text.parse::<i64>().ok().map(Value::from),
        "bool" => text.parse::<bool>().ok().map(Value::from),
        _ => Some(Value::from(text)),
    };
    value.ok_or_else(|| line.error(format!("{text:?} is no default of {kind}")))
}
