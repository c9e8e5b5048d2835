//! Where a target group learns its targets.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Port, Span};

/// Exactly one source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Discovery {
    /// The tasks of an Amazon ECS service.
    #[serde(default)]
    pub ecs: Option<EcsDiscovery>,
    /// The records of a name in DNS.
    #[serde(default)]
    pub dns: Option<DnsDiscovery>,
}

impl Discovery {
    /// The keys of the sources that are there. Valid with exactly one.
    #[must_use]
    pub fn sources(&self) -> Vec<&'static str> {
        let known = [(self.ecs.is_some(), "ecs"), (self.dns.is_some(), "dns")];
        known
            .into_iter()
            .filter_map(|(there, key)| there.then_some(key))
            .collect()
    }

    /// The same but for what does not change which targets it tells of: how often it is asked, and
    /// through whom.
    #[must_use]
    pub fn identity(&self) -> Self {
        let mut identity = self.clone();
        if let Some(ecs) = &mut identity.ecs {
            ecs.poll_interval = Span::default();
        }
        if let Some(dns) = &mut identity.dns {
            dns.servers.clear();
            dns.min_interval = Span::default();
            dns.max_interval = Span::default();
        }
        identity
    }
}

/// The tasks of one ECS service. Region, credentials and `AWS_ENDPOINT_URL` come from the AWS
/// SDK's own chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EcsDiscovery {
    /// Name or ARN of the cluster.
    pub cluster: String,
    /// Name of the service.
    pub service: String,
    /// The container of the task. Absent: the only container that has a matching port.
    #[serde(default)]
    pub container: Option<String>,
    /// The port inside the container; its host port is looked up. Absent: the only TCP port.
    #[serde(default)]
    pub container_port: Option<Port>,
    /// From one poll to the next (default 5 s, 50 ms to 300 s). A poll is one call for each 100
    /// tasks, out of 20 calls a second that the whole AWS account has; below 1 s is for emulators.
    #[serde(default)]
    pub poll_interval: Span<50, 300_000, 5_000>,
    /// Another region than that of the environment.
    #[serde(default)]
    pub region: Option<String>,
}

/// The records of one name in DNS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsDiscovery {
    /// The whole name, with or without a dot at its end: no search domain is ever added. At most
    /// 253 bytes of letters, digits, `-`, `_` and dots.
    pub name: String,
    /// Which records are asked for.
    #[serde(default, rename = "type")]
    pub record_type: DnsRecordType,
    /// The port of all targets. Required for A and AAAA, whose records have none; not with SRV,
    /// whose records have one each.
    #[serde(default)]
    pub port: Option<Port>,
    /// The servers to ask, in this order, at most 4. Empty: those of `/etc/resolv.conf`.
    #[serde(default)]
    pub servers: Vec<SocketAddr>,
    /// The shortest time from one look to the next (default 1 s, 100 ms to 300 s), even if the TTL
    /// is shorter.
    #[serde(default)]
    pub min_interval: Span<100, 300_000, 1_000>,
    /// The longest time from one look to the next (default 30 s, 100 ms to 300 s), even if the TTL
    /// is longer.
    #[serde(default)]
    pub max_interval: Span<100, 300_000, 30_000>,
}

/// Records that lead to targets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize, JsonSchema,
)]
pub enum DnsRecordType {
    /// IPv4 addresses.
    #[default]
    #[serde(rename = "A")]
    A,
    /// IPv6 addresses.
    #[serde(rename = "AAAA")]
    Aaaa,
    /// Hosts and their ports.
    #[serde(rename = "SRV")]
    Srv,
}
