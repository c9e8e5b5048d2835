//! gRPC, as far as a health check needs it: one message there, and a code and perhaps one back.
//!
//! The messages of `grpc.health.v1` have one field each, so that a library for protocol buffers
//! would be larger than what it saves.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::probe::failed;
use crate::control::threshold::Failure;

/// The longest message that is read. The right one has 7 bytes.
const MESSAGE_MAX: usize = 4096;

/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// What a target said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) number: u16,
    /// There was a message, and it says that the service serves.
    pub(super) says_serving: bool,
}

/// A `HealthCheckRequest` with its prefix. For no service, and for any other method that takes an
/// empty message, it is the empty message.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a); // field 1, a text
        let mut len = service.len();
        while len > 0x7f {
            message.put_u8((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        message.put_u8(len as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0); // not compressed
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

/// Reads a response to its trailers.
pub(super) async fn read(response: Response<Incoming>) -> Result<Code, Failure> {
    let status = response.status().as_u16();
    let fields = response.headers();
    let is_grpc = fields
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if status != 200 || !is_grpc {
        let kind = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let kind = String::from_utf8_lossy(kind.unwrap_or(b"none")).into_owned();
        let why = format!("the response is not gRPC: status {status}, content type {kind}");
        return Err(Failure::Failed(why));
    }
    // A response without a message has its code in the head.
    let mut code = code_of(fields);
    let mut message = Vec::new();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&error))?;
        if let Some(data) = frame.data_ref() {
            let room = MESSAGE_MAX - message.len();
            if data.len() > room {
                let why = format!("the message has more than {MESSAGE_MAX} bytes");
                return Err(Failure::Failed(why));
            }
            message.extend_from_slice(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            code = code_of(trailers).or(code);
        }
    }
    match code {
        Some(number) => Ok(Code {
            number,
            says_serving: status_in(&message) == Some(SERVING),
        }),
        None => Err(Failure::Failed(
            "the response has no grpc-status from 0 to 99".to_owned(),
        )),
    }
}

fn code_of(fields: &HeaderMap) -> Option<u16> {
    let text = fields.get("grpc-status")?.to_str().ok()?;
    text.parse().ok().filter(|code| *code <= 99)
}

/// The status in a framed `HealthCheckResponse`. None if it is no such message. The first value of
/// the enumeration is left out on the wire.
fn status_in(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(5)?;
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || message.len() as u64 != u64::from(len) {
        return None;
    }
    match message.split_first() {
        None => Some(0),
        Some((0x08, value)) => varint(value),
        Some(_) => None,
    }
}

/// A number that fills the rest of a message.
fn varint(bytes: &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            return (index + 1 == bytes.len()).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{request, status_in};

    #[test]
    fn a_request_is_framed_as_grpc_and_encoded_as_protocol_buffers_are() {
        assert_eq!(&*request(""), [0, 0, 0, 0, 0]);
        assert_eq!(&*request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 5 + 3 + 300);
    }

    #[test]
    fn a_status_is_found_in_a_whole_message_only() {
        for (framed, status) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 3, 8, 0x81, 0], Some(1)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[], None),
            (&[0, 0, 0, 0], None),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 2, 8, 0x81], None),
            (&[0, 0, 0, 0, 3, 8, 1, 1], None),
            (&[0, 0, 0, 0, 2, 16, 1], None),
        ] {
            assert_eq!(status_in(framed), status, "{framed:?}");
        }
    }
}
