//! Heads in HTTP/2's form and as bytes of HTTP/1.1, both ways. Pure.
//!
//! The library has refused what RFC 9113 §8.2 forbids in names and values, fields for one
//! connection only, and pseudo-fields that are missing, doubled or misplaced. What two readers of
//! the bytes could read differently is refused here. What a request may ask for is decided where it
//! is for every request.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri};

use crate::http1::chunked::Chunks;
use crate::http1::field::{Kind, kind};
use crate::http1::head::RequestHead;
use crate::request::headers::push_status;

/// A request or response that is malformed (RFC 9113 §8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// How the body behind a head stands in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// As it is; the head states its length.
    Length,
    /// In chunks.
    Chunked,
}

/// RFC 9113 §8.2.1: no white space at either end of a value.
fn sound(value: &[u8]) -> Result<(), Malformed> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return Err(Malformed("white space around a value"));
    }
    Ok(())
}

/// Writes the end of a body in chunks, with the trailers that came.
pub(crate) fn push_trailers(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        push(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// How the body of a message is to be read from the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// So many bytes; 0 is no body.
    Length(u64),
    /// In chunks.
    Chunked(Chunks),
}

/// Reads the head of a request for a stream to a target. `secure`: the stream is inside of TLS.
///
/// # Errors
/// What HTTP/2 cannot carry. Nothing that the relay writes, as it has understood the request.
pub(crate) fn request(
    head: &RequestHead<'_>,
    bytes: &[u8],
    secure: bool,
) -> Result<(Request<()>, Content), Malformed> {
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(head.method.as_bytes()).map_err(|_| Malformed("a method"))?;
    let fields = request.headers_mut();
    fields.reserve(head.fields.len());
    let shared = Bytes::copy_from_slice(&bytes[..head.len]);
    let part = |text: &[u8]| {
        let at = text.as_ptr().addr() - bytes.as_ptr().addr();
        shared.slice(at..at + text.len())
    };
    let mut content = Content::Length(0);
    let mut host = None;
    for field in head.fields {
        match kind(field.name) {
            Kind::Connection | Kind::Hop | Kind::Upgrade => continue,
            Kind::TransferEncoding => {
                content = Content::Chunked(Chunks::default());
                continue;
            }
            Kind::ContentLength => {
                let length = crate::http1::field::length(field.value);
                content = Content::Length(length.ok_or(Malformed("no length"))?);
            }
            Kind::Host => {
                host = Some(part(field.value));
                continue;
            }
            _ => {}
        }
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Malformed("a name"))?;
        let value = HeaderValue::from_maybe_shared(part(field.value));
        fields.append(name, value.map_err(|_| Malformed("a value"))?);
    }
    let mut uri = Parts::default();
    let target = part(head.target.as_bytes());
    uri.path_and_query = Some(match PathAndQuery::from_maybe_shared(target) {
        Ok(path) => path,
        Err(_) => PathAndQuery::try_from(encoded(head.target)).map_err(|_| Malformed("a path"))?,
    });
    let authority = host.clone().map(Authority::from_maybe_shared);
    match authority {
        Some(Ok(authority)) => {
            uri.authority = Some(authority);
            uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
        }
        // §8.3.1: one that is no authority can go as a field. The library adds a scheme.
        _ => {
            if let Some(host) = host {
                let host = HeaderValue::from_maybe_shared(host);
                request
                    .headers_mut()
                    .insert(HOST, host.map_err(|_| Malformed("a host"))?);
            }
        }
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Malformed("a target"))?;
    Ok((request, content))
}

/// A target with its characters that no URI may have as `%XX`, which is the same (RFC 3986 §2.1).
fn encoded(target: &str) -> String {
    let mut out = String::with_capacity(target.len() + 8);
    for byte in target.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(digit.into(), 16).unwrap_or('0');
                    out.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    out
}

/// Writes the head of a target's response. `ended`: nothing follows it on the stream. `to_head`:
/// the request's method was HEAD.
///
/// In HTTP/1.1 a message with a length has no trailers. Of a response that says that it has some,
/// as any of gRPC does, the trailers are worth more.
pub(crate) fn push_response(
    out: &mut Vec<u8>,
    status: StatusCode,
    fields: &HeaderMap,
    ended: bool,
    to_head: bool,
) -> Result<Framing, Malformed> {
    push_status(
        out,
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
    );
    let bodiless = to_head || matches!(status.as_u16(), 100..=199 | 204 | 304);
    let has_trailers = !bodiless && !ended && announces_trailers(fields);
    let mut has_length = false;
    for (name, value) in fields {
        if is_for_one_connection(name) || (has_trailers && *name == CONTENT_LENGTH) {
            continue;
        }
        has_length |= *name == CONTENT_LENGTH;
        let value = value.as_bytes();
        sound(value)?;
        push(out, name.as_str(), value);
    }
    let framing = match (bodiless, ended, has_length) {
        (true, ..) | (_, true, true) => Framing::None,
        (_, true, false) => {
            out.extend_from_slice(b"content-length: 0\r\n");
            Framing::None
        }
        (_, false, true) => Framing::Length,
        (_, false, false) => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    Ok(framing)
}

fn announces_trailers(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    fields.contains_key(TRAILER) || kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Reads trailers as [`push_trailers`] writes them, without the first and the last line.
///
/// # Errors
/// If they are none. Nothing that the relay writes.
pub(crate) fn trailers(bytes: &[u8]) -> Result<HeaderMap, Malformed> {
    let mut map = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let at = memchr::memchr(b':', line).ok_or(Malformed("a trailer"))?;
        let name = HeaderName::from_bytes(&line[..at]).map_err(|_| Malformed("a trailer"))?;
        if is_for_one_connection(&name) {
            continue;
        }
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii());
        map.append(name, value.map_err(|_| Malformed("a trailer"))?);
    }
    Ok(map)
}

fn is_for_one_connection(name: &HeaderName) -> bool {
    [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE, TRAILER].contains(name)
        || name == "keep-alive"
        || name == "proxy-connection"
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
