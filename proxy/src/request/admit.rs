//! Which requests are let in, and how they are read. Pure.
//!
//! httparse has checked the bytes of the head (RFC 9110 §5.5, §5.6.2); here is what two parsers
//! could read differently, and what no target should see.

use super::answer::Reason;
use super::desync;
use crate::http1::body::Body;
use crate::http1::field::{Kind, Options, kind, length, list, names_protocol};
use crate::http1::head::RequestHead;

/// The protocol to which a connection may be switched.
pub const WEBSOCKET: &str = "websocket";

/// The most addresses in `X-Forwarded-For` (ALB: 30, beyond it 463).
const FORWARDED_MAX: usize = 30;

/// The longest request line and the longest field, in bytes (ALB: 16 K).
pub const LINE_MAX: usize = 16 * 1024;

/// A line of a head that is too long, whether the head is complete or not.
#[must_use]
pub fn long_line(bytes: &[u8]) -> Option<Reason> {
    if bytes.len() < LINE_MAX {
        return None;
    }
    let mut lines = bytes.split(|byte| *byte == b'\n');
    if lines.next().is_some_and(|line| line.len() >= LINE_MAX) {
        return Some(Reason::UriTooLong);
    }
    lines
        .any(|line| line.len() >= LINE_MAX)
        .then_some(Reason::RequestHeaderTooLarge)
}

/// Whether bytes that are no head are one of another major version of HTTP, such as the preface of
/// HTTP/2.
#[must_use]
pub fn is_other_version(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.nth(2).and_then(|word| word.strip_prefix(b"HTTP/"));
    words.next().is_none()
        && match version {
            Some([major] | [major, b'.', b'0'..=b'9']) => matches!(major, b'2'..=b'9'),
            _ => false,
        }
}

/// A request as it was understood; all that is forwarded is made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted<'b> {
    /// The path of the target, or `*`. Begins with `/` otherwise.
    pub path: &'b str,
    /// The query, without `?`.
    pub query: Option<&'b str>,
    /// The Host that counts: that of an absolute target, or the field (RFC 9112 §3.2.2). None only
    /// in HTTP/1.0.
    pub host: Option<&'b str>,
    /// The Host field, whatever the target says.
    pub host_field: Option<&'b str>,
    /// How the body is framed.
    pub body: Body,
    /// The connection must end after the response.
    pub close: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// `TE: trailers`: the client understands trailers.
    pub wants_trailers: bool,
    /// A Connection field names other fields, which are not to be passed on.
    pub names_fields: bool,
    /// The client asks for a WebSocket.
    pub websocket: bool,
    /// The fields say nothing about the body that another reader could take for something else, as
    /// far as they show it here.
    pub is_clean: bool,
}

/// Reads a request head.
///
/// # Errors
/// The reason for which it is refused.
pub fn admit<'b>(head: &RequestHead<'b>) -> Result<Admitted<'b>, Reason> {
    // TRACE meets rules first (`request.rs`): one may have an answer for it.
    if head.method == "CONNECT" {
        return Err(Reason::MethodNotAllowed);
    }
    let mut options = Options::default();
    let mut host = None;
    let mut content_length = None;
    let mut coding = None;
    let mut expects_continue = false;
    let mut wants_trailers = false;
    let mut forwarded = 0;
    let mut websocket = false;
    let mut frames = 0;
    let mut is_clean = true;
    for field in head.fields {
        match kind(field.name) {
            Kind::Connection => options.add(field.value),
            Kind::Host if host.replace(field.value).is_some() => return Err(Reason::BadHost),
            Kind::ContentLength => {
                frames += 1;
                let length = length(field.value).ok_or(Reason::BadLength)?;
                // RFC 9112 §6.3: equal ones may count as one; see `desync` for when they do.
                if content_length
                    .replace(length)
                    .is_some_and(|other| other != length)
                {
                    return Err(Reason::BadLength);
                }
            }
            Kind::TransferEncoding if coding.replace(field.value).is_some() => {
                return Err(Reason::UnsupportedTransferEncoding);
            }
            Kind::Expect => {
                expects_continue |=
                    head.is_1_1 && field.value.eq_ignore_ascii_case(b"100-continue");
            }
            Kind::ForwardedFor => forwarded += list(field.value).count(),
            Kind::Te => {
                wants_trailers |=
                    list(field.value).any(|member| member.eq_ignore_ascii_case(b"trailers"));
            }
            Kind::Upgrade => websocket |= names_protocol(field.value, WEBSOCKET),
            Kind::Other => is_clean &= !desync::is_suspicious(field.name),
            _ => {}
        }
    }
    if options.are_too_many() {
        return Err(Reason::MalformedRequest);
    }
    if forwarded > FORWARDED_MAX {
        return Err(Reason::TooManyForwardedAddresses);
    }
    let length = content_length;
    frames += usize::from(coding.is_some());
    let mut close = options.close || !(head.is_1_1 || options.keep_alive);
    let body = match coding {
        None => Body::Length(length.unwrap_or(0)),
        // RFC 9112 §6.1: not in HTTP/1.0, and no other coding can be passed on.
        Some(_) if !head.is_1_1 => return Err(Reason::AmbiguousLength),
        Some(coding) if !coding.eq_ignore_ascii_case(b"chunked") => {
            return Err(Reason::UnsupportedTransferEncoding);
        }
        Some(_) => {
            // §6.3: with both, the chunks count and the connection must end.
            close |= length.is_some();
            Body::chunked()
        }
    };
    // RFC 9110 §7.8: not in HTTP/1.0, and only if Connection says so; RFC 6455 §4.1: with GET. All
    // else that is asked for with Upgrade is not heard, which a server may do: a switch to a
    // protocol that nobody here understands, such as `h2c`, would carry requests past every rule.
    let websocket = websocket && options.upgrade && head.is_1_1 && head.method == "GET";
    if websocket && !body.is_done() {
        // Where the body ends and the other protocol begins is for two readers to understand.
        return Err(Reason::UpgradeWithBody);
    }
    let target = target(head)?;
    let field = match host {
        Some(value) => Some(text(value).ok_or(Reason::BadHost)?),
        // §3.2: HTTP/1.1 has exactly one.
        None if head.is_1_1 => return Err(Reason::BadHost),
        None => None,
    };
    Ok(Admitted {
        path: target.path,
        query: target.query,
        host: target.authority.or(field),
        host_field: field,
        expects_continue: expects_continue && !body.is_done(),
        body,
        close,
        wants_trailers,
        names_fields: options.names,
        websocket,
        is_clean: is_clean && desync::is_framed_cleanly(head, frames),
    })
}

struct Target<'b> {
    authority: Option<&'b str>,
    path: &'b str,
    query: Option<&'b str>,
}

/// RFC 9112 §3.2: origin-form, absolute-form (`http` and `https`), and `*` for OPTIONS. A fragment
/// is no part of a request target: readers that drop it and readers that keep it see two targets.
fn target<'b>(head: &RequestHead<'b>) -> Result<Target<'b>, Reason> {
    let text = head.target;
    // Where a query begins, in all that comes from here on, if there is one.
    let mark = memchr::memchr2(b'?', b'#', text.as_bytes());
    if let Some(mark) = mark
        && memchr::memchr(b'#', &text.as_bytes()[mark..]).is_some()
    {
        return Err(Reason::BadTarget);
    }
    if text == "*" && head.method == "OPTIONS" {
        return Ok(Target {
            authority: None,
            path: "*",
            query: None,
        });
    }
    let (authority, rest) = match text.as_bytes() {
        [b'/', ..] => (None, text),
        _ => {
            let (scheme, rest) = text.split_once("://").ok_or(Reason::BadTarget)?;
            if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
                return Err(Reason::BadTarget);
            }
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            // User information is not for targets (RFC 9110 §4.2.4).
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            if !is_user(user.as_bytes()) || host.is_empty() || !is_authority(host.as_bytes()) {
                return Err(Reason::BadHost);
            }
            (Some(host), rest)
        }
    };
    // An authority has no question mark: its first one ends it.
    let mark = mark.map(|mark| mark - (text.len() - rest.len()));
    let (path, query) = match mark {
        Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
        None => (rest, None),
    };
    let path = match path {
        // §3.2.4: for OPTIONS, an absolute target without path and query means the server.
        "" if head.method == "OPTIONS" && query.is_none() => "*",
        "" => "/",
        path => path,
    };
    Ok(Target {
        authority,
        path,
        query,
    })
}

/// A valid Host as text.
fn text(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    is_authority(value).then_some(text)
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without percent-encoding: no name that DNS resolves
/// needs it, and two readers may decode it differently. An empty Host is allowed by the RFC.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    let (host, port, literal) = match bytes {
        [b'[', rest @ ..] => match rest.iter().position(|&byte| byte == b']') {
            Some(end) => (&rest[..end], &rest[end + 1..], true),
            None => return false,
        },
        _ => {
            // The first byte that cannot be in it ends it: a colon, or what is refused as a port.
            let end = bytes.iter().position(|&byte| !IN_HOST[usize::from(byte)]);
            let (host, port) = bytes.split_at(end.unwrap_or(bytes.len()));
            (host, port, false)
        }
    };
    let in_literal = |&byte: &u8| IN_HOST[usize::from(byte)] || byte == b':';
    (!literal || host.iter().all(in_literal)) && is_port(port)
}

/// What a host is made of besides the colons of an IPv6 address.
const IN_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"-._~!$&'()*+,;=";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] |= byte.is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// `userinfo` (RFC 3986 §3.2.1). Readers differ about where a Host begins behind a second `@` or a
/// `\`.
fn is_user(bytes: &[u8]) -> bool {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%".contains(byte);
    bytes.iter().all(valid)
}

/// Nothing, `:` alone, or `:` and a number that a port can have.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits
                    .iter()
                    .fold(0, |port: u32, digit| port * 10 + u32::from(digit - b'0'))
                    <= 65_535
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
