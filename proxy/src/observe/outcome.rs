//! The record of one request: the source of what figures say about it.

use std::time::{Duration, Instant};

use super::counters::{ADDED, TIMES, class};
use super::ledger::Matched;
use super::note::{Durations, Note, Tried, TriedResult};
use crate::clock;
use crate::control::ids::GroupId;
use crate::request::answer::Reason;
use crate::request::desync::Finding;
use crate::request::link::Link;
use crate::serve::client::Client;
use crate::upstream::lease::Lease;

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
    /// For those who read logs or ask later. None if nobody does.
    note: Option<Box<Note>>,
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
    /// The head of a target's response was there, and how long the target had taken.
    answered: Option<(Instant, Duration)>,
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
            note: None,
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

    /// Notes something, if anybody reads notes.
    pub(crate) fn note(&mut self, write: impl FnOnce(&mut Note)) {
        if self.note.is_none() {
            self.note = self.client.worker.recorder.begin();
        }
        if let Some(note) = &mut self.note {
            write(note);
        }
    }

    /// An attempt at a target begins.
    pub(crate) fn attempts(&mut self, lease: &Lease) {
        self.times.attempted = Some(clock::now());
        self.times.dispatched = None;
        if let Some(note) = &mut self.note {
            let endpoint = lease.endpoint();
            let target = note.put(endpoint.name.as_bytes());
            note.tried.push(Tried {
                address: endpoint.address,
                target,
                result: None,
                took: Duration::ZERO,
            });
        }
    }

    /// A target that was asked beside the one of this attempt, since that time, is the one that
    /// counts.
    pub(crate) fn overtaken(&mut self, by: &Lease, since: Instant) {
        self.attempts(by);
        self.times.attempted = Some(since);
        self.times.dispatched = Some(since);
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
    pub(crate) fn answered(&mut self, status: u16) -> Duration {
        let now = clock::now();
        let since = self.times.dispatched.unwrap_or(now);
        let took = now.saturating_duration_since(since);
        self.times.answered = Some((now, took));
        self.came_to(TriedResult::Status(status), took);
        took
    }

    fn came_to(&mut self, result: TriedResult, took: Duration) {
        let note = self.note.as_mut();
        if let Some(tried) = note.and_then(|note| note.tried.last_mut()) {
            (tried.result, tried.took) = (Some(result), took);
        }
    }

    /// The attempt failed.
    pub(crate) fn failed(&mut self, reason: Reason) {
        let now = clock::now();
        let since = self.times.attempted.unwrap_or(now);
        let took = now.saturating_duration_since(since);
        self.came_to(TriedResult::Failed(reason.name()), took);
        self.is_in_vain();
    }

    /// The attempt failed, or its response is not the one for the client.
    pub(crate) fn is_in_vain(&mut self) {
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
    pub(crate) fn end(&mut self, link: &Link) {
        let (received, sent) = link.moved();
        self.moved = (received - self.before.0, sent - self.before.1);
    }

    fn record(&mut self) {
        let worker = &self.client.worker;
        let metrics = &worker.metrics;
        if let Some(finding) = self.finding {
            metrics.classified(finding);
        }
        if let Some(reason) = self.reason {
            metrics.answered(reason);
        }
        if let Some(status) = self.status {
            metrics.responded(status);
        }
        if self.cut_short {
            metrics.responses_cut_short.add(1);
        } else if !self.complete && !worker.is_over() {
            metrics.client_aborts.add(1);
        }
        let now = clock::now();
        let total = now.saturating_duration_since(self.times.begun);
        let micros = clock::in_micros(total);
        let class = self.status.map(class);
        let snapshot = worker.shared.load();
        let listener = snapshot.listener(self.client.listener);
        let group = self.group.and_then(|group| snapshot.group(group));
        if let Some(listener) = listener {
            let side = listener.ledger.own.of(worker.index);
            side.received.add(self.moved.0);
            side.sent.add(self.moved.1);
            if let Some(class) = class {
                side.responses.count(class);
                side.total.note_micros(&TIMES, micros);
                if let Some(rule) = listener.ledger.rule(self.matched) {
                    rule.of(worker.index).responses.count(class);
                }
            }
            if let Some(reason) = self.reason {
                side.reasons.count(reason as usize);
            }
        }
        if let Some(mut note) = self.note.take() {
            let listener = listener.map(|listener| &*listener.name);
            note.listener = note.put(listener.unwrap_or_default().as_bytes());
            if let Some(group) = group {
                note.group = note.put(group.name.as_bytes());
                note.candidates = group.candidates.len();
                note.fail_open = group.unhealthy_routing.is_some();
            }
            self.finish(&mut note, now, total);
            let badly = self.cut_short
                || self.retries > 0
                || note
                    .status
                    .is_none_or(|status| status >= 400 && note.reason.is_some() || status >= 500);
            worker.recorder.take(note, badly);
        }
        let Some(group) = group else {
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
        side.total.note_micros(&TIMES, micros);
        if let Some((target, added)) = self.times.shares(total) {
            side.target.note(&TIMES, target);
            side.added.note(&ADDED, added);
        }
    }
}

impl Outcome<'_> {
    /// Says in a note what came of it all.
    fn finish(&self, note: &mut Note, now: Instant, total: Duration) {
        let client = self.client;
        let status = self.status;
        note.kind = client.kind(status == Some(101));
        note.ended = client.worker.wall_micros(now);
        note.client = Some(client.peer);
        note.local = Some(client.local);
        note.connection = client.number;
        note.rule = match self.matched {
            Matched::Nothing => None,
            Matched::Default => Some(None),
            Matched::Rule(priority) => Some(Some(priority)),
        };
        let (none, why) = match client.worker.is_over() {
            true => (503, "drain_timeout"),
            // ALB's code for a client that left before its response.
            false => (460, "client_closed"),
        };
        note.status = status.or(Some(none));
        note.reason = match (self.reason, status) {
            (Some(reason), _) => Some(reason.name()),
            (None, None) => Some(why),
            (None, Some(_)) if self.cut_short => Some("response_cut_short"),
            (None, Some(_)) if !self.complete && client.worker.is_over() => Some(why),
            (None, Some(_)) => None,
        };
        note.target_status = status.filter(|_| self.reason.is_none());
        note.classification = self.finding.map(|it| (it.class().name(), it.name()));
        (note.received, note.sent) = self.moved;
        note.retries = self.retries;
        note.whole = self.complete;
        note.times = self.times.shown(now, total);
        if let Some(tls) = client.tls() {
            (note.protocol, note.cipher) = (tls.version, tls.cipher);
            note.resumed = tls.resumed;
            note.server_name = note.put(tls.server_name.as_bytes());
        }
    }
}

impl Times {
    fn shown(&self, end: Instant, total: Duration) -> Durations {
        let since =
            |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        let flowing = self
            .flowing
            .or(Some(end))
            .filter(|_| self.answered.is_some());
        Durations {
            request: since(Some(self.begun), self.dispatched),
            target: self.answered.map(|(_, took)| took),
            response: since(self.answered.map(|(at, _)| at), flowing),
            total,
            elsewhere: self.elsewhere,
        }
    }

    /// How long the target took, and what was added to that, of a request that ended after `total`.
    /// None without a response of a target.
    fn shares(&self, total: Duration) -> Option<(Duration, Duration)> {
        let (dispatched, (answered, target)) = (self.dispatched?, self.answered?);
        // All else, unless the client was waited for.
        let added = match self.flowing {
            Some(flowing) => {
                let before = dispatched.saturating_duration_since(self.begun);
                before + flowing.saturating_duration_since(answered)
            }
            None => total.saturating_sub(target),
        };
        Some((target, added.saturating_sub(self.elsewhere)))
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if self.started {
            self.client.request_ends();
            self.record();
        } else if let Some(note) = self.note.take() {
            self.client.worker.recorder.give_back(note);
        }
    }
}
