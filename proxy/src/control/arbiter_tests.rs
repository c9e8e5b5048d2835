use std::sync::Arc;

use longshore_config::{Config, Labels};
use longshore_discovery::{Claim, Target, TargetKey};

use super::{Offers, Verdict, judge};
use crate::clock;
use crate::control::ids::GroupId;

const SOURCE: GroupId = GroupId(9);

fn file() -> Config {
    let text = "listeners:
  - name: web
    port: 80
    default_action: [{type: forward, target_group: own}]
    rules: [{priority: 1, condition: [{path_pattern: {values: [/own]}}], action: [{type: forward, target_group: own}]}]
target_groups: [{name: own, stickiness: {enabled: true, type: app_cookie, cookie_name: SESSION}}]
label_discovery: [{name: prod, ecs: {cluster: prod}, listeners: [web]}]
";
    longshore_config::parse("test", text, &|_| None).expect("valid")
}

/// A container of an owner, with labels without their prefix.
fn container(id: u32, owner: &str, started_at: i64, labels: &[(&str, &str)]) -> Target {
    let labels: Labels = labels
        .iter()
        .map(|(label, value)| (format!("longshore.{label}"), (*value).to_owned()))
        .collect();
    Target {
        key: TargetKey {
            task: format!("arn:task/{id}").into(),
            container: "c".into(),
            port: 80,
        },
        address: ([10, 0, 0, 1], u16::try_from(id).expect("small")).into(),
        zone: None,
        weight: 1,
        instance: None,
        shared_port: true,
        started_at: Some(started_at),
        protocol_version: None,
        claim: Some(Arc::new(Claim {
            owner: owner.into(),
            name: format!("{owner}-c").into(),
            labels: Arc::new(labels),
        })),
        confirmed_at: clock::now(),
    }
}

fn judged(targets: &[Target], before: &Verdict) -> Verdict {
    let file = file();
    let block = &file.label_discovery[0];
    let offers = [Offers {
        source: SOURCE,
        block,
        targets,
    }];
    judge(&file, &offers, before)
}

fn refused(verdict: &Verdict) -> Vec<(&str, &str)> {
    let refused = verdict.refused.get(&SOURCE).into_iter().flatten();
    refused
        .map(|problem| (problem.subject.as_str(), problem.reason.as_str()))
        .collect()
}

/// The priorities of the rules, each with the group it forwards to.
fn rules(verdict: &Verdict) -> Vec<(u64, &str)> {
    let rules = verdict.rules.get("web").into_iter().flatten();
    let mut rules: Vec<(u64, &str)> = rules
        .map(|(number, rule)| {
            let group = rule.action[0].target_group.as_deref();
            (*number, group.expect("a forward"))
        })
        .collect();
    rules.sort_unstable();
    rules
}

#[test]
fn who_came_first_has_the_name_whatever_order_they_are_told_in() {
    let settings = |path| [("target_group", "g"), ("rule.path_pattern", path)];
    let (a, b) = (
        container(1, "a", 20, &settings("/a")),
        container(2, "b", 10, &settings("/b")),
    );
    for targets in [[a.clone(), b.clone()], [b, a]] {
        let verdict = judged(&targets, &Verdict::default());
        assert_eq!(verdict.groups["g"].members.len(), 1);
        let [(subject, reason)] = refused(&verdict)[..] else {
            panic!("{:?}", verdict.refused);
        };
        assert_eq!(subject, "1/c");
        assert!(
            reason.contains("is that of b, with other settings"),
            "{reason}"
        );
    }
}

#[test]
fn who_was_taken_stays_when_its_first_tasks_are_replaced() {
    let settings = |path| [("target_group", "g"), ("rule.path_pattern", path)];
    let first = [
        container(1, "a", 10, &settings("/a")),
        container(2, "b", 20, &settings("/b")),
    ];
    let before = judged(&first, &Verdict::default());
    let later = [
        container(3, "a", 30, &settings("/a")),
        container(2, "b", 20, &settings("/b")),
    ];
    let verdict = judged(&later, &before);
    assert_eq!(refused(&verdict)[0].0, "2/c");
    // Whoever knows nothing of before goes by the times alone.
    let verdict = judged(&later, &Verdict::default());
    assert_eq!(refused(&verdict)[0].0, "3/c");
}

#[test]
fn owners_that_agree_share_a_group() {
    let settings = [("target_group", "g"), ("rule.path_pattern", "/g")];
    let targets = [
        container(1, "a", 10, &settings),
        container(2, "b", 20, &settings),
    ];
    let verdict = judged(&targets, &Verdict::default());
    assert_eq!(verdict.groups["g"].members.len(), 2);
    assert_eq!(refused(&verdict), []);
    assert_eq!(rules(&verdict), [(50_001, "g")]);
    // If one of them changes its mind alone, that is refused.
    let other = [("target_group", "g"), ("rule.path_pattern", "/other")];
    let targets = [
        targets[0].clone(),
        targets[1].clone(),
        container(3, "b", 30, &other),
    ];
    let verdict = judged(&targets, &verdict);
    assert_eq!(refused(&verdict)[0].0, "3/c");
    assert_eq!(verdict.groups["g"].members.len(), 2);
}

#[test]
fn revisions_of_one_owner_are_one_group_with_the_settings_of_the_last() {
    let settings = |delay, path| {
        [
            ("target_group", "g"),
            ("rule.priority", "5"),
            ("rule.path_pattern", path),
            ("rules.more.path_pattern", path),
            ("deregistration_delay", delay),
        ]
    };
    let (old, new) = (
        container(1, "a", 10, &settings("10", "/old")),
        container(2, "a", 20, &settings("20", "/new")),
    );
    let before = judged(std::slice::from_ref(&old), &Verdict::default());
    assert_eq!(
        before.groups["g"]
            .config
            .deregistration_delay
            .get()
            .as_secs(),
        10
    );
    let both = judged(&[old, new.clone()], &before);
    assert_eq!(refused(&both), []);
    let group = &both.groups["g"];
    assert_eq!(
        (
            group.members.len(),
            group.config.deregistration_delay.get().as_secs()
        ),
        (2, 20)
    );
    // The numbered rule is the new one's, and what has no number is there from both.
    assert_eq!(rules(&both), [(5, "g"), (50_001, "g"), (50_002, "g")]);
    let (_, fifth) = both.rules["web"]
        .iter()
        .find(|(number, _)| *number == 5)
        .expect("there");
    let path = fifth.condition[0].path_pattern.as_ref().expect("a path");
    assert_eq!(path.values, ["/new"]);
    let after = judged(&[new], &both);
    assert_eq!(rules(&after), [(5, "g"), (50_001, "g")]);
}

#[test]
fn rules_without_a_number_come_last_and_the_most_exact_one_first() {
    let targets = [
        container(1, "a", 10, &[("rule.path_pattern", "/*")]),
        container(2, "b", 20, &[("rule.path_pattern", "/long/path/*")]),
        container(
            3,
            "c",
            30,
            &[("rule.path_pattern", "/c/*"), ("rule.priority", "50000")],
        ),
        container(4, "d", 40, &[("rule.path_pattern", "/*")]),
    ];
    let verdict = judged(&targets, &Verdict::default());
    assert_eq!(
        rules(&verdict),
        [
            (50_000, "c-c"),
            (50_001, "b-c"),
            (50_002, "a-c"),
            (50_003, "d-c")
        ]
    );
}

#[test]
fn the_file_comes_first() {
    for (labels, reason) in [
        (
            [("target_group", "own"), ("rule.path_pattern", "/*")].as_slice(),
            "is in the configuration file already",
        ),
        (
            &[("rule.priority", "1"), ("rule.path_pattern", "/*")],
            "is that of a rule in the configuration file",
        ),
        (
            &[
                ("rule.path_pattern", "/*"),
                ("stickiness.enabled", "true"),
                ("stickiness.cookie_name", "SESSION"),
            ],
            "the cookie \"SESSION\" means something else in the target group \"own\"",
        ),
    ] {
        let verdict = judged(&[container(1, "a", 10, labels)], &Verdict::default());
        let all = refused(&verdict);
        assert!(all.len() == 1 && all[0].1.contains(reason), "{all:?}");
        assert!(verdict.groups.is_empty() && verdict.rules.is_empty());
    }
}

#[test]
fn a_variant_is_taken_or_refused_as_a_whole() {
    let targets = [
        container(
            1,
            "a",
            10,
            &[("rule.path_pattern", "/a"), ("rule.priority", "5")],
        ),
        container(
            2,
            "b",
            20,
            &[
                ("rules.x.path_pattern", "/x"),
                ("rules.y.path_pattern", "/y"),
                ("rules.y.priority", "5"),
            ],
        ),
    ];
    let verdict = judged(&targets, &Verdict::default());
    assert_eq!(rules(&verdict), [(5, "a-c")]);
    assert_eq!(refused(&verdict)[0].0, "2/c");
    assert!(!verdict.groups.contains_key("b-c"));
}
