use std::time::Instant;

use longshore_config::{EcsDiscovery, Port, Span};

use super::{Unresolved, resolve};
use crate::ecs::api::{Binding, Container, Definition, Host, MappedPorts, PortMapping, Task};
use crate::ecs::known::State;
use crate::ecs::port::needs_definition;
use crate::naming::Naming;
use crate::target::Target;

fn spec(container: Option<&str>, port: Option<u64>) -> EcsDiscovery {
    EcsDiscovery {
        cluster: "prod".to_owned(),
        service: "app".to_owned(),
        container: container.map(ToOwned::to_owned),
        container_port: port.and_then(Port::new),
        port_name: None,
        poll_interval: Span::default(),
        events_queue: None,
        reconcile_interval: Span::default(),
        region: None,
    }
}

fn container(name: &str, bindings: &[(u16, u16)]) -> Container {
    Container {
        name: name.into(),
        running: true,
        bindings: bindings
            .iter()
            .map(|&(container_port, host_port)| Binding {
                container_port,
                host_port,
            })
            .collect(),
        ranges: vec![],
    }
}

fn task(containers: Vec<Container>) -> Task {
    Task {
        arn: "arn:aws:ecs:r:1:task/prod/t1".into(),
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

fn host() -> Host {
    Host {
        arn: "h1".into(),
        instance: "i-1".into(),
        address: [10, 0, 0, 1].into(),
        zone: Some("eu-1a".into()),
    }
}

/// A definition with ports, each as container and port.
fn definition(mode: Option<&str>, ports: &[(&str, u16)]) -> Definition {
    Definition {
        arn: "d1".into(),
        network_mode: mode.map(Into::into),
        ports: ports
            .iter()
            .map(|&(container, port)| PortMapping {
                container: container.into(),
                ports: MappedPorts::One(port),
                name: None,
                app_protocol: None,
            })
            .collect(),
        labels: Default::default(),
    }
}

fn target(
    task: &Task,
    definition: State<'_, Definition>,
    spec: &EcsDiscovery,
) -> Result<Target, Unresolved> {
    let host = host();
    resolve(
        task,
        &State::Here(&host),
        &definition,
        spec,
        Naming::Keys,
        Instant::now(),
    )
}

fn address(task: &Task, spec: &EcsDiscovery) -> Result<String, Unresolved> {
    target(task, State::Awaited(None), spec).map(|target| target.address.to_string())
}

fn defined(
    task: &Task,
    definition: &Definition,
    spec: &EcsDiscovery,
) -> Result<String, Unresolved> {
    target(task, State::Here(definition), spec).map(|target| target.address.to_string())
}

#[track_caller]
fn is_wrong(got: Result<String, Unresolved>, part: &str) {
    match got {
        Err(Unresolved::Wrong(reason)) if reason.contains(part) => {}
        other => panic!("{other:?} instead of {part:?}"),
    }
}

#[track_caller]
fn wrong(task: &Task, spec: &EcsDiscovery, part: &str) {
    is_wrong(address(task, spec), part);
}

#[track_caller]
fn waiting(task: &Task, spec: &EcsDiscovery) {
    let got = address(task, spec);
    assert!(matches!(got, Err(Unresolved::Waiting(_))), "{got:?}");
}

#[test]
fn a_bridge_task_is_at_its_hosts_address_and_dynamic_port() {
    let task = task(vec![container("web", &[(80, 32768)])]);
    for spec in [
        spec(None, None),
        spec(Some("web"), None),
        spec(None, Some(80)),
        spec(Some("web"), Some(80)),
    ] {
        assert_eq!(address(&task, &spec).as_deref(), Ok("10.0.0.1:32768"));
    }
    let target = target(&task, State::Awaited(None), &spec(None, None)).expect("resolved");
    assert!(target.shared_port);
    assert_eq!(target.zone.as_deref(), Some("eu-1a"));
    assert_eq!(target.instance.as_deref(), Some("i-1"));
    assert_eq!(target.key.to_string(), "t1/web:80");
}

#[test]
fn the_same_port_told_for_ipv4_and_ipv6_is_one() {
    let task = task(vec![container("web", &[(80, 32768), (80, 32768)])]);
    assert_eq!(
        address(&task, &spec(None, None)).as_deref(),
        Ok("10.0.0.1:32768")
    );
}

#[test]
fn an_ambiguous_port_is_an_error_and_never_a_guess() {
    let task = task(vec![
        container("web", &[(80, 32768), (81, 32769)]),
        container("admin", &[(80, 32770)]),
    ]);
    wrong(&task, &spec(None, None), "ambiguous");
    wrong(&task, &spec(Some("web"), None), "web:80, web:81");
    wrong(&task, &spec(None, Some(80)), "admin:80, web:80");
    assert_eq!(
        address(&task, &spec(Some("web"), Some(81))).as_deref(),
        Ok("10.0.0.1:32769")
    );
    assert_eq!(
        address(&task, &spec(Some("admin"), None)).as_deref(),
        Ok("10.0.0.1:32770")
    );
}

#[test]
fn a_port_or_container_that_the_task_does_not_have_is_an_error() {
    let task = task(vec![container("web", &[(80, 32768)])]);
    wrong(&task, &spec(None, Some(8080)), "mapped are 80");
    wrong(&task, &spec(Some("wbe"), None), "only web");
}

#[test]
fn a_task_on_its_way_up_is_waited_for() {
    let bridge = spec(None, Some(80));
    waiting(&task(vec![container("web", &[])]), &bridge);
    let mut pending = task(vec![container("web", &[(80, 32768)])]);
    pending.last_status = "PENDING".to_owned();
    waiting(&pending, &bridge);
    let mut unhealthy = task(vec![container("web", &[(80, 32768)])]);
    unhealthy.unhealthy = true;
    waiting(&unhealthy, &bridge);
    let mut not_running = task(vec![container("web", &[])]);
    not_running.containers[0].running = false;
    waiting(&not_running, &bridge);
    let homeless = resolve(
        &task(vec![container("web", &[(80, 1)])]),
        &State::Awaited(None),
        &State::Awaited(None),
        &bridge,
        Naming::Keys,
        Instant::now(),
    );
    assert!(
        matches!(homeless, Err(Unresolved::Waiting(_))),
        "{homeless:?}"
    );
}

#[test]
fn a_task_that_was_told_to_stop_is_gone_whatever_its_status() {
    let mut task = task(vec![container("web", &[(80, 32768)])]);
    task.desired_running = false;
    assert_eq!(address(&task, &spec(None, None)), Err(Unresolved::Gone));
}

#[test]
fn an_awsvpc_task_is_at_its_own_address_and_container_port() {
    let mut task = task(vec![container("web", &[]), container("sidecar", &[])]);
    task.interface = Some([10, 1, 2, 3].into());
    task.host = None;
    let got =
        target(&task, State::Awaited(None), &spec(Some("web"), Some(8080))).expect("resolved");
    assert_eq!(got.address.to_string(), "10.1.2.3:8080");
    assert!(!got.shared_port);
    let got = target(&task, State::Awaited(None), &spec(None, Some(8080))).expect("resolved");
    assert_eq!(got.key.to_string(), "t1/*:8080");
}

#[test]
fn an_awsvpc_task_without_a_configured_port_has_the_only_one_of_its_definition() {
    let mut task = task(vec![container("web", &[]), container("sidecar", &[])]);
    task.interface = Some([10, 1, 2, 3].into());
    waiting(&task, &spec(None, None));
    let one = definition(Some("awsvpc"), &[("web", 8080)]);
    let got = target(&task, State::Here(&one), &spec(None, None)).expect("resolved");
    assert_eq!(got.address.to_string(), "10.1.2.3:8080");
    assert_eq!(got.key.to_string(), "t1/web:8080");
    let two = definition(Some("awsvpc"), &[("web", 8080), ("sidecar", 9090)]);
    is_wrong(
        defined(&task, &two, &spec(None, None)),
        "sidecar:9090, web:8080",
    );
    assert_eq!(
        defined(&task, &two, &spec(Some("sidecar"), None)).as_deref(),
        Ok("10.1.2.3:9090")
    );
    let none = definition(Some("awsvpc"), &[]);
    is_wrong(
        defined(&task, &none, &spec(None, None)),
        "maps no TCP port of web, sidecar",
    );
}

#[test]
fn a_task_in_host_mode_is_at_its_hosts_address_and_the_port_of_its_definition() {
    let task = task(vec![container("web", &[]), container("sidecar", &[])]);
    let one = definition(Some("host"), &[("web", 8080)]);
    for spec in [
        spec(None, None),
        spec(Some("web"), None),
        spec(None, Some(8080)),
    ] {
        let got = target(&task, State::Here(&one), &spec).expect("resolved");
        assert_eq!(got.address.to_string(), "10.0.0.1:8080");
        assert_eq!(got.key.to_string(), "t1/web:8080");
        assert_eq!(got.instance.as_deref(), Some("i-1"));
        assert!(got.shared_port, "another service may have the same port");
    }
    is_wrong(
        defined(&task, &one, &spec(None, Some(80))),
        "container port 80 is not in its task definition; mapped are 8080",
    );
    is_wrong(
        defined(&task, &one, &spec(Some("sidecar"), None)),
        "maps no TCP port of sidecar",
    );
    let two = definition(Some("host"), &[("web", 8080), ("web", 8081)]);
    is_wrong(defined(&task, &two, &spec(None, None)), "ambiguous");
}

#[test]
fn a_container_in_host_mode_is_waited_for_until_it_runs() {
    let mut task = task(vec![container("web", &[]), container("sidecar", &[])]);
    task.containers[0].running = false;
    let definition = definition(Some("host"), &[("web", 8080)]);
    let got = defined(&task, &definition, &spec(None, None));
    assert!(matches!(got, Err(Unresolved::Waiting(_))), "{got:?}");
}

#[test]
fn a_bridge_task_without_bindings_never_gets_the_port_of_its_definition() {
    let task = task(vec![container("web", &[])]);
    for mode in [None, Some("bridge"), Some("default")] {
        let got = defined(&task, &definition(mode, &[("web", 80)]), &spec(None, None));
        assert!(matches!(got, Err(Unresolved::Waiting(_))), "{got:?}");
        is_wrong(
            defined(&task, &definition(mode, &[]), &spec(None, None)),
            "maps no TCP port",
        );
    }
    let none = definition(Some("none"), &[("web", 80)]);
    is_wrong(
        defined(&task, &none, &spec(None, None)),
        "network mode \"none\"",
    );
}

#[test]
fn the_definition_is_asked_for_only_where_the_task_does_not_tell_its_port() {
    let bridge = task(vec![container("web", &[(80, 32768)])]);
    assert!(!needs_definition(&bridge, &spec(None, None)));
    let mut bare = task(vec![container("web", &[])]);
    assert!(needs_definition(&bare, &spec(None, Some(80))));
    bare.last_status = "PENDING".to_owned();
    assert!(!needs_definition(&bare, &spec(None, Some(80))));
    let mut own = task(vec![container("web", &[])]);
    own.interface = Some([10, 1, 2, 3].into());
    assert!(!needs_definition(&own, &spec(None, Some(80))));
    assert!(needs_definition(&own, &spec(Some("web"), None)));
}

#[test]
fn what_is_denied_names_its_reason_and_is_no_longer_waited_for() {
    let bridge = task(vec![container("web", &[(80, 32768)])]);
    let host = State::Refused("no permission");
    let got = resolve(
        &bridge,
        &host,
        &State::Awaited(None),
        &spec(None, None),
        Naming::Keys,
        Instant::now(),
    );
    is_wrong(
        got.map(|target| target.address.to_string()),
        "the address of its host h1 is not known: no permission",
    );
    let bare = task(vec![container("web", &[])]);
    let got = target(&bare, State::Refused("no permission"), &spec(None, None));
    is_wrong(
        got.map(|target| target.address.to_string()),
        "no permission",
    );
}
