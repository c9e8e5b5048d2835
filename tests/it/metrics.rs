//! What `/metrics` tells of listeners, rules, groups and targets.

use std::net::SocketAddr;

use longshore_tests::balancer::{self, Running};
use longshore_tests::eventually;
use longshore_tests::origin::Origin;
use longshore_tests::wire::Wire;

async fn scrape(running: &Running) -> String {
    let admin = running.balancer.admin_address().expect("it has one");
    Wire::connect(admin).await.get("/metrics").await.text()
}

/// The value of a series; none if there is no such one.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn config(targets: &[SocketAddr]) -> String {
    let off = "health_check: {enabled: false}";
    let text = balancer::fixed(targets, off, "admin: {address: '127.0.0.1:2'}");
    let rules = "    rules:\n      - {priority: 10, condition: [{path_pattern: {values: [/fixed]}}], action: [{type: fixed_response, fixed_response: {status_code: 418, content_type: text/plain, message_body: tea}}]}\n      - {priority: 20, condition: [{path_pattern: {values: [/none]}}], action: [{type: forward, target_group: empty}]}\n";
    let empty = "  - {name: empty, targets: []}\n";
    text.replace("target_groups:", &format!("{rules}target_groups:")) + empty
}

#[tokio::test]
async fn requests_are_counted_by_listener_rule_group_and_target() {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let running = balancer::start(&config(&[a.address, b.address])).await;
    let mut client = Wire::connect(running.address()).await;
    for _ in 0..6 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!(client.get("/fixed").await.status(), 418);
    assert_eq!(client.get("/none").await.status(), 503);
    let refused = client.get("/a%zz").await;
    assert_eq!(refused.status(), 400);
    // A worker counts after the last byte is out.
    let text = eventually("all are counted", async || {
        let text = scrape(&running).await;
        let all = ["2xx", "4xx", "5xx"].map(|code| {
            let series =
                format!("longshore_listener_responses_total{{listener=\"web\",code=\"{code}\"}}");
            value(&text, &series)
        });
        (all == [Some(6.0), Some(2.0), Some(1.0)]).then_some(text)
    })
    .await;
    let expected = [
        (
            "longshore_rule_responses_total{listener=\"web\",rule=\"10\",code=\"4xx\"}",
            1.0,
        ),
        (
            "longshore_rule_responses_total{listener=\"web\",rule=\"20\",code=\"5xx\"}",
            1.0,
        ),
        (
            "longshore_rule_responses_total{listener=\"web\",rule=\"default\",code=\"2xx\"}",
            6.0,
        ),
        (
            "longshore_listener_answers_total{listener=\"web\",reason=\"bad_target\"}",
            1.0,
        ),
        (
            "longshore_listener_answers_total{listener=\"web\",reason=\"fixed_response\"}",
            1.0,
        ),
        (
            "longshore_target_group_responses_total{target_group=\"app\",code=\"2xx\"}",
            6.0,
        ),
        (
            "longshore_target_group_answers_total{target_group=\"empty\",reason=\"no_targets\"}",
            1.0,
        ),
        (
            "longshore_target_group_request_seconds_count{target_group=\"app\"}",
            6.0,
        ),
        (
            "longshore_target_group_target_seconds_count{target_group=\"app\"}",
            6.0,
        ),
        (
            "longshore_target_group_added_seconds_count{target_group=\"app\"}",
            6.0,
        ),
        (
            "longshore_target_group_connect_seconds_count{target_group=\"app\"}",
            2.0,
        ),
        ("longshore_target_connections_opened_total", 2.0),
        ("longshore_target_connections_reused_total", 4.0),
    ];
    for (series, count) in expected {
        assert_eq!(value(&text, series), Some(count), "{series}\n{text}");
    }
    for target in [a.address, b.address] {
        let labels = |more: &str| {
            let found = text.lines().find(|line| {
                line.starts_with(more) && line.contains(&format!("address=\"{target}\""))
            });
            found
                .and_then(|line| line.rsplit(' ').next())
                .map(str::to_owned)
        };
        for name in [
            "longshore_target_requests_total{",
            "longshore_target_responses_total{",
            "longshore_target_response_seconds_count{",
        ] {
            assert_eq!(labels(name).as_deref(), Some("3"), "{name} {target}");
        }
        assert_eq!(labels("longshore_target_in_flight{").as_deref(), Some("0"));
    }
    let bytes = |direction: &str| {
        let series =
            format!("longshore_listener_bytes_total{{listener=\"web\",direction=\"{direction}\"}}");
        value(&text, &series).expect("it is there")
    };
    assert!(bytes("from_client") > 9.0 * 20.0 && bytes("to_client") > 9.0 * 40.0);
    // What we add is less than the whole, and more than nothing.
    let added = value(
        &text,
        "longshore_target_group_added_seconds_sum{target_group=\"app\"}",
    );
    let total = value(
        &text,
        "longshore_target_group_request_seconds_sum{target_group=\"app\"}",
    );
    let (added, total) = (added.expect("a sum"), total.expect("a sum"));
    assert!(0.0 < added && added < total, "{added} of {total}");
    let sum = |name: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    assert_eq!(sum("longshore_worker_responses_total{"), 9.0);
}

#[tokio::test]
async fn the_figures_of_a_target_that_is_gone_are_gone_and_those_of_a_rule_stay_through_a_reload() {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let mut running = balancer::start(&config(&[a.address, b.address])).await;
    let mut client = Wire::connect(running.address()).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!(client.get("/fixed").await.status(), 418);
    let rule = "longshore_rule_responses_total{listener=\"web\",rule=\"10\",code=\"4xx\"}";
    let counted = eventually("all are counted", async || {
        let text = scrape(&running).await;
        (value(&text, rule) == Some(1.0)).then_some(text)
    })
    .await;
    assert!(counted.contains(&format!("address=\"{}\"", b.address)));
    let new = balancer::config(&config(&[a.address]));
    running.balancer.reload(new).await.expect("reloaded");
    let text = eventually("the target is gone", async || {
        let text = scrape(&running).await;
        (!text.contains(&format!("address=\"{}\"", b.address))).then_some(text)
    })
    .await;
    assert_eq!(value(&text, rule), Some(1.0), "the rule stayed");
    let group = "longshore_target_group_responses_total{target_group=\"app\",code=\"2xx\"}";
    assert_eq!(value(&text, group), Some(4.0), "the group stayed");
}
