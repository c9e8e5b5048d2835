//! A worker's notes of requests: on their way into the access log, and kept for a while so that
//! somebody can ask what became of a request.

use std::cell::{Cell, RefCell};

use longshore_config::LogFormat;
use memchr::memmem;

use super::access_log;
use super::kept::Kept;
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
    /// How many requests are kept of those that went badly, and as many as [`WELL`] says of the
    /// others.
    pub(crate) keep: usize,
}

/// For how many that may be kept one is that went well. Those come all the time, and where they are
/// kept has to stay in the processor's caches; the others are what is asked for.
const WELL: usize = 5;

/// A worker's notes.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    is_on: Cell<bool>,
    settings: RefCell<Settings>,
    well: RefCell<Kept>,
    /// Answers of our own that are errors, statuses from 500 on, retries, and what was cut short:
    /// kept apart, so that a busy minute does not wash them away.
    badly: RefCell<Kept>,
    #[allow(
        clippy::vec_box,
        reason = "they come and go as boxes, and stay where they are"
    )]
    spare: RefCell<Vec<Box<Note>>>,
    /// That of the latest line.
    second: RefCell<Second>,
    /// Room for a line that is in no log.
    line: RefCell<Vec<u8>>,
}

/// Empty notes that are kept for the next requests, at the most: as many as are at work at a time
/// in a worker that is not overloaded.
const SPARE_MAX: usize = 256;

/// The longest line of the log that is kept as it is, in bytes. Of what is longer texts are cut.
const KEPT_LINE: usize = 4 * 1024;

impl Recorder {
    /// From now on it notes that.
    pub(crate) fn set(&self, settings: Settings) {
        self.is_on.set(settings.log.is_some() || settings.keep > 0);
        for (kept, most) in self.kept(settings.keep) {
            kept.borrow_mut().keep(most);
        }
        self.settings.replace(settings);
    }

    /// Where requests are kept that went well, and badly, with how many of them.
    fn kept(&self, keep: usize) -> [(&RefCell<Kept>, usize); 2] {
        [(&self.well, keep.div_ceil(WELL)), (&self.badly, keep)]
    }

    /// An empty note for a request. None if nobody wants any.
    pub(crate) fn begin(&self) -> Option<Box<Note>> {
        self.is_on
            .get()
            .then(|| self.spare.borrow_mut().pop().unwrap_or_default())
    }

    /// Takes the note of a request that is over.
    pub(crate) fn take(&self, mut note: Box<Note>, badly: bool) {
        let settings = &mut *self.settings.borrow_mut();
        let second = &mut self.second.borrow_mut();
        let line = match &mut settings.log {
            Some((LogFormat::Json, log)) => {
                Some(log.add(|room| access_log::json(&note, second, room)))
            }
            Some((LogFormat::Alb, log)) => {
                log.add(|room| access_log::alb(&note, second, room));
                None
            }
            None => None,
        };
        if settings.keep > 0 {
            let mut bytes = self.line.borrow_mut();
            let line = match line.filter(|line| line.len() <= KEPT_LINE) {
                Some(line) => line,
                None => {
                    let mut length = json(&note, second, &mut bytes);
                    if length > KEPT_LINE {
                        note.shorten();
                        length = json(&note, second, &mut bytes);
                    }
                    &bytes[..length]
                }
            };
            let (kept, most) = self.kept(settings.keep)[usize::from(badly)];
            kept.borrow_mut().push(line, most);
        }
        self.give_back(note);
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
        let about = about.map(About::new);
        let mut found = Vec::new();
        for (kept, _) in self.kept(0) {
            let mut kept = kept.borrow_mut();
            let lines = kept.latest_first();
            let lines = lines.filter(|line| about.as_ref().is_none_or(|about| about.may_be(line)));
            // They are JSON, as tests show.
            let lines = lines.filter_map(|line| serde_json::from_slice(line).ok());
            let lines = lines.filter(|line| about.as_ref().is_none_or(|about| about.is(line)));
            found.extend(lines.take(most));
        }
        // As texts they have the order of the moments.
        found.sort_by(|one, other| other["time"].as_str().cmp(&one["time"].as_str()));
        found.truncate(most);
        found
    }
}

/// What a request is asked for by.
enum About {
    /// Its connection, as the log writes it.
    Connection(String),
    /// Its trace identifier, or a part of it.
    Trace(String),
}

impl About {
    fn new(id: &str) -> Self {
        let number = id.strip_prefix("TID_").filter(|hex| hex.len() == 32);
        match number {
            Some(hex) => Self::Connection(format!("TID_{}", hex.to_ascii_lowercase())),
            None => Self::Trace(id.to_owned()),
        }
    }

    /// Whether a line is worth being read: there may be many.
    fn may_be(&self, line: &[u8]) -> bool {
        match self {
            Self::Connection(id) => memmem::find(line, id.as_bytes()).is_some(),
            Self::Trace(id) if id.is_empty() => false,
            Self::Trace(id) => {
                // Quotes in texts have a backslash before them, so this is the field.
                const KEY: &[u8] = b",\"trace_id\":\"";
                let Some(begin) = memmem::find(line, KEY) else {
                    return false;
                };
                let trace = &line[begin + KEY.len()..];
                let end = memmem::find(trace, b"\",\"connection\":");
                // As far as nothing of it is written otherwise there.
                let is_plain = |one: char| matches!(one, ' '..='~') && !"\"\\".contains(one);
                let part = id.split(|one| !is_plain(one)).next().unwrap_or_default();
                memmem::find(&trace[..end.unwrap_or(trace.len())], part.as_bytes()).is_some()
            }
        }
    }

    /// Whether a line that may be is about it.
    fn is(&self, line: &serde_json::Value) -> bool {
        match self {
            Self::Connection(id) => line["connection"] == **id,
            Self::Trace(id) => line["trace_id"].as_str().is_some_and(|it| it.contains(id)),
        }
    }
}

/// Writes a line about a request into these bytes, which grow until it fits: how long it is.
fn json(note: &Note, second: &mut Second, bytes: &mut Vec<u8>) -> usize {
    loop {
        let room = access_log::json(note, second, Room::new(bytes));
        if let Some(left) = room.left() {
            return bytes.len() - left;
        }
        bytes.resize((2 * bytes.len()).max(KEPT_LINE), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_LINE, Recorder, Settings};

    fn keeping(count: usize) -> Recorder {
        let recorder = Recorder::default();
        assert!(recorder.begin().is_none(), "nobody wants any");
        recorder.set(Settings {
            keep: count,
            ..Settings::default()
        });
        recorder
    }

    #[test]
    fn what_went_badly_is_not_washed_away_by_what_went_well() {
        // A fifth of those that go well.
        let recorder = keeping(15);
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
        assert_eq!(latest[3]["trace_id"], "Root=1-00000004");
        assert_eq!(recorder.recall(None, 2).len(), 2);
        recorder.set(Settings::default());
        assert!(recorder.recall(None, 10).is_empty());
    }

    #[test]
    fn a_request_is_found_by_its_trace_or_a_part_of_it_or_its_connection() {
        let recorder = keeping(15);
        for (number, trace) in ["Root=1-58337281-1d84", "Root=1-5833;\"x\"=\\\u{e4}", ""]
            .into_iter()
            .enumerate()
        {
            let mut note = recorder.begin().expect("it is on");
            note.connection = 0x1234_ABC0 + number as u64;
            note.trace = note.put(trace.as_bytes());
            // Neither is the URL a trace.
            note.url = note.put(b"/Root=1-58337281-1d84");
            recorder.take(note, false);
        }
        for (id, found) in [
            ("1-58337281-1d84", 1),
            ("1-5833", 2),
            ("\"x\"=\\", 1),
            ("\u{e4}", 1),
            ("1-58337282", 0),
            ("", 0),
            ("TID_0000000000000000000000001234abc2", 1),
            ("TID_0000000000000000000000001234ABC1", 1),
            ("TID_0000000000000000000000001234abcd", 0),
        ] {
            assert_eq!(recorder.recall(Some(id), 10).len(), found, "{id}");
        }
    }

    #[test]
    fn a_long_request_is_kept_with_its_texts_cut() {
        let recorder = keeping(15);
        let mut note = recorder.begin().expect("it is on");
        note.url = note.put(&[0x01; KEPT_LINE]);
        note.trace = note.put(b"Root=1-58337281");
        recorder.take(note, false);
        let found = recorder.recall(Some("58337281"), 1);
        assert_eq!(found[0]["url"], "\u{1}".repeat(512));
        // One that is not that long is whole.
        let mut note = recorder.begin().expect("it is on");
        note.url = note.put(&[b'x'; 2_000]);
        note.trace = note.put(b"Root=1-58337282");
        recorder.take(note, false);
        let found = recorder.recall(Some("58337282"), 1);
        assert_eq!(found[0]["url"], "x".repeat(2_000));
        let next = recorder.begin().expect("it is on");
        assert!(
            next.text.capacity() <= KEPT_LINE,
            "{}",
            next.text.capacity()
        );
    }
}
