//! Counters. Each worker writes its own; a scrape adds them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use longshore_discovery::ecs::QueueFigures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::control::figures::CheckCounts;
use crate::control::outlier::Cause;
use crate::control::secure::CertificateFigures;
use crate::http2::watch::Abuse;
use crate::request::answer::Reason;
use crate::request::compress::Coding;
use crate::request::desync::Finding;
use crate::tls::accept::Ended;

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, without a locked instruction: only the owning worker writes.
    pub fn add(&self, count: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(value, Ordering::Relaxed);
    }

    /// Takes away; see [`Self::add`].
    pub fn subtract(&self, count: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_sub(count);
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each worker, each on cache lines of its own.
#[derive(Debug)]
pub struct PerWorker(Box<[Padded]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(Counter);

impl PerWorker {
    /// For that many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Padded::default()).collect())
    }

    /// Counts one of a worker.
    pub fn count(&self, worker: usize) {
        if let Some(Padded(counter)) = self.0.get(worker) {
            counter.add(1);
        }
    }

    /// The sum over all workers.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|Padded(counter)| counter.get()).sum()
    }
}

/// The counters of one worker, on cache lines that no other worker writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Responses by the first digit of their status; 0 holds those outside 1xx to 5xx.
    responses: [Counter; 6],
    reasons: Reasons,
    /// Requests that are not compliant.
    findings: [Counter; Finding::ALL.len()],
    /// Responses that were compressed, by their coding.
    pub compressed: [Counter; Coding::ALL.len()],
    /// Attempts that were followed by another.
    pub retries: Counter,
    /// Attempts that the group's budget did not allow.
    pub retries_refused: Counter,
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
    /// Accepts that failed for want of resources.
    pub accept_errors: Counter,
    /// Client connections with HTTP/2.
    pub http2_connections: Counter,
    /// Their streams.
    pub http2_streams: Counter,
    /// Streams that were malformed.
    pub http2_malformed: Counter,
    abuses: [Counter; Abuse::ALL.len()],
    /// TLS handshakes with clients, by their end.
    pub(crate) handshakes: [Counter; Ended::ALL.len()],
}

/// A counter for each reason. A type of its own, because arrays of more than 32 have no default.
#[derive(Debug)]
struct Reasons([Counter; Reason::ALL.len()]);

impl Default for Reasons {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl WorkerMetrics {
    pub(crate) fn responded(&self, status: u16) {
        let class = usize::from(status / 100);
        self.responses
            .get(class)
            .unwrap_or(&self.responses[0])
            .add(1);
    }

    pub(crate) fn abused(&self, abuse: Abuse) {
        self.abuses[abuse as usize].add(1);
    }

    pub(crate) fn classified(&self, finding: Finding) {
        self.findings[finding as usize].add(1);
    }

    pub(crate) fn answered(&self, reason: Reason) {
        self.reasons.0[reason as usize].add(1);
    }
}

/// A view of all workers' counters for one scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) workers: Vec<Arc<WorkerMetrics>>,
    pub(crate) connections: u64,
    pub(crate) generation: u64,
    pub(crate) groups: Vec<GroupFigures>,
    /// AWS calls of discovery, and those that AWS refused as too many.
    pub(crate) api_calls: (u64, u64),
    /// Health checks that run.
    pub(crate) checks: u64,
    /// The queues of events.
    pub(crate) queues: Vec<QueueFigures>,
    /// The certificates of listeners.
    pub(crate) certificates: Vec<CertificateFigures>,
}

/// The figures of one group.
#[derive(Debug)]
pub(crate) struct GroupFigures {
    pub(crate) name: String,
    pub(crate) initial: u64,
    pub(crate) healthy: u64,
    pub(crate) unhealthy: u64,
    pub(crate) draining: u64,
    pub(crate) unused: u64,
    /// Requests go to unhealthy targets, too.
    pub(crate) fail_open: bool,
    pub(crate) checks: CheckCounts,
    pub(crate) unhealthy_routing: u64,
    /// Taken out because of their requests, or on trial after that.
    pub(crate) ejected: u64,
    /// Requests that wait for a target with room.
    pub(crate) waiting: u64,
    /// How often targets were taken out, by cause.
    pub(crate) ejections: [u64; Cause::ALL.len()],
    pub(crate) discovery_failures: u64,
    /// Seconds since the last answer of the source.
    pub(crate) discovery_age: f64,
}

impl Scrape {
    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// Only if the text cannot be written into memory.
    pub(crate) fn render(self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("longshore");
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }

    fn sum(&self, pick: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| pick(worker).get()).sum()
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut responses = encoder.encode_descriptor(
            "responses",
            "Responses, by class of status",
            None,
            MetricType::Counter,
        )?;
        for (index, class) in ["other", "1xx", "2xx", "3xx", "4xx", "5xx"]
            .into_iter()
            .enumerate()
        {
            let count = ConstCounter::new(self.sum(|worker| &worker.responses[index]));
            count.encode(responses.encode_family(&[("code", class)])?)?;
        }
        let mut reasons = encoder.encode_descriptor(
            "answers",
            "Responses that Longshore made itself, by reason",
            None,
            MetricType::Counter,
        )?;
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            let count = ConstCounter::new(self.sum(|worker| &worker.reasons.0[index]));
            count.encode(reasons.encode_family(&[("reason", reason.name())])?)?;
        }
        let mut abuses = encoder.encode_descriptor(
            "http2_abuses",
            "Connections with HTTP/2 that were ended with ENHANCE_YOUR_CALM, by what was too much",
            None,
            MetricType::Counter,
        )?;
        for (index, abuse) in Abuse::ALL.into_iter().enumerate() {
            let count = ConstCounter::new(self.sum(|worker| &worker.abuses[index]));
            count.encode(abuses.encode_family(&[("limit", abuse.name())])?)?;
        }
        let mut compressed = encoder.encode_descriptor(
            "compressed_responses",
            "Responses that were compressed, by coding",
            None,
            MetricType::Counter,
        )?;
        for (index, coding) in Coding::ALL.into_iter().enumerate() {
            let count = ConstCounter::new(self.sum(|worker| &worker.compressed[index]));
            count.encode(compressed.encode_family(&[("coding", coding.name())])?)?;
        }
        let mut bytes = encoder.encode_descriptor(
            "tunnel_bytes",
            "Bytes that went through tunnels, by direction",
            None,
            MetricType::Counter,
        )?;
        for (index, direction) in ["from_client", "to_client"].into_iter().enumerate() {
            let count = ConstCounter::new(self.sum(|worker| &worker.tunnel_bytes[index]));
            count.encode(bytes.encode_family(&[("direction", direction)])?)?;
        }
        let mut findings = encoder.encode_descriptor(
            "non_compliant_requests",
            "Requests that are not compliant, by class and reason, passed on or not",
            None,
            MetricType::Counter,
        )?;
        for (index, finding) in Finding::ALL.into_iter().enumerate() {
            let count = ConstCounter::new(self.sum(|worker| &worker.findings[index]));
            let labels = [
                ("classification", finding.class().name()),
                ("reason", finding.name()),
            ];
            count.encode(findings.encode_family(&labels)?)?;
        }
        let counters: [(&str, &str, u64); 14] = [
            (
                "retries",
                "Attempts that were followed by another",
                self.sum(|w| &w.retries),
            ),
            (
                "retries_refused",
                "Attempts that the budget did not allow",
                self.sum(|w| &w.retries_refused),
            ),
            (
                "client_aborts",
                "Requests whose client left before the end of the response",
                self.sum(|w| &w.client_aborts),
            ),
            (
                "responses_cut_short",
                "Responses of targets that ended early",
                self.sum(|w| &w.responses_cut_short),
            ),
            (
                "tunnels",
                "Connections that became WebSockets",
                self.sum(|w| &w.tunnels),
            ),
            (
                "tunnels_sent_away",
                "WebSockets that were closed because their target or the process went",
                self.sum(|w| &w.tunnels_sent_away),
            ),
            (
                "connections_accepted",
                "Client connections that were accepted",
                self.sum(|w| &w.accepted),
            ),
            (
                "proxy_headers_refused",
                "Connections of trusted proxies without a valid PROXY header",
                self.sum(|w| &w.proxy_headers_refused),
            ),
            (
                "accept_errors",
                "Accepts that failed for want of resources",
                self.sum(|w| &w.accept_errors),
            ),
            (
                "http2_connections",
                "Client connections with HTTP/2",
                self.sum(|w| &w.http2_connections),
            ),
            (
                "http2_streams",
                "Requests over HTTP/2",
                self.sum(|w| &w.http2_streams),
            ),
            (
                "http2_malformed",
                "Requests over HTTP/2 that were reset because they were malformed",
                self.sum(|w| &w.http2_malformed),
            ),
            (
                "discovery_api_calls",
                "Calls to AWS, pages counted one by one",
                self.api_calls.0,
            ),
            (
                "discovery_api_throttled",
                "Calls that AWS refused as too many",
                self.api_calls.1,
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge(self.connections).encode(encoder.encode_descriptor(
            "connections",
            "Client connections that are open",
            None,
            MetricType::Gauge,
        )?)?;
        let tunnels = self.sum(|worker| &worker.tunnels_open);
        gauge(tunnels).encode(encoder.encode_descriptor(
            "tunnels_open",
            "WebSockets that are open",
            None,
            MetricType::Gauge,
        )?)?;
        gauge(self.generation).encode(encoder.encode_descriptor(
            "snapshot_generation",
            "Number of the snapshot in force",
            None,
            MetricType::Gauge,
        )?)?;
        gauge(self.checks).encode(encoder.encode_descriptor(
            "health_checks_running",
            "Health checks that are made again and again; groups share them",
            None,
            MetricType::Gauge,
        )?)?;
        encode_health(&self.groups, &mut encoder)?;
        let mut targets = encoder.encode_descriptor(
            "targets",
            "Targets, by group and state",
            None,
            MetricType::Gauge,
        )?;
        for group in &self.groups {
            for (state, count) in [
                ("initial", group.initial),
                ("healthy", group.healthy),
                ("unhealthy", group.unhealthy),
                ("draining", group.draining),
                ("unused", group.unused),
            ] {
                let labels = [("target_group", group.name.as_str()), ("state", state)];
                gauge(count).encode(targets.encode_family(&labels)?)?;
            }
        }
        let mut ejected = encoder.encode_descriptor(
            "targets_ejected",
            "Targets that get no requests, or a few, because of those that they got",
            None,
            MetricType::Gauge,
        )?;
        for group in &self.groups {
            let labels = [("target_group", group.name.as_str())];
            gauge(group.ejected).encode(ejected.encode_family(&labels)?)?;
        }
        let mut waiting = encoder.encode_descriptor(
            "requests_waiting",
            "Requests that wait because every target works at as many as it may",
            None,
            MetricType::Gauge,
        )?;
        for group in &self.groups {
            let labels = [("target_group", group.name.as_str())];
            gauge(group.waiting).encode(waiting.encode_family(&labels)?)?;
        }
        let mut ejections = encoder.encode_descriptor(
            "ejections",
            "How often targets were ejected, by what decided",
            None,
            MetricType::Counter,
        )?;
        for group in &self.groups {
            for (cause, count) in Cause::ALL.into_iter().zip(group.ejections) {
                let labels = [
                    ("target_group", group.name.as_str()),
                    ("reason", cause.name()),
                ];
                ConstCounter::new(count).encode(ejections.encode_family(&labels)?)?;
            }
        }
        let mut failures = encoder.encode_descriptor(
            "discovery_failures",
            "Looks of a source that failed",
            None,
            MetricType::Counter,
        )?;
        for group in &self.groups {
            let labels = [("target_group", group.name.as_str())];
            ConstCounter::new(group.discovery_failures).encode(failures.encode_family(&labels)?)?;
        }
        let mut ages = encoder.encode_descriptor(
            "discovery_age_seconds",
            "Time since the source last answered",
            None,
            MetricType::Gauge,
        )?;
        for group in &self.groups {
            let labels = [("target_group", group.name.as_str())];
            ConstGauge::new(group.discovery_age).encode(ages.encode_family(&labels)?)?;
        }
        let mut handshakes = encoder.encode_descriptor(
            "tls_handshakes",
            "TLS handshakes with clients, by their end",
            None,
            MetricType::Counter,
        )?;
        for (index, ended) in Ended::ALL.into_iter().enumerate() {
            let count = ConstCounter::new(self.sum(|worker| &worker.handshakes[index]));
            count.encode(handshakes.encode_family(&[("result", ended.name())])?)?;
        }
        encode_certificates(&self.certificates, &mut encoder)?;
        encode_queues(&self.queues, encoder)
    }
}

/// The figures of the certificates that listeners serve.
fn encode_certificates(
    listeners: &[CertificateFigures],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let mut counts = encoder.encode_descriptor(
        "certificates",
        "Certificates that a listener serves",
        None,
        MetricType::Gauge,
    )?;
    for one in listeners {
        let labels = [("listener", one.listener.as_str())];
        gauge(one.count).encode(counts.encode_family(&labels)?)?;
    }
    let mut faults = encoder.encode_descriptor(
        "certificate_faults",
        "Files of a listener's TLS with which something is wrong",
        None,
        MetricType::Gauge,
    )?;
    for one in listeners {
        let labels = [("listener", one.listener.as_str())];
        gauge(one.faults).encode(faults.encode_family(&labels)?)?;
    }
    let mut ends = encoder.encode_descriptor(
        "certificate_end_seconds",
        "When a certificate ends, in seconds since 1970; of each listener the first hundred to end",
        None,
        MetricType::Gauge,
    )?;
    for one in listeners {
        for (file, end) in &one.ends {
            let labels = [("listener", one.listener.as_str()), ("file", file.as_str())];
            gauge(*end).encode(ends.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// What checks have shown, and what came of it.
fn encode_health(
    groups: &[GroupFigures],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let mut checks = encoder.encode_descriptor(
        "health_checks",
        "Results of health checks, by group: passed, or why not",
        None,
        MetricType::Counter,
    )?;
    for group in groups {
        for (result, count) in group.checks.iter() {
            let labels = [("target_group", group.name.as_str()), ("result", result)];
            ConstCounter::new(count).encode(checks.encode_family(&labels)?)?;
        }
    }
    let mut open = encoder.encode_descriptor(
        "target_group_fail_open",
        "1 while too few targets are healthy, so that requests go to unhealthy ones, too",
        None,
        MetricType::Gauge,
    )?;
    for group in groups {
        let labels = [("target_group", group.name.as_str())];
        ConstGauge::new(i64::from(group.fail_open)).encode(open.encode_family(&labels)?)?;
    }
    let mut routed = encoder.encode_descriptor(
        "unhealthy_routing_requests",
        "Requests that came while too few targets were healthy",
        None,
        MetricType::Counter,
    )?;
    for group in groups {
        let labels = [("target_group", group.name.as_str())];
        ConstCounter::new(group.unhealthy_routing).encode(routed.encode_family(&labels)?)?;
    }
    Ok(())
}

/// One figure of a queue.
type Pick = fn(&QueueFigures) -> u64;

/// The figures of the events queues.
fn encode_queues(
    queues: &[QueueFigures],
    mut encoder: DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let counters: [(&str, &str, Pick); 3] = [
        (
            "events_messages",
            "Messages read from an events queue",
            |q| q.messages,
        ),
        (
            "events_malformed",
            "Messages of an events queue that were no events",
            |q| q.malformed,
        ),
        (
            "events_failures",
            "Calls to an events queue that failed",
            |q| q.failures,
        ),
    ];
    for (name, help, pick) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for queue in queues {
            let labels = [("queue", queue.queue.as_str())];
            ConstCounter::new(pick(queue)).encode(family.encode_family(&labels)?)?;
        }
    }
    let mut lags = encoder.encode_descriptor(
        "events_lag_seconds",
        "How old the event read last was when it was read",
        None,
        MetricType::Gauge,
    )?;
    for queue in queues {
        let labels = [("queue", queue.queue.as_str())];
        ConstGauge::new(queue.lag.as_secs_f64()).encode(lags.encode_family(&labels)?)?;
    }
    Ok(())
}
