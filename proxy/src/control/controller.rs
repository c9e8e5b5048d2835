//! What is believed about all groups, and how an event changes it. No IO, no clock, no lock: time
//! and events are arguments, so that a test can play any history.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::{
    Check, Config, DesyncMitigationMode, Discovery, LabelDiscovery, PathNormalization,
    TargetGroup as GroupConfig,
};
use longshore_discovery::{Target, Update};
use tokio::sync::Notify;

use super::anomaly;
use super::arbiter::Verdict;
use super::checks::{CheckId, Checks};
use super::figures::CheckCounts;
use super::group::{Draining, Group, Source};
use super::ids::{GroupId, ListenerId};
use super::labelled::LabelSource;
use super::outlier::Cause;
use super::registry::{Addresses, Members};
use super::secure::{Secure, Secured};
use super::slow_start;
use super::snapshot::{Limits, Listener, Snapshot};
use super::spoken::{self, Spoken};
use super::threshold::{Failure, State};
use crate::observe::counters::{PerWorker, Sides};
use crate::request::attributes::Attributes;
use crate::request::sticky::ticket::Keyring;
use crate::serve::crowd::ConnectionLimits;
use crate::tls::target::TargetTls;
use crate::upstream::admission::Admission;
use crate::upstream::cursors::Cursors;
use crate::upstream::endpoint::Loss;
use crate::upstream::target_group::TargetGroup;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A source spoke.
    Discovered(GroupId, Update),
    /// A fault of its own has ended a source, some time ago.
    SourceEnded(GroupId),
    /// Targets that were known before a restart, and how old that knowledge is.
    Remembered(GroupId, Vec<Target>, Duration),
    /// Certificates or other files of a listener were read again, for the configuration of that
    /// number.
    Renewed(u64, ListenerId, Secured),
    /// The first check of a kind begins.
    Checking(CheckId),
    /// A check that began then ended.
    Checked(CheckId, Instant, Result<(), Failure>),
    /// Requests failed at an endpoint.
    Called(GroupId, u64),
    /// Time passed.
    Tick,
}

/// What must be done in the world because of an event.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Check this address from now on.
    Watch(CheckId, SocketAddr, Arc<Check>),
    /// Make that check now, and not only at its time.
    CheckNow(CheckId),
    /// Check no more.
    Unwatch(CheckId),
    /// Learn this group's targets from its source.
    Discover(GroupId, Box<GroupConfig>),
    /// Learn from its source which containers say by labels what they want.
    Explore(GroupId, Box<LabelDiscovery>),
    /// Stop that.
    Forget(GroupId),
}

/// All that the control task owns.
#[derive(Debug)]
pub struct Controller {
    pub(super) workers: usize,
    generation: u64,
    limits: Limits,
    cookie_keys: Arc<Keyring>,
    path_normalization: PathNormalization,
    attributes: Attributes,
    tls_headers: bool,
    connections: ConnectionLimits,
    http2: bool,
    pub(super) secure: Secure,
    desync_mitigation: DesyncMitigationMode,
    allow_get_body: bool,
    /// The configuration in force.
    pub(super) file: Arc<Config>,
    /// The ids of its listeners, in its order.
    pub(super) listener_ids: Vec<ListenerId>,
    /// Sources of labelled targets; they have ids as groups have.
    pub(super) labels: BTreeMap<GroupId, LabelSource>,
    /// What those labels make.
    pub(super) verdict: Verdict,
    next_id: u32,
    pub(super) listeners: BTreeMap<ListenerId, Arc<Listener>>,
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// Targets of groups that are gone, with requests in flight.
    pub(super) orphans: Vec<Draining>,
    pub(super) addresses: Addresses,
    pub(super) checks: Checks,
    /// Where this process listens: no target can be there.
    pub(super) own_addresses: BTreeSet<SocketAddr>,
    /// Groups as requests see them, as of the latest snapshot.
    pub(super) published: BTreeMap<GroupId, Arc<TargetGroup>>,
    /// Groups whose part of the snapshot is out of date.
    pub(super) stale: BTreeSet<GroupId>,
    pub(super) changed: bool,
    /// The zone of this process.
    pub(super) zone: Option<String>,
    /// The zones that requests are moved away from.
    pub(super) away: BTreeSet<String>,
    /// Those of them that an operator named, besides the file.
    pub(super) away_by_operator: Vec<String>,
    /// The time of the latest event.
    now: Option<Instant>,
    /// When shares that rise are set anew, and when targets are compared.
    next_step: Option<Instant>,
    next_judgement: Option<Instant>,
    /// When sources are asked again about targets in doubt.
    pub(super) next_question: Option<Instant>,
}

impl Controller {
    /// Knows nothing yet. `workers` is the number of worker threads.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            generation: 0,
            limits: Limits::default(),
            cookie_keys: Arc::default(),
            path_normalization: PathNormalization::default(),
            attributes: Attributes::default(),
            tls_headers: false,
            connections: ConnectionLimits::default(),
            http2: true,
            secure: Secure::default(),
            desync_mitigation: DesyncMitigationMode::default(),
            allow_get_body: false,
            file: Arc::new(Config::empty()),
            listener_ids: Vec::new(),
            labels: BTreeMap::new(),
            verdict: Verdict::default(),
            next_id: 0,
            listeners: BTreeMap::new(),
            groups: BTreeMap::new(),
            orphans: Vec::new(),
            addresses: Addresses::default(),
            checks: Checks::default(),
            own_addresses: BTreeSet::new(),
            published: BTreeMap::new(),
            stale: BTreeSet::new(),
            changed: false,
            zone: None,
            away: BTreeSet::new(),
            away_by_operator: Vec::new(),
            now: None,
            next_step: None,
            next_judgement: None,
            next_question: None,
        }
    }

    /// Takes a configuration in force. `listener_ids` are those of its listeners, in its order.
    /// Groups with the same name and the same source keep their targets and verdicts.
    pub fn configure(
        &mut self,
        config: &Config,
        listener_ids: &[ListenerId],
        now: Instant,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.now = Some(now);
        self.zone.clone_from(&config.runtime.zone);
        self.shift(&config.load_balancer.zonal_shift.away_from);
        let lb = &config.load_balancer;
        self.limits = Limits {
            idle: lb.idle_timeout.get(),
            client_keep_alive: lb.client_keep_alive.get(),
            request_header: lb.request_header_timeout.get(),
            connect: lb.connect_timeout.get(),
            response_header: None,
            total: None,
            tls_handshake: lb.tls_handshake_timeout.get(),
            drain: config.runtime.drain_timeout.get(),
            close_spread: config.runtime.websocket_close_spread.get(),
        };
        self.cookie_keys = Arc::new(Keyring::new(&config.runtime.cookie_keys));
        self.path_normalization = lb.path_normalization;
        self.attributes = Attributes::from(lb);
        let of = |most: u64| usize::try_from(most).unwrap_or(usize::MAX);
        let runtime = &config.runtime;
        let per_source = runtime.max_connections_per_source;
        self.connections = ConnectionLimits {
            all: runtime.max_connections.map(|most| of(most.get())),
            per_source: per_source.map(|most| u32::try_from(most.get()).unwrap_or(u32::MAX)),
        };
        self.tls_headers = lb.enable_tls_version_and_cipher_suite_headers;
        self.http2 = lb.enable_http2.0;
        self.desync_mitigation = lb.desync_mitigation_mode;
        self.allow_get_body = lb.allow_get_body;
        let gone: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, group)| {
                let mut named = config
                    .target_groups
                    .iter()
                    .filter(|it| *it.name == *group.name);
                match group.by_labels {
                    // The file takes the name for itself.
                    true => named.next().is_some(),
                    false => !named.any(|new| {
                        same_source(&new.discovery, &group.config.discovery)
                            && same_tls(self.secure.groups.get(&new.name), group.tls.as_ref())
                    }),
                }
            })
            .map(|(id, _)| *id)
            .collect();
        self.own_addresses = own_addresses(config);
        let mirrors: BTreeSet<&str> = config.groups_mirrored().collect();
        for group in self.groups.values_mut() {
            group.is_mirror = mirrors.contains(&*group.name);
        }
        for new in &config.target_groups {
            let known = self
                .groups
                .iter()
                .find(|(id, group)| *group.name == *new.name && !gone.contains(id))
                .map(|(id, _)| *id);
            let id = match known {
                Some(id) => {
                    self.reconfigure_group(id, new, now, &mut effects);
                    id
                }
                None => self.add_group(new, &mut effects),
            };
            if new.discovery.is_none() {
                let targets = longshore_discovery::fixed_targets(&new.targets, now);
                self.replace_targets(id, targets, now, &mut effects);
            }
            self.stale.insert(id);
        }
        // After the others have come: what is checked in the same way by both goes on.
        for id in gone {
            self.remove_group(id, now, &mut effects);
        }
        let in_use: BTreeSet<&str> = config.groups_in_use().collect();
        for group in self.groups.values_mut() {
            group.in_use = group.by_labels || in_use.contains(&*group.name);
            group.is_mirror = mirrors.contains(&*group.name);
        }
        self.file = Arc::new(config.clone());
        self.listener_ids = listener_ids.to_vec();
        self.configure_labels(config, &mut effects);
        self.arbitrate(now, &mut effects);
        self.distribute_all(now, &mut effects);
        effects
    }

    /// Moves requests away from these zones, and to all others.
    pub(super) fn shift(&mut self, away_from: &[String]) {
        let all = away_from.iter().chain(&self.away_by_operator);
        let away: BTreeSet<String> = all.cloned().collect();
        if away != self.away {
            tracing::info!(?away, "requests are moved away from zones");
            self.away = away;
            self.stale.extend(self.groups.keys());
        }
    }

    /// Takes an event.
    pub fn apply(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.now = Some(now);
        match event {
            Event::Discovered(id, update) if self.labels.contains_key(&id) => {
                self.labelled(id, update, now, &mut effects);
            }
            Event::Discovered(id, update) => self.discovered(id, update, now, &mut effects),
            Event::SourceEnded(id) => self.begin_anew(id, &mut effects),
            Event::Remembered(id, targets, age) if self.labels.contains_key(&id) => {
                self.remembered_labels(id, targets, age, now, &mut effects);
            }
            Event::Remembered(id, targets, age) => {
                self.remembered(id, targets, age, now, &mut effects);
            }
            Event::Renewed(epoch, id, new) => self.renewed(epoch, id, new),
            Event::Checking(check) => self.checks.begins(check),
            Event::Checked(check, began, result) => self.checked(check, began, &result, now),
            Event::Called(id, endpoint) => {
                let group = self.groups.get_mut(&id);
                if group.is_some_and(|group| group.look_at(endpoint, now)) {
                    self.stale.insert(id);
                }
            }
            Event::Tick => {
                self.tend_outliers(now);
                self.tend_doubts(now);
            }
        }
        self.end_draining(now);
        self.end_leaving(now, &mut effects);
        self.tend_shares(now);
        effects
    }

    /// The next snapshot, if anything that requests see has changed.
    pub fn snapshot(&mut self) -> Option<Snapshot> {
        if !self.changed && self.stale.is_empty() {
            return None;
        }
        for id in std::mem::take(&mut self.stale) {
            match self.groups.get(&id).zip(self.now) {
                Some((group, now)) => {
                    let before = self.published.get(&id).map(|before| &**before);
                    let group = group.publish(self.zone.as_deref(), &self.away, before, now);
                    self.published.insert(id, Arc::new(group))
                }
                None => self.published.remove(&id),
            };
        }
        self.changed = false;
        self.generation += 1;
        let mut snapshot = Snapshot::new(
            self.generation,
            self.limits,
            &self.cookie_keys,
            &self.listeners,
            &self.published,
        );
        snapshot.path_normalization = self.path_normalization;
        snapshot.attributes = self.attributes;
        snapshot.tls_headers = self.tls_headers;
        snapshot.connections = self.connections;
        snapshot.http2 = self.http2;
        snapshot.desync_mitigation = self.desync_mitigation;
        snapshot.allow_get_body = self.allow_get_body;
        Some(snapshot)
    }

    fn tend_outliers(&mut self, now: Instant) {
        for (id, group) in &mut self.groups {
            if group.tend_outliers(now) | group.compare(now) {
                self.stale.insert(*id);
            }
        }
    }

    /// Sets shares anew that change with time, or with what happened at the targets.
    fn tend_shares(&mut self, now: Instant) {
        if self.next_step.is_none_or(|next| now >= next) {
            self.next_step = Some(now + slow_start::STEP);
            for (id, group) in &mut self.groups {
                if group.tend_slow_starts(now) {
                    self.stale.insert(*id);
                }
            }
        }
        if self.next_judgement.is_none_or(|next| now >= next) {
            self.next_judgement = Some(now + anomaly::PERIOD);
            for (id, group) in &mut self.groups {
                group.tend_budget(anomaly::PERIOD);
                if group.judge() {
                    self.stale.insert(*id);
                }
            }
        }
    }

    /// Whether every group knows where it stands: its source has spoken, and its targets have a
    /// verdict.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let explored =
            |source: &LabelSource| source.source.answered.is_some() || source.source.failures > 0;
        self.labels.values().all(explored)
            && self.groups.values().all(|group| {
                group.source.answered.is_some()
                // A task that is on its way is a target soon.
                && group.source.problems.is_empty()
                && group
                    .members
                    .iter()
                    .all(|member| !member.usable || member.health.state() != State::Initial)
                    || group.source.failures > 0
            })
    }

    /// How to ask a group's source for a look before its time.
    pub(super) fn look_now(&self, id: GroupId) -> Option<Arc<Notify>> {
        let labels = self.labels.get(&id).map(|source| &source.look_now);
        let group = self.groups.get(&id);
        let group = group.and_then(|group| group.look_now.first());
        labels.or(group).map(Arc::clone)
    }

    pub(super) fn new_id(&mut self) -> GroupId {
        let id = GroupId(self.next_id);
        self.next_id += 1;
        id
    }

    /// The file in force as it was written.
    pub(super) fn written(&self) -> longshore_config::Written {
        self.file.written.clone()
    }

    /// The groups that a check is made for.
    pub(super) fn checked_for(&self, check: CheckId) -> BTreeSet<Arc<str>> {
        let subjects = self.checks.subjects(check).into_iter();
        let groups = subjects.filter_map(|(id, _)| self.groups.get(&id));
        groups.map(|group| Arc::clone(&group.name)).collect()
    }

    /// The most memory that the process may have.
    pub(super) fn max_memory(&self) -> Option<u64> {
        self.file.runtime.max_memory.map(|most| most.get())
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn add_group(&mut self, config: &GroupConfig, effects: &mut Vec<Effect>) -> GroupId {
        let id = self.new_id();
        let spoken = Spoken::first(config);
        self.groups.insert(
            id,
            Group {
                name: config.name.as_str().into(),
                config: config.clone(),
                by_labels: false,
                tls: self.secure.groups.get(&config.name).cloned(),
                spoken,
                check: config.check(spoken.version).map(Arc::new),
                in_use: true,
                is_mirror: false,
                counts: CheckCounts::default(),
                members: Members::default(),
                draining: Vec::new(),
                source: Source::default(),
                superseded: BTreeMap::new(),
                cursors: Arc::new(Cursors::new(self.workers)),
                unhealthy_routing: Arc::new(PerWorker::new(self.workers)),
                ledger: Arc::new(Sides::new(self.workers)),
                look_now: [Arc::default()].into(),
                admission: Arc::new(Admission::new(self.workers)),
                budget: Group::new_budget(&config.retry_budget),
                budget_seen: 0,
                suspects: BTreeSet::new(),
                waiting: BTreeSet::new(),
                ejections: [0; Cause::ALL.len()],
                next_comparison: None,
            },
        );
        if config.discovery.is_some() {
            effects.push(Effect::Discover(id, Box::new(config.clone())));
        }
        id
    }

    pub(super) fn remove_group(&mut self, id: GroupId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(mut group) = self.groups.remove(&id) else {
            return;
        };
        effects.push(Effect::Forget(id));
        for member in group.members.iter() {
            self.addresses.remove(id, member);
            self.checks.leave_all(id, member, effects);
        }
        // Requests in flight have the time that they would have if only their target left.
        self.orphans.append(&mut group.draining);
        let (name, delay) = (group.name, group.config.deregistration_delay.get());
        let left = group.members.into_iter();
        self.orphans
            .extend(left.map(|member| Draining::new(&name, member, delay, now)));
        self.stale.insert(id);
    }

    pub(super) fn reconfigure_group(
        &mut self,
        id: GroupId,
        config: &GroupConfig,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let learns = config.learns_protocol();
        if group.config.discovery != config.discovery
            || (config.discovery.is_some() && group.config.learns_protocol() != learns)
        {
            effects.push(Effect::Forget(id));
            effects.push(Effect::Discover(id, Box::new(config.clone())));
        }
        group.config = config.clone();
        let said = spoken::said(group.members.iter().map(|member| &member.target));
        self.agree(id, &said, now, effects);
        self.change_checks(id, now, effects);
    }

    /// Begins a source anew, if it is still wanted.
    fn begin_anew(&self, id: GroupId, effects: &mut Vec<Effect>) {
        let group = self.groups.get(&id).map(|group| &group.config);
        let begin = match (group, self.labels.get(&id)) {
            (Some(config), _) if config.discovery.is_some() => {
                Effect::Discover(id, Box::new(config.clone()))
            }
            (_, Some(labels)) => Effect::Explore(id, Box::new(labels.block.clone())),
            _ => return,
        };
        effects.extend([Effect::Forget(id), begin]);
    }

    fn discovered(&mut self, id: GroupId, update: Update, now: Instant, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        match update {
            Update::Set {
                targets,
                problems,
                at,
            } => {
                let recovered = group.source.error.take().is_some();
                let first = group.source.answered.replace(at).is_none();
                group.source.problems = problems;
                if recovered || first {
                    tracing::info!(target_group = %group.name, targets = targets.len(), "discovery answers");
                    self.stale.insert(id);
                }
                self.replace_targets(id, targets, now, effects);
            }
            Update::Changed { targets, problems } => {
                group.source.problems = problems;
                self.replace_targets(id, targets, now, effects);
            }
            Update::Failed { error, .. } => {
                group.source.failures += 1;
                if group.source.error.is_none() {
                    tracing::warn!(
                        target_group = %group.name,
                        %error,
                        targets = group.members.len(),
                        "discovery fails; the last good targets stay"
                    );
                    self.stale.insert(id);
                }
                group.source.error = Some(error);
            }
        }
    }

    /// Takes what was known before a restart, as long as the source has not spoken. It must pass
    /// its health check like any newcomer, and a port that may have changed hands since is in
    /// doubt until the source confirms it or turns out not to answer.
    pub(super) fn remembered(
        &mut self,
        id: GroupId,
        targets: Vec<Target>,
        age: Duration,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if group.source.answered.is_some() || group.check.is_none() {
            return;
        }
        tracing::info!(target_group = %group.name, targets = targets.len(), age_seconds = age.as_secs(), "the last good targets, from before the restart");
        group.source.remembered = now.checked_sub(age);
        self.agree(id, &spoken::said(targets.iter()), now, effects);
        for target in targets {
            let (key, doubtful) = (target.key.clone(), target.shared_port);
            self.register(id, target, true, now, effects);
            let group = self.groups.get(&id);
            let member = group.and_then(|group| group.members.get(&key));
            if let Some(member) = member.filter(|_| doubtful) {
                member.endpoint.lost_connection(now, Loss::Sudden);
            }
        }
    }
}

/// Whether two sources tell of the same targets; how often they are asked does not matter.
fn same_source(a: &Option<Discovery>, b: &Option<Discovery>) -> bool {
    a.as_ref().map(Discovery::identity) == b.as_ref().map(Discovery::identity)
}

/// Whether targets are connected to in the same way: a connection that was made otherwise must not
/// be used, so a group whose way changed is another one.
fn same_tls(a: Option<&Arc<TargetTls>>, b: Option<&Arc<TargetTls>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.is_same(b),
        _ => false,
    }
}

/// Where a configuration listens. On all addresses means: on each of this host, of which the one
/// that everybody has is named here.
fn own_addresses(config: &Config) -> BTreeSet<SocketAddr> {
    let listeners = config.listeners.iter();
    let configured = listeners.filter_map(|listener| listener.socket_address());
    let admin = config.admin.as_ref().map(|admin| admin.address);
    configured
        .chain(admin)
        .flat_map(|address| {
            let near = SocketAddr::from(([127, 0, 0, 1], address.port()));
            let near = address.ip().is_unspecified().then_some(near);
            [Some(address), near]
        })
        .flatten()
        .collect()
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "balancing_tests.rs"]
mod balancing_tests;
