//! Which codes of a health check pass.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// The codes that may be written: those of gRPC are 0 to 99, those of HTTP 100 to 599. Which of the
/// two a check has is told by other keys.
const CODES: std::ops::RangeInclusive<u16> = 0..=599;

/// Ranges of codes, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matcher(Vec<(u16, u16)>);

impl Matcher {
    /// Reads `200`, `200,202`, `200-299` and mixtures.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let code = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|code| CODES.contains(code))
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

    /// One code.
    #[must_use]
    pub(crate) fn one(code: u16) -> Self {
        Self(vec![(code, code)])
    }

    /// Whether the code passes.
    #[must_use]
    pub fn matches(&self, code: u16) -> bool {
        self.0
            .iter()
            .any(|&(low, high)| (low..=high).contains(&code))
    }

    /// Whether all of its codes are of that range.
    pub(crate) fn is_within(&self, codes: &std::ops::RangeInclusive<u16>) -> bool {
        let mut ranges = self.0.iter();
        ranges.all(|(low, high)| codes.contains(low) && codes.contains(high))
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Matcher;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("codes such as \"200\", \"200,202\" or \"200-299\"")
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
            "description": "Codes of HTTP or gRPC: 200, \"200,202\" or \"200-299\""
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
    fn matchers_refuse_what_is_no_code() {
        for text in [
            "", "600", "65536", "299-200", "abc", "200-", "200,,201", "-1",
        ] {
            assert_eq!(Matcher::parse(text), None, "{text:?}");
        }
    }
}
