//! The record of one request: the source of what figures say about it.

use std::time::{Duration, Instant};

use super::counters::{ADDED, TIMES, class};
use super::ledger::Matched;
use crate::clock;
use crate::control::ids::GroupId;
use crate::request::answer::Reason;
use crate::request::desync::Finding;
use crate::request::link::Link;
use crate::serve::connection::Client;

/// One request from its head to its last byte. Recorded when dropped, so that a request whose
/// client leaves is recorded too.
pub(crate) struct Outcome<'c> {
    client: &'c Client,
    /// Its head was read; before that nothing is recorded.
    started: bool,
    times: Times,
    matched: Matched,
    group: Option<GroupId>,
    status: Option<u16>,
    reason: Option<Reason>,
    /// By what the request was classified; none if it is compliant.
    finding: Option<Finding>,
    retries: u32,
    complete: bool,
    cut_short: bool,
    /// What the connection had moved when it began, and what the request has moved.
    before: (u64, u64),
    moved: (u64, u64),
}

/// When what happened.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// Its head was there.
    begun: Instant,
    /// The latest attempt began.
    attempted: Option<Instant>,
    /// The latest attempt had a connection, and sent.
    dispatched: Option<Instant>,
    /// The head of a target's response was there.
    answered: Option<Instant>,
    /// The client was sent what there was of it.
    flowing: Option<Instant>,
    /// What it spent with connecting, failed attempts and waits.
    elsewhere: Duration,
}

impl<'c> Outcome<'c> {
    /// Of what is read next.
    pub(crate) fn new(client: &'c Client, link: &Link) -> Self {
        Self {
            client,
            started: false,
            times: Times {
                begun: clock::now(),
                attempted: None,
                dispatched: None,
                answered: None,
                flowing: None,
                elsewhere: Duration::ZERO,
            },
            matched: Matched::Nothing,
            group: None,
            status: None,
            reason: None,
            finding: None,
            retries: 0,
            complete: false,
            cut_short: false,
            before: link.moved(),
            moved: (0, 0),
        }
    }

    /// A request's head was read.
    pub(crate) fn start(&mut self, matched: Matched, finding: Option<Finding>) {
        self.client.request_begins();
        self.started = true;
        self.matched = matched;
        self.finding = finding;
    }

    /// It goes to that group.
    pub(crate) fn goes_to(&mut self, group: GroupId) {
        self.group = Some(group);
    }

    /// An attempt at a target begins.
    pub(crate) fn attempts(&mut self) {
        self.times.attempted = Some(clock::now());
        self.times.dispatched = None;
    }

    /// Its connection was there already.
    pub(crate) fn reuses(&mut self) {
        self.times.dispatched = self.times.attempted;
        self.client.worker.metrics.connections_reused.add(1);
    }

    /// Its connection is there now.
    pub(crate) fn connected(&mut self) {
        let now = clock::now();
        self.times.dispatched = Some(now);
        self.client.worker.metrics.connections_opened.add(1);
        let Some(attempted) = self.times.attempted else {
            return;
        };
        let took = now.saturating_duration_since(attempted);
        self.times.elsewhere += took;
        let snapshot = self.client.worker.shared.load();
        if let Some(group) = self.group.and_then(|group| snapshot.group(group)) {
            let side = group.ledger.of(self.client.worker.index);
            side.connect.note(&TIMES, took);
        }
    }

    /// The head of the target's response is there. Tells how long the target took.
    pub(crate) fn answered(&mut self) -> Duration {
        let now = clock::now();
        self.times.answered = Some(now);
        let since = self.times.dispatched.unwrap_or(now);
        now.saturating_duration_since(since)
    }

    /// The attempt failed, or its response is not the one for the client.
    pub(crate) fn failed(&mut self) {
        let now = clock::now();
        // What connecting took is counted already.
        let since = self.times.dispatched.or(self.times.attempted);
        let since = since.unwrap_or(now);
        self.times.elsewhere += now.saturating_duration_since(since);
        self.times.answered = None;
    }

    /// It waited for a target since then.
    pub(crate) fn waited(&mut self, since: Instant) {
        let took = clock::now().saturating_duration_since(since);
        self.times.elsewhere += took;
        let snapshot = self.client.worker.shared.load();
        if let Some(group) = self.group.and_then(|group| snapshot.group(group)) {
            let side = group.ledger.of(self.client.worker.index);
            side.wait.note(&TIMES, took);
        }
    }

    /// What there is of the response is on its way, and the rest will follow.
    pub(crate) fn flows(&mut self) {
        self.times.flowing = Some(clock::now());
    }

    /// A response begins, ours or a target's.
    pub(crate) fn respond(&mut self, status: u16) {
        self.status = Some(status);
        self.client.response_begins();
    }

    /// It is an answer of our own.
    pub(crate) fn respond_because(&mut self, reason: Reason, status: u16) {
        self.reason = Some(reason);
        self.respond(status);
    }

    /// Another attempt follows.
    pub(crate) fn retried(&mut self) {
        self.retries += 1;
        self.client.worker.metrics.retries.add(1);
    }

    /// The last byte of the response was sent.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The target's response ended before its end.
    pub(crate) fn cut_short(&mut self) {
        self.cut_short = true;
    }

    /// It is over; notes what moved on its connection meanwhile.
    pub(crate) fn end(mut self, link: &Link) {
        let (received, sent) = link.moved();
        self.moved = (received - self.before.0, sent - self.before.1);
    }

    fn record(&self) {
        let worker = &self.client.worker;
        let metrics = &worker.metrics;
        if let Some(finding) = self.finding {
            metrics.classified(finding);
        }
        if let Some(reason) = self.reason {
            metrics.answered(reason);
        }
        match self.status {
            Some(status) => metrics.responded(status),
            None => metrics.client_aborts.add(1),
        }
        if self.cut_short {
            metrics.responses_cut_short.add(1);
        } else if self.status.is_some() && !self.complete {
            metrics.client_aborts.add(1);
        }
        let now = clock::now();
        let total = now.saturating_duration_since(self.times.begun);
        let class = self.status.map(class);
        let snapshot = worker.shared.load();
        if let Some(listener) = snapshot.listener(self.client.listener) {
            let side = listener.ledger.own.of(worker.index);
            side.received.add(self.moved.0);
            side.sent.add(self.moved.1);
            if let Some(class) = class {
                side.responses.count(class);
                side.total.note(&TIMES, total);
                if let Some(rule) = listener.ledger.rule(self.matched) {
                    rule.of(worker.index).responses.count(class);
                }
            }
            if let Some(reason) = self.reason {
                side.reasons.count(reason as usize);
            }
        }
        let Some(group) = self.group.and_then(|group| snapshot.group(group)) else {
            return;
        };
        let side = group.ledger.of(worker.index);
        side.retries.add(u64::from(self.retries));
        if let Some(reason) = self.reason {
            side.reasons.count(reason as usize);
        }
        let Some(class) = class else {
            return;
        };
        side.responses.count(class);
        side.total.note(&TIMES, total);
        if let Some((target, added)) = self.times.shares(now) {
            side.target.note(&TIMES, target);
            side.added.note(&ADDED, added);
        }
    }
}

impl Times {
    /// How long the target took, and what was added to that. None without a response of a target.
    fn shares(&self, end: Instant) -> Option<(Duration, Duration)> {
        let (dispatched, answered) = (self.dispatched?, self.answered?);
        let target = answered.saturating_duration_since(dispatched);
        let before = dispatched.saturating_duration_since(self.begun);
        let flowing = self.flowing.unwrap_or(end);
        let after = flowing.saturating_duration_since(answered);
        Some((target, before.saturating_sub(self.elsewhere) + after))
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if self.started {
            self.client.request_ends();
            self.record();
        }
    }
}
