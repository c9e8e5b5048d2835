//! The report as a page: one file, with its style and plots in it, that loads nothing. Pure.

use std::time::Duration;

use crate::plot::{self, Axis, Line, Scale, Whisker, escape};
use crate::report::{Measured, Report, SideReport, Step};
use crate::statistics::PERCENTILES;
use crate::text::{dollars, errors, figures, percent, rate, signed, span, verdict};

const STYLE: &str = include_str!("report.css");

/// Nothing may be loaded, whatever is in the report.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let mut body = String::from("<header><h1>What B adds to A</h1>");
    body.push_str(&format!(
        "<p class=\"soft\">{} · {} rounds · <code>longshore compare</code></p></header>",
        date(report.time),
        report.rounds
    ));
    body.push_str("<div class=\"sides\">");
    for (name, side) in ["a", "b"].iter().zip(&report.sides) {
        body.push_str(&of_side(name, side));
    }
    body.push_str(&format!(
        "<p class=\"soft\">{}</p></div>",
        escape(&report.load)
    ));
    for warning in &report.warnings {
        body.push_str(&format!("<p class=\"warning\">{}</p>", escape(warning)));
    }
    for step in &report.steps {
        body.push_str(&of_step(step));
    }
    body.push_str(&over_steps(report));
    body.push_str(&failures(report));
    body.push_str(&costs(report));
    body.push_str(&method(report));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <title>What B adds to A</title><style>\n{STYLE}</style></head>\n<body>{body}</body></html>"
    )
}

fn date(time: u64) -> String {
    let time = i64::try_from(time).ok();
    let time = time.and_then(|time| time::OffsetDateTime::from_unix_timestamp(time).ok());
    time.map_or(String::new(), |time| {
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        format!(
            "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
            time.hour(),
            time.minute()
        )
    })
}

fn of_side(name: &str, side: &SideReport) -> String {
    format!(
        "<div><span class=\"key {name}\">{}</span><span>{} <span class=\"soft\">{}</span></span></div>",
        name.to_uppercase(),
        escape(&side.url),
        escape(&side.protocol)
    )
}

fn card(title: &str, soft: &str, content: &str) -> String {
    format!(
        "<section class=\"card\"><h3>{}</h3><p class=\"soft\">{}</p>{content}</section>",
        escape(title),
        escape(soft)
    )
}

const LEGEND: &str = "<div class=\"legend\"><span><i class=\"a\"></i>A</span>\
                      <span><i class=\"b\"></i>B</span></div>";
const LEGEND_TWO: &str = "<div class=\"legend\"><span><i class=\"a\"></i>A p50</span>\
                          <span><i class=\"b\"></i>B p50</span>\
                          <span><i class=\"a dashed\"></i>A p99</span>\
                          <span><i class=\"b dashed\"></i>B p99</span></div>";

fn of_step(step: &Step) -> String {
    let valid = if step.is_valid { "" } else { " · not valid" };
    let mut out = format!(
        "<h2>At {}{valid}</h2><div class=\"tiles\">",
        rate(step.rate)
    );
    for added in &step.added {
        let class = match (added.is_certain, added.milliseconds > 0.0) {
            (false, _) => "",
            (true, true) => "slower",
            (true, false) => "faster",
        };
        let interval = added.interval.map_or(String::new(), |(low, high)| {
            format!("{} to {}", signed(low), signed(high))
        });
        out.push_str(&format!(
            "<div class=\"card tile {class}\"><span class=\"soft\">{} adds</span>\
             <strong>{} ms</strong><span class=\"soft\">{interval}<br>{}</span></div>",
            added.percentile,
            signed(added.milliseconds),
            verdict(added)
        ));
    }
    out.push_str("</div><div class=\"grid-of\">");
    out.push_str(&card(
        "Latency by percentile",
        "milliseconds from when a request was due; both axes are logarithmic",
        &format!("{LEGEND}{}", curves(step)),
    ));
    out.push_str(&card(
        "What B adds",
        "milliseconds, with the interval of 95 % confidence; right of 0, B is slower",
        &added(step),
    ));
    out.push_str(&card(
        "By round",
        "whether the machine was steady: lines that move together are its doing",
        &format!("{LEGEND_TWO}{}", rounds(step)),
    ));
    out.push_str(&card("Figures", "milliseconds", &table(step)));
    out + "</div>"
}

/// The percentile axis: 1 ÷ (1 − part), so that each 9 has the same room.
fn curves(step: &Step) -> String {
    let all = || step.sides.iter().flat_map(|side| &side.curve);
    let Some(low) = all().map(|(_, ms)| *ms).reduce(f64::min) else {
        return NOTHING.to_owned();
    };
    let high = all().map(|(_, ms)| *ms).fold(low, f64::max);
    let last = all().map(|(part, _)| of_part(*part)).fold(10.0, f64::max);
    let names = [
        "0", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999",
    ];
    let marks = names
        .iter()
        .enumerate()
        .map(|(power, name)| (10f64.powf(power as f64), (*name).to_owned()));
    let mut marks: Vec<(f64, String)> = marks.filter(|(at, _)| *at <= last).collect();
    marks.insert(1, (2.0, "50".to_owned()));
    let x = Axis {
        title: "percentile",
        scale: Scale::Log,
        low: 1.0,
        high: last,
        marks,
    };
    let y = plot::log("ms", low, high);
    let line = |(class, side): (&'static str, &Measured)| Line {
        class,
        points: side
            .curve
            .iter()
            .map(|(part, ms)| (of_part(*part), *ms))
            .collect(),
        dots: false,
    };
    let lines: Vec<Line<'_>> = ["a", "b"].into_iter().zip(&step.sides).map(line).collect();
    plot::lines("Latency by percentile of A and B", &x, &y, &lines)
}

fn of_part(part: f64) -> f64 {
    1.0 / (1.0 - part).max(1e-9)
}

const NOTHING: &str = "<p class=\"soft\">nothing was answered</p>";

fn added(step: &Step) -> String {
    let known: Vec<Whisker> = step
        .added
        .iter()
        .filter(|added| added.is_known)
        .map(|added| Whisker {
            label: added.percentile.to_owned(),
            middle: added.milliseconds,
            interval: added.interval,
            is_certain: added.is_certain,
        })
        .collect();
    if known.is_empty() {
        return "<p class=\"soft\">too few requests on one of the sides</p>".to_owned();
    }
    let ends = known.iter().flat_map(|whisker| {
        let (low, high) = whisker.interval.unwrap_or((whisker.middle, whisker.middle));
        [low, high]
    });
    let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    let x = plot::linear("ms that B adds", low, high);
    plot::whiskers("What B adds to A, by percentile", &x, &known)
}

fn rounds(step: &Step) -> String {
    let of = |side: &Measured, pick: fn((f64, f64)) -> f64| -> Vec<(f64, f64)> {
        let all = side.by_round.iter().enumerate();
        all.filter_map(|(round, found)| Some((round as f64 + 1.0, pick((*found)?))))
            .collect()
    };
    let mut lines = Vec::new();
    let classes = [("a", "a dashed"), ("b", "b dashed")];
    for (side, (plain, dashed)) in step.sides.iter().zip(classes) {
        let (class, points) = (plain, of(side, |(p50, _)| p50));
        lines.push(Line {
            class,
            points,
            dots: true,
        });
        let (class, points) = (dashed, of(side, |(_, p99)| p99));
        lines.push(Line {
            class,
            points,
            dots: true,
        });
    }
    let count = step.sides.iter().map(|side| side.by_round.len()).max();
    let count = count.unwrap_or(1).max(1);
    let every = count.div_ceil(10).max(1);
    let marks = (1..=count).filter(|round| (round - 1) % every == 0);
    let x = Axis {
        title: "round",
        scale: Scale::Linear,
        low: 1.0,
        high: count as f64,
        marks: marks
            .map(|round| (round as f64, round.to_string()))
            .collect(),
    };
    in_field("Latency by round", &x, &lines)
}

/// Lines of milliseconds over an axis.
fn in_field(title: &str, x: &Axis<'_>, lines: &[Line<'_>]) -> String {
    let all = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|(_, ms)| *ms)
    };
    let Some(low) = all().reduce(f64::min) else {
        return NOTHING.to_owned();
    };
    plot::lines(
        title,
        x,
        &plot::log("ms", low, all().fold(low, f64::max)),
        lines,
    )
}

fn cells(name: &str, more: impl IntoIterator<Item = String>) -> String {
    let more = more
        .into_iter()
        .map(|cell| format!("<td>{}</td>", escape(&cell)));
    format!(
        "<tr><td>{}</td>{}</tr>",
        escape(name),
        more.collect::<String>()
    )
}

fn table(step: &Step) -> String {
    let [a, b] = &step.sides;
    let at = |side: &Measured, name: &str| {
        side.latency
            .get(name)
            .map_or("–".to_owned(), |ms| figures(*ms))
    };
    let mut rows = String::new();
    for name in PERCENTILES
        .map(|(name, _)| name)
        .into_iter()
        .chain(["max", "mean"])
    {
        let added = step.added.iter().find(|added| added.percentile == name);
        let added = added.map_or(String::new(), |added| signed(added.milliseconds));
        rows.push_str(&cells(name, [at(a, name), at(b, name), added]));
    }
    let connecting = |side: &Measured| side.connecting.map_or("–".to_owned(), figures);
    rows.push_str(&cells(
        "connecting, p50",
        [connecting(a), connecting(b), String::new()],
    ));
    let mut row = |name: &str, of: &dyn Fn(&Measured) -> String| {
        rows.push_str(&cells(name, [of(a), of(b), String::new()]));
    };
    row("answered", &|side| rate(side.achieved));
    row("requests", &|side| side.due.to_string());
    row("bytes a request", &|side| {
        format!("{:.0}", side.bytes_of_request)
    });
    row("generator late", &|side| percent(side.late));
    format!(
        "<div class=\"scroll\"><table><tr><th></th><th>A</th><th>B</th><th>B adds</th></tr>{rows}</table></div>"
    )
}

fn over_steps(report: &Report) -> String {
    if report.steps.len() < 2 {
        return String::new();
    }
    let mut lines = Vec::new();
    for (place, (class, name)) in [
        ("a", "p50"),
        ("b", "p50"),
        ("a dashed", "p99"),
        ("b dashed", "p99"),
    ]
    .into_iter()
    .enumerate()
    {
        let point = |step: &Step| {
            let side = step.sides.get(place % 2)?;
            Some((step.rate, *side.latency.get(name)?))
        };
        let points = report.steps.iter().filter_map(point).collect();
        lines.push(Line {
            class,
            points,
            dots: true,
        });
    }
    let high = report
        .steps
        .iter()
        .map(|step| step.rate)
        .fold(0.0, f64::max);
    let x = plot::linear("requests a second", 0.0, high);
    let plot = in_field("Latency by rate", &x, &lines);
    let found = report.maximum.map_or(String::new(), |maximum| {
        format!("; 100 % is {}", rate(maximum))
    });
    format!(
        "<h2>Over all steps</h2><div class=\"grid-of\">{}</div>",
        card(
            "Latency by rate",
            &format!("milliseconds from when a request was due{found}"),
            &format!("{LEGEND_TWO}{plot}")
        )
    )
}

fn failures(report: &Report) -> String {
    let mut bars = Vec::new();
    for step in &report.steps {
        for (name, side) in ["a", "b"].into_iter().zip(&step.sides) {
            let share = side.failed_share();
            let mut text = format!("{} to {}: ", rate(step.rate), name.to_uppercase());
            text.push_str(&match side.failed {
                0 => "none".to_owned(),
                some => format!("{some} ({}): {}", percent(share), errors(side)),
            });
            bars.push((name, text, share));
        }
    }
    let most = bars.iter().map(|(_, _, share)| *share).fold(0.0, f64::max);
    if most <= 0.0 {
        return "<h2>Errors</h2><p>No request failed.</p>".to_owned();
    }
    let plot = plot::bars("Requests that failed, by rate and side", &bars);
    format!(
        "<h2>Errors</h2><div class=\"grid-of\">{}</div>",
        card(
            "Requests that failed",
            &format!("of all that were due; the longest bar is {}", percent(most)),
            &plot
        )
    )
}

fn costs(report: &Report) -> String {
    let mut rows = String::new();
    for step in &report.steps {
        let cost = &step.cost;
        let even = cost.even_at_requests.map_or("–".to_owned(), rate);
        let instances = cost.instances_month.map_or("–".to_owned(), dollars);
        let lcus = format!("{} ({})", figures(cost.lcus_paid), cost.dimension);
        let million = dollars(cost.lcu_million_requests);
        rows.push_str(&cells(
            &rate(step.rate),
            [lcus, million, dollars(cost.alb_month), instances, even],
        ));
    }
    format!(
        "<h2>Cost of A’s traffic</h2><p class=\"soft\">At an ALB, if it went on all month, against \
         instances that do B’s work. Traffic out of AWS, between zones, and addresses cost extra \
         on either side.</p><div class=\"card scroll\"><table><tr><th>rate</th><th>LCU</th>\
         <th>LCUs per million</th><th>ALB a month</th><th>instances a month</th><th>even at</th></tr>\
         {rows}</table></div>"
    )
}

fn method(report: &Report) -> String {
    format!(
        "<footer class=\"soft\"><p>Requests begin at even distances, whatever the sides answer, and \
         their time counts from when they were due, so a side that stalls pays for all that had to \
         wait. Both sides take turns, each {} long, and who begins changes. Intervals come from \
         10,000 draws of the rounds, both sides of a round together (seed {}).</p></footer>",
        span(Duration::from_secs_f64(report.seconds_of_turn)),
        report.seed
    )
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
