//! Why one attempt failed: the facts that a retry and an answer need.

use std::io;

use super::passive::Fault;

/// One attempt's failure.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The target refused or did not answer the connect. Nothing was sent.
    #[error("connect: {0}")]
    Connect(io::Error),
    /// The target and we did not come together on TLS. Nothing was sent.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// It does not speak HTTP/2. Nothing of a request was sent.
    #[error("no HTTP/2: {0}")]
    NotHttp2(&'static str),
    /// The target says that it has done nothing of the request (RFC 9113 §8.7).
    #[error("refused: {0}")]
    Refused(io::Error),
    /// Connecting, with TLS if there is any, took too long. Nothing was sent.
    #[error("connect timed out")]
    ConnectTimeout,
    /// The target's port may have gone to another task. Nothing was sent.
    #[error("the target's presence is not confirmed")]
    Doubtful,
    /// The connection ended before the response head.
    #[error("the connection ended before the response: {cause}")]
    Closed {
        /// Whether the connection came from the pool.
        reused: bool,
        /// Whether it was idle for so long before that the likely cause is the target's own time
        /// limit on idle connections.
        stale: bool,
        /// Whether any of the request may have reached the target.
        sent: bool,
        /// What the kernel said.
        cause: io::Error,
    },
    /// What came was no HTTP response.
    #[error("malformed response: {0}")]
    Malformed(&'static str),
    /// No response head within the time limit.
    #[error("no response in time")]
    ResponseTimeout,
    /// The time for the whole request is over.
    #[error("the time for the request is over")]
    Overdue,
    /// The deregistration delay ended while the target was at work.
    #[error("the target's deregistration delay is over")]
    Expired,
    /// The client did not send its request body in time.
    #[error("the client's request body did not come in time")]
    RequestTimeout,
    /// The client's request body ended early or was malformed.
    #[error("the client's request body: {0}")]
    RequestBody(&'static str),
    /// The client's request body is larger than its rule allows.
    #[error("the client's request body is too large")]
    RequestBodyTooLarge,
    /// The client is gone, and nobody waits for a response.
    #[error("the client is gone")]
    ClientGone,
}

impl AttemptError {
    /// What it says against the target; none if it may be our own doing, the client's, or chance.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Some(Fault::Refused),
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::TimedOut => Some(Fault::Failed),
                // No descriptor or port is left, or the network is down: that is on our side.
                _ => None,
            },
            // An idle connection may end at any time.
            Self::Closed { reused: true, .. } => None,
            Self::Tls(_)
            | Self::NotHttp2(_)
            | Self::ConnectTimeout
            | Self::Closed { .. }
            | Self::Malformed(_)
            | Self::ResponseTimeout => Some(Fault::Failed),
            Self::Doubtful
            | Self::Refused(_)
            | Self::Expired
            | Self::Overdue
            | Self::RequestTimeout
            | Self::RequestBody(_)
            | Self::RequestBodyTooLarge
            | Self::ClientGone => None,
        }
    }

    /// The same for another request that waited for the same connection. Only what can happen
    /// before a byte of a request is sent is told exactly.
    #[must_use]
    pub fn alike(&self) -> Self {
        let same = |error: &io::Error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        match self {
            Self::Connect(error) => Self::Connect(same(error)),
            Self::Tls(error) => Self::Tls(same(error)),
            Self::NotHttp2(what) => Self::NotHttp2(what),
            Self::ConnectTimeout => Self::ConnectTimeout,
            Self::Doubtful => Self::Doubtful,
            other => Self::Refused(io::Error::other(other.to_string())),
        }
    }
}
