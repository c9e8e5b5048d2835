//! The things of the emulated account: hosts, definitions, services, tasks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::{
    DeploymentController, Health, HostKind, NetworkMode, TaskDefinition, TaskStatus,
};
use crate::ports::Ports;
use crate::runtime::TaskStart;

/// A task's number: the order of creation.
pub(crate) type Seq = u64;

/// A service's name with its cluster's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceKey {
    pub cluster: String,
    pub name: String,
}

/// Something to be done outside.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Start the containers of a task.
    Start(Box<TaskStart>),
    /// Give up the start that is under way.
    Cancel(String),
    /// Send SIGTERM.
    Terminate(String),
    /// Send SIGKILL.
    Kill(String),
}

/// Something that falls due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The next step towards the start of a task.
    Advance(Seq),
    /// The agent reports that it is stopping the containers.
    ReportStopping(Seq),
    /// The stop timeout is over.
    Kill(Seq),
    /// The API learns of the end of the processes.
    ExitKnown(Seq),
    /// The last step.
    Stopped(Seq),
    /// A stopped task leaves memory.
    Forget(Seq),
    /// ECS notices that a host is gone.
    HostLost(usize),
    /// A service may try again after failed starts.
    Retry(ServiceKey),
}

/// Turns instants into what AWS writes: seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instant: Instant,
    epoch: f64,
}

impl Clock {
    pub(crate) fn new(instant: Instant, wall: SystemTime) -> Self {
        let epoch = wall
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        Self { instant, epoch }
    }

    /// Seconds since 1970, with milliseconds.
    pub(crate) fn seconds(self, at: Instant) -> f64 {
        let since = match at.checked_duration_since(self.instant) {
            Some(after) => after.as_secs_f64(),
            None => -(self.instant - at).as_secs_f64(),
        };
        ((self.epoch + since) * 1000.0).round() / 1000.0
    }
}

/// A registered task definition.
#[derive(Debug)]
pub(crate) struct Definition {
    pub arn: String,
    /// `family:revision`
    pub name: String,
    pub revision: usize,
    pub spec: TaskDefinition,
    pub registered: Instant,
}

/// What ECS thinks of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostStatus {
    Active,
    Draining,
    /// Gone, and ECS knows it.
    Inactive,
}

impl HostStatus {
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

#[derive(Debug)]
pub(crate) struct HostState {
    pub arn: String,
    pub id: String,
    pub cluster: String,
    /// `mi-…` outside AWS.
    pub ec2_id: String,
    pub kind: HostKind,
    pub address: IpAddr,
    pub zone: String,
    pub agent_connected: bool,
    pub status: HostStatus,
    pub version: u64,
    pub registered: Instant,
    /// When the machine died, whether ECS knows it or not.
    pub lost: Option<Instant>,
    pub ports: Ports,
}

/// The processes of a task, as they are: the API learns of it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    NotStarted,
    Starting,
    Running,
    Gone,
}

/// One port mapping of a running task.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    /// The container's place in the definition.
    pub container: usize,
    /// The mapping's place in the container.
    pub mapping: usize,
    /// The port inside the container.
    pub inside: u16,
    pub address: SocketAddr,
    pub tcp: bool,
}

/// The network interface of an awsvpc task.
#[derive(Debug, Clone)]
pub(crate) struct Eni {
    /// Where the task listens.
    pub address: IpAddr,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub id: String,
    pub attachment: String,
    pub mac: String,
}

#[derive(Debug)]
pub(crate) struct Task {
    pub seq: Seq,
    pub id: String,
    pub arn: String,
    pub service: ServiceKey,
    pub deployment: u64,
    pub definition: Arc<Definition>,
    /// `None` on Fargate.
    pub host: Option<usize>,
    pub zone: String,
    pub last: TaskStatus,
    /// desiredStatus: false is RUNNING.
    pub stop: bool,
    pub version: u64,
    pub health: Health,
    pub process: Process,
    pub bindings: Vec<Binding>,
    /// Ports that the kernel would not give during this start.
    pub refused: BTreeSet<u16>,
    pub eni: Option<Eni>,
    pub created: Instant,
    pub running: Option<Instant>,
    pub stop_asked: Option<Instant>,
    pub exited: Option<Instant>,
    pub stopped: Option<Instant>,
    pub killed: bool,
    pub stop_code: Option<&'static str>,
    pub stop_reason: Option<String>,
}

impl Task {
    pub(crate) fn container_name(&self) -> &str {
        self.definition
            .spec
            .containers
            .first()
            .map_or("", |container| &container.name)
    }
}

/// One rollout of a service.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub id: u64,
    pub definition: Arc<Definition>,
    pub created: Instant,
    pub updated: Instant,
    pub failed: usize,
    pub completed: bool,
}

/// What a task set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetStatus {
    /// It serves production.
    Primary,
    /// It does not.
    Active,
    /// It is deleted, and its tasks are ending.
    Draining,
}

impl SetStatus {
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Primary => "PRIMARY",
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
        }
    }
}

/// A part of a service whose deployments are not ECS's own.
#[derive(Debug)]
pub(crate) struct TaskSet {
    /// What its tasks have in place of a deployment.
    pub number: u64,
    pub definition: Arc<Definition>,
    /// Hundredths of the desired count of the service.
    pub percent: u8,
    pub status: SetStatus,
    pub created: Instant,
    pub updated: Instant,
}

#[derive(Debug)]
pub(crate) struct Service {
    pub controller: DeploymentController,
    pub desired: usize,
    /// The last one is PRIMARY. None with another controller than ECS.
    pub deployments: Vec<Deployment>,
    /// None with the controller ECS.
    pub sets: Vec<TaskSet>,
    /// The tasks whose desiredStatus is RUNNING.
    pub live: BTreeSet<Seq>,
    pub created: Instant,
    /// Starts that failed one after the other.
    pub failures: u32,
    /// No new tasks before this moment.
    pub not_before: Option<Instant>,
}

impl Definition {
    pub(crate) fn mode(&self) -> NetworkMode {
        self.spec.mode()
    }
}
