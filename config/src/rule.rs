//! Rules and their conditions (`aws_lb_listener_rule`).

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits::PRIORITY_MAX;
use crate::{Action, Cidr, Policy, Ranged, Transform};

/// Conditions that must all hold, and the action that is then taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Lowest number first; unique within a listener (1 to 50,000).
    pub priority: Ranged<1, PRIORITY_MAX>,
    /// All must hold. At least one.
    pub condition: Vec<Condition>,
    /// Exactly one action.
    pub action: Vec<Action>,
    /// What is written anew on the way to a target; each kind once at most.
    #[serde(default)]
    pub transform: Vec<Transform>,
    /// What else is done to its requests and responses.
    #[serde(default)]
    pub policy: Option<Policy>,
}

/// One condition: exactly one of these keys. The values of a condition are alternatives.
///
/// `*` stands for any characters, `?` for exactly one, in hosts, paths, header values and query
/// strings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// The Host of the request, without regard to case.
    pub host_header: Option<Patterns>,
    /// The path of the request, case-sensitive, without the query.
    pub path_pattern: Option<Patterns>,
    /// The method, case-sensitive, no wildcards.
    pub http_request_method: Option<Values<String>>,
    /// A request header's value, without regard to case.
    pub http_header: Option<HttpHeaderCondition>,
    /// Pairs in the query string, without regard to case; the pairs are alternatives.
    pub query_string: Option<Vec<QueryStringPair>>,
    /// The address of the TCP peer (never `X-Forwarded-For`).
    pub source_ip: Option<Values<Cidr>>,
}

/// The alternatives of a condition: either `values` or `regex_values`, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Patterns {
    /// With wildcards; the whole text must match.
    pub values: Vec<String>,
    /// Regular expressions; they may match anywhere, unless they have `^` or `$`.
    pub regex_values: Vec<String>,
}

/// The alternatives of a condition. At least one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Values<T> {
    /// The condition holds if one of these matches.
    pub values: Vec<T>,
}

/// A header name and the values to look for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpHeaderCondition {
    /// The name of the header; not `Host` (use `host_header`).
    pub http_header_name: String,
    /// The condition holds if one value of the header matches one of these.
    #[serde(default)]
    pub values: Vec<String>,
    /// In place of `values`: regular expressions, without regard to case.
    #[serde(default)]
    pub regex_values: Vec<String>,
}

/// `key=value` in the query string; without `key`, a value under any key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryStringPair {
    /// The key; absent: any key.
    #[serde(default)]
    pub key: Option<String>,
    /// The value; `\*` and `\?` stand for the characters themselves.
    pub value: String,
}

impl Condition {
    /// The keys that are present.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        [
            ("host_header", self.host_header.is_some()),
            ("path_pattern", self.path_pattern.is_some()),
            ("http_request_method", self.http_request_method.is_some()),
            ("http_header", self.http_header.is_some()),
            ("query_string", self.query_string.is_some()),
            ("source_ip", self.source_ip.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, present)| present.then_some(name))
        .collect()
    }
}
