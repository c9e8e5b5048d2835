//! A client stays at its group of a weighted forward.

use std::net::SocketAddr;

use longshore_tests::balancer::{Running, config, start};
use longshore_tests::jar::{Jar, set_cookies};
use longshore_tests::origin::Origin;

/// A forward to groups `a`, `b`, `c`, one target each, by these weights; a group without a weight
/// is not in it. `more` stands beside the weights, and in each group.
fn text(targets: &[SocketAddr], weights: &[Option<u64>], more: &str, group: &str) -> String {
    let names = ["a", "b", "c"];
    let forward: Vec<String> = names
        .iter()
        .zip(weights)
        .filter_map(|(name, weight)| Some(format!("{{name: {name}, weight: {}}}", (*weight)?)))
        .collect();
    let groups: String = names
        .iter()
        .zip(targets)
        .map(|(name, at)| {
            format!(
                "\n  - {{name: {name}, targets: [{{address: {}, port: {}}}], health_check: {{enabled: false}}{group}}}",
                at.ip(),
                at.port()
            )
        })
        .collect();
    format!(
        "runtime: {{workers: 1}}
listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{{type: forward, forward: {{target_group: [{}]{more}}}}}]
target_groups:{groups}
",
        forward.join(", "),
    )
}

const ON: &str = ", stickiness: {enabled: true, duration: 60}";

async fn origins() -> (Vec<Origin>, Vec<SocketAddr>) {
    let mut origins = Vec::new();
    for name in ["a", "b", "c"] {
        origins.push(Origin::ok(name).await);
    }
    let targets = origins.iter().map(|origin| origin.address).collect();
    (origins, targets)
}

/// Clients until each group has one.
async fn one_in_each(balancer: &Running) -> Vec<Jar> {
    let mut jars = [None, None, None];
    for _ in 0..1_000 {
        let mut jar = Jar::default();
        let at = jar.visit(balancer.address(), "/").await.text();
        jars[usize::from(at.as_bytes()[0] - b'a')] = Some(jar);
        if let Some(all) = jars.iter().cloned().collect() {
            return all;
        }
    }
    panic!("a group got none of 1,000 requests");
}

#[tokio::test]
async fn a_client_stays_at_its_group_however_small_its_weight() {
    let (_origins, targets) = origins().await;
    let even = text(&targets, &[Some(1), Some(1), Some(1)], ON, "");
    let mut balancer = start(&even).await;
    let mut jars = one_in_each(&balancer).await;
    let got = jars[0].visit(balancer.address(), "/").await;
    let lines = set_cookies(&got);
    assert!(lines[0].starts_with("AWSALBTG=") && lines[0].ends_with("; Path=/"));
    assert!(lines[1].starts_with("AWSALBTGCORS=") && lines[1].ends_with("; Path=/; SameSite=None"));
    assert_eq!(lines.len(), 2);
    let uneven = text(&targets, &[Some(998), Some(1), Some(1)], ON, "");
    balancer
        .balancer
        .reload(config(&uneven))
        .await
        .expect("reloaded");
    for _ in 0..10 {
        for (jar, name) in jars.iter_mut().zip(["a", "b", "c"]) {
            assert_eq!(jar.visit(balancer.address(), "/").await.text(), name);
        }
    }
}

#[tokio::test]
async fn a_client_of_a_group_that_gets_nothing_any_more_moves_once_and_others_stay() {
    let (_origins, targets) = origins().await;
    for weights in [[Some(1), Some(1), Some(0)], [Some(1), Some(1), None]] {
        let mut balancer = start(&text(&targets, &[Some(1), Some(1), Some(1)], ON, "")).await;
        let mut jars = one_in_each(&balancer).await;
        let then = text(&targets, &weights, ON, "");
        balancer
            .balancer
            .reload(config(&then))
            .await
            .expect("reloaded");
        for _ in 0..10 {
            for (jar, name) in jars.iter_mut().zip(["a", "b"]) {
                assert_eq!(jar.visit(balancer.address(), "/").await.text(), name);
            }
        }
        let moved = jars[2].visit(balancer.address(), "/").await.text();
        assert_ne!(moved, "c", "{weights:?}");
        // Back again: the client stays where it is now.
        let again = text(&targets, &[Some(1), Some(1), Some(998)], ON, "");
        balancer
            .balancer
            .reload(config(&again))
            .await
            .expect("reloaded");
        for _ in 0..10 {
            assert_eq!(jars[2].visit(balancer.address(), "/").await.text(), moved);
        }
    }
}

#[tokio::test]
async fn without_group_stickiness_groups_are_drawn_for_each_request() {
    let (_origins, targets) = origins().await;
    let balancer = start(&text(&targets, &[Some(1), Some(1), Some(1)], "", "")).await;
    let mut jar = Jar::default();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        seen.insert(jar.visit(balancer.address(), "/").await.text());
    }
    assert_eq!(jar, Jar::default());
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn a_stay_at_a_group_ends_with_its_duration() {
    let (_origins, targets) = origins().await;
    let short = ", stickiness: {enabled: true, duration: 1}";
    let balancer = start(&text(&targets, &[Some(1), Some(1), Some(1)], short, "")).await;
    let mut jar = Jar::default();
    jar.visit(balancer.address(), "/").await;
    // The time itself is what is tested.
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        seen.insert(jar.clone().visit(balancer.address(), "/").await.text());
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn group_and_target_stickiness_work_together() {
    let (_origins, targets) = origins().await;
    let both = ", stickiness: {enabled: true}";
    let balancer = start(&text(&targets, &[Some(1), Some(1), Some(1)], ON, both)).await;
    let mut jar = Jar::default();
    let got = jar.visit(balancer.address(), "/").await;
    let names: Vec<&str> = set_cookies(&got)
        .iter()
        .filter_map(|line| line.split('=').next())
        .collect();
    assert_eq!(names, ["AWSALBTG", "AWSALBTGCORS", "AWSALB", "AWSALBCORS"]);
    for _ in 0..20 {
        assert_eq!(jar.visit(balancer.address(), "/").await.text(), got.text());
    }
}
