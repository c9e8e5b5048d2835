//! Where a group learns its targets.

use std::net::{IpAddr, SocketAddr};

use super::{Scope, check_port};
use crate::{
    ConsulDiscovery, Discovery, DnsDiscovery, DnsRecordType, DockerDiscovery, Secret, limits,
};

/// A group's source.
pub(super) fn source(scope: &mut Scope<'_, '_>, discovery: &Discovery) {
    match discovery.sources().as_slice() {
        [_] => {}
        [] => scope.fault("a source is needed: `ecs`, `docker`, `consul`, `dns` or `file`"),
        several => scope.fault(format!(
            "a group has one source, found {}; remove the others",
            several.join(", ")
        )),
    }
    if let Some(ecs) = &discovery.ecs {
        scope.key("ecs", |scope| {
            for (key, value) in [("cluster", &ecs.cluster), ("service", &ecs.service)] {
                if value.trim().is_empty() {
                    scope.fault_at(key, "a name is needed");
                }
            }
            if let Some(queue) = &ecs.events_queue
                && !is_queue(queue)
            {
                scope.fault_at(
                    "events_queue",
                    format!("expected the URL or the name of an SQS queue, found {queue:?}"),
                );
            }
            if let Some(name) = &ecs.port_name {
                if name.trim().is_empty() {
                    scope.fault_at("port_name", "a name is needed");
                }
                if ecs.container_port.is_some() {
                    scope.fault_at(
                        "port_name",
                        "the port is chosen by `container_port` already; remove one of the two",
                    );
                }
            }
        });
    }
    if let Some(file) = &discovery.file {
        scope.key("file", |scope| {
            if file.path.trim().is_empty() {
                scope.fault_at("path", "the path of a file is needed");
            }
        });
    }
    if let Some(found) = &discovery.consul {
        scope.key("consul", |scope| consul(scope, found));
    }
    if let Some(found) = &discovery.docker {
        scope.key("docker", |scope| docker(scope, found));
    }
    if let Some(found) = &discovery.dns {
        scope.key("dns", |scope| dns(scope, found));
    }
}

/// Whether a text can be the URL of a queue, or a name: 1 to 80 letters, digits, `-` and `_`
/// (SQS). A FIFO queue would hold back all events behind one that is being worked on.
pub(super) fn is_queue(text: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = match text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
    {
        Some(url) => match url.rsplit_once('/') {
            Some((_, name)) if url.chars().all(|c| c.is_ascii_graphic()) => name,
            _ => return false,
        },
        None => text,
    };
    (1..=80).contains(&name.len()) && name.chars().all(valid)
}

fn consul(scope: &mut Scope<'_, '_>, consul: &ConsulDiscovery) {
    check_port(scope, "address", consul.address);
    if consul.service.trim().is_empty() {
        scope.fault_at("service", "a name is needed");
    }
    for (key, value) in [("tag", &consul.tag), ("datacenter", &consul.datacenter)] {
        if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
            scope.fault_at(key, "a name is needed; without the key, any will do");
        }
    }
    let token = consul.token.as_ref().map(Secret::reveal);
    let sendable = |token: &str| {
        (1..=limits::TOKEN_BYTES).contains(&token.len())
            && token.chars().all(|c| c.is_ascii_graphic())
    };
    if token.is_some_and(|token| !sendable(token)) {
        // Without the value: an error may end in a log.
        let most = limits::TOKEN_BYTES;
        scope.fault_at(
            "token",
            format!("a token has 1 to {most} visible ASCII characters"),
        );
    }
}

fn docker(scope: &mut Scope<'_, '_>, docker: &DockerDiscovery) {
    engine(scope, docker);
    if docker.labels.is_empty() {
        scope.fault_at(
            "labels",
            "at least one label is needed: without one, every container would be a target",
        );
    }
    // `=` parts name and value in the engine's own filter.
    if docker
        .labels
        .keys()
        .any(|name| name.trim().is_empty() || name.contains('='))
    {
        scope.fault_at("labels", "a label has a name, without `=`");
    }
}

/// Where an engine is, and how its containers are reached.
pub(super) fn engine(scope: &mut Scope<'_, '_>, docker: &DockerDiscovery) {
    let unix = |path: &str| path.starts_with('/') && path.len() > 1;
    let tcp = |at: &str| {
        at.rsplit_once(':').is_some_and(|(host, port)| {
            let port: Option<u16> = port.parse().ok();
            !host.is_empty() && !at.contains('/') && port.is_some_and(|port| port > 0)
        })
    };
    let endpoint = &docker.endpoint;
    let known = endpoint.strip_prefix("unix://").is_some_and(unix)
        || endpoint.strip_prefix("tcp://").is_some_and(tcp);
    if !known {
        scope.fault_at(
            "endpoint",
            format!(
                "expected unix:// and an absolute path, such as unix:///var/run/docker.sock, or tcp://host:port; found {endpoint:?}"
            ),
        );
    }
    if docker
        .network
        .as_ref()
        .is_some_and(|network| network.trim().is_empty())
    {
        scope.fault_at("network", "a name is needed");
    }
    if docker.host_address.is_some() && docker.network.is_some() {
        scope.fault_at(
            "host_address",
            "with `network`, containers are reached at their own address; remove one of the two",
        );
    }
    if docker
        .host_address
        .is_some_and(|address| address.is_unspecified())
    {
        scope.fault_at(
            "host_address",
            "expected an address to connect to, such as 127.0.0.1",
        );
    }
}

fn dns(scope: &mut Scope<'_, '_>, dns: &DnsDiscovery) {
    if let Some(fault) = dns_name_fault(&dns.name) {
        scope.fault_at("name", fault);
    }
    match (dns.record_type, dns.port) {
        (DnsRecordType::Srv, Some(_)) => {
            scope.fault_at("port", "SRV records have their own ports; remove the key");
        }
        (DnsRecordType::A | DnsRecordType::Aaaa, None) => scope.fault(
            "the key `port` is missing: A and AAAA records have no port (those of type SRV have)",
        ),
        _ => {}
    }
    if dns.servers.len() > limits::DNS_SERVERS {
        scope.fault_at(
            "servers",
            format!(
                "at most {} servers, found {}",
                limits::DNS_SERVERS,
                dns.servers.len()
            ),
        );
    }
    let mut seen: Vec<&SocketAddr> = Vec::new();
    scope.each("servers", &dns.servers, |scope, server| {
        if server.port() == 0 {
            scope.fault("the port is 0; expected 1 to 65535, such as 53");
        }
        if seen.contains(&server) {
            scope.fault(format!("{server} is there already"));
        }
        seen.push(server);
    });
    if dns.min_interval.get() > dns.max_interval.get() {
        scope.fault_at(
            "min_interval",
            "the shortest time between two looks is above the longest, `max_interval`",
        );
    }
}

/// Why a text is no name that can be asked for.
fn dns_name_fault(name: &str) -> Option<String> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.parse::<IpAddr>().is_ok() {
        return Some(format!(
            "{name:?} is an address, which needs no look-up; write it under `targets`"
        ));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |label: &str| {
        !label.is_empty() && label.len() <= limits::DNS_LABEL_BYTES && label.chars().all(valid)
    };
    let fits = bare.len() <= limits::DNS_NAME_BYTES && bare.split('.').all(label);
    (!fits).then(|| {
        format!(
            "expected a name such as app.internal, of at most {} letters, digits, `-`, `_` and dots, and at most {} between two dots; found {name:?}",
            limits::DNS_NAME_BYTES,
            limits::DNS_LABEL_BYTES
        )
    })
}
