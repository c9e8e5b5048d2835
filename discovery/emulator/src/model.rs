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
    /// Whose machine it is.
    pub kind: HostKind,
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
            kind: HostKind::Ec2,
            agent_connected: true,
        }
    }

    /// An instance that ECS manages itself (ECS Managed Instances).
    pub fn managed(address: impl Into<IpAddr>, zone: impl Into<String>) -> Self {
        Self {
            kind: HostKind::Managed,
            ..Self::new(address, zone)
        }
    }

    /// A machine outside AWS (ECS Anywhere). It is in no zone, and its id begins with `mi-`.
    pub fn external(address: impl Into<IpAddr>) -> Self {
        Self {
            kind: HostKind::External,
            ..Self::new(address, "")
        }
    }
}

/// Whose machine a host is. Tasks are placed on the hosts of their launch type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKind {
    /// The user's EC2 instance.
    #[default]
    Ec2,
    /// An EC2 instance that ECS manages. DescribeInstances shows it only if it is asked to
    /// include managed resources.
    Managed,
    /// A machine outside AWS. EC2 does not know it, Systems Manager does.
    External,
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
    /// `default` of Windows: ports as in bridge mode.
    Windows,
    /// `none`: no network.
    Isolated,
}

impl NetworkMode {
    /// The value in the API, where there is one.
    pub(crate) fn wire(self) -> Option<&'static str> {
        match self {
            Self::Unset => None,
            Self::Bridge => Some("bridge"),
            Self::Host => Some("host"),
            Self::Awsvpc => Some("awsvpc"),
            Self::Windows => Some("default"),
            Self::Isolated => Some("none"),
        }
    }

    /// Whether ports of the host lead to those of containers.
    pub(crate) fn publishes(self) -> bool {
        matches!(self, Self::Unset | Self::Bridge | Self::Windows)
    }
}

/// Who brings the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaunchType {
    /// Tasks are placed on the EC2 hosts of the cluster.
    #[default]
    Ec2,
    /// Tasks are placed on the hosts that ECS manages.
    ManagedInstances,
    /// Tasks are placed on the machines outside AWS.
    External,
    /// Tasks have no container instance. Their network mode is awsvpc whatever the definition
    /// says.
    Fargate,
}

impl LaunchType {
    /// The value in the API.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::ManagedInstances => "MANAGED_INSTANCES",
            Self::External => "EXTERNAL",
            Self::Fargate => "FARGATE",
        }
    }

    /// The hosts that its tasks run on. None on Fargate.
    pub(crate) fn hosts(self) -> Option<HostKind> {
        match self {
            Self::Ec2 => Some(HostKind::Ec2),
            Self::ManagedInstances => Some(HostKind::Managed),
            Self::External => Some(HostKind::External),
            Self::Fargate => None,
        }
    }
}

/// Who decides which tasks of a service are replaced by which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeploymentController {
    /// ECS, by rolling updates.
    #[default]
    Ecs,
    /// CodeDeploy, with task sets.
    CodeDeploy,
    /// The user, with task sets.
    External,
}

impl DeploymentController {
    /// The value in the API.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Ecs => "ECS",
            Self::CodeDeploy => "CODE_DEPLOY",
            Self::External => "EXTERNAL",
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
    /// The last port of a range that begins with `container_port`. Its host ports are chosen by
    /// ECS, side by side.
    pub last_port: Option<u16>,
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

    /// TCP ports from a first to a last one, both included, whose host ports are chosen by ECS.
    pub fn range(first: u16, last: u16) -> Self {
        Self {
            container_port: first,
            last_port: Some(last),
            ..Self::default()
        }
    }

    /// Its ports inside the container.
    pub(crate) fn inside(&self) -> std::ops::RangeInclusive<u16> {
        self.container_port..=self.last_port.unwrap_or(self.container_port)
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
    /// Which addresses awsvpc tasks get. In AWS that is a matter of the subnets.
    pub addresses: Addresses,
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
            addresses: Addresses::default(),
            containers: vec![Container::new("app", vec![port])],
        }
    }

    /// The mode that applies: Fargate knows only awsvpc.
    pub(crate) fn mode(&self) -> NetworkMode {
        match self.launch_type {
            LaunchType::Fargate => NetworkMode::Awsvpc,
            _ => self.network_mode,
        }
    }
}

/// The addresses of an awsvpc task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addresses {
    /// One of IPv4.
    #[default]
    Ipv4,
    /// One of each. Nobody listens at that of IPv6, so that a client which takes it finds out.
    DualStack,
    /// One of IPv6. It is an IPv4 one in IPv6 form (`::ffff:127.64.0.1`), because loopback has
    /// many addresses of IPv4 and one of IPv6.
    Ipv6,
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
