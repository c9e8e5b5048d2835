//! Heads as they go out: to the target, and back to the client. Pure.
//!
//! Fields keep their order and the case of their names. Those that are for one connection only are
//! left out (RFC 9110 §7.6.1), and those that frame the message are written from what was
//! understood, never copied.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use longshore_config::{TraceParent, XffMode};

use super::admit::{Admitted, WEBSOCKET};
use super::attributes::{Attributes, is_valid_name};
use super::compress::Coded;
use super::desync::is_suspicious;
use super::edits::Edits;
use super::normal::without_port;
use super::trace::{Seed, has_parent, push_parent, push_trace_id};
use crate::http1::body::Body;
use crate::http1::field::{
    Field, Kind, Options, is, is_alike, is_disguised, is_named, kind, length,
};
use crate::http1::head::{RequestHead, ResponseHead};

/// What a client's connection adds to each of its requests, made once for each connection, which
/// keeps it while it waits.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// The client's.
    port: u16,
    /// `X-Forwarded-For` with the address alone, as a line, and then the lines of
    /// `X-Forwarded-Proto`, `X-Forwarded-Port` and what there is about TLS. In one text, as each
    /// takes a block of memory.
    lines: Box<str>,
    /// Where the first line ends.
    first: u16,
    /// Names that the listener gave to fields about TLS. None if they have ALB's.
    renamed: Option<Arc<[Renamed]>>,
}

/// What stands before the address in the line of it.
const FOR: &str = "X-Forwarded-For: ";

/// A field about TLS, by ALB's name, and the name that it has instead.
pub type Renamed = (&'static str, String);

impl Forwarded {
    /// With lines about TLS, under the names that the listener gave them. What a client sends under
    /// these names goes no further: only the load balancer can know it.
    #[must_use]
    pub fn with_tls(mut self, lines: &str, renamed: Option<&Arc<[Renamed]>>) -> Self {
        if lines.is_empty() && renamed.is_none() {
            return self;
        }
        let mut out = String::from(self.lines);
        match renamed {
            None => out.push_str(lines),
            Some(renamed) => {
                for line in lines.split_inclusive("\r\n") {
                    let (name, rest) = line.split_once(':').unwrap_or((line, ""));
                    let other = renamed.iter().find(|(known, _)| is(known, name));
                    out.push_str(other.map_or(name, |(_, other)| other.as_str()));
                    out.push(':');
                    out.push_str(rest);
                }
            }
        }
        self.lines = out.into();
        self.renamed = renamed.map(Arc::clone);
        self
    }

    /// The address alone.
    fn address(&self) -> &[u8] {
        &self.lines.as_bytes()[FOR.len()..usize::from(self.first) - "\r\n".len()]
    }

    /// Writes address and port, as they are written together.
    fn push_address_and_port(&self, out: &mut Vec<u8>) {
        let is_v6 = self.address().contains(&b':');
        let (begin, end): (&[u8], &[u8]) = if is_v6 { (b"[", b"]:") } else { (b"", b":") };
        for part in [begin, self.address(), end, self.port.to_string().as_bytes()] {
            out.extend_from_slice(part);
        }
    }

    /// `X-Forwarded-For` with the address alone, as a line.
    fn address_line(&self) -> &[u8] {
        &self.lines.as_bytes()[..usize::from(self.first)]
    }

    /// The other lines.
    fn other_lines(&self) -> &[u8] {
        &self.lines.as_bytes()[usize::from(self.first)..]
    }

    /// Only the load balancer may say it, and no application may take it for that.
    fn is_ours(&self, name: &str) -> bool {
        let renamed = self.renamed.as_deref();
        renamed.is_some_and(|renamed| renamed.iter().any(|(_, other)| is_alike(other, name)))
    }

    /// The client's address, `http` or `https`, and the listener's port.
    #[must_use]
    pub fn new(peer: SocketAddr, proto: &str, port: u16) -> Self {
        let address = peer.ip();
        let mut lines = format!("{FOR}{address}\r\n");
        // An address has 39 characters at the most.
        let first = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        lines.push_str("X-Forwarded-Proto: ");
        lines.push_str(proto);
        lines.push_str("\r\nX-Forwarded-Port: ");
        lines.push_str(&port.to_string());
        lines.push_str("\r\n");
        Self {
            port: peer.port(),
            lines: lines.into(),
            first,
            renamed: None,
        }
    }
}

/// What a request's head is written with, besides what the client sent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'o> {
    /// What the connection adds.
    pub forwarded: &'o Forwarded,
    /// Where the client connected to. It becomes the Host of an HTTP/1.0 request without one,
    /// because HTTP/1.1 needs one (ALB puts its own name there), and its port belongs to the Host
    /// unless that is preserved.
    pub local: SocketAddr,
    /// The load balancer's.
    pub attributes: &'o Attributes,
    /// What a trace identifier is made of. None if none is made.
    pub trace: Option<Seed>,
    /// What the rule sets, adds and removes.
    pub edits: Option<&'o Edits>,
    /// A transform wrote the Host: it goes on as it is.
    pub host_is_ours: bool,
}

/// Writes a request's head for its target. Tells where the trace identifier stands in it, if it
/// wrote one.
pub fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    admitted: &Admitted<'_>,
    outgoing: &Outgoing<'_>,
) -> Option<Range<usize>> {
    let Outgoing {
        forwarded,
        attributes,
        ..
    } = *outgoing;
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(admitted.path.as_bytes());
    if let Some(query) = admitted.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut host_is_due = true;
    let mut addresses_are_due = attributes.xff == XffMode::Append;
    let mut trace_is_due = outgoing.trace.filter(|_| attributes.trace_id);
    let mut trace = None;
    let mut option_is_due = true;
    let mut protocol_is_due = true;
    let mut length_is_due = true;
    for field in head.fields {
        match kind(field.name) {
            Kind::Host => {
                host_is_due = false;
                push_host(out, field.name, admitted.host.unwrap_or_default(), outgoing);
            }
            Kind::ForwardedFor => match attributes.xff {
                // Several fields of that name mean one list (RFC 9110 §5.3); ALB appends to it.
                XffMode::Append => {
                    if std::mem::take(&mut addresses_are_due) {
                        push_addresses(out, head.fields, forwarded, attributes.client_port);
                    }
                }
                XffMode::Preserve => push_field(out, field.name, field.value),
                XffMode::Remove => {}
            },
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
            Kind::TraceId if attributes.trace_id => {
                if let Some(seed) = trace_is_due.take() {
                    trace = Some(push_trace_id(out, Some(field.value), head.len, seed));
                }
            }
            Kind::Date | Kind::Other | Kind::TraceId => {
                let named = admitted.names_fields && is_named(head.fields, field.name);
                let framing = !admitted.is_clean && is_suspicious(field.name);
                let dropped =
                    framing || is_kept_back(field.name, forwarded, outgoing.edits, attributes);
                if !named && !dropped && !is_disguised(field.name) {
                    push_field(out, field.name, field.value);
                }
            }
        }
    }
    if host_is_due {
        match admitted.host {
            Some(host) => push_host(out, "Host", host, outgoing),
            None => push_field(out, "Host", outgoing.local.to_string().as_bytes()),
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
    if addresses_are_due {
        if attributes.client_port {
            out.extend_from_slice(FOR.as_bytes());
            forwarded.push_address_and_port(out);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(forwarded.address_line());
        }
    }
    out.extend_from_slice(forwarded.other_lines());
    if let Some(seed) = trace_is_due {
        trace = Some(push_trace_id(out, None, head.len, seed));
    }
    if attributes.traceparent == TraceParent::Create
        && let Some(seed) = outgoing.trace
        && !has_parent(head.fields)
    {
        push_parent(out, seed);
    }
    if let Some(edits) = outgoing.edits {
        edits.push(out);
    }
    out.extend_from_slice(b"\r\n");
    trace
}

/// Whether a client's field of that name does not reach a target, in a head or behind a body: by what
/// the connection, the rule and the load balancer say.
pub(crate) fn is_kept_back(
    name: &str,
    forwarded: &Forwarded,
    edits: Option<&Edits>,
    attributes: &Attributes,
) -> bool {
    forwarded.is_ours(name)
        || edits.is_some_and(|edits| edits.drops(name))
        || (attributes.drop_invalid && !is_valid_name(name))
}

/// Writes the Host for a target. Unless it is preserved, it is in small letters, has no port for a
/// listener at a default port, and the listener's port elsewhere, if the client named none (ALB).
fn push_host(out: &mut Vec<u8>, name: &str, host: &str, outgoing: &Outgoing<'_>) {
    if outgoing.attributes.preserve_host || outgoing.host_is_ours || host.is_empty() {
        return push_field(out, name, host.as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push_host_and_port(out, host, outgoing.local.port());
    out.extend_from_slice(b"\r\n");
}

/// Writes a client's Host as ALB's targets get it.
pub(crate) fn push_host_and_port(out: &mut Vec<u8>, host: &str, port: u16) {
    let bare = without_port(host);
    let is_default = matches!(port, 80 | 443);
    // A colon without a port says nothing (RFC 3986 §3.2.3).
    let names_port = host.len() > bare.len() + 1;
    let written = if names_port && !is_default {
        host
    } else {
        bare
    };
    let at = out.len();
    out.extend_from_slice(written.as_bytes());
    out[at..].make_ascii_lowercase();
    if !names_port && !is_default {
        out.push(b':');
        push_number(out, port.into());
    }
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
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    push_number(out, length);
    out.extend_from_slice(b"\r\n");
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = number;
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn push_addresses(out: &mut Vec<u8>, fields: &[Field<'_>], forwarded: &Forwarded, with_port: bool) {
    out.extend_from_slice(FOR.as_bytes());
    for field in fields {
        if kind(field.name) == Kind::ForwardedFor && !field.value.is_empty() {
            out.extend_from_slice(field.value);
            out.extend_from_slice(b", ");
        }
    }
    if with_port {
        forwarded.push_address_and_port(out);
    } else {
        out.extend_from_slice(forwarded.address());
    }
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
/// §2.3). `date` is for responses without one (RFC 9110 §6.6.1). `edits` are those of the listener
/// and the rule. `coded`: what compression does to it. `add` writes fields of our own.
#[allow(
    clippy::too_many_arguments,
    reason = "each is one thing that a head is made of"
)]
pub fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    understood: &Understood,
    delivery: Delivery,
    date: &[u8],
    edits: Option<&Edits>,
    coded: Option<Coded>,
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
            | Kind::TraceId
            | Kind::Tls
            | Kind::Date
            | Kind::Other => {
                let named = understood.names_fields && is_named(head.fields, field.name);
                if !named
                    && !edits.is_some_and(|edits| edits.drops(field.name))
                    && !coded.is_some_and(|coded| coded.push(out, field))
                {
                    push_field(out, field.name, field.value);
                }
            }
        }
    }
    if !understood.has_date && head.status >= 200 {
        push_field(out, "Date", date);
    }
    if let Some(edits) = edits {
        edits.push(out);
    }
    if let Some(coded) = coded {
        coded.finish(out, head.fields, edits);
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
