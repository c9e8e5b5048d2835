//! One reader of an events queue for all groups of the process: it hands each event to all of
//! them, and each keeps what concerns it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::api::{ApiError, ErrorKind};
use super::event::{self, Message, TaskEvent};
use super::now;
use super::sdk::{Aws, SdkQueue};
use crate::backoff;
use crate::clock::wall;

/// Events that a group has not taken yet, at the most. A group that falls further behind looks at
/// once, which tells the same.
const BACKLOG: usize = 4096;

/// How long a call waits for a message (SQS: at most 20 s).
const LONG_POLL: Duration = Duration::from_secs(20);

/// An answer without messages that comes sooner than this after a long poll began is no answer.
/// SQS waits; a proxy or a broken endpoint would have us call without a pause.
const EARLY: Duration = Duration::from_secs(1);

/// The wait after a failed call, and its bound after many.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// The calls to a queue.
pub(super) trait QueueApi: Send + Sync {
    /// `ReceiveMessage`, at most ten messages, waiting so long for the first.
    fn receive(
        &self,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Received>, ApiError>> + Send;

    /// `DeleteMessageBatch`.
    fn delete(&self, receipts: Vec<String>) -> impl Future<Output = Result<(), ApiError>> + Send;
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) body: String,
    pub(super) receipt: String,
}

/// How the queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Not asked yet.
    Starting,
    /// The latest call was answered.
    Works,
    /// The latest call failed, and why.
    Fails(Arc<str>),
}

/// What the reader of a queue has counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    messages: AtomicU64,
    malformed: AtomicU64,
    failures: AtomicU64,
    /// Milliseconds; see [`QueueFigures::lag`].
    lag: AtomicU64,
}

/// What operators may want to know of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueFigures {
    /// Its name or URL, as the file has it.
    pub queue: String,
    /// Messages that were read.
    pub messages: u64,
    /// How many of them were no events, and were deleted unread.
    pub malformed: u64,
    /// Calls that failed.
    pub failures: u64,
    /// How old the event read last was by then, by the two wall clocks.
    pub lag: Duration,
}

/// The reader of one queue. It ends with its last subscription.
#[derive(Debug)]
struct Feed {
    events: broadcast::Sender<Arc<TaskEvent>>,
    state: watch::Receiver<State>,
    counts: Arc<Counts>,
    reader: JoinHandle<()>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// What a group hears of a queue.
#[derive(Debug)]
pub struct Subscription {
    pub(super) events: broadcast::Receiver<Arc<TaskEvent>>,
    pub(super) state: watch::Receiver<State>,
    _feed: Arc<Feed>,
}

/// All queues that are read, by region and name, so that each has one reader however many groups
/// are on it.
#[derive(Debug, Default)]
pub struct Feeds {
    feeds: BTreeMap<(Option<String>, String), Weak<Feed>>,
}

impl Feeds {
    /// Hears a queue from now on. `seed` is for the reader, if there is none yet, which spreads its
    /// retries by it. To be called inside a tokio runtime.
    pub fn subscribe(
        &mut self,
        aws: &Aws,
        region: Option<&str>,
        queue: &str,
        seed: u64,
    ) -> Subscription {
        self.feeds.retain(|_, feed| feed.strong_count() > 0);
        let key = (region.map(str::to_owned), queue.to_owned());
        let feed = self.feeds.get(&key).and_then(Weak::upgrade);
        let feed = feed.unwrap_or_else(|| {
            let feed = Arc::new(Feed::start(aws.clone(), key.clone(), seed));
            self.feeds.insert(key, Arc::downgrade(&feed));
            feed
        });
        Subscription {
            events: feed.events.subscribe(),
            state: feed.state.clone(),
            _feed: feed,
        }
    }

    /// The figures of all queues that are read.
    #[must_use]
    pub fn figures(&self) -> Vec<QueueFigures> {
        let feeds = self.feeds.iter();
        let alive = feeds.filter_map(|((_, queue), feed)| Some((queue, feed.upgrade()?)));
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        alive
            .map(|(queue, feed)| QueueFigures {
                queue: queue.clone(),
                messages: read(&feed.counts.messages),
                malformed: read(&feed.counts.malformed),
                failures: read(&feed.counts.failures),
                lag: Duration::from_millis(read(&feed.counts.lag)),
            })
            .collect()
    }
}

impl Feed {
    fn start(aws: Aws, (region, queue): (Option<String>, String), seed: u64) -> Self {
        let (events, _) = broadcast::channel(BACKLOG);
        let (tell, state) = watch::channel(State::Starting);
        let sender = events.clone();
        let counts = Arc::new(Counts::default());
        let count = Arc::clone(&counts);
        let reader = tokio::spawn(async move {
            let api = SdkQueue::connect(&aws, region.as_deref(), queue).await;
            read(&api, &sender, &tell, &count, seed).await;
        });
        Self {
            events,
            state,
            counts,
            reader,
        }
    }
}

/// Reads the queue without end.
async fn read(
    api: &impl QueueApi,
    events: &broadcast::Sender<Arc<TaskEvent>>,
    state: &watch::Sender<State>,
    counts: &Counts,
    seed: u64,
) {
    let mut rng: SmallRng = rand::SeedableRng::seed_from_u64(seed);
    let mut failures: u32 = 0;
    loop {
        // Whether the queue works is to be known soon, not after a long poll.
        let works = *state.borrow() == State::Works;
        let wait = if works { LONG_POLL } else { Duration::ZERO };
        let began = now();
        let received = api.receive(wait).await.and_then(|messages| {
            let early = now().saturating_duration_since(began) < EARLY;
            if messages.is_empty() && works && early {
                return Err(ApiError {
                    operation: "ReceiveMessage",
                    reason: "the answer is empty, and came too early for that".to_owned(),
                    kind: ErrorKind::Other,
                });
            }
            Ok(messages)
        });
        match received {
            Ok(messages) => {
                failures = 0;
                if !works {
                    tracing::info!("the events queue answers");
                    state.send_replace(State::Works);
                }
                let receipts = hand_over(messages, events, counts);
                // Deleted only now: what is not handed over comes again. What is not deleted does
                // so too, and changes nothing then.
                if !receipts.is_empty()
                    && let Err(error) = api.delete(receipts).await
                {
                    tracing::warn!(%error, "events are not deleted, and will come again");
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                counts.failures.fetch_add(1, Ordering::Relaxed);
                if failures == 1 {
                    tracing::warn!(%error, "the events queue fails; polling as without it");
                }
                state.send_replace(State::Fails(error.to_string().into()));
                tokio::time::sleep(backoff::delay(RETRY, RETRY_CAP, failures, &mut rng)).await;
            }
        }
    }
}

/// Hands on what can be read. All messages are to be deleted: one that cannot be read now never
/// will be.
fn hand_over(
    messages: Vec<Received>,
    events: &broadcast::Sender<Arc<TaskEvent>>,
    counts: &Counts,
) -> Vec<String> {
    let mut receipts = Vec::with_capacity(messages.len());
    for message in messages {
        counts.messages.fetch_add(1, Ordering::Relaxed);
        match event::parse(&message.body) {
            Ok(Message::Task(event)) => {
                let at = u64::try_from(event.at).unwrap_or_default();
                let lag = wall().saturating_sub(Duration::from_millis(at)).as_millis();
                let lag = u64::try_from(lag).unwrap_or(u64::MAX);
                counts.lag.store(lag, Ordering::Relaxed);
                // With nobody to hear it, this task ends as well.
                events.send(Arc::from(event)).unwrap_or_default();
            }
            Ok(Message::Other(kind)) => tracing::debug!(kind, "an event that is of no use"),
            Err(error) => {
                counts.malformed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "a message of the events queue is no event");
            }
        }
        receipts.push(message.receipt);
    }
    receipts
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
