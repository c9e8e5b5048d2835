//! Conditions of rules, compiled. Pure.

use http::{HeaderName, Method};
use ipnet::IpNet;

use super::pattern::{Pattern, Regex};
use super::rules::Facts;
use super::trie::Key;

/// One condition.
#[derive(Debug)]
pub enum Condition {
    /// The Host matches one of these.
    Host(Vec<HostPattern>),
    /// The path matches one of these.
    Path(Vec<TextPattern>),
    /// The method is one of these.
    Method(Vec<Method>),
    /// A value of the header matches one of these.
    Header(HeaderName, Vec<TextPattern>),
    /// A pair of the query matches one of these.
    Query(Vec<(Option<Pattern>, Pattern)>),
    /// The peer is in one of these networks.
    Source(Vec<IpNet>),
}

/// An alternative of a condition: wildcards or a regular expression.
#[derive(Debug)]
pub enum TextPattern {
    /// `*` and `?`.
    Wild(Pattern),
    /// A regular expression that is searched for.
    Regex(Regex),
}

/// An alternative for the Host.
#[derive(Debug)]
pub struct HostPattern {
    /// What it looks like.
    pub pattern: TextPattern,
    /// It names a port, so that the port counts.
    pub with_port: bool,
}

impl TextPattern {
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Wild(pattern) => pattern.matches(text),
            Self::Regex(regex) => regex.matches(text),
        }
    }
}

impl Condition {
    /// Whether it holds for a request.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Host(patterns) => patterns.iter().any(|host| {
                let text = if host.with_port {
                    facts.host
                } else {
                    facts.host_name
                };
                host.pattern.matches(text.as_bytes())
            }),
            Self::Path(patterns) => patterns
                .iter()
                .any(|pattern| pattern.matches(facts.path.as_bytes())),
            Self::Method(methods) => methods.iter().any(|method| method == facts.method),
            Self::Header(name, patterns) => facts
                .fields
                .iter()
                .filter(|field| field.name.eq_ignore_ascii_case(name.as_str()))
                .any(|field| patterns.iter().any(|pattern| pattern.matches(field.value))),
            Self::Query(pairs) => facts.query.is_some_and(|query| {
                query.split('&').any(|given| {
                    let (key, value) = given.split_once('=').unwrap_or((given, ""));
                    pairs.iter().any(|(wanted_key, wanted)| {
                        wanted_key
                            .as_ref()
                            .is_none_or(|pattern| pattern.matches(key.as_bytes()))
                            && wanted.matches(value.as_bytes())
                    })
                })
            }),
            Self::Source(networks) => networks
                .iter()
                .any(|network| network.contains(&facts.source)),
        }
    }

    /// Where a rule with this condition is filed by Host: each request for which it holds has a
    /// host name, backwards and in small letters, with one of these keys. None if it says nothing
    /// of the Host.
    pub(super) fn host_keys(&self) -> Option<Vec<Key>> {
        let Self::Host(patterns) = self else {
            return None;
        };
        let keys = patterns.iter().flat_map(|host| match &host.pattern {
            _ if host.with_port => vec![Key::ANY],
            TextPattern::Wild(pattern) => vec![pattern.end()],
            TextPattern::Regex(regex) => regex.ends(),
        });
        Some(tidy(keys.collect()))
    }

    /// The same by the beginning of the path.
    pub(super) fn path_keys(&self) -> Option<Vec<Key>> {
        let Self::Path(patterns) = self else {
            return None;
        };
        let keys = patterns.iter().flat_map(|pattern| match pattern {
            TextPattern::Wild(pattern) => vec![pattern.beginning()],
            TextPattern::Regex(regex) => regex.beginnings(),
        });
        Some(tidy(keys.collect()))
    }
}

/// Without doubles, and without what another key covers.
fn tidy(mut keys: Vec<Key>) -> Vec<Key> {
    keys.sort();
    keys.dedup();
    if keys.contains(&Key::ANY) {
        keys = vec![Key::ANY];
    }
    keys
}
