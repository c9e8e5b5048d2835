//! The HTTP servers that stand for containers.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::lab::{Lab, PATIENCE, connect, fetch, quick, request};

#[tokio::test]
async fn a_task_says_who_it_is_and_counts_its_requests() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let (task, address) = (&tasks[0], tasks[0].addresses[0]);
    assert_eq!(lab.tasks.requests(&task.id), 0);
    assert_eq!(lab.tasks.last_request(&task.id), None);
    let answer = fetch(address, "POST", "/any/path").await;
    let answer = answer.expect("it answers");
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers().get(name).map(|v| v.as_bytes());
    assert_eq!(header("x-task-id"), Some(task.id.as_bytes()));
    assert_eq!(header("x-service"), Some(b"web".as_slice()));
    let written = address.to_string();
    assert_eq!(header("x-task-address"), Some(written.as_bytes()));
    for part in ["web", &task.id, &written, "web:1"] {
        assert!(answer.body().contains(part), "{part}");
    }
    assert_eq!(lab.tasks.requests(&task.id), 1);
    assert!(lab.tasks.last_request(&task.id).is_some());
}

#[tokio::test]
async fn health_is_good_until_it_is_set() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let (task, address) = (&tasks[0], tasks[0].addresses[0]);
    let good = fetch(address, "GET", "/health").await.expect("it answers");
    assert_eq!((good.status().as_u16(), good.body().as_str()), (200, "ok"));
    lab.tasks.set_health("web", 503);
    let bad = fetch(address, "GET", "/health").await.expect("it answers");
    assert_eq!(bad.status(), 503);
    assert_eq!(lab.tasks.requests(&task.id), 0);
    assert_eq!(lab.tasks.health_checks(&task.id), 2);
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_and_closes_idle_connections() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let (task, address) = (&tasks[0], tasks[0].addresses[0]);
    let mut idle = connect(address).await.expect("it listens");
    let answer = idle.send_request(request("GET", "/")).await;
    let answer = answer.expect("it answers").into_body().collect().await;
    answer.expect("the answer is whole");
    let mut fresh = TcpStream::connect(address).await.expect("it listens");

    lab.tasks.set_delay("web", Duration::from_millis(200));
    let busy = tokio::spawn(fetch(address, "GET", "/slow"));
    let arrived = tokio::time::timeout(PATIENCE, async {
        while lab.tasks.requests(&task.id) < 2 {
            tokio::task::yield_now().await;
        }
    });
    arrived.await.expect("the request arrives");
    lab.emulator.stop_task(&task.id).expect("it is there");

    let mut end = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, fresh.read_to_end(&mut end));
    assert!(matches!(closed.await, Ok(Ok(0))));
    let closed = tokio::time::timeout(PATIENCE, async {
        while idle.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    closed.await.expect("the idle connection is closed");
    assert!(fetch(address, "GET", "/").await.is_err(), "no new ones");
    let answer = busy.await.expect("no panic").expect("it is answered");
    assert_eq!(answer.status(), 200);
    lab.task(&task.id, "it has ended", |task| task.exited_at.is_some())
        .await;
}

#[tokio::test]
async fn sigkill_drops_what_is_in_flight() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let (task, address) = (&tasks[0], tasks[0].addresses[0]);
    lab.tasks.set_delay("web", Duration::from_secs(3600));
    let busy = tokio::spawn(fetch(address, "GET", "/slow"));
    let arrived = tokio::time::timeout(PATIENCE, async {
        while lab.tasks.requests(&task.id) < 1 {
            tokio::task::yield_now().await;
        }
    });
    arrived.await.expect("the request arrives");
    lab.emulator.crash_task(&task.id).expect("it runs");
    let answer = tokio::time::timeout(PATIENCE, busy).await;
    let answer = answer.expect("it ends").expect("no panic");
    assert!(answer.is_err());
}

#[tokio::test]
async fn a_grace_time_keeps_a_task_serving_after_sigterm() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let (task, address) = (&tasks[0], tasks[0].addresses[0]);
    let grace = Duration::from_millis(200);
    lab.tasks.set_grace("web", grace);
    lab.emulator.stop_task(&task.id).expect("it is there");
    let answer = fetch(address, "GET", "/").await;
    answer.expect("a new connection is served");
    let ended = lab
        .task(&task.id, "it has ended", |task| task.exited_at.is_some())
        .await;
    let (asked, exited) = (ended.stop_requested_at, ended.exited_at);
    let took = exited.expect("it ended") - asked.expect("it was asked");
    assert!(took >= grace, "{took:?}");
}
