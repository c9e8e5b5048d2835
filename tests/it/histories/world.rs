//! Two ECS services on shared hosts, as they really are, as ECS tells of them, and as discovery
//! (`Book`) and the balancer (`Controller`) see them. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::control::controller::{Controller, Event};
use longshore::control::ids::{GroupId, ListenerId};
use longshore::control::snapshot::Snapshot;
use longshore_config::{Config, EcsDiscovery, ProtocolVersion};
use longshore_discovery::Update;
use longshore_discovery::ecs::aim::Speaking;
use longshore_discovery::ecs::api::{
    Binding, Container, Definition, Described, Host, Hosts, MappedPorts, PortMapping, Task,
};
use longshore_discovery::ecs::book::Book;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::mail::Mail;

const HOSTS: u8 = 3;
/// So few that a port that is free is taken again at once.
const PORTS: u16 = 6;
/// A task as it really is.
#[derive(Debug, Clone)]
pub(super) struct Real {
    pub(super) service: usize,
    pub(super) host: u8,
    pub(super) port: u16,
    pub(super) version: i64,
    /// That of its task definition.
    revision: u32,
    /// Its process runs and has the port.
    pub(super) alive: bool,
    /// ECS wants it to run.
    pub(super) wanted: bool,
    started_at: i64,
    /// What ECS answered of it earlier, which a replica of its data may answer again.
    past: Vec<Task>,
}

pub(super) struct World {
    pub(super) rng: SmallRng,
    pub(super) now: Instant,
    clock: i64,
    pub(super) tasks: BTreeMap<u32, Real>,
    next: u32,
    pub(super) books: [Book; 2],
    pub(super) specs: [EcsDiscovery; 2],
    /// The same, and what tasks speak is to be learnt.
    aims: [Speaking; 2],
    /// The newest revision of each service's task definition.
    revisions: [u32; 2],
    /// Until when AWS answers every call with a complaint that there are too many.
    throttled: Option<Instant>,
    controller: Controller,
    snapshot: Snapshot,
    /// Tasks of which an answer or an event has told that they were to stop.
    pub(super) told: BTreeSet<u32>,
    /// Since when each look of a service failed in a way that may lose a target.
    pub(super) blind_since: [Option<Instant>; 2],
    /// Whether each service was listed once: before that, nothing is sent.
    pub(super) complete: [bool; 2],
    /// Events on their way.
    pub(super) mail: Vec<Mail>,
    /// How far the clock of this machine is behind that of ECS (or before it, if negative).
    pub(super) skew: i64,
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

pub(super) fn arn(id: u32) -> Arc<str> {
    format!("arn:aws:ecs:r:1:task/c/{id}").into()
}

pub(super) fn id(arn: &str) -> u32 {
    let text = arn.rsplit('/').next().expect("a task id");
    text.parse().expect("a number")
}

pub(super) fn address(host: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, host], port).into()
}

fn definition(service: usize, revision: u32) -> Arc<str> {
    format!("arn:aws:ecs:r:1:task-definition/{service}:{revision}").into()
}

/// What a revision says that it speaks.
fn says(revision: u32) -> Option<&'static str> {
    [None, Some("http2"), Some("grpc")][revision as usize % 3]
}

impl Real {
    pub(super) fn description(&self, id: u32) -> Task {
        Task {
            arn: arn(id),
            version: self.version,
            desired_running: self.wanted,
            last_status: if self.wanted { "RUNNING" } else { "STOPPED" }.to_owned(),
            started_at: Some(self.started_at),
            unhealthy: false,
            checked: false,
            service: None,
            started_by: None,
            zone: None,
            host: Some(format!("host/{}", self.host).into()),
            definition: Some(definition(self.service, self.revision)),
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
    pub(super) fn new(seed: u64) -> Self {
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
            aims: [Speaking(spec(0)), Speaking(spec(1))],
            revisions: [0; 2],
            throttled: None,
            snapshot: controller.snapshot().expect("the first one"),
            controller,
            told: BTreeSet::new(),
            blind_since: [None; 2],
            complete: [false; 2],
            mail: Vec::new(),
            skew: [0, 5_000, -20_000][usize::try_from(seed / 3 % 3).expect("small")],
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.clock += i64::try_from(time.as_millis()).expect("small");
    }

    pub(super) fn start(&mut self) {
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
            revision: self.revisions[service],
            alive: true,
            wanted: true,
            started_at: self.clock,
            past: Vec::new(),
        };
        self.tasks.insert(self.next, task);
        self.emit(self.next, true);
        self.next += 1;
    }

    /// A task ends: stopped by ECS (`known`), or by itself, which ECS learns of later.
    pub(super) fn end(&mut self, known: bool) {
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
            self.emit(chosen, false);
        }
    }

    pub(super) fn lose_host(&mut self) {
        let host = self.rng.random_range(1..=HOSTS);
        for task in self.tasks.values_mut().filter(|task| task.host == host) {
            task.alive = false;
        }
    }

    /// A service has a new revision, whose tasks may speak something else.
    pub(super) fn revise(&mut self) {
        let service = self.rng.random_range(0..2);
        self.revisions[service] += 1;
    }

    /// AWS refuses all calls for a while.
    pub(super) fn throttle(&mut self) {
        let seconds = self.rng.random_range(1..90);
        self.throttled = Some(self.now + Duration::from_secs(seconds));
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.throttled.is_some_and(|until| self.now < until)
    }

    /// ECS learns of every end.
    pub(super) fn learn(&mut self) {
        let mut ended = Vec::new();
        for (id, task) in &mut self.tasks {
            if task.wanted && !task.alive {
                task.past.push(task.description(*id));
                task.wanted = false;
                task.version += 1;
                ended.push(*id);
            }
        }
        for id in ended {
            self.emit(id, false);
        }
    }

    /// One look of a service, in which calls fail with the given chance in a hundred. Tells whether
    /// it saw everything as ECS has it.
    pub(super) fn look(&mut self, service: usize, chance: u32) -> bool {
        let began = self.now;
        let throttled = self.is_throttled();
        let mut bad = || throttled || self.rng.random_range(0..100) < chance;
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
        let asked = self.books[service].to_describe(&listed, &self.aims[service], began);
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
        self.complete[service] = true;
        self.find_definitions(service, chance);
        if !hosts_fail {
            self.find_hosts(service);
        }
        let (targets, problems) = self.books[service].targets(&self.aims[service]);
        let at = self.now;
        let update = Update::Set {
            targets,
            problems,
            at,
        };
        self.tell(service, update);
        clean
    }

    /// ECS answers about the task definitions of a service, with the given chance that it does not.
    pub(super) fn find_definitions(&mut self, service: usize, chance: u32) {
        let wanted = self.books[service].unknown_definitions(&self.aims[service], self.now);
        for arn in wanted {
            let fails = self.is_throttled() || self.rng.random_range(0..100) < chance;
            let known = &mut self.books[service].definitions;
            if fails {
                known.refused(arn, "no answer".to_owned(), self.now);
                continue;
            }
            let revision = arn.rsplit(':').next().expect("a revision");
            let port = PortMapping {
                container: "web".into(),
                ports: MappedPorts::One(80),
                name: None,
                app_protocol: says(revision.parse().expect("a number")).map(Into::into),
            };
            let definition = Definition {
                arn: Arc::clone(&arn),
                network_mode: None,
                ports: vec![port],
                labels: BTreeMap::new(),
            };
            known.found(arn, definition, self.now);
        }
    }

    /// EC2 answers about the hosts of a service.
    pub(super) fn find_hosts(&mut self, service: usize) {
        let hosts = self.books[service].unknown_hosts(self.now);
        let found = hosts.into_iter().map(|arn| {
            let number = id(&arn);
            Host {
                instance: format!("i-{arn}").into(),
                address: [10, 0, 0, u8::try_from(number).expect("small")].into(),
                zone: None,
                arn,
            }
        });
        let hosts = Hosts {
            found: found.collect(),
            ..Hosts::default()
        };
        self.books[service].found_hosts(hosts, self.now);
    }

    /// Tells what follows from an event.
    pub(super) fn tell_change(&mut self, service: usize) {
        let (targets, problems) = self.books[service].targets(&self.aims[service]);
        self.tell(service, Update::Changed { targets, problems });
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
    pub(super) fn candidates(&self, service: usize) -> BTreeMap<u32, SocketAddr> {
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

    /// What the targets of a service are spoken to in, and whether each connection would be made so.
    pub(super) fn spoken(&self, service: usize) -> (ProtocolVersion, bool) {
        let group = GroupId(u32::try_from(service).expect("small"));
        let group = self.snapshot.group(group).expect("configured");
        let http2 = group.protocol_version != ProtocolVersion::Http1;
        let mut candidates = group.candidates.iter();
        let same = candidates.all(|endpoint| endpoint.http2 == http2);
        (group.protocol_version, same)
    }

    pub(super) fn truth(&self, service: usize) -> BTreeMap<u32, SocketAddr> {
        self.tasks
            .iter()
            .filter(|(_, task)| task.service == service && task.wanted)
            .map(|(id, task)| (*id, address(task.host, task.port)))
            .collect()
    }
}
