//! What an engine is watched for: the containers of one group, or all that say by labels what they
//! want. Pure.

use std::sync::Arc;
use std::time::Instant;

use longshore_config::DockerDiscovery;

use super::api::{Detail, Summary};
use super::resolve::resolve;
use crate::naming::Naming;
use crate::target::Target;

/// What an engine is watched for.
pub trait Aim: Send + Sync {
    /// Where the engine is, and how its containers are reached.
    fn place(&self) -> &DockerDiscovery;

    /// Whether a container is meant at all.
    fn wants(&self, summary: &Summary) -> bool;

    /// The target that a container is. `name` is what it is called in its identity.
    ///
    /// # Errors
    /// Why it is none.
    fn target(
        &self,
        summary: &Summary,
        name: &Arc<str>,
        detail: &Detail,
        confirmed_at: Instant,
    ) -> Result<Target, String>;
}

impl Aim for DockerDiscovery {
    fn place(&self) -> &DockerDiscovery {
        self
    }

    fn wants(&self, _: &Summary) -> bool {
        true
    }

    fn target(
        &self,
        summary: &Summary,
        name: &Arc<str>,
        detail: &Detail,
        confirmed_at: Instant,
    ) -> Result<Target, String> {
        resolve(summary, name, detail, self, Naming::Keys, confirmed_at)
    }
}
