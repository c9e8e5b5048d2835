use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use super::{Counts, QueueApi, Received, State, hand_over, read};
use crate::ecs::api::{ApiError, ErrorKind};
use crate::ecs::event::TaskEvent;

const EVENT: &str = r#"{"source": "aws.ecs", "detail-type": "ECS Task State Change", "time": "2026-11-21T10:57:17Z",
    "detail": {"taskArn": "a", "clusterArn": "c", "group": "service:s", "version": 3,
    "desiredStatus": "RUNNING", "lastStatus": "RUNNING"}}"#;

type Answer = Result<Vec<Received>, ApiError>;

/// Answers as it was told to, and then waits like an empty queue.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    deleted: Mutex<Vec<String>>,
    deletes_fail: bool,
}

fn failed() -> ApiError {
    ApiError {
        operation: "ReceiveMessage",
        reason: "no".to_owned(),
        kind: ErrorKind::Other,
    }
}

fn messages(bodies: &[&str]) -> Answer {
    let messages = bodies.iter().enumerate().map(|(index, body)| Received {
        body: (*body).to_owned(),
        receipt: index.to_string(),
    });
    Ok(messages.collect())
}

impl QueueApi for Script {
    async fn receive(&self, _: Duration) -> Answer {
        // So that whoever watches sees each state.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        let next = self.answers.lock().expect("whole").pop_front();
        match next {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    async fn delete(&self, receipts: Vec<String>) -> Result<(), ApiError> {
        self.deleted.lock().expect("whole").extend(receipts);
        if self.deletes_fail {
            Err(failed())
        } else {
            Ok(())
        }
    }
}

/// Reads until so many states were told and the script is over.
async fn run(script: &Script, states: usize) -> (Vec<State>, broadcast::Receiver<Arc<TaskEvent>>) {
    let (events, heard) = broadcast::channel(16);
    let (tell, mut state) = watch::channel(State::Starting);
    let counts = Counts::default();
    let watching = async {
        let mut seen = Vec::new();
        while seen.len() < states {
            state.changed().await.expect("it reads");
            seen.push(state.borrow_and_update().clone());
        }
        // What came with the last state is handed over by then.
        while !script.answers.lock().expect("whole").is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        seen
    };
    let both = async {
        tokio::select! {
            () = read(script, &events, &tell, &counts, 1) => panic!("it reads without end"),
            seen = watching => seen,
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), both).await;
    (seen.expect("in time"), heard)
}

#[tokio::test]
async fn events_are_handed_over_and_every_message_is_deleted_readable_or_not() {
    let script = Script {
        answers: Mutex::new([messages(&["nonsense", EVENT, "{}"])].into()),
        ..Script::default()
    };
    let (states, mut heard) = run(&script, 1).await;
    assert_eq!(states, [State::Works]);
    assert_eq!(&*heard.recv().await.expect("an event").task.arn, "a");
    assert_eq!(*script.deleted.lock().expect("whole"), ["0", "1", "2"]);
}

#[test]
fn what_is_read_is_counted_and_so_is_how_late_it_came() {
    let (events, _heard) = broadcast::channel(16);
    let counts = Counts::default();
    let read = messages(&["nonsense", EVENT]).expect("messages");
    hand_over(read, &events, &counts);
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!((of(&counts.messages), of(&counts.malformed)), (2, 1));
    // The event is of 2026-11-21, and this machine's clock may say anything.
    let told = Duration::from_secs(1_795_258_637);
    let expected = crate::clock::wall().saturating_sub(told);
    let lag = Duration::from_millis(of(&counts.lag));
    let apart = expected
        .saturating_sub(lag)
        .max(lag.saturating_sub(expected));
    assert!(apart < Duration::from_secs(60), "{lag:?}, {expected:?}");
}

#[tokio::test]
async fn a_failure_is_told_at_once_and_so_is_its_end() {
    let script = Script {
        answers: Mutex::new([messages(&[]), Err(failed()), messages(&[EVENT])].into()),
        deletes_fail: true,
        ..Script::default()
    };
    let (states, mut heard) = run(&script, 3).await;
    assert_eq!(
        states,
        [
            State::Works,
            State::Fails("ReceiveMessage: no".into()),
            State::Works
        ]
    );
    assert!(heard.recv().await.is_ok());
}

#[tokio::test]
async fn an_empty_answer_that_comes_too_early_is_a_failure() {
    let script = Script {
        answers: Mutex::new([messages(&[]), messages(&[])].into()),
        ..Script::default()
    };
    let (states, _) = run(&script, 2).await;
    assert!(matches!(states[1], State::Fails(_)), "{states:?}");
}
