//! Latency at constant rates: shares of what the proxy has reached in the rounds of its row, by
//! `paced`, which lies beside this program.

use std::time::Duration;

use crate::failure::{Result, fail};
use crate::load::Load;
use crate::process::{self, Running};

/// Shares of saturation, in per cent.
pub(crate) const SHARES: [u32; 3] = [30, 60, 90];

/// Latency at one rate, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency {
    /// Of saturation, in per cent.
    pub(crate) share: u32,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Requests that had no answer two seconds after the end.
    pub(crate) late: u32,
}

/// Measures one rate.
pub(crate) fn at(load: &Load<'_>, saturation: f64, share: u32) -> Result<Latency> {
    let rate = (saturation * f64::from(share) / 100.0).max(1.0);
    let arguments = [
        load.target.to_string(),
        load.row.path(),
        load.row.body.to_string(),
        load.connections.to_string(),
        load.seconds.to_string(),
        format!("{rate:.1}"),
    ];
    let program = process::beside("paced")?;
    let (core, directory) = (load.core, load.directory);
    let mut paced = Running::start("paced", &program, &arguments, core, directory)?;
    let limit = Duration::from_secs(load.seconds * 2 + 20);
    let output = paced.finish(limit, &mut |_| Ok(()))?;
    let count = |name: &str| {
        let mut lines = output.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value?.parse::<u32>().ok()
    };
    match count("failed") {
        Some(0) => {}
        Some(failed) => return fail(format!("{failed} answers at {rate:.0}/s were not 200")),
        None => return Err(paced.failure("its output was not understood")),
    }
    let figure = |name| count(name).map(f64::from);
    match (figure("p50"), figure("p99"), figure("p99.9"), count("late")) {
        (Some(p50_us), Some(p99_us), Some(p999_us), Some(late)) => Ok(Latency {
            share,
            rate,
            p50_us,
            p99_us,
            p999_us,
            late,
        }),
        _ => Err(paced.failure("its output was not understood")),
    }
}
