//! Targets as sources see them: plain data.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::{Labels, ProtocolVersion};

/// What a target *is*: a port of a container of a task. Never its address: host ports are used
/// again at once, and then the address is that of another service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey {
    /// The task's ARN; a container's full id; `fixed` for a target of a fixed list, `file` for one
    /// of a targets file, `consul/NODE/ID` for an instance of a service in Consul, `dns:NAME` for
    /// an address of a name.
    pub task: Arc<str>,
    /// The container of the task; the written address for a target of a list or a
    /// file, the name of the service in Consul.
    pub container: Arc<str>,
    /// The port inside the container.
    pub port: u16,
}

impl TargetKey {
    /// The last part of the task's ARN, which people know as the task id.
    #[must_use]
    pub fn task_id(&self) -> &str {
        self.task.rsplit('/').next().unwrap_or(&self.task)
    }
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.task_id(), self.container, self.port)
    }
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub key: TargetKey,
    /// Where it is now.
    pub address: SocketAddr,
    /// Its availability zone, if known.
    pub zone: Option<Arc<str>>,
    /// Its share of the requests is its weight over the sum of all in its group. With 0 it gets
    /// none. 1 where a source tells none.
    pub weight: u16,
    /// The EC2 instance (or managed instance) it runs on, if known.
    pub instance: Option<Arc<str>>,
    /// Its port is one of its host, and may go to another task, perhaps of another service, as soon
    /// as this one ends. Connecting to it wants recent knowledge.
    pub shared_port: bool,
    /// When its task started, in milliseconds since 1970, if known: of two tasks that are told at
    /// one address, the younger one is there.
    pub started_at: Option<i64>,
    /// Which HTTP it says that it speaks, if its source knows what it says.
    pub protocol_version: Option<ProtocolVersion>,
    /// What the labels of its container ask for, if that is how it was found.
    pub claim: Option<Arc<Claim>>,
    /// The start of the latest look at the world that showed this target in place.
    pub confirmed_at: Instant,
}

/// What the labels of a container ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Who asks: a service and one of its containers. Two revisions of it are one owner.
    pub owner: Arc<str>,
    /// What the group is called if no label says it.
    pub name: Arc<str>,
    /// All labels of the container.
    pub labels: Arc<Labels>,
}

impl Target {
    /// Nobody else can be at its address while it is: two tasks of ECS share neither a network
    /// interface nor a port of their host. Of targets that others write down, that is not sure.
    #[must_use]
    pub fn holds_address(&self) -> bool {
        self.shared_port || self.key.task.starts_with("arn:")
    }

    /// Whether two descriptions differ in nothing but the time of their confirmation.
    #[must_use]
    pub fn same_place(&self, other: &Self) -> bool {
        Self {
            confirmed_at: other.confirmed_at,
            ..self.clone()
        } == *other
    }
}

/// A task that is no target, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The task's id, or what else has the problem.
    pub subject: String,
    /// Why, and what would mend it.
    pub reason: String,
}

/// What a source sends.
#[derive(Debug, Clone)]
pub enum Update {
    /// All targets of the group. What is not in it has left.
    Set {
        /// The targets, one for each key.
        targets: Vec<Target>,
        /// Tasks that are no targets, and why.
        problems: Vec<Problem>,
        /// When the look at the world that gave this set ended.
        at: Instant,
    },
    /// All targets of the group, after something told of a change between two looks. It says
    /// nothing about whether looks succeed.
    Changed {
        /// The targets, one for each key.
        targets: Vec<Target>,
        /// Tasks that are no targets, and why.
        problems: Vec<Problem>,
    },
    /// The look failed. The last set stays.
    Failed {
        /// Why.
        error: String,
        /// When.
        at: Instant,
    },
}
