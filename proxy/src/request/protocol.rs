//! Which requests a group's targets understand. Pure.

use longshore_config::ProtocolVersion;

use super::grpc;
use crate::http1::field::Field;

/// Whether a request suits a group (ALB user guide, "Target groups", "Protocol version"); ALB
/// answers 464 to all others. `http2`: it came over HTTP/2. `websocket`: it asks for a WebSocket, which
/// targets are asked for in HTTP/1.1.
#[must_use]
pub fn suits(
    version: ProtocolVersion,
    http2: bool,
    websocket: bool,
    method: &str,
    fields: &[Field<'_>],
) -> bool {
    match version {
        _ if websocket => version == ProtocolVersion::Http1,
        // gRPC is what it is only over HTTP/2, to its end.
        ProtocolVersion::Http1 => !(http2 && method == "POST" && grpc::asks(fields)),
        ProtocolVersion::Http2 => http2,
        ProtocolVersion::Grpc => http2 && method == "POST",
    }
}

#[cfg(test)]
mod tests {
    use longshore_config::ProtocolVersion::{Grpc, Http1, Http2};

    use super::suits;
    use crate::http1::field::Field;

    #[test]
    fn each_pair_of_albs_matrix_is_as_there() {
        let grpc = [Field {
            name: "content-type",
            value: b"application/grpc+proto",
        }];
        for (version, http1, http2_get, http2_post, with_grpc) in [
            (Http1, true, true, true, false),
            (Http2, false, true, true, true),
            (Grpc, false, false, true, true),
        ] {
            assert_eq!(
                suits(version, false, false, "GET", &[]),
                http1,
                "{version:?}"
            );
            for http2 in [false, true] {
                assert_eq!(
                    suits(version, http2, true, "GET", &[]),
                    http1,
                    "{version:?}"
                );
            }
            assert_eq!(
                suits(version, false, false, "POST", &grpc),
                http1,
                "{version:?}"
            );
            assert_eq!(
                suits(version, true, false, "GET", &[]),
                http2_get,
                "{version:?}"
            );
            assert_eq!(
                suits(version, true, false, "POST", &[]),
                http2_post,
                "{version:?}"
            );
            assert_eq!(
                suits(version, true, false, "POST", &grpc),
                with_grpc,
                "{version:?}"
            );
        }
    }
}
