use std::time::Instant;

use longshore_config::{EcsDiscovery, Port, Span};

use super::{Unresolved, resolve};
use crate::ecs::api::{Binding, Container, Host, Task};

fn spec(container: Option<&str>, port: Option<u64>) -> EcsDiscovery {
    EcsDiscovery {
        cluster: "prod".to_owned(),
        service: "app".to_owned(),
        container: container.map(ToOwned::to_owned),
        container_port: port.and_then(Port::new),
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
        zone: None,
        host: Some("h1".into()),
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

fn address(task: &Task, spec: &EcsDiscovery) -> Result<String, Unresolved> {
    resolve(task, Some(&host()), spec, Instant::now()).map(|target| target.address.to_string())
}

#[track_caller]
fn wrong(task: &Task, spec: &EcsDiscovery, part: &str) {
    match address(task, spec) {
        Err(Unresolved::Wrong(reason)) if reason.contains(part) => {}
        other => panic!("{other:?} instead of {part:?}"),
    }
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
    let target =
        resolve(&task, Some(&host()), &spec(None, None), Instant::now()).expect("resolved");
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
        None,
        &bridge,
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
        resolve(&task, None, &spec(Some("web"), Some(8080)), Instant::now()).expect("resolved");
    assert_eq!(got.address.to_string(), "10.1.2.3:8080");
    assert!(!got.shared_port);
    let got = resolve(&task, None, &spec(None, Some(8080)), Instant::now()).expect("resolved");
    assert_eq!(got.key.to_string(), "t1/*:8080");
    wrong(&task, &spec(Some("web"), None), "container_port");
}
