//! The start of a task's containers: its ports, and what happens when it fails.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::model::{NetworkMode, Protocol, TaskStatus};
use crate::runtime::{TaskPort, TaskStart};
use crate::state::{Binding, Effect, Process, Seq, Task, Timer};
use crate::world::World;

/// After so many ports that could not be bound, something else is wrong.
const MOST_REFUSALS: usize = 512;

impl World {
    /// Chooses ports and asks for the containers.
    pub(crate) fn start(&mut self, seq: Seq, now: Instant) {
        // A machine that died without ECS knowing starts nothing: the task stays PENDING.
        if self.on_dead_machine(seq) {
            return;
        }
        match self.take_ports(seq) {
            Ok(bindings) => {
                let Some(task) = self.tasks.get_mut(&seq) else {
                    return;
                };
                task.bindings = bindings;
                task.process = Process::Starting;
                let start = Box::new(start_order(task));
                self.effects.push(Effect::Start(start));
                self.touch();
            }
            Err(reason) => self.fail_start(seq, reason, now),
        }
    }

    pub(crate) fn on_dead_machine(&self, seq: Seq) -> bool {
        self.tasks
            .get(&seq)
            .and_then(|task| self.hosts.get(task.host?))
            .is_some_and(|host| host.lost.is_some())
    }

    fn take_ports(&mut self, seq: Seq) -> Result<Vec<Binding>, String> {
        let Some(task) = self.tasks.get(&seq) else {
            return Err("the task is gone".to_owned());
        };
        let definition = Arc::clone(&task.definition);
        let own = task.eni.as_ref().map(|eni| eni.address);
        let mut host = task.host.and_then(|host| self.hosts.get_mut(host));
        let mut bindings = Vec::new();
        for (container, spec) in definition.spec.containers.iter().enumerate() {
            for (mapping, port) in spec.ports.iter().enumerate() {
                let protocol = port.protocol.into();
                let (ip, first) = match (own, &mut host, definition.mode()) {
                    (_, _, NetworkMode::Isolated) => continue,
                    (Some(own), _, _) => (own, port.container_port),
                    (None, None, _) => return Err("the task has no host".to_owned()),
                    (None, Some(host), mode) => {
                        let wanted = match mode {
                            NetworkMode::Host => port.container_port,
                            _ => port.host_port,
                        };
                        let first = if wanted == 0 {
                            let count = u16::try_from(port.inside().len())
                                .map_err(|_| "a range of ports is too long")?;
                            host.ports
                                .take_range(seq, protocol, count, &task.refused)
                                .ok_or("no dynamic port is free on the host")?
                        } else if host.ports.take(seq, wanted, protocol) {
                            wanted
                        } else {
                            return Err(format!("port {wanted} is in use on the host"));
                        };
                        (host.address, first)
                    }
                };
                bindings.extend(port.inside().zip(first..=u16::MAX).map(|(inside, number)| {
                    Binding {
                        container,
                        mapping,
                        inside,
                        address: SocketAddr::new(ip, number),
                        tcp: port.protocol == Protocol::Tcp,
                    }
                }));
            }
        }
        Ok(bindings)
    }

    pub(crate) fn free_ports(&mut self, seq: Seq) {
        let host = self.tasks.get(&seq).and_then(|task| task.host);
        if let Some(host) = host.and_then(|host| self.hosts.get_mut(host)) {
            host.ports.free(seq);
        }
    }

    /// The containers run and listen.
    pub(crate) fn started(&mut self, id: &str, now: Instant) {
        let Some(seq) = self.ids.get(id).copied() else {
            return;
        };
        let dead = self.on_dead_machine(seq) || self.closing;
        let Some(task) = self.tasks.get_mut(&seq) else {
            return;
        };
        if task.process != Process::Starting {
            return;
        }
        task.process = Process::Running;
        let id = task.id.clone();
        if dead {
            self.effects.push(Effect::Kill(id));
        } else if task.stop {
            // Told to stop while the containers came up.
            self.effects.push(Effect::Terminate(id));
            self.at(now + self.options.stop_timeout, Timer::Kill(seq));
        } else {
            task.last = TaskStatus::Running;
            task.version += 1;
            task.running = Some(now);
            let key = task.service.clone();
            if let Some(service) = self.services.get_mut(&key) {
                service.failures = 0;
                service.not_before = None;
            }
            self.dirty.insert(key);
        }
        self.touch();
    }

    /// The containers could not be started.
    pub(crate) fn start_failed(&mut self, id: &str, error: &io::Error, now: Instant) {
        let Some(task) = self.ids.get(id).and_then(|seq| self.tasks.get_mut(seq)) else {
            return;
        };
        let seq = task.seq;
        if task.process != Process::Starting {
            return;
        }
        let dynamic = dynamic_ports(task);
        let few = task.refused.len() < MOST_REFUSALS;
        let again = few && !dynamic.is_empty() && !task.stop && !self.closing;
        if error.kind() == io::ErrorKind::AddrInUse && again {
            // The kernel has lent one of the ports to a connection of somebody: take others.
            task.refused.extend(dynamic);
            task.process = Process::NotStarted;
            self.free_ports(seq);
            self.start(seq, now);
            return;
        }
        self.fail_start(seq, format!("CannotStartContainerError: {error}"), now);
    }

    fn fail_start(&mut self, seq: Seq, reason: String, now: Instant) {
        self.free_ports(seq);
        let Some(task) = self.tasks.get_mut(&seq) else {
            return;
        };
        task.process = Process::Gone;
        task.bindings.clear();
        task.exited = Some(now);
        if task.stop {
            self.exit_known(seq, now);
            return;
        }
        let (key, deployment) = (task.service.clone(), task.deployment);
        if let Some(service) = self.services.get_mut(&key) {
            let started = service.deployments.iter_mut();
            if let Some(deployment) = started.into_iter().find(|d| d.id == deployment) {
                deployment.failed += 1;
            }
        }
        self.back_off(&key, now);
        self.stop(seq, "TaskFailedToStart", &reason, now);
    }
}

/// The host ports of a task that ECS has chosen.
fn dynamic_ports(task: &Task) -> Vec<u16> {
    let bridge = task.definition.mode().publishes();
    task.bindings
        .iter()
        .filter(|binding| {
            let container = task.definition.spec.containers.get(binding.container);
            let mapping = container.and_then(|container| container.ports.get(binding.mapping));
            bridge && mapping.is_some_and(|mapping| mapping.host_port == 0)
        })
        .map(|binding| binding.address.port())
        .collect()
}

fn start_order(task: &Task) -> TaskStart {
    let ports: Vec<TaskPort> = task
        .bindings
        .iter()
        .filter(|binding| binding.tcp)
        .filter_map(|binding| {
            let container = task.definition.spec.containers.get(binding.container)?;
            let mapping = container.ports.get(binding.mapping)?;
            Some(TaskPort {
                container: container.name.clone(),
                container_port: binding.inside,
                name: mapping.name.clone(),
                address: binding.address,
            })
        })
        .collect();
    TaskStart {
        arn: task.arn.clone(),
        id: task.id.clone(),
        cluster: task.service.cluster.clone(),
        service: task.service.name.clone(),
        definition: task.definition.name.clone(),
        container: task.container_name().to_owned(),
        zone: task.zone.clone(),
        addresses: ports.iter().map(|port| port.address).collect(),
        ports,
    }
}
