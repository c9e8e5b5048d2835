//! The dashboard and the events behind it.

use std::collections::BTreeSet;

use longshore_tests::balancer::{fixed, start};
use longshore_tests::eventually;
use longshore_tests::process::{Process, TempFile, free_port};
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
