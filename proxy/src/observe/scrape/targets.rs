//! Figures of targets. A target that is gone has none.
//!
//! They are most of the text, and there may be ten thousand of them: their lines are written in
//! place and not by the library. What tells one target from another is written once, and copied into
//! each of its lines.

use std::net::SocketAddr;

use super::TargetFigures;
use crate::observe::counters::{CLASSES, Row, TARGET_TIMES, Times, in_seconds};
use crate::observe::text;
use crate::upstream::endpoint::Endpoint;

/// Room for the lines of a target, so that the text is not copied again and again while it grows.
/// What is not used of it is never touched.
const ROOM: usize = 3 * 1024;

pub(super) fn write(targets: &[TargetFigures], out: &mut Vec<u8>) {
    out.reserve(targets.len() * ROOM);
    let labels = Labels::of(targets);
    let each = || {
        let endpoints = targets.iter().map(|target| &*target.endpoint);
        endpoints.zip(labels.iter())
    };
    head(
        out,
        "target_requests counter",
        "Requests that a target was given",
    );
    for (endpoint, labels) in each() {
        let name = "target_requests_total";
        line(out, name, labels, b"", endpoint.requests());
    }
    head(
        out,
        "target_failures counter",
        "Requests that failed at a target: no connection, or no response",
    );
    for (endpoint, labels) in each() {
        let count = endpoint.failures();
        if count > 0 {
            line(out, "target_failures_total", labels, b"", count);
        }
    }
    head(
        out,
        "target_responses counter",
        "Responses of a target, by class of status",
    );
    let codes = CLASSES.map(|class| format!(",code=\"{class}\""));
    for (endpoint, labels) in each() {
        for (code, count) in codes.iter().zip(responses(endpoint)) {
            if count > 0 {
                let name = "target_responses_total";
                line(out, name, labels, code.as_bytes(), count);
            }
        }
    }
    head(out, "target_in_flight gauge", "Requests at a target");
    for (endpoint, labels) in each() {
        line(out, "target_in_flight", labels, b"", endpoint.in_flight());
    }
    head(
        out,
        "target_response_seconds histogram",
        "From the first byte that went to a target to the head of its response",
    );
    let bounds = TARGET_TIMES.map(|bound| format!(",le=\"{:?}\"", in_seconds(bound)));
    for (endpoint, labels) in each() {
        let times = Times::sum(endpoint.figures().map(|side| &side.time));
        write_times(out, labels, &bounds, &times);
    }
}

fn responses(endpoint: &Endpoint) -> [u64; CLASSES.len()] {
    let mut counts = [0; CLASSES.len()];
    for side in endpoint.figures() {
        let row: &Row<_> = &side.responses;
        for (sum, count) in counts.iter_mut().zip(row.get()) {
            *sum += count;
        }
    }
    counts
}

/// A histogram, unless nothing is in it.
fn write_times(
    out: &mut Vec<u8>,
    labels: &[u8],
    bounds: &[String; TARGET_TIMES.len()],
    times: &Times<{ TARGET_TIMES.len() }>,
) {
    let all = times.count();
    if all == 0 {
        return;
    }
    begin(out, "target_response_seconds_sum", labels, b"");
    text::seconds(std::time::Duration::from_micros(times.micros), out);
    out.push(b'\n');
    line(out, "target_response_seconds_count", labels, b"", all);
    let mut below = 0;
    for (bound, count) in bounds.iter().zip(times.buckets) {
        below += count;
        let name = "target_response_seconds_bucket";
        line(out, name, labels, bound.as_bytes(), below);
    }
    let name = "target_response_seconds_bucket";
    line(out, name, labels, b",le=\"+Inf\"", all);
}

/// What stands before the lines of one name. `named`: the name and its kind.
fn head(out: &mut Vec<u8>, named: &str, help: &str) {
    let name = named.split(' ').next().unwrap_or(named);
    for part in [
        "# HELP longshore_",
        name,
        " ",
        help,
        "\n# TYPE longshore_",
        named,
        "\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn line(out: &mut Vec<u8>, name: &str, labels: &[u8], more: &[u8], value: u64) {
    begin(out, name, labels, more);
    text::number(value, out);
    out.push(b'\n');
}

/// A line up to its value.
fn begin(out: &mut Vec<u8>, name: &str, labels: &[u8], more: &[u8]) {
    out.extend_from_slice(b"longshore_");
    out.extend_from_slice(name.as_bytes());
    out.push(b'{');
    out.extend_from_slice(labels);
    out.extend_from_slice(more);
    out.extend_from_slice(b"} ");
}

/// The labels of each target, one behind the other.
struct Labels {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Labels {
    fn of(targets: &[TargetFigures]) -> Self {
        let mut text = Vec::new();
        let mut ends = Vec::with_capacity(targets.len());
        for target in targets {
            let endpoint = &target.endpoint;
            text.extend_from_slice(b"target_group=\"");
            escape(&endpoint.group, &mut text);
            text.extend_from_slice(b"\",target=\"");
            escape(&endpoint.key.to_string(), &mut text);
            text.extend_from_slice(b"\",address=\"");
            let address: SocketAddr = endpoint.address;
            text::socket(address, &mut text);
            text.extend_from_slice(b"\",zone=\"");
            escape(target.zone.as_deref().unwrap_or_default(), &mut text);
            text.push(b'"');
            ends.push(text.len());
        }
        Self { text, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let places = begins.zip(self.ends.iter().copied());
        places.map(|(begin, end)| &self.text[begin..end])
    }
}

/// The value of a label (OpenMetrics, "escaped-string"): sources name targets as they like.
fn escape(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
}
