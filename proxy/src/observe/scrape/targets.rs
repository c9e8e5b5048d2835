//! Figures of targets. A target that is gone has none.

use std::fmt;

use super::{Out, TargetFigures, named};
use crate::observe::counters::{CLASSES, TARGET_TIMES, Times};

pub(super) fn encode(targets: &[TargetFigures], out: &mut Out<'_>) -> fmt::Result {
    let names: Vec<(String, String)> = targets
        .iter()
        .map(|target| {
            let endpoint = &target.endpoint;
            (endpoint.key.to_string(), endpoint.address.to_string())
        })
        .collect();
    let each = || {
        targets.iter().zip(&names).map(|(target, (id, address))| {
            let labels = [
                ("target_group", &*target.endpoint.group),
                ("target", id.as_str()),
                ("address", address.as_str()),
                ("zone", target.zone.as_deref().unwrap_or_default()),
            ];
            (&*target.endpoint, labels)
        })
    };
    out.counters(
        "target_requests",
        "Requests that a target was given",
        each().map(|(endpoint, labels)| (labels, endpoint.requests())),
    )?;
    out.counters(
        "target_failures",
        "Requests that failed at a target: no connection, or no response",
        each()
            .map(|(endpoint, labels)| (labels, endpoint.failures()))
            .filter(|(_, count)| *count > 0),
    )?;
    out.counters(
        "target_responses",
        "Responses of a target, by class of status",
        each().flat_map(|(endpoint, [group, id, address, zone])| {
            let mut counts = [0; CLASSES.len()];
            for side in endpoint.figures() {
                for (sum, count) in counts.iter_mut().zip(side.responses.get()) {
                    *sum += count;
                }
            }
            let all = named(CLASSES.into_iter(), counts);
            all.map(move |(code, count)| ([group, id, address, zone, ("code", code)], count))
        }),
    )?;
    out.gauges(
        "target_in_flight",
        "Requests at a target",
        each().map(|(endpoint, labels)| (labels, endpoint.in_flight())),
    )?;
    out.times(
        "target_response_seconds",
        "From the first byte that went to a target to the head of its response",
        &TARGET_TIMES,
        each().map(|(endpoint, labels)| {
            let times = Times::sum(endpoint.figures().map(|side| &side.time));
            (labels, times)
        }),
    )
}
