//! Where labels of containers make groups and rules.

use std::collections::BTreeMap;

use super::discovery::{engine, is_queue};
use super::{Scope, check_name};
use crate::{LabelDiscovery, Listener, limits};

pub(super) fn labels(scope: &mut Scope<'_, '_>, labels: &LabelDiscovery, listeners: &[Listener]) {
    check_name(scope, &labels.name);
    match labels.sources().as_slice() {
        [_] => {}
        [] => scope.fault("a source is needed: `ecs` or `docker`"),
        several => scope.fault(format!(
            "one source is needed, found {}; make two entries of it",
            several.join(", ")
        )),
    }
    if let Some(ecs) = &labels.ecs {
        scope.key("ecs", |scope| {
            if ecs.cluster.trim().is_empty() {
                scope.fault_at("cluster", "a name is needed");
            }
            if let Some(queue) = &ecs.events_queue
                && !is_queue(queue)
            {
                scope.fault_at(
                    "events_queue",
                    format!("expected the URL or the name of an SQS queue, found {queue:?}"),
                );
            }
        });
    }
    if let Some(docker) = &labels.docker {
        let docker = docker.as_group(BTreeMap::new());
        scope.key("docker", |scope| engine(scope, &docker));
    }
    if labels.listeners.is_empty() {
        scope.fault_at("listeners", "at least one listener is needed");
    }
    let known = |name: &String| listeners.iter().any(|listener| listener.name == *name);
    scope.each("listeners", &labels.listeners, |scope, name| {
        if !known(name) {
            scope.fault(format!("there is no listener {name:?}"));
        }
    });
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let prefix = &labels.prefix;
    if prefix.is_empty()
        || prefix.len() > limits::NAME_BYTES
        || !prefix.chars().all(valid)
        || prefix.starts_with('.')
        || prefix.ends_with('.')
    {
        scope.fault_at(
            "prefix",
            format!(
                "a prefix has 1 to {} letters, digits, `-`, `_` and `.`, and no `.` at its ends; found {prefix:?}",
                limits::NAME_BYTES
            ),
        );
    }
    if labels.constraints.keys().any(|name| name.trim().is_empty()) {
        scope.fault_at("constraints", "a label has a name");
    }
}
