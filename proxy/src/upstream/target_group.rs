//! What a request consults about its group: the candidates and how one is picked.

use std::sync::Arc;
use std::time::Duration;

use longshore_config::{Algorithm, ProtocolVersion, ProxyProtocol, TargetControl, Timeouts};
use tokio::sync::Notify;

use super::admission::Admission;
use super::budget::Budget;
use super::endpoint::Endpoint;
use super::identity::Identity;
use super::picker::{Asked, Picker};
use super::stickiness::Stickiness;
use crate::observe::counters::{PerWorker, Sides};
use crate::observe::ledger::GroupSide;
use crate::request::answer::Reason;
use crate::request::hash::HashKey;
use crate::request::retry::Policy;

/// One group in one snapshot. Immutable; what lives longer is behind `Arc`.
#[derive(Debug)]
pub struct TargetGroup {
    /// Its name.
    pub name: Arc<str>,
    /// Who may be picked: the healthy endpoints, or all that were ever checked when too few are
    /// healthy (fail open), without those of weight 0. Decided once, when the snapshot is built.
    /// In the order of their keys.
    pub candidates: Box<[Arc<Endpoint>]>,
    /// Where requests are counted that come while too few targets are healthy, so that unhealthy
    /// ones are candidates, too (ALB's `UnhealthyRoutingRequestCount`). None while there are enough.
    pub unhealthy_routing: Option<Arc<PerWorker>>,
    /// What is counted of its requests.
    pub ledger: Arc<Sides<GroupSide>>,
    /// Why there are no candidates, if there are none.
    pub empty: Reason,
    /// How one is picked.
    pub algorithm: Algorithm,
    /// The same, made for these candidates.
    pub picker: Picker,
    /// What of a request decides, with `consistent_hash`.
    pub hash: Option<HashKey>,
    /// How clients are kept at targets; none if they are not.
    pub stickiness: Option<Stickiness>,
    /// With which PROXY header its targets are connected to.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What its targets speak.
    pub protocol_version: ProtocolVersion,
    /// Asks the group's sources for a look at the world before its time.
    pub look_now: Box<[Arc<Notify>]>,
    /// The source answers, so that a look will tell something.
    pub can_confirm: bool,
    /// A source tells of its targets, and may know of others by now.
    pub is_discovered: bool,
    /// How many requests in a row may fail at a target before the control task looks at it, as
    /// `Runs::reach` takes it. None: it does not look.
    pub outliers: Option<[u16; 4]>,
    /// Some candidates may only get a few requests, or none.
    pub has_trials: bool,
    /// What is tried again; none: [`Policy::DEFAULT`].
    pub retry: Option<Arc<Policy>>,
    /// How often.
    pub budget: Arc<Budget>,
    /// Time limits of its own.
    pub timeouts: Option<Timeouts>,
    /// How many requests a target works at, if there is a limit.
    pub control: Option<Control>,
    /// How long response heads take is to be noted.
    pub is_timed: bool,
}

/// How many requests a target works at, and who waits.
#[derive(Debug, Clone)]
pub struct Control {
    /// The most in flight at one target.
    pub limit: u32,
    /// The most that wait in each worker.
    pub queue_length: usize,
    /// How long each waits.
    pub queue_timeout: Duration,
    /// Who waits.
    pub admission: Arc<Admission>,
}

impl Control {
    /// As the file says.
    #[must_use]
    pub fn new(config: &TargetControl, admission: &Arc<Admission>) -> Self {
        Self {
            limit: u32::try_from(config.max_concurrent_requests.get()).unwrap_or(u32::MAX),
            queue_length: usize::try_from(config.queue_length.get()).unwrap_or(usize::MAX),
            queue_timeout: config.queue_timeout.get(),
            admission: Arc::clone(admission),
        }
    }
}

impl TargetGroup {
    /// Picks a candidate that `usable` allows.
    pub fn pick(
        &self,
        asked: &Asked<'_>,
        usable: impl Fn(&Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        self.picker.pick(&self.candidates, asked, |endpoint| {
            !endpoint.is_retired() && usable(endpoint)
        })
    }

    /// The candidate of that identity, if `usable` allows it. No search: the place is known.
    pub fn find(
        &self,
        target: Identity,
        usable: impl Fn(&Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let place = self.stickiness.as_ref()?.place(target)?;
        let endpoint = self.candidates.get(place)?;
        (!endpoint.is_retired() && usable(endpoint)).then_some(endpoint)
    }

    /// Whether it has candidates, and they are healthy.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.unhealthy_routing.is_none() && !self.candidates.is_empty()
    }

    /// Whether requests in flight are counted over all workers.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.algorithm == Algorithm::LeastOutstandingRequests || self.control.is_some()
    }

    /// Whether requests are timed, and counted over all workers.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.algorithm == Algorithm::PeakEwma
    }
}
