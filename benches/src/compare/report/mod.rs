//! What is said about the samples: one summary, printed as a table or as JSON.

pub(crate) mod json;
pub(crate) mod plot;
pub(crate) mod table;

use crate::measure::{Outcome, ProxySample, Sample};
use crate::proxies::FLOOR;
use crate::rows::Row;
use crate::stats::Spread;

/// A measured row.
pub(crate) struct Measured {
    pub(crate) row: &'static Row,
    pub(crate) connections: usize,
    pub(crate) outcomes: Vec<Outcome>,
}

/// The figures of one contestant in a row.
#[derive(Debug, PartialEq)]
pub(crate) struct Summary<'run> {
    pub(crate) outcome: &'run Outcome,
    pub(crate) requests_per_second: Option<Spread>,
    pub(crate) cpu_us: Option<Spread>,
    /// CPU per request ÷ that of the best peer with as many cores, each in the same round.
    pub(crate) to_best_peer: Option<Spread>,
    /// The same ÷ that of the least that a proxy can do.
    pub(crate) to_floor: Option<Spread>,
    /// The same ÷ that of the first of its kind: another build, or with fewer cores or rules.
    pub(crate) to_first: Option<Spread>,
    pub(crate) p50_us: Option<Spread>,
    pub(crate) p99_us: Option<Spread>,
    pub(crate) resident_mib: Option<Spread>,
    pub(crate) others_percent: Option<Spread>,
    /// With the round each belongs to. One is enough to make the figures invalid.
    pub(crate) errors: Vec<String>,
}

impl Measured {
    /// The figures of all contestants, in their order.
    pub(crate) fn summaries(&self) -> Vec<Summary<'_>> {
        let mut summaries: Vec<Summary<'_>> = self.outcomes.iter().map(Summary::of).collect();
        for index in 0..summaries.len() {
            let own = &summaries[index];
            let same_cores = |other: &&Summary<'_>| other.outcome.cores == own.outcome.cores;
            let best = summaries
                .iter()
                .filter(same_cores)
                .filter(|other| other.outcome.peer && other.errors.is_empty())
                .filter_map(|other| Some((other, other.cpu_us?.median)))
                .min_by(|(_, one), (_, other)| one.total_cmp(other))
                .map(|(best, _)| best);
            let floor = summaries
                .iter()
                .filter(same_cores)
                .find(|other| other.outcome.kind == Some(FLOOR));
            // With other cores than all before, it is compared with itself with fewer.
            let kin = |other: &&Summary<'_>| other.outcome.kind == own.outcome.kind;
            let label = |of: &Summary<'_>| of.outcome.label.split(", ").next().map(str::to_owned);
            let first = summaries[..index]
                .iter()
                .filter(kin)
                .find(|other| label(other) == label(own) || same_cores(other));
            let ratios = [best, floor, first].map(|other| own.ratio(other?));
            let summary = &mut summaries[index];
            [summary.to_best_peer, summary.to_floor, summary.to_first] = ratios;
        }
        summaries
    }

    /// Whether any contestant had errors.
    pub(crate) fn has_errors(&self) -> bool {
        self.summaries()
            .iter()
            .any(|summary| !summary.errors.is_empty())
    }
}

impl<'run> Summary<'run> {
    fn of(outcome: &'run Outcome) -> Self {
        let load = |value: fn(&Sample) -> f64| Spread::of(outcome.samples.iter().map(value));
        let proxy = |value: fn(&ProxySample) -> f64| {
            let samples = outcome.samples.iter();
            Spread::of(
                samples
                    .filter_map(|sample| sample.proxy.as_ref())
                    .map(value),
            )
        };
        let mut errors = Vec::new();
        for (index, sample) in outcome.samples.iter().enumerate() {
            for error in &sample.load.errors {
                errors.push(format!("round {}: {error}", index + 1));
            }
        }
        Self {
            outcome,
            requests_per_second: load(|sample| sample.load.requests_per_second),
            cpu_us: proxy(|sample| sample.cpu_us),
            to_best_peer: None,
            to_floor: None,
            to_first: None,
            p50_us: load(|sample| sample.load.p50_us),
            p99_us: load(|sample| sample.load.p99_us),
            resident_mib: proxy(|sample| sample.resident_mib),
            others_percent: Spread::of(
                outcome
                    .samples
                    .iter()
                    .filter_map(|sample| sample.proxy?.others_percent),
            ),
            errors,
        }
    }
}

impl Summary<'_> {
    /// CPU per request ÷ that of the other in the same round. None if one of them did not do its
    /// work.
    fn ratio(&self, other: &Self) -> Option<Spread> {
        if !self.errors.is_empty() || !other.errors.is_empty() {
            return None;
        }
        let rounds = self.outcome.samples.iter().zip(&other.outcome.samples);
        Spread::of(rounds.filter_map(|(own, other)| Some(own.proxy?.cpu_us / other.proxy?.cpu_us)))
    }

    /// CPU for each GiB of bodies of this size.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the size of a body is far below 2^52"
    )]
    pub(crate) fn cpu_s_per_gib(&self, body: usize) -> Option<f64> {
        let bodies = f64::from(1 << 30) / body as f64;
        Some(self.cpu_us?.median * bodies / 1e6)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::Report;
    use crate::rows::ROWS;

    /// An outcome of two rounds with the given CPU µs per request.
    pub(crate) fn outcome(label: &str, peer: bool, cpu: [f64; 2], errors: &[&str]) -> Outcome {
        let samples = cpu.map(|cpu_us| Sample {
            load: Report {
                requests: 1000,
                requests_per_second: 1e6 / cpu_us,
                p50_us: 640.0,
                p99_us: 1280.0,
                errors: errors.iter().map(ToString::to_string).collect(),
            },
            proxy: Some(ProxySample {
                cpu_us,
                resident_mib: 8.0,
                others_percent: Some(0.5),
            }),
        });
        let kinds = crate::proxies::KINDS.iter().map(|kind| kind.name);
        Outcome {
            label: label.into(),
            kind: kinds.into_iter().find(|kind| label.starts_with(kind)),
            cores: if label.ends_with("2 cores") { 2 } else { 1 },
            peer,
            samples: samples.into(),
            syscalls: None,
            latencies: Vec::new(),
            idle_bytes: None,
            started_ms: None,
        }
    }

    pub(crate) fn measured(outcomes: Vec<Outcome>) -> Measured {
        Measured {
            row: &ROWS[0],
            connections: 64,
            outcomes,
        }
    }

    #[test]
    fn ratios_are_of_the_same_round_and_to_the_best_peer() {
        let measured = measured(vec![
            outcome("longshore", false, [8.0, 10.0], &[]),
            outcome("nginx", true, [10.0, 14.0], &[]),
            outcome("haproxy", true, [14.0, 16.0], &[]),
            outcome("floor", false, [5.0, 8.0], &[]),
        ]);
        let summaries = measured.summaries();
        let own = summaries[0].to_best_peer.unwrap();
        assert_eq!((own.min, own.max), (10.0 / 14.0, 0.8));
        assert_eq!(summaries[1].to_best_peer.unwrap().median, 1.0);
        let floor = summaries[0].to_floor.unwrap();
        assert_eq!((floor.min, floor.max), (1.25, 1.6));
        assert!(summaries.iter().all(|one| one.to_first.is_none()));
        assert!(!measured.has_errors());
    }

    #[test]
    fn peers_have_as_many_cores_and_the_first_of_a_kind_is_what_others_are_compared_with() {
        let measured = measured(vec![
            outcome("longshore", false, [8.0, 8.0], &[]),
            outcome("longshore, 2 cores", false, [9.0, 9.0], &[]),
            outcome("nginx", true, [16.0, 16.0], &[]),
            outcome("nginx, 2 cores", true, [18.0, 18.0], &[]),
        ]);
        let summaries = measured.summaries();
        assert_eq!(summaries[1].to_best_peer.unwrap().median, 0.5);
        let first: Vec<_> = summaries
            .iter()
            .map(|one| one.to_first.map(|ratio| ratio.median))
            .collect();
        assert_eq!(first, [None, Some(1.125), None, Some(1.125)]);
    }

    #[test]
    fn one_with_errors_has_no_ratio_and_sets_no_mark() {
        let measured = measured(vec![
            outcome("nginx", true, [1.0, 1.0], &["9 answers not 2xx"]),
            outcome("haproxy", true, [14.0, 16.0], &[]),
        ]);
        let summaries = measured.summaries();
        assert_eq!(summaries[0].to_best_peer, None);
        assert_eq!(
            summaries[0].errors,
            ["round 1: 9 answers not 2xx", "round 2: 9 answers not 2xx"]
        );
        assert_eq!(summaries[1].to_best_peer.unwrap().median, 1.0);
        assert!(measured.has_errors());
    }
}
