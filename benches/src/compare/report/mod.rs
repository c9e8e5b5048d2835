//! What is said about the samples: one summary, printed as a table or as JSON.

pub(crate) mod json;
pub(crate) mod plot;
pub(crate) mod table;

use crate::measure::{Outcome, ProxySample, Sample};
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
    /// CPU per request ÷ that of the best peer.
    pub(crate) ratio: Option<f64>,
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
        // A peer with errors did not do the same work and sets no mark.
        let best = summaries
            .iter()
            .filter(|summary| summary.outcome.peer && summary.errors.is_empty())
            .filter_map(|summary| summary.cpu_us)
            .map(|spread| spread.median)
            .min_by(f64::total_cmp);
        for summary in &mut summaries {
            if let (Some(best), Some(own), true) = (best, summary.cpu_us, summary.errors.is_empty())
            {
                summary.ratio = Some(own.median / best);
            }
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
            ratio: None,
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
        Outcome {
            label: label.into(),
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
    fn ratios_are_to_the_best_peer_and_never_to_ours() {
        let measured = measured(vec![
            outcome("longshore", false, [8.0, 10.0], &[]),
            outcome("nginx", true, [11.0, 13.0], &[]),
            outcome("haproxy", true, [14.0, 16.0], &[]),
        ]);
        let ratios: Vec<_> = measured.summaries().iter().map(|s| s.ratio).collect();
        assert_eq!(ratios, [Some(0.75), Some(1.0), Some(1.25)]);
        assert!(!measured.has_errors());
    }

    #[test]
    fn one_with_errors_has_no_ratio_and_sets_no_mark() {
        let measured = measured(vec![
            outcome("nginx", true, [1.0, 1.0], &["9 answers not 2xx"]),
            outcome("haproxy", true, [14.0, 16.0], &[]),
        ]);
        let summaries = measured.summaries();
        assert_eq!(summaries[0].ratio, None);
        assert_eq!(
            summaries[0].errors,
            ["round 1: 9 answers not 2xx", "round 2: 9 answers not 2xx"]
        );
        assert_eq!(summaries[1].ratio, Some(1.0));
        assert!(measured.has_errors());
    }
}
