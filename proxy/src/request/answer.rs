//! Every response that Longshore makes itself, by its reason.

mod reason;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::desync::Finding;
use super::edits::Edits;
use super::grpc;
use super::headers::{Delivery, push_delivery, push_field, push_length, push_status};
use crate::observe::note::Note;
pub use reason::Reason;

/// The header that tells the reason to operators.
pub const REASON_HEADER: &str = "x-longshore-reason";
/// The header that tells how a refused request was classified, and by what.
pub const CLASSIFICATION_HEADER: &str = "x-longshore-classification";

/// A response of our own.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Why.
    pub reason: Reason,
    /// Its status.
    pub status: StatusCode,
    content_type: HeaderValue,
    /// One more field. Boxed, because few answers have one.
    field: Option<Box<(&'static str, HeaderValue)>>,
    /// What is wrong with the request that it refuses.
    finding: Option<Finding>,
    body: Bytes,
    /// Whether the client's connection must end with it.
    pub close: bool,
}

impl Answer {
    /// The error page for a reason.
    #[must_use]
    pub fn error(reason: Reason) -> Self {
        let status = reason.status();
        Self {
            reason,
            status,
            content_type: HeaderValue::from_static("text/html"),
            field: None,
            finding: None,
            body: page(status),
            // Where the next request begins cannot be known, or must not be trusted. What follows a
            // CONNECT is no HTTP for a client that takes the answer for a tunnel. And where memory
            // is short, that of the connection is wanted back.
            close: matches!(
                reason,
                Reason::MethodNotAllowed
                    | Reason::MalformedRequest
                    | Reason::RequestHeaderTooLarge
                    | Reason::UriTooLong
                    | Reason::VersionNotSupported
                    | Reason::TooManyForwardedAddresses
                    | Reason::ListenerRemoved
                    | Reason::RequestHeaderTimeout
                    | Reason::RequestBodyTimeout
                    | Reason::BadHost
                    | Reason::BadTarget
                    | Reason::BadLength
                    | Reason::AmbiguousLength
                    | Reason::UpgradeWithBody
                    | Reason::DesyncMitigation
                    | Reason::UnsupportedTransferEncoding
                    | Reason::RequestBodyIncomplete
                    | Reason::MemoryLimit
            ),
        }
    }

    /// The error page for a request that is refused, with what is wrong with it.
    #[must_use]
    pub fn refusal(reason: Reason, finding: Option<Finding>) -> Self {
        Self {
            finding,
            ..Self::error(reason)
        }
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(self, name: &'static str, value: HeaderValue) -> Self {
        Self {
            field: Some(Box::new((name, value))),
            ..self
        }
    }

    /// The answer to a browser's preflight request. What it says is in the edits of its response.
    #[must_use]
    pub fn preflight() -> Self {
        Self {
            body: Bytes::new(),
            ..Self::error(Reason::CorsPreflight)
        }
    }

    /// A rule's fixed response.
    #[must_use]
    pub fn fixed(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Self {
        Self {
            reason: Reason::FixedResponse,
            status,
            content_type,
            field: None,
            finding: None,
            body,
            close: false,
        }
    }

    /// A rule's redirect.
    #[must_use]
    pub fn redirect(status: StatusCode, location: HeaderValue) -> Self {
        Self {
            reason: Reason::Redirect,
            status,
            content_type: HeaderValue::from_static("text/html"),
            field: Some(Box::new(("location", location))),
            finding: None,
            body: page(status),
            close: false,
        }
    }

    /// Its fields for `dress`, without the ones that frame it.
    pub fn fields(&self, dress: &Dress<'_>, mut put: impl FnMut(&str, &[u8])) {
        let is_error = self.is_error();
        let mut field = |name: &str, value: &[u8]| {
            if !dress.edits.is_some_and(|edits| edits.drops(name)) {
                put(name, value);
            }
        };
        if let Some(server) = dress.server {
            field("server", server.as_bytes());
        }
        field("date", dress.date);
        if is_error {
            field(REASON_HEADER, self.reason.name().as_bytes());
        }
        if let Some(finding) = self.finding {
            let text = format!("{} {}", finding.class().name(), finding.name());
            field(CLASSIFICATION_HEADER, text.as_bytes());
        }
        if self.reason == Reason::MethodNotAllowed {
            field("allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        }
        if let Some(more) = &self.field {
            field(more.0, more.1.as_bytes());
        }
        if is_error && dress.is_grpc {
            let (code, message) = grpc::status(self.status);
            field("content-type", b"application/grpc");
            field("grpc-status", code.to_string().as_bytes());
            field("grpc-message", message.as_bytes());
        } else if self.has_body() {
            field("content-type", self.content_type.as_bytes());
        }
        if let Some(edits) = dress.edits {
            for (name, value) in edits.set.iter().chain(&edits.add) {
                put(name, value.as_bytes());
            }
        }
    }

    /// Its body for `dress`; empty for gRPC, whose answer is all in the head.
    #[must_use]
    pub fn body(&self, dress: &Dress<'_>) -> &[u8] {
        let is_error = self.is_error();
        if self.has_body() && !(is_error && dress.is_grpc) {
            &self.body
        } else {
            &[]
        }
    }

    /// Notes where it leads.
    pub(crate) fn note(&self, note: &mut Note) {
        if let (Reason::Redirect, Some(field)) = (self.reason, &self.field) {
            note.redirect = note.put(field.1.as_bytes());
        }
    }

    /// It says that something is wrong.
    fn is_error(&self) -> bool {
        !matches!(
            self.reason,
            Reason::FixedResponse | Reason::Redirect | Reason::CorsPreflight
        )
    }

    /// RFC 9110 §8.6: not with a status that has no body.
    fn has_body(&self) -> bool {
        !matches!(self.status.as_u16(), 100..=199 | 204 | 304)
    }

    /// Writes it as HTTP/1.1.
    pub fn write(&self, out: &mut Vec<u8>, dress: &Dress<'_>) {
        push_status(out, self.status.as_u16(), phrase(self.status));
        self.fields(dress, |name, value| push_field(out, name, value));
        let body = self.body(dress);
        if self.has_body() {
            push_length(out, "content-length", body.len() as u64);
        }
        let delivery = Delivery {
            chunked: false,
            connection: dress.connection,
        };
        push_delivery(out, delivery);
        if !dress.to_head {
            out.extend_from_slice(body);
        }
    }
}

/// How an answer is written, by what was asked and where.
#[derive(Debug, Clone, Copy)]
pub struct Dress<'d> {
    /// To a HEAD request: without the body.
    pub to_head: bool,
    /// To a gRPC request: errors say so in its way.
    pub is_grpc: bool,
    /// The Connection field.
    pub connection: Option<&'static str>,
    /// The date.
    pub date: &'d [u8],
    /// The `server` field; none if the listener says so.
    pub server: Option<&'d str>,
    /// What the listener and the rule do to responses.
    pub edits: Option<&'d Edits>,
}

/// The words behind a status. ALB's own have none in the registry.
fn phrase(status: StatusCode) -> &'static str {
    match status.as_u16() {
        463 => "Too Many Forwarded Addresses",
        464 => "Incompatible Protocol Versions",
        _ => status.canonical_reason().unwrap_or_default(),
    }
}

fn page(status: StatusCode) -> Bytes {
    let title = format!("{} {}", status.as_u16(), phrase(status));
    format!("<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n")
        .into()
}
