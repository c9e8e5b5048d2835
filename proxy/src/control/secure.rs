//! TLS as the controller knows it: what listeners serve, and what is wrong with their files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::controller::Controller;
use super::ids::ListenerId;
use super::snapshot::Listener;
use crate::tls::listener::{ListenerFiles, ListenerTls};
use crate::tls::target::TargetTls;

/// The most certificates of one listener whose end is a metric of its own: those that end first.
const FIGURES_MAX: usize = 100;

/// The TLS of all listeners and groups.
#[derive(Debug, Default)]
pub struct Secure {
    /// Counted up with each configuration: what was read for an earlier one counts no more.
    pub(super) epoch: u64,
    pub(super) listeners: BTreeMap<ListenerId, Secured>,
    pub(super) groups: BTreeMap<String, Arc<TargetTls>>,
}

/// The TLS of one listener.
#[derive(Debug)]
pub struct Secured {
    tls: Arc<ListenerTls>,
    /// What is wrong, for people.
    faults: Vec<String>,
    /// The files of certificates, and when each ends, in seconds since 1970; the first first.
    ends: Vec<(String, u64)>,
    count: usize,
}

impl Secured {
    /// What the files hold. None if they cannot be served.
    #[must_use]
    pub fn of(files: &ListenerFiles, now: Duration) -> Option<Self> {
        let tls = files.build()?;
        let mut ends: Vec<(String, u64)> = files
            .ends()
            .map(|(path, end)| (path.display().to_string(), end))
            .collect();
        let count = ends.len();
        ends.sort_by_key(|(_, end)| *end);
        ends.truncate(FIGURES_MAX);
        // One file may serve twice.
        ends.sort();
        ends.dedup_by(|a, b| a.0 == b.0);
        let faults = files.faults(now);
        Some(Self {
            tls,
            faults: faults.into_iter().map(|fault| fault.message).collect(),
            ends,
            count,
        })
    }
}

/// The figures of one listener's certificates.
#[derive(Debug)]
pub(crate) struct CertificateFigures {
    pub(crate) listener: String,
    pub(crate) count: u64,
    pub(crate) faults: u64,
    pub(crate) ends: Vec<(String, u64)>,
}

/// A listener with TLS in `/targets`.
#[derive(Debug, Clone, Serialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Certificates that it serves.
    pub certificates: usize,
    /// When the first of them ends, in seconds since 1970.
    pub first_end: Option<u64>,
    /// What is wrong with its files. What was good before is served.
    pub faults: Vec<String>,
}

impl Controller {
    /// Takes the TLS of the configuration that comes next. Tells its number.
    pub fn secure(
        &mut self,
        listeners: BTreeMap<ListenerId, Secured>,
        groups: BTreeMap<String, Arc<TargetTls>>,
    ) -> u64 {
        let epoch = self.secure.epoch + 1;
        self.secure = Secure {
            epoch,
            listeners,
            groups,
        };
        epoch
    }

    /// The files of a listener have changed.
    pub(super) fn renewed(&mut self, epoch: u64, id: ListenerId, new: Secured) {
        if epoch != self.secure.epoch {
            return;
        }
        if let Some(listener) = self.listeners.get_mut(&id) {
            *listener = Arc::new(Listener {
                tls: Some(Arc::clone(&new.tls)),
                ..Listener::clone(listener)
            });
            self.changed = true;
        }
        self.secure.listeners.insert(id, new);
    }

    pub(super) fn listener_tls(&self, id: ListenerId) -> Option<Arc<ListenerTls>> {
        Some(Arc::clone(&self.secure.listeners.get(&id)?.tls))
    }

    pub(super) fn listener_views(&self) -> Vec<ListenerView> {
        self.named()
            .map(|(name, secured)| ListenerView {
                name,
                certificates: secured.count,
                first_end: secured.ends.iter().map(|(_, end)| *end).min(),
                faults: secured.faults.clone(),
            })
            .collect()
    }

    pub(super) fn certificate_figures(&self) -> Vec<CertificateFigures> {
        self.named()
            .map(|(listener, secured)| CertificateFigures {
                listener,
                count: secured.count as u64,
                faults: secured.faults.len() as u64,
                ends: secured.ends.clone(),
            })
            .collect()
    }

    fn named(&self) -> impl Iterator<Item = (String, &Secured)> {
        self.secure.listeners.iter().filter_map(|(id, secured)| {
            let name = self.listeners.get(id)?.name.to_string();
            Some((name, secured))
        })
    }
}
