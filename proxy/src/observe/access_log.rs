//! Lines of the access log: ALB's 34 fields in their order and one of ours, or JSON. They are
//! written in place and allocate nothing. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use super::note::{Note, Part, Tried, TriedResult};
use super::text;

/// A line as ALB writes it (user guide, "Access log entries").
pub(crate) fn alb(note: &Note, out: &mut Vec<u8>) {
    let mut line = Line(out);
    let last = note.tried.last();
    let address = last.map(|tried| tried.address);
    line.word(note.kind.as_bytes());
    line.moment(note.ended);
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
    line.quoted_all(&[
        text::or_dash(note.part(note.method)),
        b" ",
        text::or_dash(note.part(note.url)),
        b" ",
        text::or_dash(note.version.as_bytes()),
    ]);
    line.quoted(note.part(note.user_agent));
    line.word(note.cipher.as_bytes());
    line.word(note.protocol.as_bytes());
    line.word(note.part(note.group));
    line.quoted(note.part(note.trace));
    line.quoted(note.part(note.server_name));
    line.quoted(if note.resumed { b"session-reused" } else { b"" });
    line.number(note.rule.map(Option::unwrap_or_default));
    let total = u64::try_from(note.times.total.as_micros()).unwrap_or(u64::MAX);
    line.moment(note.ended.saturating_sub(total));
    line.quoted(actions(note).as_bytes());
    line.quoted(note.part(note.redirect));
    // ALB's codes are those of Lambda and of authentication at identity providers, which are not
    // here; programs that read its logs take no others.
    line.quoted(b"");
    line.enclosed(address, text::socket);
    line.enclosed(last.and_then(status), |status, out| {
        text::number(status.into(), out);
    });
    let (class, why) = note.classification.unwrap_or_default();
    line.quoted(class.as_bytes());
    line.quoted(why.as_bytes());
    text::connection(note.connection, line.0);
    line.0.push(b' ');
    line.quoted(if note.rewritten {
        note.part(note.host)
    } else {
        b""
    });
    line.quoted(b"");
    line.quoted(match (note.rewritten, note.reason) {
        (_, Some("transform_failed")) => b"TransformFailed",
        (true, _) => b"TransformSuccess",
        (false, _) => b"",
    });
    line.some(note.local.map(|local| local.ip()), text::ip);
    // Behind ALB's fields, where its guide tells readers to ignore what they do not know.
    let reason = note
        .reason
        .filter(|it| !matches!(*it, "fixed_response" | "redirect"));
    line.quoted(reason.unwrap_or_default().as_bytes());
    // The space behind the last field.
    out.pop();
    out.push(b'\n');
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
struct Line<'o>(&'o mut Vec<u8>);

impl Line<'_> {
    fn word(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text::or_dash(text));
        self.0.push(b' ');
    }

    fn some<T>(&mut self, value: Option<T>, write: impl FnOnce(T, &mut Vec<u8>)) {
        match value {
            Some(value) => {
                write(value, self.0);
                self.0.push(b' ');
            }
            None => self.word(b""),
        }
    }

    fn number(&mut self, value: Option<u64>) {
        self.some(value, text::number);
    }

    fn socket(&mut self, address: Option<SocketAddr>) {
        self.some(address, text::socket);
    }

    fn moment(&mut self, micros: u64) {
        self.some(Some(micros), text::moment);
    }

    fn seconds(&mut self, took: Option<Duration>) {
        match took {
            Some(took) => self.some(Some(took), text::seconds),
            None => self.word(b"-1"),
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        self.quoted_all(&[text::or_dash(text)]);
    }

    fn quoted_all(&mut self, texts: &[&[u8]]) {
        text::quoted(texts, self.0);
    }

    /// In quotes, what needs no escapes.
    fn enclosed<T>(&mut self, value: Option<T>, write: impl FnOnce(T, &mut Vec<u8>)) {
        let Some(value) = value else {
            return self.quoted(b"");
        };
        self.0.push(b'"');
        write(value, self.0);
        self.0.extend_from_slice(b"\" ");
    }
}

/// What stands before a value that is not the first.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// A line of JSON.
pub(crate) fn json(note: &Note, out: &mut Vec<u8>) {
    let mut line = Json(out);
    line.some(b"{\"time\":\"", Some(note.ended), text::moment);
    line.word(b"\",\"type\":", note.kind);
    line.text(key!("listener"), note.part(note.listener));
    line.enclosed(key!("client"), note.client, text::socket);
    line.text(key!("method"), note.part(note.method));
    line.text(key!("url"), note.part(note.url));
    line.word(key!("version"), note.version);
    line.any(key!("user_agent"), note.part(note.user_agent));
    line.any(key!("trace_id"), note.part(note.trace));
    line.enclosed(key!("connection"), Some(note.connection), text::connection);
    line.enclosed(key!("rule"), note.rule, |rule, out| match rule {
        Some(priority) => text::number(priority, out),
        None => out.extend_from_slice(b"default"),
    });
    line.any(key!("target_group"), note.part(note.group));
    line.number(key!("candidates"), Some(note.candidates as u64));
    line.truth(key!("fail_open"), note.fail_open);
    let mut before: &[u8] = b",\"attempts\":[{\"target\":";
    for tried in &note.tried {
        line.text(before, note.part(tried.target));
        line.attempt(tried);
        before = b",{\"target\":";
    }
    line.raw(if note.tried.is_empty() {
        b",\"attempts\":[]"
    } else {
        b"]"
    });
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
    line.some(
        b",\"seconds\":{\"total\":",
        Some(times.total),
        text::seconds,
    );
    line.some(key!("request"), times.request, text::seconds);
    line.some(key!("target"), times.target, text::seconds);
    line.some(key!("response"), times.response, text::seconds);
    line.some(key!("elsewhere"), Some(times.elsewhere), text::seconds);
    line.raw(b"}");
    line.any(key!("tls_protocol"), note.protocol.as_bytes());
    line.any(key!("tls_cipher"), note.cipher.as_bytes());
    line.any(key!("server_name"), note.part(note.server_name));
    line.raw(b"}\n");
}

/// Values, each with what stands before it.
struct Json<'o>(&'o mut Vec<u8>);

impl Json<'_> {
    fn raw(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    fn some<T>(&mut self, before: &[u8], value: Option<T>, write: impl FnOnce(T, &mut Vec<u8>)) {
        self.raw(before);
        match value {
            Some(value) => write(value, self.0),
            None => self.raw(b"null"),
        }
    }

    fn number(&mut self, before: &[u8], value: Option<u64>) {
        self.some(before, value, text::number);
    }

    fn truth(&mut self, before: &[u8], value: bool) {
        self.raw(before);
        self.raw(if value { b"true" } else { b"false" });
    }

    fn text(&mut self, before: &[u8], value: &[u8]) {
        self.some(before, Some(value), text::json);
    }

    /// A text; nothing instead of an empty one.
    fn any(&mut self, before: &[u8], value: &[u8]) {
        self.some(before, Some(value).filter(|it| !it.is_empty()), text::json);
    }

    /// In quotes, what needs no escapes.
    fn enclosed<T>(
        &mut self,
        before: &[u8],
        value: Option<T>,
        write: impl FnOnce(T, &mut Vec<u8>),
    ) {
        self.some(before, value, |value, out| {
            out.push(b'"');
            write(value, out);
            out.push(b'"');
        });
    }

    /// One of our own words.
    fn known(&mut self, before: &[u8], word: Option<&'static str>) {
        self.enclosed(before, word, |word, out| {
            out.extend_from_slice(word.as_bytes());
        });
    }

    fn word(&mut self, before: &[u8], word: &'static str) {
        self.known(before, Some(word));
    }

    /// What came of an attempt, behind its target.
    fn attempt(&mut self, tried: &Tried) {
        self.enclosed(key!("address"), Some(tried.address), text::socket);
        self.number(key!("status"), status(tried).map(u64::from));
        let failure = match tried.result {
            Some(TriedResult::Failed(reason)) => Some(reason),
            _ => None,
        };
        self.known(key!("failure"), failure);
        self.some(key!("seconds"), Some(tried.took), text::seconds);
        self.raw(b"}");
    }
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
