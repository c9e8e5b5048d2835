//! `${NAME}` in values: replaced from the environment; a missing variable is an error.

use crate::decode::Problem;
use crate::node::{Node, StandIn, Step, Value};

/// Where `${NAME}` is looked up. The process passes its own environment, a test its own function.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces every `${NAME}` below a node. `$${` stands for the two characters `${`.
pub(crate) fn expand(
    node: &mut Node,
    environment: Environment<'_>,
    path: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) {
    match &mut node.value {
        Value::Text { text, expanded } if text.contains("${") => {
            match expand_text(text, environment) {
                Ok(replaced) => {
                    *text = replaced;
                    *expanded = true;
                }
                Err(message) => {
                    // One cause, one error: what would be wrong with the text is not asked.
                    node.value = Value::StandIn(StandIn::Text);
                    problems.push(Problem {
                        path: path.clone(),
                        position: node.position,
                        message,
                    });
                }
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(Step::Index(index));
                expand(item, environment, path, problems);
                path.pop();
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                path.push(Step::Key(entry.key.clone()));
                expand(&mut entry.node, environment, path, problems);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Errors do not show the text: it may be a secret, and they are logged.
fn expand_text(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let Some(end) = from.find('}') else {
            return Err(
                "`${` without `}`; write ${NAME}, or $${ for the characters themselves".to_owned(),
            );
        };
        let name = &from[2..end];
        let valid = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid {
            // Nor what is between the braces: it may be part of a secret.
            return Err(
                "what stands between `${` and `}` is no name of an environment variable; \
                 write $${ for the characters themselves"
                    .to_owned(),
            );
        }
        match environment(name) {
            Some(value) => out.push_str(&value),
            None => return Err(format!("the environment variable {name} is not set")),
        }
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::expand_text;

    fn environment(name: &str) -> Option<String> {
        (name == "HOME_PORT").then(|| "8080".to_owned())
    }

    #[test]
    fn variables_are_replaced_and_dollars_can_be_written() {
        for (text, expected) in [
            ("${HOME_PORT}", Ok("8080")),
            ("127.0.0.1:${HOME_PORT}", Ok("127.0.0.1:8080")),
            ("${HOME_PORT}${HOME_PORT}", Ok("80808080")),
            ("$${HOME_PORT}", Ok("${HOME_PORT}")),
            ("a $ b", Ok("a $ b")),
            ("${NOPE}", Err("the environment variable NOPE is not set")),
        ] {
            let result = expand_text(text, &environment);
            assert_eq!(
                result.as_deref().map_err(String::as_str),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_text() {
        for text in ["se${}cret", "${1secret}", "secret${OPEN", "${secret "] {
            let error = expand_text(text, &environment).expect_err(text);
            assert!(
                error.contains("$${") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
