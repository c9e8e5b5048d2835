//! A file as it was written, for whoever wants to see or compare it: with `${NAME}` where the
//! environment is asked, and without secrets. Pure.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use crate::node::{self, Node};

/// What stands for a secret.
pub const HIDDEN: &str = "(secret)";

/// A file as it was written.
#[derive(Debug, Clone, Default)]
pub struct Written(Arc<Value>);

/// Two files that mean the same may be written differently, so this makes no difference.
impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Written {}

impl Written {
    /// Of a tree in which no variable was replaced yet.
    pub(crate) fn new(root: &Node) -> Self {
        Self(Arc::new(value(root, &mut Vec::new(), false)))
    }

    /// Its keys and values; null for a configuration that is from no file.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }
}

/// Whether what stands at a path, or below it, is nobody's business. The last two keys tell it.
pub(crate) fn is_secret(path: &[&str]) -> bool {
    matches!(
        path,
        [.., "token" | "cookie_keys" | "session_ticket_keys"]
            | [.., "basic_auth", "users"]
            | [.., "health_check", "headers"]
            // Such as one by which a target knows its load balancer.
            | [.., "request_headers", "set" | "add"]
    )
}

/// Whether a text is one variable and nothing else: its name is no secret.
fn is_variable(text: &str) -> bool {
    let name = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.contains(['$', '{', '}']))
}

fn value<'n>(node: &'n Node, path: &mut Vec<&'n str>, secret: bool) -> Value {
    let shown = |value: Value| if secret { HIDDEN.into() } else { value };
    match &node.value {
        node::Value::Null | node::Value::Skipped | node::Value::StandIn(_) => Value::Null,
        node::Value::Bool(it) => shown((*it).into()),
        node::Value::Integer { number: it, .. } => {
            let number = Number::from_i128(*it);
            shown(number.map_or_else(|| it.to_string().into(), Value::Number))
        }
        node::Value::Float { number: it, .. } => shown((*it).into()),
        node::Value::Text { text, .. } if is_variable(text) => text.as_str().into(),
        node::Value::Text { text, .. } => shown(text.as_str().into()),
        node::Value::Sequence(items) => {
            let items = items.iter().map(|item| value(item, path, secret));
            Value::Array(items.collect())
        }
        node::Value::Mapping(entries) => {
            let mut out = Map::new();
            for entry in entries {
                path.push(&entry.key);
                let secret = secret || is_secret(path);
                out.insert(entry.key.clone(), value(&entry.node, path, secret));
                path.pop();
            }
            Value::Object(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::is_secret;

    #[test]
    fn a_file_is_shown_as_it_was_written_without_what_is_secret() {
        let text = "admin: {address: '0.0.0.0:9901', token: 0123456789abcdef}
runtime: {cookie_keys: [\"${KEY}\", 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=']}
listeners:
  - name: web
    address: 127.0.0.1:${PORT}
    default_action: [{type: forward, target_group: app}]
    rules:
      - priority: 1
        condition: [{path_pattern: {values: [/a]}}]
        action: [{type: forward, target_group: app}]
        policy: {request_headers: {set: {X-Origin: \"${KEY}\", X-Key: literal}, remove: [X-Gone]}}
target_groups:
  - {name: app, targets: [], health_check: {headers: {Authorization: \"Bearer ${KEY}\", X: other}}}
";
        let environment = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            _ => Some("ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=".to_owned()),
        };
        let config = crate::parse("test", text, &environment).expect("valid");
        let shown = config.written.value();
        assert_eq!(
            shown["admin"],
            json!({"address": "0.0.0.0:9901", "token": "(secret)"})
        );
        assert_eq!(
            shown["runtime"]["cookie_keys"],
            json!(["${KEY}", "(secret)"])
        );
        assert_eq!(shown["listeners"][0]["address"], "127.0.0.1:${PORT}");
        let edits = &shown["listeners"][0]["rules"][0]["policy"]["request_headers"];
        assert_eq!(
            *edits,
            json!({"set": {"X-Origin": "${KEY}", "X-Key": "(secret)"}, "remove": ["X-Gone"]})
        );
        let headers = &shown["target_groups"][0]["health_check"]["headers"];
        assert_eq!(
            *headers,
            json!({"Authorization": "(secret)", "X": "(secret)"})
        );
        let text = shown.to_string();
        for secret in ["0123456789abcdef", "AAEC", "ICEi", "8080"] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    /// Each property of the schema with a type that hides what it holds, with the one above it.
    fn hidden(
        schema: &Value,
        all: &Value,
        path: &mut Vec<String>,
        seen: &mut BTreeSet<String>,
        found: &mut BTreeSet<Vec<String>>,
    ) {
        if !schema.is_object() {
            return;
        }
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default().to_owned();
            if ["Secret", "CookieKey", "PasswordHash"].contains(&name.as_str()) {
                found.insert(path[path.len().saturating_sub(2)..].to_vec());
            } else if seen.insert(name.clone()) {
                hidden(&all["$defs"][&name], all, path, seen, found);
                seen.remove(&name);
            }
        }
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            path.push(key.clone());
            hidden(below, all, path, seen, found);
            path.pop();
        }
        let lists = ["anyOf", "oneOf", "allOf"].into_iter();
        let lists = lists.filter_map(|key| schema[key].as_array()).flatten();
        let more = [&schema["items"], &schema["additionalProperties"]];
        for below in lists.chain(more) {
            hidden(below, all, path, seen, found);
        }
    }

    #[test]
    fn every_key_with_a_type_that_hides_is_hidden() {
        let schema = crate::schema();
        let mut found = BTreeSet::new();
        let (mut path, mut seen) = (Vec::new(), BTreeSet::new());
        hidden(&schema, &schema, &mut path, &mut seen, &mut found);
        assert!(found.len() >= 4, "{found:?}");
        for path in found {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            assert!(is_secret(&path), "{path:?}");
        }
    }
}
