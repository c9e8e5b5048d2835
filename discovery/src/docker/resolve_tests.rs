use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use longshore_config::{DockerDiscovery, Port as ConfigPort, Span};

use super::super::api::{Detail, Port, Summary};
use super::resolve;
use crate::naming::Naming;
use crate::target::Target;

pub(in super::super) fn spec() -> DockerDiscovery {
    DockerDiscovery {
        endpoint: "unix:///var/run/docker.sock".to_owned(),
        labels: BTreeMap::from([("service".to_owned(), "web".to_owned())]),
        container_port: None,
        network: None,
        host_address: None,
        poll_interval: Span::default(),
    }
}

pub(in super::super) fn port(private: u16, address: &str, public: u16) -> Port {
    Port {
        private,
        public: Some(public),
        address: Some(address.to_owned()),
        tcp: true,
    }
}

fn exposed(private: u16) -> Port {
    Port {
        private,
        tcp: true,
        ..Port::default()
    }
}

fn udp(private: u16, public: u16) -> Port {
    Port {
        tcp: false,
        ..port(private, "0.0.0.0", public)
    }
}

fn container(ports: &[Port]) -> Summary {
    Summary {
        id: "0123456789abcdef".into(),
        name: Some("web-1".into()),
        state: Some("running".to_owned()),
        labels: Some(spec().labels),
        network_mode: Some("bridge".to_owned()),
        ports: ports.to_vec(),
        networks: BTreeMap::from([
            ("back".to_owned(), [String::new(), String::new()]),
            (
                "front".to_owned(),
                ["172.20.0.5".to_owned(), "fd00::5".to_owned()],
            ),
            ("six".to_owned(), [String::new(), "fd06::5".to_owned()]),
        ]),
    }
}

fn detail() -> Detail {
    Detail {
        running: true,
        started_at: Some(1_000),
        ..Detail::default()
    }
}

fn judge(summary: &Summary, detail: &Detail, spec: &DockerDiscovery) -> Result<Target, String> {
    let name = Arc::from("web-1");
    resolve(summary, &name, detail, spec, Naming::Keys, Instant::now())
}

/// The address and the port inside, or the problem.
fn address(ports: &[Port], spec: &DockerDiscovery) -> Result<(SocketAddr, u16), String> {
    judge(&container(ports), &detail(), spec).map(|target| (target.address, target.key.port))
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[track_caller]
fn problem(got: Result<(SocketAddr, u16), String>, word: &str) {
    let reason = got.expect_err("a problem");
    assert!(reason.contains(word), "{reason}");
}

#[test]
fn the_only_published_port_is_the_target() {
    let target = judge(
        &container(&[port(80, "0.0.0.0", 32768), exposed(9000), udp(53, 5353)]),
        &detail(),
        &spec(),
    )
    .expect("a target");
    assert_eq!(target.address, at("127.0.0.1:32768"));
    assert_eq!(&*target.key.task, "0123456789abcdef");
    assert_eq!(&*target.key.container, "web-1");
    assert_eq!(target.key.port, 80);
    assert_eq!(target.started_at, Some(1_000));
    assert!(target.shared_port);
}

#[test]
fn both_bindings_of_one_port_are_one_target_that_the_host_address_can_reach() {
    let same = [port(80, "0.0.0.0", 8080), port(80, "::", 8080)];
    assert_eq!(address(&same, &spec()), Ok((at("127.0.0.1:8080"), 80)));
    let twice = [port(80, "0.0.0.0", 8080), port(80, "0.0.0.0", 8080)];
    assert_eq!(address(&twice, &spec()), Ok((at("127.0.0.1:8080"), 80)));
    // Some engines draw a port for each of the two.
    let differing = [port(80, "0.0.0.0", 32768), port(80, "::", 32769)];
    assert_eq!(
        address(&differing, &spec()),
        Ok((at("127.0.0.1:32768"), 80))
    );
    let mut six = spec();
    six.host_address = Some("fd00::1".parse().expect("an address"));
    assert_eq!(address(&differing, &six), Ok((at("[fd00::1]:32769"), 80)));
}

#[test]
fn a_port_on_one_address_is_reached_there_and_one_on_all_at_the_host_address() {
    let mut elsewhere = spec();
    elsewhere.host_address = Some("10.0.0.9".parse().expect("an address"));
    for (bound, expected) in [
        ("10.1.2.3", "10.1.2.3:8080"),
        ("0.0.0.0", "10.0.0.9:8080"),
        ("::", "10.0.0.9:8080"),
        ("", "10.0.0.9:8080"),
        ("fd00::7", "[fd00::7]:8080"),
    ] {
        let got = address(&[port(80, bound, 8080)], &elsewhere);
        assert_eq!(got, Ok((at(expected), 80)), "{bound:?}");
    }
}

#[test]
fn a_port_is_never_guessed() {
    let two = [port(80, "0.0.0.0", 8080), port(81, "0.0.0.0", 8081)];
    problem(address(&two, &spec()), "one of 80, 81");
    let twice = [port(80, "0.0.0.0", 8080), port(80, "0.0.0.0", 8081)];
    problem(address(&twice, &spec()), "published more than once");
    let places = [port(80, "10.0.0.1", 8080), port(80, "10.0.0.2", 8080)];
    problem(address(&places, &spec()), "10.0.0.1:8080 and 10.0.0.2:8080");
    let mut configured = spec();
    configured.container_port = ConfigPort::new(81);
    assert_eq!(address(&two, &configured), Ok((at("127.0.0.1:8081"), 81)));
    configured.container_port = ConfigPort::new(82);
    problem(address(&two, &configured), "published are 80, 81");
}

#[test]
fn without_a_published_tcp_port_there_is_no_target() {
    problem(address(&[], &spec()), "no TCP port that is published");
    problem(address(&[udp(53, 5353)], &spec()), "no TCP port");
    problem(
        address(&[exposed(80)], &spec()),
        "none of its TCP ports is published",
    );
    problem(address(&[port(80, "0.0.0.0", 0)], &spec()), "published");
    problem(address(&[port(80, "here", 8080)], &spec()), "\"here\"");
    let mut host = container(&[]);
    host.network_mode = Some("host".to_owned());
    let reason = judge(&host, &detail(), &spec()).expect_err("a problem");
    assert!(reason.contains("`host`"), "{reason}");
    host.network_mode = Some("container:abc".to_owned());
    let reason = judge(&host, &detail(), &spec()).expect_err("a problem");
    assert!(reason.contains("another container"), "{reason}");
}

#[test]
fn on_a_network_a_container_has_an_address_of_its_own() {
    let mut on = spec();
    on.network = Some("front".to_owned());
    let target = judge(&container(&[exposed(80), udp(53, 1)]), &detail(), &on).expect("a target");
    assert_eq!(target.address, at("172.20.0.5:80"));
    assert!(!target.shared_port);
    problem(address(&[], &on), "set `container_port`");
    problem(
        address(&[exposed(80), port(81, "0.0.0.0", 1)], &on),
        "one of 80, 81",
    );
    on.container_port = ConfigPort::new(9000);
    assert_eq!(address(&[], &on), Ok((at("172.20.0.5:9000"), 9000)));
    on.network = Some("six".to_owned());
    assert_eq!(address(&[], &on), Ok((at("[fd06::5]:9000"), 9000)));
    on.network = Some("back".to_owned());
    problem(address(&[], &on), "no address on the network \"back\"");
    on.network = Some("fornt".to_owned());
    problem(address(&[], &on), "only to back, front, six");
    let mut malformed = container(&[]);
    malformed.networks = BTreeMap::from([("fornt".to_owned(), ["x".to_owned(), String::new()])]);
    let reason = judge(&malformed, &detail(), &on).expect_err("a problem");
    assert!(reason.contains("is none"), "{reason}");
    malformed.networks.clear();
    let reason = judge(&malformed, &detail(), &on).expect_err("a problem");
    assert!(reason.contains("nor to any other"), "{reason}");
}

type Change = fn(&mut Detail);

#[test]
fn only_what_runs_and_is_not_unhealthy_is_a_target() {
    let ports = [port(80, "0.0.0.0", 8080)];
    for state in ["paused", "restarting", "exited", "stopping"] {
        let mut summary = container(&ports);
        summary.state = Some(state.to_owned());
        let reason = judge(&summary, &detail(), &spec()).expect_err("a problem");
        assert!(reason.contains(state), "{reason}");
    }
    let with = |change: Change| {
        let mut detail = detail();
        change(&mut detail);
        judge(&container(&ports), &detail, &spec()).map(|target| target.address)
    };
    let healths: [Change; 3] = [
        |_| {},
        |it| it.health = Some("healthy".into()),
        |it| it.health = Some("none".into()),
    ];
    for good in healths {
        assert_eq!(with(good), Ok(at("127.0.0.1:8080")));
    }
    let bad: [(Change, &str); 4] = [
        (|it| it.health = Some("starting".into()), "starting"),
        (|it| it.health = Some("unhealthy".into()), "unhealthy"),
        (|it| it.running = false, "not run"),
        (|it| it.paused = true, "paused"),
    ];
    for (bad, word) in bad {
        let reason = with(bad).expect_err("a problem");
        assert!(reason.contains(word), "{reason}");
    }
}

#[test]
fn a_container_without_the_labels_is_no_target_whatever_the_engine_lists() {
    let ports = [port(80, "0.0.0.0", 8080)];
    let judged = |labels: Option<&[(&str, &str)]>, spec: &DockerDiscovery| {
        let mut summary = container(&ports);
        summary.labels = labels.map(|labels| {
            let labels = labels.iter();
            labels
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        });
        judge(&summary, &detail(), spec).is_ok()
    };
    assert!(judged(Some(&[("service", "web"), ("more", "x")]), &spec()));
    assert!(!judged(Some(&[("service", "db")]), &spec()));
    assert!(!judged(Some(&[]), &spec()));
    assert!(!judged(None, &spec()));
    let mut any = spec();
    any.labels = BTreeMap::from([("service".to_owned(), String::new())]);
    assert!(judged(Some(&[("service", "db")]), &any));
    assert!(!judged(Some(&[("other", "db")]), &any));
}
