//! The two questions that discovery asks of DNS, in plain data. The resolver library is behind
//! this, and so are fakes.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

/// The questions. Each goes to a server: an answer from a cache of our own would confirm targets
/// that nobody has looked at.
pub trait DnsApi: Send + Sync + 'static {
    /// The addresses of a name, after any CNAMEs.
    fn addresses(
        &self,
        name: &str,
        family: Family,
    ) -> impl Future<Output = Result<Answer<IpAddr>, LookupError>> + Send;

    /// The SRV records of a name.
    fn services(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Answer<Service>, LookupError>> + Send;
}

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4: A records.
    V4,
    /// IPv6: AAAA records.
    V6,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// At least one record.
    Found {
        /// The records, in no order that means anything.
        records: Vec<T>,
        /// How long they may be believed: the smallest TTL of all that led to them.
        ttl: Duration,
    },
    /// The zone says that there is none (RFC 2308: NXDOMAIN or NODATA, with its SOA record). An
    /// empty answer without that record is a [`LookupError`].
    Nothing {
        /// Which of the two, for people.
        reason: String,
        /// How long others may keep this answer, and so give the same one without a new look.
        ttl: Duration,
    },
}

/// An SRV record, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The name of the host, absolute and in small letters.
    pub host: String,
    /// The port there. 0 is possible, and wrong.
    pub port: u16,
    /// The lowest is used first.
    pub priority: u16,
    /// Its share among those of the same priority. 0 where nothing is to be chosen.
    pub weight: u16,
    /// The host's IPv4 addresses, if they came with the same answer.
    pub addresses: Vec<IpAddr>,
}

/// Nothing was learnt: no server gave an answer that can be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(pub String);
