//! The Grafana dashboard and the Prometheus rules, against what `/metrics` says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use longshore::request::answer::Reason;
use longshore_tests::balancer::{Running, fixed, start};
use longshore_tests::certificates::Folder;
use longshore_tests::eventually;
use longshore_tests::process::free_port;
use longshore_tests::scrape;
use longshore_tests::wire::Wire;

fn file(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent().expect("the workspace");
    root.join("packaging/observability").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn running() -> Running {
    start(&fixed(
        &[([127, 0, 0, 1], 9).into()],
        "health_check: {enabled: false}",
        "admin: {address: '127.0.0.1:2'}",
    ))
    .await
}

/// The words of a text that begin as our metrics do.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("longshore_"))
        .collect()
}

/// The values that expressions compare a label with.
fn values<'t>(text: &'t str, label: &str) -> BTreeSet<&'t str> {
    let text = text.split(label).skip(1);
    let quoted = text.filter_map(|rest| {
        let rest = rest.trim_start_matches(['=', '!', '~']);
        let rest = rest
            .strip_prefix("\\\"")
            .or_else(|| rest.strip_prefix('"'))?;
        rest.split(['"', '\\']).next()
    });
    quoted.flat_map(|values| values.split('|')).collect()
}

#[tokio::test]
async fn dashboard_and_alerts_use_metrics_and_reasons_that_exist() {
    let running = running().await;
    let admin = running.balancer.admin_address().expect("it has one");
    let known = scrape::names(&Wire::connect(admin).await.get("/metrics").await.text());
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    for (name, least) in [("grafana.json", 25), ("alerts.yaml", 12)] {
        let text = read(name);
        let used = metrics(&text);
        assert!(used.len() >= least, "{name}: {used:?}");
        let missing: Vec<_> = used.iter().filter(|name| !known.contains(**name)).collect();
        assert!(missing.is_empty(), "{name}: there is no {missing:?}");
        let answers: BTreeSet<&str> = text
            .split("longshore_answers_total")
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
            .flat_map(|selector| values(selector, "reason"))
            .collect();
        assert!(!answers.is_empty(), "{name}");
        assert!(answers.is_subset(&reasons), "{name}: {answers:?}");
    }
}

#[test]
fn each_panel_of_the_dashboard_has_a_place_of_its_own_and_a_query() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("a number")),
            "{title}"
        );
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{title}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} covers another one");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().expect("a list");
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expression = target["expr"].as_str().expect("a text");
            assert!(expression.contains("$instance"), "{title}: {expression}");
        }
    }
    assert!(ids.len() > 20);
}

/// The folder of Prometheus' programs; none if they are to be left out.
fn prometheus() -> Option<PathBuf> {
    let folder = std::env::var_os("LONGSHORE_PROMETHEUS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("left out: LONGSHORE_PROMETHEUS is not set; see tests/README.md");
    }
    folder
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

#[tokio::test]
async fn a_real_prometheus_scrapes_it_and_takes_the_rules_and_each_query_of_the_dashboard() {
    let Some(programs) = prometheus() else { return };
    let mut check = Command::new(programs.join("promtool"));
    let checked = check.arg("check").arg("rules").arg(file("alerts.yaml"));
    let checked = checked.output().expect("runs");
    assert!(checked.status.success(), "{checked:?}");

    let running = running().await;
    let admin = running.balancer.admin_address().expect("it has one");
    let folder = Folder::default();
    let settings = read("prometheus.yaml")
        .replace("127.0.0.1:9901", &admin.to_string())
        .replace("10s", "1s\n  evaluation_interval: 1s")
        .replace("alerts.yaml", file("alerts.yaml").to_str().expect("text"));
    std::fs::write(folder.path("prometheus.yaml"), settings).expect("written");
    let port = free_port();
    let mut command = Command::new(programs.join("prometheus"));
    command
        .arg(format!("--config.file={}", folder.path("prometheus.yaml")))
        .arg(format!("--storage.tsdb.path={}", folder.path("data")))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = Killed(command.spawn().expect("started"));
    let at = ([127, 0, 0, 1], port).into();
    eventually("it listens", async || {
        tokio::net::TcpStream::connect(at).await.ok()
    })
    .await;
    let ask = async |path: String| -> serde_json::Value {
        let got = Wire::connect(at).await.get(&path).await;
        // While it starts, it says so in words.
        serde_json::from_str(&got.text()).unwrap_or_default()
    };
    eventually("it has scraped", async || {
        let got = ask("/api/v1/query?query=up".to_owned()).await;
        (got["data"]["result"][0]["value"][1] == "1").then_some(())
    })
    .await;
    eventually("all rules were evaluated", async || {
        let got = ask("/api/v1/rules".to_owned()).await;
        let rules = got["data"]["groups"][0]["rules"].as_array()?.clone();
        let good = rules.iter().all(|rule| rule["health"] == "ok");
        (rules.len() >= 12 && good).then_some(())
    })
    .await;
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    for target in panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
    {
        let expression = target["expr"].as_str().expect("a text");
        let mut whole = expression.replace("$__rate_interval", "1m");
        for name in ["$job", "$instance", "$target_group"] {
            whole = whole.replace(name, ".*");
        }
        let encoded: String = whole.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let got = ask(format!("/api/v1/query?query={encoded}")).await;
        assert_eq!(got["status"], "success", "{whole}: {got}");
    }
    drop(started);
}
