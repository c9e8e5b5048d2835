//! Events of ECS, as EventBridge writes them and hands them to queues: at least once, late, and in
//! no order.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::emulator::Emulator;
use crate::render;
use crate::shared::lock;
use crate::state::{Seq, Task};
use crate::world::World;

/// How events travel to a queue. A probability is a number from 0 to 1.
#[derive(Debug, Clone)]
pub struct EventOptions {
    /// The probability that an event never arrives. Default 0.
    pub loss: f64,
    /// The probability that an event arrives twice. Default 0.
    pub duplicates: f64,
    /// The probability that an event is held back for up to [`EventOptions::REORDER`] more, so
    /// that later ones overtake it. Default 0.
    pub reorder: f64,
    /// How long every event is on its way. Default zero.
    pub delay: Duration,
    /// How long a message that was received, and not deleted, is hidden. Default 30 s.
    pub visibility_timeout: Duration,
    /// Whether events come by way of SNS, in an envelope of its own. Default false.
    pub by_sns: bool,
    /// Decides who is lost, doubled and held back. Default 1.
    pub seed: u64,
}

impl EventOptions {
    /// The longest that an event is held back.
    pub const REORDER: Duration = Duration::from_millis(800);
}

impl Default for EventOptions {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicates: 0.0,
            reorder: 0.0,
            delay: Duration::ZERO,
            visibility_timeout: Duration::from_secs(30),
            by_sns: false,
            seed: 1,
        }
    }
}

/// All queues of an emulator.
#[derive(Debug)]
pub(crate) struct Queues {
    pub queues: Mutex<BTreeMap<String, Queue>>,
    /// Changes when a message was sent.
    pub sent: watch::Sender<u64>,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            queues: Mutex::default(),
            sent: watch::Sender::new(0),
        }
    }
}

impl Queues {
    /// Sends an event for each task whose version is not the one of the last look.
    pub(crate) fn emit(&self, world: &World, now: Instant) {
        let mut queues = lock(&self.queues);
        for queue in queues.values_mut() {
            queue
                .versions
                .retain(|seq, _| world.tasks.contains_key(seq));
            for task in world.tasks.values() {
                if queue.versions.insert(task.seq, task.version) != Some(task.version) {
                    queue.event(world, task, now);
                }
            }
        }
        if !queues.is_empty() {
            self.sent.send_modify(|count| *count += 1);
        }
    }
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub options: EventOptions,
    pub messages: Vec<Message>,
    pub rng: StdRng,
    versions: BTreeMap<Seq, u64>,
}

/// One message that was not deleted.
#[derive(Debug)]
pub(crate) struct Message {
    pub id: String,
    pub body: String,
    pub visible_at: Instant,
    /// That of the latest receive.
    pub receipt: Option<String>,
}

impl Queue {
    fn event(&mut self, world: &World, task: &Task, now: Instant) {
        let mut body = task_event(world, task, now, &self.uuid());
        if self.options.by_sns {
            body = json!({ "Type": "Notification", "Message": body.to_string() });
        }
        if self.chance(self.options.loss) {
            return;
        }
        let copies = 1 + usize::from(self.chance(self.options.duplicates));
        for _ in 0..copies {
            let held = match self.chance(self.options.reorder) {
                true => EventOptions::REORDER.mul_f64(self.rng.random()),
                false => Duration::ZERO,
            };
            self.send(body.to_string(), now + self.options.delay + held);
        }
    }

    fn send(&mut self, body: String, visible_at: Instant) {
        let id = self.uuid();
        self.messages.push(Message {
            id,
            body,
            visible_at,
            receipt: None,
        });
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability.clamp(0.0, 1.0))
    }

    pub(crate) fn uuid(&mut self) -> String {
        let hex = format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64());
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }
}

impl Emulator {
    /// Creates a queue that gets an event for each change of a task from now on, and returns its
    /// URL. A queue of that name that exists is emptied and takes the new options.
    pub fn events_queue(&self, name: &str, options: EventOptions) -> String {
        self.shared.with(|world, _| {
            let queue = Queue {
                rng: StdRng::seed_from_u64(options.seed),
                options,
                messages: Vec::new(),
                versions: world
                    .tasks
                    .iter()
                    .map(|(seq, t)| (*seq, t.version))
                    .collect(),
            };
            let mut queues = lock(&self.shared.queues.queues);
            queues.insert(name.to_owned(), queue);
            let account = &world.options.account;
            format!("{}/{account}/{name}", self.endpoint_url())
        })
    }

    /// Changes how events travel from now on. A queue that is not there stays so.
    pub fn set_event_options(&self, name: &str, options: EventOptions) {
        if let Some(queue) = lock(&self.shared.queues.queues).get_mut(name) {
            queue.options = options;
        }
    }

    /// Puts a message into a queue as it is, whatever it says.
    pub fn send_message(&self, name: &str, body: &str) {
        if let Some(queue) = lock(&self.shared.queues.queues).get_mut(name) {
            queue.send(body.to_owned(), Instant::now());
        }
        self.shared.queues.sent.send_modify(|count| *count += 1);
    }

    /// How many messages of a queue are not deleted, visible or not.
    pub fn messages_left(&self, name: &str) -> usize {
        let queues = lock(&self.shared.queues.queues);
        queues.get(name).map_or(0, |queue| queue.messages.len())
    }
}

/// "ECS Task State Change" of a task as it is now.
fn task_event(world: &World, task: &Task, now: Instant, id: &str) -> Value {
    let mut detail = render::task(world, task);
    if let Value::Object(detail) = &mut detail {
        // An event tells neither.
        detail.remove("healthStatus");
        detail.remove("tags");
        for key in [
            "createdAt",
            "startedAt",
            "stoppingAt",
            "stoppedAt",
            "executionStoppedAt",
            "connectivityAt",
        ] {
            if let Some(seconds) = detail.get(key).and_then(Value::as_f64) {
                detail.insert(key.to_owned(), json!(timestamp(seconds, true)));
            }
        }
        let updated = timestamp(world.clock.seconds(now), true);
        detail.insert("updatedAt".to_owned(), json!(updated));
        if let Some(Value::Array(containers)) = detail.get_mut("containers") {
            for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                container.remove("healthStatus");
            }
        }
        if let Some(Value::Array(attachments)) = detail.get_mut("attachments") {
            for attachment in attachments {
                if attachment["type"] == "ElasticNetworkInterface" {
                    attachment["type"] = json!("eni");
                }
            }
        }
    }
    json!({
        "version": "0",
        "id": id,
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": world.options.account,
        "time": timestamp(world.clock.seconds(now), false),
        "region": world.options.region,
        "resources": [task.arn],
        "detail": detail,
    })
}

/// Seconds since 1970 as `2026-11-21T10:57:17Z` (RFC 3339), with milliseconds or without.
fn timestamp(seconds: f64, millis: bool) -> String {
    let total = (seconds * 1000.0).round() as i64;
    let (whole, fraction) = (total.div_euclid(1000), total.rem_euclid(1000));
    let (days, second) = (whole.div_euclid(86_400), whole.rem_euclid(86_400));
    // Years that begin in March have their leap day last; 719,468 days lie between 0000-03-01
    // and 1970-01-01, and 146,097 days are 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let fraction = match millis {
        true => format!(".{fraction:03}"),
        false => String::new(),
    };
    format!(
        "{year:04}-{month:02}-{of_month:02}T{:02}:{:02}:{:02}{fraction}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamps_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (951_782_399.5, "2000-02-28T23:59:59.500Z"),
            (951_782_400.0, "2000-02-29T00:00:00.000Z"),
            (1_795_258_637.25, "2026-11-21T10:57:17.250Z"),
        ] {
            assert_eq!(timestamp(seconds, true), expected);
        }
        assert_eq!(timestamp(0.9, false), "1970-01-01T00:00:00Z");
    }
}
