//! The life and the ports of tasks.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore_emulator::{
    BoxFuture, Emulator, Options, RunningTask, TaskDefinition, TaskRuntime, TaskStart, TaskStatus,
};
use tokio::net::TcpListener;

use crate::lab::{CLUSTER, Lab, fetch, host, quick, who};

#[tokio::test]
async fn a_freed_port_goes_to_the_next_task() {
    let lab = Lab::new(quick(), 1).await;
    let web = lab.service("web", 2).await;
    lab.service("api", 1).await;
    let (first, address) = (&web[0], web[0].addresses[0]);
    assert_eq!(address.port(), 32768);
    assert_eq!(who(address).await, first.id);
    lab.emulator
        .scale(CLUSTER, "web", 1)
        .expect("the service is there");
    lab.task(&first.id, "the oldest has ended", |task| {
        task.exited_at.is_some()
    })
    .await;
    lab.emulator
        .scale(CLUSTER, "api", 2)
        .expect("the service is there");
    let api = lab.serving("api", 2).await;
    let heir = api.iter().find(|task| task.addresses[0] == address);
    let heir = heir.expect("a task of another service has the port");
    assert_eq!(who(address).await, heir.id);
}

#[tokio::test]
async fn a_port_is_free_while_the_api_still_shows_its_last_task() {
    let options = Options {
        report_delay: Duration::from_secs(3600),
        ..quick()
    };
    let lab = Lab::new(options, 1).await;
    let tasks = lab.service("web", 1).await;
    let old = &tasks[0];
    lab.emulator.stop_task(&old.id).expect("it is there");
    let view = lab
        .task(&old.id, "it is gone", |task| task.exited_at.is_some())
        .await;
    assert_eq!(view.last_status, TaskStatus::Deprovisioning);
    lab.emulator
        .scale(CLUSTER, "web", 2)
        .expect("the service is there");
    let tasks = lab.serving("web", 2).await;
    let described = lab.describe(&[&old.id]).await;
    assert_eq!(described[0].last_status(), Some("DEPROVISIONING"));
    let port = described[0].containers()[0].network_bindings()[0].host_port();
    assert_eq!(port, Some(32768));
    assert!(tasks.iter().any(|task| task.addresses == old.addresses));
}

#[tokio::test]
async fn a_port_that_the_kernel_has_lent_is_passed_over() {
    let lab = Lab::new(quick(), 0).await;
    let address = lab.emulator.spare_address();
    let squatter = TcpListener::bind((address, 32768)).await;
    let squatter = squatter.expect("nobody else uses the address");
    lab.emulator.add_host(CLUSTER, host(address));
    let tasks = lab.service("web", 2).await;
    let ports: BTreeSet<u16> = tasks.iter().map(|task| task.addresses[0].port()).collect();
    assert_eq!(ports, BTreeSet::from([32769, 32770]));
    drop(squatter);
    lab.emulator
        .scale(CLUSTER, "web", 3)
        .expect("the service is there");
    let tasks = lab.serving("web", 3).await;
    assert_eq!(tasks[2].addresses[0].port(), 32768);
}

#[tokio::test]
async fn sigterm_comes_with_the_stop_and_versions_count_the_steps() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let task = &tasks[0];
    assert_eq!(task.version, 3);
    lab.tasks.set_grace("web", Duration::from_secs(3600));
    lab.emulator.stop_task(&task.id).expect("it is there");
    let stopping = lab
        .task(&task.id, "it is STOPPING", |task| {
            task.last_status == TaskStatus::Stopping
        })
        .await;
    assert_eq!(stopping.version, 4);
    assert_eq!(stopping.desired_status, TaskStatus::Stopped);
    assert_eq!(who(task.addresses[0]).await, task.id, "its grace time");
    lab.emulator.crash_task(&task.id).expect("it runs");
    let stopped = lab
        .task(&task.id, "it is STOPPED", |task| {
            task.last_status == TaskStatus::Stopped
        })
        .await;
    assert_eq!(stopped.version, 6);
    let times = [
        stopped.running_at,
        stopped.stop_requested_at,
        stopped.exited_at,
        stopped.stopped_at,
    ];
    assert!(times.iter().all(Option::is_some) && times.is_sorted());
}

#[tokio::test]
async fn a_task_that_ignores_sigterm_is_killed_after_the_stop_timeout() {
    let stop_timeout = Duration::from_millis(150);
    let options = Options {
        stop_timeout,
        ..quick()
    };
    let lab = Lab::new(options, 1).await;
    lab.tasks.set_grace("web", Duration::from_secs(3600));
    let tasks = lab.service("web", 1).await;
    lab.emulator.stop_task(&tasks[0].id).expect("it is there");
    let ended = lab
        .task(&tasks[0].id, "it is STOPPED", |task| {
            task.last_status == TaskStatus::Stopped
        })
        .await;
    let (asked, exited) = (ended.stop_requested_at, ended.exited_at);
    let took = exited.expect("it ended") - asked.expect("it was asked");
    assert!(took >= stop_timeout, "{took:?}");
    let described = lab.describe(&[&ended.id]).await;
    assert_eq!(described[0].containers()[0].exit_code(), Some(137));
}

#[tokio::test]
async fn the_api_learns_of_a_crash_later() {
    let options = Options {
        crash_detection: Duration::from_millis(300),
        ..quick()
    };
    let lab = Lab::new(options, 1).await;
    let tasks = lab.service("web", 1).await;
    let task = &tasks[0];
    lab.emulator.crash_task(&task.id).expect("it runs");
    let dead = lab
        .task(&task.id, "its process is gone", |task| !task.alive)
        .await;
    assert!(dead.is_serving(), "the API does not know");
    let refused = fetch(task.addresses[0], "GET", "/").await;
    let refused = refused.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let again = lab.emulator.crash_task(&task.id);
    assert!(again.is_err(), "it does not run any more");
    let known = lab
        .task(&task.id, "the API knows", |task| !task.is_serving())
        .await;
    assert_eq!(known.stop_code, Some("EssentialContainerExited"));
    let next = lab.serving("web", 1).await;
    assert_ne!(next[0].id, task.id);
}

#[tokio::test]
async fn a_lost_host_is_noticed_later_and_its_tasks_start_elsewhere() {
    let options = Options {
        loss_detection: Duration::from_millis(300),
        ..quick()
    };
    let lab = Lab::new(options, 2).await;
    let tasks = lab.service("web", 4).await;
    let lost = &lab.hosts[0];
    let on_it =
        |task: &&longshore_emulator::TaskView| task.container_instance.as_ref() == Some(lost);
    let victims: Vec<_> = tasks.iter().filter(on_it).cloned().collect();
    assert_eq!(victims.len(), 2);
    lab.emulator.lose_host(lost).expect("it is there");
    for victim in &victims {
        let dead = lab
            .task(&victim.id, "its process is gone", |task| !task.alive)
            .await;
        assert!(dead.is_serving(), "the API does not know");
    }
    lab.until("all run on the other host", |tasks| {
        let serving: Vec<_> = tasks.iter().filter(|task| task.is_serving()).collect();
        (serving.len() == 4 && !serving.iter().any(on_it)).then_some(())
    })
    .await;
    let described = lab.describe(&[&victims[0].id]).await;
    assert_eq!(described[0].last_status(), Some("STOPPED"));
    let hosts = lab.ecs.describe_container_instances().cluster(CLUSTER);
    let hosts = hosts.container_instances(lost).send().await;
    let hosts = hosts.expect("it is described still");
    assert_eq!(hosts.container_instances()[0].status(), Some("INACTIVE"));
    assert!(!hosts.container_instances()[0].agent_connected());
}

#[tokio::test]
async fn a_shutdown_ends_every_task_and_the_listener() {
    let lab = Lab::new(quick(), 1).await;
    let web = lab.service("web", 3).await;
    let vpc = lab.serve(TaskDefinition::awsvpc("vpc", 80), "vpc", 1).await;
    lab.emulator.shutdown().await;
    for task in web.iter().chain(&vpc) {
        let answer = fetch(task.addresses[0], "GET", "/").await;
        assert!(answer.is_err(), "{task:?}");
    }
    let answer = fetch(lab.emulator.address(), "GET", "/_emulator/tasks").await;
    assert!(answer.is_err());
    lab.emulator.shutdown().await;
    assert!(lab.emulator.tasks().iter().all(|task| !task.alive));
}

#[tokio::test]
async fn the_last_handle_takes_the_tasks_with_it() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let mut open = crate::lab::connect(tasks[0].addresses[0])
        .await
        .expect("it listens");
    let Lab { emulator, .. } = lab;
    let copy = emulator.clone();
    drop(emulator);
    open.ready().await.expect("a clone keeps it alive");
    drop(copy);
    let closed = tokio::time::timeout(crate::lab::PATIENCE, async {
        while open.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    closed.await.expect("the connection is closed");
}

#[test]
fn it_can_be_used_from_threads_without_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (sender, receiver) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            let lab = Lab::new(quick(), 0).await;
            sender.send(lab.emulator.clone()).expect("it is awaited");
            stopped.await.expect("the test says when");
            lab.emulator.shutdown().await;
        });
    });
    let emulator = receiver.recv().expect("it starts");
    emulator.add_host(CLUSTER, host(emulator.spare_address()));
    emulator.register_task_definition(TaskDefinition::bridge("web", 80));
    emulator
        .create_service(CLUSTER, "web", "web", 1)
        .expect("the service is new");
    let changed = emulator.changed();
    let deadline = std::time::Instant::now() + crate::lab::PATIENCE;
    while !emulator.tasks().iter().any(|task| task.is_serving()) {
        assert!(std::time::Instant::now() < deadline);
        assert!(changed.has_changed().is_ok());
        std::thread::yield_now();
    }
    assert_ne!(emulator.address().ip(), Ipv4Addr::UNSPECIFIED);
    stop.send(()).expect("it runs");
    thread.join().expect("it ends well");
}

/// A process that does nothing but note its signals.
#[derive(Default)]
struct Recorder {
    terminated: AtomicBool,
    killed: AtomicBool,
}

struct Recording(Arc<Recorder>);

impl TaskRuntime for Recording {
    fn start(&self, _: TaskStart) -> BoxFuture<'static, io::Result<Box<dyn RunningTask>>> {
        let process: Box<dyn RunningTask> = Box::new(Recording(Arc::clone(&self.0)));
        Box::pin(async { Ok(process) })
    }
}

impl RunningTask for Recording {
    fn terminate(&self) {
        self.0.terminated.store(true, Ordering::SeqCst);
    }

    fn kill(&self) {
        self.0.killed.store(true, Ordering::SeqCst);
    }

    fn exited(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn the_signal_has_been_sent_when_the_call_returns() {
    let recorder = Arc::new(Recorder::default());
    let runtime = Arc::new(Recording(Arc::clone(&recorder)));
    let emulator = Emulator::start(quick(), runtime)
        .await
        .expect("a loopback port is free");
    let arn = emulator.add_host(CLUSTER, host(emulator.spare_address()));
    emulator.register_task_definition(TaskDefinition::bridge("web", 80));
    emulator
        .create_service(CLUSTER, "web", "web", 1)
        .expect("the service is new");
    let mut changed = emulator.changed();
    let served = tokio::time::timeout(crate::lab::PATIENCE, async {
        while !emulator.tasks()[0].is_serving() {
            changed.changed().await.expect("the emulator lives");
        }
    });
    served.await.expect("the task runs");
    let id = emulator.tasks()[0].id.clone();
    emulator.stop_task(&id).expect("it is there");
    assert!(recorder.terminated.load(Ordering::SeqCst));
    assert!(!recorder.killed.load(Ordering::SeqCst));
    emulator.lose_host(&arn).expect("it is there");
    assert!(recorder.killed.load(Ordering::SeqCst));
}
