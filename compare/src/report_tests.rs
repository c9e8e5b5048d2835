use std::time::Duration;

use super::*;

/// A report of two rates, in which B adds two milliseconds, some connections of B fail at the
/// second, and one word of a URL would be an element of a page.
pub(crate) fn sample() -> Report {
    let tally = |millis: u64, failed: u64| {
        let mut tally = Tally::new();
        for number in 0..1_000u64 {
            tally.succeed(Duration::from_micros(millis * 1_000 + number % 97));
            tally.begin(Duration::from_micros(50));
        }
        tally.fail_many(Kind::Reset, failed);
        tally.due = 1_000 + failed;
        tally.carried = 1_000;
        tally.bytes = 2_000_000;
        tally.seconds = 5.0;
        tally.connect(Duration::from_millis(1));
        tally
    };
    let rounds = |failed| -> Rounds {
        let a = (0..6).map(|_| tally(3, 0)).collect();
        [a, (0..6).map(|_| tally(5, failed)).collect()]
    };
    Report::new(frame(), &[(200.0, rounds(0)), (400.0, rounds(50))])
}

const PRICES: Prices = Prices {
    alb_hour_price: 0.0225,
    lcu_price: 0.008,
    instance_price: Some(0.07),
    instances: 1,
    rules: 0,
};

fn frame() -> Frame<'static> {
    let side = |url: &str, protocol: &str| SideReport {
        url: url.to_owned(),
        addresses: vec!["127.0.0.1:80".to_owned()],
        protocol: protocol.to_owned(),
        first_status: 200,
    };
    Frame {
        time: 1_800_000_000,
        seed: 7,
        load: "GET, 10 connections".to_owned(),
        sides: [
            side("http://127.0.0.1:1/", "HTTP/1.1"),
            side("http://127.0.0.1:2/?<script>", "HTTP/1.1"),
        ],
        maximum: Some(500.0),
        prices: &PRICES,
        connections: 10,
        churn: false,
        seconds_of_turn: 5.0,
    }
}

#[test]
fn what_b_adds_and_what_failed_stand_in_the_report() {
    let report = sample();
    assert!(report.is_valid && report.has_failed());
    assert_eq!(report.rounds, 6);
    let [first, second] = &report.steps[..] else {
        panic!("two steps");
    };
    let p50 = &first.added[0];
    assert!((p50.milliseconds - 2.0).abs() < 0.05, "{p50:?}");
    assert!(p50.is_certain);
    assert_eq!(first.sides[0].failed, 0);
    assert_eq!(second.sides[1].errors, BTreeMap::from([("reset", 300)]));
    assert!((first.sides[0].achieved - 200.0).abs() < 1e-6);
    assert!((first.cost.lcus.processed_bytes - 1.44).abs() < 1e-6);
    let warned = report.warnings.join("\n");
    assert!(
        warned.contains("up to 4.76 % of the requests to B failed"),
        "{warned}"
    );
}

#[test]
fn a_generator_that_is_late_or_busy_makes_figures_invalid() {
    let of = |late: u64, busy: f64| {
        let mut tally = Tally::new();
        for number in 0..1_000u64 {
            let after = if number < late { 5 } else { 0 };
            tally.begin(Duration::from_millis(after));
            tally.succeed(Duration::from_millis(1));
        }
        (tally.due, tally.seconds, tally.busy) = (1_000, 1.0, busy);
        Report::new(frame(), &[(10.0, [vec![tally.clone()], vec![tally]])])
    };
    assert!(of(10, 0.9).is_valid);
    for (late, busy) in [(11, 0.0), (0, 0.96)] {
        let report = of(late, busy);
        assert!(!report.is_valid);
        assert!(
            report.warnings[0].contains("NOT VALID"),
            "{:?}",
            report.warnings
        );
        assert!(crate::text::show(&report).contains("10/s  NOT VALID"));
    }
}

#[test]
fn nothing_that_was_answered_is_shown_as_such() {
    let mut dead = Tally::new();
    dead.fail_many(Kind::Connect, 10);
    (dead.due, dead.seconds) = (10, 1.0);
    let report = Report::new(frame(), &[(10.0, [vec![dead.clone()], vec![dead]])]);
    assert!(report.steps[0].added.is_empty() && report.has_failed());
    let shown = crate::text::show(&report);
    assert!(shown.contains("connect 10"), "{shown}");
    assert!(crate::html::page(&report).contains("nothing was answered"));
    let none = Report::new(frame(), &[]);
    assert!(crate::text::show(&none).contains("nothing was measured"));
}

#[test]
fn the_table_and_the_json_have_the_same_figures() {
    let report = sample();
    let shown = crate::text::show(&report);
    for text in [
        "p99.9",
        "+2.00",
        "B is slower",
        "300 (4.76 %)",
        "reset 300",
        "200/s",
        "400/s",
        "LCU",
        "seed 7",
    ] {
        assert!(shown.contains(text), "{text}:\n{shown}");
    }
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["steps"][1]["sides"][1]["errors"]["reset"], 300);
    assert_eq!(json["steps"][0]["added"][0]["percentile"], "p50");
    assert_eq!(json["seed"], 7);
}
