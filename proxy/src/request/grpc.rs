//! Answers of our own as gRPC clients understand them. Pure.
//!
//! A gRPC client looks at `grpc-status` first. An answer without a body and with that field in its
//! head is "Trailers-Only" (gRPC over HTTP/2, Responses). The HTTP status stays what it is for
//! every other client, as at ALB.

use http::StatusCode;

use crate::http1::field::{Field, is};

/// Whether a request is gRPC, by its fields: `application/grpc`, also with a suffix such as
/// `+proto`. gRPC-Web is another protocol.
#[must_use]
pub fn asks(fields: &[Field<'_>]) -> bool {
    let mut types = fields.iter().filter(|field| is(field.name, "content-type"));
    types.any(|field| is_grpc(field.value))
}

fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    content_type.len() >= NAME.len()
        && content_type[..NAME.len()].eq_ignore_ascii_case(NAME)
        && matches!(
            content_type.get(NAME.len()),
            None | Some(b'+' | b';' | b' ')
        )
}

/// The code and the message of an answer.
///
/// Those of HTTP status codes are the mapping that gRPC clients use themselves for servers that
/// know no gRPC ("HTTP to gRPC Status Code Mapping"), and more exact ones where the cause is known:
/// ours says so with its status.
#[must_use]
pub fn status(status: StatusCode) -> (u8, &'static str) {
    match status.as_u16() {
        401 => (16, "unauthenticated"),
        403 => (7, "permission denied"),
        404 | 405 | 501 => (12, "unimplemented"),
        413 | 431 => (8, "resource exhausted"),
        408 | 504 => (14, "unavailable: time limit"),
        429 | 502 | 503 => (14, "unavailable"),
        400 | 414 | 463 | 464 | 505 => (13, "internal: the request is not valid"),
        500 | 507 => (13, "internal"),
        _ => (2, "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{asks, status};
    use crate::http1::field::Field;

    #[test]
    fn only_grpc_asks_for_a_grpc_answer() {
        for (value, wanted) in [
            ("application/grpc", true),
            ("Application/GRPC+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("application/grp", false),
        ] {
            let fields = [Field {
                name: "Content-Type",
                value: value.as_bytes(),
            }];
            assert_eq!(asks(&fields), wanted, "{value}");
        }
        assert!(!asks(&[]));
    }

    #[test]
    fn each_status_has_a_code_that_grpc_knows() {
        for (code, wanted) in [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (413, 8),
            (429, 14),
            (500, 13),
            (502, 14),
            (503, 14),
            (504, 14),
            (418, 2),
        ] {
            let http = StatusCode::from_u16(code).expect("a status");
            assert_eq!(status(http).0, wanted, "{code}");
        }
    }
}
