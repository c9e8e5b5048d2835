//! The file as a tree in which every key and value knows its place.
//!
//! Reading into a tree first is what lets all errors be reported at once: a deserializer straight
//! from YAML stops at the first.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::error::Position;

/// Bytes that no file has.
const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// A value and where it stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, Default)]
pub(crate) enum Value {
    #[default]
    Null,
    Bool(bool),
    /// `text`: as it is written, which may be `0x1F` for 31.
    Integer {
        number: i128,
        text: Written,
    },
    /// Also `007`.
    Float {
        number: f64,
        text: Written,
    },
    /// `expanded`: an environment variable was put in, so that the text may stand for a number.
    Text {
        text: String,
        expanded: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
    /// Something in place of a value whose error is known already.
    StandIn(StandIn),
    /// An item of a sequence whose error is known already; it is passed over.
    Skipped,
}

/// How a number is written.
#[derive(Debug, Clone)]
pub(crate) enum Written {
    /// In these bytes of the file, which are not read yet.
    At(Range<usize>),
    /// So.
    So(String),
}

impl Written {
    fn read(&mut self, file: &str, number: &dyn fmt::Display) {
        if let Self::At(bytes) = self {
            // A place that is not in the file would be a fault of the library; the number is what
            // there is then.
            let found = file.get(bytes.clone()).map(str::trim);
            *self = Self::So(found.map_or_else(|| number.to_string(), str::to_owned));
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::At(_) => "",
            Self::So(text) => text,
        }
    }
}

/// What stands in for a value whose type is known only to the one that asks for it: a text or a number
/// that is tried after another. Lists are empty, and words the first that there is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StandIn {
    /// An empty text. Whatever takes none has a default in its place.
    Text,
    /// The tries of a value that has to be there, and how many stood in before it.
    Try(u8, usize),
}

impl StandIn {
    pub(crate) fn first(number: usize) -> Self {
        Self::Try(0, number)
    }

    /// What is tried when this was refused.
    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::Try(nth @ 0..=2, number) => Some(Self::Try(nth + 1, number)),
            Self::Text | Self::Try(..) => None,
        }
    }

    /// A name that nothing else has, an address for documents (RFC 5737), or the same with a port.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Text | Self::Try(0 | 1, _) => "",
            Self::Try(2, _) => "192.0.2.1",
            Self::Try(..) => "192.0.2.1:1",
        }
    }

    /// A number that is likely nobody else's priority or port; then 1, which most bounds allow.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Self::Text | Self::Try(0, _) => None,
            Self::Try(1, number) => Some(49_999_u64.saturating_sub(number as u64)),
            Self::Try(..) => Some(1),
        }
    }
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) position: Position,
    pub(crate) node: Node,
}

/// One step of a path from the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Node {
    /// The node at a path, or the nearest one above it that exists.
    pub(crate) fn nearest(&self, path: &[Step]) -> &Self {
        let mut node = self;
        for step in path {
            let child = match (&node.value, step) {
                (Value::Mapping(entries), Step::Key(key)) => entries
                    .iter()
                    .find(|entry| entry.key == *key)
                    .map(|entry| &entry.node),
                (Value::Sequence(items), Step::Index(index)) => items.get(*index),
                _ => None,
            };
            match child {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }
}

impl Node {
    /// A path into the values made from this tree as a path into the tree: items that were
    /// skipped have no place among the values.
    pub(crate) fn path_in_file(&self, path: &[Step]) -> Vec<Step> {
        let mut node = Some(self);
        let mut out = Vec::with_capacity(path.len());
        for step in path {
            let step = match (node.map(|node| &node.value), step) {
                (Some(Value::Sequence(items)), Step::Index(nth)) => Step::Index(
                    items
                        .iter()
                        .enumerate()
                        .filter(|(_, item)| !matches!(item.value, Value::Skipped))
                        .nth(*nth)
                        .map_or(*nth, |(index, _)| index),
                ),
                _ => step.clone(),
            };
            out.push(step);
            node = Some(self.nearest(&out));
        }
        out
    }

    /// Reads from the file how its numbers are written: the library tells only what they are.
    pub(crate) fn read_numbers(&mut self, file: &str) {
        match &mut self.value {
            Value::Integer { number, text } => text.read(file, number),
            Value::Float { number, text } => text.read(file, number),
            Value::Sequence(items) => items.iter_mut().for_each(|item| item.read_numbers(file)),
            Value::Mapping(entries) => {
                entries
                    .iter_mut()
                    .for_each(|entry| entry.node.read_numbers(file));
            }
            _ => {}
        }
    }

    /// The texts under `key` in the items of the list `list` at the top of the file.
    pub(crate) fn texts_of(&self, list: &str, key: &str) -> Vec<String> {
        let Value::Sequence(items) = &self.nearest(&[Step::Key(list.to_owned())]).value else {
            return Vec::new();
        };
        items
            .iter()
            .filter_map(
                |item| match &item.nearest(&[Step::Key(key.to_owned())]).value {
                    Value::Text { text, .. } => Some(text.clone()),
                    Value::Integer { text, .. } => Some(text.text().to_owned()),
                    _ => None,
                },
            )
            .collect()
    }
}

/// `listeners[0].rules[2]`
pub(crate) fn show_path(path: &[Step]) -> String {
    use fmt::Write as _;
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            // Writing to a String does not fail.
            Step::Index(index) => write!(text, "[{index}]").unwrap_or_default(),
        }
    }
    text
}

/// The other way round.
pub(crate) fn read_path(text: &str) -> Vec<Step> {
    let mut path = Vec::new();
    for part in text.split('.') {
        let (key, indexes) = part.split_once('[').unwrap_or((part, ""));
        path.push(Step::Key(key.to_owned()));
        let numbers = indexes.split(['[', ']']).filter_map(|n| n.parse().ok());
        path.extend(numbers.map(Step::Index));
    }
    path
}

fn position(location: serde_saphyr::Location) -> Position {
    Position {
        line: location.line().max(1),
        column: location.column().max(1),
    }
}

pub(crate) fn position_of(location: Option<serde_saphyr::Location>) -> Position {
    location.map_or(Position::START, position)
}

fn bytes_of(location: serde_saphyr::Location) -> Range<usize> {
    let at = |bytes: Option<u64>| bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let span = location.span();
    match (at(span.byte_offset()), at(span.byte_len())) {
        (Some(start), Some(length)) => start..start.saturating_add(length),
        _ => NOWHERE,
    }
}

fn integer(number: i128) -> Value {
    Value::Integer {
        number,
        text: Written::At(NOWHERE),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let mut value = spanned.value;
        if let Value::Integer { text, .. } | Value::Float { text, .. } = &mut value {
            // Behind an alias, where its anchor is.
            *text = Written::At(bytes_of(spanned.defined));
        }
        Ok(Self {
            position: position(spanned.referenced),
            value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(integer(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(integer(value.into()))
            }

            fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
                Ok(integer(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float {
                    number: value,
                    text: Written::At(NOWHERE),
                })
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text {
                    text: value.to_owned(),
                    expanded: false,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = items.next_element()? {
                    nodes.push(node);
                }
                Ok(Value::Sequence(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut mapping = Vec::new();
                while let Some(key) = entries.next_key::<Spanned<String>>()? {
                    mapping.push(Entry {
                        position: position(key.referenced),
                        key: key.value,
                        node: entries.next_value()?,
                    });
                }
                Ok(Value::Mapping(mapping))
            }
        }
        deserializer.deserialize_any(V)
    }
}
