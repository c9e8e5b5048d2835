//! What operators may do at the admin server, and who may not.

use std::net::SocketAddr;

use longshore_tests::balancer::{self, Running};
use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, free_port, output_with};
use longshore_tests::wire::{Response, Wire};

async fn post(admin: SocketAddr, path: &str, body: &str, more: &str) -> Response {
    let mut client = Wire::connect(admin).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    );
    client.send(head).await;
    client.response().await
}

async fn two() -> (Running, Origin, Origin) {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let off = "health_check: {enabled: false}";
    let text = balancer::fixed(
        &[a.address, b.address],
        off,
        "admin: {address: '127.0.0.1:2'}",
    );
    (balancer::start(&text).await, a, b)
}

/// So many of forty, or nearly: workers that are busy take turns in blocks.
fn about(got: usize, expected: usize) {
    assert!(got.abs_diff(expected) <= 2, "{got} of 40, not {expected}");
}

/// How many of forty requests the second origin got.
async fn share(running: &Running) -> usize {
    let mut client = Wire::connect(running.address()).await;
    let mut count = 0;
    for _ in 0..40 {
        count += usize::from(client.get("/").await.text() == "b");
    }
    count
}

#[tokio::test]
async fn a_target_is_drained_and_weighed_by_an_operator_until_it_is_taken_back() {
    let (mut running, a, b) = two().await;
    let admin = running.balancer.admin_address().expect("it has one");
    about(share(&running).await, 20);
    let body = |more: &str| {
        format!(
            "{{\"target_group\": \"app\", \"target\": \"{}\"{more}}}",
            b.address
        )
    };
    assert_eq!(
        post(admin, "/targets/drain", &body(""), "").await.status(),
        200
    );
    assert_eq!(share(&running).await, 0);
    let targets = running.targets("healthy").await;
    let overridden = |target: &&longshore::control::view::TargetView| {
        target.administrative_override == "drained"
    };
    assert_eq!(targets.iter().filter(overridden).count(), 1);
    // A reload leaves it as it is.
    let same = balancer::fixed(
        &[a.address, b.address],
        "health_check: {enabled: false}",
        "admin: {address: '127.0.0.1:2'}",
    );
    running
        .balancer
        .reload(balancer::config(&same))
        .await
        .expect("reloaded");
    assert_eq!(share(&running).await, 0);
    assert_eq!(
        post(admin, "/targets/undrain", &body(""), "")
            .await
            .status(),
        200
    );
    about(share(&running).await, 20);
    let weighed = post(admin, "/targets/weight", &body(", \"weight\": 3"), "").await;
    assert_eq!(weighed.status(), 200);
    about(share(&running).await, 30);
    let taken_back = post(admin, "/targets/weight", &body(", \"weight\": null"), "").await;
    assert_eq!(taken_back.status(), 200);
    about(share(&running).await, 20);
    for (path, body, status) in [
        (
            "/targets/drain",
            "{\"target_group\": \"app\", \"target\": \"x\"}",
            404,
        ),
        (
            "/targets/drain",
            "{\"target_group\": \"no\", \"target\": \"x\"}",
            404,
        ),
        ("/targets/drain", "{}", 400),
        ("/targets/drain", "x", 400),
        ("/targets/weight", &body(", \"weight\": 1000"), 400),
        ("/zonal_shift", "{}", 400),
    ] {
        assert_eq!(
            post(admin, path, body, "").await.status(),
            status,
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing_and_read_nothing_by_another_name() {
    let (running, _a, b) = two().await;
    let admin = running.balancer.admin_address().expect("it has one");
    let body = format!(
        "{{\"target_group\": \"app\", \"target\": \"{}\"}}",
        b.address
    );
    for more in [
        "Origin: http://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: null\r\n",
    ] {
        let got = post(admin, "/targets/drain", &body, more).await;
        assert_eq!(got.status(), 403, "{more}");
    }
    about(share(&running).await, 20);
    let own = format!("Origin: http://{admin}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(
        post(admin, "/targets/drain", &body, &own).await.status(),
        200
    );
    let mut client = Wire::connect(admin).await;
    for (path, status) in [
        ("/targets", 403),
        ("/metrics", 403),
        ("/requests", 403),
        ("/livez", 200),
    ] {
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nHost: evil.example:9901\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response().await.status(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_it_may_be_reached_from_elsewhere_and_only_with_it() {
    let origin = Origin::ok("a").await;
    let top = "admin: {address: '0.0.0.0:2', token: 0123456789abcdef}";
    let text = balancer::fixed(&[origin.address], "health_check: {enabled: false}", top);
    let running = balancer::start(&text).await;
    let admin = running.balancer.admin_address().expect("it has one");
    let mut client = Wire::connect(admin).await;
    for (more, status) in [
        ("", 401),
        ("Authorization: Bearer 0123456789abcdeF\r\n", 401),
        ("Authorization: Bearer 0123456789abcdef\r\n", 200),
    ] {
        client
            .send(format!(
                "GET /targets HTTP/1.1\r\nHost: {admin}\r\n{more}\r\n"
            ))
            .await;
        assert_eq!(client.response().await.status(), status, "{more}");
    }
    assert_eq!(client.get("/livez").await.status(), 200);
    let url = format!("http://{admin}");
    let asked = ["explain", "--admin", &url, "--trace-id", "1-2"];
    for (token, said) in [
        ("0123456789abcdeF", "wants another token"),
        ("0123456789abcdef", "no request of 1-2 is known"),
    ] {
        let got = output_with(&asked, &[("LONGSHORE_ADMIN_TOKEN", token)]);
        let text = String::from_utf8_lossy(&got.stderr).into_owned();
        assert!(text.contains(said), "{text}");
    }
    let open = text.replace(", token: 0123456789abcdef", "");
    let errors = longshore_config::parse("test", &open, &|_| None).expect_err("refused");
    assert!(errors.to_string().contains("or set `token`"), "{errors}");
}

#[tokio::test]
async fn a_reload_and_the_level_of_the_log_can_be_asked_for() {
    let (old, new) = (Origin::ok("old").await, Origin::ok("new").await);
    let (port, admin) = (free_port(), free_port());
    let text = |target: &Origin| {
        format!(
            "admin: {{address: '127.0.0.1:{admin}'}}\n\
             listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]\n\
             target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]\n",
            target.address.port()
        )
    };
    let file = TempFile::new(&text(&old));
    let (mut process, address) = Process::run(&file);
    let admin = ([127, 0, 0, 1], admin).into();
    let mut client = Wire::connect(address).await;
    assert_eq!(client.get("/").await.text(), "old");
    file.write("listeners: 5\n");
    let refused = post(admin, "/reload", "", "").await;
    assert_eq!(refused.status(), 400);
    assert!(
        refused.text().contains("expected a list"),
        "{}",
        refused.text()
    );
    assert_eq!(client.get("/").await.text(), "old");
    file.write(&text(&new));
    assert_eq!(post(admin, "/reload", "", "").await.status(), 200);
    assert_eq!(client.get("/").await.text(), "new");
    let level = |filter: &str| format!("{{\"filter\": \"{filter}\"}}");
    assert_eq!(
        post(admin, "/log_level", &level("longshore=["), "")
            .await
            .status(),
        400
    );
    assert_eq!(
        post(admin, "/log_level", &level("longshore=debug"), "")
            .await
            .status(),
        200
    );
    process.wait_for_line("the level of the log was changed");
}
