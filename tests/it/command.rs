//! The command: what it prints and how it ends.

use longshore_tests::cluster::Cluster;
use longshore_tests::process::{Process, TempFile, free_port, output, output_with};
use longshore_tests::wire::Wire;
use longshore_tests::within;

#[test]
fn check_prints_every_error_with_its_place_and_fails() {
    let file = TempFile::new("listeners:\n  - name: web\n    port: 0\n    defualt_action: []\n");
    let path = file.path().to_str().expect("text");
    let got = output(&["check", "-c", path]);
    assert_eq!(got.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&got.stderr).into_owned();
    let lines: Vec<&str> = errors.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with(&format!("{path}:"))),
        "{errors}"
    );
    assert!(
        errors
            .contains(":3:11: listeners[0].port: expected a whole number from 1 to 65535, found 0"),
        "{errors}"
    );
    assert!(
        errors.contains("did you mean `default_action`?"),
        "{errors}"
    );
}

#[test]
fn check_says_ok_to_a_good_file_and_run_refuses_a_bad_one() {
    let good = TempFile::new(
        "listeners: [{name: web, port: 80, default_action: [{type: forward, target_group: a}]}]\ntarget_groups: [{name: a}]\n",
    );
    let got = output(&["check", "-c", good.path().to_str().expect("text")]);
    assert_eq!(
        (got.status.code(), got.stdout.as_slice()),
        (Some(0), &b"ok\n"[..])
    );
    let bad = TempFile::new("");
    let got = output(&["run", "-c", bad.path().to_str().expect("text")]);
    assert_eq!(got.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&got.stderr).contains(":1:1: the file is empty"));
}

#[test]
fn an_address_in_use_is_told_and_not_shared() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = holder.local_addr().expect("bound").port();
    let file = TempFile::new(&format!(
        "listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: a}}]}}]\ntarget_groups: [{{name: a}}]\n"
    ));
    let got = output(&["run", "-c", file.path().to_str().expect("text")]);
    assert_eq!(got.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&got.stderr).into_owned();
    assert!(
        errors.contains(&format!("web: cannot listen on 127.0.0.1:{port}")),
        "{errors}"
    );
}

#[test]
fn explain_says_which_rule_a_request_meets_and_why_not_the_others() {
    let file = TempFile::new(
        "listeners:
  - name: web
    address: 127.0.0.1:8080
    default_action: [{type: forward, target_group: app}]
    rules:
      - priority: 5
        condition: [{path_pattern: {values: [/admin/*]}}, {source_ip: {values: [10.0.0.0/8]}}]
        action: [{type: fixed_response, fixed_response: {status_code: 403}}]
      - priority: 7
        condition: [{http_header: {http_header_name: X-Beta, values: ['yes']}}]
        action: [{type: forward, target_group: beta}]
target_groups:
  - {name: app, targets: [{address: 127.0.0.1, port: 32768}]}
  - {name: beta, targets: [{address: 127.0.0.1, port: 32769}]}
",
    );
    let path = file.path().to_str().expect("text");
    let explain = |more: &[&str]| {
        let got = output(&[&["explain", "-c", path], more].concat());
        (
            got.status.code(),
            String::from_utf8_lossy(&got.stdout).into_owned(),
            String::from_utf8_lossy(&got.stderr).into_owned(),
        )
    };
    let url = "http://a.example/admin/x";
    let (code, told, _) = explain(&["GET", url, "-H", "x-beta: Yes"]);
    assert_eq!(code, Some(0));
    let line = |start: &str| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        told.lines().map(words).find(|line| line.starts_with(start))
    };
    assert_eq!(
        line("listener").as_deref(),
        Some("listener web (HTTP 127.0.0.1:8080)")
    );
    assert_eq!(
        line("5 no match").as_deref(),
        Some("5 no match path_pattern holds /admin/x /admin/*")
    );
    assert_eq!(
        line("source_ip").as_deref(),
        Some("source_ip does not hold 127.0.0.1 10.0.0.0/8")
    );
    assert_eq!(
        line("7 matches").as_deref(),
        Some("7 matches http_header holds X-Beta: Yes yes")
    );
    assert_eq!(
        line("action").as_deref(),
        Some("action forward to beta (rule 7)")
    );
    assert_eq!(line("127.0.0.1:").as_deref(), Some("127.0.0.1:32769 1"));
    let (_, told, _) = explain(&["GET", url, "--source-ip", "10.9.9.9"]);
    assert!(told.contains("fixed_response: 403"), "{told}");
    for wrong in [
        &["GET", "ftp://a/"][..],
        &["GET", "/x"],
        &["GET", "https://a/"],
        &["GET", url, "--listener", "none"],
    ] {
        let (code, told, error) = explain(wrong);
        assert_eq!((code, told.as_str()), (Some(1), ""), "{wrong:?}");
        assert!(error.starts_with("longshore: "), "{error}");
    }
}

#[test]
fn the_schema_is_json() {
    let got = output(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&got.stdout).expect("JSON");
    assert!(schema["properties"]["listeners"].is_object());
}

#[tokio::test]
async fn the_demo_serves_from_several_dynamic_ports_of_one_host() {
    let port = free_port();
    let mut process = Process::start(&[
        "demo",
        "--port",
        &port.to_string(),
        "--tasks",
        "3",
        "--for",
        "60s",
    ]);
    process.wait_for_line("registered");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    longshore_tests::eventually("it serves", async || {
        tokio::net::TcpStream::connect(address).await.ok()
    })
    .await;
    let mut client = Wire::connect(address).await;
    let mut addresses = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let got = within("a response", client.get("/")).await;
        assert_eq!(got.status(), 200);
        addresses.insert(got.head.get("x-task-address").expect("told").to_owned());
    }
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    let hosts: std::collections::BTreeSet<&str> = addresses
        .iter()
        .filter_map(|a| a.split(':').next())
        .collect();
    assert_eq!(hosts.len(), 1, "{addresses:?}");
    process.signal("INT");
    assert!(process.wait().success());
}

#[test]
fn the_demo_ends_by_itself_after_its_time() {
    let port = free_port().to_string();
    let mut process = Process::start(&["demo", "--port", &port, "--tasks", "1", "--for", "100ms"]);
    assert!(process.wait().success());
}

/// `longshore targets` at an emulator: whether it succeeded, and what it printed.
async fn targets(cluster: &Cluster, service: &str, more: &'static [&str]) -> (bool, String) {
    let file = TempFile::new(&format!(
        "listeners: [{{name: web, port: 1, default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups: [{{name: app, discovery: {{ecs: {{cluster: prod, service: {service}, events_queue: q}}}}, health_check: {{path: /health}}}}]\n"
    ));
    let endpoint = cluster.ecs.endpoint_url();
    // The emulator runs in this thread's runtime.
    let run = tokio::task::spawn_blocking(move || {
        let environment = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
        ];
        let path = file.path().to_str().expect("text");
        let mut arguments = vec!["targets", "-c", path];
        arguments.extend(more);
        output_with(&arguments, &environment)
    });
    let got = within("the command's end", run).await.expect("ran");
    let text = String::from_utf8(got.stdout).expect("text");
    (got.status.success(), text)
}

#[tokio::test]
async fn targets_lists_what_discovery_sees_and_why_a_task_is_none() {
    let cluster = Cluster::start().await;
    cluster.service("web", 2).await;
    let (ok, text) = targets(&cluster, "web", &[]).await;
    assert!(ok && text.starts_with("app (ecs): 2 targets\n"), "{text}");
    for task in cluster.tasks_of("web") {
        let line = text.lines().find(|line| line.contains(&task.id));
        let line = line.unwrap_or_else(|| panic!("{} is not in\n{text}", task.id));
        assert!(
            line.contains(&task.addresses[0].to_string()) && line.contains("healthy"),
            "{line}"
        );
    }
    let (ok, json) = targets(&cluster, "web", &["--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let listed = json["target_groups"][0]["targets"].as_array();
    assert!(
        ok && listed.is_some_and(|targets| targets.len() == 2),
        "{json}"
    );
    let (ok, text) = targets(&cluster, "no-such-service", &["--wait", "5s"]).await;
    assert!(!ok && text.contains("ServiceNotFoundException"), "{text}");
    let calls = cluster.ecs.calls();
    let queue = ["GetQueueUrl", "ReceiveMessage"].map(|call| calls.contains_key(call));
    assert_eq!(
        queue, [false; 2],
        "it takes no event from the process that serves"
    );
}

#[tokio::test]
async fn health_says_whether_a_process_works_and_whether_it_should_get_requests() {
    let (port, admin) = (free_port(), free_port());
    let file = TempFile::new(&format!(
        "admin: {{address: '127.0.0.1:{admin}'}}
runtime: {{drain_timeout: 20s}}
listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]
target_groups:
  - name: app
    targets: [{{address: 127.0.0.1, port: 9}}]
    health_check: {{enabled: false}}
    target_group_health: {{dns_failover: {{minimum_healthy_targets_count: 2}}}}
"
    ));
    let path = file.path().to_str().expect("text").to_owned();
    let asked = |more: &[&str]| {
        let got = output(&[&["health", "-c", &path], more].concat());
        (
            got.status.success(),
            String::from_utf8_lossy(&got.stderr).into_owned(),
        )
    };
    let (good, error) = asked(&[]);
    assert!(!good && error.contains("/livez at 127.0.0.1"), "{error}");
    let (process, _) = Process::run(&file);
    assert_eq!(asked(&[]), (true, String::new()));
    let (good, error) = asked(&["--ready"]);
    assert!(
        !good && error.contains("answers 503: not ready: target group app"),
        "{error}"
    );
    let bare = output(&["health", "--admin", &format!("127.0.0.1:{admin}")]);
    assert_eq!(bare.stdout, b"ok\n");
    drop(process);
    assert!(!asked(&[]).0);
    // Somebody who takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let at = silent.local_addr().expect("bound").to_string();
    let got = output(&["health", "--admin", &at, "--timeout", "200ms"]);
    assert_eq!(got.status.code(), Some(1));
}

#[test]
fn health_without_an_admin_server_says_what_is_missing() {
    let file = TempFile::new(
        "listeners: [{name: web, port: 80, default_action: [{type: forward, target_group: a}]}]\ntarget_groups: [{name: a}]\n",
    );
    let got = output(&["health", "-c", file.path().to_str().expect("text")]);
    assert_eq!(got.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&got.stderr).contains("admin.address"));
    assert_eq!(output(&["health"]).status.code(), Some(2));
}
