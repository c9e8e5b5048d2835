//! The state of the emulated account. No IO, no clock, no lock: time comes in as an argument,
//! and what must happen outside goes out as [`Effect`]s.
//!
//! [`life`](crate::life) moves tasks through their lives, [`launch`](crate::launch) starts
//! their containers, [`scheduler`](crate::scheduler) decides which tasks there should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::error::EmulatorError;
use crate::model::{Health, Host, HostKind, TaskDefinition};
use crate::names;
use crate::options::{ECS_BATCH, Options};
use crate::ports::Ports;
use crate::state::{
    Clock, Definition, Effect, HostState, HostStatus, Seq, Service, ServiceKey, Task, Timer,
};

/// How long stopped tasks stay describable: AWS promises at least this.
const STOPPED_RETENTION: Duration = Duration::from_secs(3600);

/// Everything that exists.
#[derive(Debug)]
pub(crate) struct World {
    pub options: Options,
    pub clock: Clock,
    pub clusters: BTreeSet<String>,
    pub hosts: Vec<HostState>,
    pub definitions: BTreeMap<String, Vec<Arc<Definition>>>,
    pub services: BTreeMap<ServiceKey, Service>,
    pub tasks: BTreeMap<Seq, Task>,
    pub(crate) ids: BTreeMap<String, Seq>,
    pub(crate) timers: BTreeSet<(Instant, Timer)>,
    pub(crate) dirty: BTreeSet<ServiceKey>,
    pub(crate) effects: Vec<Effect>,
    /// Counts changes that anybody could see.
    pub generation: u64,
    /// Set by a shutdown: nothing is scheduled any more.
    pub closing: bool,
    rng: StdRng,
    next_address: u32,
    next_number: u64,
}

impl World {
    pub(crate) fn new(mut options: Options, clock: Clock, seed: u64) -> Self {
        options.page_size = options.page_size.clamp(1, ECS_BATCH);
        let mut rng = StdRng::seed_from_u64(seed);
        // Emulators in several processes of one machine should not meet on one address.
        // 127.64.0.0 to 127.127.255.255 is for tasks; hosts are chosen by the user.
        let next_address = rng.next_u32() % (1 << 22);
        Self {
            options,
            clock,
            clusters: BTreeSet::new(),
            hosts: Vec::new(),
            definitions: BTreeMap::new(),
            services: BTreeMap::new(),
            tasks: BTreeMap::new(),
            ids: BTreeMap::new(),
            timers: BTreeSet::new(),
            dirty: BTreeSet::new(),
            effects: Vec::new(),
            generation: 0,
            closing: false,
            rng,
            next_address,
            next_number: 0,
        }
    }

    /// A number that was not given before, from 1.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Random hexadecimal digits, at most 32.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        let mut text = format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64());
        text.truncate(digits);
        text
    }

    /// A loopback address that this emulator has not given out before.
    pub(crate) fn spare_address(&mut self) -> Ipv4Addr {
        loop {
            let n = self.next_address;
            self.next_address = (n + 1) % (1 << 22);
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + n);
            // Looks like nothing special, for eyes used to networks and broadcasts.
            if !matches!(address.octets()[3], 0 | 255) {
                return address;
            }
        }
    }

    /// Notes that something visible has changed.
    pub(crate) fn touch(&mut self) {
        self.generation += 1;
    }

    pub(crate) fn at(&mut self, when: Instant, timer: Timer) {
        self.timers.insert((when, timer));
    }

    pub(crate) fn create_cluster(&mut self, name: &str) {
        if self.clusters.insert(name.to_owned()) {
            self.touch();
        }
    }

    pub(crate) fn add_host(&mut self, cluster: &str, host: Host, now: Instant) -> String {
        self.create_cluster(cluster);
        let id = self.hex(32);
        let ec2_id = match host.ec2_instance_id {
            Some(id) => id,
            None if host.kind == HostKind::External => format!("mi-{}", self.hex(17)),
            None => format!("i-{}", self.hex(17)),
        };
        let arn = names::container_instance(&self.options, cluster, &id);
        self.hosts.push(HostState {
            arn: arn.clone(),
            id,
            cluster: cluster.to_owned(),
            ec2_id,
            kind: host.kind,
            address: host.address,
            zone: host.zone,
            agent_connected: host.agent_connected,
            status: HostStatus::Active,
            version: 1,
            registered: now,
            lost: None,
            ports: Ports::new(self.options.dynamic_ports),
        });
        self.disturb(cluster);
        arn
    }

    pub(crate) fn register(&mut self, spec: TaskDefinition, now: Instant) -> Arc<Definition> {
        let revisions = self.definitions.entry(spec.family.clone()).or_default();
        let revision = revisions.len() + 1;
        let definition = Arc::new(Definition {
            arn: names::task_definition(&self.options, &spec.family, revision),
            name: format!("{}:{revision}", spec.family),
            revision,
            spec,
            registered: now,
        });
        revisions.push(Arc::clone(&definition));
        self.touch();
        definition
    }

    /// Finds a definition by `family` (the newest), `family:revision` or ARN.
    pub(crate) fn definition(&self, name: &str) -> Result<Arc<Definition>, EmulatorError> {
        let unknown = || EmulatorError::UnknownTaskDefinition(name.to_owned());
        let (family, revision) = match names::short(name).split_once(':') {
            Some((family, revision)) => {
                let revision: usize = revision.parse().map_err(|_| unknown())?;
                (family, Some(revision))
            }
            None => (names::short(name), None),
        };
        let revisions = self.definitions.get(family).ok_or_else(unknown)?;
        match revision {
            Some(revision) => revisions.get(revision.wrapping_sub(1)),
            None => revisions.last(),
        }
        .cloned()
        .ok_or_else(unknown)
    }

    /// Finds a cluster by name or ARN.
    pub(crate) fn cluster(&self, name: &str) -> Result<&str, EmulatorError> {
        self.clusters
            .get(names::short(name))
            .map(String::as_str)
            .ok_or_else(|| EmulatorError::UnknownCluster(name.to_owned()))
    }

    /// Finds a service by name or ARN, in a cluster given by name or ARN.
    pub(crate) fn service_key(
        &self,
        cluster: &str,
        service: &str,
    ) -> Result<ServiceKey, EmulatorError> {
        let key = ServiceKey {
            cluster: self.cluster(cluster)?.to_owned(),
            name: names::short(service).to_owned(),
        };
        if self.services.contains_key(&key) {
            return Ok(key);
        }
        Err(EmulatorError::UnknownService {
            cluster: key.cluster,
            service: service.to_owned(),
        })
    }

    /// Finds a task by id or ARN.
    pub(crate) fn task(&self, name: &str) -> Result<&Task, EmulatorError> {
        self.ids
            .get(names::short(name))
            .and_then(|seq| self.tasks.get(seq))
            .filter(|task| !name.contains('/') || task.arn == name)
            .ok_or_else(|| EmulatorError::UnknownTask(name.to_owned()))
    }

    /// Finds a host by container instance id, ARN or EC2 instance id.
    pub(crate) fn host(&self, name: &str) -> Result<usize, EmulatorError> {
        self.hosts
            .iter()
            .position(|host| host.id == name || host.arn == name || host.ec2_id == name)
            .ok_or_else(|| EmulatorError::UnknownHost(name.to_owned()))
    }

    /// Makes the scheduler look at every service of a cluster again.
    pub(crate) fn disturb(&mut self, cluster: &str) {
        let keys = self.services.keys().filter(|key| key.cluster == cluster);
        self.dirty.extend(keys.cloned());
        self.touch();
    }

    /// Marks a host DRAINING, or ACTIVE again.
    pub(crate) fn set_host_status(
        &mut self,
        host: usize,
        draining: bool,
    ) -> Result<(), EmulatorError> {
        let Some(state) = self.hosts.get_mut(host) else {
            return Ok(());
        };
        if state.status == HostStatus::Inactive {
            return Err(EmulatorError::HostLost(state.arn.clone()));
        }
        state.status = match draining {
            true => HostStatus::Draining,
            false => HostStatus::Active,
        };
        state.version += 1;
        let cluster = state.cluster.clone();
        self.disturb(&cluster);
        Ok(())
    }

    /// Sets what ECS says of the agent of a host.
    pub(crate) fn set_agent_connected(
        &mut self,
        host: &str,
        connected: bool,
    ) -> Result<(), EmulatorError> {
        let index = self.host(host)?;
        if let Some(state) = self.hosts.get_mut(index) {
            state.agent_connected = connected;
            state.version += 1;
            self.touch();
        }
        Ok(())
    }

    /// Sets what ECS says of the health of a task.
    pub(crate) fn set_health(&mut self, task: &str, health: Health) -> Result<(), EmulatorError> {
        let seq = self.task(task)?.seq;
        if let Some(task) = self.tasks.get_mut(&seq) {
            task.health = health;
            self.touch();
        }
        Ok(())
    }

    /// Does all that is due, and says what must be done outside. To be called after every
    /// change, and at [`World::next`].
    pub(crate) fn step(&mut self, now: Instant) -> Vec<Effect> {
        loop {
            while let Some((when, _)) = self.timers.first() {
                if *when > now {
                    break;
                }
                if let Some((_, timer)) = self.timers.pop_first() {
                    self.fire(timer, now);
                }
            }
            match self.dirty.pop_first() {
                Some(key) => self.reconcile(&key, now),
                None => break,
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// When [`World::step`] has something to do again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.timers.first().map(|(when, _)| *when)
    }

    fn fire(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Advance(seq) => self.advance(seq, now),
            Timer::ReportStopping(seq) => self.report_stopping(seq),
            Timer::Kill(seq) => self.kill(seq),
            Timer::ExitKnown(seq) => self.exit_known(seq, now),
            Timer::Stopped(seq) => self.stopped(seq, now),
            Timer::Forget(seq) => self.forget(seq),
            Timer::HostLost(host) => self.host_lost(host, now),
            Timer::Retry(key) => {
                self.dirty.insert(key);
            }
        }
    }

    /// Plans the end of a stopped task's record.
    pub(crate) fn keep_for_a_while(&mut self, seq: Seq, now: Instant) {
        self.at(now + STOPPED_RETENTION, Timer::Forget(seq));
    }

    fn forget(&mut self, seq: Seq) {
        if let Some(task) = self.tasks.remove(&seq) {
            self.ids.remove(&task.id);
        }
    }
}
