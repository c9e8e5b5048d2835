//! Fields of a request, as they come out of HPACK, as the head or the trailers of an HTTP/1.1
//! message. Pure.
//!
//! What RFC 9113 §8.2 and §8.3 forbid is refused here, and what two readers of the bytes could
//! read differently. What a request may ask for is decided where it is for every request.

use std::ops::Range;

use super::head::{Framing, Malformed};
use crate::http1::chunked::TRAILERS_MAX;
use crate::http1::field::{Kind, kind};
use crate::request::admit::WEBSOCKET;

/// The largest list of fields that is read, in bytes as RFC 9113 §6.5.2 counts them. Larger than
/// the largest head ([`crate::http1::buffer::LARGE`], as ALB has it), so that one a little too large
/// gets an answer with its reason. Beyond this it is 431 at once.
pub(crate) const LIST_MAX: usize = 96 * 1024;

/// What a field counts beside its bytes (RFC 9113 §6.5.2).
const OVERHEAD: usize = 32;

/// Why a list of fields is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Beyond [`LIST_MAX`].
    #[error("too large")]
    TooLarge,
    /// See [`Malformed`].
    #[error("{0}")]
    Malformed(&'static str),
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.0)
    }
}

/// A request's head that is being read, one after the other on a connection.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// As HTTP/1.1.
    text: Vec<u8>,
    pseudo: Vec<u8>,
    cookie: Vec<u8>,
    seen: Seen,
}

/// What was seen of it so far.
#[derive(Debug, Default)]
struct Seen {
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
    protocol: Option<Range<usize>>,
    /// What `Content-Length` says.
    length: Option<u64>,
    has_host: bool,
    /// The first line is written: no pseudo-field may follow.
    begun: bool,
    websocket: bool,
    size: usize,
    refused: Option<Refused>,
}

/// A request whose head was read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) text: Vec<u8>,
    pub(super) framing: Framing,
    /// What `Content-Length` says.
    pub(super) length: Option<u64>,
    pub(super) to_head: bool,
    pub(super) websocket: bool,
}

/// What is kept of the room for pseudo-fields and cookies between two heads, in bytes: enough for
/// most.
const KEPT: usize = 1024;

impl Head {
    /// Another one begins. `text` is for it, if there is none.
    pub(super) fn start(&mut self, text: impl FnOnce() -> Vec<u8>) {
        if self.text.capacity() == 0 {
            self.text = text();
        }
        self.text.clear();
        for room in [&mut self.pseudo, &mut self.cookie] {
            room.clear();
            if room.capacity() > KEPT {
                *room = Vec::new();
            }
        }
        self.seen = Seen::default();
    }

    /// The next field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        if self.seen.refused.is_some() {
            return;
        }
        self.seen.size += name.len() + value.len() + OVERHEAD;
        let noted = if self.seen.size > LIST_MAX {
            Err(Refused::TooLarge)
        } else if let [b':', pseudo @ ..] = name {
            self.pseudo(pseudo, value).map_err(Refused::from)
        } else {
            self.regular(name, value).map_err(Refused::from)
        };
        self.seen.refused = noted.err();
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if self.seen.begun {
            return Err(Malformed("a pseudo-field behind a field"));
        }
        let place = match name {
            b"method" => &mut self.seen.method,
            b"scheme" => &mut self.seen.scheme,
            b"authority" => &mut self.seen.authority,
            b"path" => &mut self.seen.path,
            b"protocol" => &mut self.seen.protocol,
            _ => return Err(Malformed("an unknown pseudo-field")),
        };
        let start = self.pseudo.len();
        if place.replace(start..start + value.len()).is_some() {
            return Err(Malformed("a pseudo-field twice"));
        }
        self.pseudo.extend_from_slice(value);
        Ok(())
    }

    /// Writes the first line and the Host.
    fn begin(&mut self) -> Result<(), Malformed> {
        self.seen.begun = true;
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| &self.pseudo[range]);
        let method = part(&self.seen.method).ok_or(Malformed("no method"))?;
        if method.is_empty() || !method.iter().all(|byte| TOKEN[usize::from(*byte)]) {
            return Err(Malformed("a method that is no token"));
        }
        let connect = method == b"CONNECT";
        let protocol = part(&self.seen.protocol);
        if protocol.is_some() && !connect {
            return Err(Malformed("a protocol without CONNECT"));
        }
        let path = match (part(&self.seen.scheme), part(&self.seen.path)) {
            // RFC 9113 §8.5. It has an authority alone, and is refused like any other CONNECT.
            (None, None) if connect && protocol.is_none() => b"/",
            (Some(_), _) | (_, Some(_)) if connect && protocol.is_none() => {
                return Err(Malformed("CONNECT with a path"));
            }
            (Some(scheme), Some(path)) => {
                if !is_scheme(scheme) {
                    return Err(Malformed("a scheme that is none"));
                }
                // §8.3.1: it begins with a slash, or is `*` for OPTIONS.
                let starred = path == b"*" && method == b"OPTIONS";
                if !(path.first() == Some(&b'/') || starred) {
                    return Err(Malformed("a path that does not begin with a slash"));
                }
                if path.iter().any(|byte| *byte <= b' ' || *byte == 0x7F) {
                    return Err(Malformed("a path with control characters"));
                }
                path
            }
            _ => return Err(Malformed("no scheme or no path")),
        };
        self.seen.websocket = protocol == Some(WEBSOCKET.as_bytes());
        let out = &mut self.text;
        out.extend_from_slice(if self.seen.websocket { b"GET" } else { method });
        out.push(b' ');
        out.extend_from_slice(path);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if let Some(authority) = part(&self.seen.authority) {
            let sound = |byte: &u8| *byte > b' ' && *byte != 0x7F;
            if authority.is_empty() || !authority.iter().all(sound) {
                return Err(Malformed("an authority that is none"));
            }
            push(out, b"host", authority);
        }
        Ok(())
    }

    fn regular(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if !self.seen.begun {
            self.begin()?;
        }
        check(name, value)?;
        match name {
            b"host" => {
                if std::mem::replace(&mut self.seen.has_host, true) {
                    return Err(Malformed("two hosts"));
                }
                // §8.3.1: both may be there, and must say the same.
                match self.seen.authority.clone() {
                    Some(range) if self.pseudo[range.clone()].eq_ignore_ascii_case(value) => {}
                    Some(_) => return Err(Malformed("another host than the authority")),
                    None => push(&mut self.text, name, value),
                }
            }
            b"content-length" => {
                let length = crate::http1::field::length(value).ok_or(Malformed("no length"))?;
                match self.seen.length.replace(length) {
                    None => push(&mut self.text, name, value),
                    Some(before) if before == length => {}
                    Some(_) => return Err(Malformed("two lengths")),
                }
            }
            b"cookie" => {
                // §8.2.3: what was split for better compression is one field again.
                if !self.cookie.is_empty() {
                    self.cookie.extend_from_slice(b"; ");
                }
                self.cookie.extend_from_slice(value);
            }
            // ALB ignores it in HTTP/2: the body comes as there is window for it.
            b"expect" => {}
            // RFC 8441 §5.1: they have no meaning in HTTP/2.
            b"sec-websocket-key" | b"trailer" if self.seen.websocket => {}
            _ => push(&mut self.text, name, value),
        }
        Ok(())
    }

    /// All fields were read. `ended`: nothing follows on the stream. `key` makes the
    /// `Sec-WebSocket-Key` that a target is asked with for a WebSocket (RFC 8441).
    ///
    /// # Errors
    /// If it is no request.
    pub(super) fn finish(
        &mut self,
        ended: bool,
        key: impl FnOnce() -> String,
    ) -> Result<Request, Refused> {
        if let Some(refused) = self.seen.refused {
            return Err(refused);
        }
        if !self.seen.begun {
            self.begin()?;
        }
        if ended && self.seen.length.is_some_and(|length| length > 0) {
            return Err(Refused::Malformed("a length and no body"));
        }
        let out = &mut self.text;
        if !self.cookie.is_empty() {
            push(out, b"cookie", &self.cookie);
        }
        if self.seen.websocket {
            push(out, b"connection", b"Upgrade");
            push(out, b"upgrade", b"websocket");
            push(out, b"sec-websocket-key", key().as_bytes());
        }
        let framing = match self.seen.length {
            _ if ended => Framing::None,
            // What comes is no body: it goes as it is, once the target has agreed.
            None if self.seen.websocket => Framing::Length,
            Some(_) => Framing::Length,
            None => Framing::Chunked,
        };
        if framing == Framing::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        let method = self.seen.method.clone().map(|range| &self.pseudo[range]);
        let has_content = matches!(method, Some(b"POST" | b"PUT" | b"PATCH"));
        if ended && has_content && self.seen.length.is_none() {
            // RFC 9110 §8.6. Some targets refuse such a request without a length.
            push(out, b"content-length", b"0");
        }
        out.extend_from_slice(b"\r\n");
        Ok(Request {
            text: std::mem::take(out),
            framing,
            length: self.seen.length,
            to_head: method == Some(b"HEAD"),
            websocket: self.seen.websocket,
        })
    }
}

/// Trailers that are being read, as the lines behind the last chunk.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    lines: Vec<u8>,
    size: usize,
    malformed: Option<Malformed>,
}

impl Trailers {
    /// The next field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.size += name.len() + value.len() + OVERHEAD;
        if self.malformed.is_some() {
            return;
        }
        // No more than what is read of them later.
        let checked = if self.size > TRAILERS_MAX {
            Err(Malformed("trailers that are too large"))
        } else {
            check(name, value)
        };
        match checked {
            Ok(()) => push(&mut self.lines, name, value),
            Err(malformed) => self.malformed = Some(malformed),
        }
    }

    /// The lines.
    ///
    /// # Errors
    /// If one is none.
    pub(super) fn finish(self) -> Result<Vec<u8>, Malformed> {
        self.malformed.map_or(Ok(self.lines), Err)
    }
}

/// A name and a value.
type Field<'l> = (&'l [u8], &'l [u8]);

/// A trailer of a response, as a line of HTTP/1.1 without its end. None if it is for one connection.
///
/// # Errors
/// If it is none.
pub(super) fn trailer(line: &[u8]) -> Result<Option<Field<'_>>, Malformed> {
    let at = memchr::memchr(b':', line).ok_or(Malformed("a trailer"))?;
    let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
    let sound = !name.is_empty() && name.iter().all(|byte| TOKEN[usize::from(*byte)]);
    if !sound || !is_value(value) {
        return Err(Malformed("a trailer"));
    }
    // It is ASCII.
    let text = std::str::from_utf8(name).unwrap_or_default();
    let own = matches!(
        kind(text),
        Kind::Connection | Kind::Hop | Kind::Upgrade | Kind::TransferEncoding | Kind::Te
    ) || text.eq_ignore_ascii_case("trailer");
    Ok((!own).then_some((name, value)))
}

fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What RFC 9113 §8.2 asks of a field that is no pseudo-field.
fn check(name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    let is_small = name.iter().all(|byte| SMALL[usize::from(*byte)]);
    if name.is_empty() || !is_small {
        return Err(Malformed("a name that is none"));
    }
    if !is_value(value) {
        return Err(Malformed("a value with control characters"));
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return Err(Malformed("white space around a value"));
    }
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            Err(Malformed("a field for one connection"))
        }
        b"te" if value != b"trailers" => Err(Malformed("a field for one connection")),
        _ => Ok(()),
    }
}

/// RFC 9110 §5.5.
fn is_value(value: &[u8]) -> bool {
    // No early end, so that many bytes are looked at together.
    let is_sound = |byte: u8| (byte >= b' ' && byte != 0x7F) | (byte == b'\t');
    value.iter().fold(true, |all, byte| all & is_sound(*byte))
}

/// RFC 3986 §3.1.
fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// Which bytes the name of a field may have: those of a token, without large letters (RFC 9113
/// §8.2.1).
static SMALL: [bool; 256] = {
    let mut small = TOKEN;
    let mut byte = b'A';
    while byte <= b'Z' {
        small[byte as usize] = false;
        byte += 1;
    }
    small
};

/// Which bytes a token may have (RFC 9110 §5.6.2).
static TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x7F {
        token[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    token
};

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
