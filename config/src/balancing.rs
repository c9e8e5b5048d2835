//! How a group spreads requests over its targets.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// How a target is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// One after the other, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastOutstandingRequests,
    /// By chance, by weight.
    WeightedRandom,
    /// Of two by chance, the one with the lower product of requests in flight, latency and
    /// failures. ALB has no counterpart.
    PeakEwma,
    /// The same target for the same value of the request. ALB has no counterpart.
    ConsistentHash,
}

/// What `consistent_hash` looks at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashPolicy {
    /// Which part of the request.
    #[serde(rename = "type")]
    pub on: HashOn,
    /// The name of the header field or of the cookie.
    #[serde(default)]
    pub name: Option<String>,
}

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The first field of that name.
    Header,
    /// The first cookie of that name.
    Cookie,
    /// The path without the query.
    Path,
    /// The address of the TCP peer, without its port.
    SourceAddress,
}

/// Whether targets whose errors stand out get fewer requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnomalyMitigation {
    /// They are shown, and nothing else.
    #[default]
    Off,
    /// They get fewer.
    On,
}

impl<'de> Deserialize<'de> for AnomalyMitigation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let choices = [("off", Self::Off), ("on", Self::On)];
        // YAML 1.1, and tools that write it, take `on` for `true`.
        let told = |yes| if yes { Self::On } else { Self::Off };
        one_of(deserializer, "`on` or `off`", &choices, told)
    }
}

impl JsonSchema for AnomalyMitigation {
    fn schema_name() -> Cow<'static, str> {
        "AnomalyMitigation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": ["on", "off", true, false], "default": "off"})
    }
}

/// Which zones' targets get requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CrossZone {
    /// With `runtime.zone`: those of the own zone, as far as that overloads none of them; else
    /// those of all zones alike.
    #[default]
    LoadBalancer,
    /// Those of all zones alike.
    On,
    /// Those of the own zone alone, as long as there is one.
    Off,
}

impl<'de> Deserialize<'de> for CrossZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let choices = [
            ("use_load_balancer_configuration", Self::LoadBalancer),
            ("true", Self::On),
            ("false", Self::Off),
        ];
        let told = |yes| if yes { Self::On } else { Self::Off };
        let expected = "`true`, `false` or `use_load_balancer_configuration`";
        one_of(deserializer, expected, &choices, told)
    }
}

impl JsonSchema for CrossZone {
    fn schema_name() -> Cow<'static, str> {
        "CrossZone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "enum": ["true", "false", true, false, "use_load_balancer_configuration"],
            "default": "use_load_balancer_configuration"
        })
    }
}

/// A word, or `true` or `false` without quotation marks.
fn one_of<'de, T: Copy, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    choices: &[(&'static str, T)],
    told: fn(bool) -> T,
) -> Result<T, D::Error> {
    struct V<'c, T> {
        expected: &'static str,
        choices: &'c [(&'static str, T)],
        told: fn(bool) -> T,
    }

    impl<T: Copy> Visitor<'_> for V<'_, T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }

        fn visit_bool<E: Error>(self, yes: bool) -> Result<T, E> {
            Ok((self.told)(yes))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            let found = self.choices.iter().find(|(name, _)| *name == text);
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(V {
        expected,
        choices,
        told,
    })
}
