//! What the labels of a container make of it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::{DockerDiscovery, LabelDiscovery, Labels};

use super::aim::Aim;
use super::api::{Detail, Summary};
use super::resolve::resolve;
use crate::naming::Naming;
use crate::target::{Claim, Target};

/// What Docker Compose labels a container with: all containers of a service mean the same.
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_PROJECT: &str = "com.docker.compose.project";

/// All containers of an engine, by their labels.
#[derive(Debug, Clone)]
pub struct Labelled {
    labels: LabelDiscovery,
    place: DockerDiscovery,
}

impl Labelled {
    /// None if the block is about something else than an engine.
    #[must_use]
    pub fn new(labels: LabelDiscovery) -> Option<Self> {
        let engine = labels.docker.as_ref()?;
        // The engine need not tell of what is not exposed.
        let enable = (format!("{}.enable", labels.prefix), String::new());
        let filter = (!labels.exposed_by_default).then_some(enable);
        let place = engine.as_group(filter.into_iter().collect());
        Some(Self { labels, place })
    }

    fn claim(&self, labels: &Labels, name: &str) -> Claim {
        let compose = labels.get(COMPOSE_SERVICE).zip(labels.get(COMPOSE_PROJECT));
        let (owner, name) = match compose {
            Some((service, project)) => (
                format!("service {service} of {project}"),
                format!("{service}-{project}"),
            ),
            None => (format!("container {name}"), name.to_owned()),
        };
        Claim {
            owner: owner.into(),
            name: name.into(),
            labels: Arc::new(labels.clone()),
        }
    }
}

impl Aim for Labelled {
    fn place(&self) -> &DockerDiscovery {
        &self.place
    }

    fn wants(&self, summary: &Summary) -> bool {
        // One whose labels are not told may be one that is exposed.
        let labels = summary.labels.as_ref();
        labels.is_none_or(|labels| !matches!(self.labels.port_of(labels), Ok(None)))
    }

    fn target(
        &self,
        summary: &Summary,
        name: &Arc<str>,
        detail: &Detail,
        confirmed_at: Instant,
    ) -> Result<Target, String> {
        let Some(labels) = &summary.labels else {
            return Err("the engine does not tell its labels".to_owned());
        };
        let port = match self.labels.port_of(labels) {
            Ok(Some(port)) => port,
            Ok(None) => return Err("it is not exposed".to_owned()),
            Err(fault) => return Err(fault.to_string()),
        };
        let prefix = &self.labels.prefix;
        let naming = Naming::Labels(prefix);
        if port.port_name.is_some() {
            return Err(format!(
                "label `{prefix}.port_name`: ports of Docker have no names; use {naming}"
            ));
        }
        let spec = DockerDiscovery {
            labels: BTreeMap::new(),
            container_port: port.container_port,
            ..self.place.clone()
        };
        let target = resolve(summary, name, detail, &spec, naming, confirmed_at)?;
        Ok(Target {
            claim: Some(Arc::new(self.claim(labels, name))),
            ..target
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "labelled_tests.rs"]
mod tests;
