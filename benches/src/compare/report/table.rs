//! The summary as Markdown.

use std::fmt::Write as _;

use super::{Measured, Summary};
use crate::measure::Plan;
use crate::stats::Spread;

/// Bodies from this size on are also counted by their bytes.
const GIB_FROM: usize = 1024 * 1024;

/// The whole report: a table for each row, and the lines that say how and where
/// it was measured.
pub(crate) fn render(measured: &[Measured], plan: &Plan, machine: &str, versions: &str) -> String {
    let mut text = String::new();
    for one in measured {
        text.push_str(&row(one, plan));
        text.push('\n');
    }
    line(&mut text, format_args!("Machine: {machine}."));
    line(&mut text, format_args!("Versions: {versions}."));
    line(
        &mut text,
        format_args!(
            "Method: {} rounds of {} s after {} s of warm-up; a worker on core {}, and with more \
             cores one on each from there on; load and origin on core {}; median (min–max), \
             ratios of the same round.",
            plan.rounds, plan.seconds, plan.warmup, plan.proxy_core, plan.load_core
        ),
    );
    text
}

fn row(measured: &Measured, plan: &Plan) -> String {
    let summaries = measured.summaries();
    let any = |has: fn(&Summary<'_>) -> bool| summaries.iter().any(has);
    let shown = Shown {
        floor: any(|one| one.to_floor.is_some()),
        first: any(|one| one.to_first.is_some()),
        idle: any(|one| one.outcome.idle_bytes.is_some()),
        start: any(|one| one.outcome.started_ms.is_some()),
    };
    let mut header = vec!["proxy", "requests/s", "CPU µs/request", "÷ best peer"];
    if shown.floor {
        header.push("÷ floor");
    }
    if shown.first {
        header.push("÷ its first");
    }
    if measured.row.bytes() >= GIB_FROM {
        header.push("CPU s/GiB");
    }
    header.extend(["p50 ms", "p99 ms", "memory MiB"]);
    if plan.strace {
        header.push("system calls/request");
    }
    if shown.idle {
        header.push("bytes/idle connection");
    }
    if shown.start {
        header.push("start ms");
    }
    header.extend(["others on core %", "errors"]);

    let mut text = String::new();
    let (row, connections) = (measured.row, measured.connections);
    line(
        &mut text,
        format_args!(
            "### {}: {}, {connections} connections\n",
            row.name, row.about
        ),
    );
    cells(&mut text, header.iter());
    cells(&mut text, header.iter().map(|_| "---"));
    for summary in &summaries {
        cells(
            &mut text,
            summary_cells(summary, row.bytes(), plan, shown).iter(),
        );
    }
    for summary in summaries.iter().filter(|one| !one.errors.is_empty()) {
        line(
            &mut text,
            format_args!(
                "\n**{} is invalid in this row:** {}",
                summary.outcome.label,
                summary.errors.join("; ")
            ),
        );
    }
    latencies(&mut text, &summaries);
    text
}

/// Which columns there are for someone in the row.
#[derive(Clone, Copy)]
struct Shown {
    floor: bool,
    first: bool,
    idle: bool,
    start: bool,
}

/// Latency at constant rates: a line for each contestant and rate.
fn latencies(text: &mut String, summaries: &[Summary<'_>]) {
    if summaries.iter().all(|one| one.outcome.latencies.is_empty()) {
        return;
    }
    line(
        text,
        format_args!("\nAt a constant rate, from when each request was due:\n"),
    );
    let header = [
        "proxy",
        "of its limit %",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "p99 added ms",
        "the same of 20 ms",
        "late",
    ];
    cells(text, header.iter());
    cells(text, header.iter().map(|_| "---"));
    for summary in summaries {
        for one in &summary.outcome.latencies {
            let shown = [
                summary.outcome.label.clone(),
                one.share.to_string(),
                format!("{:.0}", one.rate),
                milliseconds(one.spread(|times| times.p50), 3),
                milliseconds(one.spread(|times| times.p99), 3),
                milliseconds(one.spread(|times| times.p999), 3),
                milliseconds(one.added(|times| times.p99), 3),
                milliseconds(one.added(|times| times.part_p99), 3),
                format!("{:.0}", one.late()),
            ];
            cells(text, shown.iter());
        }
    }
}

fn summary_cells(summary: &Summary<'_>, body: usize, plan: &Plan, shown: Shown) -> Vec<String> {
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| "–".into(), |value| format!("{value:.decimals$}"))
    };
    let mut cells = vec![
        summary.outcome.label.clone(),
        spread(summary.requests_per_second, 0),
        spread(summary.cpu_us, 1),
        spread(summary.to_best_peer, 2),
    ];
    if shown.floor {
        cells.push(spread(summary.to_floor, 2));
    }
    if shown.first {
        cells.push(spread(summary.to_first, 2));
    }
    if body >= GIB_FROM {
        cells.push(number(summary.cpu_s_per_gib(body), 3));
    }
    cells.extend([
        milliseconds(summary.p50_us, 2),
        milliseconds(summary.p99_us, 2),
        spread(summary.resident_mib, 1),
    ]);
    if plan.strace {
        cells.push(number(summary.outcome.syscalls, 2));
    }
    if shown.idle {
        cells.push(number(summary.outcome.idle_bytes, 0));
    }
    if shown.start {
        cells.push(number(summary.outcome.started_ms, 0));
    }
    cells.push(spread(summary.others_percent, 1));
    cells.push(match summary.errors.len() {
        0 => "0".into(),
        count => format!("**INVALID ({count})**"),
    });
    cells
}

/// Of microseconds.
fn milliseconds(us: Option<Spread>, decimals: usize) -> String {
    let us = us.map(|us| Spread {
        median: us.median / 1e3,
        min: us.min / 1e3,
        max: us.max / 1e3,
    });
    spread(us, decimals)
}

fn spread(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(
        || "–".into(),
        |Spread { median, min, max }| {
            format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
        },
    )
}

fn cells(text: &mut String, cells: impl Iterator<Item = impl AsRef<str>>) {
    text.push('|');
    for cell in cells {
        text.push(' ');
        text.push_str(cell.as_ref());
        text.push_str(" |");
    }
    text.push('\n');
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::super::tests::{measured, outcome};
    use super::*;
    use crate::latency::tests::latency;

    const PLAN: Plan = Plan {
        rounds: 2,
        seconds: 4,
        warmup: 1,
        connections: None,
        strace: false,
        latency: Vec::new(),
        same_rates: false,
        idle: 0,
        proxy_cores: Vec::new(),
        proxy_core: 0,
        load_core: 1,
    };

    #[test]
    fn a_table_has_one_line_for_each_contestant() {
        let mut direct = outcome("direct (no proxy)", false, [10.0, 10.0], &[]);
        for sample in &mut direct.samples {
            sample.proxy = None;
        }
        let measured = [measured(vec![
            outcome("longshore", false, [8.0, 10.0], &[]),
            outcome("nginx", true, [12.0, 12.0], &[]),
            direct,
        ])];
        let text = render(&measured, &PLAN, "M", "nginx 1");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("### h1-small: "), "{text}");
        assert_eq!(
            lines[4],
            "| longshore | 112500 (100000–125000) | 9.0 (8.0–10.0) | 0.75 (0.67–0.83) | 0.64 (0.64–0.64) \
             | 1.28 (1.28–1.28) | 8.0 (8.0–8.0) | 0.5 (0.5–0.5) | 0 |"
        );
        assert!(lines[6].contains("| – | – | 0.64"), "{text}");
        assert!(text.contains("Machine: M.\nVersions: nginx 1.\n"), "{text}");
        let columns = |line: &str| line.matches('|').count();
        assert!(lines[2..7].iter().all(|line| columns(line) == 10), "{text}");
    }

    #[test]
    fn large_bodies_are_also_counted_by_their_bytes() {
        let mut large = measured(vec![outcome("nginx", true, [500.0, 500.0], &[])]);
        large.row = crate::rows::named("h1-1m-tls").unwrap()[0];
        let text = row(&large, &PLAN);
        assert!(text.contains("| CPU s/GiB |"), "{text}");
        // 1024 bodies of 1 MiB at 500 µs.
        assert!(text.contains("| 1.00 (1.00–1.00) | 0.512 |"), "{text}");
    }

    #[test]
    fn errors_are_shown_in_the_table_and_in_words() {
        let bad = outcome("envoy", true, [1.0, 1.0], &["9 answers not 2xx"]);
        let text = row(&measured(vec![bad]), &PLAN);
        assert!(text.contains("**INVALID (2)** |"), "{text}");
        assert!(
            text.contains("**envoy is invalid in this row:** round 1: 9 answers not 2xx;"),
            "{text}"
        );
    }

    #[test]
    fn what_was_measured_for_someone_is_a_column_and_latencies_a_table() {
        let mut one = outcome("nginx", true, [12.0, 12.0], &[]);
        one.idle_bytes = Some(512.4);
        one.started_ms = Some(30.2);
        one.latencies
            .push(latency(&[(250.0, 100.0), (350.0, 150.0), (300.0, 200.0)]));
        let other = outcome("envoy", true, [12.0, 12.0], &[]);
        let text = row(&measured(vec![one, other]), &PLAN);
        assert!(
            text.contains("| bytes/idle connection | start ms |"),
            "{text}"
        );
        assert!(text.contains("| 512 | 30 |"), "{text}");
        assert!(text.contains("| – | – |"), "{text}");
        let line = "| nginx | 60 | 30000 | 0.081 (0.081–0.081) | 0.300 (0.250–0.350) \
                    | 0.900 (0.900–0.900) | 0.150 (0.100–0.200) | 0.075 (0.050–0.100) | 0 |";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn system_calls_are_a_column_only_where_counted() {
        let mut counted = outcome("nginx", true, [12.0, 12.0], &[]);
        counted.syscalls = Some(4.126);
        let plan = Plan {
            strace: true,
            ..PLAN
        };
        let text = row(&measured(vec![counted]), &plan);
        assert!(text.contains("| system calls/request |"), "{text}");
        assert!(text.contains("| 4.13 |"), "{text}");
    }
}
