//! Lines of the access log: ALB's 34 fields in their order and one of ours, or JSON. They are
//! written in place and allocate nothing. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use super::note::{Note, Part, Tried, TriedResult};
use super::room::Room;
use super::text::{self, Second};
use crate::clock::in_micros;

/// A line as ALB writes it (user guide, "Access log entries").
pub(crate) fn alb<'r>(note: &Note, second: &mut Second, room: Room<'r>) -> Room<'r> {
    let mut line = Line {
        room,
        is_plain: text::is_plain(&note.text),
    };
    let last = note.tried.last();
    let address = last.map(|tried| tried.address);
    line.known(note.kind);
    line.moment(note.ended, second);
    line.word(note.part(note.listener));
    line.socket(note.client);
    line.socket(address);
    for took in [note.times.request, note.times.target, note.times.response] {
        line.seconds(took);
    }
    line.number(note.status.map(u64::from));
    line.number(note.target_status.map(u64::from));
    line.number(Some(note.received));
    line.number(Some(note.sent));
    line.room.put(b"\"");
    line.any(note.part(note.method));
    line.room.put(b" ");
    line.any(note.part(note.url));
    line.room.put(b" ");
    line.any(note.version.as_bytes());
    line.room.put(b"\" ");
    line.quoted(note.part(note.user_agent));
    line.known(note.cipher);
    line.known(note.protocol);
    line.word(note.part(note.group));
    line.quoted(note.part(note.trace));
    line.quoted(note.part(note.server_name));
    line.choice(if note.resumed { "session-reused" } else { "" });
    line.number(note.rule.map(Option::unwrap_or_default));
    let total = in_micros(note.times.total);
    line.moment(note.ended.saturating_sub(total), second);
    line.choice(actions(note));
    line.quoted(note.part(note.redirect));
    // ALB's codes are those of Lambda and of authentication at identity providers, which are not
    // here; programs that read its logs take no others.
    line.choice("");
    match address {
        Some(address) => {
            line.room.put(b"\"");
            line.room.socket(address);
            line.room.put(b"\" ");
        }
        None => line.choice(""),
    }
    match last.and_then(status) {
        Some(status) => {
            line.room.put(b"\"");
            line.room.number(status.into());
            line.room.put(b"\" ");
        }
        None => line.choice(""),
    }
    let (class, why) = note.classification.unwrap_or_default();
    line.choice(class);
    line.choice(why);
    line.room.connection(note.connection);
    line.room.put(b" ");
    line.quoted(if note.rewritten {
        note.part(note.host)
    } else {
        b""
    });
    line.choice("");
    line.choice(match (note.rewritten, note.reason) {
        (_, Some("transform_failed")) => "TransformFailed",
        (true, _) => "TransformSuccess",
        (false, _) => "",
    });
    match note.local {
        Some(local) => {
            line.room.ip(local.ip());
            line.room.put(b" ");
        }
        None => line.known(""),
    }
    // Behind ALB's fields, where its guide tells readers to ignore what they do not know.
    let reason = note
        .reason
        .filter(|it| !matches!(*it, "fixed_response" | "redirect"));
    line.room.put(b"\"");
    line.any(reason.unwrap_or_default().as_bytes());
    line.room.put(b"\"\n");
    line.room
}

fn actions(note: &Note) -> &'static str {
    match note.reason {
        Some("fixed_response") => "fixed-response",
        Some("redirect") => "redirect",
        Some("unauthorized" | "authentication_busy") => "authenticate",
        _ if note.group == Part::default() => "",
        _ if note.rewritten => "rewrite,forward",
        _ => "forward",
    }
}

/// The status of a response, if there was one.
fn status(tried: &Tried) -> Option<u16> {
    match tried.result {
        Some(TriedResult::Status(status)) => Some(status),
        _ => None,
    }
}

/// Fields with a space behind each.
struct Line<'r> {
    room: Room<'r>,
    /// No text of the note needs escapes.
    is_plain: bool,
}

impl Line<'_> {
    /// What has no space in it.
    #[inline(always)]
    fn word(&mut self, text: &[u8]) {
        self.room.put_all(text::or_dash(text));
        self.room.put(b" ");
    }

    /// One of our own words.
    #[inline(always)]
    fn known(&mut self, word: &'static str) {
        self.word(word.as_bytes());
    }

    #[inline(always)]
    fn number(&mut self, value: Option<u64>) {
        match value {
            Some(value) => {
                self.room.number(value);
                self.room.put(b" ");
            }
            None => self.room.put(b"- "),
        }
    }

    #[inline(always)]
    fn socket(&mut self, address: Option<SocketAddr>) {
        match address {
            Some(address) => {
                self.room.socket(address);
                self.room.put(b" ");
            }
            None => self.room.put(b"- "),
        }
    }

    #[inline(always)]
    fn moment(&mut self, micros: u64, second: &mut Second) {
        self.room.moment(micros, second);
        self.room.put(b" ");
    }

    #[inline(always)]
    fn seconds(&mut self, took: Option<Duration>) {
        match took {
            Some(took) => {
                self.room.seconds(took);
                self.room.put(b" ");
            }
            None => self.room.put(b"-1 "),
        }
    }

    /// Something of a request, inside of quotes.
    #[inline(always)]
    fn any(&mut self, text: &[u8]) {
        let text = text::or_dash(text);
        if self.is_plain || text::is_plain(text) {
            self.room.put_all(text);
        } else {
            self.room = text::escape_alb(text, std::mem::take(&mut self.room));
        }
    }

    /// The same with its quotes.
    #[inline(always)]
    fn quoted(&mut self, text: &[u8]) {
        if text.is_empty() {
            return self.room.put(b"\"-\" ");
        }
        self.room.put(b"\"");
        self.any(text);
        self.room.put(b"\" ");
    }

    /// One of our own words in quotes.
    #[inline(always)]
    fn choice(&mut self, word: &'static str) {
        if word.is_empty() {
            return self.room.put(b"\"-\" ");
        }
        self.room.put(b"\"");
        self.room.put_all(word.as_bytes());
        self.room.put(b"\" ");
    }
}

/// What stands before a value: with the comma, as it is, and with the quote that begins a text. As
/// arrays, so that each is written by a few instructions.
struct Key<const B: usize, const Q: usize> {
    bare: &'static [u8; B],
    quoted: &'static [u8; Q],
}

macro_rules! array {
    ($($text:expr),+) => {{
        const TEXT: &[u8] = concat!($($text),+).as_bytes();
        const ARRAY: [u8; TEXT.len()] = match TEXT.first_chunk() {
            Some(array) => *array,
            None => unreachable!(),
        };
        &ARRAY
    }};
}

/// That of a value that is not the first.
macro_rules! key {
    ($name:literal) => {
        Key {
            bare: array!(",\"", $name, "\":"),
            quoted: array!(",\"", $name, "\":\""),
        }
    };
}

/// A line of JSON. What there is nothing to say of is left out: it was a fifth of most lines, and
/// what a line costs depends on its length.
pub(crate) fn json<'r>(note: &Note, second: &mut Second, room: Room<'r>) -> Room<'r> {
    let mut line = Json {
        room,
        is_plain: text::is_plain(&note.text),
    };
    line.room.put(b"{\"time\":\"");
    line.room.moment(note.ended, second);
    line.room.put(b"\"");
    line.known(key!("type"), Some(note.kind));
    line.text(key!("listener"), note.part(note.listener));
    line.socket(key!("client"), note.client);
    line.text(key!("method"), note.part(note.method));
    line.text(key!("url"), note.part(note.url));
    line.known(key!("version"), Some(note.version));
    line.any(key!("user_agent"), note.part(note.user_agent));
    line.any(key!("trace_id"), note.part(note.trace));
    line.room.put(key!("connection").quoted);
    line.room.connection(note.connection);
    line.room.put(b"\"");
    match note.rule {
        Some(Some(priority)) => {
            line.room.put(key!("rule").quoted);
            line.room.number(priority);
            line.room.put(b"\"");
        }
        Some(None) => line.room.put(b",\"rule\":\"default\""),
        None => {}
    }
    line.any(key!("target_group"), note.part(note.group));
    line.number(key!("candidates"), Some(note.candidates as u64));
    line.truth(key!("fail_open"), note.fail_open);
    line.attempts(note);
    line.number(key!("status"), note.status.map(u64::from));
    line.number(key!("target_status"), note.target_status.map(u64::from));
    line.known(key!("reason"), note.reason);
    let (class, why) = note.classification.unzip();
    line.known(key!("classification"), class);
    line.known(key!("classification_reason"), why);
    line.any(key!("redirect_url"), note.part(note.redirect));
    line.number(key!("received_bytes"), Some(note.received));
    line.number(key!("sent_bytes"), Some(note.sent));
    line.truth(key!("whole"), note.whole);
    let times = &note.times;
    line.room.put(b",\"seconds\":{\"total\":");
    line.room.seconds(times.total);
    line.seconds(key!("request"), times.request);
    line.seconds(key!("target"), times.target);
    line.seconds(key!("response"), times.response);
    line.seconds(key!("elsewhere"), Some(times.elsewhere));
    line.room.put(b"}");
    line.any(key!("tls_protocol"), note.protocol.as_bytes());
    line.any(key!("tls_cipher"), note.cipher.as_bytes());
    line.any(key!("server_name"), note.part(note.server_name));
    line.room.put(b"}\n");
    line.room
}

/// Values, each with what stands before it; nothing for nothing.
struct Json<'r> {
    room: Room<'r>,
    /// No text of the note needs escapes.
    is_plain: bool,
}

impl Json<'_> {
    #[inline(always)]
    fn number<const B: usize, const Q: usize>(&mut self, key: Key<B, Q>, value: Option<u64>) {
        if let Some(value) = value {
            self.room.put(key.bare);
            self.room.number(value);
        }
    }

    #[inline(always)]
    fn seconds<const B: usize, const Q: usize>(&mut self, key: Key<B, Q>, took: Option<Duration>) {
        if let Some(took) = took {
            self.room.put(key.bare);
            self.room.seconds(took);
        }
    }

    #[inline(always)]
    fn truth<const B: usize, const Q: usize>(&mut self, key: Key<B, Q>, value: bool) {
        self.room.put(key.bare);
        if value {
            self.room.put(b"true");
        } else {
            self.room.put(b"false");
        }
    }

    #[inline(always)]
    fn socket<const B: usize, const Q: usize>(
        &mut self,
        key: Key<B, Q>,
        address: Option<SocketAddr>,
    ) {
        if let Some(address) = address {
            self.room.put(key.quoted);
            self.room.socket(address);
            self.room.put(b"\"");
        }
    }

    /// One of our own words.
    #[inline(always)]
    fn known<const B: usize, const Q: usize>(
        &mut self,
        key: Key<B, Q>,
        word: Option<&'static str>,
    ) {
        if let Some(word) = word {
            self.room.put(key.quoted);
            self.room.put_all(word.as_bytes());
            self.room.put(b"\"");
        }
    }

    /// A text of the note.
    #[inline(always)]
    fn text<const B: usize, const Q: usize>(&mut self, key: Key<B, Q>, text: &[u8]) {
        self.room.put(key.quoted);
        self.contents(text);
    }

    /// What stands behind the quote that begins a text, with that which ends it.
    #[inline(always)]
    fn contents(&mut self, text: &[u8]) {
        if self.is_plain || text::is_plain(text) {
            self.room.put_all(text);
        } else {
            self.room = text::escape_json(text, std::mem::take(&mut self.room));
        }
        self.room.put(b"\"");
    }

    /// The same, unless it is empty.
    #[inline(always)]
    fn any<const B: usize, const Q: usize>(&mut self, key: Key<B, Q>, text: &[u8]) {
        if !text.is_empty() {
            self.text(key, text);
        }
    }

    /// Each target that was tried, and what came of it.
    #[inline(always)]
    fn attempts(&mut self, note: &Note) {
        self.room.put(b",\"attempts\":[");
        for (index, tried) in note.tried.iter().enumerate() {
            if index > 0 {
                self.room.put(b",");
            }
            self.room.put(b"{\"target\":\"");
            self.contents(note.part(tried.target));
            self.socket(key!("address"), Some(tried.address));
            self.number(key!("status"), status(tried).map(u64::from));
            let failure = match tried.result {
                Some(TriedResult::Failed(reason)) => Some(reason),
                _ => None,
            };
            self.known(key!("failure"), failure);
            self.seconds(key!("seconds"), Some(tried.took));
            self.room.put(b"}");
        }
        self.room.put(b"]");
    }
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
