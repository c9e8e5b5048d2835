//! Heads as they go out: to the target, and back to the client. Pure.
//!
//! Fields keep their order and the case of their names. Those that are for one connection only are
//! left out (RFC 9110 §7.6.1), and those that frame the message are written from what was
//! understood, never copied.

use std::net::{IpAddr, SocketAddr};

use super::admit::{Admitted, WEBSOCKET};
use super::desync::is_suspicious;
use crate::http1::body::Body;
use crate::http1::field::{Field, Kind, Options, is_disguised, is_named, kind, length};
use crate::http1::head::{RequestHead, ResponseHead};

/// What a client's connection adds to each of its requests, made once for each connection.
#[derive(Debug, Clone)]
pub struct Forwarded {
    address: Vec<u8>,
    /// `X-Forwarded-For` with the address alone, as a line.
    address_line: Vec<u8>,
    /// `X-Forwarded-Proto` and `X-Forwarded-Port`, as lines.
    other_lines: Vec<u8>,
}

impl Forwarded {
    /// With more lines, whole ones.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        self.other_lines.extend_from_slice(lines.as_bytes());
        self
    }

    /// The client's address, `http` or `https`, and the listener's port.
    #[must_use]
    pub fn new(address: IpAddr, proto: &str, port: u16) -> Self {
        Self {
            address: address.to_string().into(),
            address_line: format!("X-Forwarded-For: {address}\r\n").into(),
            other_lines: format!("X-Forwarded-Proto: {proto}\r\nX-Forwarded-Port: {port}\r\n")
                .into(),
        }
    }
}

/// Writes a request's head for its target.
///
/// `local` is where the client connected to; it becomes the Host of an HTTP/1.0 request without
/// one, because HTTP/1.1 needs one (ALB puts its own name there).
pub fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    admitted: &Admitted<'_>,
    forwarded: &Forwarded,
    local: SocketAddr,
) {
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(admitted.path.as_bytes());
    if let Some(query) = admitted.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut host_is_due = true;
    let mut option_is_due = true;
    let mut protocol_is_due = true;
    let mut address_is_due = true;
    let mut length_is_due = true;
    for field in head.fields {
        match kind(field.name) {
            Kind::Host => {
                host_is_due = false;
                let host = admitted.host.unwrap_or_default();
                push_field(out, field.name, host.as_bytes());
            }
            Kind::ForwardedFor => {
                // Several fields of that name mean one list (RFC 9110 §5.3); ALB appends to it.
                if std::mem::take(&mut address_is_due) {
                    push_addresses(out, head.fields, &forwarded.address);
                }
            }
            Kind::ContentLength => {
                if let Body::Length(length) = admitted.body
                    && std::mem::take(&mut length_is_due)
                {
                    push_length(out, field.name, length);
                }
            }
            // The others of a list are not passed on.
            Kind::Connection if admitted.websocket => {
                if std::mem::take(&mut option_is_due) {
                    push_field(out, field.name, b"Upgrade");
                }
            }
            Kind::Upgrade if admitted.websocket => {
                if std::mem::take(&mut protocol_is_due) {
                    push_field(out, field.name, WEBSOCKET.as_bytes());
                }
            }
            Kind::Connection
            | Kind::Hop
            | Kind::Upgrade
            | Kind::Te
            | Kind::TransferEncoding
            | Kind::Expect
            | Kind::Forwarded
            | Kind::Tls => {}
            Kind::Date | Kind::Other => {
                let named = admitted.names_fields && is_named(head.fields, field.name);
                let framing = !admitted.is_clean && is_suspicious(field.name);
                if !named && !framing && !is_disguised(field.name) {
                    push_field(out, field.name, field.value);
                }
            }
        }
    }
    if host_is_due {
        match admitted.host {
            Some(host) => push_field(out, "Host", host.as_bytes()),
            None => push_field(out, "Host", local.to_string().as_bytes()),
        }
    }
    if matches!(admitted.body, Body::Chunked(_)) {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if admitted.wants_trailers && !admitted.websocket {
        // The one part of a field for one connection that holds from end to end here: trailers are
        // passed on (RFC 9110 §10.1.4).
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
    if address_is_due {
        out.extend_from_slice(&forwarded.address_line);
    }
    out.extend_from_slice(&forwarded.other_lines);
    out.extend_from_slice(b"\r\n");
}

/// Writes a field.
pub fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a field with a number.
pub fn push_length(out: &mut Vec<u8>, name: &str, length: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = length;
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        if left == 0 {
            break;
        }
    }
    push_field(out, name, &digits[start..]);
}

fn push_addresses(out: &mut Vec<u8>, fields: &[Field<'_>], address: &[u8]) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    for field in fields {
        if kind(field.name) == Kind::ForwardedFor && !field.value.is_empty() {
            out.extend_from_slice(field.value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(address);
    out.extend_from_slice(b"\r\n");
}

/// A target's response as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// How the body is framed.
    pub body: Body,
    /// The length that it states, which a response without a body may also have.
    pub length: Option<u64>,
    /// The connection may serve another request, as far as the head tells.
    pub reusable: bool,
    /// A Connection field names other fields, which are not to be passed on.
    pub names_fields: bool,
    has_date: bool,
}

/// Whether a response switches the connection to a WebSocket. `asked`: the request asked for one.
///
/// # Errors
/// If it switches to anything else (RFC 9110 §7.8: only to what was asked for).
pub fn switches(head: &ResponseHead<'_>, asked: bool) -> Result<bool, &'static str> {
    if head.status != 101 {
        return Ok(false);
    }
    if !asked {
        return Err("101 without a request to upgrade");
    }
    let mut options = Options::default();
    let mut protocols = head
        .fields
        .iter()
        .filter(|field| match kind(field.name) {
            Kind::Connection => {
                options.add(field.value);
                false
            }
            kind => kind == Kind::Upgrade,
        })
        .map(|field| field.value);
    let agreed = protocols
        .next()
        .is_some_and(|value| value.eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let only = protocols.next().is_none();
    if agreed && only && options.upgrade && head.is_1_1 {
        Ok(true)
    } else {
        Err("101 for something else than was asked for")
    }
}

/// Reads the head of a response to a request. `to_head`: the request's method was HEAD. A 101 is
/// for [`switches`] to judge.
///
/// # Errors
/// What no client should see: a coding that is not undone on the way (RFC 9112 §6.1), or
/// contradicting lengths (§6.3).
pub fn understand(head: &ResponseHead<'_>, to_head: bool) -> Result<Understood, &'static str> {
    let mut options = Options::default();
    let mut stated = None;
    let mut chunked = false;
    let mut has_date = false;
    for field in head.fields {
        match kind(field.name) {
            Kind::Connection => options.add(field.value),
            Kind::ContentLength => {
                let length = length(field.value).ok_or("a Content-Length that is no number")?;
                if stated.replace(length).is_some_and(|other| other != length) {
                    return Err("two lengths");
                }
            }
            Kind::TransferEncoding => {
                if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err("a transfer coding other than chunked");
                }
                chunked = true;
            }
            Kind::Date => has_date = true,
            _ => {}
        }
    }
    if options.are_too_many() {
        return Err("more Connection options than anybody needs");
    }
    let bodiless = to_head || matches!(head.status, 100..=199 | 204 | 304);
    let body = if bodiless {
        Body::NONE
    } else if chunked {
        Body::chunked()
    } else {
        stated.map_or(Body::UntilClose, Body::Length)
    };
    // §6.3: with both, the chunks count and the connection cannot be trusted any more.
    let doubtful = chunked && (stated.is_some() || !head.is_1_1);
    let stays = !options.close && (head.is_1_1 || options.keep_alive);
    Ok(Understood {
        reusable: stays && !doubtful && body != Body::UntilClose,
        length: stated.filter(|_| !chunked && !matches!(head.status, 100..=199 | 204)),
        body,
        names_fields: options.names,
        has_date,
    })
}

/// How a response goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// In chunks, because its length is not known.
    pub chunked: bool,
    /// A Connection field that is to be said.
    pub connection: Option<&'static str>,
}

/// Writes a response's head for the client. The version is that of each connection (RFC 9112
/// §2.3). `date` is for responses without one (RFC 9110 §6.6.1). `add` writes fields of our own.
pub fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    understood: &Understood,
    delivery: Delivery,
    date: &[u8],
    add: impl FnOnce(&mut Vec<u8>),
) {
    push_status(out, head.status, head.reason);
    let mut length_is_due = !delivery.chunked;
    for field in head.fields {
        match kind(field.name) {
            Kind::ContentLength => {
                if let Some(length) = understood.length
                    && std::mem::take(&mut length_is_due)
                {
                    push_length(out, field.name, length);
                }
            }
            Kind::Connection
            | Kind::Hop
            | Kind::Upgrade
            | Kind::TransferEncoding
            | Kind::Te
            | Kind::Expect => {}
            Kind::Host
            | Kind::ForwardedFor
            | Kind::Forwarded
            | Kind::Tls
            | Kind::Date
            | Kind::Other => {
                if !(understood.names_fields && is_named(head.fields, field.name)) {
                    push_field(out, field.name, field.value);
                }
            }
        }
    }
    if !understood.has_date && head.status >= 200 {
        push_field(out, "Date", date);
    }
    add(out);
    push_delivery(out, delivery);
}

/// Writes a status line.
pub fn push_status(out: &mut Vec<u8>, status: u16, reason: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    for divisor in [100, 10, 1] {
        out.push(b'0' + u8::try_from(status / divisor % 10).unwrap_or_default());
    }
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes how the message goes, and the end of the head.
pub fn push_delivery(out: &mut Vec<u8>, delivery: Delivery) {
    if delivery.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if let Some(connection) = delivery.connection {
        push_field(out, "Connection", connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
