//! Every response that Longshore makes itself, by its reason.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, LOCATION, SERVER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::ResponseBody;

/// The header that tells the reason to operators.
pub const REASON_HEADER: HeaderName = HeaderName::from_static("x-longshore-reason");

/// Why there is an answer of our own. The names are stable: they stand in the header, in logs and
/// in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A rule's fixed response.
    FixedResponse,
    /// A rule's redirect.
    Redirect,
    /// The request has no valid Host, or more than one.
    BadHost,
    /// The request target has a form that its method does not allow.
    BadTarget,
    /// Content-Length and Transfer-Encoding in one request.
    AmbiguousLength,
    /// A Transfer-Encoding other than `chunked`.
    UnsupportedTransferEncoding,
    /// TRACE or CONNECT.
    MethodNotAllowed,
    /// The client did not finish its request head in time.
    RequestHeaderTimeout,
    /// The client's request body stopped short or was malformed.
    RequestBodyIncomplete,
    /// The redirect's Location would be invalid.
    RedirectInvalid,
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
    /// The target closed or reset the connection before its response.
    TargetClosed,
    /// The target's response was no valid HTTP.
    TargetMalformed,
    /// The target did not respond in time.
    TargetTimeout,
    /// The deregistration delay ended before the target responded.
    DeregistrationDelayElapsed,
}

impl Reason {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::FixedResponse,
        Self::Redirect,
        Self::BadHost,
        Self::BadTarget,
        Self::AmbiguousLength,
        Self::UnsupportedTransferEncoding,
        Self::MethodNotAllowed,
        Self::RequestHeaderTimeout,
        Self::RequestBodyIncomplete,
        Self::RedirectInvalid,
        Self::ListenerRemoved,
        Self::GroupRemoved,
        Self::NoTargets,
        Self::NoCheckedTarget,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TargetClosed,
        Self::TargetMalformed,
        Self::TargetTimeout,
        Self::DeregistrationDelayElapsed,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedResponse => "fixed_response",
            Self::Redirect => "redirect",
            Self::BadHost => "bad_host",
            Self::BadTarget => "bad_target",
            Self::AmbiguousLength => "ambiguous_length",
            Self::UnsupportedTransferEncoding => "unsupported_transfer_encoding",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestHeaderTimeout => "request_header_timeout",
            Self::RequestBodyIncomplete => "request_body_incomplete",
            Self::RedirectInvalid => "redirect_invalid",
            Self::ListenerRemoved => "listener_removed",
            Self::GroupRemoved => "group_removed",
            Self::NoTargets => "no_targets",
            Self::NoCheckedTarget => "no_checked_target",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TargetClosed => "target_closed",
            Self::TargetMalformed => "target_malformed",
            Self::TargetTimeout => "target_timeout",
            Self::DeregistrationDelayElapsed => "deregistration_delay_elapsed",
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
            Self::BadHost
            | Self::BadTarget
            | Self::AmbiguousLength
            | Self::RequestBodyIncomplete => StatusCode::BAD_REQUEST,
            Self::UnsupportedTransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestHeaderTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RedirectInvalid => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ListenerRemoved
            | Self::GroupRemoved
            | Self::NoTargets
            | Self::NoCheckedTarget => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectFailed
            | Self::TargetClosed
            | Self::TargetMalformed
            | Self::DeregistrationDelayElapsed => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::TargetTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// The error page for a reason.
#[must_use]
pub fn answer(reason: Reason) -> Response<ResponseBody> {
    let status = reason.status();
    let mut response = Response::new(ResponseBody::full(page(status)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("longshore"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(REASON_HEADER, HeaderValue::from_static(reason.name()));
    match reason {
        Reason::MethodNotAllowed => {
            headers.insert(
                ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            );
            // What follows a CONNECT is no HTTP for a client that takes the answer for a tunnel.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // Where the next request begins cannot be known, or must not be trusted.
        Reason::BadHost
        | Reason::BadTarget
        | Reason::AmbiguousLength
        | Reason::UnsupportedTransferEncoding
        | Reason::RequestBodyIncomplete => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// A rule's fixed response.
#[must_use]
pub fn fixed(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(SERVER, HeaderValue::from_static("longshore"));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A rule's redirect.
#[must_use]
pub fn redirect(status: StatusCode, location: HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(page(status)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("longshore"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(LOCATION, location);
    response
}

/// The whole answer as bytes, for a connection on which HTTP is not spoken any more.
#[must_use]
pub fn raw(reason: Reason) -> String {
    let status = reason.status();
    let body = page(status);
    format!(
        "HTTP/1.1 {status}\r\nserver: longshore\r\ncontent-type: text/html\r\n{REASON_HEADER}: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}",
        reason.name(),
        body.len(),
        String::from_utf8_lossy(&body)
    )
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
