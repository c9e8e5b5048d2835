//! Targets from Amazon ECS: one task for each service, which polls it and takes events.
//!
//! A poll lists the ARNs of the service's tasks and describes only those that are new, not
//! settled, or gone from the list (one call for 100 tasks). What it believes is decided by
//! [`book`], without IO; what a task's address is, by [`resolve`]. With an events queue, `feed`
//! tells of each change about a second after it, and polls become rare.

pub mod aim;
pub mod api;
pub mod book;
mod budget;
mod desk;
pub mod event;
mod feed;
pub mod known;
mod labelled;
mod lookup;
mod machines;
mod pace;
pub mod port;
pub mod range;
pub mod resolve;
mod sdk;
pub mod service;
pub mod services;
mod trust;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::{Notify, mpsc};

use crate::backoff;
use crate::clock::now;
use crate::target::Update;
use aim::Aim;
use api::EcsApi;
pub use feed::{Feeds, QueueFigures, Subscription};
pub use labelled::Labelled;
pub use sdk::{Aws, Region, SdkApi};
use watch::{Ended, Watch};

/// The longest that one poll may take. Each call has a time limit of its own; this one bounds their
/// sum, and their waits for a turn: 50,000 tasks are 1,000 calls.
const POLL_LIMIT: Duration = Duration::from_secs(600);

/// The shortest time between two polls, however often a fresh look is asked for.
const POLL_SPACING: Duration = Duration::from_millis(500);

/// The longest wait after failures.
const FAILURE_CAP: Duration = Duration::from_secs(30);

/// Watches a service, or a whole cluster, until the receiver is gone.
///
/// `look_now` asks for a poll before its time: somebody lost connections to a target and wants to
/// know whether it is still there. `events` tell of changes between two polls.
pub async fn run(
    api: impl EcsApi,
    aim: impl Aim,
    out: mpsc::Sender<Update>,
    look_now: Arc<Notify>,
    events: Option<Subscription>,
    mut rng: impl Rng,
) {
    let period = aim.place().poll_interval.get();
    let longest = FAILURE_CAP.max(period);
    let mut watch = Watch::new(aim, out, events);
    let mut failures: u32 = 0;
    loop {
        let error = match tokio::time::timeout(POLL_LIMIT, watch.look(&api)).await {
            Ok(Ok(())) => None,
            Ok(Err(Ended::Failed(error))) => Some(error.to_string()),
            Ok(Err(Ended::Unheard)) => return,
            Err(_) => Some(format!("no answer within {} s", POLL_LIMIT.as_secs())),
        };
        let at = now();
        let mut pause = None;
        let sent = match error {
            None => {
                failures = 0;
                watch.send_all(at).await
            }
            Some(error) => {
                failures = failures.saturating_add(1);
                pause = Some(backoff::delay(period, longest, failures, &mut rng));
                watch.send(Update::Failed { error, at }).await
            }
        };
        if sent.is_err() {
            return;
        }
        // After failures the API is given its rest, whoever asks.
        let asked = async {
            tokio::time::sleep(POLL_SPACING).await;
            match failures {
                0 => look_now.notified().await,
                _ => std::future::pending().await,
            }
        };
        let spread = backoff::jittered(Duration::from_secs(1), &mut rng).as_secs_f64();
        if watch.wait(&api, at, pause, spread, asked).await.is_err() {
            return;
        }
    }
}
