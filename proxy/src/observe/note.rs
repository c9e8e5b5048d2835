//! What is noted of one request while it lives, for the access log and for those who ask later why
//! it got what it got. Made of storage that is used again and again: a request allocates nothing
//! for it.

use std::net::SocketAddr;
use std::time::Duration;

use super::text;

/// The most that is kept of one part, in bytes, of a request that is long.
const KEPT_PART: u32 = 512;

/// The storage that is kept for the text of the next request. Most take an eighth of it.
const STORAGE: usize = 4 * 1024;

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
        text.shrink_to(STORAGE);
        tried.clear();
        *self = Self {
            text,
            tried,
            ..Self::default()
        };
    }

    /// Adds a text.
    pub(crate) fn put(&mut self, text: &[u8]) -> Part {
        let begin = self.text.len();
        self.text.extend_from_slice(cut(text));
        // Parts are far below 4 GiB: there are ten of them.
        Part(begin as u32, self.text.len() as u32)
    }

    /// Adds a URL.
    pub(crate) fn put_url(&mut self, secure: bool, host: &[u8], port: u16, target: &[u8]) -> Part {
        let begin = self.text.len();
        if secure {
            self.text.extend_from_slice(b"https://");
        } else {
            self.text.extend_from_slice(b"http://");
        }
        self.text.extend_from_slice(cut(host));
        self.text.push(b':');
        text::number(port.into(), &mut self.text);
        self.text.extend_from_slice(cut(target));
        Part(begin as u32, self.text.len() as u32)
    }

    /// A part of the text; empty if it was cut off.
    pub(crate) fn part(&self, part: Part) -> &[u8] {
        let (begin, end) = (part.0 as usize, part.1 as usize);
        self.text.get(begin..end).unwrap_or_default()
    }

    /// Cuts each of its texts to what is kept of it.
    pub(crate) fn shorten(&mut self) {
        let tried = self.tried.iter_mut().map(|tried| &mut tried.target);
        for part in tried.chain([
            &mut self.listener,
            &mut self.method,
            &mut self.url,
            &mut self.user_agent,
            &mut self.trace,
            &mut self.group,
            &mut self.redirect,
            &mut self.host,
            &mut self.server_name,
        ]) {
            part.1 = part.1.min(part.0.saturating_add(KEPT_PART));
        }
    }
}

/// As much of a text as is noted.
fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(PART_MAX)]
}
