//! What was measured, as it is shown and written. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cost::{Cost, Prices, Traffic};
use crate::side::Side;
use crate::statistics::{Difference, PERCENTILES, Pool, ROUNDS_MIN, added};
use crate::tally::{Kind, Tally};

/// More of the requests begun late than this, and the figures are not valid.
pub(crate) const LATE_MAX: f64 = 0.01;
/// A thread that has work for more of the time than this is what limits the rate.
pub(crate) const BUSY_MAX: f64 = 0.95;
/// More of a side's requests that failed than this is the exit status's business.
const FAILED_MAX: f64 = 0.01;
/// The version of the JSON.
const FORMAT: u32 = 1;

/// All that is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    /// Seconds since 1970-01-01.
    pub(crate) time: u64,
    /// With it, the same figures give the same intervals.
    pub(crate) seed: u64,
    /// Whether the generator kept the rate in all steps.
    pub(crate) is_valid: bool,
    /// How the load was made, for people.
    pub(crate) load: String,
    pub(crate) rounds: usize,
    pub(crate) seconds_of_turn: f64,
    pub(crate) warnings: Vec<String>,
    pub(crate) sides: [SideReport; 2],
    pub(crate) maximum: Option<f64>,
    pub(crate) steps: Vec<Step>,
    pub(crate) prices: PricesReport,
}

/// What a side is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SideReport {
    pub(crate) url: String,
    pub(crate) addresses: Vec<String>,
    /// Such as `TLS 1.3, HTTP/2`.
    pub(crate) protocol: String,
    pub(crate) first_status: u16,
}

impl SideReport {
    pub(crate) fn of(side: &Side) -> Self {
        Self {
            url: side.target.url.clone(),
            addresses: side.addresses.iter().map(ToString::to_string).collect(),
            protocol: side.spoken.clone(),
            first_status: side.status,
        }
    }
}

/// One rate.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// Requests a second that were due.
    pub(crate) rate: f64,
    pub(crate) is_valid: bool,
    pub(crate) sides: [Measured; 2],
    /// What B adds, by percentile. Empty if a side answered nothing.
    pub(crate) added: Vec<Added>,
    pub(crate) cost: Cost,
}

/// One side at one rate.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) due: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// By kind; those that did not occur are absent.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    /// Responses a second that succeeded.
    pub(crate) achieved: f64,
    /// Milliseconds by percentile, and the longest.
    pub(crate) latency: BTreeMap<&'static str, f64>,
    /// Parts of 1 and milliseconds, for plots.
    pub(crate) curve: Vec<(f64, f64)>,
    /// Milliseconds of each round: p50 and p99. None where nothing succeeded.
    pub(crate) by_round: Vec<Option<(f64, f64)>>,
    /// Milliseconds that connecting took, p50. None if nothing connected.
    pub(crate) connecting: Option<f64>,
    pub(crate) bytes_of_request: f64,
    pub(crate) connections_per_second: f64,
    /// The part of the requests that the generator began late.
    pub(crate) late: f64,
    /// The part of the time in which the generator's busiest thread had work.
    pub(crate) busy: f64,
}

/// What B adds, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Added {
    pub(crate) percentile: &'static str,
    pub(crate) milliseconds: f64,
    /// With a confidence of 95 %. None with one round.
    pub(crate) interval: Option<(f64, f64)>,
    /// Whether 0 is outside of the interval.
    pub(crate) is_certain: bool,
    /// Whether there were enough requests to speak of this percentile.
    pub(crate) is_known: bool,
    /// Whether there were enough rounds to trust the interval.
    pub(crate) is_sure: bool,
}

/// Prices as they were given.
#[derive(Debug, Serialize)]
pub(crate) struct PricesReport {
    alb_hour: f64,
    lcu_hour: f64,
    instance_hour: Option<f64>,
    instances: u32,
    rules: u32,
}

impl From<&Prices> for PricesReport {
    fn from(prices: &Prices) -> Self {
        Self {
            alb_hour: prices.alb_hour_price,
            lcu_hour: prices.lcu_price,
            instance_hour: prices.instance_price,
            instances: prices.instances,
            rules: prices.rules,
        }
    }
}

/// What is common to all steps.
pub(crate) struct Frame<'f> {
    pub(crate) time: u64,
    pub(crate) seed: u64,
    pub(crate) load: String,
    pub(crate) sides: [SideReport; 2],
    pub(crate) maximum: Option<f64>,
    pub(crate) prices: &'f Prices,
    pub(crate) connections: u32,
    pub(crate) churn: bool,
    pub(crate) seconds_of_turn: f64,
}

/// What one rate gave: for A and B, a tally for each round.
pub(crate) type Rounds = [Vec<Tally>; 2];

impl Report {
    pub(crate) fn new(frame: Frame<'_>, measured: &[(f64, Rounds)]) -> Self {
        let steps = measured
            .iter()
            .map(|(rate, rounds)| step(*rate, rounds, &frame));
        let steps: Vec<Step> = steps.collect();
        let rounds = measured
            .iter()
            .map(|(_, rounds)| rounds[0].len().min(rounds[1].len()));
        let mut report = Self {
            format: FORMAT,
            time: frame.time,
            seed: frame.seed,
            is_valid: steps.iter().all(|step| step.is_valid),
            load: frame.load,
            rounds: rounds.min().unwrap_or(0),
            seconds_of_turn: frame.seconds_of_turn,
            warnings: Vec::new(),
            sides: frame.sides,
            maximum: frame.maximum,
            prices: frame.prices.into(),
            steps,
        };
        report.warnings = warnings(&report);
        report
    }

    /// Whether more requests of a side failed than may.
    pub(crate) fn has_failed(&self) -> bool {
        let sides = self.steps.iter().flat_map(|step| &step.sides);
        sides
            .into_iter()
            .any(|side| side.failed_share() > FAILED_MAX)
    }
}

impl Measured {
    pub(crate) fn failed_share(&self) -> f64 {
        self.failed as f64 / (self.due.max(1)) as f64
    }
}

fn millis(micros: f64) -> f64 {
    micros / 1_000.0
}

fn step(rate: f64, rounds: &Rounds, frame: &Frame<'_>) -> Step {
    let sides = rounds.each_ref().map(|side| measured(side));
    let pools = rounds.each_ref().map(|side| {
        let latencies: Vec<_> = side.iter().map(|tally| &tally.latency).collect();
        Pool::new(&latencies)
    });
    let [a, b] = &pools;
    let differences = added(a, b, frame.seed).into_iter().flatten();
    let show = |(difference, (percentile, _)): (Difference, (&'static str, f64))| Added {
        percentile,
        milliseconds: millis(difference.estimate),
        interval: difference
            .interval
            .map(|(low, high)| (millis(low), millis(high))),
        is_certain: difference.is_certain(),
        is_known: difference.is_known,
        is_sure: difference.is_sure,
    };
    let added = differences.zip(PERCENTILES).map(show).collect();
    let of = &sides[0];
    let open = match frame.churn {
        // As many as are open at a time, by Little's law, in seconds of their life.
        true => of.achieved * of.latency.get("mean").copied().unwrap_or(0.0) / 1_000.0,
        false => f64::from(frame.connections),
    };
    let traffic = Traffic {
        requests: of.achieved,
        connections: of.connections_per_second,
        open,
        bytes: of.bytes_of_request,
    };
    let kept = |side: &Measured| side.late <= LATE_MAX && side.busy <= BUSY_MAX;
    Step {
        rate,
        is_valid: sides.iter().all(kept),
        cost: Cost::of(&traffic, frame.prices),
        sides,
        added,
    }
}

fn measured(rounds: &[Tally]) -> Measured {
    let mut all = Tally::new();
    rounds.iter().for_each(|round| all.add(round));
    let seconds: f64 = rounds.iter().map(|round| round.seconds).sum();
    let a_second = |count: u64| {
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    };
    let at = |tally: &Tally, part| millis(tally.latency.value_at_quantile(part) as f64);
    let mut latency = BTreeMap::new();
    if all.succeeded() > 0 {
        latency.extend(PERCENTILES.map(|(name, part)| (name, at(&all, part))));
        latency.insert("mean", millis(all.latency.mean()));
        latency.insert("max", millis(all.latency.max() as f64));
    }
    let occurred = Kind::ALL.map(|kind| (kind.name(), all.failures(kind)));
    Measured {
        due: all.due,
        succeeded: all.succeeded(),
        failed: all.failed(),
        errors: occurred
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect(),
        achieved: a_second(all.succeeded()),
        latency,
        curve: curve(&all),
        by_round: rounds
            .iter()
            .map(|round| (round.succeeded() > 0).then(|| (at(round, 0.5), at(round, 0.99))))
            .collect(),
        connecting: (!all.setup.is_empty())
            .then(|| millis(all.setup.value_at_quantile(0.5) as f64)),
        bytes_of_request: all.bytes as f64 / all.carried.max(1) as f64,
        connections_per_second: a_second(all.connections),
        late: all.late_share(),
        busy: rounds.iter().map(|round| round.busy).sum::<f64>() / rounds.len().max(1) as f64,
    }
}

/// Points that are evenly spaced on an axis of 1 ÷ (1 − part), as far as there are requests.
fn curve(tally: &Tally) -> Vec<(f64, f64)> {
    const OF_A_DECADE: u32 = 16;
    let all = tally.succeeded();
    if all == 0 {
        return Vec::new();
    }
    let decades = (all as f64).log10();
    let count = (decades * f64::from(OF_A_DECADE)).floor() as u32;
    let points = (0..=count).map(|number| {
        let part = 1.0 - 10f64.powf(-f64::from(number) / f64::from(OF_A_DECADE));
        (part, millis(tally.latency.value_at_quantile(part) as f64))
    });
    points.collect()
}

fn warnings(report: &Report) -> Vec<String> {
    let mut all = Vec::new();
    for (name, side) in ["A", "B"].iter().zip(&report.sides) {
        if side.first_status >= 400 {
            all.push(format!(
                "{name} answers the request with {}: what is measured are answers of that sort",
                side.first_status
            ));
        }
    }
    let [a, b] = &report.sides;
    if a.protocol != b.protocol {
        all.push(format!(
            "A speaks {}, B {}: part of the difference is that (--http chooses)",
            a.protocol, b.protocol
        ));
    }
    let sides = || report.steps.iter().flat_map(|step| &step.sides);
    let largest = |of: fn(&Measured) -> f64| sides().map(of).fold(0.0, f64::max);
    let wrong = report.steps.iter().filter(|step| !step.is_valid);
    let wrong: Vec<String> = wrong.map(|step| crate::text::rate(step.rate)).collect();
    if !wrong.is_empty() {
        all.push(format!(
            "the figures at {} are NOT VALID: the generator was late for up to {} of the requests, \
             and busy for up to {} of the time. Take a lower rate, more --threads, or a quieter \
             machine",
            wrong.join(", "),
            crate::text::percent(largest(|side| side.late)),
            crate::text::percent(largest(|side| side.busy).min(1.0)),
        ));
    }
    for (place, name) in ["A", "B"].into_iter().enumerate() {
        let of = report.steps.iter().filter_map(|step| step.sides.get(place));
        let share = of.map(Measured::failed_share).fold(0.0, f64::max);
        if share > FAILED_MAX {
            all.push(format!(
                "up to {} of the requests to {name} failed; latencies are those of the rest",
                crate::text::percent(share)
            ));
        }
    }
    if report.rounds < ROUNDS_MIN {
        all.push(format!(
            "{} rounds tell little about chance: take {ROUNDS_MIN} or more",
            report.rounds
        ));
    }
    all
}

#[cfg(test)]
#[path = "report_tests.rs"]
pub(crate) mod tests;
