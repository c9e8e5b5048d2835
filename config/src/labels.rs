//! From the labels of a container to a group and its rules.
//!
//! Labels become the tree that a file with the same settings would be, and that tree goes through
//! the same types and the same checks. So a label has the bounds, the defaults and the messages of
//! its key in the file. A place in that tree is the number of the label that it came from.

mod tree;

use std::collections::BTreeMap;
use std::fmt;

use crate::decode::{decode, unknown};
use crate::error::Position;
use crate::limits::PRIORITY_MAX;
use crate::node::Step;
use crate::validate::validate;
use crate::{Config, LabelDiscovery, Port, Ranged, Rule, TargetGroup, limits};
use tree::Tree;

/// The labels of a container.
pub type Labels = BTreeMap<String, String>;

/// Labels with a meaning of their own; all others are keys of the group.
const OWN: [&str; 7] = [
    "enable",
    "target_group",
    "port",
    "port_name",
    "listeners",
    "rule",
    "rules",
];

/// Keys of a group that only a file can have.
const NOT_BY_LABEL: [&str; 5] = ["name", "targets", "discovery", "protocol", "tls"];

/// The port that the labels of an exposed container name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelPort {
    /// The port inside the container. None, and no name either: the only one.
    pub container_port: Option<Port>,
    /// The name of the port in the task definition.
    pub port_name: Option<String>,
}

/// What the labels of a container ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The group that it belongs to.
    pub group: TargetGroup,
    /// The listeners that the rules are for.
    pub listeners: Vec<String>,
    /// The rules, all of which forward to the group.
    pub rules: Vec<LabelRule>,
}

/// A rule that labels ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRule {
    /// Whether the labels name its priority. If not, that in `rule` means nothing.
    pub numbered: bool,
    /// The rule.
    pub rule: Rule,
    /// How exact it is: the length of all values of its conditions.
    pub length: usize,
}

/// What is wrong with the labels of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFault {
    /// The label. Empty: all of them together.
    pub label: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for LabelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label.as_str() {
            "" => f.write_str(&self.message),
            label => write!(f, "label `{label}`: {}", self.message),
        }
    }
}

impl LabelDiscovery {
    /// Whether a container with these labels is exposed, and by which port.
    ///
    /// # Errors
    /// What is wrong with the labels that tell it.
    pub fn port_of(&self, labels: &Labels) -> Result<Option<LabelPort>, LabelFault> {
        let value = |key: &str| {
            labels
                .get(&format!("{}.{key}", self.prefix))
                .map(|it| it.trim())
        };
        let fault = |key: &str, message: String| LabelFault {
            label: format!("{}.{key}", self.prefix),
            message,
        };
        let exposed = match value("enable") {
            None => self.exposed_by_default,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                return Err(fault(
                    "enable",
                    format!("expected `true` or `false`, found {other:?}"),
                ));
            }
        };
        let fits = self.constraints.iter().all(|(name, wanted)| {
            labels
                .get(name)
                .is_some_and(|value| wanted.is_empty() || value == wanted)
        });
        if !exposed || !fits {
            return Ok(None);
        }
        let container_port = match value("port") {
            None => None,
            Some(text) => match text.parse().ok().and_then(Port::new) {
                Some(port) => Some(port),
                None => {
                    return Err(fault(
                        "port",
                        format!("expected a port from 1 to 65535, found {text:?}"),
                    ));
                }
            },
        };
        let port_name = value("port_name").map(str::to_owned);
        if port_name.as_ref().is_some_and(String::is_empty) {
            return Err(fault("port_name", "a name is needed".to_owned()));
        }
        if container_port.is_some() && port_name.is_some() {
            return Err(fault(
                "port_name",
                format!(
                    "the port is chosen by `{}.port` already; remove one of the two",
                    self.prefix
                ),
            ));
        }
        Ok(Some(LabelPort {
            container_port,
            port_name,
        }))
    }

    /// The group and the rules that the labels of an exposed container ask for. `name` is that of
    /// the group without the label `target_group`, `zone` that of this process.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(
        &self,
        labels: &Labels,
        name: &str,
        zone: Option<&str>,
    ) -> Result<Exposure, Vec<LabelFault>> {
        let own: Vec<(&str, &str)> = labels
            .iter()
            .filter_map(|(label, value)| {
                let key = label
                    .strip_prefix(self.prefix.as_str())?
                    .strip_prefix('.')?;
                Some((key, value.as_str()))
            })
            .collect();
        let label = |key: &str| format!("{}.{key}", self.prefix);
        let (mut faults, mut reader) = (Vec::new(), Tree::new(name, zone));
        let mut listeners = self.listeners.clone();
        for (number, (key, value)) in own.iter().enumerate() {
            let taken = match key.split('.').next().unwrap_or(key) {
                "listeners" if *key == "listeners" => {
                    self.listeners_of(value).map(|wanted| listeners = wanted)
                }
                other if NOT_BY_LABEL.contains(&other) => {
                    Err("only the file has this key".to_owned())
                }
                _ => reader.take(number, key, value),
            };
            if let Err(message) = taken {
                faults.push(LabelFault {
                    label: label(key),
                    message,
                });
            }
        }
        if reader.rules() == 0 && faults.is_empty() {
            faults.push(LabelFault {
                label: String::new(),
                message: format!(
                    "no label begins with `{}.`; a group without a rule gets no requests",
                    label("rule")
                ),
            });
        }
        if reader.rules() > limits::LABEL_RULES {
            faults.push(LabelFault {
                label: label("rules"),
                message: format!(
                    "{} rules; a container has at most {}",
                    reader.rules(),
                    limits::LABEL_RULES
                ),
            });
        }
        let (root, numbered) = reader.finish();
        let groups = root.texts_of("target_groups", "name");
        let decoded = decode::<Config>(root);
        let mut found: Vec<(Position, Vec<Step>, String)> = Vec::new();
        for problem in decoded.problems.clone() {
            found.push((problem.position, problem.path, problem.message));
        }
        if let Some(config) = &decoded.value {
            validate(config, &groups, &mut |path, message| {
                let path = decoded.root.path_in_file(path);
                if !decoded.is_consequence(&path, &decoded.problems) {
                    found.push((decoded.root.nearest(&path).position, path, message));
                }
            });
        }
        for (position, path, message) in found {
            let key = usize::try_from(position.line)
                .ok()
                .and_then(|line| own.get(line.checked_sub(1)?));
            let key = key.map_or("", |(key, _)| *key);
            // The list of known keys would name those of the file, and not those of labels alone.
            let message = match (path.as_slice(), message.starts_with("unknown key")) {
                ([Step::Key(list), _, Step::Key(_)], true) if list == "target_groups" => {
                    unknown_label(key)
                }
                _ => message,
            };
            let label = if key.is_empty() {
                String::new()
            } else {
                label(key)
            };
            faults.push(LabelFault { label, message });
        }
        match decoded.value {
            Some(config) if faults.is_empty() => Ok(exposure(config, listeners, &numbered)),
            _ => {
                faults.truncate(limits::ERRORS);
                Err(faults)
            }
        }
    }

    fn listeners_of(&self, value: &str) -> Result<Vec<String>, String> {
        let wanted = tree::values(value);
        if wanted.is_empty() {
            return Err("the name of a listener is needed".to_owned());
        }
        match wanted.iter().find(|name| !self.listeners.contains(name)) {
            Some(name) => Err(format!(
                "{name:?} is no listener that labels may attach to; those are {}",
                self.listeners.join(", ")
            )),
            None => Ok(wanted),
        }
    }
}

fn exposure(config: Config, mut listeners: Vec<String>, numbered: &[bool]) -> Exposure {
    listeners.sort();
    listeners.dedup();
    let rules = config
        .listeners
        .into_iter()
        .flat_map(|listener| listener.rules);
    let mut groups = config.target_groups.into_iter();
    let group = groups
        .next()
        .expect("the tree has one group, and it was decoded without a fault");
    Exposure {
        group,
        listeners,
        rules: rules
            .zip(numbered)
            .map(|(rule, numbered)| LabelRule {
                numbered: *numbered,
                length: length(&rule),
                rule,
            })
            .collect(),
    }
}

/// The length of all values of a rule.
fn length(rule: &Rule) -> usize {
    let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let of = |condition: &crate::Condition| {
        let patterns = |it: &crate::Patterns| texts(&it.values) + texts(&it.regex_values);
        let header = condition.http_header.as_ref();
        let pairs = condition.query_string.iter().flatten();
        condition.host_header.as_ref().map_or(0, patterns)
            + condition.path_pattern.as_ref().map_or(0, patterns)
            + condition
                .http_request_method
                .as_ref()
                .map_or(0, |it| texts(&it.values))
            + header.map_or(0, |it| {
                it.http_header_name.len() + texts(&it.values) + texts(&it.regex_values)
            })
            + pairs
                .map(|pair| pair.key.as_ref().map_or(0, String::len) + pair.value.len())
                .sum::<usize>()
            + condition.source_ip.as_ref().map_or(0, |it| it.values.len())
    };
    rule.condition.iter().map(of).sum()
}

/// A number for a rule whose labels name none; the checks want one.
fn stand_in(index: usize) -> Ranged<1, PRIORITY_MAX> {
    let number = PRIORITY_MAX.saturating_sub(index as u64);
    Ranged::new(number).expect("a container has far fewer rules than there are numbers")
}

fn unknown_label(key: &str) -> String {
    let schema = schemars::schema_for!(TargetGroup).to_value();
    let keys = schema["properties"].as_object();
    let keys = keys.into_iter().flat_map(|keys| keys.keys());
    let keys = keys
        .map(String::as_str)
        .filter(|key| !NOT_BY_LABEL.contains(key));
    let known: Vec<&str> = OWN.into_iter().chain(keys).collect();
    unknown("label", key, &known)
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
