//! What a targets file says. No IO and no clock: bytes and time are arguments.
//!
//! The rules (see the crate's `README.md`): what cannot be understood as a whole is an error, and
//! nothing of it is believed; one element that is no target is a problem, and the others count.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use longshore_config::limits::WEIGHT_MAX;
use serde_json::{Map, Value};

use super::syntax;
use crate::element::{kind, shown, usable};
use crate::target::{Problem, Target, TargetKey};

/// The most targets of one file. Each has a health check; beyond this it is more likely that the
/// wrong file was named, or that its writer repeats itself.
pub(super) const TARGETS_MAX: usize = 10_000;

/// The most problems that are named; the others are counted. A file with more has one cause.
const PROBLEMS_MAX: usize = 100;

/// The shape that messages ask for.
const SHAPE: &str = r#"[{"targets": ["10.0.0.1:8080"], "labels": {"zone": "a"}}] or {"targets": [{"address": "10.0.0.1", "port": 8080, "zone": "a"}]}"#;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// One for each address, in the order of the file.
    pub(super) targets: Vec<Target>,
    /// Elements that are no targets, and why.
    pub(super) problems: Vec<Problem>,
}

/// Reads the bytes of the file that messages call `file`. `seen_at` is the start of the look.
///
/// # Errors
/// Why nothing of it can be believed, with the place if it is known, and what would mend it.
pub(super) fn read(file: &str, bytes: &[u8], seen_at: Instant) -> Result<Contents, String> {
    let root = syntax::parse(file, bytes)?;
    Reader::new(seen_at)
        .read(&root)
        .map_err(|fault| format!("{file}: {fault}"))
}

/// Walks a file's values.
struct Reader {
    seen_at: Instant,
    contents: Contents,
    /// Which element an address is of.
    elements: BTreeMap<SocketAddr, String>,
    /// The first element that is no target, and why.
    refused: Option<String>,
    /// How many problems are not among those named.
    unnamed: usize,
}

impl Reader {
    fn new(seen_at: Instant) -> Self {
        Self {
            seen_at,
            contents: Contents {
                targets: Vec::new(),
                problems: Vec::new(),
            },
            elements: BTreeMap::new(),
            refused: None,
            unnamed: 0,
        }
    }

    /// A file is one group, or a list of them.
    fn read(mut self, root: &Value) -> Result<Contents, String> {
        match root {
            Value::Array(groups) => {
                for (index, group) in groups.iter().enumerate() {
                    self.group(&format!("[{index}]"), group)?;
                }
            }
            group => self.group("", group)?,
        }
        // A file of nothing but mistakes says nothing about which targets there are. It is more
        // likely a template that was not filled in than the wish for no targets.
        if let (true, Some(refused)) = (self.elements.is_empty(), &self.refused) {
            return Err(format!("none of its elements is a target; {refused}"));
        }
        if self.unnamed > 0 {
            self.contents.problems.push(Problem {
                subject: format!("{} more elements", self.unnamed),
                reason: "have problems too; mend those that are named first".to_owned(),
            });
        }
        Ok(self.contents)
    }

    /// A group that is not understood is an error and not a problem: nobody knows how many
    /// targets it has, and without them the set would not be whole.
    fn group(&mut self, path: &str, group: &Value) -> Result<(), String> {
        let dot = if path.is_empty() { "" } else { "." };
        let Some(targets) = group.as_object().and_then(|group| group.get("targets")) else {
            let path = if path.is_empty() { "the file" } else { path };
            return Err(format!("{path} has no list `targets`; expected {SHAPE}"));
        };
        let Some(targets) = targets.as_array() else {
            return Err(format!(
                "{path}{dot}targets is {}; expected a list, `[]` for no targets",
                kind(targets)
            ));
        };
        let zone = match group
            .get("labels")
            .map(|labels| (labels, labels.as_object()))
        {
            None | Some((Value::Null, _)) => None,
            Some((_, Some(labels))) => {
                self.zone(&format!("{path}{dot}labels"), labels, &["zone", "__zone__"])
            }
            Some((labels, None)) => {
                self.problem(
                    format!("{path}{dot}labels"),
                    format!("is {}, not keys and values; left out", kind(labels)),
                );
                None
            }
        };
        for (index, value) in targets.iter().enumerate() {
            let path = format!("{path}{dot}targets[{index}]");
            let found = match value {
                Value::String(text) => address(text),
                Value::Object(element) => element_address(element),
                other => Err(format!(
                    "is {}; expected an address and a port such as \"10.0.0.1:8080\"",
                    kind(other)
                )),
            };
            match found.and_then(usable) {
                Ok(address) => {
                    let element = value.as_object();
                    let own = element.and_then(|element| self.zone(&path, element, &["zone"]));
                    let weight = element.map_or(1, |element| self.weight(&path, element));
                    self.target(path, address, own.or_else(|| zone.clone()), weight)?;
                }
                Err(reason) => {
                    self.refused
                        .get_or_insert_with(|| format!("{path}: {reason}"));
                    self.problem(path, reason);
                }
            }
        }
        Ok(())
    }

    fn target(
        &mut self,
        path: String,
        address: SocketAddr,
        zone: Option<Arc<str>>,
        weight: u16,
    ) -> Result<(), String> {
        if let Some(other) = self.elements.get(&address) {
            let reason = format!("{address} is that of {other} already; one of them is enough");
            self.problem(path, reason);
            return Ok(());
        }
        if self.contents.targets.len() == TARGETS_MAX {
            return Err(format!(
                "the file has more than {TARGETS_MAX} targets, the most that are taken"
            ));
        }
        self.elements.insert(address, path);
        self.contents.targets.push(Target {
            key: TargetKey {
                task: "file".into(),
                container: address.ip().to_string().into(),
                port: address.port(),
            },
            address,
            zone,
            weight,
            instance: None,
            shared_port: false,
            started_at: None,
            protocol_version: None,
            claim: None,
            confirmed_at: self.seen_at,
        });
        Ok(())
    }

    /// The zone under the first of `keys` that is there. A wrong one does not cost its targets: they
    /// are in no zone.
    fn zone(&mut self, path: &str, map: &Map<String, Value>, keys: &[&str]) -> Option<Arc<str>> {
        let (key, value) = keys
            .iter()
            .find_map(|key| map.get(*key).map(|value| (key, value)))?;
        match value {
            Value::String(text) => (!text.is_empty()).then(|| text.as_str().into()),
            Value::Number(number) => Some(number.to_string().into()),
            Value::Null => None,
            other => {
                let reason = format!("is {}, not a text; left out", kind(other));
                self.problem(format!("{path}.{key}"), reason);
                None
            }
        }
    }

    /// The weight of an element. A wrong one does not cost the target: it counts as 1.
    fn weight(&mut self, path: &str, element: &Map<String, Value>) -> u16 {
        let found = match element.get("weight") {
            None | Some(Value::Null) => return 1,
            Some(Value::Number(number)) => {
                let weight = number
                    .as_u64()
                    .and_then(|weight| u16::try_from(weight).ok());
                if let Some(weight) = weight.filter(|weight| u64::from(*weight) <= WEIGHT_MAX) {
                    return weight;
                }
                number.to_string()
            }
            Some(other) => kind(other).to_owned(),
        };
        let reason = format!("is {found}; expected a whole number from 0 to {WEIGHT_MAX}; 1 holds");
        self.problem(format!("{path}.weight"), reason);
        1
    }

    fn problem(&mut self, subject: String, reason: String) {
        if self.contents.problems.len() < PROBLEMS_MAX {
            self.contents.problems.push(Problem { subject, reason });
        } else {
            self.unnamed += 1;
        }
    }
}

/// `{"address": "10.0.0.1", "port": 8080}`
fn element_address(element: &Map<String, Value>) -> Result<SocketAddr, String> {
    let address = match element.get("address") {
        Some(Value::String(text)) => text,
        Some(other) => return Err(format!("its address is {}, not a text", kind(other))),
        None => return Err("has no `address`".to_owned()),
    };
    let ip: IpAddr = address.parse().map_err(|_| {
        format!(
            "{} is not an IP address; host names are not resolved, and the port has a key of its own",
            shown(address)
        )
    })?;
    let port = element.get("port").ok_or("has no `port`")?;
    let port = port
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| {
            let found = match port {
                Value::Number(number) => number.to_string(),
                other => kind(other).to_owned(),
            };
            format!("its port is {found}; expected a number from 1 to 65535")
        })?;
    Ok(SocketAddr::new(ip, port))
}

/// `10.0.0.1:8080` or `[::1]:80`
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let text_shown = shown(text);
    Err(match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("{text_shown} has no port; write \"{ip}:8080\""),
        Ok(IpAddr::V6(_)) => {
            format!("{text_shown} has no port, or no brackets; write \"[::1]:8080\"")
        }
        Err(_) if text.contains("://") => {
            format!("{text_shown} is a URL; write only an IP address and a port")
        }
        Err(_) => {
            let host = match text.rsplit_once(':') {
                Some((host, _)) if !text.ends_with(']') => host,
                _ => text,
            };
            let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
            if bare.unwrap_or(host).parse::<IpAddr>().is_ok() {
                format!("{text_shown} has no port from 1 to 65535 behind its address")
            } else {
                format!(
                    "{text_shown} is not an IP address with a port, such as \"10.0.0.1:8080\"; host names are not resolved"
                )
            }
        }
    })
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "contents_tests.rs"]
mod tests;
