//! Events of ECS in queues, through the real SDK of SQS.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use longshore_emulator::{EventOptions, Options};
use serde_json::Value;

use crate::lab::{CLUSTER, Lab, quick};

fn client(lab: &Lab) -> aws_sdk_sqs::Client {
    let credentials = Credentials::new("AKID", "secret", None, None, "test");
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .endpoint_url(lab.emulator.endpoint_url())
        .build();
    aws_sdk_sqs::Client::from_conf(config)
}

async fn receive(sqs: &aws_sdk_sqs::Client, url: &str, wait: i32) -> Vec<Message> {
    let call = sqs.receive_message().queue_url(url);
    let call = call.max_number_of_messages(10).wait_time_seconds(wait);
    let answer = call.send().await.expect("the queue answers");
    answer.messages.unwrap_or_default()
}

async fn delete(sqs: &aws_sdk_sqs::Client, url: &str, messages: &[Message]) {
    let entries = messages.iter().enumerate().map(|(index, message)| {
        DeleteMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .receipt_handle(message.receipt_handle().expect("a receipt"))
            .build()
            .expect("complete")
    });
    let entries = entries.collect();
    let call = sqs.delete_message_batch().queue_url(url);
    let answer = call.set_entries(Some(entries)).send().await;
    let answer = answer.expect("the queue answers");
    assert_eq!(answer.successful().len(), messages.len());
}

/// Receives and deletes until so many events are there.
async fn events(sqs: &aws_sdk_sqs::Client, url: &str, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let messages = receive(sqs, url, 20).await;
        assert!(!messages.is_empty(), "{} of {count} came", events.len());
        delete(sqs, url, &messages).await;
        let bodies = messages.iter().map(|message| message.body().expect("text"));
        events.extend(bodies.map(|body| serde_json::from_str::<Value>(body).expect("JSON")));
    }
    events
}

#[tokio::test]
async fn each_change_of_a_version_is_an_event_in_the_form_of_eventbridge() {
    let lab = Lab::new(Options::default(), 1).await;
    lab.emulator.events_queue("q", EventOptions::default());
    let sqs = client(&lab);
    let url = sqs.get_queue_url().queue_name("q").send().await;
    let url = url.expect("it is there").queue_url.expect("told");
    lab.service("web", 1).await;
    let started = events(&sqs, &url, 3).await;
    lab.emulator.scale(CLUSTER, "web", 0).expect("scaled");
    let stopped = events(&sqs, &url, 3).await;
    let all: Vec<&Value> = started.iter().chain(&stopped).collect();
    let versions: Vec<i64> = all
        .iter()
        .map(|event| event["detail"]["version"].as_i64().expect("a number"))
        .collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    let running = all[2];
    assert_eq!(running["detail-type"], "ECS Task State Change");
    assert_eq!(running["source"], "aws.ecs");
    let detail = &running["detail"];
    assert_eq!(detail["group"], "service:web");
    assert_eq!(detail["lastStatus"], "RUNNING");
    assert!(
        detail["startedAt"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    assert!(detail["healthStatus"].is_null(), "events do not tell it");
    assert!(detail["containers"][0]["networkBindings"][0]["hostPort"].is_u64());
    assert_eq!(all[3]["detail"]["desiredStatus"], "STOPPED");
    assert_eq!(lab.emulator.messages_left("q"), 0);
}

#[tokio::test]
async fn a_message_that_is_not_deleted_comes_again_after_its_visibility_timeout() {
    let lab = Lab::new(quick(), 1).await;
    let options = EventOptions {
        visibility_timeout: Duration::from_secs(2),
        ..EventOptions::default()
    };
    let url = lab.emulator.events_queue("q", options);
    let sqs = client(&lab);
    lab.emulator.send_message("q", "hello");
    let began = Instant::now();
    let first = receive(&sqs, &url, 0).await;
    assert_eq!(first.len(), 1);
    assert!(receive(&sqs, &url, 0).await.is_empty(), "it is hidden");
    let second = receive(&sqs, &url, 20).await;
    assert_eq!(second[0].message_id(), first[0].message_id());
    assert!(began.elapsed() >= Duration::from_secs(2));
    // The first receipt has lapsed.
    delete(&sqs, &url, &first).await;
    assert_eq!(lab.emulator.messages_left("q"), 1);
    delete(&sqs, &url, &second).await;
    assert_eq!(lab.emulator.messages_left("q"), 0);
}

#[tokio::test]
async fn a_long_poll_ends_with_the_first_message() {
    let lab = Lab::new(quick(), 1).await;
    let url = lab.emulator.events_queue("q", EventOptions::default());
    let sqs = client(&lab);
    let began = Instant::now();
    let (messages, ()) = tokio::join!(receive(&sqs, &url, 20), async {
        let mut calls = lab.emulator.changed();
        while !lab.emulator.calls().contains_key("ReceiveMessage") {
            calls.changed().await.expect("it runs");
        }
        lab.emulator.send_message("q", "hello");
    });
    assert_eq!(messages[0].body(), Some("hello"));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn events_are_lost_doubled_and_reordered_as_asked_for() {
    let lab = Lab::new(Options::default(), 1).await;
    let sqs = client(&lab);
    let all_lost = EventOptions {
        loss: 1.0,
        ..EventOptions::default()
    };
    lab.emulator.events_queue("lost", all_lost);
    let seed = 5;
    println!("seed {seed}");
    let doubled = EventOptions {
        duplicates: 1.0,
        reorder: 1.0,
        seed,
        ..EventOptions::default()
    };
    let url = lab.emulator.events_queue("doubled", doubled);
    lab.service("web", 10).await;
    assert_eq!(lab.emulator.messages_left("lost"), 0);
    let mut counts: BTreeMap<(String, i64), usize> = BTreeMap::new();
    let mut order = Vec::new();
    for event in events(&sqs, &url, 60).await {
        let detail = &event["detail"];
        let version = detail["version"].as_i64().expect("a number");
        let task = detail["taskArn"].as_str().expect("text").to_owned();
        *counts.entry((task, version)).or_default() += 1;
        order.push(version);
    }
    assert_eq!(counts.len(), 30);
    assert!(counts.values().all(|count| *count == 2), "{counts:?}");
    assert!(!order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_an_error_with_its_code() {
    let lab = Lab::new(quick(), 1).await;
    let sqs = client(&lab);
    let error = sqs.get_queue_url().queue_name("none").send().await;
    let error = error.expect_err("it is not there").into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
}
