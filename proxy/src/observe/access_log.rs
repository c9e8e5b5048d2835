//! Lines of the access log: ALB's 34 fields in their order and one of ours, or JSON. Pure.

use std::io::Write as _;
use std::time::Duration;

use super::note::{Note, Part, TriedResult};

/// A line of JSON.
pub(crate) fn json(note: &Note, out: &mut Vec<u8>) {
    // Writing into memory does not fail, and all of it can be shown.
    serde_json::to_writer(&mut *out, &note.view()).unwrap_or_default();
    out.push(b'\n');
}

/// A line as ALB writes it (user guide, "Access log entries").
pub(crate) fn alb(note: &Note, out: &mut Vec<u8>) {
    let mut line = Line(out);
    let last = note.tried.last();
    line.word(note.kind.as_bytes());
    line.word(time(note.ended).as_bytes());
    line.word(note.part(note.listener));
    line.shown(note.client);
    line.shown(last.map(|tried| tried.address));
    for took in [note.times.request, note.times.target, note.times.response] {
        line.seconds(took);
    }
    line.shown(note.status);
    line.shown(note.target_status);
    line.shown(Some(note.received));
    line.shown(Some(note.sent));
    line.quoted_all(&[
        or_dash(note.part(note.method)),
        b" ",
        or_dash(note.part(note.url)),
        b" ",
        or_dash(note.version.as_bytes()),
    ]);
    line.quoted(note.part(note.user_agent));
    line.word(note.cipher.as_bytes());
    line.word(note.protocol.as_bytes());
    line.word(note.part(note.group));
    line.quoted(note.part(note.trace));
    line.quoted(note.part(note.server_name));
    line.quoted(if note.resumed { b"session-reused" } else { b"" });
    match note.rule {
        Some(Some(priority)) => line.shown(Some(priority)),
        Some(None) => line.word(b"0"),
        None => line.word(b""),
    }
    let total = u64::try_from(note.times.total.as_micros()).unwrap_or(u64::MAX);
    line.word(time(note.ended.saturating_sub(total)).as_bytes());
    line.quoted(actions(note).as_bytes());
    line.quoted(note.part(note.redirect));
    // ALB's codes are those of Lambda and of authentication at identity providers, which are not
    // here; programs that read its logs take no others.
    line.quoted(b"");
    let address = last.map(|tried| tried.address.to_string());
    line.quoted(address.unwrap_or_default().as_bytes());
    let status = last.and_then(|tried| match tried.result {
        Some(TriedResult::Status(status)) => Some(status.to_string()),
        _ => None,
    });
    line.quoted(status.unwrap_or_default().as_bytes());
    let (class, why) = note.classification.unwrap_or_default();
    line.quoted(class.as_bytes());
    line.quoted(why.as_bytes());
    line.word(format!("TID_{:032x}", note.connection).as_bytes());
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
    line.shown(note.local.map(|local| local.ip()));
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

fn or_dash(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"-" } else { text }
}

struct Line<'o>(&'o mut Vec<u8>);

impl Line<'_> {
    fn word(&mut self, text: &[u8]) {
        self.0.extend_from_slice(or_dash(text));
        self.0.push(b' ');
    }

    fn shown(&mut self, value: Option<impl std::fmt::Display>) {
        match value {
            // Writing into memory does not fail.
            Some(value) => write!(self.0, "{value} ").unwrap_or_default(),
            None => self.word(b""),
        }
    }

    fn seconds(&mut self, took: Option<Duration>) {
        match took {
            Some(took) => {
                let (whole, part) = (took.as_secs(), took.subsec_micros());
                write!(self.0, "{whole}.{part:06} ").unwrap_or_default();
            }
            None => self.word(b"-1"),
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        self.quoted_all(&[or_dash(text)]);
    }

    fn quoted_all(&mut self, texts: &[&[u8]]) {
        escaped(texts, self.0);
    }
}

/// In quotes, with what would end them or the line escaped as ALB does it (`\x22`), and a space.
pub(super) fn escaped(texts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in texts.iter().copied().flatten() {
        match byte {
            b'"' | b'\\' | 0..=0x1F | 0x7F..=0xFF => {
                write!(out, "\\x{byte:02X}").unwrap_or_default();
            }
            byte => out.push(*byte),
        }
    }
    out.extend_from_slice(b"\" ");
}

/// A moment in microseconds since 1970-01-01, as ISO 8601 writes it.
pub(crate) fn time(micros: u64) -> String {
    let (seconds, part) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{part:06}Z")
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
