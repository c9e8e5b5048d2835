//! What is to be done with a request, as far as its head, the rules and their policies tell. One look
//! at one snapshot, without waiting for anything.

use std::sync::Arc;

use longshore_config::ProtocolVersion;

use super::admit::{self, Admitted, admit};
use super::answer::{Answer, Reason};
use super::basic::Verdict;
use super::desync::{self, Measure};
use super::exchange::Inbound;
use super::grpc;
use super::headers::{self, Outgoing};
use super::link::Link;
use super::normal;
use super::policy::Terms;
use super::protocol;
use super::retry::{self, Policy as RetryPolicy};
use super::rules::{Action, Facts, Found, Own};
use super::sticky::{self, Sticky};
use super::trace;
use super::transform::Rewritten;
use super::upload::Upload;
use crate::clock;
use crate::control::ids::GroupId;
use crate::control::snapshot::{Limits, Snapshot};
use crate::http1::body::Body;
use crate::http1::buffer::LARGE;
use crate::http1::field::is;
use crate::http1::head::{HeadError, RequestHead, room};
use crate::observe::ledger::Matched;
use crate::observe::note::Note;
use crate::observe::outcome::Outcome;
use crate::serve::client::Client;
use crate::upstream::target_group::TargetGroup;

/// Bodies up to so many bytes are kept for targets with HTTP/2: they may say at any time, and as a
/// matter of course when they go, that they have done nothing of a request.
const KEPT: usize = 16 * 1024;

/// What becomes of a request, as far as its head and the rules tell.
pub(super) enum Plan {
    More,
    Answer(Inbound<'static>, Body, Answer, Option<Box<Terms>>),
    Forward(Inbound<'static>, Upload, Route),
}

impl Plan {
    pub(super) fn terms(&mut self) -> Option<&mut Terms> {
        match self {
            Self::More => None,
            Self::Answer(.., terms) => terms.as_deref_mut(),
            Self::Forward(.., route) => route.terms.as_deref_mut(),
        }
    }

    /// The same plan, or the answer to credentials that are not right.
    pub(super) fn admit(mut self, verdict: Verdict) -> Self {
        let Some(Err(answer)) = self.terms().map(|terms| terms.admit(verdict)) else {
            return self;
        };
        match self {
            Self::More => Self::More,
            Self::Answer(inbound, body, _, terms) => Self::Answer(inbound, body, answer, terms),
            Self::Forward(mut inbound, upload, route) => {
                inbound.close |= upload.is_held_back();
                Self::Answer(inbound, upload.body, answer, route.terms)
            }
        }
    }
}

/// Where a request goes.
pub(super) struct Route {
    pub(super) destination: Destination,
    pub(super) limits: Limits,
    /// What is tried again; none: [`RetryPolicy::DEFAULT`].
    pub(super) retry: Option<Arc<RetryPolicy>>,
    /// None without sticky sessions.
    pub(super) sticky: Option<Box<Sticky>>,
    /// None if its rule does nothing besides its action.
    pub(super) terms: Option<Box<Terms>>,
}

/// Which way a request goes by its rule: where a route comes from, which is large and made once.
struct Way<'s> {
    destination: Destination,
    /// The group. None if it has just been removed.
    known: Option<&'s TargetGroup>,
    /// What the rule says in place of the group.
    own: Option<&'s Own>,
    sticky: Option<Box<Sticky>>,
}

impl Way<'_> {
    fn version(&self) -> ProtocolVersion {
        let version = self.known.map(|group| group.protocol_version);
        version.unwrap_or_default()
    }

    fn retry(&self) -> Option<&Arc<RetryPolicy>> {
        let own = self.own.and_then(|own| own.retry.as_ref());
        own.or_else(|| self.known?.retry.as_ref())
    }

    /// Bodies up to so many bytes are kept, whatever the retry policy says.
    fn keeps(&self) -> usize {
        match self.version() {
            ProtocolVersion::Http1 => 0,
            ProtocolVersion::Http2 | ProtocolVersion::Grpc => KEPT,
        }
    }

    fn limits(&self, mut limits: Limits) -> Limits {
        let group = self.known.and_then(|group| group.timeouts.as_ref());
        let own = self.own.map(|own| &own.timeouts);
        for timeouts in [group, own].into_iter().flatten() {
            limits = limits.with(timeouts);
        }
        limits
    }
}

/// A group, and what of the request its choice of a target depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    pub(super) group: GroupId,
    /// With `consistent_hash`, if the request has what is hashed.
    pub(super) hash: Option<u64>,
}

/// Reads a head, lets it in or not, finds its rule, and writes it for the target.
pub(super) fn plan(client: &Client, link: &mut Link, outcome: &mut Outcome<'_>) -> Plan {
    let mut inbound = Inbound {
        is_head: false,
        is_1_1: true,
        close: true,
        replayable: false,
        idempotent: false,
        safe: false,
        websocket: false,
        alone: false,
        announced: None,
        matched: Matched::Nothing,
        finding: None,
        sticky: None,
        is_grpc: false,
        terms: None,
    };
    let snapshot = client.worker.shared.load();
    let listener = snapshot.listener(client.listener);
    let mut refuse = |inbound: Inbound<'static>, reason| {
        outcome.note(|note| note_line(note, link.wire.input.data()));
        let policy = listener.and_then(|listener| listener.policy.as_ref());
        let terms = policy.map(|policy| Box::new(Terms::new(policy)));
        let answer = Answer::refusal(reason, inbound.finding);
        Plan::Answer(inbound, Body::NONE, answer, terms)
    };
    let bytes = link.wire.input.data();
    let mut room = room();
    let head = match RequestHead::parse(bytes, &mut room) {
        Ok(Some(head)) => head,
        Ok(None) if bytes.len() < LARGE => return Plan::More,
        Ok(None) | Err(HeadError::TooManyFields) => {
            let reason = admit::long_line(bytes).unwrap_or(Reason::RequestHeaderTooLarge);
            return refuse(inbound, reason);
        }
        Err(HeadError::Malformed(_)) if admit::is_other_version(bytes) => {
            inbound.finding = desync::judge(bytes);
            return refuse(inbound, Reason::VersionNotSupported);
        }
        Err(HeadError::Malformed(_)) => {
            inbound.finding = desync::judge(bytes);
            return refuse(inbound, Reason::MalformedRequest);
        }
    };
    if let Some(reason) = admit::long_line(&bytes[..head.len]) {
        return refuse(inbound, reason);
    }
    inbound.is_head = head.method == "HEAD";
    inbound.is_1_1 = head.is_1_1;
    let admitted = match admit(&head) {
        Ok(admitted) => admitted,
        Err(reason) => {
            inbound.finding = desync::judge(&bytes[..head.len]);
            return refuse(inbound, reason);
        }
    };
    // Only POST can be gRPC.
    inbound.is_grpc = head.method == "POST" && grpc::asks(head.fields);
    // Before anything is made for it.
    if client.worker.shared.crowd.sheds_requests() {
        return refuse(inbound, Reason::MemoryLimit);
    }
    let clean_lines = desync::has_clean_lines(&head, bytes);
    if !(admitted.is_clean && clean_lines) {
        inbound.finding = desync::judge(&bytes[..head.len]);
    }
    // A finding hides others of its class, of which only this one can be left here.
    let get_body = snapshot.allow_get_body && clean_lines;
    match desync::measure(snapshot.desync_mitigation, inbound.finding, get_body) {
        Measure::Pass => {}
        Measure::PassAlone => inbound.alone = true,
        Measure::Block => return refuse(inbound, Reason::DesyncMitigation),
    }
    // What rules see is what the target gets.
    let Ok(path) = normal::path(admitted.path, snapshot.path_normalization) else {
        return refuse(inbound, Reason::BadTarget);
    };
    let attributes = &snapshot.attributes;
    let host = match admitted.host_field {
        Some(field) if attributes.preserve_host => Some(field),
        _ => admitted.host,
    };
    let host = host.map(normal::host);
    let admitted = Admitted {
        path: &path,
        host: host.as_deref(),
        // What follows a request that is not clear is not let through unseen.
        websocket: admitted.websocket && !inbound.alone,
        ..admitted
    };
    inbound.close = admitted.close || inbound.alone;
    inbound.websocket = admitted.websocket;
    inbound.idempotent = retry::is_idempotent(head.method);
    inbound.safe = retry::is_safe(head.method);
    inbound.replayable = inbound.idempotent && admitted.body.is_done();
    let host = admitted.host.unwrap_or_default();
    let facts = Facts {
        method: head.method,
        host,
        host_name: normal::without_port(host),
        path: admitted.path,
        query: admitted.query,
        fields: head.fields,
        source: client.peer.ip(),
    };
    let Some(listener) = listener else {
        return refuse(inbound, Reason::ListenerRemoved);
    };
    outcome.note(|note| note_head(note, client, &head, &facts));
    let found = listener.rules.find(&facts);
    inbound.matched = found.rule.map_or(Matched::Default, Matched::Rule);
    let policy = found.policy;
    let mut terms = policy.map(|policy| Box::new(Terms::new(policy)));
    let judged = terms.as_mut().map_or(Ok(()), |terms| {
        let length = admitted.body.length();
        terms.judge(&facts, length, clock::micros(clock::now()))
    });
    let routed = judged.and_then(|()| route(client, &snapshot, &facts, &found, inbound.websocket));
    let plan = match routed {
        Ok((way, rewritten)) => {
            let outgoing = Outgoing {
                forwarded: &client.forwarded,
                local: client.local,
                attributes,
                trace: attributes
                    .makes_traces()
                    .then(|| client.worker.trace_seed()),
                edits: policy.and_then(|policy| policy.request.as_ref()),
                host_is_ours: rewritten.host().is_some(),
            };
            let admitted = rewritten.apply(admitted);
            let mut out = client.worker.buffers.output();
            let trace = headers::write_request(&mut out, &head, &admitted, &outgoing);
            outcome.note(|note| {
                let trace = trace.and_then(|place| out.get(place));
                // Where we make none, the client or the policy may have one.
                let trace = trace.or_else(|| trace::written(&out));
                if let Some(trace) = trace.or_else(|| trace::sent(head.fields)) {
                    note.trace = note.put(trace);
                }
                if let Some(host) = rewritten.host() {
                    note.host = note.put(host.as_bytes());
                }
                note.rewritten = rewritten != Rewritten::default();
            });
            let group = way.known;
            inbound.announced = group.and_then(|group| group.proxy_protocol);
            let mirror = policy.and_then(|policy| policy.mirror.as_ref());
            let copy = mirror
                .filter(|_| !admitted.websocket)
                .and_then(|mirror| mirror.copy(client, &out, inbound.is_head));
            let retry = way.retry();
            let body_max = retry.map_or(0, |retry| retry.body_max);
            let body_max = body_max.max(way.keeps());
            let upload = Upload::new(out, admitted.body, admitted.expects_continue, body_max)
                .with_limit(policy.and_then(|policy| policy.body_limit))
                .with_copy(copy);
            let route = Route {
                limits: way.limits(snapshot.limits),
                destination: way.destination,
                retry: retry.cloned(),
                sticky: way.sticky,
                terms,
            };
            Plan::Forward(inbound, upload, route)
        }
        Err(answer) => {
            outcome.note(|note| {
                if let Some(sent) = trace::sent(head.fields) {
                    note.trace = note.put(sent);
                }
            });
            // A client that waits for `100 Continue` may send its body or not: nobody can tell
            // where its next request begins.
            inbound.close |= admitted.expects_continue;
            Plan::Answer(inbound, admitted.body, answer, terms)
        }
    };
    let len = head.len;
    link.wire.input.consume(len);
    plan
}

/// Notes the first line of what is no request that can be served.
fn note_line(note: &mut Note, bytes: &[u8]) {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let mut words = line.unwrap_or_default().splitn(3, |byte| *byte == b' ');
    if let (Some(method), Some(url)) = (words.next(), words.next()) {
        note.method = note.put(method);
        note.url = note.put(url);
    }
}

/// Notes what a request says of itself.
fn note_head(note: &mut Note, client: &Client, head: &RequestHead<'_>, facts: &Facts<'_>) {
    note.method = note.put(head.method.as_bytes());
    note.version = match (client.is_http2(), head.is_1_1) {
        (true, _) => "HTTP/2.0",
        (false, true) => "HTTP/1.1",
        (false, false) => "HTTP/1.0",
    };
    let target = head.target.as_bytes();
    note.url = if target.starts_with(b"/") {
        let host = facts.host_name.as_bytes();
        note.put_url(client.is_secure(), host, client.local.port(), target)
    } else {
        note.put(target)
    };
    let named = |name| head.fields.iter().find(|field| is(field.name, name));
    if let Some(agent) = named("user-agent") {
        note.user_agent = note.put(agent.value);
    }
}

/// The group for a request, or the answer of a rule.
fn route<'s>(
    client: &Client,
    snapshot: &'s Snapshot,
    facts: &Facts<'_>,
    found: &Found<'s>,
    websocket: bool,
) -> Result<(Way<'s>, Rewritten), Answer> {
    match found.action {
        // RFC 9110 §9.3.8: the target would send back what the client cannot see otherwise.
        Action::Forward(_) if facts.method == "TRACE" => {
            Err(Answer::error(Reason::MethodNotAllowed))
        }
        Action::Forward(split) => {
            let keys = &*snapshot.cookie_keys;
            let rule = split.keeps().map(|keeps| {
                let found = sticky::of_rule(keys, keeps, facts.fields, clock::wall_millis());
                (keeps, found)
            });
            let kept = rule.and_then(|(keeps, found)| keeps.group(found.there?));
            let is_healthy = |group| {
                snapshot
                    .group(group)
                    .is_some_and(|group| group.is_healthy())
            };
            let group = split.route(kept, |sum| client.worker.draw(sum), is_healthy);
            let Some(group) = group else {
                return Err(Answer::error(Reason::GroupRemoved));
            };
            let Ok(rewritten) = found.transforms.apply(facts.host, facts.path, facts.query) else {
                return Err(Answer::error(Reason::TransformFailed));
            };
            let known = snapshot.group(group).map(|known| &**known);
            let mut way = Way {
                destination: Destination { group, hash: None },
                known,
                own: split.own(),
                sticky: None,
            };
            if !protocol::suits(
                way.version(),
                client.is_http2(),
                websocket,
                facts.method,
                facts.fields,
            ) {
                return Err(Answer::error(Reason::ProtocolVersionMismatch));
            }
            let target = known
                .and_then(|known| known.stickiness.as_ref())
                .map(|with| sticky::of_group(keys, with, facts.fields, clock::wall_millis()));
            let hash = known.and_then(|known| known.hash.as_ref());
            way.destination.hash = hash.and_then(|key| key.of(facts));
            way.sticky = Sticky::new(group, rule, target, facts.fields);
            Ok((way, rewritten))
        }
        Action::Redirect(redirect) => Err(
            match redirect.location(facts, client.scheme(), client.local.port()) {
                Ok(location) => Answer::redirect(redirect.status, location),
                Err(reason) => Answer::error(reason),
            },
        ),
        Action::Fixed(fixed) => Err(Answer::fixed(
            fixed.status,
            fixed.content_type.clone(),
            fixed.body.clone(),
        )),
    }
}
