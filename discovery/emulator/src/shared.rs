//! The world behind its lock, and the hands that do what it asks for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use crate::bucket::Buckets;
use crate::events::Queues;
use crate::faults::Faults;
use crate::runtime::{RunningTask, TaskRuntime, TaskStart};
use crate::state::Effect;
use crate::world::World;

/// A lock that outlives a panic of its holder: the state is a model, and a test that fails
/// should fail with its own message.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often an operation was called, and how often the buckets refused it.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub all: BTreeMap<String, u64>,
    pub throttled: BTreeMap<String, u64>,
}

/// What the handle, the server and the timer share.
pub(crate) struct Shared {
    world: Mutex<World>,
    runtime: Arc<dyn TaskRuntime>,
    /// Where tasks are spawned: users may call from threads without a runtime.
    spawner: Handle,
    processes: Mutex<BTreeMap<String, Arc<dyn RunningTask>>>,
    starting: Mutex<BTreeMap<String, Arc<Notify>>>,
    timer: Notify,
    changed: watch::Sender<u64>,
    closing: watch::Sender<bool>,
    pub faults: Faults,
    pub calls: Mutex<Calls>,
    pub buckets: Option<Mutex<Buckets>>,
    pub queues: Queues,
}

impl Shared {
    pub(crate) fn new(world: World, runtime: Arc<dyn TaskRuntime>, spawner: Handle) -> Self {
        let throttle = world.options.throttle;
        Self {
            world: Mutex::new(world),
            runtime,
            spawner,
            processes: Mutex::default(),
            starting: Mutex::default(),
            timer: Notify::new(),
            changed: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            faults: Faults::default(),
            calls: Mutex::default(),
            queues: Queues::default(),
            buckets: throttle.then(|| Mutex::new(Buckets::new(Instant::now()))),
        }
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits for the shutdown.
    pub(crate) async fn until_closing(&self) {
        let mut closing = self.closing.subscribe();
        if closing.wait_for(|closing| *closing).await.is_err() {
            warn!("the sender lives in the same struct, so this does not happen");
        }
    }

    /// Wakes those who wait for [`Shared::changed`].
    pub(crate) fn bump(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Looks at the world, or changes it, and does what follows from that before it returns:
    /// a task that is told to stop has had its SIGTERM by then.
    pub(crate) fn with<T>(self: &Arc<Self>, act: impl FnOnce(&mut World, Instant) -> T) -> T {
        let now = Instant::now();
        let (result, effects, moved) = {
            let mut world = lock(&self.world);
            let (generation, next) = (world.generation, world.next());
            let result = act(&mut world, now);
            let effects = world.step(now);
            if world.generation != generation {
                self.queues.emit(&world, now);
                self.bump();
            }
            (result, effects, world.next() != next)
        };
        if moved {
            self.timer.notify_one();
        }
        for effect in effects {
            self.perform(effect);
        }
        result
    }

    fn perform(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Start(order) => {
                let cancel = Arc::new(Notify::new());
                lock(&self.starting).insert(order.id.clone(), Arc::clone(&cancel));
                let shared = Arc::clone(self);
                self.spawner
                    .spawn(async move { shared.run_task(*order, cancel).await });
            }
            Effect::Cancel(id) => {
                if let Some(cancel) = lock(&self.starting).get(&id) {
                    cancel.notify_one();
                }
            }
            Effect::Terminate(id) => {
                if let Some(process) = self.process(&id) {
                    process.terminate();
                }
            }
            Effect::Kill(id) => {
                if let Some(process) = self.process(&id) {
                    process.kill();
                }
            }
        }
    }

    fn process(&self, id: &str) -> Option<Arc<dyn RunningTask>> {
        lock(&self.processes).get(id).map(Arc::clone)
    }

    /// One task's processes, from their start to their end.
    async fn run_task(self: Arc<Self>, order: TaskStart, cancel: Arc<Notify>) {
        let id = order.id.clone();
        let started = tokio::select! {
            biased;
            () = cancel.notified() => None,
            started = self.runtime.start(order) => Some(started),
        };
        lock(&self.starting).remove(&id);
        match started {
            None => self.with(|world, now| world.exited(&id, now)),
            Some(Err(error)) => {
                debug!(task = id, %error, "the containers did not start");
                self.with(|world, now| world.start_failed(&id, &error, now));
            }
            Some(Ok(process)) => {
                let process: Arc<dyn RunningTask> = Arc::from(process);
                lock(&self.processes).insert(id.clone(), Arc::clone(&process));
                self.with(|world, now| world.started(&id, now));
                process.exited().await;
                lock(&self.processes).remove(&id);
                self.with(|world, now| world.exited(&id, now));
            }
        }
    }

    /// Fires timers until the emulator shuts down.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        loop {
            self.with(|_, _| ());
            let next = lock(&self.world).next();
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.timer.notified() => {}
                () = self.until_closing() => return,
            }
        }
    }

    /// Kills all processes and ends the listener and the timer.
    pub(crate) fn close(self: &Arc<Self>) {
        self.closing.send_replace(true);
        self.faults.clear();
        self.with(|world, _| world.closing = true);
        for cancel in lock(&self.starting).values() {
            cancel.notify_one();
        }
        let processes: Vec<_> = lock(&self.processes).values().map(Arc::clone).collect();
        for process in processes {
            process.kill();
        }
        self.bump();
    }

    /// Waits for the end of all processes.
    pub(crate) async fn closed(self: &Arc<Self>) {
        let mut changed = self.changed();
        loop {
            if lock(&self.processes).is_empty() && lock(&self.starting).is_empty() {
                return;
            }
            if changed.changed().await.is_err() {
                warn!("the emulator ended while its tasks ran");
                return;
            }
        }
    }
}
