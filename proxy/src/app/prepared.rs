//! What a configuration needs before it can be taken: the files that it names, read and opened.

use std::sync::Arc;

use longshore_config::{Config, CookieKey};

use super::error::StartError;
use super::logs::{self, Logs};
use crate::clock;
use crate::observe::log_writer::LogCounts;
use crate::tls::Material;

/// Prepares configurations for a balancer, in any thread: a file system may take as long as it
/// likes.
#[derive(Debug)]
pub struct Preparer {
    /// What is in force.
    pub(super) config: Arc<Config>,
    pub(super) workers: usize,
    pub(super) own_ticket_key: CookieKey,
    pub(super) log_counts: LogCounts,
}

/// A configuration that can be taken.
#[derive(Debug)]
pub struct Prepared {
    pub(super) config: Config,
    pub(super) material: Material,
    /// None: as they are.
    pub(super) logs: Option<Logs>,
}

impl Preparer {
    /// Reads the files of a configuration.
    ///
    /// # Errors
    /// If one of them is not good, or a setting changed that needs a restart.
    pub fn prepare(&self, config: Config) -> Result<Prepared, StartError> {
        if worker_count(&config) != self.workers {
            return Err(StartError::NeedsRestart("runtime.workers"));
        }
        if config.runtime.state_directory != self.config.runtime.state_directory {
            return Err(StartError::NeedsRestart("runtime.state_directory"));
        }
        if config.admin != self.config.admin {
            return Err(StartError::NeedsRestart("admin"));
        }
        let material = read_files(&config, &self.own_ticket_key)?;
        let (old, new) = (&self.config.load_balancer, &config.load_balancer);
        let logs = match logs::differ(old, new) {
            true => Some(Logs::open(new, &self.log_counts)?),
            false => None,
        };
        Ok(Prepared {
            config,
            material,
            logs,
        })
    }
}

/// Reads the files of a configuration; all of them must be good.
pub(super) fn read_files(config: &Config, ticket_key: &CookieKey) -> Result<Material, StartError> {
    let now = clock::wall();
    let material = Material::read(config, ticket_key, now);
    let mut faults = material.faults(now);
    faults.retain(|fault| !fault.is_warning);
    if faults.is_empty() {
        Ok(material)
    } else {
        Err(StartError::Files(faults))
    }
}

/// How many threads serve clients.
pub(super) fn worker_count(config: &Config) -> usize {
    match config.runtime.workers {
        Some(count) => usize::try_from(count.get()).unwrap_or(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    }
}
