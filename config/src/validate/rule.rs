//! Checks of rules and their conditions.

use std::collections::BTreeMap;

use super::{Scope, action, policy, transform};
use crate::{Condition, Patterns, Rule, limits, regex};

pub(super) fn rules(scope: &mut Scope<'_, '_>, rules: &[Rule]) {
    let mut priorities = BTreeMap::new();
    let mut index = 0_usize;
    scope.each("rules", rules, |scope, rule| {
        if let Some(other) = priorities.insert(rule.priority.get(), index) {
            scope.fault_at(
                "priority",
                format!(
                    "{} is the priority of rules[{other}] already",
                    rule.priority.get()
                ),
            );
        }
        index += 1;
        if rule.condition.is_empty() {
            scope.fault_at(
                "condition",
                "a rule needs at least one condition; what matches all goes into `default_action`",
            );
        }
        scope.each("condition", &rule.condition, condition);
        action::one(scope, "action", &rule.action);
        transform::all(scope, rule);
        if let Some(policy) = &rule.policy {
            scope.key("policy", |scope| policy::policy(scope, policy));
        }
    });
}

fn condition(scope: &mut Scope<'_, '_>, condition: &Condition) {
    let kinds = condition.kinds();
    if kinds.len() != 1 {
        let found = if kinds.is_empty() {
            "none".to_owned()
        } else {
            kinds.join(", ")
        };
        scope.fault(format!(
            "a condition holds exactly one of host_header, path_pattern, http_request_method, http_header, query_string and source_ip; found {found}"
        ));
    }
    if let Some(host) = &condition.host_header {
        let valid = |c: char| c.is_ascii_alphanumeric() || "-._:*?[]".contains(c);
        patterns(
            scope,
            "host_header",
            host,
            "a host name; `*` and `?` may stand for other characters",
            valid,
        );
    }
    if let Some(path) = &condition.path_pattern {
        patterns(
            scope,
            "path_pattern",
            path,
            "a path; `*` and `?` may stand for other characters",
            |c| c.is_ascii_graphic(),
        );
        scope.key("path_pattern", |scope| {
            scope.each("values", &path.values, |scope, value| {
                if !value.starts_with(['/', '*', '?']) {
                    scope.fault(format!("{value:?} never matches: a path begins with `/`"));
                }
            });
        });
    }
    if let Some(method) = &condition.http_request_method {
        values(
            scope,
            "http_request_method",
            &method.values,
            "a method in capital letters, such as GET",
            |c| c.is_ascii_uppercase() || matches!(c, '-' | '_'),
        );
    }
    if let Some(header) = &condition.http_header {
        let alternatives = Patterns {
            values: header.values.clone(),
            regex_values: header.regex_values.clone(),
        };
        patterns(
            scope,
            "http_header",
            &alternatives,
            "visible ASCII characters",
            |c| c.is_ascii_graphic() || c == ' ',
        );
        let name = &header.http_header_name;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        scope.key("http_header", |scope| {
            if name.is_empty() || name.len() > limits::NAME_BYTES || !name.chars().all(token) {
                scope.fault_at(
                    "http_header_name",
                    format!("{name:?} is no name of a header"),
                );
            } else if name.eq_ignore_ascii_case("host") {
                scope.fault_at(
                    "http_header_name",
                    "use the condition `host_header` for the Host",
                );
            }
        });
    }
    if let Some(pairs) = &condition.query_string {
        if pairs.is_empty() {
            scope.fault_at("query_string", "at least one pair is needed");
        }
        scope.each("query_string", pairs, |scope, pair| {
            let texts = [
                ("key", pair.key.as_deref()),
                ("value", Some(pair.value.as_str())),
            ];
            for (key, text) in texts {
                if text.is_some_and(|text| {
                    text.is_empty() || text.len() > limits::CONDITION_VALUE_BYTES
                }) {
                    scope.fault_at(
                        key,
                        format!("expected 1 to {} characters", limits::CONDITION_VALUE_BYTES),
                    );
                }
            }
        });
    }
    if condition
        .source_ip
        .as_ref()
        .is_some_and(|source| source.values.is_empty())
    {
        scope.key("source_ip", |scope| {
            scope.fault_at("values", "at least one network is needed")
        });
    }
}

/// Either wildcards or regular expressions.
fn patterns(
    scope: &mut Scope<'_, '_>,
    key: &str,
    patterns: &Patterns,
    expected: &str,
    valid: impl Fn(char) -> bool,
) {
    if patterns.regex_values.is_empty() {
        return values(scope, key, &patterns.values, expected, valid);
    }
    scope.key(key, |scope| {
        if !patterns.values.is_empty() {
            scope.fault_at(
                "regex_values",
                "a condition holds `values` or `regex_values`; make two rules of it",
            );
        }
        scope.each("regex_values", &patterns.regex_values, |scope, text| {
            expression(scope, text, limits::CONDITION_VALUE_BYTES);
        });
    });
}

/// Checks a regular expression.
pub(super) fn expression(scope: &mut Scope<'_, '_>, text: &str, max: usize) {
    if text.is_empty() || text.len() > max {
        scope.fault(format!("expected 1 to {max} characters"));
    } else if let Err(error) = regex(text, false) {
        scope.fault(format!("{text:?} is no regular expression: {error}"));
    }
}

fn values(
    scope: &mut Scope<'_, '_>,
    key: &str,
    values: &[String],
    expected: &str,
    valid: impl Fn(char) -> bool,
) {
    scope.key(key, |scope| {
        if values.is_empty() {
            scope.fault_at("values", "at least one value is needed");
        }
        scope.each("values", values, |scope, value| {
            if value.is_empty()
                || value.len() > limits::CONDITION_VALUE_BYTES
                || !value.chars().all(&valid)
            {
                scope.fault(format!("expected {expected}; found {value:?}"));
            }
        });
    });
}
