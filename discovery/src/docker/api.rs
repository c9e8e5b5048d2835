//! The few calls that discovery makes, in plain data. The client is behind this, and so are fakes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc;

/// The calls to one engine.
pub trait DockerApi: Send + Sync {
    /// `GET /containers/json`: the running containers with the labels of the group.
    fn list(&self) -> impl Future<Output = Result<Vec<Summary>, ApiError>> + Send;

    /// `GET /containers/{id}/json`. None: the engine does not know it.
    fn inspect(&self, id: &str) -> impl Future<Output = Result<Option<Detail>, ApiError>> + Send;

    /// `GET /events` from a moment on, in seconds since 1970: tells what it hears until it cannot
    /// hear any more, and then why. The past is asked for because nobody can tell when the
    /// subscription took effect.
    fn watch(
        &self,
        since: u64,
        heard: mpsc::Sender<Heard>,
    ) -> impl Future<Output = ApiError> + Send;
}

/// A container of the list, as far as it matters here. What is not there was not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Its full id. Empty if it was not told.
    pub id: Arc<str>,
    /// Its name, without the slash in front of it.
    pub name: Option<Arc<str>>,
    /// `running`, `paused`, `restarting` …
    pub state: Option<String>,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// `bridge`, `host`, `none`, the name of a network …
    pub network_mode: Option<String>,
    /// Its ports: exposed ones, and published ones once for each address of the host.
    pub ports: Vec<Port>,
    /// The networks it is attached to, and its addresses there: IPv4, then IPv6. Empty texts mean
    /// none.
    pub networks: BTreeMap<String, [String; 2]>,
}

/// A port of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Port {
    /// The port inside.
    pub private: u16,
    /// The port of the host. None: it is only exposed.
    pub public: Option<u16>,
    /// The host's address that it is published on.
    pub address: Option<String>,
    /// Whether it is a TCP port.
    pub tcp: bool,
}

/// What only an inspection tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// It runs, and neither is it paused nor on its way down or up again.
    pub running: bool,
    /// It is paused.
    pub paused: bool,
    /// When it last started, in milliseconds since 1970, by the engine's clock.
    pub started_at: Option<i64>,
    /// The verdict of its own health check: `starting`, `healthy`, `unhealthy`. None without one.
    pub health: Option<String>,
    /// The signal that `docker stop` sends it, if it is not SIGTERM.
    pub stop_signal: Option<u8>,
    /// How long `docker stop` waits before it sends SIGKILL, in seconds, if it is not the
    /// engine's default of 10.
    pub stop_seconds: Option<u64>,
}

/// What is heard while watching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The engine answers, and the subscription begins. What happened before may not be heard.
    Subscribed,
    /// Something happened to a container.
    Event(Event),
    /// Nothing is heard from here on.
    Lost,
}

/// Something that happened to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The full id of the container.
    pub id: Arc<str>,
    /// `start`, `die`, `kill`, `health_status: healthy` …
    pub action: String,
    /// When, in milliseconds since 1970, by the engine's clock.
    pub at: Option<i64>,
    /// The number of the signal, for `kill`.
    pub signal: Option<u8>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {reason}")]
pub struct ApiError {
    /// Such as `GET /containers/json`.
    pub operation: &'static str,
    /// What the engine or the system said.
    pub reason: String,
}
