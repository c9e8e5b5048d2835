//! Health checks of a target group, with ALB's defaults.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::{Port, Ranged, Span};

/// How targets are asked whether they can serve. Defaults are ALB's; ranges reach below ALB's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// `false`: every target counts as healthy without being asked.
    pub enabled: bool,
    /// Requested with GET; may carry a query (default `/`).
    pub path: String,
    /// Another port than that of the traffic. Absent: the port of the traffic.
    pub port: Option<Port>,
    /// From one check to the next (default 30 s; ALB 5 s to 300 s, here from 1 s).
    pub interval: Span<1_000, 300_000, 30_000>,
    /// How long a check may take (default 5 s; ALB 2 s to 120 s, here from 100 ms).
    pub timeout: Span<100, 120_000, 5_000>,
    /// Passes in a row after which an unhealthy target is healthy (default 5; 1 to 10). A new
    /// target needs only one, as at ALB.
    pub healthy_threshold: Ranged<1, 10>,
    /// Failures in a row after which a healthy target is unhealthy (default 2; 1 to 10).
    pub unhealthy_threshold: Ranged<1, 10>,
    /// The status codes that pass, such as `200`, `200,202` or `200-299` (default `200`).
    pub matcher: Matcher,
}

impl Default for HealthCheck {
    fn default() -> Self {
        const FIVE: Option<Ranged<1, 10>> = Ranged::new(5);
        const TWO: Option<Ranged<1, 10>> = Ranged::new(2);
        let (Some(five), Some(two)) = (FIVE, TWO) else {
            unreachable!("5 and 2 are within 1 to 10")
        };
        Self {
            enabled: true,
            path: "/".to_owned(),
            port: None,
            interval: Span::default(),
            timeout: Span::default(),
            healthy_threshold: five,
            unhealthy_threshold: two,
            matcher: Matcher(vec![(200, 200)]),
        }
    }
}

/// Ranges of status codes, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher(Vec<(u16, u16)>);

impl Matcher {
    /// Reads `200`, `200,202`, `200-299` and mixtures. Codes are 100 to 599.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let code = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|code| (100..=599).contains(code))
        };
        text.split(',')
            .map(|part| match part.split_once('-') {
                Some((low, high)) => {
                    let range = (code(low)?, code(high)?);
                    (range.0 <= range.1).then_some(range)
                }
                None => code(part).map(|code| (code, code)),
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// Whether the status passes.
    #[must_use]
    pub fn matches(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|&(low, high)| (low..=high).contains(&status))
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Matcher;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "status codes from 100 to 599, such as \"200\", \"200,202\" or \"200-299\"",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Matcher, E> {
                Matcher::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(V)
    }
}

impl JsonSchema for Matcher {
    fn schema_name() -> Cow<'static, str> {
        "Matcher".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "description": "Status codes: 200, \"200,202\" or \"200-299\""
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Matcher;

    #[test]
    fn matchers_take_codes_lists_and_ranges() {
        let matcher = Matcher::parse("200, 204,300-399").expect("valid");
        for status in [200, 204, 300, 350, 399] {
            assert!(matcher.matches(status), "{status}");
        }
        for status in [199, 201, 205, 299, 400] {
            assert!(!matcher.matches(status), "{status}");
        }
    }

    #[test]
    fn matchers_refuse_what_is_no_status() {
        for text in ["", "99", "600", "299-200", "abc", "200-", "200,,201", "-1"] {
            assert_eq!(Matcher::parse(text), None, "{text:?}");
        }
    }
}
