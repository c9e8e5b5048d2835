//! Figures of targets. A target that is gone has none.
//!
//! They are most of the text, and there may be ten thousand of them: their lines are written in
//! place and not by the library, some at a time and not before they are wanted. What tells one
//! target from another is written once, and copied into each of its lines.

use super::TargetFigures;
use crate::observe::counters::{CLASSES, Row, TARGET_TIMES, Times, in_seconds};
use crate::observe::text;
use crate::upstream::endpoint::Endpoint;

/// More than the lines of one name have for one target, so that a piece does not grow beyond its
/// room.
const ROOM: usize = 8 * 1024;

/// The series of one name.
struct Family {
    head: &'static str,
    write: fn(&Endpoint, &[u8], &Ends, &mut Vec<u8>),
}

/// All of them, in the order in which they are written: what one name has stays together
/// (OpenMetrics, "MetricFamily").
const FAMILIES: [Family; 5] = [
    Family {
        head: "# HELP longshore_target_requests Requests that a target was given\n\
               # TYPE longshore_target_requests counter\n",
        write: |endpoint, labels, _, out| {
            let begin = b"longshore_target_requests_total{";
            line(out, begin, labels, b"} ", endpoint.requests());
        },
    },
    Family {
        head: "# HELP longshore_target_failures Requests that failed at a target: no connection, or no response\n\
               # TYPE longshore_target_failures counter\n",
        write: |endpoint, labels, _, out| {
            let count = endpoint.failures();
            if count > 0 {
                let begin = b"longshore_target_failures_total{";
                line(out, begin, labels, b"} ", count);
            }
        },
    },
    Family {
        head: "# HELP longshore_target_responses Responses of a target, by class of status\n\
               # TYPE longshore_target_responses counter\n",
        write: |endpoint, labels, ends, out| {
            for (end, count) in ends.codes.iter().zip(responses(endpoint)) {
                if count > 0 {
                    let begin = b"longshore_target_responses_total{";
                    line(out, begin, labels, end.as_bytes(), count);
                }
            }
        },
    },
    Family {
        head: "# HELP longshore_target_in_flight Requests at a target\n\
               # TYPE longshore_target_in_flight gauge\n",
        write: |endpoint, labels, _, out| {
            let begin = b"longshore_target_in_flight{";
            line(out, begin, labels, b"} ", endpoint.in_flight());
        },
    },
    Family {
        head: "# HELP longshore_target_response_seconds From the first byte that went to a target to the head of its response\n\
               # TYPE longshore_target_response_seconds histogram\n",
        write: write_times,
    },
];

/// What stands behind the labels of a target in its lines.
#[derive(Debug)]
struct Ends {
    codes: [String; CLASSES.len()],
    bounds: [String; TARGET_TIMES.len()],
}

/// All lines of targets, as far as they were not written yet.
#[derive(Debug)]
pub(crate) struct Lines {
    targets: Vec<TargetFigures>,
    /// The labels of those that had their first line, one behind the other, and their ends.
    labels: Vec<u8>,
    places: Vec<usize>,
    ends: Ends,
    /// What comes next.
    family: usize,
    target: usize,
}

impl Lines {
    pub(super) fn new(targets: Vec<TargetFigures>) -> Self {
        Self {
            labels: Vec::new(),
            places: Vec::with_capacity(targets.len()),
            targets,
            ends: Ends {
                codes: CLASSES.map(|class| format!(",code=\"{class}\"}} ")),
                bounds: TARGET_TIMES.map(|bound| format!(",le=\"{:?}\"}} ", in_seconds(bound))),
            },
            family: 0,
            target: 0,
        }
    }

    /// The next lines: at least so many bytes of them, unless it is the end. Nothing behind that.
    pub(crate) fn write(&mut self, least: usize) -> Vec<u8> {
        if self.family > FAMILIES.len() {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(least + ROOM);
        while out.len() < least {
            let Some(family) = FAMILIES.get(self.family) else {
                out.extend_from_slice(b"# EOF\n");
                self.family += 1;
                break;
            };
            if self.target == 0 {
                out.extend_from_slice(family.head.as_bytes());
            }
            let Some(target) = self.targets.get(self.target) else {
                (self.family, self.target) = (self.family + 1, 0);
                continue;
            };
            if self.target == self.places.len() {
                write_labels(target, &mut self.labels);
                self.places.push(self.labels.len());
            }
            let before = self.target.checked_sub(1);
            let begin = before.map_or(0, |before| self.places[before]);
            let labels = &self.labels[begin..self.places[self.target]];
            (family.write)(&target.endpoint, labels, &self.ends, &mut out);
            self.target += 1;
        }
        out
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
fn write_times(endpoint: &Endpoint, labels: &[u8], ends: &Ends, out: &mut Vec<u8>) {
    let times = Times::sum(endpoint.figures().map(|side| &side.time));
    let all = times.count();
    if all == 0 {
        return;
    }
    out.extend_from_slice(b"longshore_target_response_seconds_sum{");
    out.extend_from_slice(labels);
    out.extend_from_slice(b"} ");
    text::seconds(std::time::Duration::from_micros(times.micros), out);
    out.push(b'\n');
    let begin = b"longshore_target_response_seconds_count{";
    line(out, begin, labels, b"} ", all);
    let begin = b"longshore_target_response_seconds_bucket{";
    let mut below = 0;
    for (end, count) in ends.bounds.iter().zip(times.buckets) {
        below += count;
        line(out, begin, labels, end.as_bytes(), below);
    }
    line(out, begin, labels, b",le=\"+Inf\"} ", all);
}

fn line(out: &mut Vec<u8>, begin: &[u8], labels: &[u8], end: &[u8], value: u64) {
    out.extend_from_slice(begin);
    out.extend_from_slice(labels);
    out.extend_from_slice(end);
    text::number(value, out);
    out.push(b'\n');
}

fn write_labels(target: &TargetFigures, out: &mut Vec<u8>) {
    let endpoint = &target.endpoint;
    out.extend_from_slice(b"target_group=\"");
    escape(&endpoint.group, out);
    out.extend_from_slice(b"\",target=\"");
    escape(&endpoint.name, out);
    out.extend_from_slice(b"\",address=\"");
    text::socket(endpoint.address, out);
    out.extend_from_slice(b"\",zone=\"");
    escape(target.zone.as_deref().unwrap_or_default(), out);
    out.push(b'"');
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
