//! What is different between two files. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// A difference, at one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where: `target_groups.app.health_check.interval`. Items of lists have their name, their
    /// priority or their address.
    pub path: String,
    /// What was there; none if nothing was.
    pub old: Option<Value>,
    /// What is there now.
    pub new: Option<Value>,
}

/// All differences, in the order of their paths.
#[must_use]
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(old), Some(new), &mut found);
    found
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    if old == new {
        return;
    }
    if let (Some(old), Some(new)) = (old.and_then(parts), new.and_then(parts)) {
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort_by_key(|key| (key.parse::<u64>().unwrap_or(0), *key));
        keys.dedup();
        for key in keys {
            compare(
                &below(key),
                old.get(key).copied(),
                new.get(key).copied(),
                found,
            );
        }
        return;
    }
    found.push(Difference {
        path: path.to_owned(),
        old: old.cloned(),
        new: new.cloned(),
    });
}

/// The parts of a value that are compared one by one: those of a mapping by their key, those of a
/// list by what tells them apart. None if it is compared as a whole.
fn parts(value: &Value) -> Option<BTreeMap<String, &Value>> {
    match value {
        Value::Object(map) => Some(
            map.iter()
                .map(|(key, value)| (key.clone(), value))
                .collect(),
        ),
        Value::Array(items) if !items.is_empty() => {
            let mut parts = BTreeMap::new();
            for item in items {
                parts.insert(name(item)?, item);
            }
            // Two of the same name cannot be told apart.
            (parts.len() == items.len()).then_some(parts)
        }
        _ => None,
    }
}

/// What an item of a list is known by.
fn name(item: &Value) -> Option<String> {
    let text = |key: &str| match &item[key] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let address = || Some(format!("{}:{}", text("address")?, text("port")?));
    text("name").or_else(|| text("priority")).or_else(address)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Difference, differences};

    fn shown(old: &Value, new: &Value) -> Vec<String> {
        let show = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        let all = differences(old, new).into_iter();
        all.map(|Difference { path, old, new }| format!("{path} {} {}", show(old), show(new)))
            .collect()
    }

    #[test]
    fn items_are_compared_by_what_tells_them_apart_and_not_by_their_place() {
        let old = json!({
            "listeners": [
                {"name": "a", "rules": [{"priority": 10, "x": 1}, {"priority": 9, "x": 2}]},
                {"name": "b", "port": 80}
            ],
            "target_groups": [{"name": "g", "targets": [{"address": "127.0.0.1", "port": 1}]}]
        });
        let new = json!({
            "listeners": [
                {"name": "b", "port": 81},
                {"name": "a", "rules": [{"priority": 9, "x": 2}, {"priority": 10, "x": 3}, {"priority": 11}]}
            ],
            "target_groups": [{"name": "g", "targets": [{"address": "127.0.0.1", "port": 2}]}],
            "runtime": {"workers": 2}
        });
        assert_eq!(
            shown(&old, &new),
            [
                "listeners.a.rules.10.x 1 3",
                "listeners.a.rules.11 - {\"priority\":11}",
                "listeners.b.port 80 81",
                "runtime - {\"workers\":2}",
                "target_groups.g.targets.127.0.0.1:1 {\"address\":\"127.0.0.1\",\"port\":1} -",
                "target_groups.g.targets.127.0.0.1:2 - {\"address\":\"127.0.0.1\",\"port\":2}",
            ]
        );
        assert!(differences(&old, &old).is_empty());
    }

    #[test]
    fn what_cannot_be_told_apart_is_compared_as_a_whole() {
        let two = json!({"l": [{"name": "a"}, {"name": "a"}], "v": ["x"]});
        let one = json!({"l": [{"name": "a"}], "v": ["x", "y"]});
        assert_eq!(
            shown(&two, &one),
            [
                "l [{\"name\":\"a\"},{\"name\":\"a\"}] [{\"name\":\"a\"}]",
                "v [\"x\"] [\"x\",\"y\"]"
            ]
        );
    }
}
