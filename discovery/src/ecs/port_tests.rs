use longshore_config::{EcsDiscovery, Port, ProtocolVersion, Span};

use super::{Place, needs_definition, place, speaks};
use crate::ecs::api::{
    Binding, Container, Definition, MappedPorts, PortMapping, RangeBinding, Task,
};
use crate::ecs::known::State;
use crate::ecs::resolve::Unresolved;
use crate::naming::Naming;

fn any() -> EcsDiscovery {
    EcsDiscovery {
        cluster: "prod".to_owned(),
        service: "app".to_owned(),
        container: None,
        container_port: None,
        port_name: None,
        poll_interval: Span::default(),
        events_queue: None,
        reconcile_interval: Span::default(),
        region: None,
    }
}

fn port(port: u64) -> EcsDiscovery {
    EcsDiscovery {
        container_port: Port::new(port),
        ..any()
    }
}

fn named(name: &str) -> EcsDiscovery {
    EcsDiscovery {
        port_name: Some(name.to_owned()),
        ..any()
    }
}

/// A container with ports and ranges, both as inside and at the host.
fn container(name: &str, ports: &[(u16, u16)], ranges: &[(&str, &str)]) -> Container {
    Container {
        name: name.into(),
        running: true,
        bindings: ports
            .iter()
            .map(|&(container_port, host_port)| Binding {
                container_port,
                host_port,
            })
            .collect(),
        ranges: ranges
            .iter()
            .map(|&(inside, outside)| RangeBinding {
                container_range: inside.into(),
                host_range: outside.into(),
            })
            .collect(),
    }
}

fn task(containers: Vec<Container>) -> Task {
    Task {
        arn: "t1".into(),
        version: 1,
        desired_running: true,
        last_status: "RUNNING".to_owned(),
        started_at: None,
        unhealthy: false,
        checked: false,
        service: None,
        started_by: None,
        zone: None,
        host: Some("h1".into()),
        definition: Some("d1".into()),
        interface: None,
        containers,
    }
}

fn own(containers: Vec<Container>) -> Task {
    Task {
        interface: Some([10, 1, 2, 3].into()),
        ..task(containers)
    }
}

/// A definition with ports, each as container, ports and name.
fn definition(mode: &str, ports: &[(&str, MappedPorts, Option<&str>)]) -> Definition {
    Definition {
        arn: "d1".into(),
        network_mode: Some(mode.into()),
        ports: ports
            .iter()
            .map(|(container, ports, name)| PortMapping {
                container: (*container).into(),
                ports: ports.clone(),
                name: name.map(Into::into),
                app_protocol: None,
            })
            .collect(),
        labels: Default::default(),
    }
}

fn one(port: u16) -> MappedPorts {
    MappedPorts::One(port)
}

fn range(text: &str) -> MappedPorts {
    MappedPorts::Range(text.into())
}

/// Container, port inside and port outside.
fn seen(got: Result<Place, Unresolved>) -> Result<(String, u16, u16), String> {
    match got {
        Ok(place) => Ok((place.container.to_string(), place.inside, place.outside)),
        Err(Unresolved::Gone) => Err("gone".to_owned()),
        Err(Unresolved::Waiting(reason)) => Err(format!("waiting: {reason}")),
        Err(Unresolved::Wrong(reason)) => Err(format!("wrong: {reason}")),
    }
}

fn bare(task: &Task, spec: &EcsDiscovery) -> Result<(String, u16, u16), String> {
    seen(place(task, &State::Awaited(None), spec, Naming::Keys))
}

fn with(
    task: &Task,
    definition: &Definition,
    spec: &EcsDiscovery,
) -> Result<(String, u16, u16), String> {
    seen(place(task, &State::Here(definition), spec, Naming::Keys))
}

fn at(container: &str, inside: u16, outside: u16) -> Result<(String, u16, u16), String> {
    Ok((container.to_owned(), inside, outside))
}

#[track_caller]
fn fails(got: Result<(String, u16, u16), String>, part: &str) {
    match got {
        Err(reason) if reason.contains(part) => {}
        other => panic!("{other:?} instead of {part:?}"),
    }
}

#[test]
fn a_port_in_a_range_is_at_the_same_offset_in_the_range_of_the_host() {
    let task = task(vec![container(
        "web",
        &[(80, 32768)],
        &[("8080-8085", "32780-32785"), ("9000-9000", "32800-32800")],
    )]);
    assert_eq!(bare(&task, &port(8080)), at("web", 8080, 32780));
    assert_eq!(bare(&task, &port(8083)), at("web", 8083, 32783));
    assert_eq!(bare(&task, &port(8085)), at("web", 8085, 32785));
    assert_eq!(bare(&task, &port(9000)), at("web", 9000, 32800));
    assert_eq!(bare(&task, &port(80)), at("web", 80, 32768));
    fails(bare(&task, &port(8086)), "mapped are 80, 8080-8085, 9000");
    fails(bare(&task, &any()), "ambiguous");
}

#[test]
fn a_host_port_of_0_is_no_port_yet() {
    let bound = |ports| task(vec![container("web", ports, &[])]);
    fails(
        bare(&bound(&[(8080, 0)]), &any()),
        "waiting: ECS tells no host port",
    );
    fails(
        bare(&bound(&[(8080, 0)]), &port(8080)),
        "waiting: ECS tells no host port",
    );
    assert_eq!(
        bare(&bound(&[(8080, 0), (9090, 32768)]), &any()),
        at("web", 9090, 32768)
    );
}

#[test]
fn a_range_alone_is_ambiguous_unless_it_has_one_port() {
    let several = task(vec![container("web", &[], &[("8080-8085", "32780-32785")])]);
    fails(bare(&several, &any()), "one of web:8080-8085");
    let single = task(vec![container("web", &[], &[("8080-8080", "32780-32780")])]);
    assert_eq!(bare(&single, &any()), at("web", 8080, 32780));
}

#[test]
fn a_malformed_range_is_named_and_never_guessed() {
    for (inside, outside) in [
        ("8080-8085", "32780-32784"),
        ("8080-8085", ""),
        ("8085-8080", "32785-32780"),
        ("8080", "32780"),
        ("", "32780-32785"),
    ] {
        let task = task(vec![container("web", &[(80, 32768)], &[(inside, outside)])]);
        let named = format!("wrong: ECS tells port ranges for it that are none: {inside:?}");
        fails(bare(&task, &any()), &named);
        fails(bare(&task, &port(8080)), &named);
        // That port has a binding of its own, so the broken one does not matter.
        assert_eq!(bare(&task, &port(80)), at("web", 80, 32768));
    }
    let host = task(vec![container("web", &[], &[])]);
    let broken = definition("host", &[("web", range("8080-"), None)]);
    fails(with(&host, &broken, &any()), "that are none: \"8080-\"");
}

#[test]
fn a_named_port_is_that_of_the_definition_in_every_mode() {
    let ports = [
        ("web", one(8080), Some("http")),
        ("web", one(9090), Some("admin")),
        ("sidecar", one(7000), Some("stats")),
        ("sidecar", one(7001), None),
    ];
    let bridge = task(vec![
        container("web", &[(8080, 32768), (9090, 32769)], &[]),
        container("sidecar", &[(7000, 32770), (8080, 32771)], &[]),
    ]);
    let definition = |mode| definition(mode, &ports);
    assert_eq!(
        with(&bridge, &definition("bridge"), &named("http")),
        at("web", 8080, 32768)
    );
    assert_eq!(
        with(&bridge, &definition("bridge"), &named("stats")),
        at("sidecar", 7000, 32770)
    );
    let containers = || vec![container("web", &[], &[]), container("sidecar", &[], &[])];
    assert_eq!(
        with(&task(containers()), &definition("host"), &named("admin")),
        at("web", 9090, 9090)
    );
    assert_eq!(
        with(&own(containers()), &definition("awsvpc"), &named("stats")),
        at("sidecar", 7000, 7000)
    );
    fails(
        with(&bridge, &definition("bridge"), &named("htpp")),
        "has no port named \"htpp\"; it names: http, admin, stats",
    );
    let of_web = EcsDiscovery {
        container: Some("web".to_owned()),
        ..named("stats")
    };
    fails(
        with(&bridge, &definition("bridge"), &of_web),
        "has no port named \"stats\"; it names: http, admin",
    );
}

#[test]
fn a_name_for_several_ports_is_ambiguous() {
    let task = own(vec![container("web", &[], &[])]);
    let several = definition("awsvpc", &[("web", range("8080-8085"), Some("http"))]);
    fails(with(&task, &several, &named("http")), "one of 8080-8085");
    let single = definition("awsvpc", &[("web", range("8080-8080"), Some("http"))]);
    assert_eq!(with(&task, &single, &named("http")), at("web", 8080, 8080));
    let broken = definition("awsvpc", &[("web", range("x"), Some("http"))]);
    fails(with(&task, &broken, &named("http")), "that are none: \"x\"");
    let twice = definition(
        "awsvpc",
        &[
            ("web", one(80), Some("http")),
            ("web", one(81), Some("http")),
        ],
    );
    fails(with(&task, &twice, &named("http")), "more than one port");
}

#[test]
fn a_named_port_waits_for_the_definition_and_for_its_binding() {
    let bridge = task(vec![container("web", &[(8080, 32768)], &[])]);
    assert!(needs_definition(&bridge, &named("http")));
    fails(bare(&bridge, &named("http")), "waiting");
    let definition = definition("bridge", &[("web", one(8080), Some("http"))]);
    let unbound = task(vec![container("web", &[], &[])]);
    fails(with(&unbound, &definition, &named("http")), "waiting");
    let mut down = bridge;
    down.containers[0].running = false;
    fails(with(&down, &definition, &named("http")), "waiting");
}

#[test]
fn a_task_in_an_unknown_mode_gets_no_address() {
    let task = task(vec![container("web", &[], &[])]);
    for mode in ["none", "teleport"] {
        let definition = definition(mode, &[("web", one(80), None)]);
        fails(
            with(&task, &definition, &any()),
            &format!("wrong: nothing leads to a task in the network mode {mode:?}"),
        );
    }
    let awsvpc = definition("awsvpc", &[("web", one(80), None)]);
    fails(
        with(&task, &awsvpc, &any()),
        "waiting: ECS tells no network interface",
    );
}

#[test]
fn what_a_port_speaks_is_what_its_mapping_says() {
    let mut known = definition(
        "bridge",
        &[
            ("web", one(80), None),
            ("web", one(81), None),
            ("web", range("8080-8085"), None),
            ("side", one(80), None),
            ("side", one(82), None),
        ],
    );
    let words = [
        Some("http2"),
        None,
        Some("grpc"),
        Some("http"),
        Some("http3"),
    ];
    for (mapping, word) in known.ports.iter_mut().zip(words) {
        mapping.app_protocol = word.map(Into::into);
    }
    let place = |container: &str, inside| Place {
        container: container.into(),
        inside,
        outside: 32768,
        own: None,
    };
    let said = |container, inside| speaks(&State::Here(&known), &place(container, inside));
    assert_eq!(said("web", 80), Some(ProtocolVersion::Http2));
    assert_eq!(
        said("web", 81),
        Some(ProtocolVersion::Http1),
        "says nothing"
    );
    assert_eq!(said("web", 8083), Some(ProtocolVersion::Grpc));
    assert_eq!(said("side", 80), Some(ProtocolVersion::Http1));
    assert_eq!(said("side", 82), None, "a word of the future");
    assert_eq!(said("*", 8085), Some(ProtocolVersion::Grpc), "whole tasks");
    // A port of an awsvpc task that no mapping has.
    assert_eq!(said("*", 9), Some(ProtocolVersion::Http1));
    let unknown = speaks(&State::Awaited(None), &place("web", 80));
    assert_eq!(unknown, None, "not known yet");
}
