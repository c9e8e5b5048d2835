//! The counters of one worker as a whole. What is counted by listener, rule, group and target is in
//! `ledger.rs`; a scrape (`scrape.rs`) adds up what all workers counted.

use super::counters::{Classes, Counter, Histogram, Row, TIMES, class};
use super::ledger::Reasons;
use crate::http2::watch::Abuse;
use crate::request::answer::Reason;
use crate::request::compress::Coding;
use crate::request::desync::Finding;
use crate::request::mirror::Fate;
use crate::tls::accept::Ended;
use crate::upstream::lines::CAUSES;

/// The counters of one worker, on cache lines that no other worker writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    pub(super) responses: Classes,
    pub(super) reasons: Reasons,
    /// Requests that are not compliant.
    pub(super) findings: Row<{ Finding::ALL.len() }>,
    /// Responses that were compressed, by their coding.
    pub(crate) compressed: Row<{ Coding::ALL.len() }>,
    /// Copies of requests for other groups, by what became of them.
    pub(crate) mirrored: Row<{ Fate::ALL.len() }>,
    /// Attempts that were followed by another.
    pub retries: Counter,
    /// Attempts that the group's budget did not allow.
    pub retries_refused: Counter,
    /// Requests for which a second target was asked at the same time.
    pub hedges: Counter,
    /// How many of them the second one answered first.
    pub hedges_won: Counter,
    /// Requests whose client left before the end of the response.
    pub client_aborts: Counter,
    /// Responses of targets that ended before their end.
    pub responses_cut_short: Counter,
    /// Tunnels that were opened.
    pub tunnels: Counter,
    /// Those of them that are open.
    pub tunnels_open: Counter,
    /// Tunnels whose client was told by us to come back.
    pub tunnels_sent_away: Counter,
    /// Bytes that went through tunnels, from clients and to clients.
    pub tunnel_bytes: [Counter; 2],
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Connections that should have begun with a PROXY header and did not.
    pub proxy_headers_refused: Counter,
    /// Connections for which there was no room, by the limits of the file.
    pub connections_shed: Counter,
    /// Accepts that failed for want of resources.
    pub accept_errors: Counter,
    /// Client connections with HTTP/2.
    pub http2_connections: Counter,
    /// Their streams.
    pub http2_streams: Counter,
    /// Streams that were malformed.
    pub http2_malformed: Counter,
    pub(super) abuses: Row<{ Abuse::ALL.len() }>,
    /// Connections with HTTP/2 to targets that were given up, by cause.
    pub(super) given_up: Row<CAUSES>,
    /// TLS handshakes with clients, by their end.
    pub(crate) handshakes: Row<{ Ended::ALL.len() }>,
    /// How long those took that came to an end.
    pub(crate) handshake_times: Histogram<{ TIMES.len() }>,
    /// Attempts on a connection that was idle, and on a new one.
    pub(crate) connections_reused: Counter,
    pub(crate) connections_opened: Counter,
    /// Idle connections to targets, as of the latest look.
    pub(crate) idle_connections: Counter,
}

impl WorkerMetrics {
    pub(crate) fn responded(&self, status: u16) {
        self.responses.count(class(status));
    }

    pub(crate) fn abused(&self, abuse: Abuse) {
        self.abuses.count(abuse as usize);
    }

    /// So many connections to targets were given up, by cause.
    pub(crate) fn gave_up(&self, counts: [u32; CAUSES]) {
        for (cause, count) in counts.into_iter().enumerate() {
            self.given_up.add(cause, count.into());
        }
    }

    pub(crate) fn classified(&self, finding: Finding) {
        self.findings.count(finding as usize);
    }

    pub(crate) fn answered(&self, reason: Reason) {
        self.reasons.count(reason as usize);
    }
}
