//! The handle that users hold.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::error::EmulatorError;
use crate::faults::Faults;
use crate::model::{Health, Host, TaskDefinition};
use crate::options::Options;
use crate::runtime::TaskRuntime;
use crate::server;
use crate::shared::{Shared, lock};
use crate::state::Clock;
use crate::view::{TaskView, view};
use crate::world::World;

/// A running emulator. Clones are handles to the same one.
///
/// Every method may be called from any thread, inside a tokio runtime or not. A change has been
/// carried out when the method returns: a task told to stop, for example, has had its SIGTERM.
/// Dropping the last handle ends the emulator and its tasks without waiting for them.
#[derive(Clone)]
pub struct Emulator {
    pub(crate) shared: Arc<Shared>,
    life: Arc<Life>,
}

/// What ends with the last handle.
struct Life {
    shared: Arc<Shared>,
    address: SocketAddr,
    background: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator")
            .field("address", &self.life.address)
            .finish_non_exhaustive()
    }
}

impl Emulator {
    /// Listens on a free port of 127.0.0.1, and works in the background of the tokio runtime
    /// it is called in, which may be a `current_thread` one.
    pub async fn start(options: Options, runtime: Arc<dyn TaskRuntime>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let clock = Clock::new(Instant::now(), SystemTime::now());
        let world = World::new(options, clock, rand::random());
        let shared = Arc::new(Shared::new(world, runtime, Handle::current()));
        let background = vec![
            tokio::spawn(Arc::clone(&shared).keep_time()),
            tokio::spawn(server::serve(Arc::clone(&shared), listener)),
        ];
        let life = Arc::new(Life {
            shared: Arc::clone(&shared),
            address,
            background: Mutex::new(background),
        });
        Ok(Self { shared, life })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.life.address
    }

    /// What to give to an SDK as its endpoint: `http://127.0.0.1:port`.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.life.address)
    }

    /// A loopback address that this emulator has not given to anybody, and that other emulators
    /// are unlikely to use. Good for hosts of tests that run side by side.
    pub fn spare_address(&self) -> Ipv4Addr {
        self.shared.with(|world, _| world.spare_address())
    }

    /// Creates a cluster, unless there is one of this name.
    pub fn create_cluster(&self, name: &str) {
        self.shared.with(|world, _| world.create_cluster(name));
    }

    /// Adds a host to a cluster, which is created when it is new. Returns the ARN of the
    /// container instance.
    pub fn add_host(&self, cluster: &str, host: Host) -> String {
        self.shared
            .with(|world, now| world.add_host(cluster, host, now))
    }

    /// Registers the next revision of a family. Returns its ARN.
    pub fn register_task_definition(&self, def: TaskDefinition) -> String {
        self.shared
            .with(|world, now| world.register(def, now).arn.clone())
    }

    /// Creates a service. `task_definition` is a family (its newest revision), a
    /// `family:revision` or an ARN.
    pub fn create_service(
        &self,
        cluster: &str,
        service: &str,
        task_definition: &str,
        desired: usize,
    ) -> Result<(), EmulatorError> {
        self.shared.with(|world, now| {
            world.create_service(cluster, service, task_definition, desired, now)
        })
    }

    /// Changes how many tasks a service should have.
    pub fn scale(&self, cluster: &str, service: &str, desired: usize) -> Result<(), EmulatorError> {
        self.shared.with(|world, now| {
            let key = world.service_key(cluster, service)?;
            world.scale(&key, desired, now);
            Ok(())
        })
    }

    /// Begins a rolling deployment: new tasks come up before old ones go.
    pub fn deploy(
        &self,
        cluster: &str,
        service: &str,
        task_definition: &str,
    ) -> Result<(), EmulatorError> {
        self.shared.with(|world, now| {
            let key = world.service_key(cluster, service)?;
            let definition = world.definition(task_definition)?;
            world.deploy(&key, definition, now);
            Ok(())
        })
    }

    /// Stops a task, given by id or ARN. Its service replaces it. Stopping it again changes
    /// nothing.
    pub fn stop_task(&self, task: &str) -> Result<(), EmulatorError> {
        self.shared.with(|world, now| {
            let seq = world.task(task)?.seq;
            world.stop(seq, "UserInitiated", "Task stopped by user", now);
            Ok(())
        })
    }

    /// Ends the process of a task at once. The API learns of it after
    /// [`Options::crash_detection`].
    pub fn crash_task(&self, task: &str) -> Result<(), EmulatorError> {
        self.shared.with(|world, _| world.crash(task))
    }

    /// Makes the processes of a task end by themselves in good order, as after SIGTERM: what they
    /// have begun is answered, with `Connection: close`. The API knows of it after
    /// [`Options::crash_detection`].
    pub fn exit_task(&self, task: &str) -> Result<(), EmulatorError> {
        self.shared.with(|world, _| world.exit(task))
    }

    /// Sets what the container health check of ECS says of a task. New tasks are
    /// [`Health::Unknown`].
    pub fn set_health(&self, task: &str, health: Health) -> Result<(), EmulatorError> {
        self.shared.with(|world, _| world.set_health(task, health))
    }

    /// Takes a machine away (container instance id or ARN, or EC2 id): its processes end at
    /// once, EC2 does not know it any more, and ECS notices after [`Options::loss_detection`].
    pub fn lose_host(&self, container_instance: &str) -> Result<(), EmulatorError> {
        self.shared.with(|world, now| {
            let host = world.host(container_instance)?;
            world.lose_host(host, now);
            Ok(())
        })
    }

    /// Marks a host DRAINING: its tasks move to other hosts.
    pub fn drain_host(&self, container_instance: &str) -> Result<(), EmulatorError> {
        self.shared.with(|world, _| {
            let host = world.host(container_instance)?;
            world.set_host_status(host, true)
        })
    }

    /// Marks a DRAINING host ACTIVE again.
    pub fn activate_host(&self, container_instance: &str) -> Result<(), EmulatorError> {
        self.shared.with(|world, _| {
            let host = world.host(container_instance)?;
            world.set_host_status(host, false)
        })
    }

    /// Sets what DescribeContainerInstances says of the agent of a host, and nothing else.
    pub fn set_agent_connected(
        &self,
        container_instance: &str,
        connected: bool,
    ) -> Result<(), EmulatorError> {
        self.shared
            .with(|world, _| world.set_agent_connected(container_instance, connected))
    }

    /// All tasks, oldest first, with those that stopped in the last hour.
    pub fn tasks(&self) -> Vec<TaskView> {
        self.shared.with(|world, _| {
            let tasks = world.tasks.values();
            tasks.map(|task| view(world, task)).collect()
        })
    }

    /// The number in it grows at each change of the state and at each call of the API. A test
    /// subscribes, looks whether its condition holds, and waits for the next number if not.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed()
    }

    /// The faults, to be switched on and off.
    pub fn faults(&self) -> Faults {
        self.shared.faults.clone()
    }

    /// How often each operation was called, with the calls that failed.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        lock(&self.shared.calls).all.clone()
    }

    /// How often the token buckets refused each operation. Faults do not count.
    pub fn throttled(&self) -> BTreeMap<String, u64> {
        lock(&self.shared.calls).throttled.clone()
    }

    /// Kills every task, closes the listener and all connections, and waits until that is done.
    /// May be called again, and from another tokio runtime as long as its own one runs.
    pub async fn shutdown(&self) {
        self.shared.close();
        self.shared.closed().await;
        for task in self.life.background.lock().await.drain(..) {
            if let Err(error) = task.await {
                warn!(%error, "a part of the emulator did not end by itself");
            }
        }
    }
}
