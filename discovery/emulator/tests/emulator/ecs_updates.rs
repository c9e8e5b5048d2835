//! StopTask, UpdateService, UpdateContainerInstancesState.

use aws_sdk_ecs::types::ContainerInstanceStatus;
use longshore_emulator::{TaskDefinition, TaskStatus};

use crate::lab::{CLUSTER, Lab, code, quick};

#[tokio::test]
async fn a_task_stopped_by_hand_is_replaced() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 2).await;
    let task = tasks.first().expect("there is a task");
    let answer = lab.ecs.stop_task().cluster(CLUSTER).task(&task.arn);
    let answer = answer.reason("because").send().await;
    let answer = answer.expect("the task is stopped");
    let told = answer.task().expect("it is described");
    assert_eq!(told.desired_status(), Some("STOPPED"));
    assert_eq!(told.version(), 4);
    let view = lab
        .task(&task.id, "it is stopped", |task| {
            task.last_status == TaskStatus::Stopped
        })
        .await;
    assert_eq!(view.version, 6);
    let described = lab.describe(&[&task.id]).await;
    assert_eq!(described[0].stopped_reason(), Some("because"));
    assert_eq!(
        described[0].stop_code().map(|code| code.as_str()),
        Some("UserInitiated")
    );
    assert_eq!(described[0].containers()[0].exit_code(), Some(0));
    lab.serving("web", 2).await;

    let unknown = lab.ecs.stop_task().cluster(CLUSTER).task("none").send();
    assert_eq!(code(unknown.await), "InvalidParameterException");
}

#[tokio::test]
async fn a_service_is_scaled_and_deployed_by_its_update() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 1).await;
    let update = || lab.ecs.update_service().cluster(CLUSTER).service("web");
    let answer = update().desired_count(3).send().await;
    let answer = answer.expect("the service is updated");
    assert_eq!(answer.service().map(|s| s.desired_count()), Some(3));
    let old = lab.serving("web", 3).await;

    lab.emulator
        .register_task_definition(TaskDefinition::bridge("web", 8080));
    let answer = update().task_definition("web:2").send().await;
    let answer = answer.expect("the service is updated");
    let service = answer.service().expect("it is described");
    let status: Vec<_> = service
        .deployments()
        .iter()
        .filter_map(|d| d.status())
        .collect();
    assert_eq!(status, ["PRIMARY", "ACTIVE"]);
    lab.until("only new tasks", |tasks| {
        let serving = tasks.iter().filter(|task| task.is_serving());
        let serving: Vec<_> = serving.map(|task| task.definition.as_str()).collect();
        (serving == ["web:2", "web:2", "web:2"]).then_some(())
    })
    .await;

    // The same again is nothing new, unless it is forced.
    let count = lab.emulator.tasks().len();
    assert_eq!(count, 2 * old.len());
    let same = update().task_definition("web:2").send().await;
    same.expect("the service is updated");
    assert_eq!(lab.emulator.tasks().len(), count);
    let forced = update().force_new_deployment(true).send().await;
    forced.expect("the service is updated");
    lab.until("a third set of tasks", |tasks| {
        let fresh = tasks.iter().skip(count).filter(|task| task.is_serving());
        (fresh.count() == 3).then_some(())
    })
    .await;

    let wrong = update().task_definition("none").send().await;
    assert_eq!(code(wrong), "ClientException");
    let wrong = update().desired_count(-1).send().await;
    assert_eq!(code(wrong), "InvalidParameterException");
    let wrong = lab.ecs.update_service().cluster(CLUSTER).service("none");
    assert_eq!(code(wrong.send().await), "ServiceNotFoundException");
}

#[tokio::test]
async fn a_host_is_drained_and_taken_back_by_its_update() {
    let lab = Lab::new(quick(), 2).await;
    lab.service("web", 2).await;
    let host = lab.hosts.first().expect("there is a host");
    let update = |status| {
        let call = lab.ecs.update_container_instances_state().cluster(CLUSTER);
        call.container_instances(host).status(status).send()
    };
    let answer = update(ContainerInstanceStatus::Draining).await;
    let answer = answer.expect("the host is updated");
    assert_eq!(answer.container_instances()[0].status(), Some("DRAINING"));
    lab.until("the tasks have moved", |tasks| {
        let mut serving = tasks.iter().filter(|task| task.is_serving());
        let away = serving.all(|task| task.container_instance.as_ref() != Some(host));
        let count = tasks.iter().filter(|task| task.is_serving()).count();
        (away && count == 2).then_some(())
    })
    .await;
    let answer = update(ContainerInstanceStatus::Active).await;
    let answer = answer.expect("the host is updated");
    assert_eq!(answer.container_instances()[0].status(), Some("ACTIVE"));
    let wrong = update(ContainerInstanceStatus::Registering).await;
    assert_eq!(code(wrong), "InvalidParameterException");
}
