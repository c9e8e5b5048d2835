//! From the tree to the types, with every error instead of the first.
//!
//! The types derive serde's `Deserialize`, which stops at one error. So the tree is decoded again
//! after each error, without the entry that caused it, until it decodes or nothing more can be taken
//! out. A key that has to be there gets a value that stands in for it, so that its neighbours are
//! checked as well; only where none fits, what is around it goes, too. A key that is missing only
//! because its value was taken out is not reported, and one that is spelled wrong is read as what is
//! likely meant. The cost is a few passes for each error, and errors are bounded by
//! [`crate::limits::ERRORS`].

mod deserializer;

use std::fmt;

use serde::de::{DeserializeOwned, Unexpected};

use crate::error::Position;
use crate::limits;
use crate::node::{Entry, Node, StandIn, Step, Value};
use deserializer::NodeDeserializer;

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
    /// Keys that something stands in for.
    stood_in: Vec<Vec<Step>>,
    /// The mappings in which a word is not known that decides what other keys mean.
    undecided: Vec<Vec<Step>>,
}

impl<T> Decoded<T> {
    /// Whether a fault found in `value` at a place in the file may only be due to a problem that is
    /// known already.
    pub(crate) fn is_consequence(&self, path: &[Step], known: &[Problem]) -> bool {
        // What was taken out further down is the likely cause of a fault found up here.
        let above = |problem: &Problem| problem.path.starts_with(path);
        let below = |key: &Vec<Step>| path.starts_with(key);
        // Such a word decides about the keys beside it and, as that of a group does for checks, about
        // those of a mapping beside it, but not about lists.
        let beside = |around: &Vec<Step>| {
            let rest = path.strip_prefix(around.as_slice());
            rest.is_some_and(|rest| {
                rest.len() <= 2 && rest.iter().all(|step| matches!(step, Step::Key(_)))
            })
        };
        known.iter().any(above)
            || self.stood_in.iter().any(below)
            || self.undecided.iter().any(beside)
    }
}

/// Decodes a tree, and goes on after each problem.
pub(crate) fn decode<T: DeserializeOwned>(root: Node) -> Decoded<T> {
    let mut decoding = Decoding {
        root,
        ..Decoding::default()
    };
    let value = loop {
        match T::deserialize(NodeDeserializer::new(&decoding.root)) {
            Ok(value) => break Some(value),
            Err(failure) => {
                if !decoding.mend(failure) {
                    break None;
                }
            }
        }
    };
    Decoded {
        value,
        problems: decoding.problems,
        root: decoding.root,
        stood_in: decoding.stood_in,
        undecided: decoding.undecided,
    }
}

/// A tree on its way to a value.
#[derive(Default)]
struct Decoding {
    root: Node,
    problems: Vec<Problem>,
    /// What was taken out.
    removed: Vec<Vec<Step>>,
    /// As those of [`Decoded`].
    stood_in: Vec<Vec<Step>>,
    undecided: Vec<Vec<Step>>,
}

impl Decoding {
    /// Changes the tree so that the next pass does not fail in the same way. False if it cannot be.
    fn mend(&mut self, failure: Failure) -> bool {
        let mut path = failure.path;
        path.reverse();
        let node = find_mut(&mut self.root, &path);
        let stands_in = node.and_then(|node| match &mut node.value {
            Value::StandIn(stand_in) => Some(stand_in),
            _ => None,
        });
        if failure.chooses
            && let Some((_, around)) = path.split_last()
        {
            self.undecided.push(around.to_vec());
        }
        if let Some(stand_in) = stands_in {
            return match stand_in.next() {
                Some(next) => {
                    *stand_in = next;
                    true
                }
                None => self.take_out(path),
            };
        }
        let missing = failure.missing.map(|key| {
            let mut at = path.clone();
            at.push(Step::Key(key.clone()));
            (key, at)
        });
        let consequence = missing
            .as_ref()
            .is_some_and(|(_, at)| self.removed.contains(at));
        if !consequence {
            let position = failure
                .position
                .unwrap_or_else(|| self.root.nearest(&path).position);
            self.problems.push(Problem {
                path: path.clone(),
                position,
                message: failure.message,
            });
        }
        if self.problems.len() >= limits::ERRORS {
            return false;
        }
        if let Some((key, at)) = missing
            && !self.stood_in.contains(&at)
            && self.stand_in(&path, key)
        {
            self.stood_in.push(at);
            return true;
        }
        match failure.meant {
            Some(meant) if self.rename(&path, meant) => true,
            _ => self.take_out(path),
        }
    }

    /// Puts a value in place of one that is missing in the mapping at a path.
    fn stand_in(&mut self, path: &[Step], key: String) -> bool {
        let number = self.stood_in.len();
        let Some(node) = find_mut(&mut self.root, path) else {
            return false;
        };
        let position = node.position;
        let Value::Mapping(entries) = &mut node.value else {
            return false;
        };
        entries.push(Entry {
            key,
            position,
            node: Node {
                position,
                value: Value::StandIn(StandIn::first(number)),
            },
        });
        true
    }

    /// Reads a key that is spelled wrong as the one that is meant, if that is not there as well.
    fn rename(&mut self, path: &[Step], meant: &str) -> bool {
        let Some((Step::Key(key), around)) = path.split_last() else {
            return false;
        };
        match find_mut(&mut self.root, around).map(|node| &mut node.value) {
            Some(Value::Mapping(entries)) if entries.iter().all(|entry| entry.key != meant) => {
                let entry = entries.iter_mut().find(|entry| entry.key == *key);
                entry.map(|entry| entry.key = meant.to_owned()).is_some()
            }
            _ => false,
        }
    }

    fn take_out(&mut self, mut path: Vec<Step>) -> bool {
        take_out(&mut self.root, &mut path, &mut self.removed)
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
    /// The key that is meant by an unknown one.
    meant: Option<&'static str>,
    /// It is about one of several words, which decide what its neighbours mean.
    chooses: bool,
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
            meant: None,
            chooses: false,
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
        Self {
            meant: closest(field, expected),
            ..Self::new(unknown("key", field, expected))
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self {
            chooses: true,
            ..Self::new(unknown("value", variant, expected))
        }
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
    match closest(given, known) {
        Some(name) => format!("unknown {what} `{given}`; did you mean `{name}`?"),
        None if known.is_empty() => format!("unknown {what} `{given}`; none is expected here"),
        None => format!(
            "unknown {what} `{given}`; expected one of `{}`",
            known.join("`, `")
        ),
    }
}

/// The word that is likely meant by another one.
fn closest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|name| {
            (
                strsim::jaro_winkler(&given.to_lowercase(), &name.to_lowercase()),
                *name,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
