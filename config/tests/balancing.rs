//! How a group spreads its requests: what is read, and each fault with its place and its mend.

use longshore_config::{
    Algorithm, AnomalyMitigation, Config, ConfigErrors, CrossZone, HashOn, parse,
};

const TARGETS: &str = "targets: [{address: 127.0.0.1, port: 1}, {address: 127.0.0.1, port: 2}]";

fn read(runtime: &str, group: &str) -> Result<Config, ConfigErrors> {
    let text = format!(
        "runtime: {{{runtime}}}\nlisteners: [{{name: web, port: 80, default_action: [{{type: forward, target_group: app}}]}}]\ntarget_groups:\n  - name: app\n    {group}\n"
    );
    parse("f.yaml", &text, &|_| None)
}

/// A group of two targets with more keys, one a line.
fn with(runtime: &str, keys: &str) -> Result<Config, ConfigErrors> {
    read(
        runtime,
        &format!("{TARGETS}\n    {}", keys.replace('\n', "\n    ")),
    )
}

#[test]
fn a_group_without_keys_goes_round_robin_over_all_zones_at_once() {
    let group = with("", "protocol: HTTP")
        .expect("valid")
        .target_groups
        .remove(0);
    assert_eq!(group.load_balancing_algorithm_type, Algorithm::RoundRobin);
    assert_eq!(
        group.load_balancing_algorithm_anomaly_mitigation,
        AnomalyMitigation::Off
    );
    assert_eq!(
        group.load_balancing_cross_zone_enabled,
        CrossZone::LoadBalancer
    );
    assert!(group.slow_start.get().is_zero() && group.hash_policy.is_none());
    assert!(group.targets.iter().all(|target| target.weight.get() == 1));
}

#[test]
fn every_value_of_the_keys_is_read() {
    for (name, wanted) in [
        ("round_robin", Algorithm::RoundRobin),
        (
            "least_outstanding_requests",
            Algorithm::LeastOutstandingRequests,
        ),
        ("weighted_random", Algorithm::WeightedRandom),
        ("peak_ewma", Algorithm::PeakEwma),
    ] {
        let config = with("", &format!("load_balancing_algorithm_type: {name}")).expect(name);
        assert_eq!(
            config.target_groups[0].load_balancing_algorithm_type,
            wanted
        );
    }
    for (policy, on) in [
        ("{type: header, name: X-User}", HashOn::Header),
        ("{type: cookie, name: id}", HashOn::Cookie),
        ("{type: path}", HashOn::Path),
        ("{type: source_address}", HashOn::SourceAddress),
    ] {
        let keys = format!("load_balancing_algorithm_type: consistent_hash\nhash_policy: {policy}");
        let config = with("", &keys).expect(policy);
        let read = config.target_groups[0].hash_policy.clone().expect("there");
        assert_eq!(read.on, on);
    }
    for (text, wanted) in [
        ("on", AnomalyMitigation::On),
        ("\"on\"", AnomalyMitigation::On),
        ("off", AnomalyMitigation::Off),
        ("true", AnomalyMitigation::On),
    ] {
        let key = "load_balancing_algorithm_anomaly_mitigation";
        let keys = format!("load_balancing_algorithm_type: weighted_random\n{key}: {text}");
        let config = with("", &keys).expect(text);
        let group = &config.target_groups[0];
        assert_eq!(group.load_balancing_algorithm_anomaly_mitigation, wanted);
    }
    for (text, wanted) in [
        ("true", CrossZone::On),
        ("\"true\"", CrossZone::On),
        ("false", CrossZone::Off),
        ("\"false\"", CrossZone::Off),
        ("use_load_balancer_configuration", CrossZone::LoadBalancer),
    ] {
        let keys = format!("load_balancing_cross_zone_enabled: {text}");
        let config = with("zone: eu-central-1a", &keys).expect(text);
        let group = &config.target_groups[0];
        assert_eq!(group.load_balancing_cross_zone_enabled, wanted);
    }
    for (text, seconds) in [("0", 0), ("30", 30), ("30s", 30), ("15m", 900)] {
        let config = with("", &format!("slow_start: {text}")).expect(text);
        assert_eq!(config.target_groups[0].slow_start.get().as_secs(), seconds);
    }
    let config = read(
        "",
        "targets: [{address: 127.0.0.1, port: 1, weight: 999}, {address: 127.0.0.1, port: 2, weight: 0}]",
    );
    let weights = config.expect("valid").target_groups.remove(0).targets;
    let weights: Vec<u64> = weights.iter().map(|target| target.weight.get()).collect();
    assert_eq!(weights, [999, 0]);
}

#[test]
fn each_fault_names_its_place_and_its_mend() {
    for (runtime, keys, error) in [
        (
            "",
            "load_balancing_algorithm_type: least_conn",
            "f.yaml:6:36: target_groups[0].load_balancing_algorithm_type: ",
        ),
        (
            "",
            "load_balancing_algorithm_anomaly_mitigation: on",
            "f.yaml:6:50: target_groups[0].load_balancing_algorithm_anomaly_mitigation: only `load_balancing_algorithm_type: weighted_random` mitigates; choose that, or remove this key",
        ),
        (
            "",
            "load_balancing_algorithm_anomaly_mitigation: maybe",
            "f.yaml:6:50: target_groups[0].load_balancing_algorithm_anomaly_mitigation: expected `on` or `off`, found \"maybe\"",
        ),
        (
            "",
            "load_balancing_algorithm_type: consistent_hash",
            "f.yaml:4:5: target_groups[0].hash_policy: `consistent_hash` needs this key, such as `hash_policy: {type: header, name: x-user}`",
        ),
        (
            "",
            "hash_policy: {type: path}",
            "f.yaml:6:18: target_groups[0].hash_policy: only `load_balancing_algorithm_type: consistent_hash` hashes; choose that, or remove this key",
        ),
        (
            "",
            "load_balancing_algorithm_type: consistent_hash\nhash_policy: {type: header}",
            "f.yaml:7:18: target_groups[0].hash_policy: the key `name` is needed: of the header field or the cookie",
        ),
        (
            "",
            "load_balancing_algorithm_type: consistent_hash\nhash_policy: {type: path, name: x}",
            "f.yaml:7:37: target_groups[0].hash_policy.name: only the types `header` and `cookie` have a name; remove it",
        ),
        (
            "",
            "load_balancing_algorithm_type: consistent_hash\nhash_policy: {type: cookie, name: 'a b'}",
            "f.yaml:7:39: target_groups[0].hash_policy.name: \"a b\" is no name of a header field or a cookie",
        ),
        (
            "",
            "load_balancing_algorithm_type: consistent_hash\nhash_policy: {name: x}",
            "f.yaml:7:18: target_groups[0].hash_policy: the key `type` is missing",
        ),
        (
            "",
            "load_balancing_cross_zone_enabled: false",
            "f.yaml:6:40: target_groups[0].load_balancing_cross_zone_enabled: `false` needs `runtime.zone`: without it nobody knows which targets are near",
        ),
        (
            "zone: a",
            "load_balancing_cross_zone_enabled: no way",
            "f.yaml:6:40: target_groups[0].load_balancing_cross_zone_enabled: expected `true`, `false` or `use_load_balancer_configuration`, found \"no way\"",
        ),
        (
            "zone: ''",
            "slow_start: 0",
            "f.yaml:1:17: runtime.zone: a zone's name has 1 to 128 visible ASCII characters, such as eu-central-1a; found \"\"",
        ),
        (
            "",
            "slow_start: 29",
            "f.yaml:6:17: target_groups[0].slow_start: expected 0 (off) or 30s to 15m, found 29s",
        ),
        (
            "",
            "slow_start: 901",
            "f.yaml:6:17: target_groups[0].slow_start: expected a duration from 0ms to 15m, such as 30, 500ms, 30s, 5m or 1d, found 901",
        ),
        (
            "",
            "slow_startt: 30",
            "f.yaml:6:5: target_groups[0].slow_startt: unknown key `slow_startt`; did you mean `slow_start`?",
        ),
    ] {
        let Err(errors) = with(runtime, keys) else {
            panic!("{keys} was accepted");
        };
        let errors = errors.to_string();
        assert!(errors.starts_with(error), "{keys}:\n{errors}{error}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
    }
    for (weight, error) in [
        (
            "1000",
            "f.yaml:5:53: target_groups[0].targets[0].weight: expected a whole number from 0 to 999, found 1000",
        ),
        (
            "0",
            "f.yaml:5:14: target_groups[0].targets: at least one target with a weight above 0 is needed",
        ),
    ] {
        let group = format!("targets: [{{address: 127.0.0.1, port: 1, weight: {weight}}}]");
        let errors = read("", &group).expect_err(weight).to_string();
        assert_eq!(errors.trim_end(), error);
    }
}
