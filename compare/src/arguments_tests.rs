use std::time::Duration;

use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn parse(more: &[&str]) -> Result<Arguments, String> {
    let start = ["compare", "http://127.0.0.1:1/", "http://127.0.0.1:2/"];
    Line::try_parse_from(start.iter().chain(more))
        .map(|line| line.arguments)
        .map_err(|error| error.to_string())
}

#[test]
fn the_command_line_is_well_formed() {
    Line::command().debug_assert();
    let command = Arguments::augment_args(clap::Command::new("compare"));
    let matches = command.try_get_matches_from(["compare", "a", "b"]);
    let arguments = Arguments::from_arg_matches(&matches.expect("defaults")).expect("defaults");
    assert_eq!(arguments.rounds, 10);
}

#[test]
fn what_is_out_of_bounds_is_refused_with_its_place_and_the_bound() {
    for (given, place, why) in [
        (&["--rate", "0"][..], "--rate", "above 0 and at most 200000"),
        (&["--rate", "-5"], "", ""),
        (&["--rate", "nan"], "--rate", "above 0"),
        (&["--rate", "200001"], "--rate", "at most 200000"),
        (&["--duration", "11m"], "--duration", "100ms to 10m"),
        (&["--duration", "fast"], "--duration", "such as 10s"),
        (&["--warmup", "2m"], "--warmup", "0s to 1m"),
        (&["--rounds", "0"], "--rounds", "1..=100"),
        (&["--connections", "0"], "--connections", "1..=10000"),
        (&["--steps", "10,x"], "--steps", "\"x\""),
        (&["--steps", "120%"], "--steps", "100%"),
        (&["--steps", "10%,100"], "--steps", "either"),
        (&["--maximum", "100"], "--steps", "required"),
        (
            &["--steps", "100", "--rate", "5"],
            "--rate",
            "cannot be used with",
        ),
        (&["--body-size", "17MiB"], "--body-size", "16MiB"),
        (&["--body-size", "1x"], "--body-size", "16KiB"),
        (&["-H", "nonsense"], "--header", "NAME: VALUE"),
        (&["-H", "host: a"], "--header", "--host"),
        (&["-H", "content-length: 5"], "--header", "--body-size"),
        (&["--path", "x"], "--path", "/search"),
        (&["--insecure", "--ca", "x"], "--ca", "cannot be used with"),
        (&["--http", "3"], "--http", "possible values"),
        (&["--instance-price", "-1"], "", ""),
    ] {
        let error = parse(given).expect_err("refused");
        assert!(error.contains(place), "{given:?}: {error}");
        assert!(error.contains(why), "{given:?}: {error}");
    }
}

#[test]
fn what_stands_twice_counts_as_it_stands_last_and_header_fields_add_up() {
    let got = parse(&["--rounds", "3", "--rounds", "4", "-H", "a: 1", "-H", "b: 2"]);
    let got = got.expect("taken");
    assert_eq!(got.rounds, 4);
    assert_eq!(got.headers.len(), 2);
    let got = parse(&["--body-size", "0,2KiB,1M"]).expect("taken");
    assert_eq!(got.body_size, [0, 2048, 1024 * 1024]);
}

#[test]
fn a_run_of_more_than_four_hours_is_refused() {
    let long = parse(&["--duration", "10m", "--rounds", "12"]).expect("each is in bounds");
    assert_eq!(long.turn(), Duration::from_secs(601));
    let error = long.check(1).expect_err("too long");
    assert!(error.contains("may take 4h"), "{error}");
    assert!(error.contains("--rounds"), "{error}");
    assert!(parse(&[]).expect("defaults").check(10).is_ok());
}
