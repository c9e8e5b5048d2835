//! From a container to its address. Pure; a port is never guessed.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use longshore_config::DockerDiscovery;

use super::api::{Detail, Port, Summary};
use crate::naming::Naming;
use crate::target::{Target, TargetKey};

/// The target that a container is for a group. `name` is what it is called in its identity.
///
/// # Errors
/// Why it is none, and what would mend it.
pub fn resolve(
    summary: &Summary,
    name: &Arc<str>,
    detail: &Detail,
    spec: &DockerDiscovery,
    naming: Naming<'_>,
    confirmed_at: Instant,
) -> Result<Target, String> {
    belongs(summary, spec)?;
    runs(summary, detail)?;
    let (port, address) = match &spec.network {
        Some(network) => own_address(summary, network, spec, naming)?,
        None => host_port(summary, spec, naming)?,
    };
    Ok(Target {
        key: TargetKey {
            task: Arc::clone(&summary.id),
            container: Arc::clone(name),
            port,
        },
        address,
        zone: None,
        weight: 1,
        instance: None,
        shared_port: spec.network.is_none(),
        started_at: detail.started_at,
        protocol_version: None,
        claim: None,
        confirmed_at,
    })
}

/// The engine filters by labels. It is asked for each container all the same: one that is not
/// meant would be another service, and something between us and the engine may drop the filter.
fn belongs(summary: &Summary, spec: &DockerDiscovery) -> Result<(), String> {
    let Some(labels) = &summary.labels else {
        return Err("the engine does not tell its labels".to_owned());
    };
    let missing = spec.labels.iter().find(|(name, wanted)| {
        labels
            .get(*name)
            .is_none_or(|value| !wanted.is_empty() && value != *wanted)
    });
    match missing {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "the engine lists it although its label {name:?} does not match"
        )),
    }
}

fn runs(summary: &Summary, detail: &Detail) -> Result<(), String> {
    match summary.state.as_deref() {
        Some("running") => {}
        Some(state) => return Err(format!("its state is {state}")),
        None => return Err("the engine does not tell its state".to_owned()),
    }
    if detail.paused {
        return Err("it is paused".to_owned());
    }
    if !detail.running {
        return Err("it does not run any more, or not yet".to_owned());
    }
    match detail.health.as_deref() {
        None | Some("none" | "healthy") => Ok(()),
        Some(verdict) => Err(format!("its own health check calls it {verdict}")),
    }
}

/// The port inside that requests are for: the configured one, or the only one of `ports`.
fn private_port<'p>(
    ports: impl Iterator<Item = &'p Port>,
    spec: &DockerDiscovery,
    naming: Naming<'_>,
) -> Result<Option<u16>, String> {
    if let Some(port) = spec.container_port {
        return Ok(Some(port.number()));
    }
    let known: BTreeSet<u16> = ports.map(|port| port.private).collect();
    let mut known = known.into_iter();
    match (known.next(), known.next()) {
        (first, None) => Ok(first),
        (Some(first), Some(second)) => {
            let all: Vec<String> = [first, second]
                .into_iter()
                .chain(known)
                .map(|port| port.to_string())
                .collect();
            Err(format!(
                "its port is ambiguous; set {naming} to one of {}",
                all.join(", ")
            ))
        }
        (None, Some(_)) => Ok(None),
    }
}

/// The container's own address on a network.
fn own_address(
    summary: &Summary,
    network: &str,
    spec: &DockerDiscovery,
    naming: Naming<'_>,
) -> Result<(u16, SocketAddr), String> {
    let Some(addresses) = summary.networks.get(network) else {
        let known: Vec<&str> = summary.networks.keys().map(String::as_str).collect();
        return Err(match known.as_slice() {
            [] => format!("it is not attached to the network {network:?}, nor to any other"),
            known => format!(
                "it is not attached to the network {network:?}, only to {}",
                known.join(", ")
            ),
        });
    };
    let told = addresses.iter().find(|address| !address.is_empty());
    let Some(told) = told else {
        return Err(format!("it has no address on the network {network:?}"));
    };
    let address: IpAddr = told
        .parse()
        .map_err(|_| format!("its address {told:?} on the network {network:?} is none"))?;
    let tcp = summary.ports.iter().filter(|port| port.tcp);
    let port = private_port(tcp, spec, naming)?
        .ok_or_else(|| format!("it exposes no TCP port; set {naming}"))?;
    if port == 0 || address.is_unspecified() {
        return Err(format!("{address} with port {port} is no address"));
    }
    Ok((port, SocketAddr::new(address, port)))
}

/// A port of the host that leads to the container.
fn host_port(
    summary: &Summary,
    spec: &DockerDiscovery,
    naming: Naming<'_>,
) -> Result<(u16, SocketAddr), String> {
    let published = || {
        let ports = summary.ports.iter();
        ports.filter(|port| port.tcp && port.public.is_some_and(|public| public > 0))
    };
    let Some(port) = private_port(published(), spec, naming)? else {
        return Err(nothing_published(summary));
    };
    let mut found = BTreeSet::new();
    for binding in published().filter(|binding| binding.private == port) {
        let public = binding.public.unwrap_or_default();
        found.insert((told_address(binding)?, public));
    }
    // The engine tells a port once for IPv4 and once for IPv6. They are one target, and their
    // ports on the host may differ, so the one is taken that `host_address` can reach.
    let host = spec.host_address();
    if found
        .iter()
        .any(|(at, _)| at.is_some_and(|at| at.is_ipv4() == host.is_ipv4()))
    {
        found.retain(|(at, _)| at.is_none_or(|at| at.is_ipv4() == host.is_ipv4()));
    }
    let addresses: BTreeSet<SocketAddr> = found
        .into_iter()
        .map(|(at, public)| {
            let at = at.filter(|at| !at.is_unspecified()).unwrap_or(host);
            SocketAddr::new(at, public)
        })
        .collect();
    let mut all = addresses.iter();
    match (all.next(), all.next()) {
        (Some(address), None) => Ok((port, *address)),
        (None, _) => {
            let known: BTreeSet<u16> = published().map(|port| port.private).collect();
            if known.is_empty() {
                return Err(nothing_published(summary));
            }
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            Err(format!(
                "its container port {port} is not published; published are {}",
                known.join(", ")
            ))
        }
        (Some(_), Some(_)) => {
            let choices: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            Err(format!(
                "its container port {port} is published more than once, at {}; publish it once, or set `network`",
                choices.join(" and ")
            ))
        }
    }
}

/// The host's address that a port is published on. None: not told, which means all.
fn told_address(binding: &Port) -> Result<Option<IpAddr>, String> {
    match binding.address.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            format!(
                "its container port {} is published on {text:?}, which is no address",
                binding.private
            )
        }),
    }
}

fn nothing_published(summary: &Summary) -> String {
    match summary.network_mode.as_deref() {
        Some("host") => {
            "its network mode is `host`, so the engine does not tell its ports; name it under `targets`"
                .to_owned()
        }
        Some(mode) if mode.starts_with("container:") => {
            "it lives in the network of another container, which has the ports".to_owned()
        }
        _ if summary.ports.iter().any(|port| port.tcp) => {
            "none of its TCP ports is published; publish one, or set `network`".to_owned()
        }
        _ => "it has no TCP port that is published; publish one, or set `network`".to_owned(),
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "resolve_tests.rs"]
pub(super) mod tests;
