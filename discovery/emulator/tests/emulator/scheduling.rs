//! Services: where tasks go, and in which order they come and go.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use longshore_emulator::{
    BoxFuture, Emulator, EmulatorError, HttpTasks, RunningTask, TaskDefinition, TaskRuntime,
    TaskStart, TaskStatus,
};

use crate::lab::{CLUSTER, Lab, PATIENCE, host, quick};

#[tokio::test]
async fn tasks_are_spread_over_zones_and_hosts() {
    let lab = Lab::new(quick(), 4).await;
    let mut hosts: BTreeMap<_, usize> = BTreeMap::new();
    for task in lab.service("web", 8).await {
        *hosts.entry(task.container_instance).or_default() += 1;
    }
    assert_eq!(hosts.into_values().collect::<Vec<_>>(), [2, 2, 2, 2]);
}

#[tokio::test]
async fn a_service_without_a_host_waits_for_one() {
    let lab = Lab::new(quick(), 0).await;
    lab.emulator
        .register_task_definition(TaskDefinition::bridge("web", 80));
    lab.emulator
        .create_service(CLUSTER, "web", "web", 2)
        .expect("the service is new");
    assert_eq!(lab.emulator.tasks().len(), 0);
    lab.emulator
        .add_host(CLUSTER, host(lab.emulator.spare_address()));
    lab.serving("web", 2).await;
}

#[tokio::test]
async fn a_fixed_port_allows_one_task_on_each_host() {
    let lab = Lab::new(quick(), 2).await;
    let tasks = lab
        .serve(TaskDefinition::host("web", 18080), "web", 2)
        .await;
    assert_ne!(tasks[0].container_instance, tasks[1].container_instance);
    lab.emulator
        .scale(CLUSTER, "web", 3)
        .expect("the service is there");
    assert_eq!(lab.emulator.tasks().len(), 2, "there is no third place");
    lab.emulator.stop_task(&tasks[0].id).expect("it is there");
    lab.until("the place is taken again", |tasks| {
        let serving = tasks.iter().filter(|task| task.is_serving()).count();
        (tasks.len() == 3 && serving == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn surplus_tasks_go_oldest_first() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 4).await;
    lab.emulator
        .scale(CLUSTER, "web", 2)
        .expect("the service is there");
    let left = lab.serving("web", 2).await;
    let ids = |tasks: &[longshore_emulator::TaskView]| -> Vec<String> {
        tasks.iter().map(|task| task.id.clone()).collect()
    };
    assert_eq!(ids(&left), ids(&tasks[2..]));
    let stopped = lab
        .task(&tasks[0].id, "the oldest is stopped", |task| {
            task.last_status == TaskStatus::Stopped
        })
        .await;
    assert_eq!(stopped.stop_code, Some("ServiceSchedulerInitiated"));
    lab.emulator
        .scale(CLUSTER, "web", 0)
        .expect("the service is there");
    lab.serving("web", 0).await;
}

#[tokio::test]
async fn a_rolling_deployment_never_serves_with_fewer_tasks() {
    let lab = Lab::new(quick(), 2).await;
    lab.service("web", 4).await;
    lab.emulator
        .register_task_definition(TaskDefinition::bridge("web", 9090));
    lab.emulator
        .deploy(CLUSTER, "web", "web:2")
        .expect("the definition is there");
    let emulator = lab.emulator.clone();
    lab.until("all tasks are new", |tasks| {
        let serving: Vec<_> = tasks.iter().filter(|task| task.is_serving()).collect();
        assert!(serving.len() >= 4, "{} serve", serving.len());
        assert!(tasks.len() <= 8);
        let new = serving.iter().all(|task| task.definition == "web:2");
        (new && serving.len() == 4).then_some(())
    })
    .await;
    let unknown = emulator.deploy(CLUSTER, "web", "web:3");
    assert_eq!(
        unknown,
        Err(EmulatorError::UnknownTaskDefinition("web:3".into()))
    );
}

#[tokio::test]
async fn a_draining_host_is_left_after_the_replacements_run() {
    let lab = Lab::new(quick(), 2).await;
    lab.service("web", 4).await;
    let drained = &lab.hosts[1];
    lab.emulator.drain_host(drained).expect("it is there");
    lab.until("nobody is on it", |tasks| {
        let serving: Vec<_> = tasks.iter().filter(|task| task.is_serving()).collect();
        assert!(serving.len() >= 4, "{} serve", serving.len());
        let mut hosts = serving.iter().map(|task| &task.container_instance);
        let empty = hosts.all(|host| host.as_ref() != Some(drained));
        (empty && serving.len() == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn names_that_are_not_there_are_errors() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 0).await;
    let emulator = &lab.emulator;
    let service = || EmulatorError::UnknownService {
        cluster: CLUSTER.into(),
        service: "none".into(),
    };
    assert_eq!(emulator.scale(CLUSTER, "none", 1), Err(service()));
    assert_eq!(
        emulator.scale("none", "web", 1),
        Err(EmulatorError::UnknownCluster("none".into()))
    );
    assert_eq!(
        emulator.create_service(CLUSTER, "web", "web", 1),
        Err(EmulatorError::ServiceExists {
            cluster: CLUSTER.into(),
            service: "web".into()
        })
    );
    assert_eq!(
        emulator.stop_task("none"),
        Err(EmulatorError::UnknownTask("none".into()))
    );
    assert_eq!(
        emulator.lose_host("none"),
        Err(EmulatorError::UnknownHost("none".into()))
    );
}

/// Fails the first starts, then works.
struct Failing {
    left: AtomicUsize,
    asked: Mutex<Vec<String>>,
    works: HttpTasks,
}

impl TaskRuntime for Failing {
    fn start(&self, task: TaskStart) -> BoxFuture<'static, io::Result<Box<dyn RunningTask>>> {
        self.asked.lock().expect("no panic").push(task.id.clone());
        let down = |n: usize| n.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, down)
        {
            Ok(_) => Box::pin(async { Err(io::Error::other("no image")) }),
            Err(_) => self.works.start(task),
        }
    }
}

#[tokio::test]
async fn a_task_that_cannot_start_is_replaced_after_a_pause() {
    let runtime = Arc::new(Failing {
        left: AtomicUsize::new(2),
        asked: Mutex::default(),
        works: HttpTasks::new(),
    });
    let emulator = Emulator::start(quick(), Arc::clone(&runtime) as Arc<dyn TaskRuntime>)
        .await
        .expect("a loopback port is free");
    emulator.add_host(CLUSTER, host(emulator.spare_address()));
    emulator.register_task_definition(TaskDefinition::bridge("web", 80));
    emulator
        .create_service(CLUSTER, "web", "web", 1)
        .expect("the service is new");
    let mut changed = emulator.changed();
    let served = tokio::time::timeout(PATIENCE, async {
        while !emulator.tasks().iter().any(|task| task.is_serving()) {
            changed.changed().await.expect("the emulator lives");
        }
    });
    served.await.expect("the third start works");
    let tasks = emulator.tasks();
    assert_eq!(tasks.len(), 3);
    assert_eq!(tasks[0].stop_code, Some("TaskFailedToStart"));
    let pause = tasks[1].created_at - tasks[0].created_at;
    assert!(pause >= std::time::Duration::from_millis(100), "{pause:?}");
    assert_eq!(runtime.asked.lock().expect("no panic").len(), 3);
}

/// Starts that never end, as those of an image that cannot be pulled.
struct Stuck;

impl TaskRuntime for Stuck {
    fn start(&self, _: TaskStart) -> BoxFuture<'static, io::Result<Box<dyn RunningTask>>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_task_can_be_stopped_before_it_runs() {
    let emulator = Emulator::start(quick(), Arc::new(Stuck))
        .await
        .expect("a loopback port is free");
    emulator.add_host(CLUSTER, host(emulator.spare_address()));
    emulator.register_task_definition(TaskDefinition::bridge("web", 80));
    emulator
        .create_service(CLUSTER, "web", "web", 1)
        .expect("the service is new");
    emulator
        .scale(CLUSTER, "web", 0)
        .expect("the service is there");
    let mut changed = emulator.changed();
    let stopped = tokio::time::timeout(PATIENCE, async {
        while emulator.tasks()[0].last_status != TaskStatus::Stopped {
            changed.changed().await.expect("the emulator lives");
        }
    });
    stopped.await.expect("the start is given up");
    assert_eq!(emulator.tasks()[0].running_at, None);
    emulator.shutdown().await;
}
