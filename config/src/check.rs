//! A health check as it is made: the keys of a group with every default in its place.

use std::time::Duration;

use crate::{
    BodyMatch, CheckMethod, CheckPort, CheckProtocol, Matcher, ProtocolVersion, ProxyProtocol,
    Secret, TargetGroup, limits,
};

/// The path of ALB's checks of gRPC targets that do not implement anything for it.
const ALB_GRPC_PATH: &str = "/AWS.ALB/healthcheck";

/// The path of gRPC's own protocol for health checks.
pub const GRPC_HEALTH_PATH: &str = "/grpc.health.v1.Health/Check";

/// What a check is, but for its address and port. Two groups whose checks are equal
/// need only one of them for a target; thresholds are not part of it, because each group counts by
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// What is spoken.
    pub protocol: CheckProtocol,
    /// Which HTTP.
    pub version: ProtocolVersion,
    /// The method.
    pub method: CheckMethod,
    /// The path and the query.
    pub path: String,
    /// More header fields.
    pub headers: Vec<(String, Secret)>,
    /// The service that is asked for, if the check is one of gRPC's own protocol.
    pub grpc_service: Option<String>,
    /// What PROXY header its connections begin with.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// From one check to the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Which codes pass.
    pub matcher: Matcher,
    /// What the body must hold.
    pub body: Option<BodyMatch>,
}

impl TargetGroup {
    /// The port that is checked of a target whose traffic goes to another.
    #[must_use]
    pub fn check_port(&self, traffic: u16) -> u16 {
        match self.health_check.port {
            CheckPort::Traffic => traffic,
            CheckPort::Other(port) => port.number(),
        }
    }

    /// How the group's targets, which speak that, are checked. None if they are not.
    #[must_use]
    pub fn check(&self, spoken: ProtocolVersion) -> Option<Check> {
        let set = &self.health_check;
        if !set.enabled {
            return None;
        }
        let version = set.protocol_version.unwrap_or(match spoken {
            // Keys that only HTTP has were written by somebody who did not think of gRPC.
            ProtocolVersion::Grpc if self.protocol_version.is_none() && set.is_of_http() => {
                ProtocolVersion::Http2
            }
            spoken => spoken,
        });
        let is_grpc = version == ProtocolVersion::Grpc && set.protocol != CheckProtocol::Tcp;
        let path = match (&set.path, &set.grpc_service) {
            (Some(path), _) => path.as_str(),
            (None, Some(_)) => GRPC_HEALTH_PATH,
            (None, None) if is_grpc => ALB_GRPC_PATH,
            (None, None) => "/",
        };
        let asks_health = is_grpc && path == GRPC_HEALTH_PATH;
        let interval = set.interval.get();
        let usual = Duration::from_millis(limits::CHECK_TIMEOUT_MILLIS);
        Some(Check {
            proxy_protocol: self.proxy_protocol,
            protocol: set.protocol,
            version,
            method: if is_grpc {
                CheckMethod::Post
            } else {
                set.method
            },
            path: path.to_owned(),
            headers: set
                .headers
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                .collect(),
            grpc_service: asks_health.then(|| set.grpc_service.clone().unwrap_or_default()),
            interval,
            timeout: set.timeout.map_or(usual.min(interval), |span| span.get()),
            matcher: match &set.matcher {
                Some(matcher) => matcher.clone(),
                None if asks_health => Matcher::one(0),
                None if is_grpc => Matcher::one(12),
                None => Matcher::one(200),
            },
            body: set.body.clone(),
        })
    }
}
