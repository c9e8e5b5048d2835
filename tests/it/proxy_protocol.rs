//! The PROXY protocol: from proxies in front, and to targets.

use std::net::SocketAddr;

use longshore_tests::balancer::{Running, config, fixed, start};
use longshore_tests::certificates::{Folder, Key};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, http, secure, within};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const NO_CHECK: &str = "health_check: {enabled: false}";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A balancer whose listener expects headers from these networks.
async fn trusting(networks: &str, target: SocketAddr) -> Running {
    let text = fixed(&[target], NO_CHECK, "");
    let text = text.replace(
        "    default_action",
        &format!("    proxy_protocol: {{trusted: [{networks}]}}\n    default_action"),
    );
    start(&text).await
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend_from_slice(&[command, family, 0]);
    bytes.push(u8::try_from(rest.len()).expect("short"));
    bytes.extend_from_slice(rest);
    bytes
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_the_client_for_forwarding_and_rules() {
    let origin = Origin::ok("yes").await;
    let balancer = trusting("127.0.0.0/8", origin.address).await;
    let v4 = [192, 0, 2, 7, 198, 51, 100, 2, 0x30, 0x39, 1, 0xBB];
    let mut v6 = [0; 36];
    v6[..2].copy_from_slice(&[0x20, 1]);
    v6[31..].copy_from_slice(&[2, 0x30, 0x39, 1, 0xBB]);
    let tlvs = [&v4[..], &[0xEA, 0, 2, 1, 2], &[4, 0, 0]].concat();
    for (header, source, port) in [
        (V1.to_vec(), "192.0.2.7", "443"),
        (
            b"PROXY TCP6 2001:db8::7 ::1 1 8443\r\n".to_vec(),
            "2001:db8::7",
            "8443",
        ),
        (v2(0x21, 0x11, &v4), "192.0.2.7", "443"),
        (v2(0x21, 0x11, &tlvs), "192.0.2.7", "443"),
        (v2(0x21, 0x21, &v6), "2001::", "443"),
    ] {
        let mut client = Wire::connect(balancer.address()).await;
        // In pieces of one byte, with the request right behind it.
        for byte in &header {
            client.send([*byte]).await;
        }
        client.send([GET, GET].concat()).await;
        assert_eq!(within("a response", client.response()).await.status(), 200);
        assert_eq!(within("a response", client.response()).await.status(), 200);
        let seen = origin.seen();
        let head = &seen.last().expect("a request").head;
        assert_eq!(head.get("x-forwarded-for"), Some(source));
        assert_eq!(head.get("x-forwarded-port"), Some(port));
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_is_the_client() {
    let origin = Origin::ok("yes").await;
    let balancer = trusting("127.0.0.1", origin.address).await;
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(0x20, 0, &[]),
        v2(0x20, 0x11, &[9; 12]),
        v2(0x21, 0, &[]),
    ] {
        let mut client = Wire::connect(balancer.address()).await;
        client.send([&header, GET].concat()).await;
        assert_eq!(within("a response", client.response()).await.status(), 200);
        let seen = origin.seen();
        let head = &seen.last().expect("a request").head;
        assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[tokio::test]
async fn a_trusted_proxy_must_send_a_header_and_nobody_else_may() {
    let origin = Origin::ok("no").await;
    let balancer = trusting("127.0.0.1", origin.address).await;
    let mut bad_sum = vec![192, 0, 2, 7, 198, 51, 100, 2, 0, 1, 0, 2];
    bad_sum.extend_from_slice(&[3, 0, 4, 1, 2, 3, 4]);
    for start in [
        GET.to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.2 12345 443\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.2 12345\r\n".to_vec(),
        v2(0x21, 0x12, &[0; 12]),
        v2(0x21, 0x11, &[0; 11]),
        v2(0x21, 0x11, &bad_sum),
    ] {
        let mut client = Wire::connect(balancer.address()).await;
        client.send([&start, GET].concat()).await;
        let got = within("the end", client.rest()).await;
        assert!(got.is_empty(), "{:?}", String::from_utf8_lossy(&got));
    }
    // Two headers are one, and something that is no request.
    let mut client = Wire::connect(balancer.address()).await;
    client.send([V1, V1, GET].concat()).await;
    assert_eq!(within("an answer", client.response()).await.status(), 400);
    // Somebody whom nobody trusts.
    let other = trusting("192.0.2.0/24", origin.address).await;
    let mut client = Wire::connect(other.address()).await;
    client.send([V1, GET].concat()).await;
    assert_eq!(within("an answer", client.response()).await.status(), 400);
    assert!(origin.seen().is_empty());
    let mut client = Wire::connect(other.address()).await;
    client.send(GET).await;
    assert_eq!(within("an answer", client.response()).await.status(), 200);
}

#[tokio::test]
async fn a_header_that_does_not_come_ends_the_connection_in_time() {
    let origin = Origin::ok("no").await;
    let balancer = trusting("127.0.0.1", origin.address).await;
    for part in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
    ] {
        let began = std::time::Instant::now();
        let mut client = Wire::connect(balancer.address()).await;
        client.send(part).await;
        // The time limit is what is tested.
        assert!(within("the end", client.rest()).await.is_empty());
        let took = began.elapsed();
        assert!(took >= std::time::Duration::from_secs(4), "{took:?}");
    }
    assert!(origin.seen().is_empty());
}

/// A target that expects a header before each request, and tells it in its response.
async fn expecting() -> Origin {
    Origin::at(([127, 0, 0, 1], 0).into(), |mut wire, seen| async move {
        let Some(header) = header(&mut wire).await else {
            return;
        };
        while let Some(request) = read(&mut wire).await {
            seen.lock().expect("not poisoned").push(request);
            wire.send(response(200, &header)).await;
        }
    })
    .await
}

/// The header at the beginning, as text.
async fn header(wire: &mut Wire) -> Option<String> {
    use longshore::proxy_protocol::{Parsed, parse};
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes).ok()? {
            Parsed::Header { ends: None, .. } => return Some("itself".to_owned()),
            Parsed::Header {
                ends: Some(ends), ..
            } => {
                let version = if bytes[0] == b'P' { 1 } else { 2 };
                return Some(format!("{version} {} {}", ends.source, ends.destination));
            }
            Parsed::More(_) => bytes.push(wire.stream.read_u8().await.ok()?),
        }
    }
}

#[tokio::test]
async fn targets_are_told_of_each_client_on_a_connection_of_its_own() {
    for version in ["v1", "v2"] {
        let origin = expecting().await;
        let group = format!(
            "proxy_protocol: {version}\nhealth_check: {{interval: 5, timeout: 2, healthy_threshold: 2}}"
        );
        let top = "runtime: {workers: 1}";
        let balancer = start(&fixed(&[origin.address], &group, top)).await;
        // The checks speak for themselves.
        balancer.wait_for("healthy", 1).await;
        let checks = origin.connections();
        let number = if version == "v1" { 1 } else { 2 };
        for _ in 0..2 {
            let mut client = Wire::connect(balancer.address()).await;
            let own = client.stream.local_addr().expect("connected");
            for _ in 0..2 {
                let response = client.get("/").await;
                let wanted = format!("{number} {own} {}", balancer.address());
                assert_eq!(response.text(), wanted);
            }
        }
        assert!(origin.connections() >= checks + 4);
        eventually("no connection waits for another client", async || {
            (origin.open() == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_a_proxy_told_of_is_told_to_targets() {
    let origin = expecting().await;
    let text = fixed(
        &[origin.address],
        &format!("proxy_protocol: v2\n{NO_CHECK}"),
        "",
    );
    let text = text.replace(
        "    default_action",
        "    proxy_protocol: {trusted: [\"127.0.0.0/8\"]}\n    default_action",
    );
    let balancer = start(&text).await;
    let mut client = Wire::connect(balancer.address()).await;
    client.send([V1, GET].concat()).await;
    let response = within("a response", client.response()).await;
    assert_eq!(response.text(), "2 192.0.2.7:12345 198.51.100.2:443");
}

#[tokio::test]
async fn a_client_whose_listener_left_before_its_header_is_told_so_and_over_tls() {
    let folder = Folder::default();
    folder.make("web", &["web.example"], Key::Ecdsa, 30);
    let origin = Origin::ok("secret").await;
    let plain = fixed(&[origin.address], NO_CHECK, "");
    let (cert, key) = (folder.path("web.pem"), folder.path("web.key"));
    let listener = format!(
        "  - {{name: second, address: '127.0.0.1:2', protocol: HTTPS, certificates: [{{cert: '{cert}', key: '{key}'}}], \
         proxy_protocol: {{trusted: ['127.0.0.0/8']}}, default_action: [{{type: forward, target_group: app}}]}}\n"
    );
    let both = plain.replace("target_groups:", &format!("{listener}target_groups:"));
    let mut balancer = start(&both).await;
    let second = balancer.balancer.addresses()[1].1;
    let mut client = TcpStream::connect(second).await.expect("connected");
    let reloaded = balancer.balancer.reload(config(&plain)).await;
    reloaded.expect("reloaded");
    client.write_all(V1).await.expect("sent");
    // No plain text, but the handshake that it was promised.
    let mut client = secure::over(client, "web.example", &["http/1.1"]).await;
    let request = String::from_utf8_lossy(GET);
    let got = http::ask(&mut client, &request).await.expect("an answer");
    assert_eq!((got.status, got.closes), (503, true));
}
