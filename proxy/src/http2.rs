//! HTTP/2 as streams that carry HTTP/1.1, so that one relay serves both, without a decision about
//! requests.
//!
//! Towards clients the protocol is our own (`engine`, `hpack`, `fields`): it is on the request path,
//! and reads heads into the form in which the relay wants them without another in between. Towards
//! targets it is the library `h2`.

pub(crate) mod connection;
pub mod engine;
mod fields;
pub(crate) mod flow;
pub(crate) mod head;
pub mod hpack;
pub(crate) mod inbound;
pub(crate) mod outbound;
mod staged;
pub(crate) mod watch;

/// What a client sends first when it knows that we speak HTTP/2 (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// HTTP/2.
    Http2,
    /// It may become HTTP/2 with more bytes.
    Unclear,
    /// Something else.
    Other,
}

/// Looks at the first bytes of a connection.
pub(crate) fn beginning(bytes: &[u8]) -> Beginning {
    // No HTTP/1.1 request begins with the first line of the preface.
    let enough = PREFACE.len() - 8;
    if bytes.len() >= enough && bytes[..enough] == PREFACE[..enough] {
        Beginning::Http2
    } else if PREFACE.starts_with(bytes) {
        Beginning::Unclear
    } else {
        Beginning::Other
    }
}

#[cfg(test)]
mod tests {
    use super::{Beginning, PREFACE, beginning};

    #[test]
    fn only_the_preface_begins_http2() {
        assert_eq!(beginning(PREFACE), Beginning::Http2);
        assert_eq!(beginning(&PREFACE[..16]), Beginning::Http2);
        for len in 0..16 {
            assert_eq!(beginning(&PREFACE[..len]), Beginning::Unclear, "{len}");
        }
        for other in [
            "POST / HTTP/1.1\r\n",
            "PUT /",
            "PRI * HTTP/1.1\r\n\r\n",
            "GET",
        ] {
            assert_eq!(beginning(other.as_bytes()), Beginning::Other, "{other}");
        }
    }
}
