//! Targets from Consul, at a scripted server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use longshore_tests::balancer::{Running, start};
use longshore_tests::eventually;
use longshore_tests::origin::{Origin, read};
use longshore_tests::wire::Wire;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

/// What the server has to say.
#[derive(Debug, Clone, Default)]
struct State {
    status: u16,
    index: u64,
    body: String,
}

/// The first line of a query, and its token.
type Query = (String, Option<String>);

/// As much of Consul as a blocking query needs.
struct Consul {
    origin: Origin,
    state: watch::Sender<State>,
    /// The queries, in their order.
    asked: Arc<Mutex<Vec<Query>>>,
}

impl Consul {
    async fn start(index: u64, body: &str) -> Self {
        let (state, watched) = watch::channel(State {
            status: 200,
            index,
            body: body.to_owned(),
        });
        let asked: Arc<Mutex<Vec<_>>> = Arc::default();
        let note = Arc::clone(&asked);
        let origin = Origin::raw(move |mut wire| {
            let (mut watched, note) = (watched.clone(), Arc::clone(&note));
            async move {
                let Some(request) = read(&mut wire).await else {
                    return;
                };
                let line = request.head.line.clone();
                let token = request.head.get("x-consul-token").map(ToOwned::to_owned);
                note.lock().expect("not poisoned").push((line.clone(), token));
                let known = line.split("&index=").nth(1).and_then(|rest| {
                    let digits = rest.split('&').next().expect("something");
                    digits.parse::<u64>().ok()
                });
                // A version that is known already is waited past.
                let ready = watched.wait_for(|it| it.status != 200 || Some(it.index) != known);
                let Ok(State { status, index, body }) = ready.await.map(|it| it.clone()) else {
                    return;
                };
                let text = format!(
                    "HTTP/1.1 {status} x\r\nX-Consul-Index: {index}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                // Who asked may be gone.
                wire.stream.write_all(text.as_bytes()).await.unwrap_or_default();
            }
        })
        .await;
        Self {
            origin,
            state,
            asked,
        }
    }

    fn say(&self, status: u16, index: u64, body: &str) {
        self.state.send_replace(State {
            status,
            index,
            body: body.to_owned(),
        });
    }

    fn asked(&self) -> Vec<Query> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

fn config(at: SocketAddr, more: &str) -> String {
    format!(
        "listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: app}}]}}]\n\
         target_groups:\n  - name: app\n    discovery: {{consul: {{address: '{at}', service: web{more}}}}}\n    health_check: {{interval: 1, timeout: 1}}\n"
    )
}

/// The instances as Consul lists them.
fn list(origins: &[&Origin]) -> String {
    let entries: Vec<String> = origins
        .iter()
        .map(|origin| {
            let (ip, port) = (origin.address.ip(), origin.address.port());
            format!(
                r#"{{"Node": {{"Node": "n1", "Address": "{ip}"}}, "Service": {{"ID": "web-{port}", "Address": "", "Port": {port}}}, "Checks": []}}"#
            )
        })
        .collect();
    format!("[{}]", entries.join(","))
}

async fn healthy(balancer: &Running, origins: &[&Origin]) {
    let mut wanted: Vec<String> = origins.iter().map(|it| it.address.to_string()).collect();
    wanted.sort();
    eventually("the instances are healthy", async || {
        let targets = balancer.targets("healthy").await;
        let mut found: Vec<String> = targets.into_iter().map(|it| it.address).collect();
        found.sort();
        (found == wanted).then_some(())
    })
    .await;
}

async fn stale(balancer: &Running, text: &str) {
    eventually("the failure is shown", async || {
        let group = balancer.group().await;
        let shown = group.discovery_error.is_some_and(|it| it.contains(text));
        (shown && group.discovery == "stale").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_passing_instances_of_a_service_get_requests_and_a_change_is_told_at_once() {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let consul = Consul::start(10, &list(&[&a])).await;
    // The wait is longer than the test: only an answer that Consul gives early can show the change.
    let more = ", tag: v1, datacenter: dc1, token: hush, wait: 600s";
    let balancer = start(&config(consul.origin.address, more)).await;
    healthy(&balancer, &[&a]).await;
    let mut client = Wire::connect(balancer.address()).await;
    assert_eq!(client.get("/").await.text(), "a");
    let group = balancer.group().await;
    assert_eq!((group.source, group.discovery), ("consul", "fresh"));
    let port = a.address.port();
    assert_eq!(group.targets[0].id, format!("web-{port}/web:{port}"));

    eventually("it waits for a change", async || {
        (consul.asked().len() == 2).then_some(())
    })
    .await;
    consul.say(200, 11, &list(&[&b]));
    healthy(&balancer, &[&b]).await;
    assert_eq!(client.get("/").await.text(), "b");
    let asked = consul.asked();
    let start = "GET /v1/health/service/web?passing=1&tag=v1&dc=dc1";
    let hush = Some("hush".to_owned());
    assert_eq!(asked[0], (format!("{start} HTTP/1.1"), hush.clone()));
    assert_eq!(
        asked[1],
        (format!("{start}&index=10&wait=600000ms HTTP/1.1"), hush)
    );

    consul.say(200, 12, "[]");
    healthy(&balancer, &[]).await;
    assert_eq!(client.get("/").await.status(), 503);
}

#[tokio::test]
async fn the_last_good_instances_serve_while_consul_fails() {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let consul = Consul::start(10, &list(&[&a])).await;
    let balancer = start(&config(consul.origin.address, "")).await;
    healthy(&balancer, &[&a]).await;
    let mut client = Wire::connect(balancer.address()).await;
    for (status, body, what) in [
        (
            500,
            "No cluster leader",
            "Consul answers 500: \"No cluster leader\"",
        ),
        (200, "{}", "the answer is a mapping, not a list"),
        (200, "[{\"Node\"", "the answer is not valid JSON"),
    ] {
        consul.say(status, 20, body);
        stale(&balancer, what).await;
        assert_eq!(client.get("/").await.text(), "a", "{what}");
        assert_eq!(balancer.targets("healthy").await.len(), 1, "{what}");
    }
    consul.say(200, 21, &list(&[&b]));
    healthy(&balancer, &[&b]).await;
    assert_eq!(client.get("/").await.text(), "b");
    assert_eq!(balancer.group().await.discovery, "fresh");
}

#[tokio::test]
async fn an_index_that_goes_backwards_is_asked_about_without_one_and_then_believed() {
    let (a, b) = (Origin::ok("a").await, Origin::ok("b").await);
    let consul = Consul::start(1_000, &list(&[&a])).await;
    let balancer = start(&config(consul.origin.address, "")).await;
    healthy(&balancer, &[&a]).await;
    eventually("it waits for a change", async || {
        (consul.asked().len() == 2).then_some(())
    })
    .await;
    consul.say(200, 3, &list(&[&b]));
    healthy(&balancer, &[&b]).await;
    eventually("it waits again, with the new index", async || {
        (consul.asked().len() == 4).then_some(())
    })
    .await;
    let asked = consul.asked();
    assert!(asked[1].0.contains("&index=1000&"), "{asked:?}");
    assert!(!asked[2].0.contains("index"), "{asked:?}");
    assert!(asked[3].0.contains("&index=3&"), "{asked:?}");
}
