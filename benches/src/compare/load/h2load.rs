//! h2load, of nghttp2.

use std::path::Path;

use longshore_benches::percentile;

use super::Report;

/// Latencies go to a file: what h2load prints has no percentiles.
pub(super) fn arguments(
    connections: usize,
    streams: usize,
    seconds: u64,
    latencies: &Path,
    url: &str,
) -> Vec<String> {
    vec![
        "-t1".into(),
        format!("-c{connections}"),
        format!("-m{streams}"),
        format!("-D{seconds}"),
        format!("--log-file={}", latencies.display()),
        url.into(),
    ]
}

/// What makes each request a call with the message of a file. The trailers of the answer are
/// looked at in the check before the row only: h2load counts statuses of HTTP.
pub(super) fn grpc(call: &Path) -> [String; 3] {
    [
        format!("--data={}", call.display()),
        "--header=content-type: application/grpc".into(),
        "--header=te: trailers".into(),
    ]
}

/// Reads what h2load prints at its end, and its log of latencies.
pub(super) fn parse(output: &str, log: &str) -> Option<Report> {
    let finished = line_after(output, "finished in ")?;
    let rate = finished.split(", ").nth(1)?.strip_suffix(" req/s")?;
    let counts = line_after(output, "requests: ")?;
    let codes = line_after(output, "status codes: ")?;

    let mut errors = Vec::new();
    for what in ["failed", "errored", "timeout"] {
        let count = counted(counts, what)?;
        if count > 0 {
            errors.push(format!("{count} requests {what}"));
        }
    }
    for class in ["3xx", "4xx", "5xx"] {
        let count = counted(codes, class)?;
        if count > 0 {
            errors.push(format!("{count} answers {class}"));
        }
    }

    // Start, status and latency in microseconds; a failed stream has status -1.
    let mut latencies: Vec<u64> = log
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
        .collect();
    latencies.sort_unstable();
    let at = |share| {
        let microseconds = u32::try_from(percentile(&latencies, share)?).ok()?;
        Some(f64::from(microseconds))
    };
    Some(Report {
        requests: counted(counts, "done")?,
        requests_per_second: rate.parse().ok()?,
        p50_us: at(0.5)?,
        p99_us: at(0.99)?,
        errors,
    })
}

fn line_after<'text>(output: &'text str, start: &str) -> Option<&'text str> {
    output.lines().find_map(|line| line.strip_prefix(start))
}

/// The number before a word in `1 total, 2 started, …`.
fn counted(list: &str, what: &str) -> Option<u64> {
    let item = list.split(", ").find_map(|item| item.strip_suffix(what))?;
    item.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
starting benchmark...
Application protocol: h2c

finished in 2.01s, 80238.50 req/s, 5.43MB/s
requests: 160477 total, 160989 started, 160477 done, 160477 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 160477 2xx, 0 3xx, 0 4xx, 0 5xx
time for request:       80us     23.95ms      5.98ms      3.50ms    69.28%
";
    const LOG: &str = "1795183422635405\t200\t2483\n1795183422635407\t200\t2511\n";

    #[test]
    fn a_clean_run_has_counts_and_latencies_from_the_log() {
        let report = parse(OUTPUT, LOG).unwrap();
        assert_eq!(report.requests, 160_477);
        assert!((report.requests_per_second - 80_238.5).abs() < 1e-6);
        assert!((report.p50_us - 2483.0).abs() < 1e-6);
        assert!((report.p99_us - 2511.0).abs() < 1e-6);
        assert!(report.errors.is_empty());
    }

    #[test]
    fn errors_are_reported_in_words() {
        let output = OUTPUT
            .replace("0 errored", "4 errored")
            .replace("0 5xx", "9 5xx");
        assert_eq!(
            parse(&output, LOG).unwrap().errors,
            ["4 requests errored", "9 answers 5xx"]
        );
    }

    #[test]
    fn output_cut_short_or_without_latencies_is_not_a_report() {
        assert_eq!(parse(&OUTPUT[..60], LOG), None);
        assert_eq!(parse(OUTPUT, ""), None);
    }
}
