//! Targets from DNS: over real sockets, at a real DNS server and at one with every fault.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_tests::balancer::{Running, start};
use longshore_tests::dns::{Reply, Scripted, Site, Zone};
use longshore_tests::origin::Origin;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};

/// A balancer with one group; `keys` are more keys of its `dns`.
async fn balance(servers: &[SocketAddr], keys: &str, checks: &str) -> Running {
    let servers: Vec<String> = servers.iter().map(|at| format!("\"{at}\"")).collect();
    start(&format!(
        "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: app}}]}}]
target_groups:
  - name: app
    discovery: {{dns: {{servers: [{}], min_interval: 100ms, max_interval: 300ms, {keys}}}}}
    health_check: {{{checks}}}
",
        servers.join(", ")
    ))
    .await
}

const CHECKED: &str = "path: /health, interval: 1, timeout: 1";
const UNCHECKED: &str = "enabled: false";

async fn balance_addresses(servers: &[SocketAddr], port: u16) -> Running {
    balance(
        servers,
        &format!("name: app.internal, port: {port}"),
        CHECKED,
    )
    .await
}

/// Waits until exactly these addresses are healthy.
async fn wait_for(balancer: &Running, expected: &[String]) {
    eventually(&format!("{expected:?} are the targets"), async || {
        let targets = balancer.targets("healthy").await;
        let mut found: Vec<String> = targets.into_iter().map(|t| t.address).collect();
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        (found == expected).then_some(())
    })
    .await;
}

async fn wait_for_state(balancer: &Running, state: &str) -> String {
    eventually(&format!("discovery is {state}"), async || {
        let group = balancer.group().await;
        (group.discovery == state).then(|| group.discovery_error.unwrap_or_default())
    })
    .await
}

#[tokio::test]
async fn records_become_targets_and_traffic_follows_their_change_without_a_failed_request() {
    let mut site = Site::new();
    let Some(zone) = Zone::start("", &[]) else {
        return;
    };
    let (_one, _two, _three) = (
        site.target(1).await,
        site.target(2).await,
        site.target(3).await,
    );
    zone.write(&site.records(&[1, 2]));
    let balancer = balance_addresses(&[zone.address], site.port).await;
    balancer.wait_for("healthy", 2).await;
    let ids: Vec<String> = balancer
        .targets("healthy")
        .await
        .into_iter()
        .map(|t| t.id)
        .collect();
    assert_eq!(
        ids[0],
        format!("dns:app.internal/{0}:{1}", site.address(1), site.port)
    );

    let over = Arc::new(AtomicBool::new(false));
    let address = balancer.address();
    let client = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut client = Wire::connect(address).await;
            let mut last = String::new();
            while !over.load(Ordering::Relaxed) {
                let got = within("a response", client.get("/")).await;
                assert_eq!(got.status(), 200);
                last = got.text();
            }
            last
        }
    });
    for hosts in [&[2, 3][..], &[3, 1], &[1, 2, 3], &[3]] {
        zone.write(&site.records(hosts));
        let expected: Vec<String> = hosts
            .iter()
            .map(|host| format!("{}:{}", site.address(*host), site.port))
            .collect();
        wait_for(&balancer, &expected).await;
    }
    over.store(true, Ordering::Relaxed);
    client.await.expect("no request failed");
    let mut client = Wire::connect(address).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), site.address(3).to_string());
    }
}

#[tokio::test]
async fn a_long_ttl_delays_no_look_beyond_max_interval_and_each_look_reaches_the_server() {
    let Some(zone) = Zone::start("app.internal. 3600 IN A 127.0.0.1", &[]) else {
        return;
    };
    let balancer = balance(&[zone.address], "name: app.internal, port: 9", UNCHECKED).await;
    wait_for(&balancer, &["127.0.0.1:9".to_owned()]).await;
    zone.write("app.internal. 3600 IN A 127.0.0.2");
    wait_for(&balancer, &["127.0.0.2:9".to_owned()]).await;
}

#[tokio::test]
async fn answers_of_40_and_of_300_records_are_read_whole() {
    let records = |count: u16| -> String {
        let record = |i: u16| format!("app.internal. 0 IN A 127.72.{}.{}\n", i / 250, i % 250 + 1);
        (0..count).map(record).collect()
    };
    let Some(zone) = Zone::start(&records(40), &[]) else {
        return;
    };
    let balancer = balance(&[zone.address], "name: app.internal, port: 9", UNCHECKED).await;
    balancer.wait_for("healthy", 40).await;
    // More than a datagram may have: over TCP.
    zone.write(&records(300));
    balancer.wait_for("healthy", 300).await;
    assert_eq!(balancer.group().await.discovery_error, None);
}

#[tokio::test]
async fn an_alias_and_ipv6_lead_to_targets() {
    let Some(zone) = Zone::start(
        "app.internal. 0 IN CNAME other.internal.\nother.internal. 0 IN AAAA 2001:db8::7\nother.internal. 0 IN A 10.0.0.7",
        &[],
    ) else {
        return;
    };
    let keys = "name: app.internal., type: AAAA, port: 9";
    let balancer = balance(&[zone.address], keys, UNCHECKED).await;
    wait_for(&balancer, &["[2001:db8::7]:9".to_owned()]).await;
}

#[tokio::test]
async fn a_name_that_left_the_zone_empties_the_group_until_it_is_back() {
    let mut site = Site::new();
    let Some(zone) = Zone::start("", &[]) else {
        return;
    };
    let _one = site.target(1).await;
    zone.write(&site.records(&[1]));
    let balancer = balance_addresses(&[zone.address], site.port).await;
    balancer.wait_for("healthy", 1).await;
    zone.write("");
    balancer.wait_for("healthy", 0).await;
    let group = balancer.group().await;
    assert_eq!(group.discovery, "fresh");
    assert!(
        group.not_targets[0].reason.contains("NXDOMAIN"),
        "{:?}",
        group.not_targets
    );
    let mut client = Wire::connect(balancer.address()).await;
    let got = client.get("/").await;
    assert_eq!((got.status(), got.reason()), (503, Some("no_targets")));
    zone.write(&site.records(&[1]));
    balancer.wait_for("healthy", 1).await;
    assert_eq!(client.get("/").await.status(), 200);
}

/// Two hosts with ports of their own, and a third one of another priority.
async fn services(glue: &[&str]) {
    let origins = [
        Origin::ok("a").await,
        Origin::ok("b").await,
        Origin::ok("c").await,
    ];
    let port = |index: usize| origins[index].address.port();
    let hosts = "a.internal. 0 IN A 127.0.0.1\nb.internal. 0 IN A 127.0.0.1\n";
    let records = format!(
        "_http._tcp.app.internal. 0 IN SRV 10 5 {} a.internal.\n\
         _http._tcp.app.internal. 0 IN SRV 10 90 {} b.internal.\n\
         _http._tcp.app.internal. 0 IN SRV 20 1 {} a.internal.\n",
        port(0),
        port(1),
        port(2)
    );
    let Some(zone) = Zone::start(&format!("{records}{hosts}"), glue) else {
        return;
    };
    let keys = "name: _http._tcp.app.internal, type: SRV";
    let balancer = balance(&[zone.address], keys, CHECKED).await;
    let at = |index: usize| origins[index].address.to_string();
    wait_for(&balancer, &[at(0), at(1)]).await;
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.status(), 200);
    // The first priority leaves, and the second one takes over.
    let backup = records.lines().last().expect("three lines");
    zone.write(&format!("{backup}\n{hosts}"));
    wait_for(&balancer, &[at(2)]).await;
    assert_eq!(client.get("/").await.text(), "c");
}

#[tokio::test]
async fn srv_records_whose_hosts_come_along_have_their_own_ports() {
    services(&["--glue"]).await;
}

#[tokio::test]
async fn srv_records_whose_hosts_must_be_asked_for_have_their_own_ports() {
    services(&[]).await;
}

#[tokio::test]
async fn a_service_whose_host_is_in_a_zone_that_fails_keeps_its_other_hosts() {
    let records = "s.internal. 0 IN SRV 0 0 9 a.internal.\ns.internal. 0 IN SRV 0 0 9 b.elsewhere.\na.internal. 0 IN A 127.0.0.1";
    let Some(zone) = Zone::start(records, &[]) else {
        return;
    };
    let balancer = balance(&[zone.address], "name: s.internal, type: SRV", UNCHECKED).await;
    wait_for(&balancer, &["127.0.0.1:9".to_owned()]).await;
    let group = balancer.group().await;
    assert_eq!(group.discovery, "fresh");
    let problem = &group.not_targets[0];
    assert_eq!(problem.subject, "b.elsewhere.:9");
    assert!(problem.reason.contains("Refused"), "{problem:?}");
}

#[tokio::test]
async fn targets_stay_while_the_server_is_gone_and_follow_it_again_when_it_is_back() {
    let mut site = Site::new();
    let Some(mut zone) = Zone::start("", &[]) else {
        return;
    };
    let (_one, _two) = (site.target(1).await, site.target(2).await);
    zone.write(&site.records(&[1]));
    let balancer = balance_addresses(&[zone.address], site.port).await;
    balancer.wait_for("healthy", 1).await;
    zone.stop();
    wait_for_state(&balancer, "stale").await;
    let mut client = Wire::connect(balancer.address()).await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    zone.write(&site.records(&[2]));
    zone.run(&[]);
    wait_for(&balancer, &[format!("{}:{}", site.address(2), site.port)]).await;
    assert_eq!(wait_for_state(&balancer, "fresh").await, "");
}

/// Requests go on while the server has a fault, and the state and its reason are seen.
async fn outage(fault: Reply, reason: &str) {
    let mut site = Site::new();
    let (_one, _two) = (site.target(1).await, site.target(2).await);
    let server = Scripted::start(site.addresses(&[1])).await;
    let balancer = balance_addresses(&[server.address], site.port).await;
    balancer.wait_for("healthy", 1).await;
    server.always(fault);
    let error = wait_for_state(&balancer, "stale").await;
    assert!(error.contains(reason), "{error}");
    // The second failure in a row is none the worse.
    let asked = server.questions();
    let mut client = Wire::connect(balancer.address()).await;
    eventually("it asks again", async || {
        assert_eq!(within("a response", client.get("/")).await.status(), 200);
        (server.questions() > asked + 1).then_some(())
    })
    .await;
    assert_eq!(
        balancer.targets("healthy").await.len(),
        1,
        "the last good set stays"
    );
    server.always(site.addresses(&[1, 2]));
    balancer.wait_for("healthy", 2).await;
    assert_eq!(wait_for_state(&balancer, "fresh").await, "");
}

#[tokio::test]
async fn targets_stay_through_servfail() {
    outage(Reply::Code(2), "Server Failure").await;
}

#[tokio::test]
async fn targets_stay_through_refused() {
    outage(Reply::Code(5), "Refused").await;
}

#[tokio::test]
async fn targets_stay_through_silence() {
    outage(Reply::Silence, "timed out").await;
}

#[tokio::test]
async fn targets_stay_through_garbage() {
    outage(Reply::Garbage, "").await;
}

#[tokio::test]
async fn targets_stay_through_negative_answers_without_soa() {
    outage(Reply::Code(3), "without an SOA record").await;
}

#[tokio::test]
async fn targets_stay_through_answers_that_are_never_whole() {
    outage(Reply::TruncatedAlways, "truncated").await;
}

#[tokio::test]
async fn one_negative_answer_removes_no_target() {
    for code in [0, 3] {
        let mut site = Site::new();
        let _one = site.target(1).await;
        let server = Scripted::start(site.addresses(&[1])).await;
        let balancer = balance_addresses(&[server.address], site.port).await;
        balancer.wait_for("healthy", 1).await;
        let mut client = Wire::connect(balancer.address()).await;
        assert_eq!(client.get("/").await.status(), 200);
        // A second one, but not in a row.
        server.once(Reply::Negative(code));
        server.once(site.addresses(&[1]));
        server.once(Reply::Negative(code));
        let asked = server.questions();
        eventually("all of them were answered", async || {
            assert_eq!(client.get("/").await.status(), 200);
            (server.questions() > asked + 4).then_some(())
        })
        .await;
        let targets = balancer.targets("healthy").await;
        assert!(
            targets[0].requests > 1,
            "it is the same target: {targets:?}"
        );
        server.always(Reply::Negative(code));
        balancer.wait_for("healthy", 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_into_a_datagram_is_asked_for_over_tcp() {
    let addresses = (1..=20)
        .map(|host| Ipv4Addr::new(127, 73, 0, host))
        .collect();
    let server = Scripted::start(Reply::Truncated(addresses)).await;
    let balancer = balance(&[server.address], "name: app.internal, port: 9", UNCHECKED).await;
    balancer.wait_for("healthy", 20).await;
}

#[tokio::test]
async fn the_next_server_is_asked_if_one_refuses_or_is_gone() {
    let gone = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.local_addr().expect("bound")
    };
    let refusing = Scripted::start(Reply::Code(5)).await;
    let good = Scripted::start(Reply::Addresses(vec![Ipv4Addr::new(10, 0, 0, 1)])).await;
    let servers = [gone, refusing.address, good.address];
    let balancer = balance(&servers, "name: app.internal, port: 9", UNCHECKED).await;
    balancer.wait_for("healthy", 1).await;
    // From then on, the one that answered is asked first.
    let asked = good.questions();
    eventually("it is asked again", async || {
        (good.questions() > asked + 3).then_some(())
    })
    .await;
    assert_eq!(refusing.questions(), 1);
}

#[tokio::test]
async fn a_fallback_that_does_not_know_the_zone_removes_no_target_and_is_left_again() {
    let address = |host| Reply::Addresses(vec![Ipv4Addr::new(10, 0, 0, host)]);
    let first = Scripted::start(address(1)).await;
    let fallback = Scripted::start(Reply::Negative(3)).await;
    let servers = [first.address, fallback.address];
    let balancer = balance(&servers, "name: app.internal, port: 9", UNCHECKED).await;
    balancer.wait_for("healthy", 1).await;
    first.always(Reply::Silence);
    eventually("the other one was asked three times", async || {
        (fallback.questions() >= 3).then_some(())
    })
    .await;
    wait_for(&balancer, &["10.0.0.1:9".to_owned()]).await;
    assert_eq!(balancer.group().await.discovery, "stale");
    first.always(address(2));
    wait_for(&balancer, &["10.0.0.2:9".to_owned()]).await;
}
