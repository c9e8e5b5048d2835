//! What operators may do at the admin server, and who may not.

use std::net::SocketAddr;

use longshore_tests::admin::post;
use longshore_tests::balancer::{self, Running};
use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, TempFile, free_port, output_with};
use longshore_tests::python::python;
use longshore_tests::wire::Wire;
use regex::Regex;

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

/// A path with its method, as the router or the document has it.
type Paths = std::collections::BTreeSet<(String, String)>;

/// What the sources give the router, without the dashboard.
fn routed() -> Paths {
    let route = Regex::new(r#"\.route\(\s*"([^"]+)",\s*(get|post)\("#).expect("valid");
    let mut found = Paths::new();
    for file in ["admin.rs", "actions.rs"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = path.join("../proxy/src/observe").join(file);
        let text = std::fs::read_to_string(path).expect("it is there");
        let all = route.captures_iter(&text);
        found.extend(all.map(|one| (one[1].to_owned(), one[2].to_owned())));
    }
    found
}

#[tokio::test]
async fn the_openapi_document_has_every_path_and_each_answers_as_it_says() {
    let (mut running, _a, b) = two().await;
    // Nobody here knows a file.
    drop(running.balancer.take_reloads());
    let admin = running.balancer.admin_address().expect("it has one");
    let got = Wire::connect(admin).await.get("/openapi.json").await;
    let document: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut told = Paths::new();
    for (path, operations) in paths {
        let methods = operations.as_object().expect("operations").keys();
        told.extend(methods.map(|method| (path.clone(), method.clone())));
    }
    assert_eq!(told, routed());
    // A body that is right; that of another kind is refused as the document says.
    let target = format!(
        "{{\"target_group\": \"app\", \"target\": \"{}\", \"weight\": 1}}",
        b.address
    );
    for (path, method) in told {
        let answers = match method.as_str() {
            "get" => vec![Wire::connect(admin).await.get(&path).await],
            _ => {
                let right = match path.as_str() {
                    "/zonal_shift" => "{\"away_from\": []}",
                    "/log_level" => "{\"filter\": \"info\"}",
                    _ => &target,
                };
                vec![
                    post(admin, &path, right, "").await,
                    post(admin, &path, "5", "").await,
                ]
            }
        };
        let responses = &document["paths"][&path][&method]["responses"];
        for got in answers {
            let told = &responses[got.status().to_string()];
            assert!(told.is_object(), "{method} {path} answers {}", got.status());
            let Some(content) = told["content"].as_object() else {
                continue;
            };
            let kind = got.head.get("content-type").expect("a type");
            let kind = kind.split(';').next().expect("one");
            assert!(content.contains_key(kind), "{method} {path} is {kind}");
        }
        if method == "get" {
            let asked =
                format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n");
            let mut client = Wire::connect(admin).await;
            client.send(asked).await;
            assert_eq!(client.response().await.status(), 405, "{path}");
        }
    }
    let file = TempFile::new(&got.text());
    let Some(python) = python("openapi-spec-validator") else {
        return;
    };
    let mut command = std::process::Command::new(python);
    let checked = command
        .args(["-m", "openapi_spec_validator"])
        .arg(file.path());
    let checked = checked.output().expect("runs");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}");
}

#[tokio::test]
async fn the_snapshot_tells_who_may_be_picked() {
    let (running, a, b) = two().await;
    let admin = running.balancer.admin_address().expect("it has one");
    let snapshot = async || -> serde_json::Value {
        let got = Wire::connect(admin).await.get("/snapshot").await;
        serde_json::from_slice(&got.body).expect("JSON")
    };
    let before = snapshot().await;
    let candidates = |of: &serde_json::Value| -> Vec<String> {
        let all = of["target_groups"][0]["candidates"]
            .as_array()
            .expect("a list");
        let all = all
            .iter()
            .map(|one| one["address"].as_str().expect("text").to_owned());
        all.collect()
    };
    let both = [a.address.to_string(), b.address.to_string()];
    let mut found = candidates(&before);
    found.sort();
    let mut expected = both.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(before["listeners"][0]["name"], "web");
    assert_eq!(before["target_groups"][0]["algorithm"], "round_robin");
    for address in &both {
        let body = format!("{{\"target_group\": \"app\", \"target\": \"{address}\"}}");
        assert_eq!(post(admin, "/targets/drain", &body, "").await.status(), 200);
    }
    let after = snapshot().await;
    assert!(candidates(&after).is_empty());
    assert_eq!(
        after["target_groups"][0]["without_candidates"],
        "no_targets"
    );
    assert!(after["generation"].as_u64() > before["generation"].as_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_a_reload_would_change_and_nothing_tells_a_secret() {
    let origin = Origin::ok("ok").await;
    let (port, moved, at) = (free_port(), free_port(), free_port());
    let text = |port: u16, delay: u32, more: &str| {
        format!(
            "admin: {{address: '127.0.0.1:{at}', token: '0123456789abcdef'}}
runtime: {{cookie_keys: ['AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=']}}
listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]
target_groups:
  - {{name: app, targets: [{{address: 127.0.0.1, port: {}}}], deregistration_delay: {delay}, health_check: {{enabled: false}}}}
{more}",
            origin.address.port()
        )
    };
    let file = TempFile::new(&text(port, 30, ""));
    let (_process, _) = Process::run(&file);
    let url = format!("http://127.0.0.1:{at}");
    let plan = |file: &TempFile| {
        let path = file.path().to_str().expect("text");
        let got = output_with(&["plan", "-c", path, "--admin", &url], &[]);
        let error = String::from_utf8_lossy(&got.stderr).into_owned();
        (
            got.status.success(),
            String::from_utf8(got.stdout).expect("text") + &error,
        )
    };
    assert_eq!(plan(&file), (true, "no changes\n".to_owned()));
    let new = TempFile::new(&text(moved, 10, "  - {name: next, targets: []}\n"));
    let (good, said) = plan(&new);
    assert!(good, "{said}");
    for part in [
        format!("~ listeners.web.address: 127.0.0.1:{port} -> 127.0.0.1:{moved}\n"),
        "~ target_groups.app.deregistration_delay: 30 -> 10\n".to_owned(),
        "+ target_groups.next: {\"name\":\"next\",\"targets\":[]}\n".to_owned(),
        "\n3 changes\n".to_owned(),
    ] {
        assert!(said.contains(&part), "{part} in\n{said}");
    }
    let broken = TempFile::new(&text(moved, 10, "  - {nam: next}\n"));
    let (good, said) = plan(&broken);
    assert!(!good && said.contains("did you mean `name`?"), "{said}");
    // Applied, there is nothing left of it.
    file.write(&text(moved, 10, "  - {name: next, targets: []}\n"));
    let token = "Authorization: Bearer 0123456789abcdef\r\n";
    let admin: SocketAddr = ([127, 0, 0, 1], at).into();
    assert_eq!(post(admin, "/reload", "", token).await.status(), 200);
    assert_eq!(plan(&new), (true, "no changes\n".to_owned()));
    let mut client = Wire::connect(admin).await;
    client
        .send(format!(
            "GET /config HTTP/1.1\r\nHost: {admin}\r\n{token}\r\n"
        ))
        .await;
    let shown = client.response().await.text();
    assert!(shown.contains("(secret)"), "{shown}");
    for secret in ["0123456789abcdef", "AAECAwQ"] {
        assert!(!shown.contains(secret) && !said.contains(secret), "{shown}");
    }
}
