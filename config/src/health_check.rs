//! Health checks of a target group, with ALB's defaults.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::{Matcher, Port, ProtocolVersion, Ranged, Secret, Span, limits};

/// How targets are asked whether they can serve. Defaults are ALB's; ranges reach below ALB's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// `false`: every target counts as healthy without being asked.
    pub enabled: bool,
    /// What is spoken (default `HTTP`, whatever the group's `protocol` is, as at ALB).
    pub protocol: CheckProtocol,
    /// `HTTP1`, `HTTP2` or `GRPC`. Absent: that of the group, as at ALB.
    pub protocol_version: Option<ProtocolVersion>,
    /// The method of the request (default `GET`).
    pub method: CheckMethod,
    /// What is requested; may carry a query (default `/`, and for gRPC `/AWS.ALB/healthcheck`).
    pub path: Option<String>,
    /// `traffic-port` (default) or another port.
    pub port: CheckPort,
    /// More header fields of the request, or others in place of Host and User-Agent.
    pub headers: BTreeMap<String, Secret>,
    /// Asks `grpc.health.v1.Health/Check` for this service; the empty name stands for the server.
    pub grpc_service: Option<String>,
    /// From one check to the next (default 30 s; ALB 5 s to 300 s, here from 100 ms).
    pub interval: Span<100, 300_000, { limits::CHECK_INTERVAL_MILLIS }>,
    /// How long a check may take (default 5 s, or the interval if that is shorter; ALB 2 s to
    /// 120 s, here from 100 ms).
    pub timeout: Option<Span<100, 120_000, { limits::CHECK_TIMEOUT_MILLIS }>>,
    /// Passes in a row after which an unhealthy target is healthy (default 5; 1 to 10). A new
    /// target needs only one, as at ALB.
    pub healthy_threshold: Ranged<1, 10>,
    /// Failures in a row after which a healthy target is unhealthy (default 2; 1 to 10).
    pub unhealthy_threshold: Ranged<1, 10>,
    /// The codes that pass, such as `200`, `200,202` or `200-299` (default `200`; for gRPC `12`, as
    /// at ALB, and `0` where `grpc.health.v1.Health/Check` is asked).
    pub matcher: Option<Matcher>,
    /// What the beginning of the body must hold besides.
    pub body: Option<BodyMatch>,
}

impl HealthCheck {
    /// Whether a key is set that means nothing for gRPC, or something else.
    pub(crate) fn is_of_http(&self) -> bool {
        self.method != CheckMethod::default() || self.matcher.is_some() || self.body.is_some()
    }
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
            protocol: CheckProtocol::default(),
            protocol_version: None,
            method: CheckMethod::default(),
            path: None,
            port: CheckPort::default(),
            headers: BTreeMap::new(),
            grpc_service: None,
            interval: Span::default(),
            timeout: None,
            healthy_threshold: five,
            unhealthy_threshold: two,
            matcher: None,
            body: None,
        }
    }
}

/// What checks speak.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize, JsonSchema,
)]
pub enum CheckProtocol {
    /// Plain HTTP.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// HTTP over TLS. The certificate is not looked at, as at ALB.
    #[serde(rename = "HTTPS")]
    Https,
    /// A connection, and nothing on it.
    #[serde(rename = "TCP")]
    Tcp,
}

/// The methods of checks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckMethod {
    /// GET.
    #[default]
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// POST, with an empty body.
    Post,
}

impl CheckMethod {
    /// As it is sent.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
        }
    }
}

/// Where checks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckPort {
    /// Where the traffic goes.
    #[default]
    Traffic,
    /// To this port.
    Other(Port),
}

impl<'de> Deserialize<'de> for CheckPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = CheckPort;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`traffic-port` or a whole number from 1 to 65535")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<CheckPort, E> {
                Port::new(number)
                    .map(CheckPort::Other)
                    .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<CheckPort, E> {
                Err(E::invalid_value(Unexpected::Signed(number), &self))
            }

            // Terraform has the number as a text.
            fn visit_str<E: Error>(self, text: &str) -> Result<CheckPort, E> {
                let port = || text.trim().parse().ok().and_then(Port::new);
                match text {
                    "traffic-port" => Ok(CheckPort::Traffic),
                    _ => port()
                        .map(CheckPort::Other)
                        .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(V)
    }
}

impl JsonSchema for CheckPort {
    fn schema_name() -> Cow<'static, str> {
        "CheckPort".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": "^(traffic-port|[0-9]+)$"}
            ],
            "default": "traffic-port"
        })
    }
}

/// What the first 64 KiB of a body must hold; exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyMatch {
    /// This text.
    #[serde(default)]
    pub contains: Option<String>,
    /// What this regular expression matches, anywhere unless it has `^` or `$`.
    #[serde(default)]
    pub regex: Option<String>,
}
