//! An emulator with one cluster, clients for it, and ways to wait.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecs::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_ecs::error::ProvideErrorMetadata;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use longshore_emulator::{Emulator, Host, HttpTasks, Options, TaskDefinition, TaskView};
use tokio::net::TcpStream;

/// How long a condition may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The cluster of every test.
pub(crate) const CLUSTER: &str = "demo";

pub(crate) struct Lab {
    pub emulator: Emulator,
    pub tasks: HttpTasks,
    pub ecs: aws_sdk_ecs::Client,
    pub ec2: aws_sdk_ec2::Client,
    pub ssm: aws_sdk_ssm::Client,
    /// ARNs of the hosts.
    pub hosts: Vec<String>,
}

/// Options without the delays that a test does not look at.
pub(crate) fn quick() -> Options {
    Options {
        start_delay: Duration::ZERO,
        report_delay: Duration::ZERO,
        crash_detection: Duration::ZERO,
        loss_detection: Duration::ZERO,
        ..Options::default()
    }
}

impl Lab {
    /// An emulator with hosts in two zones.
    pub(crate) async fn new(options: Options, hosts: usize) -> Self {
        let tasks = HttpTasks::new();
        let emulator = Emulator::start(options, Arc::new(tasks.clone()))
            .await
            .expect("a loopback port is free");
        emulator.create_cluster(CLUSTER);
        let hosts = (0..hosts)
            .map(|n| {
                let zone = ["eu-central-1a", "eu-central-1b"][n % 2];
                emulator.add_host(CLUSTER, Host::new(emulator.spare_address(), zone))
            })
            .collect();
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(emulator.endpoint_url())
            .build();
        Self {
            emulator,
            tasks,
            ecs: aws_sdk_ecs::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            hosts,
        }
    }

    /// A service in bridge mode, whose definition has the name of the service.
    pub(crate) async fn service(&self, name: &str, count: usize) -> Vec<TaskView> {
        self.serve(TaskDefinition::bridge(name, 8080), name, count)
            .await
    }

    /// A service with a definition of its own, once all its tasks serve.
    pub(crate) async fn serve(
        &self,
        definition: TaskDefinition,
        name: &str,
        count: usize,
    ) -> Vec<TaskView> {
        let definition = self.emulator.register_task_definition(definition);
        self.emulator
            .create_service(CLUSTER, name, &definition, count)
            .expect("the service is new");
        self.serving(name, count).await
    }

    /// Waits until exactly so many tasks of a service serve, and returns them.
    pub(crate) async fn serving(&self, service: &str, count: usize) -> Vec<TaskView> {
        self.until(&format!("{count} tasks of {service}"), |tasks| {
            let serving = tasks
                .iter()
                .filter(|task| task.service == service && task.is_serving());
            let serving: Vec<TaskView> = serving.cloned().collect();
            (serving.len() == count).then_some(serving)
        })
        .await
    }

    /// Waits until one task is in some state, and returns it.
    pub(crate) async fn task(
        &self,
        id: &str,
        what: &str,
        holds: impl Fn(&TaskView) -> bool,
    ) -> TaskView {
        self.until(what, |tasks| {
            let task = tasks.iter().find(|task| task.id == id);
            task.filter(|task| holds(task)).cloned()
        })
        .await
    }

    /// Waits for a condition on the tasks.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        condition: impl Fn(&[TaskView]) -> Option<T>,
    ) -> T {
        let mut changed = self.emulator.changed();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = condition(&self.emulator.tasks()) {
                    return found;
                }
                changed.changed().await.expect("the emulator lives");
            }
        });
        match waited.await {
            Ok(found) => found,
            Err(_) => panic!(
                "never came to pass: {what}; tasks: {:#?}",
                self.emulator.tasks()
            ),
        }
    }

    /// Waits until an operation has been called so often.
    pub(crate) async fn called(&self, operation: &str, times: u64) {
        let emulator = self.emulator.clone();
        self.until(&format!("{times} calls of {operation}"), |_| {
            (emulator.calls().get(operation).copied() >= Some(times)).then_some(())
        })
        .await;
    }

    /// Describes some tasks, without failures.
    pub(crate) async fn describe(&self, ids: &[&str]) -> Vec<aws_sdk_ecs::types::Task> {
        let answer = self.ecs.describe_tasks().cluster(CLUSTER);
        let answer = answer.set_tasks(Some(ids.iter().map(|id| (*id).to_owned()).collect()));
        let answer = answer.send().await.expect("the tasks are described");
        assert_eq!(answer.failures(), []);
        answer.tasks().to_vec()
    }
}

/// The code of an error, as the data plane would match on it.
pub(crate) fn code<T: std::fmt::Debug>(
    result: Result<T, impl ProvideErrorMetadata + std::fmt::Debug>,
) -> String {
    let error = result.expect_err("the call must fail");
    error
        .code()
        .map_or_else(|| format!("no code: {error:?}"), str::to_owned)
}

/// A connection that is kept alive.
pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    // Its error comes out of the sender as well.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

pub(crate) fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "test")
        .body(Empty::new())
        .expect("the request is well formed")
}

/// One request on its own connection: status, headers and text.
pub(crate) async fn fetch(
    address: SocketAddr,
    method: &str,
    path: &str,
) -> std::io::Result<Response<String>> {
    let mut sender = connect(address).await?;
    let answer = sender
        .send_request(request(method, path))
        .await
        .map_err(std::io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok(Response::from_parts(parts, text))
}

/// The task that answers at an address.
pub(crate) async fn who(address: SocketAddr) -> String {
    let answer = fetch(address, "GET", "/").await.expect("somebody answers");
    let id = answer.headers().get("x-task-id").expect("it says who");
    id.to_str().expect("an id is text").to_owned()
}

/// A loopback address for a host that must not meet those of another emulator.
pub(crate) fn host(address: impl Into<IpAddr>) -> Host {
    Host::new(address, "eu-central-1a")
}
