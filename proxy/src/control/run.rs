//! The control task: select → apply → store → start and stop what the effects say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_config::{Config, TargetGroup};
use longshore_discovery::Update;
use longshore_discovery::ecs::{self, Aws, SdkApi};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::controller::{Controller, Effect, Event};
use super::health;
use super::ids::{GroupId, ListenerId};
use super::snapshot::Shared;
use super::view::TargetsView;
use crate::clock;
use crate::observe::metrics::GroupFigures;

/// Messages waiting for the control task, at the most. Senders wait beyond it.
pub(crate) const MESSAGES_MAX: usize = 4096;

/// How many messages are applied before the result is published.
const BURST_MAX: usize = 1024;

/// How often drained targets are looked at.
const TICK: Duration = Duration::from_millis(200);

/// What the control task is told or asked.
#[derive(Debug)]
pub(crate) enum Message {
    Event(Event),
    /// A new configuration, already validated, and the ids of its listeners.
    Configure(Box<Config>, Vec<ListenerId>, oneshot::Sender<()>),
    /// Answered when every group knows where it stands.
    Settled(oneshot::Sender<()>),
    View(oneshot::Sender<TargetsView>),
    Figures(oneshot::Sender<(u64, Vec<GroupFigures>)>),
}

/// A task that ends when nobody holds it any more.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs until all senders of `inbox` but its own are gone.
pub(crate) async fn run(
    workers: usize,
    shared: Arc<Shared>,
    aws: Aws,
    seed: u64,
    outbox: mpsc::Sender<Message>,
    mut inbox: mpsc::Receiver<Message>,
) {
    let mut hands = Hands {
        aws,
        rng: SmallRng::seed_from_u64(seed),
        outbox,
        checks: HashMap::new(),
        sources: HashMap::new(),
    };
    let mut controller = Controller::new(workers);
    let mut settled: Vec<oneshot::Sender<()>> = Vec::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let first = tokio::select! {
            message = inbox.recv() => match message {
                Some(message) => message,
                None => return,
            },
            _ = tick.tick() => Message::Event(Event::Tick),
        };
        // What has come meanwhile goes into the same snapshot: with thousands of targets, one
        // snapshot for each verdict would be work that grows with the square.
        let mut replies = Vec::new();
        // Each message that is received is applied: the burst ends before the next is taken.
        let burst = std::iter::once(first)
            .chain(std::iter::from_fn(|| inbox.try_recv().ok()))
            .take(BURST_MAX);
        for message in burst {
            let now = clock::now();
            match message {
                Message::Event(event) => {
                    let effects = controller.apply(event, now);
                    hands.carry_out(effects, &controller);
                }
                Message::Configure(config, listeners, reply) => {
                    let effects = controller.configure(&config, &listeners, now);
                    hands.carry_out(effects, &controller);
                    replies.push(reply);
                }
                Message::Settled(reply) => settled.push(reply),
                // A receiver that is gone does not want its answer any more.
                Message::View(reply) => drop(reply.send(controller.view(now))),
                Message::Figures(reply) => {
                    drop(reply.send((controller.generation(), controller.figures(now))));
                }
            }
        }
        match controller.snapshot() {
            Some(snapshot) => shared.store(snapshot),
            None => shared.confirmed(),
        }
        for reply in replies {
            reply.send(()).unwrap_or_default();
        }
        if controller.is_settled() {
            for reply in settled.drain(..) {
                reply.send(()).unwrap_or_default();
            }
        }
    }
}

/// What the control task has running in the world.
struct Hands {
    aws: Aws,
    rng: SmallRng,
    outbox: mpsc::Sender<Message>,
    checks: HashMap<u64, Task>,
    sources: HashMap<GroupId, Task>,
}

impl Hands {
    fn carry_out(&mut self, effects: Vec<Effect>, controller: &Controller) {
        for effect in effects {
            match effect {
                Effect::Watch(group, endpoint, address, check) => {
                    let outbox = self.outbox.clone();
                    let tell = move |result| {
                        let outbox = outbox.clone();
                        async move {
                            let event = Event::Checked(group, endpoint, result);
                            outbox.send(Message::Event(event)).await.is_ok()
                        }
                    };
                    let rng = self.child();
                    let task = tokio::spawn(health::watch(address, check, rng, tell));
                    self.checks.insert(endpoint, Task(task));
                }
                Effect::Unwatch(endpoint) => drop(self.checks.remove(&endpoint)),
                Effect::Discover(id, group) => self.discover(id, *group, controller),
                Effect::Forget(id) => drop(self.sources.remove(&id)),
            }
        }
    }

    fn discover(&mut self, id: GroupId, group: TargetGroup, controller: &Controller) {
        let (Some(discovery), Some(look_now)) = (group.discovery, controller.look_now(id)) else {
            return;
        };
        let rng = self.child();
        let (updates, inbox) = mpsc::channel(1);
        let aws = self.aws.clone();
        let source = async move {
            if let Some(spec) = discovery.ecs {
                let api = SdkApi::connect(&aws, spec.region.as_deref()).await;
                ecs::run(api, spec, updates, look_now, rng).await;
            }
        };
        let told = tell(id, inbox, self.outbox.clone());
        let task = tokio::spawn(async move {
            tokio::join!(source, told);
        });
        self.sources.insert(id, Task(task));
    }

    /// A random source of its own for a task.
    fn child(&mut self) -> SmallRng {
        SmallRng::seed_from_u64(self.rng.random())
    }
}

/// Hands on what a source says.
async fn tell(id: GroupId, mut updates: mpsc::Receiver<Update>, outbox: mpsc::Sender<Message>) {
    while let Some(update) = updates.recv().await {
        let event = Event::Discovered(id, update);
        if outbox.send(Message::Event(event)).await.is_err() {
            return;
        }
    }
}
