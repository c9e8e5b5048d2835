//! The HTTP API of the scripted engine: one request for each connection, as bytes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Shared, State};

/// The newest version of the API that it speaks: older than what clients ask for on their own.
const API_VERSION: &str = "1.44";

/// Answers one request.
pub(super) async fn serve(mut stream: UnixStream, shared: Shared) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let head = String::from_utf8(head).expect("text");
    let target = head.split(' ').nth(1).expect("a target");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (version, path) = match path
        .strip_prefix("/v")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((version, rest)) => (Some(version), format!("/{rest}")),
        None => (None, path.to_owned()),
    };
    let id = path
        .strip_prefix("/containers/")
        .and_then(|rest| rest.strip_suffix("/json"));
    let noted = id.map_or(path.as_str(), |_| "/containers/{id}/json");
    shared.change(|state| state.asked.insert(noted.to_owned()));
    if version.is_some_and(|version| minor(version) > minor(API_VERSION)) {
        return answer(
            &mut stream,
            400,
            &json!({"message": "client version is too new"}),
        )
        .await;
    }
    let query: BTreeMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decode(value)))
        .collect();
    let filters: Value = query
        .get("filters")
        .map_or(json!({}), |text| serde_json::from_str(text).expect("JSON"));
    match (path.as_str(), id) {
        ("/_ping", _) => answer(&mut stream, 200, &json!("OK")).await,
        ("/version", _) => {
            let version =
                json!({"ApiVersion": API_VERSION, "MinAPIVersion": "1.24", "Version": "25.0.0"});
            answer(&mut stream, 200, &version).await;
        }
        ("/containers/json", _) => {
            let list = shared.change(|state| {
                state.lists.0 += 1;
                list(state, &filters)
            });
            shared.until(|state| !state.held).await;
            answer(&mut stream, 200, &list).await;
            shared.change(|state| state.lists.1 += 1);
        }
        ("/events", _) => {
            let since = query.get("since").and_then(|since| since.parse().ok());
            events(&mut stream, &shared, &filters, since).await;
        }
        (_, Some(id)) => {
            shared.until(|state| !state.silent.contains(id)).await;
            let found = inspect(&shared.state(), id);
            match found {
                Some(container) => answer(&mut stream, 200, &container).await,
                None => answer(&mut stream, 404, &json!({"message": "no such container"})).await,
            }
        }
        _ => answer(&mut stream, 404, &json!({"message": "page not found"})).await,
    }
}

fn minor(version: &str) -> u32 {
    let minor = version.split_once('.').expect("a version").1;
    minor.parse().expect("a number")
}

async fn answer(stream: &mut UnixStream, status: u16, body: &Value) {
    let body = body.to_string();
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A client that does not wait for it may be gone.
    drop(stream.write_all(text.as_bytes()).await);
}

/// The stream of events: what happened since then, and what happens, until the client is gone or
/// the engine is deaf.
async fn events(stream: &mut UnixStream, shared: &Shared, filters: &Value, since: Option<u64>) {
    let (mut next, breaks, deaf) = {
        let state = shared.state();
        let new = state.events.len();
        let next = since.map_or(new, |since| {
            let old = state.events.iter().position(|(at, _)| *at >= since);
            old.unwrap_or(new)
        });
        (next, state.breaks, state.deaf)
    };
    if deaf {
        return answer(stream, 500, &json!({"message": "deaf"})).await;
    }
    let mut text =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_owned();
    loop {
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        shared
            .until(|state| state.breaks > breaks || state.events.len() > next)
            .await;
        let state = shared.state();
        if state.breaks > breaks {
            return;
        }
        text = state.events[next..]
            .iter()
            .filter(|(_, event)| wanted(event, filters))
            .map(|(_, event)| format!("{event}\n"))
            .map(|line| format!("{:x}\r\n{line}\r\n", line.len()))
            .collect();
        next = state.events.len();
    }
}

fn wanted(event: &Value, filters: &Value) -> bool {
    let action = event["Action"].as_str().expect("told");
    let kind = event["Type"].as_str().expect("told");
    // As the engine does: a prefix is enough as soon as `health_status` is among them.
    filter(filters, "event").is_none_or(|all| all.iter().any(|one| action.starts_with(one)))
        && filter(filters, "type").is_none_or(|all| all.iter().any(|one| one == kind))
        && labelled(&event["Actor"]["Attributes"], filters)
}

fn filter(filters: &Value, name: &str) -> Option<Vec<String>> {
    serde_json::from_value(filters.get(name)?.clone()).expect("texts")
}

fn labelled(labels: &Value, filters: &Value) -> bool {
    let wanted = filter(filters, "label").unwrap_or_default();
    wanted.iter().all(|wanted| match wanted.split_once('=') {
        Some((name, value)) => labels[name] == value,
        None => labels.get(wanted).is_some(),
    })
}

fn list(state: &State, filters: &Value) -> Value {
    assert_eq!(filter(filters, "status"), Some(vec!["running".to_owned()]));
    let running = state
        .containers
        .iter()
        .filter(|(_, container)| container.running && labelled(&json!(container.labels), filters));
    running
        .map(|(id, container)| {
            let ports: Vec<Value> = container
                .ports
                .iter()
                .flat_map(|(private, public)| {
                    ["0.0.0.0", "::"].map(|ip| {
                        json!({"IP": ip, "PrivatePort": private, "PublicPort": public, "Type": "tcp"})
                    })
                })
                .collect();
            json!({
                "Id": id, "Names": [format!("/{}", container.name)], "Image": "app",
                "Created": 1, "State": "running", "Status": "Up 2 seconds",
                "Labels": container.labels, "Ports": ports,
                "HostConfig": {"NetworkMode": "bridge"},
                "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": ""}}},
            })
        })
        .collect()
}

fn inspect(state: &State, id: &str) -> Option<Value> {
    let container = state.containers.get(id)?;
    let mut found = json!({
        "Id": id, "Name": format!("/{}", container.name), "Created": "2026-01-01T00:00:00Z",
        "State": {
            "Status": if container.running { "running" } else { "exited" },
            "Running": container.running, "Paused": false, "Restarting": false, "Dead": false,
            "StartedAt": rfc3339(container.started_ms),
        },
        "Config": {"Labels": container.labels},
    });
    if let Some(health) = container.health {
        found["State"]["Health"] = json!({"Status": health, "FailingStreak": 0, "Log": []});
    }
    Some(found)
}

/// Milliseconds since 1970 as the engine writes a time.
fn rfc3339(ms: u64) -> String {
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (seconds, millis) = (of_day / 1_000, of_day % 1_000);
    // Days since the first of March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}000000Z")
}

/// A value of a query without its escapes.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("a byte"));
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).expect("text")
}
