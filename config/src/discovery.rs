//! Where a target group learns its targets.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
    /// A file with targets, which other programs write.
    #[serde(default)]
    pub file: Option<FileDiscovery>,
    /// The passing instances of a service in Consul.
    #[serde(default)]
    pub consul: Option<ConsulDiscovery>,
    /// The records of a name in DNS.
    #[serde(default)]
    pub dns: Option<DnsDiscovery>,
    /// The containers of one Docker engine.
    #[serde(default)]
    pub docker: Option<DockerDiscovery>,
}

impl Discovery {
    /// The keys of the sources that are there. Valid with exactly one.
    #[must_use]
    pub fn sources(&self) -> Vec<&'static str> {
        let known = [
            (self.ecs.is_some(), "ecs"),
            (self.file.is_some(), "file"),
            (self.consul.is_some(), "consul"),
            (self.dns.is_some(), "dns"),
            (self.docker.is_some(), "docker"),
        ];
        known
            .into_iter()
            .filter_map(|(there, key)| there.then_some(key))
            .collect()
    }

    /// The same but for what does not change which targets it tells of: how often it is asked, and
    /// what tells of changes before that, or through whom.
    #[must_use]
    pub fn identity(&self) -> Self {
        let mut identity = self.clone();
        if let Some(ecs) = &mut identity.ecs {
            ecs.poll_interval = Span::default();
            ecs.reconcile_interval = Span::default();
            ecs.events_queue = None;
        }
        if let Some(file) = &mut identity.file {
            file.refresh_interval = Span::default();
        }
        if let Some(consul) = &mut identity.consul {
            consul.wait = Span::default();
            consul.token = None;
        }
        if let Some(dns) = &mut identity.dns {
            dns.servers.clear();
            dns.min_interval = Span::default();
            dns.max_interval = Span::default();
        }
        if let Some(docker) = &mut identity.docker {
            docker.poll_interval = Span::default();
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
    /// The name of the port in the task definition (`portMappings[].name`), in place of
    /// `container_port`.
    #[serde(default)]
    pub port_name: Option<String>,
    /// From one poll to the next (default 5 s, 50 ms to 300 s). A poll is one call for each 100
    /// tasks, out of 20 calls a second that the whole AWS account has; below 1 s is for emulators.
    #[serde(default)]
    pub poll_interval: Span<50, 300_000, 5_000>,
    /// Another region than that of the environment.
    #[serde(default)]
    pub region: Option<String>,
    /// URL or name of an SQS queue, in the same account and region, to which EventBridge sends
    /// the events "ECS Task State Change". Each Longshore process needs a queue of its own.
    /// Absent: changes are found by polling alone.
    #[serde(default)]
    pub events_queue: Option<String>,
    /// From one poll to the next while the queue works (default 300 s, 10 s to 3600 s): it makes
    /// up for events that were lost. While the queue does not work, `poll_interval` holds.
    #[serde(default)]
    pub reconcile_interval: Span<10_000, 3_600_000, 300_000>,
}

/// A file with targets, in JSON or YAML.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileDiscovery {
    /// The file. A relative path begins at the directory in which the process was started.
    pub path: String,
    /// From one look at the file to the next (default 2 s, 100 ms to 300 s). A look is one `stat`
    /// as long as the file stays as it was.
    #[serde(default)]
    pub refresh_interval: Span<100, 300_000, 2_000>,
}

/// The instances of a service that pass their checks in Consul, over plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsulDiscovery {
    /// Where an agent or a server is (default `127.0.0.1:8500`).
    #[serde(default = "local_agent")]
    pub address: SocketAddr,
    /// Name of the service.
    pub service: String,
    /// Only instances with this tag.
    #[serde(default)]
    pub tag: Option<String>,
    /// Another datacenter than that of the agent.
    #[serde(default)]
    pub datacenter: Option<String>,
    /// An ACL token with `service:read` and `node:read`, at most 1024 bytes.
    #[serde(default)]
    pub token: Option<Secret>,
    /// How long a query waits for a change before it is asked anew (default 30 s, 1 s to 600 s).
    /// A change is answered at once, however long this is.
    #[serde(default)]
    pub wait: Span<1_000, 600_000, 30_000>,
}

fn local_agent() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8500))
}

/// A text that does not show itself in logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
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

/// The containers of one Docker engine that have certain labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DockerDiscovery {
    /// Where the engine listens: `unix://` and an absolute path, or `tcp://host:port` without TLS
    /// (default `unix:///var/run/docker.sock`).
    #[serde(default = "docker_endpoint")]
    pub endpoint: String,
    /// What a container must be labelled with, at least one; all must match. The value `""` means
    /// that the label is there, whatever its value.
    pub labels: BTreeMap<String, String>,
    /// The port inside the container. Absent: the only TCP port.
    #[serde(default)]
    pub container_port: Option<Port>,
    /// A network on which containers are reached at their own address. Absent: they are reached
    /// at the port of the host that leads to them.
    #[serde(default)]
    pub network: Option<String>,
    /// Where ports are reached that are published on all addresses of the host (default
    /// 127.0.0.1). Not with `network`.
    #[serde(default)]
    pub host_address: Option<IpAddr>,
    /// From one look at all containers to the next (default 15 s, 1 s to 300 s). Events bring
    /// looks before that; this is for those that were lost.
    #[serde(default)]
    pub poll_interval: Span<1_000, 300_000, 15_000>,
}

impl DockerDiscovery {
    /// See the field `host_address`.
    #[must_use]
    pub fn host_address(&self) -> IpAddr {
        self.host_address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

pub(crate) fn docker_endpoint() -> String {
    "unix:///var/run/docker.sock".to_owned()
}
