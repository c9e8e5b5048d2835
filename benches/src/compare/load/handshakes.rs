//! `handshakes`, which lies beside this program.

use super::Report;
use crate::rows::Row;

pub(super) fn arguments(
    address: std::net::SocketAddr,
    row: &Row,
    connections: usize,
    seconds: u64,
) -> Vec<String> {
    vec![
        address.to_string(),
        row.path(),
        row.body.to_string(),
        connections.to_string(),
        seconds.to_string(),
    ]
}

/// Reads what it prints at its end. `full`: the word before handshakes that were full.
#[expect(
    clippy::cast_precision_loss,
    reason = "requests and microseconds of one interval are far below 2^52"
)]
pub(super) fn parse(output: &str, full: &str) -> Option<Report> {
    let word = |name: &str| {
        output
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    };
    let count = |name: &str| word(name)?.parse::<u64>().ok();
    let mut errors = Vec::new();
    for (name, what) in [
        ("failed", "connections failed"),
        (full, "handshakes were full"),
    ] {
        if name.is_empty() {
            continue;
        }
        let count = count(name)?;
        if count > 0 {
            errors.push(format!("{count} {what}"));
        }
    }
    let requests = count("done")?;
    Some(Report {
        requests,
        requests_per_second: requests as f64 / word("seconds")?.parse::<f64>().ok()?,
        p50_us: count("p50")? as f64,
        p99_us: count("p99")? as f64,
        errors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "done 1000\nseconds 4\np50 812\np99 2231\nfailed 0\nfull 0\n";

    #[test]
    fn a_clean_run_has_counts_and_no_errors() {
        let report = parse(OUTPUT, "full").unwrap();
        assert_eq!(report.requests, 1000);
        assert!((report.requests_per_second - 250.0).abs() < 1e-6);
        assert!((report.p50_us - 812.0).abs() < 1e-6);
        assert!((report.p99_us - 2231.0).abs() < 1e-6);
        assert!(report.errors.is_empty());
    }

    #[test]
    fn failures_and_full_handshakes_are_errors() {
        let output = OUTPUT
            .replace("failed 0", "failed 2")
            .replace("full 0", "full 7");
        assert_eq!(
            parse(&output, "full").unwrap().errors,
            ["2 connections failed", "7 handshakes were full"]
        );
        assert_eq!(parse(&OUTPUT[..20], "full"), None);
    }
}
