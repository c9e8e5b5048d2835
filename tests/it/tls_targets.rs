//! Targets with TLS. The targets are balancers with an HTTPS listener before a plain target.

use std::net::SocketAddr;
use std::sync::Arc;

use longshore_tests::balancer::{self, Running};
use longshore_tests::certificates::{Folder, Key, run};
use longshore_tests::origin::Origin;
use longshore_tests::process::free_port;
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

fn made() -> Folder {
    let folder = Folder::default();
    folder.make("site", &["app.test"], Key::Ecdsa, 30);
    folder.authority("ca");
    folder.authority("stranger");
    folder.issue("ca", "app", "/CN=app.test", "serverAuth", 30);
    folder.issue("ca", "client", "/CN=balancer", "clientAuth", 30);
    folder
}

async fn before(targets: &[SocketAddr], folder: &Folder, tls: &str) -> Running {
    let tls = tls.replace("$", &folder.path(""));
    let group = format!("protocol: HTTPS\ntls: {{{tls}}}\nhealth_check: {{enabled: false}}");
    balancer::start(&balancer::fixed(targets, &group, "")).await
}

#[tokio::test]
async fn requests_reach_targets_over_tls_and_their_connections_are_kept() {
    let folder = made();
    let (target, origin) = balancer::https(&folder, "app", "mode: 'off'").await;
    let running = before(&[target.address()], &folder, "").await;
    let mut wire = Wire::connect(running.address()).await;
    for _ in 0..20 {
        let response = wire.get("/").await;
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, "hello")
        );
    }
    let body = "x".repeat(1_000_000);
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    assert_eq!(wire.response().await.status(), 200);
    let seen = origin.seen();
    assert_eq!(seen.len(), 21);
    assert_eq!(seen[20].body.len(), body.len());
    assert_eq!(
        seen[0].head.get("x-forwarded-proto"),
        Some("https"),
        "as the target's own listener says"
    );
    let handshakes = target.balancer.targets().await.expect("it runs");
    assert_eq!(handshakes.listeners[0].certificates, 1);
    assert_eq!(origin.connections(), 1, "one connection carried all");
}

#[tokio::test]
async fn a_target_is_verified_by_authority_and_name_if_asked_for() {
    let folder = made();
    let (target, origin) = balancer::https(&folder, "app", "mode: 'off'").await;
    for (tls, good) in [
        (
            "verify: ca_file, ca_file: $ca.pem, server_name: app.test",
            true,
        ),
        (
            "verify: ca_file, ca_file: $ca.pem, server_name: other.test",
            false,
        ),
        ("verify: ca_file, ca_file: $ca.pem", false),
        (
            "verify: ca_file, ca_file: $stranger.pem, server_name: app.test",
            false,
        ),
    ] {
        let running = before(&[target.address()], &folder, tls).await;
        let response = Wire::connect(running.address()).await.get("/").await;
        if good {
            assert_eq!(response.status(), 200, "{tls}");
        } else {
            assert_eq!(
                (response.status(), response.reason()),
                (502, Some("target_tls_failed")),
                "{tls}"
            );
        }
    }
    assert_eq!(
        origin.seen().len(),
        1,
        "no other request reached the target"
    );
}

#[tokio::test]
async fn a_failed_handshake_is_tried_elsewhere_also_for_a_post() {
    let folder = made();
    let (target, _origin) = balancer::https(&folder, "app", "mode: 'off'").await;
    let plain = Origin::ok("plain").await;
    let running = before(&[plain.address, target.address()], &folder, "").await;
    let mut wire = Wire::connect(running.address()).await;
    for _ in 0..4 {
        wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
            .await;
        assert_eq!(wire.response().await.text(), "hello");
    }
}

#[tokio::test]
async fn a_target_that_leaves_during_a_handshake_gets_no_request() {
    let folder = made();
    let (left, leaving) = balancer::https(&folder, "app", "mode: 'off'").await;
    let (stays, staying) = balancer::https(&folder, "app", "mode: 'off'").await;
    let (behind, open) = (left.address(), Arc::new(Semaphore::new(0)));
    let gate = Arc::clone(&open);
    // Before the one that leaves: nothing passes until it may.
    let relay = Origin::raw(move |mut wire| {
        let gate = Arc::clone(&gate);
        async move {
            let mut target = TcpStream::connect(behind).await.expect("it listens");
            gate.acquire().await.expect("open").forget();
            // The other side ends as it likes.
            drop(tokio::io::copy_bidirectional(&mut wire.stream, &mut target).await);
        }
    })
    .await;
    let keys = "protocol: HTTPS\nhealth_check: {enabled: false}\nderegistration_delay: 0";
    let both = [relay.address, stays.address()];
    let mut running = balancer::start(&balancer::fixed(&both, keys, "")).await;
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    let mut asked = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::connect(running.address()).await;
        wire.send(post).await;
        asked.push(wire);
    }
    eventually("one shakes hands", async || {
        (relay.connections() == 1).then_some(())
    })
    .await;
    let without = balancer::config(&balancer::fixed(&both[1..], keys, ""));
    running.balancer.reload(without).await.expect("reloaded");
    open.add_permits(1);
    for mut wire in asked {
        let answer = within("an answer", wire.response()).await;
        assert_eq!((answer.status(), answer.reason()), (200, None));
    }
    assert_eq!((leaving.seen().len(), staying.seen().len()), (0, 2));
}

#[tokio::test]
async fn a_target_that_asks_for_a_certificate_gets_it() {
    let folder = made();
    let (target, origin) =
        balancer::https(&folder, "app", "mode: verify, trust_store: [$ca.pem]").await;
    let without = before(&[target.address()], &folder, "").await;
    let response = Wire::connect(without.address()).await.get("/").await;
    assert_eq!(response.status(), 502);
    let own = "certificate: {cert: $client.pem, key: $client.key}";
    let with = before(&[target.address()], &folder, own).await;
    let response = Wire::connect(with.address()).await.get("/").await;
    assert_eq!(response.status(), 200);
    let seen = origin.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        seen[0].head.get("x-amzn-mtls-clientcert-subject"),
        Some("CN=balancer")
    );
}

/// Software that is old enough makes certificates of version 1 for itself, which rustls cannot
/// read. Checks and traffic accept the same targets.
#[tokio::test]
async fn a_target_with_a_certificate_of_version_1_is_healthy_and_served() {
    let folder = Folder::default();
    let (cert, key) = (folder.path("old.pem"), folder.path("old.key"));
    let request = folder.path("old.csr");
    for arguments in [
        &[
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=old", "-keyout", &key,
            "-out", &request,
        ][..],
        &[
            "x509", "-req", "-in", &request, "-signkey", &key, "-out", &cert,
        ],
    ] {
        assert!(run("openssl", arguments).status.success(), "{arguments:?}");
    }
    let text = run("openssl", &["x509", "-in", &cert, "-noout", "-text"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    if !text.contains("Version: 1 ") {
        println!("not looked at: this openssl makes none of version 1");
        return;
    }
    let port = free_port();
    let at = port.to_string();
    let mut server = std::process::Command::new("openssl")
        .args([
            "s_server", "-quiet", "-www", "-accept", &at, "-cert", &cert, "-key", &key,
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl is needed for this test");
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    let group = "protocol: HTTPS\nhealth_check: {protocol: HTTPS, path: /, interval: 500ms, timeout: 400ms, healthy_threshold: 1}";
    let running = balancer::start(&balancer::fixed(&[target], group, "")).await;
    running.wait_for("healthy", 1).await;
    let response = Wire::connect(running.address()).await.get("/").await;
    assert_eq!(response.status(), 200);
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}
