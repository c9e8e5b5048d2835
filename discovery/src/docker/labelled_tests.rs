use std::collections::BTreeMap;
use std::time::Instant;

use super::Labelled;
use crate::docker::aim::Aim as _;
use crate::docker::api::{Detail, Port, Summary};

fn aim(keys: &str) -> Labelled {
    let text = format!(
        "listeners: [{{name: web, port: 80, default_action: [{{type: fixed_response, fixed_response: {{status_code: 404}}}}]}}]
label_discovery: [{{name: engine, docker: {{}}, listeners: [web]{keys}}}]
"
    );
    let config = longshore_config::parse("test", &text, &|_| None);
    let mut blocks = config
        .unwrap_or_else(|errors| panic!("{errors}"))
        .label_discovery;
    Labelled::new(blocks.remove(0)).expect("an engine")
}

fn container(labels: &[(&str, &str)]) -> Summary {
    let labels = labels.iter();
    let labels = labels.map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
    Summary {
        id: "0123456789abcdef".into(),
        state: Some("running".to_owned()),
        labels: Some(labels.collect()),
        ports: [(80, 32768), (90, 32769)]
            .map(|(private, public)| Port {
                private,
                public: Some(public),
                address: Some("0.0.0.0".to_owned()),
                tcp: true,
            })
            .to_vec(),
        ..Summary::default()
    }
}

fn running() -> Detail {
    Detail {
        running: true,
        ..Detail::default()
    }
}

#[test]
fn the_engine_tells_only_of_what_may_be_exposed() {
    let filter = BTreeMap::from([("longshore.enable".to_owned(), String::new())]);
    assert_eq!(aim("").place().labels, filter);
    assert!(aim(", exposed_by_default: true").place().labels.is_empty());
    assert!(!aim("").wants(&container(&[("longshore.enable", "false")])));
    assert!(aim("").wants(&container(&[("longshore.enable", "true")])));
    assert!(
        aim("").wants(&container(&[("longshore.enable", "maybe")])),
        "a fault is shown"
    );
}

#[test]
fn a_container_is_known_by_its_name_or_by_its_service() {
    let name = "web-1".into();
    let target = |labels: &[(&str, &str)]| {
        aim("").target(&container(labels), &name, &running(), Instant::now())
    };
    let plain = [("longshore.enable", "true"), ("longshore.port", "90")];
    let found = target(&plain).expect("a target");
    assert_eq!(found.address.port(), 32769);
    assert_eq!(&*found.claim.expect("a claim").name, "web-1");
    let mut compose = plain.to_vec();
    compose.push(("com.docker.compose.service", "web"));
    compose.push(("com.docker.compose.project", "shop"));
    let claim = target(&compose).expect("a target").claim.expect("a claim");
    assert_eq!(
        (&*claim.name, &*claim.owner),
        ("web-shop", "service web of shop")
    );
    let named = [
        ("longshore.enable", "true"),
        ("longshore.port_name", "http"),
    ];
    let reason = target(&named).expect_err("a fault");
    assert!(reason.contains("`longshore.port`"), "{reason}");
}

#[test]
fn one_port_needs_no_label_and_several_need_one() {
    let name = "web-1".into();
    let mut several = container(&[("longshore.enable", "true")]);
    let found = |summary: &Summary| aim("").target(summary, &name, &running(), Instant::now());
    let reason = found(&several).expect_err("a port was guessed");
    let wanted = "its port is ambiguous; set the label `longshore.port` to one of 80, 90";
    assert_eq!(reason, wanted);
    several.ports.truncate(1);
    let one = found(&several).expect("a target");
    assert_eq!((one.key.port, one.address.port()), (80, 32768));
}
