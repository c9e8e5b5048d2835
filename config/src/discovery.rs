//! Where a target group learns its targets.

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
}

impl Discovery {
    /// The keys of the sources that are there. Valid with exactly one.
    #[must_use]
    pub fn sources(&self) -> Vec<&'static str> {
        let known = [(self.ecs.is_some(), "ecs")];
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
}
