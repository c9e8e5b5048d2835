//! How far a run is, on a terminal. Where standard error is none, nothing is shown.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock;
use crate::text::span;

/// How often the line is written anew.
const PERIOD: Duration = Duration::from_millis(200);
const WIDTH: usize = 24;

/// Where a run is.
#[derive(Debug)]
struct State {
    label: String,
    /// Time of the turns that are over, of all turns, and of the one that is on.
    done: Duration,
    whole: Duration,
    turn: Duration,
    began: Instant,
}

/// The line. It is removed when dropped.
pub(crate) struct Progress {
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn start() -> Self {
        let state = State {
            label: String::new(),
            done: Duration::ZERO,
            whole: Duration::ZERO,
            turn: Duration::ZERO,
            began: clock::now(),
        };
        let state = Arc::new(Mutex::new(state));
        let over = Arc::new(AtomicBool::new(false));
        let writer = std::io::stderr().is_terminal().then(|| {
            let (state, over) = (Arc::clone(&state), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let text = {
                        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                        line(&state, clock::now())
                    };
                    write(&format!("\r{text}\x1b[K"));
                    std::thread::sleep(PERIOD);
                }
                write("\r\x1b[K");
            })
        });
        Self {
            state,
            over,
            writer,
        }
    }

    /// Another part of the run begins, whose turns take so long together.
    pub(crate) fn begin(&self, whole: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.done, state.turn, state.whole) = (Duration::ZERO, Duration::ZERO, whole);
    }

    /// A turn begins.
    pub(crate) fn turn(&self, label: String, takes: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.label = label;
        let over = state.turn;
        state.done += over;
        state.turn = takes;
        state.began = clock::now();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            // It does not panic; and if it did, there would be nobody to tell.
            writer.join().unwrap_or_default();
        }
    }
}

/// A terminal that is gone is no error of the measurement.
fn write(text: &str) {
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes()).unwrap_or_default();
    out.flush().unwrap_or_default();
}

fn line(state: &State, now: Instant) -> String {
    let passed = now.saturating_duration_since(state.began).min(state.turn);
    let done = state.done + passed;
    let part = match state.whole.is_zero() {
        true => 0.0,
        false => (done.as_secs_f64() / state.whole.as_secs_f64()).min(1.0),
    };
    let full = (part * WIDTH as f64) as usize;
    let left = Duration::from_secs(state.whole.saturating_sub(done).as_secs());
    format!(
        "[{}{}] {:3.0} %  {}  {} left",
        "#".repeat(full),
        "-".repeat(WIDTH - full),
        part * 100.0,
        state.label,
        span(left),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_is_done_and_what_is_left() {
        let began = clock::now();
        let mut state = State {
            label: "round 2 of 4, B".to_owned(),
            done: Duration::from_secs(20),
            whole: Duration::from_secs(100),
            turn: Duration::from_secs(10),
            began,
        };
        let half = line(&state, began + Duration::from_secs(5));
        assert_eq!(
            half,
            "[######------------------]  25 %  round 2 of 4, B  1m 15s left"
        );
        // A turn that takes longer than it should does not run ahead.
        let late = line(&state, began + Duration::from_secs(99));
        assert!(late.contains(" 30 %"), "{late}");
        state.whole = Duration::ZERO;
        assert!(line(&state, began).contains("0 %"));
    }
}
