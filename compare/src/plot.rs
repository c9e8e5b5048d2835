//! Plots as SVG, drawn for 420 units of width: what a phone shows one to one. Pure.
//!
//! Colours and fonts are those of the page (`report.css`), by class.

/// The picture, and what is left of it for data.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// How a value becomes a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// One axis.
#[derive(Debug)]
pub(crate) struct Axis<'a> {
    pub(crate) title: &'a str,
    pub(crate) scale: Scale,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Marks, with what is written at them.
    pub(crate) marks: Vec<(f64, String)>,
}

impl Axis<'_> {
    /// 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let at = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(1e-9).log10(),
        };
        let (low, high) = (at(self.low), at(self.high));
        match high > low {
            true => ((at(value) - low) / (high - low)).clamp(0.0, 1.0),
            false => 0.5,
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.part(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.part(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// One line.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Its class: `a` or `b`, and `dashed`.
    pub(crate) class: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether each point is shown.
    pub(crate) dots: bool,
}

/// A bar of an interval, with its middle.
#[derive(Debug)]
pub(crate) struct Whisker {
    pub(crate) label: String,
    pub(crate) middle: f64,
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) is_certain: bool,
}

/// An axis of values from 0 or so, with about five marks at round numbers.
pub(crate) fn linear<'a>(title: &'a str, low: f64, high: f64) -> Axis<'a> {
    let span = (high - low).max(1e-6);
    let rough = span / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    let step = step
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let first = (low / step).floor() as i64;
    let last = (high / step).ceil() as i64;
    let marks = (first..=last).map(|number| {
        let value = number as f64 * step;
        (value, short(value))
    });
    Axis {
        title,
        scale: Scale::Linear,
        low: first as f64 * step,
        high: last as f64 * step,
        marks: marks.collect(),
    }
}

/// An axis of values above 0, with marks at 1, 2 and 5 of each power of ten.
pub(crate) fn log<'a>(title: &'a str, low: f64, high: f64) -> Axis<'a> {
    let (low, high) = (low.max(1e-4), high.max(low.max(1e-4) * 1.01));
    let mut ends = (low, high);
    let mut marks = Vec::new();
    let many = (high / low).log10() > 3.0;
    for power in (low.log10().floor() as i32 - 1)..=(high.log10().ceil() as i32) {
        for times in if many { &[1.0][..] } else { &[1.0, 2.0, 5.0] } {
            marks.push(times * 10f64.powi(power));
        }
    }
    // To the marks around what is there.
    ends.0 = marks
        .iter()
        .copied()
        .rfind(|mark| *mark <= low)
        .unwrap_or(low);
    ends.1 = marks
        .iter()
        .copied()
        .find(|mark| *mark >= high)
        .unwrap_or(high);
    marks.retain(|mark| (ends.0..=ends.1).contains(mark));
    Axis {
        title,
        scale: Scale::Log,
        low: ends.0,
        high: ends.1,
        marks: marks.into_iter().map(|mark| (mark, short(mark))).collect(),
    }
}

/// A number in few characters.
fn short(value: f64) -> String {
    match value.abs() {
        none if none < 1e-12 => "0".to_owned(),
        size if size >= 10_000.0 => format!("{}k", trimmed(value / 1_000.0)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    )
}

fn vertical(axis: &Axis<'_>, out: &mut String) {
    for (value, text) in &axis.marks {
        let y = axis.y(*value);
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"right\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            escape(text)
        ));
    }
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    out.push_str(&format!(
        "<text class=\"title\" transform=\"rotate(-90)\" x=\"{:.1}\" y=\"12\">{}</text>",
        -middle,
        escape(axis.title)
    ));
}

fn horizontal(axis: &Axis<'_>, bottom: f64, out: &mut String) {
    for (value, text) in &axis.marks {
        let x = axis.x(*value);
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>\
             <text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 15.0,
            escape(text)
        ));
    }
    out.push_str(&format!(
        "<text class=\"title\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        bottom + 33.0,
        escape(axis.title)
    ));
}

/// Lines in a field.
pub(crate) fn lines(title: &str, x: &Axis<'_>, y: &Axis<'_>, all: &[Line<'_>]) -> String {
    let mut out = open(title, HEIGHT);
    vertical(y, &mut out);
    horizontal(x, HEIGHT - BOTTOM, &mut out);
    for line in all {
        let places = line
            .points
            .iter()
            .map(|(at, value)| (x.x(*at), y.y(*value)));
        let places: Vec<(f64, f64)> = places.collect();
        let path: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        out.push_str(&format!(
            "<polyline class=\"{}\" points=\"{}\"/>",
            line.class,
            path.join(" ")
        ));
        if line.dots {
            for (x, y) in places {
                out.push_str(&format!(
                    "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>",
                    line.class
                ));
            }
        }
    }
    out + "</svg>"
}

/// Intervals below each other, with a line at 0.
pub(crate) fn whiskers(title: &str, x: &Axis<'_>, all: &[Whisker]) -> String {
    const ROW: f64 = 42.0;
    let bottom = TOP + ROW * all.len() as f64;
    let mut out = open(title, bottom + BOTTOM);
    horizontal(x, bottom, &mut out);
    if (x.low..=x.high).contains(&0.0) {
        let zero = x.x(0.0);
        out.push_str(&format!(
            "<line class=\"zero\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>"
        ));
    }
    for (row, whisker) in all.iter().enumerate() {
        let y = TOP + ROW * (row as f64 + 0.5);
        let class = match (whisker.is_certain, whisker.middle > 0.0) {
            (false, _) => "open",
            (true, true) => "slower",
            (true, false) => "faster",
        };
        out.push_str(&format!(
            "<text class=\"right label\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            escape(&whisker.label)
        ));
        if let Some((low, high)) = whisker.interval {
            let (low, high) = (x.x(low), x.x(high));
            out.push_str(&format!(
                "<line class=\"bar {class}\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            ));
        }
        let middle = x.x(whisker.middle);
        out.push_str(&format!(
            "<circle class=\"{class}\" cx=\"{middle:.1}\" cy=\"{y:.1}\" r=\"5\"/>"
        ));
    }
    out + "</svg>"
}

/// Bars below each other, each with what is written behind it. The parts of 1 that they show.
pub(crate) fn bars(title: &str, all: &[(&str, String, f64)]) -> String {
    const ROW: f64 = 34.0;
    /// Room for what is written above a bar.
    const ABOVE: f64 = 16.0;
    let mut out = open(title, ROW * all.len() as f64 + 6.0);
    let most = all.iter().map(|(_, _, part)| *part).fold(0.0, f64::max);
    for (row, (class, text, part)) in all.iter().enumerate() {
        let y = ROW * row as f64;
        let width = match most > 0.0 {
            true => part / most * WIDTH,
            false => 0.0,
        };
        out.push_str(&format!(
            "<text class=\"label\" x=\"0\" y=\"{:.1}\">{}</text>\
             <rect class=\"track\" x=\"0\" y=\"{:.1}\" width=\"{WIDTH}\" height=\"8\" rx=\"4\"/>\
             <rect class=\"{class}\" x=\"0\" y=\"{:.1}\" width=\"{width:.1}\" height=\"8\" rx=\"4\"/>",
            y + 12.0,
            escape(text),
            y + ABOVE,
            y + ABOVE
        ));
    }
    out + "</svg>"
}

/// Text as it may stand in HTML, also in an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(axis: &'a Axis<'a>) -> Vec<&'a str> {
        axis.marks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn marks_are_round_numbers_around_what_is_there() {
        assert_eq!(texts(&linear("", 0.0, 4.3)), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(
            texts(&linear("", -0.3, 0.5)),
            ["-0.4", "-0.2", "0", "0.2", "0.4", "0.6"]
        );
        assert_eq!(
            texts(&log("", 0.3, 12.0)),
            ["0.2", "0.5", "1", "2", "5", "10", "20"]
        );
        assert_eq!(
            texts(&log("", 0.3, 40_000.0)),
            ["0.1", "1", "10", "100", "1000", "10k", "100k"]
        );
    }

    #[test]
    fn whatever_is_drawn_stays_within_the_picture() {
        let axis = log("", 1.0, 100.0);
        for value in [0.0, -5.0, 1.0, 10.0, 100.0, 1e9, f64::INFINITY] {
            let (x, y) = (axis.x(value), axis.y(value));
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{value}: {x}");
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{value}: {y}");
        }
        assert!((axis.x(10.0) - (LEFT + WIDTH - RIGHT) / 2.0).abs() < 1e-9);
        // Nothing to span is no division by nothing.
        assert!(linear("", 5.0, 5.0).x(5.0).is_finite());
    }

    #[test]
    fn texts_do_not_become_elements() {
        let line = Line {
            class: "a",
            points: vec![(1.0, 1.0)],
            dots: true,
        };
        let (x, y) = (linear("<x>", 0.0, 1.0), linear("y", 0.0, 1.0));
        let svg = lines("a \"title\" & <more>", &x, &y, &[line]);
        assert!(
            svg.contains("a &quot;title&quot; &amp; &lt;more&gt;"),
            "{svg}"
        );
        assert!(!svg.contains("<x>"), "{svg}");
    }
}
