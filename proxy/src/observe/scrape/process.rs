//! Figures of the process and its workers, of certificates and of queues of events.

use std::fmt;

use longshore_discovery::ecs::QueueFigures;

use super::{Out, Scrape};
use crate::control::memory;
use crate::control::secure::CertificateFigures;
use crate::http2::watch::Abuse;
use crate::observe::console;
use crate::observe::counters::{CLASSES, Counter, Row, TIMES, Times};
use crate::observe::metrics::WorkerMetrics;
use crate::request::answer::Reason;
use crate::request::compress::Coding;
use crate::request::desync::Finding;
use crate::request::mirror::Fate;
use crate::tls::accept::Ended;
use crate::upstream::lines::cause;

type Pick = fn(&WorkerMetrics) -> &Counter;

/// Counters that have no labels.
const COUNTERS: [(&str, &str, Pick); 17] = [
    ("retries", "Attempts that were followed by another", |w| {
        &w.retries
    }),
    (
        "retries_refused",
        "Attempts that the budget did not allow",
        |w| &w.retries_refused,
    ),
    (
        "hedges",
        "Requests for which a second target was asked at the same time",
        |w| &w.hedges,
    ),
    (
        "hedges_won",
        "Requests that the second of two targets answered first",
        |w| &w.hedges_won,
    ),
    (
        "client_aborts",
        "Requests whose client left before the end of the response",
        |w| &w.client_aborts,
    ),
    (
        "responses_cut_short",
        "Responses of targets that ended early",
        |w| &w.responses_cut_short,
    ),
    ("tunnels", "Connections that became WebSockets", |w| {
        &w.tunnels
    }),
    (
        "tunnels_sent_away",
        "WebSockets that were closed because their target or the process went",
        |w| &w.tunnels_sent_away,
    ),
    (
        "connections_accepted",
        "Client connections that were accepted",
        |w| &w.accepted,
    ),
    (
        "proxy_headers_refused",
        "Connections of trusted proxies without a valid PROXY header",
        |w| &w.proxy_headers_refused,
    ),
    (
        "connections_shed",
        "Connections for which there was no room, by max_connections and max_connections_per_source",
        |w| &w.connections_shed,
    ),
    (
        "accept_errors",
        "Accepts that failed for want of resources",
        |w| &w.accept_errors,
    ),
    ("http2_connections", "Client connections with HTTP/2", |w| {
        &w.http2_connections
    }),
    ("http2_streams", "Requests over HTTP/2", |w| {
        &w.http2_streams
    }),
    (
        "http2_malformed",
        "Requests over HTTP/2 that were reset because they were malformed",
        |w| &w.http2_malformed,
    ),
    (
        "target_connections_opened",
        "Attempts that made a new connection to their target",
        |w| &w.connections_opened,
    ),
    (
        "target_connections_reused",
        "Attempts that took an idle connection to their target",
        |w| &w.connections_reused,
    ),
];

pub(super) fn encode(scrape: &Scrape, out: &mut Out<'_>) -> fmt::Result {
    let sum = |pick: Pick| -> u64 { scrape.workers.iter().map(|one| pick(one).get()).sum() };
    out.counters(
        "responses",
        "Responses, by class of status",
        CLASSES
            .into_iter()
            .zip(sums(scrape, |one| &one.responses))
            .map(|(class, count)| ([("code", class)], count)),
    )?;
    out.counters(
        "answers",
        "Responses that Longshore made itself, by reason",
        Reason::ALL
            .into_iter()
            .zip(sums(scrape, |one| &one.reasons))
            .map(|(reason, count)| ([("reason", reason.name())], count)),
    )?;
    out.counters(
        "http2_abuses",
        "Connections with HTTP/2 that were ended with ENHANCE_YOUR_CALM, by what was too much",
        Abuse::ALL
            .into_iter()
            .zip(sums(scrape, |one| &one.abuses))
            .map(|(abuse, count)| ([("limit", abuse.name())], count)),
    )?;
    out.counters(
        "target_http2_given_up",
        "Connections with HTTP/2 to targets that were given up, by cause: no sign of life, or too \
         many frames of a kind",
        sums(scrape, |one| &one.given_up)
            .into_iter()
            .enumerate()
            .map(|(place, count)| ([("cause", cause(place))], count)),
    )?;
    out.counters(
        "compressed_responses",
        "Responses that were compressed, by coding",
        Coding::ALL
            .into_iter()
            .zip(sums(scrape, |one| &one.compressed))
            .map(|(coding, count)| ([("coding", coding.name())], count)),
    )?;
    out.counters(
        "mirrored_requests",
        "Copies of requests for other groups, by what became of them",
        Fate::ALL
            .into_iter()
            .zip(sums(scrape, |one| &one.mirrored))
            .map(|(fate, count)| ([("result", fate.name())], count)),
    )?;
    let bytes: [(&str, Pick); 2] = [
        ("from_client", |one| &one.tunnel_bytes[0]),
        ("to_client", |one| &one.tunnel_bytes[1]),
    ];
    out.counters(
        "tunnel_bytes",
        "Bytes that went through tunnels, by direction",
        bytes.map(|(direction, pick)| ([("direction", direction)], sum(pick))),
    )?;
    out.counters(
        "non_compliant_requests",
        "Requests that are not compliant, by class and reason, passed on or not",
        Finding::ALL
            .into_iter()
            .zip(sums(scrape, |one| &one.findings))
            .map(|(finding, count)| {
                let labels = [
                    ("classification", finding.class().name()),
                    ("reason", finding.name()),
                ];
                (labels, count)
            }),
    )?;
    for (name, help, pick) in COUNTERS {
        out.counter(name, help, sum(pick))?;
    }
    let (calls, throttled) = scrape.figures.api_calls;
    out.counter(
        "discovery_api_calls",
        "Calls to AWS, pages counted one by one",
        calls,
    )?;
    out.counter(
        "discovery_api_throttled",
        "Calls that AWS refused as too many",
        throttled,
    )?;
    out.gauge(
        "connections",
        "Client connections that are open",
        scrape.connections.iter().sum(),
    )?;
    out.gauge(
        "tunnels_open",
        "WebSockets that are open",
        sum(|one| &one.tunnels_open),
    )?;
    out.gauge(
        "target_connections_idle",
        "Connections to targets that wait for a request, at most a second ago",
        sum(|one| &one.idle_connections),
    )?;
    out.gauge(
        "resident_memory_bytes",
        "Resident memory of the process, of which max_memory is the limit",
        memory::resident(),
    )?;
    out.gauge(
        "snapshot_generation",
        "Number of the snapshot in force",
        scrape.figures.generation,
    )?;
    out.gauge(
        "health_checks_running",
        "Health checks that are made again and again; groups share them",
        scrape.figures.checks,
    )?;
    encode_workers(scrape, out)?;
    let names = [
        (
            "access_log_lines",
            "Lines of the access log, by what became of them",
        ),
        (
            "connection_log_lines",
            "Lines of the log of connections, by what became of them",
        ),
        (
            "health_check_log_lines",
            "Lines of the log of health checks, by what became of them",
        ),
    ];
    for ((name, help), counts) in names.into_iter().zip(scrape.logs) {
        let rows = counts.map(|(result, count)| ([("result", result)], count));
        out.counters(name, help, rows)?;
    }
    out.counter(
        "log_lines_lost",
        "Lines of the application log that nobody read in time, or that could not be written",
        console::lost(),
    )?;
    out.counters(
        "admin_connections",
        "Connections of the admin server; stalled are those of clients that took in nothing",
        scrape
            .admin_connections
            .map(|(result, count)| ([("result", result)], count)),
    )?;
    out.counters(
        "tls_handshakes",
        "TLS handshakes with clients, by their end",
        Ended::ALL
            .into_iter()
            .zip(sums(scrape, |one| &one.handshakes))
            .map(|(ended, count)| ([("result", ended.name())], count)),
    )?;
    let handshakes = scrape.workers.iter().map(|one| &one.handshake_times);
    out.times(
        "tls_handshake_seconds",
        "TLS handshakes with clients that came to an end",
        &TIMES,
        [([], Times::sum(handshakes))],
    )
}

/// How the load is spread over the workers.
fn encode_workers(scrape: &Scrape, out: &mut Out<'_>) -> fmt::Result {
    let names: Vec<String> = (0..scrape.workers.len()).map(|it| it.to_string()).collect();
    let workers = || names.iter().zip(&scrape.workers);
    out.counters(
        "worker_responses",
        "Responses of a worker",
        workers().map(|(name, one)| {
            let count = one.responses.get().iter().sum();
            ([("worker", name.as_str())], count)
        }),
    )?;
    out.gauges(
        "worker_connections",
        "Client connections that a worker has open",
        names
            .iter()
            .zip(&scrape.connections)
            .map(|(name, count)| ([("worker", name.as_str())], *count)),
    )
}

fn sums<const N: usize>(scrape: &Scrape, pick: fn(&WorkerMetrics) -> &Row<N>) -> [u64; N] {
    let mut sums = [0; N];
    for worker in &scrape.workers {
        for (sum, count) in sums.iter_mut().zip(pick(worker).get()) {
            *sum += count;
        }
    }
    sums
}

/// The figures of the certificates that listeners serve.
pub(super) fn encode_certificates(
    listeners: &[CertificateFigures],
    out: &mut Out<'_>,
) -> fmt::Result {
    out.gauges(
        "certificates",
        "Certificates that a listener serves",
        listeners
            .iter()
            .map(|one| ([("listener", one.listener.as_str())], one.count)),
    )?;
    out.gauges(
        "certificate_faults",
        "Files of a listener's TLS with which something is wrong",
        listeners
            .iter()
            .map(|one| ([("listener", one.listener.as_str())], one.faults)),
    )?;
    out.gauges(
        "certificate_end_seconds",
        "When a certificate ends, in seconds since 1970; of each listener the first hundred to end",
        listeners.iter().flat_map(|one| {
            let ends = one.ends.iter();
            ends.map(|(file, end)| {
                let labels = [("listener", one.listener.as_str()), ("file", file.as_str())];
                (labels, *end)
            })
        }),
    )
}

/// The figures of queues of events.
pub(super) fn encode_queues(queues: &[QueueFigures], out: &mut Out<'_>) -> fmt::Result {
    type Pick = fn(&QueueFigures) -> u64;
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
        let all = queues.iter();
        let all = all.map(|queue| ([("queue", queue.queue.as_str())], pick(queue)));
        out.counters(name, help, all)?;
    }
    out.seconds(
        "events_lag_seconds",
        "How old the event read last was when it was read",
        queues
            .iter()
            .map(|queue| ([("queue", queue.queue.as_str())], queue.lag.as_secs_f64())),
    )
}
