//! The parts put together: sockets, workers, control, and how they start, change and end.

mod error;
mod logs;
mod prepared;
mod sockets;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_config::{Config, CookieKey};
use longshore_discovery::ecs::Aws;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use self::error::StartError;
use self::logs::Logs;
pub use self::prepared::{Prepared, Preparer};
use self::prepared::{read_files, worker_count};
use self::sockets::Listening;
use crate::control::ids::ListenerId;
use crate::control::run::{self, MESSAGES_MAX, Message};
use crate::control::snapshot::Shared;
use crate::control::view::TargetsView;
use crate::observe::admin::{self, Admin};
use crate::observe::guard::Guard;
use crate::observe::log_writer::LogCounts;
use crate::serve::worker::{self, Handle, Order};
use crate::tls::Material;

/// How long the first look at the world may take before traffic is accepted all the same. A
/// target that hangs, or a source that is down, must not keep the process from serving the rest.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(3);

/// How long workers may take to let go of what the drain timeout has ended.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Reloads that wait, at the most.
const RELOADS_MAX: usize = 4;

/// What a balancer needs besides its configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// How AWS is reached.
    pub aws: Aws,
    /// Seeds everything that is drawn at random.
    pub seed: u64,
}

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    config: Arc<Config>,
    control: mpsc::Sender<Message>,
    workers: Arc<[Handle]>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    control_thread: JoinHandle<io::Result<()>>,
    /// The threads end with it, at once.
    wanted: watch::Sender<()>,
    listening: BTreeMap<ListenerId, Listening>,
    next_listener: u32,
    ready: Arc<AtomicBool>,
    admin: Option<SocketAddr>,
    /// What cookies are sealed with when the configuration has no key.
    own_key: CookieKey,
    /// What session tickets are sealed with when the configuration has no key.
    own_ticket_key: CookieKey,
    logs: Logs,
    log_counts: LogCounts,
    reloads: Option<Reloads>,
}

/// Ends when the sender is dropped.
pub(crate) async fn dropped(mut unwanted: watch::Receiver<()>) {
    while unwanted.changed().await.is_ok() {}
}

/// Reloads that the admin server asks for, each with the place for its answer.
pub type Reloads = mpsc::Receiver<oneshot::Sender<Result<(), String>>>;

impl Balancer {
    /// Binds every address, waits for the first look at the targets (at most
    /// `FIRST_LOOK_LIMIT`), and accepts.
    ///
    /// # Errors
    /// If an address cannot be bound or a thread cannot be started; then nothing runs.
    pub async fn start(config: Config, options: Options) -> Result<Self, StartError> {
        Self::start_on(config, options, true).await
    }

    /// The same without any listener: it looks at targets, and serves nobody.
    ///
    /// # Errors
    /// If a thread cannot be started; then nothing runs.
    pub async fn start_to_look(config: Config, options: Options) -> Result<Self, StartError> {
        Self::start_on(config, options, false).await
    }

    async fn start_on(config: Config, options: Options, listen: bool) -> Result<Self, StartError> {
        let (own_key, own_ticket_key) = (random_key()?, random_key()?);
        let material = match listen {
            true => read_files(&config, &own_ticket_key)?,
            false => {
                // Files of listeners need not be there for a look.
                let mut unserved = config.clone();
                unserved.listeners.clear();
                read_files(&unserved, &own_ticket_key)?
            }
        };
        let count = worker_count(&config);
        let listeners = config.listeners.iter().filter(|_| listen);
        let bound = listeners
            .map(|listener| sockets::bind(listener, count))
            .collect::<Result<Vec<_>, _>>()?;
        let admin_socket = config.admin.as_ref().map(sockets::bind_admin).transpose()?;
        let admin = match &admin_socket {
            Some(socket) => Some(socket.local_addr().map_err(StartError::Thread)?),
            None => None,
        };

        let log_counts = LogCounts::default();
        let logs = match listen {
            true => Logs::open(&config.load_balancer, &log_counts)?,
            false => Logs::default(),
        };
        // Whoever comes before the first look is over waits for it.
        let opened = bound
            .into_iter()
            .map(sockets::open)
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared::default());
        let (handles, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| Handle::new()).unzip();
        let workers: Arc<[Handle]> = handles.into();
        let (control, inbox) = mpsc::channel(MESSAGES_MAX);
        let mut threads = Vec::with_capacity(count);
        let (wanted, unwanted) = watch::channel(());
        for (index, orders) in inboxes.into_iter().enumerate() {
            let (shared, peers, seed) = (Arc::clone(&shared), Arc::clone(&workers), options.seed);
            let (outbox, unwanted) = (control.clone(), unwanted.clone());
            threads.push(thread(format!("worker-{index}"), move || {
                worker::run(index, shared, peers, seed, outbox, orders, unwanted)
            })?);
        }
        let ready = Arc::new(AtomicBool::new(false));
        let (ask_reload, reloads) = mpsc::channel(RELOADS_MAX);
        if let Some(socket) = admin_socket {
            let admin = Admin {
                control: control.clone(),
                workers: Arc::clone(&workers),
                shared: Arc::clone(&shared),
                ready: Arc::clone(&ready),
                scrapes: Arc::new(Semaphore::new(1)),
                guard: config.admin.as_ref().map(Guard::new).unwrap_or_default(),
                reloads: ask_reload,
                log_counts: log_counts.clone(),
                connections: Arc::default(),
            };
            let unwanted = unwanted.clone();
            // It ends with the others, and nobody waits for it.
            thread("admin".to_owned(), move || {
                admin::run(socket, admin, unwanted)
            })?;
        }
        let control_thread = {
            let outbox = control.clone();
            let state = config.runtime.state_directory.clone();
            thread("control".to_owned(), move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let run = run::run(
                        count,
                        shared,
                        options.aws,
                        state,
                        options.seed,
                        outbox,
                        inbox,
                    );
                    tokio::select! {
                        () = run => {}
                        () = dropped(unwanted) => {}
                    }
                });
                Ok(())
            })?
        };
        let mut balancer = Self {
            config: Arc::new(config.clone()),
            control,
            workers,
            threads,
            control_thread,
            wanted,
            listening: BTreeMap::new(),
            next_listener: 0,
            ready,
            admin,
            own_key,
            own_ticket_key,
            logs: Logs::default(),
            log_counts,
            reloads: Some(reloads),
        };
        balancer.record(logs).await?;
        let ids: Vec<ListenerId> = opened.iter().map(|_| balancer.listener_id()).collect();
        balancer.configure(config, ids.clone(), material).await?;
        balancer.first_look().await?;
        for (id, (listening, sockets)) in ids.into_iter().zip(opened) {
            balancer.listen(id, listening, sockets).await?;
        }
        balancer.ready.store(true, Ordering::Release);
        Ok(balancer)
    }

    /// The names and addresses that are accepted on, with the ports that the system chose where
    /// the configuration said 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.listening
            .values()
            .map(|listening| (listening.name.clone(), listening.bound))
            .collect()
    }

    /// The address of the admin server.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What `/targets` shows.
    ///
    /// # Errors
    /// If the control task is gone.
    pub async fn targets(&self) -> Result<TargetsView, StartError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::View(reply)).await?;
        answer.await.map_err(|_| StartError::Gone)
    }

    /// Prepares configurations for [`Balancer::take`].
    #[must_use]
    pub fn preparer(&self) -> Preparer {
        Preparer {
            config: Arc::clone(&self.config),
            workers: self.workers.len(),
            own_ticket_key: self.own_ticket_key.clone(),
            log_counts: self.log_counts.clone(),
        }
    }

    /// Reads the files of a new configuration, and takes it.
    ///
    /// # Errors
    /// If [`Preparer::prepare`] or [`Balancer::take`] has one; then the old configuration stays in
    /// force.
    pub async fn reload(&mut self, config: Config) -> Result<(), StartError> {
        let prepared = self.preparer().prepare(config)?;
        self.take(prepared).await
    }

    /// Takes a new configuration as a whole, or nothing of it.
    ///
    /// # Errors
    /// If a new address cannot be bound; then the old configuration stays in force.
    pub async fn take(&mut self, prepared: Prepared) -> Result<(), StartError> {
        let Prepared {
            config,
            material,
            logs,
        } = prepared;
        let mut ids = Vec::with_capacity(config.listeners.len());
        let mut bound = Vec::new();
        for listener in &config.listeners {
            let asked = listener.socket_address();
            let known = self
                .listening
                .iter()
                .find(|(_, listening)| Some(listening.asked) == asked)
                .map(|(id, _)| *id);
            let id = match known {
                Some(id) => id,
                None => {
                    let listener = sockets::bind(listener, self.workers.len())?;
                    let id = self.listener_id();
                    bound.push((id, listener));
                    id
                }
            };
            ids.push(id);
        }
        // The last that may fail.
        let opened = bound
            .into_iter()
            .map(|(id, bound)| Ok((id, sockets::open(bound)?)))
            .collect::<Result<Vec<_>, StartError>>()?;
        let closed: Vec<ListenerId> = self
            .listening
            .keys()
            .filter(|id| !ids.contains(id))
            .copied()
            .collect();
        // First listeners that go are closed, so that the last connections to them have what was
        // agreed, such as TLS; then rules change, then new ones open.
        let mut closing = Vec::new();
        for id in closed {
            let gone = self.listening.remove(&id);
            closing.extend(gone.into_iter().flat_map(|gone| gone.closed));
            for worker in &*self.workers {
                order(worker, Order::Unlisten(id)).await?;
            }
        }
        if !closing.is_empty() {
            for closed in closing {
                // It ends with its sender.
                closed.await.unwrap_or_default();
            }
            for worker in &*self.workers {
                // What a worker accepted, another one may have been told to serve.
                let (reply, done) = oneshot::channel();
                order(worker, Order::Answer(reply)).await?;
                done.await.map_err(|_| StartError::Gone)?;
            }
        }
        for (id, listener) in ids.iter().zip(&config.listeners) {
            if let Some(listening) = self.listening.get_mut(id) {
                listening.name.clone_from(&listener.name);
            }
        }
        self.configure(config.clone(), ids, material).await?;
        for (id, (listening, sockets)) in opened {
            self.listen(id, listening, sockets).await?;
        }
        if let Some(logs) = logs {
            self.record(logs).await?;
        }
        self.config = Arc::new(config);
        Ok(())
    }

    /// Resolves if the control task or a worker has ended by itself; then the process should end
    /// too.
    pub async fn failed(&self) {
        let mut ended = Vec::with_capacity(self.workers.len() + 1);
        ended.push(Box::pin(self.control.closed()) as Pin<Box<dyn Future<Output = ()>>>);
        for worker in &*self.workers {
            ended.push(Box::pin(worker.orders.closed()));
        }
        std::future::poll_fn(|cx| {
            match ended.iter_mut().any(|one| one.as_mut().poll(cx).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Accepts nothing new, lets requests in flight finish for at most the configured time, and
    /// ends. True if everything was finished.
    pub async fn drain(self) -> bool {
        self.drain_with(std::future::pending).await
    }

    /// The same. Whenever `moved` returns, somebody has moved the files of logs, and they are opened
    /// anew.
    pub async fn drain_with(self, mut moved: impl AsyncFnMut()) -> bool {
        let (threads, logs) = (self.threads, &self.logs);
        let finished = async || {
            while !threads.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let drained = async {
            self.ready.store(false, Ordering::Release);
            // Whoever sends requests here is to learn of it before the listeners close.
            tokio::time::sleep(self.config.runtime.shutdown_delay.get()).await;
            for worker in &*self.workers {
                // A worker that is gone has nothing to drain.
                drop(worker.orders.send(Order::Drain).await);
            }
            let limit = self.config.runtime.drain_timeout.get();
            tokio::time::timeout(limit, finished()).await.is_ok()
        };
        let reopening = async {
            loop {
                moved().await;
                logs.reopen();
            }
        };
        let complete = tokio::select! {
            complete = drained => complete,
            never = reopening => never,
        };
        // The control task lets go of its log; if it is gone, it has none.
        drop(self.control.send(Message::RecordChecks(None)).await);
        // What is left ends here, and its lines are written with those that wait.
        drop(self.wanted);
        let ended = tokio::time::timeout(END_LIMIT, finished()).await.is_ok();
        self.logs.end(ended).await;
        drop(self.workers);
        drop(self.control_thread);
        complete
    }

    /// What the admin server asks for that only whoever knows the file can do. Once.
    pub fn take_reloads(&mut self) -> Option<Reloads> {
        self.reloads.take()
    }

    /// Whether the file is to be read again when it has changed.
    #[must_use]
    pub fn reloads_on_change(&self) -> bool {
        self.config.runtime.reload_on_change
    }

    /// Opens the files of logs anew: somebody has moved the old ones.
    pub fn reopen_logs(&self) {
        self.logs.reopen();
    }

    /// Tells the workers and the control task what to note.
    async fn record(&mut self, logs: Logs) -> Result<(), StartError> {
        let admin = self.config.admin.as_ref();
        let keep = admin.map_or(0, |admin| admin.recent_requests.get());
        for worker in &*self.workers {
            order(worker, Order::Record(Box::new(logs.settings(keep)))).await?;
        }
        self.send(Message::RecordChecks(logs.checks())).await?;
        self.logs = logs;
        Ok(())
    }

    async fn configure(
        &self,
        mut config: Config,
        ids: Vec<ListenerId>,
        material: Material,
    ) -> Result<(), StartError> {
        if config.runtime.cookie_keys.is_empty() {
            if config.has_stickiness() {
                tracing::warn!(
                    "`runtime.cookie_keys` is not set: sticky sessions end with this process, and no other replica knows them"
                );
            }
            config.runtime.cookie_keys.push(self.own_key.clone());
        }
        let (reply, done) = oneshot::channel();
        let material = Box::new(material);
        self.send(Message::Configure(Box::new(config), ids, material, reply))
            .await?;
        done.await.map_err(|_| StartError::Gone)
    }

    async fn first_look(&self) -> Result<(), StartError> {
        let (reply, settled) = oneshot::channel();
        self.send(Message::Settled(reply)).await?;
        match tokio::time::timeout(FIRST_LOOK_LIMIT, settled).await {
            Ok(settled) => settled.map_err(|_| StartError::Gone),
            Err(_) => {
                tracing::warn!(
                    "some targets are not known or not checked yet; accepting all the same"
                );
                Ok(())
            }
        }
    }

    async fn listen(
        &mut self,
        id: ListenerId,
        mut listening: Listening,
        sockets: Vec<TcpListener>,
    ) -> Result<(), StartError> {
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let (open, closed) = oneshot::channel();
            listening.closed.push(closed);
            order(worker, Order::Listen(id, socket, open)).await?;
        }
        self.listening.insert(id, listening);
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), StartError> {
        self.control
            .send(message)
            .await
            .map_err(|_| StartError::Gone)
    }

    fn listener_id(&mut self) -> ListenerId {
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        id
    }
}

async fn order(worker: &Handle, order: Order) -> Result<(), StartError> {
    worker
        .orders
        .send(order)
        .await
        .map_err(|_| StartError::Gone)
}

/// A key that nobody else has.
fn random_key() -> Result<CookieKey, StartError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| StartError::Random)?;
    Ok(CookieKey::new(key))
}

fn thread(
    name: String,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<JoinHandle<io::Result<()>>, StartError> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(StartError::Thread)
}
