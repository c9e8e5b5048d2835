//! Headers on their way to the target and back. Pure.

use http::StatusCode;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};

/// The client's address, appended to what was there (ALB `xff_header_processing.mode = append`).
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The client's scheme.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The port that the client connected to.
pub const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What a connection adds to each of its requests. The values are made once for each connection.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// The client's address.
    pub address: HeaderValue,
    /// `http` or `https`.
    pub proto: HeaderValue,
    /// The listener's port.
    pub port: HeaderValue,
}

/// Prepares the headers of a request for its target.
pub fn to_target(headers: &mut HeaderMap, forwarded: &Forwarded) {
    let trailers = wants_trailers(headers);
    remove_hop_by_hop(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    append_address(headers, &forwarded.address);
    headers.insert(FORWARDED_PROTO, forwarded.proto.clone());
    headers.insert(FORWARDED_PORT, forwarded.port.clone());
}

/// What hyper lets through and no client should see.
///
/// # Errors
/// What is wrong with the response: a switch of protocols that nobody asked for, or a transfer
/// coding that is not undone on the way (RFC 9112 §6.1).
pub fn check_response(status: StatusCode, headers: &HeaderMap) -> Result<(), &'static str> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("101 without a request to upgrade");
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err("a transfer coding other than chunked"),
    }
}

/// Prepares the headers of a response for the client.
pub fn to_client(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112 §6.3: it overrides a length, which then must not frame what is sent on.
        headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
}

/// `TE: trailers` is the one part of a hop-by-hop header that holds from end to end here: trailers
/// are passed on (RFC 9110 §10.1.4).
fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// RFC 9110 §7.6.1: fields that the Connection field names, and those that are for one connection
/// by custom. `Expect` is among them because we answer it ourselves, as ALB does.
///
/// Names are looked at in one pass, and only those that are there are removed: a look-up for each
/// of the seven names costs more than the whole rest of the header work.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    const FIXED: [HeaderName; 7] = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        EXPECT,
    ];
    let mut present = [false; 7];
    for name in headers.keys() {
        for (index, fixed) in FIXED.iter().enumerate() {
            present[index] |= name == fixed;
        }
    }
    if present[0] {
        remove_named(headers);
    }
    for (name, present) in FIXED.iter().zip(present) {
        if present {
            headers.remove(name);
        }
    }
}

/// Removes the fields that Connection names, except those that no sender may declare to be
/// hop-by-hop: without them the target would read another request than we did.
fn remove_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|part| HeaderName::from_bytes(part.trim_ascii()).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn append_address(headers: &mut HeaderMap, address: &HeaderValue) {
    let mut values = headers.get_all(&FORWARDED_FOR).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => address.clone(),
        (Some(first), second) => {
            // Several fields of that name mean one list (RFC 9110 §5.3).
            let mut list = first.as_bytes().to_vec();
            for more in second.into_iter().chain(values) {
                list.extend_from_slice(b", ");
                list.extend_from_slice(more.as_bytes());
            }
            list.extend_from_slice(b", ");
            list.extend_from_slice(address.as_bytes());
            // Bytes of valid values with a comma between them are a valid value.
            HeaderValue::from_bytes(&list).unwrap_or_else(|_| address.clone())
        }
    };
    headers.insert(FORWARDED_FOR, value);
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
