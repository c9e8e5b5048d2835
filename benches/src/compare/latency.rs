//! Latency at constant rates: shares of what the proxy has reached in the rounds of its row. The
//! load is made by the origin (`src/origin/paced.rs`).

use std::net::SocketAddr;
use std::time::Duration;

use crate::check;
use crate::failure::{Context as _, Failure, Result, fail};
use crate::load::Load;
use crate::stats::Spread;

/// Latency at one rate, a turn for each round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latency {
    /// Of saturation, in per cent.
    pub(crate) share: usize,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) turns: Vec<Turn>,
}

/// One turn, and the origin asked without the proxy at the same rate right after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Turn {
    pub(crate) times: Times,
    pub(crate) direct: Times,
}

/// Percentiles of the times of requests, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// The median of the 99th percentiles of 20 ms each.
    pub(crate) part_p99: f64,
    /// Requests that had no answer two seconds after the end.
    pub(crate) late: f64,
}

impl Latency {
    /// A percentile, over the turns.
    pub(crate) fn spread(&self, of: fn(&Times) -> f64) -> Option<Spread> {
        Spread::of(self.turns.iter().map(|turn| of(&turn.times)))
    }

    /// What the proxy added to it.
    pub(crate) fn added(&self, of: fn(&Times) -> f64) -> Option<Spread> {
        let turns = self.turns.iter();
        Spread::of(turns.map(|turn| of(&turn.times) - of(&turn.direct)))
    }

    /// Requests that had no answer two seconds after the end.
    pub(crate) fn late(&self) -> f64 {
        self.turns.iter().map(|turn| turn.times.late).sum()
    }
}

/// One turn of the proxy, then of the origin without it. `origin` makes the load.
pub(crate) fn turn(load: &Load<'_>, origin: SocketAddr, rate: f64) -> Result<Turn> {
    Ok(Turn {
        times: times(load, origin, load.target, rate)?,
        direct: times(load, origin, origin, rate)?,
    })
}

fn times(load: &Load<'_>, origin: SocketAddr, target: SocketAddr, rate: f64) -> Result<Times> {
    let path = format!(
        "/paced/{target},{},{},{},{},{rate:.1}",
        load.row.path(),
        load.row.body,
        load.connections,
        load.seconds,
    );
    let limit = Duration::from_secs(load.seconds * 2 + 20);
    let answer = check::http1(origin, &path, limit)?;
    parse(&String::from_utf8_lossy(&answer)).context(|| format!("at {rate:.0} requests/s"))
}

fn parse(text: &str) -> Result<Times> {
    let values = |name: &str| -> Vec<f64> {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let own = lines.filter(|(of, _)| *of == name);
        own.filter_map(|(_, value)| value.parse().ok()).collect()
    };
    let not_understood = || Failure(format!("figures that are not understood: {text}"));
    let value = |name: &str| values(name).first().copied().ok_or_else(not_understood);
    let failed = value("failed")?;
    if failed > 0.0 {
        return fail(format!("{failed} answers were not 200"));
    }
    let parts = Spread::of(values("part_p99")).ok_or_else(not_understood)?;
    Ok(Times {
        p50: value("p50")? / 1e3,
        p99: value("p99")? / 1e3,
        p999: value("p99.9")? / 1e3,
        part_p99: parts.median / 1e3,
        late: value("late")?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_failed_requests_are_an_error() {
        let text = "failed 0\nlate 2\np50 1000\np99 9000\np99.9 10500\n\
                    part_p99 3000\npart_p99 9000\npart_p99 4000\n";
        let times = parse(text).unwrap();
        assert_eq!((times.p50, times.p99, times.p999), (1.0, 9.0, 10.5));
        assert_eq!((times.part_p99, times.late), (4.0, 2.0));
        assert!(parse(&text.replace("failed 0", "failed 1")).is_err());
        assert!(parse("failed 0\nlate 0\np50 1\np99 2\np99.9 3\n").is_err());
    }

    #[test]
    fn what_is_added_is_the_difference_in_the_same_turn() {
        let latency = latency(&[(300.0, 100.0), (900.0, 850.0), (500.0, 200.0)]);
        assert_eq!(latency.spread(|times| times.p99).unwrap().median, 500.0);
        assert_eq!(latency.added(|times| times.p99).unwrap().median, 200.0);
    }

    /// At 60 %, with these 99th percentiles of the proxy and without it.
    pub(crate) fn latency(p99: &[(f64, f64)]) -> Latency {
        let times = |p99| Times {
            p50: 81.0,
            p99,
            p999: 900.0,
            part_p99: p99 / 2.0,
            late: 0.0,
        };
        Latency {
            share: 60,
            rate: 30_000.0,
            turns: p99
                .iter()
                .map(|&(own, direct)| Turn {
                    times: times(own),
                    direct: times(direct),
                })
                .collect(),
        }
    }
}
