//! The reader that forgives everything, so that it can say what is wrong with a request head.

use super::finding::Finding;
use super::{CODING, LENGTH, same_letters};
use crate::http1::field::{Kind, kind, length};

/// The worst of what was found, and the first of that class.
#[derive(Debug, Default)]
struct Worst(Option<Finding>);

impl Worst {
    fn note(&mut self, finding: Finding) {
        if self.0.is_none_or(|worst| worst.class() < finding.class()) {
            self.0 = Some(finding);
        }
    }

    fn note_if(&mut self, holds: bool, finding: Finding) {
        if holds {
            self.note(finding);
        }
    }
}

/// What is wrong with a request head, as the bytes from its first line on. None if it is compliant.
/// It may be incomplete.
#[must_use]
pub fn judge(bytes: &[u8]) -> Option<Finding> {
    let mut worst = Worst::default();
    let mut lines = Lines::new(bytes);
    let first = lines.next().unwrap_or_default();
    let request = RequestLine::split(first);
    let mut framing = Framing::default();
    let mut is_complete = false;
    let mut is_first = true;
    for line in lines.by_ref() {
        if line.is_empty() {
            is_complete = true;
            break;
        }
        judge_line(line, is_first, &mut framing, &mut worst);
        is_first = false;
    }
    framing.judge(&request, &mut worst);
    request.judge(&mut worst);
    match (lines.bare, lines.whole) {
        (0, _) => {}
        (_, 0) => worst.note(Finding::NonCrLfLineTermination),
        _ => worst.note(Finding::MixedLineTermination),
    }
    // What is still to come says nothing about what is there.
    if worst.0.is_none() && !is_complete {
        worst.note_if(lines.partial, Finding::PartialHeaderLine);
        worst.note(Finding::MissingLastEmptyLine);
    }
    worst.0
}

/// The lines of a head, without their ends.
struct Lines<'b> {
    rest: &'b [u8],
    /// How many ended with LF alone, and with CR and LF.
    bare: usize,
    whole: usize,
    /// The last one had no end.
    partial: bool,
}

impl<'b> Lines<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self {
            rest: bytes,
            bare: 0,
            whole: 0,
            partial: false,
        }
    }
}

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(end) = memchr::memchr(b'\n', self.rest) else {
            self.partial = true;
            return Some(std::mem::take(&mut self.rest));
        };
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        if let Some(line) = line.strip_suffix(b"\r") {
            self.whole += 1;
            return Some(line);
        }
        self.bare += 1;
        Some(line)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without white space at both ends (RFC 9110 §5.6.3).
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_bad(byte: u8) -> bool {
    matches!(byte, 0 | b'\r' | b'\n')
}

fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7F
}

/// A line behind the first.
fn judge_line<'b>(line: &'b [u8], is_first: bool, framing: &mut Framing<'b>, worst: &mut Worst) {
    let text = trimmed(line);
    if text.is_empty() {
        worst.note(Finding::EmptyHeader);
        return;
    }
    // The first one continues nothing: it is a field whose name begins with white space.
    if is_blank(line[0]) && !is_first {
        worst.note(Finding::MultilineHeader);
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        worst.note_if(line.iter().copied().any(is_bad), Finding::BadHeader);
        worst.note(Finding::MissingHeaderColon);
        return;
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.iter().chain(value).copied().any(is_bad) {
        worst.note(Finding::BadHeader);
    } else if !name.iter().copied().all(is_token)
        || value.iter().any(|&byte| byte != b'\t' && is_control(byte))
    {
        worst.note(Finding::NonCompliantHeader);
    }
    if trimmed(name).is_empty() {
        worst.note(Finding::EmptyHeader);
        return;
    }
    framing.take(name, trimmed(value), worst);
}

/// The fields that frame the message, also those in disguise.
#[derive(Debug, Default)]
struct Framing<'b> {
    lengths: Vec<&'b [u8]>,
    codings: Vec<&'b [u8]>,
    suspicious: bool,
}

impl<'b> Framing<'b> {
    fn take(&mut self, name: &[u8], value: &'b [u8], worst: &mut Worst) {
        let list = if same_letters(name, LENGTH) {
            &mut self.lengths
        } else if same_letters(name, CODING) {
            &mut self.codings
        } else {
            return;
        };
        list.push(value);
        let plain = std::str::from_utf8(name)
            .is_ok_and(|name| matches!(kind(name), Kind::ContentLength | Kind::TransferEncoding));
        if !plain {
            self.suspicious = true;
            worst.note(Finding::SuspiciousHeader);
        }
    }

    fn judge(&self, request: &RequestLine<'_>, worst: &mut Worst) {
        let has_coding = !self.codings.is_empty();
        let has_length = !self.lengths.is_empty();
        // There the two have no meaning that readers agree on, whatever they say.
        if request.is_before_1_1() && has_coding {
            worst.note(Finding::UndefinedTransferEncodingSemantics);
            return;
        }
        if request.is_0_9() && has_length {
            worst.note(Finding::UndefinedContentLengthSemantics);
            return;
        }
        self.judge_codings(worst);
        let length = self.judge_lengths(worst);
        if matches!(request.method, b"GET" | b"HEAD") {
            let finding = Finding::UndefinedTransferEncodingSemantics;
            worst.note_if(has_coding, finding);
            match length {
                Some(0) => worst.note(Finding::GetHeadZeroContentLength),
                Some(_) => worst.note(Finding::UndefinedContentLengthSemantics),
                None => {}
            }
        }
        if has_coding && has_length {
            worst.note_if(self.suspicious, Finding::SuspiciousTeClPresent);
            worst.note(Finding::BothTeClPresent);
        }
    }

    fn judge_codings(&self, worst: &mut Worst) {
        let mut chunked = 0;
        let mut is_last = true;
        for member in self.codings.iter().flat_map(|value| value.split(is_comma)) {
            let name = member.split(|&byte| byte == b';').next();
            let name = trimmed(name.unwrap_or_default()).to_ascii_lowercase();
            match &*name {
                b"chunked" => {
                    chunked += 1;
                    is_last = true;
                }
                b"compress" | b"deflate" | b"gzip" | b"identity" => is_last = false,
                _ => worst.note(Finding::BadTransferEncoding),
            }
        }
        worst.note_if(chunked > 1, Finding::MultipleTransferEncodingChunked);
        // RFC 9112 §6.3: then the length of a request cannot be known.
        worst.note_if(chunked > 0 && !is_last, Finding::BadTransferEncoding);
    }

    fn judge_lengths(&self, worst: &mut Worst) -> Option<u64> {
        let mut known = None;
        for value in &self.lengths {
            match (length(value), known) {
                (None, _) => worst.note(Finding::BadContentLength),
                (Some(new), None) => known = Some(new),
                (Some(new), Some(old)) if new == old => {
                    worst.note(Finding::DuplicateContentLength);
                }
                (Some(_), Some(_)) => worst.note(Finding::MultipleContentLength),
            }
        }
        known
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that `split` takes"
)]
fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

/// `method SP target SP version`, as far as they are there.
#[derive(Debug)]
struct RequestLine<'b> {
    method: &'b [u8],
    /// None if there is none.
    target: Option<&'b [u8]>,
    /// Empty in HTTP/0.9.
    version: &'b [u8],
}

impl<'b> RequestLine<'b> {
    /// The method ends at the first space, the version begins behind the last one.
    fn split(line: &'b [u8]) -> Self {
        let Some(first) = memchr::memchr(b' ', line) else {
            return Self {
                method: line,
                target: None,
                version: b"",
            };
        };
        let (method, rest) = (&line[..first], &line[first + 1..]);
        let blanks = rest.iter().rev().take_while(|&&byte| is_blank(byte));
        let text = &rest[..rest.len() - blanks.count()];
        let (target, version) = match memchr::memrchr(b' ', text) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None if text.starts_with(b"HTTP/") => (&rest[..0], rest),
            None => (text, &rest[..0]),
        };
        Self {
            method,
            target: (!trimmed(target).is_empty()).then_some(target),
            version,
        }
    }

    fn is_0_9(&self) -> bool {
        matches!(trimmed(self.version), b"" | b"HTTP/0.9")
    }

    fn is_before_1_1(&self) -> bool {
        self.is_0_9() || trimmed(self.version) == b"HTTP/1.0"
    }

    fn judge(&self, worst: &mut Worst) {
        let is_method = !self.method.is_empty() && self.method.iter().copied().all(is_token);
        worst.note_if(!is_method, Finding::BadMethod);
        self.judge_version(worst);
        match self.target {
            None => worst.note(Finding::MissingUri),
            Some(target) => {
                worst.note_if(target.iter().copied().any(is_bad), Finding::BadUri);
                let ambiguous = target.iter().copied().any(is_control);
                let ambiguous = ambiguous || std::str::from_utf8(target).is_err();
                worst.note_if(ambiguous, Finding::AmbiguousUri);
                worst.note_if(target.contains(&b' '), Finding::SpaceInUri);
            }
        }
    }

    fn judge_version(&self, worst: &mut Worst) {
        if self.target.is_none() && self.version.is_empty() {
            return;
        }
        match trimmed(self.version) {
            b"HTTP/1.0" | b"HTTP/1.1" => {
                let blanks = trimmed(self.version).len() != self.version.len();
                worst.note_if(blanks, Finding::NonCompliantVersion);
            }
            b"" | b"HTTP/0.9" => worst.note(Finding::NonCompliantVersion),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => {
                worst.note(Finding::NonCompliantVersion);
            }
            _ => worst.note(Finding::BadVersion),
        }
    }
}
