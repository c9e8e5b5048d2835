//! Standard error for the application log, without waiting for it: a terminal or a pipe that nobody
//! reads costs lines, which are counted, and never stops a worker or the control task.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for the writer, at the most.
const QUEUE_MAX: usize = 1024;

/// How long the last lines may take at the end of the process, and between two tries to say so.
const LAST_LINES: Duration = Duration::from_millis(500);
const TRY: Duration = Duration::from_millis(5);

static LOST: AtomicU64 = AtomicU64::new(0);
static CONSOLE: OnceLock<Console> = OnceLock::new();

enum Message {
    Line(Vec<u8>),
    /// Tells that all lines before it are written.
    Flush(SyncSender<()>),
}

/// The way to the thread that writes.
#[derive(Debug, Clone)]
pub struct Console(SyncSender<Message>);

/// Waits for the last lines when dropped, but not for long.
#[derive(Debug)]
pub struct LastLines(());

/// A line on its way.
#[derive(Debug)]
pub struct Line<'c>(&'c Console);

/// Lines that were lost because nobody read the ones before.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Starts the thread that writes. Once in a process; a second time the first one stays.
///
/// # Errors
/// If the thread cannot be started.
pub fn start() -> io::Result<(Console, LastLines)> {
    let (queue, lines) = sync_channel(QUEUE_MAX);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_all(&lines, &mut io::stderr()))?;
    let console = CONSOLE.get_or_init(|| Console(queue));
    Ok((console.clone(), LastLines(())))
}

/// Writes a line that is no part of the log.
pub fn say(line: &str) {
    let bytes = format!("{line}\n").into_bytes();
    match CONSOLE.get() {
        Some(console) => console.put(bytes),
        // Before there is a log, nothing waits either.
        None => eprintln!("{line}"),
    }
}

fn write_all(lines: &Receiver<Message>, out: &mut impl Write) {
    while let Ok(message) = lines.recv() {
        match message {
            Message::Line(bytes) => {
                // A line that cannot be written has no other place to go.
                if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Whoever is gone does not wait any more.
            Message::Flush(reply) => reply.send(()).unwrap_or_default(),
        }
    }
}

impl Console {
    fn put(&self, bytes: Vec<u8>) {
        if self.0.try_send(Message::Line(bytes)).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, limit: Duration) {
        let (reply, written) = sync_channel(1);
        let mut left = limit;
        while self.0.try_send(Message::Flush(reply.clone())).is_err() {
            if left.is_zero() {
                return;
            }
            std::thread::sleep(TRY);
            left = left.saturating_sub(TRY);
        }
        // The time being over is an end like another.
        written.recv_timeout(left).unwrap_or_default();
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        if let Some(console) = CONSOLE.get() {
            console.flush(LAST_LINES);
        }
    }
}

impl<'c> MakeWriter<'c> for Console {
    type Writer = Line<'c>;

    fn make_writer(&'c self) -> Line<'c> {
        Line(self)
    }
}

impl Write for Line<'_> {
    /// The log writes a line at a time.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use tracing_subscriber::fmt::MakeWriter as _;

    use super::{Console, lost, write_all};

    #[test]
    fn lines_beyond_the_bound_are_lost_and_counted_and_nobody_waits() {
        let (queue, lines) = sync_channel(2);
        let console = Console(queue);
        let before = lost();
        for number in 0..5 {
            writeln!(console.make_writer(), "line {number}").expect("nobody waits");
        }
        // Pieces of one line count one by one here; the log gives it as one.
        assert!(lost() >= before + 3);
        console.flush(Duration::from_millis(10));
        let mut out = Vec::new();
        drop(console);
        write_all(&lines, &mut out);
        assert!(out.starts_with(b"line"), "{out:?}");
    }
}
