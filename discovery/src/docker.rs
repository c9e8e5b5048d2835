//! Targets from one Docker engine: a list of its containers, and events beside it.
//!
//! Events only ever say that it is time to look, or that a container leaves. What there is, is
//! told by the list. What is believed is decided by [`book`], without IO; what a container's
//! address is, by [`resolve`].

pub mod aim;
pub mod api;
pub mod book;
mod engine;
mod labelled;
pub mod resolve;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt as _, stream};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt as _, SeedableRng as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep_until, timeout, timeout_at};

use crate::backoff;
use crate::clock::now;
use crate::first::First;
use crate::target::Update;
use aim::Aim;
use api::{ApiError, DockerApi, Heard};
use book::{Answer, Book, Inspection};
pub use engine::Engine;
pub use labelled::Labelled;

/// The longest that one look may take: a list, and an inspection for each container that is new.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// From an event to the look that it brings: events come in groups, such as `kill`, `die`, `stop`.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The shortest time between two looks that are asked for by `look_now`.
const LOOK_SPACING: Duration = Duration::from_millis(500);

/// How long all inspections of one look may take together. Docker has states in which it lists a
/// container and never describes it; that must not keep out the others.
const INSPECT_LIMIT: Duration = Duration::from_secs(8);

/// How many containers are inspected at a time.
const INSPECTED_AT_A_TIME: usize = 8;

/// How soon to look again while an inspection fails.
const UNSETTLED_DELAY: Duration = Duration::from_secs(1);

/// The wait after a first failure of a look or of a subscription. An engine that restarts is back
/// within seconds, and nobody else pays for the calls.
const FAILURE_BASE: Duration = Duration::from_millis(500);

/// The longest wait after failures.
const FAILURE_CAP: Duration = Duration::from_secs(15);

/// How long a subscription lives. A connection whose other end is gone without a word is silent,
/// as one is to which nothing happens.
const WATCH_LIFE: Duration = Duration::from_secs(600);

/// Events that wait to be taken. The engine waits beyond it.
const EVENTS_MAX: usize = 256;

/// Looks and listens until the receiver is gone.
///
/// `look_now` asks for a look before its time: somebody lost connections to a target and wants to
/// know whether it is still there.
pub async fn run(
    api: impl DockerApi,
    aim: impl Aim,
    out: mpsc::Sender<Update>,
    look_now: Arc<Notify>,
    mut rng: impl Rng,
) {
    let (heard, ears) = mpsc::channel(EVENTS_MAX);
    let listener = SmallRng::seed_from_u64(rng.random());
    let source = Source {
        api: &api,
        aim: &aim,
        out,
        book: Book::default(),
        looked_at: None,
        error: None,
        first: First::default(),
    };
    tokio::select! {
        () = source.look_and_tell(ears, &look_now, &mut rng) => {}
        () = listen(&api, heard, listener) => {}
    }
}

/// Seconds since 1970, rounded down, for the engine, which knows no other clock.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
fn seconds_since_1970() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Keeps a subscription to events, until nobody wants them.
async fn listen(api: &impl DockerApi, heard: mpsc::Sender<Heard>, mut rng: impl Rng) {
    let mut failures: u32 = 0;
    loop {
        let began = now();
        let watched = timeout(WATCH_LIFE, api.watch(seconds_since_1970(), heard.clone())).await;
        if let Ok(error) = watched {
            // One that was good for a while begins a new row of failures.
            if now().saturating_duration_since(began) >= FAILURE_CAP {
                failures = 0;
            }
            failures = failures.saturating_add(1);
            if failures == 1 {
                tracing::warn!(%error, "docker tells no events; containers are found by looking");
            }
        } else {
            failures = 0;
        }
        if heard.send(Heard::Lost).await.is_err() {
            return;
        }
        if failures > 0 {
            let wait = backoff::delay(FAILURE_BASE, FAILURE_CAP, failures, &mut rng);
            tokio::time::sleep(wait).await;
        }
    }
}

/// The half that knows.
struct Source<'a, A, M> {
    api: &'a A,
    aim: &'a M,
    out: mpsc::Sender<Update>,
    book: Book,
    /// When the latest look that succeeded ended.
    looked_at: Option<Instant>,
    /// Why the latest look failed, if it did.
    error: Option<String>,
    first: First,
}

/// Nobody wants to know any more.
struct Unwanted;

impl<A: DockerApi, M: Aim> Source<'_, A, M> {
    async fn look_and_tell(
        mut self,
        mut ears: mpsc::Receiver<Heard>,
        look_now: &Notify,
        rng: &mut impl Rng,
    ) {
        let mut failures: u32 = 0;
        loop {
            let mut soon = false;
            let known = self.book.clone();
            let answer = {
                let mut look = std::pin::pin!(timeout(LOOK_LIMIT, look(self.api, known)));
                loop {
                    tokio::select! {
                        answer = &mut look => break answer,
                        // Who leaves while the look goes on may still be in its list.
                        Some(heard) = ears.recv() => match self.take(&heard).await {
                            Ok(look) => soon |= look,
                            Err(Unwanted) => return,
                        },
                    }
                }
            };
            let answer = answer.unwrap_or_else(|_| {
                Err(ApiError {
                    operation: "look",
                    reason: format!("no answer within {} s", LOOK_LIMIT.as_secs()),
                })
            });
            let period = self.aim.place().poll_interval.get();
            let wait = match answer {
                Ok(answer) => {
                    failures = 0;
                    self.book.looked(answer);
                    let unseen = self.book.unseen(self.aim);
                    let counts = self.first.takes(unseen.is_none());
                    self.error = unseen.filter(|_| !counts);
                    if counts {
                        self.looked_at = Some(now());
                    }
                    if self.book.is_unsettled() {
                        UNSETTLED_DELAY.min(period)
                    } else {
                        backoff::jittered(period, rng)
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.error = Some(error.to_string());
                    backoff::delay(FAILURE_BASE, FAILURE_CAP, failures, rng)
                }
            };
            if self.tell().await.is_err() {
                return;
            }
            // Events that came during the look hurry the next one only if the engine is well.
            let hurry = soon && failures == 0;
            let wait = if hurry { DEBOUNCE } else { wait };
            if self
                .rest(wait, failures > 0, &mut ears, look_now)
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Waits for the time of the next look.
    async fn rest(
        &mut self,
        wait: Duration,
        failing: bool,
        ears: &mut mpsc::Receiver<Heard>,
        look_now: &Notify,
    ) -> Result<(), Unwanted> {
        let start = tokio::time::Instant::now();
        let mut due = start + wait;
        loop {
            tokio::select! {
                () = sleep_until(due) => return Ok(()),
                Some(heard) = ears.recv() => {
                    // A new subscription shows that the engine is back. Single events do not
                    // hurry looks that fail.
                    if self.take(&heard).await? && (!failing || heard == Heard::Subscribed) {
                        due = due.min(tokio::time::Instant::now() + DEBOUNCE);
                    }
                }
                // After failures the engine is given its rest, whoever asks.
                () = async { sleep_until(start + LOOK_SPACING).await; look_now.notified().await },
                    if !failing => return Ok(()),
            }
        }
    }

    /// Takes what was heard, and tells at once who left. Whether a look should follow soon.
    async fn take(&mut self, heard: &Heard) -> Result<bool, Unwanted> {
        match heard {
            Heard::Event(event) => {
                if self.book.heard(event, now()) && self.looked_at.is_some() {
                    self.tell_set().await?;
                    if self.error.is_some() {
                        // A set says that all is well, and that it is not.
                        self.tell().await?;
                    }
                }
            }
            Heard::Subscribed | Heard::Lost => self.book.missed_events(now()),
        }
        Ok(true)
    }

    /// Tells what the latest look gave.
    async fn tell(&self) -> Result<(), Unwanted> {
        match &self.error {
            None => self.tell_set().await,
            Some(error) => {
                let failed = Update::Failed {
                    error: error.clone(),
                    at: now(),
                };
                self.out.send(failed).await.map_err(|_| Unwanted)
            }
        }
    }

    async fn tell_set(&self) -> Result<(), Unwanted> {
        let Some(at) = self.looked_at else {
            return Ok(());
        };
        let (targets, problems) = self.book.targets(self.aim);
        let set = Update::Set {
            targets,
            problems,
            at,
        };
        self.out.send(set).await.map_err(|_| Unwanted)
    }
}

/// One look at the engine. An error means that nothing was learnt about which containers there
/// are. `known` is what was believed when it began; it decides what to inspect.
async fn look(api: &impl DockerApi, known: Book) -> Result<Answer, ApiError> {
    let began = now();
    let list = api.list().await?;
    let end = tokio::time::Instant::now() + INSPECT_LIMIT;
    let inspect = |id: Arc<str>| async move {
        let asked_at = now();
        let result = timeout_at(end, api.inspect(&id)).await;
        let result = result.unwrap_or_else(|_| {
            Err(ApiError {
                operation: "inspect",
                reason: format!("not within {} s", INSPECT_LIMIT.as_secs()),
            })
        });
        Inspection {
            id,
            asked_at,
            result,
        }
    };
    let inspected = stream::iter(known.to_inspect(&list, began))
        .map(inspect)
        .buffer_unordered(INSPECTED_AT_A_TIME)
        .collect()
        .await;
    Ok(Answer {
        began,
        list,
        inspected,
    })
}
