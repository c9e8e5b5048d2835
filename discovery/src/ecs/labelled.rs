//! What the labels of a task's containers make of it. Pure.

use std::sync::Arc;
use std::time::Instant;

use longshore_config::{EcsDiscovery, LabelDiscovery, LabelPort};

use super::aim::{Aim, Part, Wish};
use super::api::{Definition, Host, Task};
use super::event::{TaskEvent, short};
use super::known::State;
use super::resolve::{Unresolved, resolve};
use crate::naming::Naming;
use crate::target::{Claim, Target};

/// All tasks of a cluster, by their labels.
#[derive(Debug, Clone)]
pub struct Labelled {
    labels: LabelDiscovery,
    place: EcsDiscovery,
}

impl Labelled {
    /// None if the block is about something else than a cluster.
    #[must_use]
    pub fn new(labels: LabelDiscovery) -> Option<Self> {
        let place = labels.ecs.as_ref()?.as_service();
        Some(Self { labels, place })
    }

    fn claim(&self, task: &Task, definition: &Definition, container: &Arc<str>) -> Claim {
        let labels = definition.labels.get(container).cloned();
        let family = short(&definition.arn);
        let family = family.split(':').next().unwrap_or(family);
        let (kind, name) = match &task.service {
            Some(service) => ("service", &**service),
            None => ("family", family),
        };
        let cluster = short(&self.place.cluster);
        Claim {
            owner: format!("{kind} {name} of {cluster}, container {container}").into(),
            name: format!("{name}-{container}").into(),
            labels: labels.unwrap_or_default(),
        }
    }

    fn target(
        &self,
        task: &Task,
        host: &State<'_, Host>,
        definition: &Definition,
        container: &Arc<str>,
        port: LabelPort,
        confirmed_at: Instant,
    ) -> Result<Target, Unresolved> {
        let spec = EcsDiscovery {
            container: Some(container.to_string()),
            container_port: port.container_port,
            port_name: port.port_name,
            ..self.place.clone()
        };
        let known = State::Here(definition);
        let naming = Naming::Labels(&self.labels.prefix);
        let target = resolve(task, host, &known, &spec, naming, confirmed_at)?;
        Ok(Target {
            claim: Some(Arc::new(self.claim(task, definition, container))),
            ..target
        })
    }
}

impl Aim for Labelled {
    fn place(&self) -> &EcsDiscovery {
        &self.place
    }

    fn concerns(&self, event: &TaskEvent) -> bool {
        event.is_of(&self.place.cluster)
    }

    fn definition(&self, task: &Task) -> Wish {
        match task.desired_running {
            true => Wish::Need,
            false => Wish::Nothing,
        }
    }

    fn parts(
        &self,
        task: &Task,
        host: &State<'_, Host>,
        definition: &State<'_, Definition>,
        confirmed_at: Instant,
    ) -> Result<Vec<Part>, Unresolved> {
        if !task.desired_running {
            return Err(Unresolved::Gone);
        }
        let unknown = |reason: &str| {
            format!("its task definition, which has its labels, is not known: {reason}")
        };
        let definition = match definition {
            State::Here(definition) => *definition,
            State::Awaited(None) => {
                let reason = "its task definition, which has its labels, was not asked for yet";
                return Err(Unresolved::Waiting(reason.to_owned()));
            }
            State::Awaited(Some(reason)) => return Err(Unresolved::Waiting(unknown(reason))),
            State::Refused(reason) => return Err(Unresolved::Wrong(unknown(reason))),
        };
        let mut parts = Vec::new();
        let none = Arc::default();
        for container in &task.containers {
            let labels = definition.labels.get(&container.name).unwrap_or(&none);
            let target = match self.labels.port_of(labels) {
                Ok(None) => continue,
                Err(fault) => Err(Unresolved::Wrong(fault.to_string())),
                Ok(Some(port)) => {
                    let name = &container.name;
                    self.target(task, host, definition, name, port, confirmed_at)
                }
            };
            parts.push(Part {
                container: Some(Arc::clone(&container.name)),
                target,
            });
        }
        Ok(parts)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "labelled_tests.rs"]
mod tests;
