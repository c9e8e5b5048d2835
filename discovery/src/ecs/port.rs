//! Which port of a task is meant, and what leads to it. Pure; a port is never guessed.

use std::net::IpAddr;
use std::sync::Arc;

use longshore_config::EcsDiscovery;

use super::api::{Container, Definition, Task};
use super::known::State;
use super::resolve::Unresolved;

/// A port of a container and what leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The container, or `*` where the task as a whole is meant.
    pub container: Arc<str>,
    /// The port inside the container.
    pub inside: u16,
    /// The port to connect to.
    pub outside: u16,
    /// The task's own address. None: that of its host.
    pub own: Option<IpAddr>,
}

/// A port that a container has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Offer<'t> {
    container: &'t Arc<str>,
    inside: u16,
    outside: u16,
}

/// Whether the task definition is needed to know the port.
#[must_use]
pub fn wants_definition(task: &Task, spec: &EcsDiscovery) -> bool {
    if !task.desired_running || task.last_status != "RUNNING" {
        return false;
    }
    match task.interface {
        Some(_) => spec.container_port.is_none(),
        // Either it is in host mode, or its bindings were not told yet.
        None => !has_bindings(task),
    }
}

fn has_bindings(task: &Task) -> bool {
    let mut containers = task.containers.iter();
    containers.any(|container| !container.bindings.is_empty())
}

/// The place that the configuration means.
///
/// # Errors
/// Why there is none.
pub fn place(
    task: &Task,
    definition: &State<'_, Definition>,
    spec: &EcsDiscovery,
) -> Result<Place, Unresolved> {
    let candidates = candidates(task, spec)?;
    if task.interface.is_some() {
        let place = own_interface(&candidates, definition, spec)?;
        return Ok(Place {
            own: task.interface,
            ..place
        });
    }
    if has_bindings(task) {
        return bound(&candidates, spec);
    }
    let definition = known(definition, "ECS tells no host port for it yet")?;
    match definition.network_mode.as_deref() {
        Some("host") => defined(&candidates, definition, spec),
        None | Some("bridge" | "default") => {
            // The agent may tell the bindings a moment after the status, but not those of ports
            // that nobody mapped.
            offers(&candidates, definition, spec).map(|_| ())?;
            Err(waits("ECS tells no host port for it yet"))
        }
        Some("awsvpc") => Err(waits("ECS tells no network interface for it yet")),
        Some(other) => Err(Unresolved::Wrong(format!(
            "nothing leads to a task in the network mode {other:?}"
        ))),
    }
}

fn waits(reason: &str) -> Unresolved {
    Unresolved::Waiting(reason.to_owned())
}

/// The definition, or what to say in its place.
fn known<'k>(
    definition: &State<'k, Definition>,
    meanwhile: &str,
) -> Result<&'k Definition, Unresolved> {
    match definition {
        State::Here(definition) => Ok(definition),
        State::Awaited(None) => Err(waits(meanwhile)),
        State::Awaited(Some(reason)) => Err(Unresolved::Waiting(unknown(reason))),
        State::Refused(reason) => Err(Unresolved::Wrong(unknown(reason))),
    }
}

fn unknown(reason: &str) -> String {
    format!("its task definition, which has its ports, is not known: {reason}")
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

/// awsvpc: the port is that of the container, and the task has an address of its own.
///
/// All containers of the task share that address. So if only the port is configured, the identity
/// is that of the task as a whole, `*`, and ECS need not be asked whose port it is.
fn own_interface(
    candidates: &[&Container],
    definition: &State<'_, Definition>,
    spec: &EcsDiscovery,
) -> Result<Place, Unresolved> {
    let Some(port) = spec.container_port else {
        let definition = known(definition, "its task definition was not asked for yet")?;
        return defined(candidates, definition, spec);
    };
    let container = match &spec.container {
        None => "*".into(),
        Some(_) => candidates
            .iter()
            .find(|container| container.running)
            .map(|container| Arc::clone(&container.name))
            .ok_or_else(|| waits(NOT_RUNNING))?,
    };
    Ok(Place {
        container,
        inside: port.number(),
        outside: port.number(),
        own: None,
    })
}

const NOT_RUNNING: &str = "its container does not run yet";

/// bridge: a port of the host leads to the container.
fn bound(candidates: &[&Container], spec: &EcsDiscovery) -> Result<Place, Unresolved> {
    let running = candidates.iter().filter(|container| container.running);
    let offers: Vec<Offer<'_>> = running
        .flat_map(|container| {
            container.bindings.iter().map(|binding| Offer {
                container: &container.name,
                inside: binding.container_port,
                outside: binding.host_port,
            })
        })
        .collect();
    if let Some(place) = only(&offers, spec)? {
        return Ok(place);
    }
    if candidates.iter().any(|container| !container.running) {
        return Err(waits(NOT_RUNNING));
    }
    match spec.container_port {
        Some(port) if !offers.is_empty() => Err(Unresolved::Wrong(format!(
            "its container port {} has no port of the host; mapped are {}",
            port.get(),
            insides(&offers)
        ))),
        // The agent may tell the bindings a moment after the status.
        _ => Err(waits("ECS tells no host port for it yet")),
    }
}

/// host and awsvpc: the port is that of the task definition.
fn defined(
    candidates: &[&Container],
    definition: &Definition,
    spec: &EcsDiscovery,
) -> Result<Place, Unresolved> {
    let offers = offers(candidates, definition, spec)?;
    let Some(place) = only(&offers, spec)? else {
        let port = spec.container_port.map(|port| port.get());
        return Err(Unresolved::Wrong(format!(
            "its container port {} is not in its task definition; mapped are {}",
            port.unwrap_or_default(),
            insides(&offers)
        )));
    };
    let runs = candidates
        .iter()
        .any(|container| container.running && container.name == place.container);
    if runs {
        Ok(place)
    } else {
        Err(waits(NOT_RUNNING))
    }
}

/// The TCP ports that the definition has for the containers. At least one.
fn offers<'d>(
    candidates: &[&Container],
    definition: &'d Definition,
    spec: &EcsDiscovery,
) -> Result<Vec<Offer<'d>>, Unresolved> {
    let offers: Vec<Offer<'_>> = definition
        .ports
        .iter()
        .filter(|port| candidates.iter().any(|known| known.name == port.container))
        .map(|port| Offer {
            container: &port.container,
            inside: port.port,
            outside: port.port,
        })
        .collect();
    if offers.is_empty() {
        return Err(Unresolved::Wrong(format!(
            "its task definition maps no TCP port of {}",
            spec.container.as_deref().unwrap_or("any container")
        )));
    }
    Ok(offers)
}

/// The only offer that fits. None: none does.
fn only(offers: &[Offer<'_>], spec: &EcsDiscovery) -> Result<Option<Place>, Unresolved> {
    let mut fitting: Vec<&Offer<'_>> = offers
        .iter()
        .filter(|offer| {
            spec.container_port
                .is_none_or(|port| port.number() == offer.inside)
        })
        .collect();
    // Docker tells a port once for IPv4 and once for IPv6.
    fitting.sort();
    fitting.dedup();
    match fitting.as_slice() {
        [] => Ok(None),
        [offer] => Ok(Some(Place {
            container: Arc::clone(offer.container),
            inside: offer.inside,
            outside: offer.outside,
            own: None,
        })),
        several => {
            let choices: Vec<String> = several
                .iter()
                .map(|offer| format!("{}:{}", offer.container, offer.inside))
                .collect();
            Err(Unresolved::Wrong(format!(
                "its port is ambiguous; set `container` and `container_port` to one of {}",
                choices.join(", ")
            )))
        }
    }
}

fn insides(offers: &[Offer<'_>]) -> String {
    let ports: Vec<String> = offers.iter().map(|o| o.inside.to_string()).collect();
    ports.join(", ")
}
