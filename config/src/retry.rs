//! What is tried again, and how long anything may take.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::{Ranged, Span, limits};

/// When a request that may have reached a target is sent to another one. What was not sent is always
/// tried elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// The most targets that may see a request, the first one included (1 to 10, default 2).
    pub attempts: Ranged<1, 10>,
    /// After what (default `[reset]`).
    pub on: Vec<RetryOn>,
    /// Which requests (default `idempotent`).
    pub methods: RetryMethods,
    /// Request bodies up to so many bytes are kept to be sent again (0 to 1 MiB, default 0).
    pub body_buffer: Ranged<0, { limits::RETRY_BODY_BYTES }>,
    /// How long one attempt may take to the head of its response (default: no limit of its own).
    pub per_try_timeout: Option<Span<10, 4_000_000, 0>>,
    /// How long to wait before the first retry, about; twice as long before each further one
    /// (0 to 10 s, default 0).
    pub backoff: Span<0, 10_000, 0>,
    /// After so long without the head of a response, another target is asked too, and whoever
    /// answers first serves (1 ms to 60 s; default: never).
    pub hedge_after: Option<Span<1, 60_000, 0>>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: const { crate::values::ranged(2) },
            on: vec![RetryOn::Reset],
            methods: RetryMethods::default(),
            body_buffer: const { crate::values::ranged(0) },
            per_try_timeout: None,
            backoff: Span::default(),
            hedge_after: None,
        }
    }
}

/// What a retry follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection. Always in force.
    ConnectFailure,
    /// The connection ended before the response.
    Reset,
    /// No response in time.
    Timeout,
    /// What came was no HTTP.
    Malformed,
    /// A response with this status, 400 to 599.
    Status(u16),
}

const NAMES: [(&str, RetryOn); 4] = [
    ("connect_failure", RetryOn::ConnectFailure),
    ("reset", RetryOn::Reset),
    ("timeout", RetryOn::Timeout),
    ("malformed", RetryOn::Malformed),
];

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = RetryOn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`connect_failure`, `reset`, `timeout`, `malformed` or a status from 400 to 599",
                )
            }

            fn visit_u64<E: Error>(self, code: u64) -> Result<RetryOn, E> {
                match u16::try_from(code) {
                    Ok(code @ 400..=599) => Ok(RetryOn::Status(code)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(code), &self)),
                }
            }

            fn visit_i64<E: Error>(self, code: i64) -> Result<RetryOn, E> {
                match u64::try_from(code) {
                    Ok(code) => self.visit_u64(code),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(code), &self)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RetryOn, E> {
                if let Ok(code) = text.parse() {
                    return self.visit_u64(code);
                }
                let found = NAMES.iter().find(|(name, _)| *name == text);
                found
                    .map(|(_, on)| *on)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl JsonSchema for RetryOn {
    fn schema_name() -> Cow<'static, str> {
        "RetryOn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"enum": ["connect_failure", "reset", "timeout", "malformed"]},
                {"type": "integer", "minimum": 400, "maximum": 599}
            ]
        })
    }
}

/// Which requests are sent again after a target may have seen them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryMethods {
    /// GET, HEAD, OPTIONS, PUT and DELETE.
    #[default]
    Idempotent,
    /// All. Then a target may do the work of a request that another one has done already.
    All,
}

/// How many retries a group allows itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudget {
    /// In percent of its requests (0 to 100, default 20).
    pub percent: Ranged<0, 100>,
    /// And so many in each second in any case (0 to 100,000, default 10).
    pub min_per_second: Ranged<0, 100_000>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: const { crate::values::ranged(20) },
            min_per_second: const { crate::values::ranged(10) },
        }
    }
}

/// Time limits of requests to a group or by a rule. What is absent is as in `load_balancer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// How long connecting may take.
    pub connect: Option<Span<10, 60_000, 0>>,
    /// From the end of the request to the head of the response.
    pub response_header: Option<Span<10, 4_000_000, 0>>,
    /// The longest silence.
    pub idle: Option<Span<1_000, 4_000_000, 0>>,
    /// From the head of the request to the end of the response, all attempts together.
    pub total: Option<Span<10, 86_400_000, 0>>,
}

/// How many requests a target works at, and who waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetControl {
    /// The most requests in flight at one target, over all workers.
    pub max_concurrent_requests: Ranged<1, 100_000>,
    /// The most requests that wait in each worker; more are refused (0 to 100,000, default 100).
    #[serde(default = "queue_length")]
    pub queue_length: Ranged<0, 100_000>,
    /// How long a request waits before it is refused (default 5 s).
    #[serde(default)]
    pub queue_timeout: Span<10, 300_000, 5_000>,
}

fn queue_length() -> Ranged<0, 100_000> {
    const { crate::values::ranged(100) }
}
