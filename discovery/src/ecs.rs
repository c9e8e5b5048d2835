//! Targets from Amazon ECS: one polling task for each service.
//!
//! A poll lists the ARNs of the service's tasks and describes only those that are new, not
//! settled, or gone from the list (one call for 100 tasks). What it believes is decided by
//! [`book`], without IO; what a task's address is, by [`resolve`].

pub mod api;
pub mod book;
mod budget;
pub mod known;
mod lookup;
pub mod port;
pub mod range;
pub mod resolve;
mod sdk;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longshore_config::EcsDiscovery;
use rand::Rng;
use tokio::sync::{Notify, mpsc};

use crate::backoff;
use crate::clock::now;
use crate::target::{Problem, Update};
use api::{ApiError, EcsApi, ErrorKind};
use book::Book;
pub use budget::Budget;
pub use sdk::{Aws, SdkApi};

/// The longest that one poll may take. Each call has a time limit of its own; this one bounds their
/// sum, and their waits for a turn: 50,000 tasks are 1,000 calls.
const POLL_LIMIT: Duration = Duration::from_secs(600);

/// The shortest time between two polls, however often a fresh look is asked for.
const POLL_SPACING: Duration = Duration::from_millis(500);

/// How soon to look again while a task is on its way up.
const UNSETTLED_DELAY: Duration = Duration::from_secs(1);

/// The longest wait after failures.
const FAILURE_CAP: Duration = Duration::from_secs(30);

/// Polls a service until the receiver is gone.
///
/// `look_now` asks for a poll before its time: somebody lost connections to a target and wants to
/// know whether it is still there.
pub async fn run(
    api: impl EcsApi,
    spec: EcsDiscovery,
    out: mpsc::Sender<Update>,
    look_now: Arc<Notify>,
    mut rng: impl Rng,
) {
    let mut book = Book::default();
    let mut failures: u32 = 0;
    loop {
        let looked = tokio::time::timeout(POLL_LIMIT, poll(&api, &spec, &mut book)).await;
        let at = now();
        let (update, wait) = match looked {
            Ok(Ok(mut problems)) => {
                failures = 0;
                let (targets, more) = book.targets(&spec);
                problems.extend(more);
                let period = spec.poll_interval.get();
                let wait = if book.is_unsettled(&spec) {
                    UNSETTLED_DELAY.min(period)
                } else {
                    period
                };
                let update = Update::Set {
                    targets,
                    problems,
                    at,
                };
                (update, backoff::jittered(wait, &mut rng))
            }
            failed => {
                failures = failures.saturating_add(1);
                let error = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("no answer within {} s", POLL_LIMIT.as_secs()),
                };
                let wait = backoff::delay(
                    spec.poll_interval.get(),
                    FAILURE_CAP.max(spec.poll_interval.get()),
                    failures,
                    &mut rng,
                );
                (Update::Failed { error, at }, wait)
            }
        };
        if out.send(update).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // After failures the API is given its rest, whoever asks.
            () = async { tokio::time::sleep(POLL_SPACING).await; look_now.notified().await }, if failures == 0 => {}
        }
    }
}

/// One look at the service. An error means that nothing was learnt about which tasks there are.
///
/// Failures of later steps leave single tasks as they were: the problems name them.
async fn poll(
    api: &impl EcsApi,
    spec: &EcsDiscovery,
    book: &mut Book,
) -> Result<Vec<Problem>, ApiError> {
    let began = now();
    let listed: BTreeSet<Arc<str>> = match api.list_tasks(&spec.cluster, &spec.service).await {
        Ok(arns) => arns.into_iter().collect(),
        // It was deleted, and its tasks with it, if they say so themselves. A service that was
        // never seen is more likely a wrong name.
        Err(error) if error.kind == ErrorKind::NoSuchService && !book.is_empty() => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    let mut problems = Vec::new();
    for batch in book.to_describe(&listed, spec, began).chunks(api::BATCH) {
        match api.describe_tasks(&spec.cluster, batch).await {
            Ok(described) => book.described(described, now()),
            Err(error) => problems.push(Problem {
                subject: format!("{} tasks", batch.len()),
                reason: format!("kept as they were: {error}"),
            }),
        }
    }
    book.listed(&listed, began);
    lookup::look_up(api, spec, book).await;
    Ok(problems)
}
