//! Services with task sets, and disrupted zones.

use aws_sdk_ecs::types::{Scale, ScaleUnit, Service, TaskSet};
use longshore_emulator::{DeploymentController, Host, TaskDefinition};

use crate::lab::{CLUSTER, Lab, code, quick};

async fn described(lab: &Lab) -> Service {
    let answer = lab.ecs.describe_services().cluster(CLUSTER);
    let answer = answer.services("web").send().await.expect("described");
    answer.services().first().expect("it is there").clone()
}

fn statuses(service: &Service) -> Vec<(String, String)> {
    let text = |text: Option<&str>| text.expect("it is told").to_owned();
    let sets = service.task_sets().iter();
    sets.map(|set: &TaskSet| (text(set.id()), text(set.status())))
        .collect()
}

#[tokio::test]
async fn task_sets_have_their_share_of_the_tasks_and_one_of_them_is_primary() {
    let lab = Lab::new(quick(), 1).await;
    lab.emulator
        .register_task_definition(TaskDefinition::bridge("web", 8080));
    lab.emulator
        .create_set_service(CLUSTER, "web", DeploymentController::CodeDeploy, 3)
        .expect("created");
    assert!(described(&lab).await.task_sets().is_empty());
    let create = |percent| {
        let scale = Scale::builder()
            .value(percent)
            .unit(ScaleUnit::Percent)
            .build();
        let call = lab.ecs.create_task_set().cluster(CLUSTER).service("web");
        call.task_definition("web").scale(scale)
    };
    let blue = create(100.0).send().await.expect("created");
    let blue = blue.task_set().and_then(|set| set.id()).expect("its id");
    lab.serving("web", 3).await;
    let primary = |set: &str| {
        let call = lab.ecs.update_service_primary_task_set();
        call.cluster(CLUSTER).service("web").primary_task_set(set)
    };
    primary(blue).send().await.expect("it is primary");
    let green = create(50.0).send().await.expect("created");
    let green = green.task_set().and_then(|set| set.id()).expect("its id");
    let tasks = lab.serving("web", 5).await;
    let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    let told = lab.describe(&ids).await;
    let of = |set: &str| told.iter().filter(|t| t.started_by() == Some(set)).count();
    assert_eq!((of(blue), of(green)), (3, 2));
    let service = described(&lab).await;
    assert!(service.deployments().is_empty());
    let controller = service.deployment_controller().expect("it is told");
    assert_eq!(controller.r#type().as_str(), "CODE_DEPLOY");
    let set = |id: &str, status: &str| (id.to_owned(), status.to_owned());
    assert_eq!(
        statuses(&service),
        [set(green, "ACTIVE"), set(blue, "PRIMARY")]
    );

    primary(green).send().await.expect("it is primary");
    let service = described(&lab).await;
    assert_eq!(
        statuses(&service),
        [set(green, "PRIMARY"), set(blue, "ACTIVE")]
    );
    assert_eq!(lab.serving("web", 5).await.len(), 5, "nothing stops");
    let delete = |set: &str| {
        let call = lab.ecs.delete_task_set().cluster(CLUSTER).service("web");
        call.task_set(set)
    };
    assert_eq!(
        code(delete(green).send().await),
        "InvalidParameterException"
    );
    delete(blue).send().await.expect("it goes");
    lab.serving("web", 2).await;
    lab.until("only one set is left", |tasks| {
        let blue = tasks.iter().filter(|task| ids.contains(&task.id.as_str()));
        (blue.filter(|task| task.stopped_at.is_some()).count() == 3).then_some(())
    })
    .await;
    assert_eq!(statuses(&described(&lab).await), [set(green, "PRIMARY")]);
    assert_eq!(
        code(primary("ecs-svc/1").send().await),
        "TaskSetNotFoundException"
    );
}

#[tokio::test]
async fn a_service_of_ecs_itself_has_no_task_sets() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 1).await;
    assert!(described(&lab).await.task_sets.is_none());
    let call = lab.ecs.create_task_set().cluster(CLUSTER).service("web");
    let call = call.task_definition("web").send();
    assert_eq!(code(call.await), "InvalidParameterException");
}

#[tokio::test]
async fn a_disrupted_zone_fails_the_calls_that_concern_it_and_no_others() {
    let lab = Lab::new(quick(), 0).await;
    for (n, zone) in [(1, "eu-central-1a"), (2, "eu-central-1b")] {
        let mut host = Host::new(lab.emulator.spare_address(), zone);
        host.ec2_instance_id = Some(format!("i-0000000000000000{n}"));
        lab.emulator.add_host(CLUSTER, host);
    }
    lab.emulator.faults().disrupt_zone("eu-central-1a");
    let ask = async |ids: &[&str]| {
        let mut filter = aws_sdk_ec2::types::Filter::builder().name("instance-id");
        for id in ids {
            filter = filter.values(*id);
        }
        let call = lab.ec2.describe_instances().filters(filter.build());
        call.send().await.map(|answer| answer.reservations().len())
    };
    let (a, b) = ("i-00000000000000001", "i-00000000000000002");
    assert_eq!(ask(&[b]).await.expect("it is not concerned"), 1);
    assert_eq!(code(ask(&[a]).await), "Unavailable");
    assert_eq!(code(ask(&[a, b]).await), "Unavailable");
    assert_eq!(
        code(lab.ec2.describe_instances().send().await),
        "Unavailable"
    );
    lab.emulator.faults().clear();
    assert_eq!(ask(&[a, b]).await.expect("it is over"), 2);
}
