//! What the attempts of one request have shown. No IO.

use super::answer::Reason;
use super::exchange::Inbound;
use super::reason_for;
use super::retry::Known;
use super::upload::Upload;
use crate::upstream::error::AttemptError;
use crate::upstream::lease::Lease;

/// How often one request waits for a target. The second time means that what was confirmed in the
/// first was lost again.
const WAITS_MAX: u32 = 2;

/// What the attempts of one request have shown.
#[derive(Default)]
pub(crate) struct Attempts {
    /// How many targets may see the request.
    most: u32,
    waits: u32,
    count: usize,
    /// How often the request may have reached a target that did not answer.
    lost: usize,
    /// How many targets could not be connected to since the latest wait.
    unreached: usize,
    /// Endpoints that are not asked again. Grows only when something fails.
    tried: Vec<u64>,
    /// An attempt found out after connecting that its target is in doubt.
    doubtful: bool,
    trusting: bool,
    fresh: bool,
    second_chance: bool,
    /// A target has refused it.
    refused: bool,
    /// The endpoint against which only a stale connection speaks.
    stale: Option<u64>,
    failure: Option<Reason>,
}

impl Attempts {
    /// None so far, of a request that so many targets may see.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: u32::try_from(most).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }

    /// Whether no target may see the request after the next one that does.
    pub(crate) fn is_at_the_last(&self) -> bool {
        self.lost + 1 >= self.most as usize
    }

    /// Whether nothing was tried yet, nor waited for.
    pub(crate) fn is_first(&self) -> bool {
        self.count == 0 && self.waits == 0
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    /// What is known of a request, with so many attempts more than were noted.
    pub(crate) fn known(&self, inbound: &Inbound<'_>, upload: &Upload, more: usize) -> Known {
        Known {
            idempotent: inbound.idempotent,
            untouched: !upload.is_touched(),
            repeatable: upload.is_repeatable(),
            attempts: self.count + more,
            seen: self.lost + more,
        }
    }

    pub(crate) fn tried(&self, endpoint: u64) -> bool {
        self.tried.contains(&endpoint)
    }

    /// Notes a failed attempt.
    pub(crate) fn note(&mut self, lease: &Lease, error: &AttemptError) {
        self.count += 1;
        self.failure = Some(reason_for(error));
        match error {
            AttemptError::RequestTimeout
            | AttemptError::RequestBody(_)
            | AttemptError::RequestBodyTooLarge
            | AttemptError::ClientGone => {}
            AttemptError::Doubtful => self.doubtful = true,
            AttemptError::Closed { sent, reused, .. } => {
                self.lost += usize::from(*sent);
                lease.failed();
                // A connection that was idle for too long says nothing about the target.
                if !reused {
                    lease.erred();
                }
            }
            AttemptError::Expired | AttemptError::Overdue => lease.failed(),
            AttemptError::Malformed(_) | AttemptError::ResponseTimeout => {
                self.lost += 1;
                lease.failed();
                lease.erred();
            }
            AttemptError::Refused(_) => {
                lease.failed();
                // Once. A target that refuses twice has no room.
                self.second_chance |= !std::mem::replace(&mut self.refused, true);
            }
            AttemptError::Connect(_)
            | AttemptError::Tls(_)
            | AttemptError::NotHttp2(_)
            | AttemptError::ConnectTimeout => {
                self.unreached += usize::from(matches!(
                    error,
                    AttemptError::Connect(_) | AttemptError::ConnectTimeout
                ));
                lease.failed();
                lease.erred();
            }
        }
        self.tried.push(lease.endpoint().id);
        if matches!(error, AttemptError::Closed { reused: true, .. }) {
            // Others in the pool are likely to be closed too. The target may be well, but another one
            // is the safer choice while there is one.
            self.fresh = true;
            self.second_chance = true;
        }
        if matches!(error, AttemptError::Closed { stale: true, .. }) {
            self.stale = Some(lease.endpoint().id);
        } else if self.was_stale(lease.endpoint().id) {
            self.stale = None;
        }
    }

    /// Notes a response after which another target is asked. If there is none, the same one is.
    pub(crate) fn note_response(&mut self, lease: &Lease) {
        self.count += 1;
        self.lost += 1;
        self.tried.push(lease.endpoint().id);
        self.second_chance = true;
    }

    /// Notes a target that still has time to answer while another one is asked too.
    pub(crate) fn note_hedged(&mut self, lease: &Lease) {
        self.tried.push(lease.endpoint().id);
    }

    /// Notes that another target answered before one that may have seen the request as well.
    pub(crate) fn note_overtaken(&mut self) {
        self.lost += 1;
    }

    /// Whether the latest attempt at an endpoint met a connection that it had closed meanwhile, idle
    /// for long. The next one is made on a new connection, so this holds only once.
    pub(crate) fn was_stale(&self, endpoint: u64) -> bool {
        self.stale == Some(endpoint)
    }

    /// Whether targets that were tried may be tried once more, because only a stale connection
    /// speaks against them.
    pub(crate) fn takes_second_chance(&mut self) -> bool {
        let taken = std::mem::take(&mut self.second_chance);
        if taken {
            self.tried.clear();
        }
        taken
    }

    /// Whether no attempt has failed for another reason than doubt.
    pub(crate) fn has_only_doubts(&self) -> bool {
        self.doubtful || self.failure.is_none()
    }

    /// Whether to wait for a target.
    pub(crate) fn may_wait(&self) -> bool {
        self.waits < WAITS_MAX && !self.trusting
    }

    /// How many targets could not be connected to since the latest wait.
    pub(crate) fn unreached(&self) -> usize {
        self.unreached
    }

    /// Whether to ask the source where its targets are, because those that are known cannot be
    /// connected to. Once: what a look has shown since then is not out of date.
    pub(crate) fn may_ask(&self) -> bool {
        self.waits == 0 && !self.trusting
    }

    /// A wait is over, and every target may be tried again. If it was in vain, those that nobody
    /// could confirm are trusted: doubt alone never fails a request.
    pub(crate) fn waited(&mut self, usable: bool) {
        self.waits += 1;
        self.trusting |= !usable || self.waits >= WAITS_MAX;
        self.doubtful = false;
        self.unreached = 0;
        self.tried.clear();
    }

    /// Trust targets, because nobody could confirm them.
    pub(crate) fn trust_if(&mut self, cannot_confirm: bool) {
        self.trusting |= cannot_confirm;
    }

    pub(crate) fn trusts(&self) -> bool {
        self.trusting
    }

    pub(crate) fn wants_fresh_connection(&self) -> bool {
        self.fresh
    }

    /// Why no target is left.
    pub(crate) fn failure(&self) -> Reason {
        self.failure.unwrap_or(Reason::ConnectFailed)
    }
}
