//! The few calls that discovery makes, in plain data. The SDK is behind this, and so are fakes.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::Labels;

/// The most ARNs in one describe call (ECS answers more with an error).
pub const BATCH: usize = 100;

/// How the ids of machines begin that are not of EC2: Systems Manager knows them.
pub const MANAGED_NODE: &str = "mi-";

const NODE_ADDRESS_LIFE: Duration = Duration::from_secs(300);

/// The calls.
pub trait EcsApi: Send + Sync {
    /// `ListTasks` of a service, or of the whole cluster, with desired status RUNNING, all pages.
    /// Fails if any page fails, so that a missing page never looks like missing tasks.
    fn list_tasks(
        &self,
        cluster: &str,
        service: Option<&str>,
    ) -> impl Future<Output = Result<Vec<Arc<str>>, ApiError>> + Send;

    /// `DescribeTasks` of at most [`BATCH`] ARNs.
    fn describe_tasks(
        &self,
        cluster: &str,
        arns: &[Arc<str>],
    ) -> impl Future<Output = Result<Described, ApiError>> + Send;

    /// `DescribeServices` for one service. The answer may be one that another group caused, to a
    /// call that began at `since` or later; the time that comes with it is when that was.
    fn describe_service(
        &self,
        cluster: &str,
        service: &str,
        since: Instant,
    ) -> impl Future<Output = Result<(Service, Instant), ApiError>> + Send;

    /// Those of these container instances whose addresses were learnt before, by whomever, and do not
    /// change. No call.
    fn known_hosts(&self, arns: &[Arc<str>]) -> Vec<Host>;

    /// Waits until the budget has room for a call. To be done before each of the two below, which
    /// have a time limit.
    fn turn(&self) -> impl Future<Output = ()> + Send;

    /// `DescribeContainerInstances` of at most [`BATCH`] ARNs, and the addresses of their
    /// machines. Fails only if the container instances are not described: what goes wrong with
    /// a machine concerns that machine.
    fn describe_hosts(
        &self,
        cluster: &str,
        arns: &[Arc<str>],
    ) -> impl Future<Output = Result<Hosts, ApiError>> + Send;

    /// `DescribeTaskDefinition`. A revision never changes.
    fn describe_definition(
        &self,
        arn: &str,
    ) -> impl Future<Output = Result<Definition, ApiError>> + Send;
}

/// The answer to a describe call. An ARN in neither part was not answered, which says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// The tasks that ECS knows.
    pub tasks: Vec<Task>,
    /// Those that it says it does not know (failures with the reason MISSING).
    pub missing: Vec<Arc<str>>,
}

/// A task, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its ARN.
    pub arn: Arc<str>,
    /// Counts its changes of state. An answer with a lower one is older.
    pub version: i64,
    /// `RUNNING` until the task is told to stop, then `STOPPED`.
    pub desired_running: bool,
    /// Where it is on its way: `PENDING`, `RUNNING`, `STOPPING` …
    pub last_status: String,
    /// When it reached RUNNING, in milliseconds since 1970. None before that.
    pub started_at: Option<i64>,
    /// `UNHEALTHY` by the container's own health check.
    pub unhealthy: bool,
    /// Whether such a check has said anything.
    pub checked: bool,
    /// The name of its service. None for a task that no service started.
    pub service: Option<Arc<str>>,
    /// The id of the task set, or of the deployment, that it belongs to.
    pub started_by: Option<Arc<str>>,
    /// Its availability zone.
    pub zone: Option<Arc<str>>,
    /// The ARN of the container instance it runs on. None on Fargate.
    pub host: Option<Arc<str>>,
    /// The ARN of its task definition.
    pub definition: Option<Arc<str>>,
    /// The address of its own network interface (awsvpc). None in other network modes.
    pub interface: Option<IpAddr>,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// A service, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// How many tasks it is meant to have.
    pub desired: u32,
    /// How many are RUNNING.
    pub running: u32,
    /// How many are on their way up.
    pub pending: u32,
    /// Whether a deployment is IN_PROGRESS.
    pub rolling: bool,
    /// Its task sets. None with the deployment controller ECS, which has none.
    pub task_sets: Option<Vec<TaskSet>>,
}

/// A part of a service whose deployments are made by CodeDeploy or by the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSet {
    /// What its tasks name in `startedBy`.
    pub id: Arc<str>,
    /// `PRIMARY` serves production, `ACTIVE` does not, `DRAINING` is being deleted.
    pub status: Arc<str>,
}

/// A container of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name in the task definition.
    pub name: Arc<str>,
    /// Whether its last status is RUNNING.
    pub running: bool,
    /// Ports of the host that lead into it. Empty until it runs, and in awsvpc mode.
    pub bindings: Vec<Binding>,
    /// The same for ranges of ports.
    pub ranges: Vec<RangeBinding>,
}

/// A TCP port of the host that leads to one of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// The port inside.
    pub container_port: u16,
    /// The port of the host.
    pub host_port: u16,
}

impl Host {
    /// How long its address is believed. None: as long as a task is on it, for the private
    /// address of an EC2 instance does not change in its life. A machine of ECS Anywhere may get
    /// another one from its own network; its agent tells Systems Manager every five minutes.
    #[must_use]
    pub fn life(&self) -> Option<Duration> {
        (self.instance.starts_with(MANAGED_NODE)).then_some(NODE_ADDRESS_LIFE)
    }
}

/// TCP ports of the host that lead to as many of the container, in the same order. In the words
/// of ECS, such as `8080-8085`, empty if it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeBinding {
    /// The ports inside.
    pub container_range: Arc<str>,
    /// The ports of the host.
    pub host_range: Arc<str>,
}

/// The answer to a question about container instances. One in neither part is not known
/// yet, and may be asked about again at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Those whose address is known.
    pub found: Vec<Host>,
    /// Those whose address could not be learnt, and why.
    pub unknown: Vec<(Arc<str>, String)>,
}

/// A container instance with its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The ARN of the container instance.
    pub arn: Arc<str>,
    /// The id of the EC2 instance; `mi-…` for a machine of ECS Anywhere.
    pub instance: Arc<str>,
    /// Its private address.
    pub address: IpAddr,
    /// Its availability zone.
    pub zone: Option<Arc<str>>,
}

/// A revision of a task definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its ARN.
    pub arn: Arc<str>,
    /// `bridge`, `host`, `awsvpc`, `none`, or `default` on Windows. None: bridge, or `default`.
    pub network_mode: Option<Arc<str>>,
    /// The TCP ports of its containers.
    pub ports: Vec<PortMapping>,
    /// The `dockerLabels` of its containers, by name. Those that have none are not there.
    pub labels: BTreeMap<Arc<str>, Arc<Labels>>,
}

/// A TCP port in a task definition, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// The container's name.
    pub container: Arc<str>,
    /// The ports inside it.
    pub ports: MappedPorts,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// `http`, `http2` or `grpc`. None: ECS is not told, which says no more than TCP.
    pub app_protocol: Option<Arc<str>>,
}

/// The ports of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappedPorts {
    /// One.
    One(u16),
    /// Several, in the words of ECS: `8080-8085`.
    Range(Arc<str>),
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {reason}")]
pub struct ApiError {
    /// Such as `ListTasks`.
    pub operation: &'static str,
    /// What AWS or the network said.
    pub reason: String,
    /// What follows from it.
    pub kind: ErrorKind,
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no service of that name, or it was deleted.
    NoSuchService,
    /// There were too many calls.
    Throttled,
    /// Nothing more than that the call failed.
    Other,
}
