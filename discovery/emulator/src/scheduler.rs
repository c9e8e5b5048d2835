//! Services: which tasks there should be, and where.
//!
//! The rules, which are those of ECS with `minimumHealthyPercent` 100, `maximumPercent` 200 and
//! the placement strategy "spread over zones, then hosts":
//!
//! * A task is current when it belongs to the PRIMARY deployment and its host is not DRAINING.
//!   Every other task is old.
//! * Missing current tasks are started, as long as there are no more than twice the desired
//!   count in all.
//! * Old tasks that run are stopped one for each task that runs above the desired count: new
//!   ones come up before old ones go. Old tasks that do not run yet are stopped at once.
//! * Surplus current tasks are stopped: first those that do not run yet, then the oldest.
//! * A task whose start failed is replaced after a pause that grows from 100 ms to 5 s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::EmulatorError;
use crate::model::{DeploymentController, HostKind, NetworkMode, TaskStatus};
use crate::ports::WireProtocol;
use crate::state::{Definition, Deployment, HostStatus, Seq, Service, ServiceKey, Task, Timer};
use crate::world::World;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SCHEDULER: &str = "ServiceSchedulerInitiated";

/// The tasks of a service that are meant to run, oldest first.
#[derive(Default)]
struct Census {
    current_running: Vec<Seq>,
    current_starting: Vec<Seq>,
    old_running: Vec<Seq>,
    old_starting: Vec<Seq>,
}

impl Census {
    fn current(&self) -> usize {
        self.current_running.len() + self.current_starting.len()
    }

    fn running(&self) -> usize {
        self.current_running.len() + self.old_running.len()
    }
}

impl World {
    pub(crate) fn create_service(
        &mut self,
        cluster: &str,
        name: &str,
        definition: &str,
        desired: usize,
        now: Instant,
    ) -> Result<(), EmulatorError> {
        let definition = self.definition(definition)?;
        let key = self.new_service_key(cluster, name)?;
        let service = Service {
            controller: DeploymentController::Ecs,
            desired,
            deployments: vec![self.new_deployment(definition, now)],
            sets: Vec::new(),
            live: Default::default(),
            created: now,
            failures: 0,
            not_before: None,
        };
        self.services.insert(key.clone(), service);
        self.dirty.insert(key);
        self.touch();
        Ok(())
    }

    /// The key of a service that is not there yet.
    pub(crate) fn new_service_key(
        &self,
        cluster: &str,
        name: &str,
    ) -> Result<ServiceKey, EmulatorError> {
        let key = ServiceKey {
            cluster: self.cluster(cluster)?.to_owned(),
            name: name.to_owned(),
        };
        match self.services.contains_key(&key) {
            false => Ok(key),
            true => Err(EmulatorError::ServiceExists {
                cluster: key.cluster,
                service: key.name,
            }),
        }
    }

    fn new_deployment(&mut self, definition: Arc<Definition>, now: Instant) -> Deployment {
        Deployment {
            id: self.number(),
            definition,
            created: now,
            updated: now,
            failed: 0,
            completed: false,
        }
    }

    /// Changes the desired count.
    pub(crate) fn scale(&mut self, key: &ServiceKey, desired: usize, now: Instant) {
        if let Some(service) = self.services.get_mut(key) {
            service.desired = desired;
            if let Some(primary) = service.deployments.last_mut() {
                primary.updated = now;
            }
            self.dirty.insert(key.clone());
            self.touch();
        }
    }

    /// Begins a rollout.
    pub(crate) fn deploy(&mut self, key: &ServiceKey, definition: Arc<Definition>, now: Instant) {
        let deployment = self.new_deployment(definition, now);
        if let Some(service) = self.services.get_mut(key) {
            service.deployments.push(deployment);
            service.failures = 0;
            service.not_before = None;
            self.dirty.insert(key.clone());
            self.touch();
        }
    }

    /// Notes a failed start, and makes the service wait.
    pub(crate) fn back_off(&mut self, key: &ServiceKey, now: Instant) {
        let Some(service) = self.services.get_mut(key) else {
            return;
        };
        let factor = 1_u32 << service.failures.min(10);
        let until = now + (FIRST_PAUSE * factor).min(LONGEST_PAUSE);
        service.failures += 1;
        service.not_before = Some(until);
        self.at(until, Timer::Retry(key.clone()));
    }

    /// Brings one service nearer to what it should be. What it starts and stops takes time, and
    /// each step of that brings the service back here.
    pub(crate) fn reconcile(&mut self, key: &ServiceKey, now: Instant) {
        if self.closing {
            return;
        }
        let Some(service) = self.services.get(key) else {
            return;
        };
        let Some(primary) = service.deployments.last() else {
            self.reconcile_sets(key, now);
            return;
        };
        let (desired, deployment) = (service.desired, primary.id);
        let definition = Arc::clone(&primary.definition);
        let census = self.census(service, deployment);

        let waiting = service.not_before.is_some_and(|until| now < until);
        if !waiting {
            let room = (2 * desired).saturating_sub(service.live.len());
            let missing = desired.saturating_sub(census.current()).min(room);
            self.place(key, deployment, &definition, missing, now);
        }

        let reason = match desired {
            0 => "Scaling activity initiated by service",
            _ => "Scaling activity initiated by deployment",
        };
        let surplus = census.current().saturating_sub(desired);
        let current = census.current_starting.iter().rev();
        for seq in current.chain(&census.current_running).take(surplus) {
            self.stop(*seq, SCHEDULER, reason, now);
        }
        let surplus = match census.current_running.len() {
            // The current ones suffice alone.
            enough if enough >= desired => census.old_running.len(),
            _ => census.running().saturating_sub(desired),
        };
        let old = census.old_running.iter().take(surplus);
        for seq in census.old_starting.iter().chain(old) {
            self.stop(*seq, SCHEDULER, reason, now);
        }
        self.settle(key, now);
    }

    fn census(&self, service: &Service, deployment: u64) -> Census {
        let mut census = Census::default();
        for task in service.live.iter().filter_map(|seq| self.tasks.get(seq)) {
            let host = task.host.and_then(|host| self.hosts.get(host));
            let stays = host.is_none_or(|host| host.status != HostStatus::Draining);
            let current = task.deployment == deployment && stays;
            let list = match (current, task.last == TaskStatus::Running) {
                (true, true) => &mut census.current_running,
                (true, false) => &mut census.current_starting,
                (false, true) => &mut census.old_running,
                (false, false) => &mut census.old_starting,
            };
            list.push(task.seq);
        }
        census
    }

    /// Creates up to `count` tasks, each on the host that has fewest.
    pub(crate) fn place(
        &mut self,
        key: &ServiceKey,
        deployment: u64,
        definition: &Arc<Definition>,
        count: usize,
        now: Instant,
    ) {
        if count == 0 {
            return;
        }
        let mut crowd = self.crowd(key);
        for _ in 0..count {
            let place = match definition.spec.launch_type.hosts() {
                None => Some((None, self.quietest_zone(&key.cluster, &crowd))),
                Some(kind) => self
                    .quietest_host(&key.cluster, kind, definition, &crowd)
                    .map(|(host, zone)| (Some(host), zone)),
            };
            // No host has room: the next change of a host or a task tries again.
            let Some((host, zone)) = place else {
                return;
            };
            *crowd.zones.entry(zone.clone()).or_default() += 1;
            if let Some(host) = host {
                let (own, all) = crowd.hosts.entry(host).or_default();
                *own += 1;
                *all += 1;
            }
            let definition = Arc::clone(definition);
            let seq = self.create_task(key, deployment, Arc::clone(&definition), host, zone, now);
            if let Some(host) = host.and_then(|host| self.hosts.get_mut(host)) {
                for (port, protocol) in fixed_ports(&definition) {
                    host.ports.take(seq, port, protocol);
                }
            }
            if let Some(service) = self.services.get_mut(key) {
                service.live.insert(seq);
            }
        }
    }

    fn crowd(&self, key: &ServiceKey) -> Crowd {
        let mut crowd = Crowd::default();
        let meant_to_run = |task: &&Task| !task.stop && task.service.cluster == key.cluster;
        for task in self.tasks.values().filter(meant_to_run) {
            let own = usize::from(task.service == *key);
            *crowd.zones.entry(task.zone.clone()).or_default() += own;
            if let Some(host) = task.host {
                let counts = crowd.hosts.entry(host).or_default();
                counts.0 += own;
                counts.1 += 1;
            }
        }
        crowd
    }

    fn quietest_host(
        &self,
        cluster: &str,
        kind: HostKind,
        definition: &Definition,
        crowd: &Crowd,
    ) -> Option<(usize, String)> {
        let fixed = fixed_ports(definition);
        self.hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| host.cluster == cluster && host.status == HostStatus::Active)
            .filter(|(_, host)| host.kind == kind)
            .filter(|(_, host)| fixed.iter().all(|port| host.ports.is_free(port.0, port.1)))
            .min_by_key(|(index, host)| {
                let zone = crowd.zones.get(&host.zone).copied().unwrap_or_default();
                (zone, crowd.hosts.get(index).copied().unwrap_or_default())
            })
            .map(|(index, host)| (index, host.zone.clone()))
    }

    fn quietest_zone(&self, cluster: &str, crowd: &Crowd) -> String {
        let own = self.hosts.iter().filter(|host| host.cluster == cluster);
        let mut zones: Vec<String> = own.map(|host| host.zone.clone()).collect();
        if zones.is_empty() {
            zones = ["a", "b", "c"]
                .map(|letter| format!("{}{letter}", self.options.region))
                .into();
        }
        zones.sort();
        zones
            .into_iter()
            .min_by_key(|zone| crowd.zones.get(zone).copied().unwrap_or_default())
            .unwrap_or_default()
    }

    /// Ends rollouts that are complete, and forgets the deployments they replace.
    fn settle(&mut self, key: &ServiceKey, now: Instant) {
        let Some(service) = self.services.get(key) else {
            return;
        };
        let Some(primary) = service.deployments.last() else {
            return;
        };
        let census = self.census(service, primary.id);
        let done = census.current_running.len() == service.desired
            && service.live.len() == service.desired;
        if !done || (primary.completed && service.deployments.len() == 1) {
            return;
        }
        if let Some(service) = self.services.get_mut(key) {
            let replaced = service.deployments.len() - 1;
            service.deployments.drain(..replaced);
            if let Some(primary) = service.deployments.last_mut() {
                primary.completed = true;
                primary.updated = now;
            }
            self.touch();
        }
    }
}

/// How many tasks there are in each place.
#[derive(Default)]
struct Crowd {
    /// Tasks of the service.
    zones: BTreeMap<String, usize>,
    /// Tasks of the service, and of all services.
    hosts: BTreeMap<usize, (usize, usize)>,
}

/// The host ports that a definition insists on. A host has each of them once.
fn fixed_ports(definition: &Definition) -> Vec<(u16, WireProtocol)> {
    let mode = definition.mode();
    let mappings = definition.spec.containers.iter().flat_map(|c| &c.ports);
    mappings
        .filter_map(|mapping| match mode {
            NetworkMode::Awsvpc | NetworkMode::Isolated => None,
            NetworkMode::Host => Some((mapping.container_port, mapping.protocol.into())),
            NetworkMode::Bridge | NetworkMode::Unset | NetworkMode::Windows => {
                (mapping.host_port != 0).then(|| (mapping.host_port, mapping.protocol.into()))
            }
        })
        .collect()
}
