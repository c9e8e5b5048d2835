//! Every response that Longshore makes itself, by its reason.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::desync::Finding;
use super::headers::{Delivery, push_delivery, push_field, push_length, push_status};

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
    /// TRACE or CONNECT.
    MethodNotAllowed,
    /// The client did not finish its request head in time.
    RequestHeaderTimeout,
    /// The client did not send its request body in time.
    RequestBodyTimeout,
    /// The client's request body stopped short or was malformed.
    RequestBodyIncomplete,
    /// The redirect's Location would be invalid.
    RedirectInvalid,
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
}

impl Reason {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 31] = [
        Self::FixedResponse,
        Self::Redirect,
        Self::MalformedRequest,
        Self::RequestHeaderTooLarge,
        Self::BadHost,
        Self::BadTarget,
        Self::BadLength,
        Self::AmbiguousLength,
        Self::UnsupportedTransferEncoding,
        Self::UpgradeWithBody,
        Self::DesyncMitigation,
        Self::MethodNotAllowed,
        Self::RequestHeaderTimeout,
        Self::RequestBodyTimeout,
        Self::RequestBodyIncomplete,
        Self::RedirectInvalid,
        Self::TransformFailed,
        Self::ListenerRemoved,
        Self::GroupRemoved,
        Self::NoTargets,
        Self::NoCheckedTarget,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TargetTlsFailed,
        Self::TargetClosed,
        Self::TargetMalformed,
        Self::TargetTimeout,
        Self::DeregistrationDelayElapsed,
        Self::TotalTimeout,
        Self::QueueFull,
        Self::QueueTimeout,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedResponse => "fixed_response",
            Self::Redirect => "redirect",
            Self::MalformedRequest => "malformed_request",
            Self::RequestHeaderTooLarge => "request_header_too_large",
            Self::BadHost => "bad_host",
            Self::BadTarget => "bad_target",
            Self::BadLength => "bad_length",
            Self::AmbiguousLength => "ambiguous_length",
            Self::UnsupportedTransferEncoding => "unsupported_transfer_encoding",
            Self::UpgradeWithBody => "upgrade_with_body",
            Self::DesyncMitigation => "desync_mitigation",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestHeaderTimeout => "request_header_timeout",
            Self::RequestBodyTimeout => "request_body_timeout",
            Self::RequestBodyIncomplete => "request_body_incomplete",
            Self::RedirectInvalid => "redirect_invalid",
            Self::TransformFailed => "transform_failed",
            Self::ListenerRemoved => "listener_removed",
            Self::GroupRemoved => "group_removed",
            Self::NoTargets => "no_targets",
            Self::NoCheckedTarget => "no_checked_target",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TargetTlsFailed => "target_tls_failed",
            Self::TargetClosed => "target_closed",
            Self::TargetMalformed => "target_malformed",
            Self::TargetTimeout => "target_timeout",
            Self::DeregistrationDelayElapsed => "deregistration_delay_elapsed",
            Self::TotalTimeout => "total_timeout",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
        }
    }

    /// The status, as ALB has it for the same cause (ALB user guide, "Troubleshoot").
    ///
    /// `FixedResponse` and `Redirect` have the status of their rule; here they stand for any.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::FixedResponse => StatusCode::OK,
            Self::Redirect => StatusCode::MOVED_PERMANENTLY,
            Self::MalformedRequest
            | Self::BadHost
            | Self::BadTarget
            | Self::BadLength
            | Self::AmbiguousLength
            | Self::UpgradeWithBody
            | Self::DesyncMitigation
            | Self::RequestBodyIncomplete => StatusCode::BAD_REQUEST,
            Self::RequestHeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedTransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestHeaderTimeout | Self::RequestBodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RedirectInvalid | Self::TransformFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ListenerRemoved
            | Self::GroupRemoved
            | Self::NoTargets
            | Self::NoCheckedTarget
            | Self::QueueFull
            | Self::QueueTimeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectFailed
            | Self::TargetTlsFailed
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
    location: Option<HeaderValue>,
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
            location: None,
            finding: None,
            body: page(status),
            // Where the next request begins cannot be known, or must not be trusted. And what
            // follows a CONNECT is no HTTP for a client that takes the answer for a tunnel.
            close: matches!(
                reason,
                Reason::MethodNotAllowed
                    | Reason::MalformedRequest
                    | Reason::RequestHeaderTooLarge
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

    /// A rule's fixed response.
    #[must_use]
    pub fn fixed(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Self {
        Self {
            reason: Reason::FixedResponse,
            status,
            content_type,
            location: None,
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
            location: Some(location),
            finding: None,
            body: page(status),
            close: false,
        }
    }

    /// Writes it as HTTP/1.1. `to_head`: without the body, for a HEAD request.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        to_head: bool,
        connection: Option<&'static str>,
        date: &[u8],
    ) {
        let reason = self.status.canonical_reason().unwrap_or_default();
        push_status(out, self.status.as_u16(), reason);
        push_field(out, "server", b"longshore");
        push_field(out, "date", date);
        if !matches!(self.reason, Reason::FixedResponse | Reason::Redirect) {
            push_field(out, REASON_HEADER, self.reason.name().as_bytes());
        }
        if let Some(finding) = self.finding {
            let text = format!("{} {}", finding.class().name(), finding.name());
            push_field(out, CLASSIFICATION_HEADER, text.as_bytes());
        }
        if self.reason == Reason::MethodNotAllowed {
            push_field(
                out,
                "allow",
                b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            );
        }
        if let Some(location) = &self.location {
            push_field(out, "location", location.as_bytes());
        }
        // RFC 9110 §8.6: not with a status that has no body.
        let has_body = !matches!(self.status.as_u16(), 100..=199 | 204 | 304);
        if has_body {
            push_field(out, "content-type", self.content_type.as_bytes());
            push_length(out, "content-length", self.body.len() as u64);
        }
        let delivery = Delivery {
            chunked: false,
            connection,
        };
        push_delivery(out, delivery);
        if has_body && !to_head {
            out.extend_from_slice(&self.body);
        }
    }
}

fn page(status: StatusCode) -> Bytes {
    format!("<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n")
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
