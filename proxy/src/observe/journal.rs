//! The latest events of the application log, for operators: what came, went, failed and changed.
//!
//! Only what the control half tells is kept (registered, healthy, draining, sources that fail,
//! reloads); it is one ring for the process, as its log is one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::clock;

/// How many events are kept.
pub const EVENTS_MAX: usize = 500;

/// The longest text of one field, in bytes.
const TEXT_MAX: usize = 1_024;

static JOURNAL: Mutex<Ring> = Mutex::new(Ring {
    next: 1,
    events: VecDeque::new(),
});

struct Ring {
    next: u64,
    events: VecDeque<Entry>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counted up from 1.
    pub id: u64,
    /// Milliseconds since 1970-01-01.
    pub time: u64,
    /// `info`, `warn` or `error`.
    pub level: &'static str,
    /// What happened.
    pub message: String,
    /// To what, and why.
    pub fields: BTreeMap<&'static str, String>,
}

/// The events behind number `after`, the oldest first.
#[must_use]
pub fn since(after: u64) -> Vec<Entry> {
    let ring = JOURNAL.lock().unwrap_or_else(PoisonError::into_inner);
    let new = ring.events.iter().filter(|entry| entry.id > after);
    new.cloned().collect()
}

/// The number of the latest event; 0 if there was none.
#[must_use]
pub fn newest() -> u64 {
    let ring = JOURNAL.lock().unwrap_or_else(PoisonError::into_inner);
    ring.next - 1
}

/// Keeps events as they are logged.
#[derive(Debug)]
pub struct Journal;

impl Journal {
    /// Whether an event is one for operators: no worker logs any, so no request waits for the ring.
    #[must_use]
    pub fn wants(metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let control = [
            "longshore::control",
            "longshore::commands",
            "longshore::app",
        ];
        *metadata.level() <= Level::INFO
            && (target.starts_with("longshore_discovery")
                || control.iter().any(|module| target.starts_with(module)))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut read = Read::default();
        event.record(&mut read);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => "info",
        };
        let time = clock::wall_millis();
        let mut ring = JOURNAL.lock().unwrap_or_else(PoisonError::into_inner);
        let id = ring.next;
        ring.next += 1;
        if ring.events.len() == EVENTS_MAX {
            ring.events.pop_front();
        }
        ring.events.push_back(Entry {
            id,
            time,
            level,
            message: read.message,
            fields: read.fields,
        });
    }
}

#[derive(Default)]
struct Read {
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Read {
    fn note(&mut self, field: &Field, mut text: String) {
        if text.len() > TEXT_MAX {
            text.truncate(text.floor_char_boundary(TEXT_MAX));
            text.push('…');
        }
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.insert(field.name(), text);
        }
    }
}

impl Visit for Read {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing into memory does not fail; what cannot be shown is told as that.
        if write!(text, "{value:?}").is_err() {
            "not to be shown".clone_into(&mut text);
        }
        self.note(field, text);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

    use super::{EVENTS_MAX, Journal, TEXT_MAX, since};

    #[test]
    fn what_the_control_half_logs_is_kept_and_nothing_else_up_to_a_bound() {
        let layer = Journal.with_filter(filter_fn(Journal::wants));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "longshore::control::group", target_group = %"app", in_flight = 3, "draining");
            tracing::debug!(target: "longshore::control::group", "too little");
            tracing::warn!(target: "longshore::serve::listener", "of a worker");
            tracing::warn!(target: "longshore_discovery::ecs", error = %"x".repeat(5_000), "it fails");
        });
        let got = since(0);
        let messages: Vec<&str> = got.iter().map(|entry| entry.message.as_str()).collect();
        assert_eq!(messages, ["draining", "it fails"]);
        assert_eq!(got[0].fields["target_group"], "app");
        assert_eq!(got[0].fields["in_flight"], "3");
        assert_eq!((got[0].level, got[1].level), ("info", "warn"));
        assert_eq!(got[1].fields["error"].len(), TEXT_MAX + "…".len());
        assert_eq!(since(got[0].id).len(), 1);
        let layer = Journal.with_filter(filter_fn(Journal::wants));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for number in 0..EVENTS_MAX {
                tracing::info!(target: "longshore::control", number, "more");
            }
        });
        let got = since(0);
        assert_eq!(got.len(), EVENTS_MAX);
        assert!(got.windows(2).all(|pair| pair[0].id + 1 == pair[1].id));
        assert!(got.iter().all(|entry| entry.message == "more"));
    }
}
