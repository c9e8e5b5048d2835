//! From a task to its address. Pure. Which port is meant is decided by [`port`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::EcsDiscovery;

use super::api::{Definition, Host, Task};
use super::known::State;
use super::port;
use crate::naming::Naming;
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
    host: &State<'_, Host>,
    definition: &State<'_, Definition>,
    spec: &EcsDiscovery,
    naming: Naming<'_>,
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
    let place = port::place(task, definition, spec, naming)?;
    let protocol_version = port::speaks(definition, &place);
    let known = match host {
        State::Here(host) => Some(*host),
        State::Awaited(_) | State::Refused(_) => None,
    };
    let address = match (place.own, known) {
        (Some(own), _) => own,
        (None, Some(host)) => host.address,
        (None, None) => return Err(no_host(task, host)),
    };
    Ok(Target {
        key: TargetKey {
            task: Arc::clone(&task.arn),
            container: place.container,
            port: place.inside,
        },
        address: SocketAddr::new(address, place.outside),
        zone: task
            .zone
            .clone()
            .or_else(|| known.and_then(|host| host.zone.clone())),
        weight: 1,
        instance: known.map(|host| Arc::clone(&host.instance)),
        // All tasks of a host share its ports. That of a task in host mode is written in its
        // definition, but another service may have the same one in its own, and its task is
        // placed there as soon as this one ends.
        shared_port: place.own.is_none(),
        started_at: task.started_at,
        protocol_version,
        claim: None,
        confirmed_at,
    })
}

fn no_host(task: &Task, host: &State<'_, Host>) -> Unresolved {
    let Some(arn) = &task.host else {
        return Unresolved::Wrong("it has neither a network interface nor a host".to_owned());
    };
    let unknown = format!("the address of its host {arn} is not known");
    match host {
        State::Refused(reason) => Unresolved::Wrong(format!("{unknown}: {reason}")),
        State::Awaited(Some(reason)) => Unresolved::Waiting(format!("{unknown}: {reason}")),
        State::Awaited(None) | State::Here(_) => Unresolved::Waiting(unknown),
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "resolve_tests.rs"]
mod tests;
