use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Answer, Desk};
use crate::ecs::api::{ApiError, ErrorKind, Service};
use crate::ecs::now;

fn service(desired: u32) -> Service {
    Service {
        desired,
        running: desired,
        pending: 0,
        rolling: false,
        task_sets: None,
    }
}

fn denied() -> ApiError {
    ApiError {
        operation: "DescribeServices",
        reason: "denied".to_owned(),
        kind: ErrorKind::Other,
    }
}

/// Knows services with a desired count of the length of their names, and none that begins with
/// `no`; a call with `secret` in it is denied.
#[derive(Default)]
struct Ecs {
    calls: Mutex<Vec<Vec<String>>>,
}

impl Ecs {
    async fn answer(&self, names: Vec<String>) -> Answer {
        self.calls.lock().expect("whole").push(names.clone());
        tokio::task::yield_now().await;
        if names.iter().any(|name| name == "secret") {
            return Err(denied());
        }
        let known = names.into_iter().filter(|name| !name.starts_with("no"));
        let length = |name: &String| u32::try_from(name.len()).expect("short");
        Ok(known
            .map(|name| (name.clone(), service(length(&name))))
            .collect())
    }

    async fn ask(&self, desk: &Desk, name: &str, since: Instant) -> Result<u32, ApiError> {
        let answer = desk.ask("prod", name, since, |names| self.answer(names));
        answer.await.map(|(service, _)| service.desired)
    }

    fn calls(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.calls.lock().expect("whole"))
    }
}

#[tokio::test]
async fn a_call_for_one_group_answers_the_others() {
    let (desk, ecs, start) = (Desk::default(), Ecs::default(), now());
    assert_eq!(ecs.ask(&desk, "web", start).await, Ok(3));
    assert_eq!(ecs.ask(&desk, "accounts", start).await, Ok(8));
    assert_eq!(ecs.calls(), [vec!["web"], vec!["accounts", "web"]]);
    let arn = "arn:aws:ecs:r:1:service/prod/web";
    assert_eq!(ecs.ask(&desk, arn, start).await, Ok(3));
    assert!(ecs.calls().is_empty(), "it was asked along");
    let later = now();
    assert_eq!(ecs.ask(&desk, "web", later).await, Ok(3));
    assert_eq!(ecs.ask(&desk, "accounts", later).await, Ok(8));
    assert_eq!(ecs.calls(), [vec!["web", "accounts"]]);
}

#[tokio::test]
async fn groups_that_ask_at_once_cause_one_call_for_each_ten_of_them() {
    let (desk, ecs, start) = (Desk::default(), Ecs::default(), now());
    let names: Vec<String> = (0..25).map(|number| format!("s{number}")).collect();
    for name in &names {
        ecs.ask(&desk, name, start).await.expect("known");
    }
    ecs.calls();
    let later = now();
    let asked = names.iter().map(|name| ecs.ask(&desk, name, later));
    for answer in futures_util::future::join_all(asked).await {
        answer.expect("known");
    }
    let calls = ecs.calls();
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert!(calls.iter().all(|names| names.len() == 10));
}

#[tokio::test]
async fn a_service_that_may_not_be_seen_keeps_no_answer_from_the_others() {
    let (desk, ecs, start) = (Desk::default(), Ecs::default(), now());
    assert_eq!(ecs.ask(&desk, "secret", start).await, Err(denied()));
    assert_eq!(ecs.ask(&desk, "web", start).await, Ok(3));
    let alone: Vec<usize> = ecs.calls().iter().map(Vec::len).collect();
    assert_eq!(alone, [1, 2, 1]);
    assert_eq!(ecs.ask(&desk, "web", now()).await, Ok(3));
    assert_eq!(ecs.calls().len(), 1, "and is not asked along again");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_error_and_harms_no_other() {
    let (desk, ecs, start) = (Desk::default(), Ecs::default(), now());
    let error = ecs.ask(&desk, "none", start).await.expect_err("unknown");
    assert_eq!(error.kind, ErrorKind::NoSuchService);
    assert!(error.to_string().contains("none"), "{error}");
    assert_eq!(ecs.ask(&desk, "web", start).await, Ok(3));
}

#[tokio::test]
async fn an_answer_is_as_old_as_the_beginning_of_its_call() {
    let (desk, ecs, start) = (Desk::default(), Ecs::default(), now());
    let answer = desk.ask("prod", "web", start, |names| ecs.answer(names));
    let (_, at) = answer.await.expect("known");
    assert!(at >= start && at <= now());
    let after = at + Duration::from_nanos(1);
    ecs.ask(&desk, "web", after).await.expect("known");
    assert_eq!(ecs.calls().len(), 2);
}
