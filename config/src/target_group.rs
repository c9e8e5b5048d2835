//! Target groups (`aws_lb_target_group`).

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Algorithm, AnomalyMitigation, CrossZone, Discovery, HashPolicy, HealthCheck, OutlierDetection,
    Port, ProxyProtocol, Ranged, Retry, RetryBudget, Span, TargetControl, TargetGroupHealth,
    TargetTls, Timeouts, limits,
};

/// Targets that answer the same requests, and how one is picked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetGroup {
    /// Unique among groups.
    pub name: String,
    /// What targets speak (default `HTTP`).
    #[serde(default)]
    pub protocol: TargetProtocol,
    /// For `HTTPS`: how targets are connected to.
    #[serde(default)]
    pub tls: Option<TargetTls>,
    /// `HTTP1`, `HTTP2` or `GRPC`. Absent: what the targets of an ECS service say by the
    /// `appProtocol` of their port, if they agree; else `HTTP1`.
    #[serde(default)]
    pub protocol_version: Option<ProtocolVersion>,
    /// A fixed list. Either this or `discovery`; with neither, the group has no targets (503).
    #[serde(default)]
    pub targets: Vec<FixedTarget>,
    /// Where to learn the targets.
    #[serde(default)]
    pub discovery: Option<Discovery>,
    /// How one target is picked (default `round_robin`).
    #[serde(default)]
    pub load_balancing_algorithm_type: Algorithm,
    /// Whether targets whose errors stand out get fewer requests (`on`, `off`; default `off`).
    /// Only with `weighted_random`.
    #[serde(default)]
    pub load_balancing_algorithm_anomaly_mitigation: AnomalyMitigation,
    /// What `consistent_hash` looks at; required there, and an error elsewhere.
    #[serde(default)]
    pub hash_policy: Option<HashPolicy>,
    /// Which zones' targets get requests (default `use_load_balancer_configuration`).
    #[serde(default)]
    pub load_balancing_cross_zone_enabled: CrossZone,
    /// For how long the share of a target that has just become healthy rises to its full one
    /// (0 or 30 s to 900 s, default 0: its full share at once).
    #[serde(default)]
    pub slow_start: Span<0, { limits::SLOW_START_MAX_MILLIS }, 0>,
    /// How long requests in flight may go on at a target that left (0 s to 3600 s, default 300 s).
    #[serde(default)]
    pub deregistration_delay: Span<0, 3_600_000, 300_000>,
    /// How targets are checked.
    #[serde(default)]
    pub health_check: HealthCheck,
    /// How many healthy targets are needed.
    #[serde(default)]
    pub target_group_health: TargetGroupHealth,
    /// Which targets are taken out because of the requests that they got.
    #[serde(default)]
    pub outlier_detection: OutlierDetection,
    /// What is tried again at another target.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// How many retries there may be.
    #[serde(default)]
    pub retry_budget: RetryBudget,
    /// Time limits of its own.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How many requests a target works at; others wait.
    #[serde(default)]
    pub target_control: Option<TargetControl>,
    /// Tells targets of the client with a PROXY header before each request (`v1`, `v2`; default:
    /// none). Each request then has a connection of its own.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Keeps a client at one target.
    #[serde(default)]
    pub stickiness: Option<Stickiness>,
}

impl ProtocolVersion {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Grpc];

    /// As it is written in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP1",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
        }
    }
}

impl TargetGroup {
    /// Whether targets may say themselves which HTTP they speak. PROXY headers go with `HTTP1`
    /// alone.
    #[must_use]
    pub fn learns_protocol(&self) -> bool {
        self.protocol_version.is_none() && self.proxy_protocol.is_none()
    }
}

/// What targets speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum TargetProtocol {
    /// Plain HTTP.
    #[default]
    #[serde(rename = "HTTP")]
    Http,
    /// HTTP over TLS.
    #[serde(rename = "HTTPS")]
    Https,
}

/// Which HTTP targets speak.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize, JsonSchema,
)]
pub enum ProtocolVersion {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "HTTP2")]
    Http2,
    /// gRPC over HTTP/2.
    #[serde(rename = "GRPC")]
    Grpc,
}

/// One target of a fixed list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedTarget {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Port,
    /// The availability zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its share of the requests is its weight over the sum of all (0 to 999, default 1). With 0
    /// it gets none.
    #[serde(default = "one")]
    pub weight: Ranged<0, { limits::WEIGHT_MAX }>,
}

fn one() -> Ranged<0, { limits::WEIGHT_MAX }> {
    Ranged::new(1).expect("1 is within the bounds")
}

/// Target stickiness.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stickiness {
    /// Off by default.
    #[serde(default)]
    pub enabled: bool,
    /// Which cookie.
    #[serde(rename = "type", default)]
    pub kind: StickinessType,
    /// How long a client stays (1 s to 7 d, default 1 d).
    #[serde(default)]
    pub cookie_duration: Span<1_000, 604_800_000, 86_400_000>,
    /// For `app_cookie`, the application's session cookie. For `lb_cookie`, another name than
    /// `AWSALB` for the load balancer's own; its twin for CORS has `CORS` after that.
    #[serde(default)]
    pub cookie_name: Option<String>,
}

/// Which cookie keeps a client at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StickinessType {
    /// A cookie of the load balancer.
    #[default]
    LbCookie,
    /// A cookie of the application.
    AppCookie,
}
