//! Where a target group learns its targets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

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
            (self.docker.is_some(), "docker"),
        ];
        known
            .into_iter()
            .filter_map(|(there, key)| there.then_some(key))
            .collect()
    }

    /// The same but for what does not change which targets it tells of: how often it is asked.
    #[must_use]
    pub fn identity(&self) -> Self {
        let mut identity = self.clone();
        if let Some(ecs) = &mut identity.ecs {
            ecs.poll_interval = Span::default();
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
    /// From one poll to the next (default 5 s, 50 ms to 300 s). A poll is one call for each 100
    /// tasks, out of 20 calls a second that the whole AWS account has; below 1 s is for emulators.
    #[serde(default)]
    pub poll_interval: Span<50, 300_000, 5_000>,
    /// Another region than that of the environment.
    #[serde(default)]
    pub region: Option<String>,
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

fn docker_endpoint() -> String {
    "unix:///var/run/docker.sock".to_owned()
}
