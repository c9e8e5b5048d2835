//! All that a request may consult: immutable, swapped whole.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ipnet::IpNet;
use longshore_config::{DesyncMitigationMode, PathNormalization, Span, Timeouts};
use tokio::sync::watch;

use super::ids::{GroupId, ListenerId};
use crate::observe::ledger::ListenerLedger;
use crate::request::attributes::Attributes;
use crate::request::headers::Renamed;
use crate::request::policy::Policy;
use crate::request::rules::RuleTable;
use crate::request::sticky::ticket::Keyring;
use crate::serve::crowd::{ConnectionLimits, Crowd};
use crate::tls::listener::ListenerTls;
use crate::upstream::target_group::TargetGroup;

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counted up with each change.
    pub generation: u64,
    /// Time limits.
    pub limits: Limits,
    /// What cookies are sealed with.
    pub cookie_keys: Arc<Keyring>,
    /// Targets are told the version and the cipher of a client's TLS.
    pub tls_headers: bool,
    /// Clients may speak HTTP/2.
    pub http2: bool,
    /// How many client connections there may be.
    pub(crate) connections: ConnectionLimits,
    /// How paths are spelt.
    pub path_normalization: PathNormalization,
    /// How requests are written for targets.
    pub attributes: Attributes,
    /// What happens to requests that readers could understand differently.
    pub desync_mitigation: DesyncMitigationMode,
    /// A body of GET or HEAD passes in `defensive`.
    pub allow_get_body: bool,
    listeners: Vec<Option<Arc<Listener>>>,
    groups: Vec<Option<Arc<TargetGroup>>>,
}

/// Time limits of all listeners; see `longshore_config::LoadBalancer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The longest silence on a connection, and the longest wait for a response head.
    pub idle: Duration,
    /// The longest life of a client connection.
    pub client_keep_alive: Duration,
    /// The longest time for a request head.
    pub request_header: Duration,
    /// The longest time for connecting to a target.
    pub connect: Duration,
    /// The longest time for the TLS handshake with a client.
    pub tls_handshake: Duration,
    /// How long requests in flight have when the process ends.
    pub drain: Duration,
    /// Over how long a time WebSockets are closed whose target, or the process, is about to go.
    pub close_spread: Duration,
    /// The longest time from the end of a request to the head of its response; none: `idle` alone.
    pub response_header: Option<Duration>,
    /// The longest time from the head of a request to the end of its response.
    pub total: Option<Duration>,
}

impl Limits {
    /// With those of a group or a rule in their place.
    #[must_use]
    pub fn with(mut self, timeouts: &Timeouts) -> Self {
        let Timeouts {
            connect,
            response_header,
            idle,
            total,
        } = timeouts;
        self.connect = connect.map_or(self.connect, Span::get);
        self.idle = idle.map_or(self.idle, Span::get);
        self.response_header = response_header.map(Span::get).or(self.response_header);
        self.total = total.map(Span::get).or(self.total);
        self
    }
}

/// A listener as requests see it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Its rules.
    pub rules: Arc<RuleTable>,
    /// What is counted of its requests, and of those of each rule.
    pub ledger: Arc<ListenerLedger>,
    /// None: plain HTTP.
    pub tls: Option<Arc<ListenerTls>>,
    /// Other names for fields about TLS. None if they have ALB's.
    pub renamed: Option<Arc<[Renamed]>>,
    /// The `server` field of answers of our own. None if they have none.
    pub server: Option<Arc<str>>,
    /// What holds for answers before a rule was found.
    pub policy: Option<Arc<Policy>>,
    /// From whom PROXY headers are taken, and must come; none if from nobody.
    pub trusted_proxies: Option<Box<[IpNet]>>,
}

impl Listener {
    /// Whether a connection from there must begin with a PROXY header.
    #[must_use]
    pub fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        let trusted = self.trusted_proxies.as_deref().unwrap_or_default();
        trusted.iter().any(|network| network.contains(&peer))
    }
}

impl Snapshot {
    /// A snapshot of these parts.
    #[must_use]
    pub fn new(
        generation: u64,
        limits: Limits,
        cookie_keys: &Arc<Keyring>,
        listeners: &BTreeMap<ListenerId, Arc<Listener>>,
        groups: &BTreeMap<GroupId, Arc<TargetGroup>>,
    ) -> Self {
        let mut snapshot = Self {
            generation,
            limits,
            cookie_keys: Arc::clone(cookie_keys),
            ..Self::default()
        };
        for (id, listener) in listeners {
            place(&mut snapshot.listeners, id.0, listener);
        }
        for (id, group) in groups {
            place(&mut snapshot.groups, id.0, group);
        }
        snapshot
    }

    /// All listeners.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (ListenerId, &Arc<Listener>)> {
        let all = (0..).zip(&self.listeners);
        all.filter_map(|(id, listener)| Some((ListenerId(id), listener.as_ref()?)))
    }

    /// All groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (GroupId, &Arc<TargetGroup>)> {
        let all = (0..).zip(&self.groups);
        all.filter_map(|(id, group)| Some((GroupId(id), group.as_ref()?)))
    }

    /// A listener. None after a reload removed it.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&Arc<Listener>> {
        self.listeners.get(id.0 as usize)?.as_ref()
    }

    /// A group. None after a reload removed it.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Arc<TargetGroup>> {
        self.groups.get(id.0 as usize)?.as_ref()
    }
}

fn place<T>(places: &mut Vec<Option<Arc<T>>>, id: u32, value: &Arc<T>) {
    let index = id as usize;
    if places.len() <= index {
        places.resize_with(index + 1, || None);
    }
    places[index] = Some(Arc::clone(value));
}

/// The one pointer that changes.
#[derive(Debug)]
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// The open connections of each address.
    pub(crate) crowd: Crowd,
    generation: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            snapshot: ArcSwap::default(),
            crowd: Crowd::default(),
            generation: watch::Sender::new(0),
        }
    }
}

impl Shared {
    /// The newest snapshot. To be dropped before the next await: arc-swap has few fast slots for
    /// each thread.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The number of the newest snapshot, to wait for the next.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// For the control task only.
    pub(super) fn store(&self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        self.snapshot.store(Arc::new(snapshot));
        self.generation.send_replace(generation);
    }

    /// Endpoints were confirmed without a change of the snapshot.
    pub(super) fn confirmed(&self) {
        self.generation.send_modify(|_| {});
    }
}
