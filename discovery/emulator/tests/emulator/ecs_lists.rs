//! ListClusters, ListServices, ListTasks, ListContainerInstances.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::{ContainerInstanceStatus, DesiredStatus, LaunchType};
use longshore_emulator::{Options, TaskDefinition};

use crate::lab::{CLUSTER, Lab, code, quick};

#[tokio::test]
async fn clusters_and_services_are_listed_page_by_page() {
    let options = Options {
        page_size: 2,
        ..quick()
    };
    let lab = Lab::new(options, 1).await;
    for name in ["a", "b", "c", "d"] {
        lab.emulator.create_cluster(name);
        lab.service(name, 0).await;
    }
    let clusters: Vec<String> = lab
        .ecs
        .list_clusters()
        .into_paginator()
        .items()
        .send()
        .collect::<Result<_, _>>()
        .await
        .expect("the pages come");
    assert_eq!(clusters.len(), 5);
    assert_eq!(
        clusters.first().map(String::as_str),
        Some("arn:aws:ecs:eu-central-1:123456789012:cluster/a")
    );
    assert_eq!(lab.emulator.calls().get("ListClusters"), Some(&3));

    let first = lab.ecs.list_services().cluster(CLUSTER).send();
    let first = first.await.expect("the services are listed");
    assert_eq!(first.service_arns().len(), 2);
    let rest = lab.ecs.list_services().cluster(CLUSTER);
    let rest = rest.set_next_token(first.next_token).max_results(100);
    let rest = rest.send().await.expect("the second page comes");
    assert_eq!(
        rest.service_arns(),
        [
            "arn:aws:ecs:eu-central-1:123456789012:service/demo/c",
            "arn:aws:ecs:eu-central-1:123456789012:service/demo/d"
        ]
    );
    assert_eq!(rest.next_token(), None);
}

#[tokio::test]
async fn tasks_come_in_pages_of_a_hundred() {
    let lab = Lab::new(quick(), 4).await;
    let tasks = lab.service("web", 230).await;
    let listed: Vec<String> = lab
        .ecs
        .list_tasks()
        .cluster(CLUSTER)
        .into_paginator()
        .items()
        .send()
        .collect::<Result<_, _>>()
        .await
        .expect("the pages come");
    let listed: BTreeSet<String> = listed.into_iter().collect();
    assert_eq!(listed, tasks.into_iter().map(|task| task.arn).collect());
    assert_eq!(lab.emulator.calls().get("ListTasks"), Some(&3));
}

#[tokio::test]
async fn tasks_are_listed_by_service_family_host_and_launch_type() {
    let lab = Lab::new(quick(), 2).await;
    lab.service("web", 4).await;
    lab.service("api", 1).await;
    let fargate = TaskDefinition {
        launch_type: longshore_emulator::LaunchType::Fargate,
        ..TaskDefinition::awsvpc("lambda", 80)
    };
    lab.serve(fargate, "fargate", 3).await;
    let list = || lab.ecs.list_tasks().cluster(CLUSTER);
    let host = lab.hosts.first().expect("there is a host");
    for (request, expected) in [
        (list(), 8),
        (list().service_name("web"), 4),
        (list().service_name("api").family("api"), 1),
        (list().service_name("api").family("web"), 0),
        (list().family("lambda"), 3),
        (list().launch_type(LaunchType::Fargate), 3),
        (list().launch_type(LaunchType::Ec2), 5),
        (list().container_instance(host).service_name("web"), 2),
        (list().desired_status(DesiredStatus::Pending), 0),
        (list().desired_status(DesiredStatus::Stopped), 0),
    ] {
        let answer = request.clone().send().await.expect("the tasks are listed");
        assert_eq!(answer.task_arns().len(), expected, "{request:?}");
    }
}

#[tokio::test]
async fn a_task_told_to_stop_leaves_the_running_list_before_it_ends() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 1).await;
    let task = tasks.first().expect("there is a task");
    lab.tasks
        .set_grace("web", std::time::Duration::from_secs(3600));
    lab.emulator.stop_task(&task.id).expect("it is there");
    let list = || lab.ecs.list_tasks().cluster(CLUSTER).service_name("web");
    let running = list().send().await.expect("the tasks are listed");
    assert!(!running.task_arns().contains(&task.arn));
    let stopped = list().desired_status(DesiredStatus::Stopped).send().await;
    let stopped = stopped.expect("the tasks are listed");
    assert_eq!(stopped.task_arns(), [task.arn.as_str()]);
    let view = lab.task(&task.id, "it still runs", |task| task.alive).await;
    assert_eq!(view.stopped_at, None);
    lab.emulator.shutdown().await;
}

#[tokio::test]
async fn container_instances_are_listed_by_status() {
    let lab = Lab::new(quick(), 3).await;
    let [_, second, third] = lab.hosts.as_slice() else {
        panic!("there are three hosts");
    };
    lab.emulator.drain_host(second).expect("it is there");
    let list = || lab.ecs.list_container_instances().cluster(CLUSTER);
    let draining = list().status(ContainerInstanceStatus::Draining).send();
    let draining = draining.await.expect("the hosts are listed");
    assert_eq!(draining.container_instance_arns(), [second.as_str()]);
    let active = list().status(ContainerInstanceStatus::Active).send();
    let active = active.await.expect("the hosts are listed");
    assert_eq!(active.container_instance_arns().len(), 2);

    lab.emulator.lose_host(third).expect("it is there");
    let list = list().send().await.expect("the hosts are listed");
    assert_eq!(list.container_instance_arns().len(), 2);
    assert!(!list.container_instance_arns().contains(third));
}

#[tokio::test]
async fn wrong_lists_get_the_errors_of_ecs() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 1).await;
    let list = || lab.ecs.list_tasks().cluster(CLUSTER);
    assert_eq!(
        code(lab.ecs.list_tasks().send().await),
        "ClusterNotFoundException"
    );
    assert_eq!(
        code(list().service_name("none").send().await),
        "ServiceNotFoundException"
    );
    for request in [
        list().max_results(101),
        list().max_results(0),
        list().next_token("nonsense"),
        list().desired_status(DesiredStatus::from("SLEEPING")),
        list().container_instance("none"),
        list().started_by("me").family("web"),
    ] {
        assert_eq!(
            code(request.clone().send().await),
            "InvalidParameterException",
            "{request:?}"
        );
    }
}
