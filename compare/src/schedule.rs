//! When each request is due, at which rates, and whose turn it is. Pure.

use std::time::Duration;

/// The most steps.
const STEPS_MAX: usize = 10;

/// The rates of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Steps {
    /// Requests a second.
    Rates(Vec<f64>),
    /// Parts of the maximum, 0 to 1.
    Parts(Vec<f64>),
}

impl Steps {
    /// `100,200,400` or `30%,60%,90%`
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let items: Vec<&str> = text.split(',').map(str::trim).collect();
        if items.len() > STEPS_MAX {
            return Err(format!(
                "{} steps, and there may be {STEPS_MAX}",
                items.len()
            ));
        }
        let parts = items.iter().filter(|item| item.ends_with('%')).count();
        if parts == 0 {
            let rates = items
                .iter()
                .map(|item| crate::arguments::rate(item).map_err(|why| format!("{item:?}: {why}")));
            return rates.collect::<Result<_, _>>().map(Self::Rates);
        }
        if parts != items.len() {
            return Err("expected either rates or parts of the maximum, not both".to_owned());
        }
        let part = |item: &&str| {
            let number = item.trim_end_matches('%').parse::<f64>().ok();
            number
                .filter(|number| *number > 0.0 && *number <= 100.0)
                .map(|number| number / 100.0)
                .ok_or_else(|| format!("{item:?}: a part is above 0% and at most 100%"))
        };
        items
            .iter()
            .map(part)
            .collect::<Result<_, _>>()
            .map(Self::Parts)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Rates(list) | Self::Parts(list) => list.len(),
        }
    }

    /// Requests a second of each, if that is the maximum.
    pub(crate) fn rates(&self, maximum: f64) -> Vec<f64> {
        match self {
            Self::Rates(rates) => rates.clone(),
            Self::Parts(parts) => parts.iter().map(|part| part * maximum).collect(),
        }
    }
}

/// The requests of one turn, evenly spaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Requests a second.
    rate: f64,
    warmup: Duration,
    /// How many there are in all.
    pub(crate) total: u64,
}

impl Schedule {
    pub(crate) fn new(rate: f64, warmup: Duration, duration: Duration) -> Self {
        let total = ((warmup + duration).as_secs_f64() * rate).round().max(1.0);
        Self {
            rate,
            warmup,
            total: total as u64,
        }
    }

    /// When a request is due, from the beginning of the turn.
    pub(crate) fn due(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many requests are due by then.
    pub(crate) fn due_by(&self, passed: Duration) -> u64 {
        // The one with number 0 is due at the beginning.
        let due = (passed.as_secs_f64() * self.rate).floor() as u64 + 1;
        due.min(self.total)
    }

    /// Whether a request counts, or is of the warm-up.
    pub(crate) fn counts(&self, number: u64) -> bool {
        // One request always counts, whatever is rounded.
        self.due(number) >= self.warmup || number + 1 == self.total
    }

    /// How many count.
    pub(crate) fn counted(&self) -> u64 {
        let first = (self.warmup.as_secs_f64() * self.rate).ceil() as u64;
        // `ceil` and `due` may round differently by one.
        let first = (first.saturating_sub(1)..=first + 1).find(|number| self.counts(*number));
        self.total - first.unwrap_or(0).min(self.total - 1)
    }
}

/// One side in one round of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) round: usize,
    pub(crate) step: usize,
    /// 0 is A, 1 is B.
    pub(crate) side: usize,
}

/// All turns in their order. Both sides of a step follow each other, and who begins changes with
/// each round and each step. Steps go up within a round, so that each round sees all of them.
pub(crate) fn turns(rounds: usize, steps: usize) -> Vec<Turn> {
    let mut all = Vec::with_capacity(rounds * steps * 2);
    for round in 0..rounds {
        for step in 0..steps {
            let first = (round + step) % 2;
            for side in [first, 1 - first] {
                all.push(Turn { round, step, side });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn requests_are_evenly_spaced_and_the_warm_up_does_not_count() {
        let schedule = Schedule::new(200.0, SECOND, 2 * SECOND);
        assert_eq!(schedule.total, 600);
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(1), Duration::from_millis(5));
        assert!(!schedule.counts(199));
        assert!(schedule.counts(200));
        assert_eq!(schedule.counted(), 400);
        assert_eq!(schedule.due_by(Duration::ZERO), 1);
        assert_eq!(schedule.due_by(Duration::from_millis(4)), 1);
        assert_eq!(schedule.due_by(Duration::from_millis(11)), 3);
        assert_eq!(schedule.due_by(60 * SECOND), 600);
    }

    #[test]
    fn what_counts_adds_up_at_any_rate() {
        for rate in [0.01, 0.3, 1.0, 3.0, 7.7, 99.9, 1234.5, 33_333.3] {
            for warmup in [0, 1, 777, 1000] {
                let warmup = Duration::from_millis(warmup);
                let schedule = Schedule::new(rate, warmup, Duration::from_millis(1900));
                let counted = (0..schedule.total).filter(|number| schedule.counts(*number));
                assert_eq!(
                    counted.count() as u64,
                    schedule.counted(),
                    "{rate} {warmup:?}"
                );
                assert!(schedule.counted() > 0);
            }
        }
    }

    #[test]
    fn steps_are_rates_or_parts_of_the_maximum() {
        let rates = Steps::parse("100, 250").expect("rates");
        assert_eq!(rates.rates(1.0), [100.0, 250.0]);
        let parts = Steps::parse("30%,60%,90%").expect("parts");
        assert_eq!(parts.rates(1000.0), [300.0, 600.0, 900.0]);
        assert_eq!(parts.len(), 3);
        for wrong in [
            "",
            "0",
            "0%",
            "101%",
            "1,x",
            "1,5%",
            "1,2,3,4,5,6,7,8,9,10,11",
        ] {
            assert!(Steps::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_side_has_each_step_of_each_round_and_is_first_as_often_as_the_other() {
        let all = turns(4, 3);
        assert_eq!(all.len(), 24);
        for pair in all.chunks(2) {
            assert_eq!((pair[0].round, pair[0].step), (pair[1].round, pair[1].step));
            assert_eq!(pair[0].side + pair[1].side, 1);
        }
        for step in 0..3 {
            let first = all.iter().step_by(2).filter(|turn| turn.step == step);
            assert_eq!(first.map(|turn| turn.side).sum::<usize>(), 2, "step {step}");
        }
    }
}
