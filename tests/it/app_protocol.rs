//! What the tasks of a service speak, by the `appProtocol` of their port.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore::control::view::GroupView;
use longshore_discovery::ecs::Aws;
use longshore_emulator::{
    BoxFuture, Container, Emulator, Fault, Host, HttpTasks, Options, PortMapping, RunningTask,
    TaskDefinition, TaskRuntime, TaskStart, Times,
};
use longshore_tests::balancer::{self, Running};
use longshore_tests::cluster::Cluster;
use longshore_tests::http::connect;
use longshore_tests::services::{group, serve};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, within};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Tasks whose port has this name speak HTTP/2 alone. The others are as ever.
const ALONE: &str = "h2";

/// How long a task serves on after SIGTERM.
const GRACE: Duration = Duration::from_secs(4);

#[derive(Clone)]
struct Tasks(HttpTasks);

impl TaskRuntime for Tasks {
    fn start(&self, task: TaskStart) -> BoxFuture<'static, io::Result<Box<dyn RunningTask>>> {
        if task
            .ports
            .iter()
            .all(|port| port.name.as_deref() != Some(ALONE))
        {
            return self.0.start(task);
        }
        Box::pin(async move {
            let mut listeners = Vec::new();
            for address in &task.addresses {
                listeners.push((*address, TcpListener::bind(address).await?));
            }
            let ended = watch::Sender::new(false);
            let mut over = ended.subscribe();
            tokio::spawn(async move {
                let mut servers = tokio::task::JoinSet::new();
                for (address, listener) in listeners {
                    servers.spawn(serve_http2(address, listener));
                }
                // Dropped with all of its connections.
                drop(over.wait_for(|ended| *ended).await);
            });
            let task: Box<dyn RunningTask> = Box::new(Process(ended));
            Ok(task)
        })
    }
}

struct Process(watch::Sender<bool>);

impl RunningTask for Process {
    fn terminate(&self) {
        let ended = self.0.clone();
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            ended.send_replace(true);
        });
    }

    fn kill(&self) {
        self.0.send_replace(true);
    }

    fn exited(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            drop(self.0.subscribe().wait_for(|ended| *ended).await);
        })
    }
}

async fn serve_http2(address: SocketAddr, listener: TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let service =
                service_fn(
                    move |request| async move { Ok::<_, Infallible>(answer(address, &request)) },
                );
            let builder = http2::Builder::new(TokioExecutor::new());
            // A client that is gone is that client's right.
            drop(
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

/// A server of gRPC that knows one method, and serves other HTTP besides.
fn answer(address: SocketAddr, request: &Request<Incoming>) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    let fields = response.headers_mut();
    let address = address.to_string().parse().expect("a value");
    fields.insert("x-task-address", address);
    let is_grpc = request.headers().get("content-type");
    if is_grpc.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let known = request.uri().path() == "/shop.Cart/Get";
        let status = if known { "0" } else { "12" };
        fields.insert("content-type", "application/grpc".parse().expect("a value"));
        fields.insert("grpc-status", status.parse().expect("a value"));
    }
    response
}

async fn start() -> (Cluster, Tasks) {
    let options = Options {
        start_delay: Duration::ZERO,
        stop_timeout: 2 * GRACE,
        ..Options::default()
    };
    let tasks = Tasks(HttpTasks::new());
    let ecs = Emulator::start(options, Arc::new(tasks.clone()));
    let ecs = ecs.await.expect("the emulator starts");
    ecs.create_cluster("prod");
    ecs.add_host("prod", Host::new(ecs.spare_address(), "eu-central-1a"));
    let cluster = Cluster {
        ecs,
        tasks: tasks.0.clone(),
    };
    (cluster, tasks)
}

/// One container with one dynamic port of this name, which says that it speaks this.
fn definition(name: &str, says: Option<&str>) -> TaskDefinition {
    let port = PortMapping::dynamic(8080).named(name);
    let port = match says {
        Some(says) => port.speaking(says),
        None => port,
    };
    TaskDefinition {
        containers: vec![Container::new("app", vec![port])],
        ..TaskDefinition::bridge("web", 8080)
    }
}

const CHECK: &str = "health_check: {path: /health, interval: 1, timeout: 1}";

/// Waits until a group is spoken to like this, and so many targets are healthy.
async fn spoken(balancer: &Running, name: &str, version: (&str, &str), count: usize) -> GroupView {
    let what = format!("{version:?} with {count} healthy targets");
    eventually(&what, async || {
        let group = group(balancer, name).await;
        let healthy = group.targets.iter().filter(|one| one.state == "healthy");
        let is = (group.protocol_version, group.protocol_version_by) == version;
        (is && healthy.count() == count).then_some(group)
    })
    .await
}

/// Status, `grpc-status` and the task that answered.
type Got = (u16, Option<String>, Option<String>);

async fn ask(sender: &mut SendRequest<Bytes>, request: http::request::Builder) -> Got {
    let request = request.body(()).expect("a request");
    let (response, _) = sender.send_request(request, true).expect("sent");
    let response = within("a response", response).await.expect("a response");
    let text = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().expect("a text").to_owned())
    };
    let status = response.status().as_u16();
    (status, text("grpc-status"), text("x-task-address"))
}

fn grpc(path: &str) -> http::request::Builder {
    Request::post(format!("http://a.test{path}")).header("content-type", "application/grpc")
}

#[tokio::test]
async fn a_service_that_says_grpc_is_spoken_to_in_grpc() {
    let (cluster, _) = start().await;
    serve(&cluster, "web", 2, definition(ALONE, Some("grpc"))).await;
    let balancer = cluster.balance_with(&["web"], CHECK).await;
    // The checks are those of gRPC, too: their path is unknown there, which is what ALB looks for.
    spoken(&balancer, "web", ("GRPC", "targets"), 2).await;
    let mut client = connect(balancer.address()).await;
    let (status, code, task) = ask(&mut client, grpc("/shop.Cart/Get")).await;
    assert_eq!((status, code.as_deref()), (200, Some("0")));
    assert!(task.is_some());
    // Whoever cannot be understood there is told so, as at ALB.
    let (status, ..) = ask(&mut client, Request::get("http://a.test/")).await;
    assert_eq!(status, 464);
    let got = Wire::connect(balancer.address()).await.get("/").await;
    assert_eq!(got.status(), 464);
    assert_eq!(cluster.ecs.calls()["DescribeTaskDefinition"], 1);
}

#[tokio::test]
async fn a_group_that_says_it_itself_asks_nobody() {
    let (cluster, _) = start().await;
    serve(&cluster, "web", 1, definition("any", Some("grpc"))).await;
    let keys = format!("protocol_version: HTTP1\n{CHECK}");
    let balancer = cluster.balance_with(&["web"], &keys).await;
    spoken(&balancer, "web", ("HTTP1", "configuration"), 1).await;
    let got = Wire::connect(balancer.address()).await.get("/").await;
    assert_eq!(got.status(), 200);
    assert!(!cluster.ecs.calls().contains_key("DescribeTaskDefinition"));
}

#[tokio::test]
async fn without_the_permission_to_learn_it_targets_serve_as_by_default() {
    let (cluster, _) = start().await;
    serve(&cluster, "web", 2, definition("any", Some("http2"))).await;
    let faults = cluster.ecs.faults();
    let operation = "DescribeTaskDefinition";
    faults.fail(operation, Fault::AccessDenied, Times::UntilCleared);
    let balancer = cluster.balance_with(&["web"], CHECK).await;
    let group = spoken(&balancer, "web", ("HTTP1", "default"), 2).await;
    assert_eq!(group.discovery, "fresh");
    assert!(group.not_targets.is_empty(), "{:?}", group.not_targets);
    let got = Wire::connect(balancer.address()).await.get("/").await;
    assert_eq!(got.status(), 200);
}

#[tokio::test]
async fn a_deployment_that_changes_what_is_spoken_fails_no_request() {
    let (cluster, tasks) = start().await;
    tasks.0.set_grace("web", GRACE);
    serve(&cluster, "web", 2, definition("any", Some("http"))).await;
    let balancer = cluster.balance_with(&["web"], CHECK).await;
    spoken(&balancer, "web", ("HTTP1", "targets"), 2).await;
    let next = TaskDefinition {
        family: "web".to_owned(),
        ..definition(ALONE, Some("http2"))
    };
    let mut client = connect(balancer.address()).await;
    let get = || Request::get("http://a.test/");
    let (_, _, before) = ask(&mut client, get()).await;
    cluster.ecs.register_task_definition(next);
    cluster.ecs.deploy("prod", "web", "web").expect("deployed");
    let mut answered = 0_u32;
    eventually("the new tasks are spoken to in HTTP/2", async || {
        for _ in 0..20 {
            let (status, ..) = ask(&mut client, get()).await;
            assert_eq!(status, 200, "after {answered}");
            answered += 1;
        }
        let group = group(&balancer, "web").await;
        let is = (group.protocol_version, group.protocol_version_by);
        (is == ("HTTP2", "targets")).then_some(())
    })
    .await;
    spoken(&balancer, "web", ("HTTP2", "targets"), 2).await;
    let (status, _, after) = ask(&mut client, get()).await;
    assert_eq!(status, 200);
    assert_ne!(before, after, "another task");
    // A client with HTTP/1.1 is not understood there, as at ALB.
    let got = Wire::connect(balancer.address()).await.get("/").await;
    assert_eq!(got.status(), 464);
}

#[tokio::test]
async fn labels_leave_it_to_the_targets_as_well() {
    let (cluster, _) = start().await;
    let labelled = definition(ALONE, Some("grpc"));
    let container = labelled.containers[0].clone();
    let container = container
        .label("longshore.enable", "true")
        .label("longshore.rule.host_header", "a.test")
        .label("longshore.health_check.interval", "1")
        .label("longshore.health_check.timeout", "1");
    let labelled = TaskDefinition {
        containers: vec![container],
        ..labelled
    };
    serve(&cluster, "web", 1, labelled).await;
    let text = "listeners:
  - name: web
    address: 127.0.0.1:1
    default_action: [{type: fixed_response, fixed_response: {status_code: 404}}]
label_discovery: [{name: prod, listeners: [web], ecs: {cluster: prod, poll_interval: 1s}}]
";
    let endpoint = cluster.ecs.endpoint_url();
    let balancer = balancer::start_with(text, Aws::Emulator { endpoint }).await;
    eventually("the group is spoken to in gRPC", async || {
        let view = balancer.balancer.targets().await.expect("it runs");
        let group = view.target_groups.into_iter().next()?;
        let healthy = group.targets.iter().all(|one| one.state == "healthy");
        (group.protocol_version == "GRPC" && healthy).then_some(())
    })
    .await;
    let mut client = connect(balancer.address()).await;
    let (status, code, _) = ask(&mut client, grpc("/shop.Cart/Get")).await;
    assert_eq!((status, code.as_deref()), (200, Some("0")));
}
