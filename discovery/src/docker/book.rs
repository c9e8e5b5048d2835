//! What is believed about the containers of a group. No IO and no clock: time is an argument.
//!
//! Lists say which containers there are; inspections say since when and how they are; events say
//! that a container leaves, before any list does. See the crate's `README.md`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aim::Aim;
use super::api::{ApiError, Detail, Event, Summary};
use crate::target::{Problem, Target};

/// How long an inspection is believed while no event asks for another. What may change without
/// our hearing it: health, and a restart in place.
const DETAIL_LIFE: Duration = Duration::from_secs(60);

/// How long a container that left the list is kept while no inspection says that it does not run.
const UNCONFIRMED_LIMIT: Duration = Duration::from_secs(60);

/// How long a container that was told to stop, and runs on, is left out. `docker stop` sends
/// SIGKILL after 10 s, or after the container's own time, so one that still runs after this was
/// told by somebody else and did not obey.
const LEAVING_LIMIT: Duration = Duration::from_secs(60);

/// What is added to a container's own time to stop.
const LEAVING_SLACK: Duration = Duration::from_secs(10);

/// The most containers that are remembered as leaving without being known. They are forgotten
/// with the next look, so more than this means that looks fail; then lists are not believed
/// anyway.
const UNKNOWN_LEAVING_MAX: usize = 4096;

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;

/// The state of one group's containers.
#[derive(Debug, Clone, Default)]
pub struct Book {
    containers: BTreeMap<Arc<str>, Entry>,
    leaving: BTreeMap<Arc<str>, Leaving>,
    nameless: Vec<Problem>,
}

#[derive(Debug, Clone)]
struct Entry {
    summary: Summary,
    /// What it was called when it was first seen: it stays the same target if it is renamed.
    name: Arc<str>,
    /// The start of the latest look whose list showed it.
    listed_at: Instant,
    /// The start of the first look whose list lacked it.
    absent_since: Option<Instant>,
    detail: Option<(Detail, Instant)>,
    /// An event that came then may have changed what an earlier inspection said.
    outdated_at: Option<Instant>,
    /// Why the latest inspection failed.
    unread: Option<String>,
}

/// A container that goes, or may go.
#[derive(Debug, Clone)]
struct Leaving {
    why: Why,
    /// When it was heard.
    heard_at: Instant,
    /// When it happened, by the engine's clock in milliseconds since 1970.
    at: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Paused,
    Told(u8),
    Ended,
}

/// What one look found.
#[derive(Debug)]
pub struct Answer {
    /// When it began.
    pub began: Instant,
    /// The whole list.
    pub list: Vec<Summary>,
    /// The inspections after it.
    pub inspected: Vec<Inspection>,
}

/// One inspection.
#[derive(Debug)]
pub struct Inspection {
    /// Of which container.
    pub id: Arc<str>,
    /// When it began.
    pub asked_at: Instant,
    /// What it said. None: the engine does not know the container.
    pub result: Result<Option<Detail>, ApiError>,
}

impl Book {
    /// The containers to inspect, given a list: new ones, those that something happened to, those
    /// that are not healthy yet, those whose inspection is old, and those that left the list.
    #[must_use]
    pub fn to_inspect(&self, list: &[Summary], now: Instant) -> Vec<Arc<str>> {
        let mut wanted: Vec<Arc<str>> = Vec::new();
        for summary in list.iter().filter(|summary| !summary.id.is_empty()) {
            let entry = self.containers.get(&summary.id);
            if entry.is_none_or(|entry| entry.wants_inspection(now))
                || self.leaving.contains_key(&summary.id)
            {
                wanted.push(Arc::clone(&summary.id));
            }
        }
        let listed = |id: &Arc<str>| list.iter().any(|summary| summary.id == *id);
        wanted.extend(self.containers.keys().filter(|id| !listed(id)).cloned());
        // Those last that the engine did not describe the last time: they may use up the time.
        let failed = |id: &Arc<str>| {
            let entry = self.containers.get(id);
            entry.is_some_and(|entry| entry.unread.is_some())
        };
        wanted.sort_by_key(failed);
        wanted
    }

    /// Takes what a look found.
    pub fn looked(&mut self, answer: Answer) {
        let began = answer.began;
        self.nameless.clear();
        for summary in answer.list {
            if summary.id.is_empty() {
                self.nameless.push(Problem {
                    subject: summary.name.as_deref().unwrap_or("a container").to_owned(),
                    reason: "the engine does not tell its id".to_owned(),
                });
                continue;
            }
            let id = Arc::clone(&summary.id);
            let entry = self.containers.entry(id).or_insert_with(|| Entry {
                name: name(&summary),
                summary: Summary::default(),
                listed_at: began,
                absent_since: None,
                detail: None,
                outdated_at: None,
                unread: None,
            });
            entry.summary = summary;
            entry.listed_at = began;
            entry.absent_since = None;
        }
        for Inspection {
            id,
            asked_at,
            result,
        } in answer.inspected
        {
            let Some(entry) = self.containers.get_mut(&id) else {
                continue;
            };
            let listed = entry.listed_at == began;
            match result {
                Ok(Some(mut detail)) => {
                    let same_run = entry
                        .detail
                        .as_ref()
                        .is_none_or(|(known, _)| known.started_at == detail.started_at);
                    let in_place = detail.running && same_run;
                    if !listed && !in_place {
                        // It stopped, or it runs anew and the ports that are known are those of
                        // its former run. Then the next list shows it.
                        self.containers.remove(&id);
                        continue;
                    }
                    if entry.outdated_at.is_some_and(|at| at <= asked_at) {
                        entry.outdated_at = None;
                    }
                    let known = entry.detail.as_ref().map(|(known, _)| known);
                    if known.is_some_and(|known| begins_checks_anew(known, &detail)) {
                        detail.health = Some("healthy".to_owned());
                        entry.outdated_at = Some(asked_at);
                    }
                    entry.detail = Some((detail, asked_at));
                    entry.unread = None;
                }
                Ok(None) => drop(self.containers.remove(&id)),
                Err(error) => entry.unread = Some(error.to_string()),
            }
        }
        self.containers.retain(|_, entry| {
            if entry.listed_at == began {
                return true;
            }
            let since = *entry.absent_since.get_or_insert(began);
            began.saturating_duration_since(since) < UNCONFIRMED_LIMIT
        });
        self.forget_leaving(began);
    }

    /// Ends the memory of containers that are gone, or back.
    fn forget_leaving(&mut self, began: Instant) {
        let containers = &self.containers;
        self.leaving.retain(|id, leaving| {
            let Some(entry) = containers.get(id) else {
                // A look that began before it was heard says nothing about it.
                return leaving.heard_at >= began;
            };
            let Some((detail, asked_at)) = &entry.detail else {
                return true;
            };
            // Ports in a list from before it went are those of the former run.
            if leaving.heard_at >= entry.listed_at || leaving.heard_at >= *asked_at {
                return true;
            }
            let over = entry.listed_at.saturating_duration_since(leaving.heard_at) >= limit(detail);
            let runs_anew =
                matches!((detail.started_at, leaving.at), (Some(run), Some(at)) if run > at);
            let resumed = leaving.why == Why::Paused && !detail.paused;
            !(over || runs_anew || resumed)
        });
    }

    /// Takes an event. Whether a container that is known leaves by it: then the others are to be
    /// told at once.
    pub fn heard(&mut self, event: &Event, now: Instant) -> bool {
        let detail = match self.containers.get_mut(&event.id) {
            Some(entry) => {
                entry.outdated_at = Some(now);
                entry.detail.as_ref().map(|(detail, _)| detail)
            }
            None if self.leaving.len() >= UNKNOWN_LEAVING_MAX => return false,
            None => None,
        };
        let ends_by = detail.and_then(|detail| detail.stop_signal);
        let why = match event.action.as_str() {
            "die" | "stop" | "destroy" => Why::Ended,
            "pause" => Why::Paused,
            "kill" => match event.signal {
                Some(signal)
                    if signal == SIGTERM || signal == SIGKILL || Some(signal) == ends_by =>
                {
                    Why::Told(signal)
                }
                _ => return false,
            },
            _ => return false,
        };
        // Events are told again after a break. What is older than the present run is about a
        // former one.
        let started_at = detail.and_then(|detail| detail.started_at);
        if matches!((started_at, event.at), (Some(run), Some(at)) if at < run) {
            return false;
        }
        let known = self.containers.contains_key(&event.id);
        let leaving = Leaving {
            why,
            heard_at: now,
            at: event.at,
        };
        let before = self.leaving.insert(Arc::clone(&event.id), leaving);
        known && before.is_none()
    }

    /// Takes note that events may have been lost: every inspection may be out of date.
    pub fn missed_events(&mut self, now: Instant) {
        for entry in self.containers.values_mut() {
            entry.outdated_at = Some(now);
        }
    }

    /// A container that is wanted and was never described, with the reason.
    #[must_use]
    pub fn unseen(&self, aim: &impl Aim) -> Option<String> {
        let mut entries = self.containers.values();
        entries.find_map(|entry| {
            let unread = entry.unread.as_ref()?;
            let unseen = entry.detail.is_none() && aim.wants(&entry.summary);
            unseen.then(|| format!("{}: {unread}", entry.name))
        })
    }

    /// Whether an inspection failed, so that the next look should come soon.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.containers.values().any(|entry| entry.unread.is_some())
    }

    /// The targets, and the containers that are none.
    #[must_use]
    pub fn targets(&self, aim: &impl Aim) -> (Vec<Target>, Vec<Problem>) {
        let mut targets = Vec::new();
        let mut problems = self.nameless.clone();
        let wanted = |entry: &Entry| aim.wants(&entry.summary);
        for (id, entry) in self.containers.iter().filter(|(_, entry)| wanted(entry)) {
            match self.resolve(id, entry, aim) {
                Ok(target) => {
                    targets.push(target);
                    if let Some(error) = &entry.unread {
                        problems.push(Problem {
                            subject: entry.name.to_string(),
                            reason: format!("kept as it was: {error}"),
                        });
                    }
                }
                Err(reason) => problems.push(Problem {
                    subject: entry.name.to_string(),
                    reason,
                }),
            }
        }
        (targets, problems)
    }

    fn resolve(&self, id: &Arc<str>, entry: &Entry, aim: &impl Aim) -> Result<Target, String> {
        if let Some(leaving) = self.leaving.get(id) {
            return Err(match leaving.why {
                Why::Paused => "it is paused".to_owned(),
                Why::Told(signal) => format!("it was told to stop (signal {signal})"),
                Why::Ended => "it has ended".to_owned(),
            });
        }
        let Some((detail, _)) = &entry.detail else {
            return Err(match &entry.unread {
                Some(error) => format!("the engine does not describe it: {error}"),
                None => "the engine does not describe it yet".to_owned(),
            });
        };
        aim.target(&entry.summary, &entry.name, detail, entry.listed_at)
    }
}

impl Entry {
    fn wants_inspection(&self, now: Instant) -> bool {
        let Some((detail, asked_at)) = &self.detail else {
            return true;
        };
        let settled =
            detail.running && matches!(detail.health.as_deref(), None | Some("none" | "healthy"));
        !settled
            || self.unread.is_some()
            || self.outdated_at.is_some()
            || now.saturating_duration_since(*asked_at) >= DETAIL_LIFE
    }
}

/// Whether an engine that was restarted under its containers checks them from the beginning: within
/// one run, a container that was healthy is never `starting` again. It is healthy until the engine
/// says otherwise.
fn begins_checks_anew(known: &Detail, now: &Detail) -> bool {
    let same_run = known.started_at.is_some() && known.started_at == now.started_at;
    let healths = (known.health.as_deref(), now.health.as_deref());
    same_run && now.running && healths == (Some("healthy"), Some("starting"))
}

/// How long a container that was told to stop is left out while it runs on.
fn limit(detail: &Detail) -> Duration {
    let own = Duration::from_secs(detail.stop_seconds.unwrap_or_default());
    LEAVING_LIMIT.max(own.saturating_add(LEAVING_SLACK))
}

/// What a container is called: its name, or as the engine itself abbreviates its id.
fn name(summary: &Summary) -> Arc<str> {
    match &summary.name {
        Some(name) if !name.is_empty() => Arc::clone(name),
        _ => summary.id.get(..12).unwrap_or(&summary.id).into(),
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they choose the times that they hand in"
)]
#[path = "book_tests.rs"]
mod tests;
