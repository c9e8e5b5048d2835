use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_discovery::{Target, TargetKey};

use super::{Figures, RULES_MAX, Scrape, TargetFigures};
use crate::clock;
use crate::observe::ledger::{ListenerLedger, Matched};
use crate::upstream::endpoint::Endpoint;

fn target(number: u32) -> Arc<Endpoint> {
    let task = format!("arn:aws:ecs:eu-central-1:123456789012:task/prod/{number:032x}");
    named(number, &task)
}

fn named(number: u32, task: &str) -> Arc<Endpoint> {
    let ip = Ipv4Addr::from(0x0A00_0000 + number);
    let key = TargetKey {
        task: task.into(),
        container: "web".into(),
        port: 8080,
    };
    let target = Target {
        key,
        address: SocketAddr::from((ip, 32_768)),
        zone: None,
        weight: 1,
        instance: None,
        shared_port: true,
        started_at: None,
        protocol_version: None,
        claim: None,
        confirmed_at: clock::now(),
    };
    Endpoint::new("app".into(), &target, 2)
}

fn scrape(figures: Figures) -> String {
    let scrape = Scrape {
        workers: vec![Arc::default(), Arc::default()],
        connections: vec![2, 3],
        figures,
        logs: [[("written", 5), ("queue_full", 0), ("write_failed", 0)]; 3],
        admin_connections: [("served", 1), ("refused", 0), ("stalled", 0)],
    };
    let (mut text, mut lines) = scrape.render().expect("text in memory");
    loop {
        // Pieces as small as the lines of one target, and as large as those of hundreds.
        let least = if text.len() % 2 == 0 { 1 } else { 40_000 };
        let piece = lines.write(least);
        if piece.is_empty() {
            assert!(lines.write(least).is_empty(), "it is over");
            return text;
        }
        assert!(piece.len() < least + 4_096, "{} bytes", piece.len());
        text.push_str(str::from_utf8(&piece).expect("text"));
    }
}

fn figures() -> Figures {
    Figures {
        generation: 7,
        listeners: Vec::new(),
        groups: Vec::new(),
        targets: Vec::new(),
        api_calls: (0, 0),
        checks: 0,
        queues: Vec::new(),
        certificates: Vec::new(),
    }
}

#[test]
fn ten_thousand_targets_are_scraped_in_little_time() {
    let targets: Vec<TargetFigures> = (0..10_000)
        .map(|number| {
            let endpoint = target(number);
            endpoint.begin(1, false);
            endpoint.answered(1, 200, Duration::from_micros(1_500));
            TargetFigures {
                endpoint,
                zone: None,
            }
        })
        .collect();
    let begun: Instant = clock::now();
    let text = scrape(Figures {
        targets,
        ..figures()
    });
    let took = clock::now().saturating_duration_since(begun);
    println!("{} bytes in {took:?}", text.len());
    // Unoptimised, and on a machine that does other things: some ten times what is meant.
    assert!(took < Duration::from_secs(2), "{took:?}");
    let lines = text
        .lines()
        .filter(|line| line.contains("/web:8080"))
        .count();
    assert_eq!(lines, 10_000 * 13, "requests, responses, in flight, times");
    let one = format!(
        "longshore_target_responses_total{{target_group=\"app\",target=\"{:032x}/web:8080\",address=\"10.0.0.3:32768\",zone=\"\",code=\"2xx\"}} 1",
        3
    );
    assert!(text.contains(&one), "{one}");
}

#[test]
fn a_target_has_all_of_its_lines_whatever_its_source_calls_it() {
    let endpoint = named(3, "a\"b\\c\nd");
    endpoint.begin(1, false);
    endpoint.answered(1, 200, Duration::from_micros(1_500));
    endpoint.begin(0, false);
    endpoint.answered(0, 404, Duration::from_secs(20));
    endpoint.failed(0);
    let text = scrape(Figures {
        targets: vec![TargetFigures {
            endpoint,
            zone: Some("eu-central-1a".into()),
        }],
        ..figures()
    });
    let labels = r#"target_group="app",target="a\"b\\c\nd/web:8080",address="10.0.0.3:32768",zone="eu-central-1a""#;
    let lines: Vec<String> = text
        .lines()
        .filter(|line| line.contains(labels))
        .map(|line| line.replace(labels, "L"))
        .collect();
    let expected = [
        "longshore_target_requests_total{L} 2",
        "longshore_target_failures_total{L} 1",
        "longshore_target_responses_total{L,code=\"2xx\"} 1",
        "longshore_target_responses_total{L,code=\"4xx\"} 1",
        "longshore_target_in_flight{L} 2",
        "longshore_target_response_seconds_sum{L} 20.001500",
        "longshore_target_response_seconds_count{L} 2",
        "longshore_target_response_seconds_bucket{L,le=\"0.001\"} 0",
        "longshore_target_response_seconds_bucket{L,le=\"0.005\"} 1",
        "longshore_target_response_seconds_bucket{L,le=\"0.025\"} 1",
        "longshore_target_response_seconds_bucket{L,le=\"0.1\"} 1",
        "longshore_target_response_seconds_bucket{L,le=\"0.5\"} 1",
        "longshore_target_response_seconds_bucket{L,le=\"2.5\"} 1",
        "longshore_target_response_seconds_bucket{L,le=\"10.0\"} 1",
        "longshore_target_response_seconds_bucket{L,le=\"+Inf\"} 2",
    ];
    assert_eq!(lines, expected);
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    // What one name has stays together, behind what it means.
    for name in [
        "requests counter",
        "failures counter",
        "responses counter",
        "in_flight gauge",
    ] {
        let head = format!("\n# TYPE longshore_target_{name}\nlongshore_target_");
        assert_eq!(text.matches(&head).count(), 1, "{name}");
    }
    let text = scrape(figures());
    assert!(text.ends_with("# TYPE longshore_target_response_seconds histogram\n# EOF\n"));
}

#[test]
fn rules_beyond_the_bound_are_one_series() {
    let count = RULES_MAX as u64 + 20;
    let ledger = Arc::new(ListenerLedger::new(2, 1..=count, None));
    for priority in 1..=count {
        let rule = ledger.rule(Matched::Rule(priority)).expect("there is one");
        rule.of(0).responses.count(4);
    }
    let text = scrape(Figures {
        listeners: vec![("web".into(), ledger)],
        ..figures()
    });
    let rules = text
        .lines()
        .filter(|line| line.starts_with("longshore_rule_responses_total{"));
    assert_eq!(rules.count(), RULES_MAX + 1);
    let others = "longshore_rule_responses_total{listener=\"web\",rule=\"others\",code=\"4xx\"} 20";
    assert!(text.contains(others));
    assert!(text.contains("longshore_worker_connections{worker=\"1\"} 3"));
    assert!(text.contains("longshore_connections 5"));
}
