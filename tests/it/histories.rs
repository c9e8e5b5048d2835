//! Thousands of random histories of two ECS services on shared hosts, played without IO through
//! what discovery believes (`Book`) and what the balancer makes of it (`Controller`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::control::controller::{Controller, Event};
use longshore::control::ids::{GroupId, ListenerId};
use longshore::control::snapshot::Snapshot;
use longshore_config::{Config, EcsDiscovery};
use longshore_discovery::Update;
use longshore_discovery::ecs::api::{Binding, Container, Described, Host, Hosts, Task};
use longshore_discovery::ecs::book::Book;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

const HISTORIES: u64 = 2_000;
const STEPS: usize = 60;
const HOSTS: u8 = 3;
/// So few that a port that is free is taken again at once.
const PORTS: u16 = 6;
/// The most that a task is kept for want of an answer; see `book.rs`.
const PATIENCE: Duration = Duration::from_secs(60);

/// A task as it really is.
#[derive(Debug, Clone)]
struct Real {
    service: usize,
    host: u8,
    port: u16,
    version: i64,
    /// Its process runs and has the port.
    alive: bool,
    /// ECS wants it to run.
    wanted: bool,
    started_at: i64,
    /// What ECS answered of it earlier, which a replica of its data may answer again.
    past: Vec<Task>,
}

struct World {
    rng: SmallRng,
    now: Instant,
    clock: i64,
    tasks: BTreeMap<u32, Real>,
    next: u32,
    books: [Book; 2],
    specs: [EcsDiscovery; 2],
    controller: Controller,
    snapshot: Snapshot,
    /// Tasks of which ECS has answered that they stopped.
    told: BTreeSet<u32>,
    /// Since when each look of a service failed in a way that may lose a target.
    blind_since: [Option<Instant>; 2],
}

fn config() -> Config {
    let text =
        "listeners: [{name: l, port: 80, default_action: [{type: forward, target_group: a}]}]
target_groups:
  - {name: a, health_check: {enabled: false}, discovery: {ecs: {cluster: c, service: a}}}
  - {name: b, health_check: {enabled: false}, discovery: {ecs: {cluster: c, service: b}}}
";
    longshore_config::parse("test", text, &|_| None).expect("valid")
}

fn arn(id: u32) -> Arc<str> {
    format!("arn:aws:ecs:r:1:task/c/{id}").into()
}

fn id(arn: &str) -> u32 {
    let text = arn.rsplit('/').next().expect("a task id");
    text.parse().expect("a number")
}

fn address(host: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, host], port).into()
}

impl Real {
    fn description(&self, id: u32) -> Task {
        Task {
            arn: arn(id),
            version: self.version,
            desired_running: self.wanted,
            last_status: if self.wanted { "RUNNING" } else { "STOPPED" }.to_owned(),
            started_at: Some(self.started_at),
            unhealthy: false,
            zone: None,
            host: Some(format!("host/{}", self.host).into()),
            definition: None,
            interface: None,
            containers: vec![Container {
                name: "web".into(),
                running: self.wanted,
                bindings: vec![Binding {
                    container_port: 80,
                    host_port: self.port,
                }],
                ranges: vec![],
            }],
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        #[allow(
            clippy::disallowed_methods,
            reason = "a beginning; all other times are counted from it"
        )]
        let now = Instant::now();
        let config = config();
        let mut controller = Controller::new(2);
        controller.configure(&config, &[ListenerId(0)], now);
        let spec = |index: usize| {
            let discovery = config.target_groups[index].discovery.clone();
            discovery.and_then(|discovery| discovery.ecs).expect("ecs")
        };
        Self {
            rng: SmallRng::seed_from_u64(seed),
            now,
            clock: 0,
            tasks: BTreeMap::new(),
            next: 0,
            books: Default::default(),
            specs: [spec(0), spec(1)],
            snapshot: controller.snapshot().expect("the first one"),
            controller,
            told: BTreeSet::new(),
            blind_since: [None; 2],
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.clock += i64::try_from(time.as_millis()).expect("small");
    }

    fn start(&mut self) {
        let (service, host) = (
            self.rng.random_range(0..2),
            self.rng.random_range(1..=HOSTS),
        );
        let taken: BTreeSet<u16> = self
            .tasks
            .values()
            .filter(|task| task.alive && task.host == host)
            .map(|task| task.port)
            .collect();
        // The lowest free one, as if every port went to the next task at once.
        let Some(port) = (0..PORTS)
            .map(|port| 32768 + port)
            .find(|port| !taken.contains(port))
        else {
            return;
        };
        self.clock += 1;
        let task = Real {
            service,
            host,
            port,
            version: 3,
            alive: true,
            wanted: true,
            started_at: self.clock,
            past: Vec::new(),
        };
        self.tasks.insert(self.next, task);
        self.next += 1;
    }

    /// A task ends: stopped by ECS (`known`), or by itself, which ECS learns of later.
    fn end(&mut self, known: bool) {
        let alive: Vec<u32> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.alive)
            .map(|(id, _)| *id)
            .collect();
        if alive.is_empty() {
            return;
        }
        let chosen = alive[self.rng.random_range(0..alive.len())];
        let task = self.tasks.get_mut(&chosen).expect("chosen of them");
        task.past.push(task.description(chosen));
        task.alive = false;
        if known {
            task.wanted = false;
            task.version += 1;
        }
    }

    fn lose_host(&mut self) {
        let host = self.rng.random_range(1..=HOSTS);
        for task in self.tasks.values_mut().filter(|task| task.host == host) {
            task.alive = false;
        }
    }

    /// ECS learns of every end.
    fn learn(&mut self) {
        for (id, task) in &mut self.tasks {
            if task.wanted && !task.alive {
                task.past.push(task.description(*id));
                task.wanted = false;
                task.version += 1;
            }
        }
    }

    /// One look of a service, in which calls fail with the given chance in a hundred. Tells whether
    /// it saw everything as ECS has it.
    fn look(&mut self, service: usize, chance: u32) -> bool {
        let began = self.now;
        let mut bad = || self.rng.random_range(0..100) < chance;
        let (list_fails, list_is_short, hosts_fail) = (bad(), bad(), bad());
        if list_fails {
            let at = self.now;
            let update = Update::Failed {
                error: "a page failed".to_owned(),
                at,
            };
            self.tell(service, update);
            return false;
        }
        let mut clean = !list_is_short && !hosts_fail;
        let mut listed: BTreeSet<Arc<str>> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.service == service && task.wanted)
            .map(|(id, _)| arn(*id))
            .collect();
        if list_is_short {
            let rng = &mut self.rng;
            listed.retain(|_| rng.random_range(0..3) > 0);
        }
        let asked = self.books[service].to_describe(&listed, &self.specs[service], began);
        for batch in asked.chunks(2) {
            match self.rng.random_range(0..100) {
                fault if fault >= chance => {
                    let answer = self.describe(batch);
                    self.books[service].described(answer, began);
                }
                // Failed, half answered, or answered by a replica that lags behind.
                fault => {
                    clean = false;
                    match fault % 3 {
                        0 => {}
                        1 => {
                            let answer = self.describe(&batch[..1]);
                            self.books[service].described(answer, began);
                        }
                        _ => {
                            let answer = self.describe_late(batch);
                            self.books[service].described(answer, began);
                        }
                    }
                }
            }
        }
        self.books[service].listed(&listed, began);
        if !hosts_fail {
            let hosts = self.books[service].unknown_hosts(began);
            let found = hosts.into_iter().map(|arn| {
                let number = arn
                    .rsplit('/')
                    .next()
                    .and_then(|number| number.parse().ok());
                Host {
                    instance: format!("i-{arn}").into(),
                    address: [10, 0, 0, number.expect("a number")].into(),
                    zone: None,
                    arn,
                }
            });
            let hosts = Hosts {
                found: found.collect(),
                ..Hosts::default()
            };
            self.books[service].found_hosts(hosts, began);
        }
        let (targets, problems) = self.books[service].targets(&self.specs[service]);
        let at = self.now;
        let update = Update::Set {
            targets,
            problems,
            at,
        };
        self.tell(service, update);
        clean
    }

    fn describe(&mut self, arns: &[Arc<str>]) -> Described {
        let stopped = arns.iter().map(|arn| id(arn));
        let stopped: Vec<u32> = stopped.filter(|id| !self.tasks[id].wanted).collect();
        self.told.extend(stopped);
        let tasks = arns.iter().map(|arn| {
            let id = id(arn);
            self.tasks[&id].description(id)
        });
        Described {
            tasks: tasks.collect(),
            missing: Vec::new(),
        }
    }

    /// What ECS answered earlier, where it did.
    fn describe_late(&self, arns: &[Arc<str>]) -> Described {
        let mut answer = Described::default();
        for arn in arns {
            let id = id(arn);
            match self.tasks[&id].past.last() {
                Some(past) => answer.tasks.push(past.clone()),
                None => answer.tasks.push(self.tasks[&id].description(id)),
            }
        }
        answer
    }

    fn tell(&mut self, service: usize, update: Update) {
        let group = GroupId(u32::try_from(service).expect("small"));
        self.controller
            .apply(Event::Discovered(group, update), self.now);
        if let Some(snapshot) = self.controller.snapshot() {
            self.snapshot = snapshot;
        }
    }

    /// The tasks that a request of the service may be sent to, by id, with their addresses.
    fn candidates(&self, service: usize) -> BTreeMap<u32, SocketAddr> {
        let group = GroupId(u32::try_from(service).expect("small"));
        let group = self.snapshot.group(group).expect("configured");
        let usable = group
            .candidates
            .iter()
            .filter(|endpoint| !endpoint.is_retired());
        usable
            .map(|endpoint| (id(&endpoint.key.task), endpoint.address))
            .collect()
    }

    fn truth(&self, service: usize) -> BTreeMap<u32, SocketAddr> {
        self.tasks
            .iter()
            .filter(|(_, task)| task.service == service && task.wanted)
            .map(|(id, task)| (*id, address(task.host, task.port)))
            .collect()
    }
}

fn play(seed: u64) -> Result<usize, String> {
    let mut world = World::new(seed);
    let chance = [0, 10, 40][usize::try_from(seed % 3).expect("small")];
    let mut clean_looks = 0;
    for step in 0..STEPS {
        let before = [world.candidates(0), world.candidates(1)];
        match world.rng.random_range(0..20) {
            0..8 => world.start(),
            8..12 => world.end(true),
            12..14 => world.end(false),
            14 => world.lose_host(),
            15 => world.learn(),
            // A clock that jumps, a laptop that slept.
            16 => world.pass(Duration::from_secs(3600)),
            _ => {}
        }
        let pause = Duration::from_millis(world.rng.random_range(50..8_000));
        world.pass(pause);
        let fault = |what: &str| Err(format!("seed {seed}, step {step}: {what}"));
        for (service, before) in before.iter().enumerate() {
            if world.rng.random_range(0..4) == 0 {
                continue;
            }
            let clean = world.look(service, chance);
            let candidates = world.candidates(service);
            let risen: Vec<_> = candidates
                .keys()
                .filter(|id| world.told.contains(id))
                .collect();
            if !risen.is_empty() {
                return fault(&format!(
                    "targets although ECS told of their end: {risen:?}"
                ));
            }
            if clean {
                world.blind_since[service] = None;
                clean_looks += 1;
                // ECS may not know of an end yet; then an address may be the next one's already,
                // and the younger task has it.
                let all: Vec<(u32, SocketAddr)> = [world.truth(0), world.truth(1)]
                    .into_iter()
                    .flatten()
                    .collect();
                let mut truth = world.truth(service);
                truth.retain(|id, at| !all.iter().any(|(rival, other)| other == at && rival > id));
                let known = world.candidates(1 - service);
                let surplus: Vec<_> = candidates
                    .iter()
                    .filter(|(id, at)| {
                        // The other service does not know its newcomer yet.
                        truth.get(id) != Some(at) && known.values().any(|other| other == *at)
                    })
                    .collect();
                let missing: Vec<_> = truth
                    .iter()
                    .filter(|(id, _)| world.tasks[id].alive && !candidates.contains_key(id))
                    .collect();
                let stopped: Vec<_> = candidates
                    .keys()
                    .filter(|id| !world.tasks[id].wanted)
                    .collect();
                if !surplus.is_empty() || !missing.is_empty() || !stopped.is_empty() {
                    return fault(&format!(
                        "after a whole look: {surplus:?} too many, {missing:?} missing, {stopped:?} stopped"
                    ));
                }
            } else {
                let since = *world.blind_since[service].get_or_insert(world.now);
                if world.now - since < PATIENCE {
                    let lost: Vec<_> = before
                        .keys()
                        .filter(|id| {
                            let task = &world.tasks[id];
                            task.alive && task.wanted && !candidates.contains_key(id)
                        })
                        .collect();
                    if !lost.is_empty() {
                        return fault(&format!("good targets lost through an outage: {lost:?}"));
                    }
                }
            }
        }
        let addresses: Vec<SocketAddr> = [world.candidates(0), world.candidates(1)]
            .iter()
            .flat_map(|candidates| candidates.values().copied())
            .collect();
        let distinct: BTreeSet<_> = addresses.iter().collect();
        if distinct.len() != addresses.len() {
            return fault(&format!("one address twice: {addresses:?}"));
        }
    }
    Ok(clean_looks)
}

#[test]
fn no_history_loses_a_good_target_or_keeps_a_stopped_one_or_shares_an_address() {
    let first = std::env::var("LONGSHORE_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    println!("seeds {first} to {}", first + HISTORIES - 1);
    let mut clean_looks = 0;
    let mut faults = Vec::new();
    for seed in first..first + HISTORIES {
        match play(seed) {
            Ok(looks) => clean_looks += looks,
            Err(fault) => faults.push(fault),
        }
    }
    println!("{clean_looks} whole looks");
    assert!(
        faults.is_empty(),
        "{} of {HISTORIES}, such as\n{}",
        faults.len(),
        faults[..faults.len().min(5)].join("\n")
    );
    assert!(clean_looks > 10_000, "only {clean_looks} whole looks");
}
