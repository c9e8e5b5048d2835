//! System calls per request, counted with strace, never while time is measured.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::failure::{Context as _, Result};
use crate::interrupt;
use crate::load::Load;
use crate::process::{self, Running};

/// Attaches strace to a process with its children, makes the load and returns
/// system calls per request.
pub(crate) fn per_request(root: u32, load: &Load<'_>) -> Result<f64> {
    let program = process::find("strace")?;
    let summary = load.directory.join("strace-summary");
    let mut arguments = vec![
        "-f".into(),
        "-c".into(),
        "-o".into(),
        summary.display().to_string(),
    ];
    for id in crate::procfs::tree(root) {
        arguments.extend(["-p".into(), id.to_string()]);
    }
    let mut strace = Running::start("strace", &program, &arguments, load.core, load.directory)?;
    wait_until_attached(&mut strace)?;
    let report = load.run(&mut |_| Ok(()))?;
    strace.expect_alive()?;
    strace.signal(Signal::INT)?;
    let ended = strace
        .wait_for_end(Duration::from_secs(5))
        .context(|| "cannot wait for strace".into())?;
    if !ended {
        return Err(strace.failure("does not end after SIGINT"));
    }
    let text = std::fs::read_to_string(&summary)
        .context(|| format!("cannot read {}", summary.display()))?;
    match (parse_total(&text), u32::try_from(report.requests)) {
        (Some(total), Ok(requests)) if requests > 0 => Ok(f64::from(total) / f64::from(requests)),
        _ => Err(strace.failure("its summary was not understood, or no request was answered")),
    }
}

fn wait_until_attached(strace: &mut Running) -> Result<()> {
    let begin = Instant::now();
    loop {
        strace.expect_alive()?;
        if strace.output()?.contains("attached") {
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(5) {
            return Err(strace.failure("is not attached after 5 s"));
        }
        interrupt::pause(Duration::from_millis(20))?;
    }
}

/// The calls of the line `total` of a summary.
fn parse_total(summary: &str) -> Option<u32> {
    let line = summary
        .lines()
        .find(|line| line.split_ascii_whitespace().last() == Some("total"))?;
    // % time, seconds, µs per call, calls, and errors if there were any
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_total;

    #[test]
    fn the_total_is_read_with_and_without_errors() {
        let head = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                     60.00    0.5000         5    100001           writev\n";
        let with = format!("{head}100.00    0.800000           4    200123        12 total\n");
        let without = format!("{head}100.00    0.800000           4    200123           total\n");
        assert_eq!(parse_total(&with), Some(200_123));
        assert_eq!(parse_total(&without), Some(200_123));
        assert_eq!(parse_total(head), None);
    }
}
