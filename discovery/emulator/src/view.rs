//! What tests and demos see of a task: more than the API shows.

use std::net::SocketAddr;
use std::time::Instant;

use crate::model::{Health, TaskStatus};
use crate::state::{Binding, Process, Task};
use crate::world::World;

/// One task at one moment.
#[derive(Debug, Clone)]
pub struct TaskView {
    /// The ARN.
    pub arn: String,
    /// The id, 32 hexadecimal digits.
    pub id: String,
    /// The name of the cluster.
    pub cluster: String,
    /// The name of the service.
    pub service: String,
    /// The task definition, as `family:revision`.
    pub definition: String,
    /// The name of the first container.
    pub container: String,
    /// lastStatus.
    pub last_status: TaskStatus,
    /// desiredStatus: [`TaskStatus::Running`] or [`TaskStatus::Stopped`].
    pub desired_status: TaskStatus,
    /// healthStatus.
    pub health: Health,
    /// The TCP addresses, one for each port of each container. Empty until the task has been
    /// RUNNING; kept when it ends, although the ports may be another task's by then.
    pub addresses: Vec<SocketAddr>,
    /// Whether the processes run, whatever the API says.
    pub alive: bool,
    /// The ARN of the container instance. `None` on Fargate.
    pub container_instance: Option<String>,
    /// The id of the host in EC2. `None` on Fargate.
    pub ec2_instance_id: Option<String>,
    /// The availability zone.
    pub zone: String,
    /// The version, which counts the changes.
    pub version: u64,
    /// Why it was stopped: `stopCode` of the API.
    pub stop_code: Option<&'static str>,
    /// When it was created.
    pub created_at: Instant,
    /// When it became RUNNING.
    pub running_at: Option<Instant>,
    /// When its desiredStatus became STOPPED.
    pub stop_requested_at: Option<Instant>,
    /// When its processes ended and its ports became free.
    pub exited_at: Option<Instant>,
    /// When it became STOPPED.
    pub stopped_at: Option<Instant>,
}

impl TaskView {
    /// Whether the task takes part in its service: RUNNING, and meant to.
    pub fn is_serving(&self) -> bool {
        self.last_status == TaskStatus::Running && self.desired_status == TaskStatus::Running
    }
}

/// The desiredStatus of a task.
pub(crate) fn desired(task: &Task) -> TaskStatus {
    match task.stop {
        true => TaskStatus::Stopped,
        false => TaskStatus::Running,
    }
}

pub(crate) fn view(world: &World, task: &Task) -> TaskView {
    let host = task.host.and_then(|host| world.hosts.get(host));
    let shown: &[Binding] = match task.running {
        Some(_) => &task.bindings,
        None => &[],
    };
    let addresses = shown.iter().filter(|binding| binding.tcp);
    TaskView {
        arn: task.arn.clone(),
        id: task.id.clone(),
        cluster: task.service.cluster.clone(),
        service: task.service.name.clone(),
        definition: task.definition.name.clone(),
        container: task.container_name().to_owned(),
        last_status: task.last,
        desired_status: desired(task),
        health: task.health,
        addresses: addresses.map(|binding| binding.address).collect(),
        alive: task.process == Process::Running,
        container_instance: host.map(|host| host.arn.clone()),
        ec2_instance_id: host.map(|host| host.ec2_id.clone()),
        zone: task.zone.clone(),
        version: task.version,
        stop_code: task.stop_code,
        created_at: task.created,
        running_at: task.running,
        stop_requested_at: task.stop_asked,
        exited_at: task.exited,
        stopped_at: task.stopped,
    }
}
