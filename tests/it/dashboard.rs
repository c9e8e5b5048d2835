//! The dashboard and the events behind it.

use std::collections::BTreeSet;

use longshore_tests::balancer::{fixed, start};
use longshore_tests::eventually;
use longshore_tests::process::{Process, TempFile, binary, free_port};
use longshore_tests::wire::{Response, Wire};

async fn get(address: std::net::SocketAddr, path: &str) -> Response {
    Wire::connect(address).await.get(path).await
}

/// What a page asks for: the values of `href` and `src`.
fn links(page: &str) -> BTreeSet<String> {
    let of = |attribute: &str| -> Vec<String> {
        let mark = format!(" {attribute}=\"");
        let parts = page.split(&mark).skip(1);
        parts
            .filter_map(|rest| rest.split('"').next())
            .map(str::to_owned)
            .collect()
    };
    of("href").into_iter().chain(of("src")).collect()
}

#[tokio::test]
async fn the_dashboard_comes_whole_and_loads_nothing_from_elsewhere() {
    let text = fixed(&[], "", "admin: {address: '127.0.0.1:2'}");
    let balancer = start(&text).await;
    let admin = balancer.balancer.admin_address().expect("it has one");
    let root = get(admin, "/").await;
    assert_eq!(root.head.get("location"), Some("/dashboard/"));
    let page = get(admin, "/dashboard/").await;
    assert_eq!(page.status(), 200);
    let links = links(&page.text());
    assert!(links.len() >= 5, "{links:?}");
    let mut kinds = BTreeSet::new();
    for link in links {
        if link.starts_with('#') {
            continue;
        }
        let path = match link.strip_prefix('/') {
            Some(_) => link.clone(),
            None => format!("/dashboard/{link}"),
        };
        let got = get(admin, &path).await;
        assert_eq!(got.status(), 200, "{link}");
        assert!(!got.text().is_empty());
        kinds.insert(got.head.get("content-type").expect("a type").to_owned());
        if !path.starts_with("/dashboard/") {
            continue;
        }
        let policy = got.head.get("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(got.head.get("x-content-type-options"), Some("nosniff"));
        let ours = !path.contains("/uplot/") && !path.ends_with(".svg");
        assert!(
            !ours || !got.text().contains("://"),
            "{link} names another place"
        );
    }
    assert!(
        kinds.contains("text/javascript; charset=utf-8"),
        "{kinds:?}"
    );
    assert!(kinds.contains("text/css; charset=utf-8"), "{kinds:?}");
}

#[tokio::test]
async fn events_tell_what_came_and_went_and_only_what_is_new() {
    let (port, admin) = (free_port(), free_port());
    let targets = TempFile::new("[{targets: ['127.0.0.1:9001', '127.0.0.1:9002']}]");
    let list = targets.path().to_str().expect("text");
    let file = TempFile::new(&format!(
        "admin: {{address: '127.0.0.1:{admin}'}}
listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]
target_groups:
  - name: app
    discovery: {{file: {{path: {list}, refresh_interval: 1s}}}}
    health_check: {{enabled: false}}
"
    ));
    let (process, _) = Process::run(&file);
    let admin = ([127, 0, 0, 1], admin).into();
    let events = async |after: u64| -> serde_json::Value {
        let got = get(admin, &format!("/events?after={after}")).await;
        serde_json::from_str(&got.text()).expect("JSON")
    };
    let told = async |after: u64, message: &str, target: &str| {
        eventually("an event", async || {
            let all = events(after).await;
            let list = all["events"].as_array().expect("a list").clone();
            let found = list.iter().any(|event| {
                let about = &event["fields"];
                event["message"] == message
                    && about["target_group"] == "app"
                    && about["target"]
                        .as_str()
                        .is_some_and(|text| text.contains(target))
            });
            found.then(|| all["newest"].as_u64().expect("a number"))
        })
        .await
    };
    let newest = told(0, "registered", "127.0.0.1:9002").await;
    targets.write("[{targets: ['127.0.0.1:9001']}]");
    let after = told(newest, "draining", "127.0.0.1:9002").await;
    let later = events(after).await;
    let list = later["events"].as_array().expect("a list");
    assert!(
        list.iter().all(|event| event["id"].as_u64() > Some(after)),
        "{later}"
    );
    drop(process);
}

#[tokio::test]
async fn targets_tell_where_requests_are_moved_away_from_and_who_said_so() {
    let top = "admin: {address: '127.0.0.1:2'}\nload_balancer: {zonal_shift: {away_from: [a]}}";
    let running = start(&fixed(&[], "", top)).await;
    let admin = running.balancer.admin_address().expect("it has one");
    let said = async || -> serde_json::Value {
        let view = get(admin, "/targets").await.text();
        serde_json::from_str(&view).expect("JSON")
    };
    let expected = serde_json::json!({"by_file": ["a"], "by_operators": []});
    assert_eq!(said().await["zonal_shift"], expected);
    let body = r#"{"away_from": ["b"]}"#;
    let done = longshore_tests::admin::post(admin, "/zonal_shift", body, "").await;
    assert_eq!(done.status(), 200);
    let expected = serde_json::json!({"by_file": ["a"], "by_operators": ["b"]});
    assert_eq!(said().await["zonal_shift"], expected);
}

#[tokio::test]
async fn targets_tell_which_rules_lead_to_which_groups() {
    let text = "admin: {address: '127.0.0.1:2'}
listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{type: redirect, redirect: {path: /new, status_code: HTTP_302}}]
    rules:
      - priority: 20
        condition: [{host_header: {values: [a.example, b.example]}}, {path_pattern: {regex_values: ['^/x']}}]
        action: [{type: forward, forward: {target_group: [{name: one, weight: 3}, {name: two, weight: 1}]}}]
      - priority: 10
        condition: [{query_string: [{key: v, value: '1'}]}]
        action: [{type: fixed_response, fixed_response: {status_code: 404}}]
target_groups: [{name: one}, {name: two}]
";
    let running = start(text).await;
    let admin = running.balancer.admin_address().expect("it has one");
    let view: serde_json::Value =
        serde_json::from_str(&get(admin, "/targets").await.text()).expect("JSON");
    let routes = &view["routes"][0];
    assert_eq!(routes["listener"], "web");
    assert_eq!(routes["more"], 0);
    let rules = serde_json::json!([
        {"priority": 10, "conditions": ["query_string v=1"], "action": "fixed_response", "target_groups": []},
        {
            "priority": 20,
            "conditions": ["host_header a.example or b.example", "path_pattern regex ^/x"],
            "action": "forward",
            "target_groups": [{"name": "one", "weight": 3}, {"name": "two", "weight": 1}]
        },
        {"priority": null, "conditions": [], "action": "redirect", "target_groups": []}
    ]);
    assert_eq!(routes["rules"], rules);
}

/// The folder where `tests/run` installed what drives a browser; none if that is to be left out.
fn browser() -> Option<(String, String)> {
    let Ok(folder) = std::env::var("LONGSHORE_BROWSER") else {
        eprintln!("left out: LONGSHORE_BROWSER is not set; see tests/README.md");
        return None;
    };
    let chromium = std::env::var("LONGSHORE_CHROMIUM").unwrap_or("/usr/bin/chromium".to_owned());
    Some((folder, chromium))
}

/// How long the page may show a task that has stopped, in milliseconds.
const STOPPED_MS: u64 = 2_000;

#[test]
fn a_user_of_a_browser_sees_a_stopped_task_go_and_its_replacement_come() {
    let Some((folder, chromium)) = browser() else {
        return;
    };
    let shots = std::env::var("LONGSHORE_SCREENSHOTS");
    let shots = shots.unwrap_or_else(|_| format!("{folder}/screenshots"));
    std::fs::create_dir_all(&shots).expect("made");
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/dashboard.mjs");
    let watch = || -> serde_json::Value {
        let got = std::process::Command::new("node")
            .arg(&script)
            .arg(binary())
            .args([&chromium, &shots])
            .output()
            .expect("node runs");
        let error = String::from_utf8_lossy(&got.stderr).into_owned();
        assert!(got.status.success(), "{error}");
        serde_json::from_slice(&got.stdout).expect("JSON")
    };
    let after = |said: &serde_json::Value| said["stopped_after_ms"].as_u64().expect("a number");
    let mut said = watch();
    for _ in 0..2 {
        // The browser has to have its turn for that.
        if after(&said) > STOPPED_MS {
            said = watch();
        }
    }
    let empty = serde_json::json!([]);
    assert_eq!(said["complaints"], empty, "the console complains");
    assert_eq!(said["elsewhere"], empty, "it asks for something elsewhere");
    assert_eq!(said["faults"], empty, "it cannot be used by everybody");
    // One instance, registered three times.
    let instances = said["instances"].as_array().expect("a list");
    assert_eq!(instances.len(), 1, "{said}");
    let text = instances[0].as_str().expect("a text");
    assert!(text.contains("registered 3 times, ports"), "{text}");
    assert_eq!(said["map"], serde_json::json!(["web"]), "{said}");
    let after = after(&said);
    assert!(after <= STOPPED_MS, "the row changes after {after} ms");
    assert_eq!(said["replacement"]["state"], "healthy", "{said}");
    let port = said["replacement"]["port"].as_str().expect("a port");
    assert!(
        port.parse::<u16>().is_ok_and(|port| port >= 32_768),
        "{port}"
    );
    // What operators change is asked first, and done by keyboard.
    let acted = &said["actions"];
    assert_eq!(acted["first_focus"], "Cancel", "{acted}");
    let question = acted["question"].as_str().expect("a text");
    assert!(question.contains("gets no new requests"), "{question}");
    for so in ["closed", "focus_back", "nothing_done", "focus_stays"] {
        assert_eq!(acted[so], true, "{so}: {acted}");
    }
    let sent = serde_json::json!([null, "Bearer a secret of twenty letters"]);
    assert_eq!(acted["sent"], sent);
    let row = acted["row"].as_str().expect("a text");
    assert!(row.contains("drained"), "{row}");
    let zone = acted["zone"].as_str().expect("a text");
    assert!(zone.contains("requests are moved away"), "{zone}");
    // By keyboard, and on a phone.
    assert_eq!(said["first_focus"], "Skip to target groups");
    assert_eq!(said["filtered"].as_array().map(Vec::len), Some(1), "{said}");
    let reached = said["reached"].as_array().expect("a list");
    assert!(reached.iter().any(|id| id == "events"), "{said}");
    assert_eq!(said["phone_overflow"], 0, "it is wider than a phone");
}
