//! From the tree to the types, with every error instead of the first.
//!
//! The types derive serde's `Deserialize`, which stops at one error. So the tree is decoded again
//! after each error, without the entry or item that caused it, until it decodes or nothing more
//! can be taken out. A key that is missing only because its value was taken out is not reported.
//! The cost is one pass for each error, and errors are bounded by [`crate::limits::ERRORS`].

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::error::Position;
use crate::limits;
use crate::node::{Node, Step, Value};
use crate::written::is_secret;

/// An error and its place in the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) path: Vec<Step>,
    pub(crate) position: Position,
    pub(crate) message: String,
}

/// What came of a tree.
pub(crate) struct Decoded<T> {
    /// The value, without the entries and items that have a problem. Absent if nothing can be
    /// made without them.
    pub(crate) value: Option<T>,
    /// Every problem; the value is whole if there is none.
    pub(crate) problems: Vec<Problem>,
    /// The tree that `value` was made from; its items have the same indexes as those of the file.
    pub(crate) root: Node,
}

/// Decodes a tree, and goes on after each problem.
pub(crate) fn decode<T: DeserializeOwned>(mut root: Node) -> Decoded<T> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut removed: Vec<Vec<Step>> = Vec::new();
    loop {
        match T::deserialize(NodeDeserializer::new(&root)) {
            Ok(value) => {
                return Decoded {
                    value: Some(value),
                    problems,
                    root,
                };
            }
            Err(failure) => {
                let mut path = failure.path;
                path.reverse();
                let position = failure
                    .position
                    .unwrap_or_else(|| root.nearest(&path).position);
                let consequence = failure.missing.as_ref().is_some_and(|key| {
                    removed.iter().any(|gone| {
                        gone.split_last().is_some_and(|(last, parent)| {
                            parent == path && *last == Step::Key(key.clone())
                        })
                    })
                });
                if !consequence {
                    problems.push(Problem {
                        path: path.clone(),
                        position,
                        message: failure.message,
                    });
                }
                if problems.len() >= limits::ERRORS || !take_out(&mut root, &mut path, &mut removed)
                {
                    return Decoded {
                        value: None,
                        problems,
                        root,
                    };
                }
            }
        }
    }
}

/// Takes the value at a path out of the tree, or the nearest one above it that can go.
/// False if that is the root.
fn take_out(root: &mut Node, path: &mut Vec<Step>, removed: &mut Vec<Vec<Step>>) -> bool {
    while let Some(last) = path.pop() {
        let taken = match (find_mut(root, path).map(|node| &mut node.value), &last) {
            (Some(Value::Mapping(entries)), Step::Key(key)) => {
                let before = entries.len();
                entries.retain(|entry| entry.key != *key);
                entries.len() < before
            }
            // The item stays in its place, marked, so that the indexes of its neighbours stay true.
            (Some(Value::Sequence(items)), Step::Index(index)) => {
                items.get_mut(*index).is_some_and(|item| {
                    !matches!(
                        std::mem::replace(&mut item.value, Value::Skipped),
                        Value::Skipped
                    )
                })
            }
            _ => false,
        };
        if taken {
            path.push(last);
            removed.push(path.clone());
            return true;
        }
    }
    false
}

fn find_mut<'a>(root: &'a mut Node, path: &[Step]) -> Option<&'a mut Node> {
    path.iter()
        .try_fold(root, |node, step| match (&mut node.value, step) {
            (Value::Mapping(entries), Step::Key(key)) => entries
                .iter_mut()
                .find(|entry| entry.key == *key)
                .map(|entry| &mut entry.node),
            (Value::Sequence(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        })
}

/// Why one pass failed. The path is built from the inside out.
#[derive(Debug)]
struct Failure {
    path: Vec<Step>,
    position: Option<Position>,
    message: String,
    missing: Option<String>,
    /// The message comes from a type's own parser and does not show the value.
    bare: bool,
}

impl Failure {
    fn new(message: String) -> Self {
        Self {
            bare: false,
            ..serde::de::Error::custom(message)
        }
    }

    /// The failure as seen from the list or mapping around the value.
    fn around(mut self, step: Step, value: NodeDeserializer<'_>) -> Self {
        if self.bare && self.position.is_none() {
            self.message = format!("{}, found {}", self.message, value.found());
        }
        self.within(step, value.node.position)
    }

    fn within(mut self, step: Step, position: Position) -> Self {
        self.path.push(step);
        self.position.get_or_insert(position);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl serde::de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: Vec::new(),
            position: None,
            message: message.to_string(),
            missing: None,
            bare: true,
        }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::new(format!("expected {expected}, found {}", show(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(unknown("key", field, expected))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(unknown("value", variant, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            missing: Some(field.to_owned()),
            ..Self::new(format!("the key `{field}` is missing"))
        }
    }
}

fn show(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Bool(value) => format!("{value}"),
        Unexpected::Unsigned(value) => format!("{value}"),
        Unexpected::Signed(value) => format!("{value}"),
        Unexpected::Float(value) => format!("{value}"),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// `unknown key `lisener`; did you mean `listener`?`, or the list of what there is.
pub(crate) fn unknown(what: &str, given: &str, known: &[&str]) -> String {
    let close = known
        .iter()
        .map(|name| {
            (
                strsim::jaro_winkler(&given.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match close {
        Some((_, name)) => format!("unknown {what} `{given}`; did you mean `{name}`?"),
        None if known.is_empty() => format!("unknown {what} `{given}`; none is expected here"),
        None => format!(
            "unknown {what} `{given}`; expected one of `{}`",
            known.join("`, `")
        ),
    }
}

#[derive(Clone, Copy)]
struct NodeDeserializer<'a> {
    node: &'a Node,
    /// The last key above it.
    key: &'a str,
    /// It is nobody's business, so messages, which end in logs, do not show it.
    secret: bool,
}

impl<'a> NodeDeserializer<'a> {
    fn new(root: &'a Node) -> Self {
        Self {
            node: root,
            key: "",
            secret: false,
        }
    }

    fn unexpected(self) -> Unexpected<'a> {
        match &self.node.value {
            Value::Bool(_) if self.secret => Unexpected::Other("a truth value"),
            Value::Integer { .. } | Value::Float(_) if self.secret => Unexpected::Other("a number"),
            Value::Text { .. } if self.secret => Unexpected::Other("a text"),
            Value::Null | Value::Skipped => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Integer { number, .. } => match (u64::try_from(*number), i64::try_from(*number))
            {
                (Ok(value), _) => Unexpected::Unsigned(value),
                (_, Ok(value)) => Unexpected::Signed(value),
                _ => Unexpected::Other("a number beyond 64 bits"),
            },
            Value::Float(value) => Unexpected::Float(*value),
            Value::Text { text, .. } => Unexpected::Str(text),
            Value::Sequence(_) => Unexpected::Seq,
            Value::Mapping(_) => Unexpected::Map,
        }
    }

    /// The value as messages show it.
    fn found(self) -> String {
        match &self.node.value {
            Value::Integer { text, .. } if !self.secret => text.text().to_owned(),
            _ => show(self.unexpected()),
        }
    }

    /// A text that came from an environment variable may stand for a number or a truth value.
    fn expanded(self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text {
                text,
                expanded: true,
            } => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Null | Value::Skipped => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer { number, .. } => match (u64::try_from(*number), i64::try_from(*number))
            {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(Failure::invalid_type(self.unexpected(), &visitor)),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text { text, .. } => visitor.visit_str(text),
            Value::Sequence(items) => visitor.visit_seq(Items {
                list: self,
                items,
                next: 0,
            }),
            Value::Mapping(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.expanded().and_then(|text| text.trim().parse().ok()) {
            Some(number) => visitor.visit_u64(number),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.expanded() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            // `matcher: 200` means the text 200; other plain values, such as 0x1F, could be meant as
            // they are written or as what YAML makes of them.
            Value::Integer { number, text } => {
                let text = text.text();
                if text == number.to_string() {
                    visitor.visit_str(text)
                } else {
                    Err(Failure::new(format!(
                        "expected a text, found {}; put it in quotes",
                        self.found()
                    )))
                }
            }
            Value::Bool(_) | Value::Float(_) => Err(Failure::new(format!(
                "expected a text, found {}; put it in quotes",
                self.found()
            ))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null | Value::Skipped => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Mapping(entries) => visitor.visit_map(Entries {
                mapping: self,
                entries: entries.iter(),
                current: None,
            }),
            _ => Err(Failure::new(format!(
                "expected keys and values, found {}",
                show(self.unexpected())
            ))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Sequence(items) => visitor.visit_seq(Items {
                list: self,
                items,
                next: 0,
            }),
            _ => Err(Failure::new(format!(
                "expected a list, found {}",
                show(self.unexpected())
            ))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Text { text, .. } => visitor.visit_enum(Variant(text)),
            _ => Err(Failure::new(format!(
                "expected one of `{}`, found {}",
                variants.join("`, `"),
                show(self.unexpected())
            ))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct identifier ignored_any
    }
}

struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name: StrDeserializer<'_, Failure> = self.0.into_deserializer();
        seed.deserialize(name).map(|value| (value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Failure> {
        Err(Failure::new("expected a single word".to_owned()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Failure> {
        Err(Failure::new("expected a single word".to_owned()))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Failure> {
        Err(Failure::new("expected a single word".to_owned()))
    }
}

struct Items<'a> {
    list: NodeDeserializer<'a>,
    items: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        while let Some(node) = self.items.get(self.next) {
            let index = self.next;
            self.next += 1;
            if matches!(node.value, Value::Skipped) {
                continue;
            }
            let item = NodeDeserializer { node, ..self.list };
            return seed
                .deserialize(item)
                .map(Some)
                .map_err(|failure| failure.around(Step::Index(index), item));
        }
        Ok(None)
    }
}

struct Entries<'a> {
    mapping: NodeDeserializer<'a>,
    entries: std::slice::Iter<'a, crate::node::Entry>,
    current: Option<&'a crate::node::Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        self.current = Some(entry);
        let key: StrDeserializer<'_, Failure> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|failure| failure.within(Step::Key(entry.key.clone()), entry.position))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let entry = self
            .current
            .take()
            .ok_or_else(|| Failure::new("a value was asked for before its key".to_owned()))?;
        let value = NodeDeserializer {
            node: &entry.node,
            key: &entry.key,
            secret: self.mapping.secret || is_secret(&[self.mapping.key, &entry.key]),
        };
        seed.deserialize(value)
            .map_err(|failure| failure.around(Step::Key(entry.key.clone()), value))
    }
}
