//! Which port of a task is meant, and what leads to it. Pure; a port is never guessed.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use longshore_config::{EcsDiscovery, ProtocolVersion};

use super::api::{Container, Definition, MappedPorts, PortMapping, Task};
use super::known::State;
use super::range::PortRange;
use super::resolve::Unresolved;
use crate::naming::Naming;

/// A port of a container and what leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The container, or [`WHOLE`] where the task as a whole is meant.
    pub container: Arc<str>,
    /// The port inside the container.
    pub inside: u16,
    /// The port to connect to.
    pub outside: u16,
    /// The task's own address. None: that of its host.
    pub own: Option<IpAddr>,
}

/// What the configuration asks for.
struct Wanted<'p> {
    container: Option<Arc<str>>,
    port: Option<u16>,
    naming: Naming<'p>,
}

/// Ports that containers have, and what leads to them.
#[derive(Default)]
struct Offers<'t> {
    good: Vec<Offer<'t>>,
    /// Ranges that are none.
    malformed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Offer<'t> {
    container: &'t Arc<str>,
    inside: PortRange,
    outside: PortRange,
}

/// Whether the task definition is needed to know the port.
#[must_use]
pub fn needs_definition(task: &Task, spec: &EcsDiscovery) -> bool {
    if !task.desired_running || task.last_status != "RUNNING" {
        return false;
    }
    match task.interface {
        _ if spec.port_name.is_some() => true,
        Some(_) => spec.container_port.is_none(),
        // Either it is in host mode, or its bindings were not told yet.
        None => !has_bindings(task),
    }
}

fn has_bindings(task: &Task) -> bool {
    let mut containers = task.containers.iter();
    containers.any(|container| !container.bindings.is_empty() || !container.ranges.is_empty())
}

/// The place that the configuration means.
///
/// # Errors
/// Why there is none.
pub fn place(
    task: &Task,
    definition: &State<'_, Definition>,
    spec: &EcsDiscovery,
    naming: Naming<'_>,
) -> Result<Place, Unresolved> {
    let candidates = candidates(task, spec)?;
    let wanted = wanted(&candidates, definition, spec, naming)?;
    if task.interface.is_some() {
        let place = own_interface(&candidates, definition, &wanted, spec)?;
        return Ok(Place {
            own: task.interface,
            ..place
        });
    }
    if has_bindings(task) {
        return bound(&candidates, &wanted);
    }
    let definition = known(definition, NOT_BOUND)?;
    match definition.network_mode.as_deref() {
        Some("host") => defined(&candidates, definition, &wanted),
        None | Some("bridge" | "default") => {
            // The agent may tell the bindings a moment after the status, but not those of ports
            // that nobody mapped.
            offers(&candidates, definition)?;
            Err(waits(NOT_BOUND))
        }
        Some("awsvpc") => Err(waits("ECS tells no network interface for it yet")),
        Some(other) => Err(Unresolved::Wrong(format!(
            "nothing leads to a task in the network mode {other:?}"
        ))),
    }
}

/// Which HTTP a place speaks by the `appProtocol` of its port. None: that is not known.
#[must_use]
pub fn speaks(definition: &State<'_, Definition>, place: &Place) -> Option<ProtocolVersion> {
    let State::Here(definition) = definition else {
        return None;
    };
    let mapping = definition.ports.iter().find(|mapping| {
        let whole = &*place.container == WHOLE;
        (whole || mapping.container == place.container)
            && mapped(mapping).is_ok_and(|ports| ports.offset(place.inside).is_some())
    });
    match mapping.and_then(|mapping| mapping.app_protocol.as_deref()) {
        // ECS takes it for TCP then, over which HTTP/1.1 is what most speak.
        None | Some("http") => Some(ProtocolVersion::Http1),
        Some("http2") => Some(ProtocolVersion::Http2),
        Some("grpc") => Some(ProtocolVersion::Grpc),
        Some(_) => None,
    }
}

/// The container of a place that is a task as a whole.
const WHOLE: &str = "*";

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

/// What the configuration asks for. A name is looked up in the definition.
fn wanted<'p>(
    candidates: &[&Container],
    definition: &State<'_, Definition>,
    spec: &EcsDiscovery,
    naming: Naming<'p>,
) -> Result<Wanted<'p>, Unresolved> {
    let Some(name) = &spec.port_name else {
        return Ok(Wanted {
            container: None,
            port: spec.container_port.map(|port| port.number()),
            naming,
        });
    };
    let definition = known(definition, NOT_ASKED)?;
    let own = |mapping: &&PortMapping| candidates.iter().any(|c| c.name == mapping.container);
    let mappings = || definition.ports.iter().filter(own);
    let named: Vec<&PortMapping> = mappings()
        .filter(|mapping| mapping.name.as_deref() == Some(name))
        .collect();
    let [mapping] = named.as_slice() else {
        let names: Vec<&str> = mappings().filter_map(|m| m.name.as_deref()).collect();
        return Err(Unresolved::Wrong(format!(
            "its task definition has {} port named {name:?}; it names: {}",
            if named.is_empty() {
                "no"
            } else {
                "more than one"
            },
            names.join(", ")
        )));
    };
    let range = mapped(mapping).map_err(|text| malformed(&[text]))?;
    match range.single() {
        Some(port) => Ok(Wanted {
            container: Some(Arc::clone(&mapping.container)),
            port: Some(port),
            naming,
        }),
        None => Err(Unresolved::Wrong(format!(
            "its port {name:?} is ambiguous; set {naming} to one of {range} instead"
        ))),
    }
}

/// The ports of a mapping, or the text that names none.
fn mapped(mapping: &PortMapping) -> Result<PortRange, String> {
    match &mapping.ports {
        MappedPorts::One(port) => Ok(PortRange::one(*port)),
        MappedPorts::Range(text) => PortRange::parse(text).ok_or_else(|| format!("{text:?}")),
    }
}

fn malformed(texts: &[String]) -> Unresolved {
    Unresolved::Wrong(format!(
        "ECS tells port ranges for it that are none: {}",
        texts.join(", ")
    ))
}

/// awsvpc: the port is that of the container, and the task has an address of its own.
///
/// All containers of the task share that address. So if only the port is configured, the identity
/// is that of the task as a whole, `*`, and ECS need not be asked whose port it is.
fn own_interface(
    candidates: &[&Container],
    definition: &State<'_, Definition>,
    wanted: &Wanted<'_>,
    spec: &EcsDiscovery,
) -> Result<Place, Unresolved> {
    let Some(port) = spec.container_port else {
        return defined(candidates, known(definition, NOT_ASKED)?, wanted);
    };
    let container = match &spec.container {
        None => WHOLE.into(),
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
const NOT_ASKED: &str = "its task definition was not asked for yet";
const NOT_BOUND: &str = "ECS tells no host port for it yet";

/// bridge: a port of the host leads to the container.
fn bound(candidates: &[&Container], wanted: &Wanted<'_>) -> Result<Place, Unresolved> {
    let mut offers = Offers::default();
    for container in candidates.iter().filter(|container| container.running) {
        // 0 asks for a dynamic port; as an answer it says that there is none yet.
        let bound = container
            .bindings
            .iter()
            .filter(|binding| binding.host_port > 0);
        let ports = bound.map(|binding| Offer {
            container: &container.name,
            inside: PortRange::one(binding.container_port),
            outside: PortRange::one(binding.host_port),
        });
        offers.good.extend(ports);
        for binding in &container.ranges {
            let (inside, outside) = (&binding.container_range, &binding.host_range);
            match (PortRange::parse(inside), PortRange::parse(outside)) {
                (Some(inside), Some(outside)) if inside.fits(outside) => offers.good.push(Offer {
                    container: &container.name,
                    inside,
                    outside,
                }),
                _ => offers.malformed.push(format!("{inside:?} at {outside:?}")),
            }
        }
    }
    if let Some(place) = only(&offers, wanted)? {
        return Ok(place);
    }
    if candidates.iter().any(|container| !container.running) {
        return Err(waits(NOT_RUNNING));
    }
    match wanted.port {
        Some(port) if !offers.good.is_empty() => Err(Unresolved::Wrong(format!(
            "its container port {port} has no port of the host; mapped are {offers}"
        ))),
        // The agent may tell the bindings a moment after the status.
        _ => Err(waits(NOT_BOUND)),
    }
}

/// host and awsvpc: the port is that of the task definition.
fn defined(
    candidates: &[&Container],
    definition: &Definition,
    wanted: &Wanted<'_>,
) -> Result<Place, Unresolved> {
    let offers = offers(candidates, definition)?;
    let Some(place) = only(&offers, wanted)? else {
        return Err(Unresolved::Wrong(format!(
            "its container port {} is not in its task definition; mapped are {offers}",
            wanted.port.unwrap_or_default(),
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
) -> Result<Offers<'d>, Unresolved> {
    let mut offers = Offers::default();
    for mapping in &definition.ports {
        if candidates.iter().all(|own| own.name != mapping.container) {
            continue;
        }
        match mapped(mapping) {
            Ok(ports) => offers.good.push(Offer {
                container: &mapping.container,
                inside: ports,
                outside: ports,
            }),
            Err(text) => offers.malformed.push(text),
        }
    }
    if offers.good.is_empty() && offers.malformed.is_empty() {
        let names: Vec<&str> = candidates.iter().map(|own| &*own.name).collect();
        return Err(Unresolved::Wrong(format!(
            "its task definition maps no TCP port of {}",
            names.join(", ")
        )));
    }
    Ok(offers)
}

/// The only offer that fits. None: none does.
fn only(offers: &Offers<'_>, wanted: &Wanted<'_>) -> Result<Option<Place>, Unresolved> {
    let mut fitting: Vec<&Offer<'_>> = offers
        .good
        .iter()
        .filter(|offer| {
            wanted
                .container
                .as_ref()
                .is_none_or(|own| own == offer.container)
        })
        .filter(|offer| {
            wanted
                .port
                .is_none_or(|port| offer.inside.offset(port).is_some())
        })
        .collect();
    // Docker tells a port once for IPv4 and once for IPv6.
    fitting.sort();
    fitting.dedup();
    if !offers.malformed.is_empty() && (fitting.is_empty() || wanted.port.is_none()) {
        // It may be the one that is meant.
        return Err(malformed(&offers.malformed));
    }
    if let [offer] = fitting.as_slice()
        && let Some(inside) = wanted.port.or(offer.inside.single())
    {
        let offset = offer.inside.offset(inside);
        return Ok(offset.and_then(|offset| {
            Some(Place {
                container: Arc::clone(offer.container),
                inside,
                outside: offer.outside.at(offset)?,
                own: None,
            })
        }));
    }
    if fitting.is_empty() {
        return Ok(None);
    }
    let choice = |offer: &&Offer<'_>| match wanted.naming {
        Naming::Keys => format!("{}:{}", offer.container, offer.inside),
        Naming::Labels(_) => offer.inside.to_string(),
    };
    let choices: Vec<String> = fitting.iter().map(choice).collect();
    let container = match wanted.naming {
        Naming::Keys => "`container` and ",
        // A label is that of one container.
        Naming::Labels(_) => "",
    };
    Err(Unresolved::Wrong(format!(
        "its port is ambiguous; set {container}{} to one of {}",
        wanted.naming,
        choices.join(", ")
    )))
}

impl fmt::Display for Offers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<String> = self.good.iter().map(|o| o.inside.to_string()).collect();
        f.write_str(&ports.join(", "))
    }
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
