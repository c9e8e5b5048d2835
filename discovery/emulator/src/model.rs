//! What a user of the emulator describes: hosts and task definitions.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A machine that joins a cluster: one container instance of ECS and one instance of EC2.
#[derive(Debug, Clone)]
pub struct Host {
    /// The private address that EC2 reports and that tasks in bridge and host mode listen on.
    ///
    /// Use a loopback address other than 127.0.0.1: connections on the loopback device come
    /// from 127.0.0.1, whose ephemeral ports overlap the dynamic range.
    pub address: IpAddr,
    /// The availability zone, for example `eu-central-1a`.
    pub zone: String,
    /// The id in EC2. `None` makes one up.
    pub ec2_instance_id: Option<String>,
    /// What DescribeContainerInstances says of the agent. It flaps on real hosts, and means
    /// nothing for the tasks.
    pub agent_connected: bool,
}

impl Host {
    /// A host with a made-up instance id and a connected agent.
    pub fn new(address: impl Into<IpAddr>, zone: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            zone: zone.into(),
            ec2_instance_id: None,
            agent_connected: true,
        }
    }
}

/// How the containers of a task reach the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkMode {
    /// The definition does not say. On Linux that is bridge, and the API shows no mode.
    #[default]
    Unset,
    /// Ports of the host, chosen by ECS where the mapping says 0.
    Bridge,
    /// The host's own network: container ports are host ports, and no bindings are reported.
    Host,
    /// An address of its own for each task.
    Awsvpc,
}

impl NetworkMode {
    /// The value in the API, where there is one.
    pub(crate) fn wire(self) -> Option<&'static str> {
        match self {
            Self::Unset => None,
            Self::Bridge => Some("bridge"),
            Self::Host => Some("host"),
            Self::Awsvpc => Some("awsvpc"),
        }
    }
}

/// Who brings the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaunchType {
    /// Tasks are placed on the hosts of the cluster.
    #[default]
    Ec2,
    /// Tasks have no container instance. Their network mode is awsvpc whatever the definition
    /// says.
    Fargate,
}

impl LaunchType {
    /// The value in the API.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::Fargate => "FARGATE",
        }
    }
}

/// The transport protocol of a port mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// TCP: the runtime gets an address to listen on.
    #[default]
    Tcp,
    /// UDP: shown in the API, never listened on.
    Udp,
}

impl Protocol {
    /// The value in the API.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One port of a container.
#[derive(Debug, Clone, Default)]
pub struct PortMapping {
    /// The port inside the container, 1 to 65535.
    pub container_port: u16,
    /// The port on the host in bridge mode; 0 lets ECS choose. Other modes ignore it.
    pub host_port: u16,
    /// The name by which Service Connect and Longshore select a port.
    pub name: Option<String>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// `http`, `http2` or `grpc`.
    pub app_protocol: Option<String>,
}

impl PortMapping {
    /// A TCP port whose host port is chosen by ECS.
    pub fn dynamic(container_port: u16) -> Self {
        Self {
            container_port,
            ..Self::default()
        }
    }

    /// A TCP port on a fixed host port.
    pub fn fixed(container_port: u16, host_port: u16) -> Self {
        Self {
            container_port,
            host_port,
            ..Self::default()
        }
    }

    /// The same port with a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same port with an application protocol (`http`, `http2` or `grpc`).
    #[must_use]
    pub fn speaking(mut self, app_protocol: impl Into<String>) -> Self {
        self.app_protocol = Some(app_protocol.into());
        self
    }
}

/// One container of a task definition.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// The name, unique in its task definition.
    pub name: String,
    /// The ports.
    pub ports: Vec<PortMapping>,
    /// The docker labels.
    pub labels: BTreeMap<String, String>,
}

impl Container {
    /// A container without labels.
    pub fn new(name: impl Into<String>, ports: Vec<PortMapping>) -> Self {
        Self {
            name: name.into(),
            ports,
            labels: BTreeMap::new(),
        }
    }

    /// The same container with one more docker label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }
}

/// A task definition before it has a revision.
#[derive(Debug, Clone, Default)]
pub struct TaskDefinition {
    /// The family. Each registration in a family gets the next revision, from 1.
    pub family: String,
    /// The network mode.
    pub network_mode: NetworkMode,
    /// Who brings the machines.
    pub launch_type: LaunchType,
    /// The containers. The first one names the task in views.
    pub containers: Vec<Container>,
}

impl TaskDefinition {
    /// One container, called `app`, with one dynamic TCP port, in bridge mode.
    pub fn bridge(family: impl Into<String>, container_port: u16) -> Self {
        Self::single(
            family,
            NetworkMode::Bridge,
            PortMapping::dynamic(container_port),
        )
    }

    /// One container, called `app`, on a port of the host's own network.
    pub fn host(family: impl Into<String>, port: u16) -> Self {
        Self::single(family, NetworkMode::Host, PortMapping::fixed(port, port))
    }

    /// One container, called `app`, with one TCP port on an address of its own.
    pub fn awsvpc(family: impl Into<String>, container_port: u16) -> Self {
        Self::single(
            family,
            NetworkMode::Awsvpc,
            PortMapping::fixed(container_port, container_port),
        )
    }

    fn single(family: impl Into<String>, network_mode: NetworkMode, port: PortMapping) -> Self {
        Self {
            family: family.into(),
            network_mode,
            launch_type: LaunchType::Ec2,
            containers: vec![Container::new("app", vec![port])],
        }
    }

    /// The mode that applies: Fargate knows only awsvpc.
    pub(crate) fn mode(&self) -> NetworkMode {
        match self.launch_type {
            LaunchType::Fargate => NetworkMode::Awsvpc,
            LaunchType::Ec2 => self.network_mode,
        }
    }
}

/// What the container health check of ECS says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// No health check is defined, or it has not answered yet.
    #[default]
    Unknown,
    /// The check passes.
    Healthy,
    /// The check fails.
    Unhealthy,
}

impl Health {
    /// The value in the API.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

/// Where a task is in its life, as the API reports it in `lastStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskStatus {
    /// Created, and waiting for its network.
    Provisioning,
    /// Waiting for its containers.
    Pending,
    /// Its containers run.
    Running,
    /// Told to stop, the containers have had SIGTERM.
    Stopping,
    /// The containers are gone.
    Deprovisioning,
    /// Over. Still described for an hour.
    Stopped,
}

impl TaskStatus {
    /// The value in the API.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}
