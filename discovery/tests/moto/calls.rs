//! The calls besides tasks and hosts: services with their task sets, labels, and the queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_ecs::types::{
    ContainerDefinition, DeploymentController, DeploymentControllerType, NetworkMode,
};
use longshore_discovery::ecs::api::{EcsApi, ErrorKind, TaskSet};
use longshore_discovery::ecs::{Aws, Feeds, run};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use super::{Lab, Moto, REGION, arns, now, spec, wait_for, within};

/// An event of ECS about a task of the service `web` that was told to stop.
fn stopped(cluster: &str, task: &str) -> String {
    json!({
        "version": "0",
        "id": "3317b2af-7005-947d-b652-f55e762e571a",
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": "123456789012",
        "time": "2026-11-21T10:57:17Z",
        "region": REGION,
        "resources": [task],
        "detail": {
            "taskArn": task,
            "clusterArn": format!("arn:aws:ecs:{REGION}:123456789012:cluster/{cluster}"),
            "group": "service:web",
            "desiredStatus": "STOPPED",
            "lastStatus": "RUNNING",
            "version": 9,
            "updatedAt": "2026-11-21T10:57:17.25Z",
            "attachments": [],
            "containers": [],
        },
    })
    .to_string()
}

#[tokio::test]
async fn labels_are_read_as_they_were_registered() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "labels").await;
        let container = |name: &str| {
            ContainerDefinition::builder()
                .name(name)
                .image("web")
                .memory(64)
        };
        let labelled = container("web")
            .docker_labels("longshore.enable", "true")
            .docker_labels("longshore.rule.host_header", "shop.example, *.shop.example");
        let registered = lab
            .ecs
            .register_task_definition()
            .family("labels")
            .network_mode(NetworkMode::Bridge)
            .container_definitions(labelled.build())
            .container_definitions(container("side").build())
            .send()
            .await
            .expect("a task definition");
        let registered = registered.task_definition();
        let arn = registered.and_then(|definition| definition.task_definition_arn());
        let definition = lab.api.describe_definition(arn.expect("an ARN")).await;
        let definition = definition.expect("an answer");
        let wanted = [
            ("longshore.enable", "true"),
            ("longshore.rule.host_header", "shop.example, *.shop.example"),
        ];
        let wanted: BTreeMap<_, _> = wanted
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let found: Vec<_> = definition.labels.iter().collect();
        let [(name, labels)] = found.as_slice() else {
            panic!("one container has labels: {definition:?}");
        };
        assert_eq!((&***name, &***labels), ("web", &wanted));
    })
    .await;
}

#[tokio::test]
async fn a_service_is_told_with_its_counts_and_its_task_sets() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "services").await;
        let definition = lab.define(NetworkMode::Awsvpc).await;
        let create = || lab.ecs.create_service().cluster("services");
        let plain = create()
            .service_name("plain")
            .task_definition(&definition)
            .desired_count(2);
        plain.send().await.expect("a service");
        let (told, _) = lab
            .api
            .describe_service("services", "plain", now())
            .await
            .expect("an answer");
        // Moto starts no task for it.
        assert_eq!((told.desired, told.running, told.pending), (2, 0, 2));
        assert!(told.rolling, "{told:?}");
        assert_eq!(told.task_sets, None);

        let controller = DeploymentController::builder()
            .r#type(DeploymentControllerType::External)
            .build()
            .expect("complete");
        let external = create()
            .service_name("sets")
            .deployment_controller(controller)
            .desired_count(1);
        external.send().await.expect("a service");
        let mut ids = Vec::new();
        for _ in 0..2 {
            let made = lab
                .ecs
                .create_task_set()
                .cluster("services")
                .service("sets")
                .task_definition(&definition)
                .send()
                .await
                .expect("a task set");
            let made = made.task_set().expect("it is told");
            ids.push((
                made.id().expect("an id").to_owned(),
                made.task_set_arn().expect("an ARN").to_owned(),
            ));
        }
        lab.ecs
            .update_service_primary_task_set()
            .cluster("services")
            .service("sets")
            .primary_task_set(&ids[1].1)
            .send()
            .await
            .expect("it is PRIMARY");
        let (told, _) = lab
            .api
            .describe_service("services", "sets", now())
            .await
            .expect("an answer");
        let wanted = [(&ids[0].0, "ACTIVE"), (&ids[1].0, "PRIMARY")].map(|(id, status)| TaskSet {
            id: id.as_str().into(),
            status: status.into(),
        });
        assert_eq!(told.task_sets.as_deref(), Some(&wanted[..]));

        let nothing = lab.api.describe_service("services", "nothing", now()).await;
        let kind = nothing.map(|_| ()).map_err(|error| error.kind);
        assert_eq!(kind, Err(ErrorKind::NoSuchService));
    })
    .await;
}

#[tokio::test]
async fn an_event_in_the_queue_takes_a_task_away_between_two_looks_and_its_message_is_deleted() {
    let Some(moto) = Moto::shared() else { return };
    within(async {
        let lab = Lab::new(&moto, "events").await;
        let started = arns(&lab.run_on_fargate(2).await);
        let config = aws_config::SdkConfig::builder()
            .endpoint_url(&moto.endpoint)
            .region(aws_config::Region::from_static(REGION))
            .behavior_version(aws_config::BehaviorVersion::latest())
            .credentials_provider(aws_sdk_ecs::config::SharedCredentialsProvider::new(
                super::Credentials::new("moto", "moto", None, None, "fixed"),
            ))
            .build();
        let sqs = aws_sdk_sqs::Client::new(&config);
        let queue = sqs.create_queue().queue_name("task-events");
        let queue = queue.send().await.expect("a queue");
        let url = queue.queue_url().expect("a URL");

        let aws = Aws::Emulator {
            endpoint: moto.endpoint.clone(),
        };
        let mut feeds = Feeds::default();
        let events = feeds.subscribe(&aws, Some(REGION), "task-events", 1);
        let (out, mut updates) = mpsc::channel(1);
        let poller = tokio::spawn(run(
            lab.api.clone(),
            longshore_config::EcsDiscovery {
                events_queue: Some("task-events".to_owned()),
                ..spec("events", None)
            },
            out,
            Arc::new(Notify::new()),
            Some(events),
            SmallRng::seed_from_u64(1),
        ));
        wait_for(&mut updates, &started).await;
        // Moto itself goes on to say that it runs: only the event can take it away.
        for body in ["no event", &stopped("events", &started[0])] {
            let sent = sqs.send_message().queue_url(url).message_body(body);
            sent.send().await.expect("it is in the queue");
        }
        wait_for(&mut updates, &started[1..]).await;
        let figures = feeds.figures();
        assert_eq!((figures[0].messages, figures[0].malformed), (2, 1));
        loop {
            let names = [
                aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages,
                aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            ];
            let asked = sqs.get_queue_attributes().queue_url(url);
            let asked = asked.set_attribute_names(Some(names.to_vec()));
            let left = asked.send().await.expect("its state").attributes;
            if left.expect("told").values().all(|count| count == "0") {
                break;
            }
            tokio::task::yield_now().await;
        }
        poller.abort();
    })
    .await;
}
