//! A log on its way to a file or to standard output: workers gather lines, one thread writes them.
//! A disk that is full, slow or gone costs lines, which are counted, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::room::Room;

/// Batches that wait for the writer, at the most: with [`BATCH`] bytes each, 16 MiB. Beside them each
/// worker keeps one that it could not hand over.
const QUEUE_MAX: usize = 64;

/// What a worker gathers before it hands it over, in bytes, unless time does it before. With a
/// quarter of it the kernel took a third longer for each byte (ext4), and the thread was woken four
/// times as often.
const BATCH: usize = 256 * 1024;

/// The room for it and for the line that goes beyond it.
const BATCH_ROOM: usize = BATCH + BATCH / 4;

/// Written batches whose memory a worker gets back, at the most: so many are on their way in a
/// worker whose log keeps up with it.
const SPENT_MAX: usize = 2;

/// What became of the lines of a log.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    written: AtomicU64,
    queue_full: AtomicU64,
    write_failed: AtomicU64,
}

impl Counts {
    /// Each fate of lines with their number.
    pub(crate) fn get(&self) -> [(&'static str, u64); 3] {
        [
            ("written", self.written.load(Ordering::Relaxed)),
            ("queue_full", self.queue_full.load(Ordering::Relaxed)),
            ("write_failed", self.write_failed.load(Ordering::Relaxed)),
        ]
    }
}

/// The same of all logs.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogCounts {
    pub(crate) access: Arc<Counts>,
    pub(crate) connections: Arc<Counts>,
    pub(crate) checks: Arc<Counts>,
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    /// How many of them are lines.
    filled: usize,
    lines: u64,
    /// To whom its memory goes back.
    spent: Option<SyncSender<Vec<u8>>>,
}

/// The way to a log's thread. The thread ends when all of them are gone.
#[derive(Debug, Clone)]
pub(crate) struct LogHandle {
    queue: SyncSender<Batch>,
    reopen: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

/// A worker's side of a log.
#[derive(Debug)]
pub(crate) struct LogSide {
    handle: LogHandle,
    /// Lines, and behind them the room for others.
    bytes: Vec<u8>,
    filled: usize,
    lines: u64,
    /// What comes back after it was written, so that the next lines need no new memory.
    spent: Receiver<Vec<u8>>,
    give_back: SyncSender<Vec<u8>>,
}

impl LogHandle {
    /// Starts the thread of a log. No path: standard output.
    ///
    /// # Errors
    /// If the file cannot be opened, or the thread cannot be started.
    pub(crate) fn start(
        name: &'static str,
        path: Option<&Path>,
        counts: &Arc<Counts>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, batches) = sync_channel(QUEUE_MAX);
        // A pipe that nobody reads yet can only be waited for, which is the thread's part.
        let file = match path {
            Some(path) if !is_pipe(path) => Some(open(path)?),
            _ => None,
        };
        let writer = Writer {
            path: path.map(Path::to_owned),
            file,
            torn: false,
            failing: false,
        };
        let reopen = Arc::new(AtomicBool::new(false));
        let (flag, counted) = (Arc::clone(&reopen), Arc::clone(counts));
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(name, writer, &batches, &flag, &counted))?;
        let handle = Self {
            queue,
            reopen,
            counts: Arc::clone(counts),
        };
        Ok((handle, thread))
    }

    /// A worker's side.
    pub(crate) fn side(&self) -> LogSide {
        let (give_back, spent) = sync_channel(SPENT_MAX);
        LogSide {
            handle: self.clone(),
            bytes: Vec::new(),
            filled: 0,
            lines: 0,
            spent,
            give_back,
        }
    }

    /// Opens the file anew before the next line: somebody has moved the old one.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // Wakes the thread, which is awake already if there is no room.
        let nothing = Batch {
            bytes: Vec::new(),
            filled: 0,
            lines: 0,
            spent: None,
        };
        self.queue.try_send(nothing).unwrap_or_default();
    }
}

impl LogSide {
    /// Adds a line, and gives it as it is. It is written again, with more room, if there was too
    /// little.
    pub(crate) fn add(&mut self, mut write: impl for<'r> FnMut(Room<'r>) -> Room<'r>) -> &[u8] {
        if self.filled >= BATCH {
            self.flush();
        }
        let begin = self.filled;
        loop {
            let room = self.bytes.get_mut(begin..).unwrap_or_default();
            if let Some(left) = write(Room::new(room)).left() {
                self.filled = self.bytes.len() - left;
                self.lines += 1;
                return &self.bytes[begin..self.filled];
            }
            self.make_room();
        }
    }

    /// Adds a line that is there.
    pub(crate) fn add_text(&mut self, line: &[u8]) {
        self.add(|mut room| {
            room.put_all(line);
            room
        });
    }

    #[cold]
    fn lose(&self, lines: u64) {
        let lost = &self.handle.counts.queue_full;
        lost.fetch_add(lines, Ordering::Relaxed);
    }

    #[cold]
    fn make_room(&mut self) {
        if self.bytes.is_empty() {
            let spent = self.spent.try_recv();
            self.bytes = spent.unwrap_or_else(|_| vec![0; BATCH_ROOM]);
        } else {
            // The texts of a line have bounds, and so has this.
            self.bytes.resize(2 * self.bytes.len(), 0);
        }
    }

    /// Hands over what was gathered. If the queue has no room, it stays for the next time, and is
    /// lost only when there is as much as one worker may gather.
    pub(crate) fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        let batch = Batch {
            bytes: std::mem::take(&mut self.bytes),
            filled: std::mem::take(&mut self.filled),
            lines,
            spent: Some(self.give_back.clone()),
        };
        let refused = self.handle.queue.try_send(batch);
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) = refused {
            self.bytes = batch.bytes;
            if batch.filled < BATCH {
                (self.filled, self.lines) = (batch.filled, lines);
            } else {
                self.lose(lines);
            }
        }
    }
}

impl Drop for LogSide {
    fn drop(&mut self) {
        self.flush();
        self.lose(self.lines);
    }
}

fn run(
    name: &str,
    mut writer: Writer,
    batches: &Receiver<Batch>,
    reopen: &AtomicBool,
    counts: &Counts,
) {
    while let Ok(batch) = batches.recv() {
        if reopen.swap(false, Ordering::AcqRel) {
            writer.file = None;
            if let Err(error) = writer.prepare() {
                tracing::warn!(%error, log = name, "a log cannot be opened anew");
            }
        }
        if batch.lines == 0 {
            continue;
        }
        match writer.write(&batch.bytes[..batch.filled]) {
            Ok(()) => {
                writer.failing = false;
                counts.written.fetch_add(batch.lines, Ordering::Relaxed);
            }
            Err(error) => {
                // Once for each time that it begins: a full disk fails many times a second.
                if !std::mem::replace(&mut writer.failing, true) {
                    tracing::warn!(%error, log = name, "lines of a log are lost");
                }
                counts
                    .write_failed
                    .fetch_add(batch.lines, Ordering::Relaxed);
            }
        }
        give_back(batch);
    }
}

/// Gives the memory of what was written to the worker that wrote it.
fn give_back(batch: Batch) {
    // Lines that are longer than any good one are not kept room for.
    if let Some(spent) = batch.spent
        && batch.bytes.len() <= 2 * BATCH_ROOM
    {
        // A worker that has enough of it, or is gone, does not want it.
        drop(spent.try_send(batch.bytes));
    }
}

struct Writer {
    /// None: standard output.
    path: Option<PathBuf>,
    file: Option<File>,
    /// The last line was cut.
    torn: bool,
    failing: bool,
}

impl Writer {
    fn prepare(&mut self) -> io::Result<()> {
        if let (Some(path), None) = (&self.path, &self.file) {
            self.file = Some(open(path)?);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.prepare()?;
        let mut stdout;
        let sink: &mut dyn Write = match &mut self.file {
            Some(file) => file,
            None => {
                stdout = io::stdout().lock();
                &mut stdout
            }
        };
        let torn = std::mem::replace(&mut self.torn, true);
        if torn {
            sink.write_all(b"\n")?;
        }
        let written = sink.write_all(bytes).and_then(|()| sink.flush());
        self.torn = written.is_err();
        if written.is_err() {
            // A pipe whose reader is gone is waited for again.
            self.file = None;
        }
        written
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|data| data.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BATCH, Counts, LogHandle};

    #[test]
    fn lines_are_lost_only_when_the_queue_and_the_room_of_their_worker_are_full() {
        let counts = Arc::new(Counts::default());
        let (queue, batches) = std::sync::mpsc::sync_channel(1);
        let handle = LogHandle {
            queue,
            reopen: Arc::default(),
            counts: Arc::clone(&counts),
        };
        let mut side = handle.side();
        let mut add = |length: usize| {
            side.add_text(&vec![b'x'; length]);
            side.flush();
        };
        let lost = || counts.get()[1].1;
        // The first is in the queue, and the others wait for it to be taken.
        for _ in 0..100 {
            add(100);
        }
        assert_eq!(batches.try_recv().map(|batch| batch.lines), Ok(1));
        add(100);
        assert_eq!(lost(), 0);
        assert_eq!(batches.try_recv().map(|batch| batch.lines), Ok(100));
        for _ in 0..4 {
            add(BATCH / 2);
        }
        // One is in the queue, two were given up, and one waits.
        assert_eq!(lost(), 2);
        drop(side);
        assert_eq!(lost(), 3);
        assert_eq!(batches.try_recv().map(|batch| batch.lines), Ok(1));
    }

    #[test]
    fn lines_of_any_length_come_whole_and_in_their_order() {
        let name = format!("longshore-lines-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let counts = Arc::new(Counts::default());
        let (handle, thread) = LogHandle::start("log", Some(&path), &counts).expect("started");
        let mut side = handle.side();
        drop(handle);
        let mut expected = String::new();
        // Those around the end of a batch, one beyond all room, and more than one batch of short ones.
        let lengths = [
            0,
            1,
            BATCH - 3,
            1,
            3 * BATCH,
            7,
            BATCH / 2,
            BATCH / 2,
            BATCH / 4,
        ];
        for (number, length) in lengths
            .into_iter()
            .chain((0..4_000).map(|it| it % 300))
            .enumerate()
        {
            let line = format!("{number} {}\n", "x".repeat(length));
            side.add_text(line.as_bytes());
            expected.push_str(&line);
            if number % 1_000 == 0 {
                side.flush();
            }
        }
        // Memory that comes back has old lines in it.
        drop(side);
        thread.join().expect("it ends");
        let written = std::fs::read_to_string(&path).expect("there");
        std::fs::remove_file(&path).expect("removed");
        assert!(
            written == expected,
            "{} bytes, {}",
            written.len(),
            expected.len()
        );
        assert_eq!(counts.get()[0], ("written", 4_009));
    }
}
