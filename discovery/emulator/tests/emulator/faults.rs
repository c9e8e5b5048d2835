//! Faults, latency and the token buckets.

use std::time::{Duration, Instant};

use aws_sdk_ecs::error::SdkError;
use longshore_emulator::{Fault, Faults, Options, Times};

use crate::lab::{CLUSTER, Lab, PATIENCE, code, quick};

#[tokio::test]
async fn the_next_calls_fail_as_told_and_no_others() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 1).await;
    let list = || lab.ecs.list_tasks().cluster(CLUSTER).send();
    for (fault, expected, status) in [
        (Fault::Throttle, "ThrottlingException", 400),
        (Fault::ServerError, "ServerException", 500),
        (Fault::AccessDenied, "AccessDeniedException", 400),
    ] {
        lab.emulator
            .faults()
            .fail("ListTasks", fault, Times::Next(2));
        let clusters = lab.ecs.list_clusters().send().await;
        assert!(clusters.is_ok(), "another operation");
        for _ in 0..2 {
            let answer = list().await;
            let raw = answer.as_ref().expect_err("it fails").raw_response();
            assert_eq!(raw.map(|raw| raw.status().as_u16()), Some(status));
            assert_eq!(code(answer), expected);
        }
        assert!(list().await.is_ok(), "the third call");
    }
    assert_eq!(lab.emulator.calls().get("ListTasks"), Some(&9));
}

#[tokio::test]
async fn answers_can_be_broken_empty_or_missing() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 1).await;
    let faults = lab.emulator.faults();
    let list = || lab.ecs.list_tasks().cluster(CLUSTER).send();

    faults.fail(Faults::ALL, Fault::MalformedBody, Times::UntilCleared);
    let answer = list().await;
    assert!(
        matches!(answer, Err(SdkError::ResponseError(_))),
        "{answer:?}"
    );
    faults.clear();

    faults.fail(Faults::ALL, Fault::CloseConnection, Times::UntilCleared);
    let answer = list().await;
    assert!(
        matches!(answer, Err(SdkError::DispatchFailure(_))),
        "{answer:?}"
    );
    faults.clear_operation(Faults::ALL);

    // What the SDK makes of an empty body is for the caller to know.
    faults.fail("ListTasks", Fault::EmptyBody, Times::Next(1));
    let answer = list().await;
    assert!(answer.is_ok_and(|answer| answer.task_arns().is_empty()));
    assert_eq!(list().await.expect("all is well").task_arns().len(), 1);
}

#[tokio::test]
async fn a_hanging_call_is_answered_when_the_fault_is_cleared() {
    let lab = Lab::new(quick(), 1).await;
    lab.service("web", 1).await;
    let faults = lab.emulator.faults();
    faults.fail("ListTasks", Fault::Hang, Times::Next(1));
    let hanging = tokio::spawn(lab.ecs.list_tasks().cluster(CLUSTER).send());
    lab.called("ListTasks", 1).await;
    // The rule is used up, and its call hangs all the same.
    let second = lab.ecs.list_tasks().cluster(CLUSTER).send().await;
    assert!(second.is_ok());
    assert!(!hanging.is_finished());
    faults.clear();
    let answer = tokio::time::timeout(PATIENCE, hanging).await;
    let answer = answer.expect("it goes on").expect("it ends");
    assert_eq!(answer.expect("it is answered").task_arns().len(), 1);
}

#[tokio::test]
async fn one_page_of_a_list_can_fail() {
    let options = Options {
        page_size: 1,
        ..quick()
    };
    let lab = Lab::new(options, 1).await;
    lab.service("web", 3).await;
    lab.emulator
        .faults()
        .fail_page("ListTasks", 2, Fault::ServerError, Times::Next(1));
    let list = |token| {
        let call = lab.ecs.list_tasks().cluster(CLUSTER);
        call.set_next_token(token).send()
    };
    let first = list(None).await.expect("page 1 comes");
    assert_eq!(
        code(list(first.next_token.clone()).await),
        "ServerException"
    );
    let second = list(first.next_token).await.expect("page 2 comes now");
    let third = list(second.next_token).await.expect("page 3 comes");
    assert_eq!(third.next_token(), None);
}

#[tokio::test]
async fn tasks_can_be_missing_by_name_by_age_and_by_halves() {
    let lab = Lab::new(quick(), 1).await;
    let tasks = lab.service("web", 4).await;
    let faults = lab.emulator.faults();
    let ids: Vec<String> = tasks.iter().map(|task| task.id.clone()).collect();
    let found = async || {
        let call = lab.ecs.describe_tasks().cluster(CLUSTER);
        let answer = call.set_tasks(Some(ids.clone())).send().await;
        let answer = answer.expect("the tasks are described");
        assert_eq!(answer.tasks().len() + answer.failures().len(), 4);
        let missing = answer.failures().iter();
        assert!(missing.into_iter().all(|f| f.reason() == Some("MISSING")));
        answer.tasks().len()
    };
    assert_eq!(found().await, 4);
    faults.missing([&tasks[0].arn, &tasks[1].id]);
    assert_eq!(found().await, 2);
    faults.clear();
    faults.half_failures(true);
    assert_eq!(found().await, 2);
    faults.half_failures(false);
    faults.missing_younger_than(Duration::from_secs(3600));
    assert_eq!(found().await, 0);
    faults.missing_younger_than(Duration::from_nanos(1));
    assert_eq!(found().await, 4);
    faults.unlisted([&tasks[0].arn, &tasks[1].id]);
    let listed = lab.ecs.list_tasks().cluster(CLUSTER).send().await;
    assert_eq!(listed.expect("listed").task_arns().len(), 2);
    assert_eq!(found().await, 4, "they are described all the same");
}

#[tokio::test]
async fn latency_delays_the_answers_of_one_operation() {
    let lab = Lab::new(quick(), 1).await;
    let delay = Duration::from_millis(80);
    lab.emulator.faults().latency("ListClusters", delay);
    let before = Instant::now();
    let answer = lab.ecs.list_clusters().send().await;
    assert!(answer.is_ok());
    assert!(before.elapsed() >= delay);
}

#[tokio::test]
async fn a_burst_beyond_the_bucket_is_throttled() {
    let options = Options {
        throttle: true,
        ..quick()
    };
    let lab = Lab::new(options, 1).await;
    let mut refused = 0;
    // Twenty a second come back, so this ends even on a slow machine.
    for n in 0.. {
        let answer = match n % 2 {
            0 => lab
                .ecs
                .list_tasks()
                .cluster(CLUSTER)
                .send()
                .await
                .map_err(|e| e.into_service_error().to_string())
                .err(),
            _ => lab
                .ecs
                .list_container_instances()
                .cluster(CLUSTER)
                .send()
                .await
                .map_err(|e| e.into_service_error().to_string())
                .err(),
        };
        refused += u32::from(answer.is_some());
        if refused > 0 {
            assert!(n >= 100, "the burst is 100, and call {n} was refused");
            break;
        }
    }
    let throttled: u64 = lab.emulator.throttled().values().sum();
    assert_eq!(throttled, 1);
    let other = lab.ecs.describe_clusters().send().await;
    assert!(other.is_ok(), "another bucket");
}
