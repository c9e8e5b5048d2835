use std::collections::BTreeSet;
use std::time::Instant;

use longshore_config::ProtocolVersion::{self, Grpc, Http1, Http2};
use longshore_config::{CheckMethod, Config};
use longshore_discovery::{Target, TargetKey, Update};

use super::{By, Spoken};
use crate::clock;
use crate::control::checks::CheckId;
use crate::control::controller::{Controller, Effect, Event};
use crate::control::ids::{GroupId, ListenerId};
use crate::control::operator::Change;
use crate::control::view::GroupView;

/// A group with more keys.
fn config(keys: &str) -> Config {
    let text = format!(
        "listeners: [{{name: l, port: 80, default_action: [{{type: forward, target_group: app}}]}}]
target_groups:
  - name: app
    discovery: {{ecs: {{cluster: c, service: app}}}}
{keys}"
    );
    longshore_config::parse("test", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn learning() -> Config {
    config("")
}

#[test]
fn what_targets_agree_on_is_spoken_and_one_that_disagrees_changes_nothing_yet() {
    let config = learning().target_groups.remove(0);
    let mut spoken = Spoken::first(&config);
    for (said, version, by) in [
        (&[][..], Http1, By::Default),
        (&[Grpc], Grpc, By::Targets),
        // What is not known yet says nothing.
        (&[], Grpc, By::Targets),
        (&[Http2, Grpc], Grpc, By::SomeTargets),
        (&[], Grpc, By::SomeTargets),
        (&[Http2], Http2, By::Targets),
        (&[Http1, Http2, Grpc], Http2, By::SomeTargets),
        // Nobody says any more what was spoken.
        (&[Http1, Grpc], Http1, By::SomeTargets),
        (&[Http1], Http1, By::Targets),
    ] {
        let said: BTreeSet<ProtocolVersion> = said.iter().copied().collect();
        spoken = spoken.next(&config, false, &said);
        assert_eq!(spoken, Spoken { version, by }, "{said:?}");
    }
    let at_once = Spoken::first(&config).next(&config, false, &BTreeSet::from([Http2, Grpc]));
    assert_eq!((at_once.version, at_once.by), (Http2, By::SomeTargets));
    let said = BTreeSet::from([Grpc]);
    let mirror = Spoken::first(&config).next(&config, true, &said);
    assert_eq!((mirror.version, mirror.by), (Http1, By::Default));
}

#[test]
fn the_file_has_the_last_word_and_proxy_headers_want_http1() {
    let said = BTreeSet::from([Grpc]);
    for (keys, version, by) in [
        ("    protocol_version: HTTP2\n", Http2, By::Configuration),
        ("    proxy_protocol: v2\n", Http1, By::Default),
        ("", Grpc, By::Targets),
    ] {
        let config = config(keys).target_groups.remove(0);
        let spoken = Spoken::first(&config).next(&config, false, &said);
        assert_eq!((spoken.version, spoken.by), (version, by), "{keys}");
    }
}

#[test]
fn keys_of_http_make_a_check_of_a_grpc_target_that_of_http2() {
    for (keys, version, method) in [
        ("", Grpc, CheckMethod::Post),
        ("path: /a.B/C", Grpc, CheckMethod::Post),
        ("matcher: 200", Http2, CheckMethod::Get),
        ("method: HEAD", Http2, CheckMethod::Head),
        ("body: {contains: ok}", Http2, CheckMethod::Get),
        ("protocol_version: HTTP1", Http1, CheckMethod::Get),
    ] {
        let group = config(&format!("    health_check: {{{keys}}}\n"))
            .target_groups
            .remove(0);
        let check = group.check(Grpc).expect("checks are on");
        assert_eq!((check.version, check.method), (version, method), "{keys}");
    }
}

fn target(task: u32, says: Option<ProtocolVersion>) -> Target {
    Target {
        key: TargetKey {
            task: format!("arn:task/{task}").into(),
            container: "web".into(),
            port: 80,
        },
        address: ([10, 0, 0, 1], 32768 + u16::try_from(task).expect("few")).into(),
        zone: None,
        weight: 1,
        instance: None,
        shared_port: true,
        started_at: Some(i64::from(task)),
        protocol_version: says,
        claim: None,
        confirmed_at: clock::now(),
    }
}

fn set(controller: &mut Controller, targets: Vec<Target>, at: Instant) -> Vec<Effect> {
    let update = Update::Set {
        targets,
        problems: Vec::new(),
        at,
    };
    controller.apply(Event::Discovered(GroupId(0), update), at)
}

/// The checks that begin.
fn begun(effects: &[Effect]) -> Vec<(CheckId, ProtocolVersion)> {
    let begun = effects.iter().filter_map(|effect| match effect {
        Effect::Watch(id, _, check) => Some((*id, check.version)),
        _ => None,
    });
    begun.collect()
}

fn pass(controller: &mut Controller, checks: &[(CheckId, ProtocolVersion)], now: Instant) {
    for (id, _) in checks {
        controller.apply(Event::Checking(*id), now);
        controller.apply(Event::Checked(*id, now, Ok(())), now);
    }
}

fn view(controller: &Controller, now: Instant) -> GroupView {
    controller.view(now).target_groups.remove(0)
}

/// The states of targets that are not draining.
fn states(view: &GroupView) -> Vec<&'static str> {
    let states = view.targets.iter().map(|target| target.state);
    states.filter(|state| *state != "draining").collect()
}

#[test]
fn the_last_old_target_changes_the_group_over_and_whoever_is_healthy_serves_on() {
    let mut controller = Controller::new(1);
    let now = clock::now();
    controller.configure(&learning(), &[ListenerId(0)], now);
    let effects = set(&mut controller, vec![target(1, Some(Http1))], now);
    pass(&mut controller, &begun(&effects), now);
    let old = controller.snapshot().expect("changed");
    let old = old.group(GroupId(0)).expect("a group").candidates.to_vec();
    assert!(!old[0].http2);
    // The next revision says something else; one of its tasks understands both.
    let both = || vec![target(2, Some(Http2)), target(3, Some(Http2))];
    let mut all = both();
    all.push(target(1, Some(Http1)));
    let effects = set(&mut controller, all, now);
    let checks = begun(&effects);
    assert!(
        checks.iter().all(|(_, version)| *version == Http1),
        "{checks:?}"
    );
    pass(&mut controller, &checks[..1], now);
    let shown = view(&controller, now);
    assert_eq!(
        (shown.protocol_version, shown.protocol_version_by),
        ("HTTP1", "some_targets")
    );
    assert_eq!(states(&shown), ["healthy", "healthy", "initial"]);
    // A request is in flight at the one that will stay healthy.
    let snapshot = controller.snapshot().expect("changed");
    let group = snapshot.group(GroupId(0)).expect("a group");
    let stays = group.candidates.iter().find(|one| one.key.task_id() == "2");
    let stays = std::sync::Arc::clone(stays.expect("a candidate"));
    assert_eq!(
        snapshot
            .group(GroupId(0))
            .expect("a group")
            .protocol_version,
        Http1
    );
    let effects = set(&mut controller, both(), now);
    let checks = begun(&effects);
    assert!(
        checks.iter().all(|(_, version)| *version == Http2),
        "{checks:?}"
    );
    let shown = view(&controller, now);
    assert_eq!(
        (shown.protocol_version, shown.protocol_version_by),
        ("HTTP2", "targets")
    );
    assert_eq!(states(&shown), ["healthy", "initial"]);
    assert!(
        stays.is_retired() && !stays.is_expired(),
        "requests end on it"
    );
    let snapshot = controller.snapshot().expect("changed");
    let group = snapshot.group(GroupId(0)).expect("a group");
    assert_eq!(group.protocol_version, Http2);
    let candidates: Vec<(&str, bool)> = group
        .candidates
        .iter()
        .map(|one| (one.key.task_id(), one.http2))
        .collect();
    assert_eq!(candidates, [("2", true)]);
    // The other one is let in by its first pass, as a newcomer is.
    pass(&mut controller, &checks, now);
    assert_eq!(states(&view(&controller, now)), ["healthy", "healthy"]);
}

#[test]
fn a_reload_that_says_it_takes_no_target_away() {
    let mut controller = Controller::new(1);
    let now = clock::now();
    controller.configure(&learning(), &[ListenerId(0)], now);
    let effects = set(&mut controller, vec![target(1, Some(Grpc))], now);
    pass(&mut controller, &begun(&effects), now);
    assert_eq!(view(&controller, now).protocol_version, "GRPC");
    // What an operator has said of it stays as well.
    for change in [Change::Weight(Some(7)), Change::Drained(true)] {
        let changed = controller.change("app", "10.0.0.1:32769", change);
        changed.expect("there is such a target");
    }
    let written = config("    protocol_version: HTTP2\n");
    let effects = controller.configure(&written, &[ListenerId(0)], now);
    let asks = |effects: &[Effect]| {
        let asks = |effect: &Effect| matches!(effect, Effect::Discover(..));
        effects.iter().any(asks)
    };
    assert!(asks(&effects), "its source need not learn it any more");
    let shown = view(&controller, now);
    assert_eq!(
        (shown.protocol_version, shown.protocol_version_by),
        ("HTTP2", "configuration")
    );
    assert_eq!(states(&shown), ["healthy"]);
    assert!(
        controller
            .snapshot()
            .expect("changed")
            .group(GroupId(0))
            .is_some_and(|group| group.candidates.is_empty())
    );
    let change = Change::Drained(false);
    controller
        .change("app", "10.0.0.1:32769", change)
        .expect("there is such a target");
    assert_eq!(view(&controller, now).targets[0].weight, 7);
    // And back.
    controller.configure(&learning(), &[ListenerId(0)], now);
    let shown = view(&controller, now);
    assert_eq!(
        (shown.protocol_version, shown.protocol_version_by),
        ("GRPC", "targets")
    );
    assert_eq!(states(&shown), ["healthy"]);
    let effects = controller.configure(&learning(), &[ListenerId(0)], now);
    assert!(!asks(&effects), "nothing changed");
}
