//! Why Longshore answers by itself, and with which of ALB's statuses.

use http::StatusCode;

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
    /// The process has more memory than it may.
    MemoryLimit,
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
        Self::MemoryLimit,
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
            Self::MemoryLimit => "memory_limit",
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
            Self::TransformFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::AuthenticationBusy
            | Self::ListenerRemoved
            | Self::GroupRemoved
            | Self::NoTargets
            | Self::NoCheckedTarget
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::ConnectionLimit
            | Self::SourceConnectionLimit
            | Self::MemoryLimit => StatusCode::SERVICE_UNAVAILABLE,
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

/// A status that only ALB has.
fn of_alb(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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
