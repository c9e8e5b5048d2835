//! Where labels of containers make groups and rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::discovery::docker_endpoint;
use crate::{DockerDiscovery, EcsDiscovery, Span};

/// A cluster or an engine whose containers say by labels which groups and rules they want.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelDiscovery {
    /// Unique among them; for the log, metrics and `/targets`.
    pub name: String,
    /// The `dockerLabels` of the tasks of an ECS cluster.
    #[serde(default)]
    pub ecs: Option<EcsCluster>,
    /// The labels of the containers of a Docker engine.
    #[serde(default)]
    pub docker: Option<DockerEngine>,
    /// The listeners that labels may attach rules to, by name. At least one.
    pub listeners: Vec<String>,
    /// Whether a container is exposed without the label `enable` (default `false`).
    #[serde(default)]
    pub exposed_by_default: bool,
    /// What labels begin with, before a dot (default `longshore`).
    #[serde(default = "prefix")]
    pub prefix: String,
    /// What a container must be labelled with besides; all must match. The value `""` means that
    /// the label is there, whatever its value.
    #[serde(default)]
    pub constraints: BTreeMap<String, String>,
}

/// All tasks of an ECS cluster. Region, credentials and `AWS_ENDPOINT_URL` come from the AWS SDK's
/// own chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EcsCluster {
    /// Name or ARN of the cluster.
    pub cluster: String,
    /// As for a service (default 5 s, 50 ms to 300 s).
    #[serde(default)]
    pub poll_interval: Span<50, 300_000, 5_000>,
    /// Another region than that of the environment.
    #[serde(default)]
    pub region: Option<String>,
    /// As for a service; the rule of EventBridge names no service then.
    #[serde(default)]
    pub events_queue: Option<String>,
    /// As for a service (default 300 s, 10 s to 3600 s).
    #[serde(default)]
    pub reconcile_interval: Span<10_000, 3_600_000, 300_000>,
}

/// All containers of a Docker engine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DockerEngine {
    /// Where the engine listens (default `unix:///var/run/docker.sock`).
    #[serde(default = "docker_endpoint")]
    pub endpoint: String,
    /// A network on which containers are reached at their own address. Absent: they are reached
    /// at the port of the host that leads to them.
    #[serde(default)]
    pub network: Option<String>,
    /// Where ports are reached that are published on all addresses of the host (default
    /// 127.0.0.1). Not with `network`.
    #[serde(default)]
    pub host_address: Option<IpAddr>,
    /// From one look at all containers to the next (default 15 s, 1 s to 300 s).
    #[serde(default)]
    pub poll_interval: Span<1_000, 300_000, 15_000>,
}

impl LabelDiscovery {
    /// The keys of the sources that are there. Valid with exactly one.
    #[must_use]
    pub fn sources(&self) -> Vec<&'static str> {
        let known = [
            (self.ecs.is_some(), "ecs"),
            (self.docker.is_some(), "docker"),
        ];
        let there = known.into_iter().filter(|(there, _)| *there);
        there.map(|(_, key)| key).collect()
    }

    /// The same but for what does not change which containers it tells of, nor what their labels
    /// mean.
    #[must_use]
    pub fn identity(&self) -> Self {
        let mut identity = self.clone();
        identity.listeners.clear();
        if let Some(ecs) = &mut identity.ecs {
            ecs.poll_interval = Span::default();
            ecs.reconcile_interval = Span::default();
            ecs.events_queue = None;
        }
        if let Some(docker) = &mut identity.docker {
            docker.poll_interval = Span::default();
        }
        identity
    }
}

impl EcsCluster {
    /// The same as a source of one service, whose name is empty.
    #[must_use]
    pub fn as_service(&self) -> EcsDiscovery {
        EcsDiscovery {
            cluster: self.cluster.clone(),
            service: String::new(),
            container: None,
            container_port: None,
            port_name: None,
            poll_interval: self.poll_interval,
            region: self.region.clone(),
            events_queue: self.events_queue.clone(),
            reconcile_interval: self.reconcile_interval,
        }
    }
}

impl DockerEngine {
    /// The same as the source of one group, with these labels.
    #[must_use]
    pub fn as_group(&self, labels: BTreeMap<String, String>) -> DockerDiscovery {
        DockerDiscovery {
            endpoint: self.endpoint.clone(),
            labels,
            container_port: None,
            network: self.network.clone(),
            host_address: self.host_address,
            poll_interval: self.poll_interval,
        }
    }
}

fn prefix() -> String {
    "longshore".to_owned()
}
