//! Every response that Longshore makes itself, by its reason.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::desync::Finding;
use super::edits::Edits;
use super::grpc;
use super::headers::{Delivery, push_delivery, push_field, push_length, push_status};
use crate::observe::note::Note;

/// The header that tells the reason to operators.
pub const REASON_HEADER: &str = "x-longshore-reason";
/// The header that tells how a refused request was classified, and by what.
pub const CLASSIFICATION_HEADER: &str = "x-longshore-classification";

/// Why there is an answer of our own. The names are stable: they stand in the header, in logs and
/// in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A rule's fixed response.
    FixedResponse,
    /// A rule's redirect.
    Redirect,
    /// What came is no HTTP/1.1 or HTTP/1.0 request.
    MalformedRequest,
    /// The request head is too large, or has too many fields.
    RequestHeaderTooLarge,
    /// The request line is too long.
    UriTooLong,
    /// A version of HTTP that is not spoken here.
    VersionNotSupported,
    /// `X-Forwarded-For` holds more than 30 addresses.
    TooManyForwardedAddresses,
    /// The request has no valid Host, or more than one.
    BadHost,
    /// The request target has a form that its method does not allow.
    BadTarget,
    /// A Content-Length that is no number, or several.
    BadLength,
    /// Transfer-Encoding in an HTTP/1.0 request.
    AmbiguousLength,
    /// A Transfer-Encoding other than `chunked`.
    UnsupportedTransferEncoding,
    /// A request to switch to a WebSocket that has a body.
    UpgradeWithBody,
    /// Readers could understand the request differently, more than the mode allows.
    DesyncMitigation,
    /// The request's protocol is not one of the group's `protocol_version`.
    ProtocolVersionMismatch,
    /// TRACE or CONNECT.
    MethodNotAllowed,
    /// The client's address is not allowed, or is denied.
    SourceIpDenied,
    /// More requests than a client may make.
    RateLimited,
    /// No right name and password.
    Unauthorized,
    /// Too many requests wait for their passwords to be compared.
    AuthenticationBusy,
    /// The request body is larger than the rule allows.
    RequestBodyTooLarge,
    /// A browser's preflight request (CORS).
    CorsPreflight,
    /// The client did not finish its request head in time.
    RequestHeaderTimeout,
    /// The client did not send its request body in time.
    RequestBodyTimeout,
    /// The client's request body stopped short or was malformed.
    RequestBodyIncomplete,
    /// The redirect's Location would be invalid.
    RedirectInvalid,
    /// The redirect's Location would be too long.
    RedirectTooLong,
    /// A transform of the rule gave no valid Host or URL.
    TransformFailed,
    /// A reload took away the listener while the request was read.
    ListenerRemoved,
    /// A reload took away the target group while the request was at work.
    GroupRemoved,
    /// The target group has no targets.
    NoTargets,
    /// The group has targets, but none has passed its first health check.
    NoCheckedTarget,
    /// No target could be connected to.
    ConnectFailed,
    /// Connecting took too long at every target that was tried.
    ConnectTimeout,
    /// The target and Longshore did not come together on TLS, or its certificate is not trusted.
    TargetTlsFailed,
    /// The group's targets speak HTTP/2 and the target does not.
    TargetNotHttp2,
    /// The target closed or reset the connection before its response.
    TargetClosed,
    /// The target's response was no valid HTTP.
    TargetMalformed,
    /// The target did not respond in time.
    TargetTimeout,
    /// The deregistration delay ended before the target responded.
    DeregistrationDelayElapsed,
    /// The time for the whole request is over.
    TotalTimeout,
    /// All targets are at work, and too many requests wait for one.
    QueueFull,
    /// All targets were at work for too long.
    QueueTimeout,
    /// There are as many client connections as there may be.
    ConnectionLimit,
    /// There are as many from this client's address as there may be.
    SourceConnectionLimit,
}

impl Reason {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 45] = [
        Self::FixedResponse,
        Self::Redirect,
        Self::MalformedRequest,
        Self::RequestHeaderTooLarge,
        Self::UriTooLong,
        Self::VersionNotSupported,
        Self::TooManyForwardedAddresses,
        Self::BadHost,
        Self::BadTarget,
        Self::BadLength,
        Self::AmbiguousLength,
        Self::UnsupportedTransferEncoding,
        Self::UpgradeWithBody,
        Self::DesyncMitigation,
        Self::ProtocolVersionMismatch,
        Self::MethodNotAllowed,
        Self::SourceIpDenied,
        Self::RateLimited,
        Self::Unauthorized,
        Self::AuthenticationBusy,
        Self::RequestBodyTooLarge,
        Self::CorsPreflight,
        Self::RequestHeaderTimeout,
        Self::RequestBodyTimeout,
        Self::RequestBodyIncomplete,
        Self::RedirectInvalid,
        Self::RedirectTooLong,
        Self::TransformFailed,
        Self::ListenerRemoved,
        Self::GroupRemoved,
        Self::NoTargets,
        Self::NoCheckedTarget,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TargetTlsFailed,
        Self::TargetNotHttp2,
        Self::TargetClosed,
        Self::TargetMalformed,
        Self::TargetTimeout,
        Self::DeregistrationDelayElapsed,
        Self::TotalTimeout,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::ConnectionLimit,
        Self::SourceConnectionLimit,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedResponse => "fixed_response",
            Self::Redirect => "redirect",
            Self::MalformedRequest => "malformed_request",
            Self::RequestHeaderTooLarge => "request_header_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::VersionNotSupported => "version_not_supported",
            Self::TooManyForwardedAddresses => "too_many_forwarded_addresses",
            Self::BadHost => "bad_host",
            Self::BadTarget => "bad_target",
            Self::BadLength => "bad_length",
            Self::AmbiguousLength => "ambiguous_length",
            Self::UnsupportedTransferEncoding => "unsupported_transfer_encoding",
            Self::UpgradeWithBody => "upgrade_with_body",
            Self::DesyncMitigation => "desync_mitigation",
            Self::ProtocolVersionMismatch => "protocol_version_mismatch",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::SourceIpDenied => "source_ip_denied",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::AuthenticationBusy => "authentication_busy",
            Self::RequestBodyTooLarge => "request_body_too_large",
            Self::CorsPreflight => "cors_preflight",
            Self::RequestHeaderTimeout => "request_header_timeout",
            Self::RequestBodyTimeout => "request_body_timeout",
            Self::RequestBodyIncomplete => "request_body_incomplete",
            Self::RedirectInvalid => "redirect_invalid",
            Self::RedirectTooLong => "redirect_too_long",
            Self::TransformFailed => "transform_failed",
            Self::ListenerRemoved => "listener_removed",
            Self::GroupRemoved => "group_removed",
            Self::NoTargets => "no_targets",
            Self::NoCheckedTarget => "no_checked_target",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TargetTlsFailed => "target_tls_failed",
            Self::TargetNotHttp2 => "target_not_http2",
            Self::TargetClosed => "target_closed",
            Self::TargetMalformed => "target_malformed",
            Self::TargetTimeout => "target_timeout",
            Self::DeregistrationDelayElapsed => "deregistration_delay_elapsed",
            Self::TotalTimeout => "total_timeout",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::ConnectionLimit => "connection_limit",
            Self::SourceConnectionLimit => "source_connection_limit",
        }
    }

    /// The status, as ALB has it for the same cause (ALB user guide, "Troubleshoot").
    ///
    /// `FixedResponse` and `Redirect` have the status of their rule; here they stand for any.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::FixedResponse => StatusCode::OK,
            Self::Redirect => StatusCode::MOVED_PERMANENTLY,
            Self::MalformedRequest
            | Self::RequestHeaderTooLarge
            | Self::BadHost
            | Self::BadTarget
            | Self::BadLength
            | Self::AmbiguousLength
            | Self::UpgradeWithBody
            | Self::DesyncMitigation
            | Self::RequestBodyIncomplete => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TooManyForwardedAddresses => of_alb(463),
            Self::ProtocolVersionMismatch => of_alb(464),
            Self::RedirectTooLong => StatusCode::INSUFFICIENT_STORAGE,
            Self::UnsupportedTransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::SourceIpDenied => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::RequestBodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::CorsPreflight => StatusCode::NO_CONTENT,
            Self::RequestHeaderTimeout | Self::RequestBodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RedirectInvalid | Self::TransformFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::AuthenticationBusy
            | Self::ListenerRemoved
            | Self::GroupRemoved
            | Self::NoTargets
            | Self::NoCheckedTarget
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::ConnectionLimit
            | Self::SourceConnectionLimit => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectFailed
            | Self::TargetTlsFailed
            | Self::TargetNotHttp2
            | Self::TargetClosed
            | Self::TargetMalformed
            | Self::DeregistrationDelayElapsed => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::TargetTimeout | Self::TotalTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
        }
    }
}

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
            // Where the next request begins cannot be known, or must not be trusted. And what
            // follows a CONNECT is no HTTP for a client that takes the answer for a tunnel.
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

/// A status that only ALB has.
fn of_alb(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Reason;

    #[test]
    fn every_reason_has_a_name_and_a_number_of_its_own() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
