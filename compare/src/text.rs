//! What is shown on a terminal. Pure.

use crate::table::table;
use std::time::Duration;

use crate::report::{Added, Measured, Report, Step};
use crate::statistics::PERCENTILES;

/// `1h 5m`, `2m 3s`, `5s`, `100ms`
pub(crate) fn span(time: Duration) -> String {
    let millis = time.as_millis();
    if !millis.is_multiple_of(1_000) && millis < 10_000 {
        return format!("{millis}ms");
    }
    let seconds = (millis + 500) / 1_000;
    let parts = [
        (seconds / 3_600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let shown = parts.iter().filter(|(number, _)| *number > 0);
    let shown: Vec<String> = shown
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if shown.is_empty() {
        "0s".to_owned()
    } else {
        shown.join(" ")
    }
}

/// Three figures, and no more behind the point than they need.
pub(crate) fn figures(number: f64) -> String {
    let behind = match number.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{number:.behind$}");
    // Nothing is less than nothing.
    if text
        .trim_start_matches('-')
        .chars()
        .all(|c| "0.".contains(c))
    {
        return text.trim_start_matches('-').to_owned();
    }
    text
}

/// Milliseconds.
pub(crate) fn millis(number: f64) -> String {
    format!("{} ms", figures(number))
}

/// The same with its sign.
pub(crate) fn signed(number: f64) -> String {
    let text = figures(number);
    if number > 0.0 && text.contains(|c: char| ('1'..='9').contains(&c)) {
        return format!("+{text}");
    }
    text
}

/// `12.3 %`
pub(crate) fn percent(part: f64) -> String {
    match part * 100.0 {
        none if none <= 0.0 => "0 %".to_owned(),
        little if little < 0.01 => "<0.01 %".to_owned(),
        some => format!("{} %", figures(some).trim_end_matches(".0")),
    }
}

/// `500/s`
pub(crate) fn rate(number: f64) -> String {
    match number.fract() == 0.0 || number >= 1_000.0 {
        true => format!("{number:.0}/s"),
        false => format!("{}/s", figures(number)),
    }
}

pub(crate) fn dollars(number: f64) -> String {
    match number.abs() < 1.0 {
        true => format!("${}", figures(number)),
        false => format!("${number:.2}"),
    }
}

/// What is known of a difference, in words.
pub(crate) fn verdict(added: &Added) -> &'static str {
    match (added.is_known, added.is_sure, added.is_certain) {
        (false, ..) => "too few requests",
        (_, false, _) => "too few rounds",
        (_, _, false) => "no certain difference",
        (_, _, true) if added.milliseconds > 0.0 => "B is slower",
        (_, _, true) => "B is faster",
    }
}

/// `connect 3, timeout 1`
pub(crate) fn errors(side: &Measured) -> String {
    let all = side
        .errors
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"));
    all.collect::<Vec<_>>().join(", ")
}

/// The whole report.
pub(crate) fn show(report: &Report) -> String {
    let mut out = String::new();
    for (name, side) in ["A", "B"].iter().zip(&report.sides) {
        out.push_str(&format!("{name}  {}  ({})\n", side.url, side.protocol));
    }
    out.push_str(&format!("   {}, {} rounds\n", report.load, report.rounds));
    if let Some(maximum) = report.maximum {
        out.push_str(&format!("   maximum {}\n", rate(maximum)));
    }
    for step in &report.steps {
        out.push('\n');
        out.push_str(&one(step));
    }
    if report.steps.is_empty() {
        out.push_str("\nnothing was measured\n");
    }
    for warning in &report.warnings {
        out.push_str(&format!("\nwarning: {warning}\n"));
    }
    out.push_str(&format!(
        "\nLatency counts from when a request was due. Intervals hold with a confidence of 95 % \
         (seed {}).\n",
        report.seed
    ));
    out
}

fn one(step: &Step) -> String {
    let [a, b] = &step.sides;
    let valid = if step.is_valid { "" } else { "  NOT VALID" };
    let mut out = format!("{}{valid}\n", rate(step.rate));
    let mut rows = Vec::new();
    let at = |side: &Measured, name: &str| {
        side.latency
            .get(name)
            .map_or("-".to_owned(), |ms| figures(*ms))
    };
    for (place, (name, _)) in PERCENTILES.iter().enumerate() {
        let mut row = vec![(*name).to_owned(), at(a, name), at(b, name)];
        if let Some(added) = step.added.get(place) {
            let interval = added.interval.map_or(String::new(), |(low, high)| {
                format!("{} to {}", signed(low), signed(high))
            });
            row.extend([
                signed(added.milliseconds),
                interval,
                verdict(added).to_owned(),
            ]);
        }
        rows.push(row);
    }
    rows.push(vec!["max".to_owned(), at(a, "max"), at(b, "max")]);
    let head = ["LATENCY ms", "A", "B", "B ADDS", "95 % INTERVAL", ""];
    out.push_str(&table(&head, &rows, 2));
    let cell = |of: &dyn Fn(&Measured) -> String| [of(a), of(b)];
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, cells: [String; 2]| {
        rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    };
    row("answered", cell(&|side| rate(side.achieved)));
    row("requests", cell(&|side| side.due.to_string()));
    row(
        "failed",
        cell(&|side| match side.failed {
            0 => "0".to_owned(),
            some => format!("{some} ({})", percent(side.failed_share())),
        }),
    );
    if a.failed + b.failed > 0 {
        row(
            "  by kind",
            cell(&|side| match errors(side) {
                none if none.is_empty() => "-".to_owned(),
                some => some,
            }),
        );
    }
    row(
        "connecting, p50",
        cell(&|side| side.connecting.map_or("-".to_owned(), millis)),
    );
    row("generator late", cell(&|side| percent(side.late)));
    out.push_str(&table(&["", "A", "B"], &rows, 2));
    out.push_str(&cost(step));
    out
}

fn cost(step: &Step) -> String {
    let cost = &step.cost;
    let mut out = format!(
        "  cost of A's traffic at an ALB: {} a month ({} LCU by {}), {} for LCUs per million requests\n",
        dollars(cost.alb_month),
        figures(cost.lcus_paid),
        cost.dimension,
        dollars(cost.lcu_million_requests),
    );
    if let Some(instances) = cost.instances_month {
        out.push_str(&format!("  instances: {} a month", dollars(instances)));
        if let Some(even) = cost.even_at_requests {
            out.push_str(&format!(
                "; both cost the same at {} of such requests",
                rate(even)
            ));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_figures_and_a_sign_where_they_differ() {
        for (number, right) in [
            (0.0, "0.000"),
            (0.0421, "0.042"),
            (1.234, "1.23"),
            (12.345, "12.3"),
            (1234.5, "1234"),
            (-0.0001, "0.000"),
            (-3.21, "-3.21"),
            (9.999, "10.0"),
            (99.99, "100"),
        ] {
            assert_eq!(figures(number), right);
        }
        assert_eq!(signed(5.0), "+5.00");
        assert_eq!(signed(0.0001), "0.000");
        assert_eq!(signed(-5.0), "-5.00");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.00001), "<0.01 %");
        assert_eq!(percent(0.125), "12.5 %");
        assert_eq!(rate(100.0), "100/s");
        assert_eq!(rate(1234.5), "1234/s");
        assert_eq!(dollars(0.04), "$0.040");
        assert_eq!(dollars(121.6), "$121.60");
    }

    #[test]
    fn times_are_written_for_people() {
        for (millis, right) in [
            (0, "0s"),
            (500, "500ms"),
            (1_500, "1500ms"),
            (5_000, "5s"),
            (65_000, "1m 5s"),
            (3_600_000, "1h"),
            (14_400_000, "4h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), right);
        }
    }
}
