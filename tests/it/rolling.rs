//! A rolling deployment: twenty tasks, two at a time, killed two seconds after SIGTERM, while
//! WebSockets and slow requests are open and clients are sticky.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use longshore_discovery::ecs::Aws;
use longshore_emulator::{
    BoxFuture, Emulator, EventOptions, Host, Options, RunningTask, TaskDefinition, TaskRuntime,
    TaskStart, TaskView,
};
use longshore_tests::balancer::start_with;
use longshore_tests::jar::Jar;
use longshore_tests::origin::read;
use longshore_tests::websocket::{self, CLOSE, TEXT, frame, open};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

const TASKS: usize = 20;
const AT_A_TIME: usize = 2;
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a slow request takes: less than a task has from SIGTERM on.
const SLOW: Duration = Duration::from_millis(800);

/// Tasks that take no notice of SIGTERM. They echo WebSockets, are slow at `/slow`, and say who
/// they are.
struct Tasks;

struct Process {
    killed: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl TaskRuntime for Tasks {
    fn start(&self, task: TaskStart) -> BoxFuture<'static, io::Result<Box<dyn RunningTask>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(task.addresses[0]).await?;
            let (killed, kill) = watch::channel(false);
            let (end, ended) = watch::channel(false);
            tokio::spawn(async move {
                run(listener, &task.id, kill).await;
                end.send_replace(true);
            });
            let process: Box<dyn RunningTask> = Box::new(Process { killed, ended });
            Ok(process)
        })
    }
}

impl RunningTask for Process {
    fn terminate(&self) {}

    fn kill(&self) {
        self.killed.send_replace(true);
    }

    fn exited(&self) -> BoxFuture<'_, ()> {
        let mut ended = self.ended.clone();
        Box::pin(async move {
            // An error means that the runtime ends, and the process with it.
            drop(ended.wait_for(|ended| *ended).await);
        })
    }
}

/// One task to its end, when all of its sockets are closed.
async fn run(listener: TcpListener, id: &str, mut kill: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = kill.wait_for(|killed| *killed) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("accepted");
                connections.spawn(serve(Wire::from(stream), id.to_owned()));
            }
        }
    }
    connections.shutdown().await;
}

async fn serve(mut wire: Wire, id: String) {
    while let Some(request) = read(&mut wire).await {
        if request.head.get("upgrade").is_some() {
            websocket::echo(&mut wire, &id).await;
            return;
        }
        if request.head.line.starts_with("GET /slow ") {
            tokio::time::sleep(SLOW).await;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nX-Task: {id}\r\nContent-Length: 0\r\n\r\n");
        // A balancer that is gone does not read; that is its right.
        if tokio::io::AsyncWriteExt::write_all(&mut wire.stream, answer.as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// What the clients have seen.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    requests: AtomicUsize,
    slow: AtomicUsize,
    moves: AtomicUsize,
    messages: AtomicUsize,
    closes: AtomicUsize,
}

impl Counts {
    fn go_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Stays at its task until that leaves.
async fn sticky(address: SocketAddr, counts: Arc<Counts>, ecs: Arc<Emulator>) {
    let (mut jar, mut wire) = (Jar::default(), Wire::connect(address).await);
    let mut at = String::new();
    while counts.go_on() {
        let got = jar.get(&mut wire, "/").await;
        assert_eq!(got.status(), 200, "{:?}", got.reason());
        let task = got.head.get("x-task").expect("its task").to_owned();
        if task != at {
            let tasks = ecs.tasks();
            let old = tasks.iter().find(|old| old.id == at);
            let stays = old.is_some_and(|old| old.alive && old.stop_requested_at.is_none());
            assert!(!stays, "it moved from {at} to {task}");
            count(&counts.moves);
            at = task;
        }
        count(&counts.requests);
        pause().await;
    }
}

/// Always waits for a slow response.
async fn slow(address: SocketAddr, counts: Arc<Counts>) {
    let mut wire = Wire::connect(address).await;
    while counts.go_on() {
        let got = within("a slow response", wire.get("/slow")).await;
        assert_eq!(got.status(), 200, "{:?}", got.reason());
        count(&counts.slow);
    }
}

/// Has a WebSocket open, and comes back when it is told to.
async fn chat(address: SocketAddr, counts: Arc<Counts>) {
    while counts.go_on() {
        let (mut wire, head) = open(address, "/", "").await;
        assert_eq!(head.status(), 101, "{head:?}");
        let mut said = 0;
        // The first frame is the task's name.
        let mut wait_for = None;
        loop {
            let came = within("a frame", websocket::read(&mut wire)).await;
            let came = came.expect("a whole frame, and a Close before the end");
            if came.first == CLOSE {
                assert_eq!(came.status(), Some(1001));
                wire.send(frame(CLOSE, true, &came.content)).await;
                assert!(within("the end", wire.rest()).await.is_empty());
                count(&counts.closes);
                break;
            }
            if let Some(text) = wait_for {
                assert_eq!(came.content, text);
                count(&counts.messages);
            }
            if !counts.go_on() {
                break;
            }
            pause().await;
            said += 1;
            let text = format!("message {said}").into_bytes();
            wire.send(frame(TEXT, true, &text)).await;
            wait_for = Some(text);
        }
    }
}

fn serving(ecs: &Emulator) -> Vec<TaskView> {
    let tasks = ecs.tasks().into_iter();
    tasks
        .filter(|task| task.is_serving() && task.alive)
        .collect()
}

/// `source` has keys of the ECS source.
async fn deploy(ecs: Emulator, source: &str) {
    ecs.create_cluster("prod");
    ecs.add_host("prod", Host::new(ecs.spare_address(), "eu-central-1a"));
    ecs.register_task_definition(TaskDefinition::bridge("web", 8080));
    ecs.create_service("prod", "web", "web", TASKS)
        .expect("created");
    let text = format!(
        "runtime: {{websocket_close_spread: 500ms}}
listeners: [{{name: web, address: '127.0.0.1:1', default_action: [{{type: forward, target_group: web}}]}}]
target_groups:
  - name: web
    discovery: {{ecs: {{cluster: prod, service: web, {source}}}}}
    health_check: {{path: /health, interval: 1, timeout: 1}}
    stickiness: {{enabled: true}}
    deregistration_delay: 10s
"
    );
    let endpoint = ecs.endpoint_url();
    let balancer = start_with(&text, Aws::Emulator { endpoint }).await;
    balancer.wait_for("healthy", TASKS).await;
    let (ecs, counts) = (Arc::new(ecs), Arc::new(Counts::default()));
    let address = balancer.address();
    let mut clients = JoinSet::new();
    for _ in 0..TASKS {
        clients.spawn(sticky(address, Arc::clone(&counts), Arc::clone(&ecs)));
        clients.spawn(chat(address, Arc::clone(&counts)));
        clients.spawn(slow(address, Arc::clone(&counts)));
    }
    // Each has had an answer, so each task has connections that tell of its end.
    eventually("every client is at work", async || {
        let targets = balancer.targets("healthy").await;
        let all = targets.iter().all(|target| target.requests > 0);
        (all && counts.messages.load(Ordering::Relaxed) > TASKS).then_some(())
    })
    .await;
    let old = serving(&ecs);
    for pair in old.chunks(AT_A_TIME) {
        for task in pair {
            ecs.stop_task(&task.id).expect("stopped");
        }
        eventually("two others serve in their place", async || {
            let tasks = serving(&ecs);
            let targets = balancer.targets("healthy").await;
            let known = |task: &TaskView| targets.iter().any(|at| at.id.starts_with(&task.id));
            let whole = tasks.len() == TASKS && targets.len() == TASKS;
            (whole && tasks.iter().all(known)).then_some(())
        })
        .await;
    }
    eventually("every old task has ended", async || {
        let tasks = ecs.tasks();
        let ended = |old: &TaskView| tasks.iter().all(|task| task.id != old.id || !task.alive);
        old.iter().all(ended).then_some(())
    })
    .await;
    eventually("every WebSocket has moved", async || {
        (counts.closes.load(Ordering::Relaxed) >= TASKS).then_some(())
    })
    .await;
    counts.stop.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        done.expect("no request failed");
    }
    let get = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    println!(
        "{} requests and {} slow ones; {} moves of {TASKS} sticky clients; {} messages, {} WebSockets closed",
        get(&counts.requests),
        get(&counts.slow),
        get(&counts.moves),
        get(&counts.messages),
        get(&counts.closes),
    );
    assert!(get(&counts.slow) > TASKS && get(&counts.moves) >= 2 * TASKS);
}

async fn emulator() -> Emulator {
    let options = Options {
        start_delay: Duration::from_millis(200),
        stop_timeout: STOP_TIMEOUT,
        ..Options::default()
    };
    Emulator::start(options, Arc::new(Tasks))
        .await
        .expect("the emulator starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deployment_fails_no_request_and_cuts_no_websocket() {
    deploy(emulator().await, "poll_interval: 1s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deployment_that_events_tell_of_fails_no_request_and_cuts_no_websocket() {
    let ecs = emulator().await;
    ecs.events_queue("longshore", EventOptions::default());
    deploy(ecs, "events_queue: longshore, reconcile_interval: 60s").await;
}
