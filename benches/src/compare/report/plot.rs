//! The CPU of each contestant in a row as bars, in a picture that needs nothing but a browser.

use std::fmt::Write as _;

use super::{Measured, Summary};
use crate::stats::Spread;

const WIDTH: f64 = 760.0;
const LABELS: f64 = 220.0;
/// Room for the figure behind the longest bar.
const FIGURES: f64 = 150.0;
const LINE: f64 = 30.0;
const TOP: f64 = 46.0;

/// A picture (SVG) of a row: bars to the median, and a line over the range of the rounds.
pub(crate) fn render(measured: &Measured) -> String {
    let summaries = measured.summaries();
    let shown: Vec<(&Summary<'_>, Spread)> = summaries
        .iter()
        .filter_map(|summary| Some((summary, summary.cpu_us?)))
        .collect();
    let most = shown.iter().map(|(_, cpu)| cpu.max).fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (WIDTH - LABELS - FIGURES) / most
    } else {
        0.0
    };
    let lines = u32::try_from(shown.len()).unwrap_or(u32::MAX);
    let height = TOP + LINE * f64::from(lines) + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"15\">{}: CPU µs per request</text>\n\
         <text x=\"10\" y=\"37\" fill=\"#555\" font-size=\"11\">{}; median, line: least to most of the rounds</text>\n",
        escape(measured.row.name),
        escape(measured.row.about)
    );
    let mut y = TOP;
    for (summary, cpu) in shown {
        bar(&mut text, y, scale, summary, cpu);
        y += LINE;
    }
    text + "</svg>\n"
}

fn bar(text: &mut String, y: f64, scale: f64, summary: &Summary<'_>, cpu: Spread) {
    let ours = summary.outcome.label.starts_with(crate::proxies::OURS);
    let colour = match (summary.errors.is_empty(), ours, summary.outcome.peer) {
        (false, ..) => "#d88",
        (true, true, _) => "#2a7",
        (true, false, true) => "#89a",
        (true, false, false) => "#ccc",
    };
    let note = if summary.errors.is_empty() {
        String::new()
    } else {
        " (invalid)".into()
    };
    let (middle, from, to) = (
        y + LINE / 2.0 - 3.0,
        LABELS + cpu.min * scale,
        LABELS + cpu.max * scale,
    );
    let written = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
         <path d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}V{:.1}M{to:.1} {:.1}V{:.1}\" stroke=\"#222\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">{:.1}{note}</text>",
        LABELS - 8.0,
        middle + 5.0,
        escape(&summary.outcome.label),
        cpu.median * scale,
        LINE - 6.0,
        middle - 4.0,
        middle + 4.0,
        middle - 4.0,
        middle + 4.0,
        to + 8.0,
        middle + 5.0,
        cpu.median
    );
    written.expect("a String takes all that is written");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{measured, outcome};
    use super::*;

    #[test]
    fn everybody_with_cpu_has_a_bar_and_labels_are_text() {
        let mut direct = outcome("direct (no proxy)", false, [1.0, 1.0], &[]);
        for sample in &mut direct.samples {
            sample.proxy = None;
        }
        let row = measured(vec![
            outcome("longshore <new>", false, [8.0, 10.0], &[]),
            outcome("nginx", true, [16.0, 20.0], &["9 answers not 2xx"]),
            direct,
        ]);
        let text = render(&row);
        assert!(text.contains(">longshore &lt;new&gt;</text>"), "{text}");
        assert!(text.contains(">18.0 (invalid)</text>"), "{text}");
        assert!(!text.contains("direct"), "{text}");
        // The longest line ends where the room for bars does.
        assert!(text.contains("H610.0M"), "{text}");
        assert_eq!(text, render(&row));
    }
}
