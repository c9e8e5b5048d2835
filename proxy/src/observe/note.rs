//! What is noted of one request while it lives, for the access log and for those who ask later why
//! it got what it got. Made of storage that is used again and again: a request allocates nothing
//! for it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

/// The most text that is kept of a request for later: what is longer is cut.
const KEPT_TEXT: usize = 2 * 1024;

/// The longest text of one part (ALB cuts user agents at 8 KiB).
const PART_MAX: usize = 8 * 1024;

/// A part of a note's text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Part(u32, u32);

/// An attempt at a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tried {
    pub(crate) address: SocketAddr,
    pub(crate) target: Part,
    /// What it came to: none while it is at work.
    pub(crate) result: Option<TriedResult>,
    pub(crate) took: Duration,
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TriedResult {
    /// A response with this status.
    Status(u16),
    /// The name of a reason.
    Failed(&'static str),
}

/// One request.
#[derive(Debug, Default)]
pub(crate) struct Note {
    pub(super) text: Vec<u8>,
    pub(crate) kind: &'static str,
    /// When it ended, in microseconds since 1970-01-01.
    pub(crate) ended: u64,
    pub(crate) listener: Part,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) connection: u64,
    pub(crate) method: Part,
    pub(crate) url: Part,
    pub(crate) version: &'static str,
    pub(crate) user_agent: Part,
    pub(crate) trace: Part,
    pub(crate) rule: Option<Option<u64>>,
    pub(crate) group: Part,
    /// Who could be picked when it ended.
    pub(crate) candidates: usize,
    pub(crate) fail_open: bool,
    pub(crate) tried: Vec<Tried>,
    pub(crate) status: Option<u16>,
    pub(crate) target_status: Option<u16>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) classification: Option<(&'static str, &'static str)>,
    pub(crate) redirect: Part,
    pub(crate) host: Part,
    pub(crate) rewritten: bool,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) retries: u32,
    pub(crate) whole: bool,
    pub(crate) times: Durations,
    pub(crate) cipher: &'static str,
    pub(crate) protocol: &'static str,
    pub(crate) server_name: Part,
    pub(crate) resumed: bool,
}

/// How long what took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Durations {
    /// From the head to the way to the target, to its head, and to the way to the client: ALB's
    /// three. None where it did not come to that.
    pub(crate) request: Option<Duration>,
    pub(crate) target: Option<Duration>,
    pub(crate) response: Option<Duration>,
    pub(crate) total: Duration,
    /// With connecting, failed attempts and waits.
    pub(crate) elsewhere: Duration,
}

impl Note {
    /// Empty, with its storage.
    pub(crate) fn clear(&mut self) {
        let (mut text, mut tried) = (
            std::mem::take(&mut self.text),
            std::mem::take(&mut self.tried),
        );
        text.clear();
        tried.clear();
        *self = Self {
            text,
            tried,
            ..Self::default()
        };
    }

    /// Adds a text.
    pub(crate) fn put(&mut self, text: &[u8]) -> Part {
        self.put_all(&[text])
    }

    /// Adds texts as one.
    pub(crate) fn put_all(&mut self, texts: &[&[u8]]) -> Part {
        let begin = self.text.len();
        for text in texts {
            let room = PART_MAX.saturating_sub(self.text.len() - begin);
            self.text.extend_from_slice(&text[..text.len().min(room)]);
        }
        // Parts are far below 4 GiB: there are ten of them.
        Part(begin as u32, self.text.len() as u32)
    }

    /// A part of the text; empty if it was cut off.
    pub(crate) fn part(&self, part: Part) -> &[u8] {
        let (begin, end) = (part.0 as usize, part.1 as usize);
        self.text.get(begin..end).unwrap_or_default()
    }

    /// Cuts what nobody keeps for long.
    pub(crate) fn shrink(&mut self) {
        if self.text.len() > KEPT_TEXT {
            self.text.truncate(KEPT_TEXT);
        }
        if self.text.capacity() > 2 * KEPT_TEXT {
            self.text.shrink_to(KEPT_TEXT);
        }
    }

    /// Whether somebody asks for it by this: a trace identifier or a part of it, or a connection.
    pub(crate) fn is_about(&self, id: &str) -> bool {
        let trace = self.part(self.trace);
        let id = id.as_bytes();
        (!id.is_empty() && trace.windows(id.len()).any(|part| part == id))
            || format!("TID_{:032x}", self.connection).as_bytes() == id
    }

    /// As people and programs see it.
    pub(crate) fn view(&self) -> View<'_> {
        let text = |part| String::from_utf8_lossy(self.part(part));
        let some = |part| {
            let text = text(part);
            (!text.is_empty()).then_some(text)
        };
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        View {
            time: super::access_log::time(self.ended),
            r#type: self.kind,
            listener: text(self.listener),
            client: self.client,
            method: text(self.method),
            url: text(self.url),
            version: self.version,
            user_agent: some(self.user_agent),
            trace_id: some(self.trace),
            connection: format!("TID_{:032x}", self.connection),
            rule: self.rule.map(|rule| match rule {
                Some(priority) => priority.to_string(),
                None => "default".to_owned(),
            }),
            target_group: some(self.group),
            candidates: self.candidates,
            fail_open: self.fail_open,
            attempts: self
                .tried
                .iter()
                .map(|tried| Attempt {
                    target: text(tried.target),
                    address: tried.address,
                    status: match tried.result {
                        Some(TriedResult::Status(status)) => Some(status),
                        _ => None,
                    },
                    failure: match tried.result {
                        Some(TriedResult::Failed(reason)) => Some(reason),
                        _ => None,
                    },
                    seconds: tried.took.as_secs_f64(),
                })
                .collect(),
            status: self.status,
            target_status: self.target_status,
            reason: self.reason,
            classification: self.classification.map(|(class, _)| class),
            classification_reason: self.classification.map(|(_, reason)| reason),
            redirect_url: some(self.redirect),
            received_bytes: self.received,
            sent_bytes: self.sent,
            whole: self.whole,
            seconds: Seconds {
                total: self.times.total.as_secs_f64(),
                request: seconds(self.times.request),
                target: seconds(self.times.target),
                response: seconds(self.times.response),
                elsewhere: self.times.elsewhere.as_secs_f64(),
            },
            tls_protocol: (!self.protocol.is_empty()).then_some(self.protocol),
            tls_cipher: (!self.cipher.is_empty()).then_some(self.cipher),
            server_name: some(self.server_name),
        }
    }
}

type Text<'n> = std::borrow::Cow<'n, str>;

/// A request as a line of JSON says it.
#[derive(Debug, Serialize)]
pub(crate) struct View<'n> {
    time: String,
    r#type: &'static str,
    listener: Text<'n>,
    client: Option<SocketAddr>,
    method: Text<'n>,
    url: Text<'n>,
    version: &'static str,
    user_agent: Option<Text<'n>>,
    trace_id: Option<Text<'n>>,
    connection: String,
    rule: Option<String>,
    target_group: Option<Text<'n>>,
    candidates: usize,
    fail_open: bool,
    attempts: Vec<Attempt<'n>>,
    status: Option<u16>,
    target_status: Option<u16>,
    reason: Option<&'static str>,
    classification: Option<&'static str>,
    classification_reason: Option<&'static str>,
    redirect_url: Option<Text<'n>>,
    received_bytes: u64,
    sent_bytes: u64,
    whole: bool,
    seconds: Seconds,
    tls_protocol: Option<&'static str>,
    tls_cipher: Option<&'static str>,
    server_name: Option<Text<'n>>,
}

#[derive(Debug, Serialize)]
struct Attempt<'n> {
    target: Text<'n>,
    address: SocketAddr,
    status: Option<u16>,
    failure: Option<&'static str>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Seconds {
    total: f64,
    request: Option<f64>,
    target: Option<f64>,
    response: Option<f64>,
    elsewhere: f64,
}
