//! Discovery through the real AWS SDK against moto, an imitation of AWS that this project did not
//! write. The emulator shares our reading of the documentation; moto does not.
//!
//! What moto cannot answer is left to the emulator's tests:
//!
//! * `networkBindings` are always empty, so that there are no dynamic ports.
//! * Containers stay PENDING under a RUNNING task, and only the first of a task is shown.
//! * `CreateService` starts no tasks and `ListTasks` ignores `serviceName`. The tasks here are
//!   started by hand, each test in a cluster of its own.
//! * Systems Manager does not answer `DescribeInstanceInformation`, and a container instance must
//!   be an instance of EC2: there is no ECS Anywhere.
//! * There are no pages, no `version` and no zone of a task; unknown tasks give no failures.
//!
//! `tests/run` installs moto and runs this.

#[path = "moto/calls.rs"]
mod calls;

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_ecs::config::Credentials;
use aws_sdk_ecs::types::{
    ApplicationProtocol, AwsVpcConfiguration, ContainerDefinition, LaunchType,
    NetworkConfiguration, NetworkMode, PortMapping, TransportProtocol,
};
use longshore_config::{EcsDiscovery, Port, ProtocolVersion, Span};
use longshore_discovery::ecs::api::{Definition, EcsApi, Host, MappedPorts, Task};
use longshore_discovery::ecs::known::State;
use longshore_discovery::ecs::resolve::{self, Unresolved};
use longshore_discovery::ecs::{Aws, SdkApi, run};
use longshore_discovery::naming::Naming;
use longshore_discovery::{Target, Update};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

/// Python takes seconds to import moto, and more on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// For everything else in a test.
const TEST_LIMIT: Duration = Duration::from_secs(60);

const REGION: &str = "us-east-1";

const CONTAINER_PORT: u16 = 8080;

#[tokio::test]
async fn an_awsvpc_task_is_at_the_address_of_its_own_interface_and_the_container_port() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "awsvpc").await;
        let started = lab.run_on_fargate(2).await;

        let mut listed = lab
            .api
            .list_tasks("awsvpc", Some("web"))
            .await
            .expect("a list");
        listed.sort();
        assert_eq!(listed, arns(&started));

        let described = lab
            .api
            .describe_tasks("awsvpc", &listed)
            .await
            .expect("an answer");
        assert!(described.missing.is_empty());
        assert_eq!(described.tasks.len(), 2);
        for task in &described.tasks {
            assert!(task.desired_running);
            assert_eq!(task.last_status, "RUNNING");
            assert_eq!(task.host, None);
            // What RunTask answered, and not our own reading of DescribeTasks once more.
            let (_, interface) = started
                .iter()
                .find(|(arn, _)| *arn == task.arn)
                .expect("a task that was started");
            let address = interface.expect("an interface");
            assert_eq!(task.interface, Some(address));

            let target = resolve(task, None, &spec("awsvpc", None)).expect("a target");
            assert_eq!(target.address, (address, CONTAINER_PORT).into());
            assert_eq!(target.key.task, task.arn);
            assert!(!target.shared_port);
        }
        assert_ne!(described.tasks[0].interface, described.tasks[1].interface);
    })
    .await;
}

#[tokio::test]
async fn a_container_instance_leads_to_the_private_address_of_its_ec2_instance() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "hosts").await;
        let hosts = [lab.add_host().await, lab.add_host().await];
        assert_ne!(hosts[0].address, hosts[1].address);
        let mut found = lab
            .api
            .describe_hosts("hosts", &[hosts[0].arn.clone(), hosts[1].arn.clone()])
            .await
            .expect("an answer");
        assert_eq!(found.unknown, []);
        found.found.sort_by_key(|host| host.arn != hosts[0].arn);
        assert_eq!(found.found, hosts);
    })
    .await;
}

#[tokio::test]
async fn an_awsvpc_task_on_a_container_instance_is_at_its_interface_and_not_at_its_host() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "mixed").await;
        let host = lab.add_host().await;
        let (arn, interface) = lab.run_on_hosts().await;
        let task = lab.describe(&arn).await;
        assert_eq!(task.host.as_ref(), Some(&host.arn));
        assert_eq!(task.interface, interface);

        let target = resolve(&task, Some(&host), &spec("mixed", None)).expect("a target");
        assert_eq!(
            target.address,
            (interface.expect("an interface"), CONTAINER_PORT).into()
        );
        assert_eq!(target.instance, Some(host.instance));
        assert_eq!(target.zone, host.zone);
    })
    .await;
}

/// Moto tells no bindings. That is what ECS looks like a moment after a start, and then the
/// container port must not be taken for that of the host.
#[tokio::test]
async fn a_bridge_task_without_bindings_waits() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "bridge").await;
        let host = lab.add_host().await;
        let arn = lab.start(NetworkMode::Bridge, &host).await;
        let task = lab.describe(&arn).await;
        assert_eq!(task.host.as_ref(), Some(&host.arn));
        assert_eq!(task.interface, None);
        let resolved = resolve(&task, Some(&host), &spec("bridge", None));
        assert!(
            matches!(resolved, Err(Unresolved::Waiting(_))),
            "{resolved:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_task_in_host_mode_is_at_its_host_and_the_named_port_of_its_definition() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "host").await;
        let host = lab.add_host().await;
        let arn = lab.start(NetworkMode::Host, &host).await;
        let mut task = lab.describe(&arn).await;
        // Moto leaves it PENDING for ever.
        task.containers[0].running = true;

        let definition = task.definition.clone().expect("an ARN");
        let definition = lab
            .api
            .describe_definition(&definition)
            .await
            .expect("an answer");
        assert_eq!(definition.network_mode.as_deref(), Some("host"));
        let [port] = definition.ports.as_slice() else {
            panic!("the TCP port alone: {definition:?}");
        };
        assert_eq!(port.ports, MappedPorts::One(CONTAINER_PORT));
        assert_eq!(port.name.as_deref(), Some("http"));
        assert_eq!(port.app_protocol.as_deref(), Some("http2"));

        let spec = EcsDiscovery {
            container_port: None,
            port_name: Some("http".to_owned()),
            ..spec("host", None)
        };
        let target = resolve_with(&task, Some(&host), Some(&definition), &spec);
        let target = target.expect("a target");
        assert_eq!(target.address, (host.address, CONTAINER_PORT).into());
        assert!(target.shared_port);
        // By its `appProtocol`.
        assert_eq!(target.protocol_version, Some(ProtocolVersion::Http2));
        let unknown = lab.api.describe_definition("nothing:1").await;
        assert!(unknown.is_err(), "{unknown:?}");
    })
    .await;
}

/// The container of a RUNNING task is still PENDING in moto. A configured container is waited for.
#[tokio::test]
async fn an_awsvpc_task_waits_for_the_configured_container() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "container").await;
        let started = lab.run_on_fargate(1).await;
        let task = lab.describe(&started[0].0).await;
        assert_eq!(&*task.containers[0].name, "web");
        assert!(!task.containers[0].running);
        let resolved = resolve(&task, None, &spec("container", Some("web")));
        assert!(
            matches!(resolved, Err(Unresolved::Waiting(_))),
            "{resolved:?}"
        );
        let resolved = resolve(&task, None, &spec("container", Some("wbe")));
        assert!(
            matches!(resolved, Err(Unresolved::Wrong(_))),
            "{resolved:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_stopped_task_leaves_the_list_and_is_described_as_stopped() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "stopped").await;
        let started = arns(&lab.run_on_fargate(2).await);
        lab.stop(&started[0]).await;

        let listed = lab
            .api
            .list_tasks("stopped", Some("web"))
            .await
            .expect("a list");
        assert_eq!(listed, [started[1].clone()]);
        let task = lab.describe(&started[0]).await;
        assert!(!task.desired_running);
        assert_eq!(task.last_status, "STOPPED");
        // Its interface is still in the answer.
        assert!(task.interface.is_some());
        let resolved = resolve(&task, None, &spec("stopped", None));
        assert_eq!(resolved, Err(Unresolved::Gone));
    })
    .await;
}

#[tokio::test]
async fn unknown_ids_do_not_hide_known_ones() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "unknown").await;
        let host = lab.add_host().await;
        let known = arns(&lab.run_on_fargate(1).await)[0].clone();
        let unknown = other_id(&known);

        let described = lab
            .api
            .describe_tasks("unknown", &[unknown.clone(), known.clone()])
            .await
            .expect("an answer");
        assert_eq!(described.tasks.len(), 1);
        assert_eq!(described.tasks[0].arn, known);
        // Moto gives no failure for it, and without one it is not known to be missing.
        assert!(described.missing.is_empty());
        // So an answer about unknown tasks alone is empty, and an empty answer is an error.
        let error = lab
            .api
            .describe_tasks("unknown", &[unknown])
            .await
            .expect_err("an empty answer");
        assert_eq!(error.operation, "DescribeTasks");

        // Container instances do get failures.
        let missing = other_id(&host.arn);
        let found = lab
            .api
            .describe_hosts("unknown", &[missing.clone(), host.arn.clone()])
            .await
            .expect("an answer");
        assert_eq!(found.found, [host]);
        let asked = [missing];
        let answer = lab.api.describe_hosts("unknown", &asked).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.found, []);
        let unknown = answer.unknown.into_iter().map(|(arn, _)| arn);
        assert_eq!(unknown.collect::<Vec<_>>(), asked, "each has a reason");
    })
    .await;
}

#[tokio::test]
async fn an_error_of_aws_is_told_in_its_own_words() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "errors").await;
        let error = lab
            .api
            .list_tasks("nowhere", Some("web"))
            .await
            .expect_err("no such cluster");
        assert_eq!(error.operation, "ListTasks");
        assert!(
            error.reason.contains("ClusterNotFoundException"),
            "{}",
            error.reason
        );
    })
    .await;
}

#[tokio::test]
async fn the_poller_sends_the_tasks_and_drops_a_stopped_one() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "poller").await;
        let started = arns(&lab.run_on_fargate(3).await);
        let (out, mut updates) = mpsc::channel(1);
        let look_now = Arc::new(Notify::new());
        let poller = tokio::spawn(run(
            lab.api.clone(),
            spec("poller", None),
            out,
            look_now.clone(),
            None,
            SmallRng::seed_from_u64(1),
        ));
        wait_for(&mut updates, &started).await;
        lab.stop(&started[1]).await;
        // Before the next poll is due.
        look_now.notify_one();
        wait_for(&mut updates, &[started[0].clone(), started[2].clone()]).await;
        drop(updates);
        poller.await.expect("it ends with its receiver");
    })
    .await;
}

/// Takes updates until one has the targets of exactly these tasks.
async fn wait_for(updates: &mut mpsc::Receiver<Update>, tasks: &[Arc<str>]) {
    loop {
        match updates.recv().await.expect("the poller runs") {
            Update::Set { targets, .. } | Update::Changed { targets, .. } => {
                let mut found: Vec<_> = targets
                    .iter()
                    .map(|target| target.key.task.clone())
                    .collect();
                found.sort();
                if found == tasks {
                    return;
                }
            }
            Update::Failed { error, .. } => panic!("moto answers: {error}"),
        }
    }
}

async fn within(test: impl Future<Output = ()>) {
    timeout(TEST_LIMIT, test).await.expect("an end in time");
}

/// A started task: its ARN, and the address that the answer to its start told.
type Started = (Arc<str>, Option<IpAddr>);

/// In the order of the poller and of sorted lists.
fn arns(started: &[Started]) -> Vec<Arc<str>> {
    let mut arns: Vec<_> = started.iter().map(|(arn, _)| arn.clone()).collect();
    arns.sort();
    arns
}

/// The same ARN with an id that no resource has.
fn other_id(arn: &str) -> Arc<str> {
    let (path, _) = arn.rsplit_once('/').expect("an ARN with an id");
    format!("{path}/00000000-0000-0000-0000-000000000000").into()
}

/// With nothing known of the task's definition.
fn resolve(task: &Task, host: Option<&Host>, spec: &EcsDiscovery) -> Result<Target, Unresolved> {
    resolve_with(task, host, None, spec)
}

fn resolve_with(
    task: &Task,
    host: Option<&Host>,
    definition: Option<&Definition>,
    spec: &EcsDiscovery,
) -> Result<Target, Unresolved> {
    let host = host.map_or(State::Awaited(None), State::Here);
    let definition = definition.map_or(State::Awaited(None), State::Here);
    resolve::resolve(task, &host, &definition, spec, Naming::Keys, now())
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn spec(cluster: &str, container: Option<&str>) -> EcsDiscovery {
    EcsDiscovery {
        cluster: cluster.to_owned(),
        service: "web".to_owned(),
        container: container.map(str::to_owned),
        container_port: Port::new(CONTAINER_PORT.into()),
        port_name: None,
        poll_interval: Span::default(),
        events_queue: None,
        reconcile_interval: Span::default(),
        region: None,
    }
}

/// A cluster in moto, the plain SDK to set it up, and the code under test.
struct Lab {
    ecs: aws_sdk_ecs::Client,
    ec2: aws_sdk_ec2::Client,
    cluster: &'static str,
    subnet: String,
    api: SdkApi,
}

impl Lab {
    async fn new(moto: &Moto, cluster: &'static str) -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&moto.endpoint)
            .region(Region::from_static(REGION))
            .credentials_provider(Credentials::new("moto", "moto", None, None, "fixed"))
            .load()
            .await;
        let ecs = aws_sdk_ecs::Client::new(&config);
        let ec2 = aws_sdk_ec2::Client::new(&config);
        ecs.create_cluster()
            .cluster_name(cluster)
            .send()
            .await
            .expect("a cluster");
        // Moto brings a default network.
        let subnets = ec2.describe_subnets().send().await.expect("subnets");
        let subnet = subnets.subnets()[0].subnet_id().expect("an id").to_owned();
        let aws = Aws::Emulator {
            endpoint: moto.endpoint.clone(),
        };
        Self {
            ecs,
            ec2,
            cluster,
            subnet,
            api: SdkApi::connect(&aws, Some(REGION), Arc::default()).await,
        }
    }

    /// A container instance, as the calls that made it told.
    async fn add_host(&self) -> Host {
        let run = self
            .ec2
            .run_instances()
            // One of the images that moto knows by itself.
            .image_id("ami-12c6146b")
            .min_count(1)
            .max_count(1)
            .subnet_id(&self.subnet)
            .send()
            .await
            .expect("an instance");
        let instance = &run.instances()[0];
        let id = instance.instance_id().expect("an id");
        let registered = self
            .ecs
            .register_container_instance()
            .cluster(self.cluster)
            .instance_identity_document(format!(r#"{{"instanceId":"{id}"}}"#))
            .send()
            .await
            .expect("a container instance");
        let arn = registered
            .container_instance()
            .and_then(|host| host.container_instance_arn())
            .expect("an ARN");
        Host {
            arn: arn.into(),
            instance: id.into(),
            address: instance
                .private_ip_address()
                .and_then(|text| text.parse().ok())
                .expect("an address"),
            zone: instance
                .placement()
                .and_then(|placement| placement.availability_zone())
                .map(Into::into),
        }
    }

    async fn define(&self, mode: NetworkMode) -> String {
        let container = ContainerDefinition::builder()
            .name("web")
            .image("web")
            .memory(64)
            .port_mappings(
                PortMapping::builder()
                    .container_port(CONTAINER_PORT.into())
                    .name("http")
                    .app_protocol(ApplicationProtocol::Http2)
                    .build(),
            )
            .port_mappings(
                PortMapping::builder()
                    .container_port(53)
                    .protocol(TransportProtocol::Udp)
                    .build(),
            )
            .build();
        let answer = self
            .ecs
            .register_task_definition()
            .family(self.cluster)
            .network_mode(mode)
            .container_definitions(container)
            .send()
            .await
            .expect("a task definition");
        answer
            .task_definition()
            .and_then(|definition| definition.task_definition_arn())
            .expect("an ARN")
            .to_owned()
    }

    fn network(&self) -> NetworkConfiguration {
        let awsvpc = AwsVpcConfiguration::builder()
            .subnets(&self.subnet)
            // Moto wants the list, even without entries.
            .set_security_groups(Some(Vec::new()))
            .build()
            .expect("complete");
        NetworkConfiguration::builder()
            .awsvpc_configuration(awsvpc)
            .build()
    }

    async fn run_on_fargate(&self, count: i32) -> Vec<Started> {
        let answer = self
            .ecs
            .run_task()
            .cluster(self.cluster)
            .task_definition(self.define(NetworkMode::Awsvpc).await)
            .launch_type(LaunchType::Fargate)
            .network_configuration(self.network())
            .count(count)
            .send()
            .await
            .expect("tasks");
        answer.tasks().iter().map(started).collect()
    }

    async fn run_on_hosts(&self) -> Started {
        let answer = self
            .ecs
            .run_task()
            .cluster(self.cluster)
            .task_definition(self.define(NetworkMode::Awsvpc).await)
            .launch_type(LaunchType::Ec2)
            .network_configuration(self.network())
            .send()
            .await
            .expect("a task");
        started(&answer.tasks()[0])
    }

    async fn start(&self, mode: NetworkMode, host: &Host) -> Arc<str> {
        let answer = self
            .ecs
            .start_task()
            .cluster(self.cluster)
            .task_definition(self.define(mode).await)
            .container_instances(&*host.arn)
            .send()
            .await
            .expect("a task");
        started(&answer.tasks()[0]).0
    }

    async fn stop(&self, arn: &str) {
        self.ecs
            .stop_task()
            .cluster(self.cluster)
            .task(arn)
            .send()
            .await
            .expect("it stops");
    }

    /// One task, through the code under test.
    async fn describe(&self, arn: &Arc<str>) -> Task {
        let described = self
            .api
            .describe_tasks(self.cluster, std::slice::from_ref(arn))
            .await
            .expect("an answer");
        let [task] = described.tasks.as_slice() else {
            panic!("not one task: {described:?}");
        };
        task.clone()
    }
}

fn started(task: &aws_sdk_ecs::types::Task) -> Started {
    let interface = task
        .attachments()
        .iter()
        .flat_map(|attachment| attachment.details())
        .find(|detail| detail.name() == Some("privateIPv4Address"))
        .and_then(|detail| detail.value()?.parse().ok());
    (task.task_arn().expect("an ARN").into(), interface)
}

/// A moto server in a process of its own, ended with the last test that holds it.
struct Moto {
    endpoint: String,
    _process: Process,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for, so that none is left.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// One server for all tests of this file: Python takes longer to start than they take to run. Not
/// a strong reference, because what a static owns is never dropped.
static SHARED: Mutex<Weak<Moto>> = Mutex::new(Weak::new());

impl Moto {
    /// None where somebody decided to go without.
    fn shared() -> Option<Arc<Self>> {
        if env::var_os("LONGSHORE_SKIP_MOTO").is_some_and(|value| value == "1") {
            static NOTE: Once = Once::new();
            // Past the test harness, which swallows what passing tests print.
            NOTE.call_once(|| {
                let note = b"skipped: moto because LONGSHORE_SKIP_MOTO=1\n";
                drop(std::io::stderr().write_all(note));
            });
            return None;
        }
        let Some(program) = env::var_os("LONGSHORE_MOTO") else {
            panic!(
                "LONGSHORE_MOTO does not name a moto_server. Use tests/run, which installs one, \
                 or set LONGSHORE_SKIP_MOTO=1 to go without"
            );
        };
        // A failed start of another test is told by that test.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(moto) = shared.upgrade() {
            return Some(moto);
        }
        let moto = Arc::new(Self::start(&program));
        *shared = Arc::downgrade(&moto);
        Some(moto)
    }

    fn start(program: &std::ffi::OsStr) -> Self {
        // Port 0: the system chooses, and moto tells which on its standard error.
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("LONGSHORE_MOTO, {}: {error}", program.display()));
        let mut process = Process(child);
        let stderr = process.0.stderr.take().expect("piped");
        let (tell, told) = sync_channel(1);
        // It reads on after the address: with a full pipe moto would stand still.
        thread::spawn(move || {
            let mut said = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("Running on ") {
                    // Nobody waits any more after the deadline.
                    drop(tell.try_send(Ok(address.trim().to_owned())));
                    said.clear();
                } else if said.len() < 10_000 {
                    said.push_str(&line);
                    said.push('\n');
                }
            }
            drop(tell.try_send(Err(said)));
        });
        let endpoint = match told.recv_timeout(START_LIMIT) {
            Ok(Ok(endpoint)) => endpoint,
            Ok(Err(said)) => panic!("moto ended before it listened:\n{said}"),
            Err(_) => panic!("moto does not listen after {} s", START_LIMIT.as_secs()),
        };
        stand_still(&endpoint);
        Self {
            endpoint,
            _process: process,
        }
    }
}

/// Tells moto to leave tasks as they are. By itself it takes a task one state nearer to STOPPED
/// with each `DescribeTasks`.
fn stand_still(endpoint: &str) {
    let body =
        r#"{"model_name":"ecs::task","transition":{"progression":"manual","times":1000000000}}"#;
    let address = endpoint.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).expect("moto listens");
    stream
        .set_read_timeout(Some(TEST_LIMIT))
        .expect("a limit above zero");
    write!(
        stream,
        "POST /moto-api/state-manager/set-transition HTTP/1.0\r\nHost: {address}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("moto reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("moto answers");
    let status = answer.split(' ').nth(1);
    assert!(
        matches!(status, Some("200" | "201")),
        "moto's state manager: {answer}"
    );
}
