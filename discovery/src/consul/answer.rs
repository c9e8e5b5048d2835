//! What an answer of Consul's health API says. No IO and no clock.

use std::collections::{BTreeMap, btree_map};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::element::{kind, shown, usable};
use crate::target::{Problem, Target, TargetKey};

/// The most instances that are taken. Each has a health check.
const INSTANCES_MAX: usize = 10_000;

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// `X-Consul-Index`
    pub(super) index: Option<String>,
    /// `X-Consul-Results-Filtered-By-ACLs`
    pub(super) filtered: bool,
    pub(super) body: bytes::Bytes,
}

/// What it says.
#[derive(Debug)]
pub(super) struct Answer {
    /// The version of the answer; a query that names it waits for a newer one.
    pub(super) index: u64,
    /// One for each address, by node and service id.
    pub(super) targets: Vec<Target>,
    /// Instances that are no targets, and why.
    pub(super) problems: Vec<Problem>,
}

/// Reads an answer about the instances of `service` to a query that was sent at `asked_at`.
///
/// # Errors
/// Why nothing of it can be believed.
pub(super) fn read(service: &str, reply: &Reply, asked_at: Instant) -> Result<Answer, String> {
    if reply.status != 200 {
        let text = String::from_utf8_lossy(&reply.body);
        return Err(format!(
            "Consul answers {}: {}",
            reply.status,
            shown(text.trim())
        ));
    }
    // Without the right, Consul leaves instances out and answers 200 all the same.
    if reply.filtered {
        return Err(
            "Consul leaves out what the token may not read; it needs service:read and node:read"
                .to_owned(),
        );
    }
    let index = reply.index.as_deref().and_then(|index| index.parse().ok());
    let Some(index) = index else {
        return Err("the answer has no X-Consul-Index; is `address` that of Consul?".to_owned());
    };
    let root: Value = serde_json::from_slice(&reply.body)
        .map_err(|error| format!("the answer is not valid JSON: {error}"))?;
    let Some(entries) = root.as_array() else {
        return Err(format!("the answer is {}, not a list", kind(&root)));
    };
    if entries.len() > INSTANCES_MAX {
        return Err(format!(
            "the service has {} instances; {INSTANCES_MAX} are the most that are taken",
            entries.len()
        ));
    }
    let mut problems = Vec::new();
    // Of two registrations at one address, the older one was left behind.
    let mut found: BTreeMap<SocketAddr, (u64, Target)> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        let subject =
            text(entry, "Service", "ID").map_or_else(|| format!("[{place}]"), shown_plain);
        match instance(service, entry, asked_at) {
            Err(reason) => problems.push(Problem { subject, reason }),
            Ok(new) => match found.entry(new.1.address) {
                btree_map::Entry::Vacant(slot) => {
                    slot.insert(new);
                }
                btree_map::Entry::Occupied(mut slot) => {
                    let old = if slot.get().0 < new.0 {
                        slot.insert(new).1
                    } else {
                        new.1
                    };
                    let now = &slot.get().1;
                    problems.push(Problem {
                        subject: old.key.task_id().to_owned(),
                        reason: format!(
                            "{} is that of {} too, which was registered later",
                            old.address, now.key
                        ),
                    });
                }
            },
        }
    }
    if let (true, Some(first)) = (found.is_empty(), problems.first()) {
        return Err(format!(
            "none of the instances is a target; {}: {}",
            first.subject, first.reason
        ));
    }
    let mut targets: Vec<Target> = found.into_values().map(|(_, target)| target).collect();
    targets.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Answer {
        index,
        targets,
        problems,
    })
}

/// An instance, and when it was registered.
fn instance(service: &str, entry: &Value, asked_at: Instant) -> Result<(u64, Target), String> {
    let id = text(entry, "Service", "ID").ok_or("has no Service.ID")?;
    let node = text(entry, "Node", "Node").ok_or("has no Node.Node")?;
    // Consul: an instance without an address of its own is at its node's.
    let own = text(entry, "Service", "Address").filter(|own| !own.is_empty());
    let host = own
        .or_else(|| text(entry, "Node", "Address"))
        .ok_or("has no address")?;
    let ip: IpAddr = host.parse().map_err(|_| {
        format!(
            "{} is not an IP address; host names are not resolved",
            shown(host)
        )
    })?;
    let port = entry.pointer("/Service/Port").and_then(Value::as_u64);
    let port = port
        .and_then(|port| u16::try_from(port).ok())
        .ok_or("has no Service.Port from 1 to 65535")?;
    let address = usable(SocketAddr::new(ip, port))?;
    let zone = ["/Service/Meta/zone", "/Node/Meta/zone"]
        .iter()
        .find_map(|path| entry.pointer(path).and_then(Value::as_str))
        .filter(|zone| !zone.is_empty());
    // Consul: 1 unless the instance was registered with another one. What it has of this after a
    // warning (`Weights.Warning`) does not matter: only passing instances are asked for.
    let weight = entry
        .pointer("/Service/Weights/Passing")
        .and_then(Value::as_u64)
        .map_or(1, |weight| u16::try_from(weight).unwrap_or(u16::MAX));
    let registered = entry.pointer("/Service/CreateIndex");
    let target = Target {
        key: TargetKey {
            task: format!("consul/{node}/{id}").into(),
            container: service.into(),
            port,
        },
        address,
        zone: zone.map(Arc::from),
        weight,
        instance: None,
        // Consul does not tell.
        shared_port: false,
        started_at: None,
        protocol_version: None,
        claim: None,
        confirmed_at: asked_at,
    };
    Ok((registered.and_then(Value::as_u64).unwrap_or(0), target))
}

fn text<'v>(entry: &'v Value, part: &str, key: &str) -> Option<&'v str> {
    entry.get(part)?.get(key)?.as_str()
}

/// An id, without marks if it is short.
fn shown_plain(id: &str) -> String {
    let shown = shown(id);
    shown
        .strip_prefix('"')
        .and_then(|it| it.strip_suffix('"'))
        .map_or_else(|| shown.clone(), ToOwned::to_owned)
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "answer_tests.rs"]
mod tests;
