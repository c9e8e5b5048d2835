//! From a task to its address. Pure; a port is never guessed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::EcsDiscovery;

use super::api::{Binding, Container, Host, Task};
use crate::target::{Target, TargetKey};

/// Why a task has no address to send requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// It was told to stop.
    Gone,
    /// It is on its way.
    Waiting(String),
    /// The configuration does not fit the task.
    Wrong(String),
}

/// The target that a task is for a group.
///
/// # Errors
/// Why it is none.
pub fn resolve(
    task: &Task,
    host: Option<&Host>,
    spec: &EcsDiscovery,
    confirmed_at: Instant,
) -> Result<Target, Unresolved> {
    if !task.desired_running {
        return Err(Unresolved::Gone);
    }
    if task.last_status != "RUNNING" {
        return Err(Unresolved::Waiting(format!(
            "its status is {}",
            task.last_status
        )));
    }
    if task.unhealthy {
        return Err(Unresolved::Waiting(
            "its own health check calls it UNHEALTHY".to_owned(),
        ));
    }
    let zone = |host: Option<&Host>| {
        task.zone
            .clone()
            .or_else(|| host.and_then(|host| host.zone.clone()))
    };
    if let Some(address) = task.interface {
        let (container, port) = own_interface(task, spec)?;
        return Ok(Target {
            key: key(task, container, port),
            address: SocketAddr::new(address, port),
            zone: zone(host),
            instance: host.map(|host| Arc::clone(&host.instance)),
            shared_port: false,
            started_at: task.started_at,
            confirmed_at,
        });
    }
    let (container, binding) = host_port(task, spec)?;
    let Some(host) = host else {
        return Err(match &task.host {
            Some(arn) => Unresolved::Waiting(format!("the address of its host {arn} is not known")),
            None => Unresolved::Wrong("it has neither a network interface nor a host".to_owned()),
        });
    };
    Ok(Target {
        key: key(task, Arc::clone(&container.name), binding.container_port),
        address: SocketAddr::new(host.address, binding.host_port),
        zone: zone(Some(host)),
        instance: Some(Arc::clone(&host.instance)),
        shared_port: true,
        started_at: task.started_at,
        confirmed_at,
    })
}

fn key(task: &Task, container: Arc<str>, port: u16) -> TargetKey {
    TargetKey {
        task: Arc::clone(&task.arn),
        container,
        port,
    }
}

/// The containers that the configuration speaks of.
fn candidates<'t>(task: &'t Task, spec: &EcsDiscovery) -> Result<Vec<&'t Container>, Unresolved> {
    let named: Vec<&Container> = task
        .containers
        .iter()
        .filter(|container| {
            spec.container
                .as_deref()
                .is_none_or(|name| *name == *container.name)
        })
        .collect();
    if named.is_empty() {
        let names: Vec<&str> = task.containers.iter().map(|c| &*c.name).collect();
        return Err(Unresolved::Wrong(format!(
            "it has no container {:?}, only {}",
            spec.container.as_deref().unwrap_or_default(),
            names.join(", ")
        )));
    }
    Ok(named)
}

/// awsvpc and Fargate: the port is that of the container, and the task has an address of its own.
///
/// All containers of the task share that address, so without a configured container the identity
/// is that of the task as a whole, `*`.
fn own_interface(task: &Task, spec: &EcsDiscovery) -> Result<(Arc<str>, u16), Unresolved> {
    let Some(port) = spec.container_port else {
        return Err(Unresolved::Wrong(
            "in awsvpc mode ECS does not tell the ports of running tasks; set `container_port`"
                .to_owned(),
        ));
    };
    let candidates = candidates(task, spec)?;
    if spec.container.is_none() {
        return Ok(("*".into(), port.number()));
    }
    candidates
        .iter()
        .find(|container| container.running)
        .map(|container| (Arc::clone(&container.name), port.number()))
        .ok_or_else(|| Unresolved::Waiting("its container does not run yet".to_owned()))
}

/// bridge: a port of the host leads to the container.
fn host_port<'t>(
    task: &'t Task,
    spec: &EcsDiscovery,
) -> Result<(&'t Container, Binding), Unresolved> {
    let candidates = candidates(task, spec)?;
    let mut found: Vec<(&Container, Binding)> = candidates
        .iter()
        .filter(|container| container.running)
        .flat_map(|container| {
            container
                .bindings
                .iter()
                .map(|binding| (*container, *binding))
        })
        .filter(|(_, binding)| {
            spec.container_port
                .is_none_or(|port| port.number() == binding.container_port)
        })
        .collect();
    // Docker tells a port once for IPv4 and once for IPv6.
    found.sort_by_key(|(container, binding)| (&container.name, *binding));
    found.dedup_by_key(|(container, binding)| (&container.name, *binding));
    match found.as_slice() {
        [(container, binding)] => Ok((container, *binding)),
        [] if candidates.iter().any(|container| !container.running) => Err(Unresolved::Waiting(
            "its container does not run yet".to_owned(),
        )),
        [] => {
            let known: Vec<String> = candidates
                .iter()
                .flat_map(|container| &container.bindings)
                .map(|binding| binding.container_port.to_string())
                .collect();
            match spec.container_port {
                Some(port) if !known.is_empty() => Err(Unresolved::Wrong(format!(
                    "its container port {} has no port of the host; mapped are {}",
                    port.get(),
                    known.join(", ")
                ))),
                // The agent may tell the bindings a moment after the status.
                _ => Err(Unresolved::Waiting(
                    "ECS tells no host port for it yet".to_owned(),
                )),
            }
        }
        several => {
            let choices: Vec<String> = several
                .iter()
                .map(|(container, binding)| {
                    format!("{}:{}", container.name, binding.container_port)
                })
                .collect();
            Err(Unresolved::Wrong(format!(
                "its port is ambiguous; set `container` and `container_port` to one of {}",
                choices.join(", ")
            )))
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "resolve_tests.rs"]
mod tests;
