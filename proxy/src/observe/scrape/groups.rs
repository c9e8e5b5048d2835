//! Figures of target groups.

use std::fmt;

use super::{GroupFigures, Out, named};
use crate::control::outlier::Cause;
use crate::observe::counters::{ADDED, CLASSES, Histogram, TIMES, Times};
use crate::observe::ledger::GroupSide;
use crate::request::answer::Reason;

pub(super) fn encode(groups: &[GroupFigures], out: &mut Out<'_>) -> fmt::Result {
    encode_requests(groups, out)?;
    encode_times(groups, out)?;
    encode_health(groups, out)?;
    encode_targets(groups, out)?;
    encode_discovery(groups, out)
}

fn encode_requests(groups: &[GroupFigures], out: &mut Out<'_>) -> fmt::Result {
    out.counters(
        "target_group_responses",
        "Responses to requests for a group, by class of status",
        groups.iter().flat_map(|group| {
            let counts = group.ledger.row(|side| &side.responses);
            let all = CLASSES.into_iter().zip(counts);
            all.map(|(code, count)| {
                (
                    [("target_group", group.name.as_str()), ("code", code)],
                    count,
                )
            })
        }),
    )?;
    out.counters(
        "target_group_answers",
        "Responses to requests for a group that Longshore made itself, by reason",
        groups.iter().flat_map(|group| {
            let counts = group.ledger.row(|side| &side.reasons);
            let all = named(Reason::ALL.iter().map(|reason| reason.name()), counts);
            all.map(|(reason, count)| {
                (
                    [("target_group", group.name.as_str()), ("reason", reason)],
                    count,
                )
            })
        }),
    )?;
    out.counters(
        "target_group_retries",
        "Attempts for a group that were followed by another",
        groups.iter().map(|group| {
            let count = group.ledger.sum(|side| side.retries.get());
            ([("target_group", group.name.as_str())], count)
        }),
    )?;
    out.gauges(
        "target_group_in_flight",
        "Requests at the targets of a group",
        groups
            .iter()
            .map(|group| ([("target_group", group.name.as_str())], group.in_flight)),
    )?;
    out.gauges(
        "requests_waiting",
        "Requests that wait because every target works at as many as it may",
        groups
            .iter()
            .map(|group| ([("target_group", group.name.as_str())], group.waiting)),
    )
}

fn encode_times(groups: &[GroupFigures], out: &mut Out<'_>) -> fmt::Result {
    fn each<const B: usize>(
        groups: &[GroupFigures],
        pick: fn(&GroupSide) -> &Histogram<B>,
    ) -> impl Iterator<Item = ([(&str, &str); 1], Times<B>)> {
        groups.iter().map(move |group| {
            let times = Times::sum(group.ledger.iter().map(pick));
            ([("target_group", group.name.as_str())], times)
        })
    }
    out.times(
        "target_group_request_seconds",
        "From the end of a request's head to the last byte of its response",
        &TIMES,
        each(groups, |side| &side.total),
    )?;
    out.times(
        "target_group_target_seconds",
        "From the first byte that went to a target to the head of its response",
        &TIMES,
        each(groups, |side| &side.target),
    )?;
    out.times(
        "target_group_added_seconds",
        "What Longshore itself added: from a request's head to its way to the target, and from the response's head to its way to the client, without waiting",
        &ADDED,
        each(groups, |side| &side.added),
    )?;
    out.times(
        "target_group_connect_seconds",
        "New connections to targets, with TLS where there is any",
        &TIMES,
        each(groups, |side| &side.connect),
    )?;
    out.times(
        "target_group_wait_seconds",
        "Waiting for a target that can be used, of requests that waited",
        &TIMES,
        each(groups, |side| &side.wait),
    )
}

/// What checks have shown, and what came of it.
fn encode_health(groups: &[GroupFigures], out: &mut Out<'_>) -> fmt::Result {
    out.counters(
        "health_checks",
        "Results of health checks, by group: passed, or why not",
        groups.iter().flat_map(|group| {
            let all = group.checks.iter();
            all.map(|(result, count)| {
                (
                    [("target_group", group.name.as_str()), ("result", result)],
                    count,
                )
            })
        }),
    )?;
    out.gauges(
        "target_group_fail_open",
        "1 while too few targets are healthy, so that requests go to unhealthy ones, too",
        groups.iter().map(|group| {
            (
                [("target_group", group.name.as_str())],
                u64::from(group.fail_open),
            )
        }),
    )?;
    out.counters(
        "unhealthy_routing_requests",
        "Requests that came while too few targets were healthy",
        groups.iter().map(|group| {
            (
                [("target_group", group.name.as_str())],
                group.unhealthy_routing,
            )
        }),
    )
}

fn encode_targets(groups: &[GroupFigures], out: &mut Out<'_>) -> fmt::Result {
    out.gauges(
        "targets",
        "Targets, by group and state",
        groups.iter().flat_map(|group| {
            let states = [
                ("initial", group.initial),
                ("healthy", group.healthy),
                ("unhealthy", group.unhealthy),
                ("draining", group.draining),
                ("unused", group.unused),
            ];
            let all = states.into_iter();
            all.map(|(state, count)| {
                (
                    [("target_group", group.name.as_str()), ("state", state)],
                    count,
                )
            })
        }),
    )?;
    out.gauges(
        "targets_ejected",
        "Targets that get no requests, or a few, because of those that they got",
        groups
            .iter()
            .map(|group| ([("target_group", group.name.as_str())], group.ejected)),
    )?;
    out.counters(
        "ejections",
        "How often targets were ejected, by what decided",
        groups.iter().flat_map(|group| {
            let all = Cause::ALL.into_iter().zip(group.ejections);
            all.map(|(cause, count)| {
                let labels = [
                    ("target_group", group.name.as_str()),
                    ("reason", cause.name()),
                ];
                (labels, count)
            })
        }),
    )
}

fn encode_discovery(groups: &[GroupFigures], out: &mut Out<'_>) -> fmt::Result {
    out.counters(
        "discovery_failures",
        "Looks of a source that failed",
        groups.iter().map(|group| {
            (
                [("target_group", group.name.as_str())],
                group.discovery_failures,
            )
        }),
    )?;
    out.seconds(
        "discovery_age_seconds",
        "Time since the source last answered",
        groups
            .iter()
            .map(|group| ([("target_group", group.name.as_str())], group.discovery_age)),
    )
}
