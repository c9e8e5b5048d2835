//! Everything that was measured, as JSON, for keeping and for other programs.

use serde_json::{Value, json};

use super::{Measured, Summary};
use crate::latency::Latency;
use crate::measure::{Plan, Sample};
use crate::stats::Spread;

/// The whole report, with each sample.
pub(crate) fn render(
    measured: &[Measured],
    plan: &Plan,
    machine: &str,
    versions: &[(String, String)],
) -> Value {
    let versions: serde_json::Map<String, Value> = versions
        .iter()
        .map(|(label, version)| (label.clone(), version.as_str().into()))
        .collect();
    json!({
        "machine": machine,
        "versions": versions,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "warmup_seconds": plan.warmup,
        "proxy_cores": plan.proxy_cores,
        "rows": measured.iter().map(row).collect::<Vec<_>>(),
    })
}

fn row(measured: &Measured) -> Value {
    json!({
        "row": measured.row.name,
        "connections": measured.connections,
        "body_bytes": measured.row.bytes(),
        "proxies": measured
            .summaries()
            .iter()
            .map(|one| summary(one, measured.row.bytes()))
            .collect::<Vec<_>>(),
    })
}

fn summary(summary: &Summary<'_>, body: usize) -> Value {
    json!({
        "proxy": summary.outcome.label,
        "valid": summary.errors.is_empty(),
        "errors": summary.errors,
        "requests_per_second": spread(summary.requests_per_second),
        "cpu_us_per_request": spread(summary.cpu_us),
        "cpu_s_per_gib": summary.cpu_s_per_gib(body),
        "cores": summary.outcome.cores,
        "ratio_to_best_peer": spread(summary.to_best_peer),
        "ratio_to_floor": spread(summary.to_floor),
        "ratio_to_first_of_its_kind": spread(summary.to_first),
        "p50_us": spread(summary.p50_us),
        "p99_us": spread(summary.p99_us),
        "resident_mib": spread(summary.resident_mib),
        "others_on_core_percent": spread(summary.others_percent),
        "syscalls_per_request": summary.outcome.syscalls,
        "idle_connection_bytes": summary.outcome.idle_bytes,
        "started_ms": summary.outcome.started_ms,
        "latencies": summary.outcome.latencies.iter().map(latency).collect::<Vec<_>>(),
        "samples": summary.outcome.samples.iter().map(sample).collect::<Vec<_>>(),
    })
}

fn latency(latency: &Latency) -> Value {
    json!({
        "share_percent": latency.share,
        "requests_per_second": latency.rate,
        "p50_us": spread(latency.spread(|times| times.p50)),
        "p99_us": spread(latency.spread(|times| times.p99)),
        "p99.9_us": spread(latency.spread(|times| times.p999)),
        "p99_of_20_ms_us": spread(latency.spread(|times| times.part_p99)),
        "added_p50_us": spread(latency.added(|times| times.p50)),
        "added_p99_us": spread(latency.added(|times| times.p99)),
        "added_p99.9_us": spread(latency.added(|times| times.p999)),
        "added_p99_of_20_ms_us": spread(latency.added(|times| times.part_p99)),
        "late": latency.late(),
    })
}

fn spread(spread: Option<Spread>) -> Value {
    spread.map_or(
        Value::Null,
        |Spread { median, min, max }| json!({"median": median, "min": min, "max": max}),
    )
}

fn sample(sample: &Sample) -> Value {
    json!({
        "requests": sample.load.requests,
        "requests_per_second": sample.load.requests_per_second,
        "p50_us": sample.load.p50_us,
        "p99_us": sample.load.p99_us,
        "errors": sample.load.errors,
        "cpu_us_per_request": sample.proxy.map(|proxy| proxy.cpu_us),
        "resident_mib": sample.proxy.map(|proxy| proxy.resident_mib),
        "others_on_core_percent": sample.proxy.and_then(|proxy| proxy.others_percent),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{measured, outcome};
    use super::*;

    #[test]
    fn the_report_keeps_medians_and_samples() {
        let plan = Plan {
            rounds: 2,
            seconds: 4,
            warmup: 1,
            connections: None,
            strace: false,
            latency: Vec::new(),
            same_rates: false,
            idle: 0,
            proxy_cores: vec![1],
            proxy_core: 0,
            load_core: 1,
        };
        let measured = [measured(vec![outcome("nginx", true, [11.0, 13.0], &[])])];
        let value = render(&measured, &plan, "M", &[("nginx".into(), "1".into())]);
        assert_eq!(value["versions"]["nginx"], "1");
        let proxy = &value["rows"][0]["proxies"][0];
        assert_eq!(proxy["cpu_us_per_request"]["median"], 12.0);
        assert_eq!(proxy["samples"][1]["cpu_us_per_request"], 13.0);
        assert_eq!(proxy["syscalls_per_request"], Value::Null);
        assert_eq!(proxy["valid"], true);
    }
}
