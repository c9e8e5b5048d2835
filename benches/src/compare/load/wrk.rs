//! wrk.

use super::Report;

/// One thread: the generator has one core. `closing`: each connection serves one request.
pub(super) fn arguments(
    connections: usize,
    seconds: u64,
    closing: bool,
    cookie: Option<&str>,
    url: &str,
) -> Vec<String> {
    let mut arguments = vec![
        "-t1".into(),
        format!("-c{connections}"),
        format!("-d{seconds}s"),
        "--latency".into(),
    ];
    if closing {
        arguments.push("-HConnection: close".into());
    }
    if let Some(cookie) = cookie {
        arguments.push(format!("-HCookie: {cookie}"));
    }
    arguments.push(url.into());
    arguments
}

/// Reads what wrk prints at its end.
pub(super) fn parse(output: &str) -> Option<Report> {
    let mut requests = None;
    let mut requests_per_second = None;
    let mut p50_us = None;
    let mut p99_us = None;
    let mut errors = Vec::new();
    for line in output.lines().map(str::trim) {
        if let Some(value) = line.strip_prefix("50%") {
            p50_us = Some(microseconds(value.trim())?);
        } else if let Some(value) = line.strip_prefix("99%") {
            p99_us = Some(microseconds(value.trim())?);
        } else if let Some(value) = line.strip_prefix("Requests/sec:") {
            requests_per_second = Some(value.trim().parse().ok()?);
        } else if let Some(value) = line.strip_prefix("Non-2xx or 3xx responses:") {
            errors.push(format!("{} answers neither 2xx nor 3xx", value.trim()));
        } else if let Some(value) = line.strip_prefix("Socket errors:") {
            errors.push(format!("socket errors: {}", value.trim()));
        } else if let Some((count, _)) = line.split_once(" requests in ") {
            requests = Some(count.parse().ok()?);
        }
    }
    Some(Report {
        requests: requests?,
        requests_per_second: requests_per_second?,
        p50_us: p50_us?,
        p99_us: p99_us?,
        errors,
    })
}

/// A duration as wrk prints it: `612.00us`, `1.23ms`, `2.00s`.
fn microseconds(text: &str) -> Option<f64> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let factor = match &text[unit..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3600e6,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "\
Running 4s test @ http://127.0.0.1:8080/body/128
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms  305.11us  12.31ms   91.17%
    Req/Sec    62.84k     2.51k   66.30k    72.50%
  Latency Distribution
     50%    0.98ms
     75%    1.10ms
     90%    1.22ms
     99%  812.00us
  250117 requests in 4.00s, 49.14MB read
Requests/sec:  62512.34
Transfer/sec:     12.28MB
";

    #[test]
    fn a_clean_run_has_counts_and_no_errors() {
        let report = parse(CLEAN).unwrap();
        assert_eq!(report.requests, 250_117);
        assert!((report.requests_per_second - 62_512.34).abs() < 1e-6);
        assert!((report.p50_us - 980.0).abs() < 1e-6);
        assert!((report.p99_us - 812.0).abs() < 1e-6);
        assert!(report.errors.is_empty());
    }

    #[test]
    fn errors_are_reported_in_words() {
        let output = CLEAN.replace(
            "Requests/sec",
            "  Socket errors: connect 0, read 3, write 0, timeout 1\n  \
             Non-2xx or 3xx responses: 17\nRequests/sec",
        );
        assert_eq!(
            parse(&output).unwrap().errors,
            [
                "socket errors: connect 0, read 3, write 0, timeout 1",
                "17 answers neither 2xx nor 3xx"
            ]
        );
    }

    #[test]
    fn output_cut_short_is_not_a_report() {
        assert_eq!(parse(&CLEAN[..200]), None);
        assert_eq!(parse("unable to connect to 127.0.0.1:1"), None);
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(microseconds("2.00s"), Some(2e6));
        assert_eq!(microseconds("1.50m"), Some(90e6));
        assert_eq!(microseconds("1.50"), None);
        assert_eq!(microseconds("1.50parsec"), None);
    }
}
