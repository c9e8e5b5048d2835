//! How dangerous a request is to whoever reads it after us: ALB's classification, from the bytes as
//! they came. Pure.
//!
//! Nearly every request is found clean by what [`super::admit`] looks at anyway. Only the others
//! are read again here, by a reader that forgives everything, so that it can say what is wrong.
//! It agrees with the published cases of AWS' http-desync-guardian, and is stricter where those
//! let two readers differ (mixed line ends, chunks that are not the last coding, an empty length).

mod finding;
mod judge;

use longshore_config::DesyncMitigationMode;

use crate::http1::field::{Kind, kind};
use crate::http1::head::RequestHead;
pub use finding::{Class, Finding};
pub use judge::judge;

/// What is to happen to a request that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// It goes on.
    Pass,
    /// It goes on, and neither of its connections is used again.
    PassAlone,
    /// 400, and the connection ends.
    Block,
}

/// What a mode does. Stricter than ALB: what is ambiguous passes only in `monitor`, and what is
/// severe never does. `get_body`: in `defensive`, a body of GET or HEAD passes as it does at ALB.
/// Its length is one number that every reader of HTTP/1.1 finds (RFC 9112 §6.3), so that only a
/// target which does not read bodies of these methods can take it for the next request.
#[must_use]
pub fn measure(mode: DesyncMitigationMode, finding: Option<Finding>, get_body: bool) -> Measure {
    let class = finding.map_or(Class::Compliant, Finding::class);
    match (class, mode) {
        (Class::Ambiguous, DesyncMitigationMode::Defensive)
            if get_body && finding == Some(Finding::UndefinedContentLengthSemantics) =>
        {
            Measure::PassAlone
        }
        (Class::Compliant, _) => Measure::Pass,
        (Class::Acceptable, DesyncMitigationMode::Strictest) => Measure::Block,
        (Class::Acceptable, _) => Measure::Pass,
        (Class::Ambiguous, DesyncMitigationMode::Monitor) => Measure::PassAlone,
        (Class::Ambiguous | Class::Severe, _) => Measure::Block,
    }
}

/// Whether so many fields that frame the body leave no question. What this, [`is_suspicious`] and
/// [`has_clean_lines`] call clean, [`judge`] calls compliant.
#[must_use]
pub fn is_framed_cleanly(head: &RequestHead<'_>, frames: usize) -> bool {
    frames == 0 || frames == 1 && !matches!(head.method, "GET" | "HEAD")
}

/// Whether all lines end with CR and LF. Before each field there is the end of another line, which
/// httparse has found to be LF, with or without CR.
#[must_use]
pub fn has_clean_lines(head: &RequestHead<'_>, bytes: &[u8]) -> bool {
    let begin = bytes.as_ptr() as usize;
    bytes[..head.len].ends_with(b"\r\n\r\n")
        && head.fields.iter().all(|field| {
            let at = (field.name.as_ptr() as usize).wrapping_sub(begin);
            at >= 2 && bytes.get(at - 2) == Some(&b'\r')
        })
}

/// Names that some readers take for these, whatever stands between their letters.
const LENGTH: &[u8] = b"contentlength";
const CODING: &[u8] = b"transferencoding";

/// Whether a name is one of the two that frame a message, in disguise.
#[must_use]
pub fn is_suspicious(name: &str) -> bool {
    name.len() >= LENGTH.len()
        && !matches!(kind(name), Kind::ContentLength | Kind::TransferEncoding)
        && (same_letters(name.as_bytes(), LENGTH) || same_letters(name.as_bytes(), CODING))
}

/// Whether a name is this word for those who drop what is no letter, and know no case.
fn same_letters(mut name: &[u8], word: &[u8]) -> bool {
    let mut word = word.iter();
    loop {
        // `ſ` and `ı` are S and I in capital letters.
        let (letter, rest) = match name {
            [] => return word.next().is_none(),
            [0xC5, 0xBF, rest @ ..] => (b's', rest),
            [0xC4, 0xB1, rest @ ..] => (b'i', rest),
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() => (byte.to_ascii_lowercase(), rest),
            [_, rest @ ..] => {
                name = rest;
                continue;
            }
        };
        if word.next() != Some(&letter) {
            return false;
        }
        name = rest;
    }
}

#[cfg(test)]
#[path = "desync_tests.rs"]
mod tests;
