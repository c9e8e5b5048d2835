//! A worker's notes of requests: on their way into the access log, and kept for a while so that
//! somebody can ask what became of a request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use longshore_config::LogFormat;

use super::access_log;
use super::log_writer::LogSide;
use super::note::Note;
use super::room::Room;
use super::text::Second;

/// What a worker has to note.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) log: Option<(LogFormat, LogSide)>,
    /// The log of connections.
    pub(crate) connections: Option<LogSide>,
    /// How many requests are kept of either kind: those that ended well, and the others.
    pub(crate) keep: usize,
}

/// A worker's notes.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    is_on: Cell<bool>,
    settings: RefCell<Settings>,
    well: RefCell<VecDeque<Box<Note>>>,
    /// Answers of our own that are errors, statuses from 500 on, retries, and what was cut short:
    /// kept apart, so that a busy minute does not wash them away.
    badly: RefCell<VecDeque<Box<Note>>>,
    #[allow(
        clippy::vec_box,
        reason = "they come and go as boxes, and stay where they are"
    )]
    spare: RefCell<Vec<Box<Note>>>,
    /// That of the latest line.
    second: RefCell<Second>,
}

/// Empty notes that are kept for the next requests, at the most: as many as are at work at a time
/// in a worker that is not overloaded.
const SPARE_MAX: usize = 256;

/// Room for a line about a request that is kept. Most take a part of it.
const KEPT_LINE: usize = 8 * 1024;

impl Recorder {
    /// From now on it notes that.
    pub(crate) fn set(&self, settings: Settings) {
        self.is_on.set(settings.log.is_some() || settings.keep > 0);
        for ring in [&self.well, &self.badly] {
            let mut ring = ring.borrow_mut();
            while ring.len() > settings.keep {
                ring.pop_front();
            }
        }
        self.settings.replace(settings);
    }

    /// An empty note for a request. None if nobody wants any.
    pub(crate) fn begin(&self) -> Option<Box<Note>> {
        self.is_on
            .get()
            .then(|| self.spare.borrow_mut().pop().unwrap_or_default())
    }

    /// Takes the note of a request that is over.
    pub(crate) fn take(&self, mut note: Box<Note>, badly: bool) {
        let mut settings = self.settings.borrow_mut();
        if let Some((format, log)) = &mut settings.log {
            let second = &mut self.second.borrow_mut();
            match format {
                LogFormat::Alb => log.add(|room| access_log::alb(&note, second, room)),
                LogFormat::Json => log.add(|room| access_log::json(&note, second, room)),
            }
        }
        note.shrink();
        let ring = if badly { &self.badly } else { &self.well };
        let mut ring = ring.borrow_mut();
        ring.push_back(note);
        if ring.len() > settings.keep
            && let Some(note) = ring.pop_front()
        {
            self.give_back(note);
        }
    }

    /// Takes a note that nothing came of.
    pub(crate) fn give_back(&self, mut note: Box<Note>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            note.clear();
            spare.push(note);
        }
    }

    /// Hands over what the log has gathered.
    pub(crate) fn flush(&self) {
        let settings = &mut *self.settings.borrow_mut();
        let access = settings.log.as_mut().map(|(_, log)| log);
        for log in access.into_iter().chain(&mut settings.connections) {
            log.flush();
        }
    }

    /// Notes a connection, if there is a log of them.
    pub(crate) fn connected(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(log) = &mut self.settings.borrow_mut().connections {
            let mut line = Vec::new();
            write(&mut line);
            log.add_text(&line);
        }
    }

    /// The latest requests first, at most so many: those of a trace or a connection, or any.
    pub(crate) fn recall(&self, about: Option<&str>, most: usize) -> Vec<serde_json::Value> {
        let (well, badly) = (self.well.borrow(), self.badly.borrow());
        let mut found: Vec<&Note> = well
            .iter()
            .chain(badly.iter())
            .map(|note| &**note)
            .filter(|note| about.is_none_or(|id| note.is_about(id)))
            .collect();
        found.sort_by_key(|note| std::cmp::Reverse(note.ended));
        found.truncate(most);
        let mut bytes = vec![0; KEPT_LINE];
        let shown = found.into_iter().filter_map(|note| {
            let second = &mut self.second.borrow_mut();
            let line = loop {
                let room = access_log::json(note, second, Room::new(&mut bytes));
                match room.left() {
                    Some(left) => break &bytes[..bytes.len() - left],
                    None => bytes.resize(2 * bytes.len(), 0),
                }
            };
            // It is JSON, as tests show.
            serde_json::from_slice(line).ok()
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Recorder, Settings};

    #[test]
    fn what_went_badly_is_not_washed_away_by_what_went_well() {
        let recorder = Recorder::default();
        assert!(recorder.begin().is_none(), "nobody wants any");
        recorder.set(Settings {
            keep: 3,
            ..Settings::default()
        });
        for number in 0..20_u64 {
            let mut note = recorder.begin().expect("it is on");
            note.ended = number;
            note.trace = note.put(format!("Root=1-{number:08}").as_bytes());
            recorder.take(note, number == 4);
        }
        assert_eq!(recorder.recall(Some("Root=1-00000004"), 10).len(), 1);
        assert!(recorder.recall(Some("Root=1-00000005"), 10).is_empty());
        let latest = recorder.recall(None, 10);
        assert_eq!(latest.len(), 4);
        assert_eq!(latest[0]["trace_id"], "Root=1-00000019");
        assert_eq!(recorder.recall(None, 2).len(), 2);
        recorder.set(Settings::default());
        assert!(recorder.recall(None, 10).is_empty());
    }
}
