use longshore_config::{EcsDiscovery, Span};
use serde_json::{Value, json};

use super::{Malformed, Message, TaskEvent, millis, parse};

const CLUSTER: &str = "arn:aws:ecs:eu-central-1:123456789012:cluster/prod";

fn spec(cluster: &str, service: &str) -> EcsDiscovery {
    EcsDiscovery {
        cluster: cluster.to_owned(),
        service: service.to_owned(),
        container: None,
        container_port: None,
        port_name: None,
        poll_interval: Span::default(),
        region: None,
        events_queue: None,
        reconcile_interval: Span::default(),
    }
}

fn sample() -> Value {
    json!({
        "version": "0",
        "id": "3317b2af-7005-947d-b652-f55e762e571a",
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": "123456789012",
        "time": "2026-11-21T10:57:17Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": {
            "taskArn": "arn:aws:ecs:eu-central-1:123456789012:task/prod/abc",
            "clusterArn": CLUSTER,
            "containerInstanceArn": "arn:aws:ecs:eu-central-1:123456789012:container-instance/prod/def",
            "group": "service:web",
            "taskDefinitionArn": "arn:aws:ecs:eu-central-1:123456789012:task-definition/web:7",
            "desiredStatus": "RUNNING",
            "lastStatus": "RUNNING",
            "availabilityZone": "eu-central-1a",
            "version": 3.0,
            "startedAt": "2026-11-21T10:57:16.5Z",
            "updatedAt": "2026-11-21T10:57:17.25Z",
            "attachments": [],
            "containers": [{
                "name": "app",
                "lastStatus": "RUNNING",
                "networkBindings": [
                    { "bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768.0, "protocol": "tcp" },
                    { "bindIP": "0.0.0.0", "containerPort": 53, "hostPort": 32769, "protocol": "udp" },
                    { "containerPort": 80.5, "hostPort": 32770 },
                    { "containerPort": 81, "hostPort": 70000 },
                    { "containerPort": 82, "hostPort": "32771" },
                    { "containerPortRange": "90-95", "hostPortRange": "40000-40005", "protocol": "tcp" },
                    { "containerPortRange": "96-97", "hostPortRange": "40006-40007", "protocol": "udp" },
                    { "containerPortRange": 98 },
                    null,
                ],
            }, { "lastStatus": "RUNNING" }, 7],
        },
    })
}

fn task(event: &Value) -> TaskEvent {
    match parse(&event.to_string()) {
        Ok(Message::Task(event)) => *event,
        other => panic!("a task event is expected: {other:?}"),
    }
}

#[test]
fn a_bridge_task_is_told_with_its_host_and_its_usable_bindings() {
    let event = task(&sample());
    assert_eq!(event.at, 1_795_258_637_250);
    assert_eq!(event.task.started_at, Some(1_795_258_636_500));
    assert_eq!(event.task.version, 3);
    assert!(event.task.desired_running && !event.tells_health);
    assert!(event.task.host.is_some_and(|host| host.ends_with("/def")));
    let [container] = event.task.containers.as_slice() else {
        panic!("{:?}", event.task.containers);
    };
    assert!(container.running);
    let bindings: Vec<(u16, u16)> = container
        .bindings
        .iter()
        .map(|binding| (binding.container_port, binding.host_port))
        .collect();
    assert_eq!(bindings, [(80, 32768)]);
    let ranges: Vec<(&str, &str)> = container
        .ranges
        .iter()
        .map(|range| (&*range.container_range, &*range.host_range))
        .collect();
    assert_eq!(ranges, [("90-95", "40000-40005")]);
    let definition = event.task.definition.expect("a definition");
    assert!(definition.ends_with("/web:7"));
}

#[test]
fn the_network_interface_is_found_by_its_type_under_either_name() {
    for kind in ["eni", "ElasticNetworkInterface"] {
        let mut event = sample();
        event["detail"]["attachments"] = json!([
            { "type": "Service Connect", "details": [{ "name": "privateIPv4Address", "value": "10.9.9.9" }] },
            { "type": kind, "status": "DELETED", "details": [{ "name": "privateIPv4Address", "value": "10.8.8.8" }] },
            { "type": kind, "status": "ATTACHED", "details": [
                { "name": "privateIPv4Address", "value": "nonsense" },
                { "name": "privateIPv6Address", "value": "fd00::1" },
            ]},
        ]);
        let address = task(&event).task.interface.expect("an address");
        assert_eq!(address.to_string(), "fd00::1");
    }
}

#[test]
fn the_containers_tell_the_address_of_the_interface_too() {
    let mut event = sample();
    event["detail"]["attachments"] =
        json!([{ "type": "eni", "id": "own", "status": "ATTACHED", "details": [] }]);
    event["detail"]["containers"] = json!([{ "name": "app", "networkInterfaces": [
        { "attachmentId": "other", "ipv6Address": "fd00::9" },
        { "attachmentId": "own", "ipv6Address": "fd00::1" },
    ]}]);
    let address = task(&event).task.interface.expect("an address");
    assert_eq!(address.to_string(), "fd00::1");
}

#[test]
fn an_event_that_came_by_way_of_sns_is_the_same() {
    let plain = sample();
    let wrapped = json!({ "Type": "Notification", "Message": plain.to_string() });
    assert_eq!(task(&wrapped), task(&plain));
}

#[test]
fn a_stopped_task_never_counts_as_one_that_should_run() {
    for (desired, last) in [("STOPPED", "RUNNING"), ("RUNNING", "STOPPED")] {
        let mut event = sample();
        event["detail"]["desiredStatus"] = json!(desired);
        event["detail"]["lastStatus"] = json!(last);
        assert!(!task(&event).task.desired_running, "{desired} {last}");
    }
}

#[test]
fn cluster_and_service_match_by_name_or_by_arn() {
    let event = task(&sample());
    let service = "arn:aws:ecs:eu-central-1:123456789012:service/prod/web";
    for (cluster, name, expected) in [
        ("prod", "web", true),
        (CLUSTER, "web", true),
        (CLUSTER, service, true),
        ("test", "web", false),
        ("prod", "we", false),
        ("prod", "web2", false),
        (
            "arn:aws:ecs:eu-central-1:999999999999:cluster/prod",
            "web",
            false,
        ),
        (
            "arn:aws:ecs:eu-west-1:123456789012:cluster/prod",
            "web",
            false,
        ),
    ] {
        assert_eq!(
            event.concerns(&spec(cluster, name)),
            expected,
            "{cluster} {name}"
        );
    }
    let mut alone = sample();
    alone["detail"]["group"] = json!("family:web");
    assert!(!task(&alone).concerns(&spec("prod", "web")));
}

#[test]
fn events_of_other_kinds_are_told_apart() {
    let mut event = sample();
    event["detail-type"] = json!("ECS Container Instance State Change");
    assert_eq!(
        parse(&event.to_string()),
        Ok(Message::Other(
            "ECS Container Instance State Change".to_owned()
        ))
    );
    let mut event = sample();
    event["source"] = json!("my.own");
    assert!(matches!(parse(&event.to_string()), Ok(Message::Other(_))));
}

#[test]
fn what_is_no_event_is_malformed() {
    let long = "x".repeat((1 << 20) + 1);
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "{",
        "null",
        "7",
        "[]",
        "\"text\"",
        "{}",
        "\u{feff}{}",
        &long,
        &deep,
        r#"{"Message": "{"}"#,
        r#"{"Message": "[]"}"#,
        r#"{"Message": 3}"#,
        r#"{"detail-type": 3}"#,
    ] {
        let what: String = text.chars().take(20).collect();
        assert!(parse(text).is_err(), "{what}");
    }
}

#[test]
fn a_needed_part_that_is_missing_or_of_another_type_is_malformed() {
    for key in [
        "taskArn",
        "clusterArn",
        "desiredStatus",
        "lastStatus",
        "version",
    ] {
        for bad in [Value::Null, json!({}), json!([1]), json!(true), json!(1.5)] {
            let mut event = sample();
            event["detail"][key] = bad.clone();
            let got = parse(&event.to_string());
            assert!(
                matches!(got, Err(Malformed::Lacks(_))),
                "{key} {bad}: {got:?}"
            );
        }
    }
    for detail in [Value::Null, json!("text"), json!([])] {
        let mut event = sample();
        event["detail"] = detail;
        assert_eq!(parse(&event.to_string()), Err(Malformed::Lacks("detail")));
    }
}

#[test]
fn a_part_that_is_not_needed_may_be_anything() {
    for key in [
        "containers",
        "attachments",
        "group",
        "availabilityZone",
        "startedAt",
        "containerInstanceArn",
    ] {
        for bad in [
            Value::Null,
            json!({}),
            json!([[], {}, 1, null]),
            json!(-1),
            json!("x"),
        ] {
            let mut event = sample();
            event["detail"][key] = bad;
            assert_eq!(task(&event).task.version, 3);
        }
    }
}

#[test]
fn an_event_without_a_readable_time_is_malformed() {
    let mut event = sample();
    event["detail"]["updatedAt"] = json!("soon");
    assert_eq!(task(&event).at, 1_795_258_637_000, "the event's own time");
    event["time"] = json!(1);
    assert_eq!(parse(&event.to_string()), Err(Malformed::Lacks("time")));
}

#[test]
fn times_are_read_as_rfc_3339_has_them() {
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2000-02-29T00:00:00.5Z", Some(951_782_400_500)),
        ("2026-11-21T10:57:17.123456789Z", Some(1_795_258_637_123)),
        ("2026-11-21T11:57:17+01:00", Some(1_795_258_637_000)),
        ("2026-11-21T10:27:17-00:30", Some(1_795_258_637_000)),
        ("1969-12-31T23:59:59.250Z", Some(-750)),
        ("2026-13-21T10:57:17Z", None),
        ("2026-11-21 10:57:17Z", None),
        ("2026-11-21T10:57:17", None),
        ("2026-11-21T10:57:17.Z", None),
        ("2026-11-21T10:57:17.5", None),
        ("2026-11-21T10:57:17+1:00", None),
        ("2026-11-21T10:57:17Ω", None),
        ("+026-11-21T10:57:17Z", None),
        ("", None),
    ] {
        assert_eq!(millis(text), expected, "{text}");
    }
}
