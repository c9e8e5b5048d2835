//! The control task: select → apply → store → start and stop what the effects say.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore_config::{Check, Config, EcsDiscovery, LabelDiscovery, TargetGroup};
use longshore_discovery::docker::aim::Aim as _;
use longshore_discovery::docker::{self, Engine};
use longshore_discovery::ecs::aim::{Aim as _, Speaking};
use longshore_discovery::ecs::{self, Aws, Feeds, SdkApi, Subscription};
use longshore_discovery::{Target, Update, consul, dns, file};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::checks::CheckId;
use super::controller::{Controller, Effect, Event};
use super::health::{self, Checker, Told};
use super::hosts::RegionHosts;
use super::ids::{GroupId, ListenerId};
use super::memory;
use super::operator::Change;
use super::record;
use super::remembered::{Place, Remembered};
use super::secure::Secured;
use super::snapshot::Shared;
use super::view::TargetsView;
use crate::clock;
use crate::observe::check_log::{self, Report};
use crate::observe::log_writer::LogSide;
use crate::observe::scrape::Figures;
use crate::tls::Material;
use crate::tls::listener::{Fault, ListenerFiles};

/// Messages waiting for the control task, at the most. Senders wait beyond it.
pub(crate) const MESSAGES_MAX: usize = 4096;

/// How many messages are applied before the result is published.
const BURST_MAX: usize = 1024;

/// The shortest time between two records of a group on disk.
const SAVE_SPACING: Duration = Duration::from_secs(1);

/// How often drained targets are looked at.
const TICK: Duration = Duration::from_millis(200);

/// What the control task is told or asked.
#[derive(Debug)]
pub(crate) enum Message {
    Event(Event),
    /// A new configuration, already validated, the ids of its listeners, and what its files of TLS
    /// hold.
    Configure(
        Box<Config>,
        Vec<ListenerId>,
        Box<Material>,
        oneshot::Sender<()>,
    ),
    /// Answered when every group knows where it stands.
    Settled(oneshot::Sender<()>),
    /// Answered with the reason why this balancer should get no requests, if there is one.
    Ready(oneshot::Sender<Option<String>>),
    View(oneshot::Sender<TargetsView>),
    /// An operator changes a target, by its group and its id or address. Answered when requests see
    /// it.
    Change(String, String, Change, oneshot::Sender<Result<(), String>>),
    /// An operator moves requests away from zones.
    Shift(Vec<String>, oneshot::Sender<()>),
    Figures(oneshot::Sender<Figures>),
    /// A check has ended, for the log of them.
    Report(CheckId, Box<Report>),
    /// Where checks are noted from now on.
    RecordChecks(Option<LogSide>),
    /// The file in force as it was written.
    Written(oneshot::Sender<longshore_config::Written>),
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
    state_directory: Option<PathBuf>,
    seed: u64,
    outbox: mpsc::Sender<Message>,
    mut inbox: mpsc::Receiver<Message>,
) {
    let mut hands = Hands {
        aws,
        state_directory,
        rng: SmallRng::seed_from_u64(seed),
        outbox,
        checker: Checker::new(),
        checks: HashMap::new(),
        sources: HashMap::new(),
        regions: BTreeMap::new(),
        feeds: Feeds::default(),
        files: None,
        reports: Arc::default(),
    };
    let mut check_log: Option<LogSide> = None;
    let mut pressure = memory::Pressure::default();
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
            _ = tick.tick() => {
                let most = controller.max_memory();
                if let Some(log) = &mut check_log {
                    log.flush();
                }
                let resident = most.map_or(0, |_| memory::resident());
                pressure = pressure.after(resident, most);
                shared.crowd.set_pressure(pressure);
                Message::Event(Event::Tick)
            }
        };
        // What has come meanwhile goes into the same snapshot: with thousands of targets, one
        // snapshot for each verdict would be work that grows with the square.
        let mut replies = Vec::new();
        let (mut viewers, mut scrapers, mut changes) = (Vec::new(), Vec::new(), Vec::new());
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
                Message::Configure(config, listeners, material, reply) => {
                    hands.secure(&mut controller, &listeners, *material);
                    let effects = controller.configure(&config, &listeners, now);
                    hands.carry_out(effects, &controller);
                    replies.push(reply);
                }
                Message::Settled(reply) => settled.push(reply),
                // A receiver that is gone does not want its answer any more.
                Message::Ready(reply) => drop(reply.send(controller.not_ready())),
                Message::Change(group, target, change, reply) => {
                    changes.push((reply, controller.change(&group, &target, change)));
                }
                Message::Shift(zones, reply) => {
                    controller.shift_too(zones);
                    replies.push(reply);
                }
                // What operators see must be what requests see: not before it is stored.
                Message::View(reply) => viewers.push(reply),
                Message::Report(id, report) => {
                    if let Some(log) = &mut check_log {
                        for group in controller.checked_for(id) {
                            let mut line = Vec::new();
                            check_log::line(&report, &group, &mut line);
                            log.add_text(&line);
                        }
                    }
                }
                Message::RecordChecks(side) => {
                    hands.reports.store(side.is_some(), Ordering::Relaxed);
                    check_log = side;
                }
                Message::Written(reply) => drop(reply.send(controller.written())),
                Message::Figures(reply) => scrapers.push(reply),
            }
        }
        match controller.snapshot() {
            Some(snapshot) => shared.store(snapshot),
            None => shared.confirmed(),
        }
        for reply in replies {
            reply.send(()).unwrap_or_default();
        }
        for (reply, result) in changes {
            drop(reply.send(result));
        }
        for reply in viewers {
            drop(reply.send(controller.view(clock::now())));
        }
        for reply in scrapers {
            drop(reply.send(Figures {
                generation: controller.generation(),
                listeners: controller.ledgers(),
                groups: controller.figures(clock::now()),
                targets: controller.target_figures(),
                api_calls: hands.api_calls(),
                checks: controller.checks_running(),
                queues: hands.feeds.figures(),
                certificates: controller.certificate_figures(),
            }));
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
    state_directory: Option<PathBuf>,
    rng: SmallRng,
    outbox: mpsc::Sender<Message>,
    checker: Checker,
    checks: HashMap<CheckId, (Task, Arc<Notify>)>,
    sources: HashMap<GroupId, Task>,
    /// By name, with what keeps their hosts; the groups of a region share the account's limits.
    regions: BTreeMap<Option<String>, (Arc<RegionHosts>, Task)>,
    /// The queues of events, each read once for all groups.
    feeds: Feeds,
    /// Looks at the files of listeners with TLS.
    files: Option<Task>,
    /// Each check is to be reported, for the log of them.
    reports: Arc<AtomicBool>,
}

impl Hands {
    fn carry_out(&mut self, effects: Vec<Effect>, controller: &Controller) {
        for effect in effects {
            match effect {
                Effect::Watch(id, address, check) => self.watch(id, address, check),
                Effect::CheckNow(id) => {
                    if let Some((_, ask)) = self.checks.get(&id) {
                        ask.notify_one();
                    }
                }
                Effect::Unwatch(id) => drop(self.checks.remove(&id)),
                Effect::Discover(id, group) => self.discover(id, *group, controller),
                Effect::Explore(id, block) => self.explore(id, *block, controller),
                Effect::Forget(id) => drop(self.sources.remove(&id)),
            }
        }
    }

    fn watch(&mut self, id: CheckId, address: SocketAddr, check: Arc<Check>) {
        let outbox = self.outbox.clone();
        let (reports, kind) = (Arc::clone(&self.reports), check_log::kind(&check));
        let tell = move |told| {
            let (outbox, reports) = (outbox.clone(), Arc::clone(&reports));
            async move {
                let event = match told {
                    Told::Begins => Event::Checking(id),
                    Told::Ended(ended, result) => {
                        if reports.load(Ordering::Relaxed) {
                            let report = Box::new(Report {
                                kind,
                                ended: clock::wall_micros(),
                                took: ended.took,
                                address,
                                seen: ended.seen,
                                failure: result.as_ref().err().cloned(),
                            });
                            if outbox.send(Message::Report(id, report)).await.is_err() {
                                return false;
                            }
                        }
                        Event::Checked(id, ended.began, result)
                    }
                };
                outbox.send(Message::Event(event)).await.is_ok()
            }
        };
        let ask = Arc::new(Notify::new());
        let (checker, asked) = (self.checker.clone(), Arc::clone(&ask));
        let rng = self.child();
        let task = tokio::spawn(health::watch(checker, address, check, asked, rng, tell));
        self.checks.insert(id, (Task(task), ask));
    }

    fn discover(&mut self, id: GroupId, group: TargetGroup, controller: &Controller) {
        let learns = group.learns_protocol();
        let (Some(discovery), Some(look_now)) = (group.discovery, controller.look_now(id)) else {
            return;
        };
        let directory = self.state_directory.as_deref();
        let place = directory.map(|it| Place::new(it, &group.name, &discovery));
        let rng = self.child();
        let (updates, inbox) = mpsc::channel(1);
        let aws = self.aws.clone();
        let shared = discovery.ecs.as_ref().map(|ecs| self.region(ecs));
        let events = discovery.ecs.as_ref().and_then(|ecs| self.events(ecs));
        let source = async move {
            if let Some((spec, shared)) = discovery.ecs.zip(shared) {
                let shared = shared.recalled().await;
                let api = SdkApi::connect(&aws, spec.region.as_deref(), shared).await;
                match learns {
                    true => ecs::run(api, Speaking(spec), updates, look_now, events, rng).await,
                    false => ecs::run(api, spec, updates, look_now, events, rng).await,
                }
            } else if let Some(spec) = discovery.file {
                file::run(spec, updates, look_now, rng).await;
            } else if let Some(spec) = discovery.consul {
                consul::run(spec, updates, look_now, rng).await;
            } else if let Some(spec) = discovery.dns {
                let resolver = dns::Resolver::new(&spec.servers);
                dns::run(resolver, spec, updates, look_now, rng).await;
            } else if let Some(spec) = discovery.docker {
                docker::run(Engine::new(&spec), spec, updates, look_now, rng).await;
            }
        };
        self.begin(id, place, source, inbox);
    }

    fn explore(&mut self, id: GroupId, block: LabelDiscovery, controller: &Controller) {
        let Some(look_now) = controller.look_now(id) else {
            return;
        };
        let directory = self.state_directory.as_deref();
        let place = directory.map(|directory| Place::of_labels(directory, &block));
        let rng = self.child();
        let (updates, inbox) = mpsc::channel(1);
        if let Some(aim) = ecs::Labelled::new(block.clone()) {
            let aws = self.aws.clone();
            let spec = aim.place().clone();
            let (shared, events) = (self.region(&spec), self.events(&spec));
            let source = async move {
                let shared = shared.recalled().await;
                let api = SdkApi::connect(&aws, spec.region.as_deref(), shared).await;
                ecs::run(api, aim, updates, look_now, events, rng).await;
            };
            self.begin(id, place, source, inbox);
        } else if let Some(aim) = docker::Labelled::new(block) {
            let engine = Engine::new(aim.place());
            let source = docker::run(engine, aim, updates, look_now, rng);
            self.begin(id, place, source, inbox);
        }
    }

    /// What the sources of a region share.
    fn region(&mut self, ecs: &EcsDiscovery) -> Arc<RegionHosts> {
        let (aws, directory) = (&self.aws, self.state_directory.as_deref());
        let shared = self.regions.entry(ecs.region.clone());
        let (shared, _) = shared.or_insert_with_key(|name| {
            let hosts = RegionHosts::new(aws.region(), directory, name.as_deref());
            let hosts = Arc::new(hosts);
            let kept = Arc::clone(&hosts);
            let keeps = tokio::spawn(async move { kept.keep().await });
            (hosts, Task(keeps))
        });
        Arc::clone(shared)
    }

    fn events(&mut self, ecs: &EcsDiscovery) -> Option<Subscription> {
        let queue = ecs.events_queue.as_deref()?;
        let seed = self.rng.random();
        let region = ecs.region.as_deref();
        Some(self.feeds.subscribe(&self.aws, region, queue, seed))
    }

    /// Starts a source, and what belongs to it.
    fn begin(
        &mut self,
        id: GroupId,
        place: Option<Place>,
        source: impl Future<Output = ()> + Send + 'static,
        inbox: mpsc::Receiver<Update>,
    ) {
        let outbox = self.outbox.clone();
        let task = tokio::spawn(async move {
            if let Some(place) = &place
                && let Some(remembered) = load(place.clone()).await
            {
                let event = Event::Remembered(id, remembered.targets, remembered.age);
                outbox.send(Message::Event(event)).await.unwrap_or_default();
            }
            let (keep, kept) = watch::channel(None);
            let source = watch_over(id, source, outbox.clone(), BEGIN_ANEW);
            tokio::join!(source, tell(id, inbox, keep, outbox), save(place, kept));
        });
        self.sources.insert(id, Task(task));
    }

    /// Takes what the files of a configuration hold, and looks at them from now on.
    fn secure(
        &mut self,
        controller: &mut Controller,
        listeners: &[ListenerId],
        material: Material,
    ) {
        let now = clock::wall();
        let files = listeners.iter().copied().zip(material.listeners);
        let files: Vec<_> = files.filter_map(|(id, files)| Some((id, files?))).collect();
        let secured = files
            .iter()
            .filter_map(|(id, files)| Some((*id, Secured::of(files, now)?)))
            .collect();
        let epoch = controller.secure(secured, material.groups);
        // Before the next one looks, so that no file is read for two configurations.
        self.files = None;
        if !files.is_empty() {
            let task = tokio::spawn(look_at_files(epoch, files, self.outbox.clone()));
            self.files = Some(Task(task));
        }
    }

    fn api_calls(&self) -> (u64, u64) {
        let counts = self.regions.values().map(|(region, _)| region.counts());
        counts.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
    }

    /// A random source of its own for a task.
    fn child(&mut self) -> SmallRng {
        SmallRng::seed_from_u64(self.rng.random())
    }
}

/// How long after a fault has ended a source it begins anew. The same fault may wait for it.
const BEGIN_ANEW: Duration = Duration::from_secs(10);

/// Runs a source, and tells of it if a fault in it has ended it, as its targets would count as
/// fresh; and once more after `pause`, so that it begins anew.
async fn watch_over(
    id: GroupId,
    source: impl Future<Output = ()> + Send + 'static,
    outbox: mpsc::Sender<Message>,
    pause: Duration,
) {
    let mut source = Task(tokio::spawn(source));
    if let Err(ended) = (&mut source.0).await
        && ended.is_panic()
    {
        let error =
            "the source has ended by a fault of its own; it begins anew in a moment".to_owned();
        let update = Update::Failed {
            error,
            at: clock::now(),
        };
        // If the control task is gone, there is nobody to be told.
        let tell = async |event| outbox.send(Message::Event(event)).await.unwrap_or_default();
        tell(Event::Discovered(id, update)).await;
        tokio::time::sleep(pause).await;
        tell(Event::SourceEnded(id)).await;
    }
}

/// After this time a set that a look has shown once more is kept once more: the age of what is kept
/// says when it was known to be true.
const KEEP_AGAIN: Duration = Duration::from_secs(600);

/// Hands on what a source says, and its newest set to be kept if it differs from the one before, or
/// if that has become old. None was kept before the first.
async fn tell(
    id: GroupId,
    mut updates: mpsc::Receiver<Update>,
    keep: watch::Sender<Option<Vec<Target>>>,
    outbox: mpsc::Sender<Message>,
) {
    let mut looked_at = None;
    while let Some(update) = updates.recv().await {
        if let Update::Set { targets, .. } | Update::Changed { targets, .. } = &update {
            let look = match &update {
                Update::Set { at, .. } => Some(*at),
                _ => None,
            };
            let is_old = look.is_some_and(|at| {
                looked_at.is_none_or(|before| at.saturating_duration_since(before) >= KEEP_AGAIN)
            });
            keep.send_if_modified(|kept| {
                let same = kept.as_ref().is_some_and(|kept: &Vec<Target>| {
                    kept.len() == targets.len()
                        && kept.iter().zip(targets).all(|(a, b)| a.same_place(b))
                });
                if same && !is_old {
                    return false;
                }
                looked_at = look.or(looked_at);
                *kept = Some(targets.clone());
                true
            });
        }
        let event = Event::Discovered(id, update);
        if outbox.send(Message::Event(event)).await.is_err() {
            return;
        }
    }
}

/// How often the files of listeners with TLS are looked at.
const FILES_INTERVAL: Duration = Duration::from_secs(3);

/// Looks at the files of listeners, and tells what a changed one holds if it can be served.
async fn look_at_files(
    epoch: u64,
    mut files: Vec<(ListenerId, ListenerFiles)>,
    outbox: mpsc::Sender<Message>,
) {
    let mut known: Vec<Vec<Fault>> = Vec::new();
    loop {
        // A thread that may block: files have no other way, and many keys take a while to read.
        let looked = tokio::task::spawn_blocking(move || {
            let now = clock::wall();
            let each = files.iter_mut();
            let seen: Vec<_> = each
                .map(|(_, files)| (files.look(now), files.faults(now)))
                .collect();
            (files, seen)
        });
        let Ok((back, seen)) = looked.await else {
            return;
        };
        files = back;
        let now = clock::wall();
        known.resize_with(seen.len(), Vec::new);
        for (((id, files), (changed, faults)), known) in files.iter().zip(seen).zip(&mut known) {
            let same = *known == faults;
            for fault in faults.iter().filter(|fault| !known.contains(fault)) {
                tracing::warn!(key = fault.key, "{}", fault.message);
            }
            *known = faults;
            if !changed && same {
                continue;
            }
            if let Some(secured) = Secured::of(files, now) {
                tracing::debug!(listener = id.0, "the files of a listener were read again");
                let event = Event::Renewed(epoch, *id, secured);
                if outbox.send(Message::Event(event)).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(FILES_INTERVAL).await;
    }
}

/// The record of a group.
async fn load(place: Place) -> Option<Remembered> {
    let read = record::apart(move || place.load(clock::wall(), clock::now()));
    read.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the targets from before the restart are lost");
        None
    })
}

/// Writes a group's set to disk as it changes.
async fn save(place: Option<Place>, mut kept: watch::Receiver<Option<Vec<Target>>>) {
    let Some(place) = place else {
        return;
    };
    while kept.changed().await.is_ok() {
        let Some(targets) = kept.borrow_and_update().clone() else {
            continue;
        };
        let place = place.clone();
        let written = tokio::task::spawn_blocking(move || place.save(&targets, clock::wall()));
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, "the targets are not kept for a restart");
        }
        tokio::time::sleep(SAVE_SPACING).await;
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
