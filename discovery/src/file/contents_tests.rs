use std::time::Instant;

use super::{Contents, PROBLEMS_MAX, TARGETS_MAX, read};

fn json(text: &str) -> Result<Contents, String> {
    read("t.json", text.as_bytes(), Instant::now())
}

fn yaml(text: &str) -> Result<Contents, String> {
    read("t.yaml", text.as_bytes(), Instant::now())
}

/// `ADDRESS ZONE` of each target.
#[track_caller]
fn targets(contents: Result<Contents, String>) -> Vec<String> {
    let contents = contents.expect("understood");
    assert_eq!(contents.problems, []);
    shown(&contents)
}

fn shown(contents: &Contents) -> Vec<String> {
    let targets = contents.targets.iter();
    targets
        .map(|target| {
            format!(
                "{} {}",
                target.address,
                target.zone.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

fn problems(contents: &Contents) -> Vec<String> {
    let problems = contents.problems.iter();
    problems
        .map(|problem| format!("{}: {}", problem.subject, problem.reason))
        .collect()
}

#[test]
fn the_shape_of_prometheus_is_read_with_its_zones() {
    let text = r#"[
      {"targets": ["10.0.0.1:8080", "[::1]:80"], "labels": {"zone": "a", "job": "web"}},
      {"targets": ["10.0.0.2:8080"], "labels": {"__zone__": "b"}},
      {"targets": ["10.0.0.3:8080"]},
      {"targets": [], "labels": {"zone": "c"}}
    ]"#;
    assert_eq!(
        targets(json(text)),
        [
            "10.0.0.1:8080 a",
            "[::1]:80 a",
            "10.0.0.2:8080 b",
            "10.0.0.3:8080 -"
        ]
    );
}

#[test]
fn our_own_shape_is_read_with_its_zones() {
    let text = r#"{"targets": [
      {"address": "10.0.0.1", "port": 8080, "zone": "a"},
      {"address": "::1", "port": 1},
      {"address": "10.0.0.2", "port": 65535, "zone": null, "weight": 3}
    ]}"#;
    assert_eq!(
        targets(json(text)),
        ["10.0.0.1:8080 a", "[::1]:1 -", "10.0.0.2:65535 -"]
    );
}

#[test]
fn an_element_has_a_weight_and_a_wrong_one_counts_as_1() {
    let text = r#"[{"targets": ["10.0.0.9:80",
      {"address": "10.0.0.1", "port": 80},
      {"address": "10.0.0.2", "port": 80, "weight": 999},
      {"address": "10.0.0.3", "port": 80, "weight": 0},
      {"address": "10.0.0.4", "port": 80, "weight": 1000},
      {"address": "10.0.0.5", "port": 80, "weight": "3"}
    ]}]"#;
    let contents = json(text).expect("good");
    let weights: Vec<u16> = contents
        .targets
        .iter()
        .map(|target| target.weight)
        .collect();
    assert_eq!(weights, [1, 1, 999, 0, 1, 1]);
    let problems: Vec<String> = contents
        .problems
        .iter()
        .map(|problem| format!("{} {}", problem.subject, problem.reason))
        .collect();
    assert_eq!(
        problems,
        [
            "[0].targets[4].weight is 1000; expected a whole number from 0 to 999; 1 holds",
            "[0].targets[5].weight is a text; expected a whole number from 0 to 999; 1 holds",
        ]
    );
}

#[test]
fn yaml_says_the_same_as_json() {
    let prometheus = "# by hand\n- targets:\n  - 10.0.0.1:8080\n  - '[::1]:80'\n  labels: {zone: a}\n- targets: []\n";
    assert_eq!(targets(yaml(prometheus)), ["10.0.0.1:8080 a", "[::1]:80 a"]);
    let own = "targets:\n  - {address: 10.0.0.1, port: 8080, zone: a}\n  - address: ::1\n    port: 80\n    zone: 2\n";
    assert_eq!(targets(yaml(own)), ["10.0.0.1:8080 a", "[::1]:80 2"]);
    let flow = "[{targets: ['10.0.0.1:80']}]";
    assert_eq!(targets(yaml(flow)), ["10.0.0.1:80 -"]);
}

#[test]
fn a_target_is_known_by_its_address_and_confirmed_by_the_start_of_the_look() {
    let now = Instant::now();
    let text = br#"{"targets": ["[0:0:0:0:0:0:0:1]:80", "[::ffff:10.0.0.1]:81"]}"#;
    let contents = read("t.json", text, now).expect("understood");
    let keys: Vec<String> = contents
        .targets
        .iter()
        .map(|target| target.key.to_string())
        .collect();
    assert_eq!(keys, ["file/::1:80", "file/10.0.0.1:81"]);
    for target in &contents.targets {
        assert_eq!(target.confirmed_at, now);
        assert!(!target.shared_port);
        assert_eq!((&target.instance, target.started_at), (&None, None));
    }
}

#[test]
fn one_bad_element_is_a_problem_with_its_mend_and_the_others_count() {
    let cases = [
        (
            r#""web.local:80""#,
            r#""web.local:80" is not an IP address with a port, such as "10.0.0.1:8080"; host names are not resolved"#,
        ),
        (r#""localhost""#, "host names are not resolved"),
        (r#""""#, "is not an IP address with a port"),
        (r#"" 10.0.0.2:80""#, "is not an IP address with a port"),
        (r#""010.0.0.2:80""#, "is not an IP address with a port"),
        (
            r#""10.0.0.2""#,
            r#""10.0.0.2" has no port; write "10.0.0.2:8080""#,
        ),
        (
            r#""::2:80""#,
            r#"has no port, or no brackets; write "[::1]:8080""#,
        ),
        (
            r#""[::2]""#,
            "has no port from 1 to 65535 behind its address",
        ),
        (
            r#""10.0.0.2:""#,
            "has no port from 1 to 65535 behind its address",
        ),
        (r#""10.0.0.2:65536""#, "has no port from 1 to 65535"),
        (r#""10.0.0.2:-1""#, "has no port from 1 to 65535"),
        (r#""10.0.0.2:http""#, "has no port from 1 to 65535"),
        (
            r#""10.0.0.2:0""#,
            "10.0.0.2:0: the port is 0; expected 1 to 65535",
        ),
        (
            r#""http://10.0.0.2:80/""#,
            "is a URL; write only an IP address and a port",
        ),
        (r#""0.0.0.0:80""#, "stands for all addresses of a host"),
        (r#""[::]:80""#, "stands for all addresses of a host"),
        (
            r#""[::ffff:0.0.0.0]:80""#,
            "stands for all addresses of a host",
        ),
        (r#""224.0.0.1:80""#, "that of many hosts"),
        (r#""255.255.255.255:80""#, "that of many hosts"),
        (
            r#""[fe80::1%2]:80""#,
            "addresses with a scope (`%`) are not served",
        ),
        ("17", "is a number; expected an address and a port"),
        ("null", "is null; expected"),
        ("true", "is true or false; expected"),
        (r#"["10.0.0.2:80"]"#, "is a list; expected"),
        ("{}", "has no `address`"),
        (r#"{"addr": "10.0.0.2", "port": 80}"#, "has no `address`"),
        (
            r#"{"address": 10, "port": 80}"#,
            "its address is a number, not a text",
        ),
        (
            r#"{"address": "web", "port": 80}"#,
            r#""web" is not an IP address; host names are not resolved"#,
        ),
        (
            r#"{"address": "10.0.0.2:80", "port": 80}"#,
            "the port has a key of its own",
        ),
        (r#"{"address": "10.0.0.2"}"#, "has no `port`"),
        (r#"{"address": "10.0.0.2", "port": 0}"#, "the port is 0"),
        (
            r#"{"address": "10.0.0.2", "port": 65536}"#,
            "its port is 65536; expected a number from 1 to 65535",
        ),
        (
            r#"{"address": "10.0.0.2", "port": -1}"#,
            "its port is -1; expected",
        ),
        (
            r#"{"address": "10.0.0.2", "port": 80.5}"#,
            "its port is 80.5; expected",
        ),
        (
            r#"{"address": "10.0.0.2", "port": "80"}"#,
            "its port is a text; expected",
        ),
        (
            r#"{"address": "10.0.0.2", "port": null}"#,
            "its port is null; expected",
        ),
    ];
    for (element, reason) in cases {
        let text = format!(r#"[{{"targets": ["10.0.0.1:80", {element}, "10.0.0.3:80"]}}]"#);
        let contents = json(&text).expect(element);
        assert_eq!(
            shown(&contents),
            ["10.0.0.1:80 -", "10.0.0.3:80 -"],
            "{element}"
        );
        let [problem] = problems(&contents).try_into().expect("one problem");
        assert!(problem.starts_with("[0].targets[1]: "), "{problem}");
        assert!(problem.contains(reason), "{problem}");
    }
}

#[test]
fn an_address_that_is_named_twice_is_one_target_and_one_problem() {
    let text = r#"{"targets": ["10.0.0.1:80", {"address": "10.0.0.1", "port": 80, "zone": "b"}, "[::ffff:10.0.0.1]:80", "10.0.0.1:81"]}"#;
    let contents = json(text).expect("understood");
    assert_eq!(shown(&contents), ["10.0.0.1:80 -", "10.0.0.1:81 -"]);
    assert_eq!(
        problems(&contents),
        [
            "targets[1]: 10.0.0.1:80 is that of targets[0] already; one of them is enough",
            "targets[2]: 10.0.0.1:80 is that of targets[0] already; one of them is enough",
        ]
    );
    let groups = r#"[{"targets": ["10.0.0.1:80"]}, {"targets": ["10.0.0.1:80"]}]"#;
    let contents = json(groups).expect("understood");
    assert_eq!(shown(&contents), ["10.0.0.1:80 -"]);
    let [problem] = problems(&contents).try_into().expect("one problem");
    assert!(
        problem.starts_with("[1].targets[0]: 10.0.0.1:80 is that of [0].targets[0]"),
        "{problem}"
    );
}

#[test]
fn a_zone_that_is_no_text_does_not_cost_its_targets() {
    let text = r#"[
      {"targets": ["10.0.0.1:80"], "labels": {"zone": ["a"]}},
      {"targets": ["10.0.0.2:80"], "labels": "zone=a"},
      {"targets": [{"address": "10.0.0.3", "port": 80, "zone": true}], "labels": {"zone": "c"}},
      {"targets": ["10.0.0.4:80"], "labels": {"zone": ""}},
      {"targets": ["10.0.0.5:80"], "labels": null}
    ]"#;
    let contents = json(text).expect("understood");
    assert_eq!(
        shown(&contents),
        [
            "10.0.0.1:80 -",
            "10.0.0.2:80 -",
            "10.0.0.3:80 c",
            "10.0.0.4:80 -",
            "10.0.0.5:80 -"
        ]
    );
    assert_eq!(
        problems(&contents),
        [
            "[0].labels.zone: is a list, not a text; left out",
            "[1].labels: is a text, not keys and values; left out",
            "[2].targets[0].zone: is true or false, not a text; left out",
        ]
    );
}

#[test]
fn a_file_of_nothing_but_mistakes_is_a_failure_and_not_an_empty_set() {
    let error = json(r#"{"targets": ["${A}:80", "${B}:80"], "labels": 1}"#).expect_err("no target");
    assert_eq!(
        error,
        r#"t.json: none of its elements is a target; targets[0]: "${A}:80" is not an IP address with a port, such as "10.0.0.1:8080"; host names are not resolved"#
    );
    // Nothing wrong with its elements: there are none.
    assert!(json(r#"{"targets": [], "labels": 1}"#).is_ok());
}

#[test]
fn a_file_of_another_shape_is_a_failure_that_tells_the_right_one() {
    for (text, what) in [
        ("null", "the file has no list `targets`; expected [{"),
        ("{}", "the file has no list `targets`"),
        ("17", "the file has no list `targets`"),
        ("\"10.0.0.1:80\"", "the file has no list `targets`"),
        ("[\"10.0.0.1:80\"]", "[0] has no list `targets`"),
        ("[[]]", "[0] has no list `targets`"),
        ("[null]", "[0] has no list `targets`"),
        (
            "[{\"targets\": [\"10.0.0.1:80\"]}, {}]",
            "[1] has no list `targets`",
        ),
        (
            "[{\"address\": \"10.0.0.1\", \"port\": 80}]",
            "[0] has no list `targets`",
        ),
        ("{\"target\": []}", "the file has no list `targets`"),
        (
            "{\"targets\": null}",
            "targets is null; expected a list, `[]` for no targets",
        ),
        ("{\"targets\": {}}", "targets is a mapping; expected a list"),
        (
            "[{\"targets\": \"10.0.0.1:80\"}]",
            "[0].targets is a text; expected a list",
        ),
    ] {
        for (file, text) in [("t.json", text.to_owned()), ("t.yaml", format!("{text}\n"))] {
            let error = read(file, text.as_bytes(), Instant::now()).expect_err(&text);
            assert!(error.starts_with(&format!("{file}: {what}")), "{error}");
        }
    }
    for text in ["# nothing yet\n", "---\n", "~\n"] {
        let error = yaml(text).expect_err(text);
        assert!(error.contains("has no list `targets`"), "{error}");
    }
}

#[test]
fn targets_and_problems_have_bounds() {
    let file = |count: usize| {
        let list: Vec<String> = (0..count)
            .map(|n| format!("\"10.{}.{}.{}:80\"", n / 65536, n / 256 % 256, n % 256))
            .collect();
        format!("{{\"targets\": [{}]}}", list.join(","))
    };
    assert_eq!(targets(json(&file(TARGETS_MAX))).len(), TARGETS_MAX);
    let error = json(&file(TARGETS_MAX + 1)).expect_err("too many");
    assert_eq!(
        error,
        "t.json: the file has more than 10000 targets, the most that are taken"
    );

    let long = format!("\"{}\",", "é".repeat(1_000)).repeat(PROBLEMS_MAX + 7);
    let text = format!("{{\"targets\": [{long} \"10.0.0.1:80\"]}}");
    let contents = json(&text).expect("understood");
    assert_eq!(contents.targets.len(), 1);
    assert_eq!(contents.problems.len(), PROBLEMS_MAX + 1);
    assert!(contents.problems.iter().all(|it| it.reason.len() < 400));
    assert_eq!(contents.problems[PROBLEMS_MAX].subject, "7 more elements");
}
