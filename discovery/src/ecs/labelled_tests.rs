use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::Labels;

use super::Labelled;
use crate::ecs::aim::{Aim as _, Part, Wish};
use crate::ecs::api::{Binding, Container, Definition, Host, MappedPorts, PortMapping, Task};
use crate::ecs::known::State;
use crate::ecs::resolve::Unresolved;

fn aim(keys: &str) -> Labelled {
    let text = format!(
        "listeners: [{{name: web, port: 80, default_action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]}}]
label_discovery: [{{name: prod, ecs: {{cluster: 'arn:aws:ecs:r:1:cluster/prod'}}, listeners: [web]{keys}}}]
"
    );
    let config = longshore_config::parse("test", &text, &|_| None);
    let mut blocks = config
        .unwrap_or_else(|errors| panic!("{errors}"))
        .label_discovery;
    Labelled::new(blocks.remove(0)).expect("a cluster")
}

fn task(service: Option<&str>) -> Task {
    let container = |name: &str, host_port| Container {
        name: name.into(),
        running: true,
        bindings: vec![Binding {
            container_port: 80,
            host_port,
        }],
        ranges: vec![],
    };
    Task {
        arn: "arn:aws:ecs:r:1:task/prod/t1".into(),
        version: 1,
        desired_running: true,
        last_status: "RUNNING".to_owned(),
        started_at: Some(7),
        unhealthy: false,
        checked: false,
        service: service.map(Into::into),
        started_by: None,
        zone: None,
        host: Some("h1".into()),
        definition: Some("d:3".into()),
        interface: None,
        containers: vec![container("app", 32768), container("side", 32769)],
    }
}

fn definition(labels: &[(&str, &[(&str, &str)])]) -> Definition {
    let owned = |pairs: &[(&str, &str)]| -> Labels {
        let pairs = pairs.iter();
        pairs
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
            .collect()
    };
    Definition {
        arn: "arn:aws:ecs:r:1:task-definition/family:3".into(),
        network_mode: None,
        ports: vec![PortMapping {
            container: "side".into(),
            ports: MappedPorts::One(80),
            name: Some("web".into()),
            app_protocol: None,
        }],
        labels: labels
            .iter()
            .map(|(container, labels)| ((*container).into(), Arc::new(owned(labels))))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn parts(
    aim: &Labelled,
    task: &Task,
    definition: &State<'_, Definition>,
) -> Result<Vec<Part>, Unresolved> {
    let host = Host {
        arn: "h1".into(),
        instance: "i-1".into(),
        address: [10, 0, 0, 1].into(),
        zone: None,
    };
    aim.parts(task, &State::Here(&host), definition, Instant::now())
}

#[test]
fn each_exposed_container_is_a_target_and_says_who_it_is() {
    let labels: &[_] = &[
        (
            "app",
            &[("longshore.enable", "true"), ("tier", "x")] as &[_],
        ),
        ("side", &[("longshore.enable", "false")]),
    ];
    let known = definition(labels);
    let found = parts(&aim(""), &task(Some("shop")), &State::Here(&known)).expect("judged");
    let [part] = found.as_slice() else {
        panic!("{found:?}");
    };
    let target = part.target.as_ref().expect("a target");
    assert_eq!(target.address, ([10, 0, 0, 1], 32768).into());
    let claim = target.claim.as_ref().expect("a claim");
    assert_eq!(&*claim.name, "shop-app");
    assert_eq!(&*claim.owner, "service shop of prod, container app");
    assert!(claim.labels.contains_key("tier"));
    // A task of no service is known by its family.
    let found = parts(&aim(""), &task(None), &State::Here(&known)).expect("judged");
    let claim = found[0].target.as_ref().expect("a target").claim.as_ref();
    assert_eq!(&*claim.expect("a claim").name, "family-app");
    let all = aim(", exposed_by_default: true");
    let found = parts(&all, &task(None), &State::Here(&definition(&[]))).expect("judged");
    assert_eq!(found.len(), 2, "without any label");
}

#[test]
fn a_port_can_be_named_and_a_fault_is_that_of_its_container() {
    let labels: &[_] = &[
        ("app", &[("longshore.enable", "perhaps")] as &[_]),
        (
            "side",
            &[("longshore.enable", "true"), ("longshore.port_name", "web")],
        ),
    ];
    let known = definition(labels);
    let found = parts(&aim(""), &task(None), &State::Here(&known)).expect("judged");
    let names: Vec<&str> = found
        .iter()
        .filter_map(|part| part.container.as_deref())
        .collect();
    assert_eq!(names, ["app", "side"]);
    let Err(Unresolved::Wrong(reason)) = &found[0].target else {
        panic!("{:?}", found[0]);
    };
    assert!(reason.starts_with("label `longshore.enable`"), "{reason}");
    let target = found[1].target.as_ref().expect("a target");
    assert_eq!(target.address.port(), 32769);
}

#[test]
fn nothing_is_said_of_a_task_before_its_labels_are_known() {
    let (aim, task) = (aim(""), task(None));
    assert!(aim.definition(&task) == Wish::Need);
    let awaited = parts(&aim, &task, &State::Awaited(None));
    assert!(
        matches!(awaited, Err(Unresolved::Waiting(_))),
        "{awaited:?}"
    );
    let refused = parts(&aim, &task, &State::Refused("denied"));
    assert!(matches!(refused, Err(Unresolved::Wrong(_))), "{refused:?}");
    let starting = Task {
        last_status: "PENDING".to_owned(),
        ..task.clone()
    };
    let nobodys = definition(&[]);
    assert_eq!(parts(&aim, &starting, &State::Here(&nobodys)), Ok(vec![]));
    let stopped = Task {
        desired_running: false,
        ..task
    };
    assert!(aim.definition(&stopped) == Wish::Nothing);
    assert_eq!(
        parts(&aim, &stopped, &State::Here(&nobodys)),
        Err(Unresolved::Gone)
    );
}

#[test]
fn one_port_needs_no_label_and_several_need_one() {
    let known = definition(&[("app", &[("longshore.enable", "true")])]);
    let of = |bindings: &[(u16, u16)], keys: &str| {
        let mut task = task(Some("shop"));
        let bindings = bindings.iter();
        task.containers[0].bindings = bindings
            .map(|(inside, outside)| Binding {
                container_port: *inside,
                host_port: *outside,
            })
            .collect();
        let found = parts(&aim(keys), &task, &State::Here(&known));
        found.expect("judged").remove(0).target
    };
    let one = of(&[(8080, 32770)], "").expect("a target");
    assert_eq!(one.address.port(), 32770);
    assert_eq!(one.key.port, 8080);
    let Err(Unresolved::Wrong(reason)) = of(&[(8080, 32770), (9090, 32771)], "") else {
        panic!("a port was guessed");
    };
    let wanted = "its port is ambiguous; set the label `longshore.port` to one of 8080, 9090";
    assert_eq!(reason, wanted);
}
