//! The seam between ECS and the processes: what a container runtime must be able to do.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

/// A future without a name, as a trait object can return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One TCP port that a task must listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPort {
    /// The container that the port belongs to.
    pub container: String,
    /// The port inside the container.
    pub container_port: u16,
    /// The name of the mapping.
    pub name: Option<String>,
    /// Where to listen.
    pub address: SocketAddr,
}

/// A task whose containers are to be started.
#[derive(Debug, Clone)]
pub struct TaskStart {
    /// The task's ARN.
    pub arn: String,
    /// The task's id, 32 hexadecimal digits.
    pub id: String,
    /// The name of the cluster.
    pub cluster: String,
    /// The name of the service.
    pub service: String,
    /// The task definition, as `family:revision`.
    pub definition: String,
    /// The name of the first container.
    pub container: String,
    /// The availability zone.
    pub zone: String,
    /// Where to listen: one address for each TCP port of each container.
    pub addresses: Vec<SocketAddr>,
    /// The same ports with what they belong to, in the same order.
    pub ports: Vec<TaskPort>,
}

/// Starts the containers of tasks.
pub trait TaskRuntime: Send + Sync + 'static {
    /// Starts the containers of a task. It is called inside the tokio runtime of the emulator.
    ///
    /// The listening sockets must be bound when the future ends. An error of kind
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) makes the emulator choose other dynamic ports
    /// and ask again; any other error stops the task with `TaskFailedToStart`. The future is
    /// dropped when the task is stopped before it has started.
    fn start(&self, task: TaskStart) -> BoxFuture<'static, io::Result<Box<dyn RunningTask>>>;
}

/// The containers of one task.
pub trait RunningTask: Send + Sync {
    /// SIGTERM: asks the containers to end. May be called from any thread.
    fn terminate(&self);
    /// SIGKILL: the containers end at once and their connections with them. May be called from
    /// any thread.
    fn kill(&self);
    /// Resolves when the containers have ended and their ports are free.
    fn exited(&self) -> BoxFuture<'_, ()>;
}
