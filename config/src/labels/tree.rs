//! The tree that a file with the settings of some labels would be.

use std::collections::BTreeMap;

use super::stand_in;
use crate::decode::unknown;
use crate::error::Position;
use crate::node::{Entry, Node, Value};

/// Labels below `rule`.
const OF_RULES: [&str; 9] = [
    "priority",
    "host_header",
    "path_pattern",
    "http_request_method",
    "http_header",
    "query_string",
    "source_ip",
    "url_rewrite",
    "host_header_rewrite",
];

/// A group and its rules, as they are read.
pub(super) struct Tree<'n> {
    name: &'n str,
    zone: Option<&'n str>,
    /// `target_group` of the labels.
    named: Option<Node>,
    group: Vec<Entry>,
    /// By name; that of `rule` is empty.
    rules: BTreeMap<String, RuleTree>,
}

/// One rule, as it is read.
#[derive(Default)]
struct RuleTree {
    /// The first label that tells of it.
    number: usize,
    priority: Option<Node>,
    conditions: Vec<Node>,
    /// `regex` and `replace` of each kind.
    rewrites: BTreeMap<&'static str, Vec<Entry>>,
}

impl<'n> Tree<'n> {
    pub(super) fn new(name: &'n str, zone: Option<&'n str>) -> Self {
        Self {
            name,
            zone,
            named: None,
            group: Vec::new(),
            rules: BTreeMap::new(),
        }
    }

    pub(super) fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Takes the label of a number, without its prefix.
    pub(super) fn take(&mut self, number: usize, key: &str, value: &str) -> Result<(), String> {
        let path: Vec<&str> = key.split('.').collect();
        match path.as_slice() {
            ["enable" | "port" | "port_name"] => Ok(()),
            ["target_group"] => {
                self.named = Some(text(number, value));
                Ok(())
            }
            ["rule", rest @ ..] => self.rule(number, "", rest, value),
            ["rules", name, rest @ ..] if !name.is_empty() => self.rule(number, name, rest, value),
            ["rules", ..] => {
                Err("the name of the rule is missing, as in `rules.api.path_pattern`".to_owned())
            }
            path => insert(&mut self.group, number, path, text(number, value)),
        }
    }

    fn rule(&mut self, number: usize, name: &str, key: &[&str], value: &str) -> Result<(), String> {
        let rule = self.rules.entry(name.to_owned()).or_insert(RuleTree {
            number,
            ..RuleTree::default()
        });
        let plain = || list(number, values(value));
        let one = || list(number, vec![value.to_owned()]);
        let condition = |key: &str, node| map(number, vec![(key, node)]);
        match key {
            ["priority"] => rule.priority = Some(text(number, value)),
            [key @ ("host_header" | "path_pattern" | "http_request_method" | "source_ip")]
            | [
                key @ ("host_header" | "path_pattern" | "http_request_method" | "source_ip"),
                "values",
            ] => {
                let node = map(number, vec![("values", plain())]);
                rule.conditions.push(condition(key, node));
            }
            [key @ ("host_header" | "path_pattern"), "regex_values"] => {
                let node = map(number, vec![("regex_values", one())]);
                rule.conditions.push(condition(key, node));
            }
            ["http_header", name] | ["http_header", name, "values"] => {
                let name = ("http_header_name", text(number, name));
                let node = map(number, vec![name, ("values", plain())]);
                rule.conditions.push(condition("http_header", node));
            }
            ["http_header", name, "regex_values"] => {
                let name = ("http_header_name", text(number, name));
                let node = map(number, vec![name, ("regex_values", one())]);
                rule.conditions.push(condition("http_header", node));
            }
            ["query_string"] => {
                let pairs = values(value)
                    .into_iter()
                    .map(|pair| match pair.split_once('=') {
                        Some((key, value)) => map(
                            number,
                            vec![("key", text(number, key)), ("value", text(number, value))],
                        ),
                        None => map(number, vec![("value", text(number, &pair))]),
                    });
                let node = node(number, Value::Sequence(pairs.collect()));
                rule.conditions.push(condition("query_string", node));
            }
            ["url_rewrite", part @ ("regex" | "replace")] => {
                let parts = rule.rewrites.entry("url_rewrite").or_default();
                parts.push(entry(number, part, text(number, value)));
            }
            ["host_header_rewrite", part @ ("regex" | "replace")] => {
                let parts = rule.rewrites.entry("host_header_rewrite").or_default();
                parts.push(entry(number, part, text(number, value)));
            }
            [] => {
                return Err(
                    "what the rule looks at is missing, as in `rule.host_header`".to_owned(),
                );
            }
            ["http_header"] => {
                return Err(
                    "the name of the header is missing, as in `rule.http_header.x-env`".to_owned(),
                );
            }
            ["url_rewrite" | "host_header_rewrite", ..] => {
                return Err("a rewrite has `regex` and `replace`".to_owned());
            }
            [known, rest @ ..] if OF_RULES.contains(known) => {
                let rest = rest.join(".");
                return Err(unknown("label", &rest, &["values", "regex_values"]));
            }
            [other, ..] => return Err(unknown("label", other, &OF_RULES)),
        }
        Ok(())
    }

    /// The tree, and for each rule whether its labels name its priority.
    pub(super) fn finish(self) -> (Node, Vec<bool>) {
        let name = self
            .named
            .unwrap_or_else(|| text_at(Position { line: 0, column: 1 }, self.name));
        let forward = |number| {
            let action = vec![
                ("type", text(number, "forward")),
                ("target_group", name.clone()),
            ];
            node(number, Value::Sequence(vec![map(number, action)]))
        };
        let numbered = self.rules.values().map(|rule| rule.priority.is_some());
        let numbered: Vec<bool> = numbered.collect();
        let rules = self.rules.into_values().enumerate().map(|(index, rule)| {
            let number = rule.number;
            let stand_in = || text(number, &stand_in(index).get().to_string());
            let transforms = rule.rewrites.into_iter().map(|(kind, parts)| {
                let rewrite = node(number, Value::Mapping(parts));
                let config = map(number, vec![("rewrite", rewrite)]);
                let key = format!("{kind}_config");
                map(
                    number,
                    vec![("type", text(number, kind)), (key.as_str(), config)],
                )
            });
            map(
                number,
                vec![
                    ("priority", rule.priority.unwrap_or_else(stand_in)),
                    ("condition", node(number, Value::Sequence(rule.conditions))),
                    ("action", forward(number)),
                    (
                        "transform",
                        node(number, Value::Sequence(transforms.collect())),
                    ),
                ],
            )
        });
        let listener = map_nowhere(vec![
            ("name", nowhere("labels")),
            ("port", nowhere("1")),
            ("default_action", forward_nowhere(&name)),
            ("rules", at_nowhere(Value::Sequence(rules.collect()))),
        ]);
        let mut group = self.group;
        group.push(Entry {
            key: "name".to_owned(),
            position: name.position,
            node: name,
        });
        let zone = self.zone.map(|zone| ("zone", nowhere(zone)));
        let root = map_nowhere(vec![
            ("runtime", map_nowhere(zone.into_iter().collect())),
            ("listeners", at_nowhere(Value::Sequence(vec![listener]))),
            (
                "target_groups",
                at_nowhere(Value::Sequence(vec![at_nowhere(Value::Mapping(group))])),
            ),
        ]);
        (root, numbered)
    }
}

/// The alternatives in a value: parted by commas; `\,` is a comma.
pub(super) fn values(value: &str) -> Vec<String> {
    let (mut all, mut one) = (Vec::new(), String::new());
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&',') => {
                characters.next();
                one.push(',');
            }
            ',' => all.push(std::mem::take(&mut one)),
            other => one.push(other),
        }
    }
    all.push(one);
    all.into_iter().map(|text| text.trim().to_owned()).collect()
}

/// Puts a value at a path below a mapping.
fn insert(
    entries: &mut Vec<Entry>,
    number: usize,
    path: &[&str],
    value: Node,
) -> Result<(), String> {
    let [first, rest @ ..] = path else {
        return Err("the label has no name behind its prefix".to_owned());
    };
    let known = entries.iter_mut().find(|entry| entry.key == *first);
    match (known, rest) {
        (None, []) => entries.push(entry(number, first, value)),
        (None, rest) => {
            let mut inner = Vec::new();
            insert(&mut inner, number, rest, value)?;
            entries.push(entry(number, first, node(number, Value::Mapping(inner))));
        }
        (
            Some(Entry {
                node:
                    Node {
                        value: Value::Mapping(inner),
                        ..
                    },
                ..
            }),
            rest @ [_, ..],
        ) => {
            insert(inner, number, rest, value)?;
        }
        (Some(_), _) => {
            return Err(format!(
                "`{first}` is a value in one label and has labels below it in another"
            ));
        }
    }
    Ok(())
}

fn at(number: usize) -> Position {
    Position {
        line: number as u64 + 1,
        column: 1,
    }
}

const NOWHERE: Position = Position { line: 0, column: 1 };

fn node(number: usize, value: Value) -> Node {
    Node {
        position: at(number),
        value,
    }
}

/// A text that may stand for a number or a truth value, as labels have nothing else.
fn text(number: usize, text: &str) -> Node {
    text_at(at(number), text)
}

fn text_at(position: Position, text: &str) -> Node {
    Node {
        position,
        value: Value::Text {
            text: text.to_owned(),
            expanded: true,
        },
    }
}

fn list(number: usize, texts: Vec<String>) -> Node {
    let items = texts.iter().map(|one| text(number, one)).collect();
    node(number, Value::Sequence(items))
}

fn entry(number: usize, key: &str, node: Node) -> Entry {
    Entry {
        key: key.to_owned(),
        position: at(number),
        node,
    }
}

fn map(number: usize, entries: Vec<(&str, Node)>) -> Node {
    let entries = entries
        .into_iter()
        .map(|(key, node)| entry(number, key, node));
    node(number, Value::Mapping(entries.collect()))
}

fn at_nowhere(value: Value) -> Node {
    Node {
        position: NOWHERE,
        value,
    }
}

fn nowhere(text: &str) -> Node {
    text_at(NOWHERE, text)
}

fn map_nowhere(entries: Vec<(&str, Node)>) -> Node {
    let entries = entries.into_iter().map(|(key, node)| Entry {
        key: key.to_owned(),
        position: NOWHERE,
        node,
    });
    at_nowhere(Value::Mapping(entries.collect()))
}

fn forward_nowhere(name: &Node) -> Node {
    let action = vec![("type", nowhere("forward")), ("target_group", name.clone())];
    at_nowhere(Value::Sequence(vec![map_nowhere(action)]))
}
