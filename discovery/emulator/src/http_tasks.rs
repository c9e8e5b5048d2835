//! Tasks that are HTTP servers inside this process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::runtime::{BoxFuture, RunningTask, TaskRuntime, TaskStart};
use crate::shared::lock;

/// A [`TaskRuntime`] whose tasks are HTTP/1.1 servers on all of their addresses.
///
/// `/health` answers 200 with "ok". Every other path answers 200 with a text that names the
/// service, the task, the address and the definition, and with the headers `x-task-id`,
/// `x-task-address` and `x-service`. Connections are kept alive.
///
/// On SIGTERM a task stops accepting, answers the requests that it has, closes its connections
/// and ends. On SIGKILL everything ends at once. Clones are handles to the same set of tasks.
#[derive(Debug, Clone, Default)]
pub struct HttpTasks {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<String, Behaviour>,
    counts: BTreeMap<String, Counts>,
}

/// How the tasks of a service behave.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    health: StatusCode,
    delay: Duration,
    grace: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            health: StatusCode::OK,
            delay: Duration::ZERO,
            grace: Duration::ZERO,
        }
    }
}

/// What a task has answered.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    requests: u64,
    health_checks: u64,
    last: Option<Instant>,
}

impl HttpTasks {
    /// A runtime without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many requests a task has received, without those for `/health`. Counts of ended
    /// tasks stay. Zero for a task that is not known.
    pub fn requests(&self, task_id: &str) -> u64 {
        self.counts(task_id).requests
    }

    /// How many requests for `/health` a task has received.
    pub fn health_checks(&self, task_id: &str) -> u64 {
        self.counts(task_id).health_checks
    }

    /// When a task received its last request that was not for `/health`.
    pub fn last_request(&self, task_id: &str) -> Option<Instant> {
        self.counts(task_id).last
    }

    fn counts(&self, task_id: &str) -> Counts {
        let state = lock(&self.state);
        state.counts.get(task_id).copied().unwrap_or_default()
    }

    /// Makes the tasks of a service answer `/health` with this code from now on. A code outside
    /// 100 to 999 counts as 500.
    pub fn set_health(&self, service: &str, code: u16) {
        let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.change(service, |behaviour| behaviour.health = code);
    }

    /// Makes the tasks of a service wait this long before each answer, `/health` excepted.
    pub fn set_delay(&self, service: &str, delay: Duration) {
        self.change(service, |behaviour| behaviour.delay = delay);
    }

    /// Makes the tasks of a service go on as before for this long after SIGTERM, and only then
    /// stop accepting. The stop timeout of the emulator ends it in any case.
    pub fn set_grace(&self, service: &str, grace: Duration) {
        self.change(service, |behaviour| behaviour.grace = grace);
    }

    fn change(&self, service: &str, change: impl FnOnce(&mut Behaviour)) {
        let mut state = lock(&self.state);
        change(state.services.entry(service.to_owned()).or_default());
    }

    fn behaviour(&self, service: &str) -> Behaviour {
        let state = lock(&self.state);
        state.services.get(service).copied().unwrap_or_default()
    }

    fn count(&self, task_id: &str, health_check: bool) {
        let mut state = lock(&self.state);
        let counts = state.counts.entry(task_id.to_owned()).or_default();
        if health_check {
            counts.health_checks += 1;
        } else {
            counts.requests += 1;
            counts.last = Some(Instant::now());
        }
    }
}

impl TaskRuntime for HttpTasks {
    fn start(&self, task: TaskStart) -> BoxFuture<'static, io::Result<Box<dyn RunningTask>>> {
        let tasks = self.clone();
        Box::pin(async move {
            let mut listeners = Vec::new();
            for address in &task.addresses {
                listeners.push((*address, TcpListener::bind(address).await?));
            }
            let phase = watch::Sender::new(Phase::Serving);
            let server = Arc::new(Server {
                tasks,
                task,
                phase: phase.clone(),
            });
            let ended = watch::Sender::new(false);
            tokio::spawn(run(server, listeners, ended.clone()));
            let process: Box<dyn RunningTask> = Box::new(Process { phase, ended });
            Ok(process)
        })
    }
}

/// How far the end of a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// SIGTERM has come.
    Terminating,
    /// No new connections, no new requests.
    Draining,
    Killed,
}

/// Moves on to a phase, unless a later one has been reached.
fn enter(phase: &watch::Sender<Phase>, next: Phase) {
    phase.send_if_modified(|now| {
        let later = next > *now;
        if later {
            *now = next;
        }
        later
    });
}

/// Waits for a phase, or a later one.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    if phase.wait_for(|now| *now >= wanted).await.is_err() {
        // The server that owns the sender is being dropped, and this future with it.
        std::future::pending::<()>().await;
    }
}

struct Process {
    phase: watch::Sender<Phase>,
    ended: watch::Sender<bool>,
}

impl RunningTask for Process {
    fn terminate(&self) {
        enter(&self.phase, Phase::Terminating);
    }

    fn kill(&self) {
        enter(&self.phase, Phase::Killed);
    }

    fn exited(&self) -> BoxFuture<'_, ()> {
        let mut ended = self.ended.subscribe();
        Box::pin(async move {
            if ended.wait_for(|ended| *ended).await.is_err() {
                debug!("the process holds the sender, so this does not happen");
            }
        })
    }
}

struct Server {
    tasks: HttpTasks,
    task: TaskStart,
    phase: watch::Sender<Phase>,
}

/// One task, from its first connection to its last. All sockets are closed when it ends.
async fn run(
    server: Arc<Server>,
    listeners: Vec<(SocketAddr, TcpListener)>,
    ended: watch::Sender<bool>,
) {
    // Should this future be dropped with its runtime, its sockets are closed as well.
    let ended = EndOfProcess(ended);
    let mut parts = JoinSet::new();
    for (address, listener) in listeners {
        parts.spawn(listen(Arc::clone(&server), address, listener));
    }
    let mut phase = server.phase.subscribe();
    reached(&mut phase, Phase::Terminating).await;
    let grace = server.tasks.behaviour(&server.task.service).grace;
    tokio::select! {
        () = tokio::time::sleep(grace) => enter(&server.phase, Phase::Draining),
        () = reached(&mut phase, Phase::Killed) => {}
    }
    while parts.join_next().await.is_some() {}
    drop(ended);
}

struct EndOfProcess(watch::Sender<bool>);

impl Drop for EndOfProcess {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

async fn listen(server: Arc<Server>, address: SocketAddr, listener: TcpListener) {
    let mut phase = server.phase.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = reached(&mut phase, Phase::Draining) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(&server), address, stream));
                }
                Err(error) => {
                    warn!(%error, "a task cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = reached(&mut phase, Phase::Killed) => {}
    }
    connections.shutdown().await;
}

async fn connection(server: Arc<Server>, address: SocketAddr, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot switch off Nagle's algorithm");
    }
    let mut phase = server.phase.subscribe();
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(address, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = reached(&mut phase, Phase::Draining) => {
            if *phase.borrow() == Phase::Killed {
                // A process that is killed says nothing more.
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "a connection of a task ended early");
    }
}

impl Server {
    async fn answer(
        &self,
        address: SocketAddr,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let health_check = request.uri().path() == "/health";
        self.tasks.count(&self.task.id, health_check);
        // An answer before the end of the request would close the connection.
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.frame().await {}
        let behaviour = self.tasks.behaviour(&self.task.service);
        let TaskStart {
            id,
            service,
            definition,
            ..
        } = &self.task;
        let (status, text) = if health_check {
            let text = match behaviour.health.is_success() {
                true => "ok",
                false => "not ok",
            };
            (behaviour.health, text.to_owned())
        } else {
            tokio::time::sleep(behaviour.delay).await;
            let text = format!("{service} task {id} at {address} ({definition})\n");
            (StatusCode::OK, text)
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        for (name, value) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("x-task-id", id.as_str()),
            ("x-task-address", &address.to_string()),
            ("x-service", service.as_str()),
        ] {
            // A service name that fits in no header is left out.
            if let Ok(value) = HeaderValue::from_str(value) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}
