//! A scripted Docker engine: its HTTP API on a Unix socket, with containers that are targets of
//! the test.

mod api;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A port of a container: inside, and the host's for TCP on all addresses, IPv4 and IPv6.
pub type PortPair = (u16, u16);

#[derive(Clone)]
struct Container {
    name: String,
    labels: BTreeMap<String, String>,
    ports: Vec<PortPair>,
    started_ms: u64,
    health: Option<&'static str>,
    running: bool,
}

/// What the API shows, and how it fails.
#[derive(Default)]
struct State {
    containers: BTreeMap<String, Container>,
    /// Each event with its time in seconds.
    events: Vec<(u64, Value)>,
    /// Events are not told, and streams of them are refused.
    deaf: bool,
    /// How often the streams were ended.
    breaks: u64,
    /// Containers whose inspections are never answered.
    silent: BTreeSet<String>,
    /// Answers to lists are held back once they are made.
    held: bool,
    /// Lists that were asked for, and those that were answered.
    lists: (usize, usize),
    /// Paths that were asked for, without ids and queries.
    asked: BTreeSet<String>,
}

#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    /// Changes with the state.
    changed: watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn change<R>(&self, how: impl FnOnce(&mut State) -> R) -> R {
        let result = how(&mut self.state());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Waits until the state is so.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        while !holds(&self.state()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// An engine. Its socket goes when it is dropped.
pub struct DockerEngine {
    path: PathBuf,
    shared: Shared,
    server: Option<JoinHandle<()>>,
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_millis()).expect("not that late")
}

impl DockerEngine {
    /// Starts one without containers.
    pub async fn start() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("longshore-docker-{}-{number}.sock", std::process::id());
        let mut engine = Self {
            path: std::env::temp_dir().join(name),
            shared: Shared {
                state: Arc::default(),
                changed: watch::channel(0).0,
            },
            server: None,
        };
        engine.resume();
        engine
    }

    /// Its address, as a configuration says it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Ends the process: the socket and all connections. Containers run on.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
        // Only the first stop finds it.
        drop(std::fs::remove_file(&self.path));
    }

    /// Starts it again after [`Self::stop`].
    pub fn resume(&mut self) {
        let listener = UnixListener::bind(&self.path).expect("the socket is bound");
        let shared = self.shared.clone();
        self.server = Some(tokio::spawn(async move {
            // Connections end with the server: their tasks are in a set that is dropped.
            let mut tasks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(api::serve(stream, shared.clone()));
            }
        }));
    }

    /// Starts a container of a service, published at these ports, and tells its id.
    pub fn run(&self, service: &str, ports: &[PortPair]) -> String {
        self.run_with(service, ports, None)
    }

    /// The same, with a verdict of its own health check.
    pub fn run_with(
        &self,
        service: &str,
        ports: &[PortPair],
        health: Option<&'static str>,
    ) -> String {
        let labels = BTreeMap::from([("service".to_owned(), service.to_owned())]);
        self.run_labelled(service, labels, ports, health)
    }

    /// The same, with any labels.
    pub fn run_labelled(
        &self,
        service: &str,
        labels: BTreeMap<String, String>,
        ports: &[PortPair],
        health: Option<&'static str>,
    ) -> String {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{number:064x}");
        let container = Container {
            name: format!("{service}-{number}"),
            labels,
            ports: ports.to_vec(),
            started_ms: now_ms(),
            health,
            running: true,
        };
        self.shared
            .change(|state| state.containers.insert(id.clone(), container));
        self.tell(&id, "start", &[]);
        id
    }

    /// A container has ended: it is listed no more, and an event says so.
    pub fn die(&self, id: &str) {
        self.set_running(id, false);
        self.tell(id, "die", &[("exitCode", "137")]);
    }

    /// A container was sent a signal. It runs on.
    pub fn signal(&self, id: &str, signal: &str) {
        self.tell(id, "kill", &[("signal", signal)]);
    }

    /// The verdict of a container's own health check changes.
    pub fn set_health(&self, id: &str, health: &'static str) {
        self.shared.change(|state| {
            state.containers.get_mut(id).expect("there").health = Some(health);
        });
        self.tell(id, &format!("health_status: {health}"), &[]);
    }

    /// Changes a container without an event.
    pub fn set_running(&self, id: &str, running: bool) {
        self.shared.change(|state| {
            state.containers.get_mut(id).expect("there").running = running;
        });
    }

    /// Ends all event streams and refuses new ones; or not any more.
    pub fn deafen(&self, deaf: bool) {
        self.shared.change(|state| {
            state.deaf = deaf;
            state.breaks += u64::from(deaf);
        });
    }

    /// Holds back the answers to lists, which say what was true when they were asked for; or lets
    /// them go.
    pub fn hold_lists(&self, held: bool) {
        self.shared.change(|state| state.held = held);
    }

    /// Inspections of a container are not answered any more; or answered again, also those that
    /// wait.
    pub fn hold_inspections(&self, id: &str, held: bool) {
        self.shared.change(|state| match held {
            true => state.silent.insert(id.to_owned()),
            false => state.silent.remove(id),
        });
    }

    /// How many lists were asked for, and how many were answered.
    #[must_use]
    pub fn lists(&self) -> (usize, usize) {
        self.shared.state().lists
    }

    /// The paths that were asked for.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<String> {
        self.shared.state().asked.clone()
    }

    fn tell(&self, id: &str, action: &str, attributes: &[(&str, &str)]) {
        let at = now_ms();
        self.shared.change(|state| {
            let mut all = json!(state.containers[id].labels);
            for (name, value) in attributes {
                all[name] = json!(value);
            }
            let event = json!({
                "Type": "container", "Action": action, "scope": "local",
                "Actor": {"ID": id, "Attributes": all},
                "time": at / 1_000, "timeNano": at * 1_000_000,
            });
            if !state.deaf {
                state.events.push((at / 1_000, event));
            }
        });
    }
}
