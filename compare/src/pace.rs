//! Lets requests go when they are due.
//!
//! A timer of the runtime counts in milliseconds, which is longer than many responses take. So a
//! thread of its own sleeps until the next request is due and adds a permit, for which idle
//! connections wait. Permits that nobody takes are the queue before the side: they need no memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::clock;
use crate::schedule::Schedule;

/// The longest sleep, so that Ctrl-C is noticed.
const NAP: Duration = Duration::from_millis(50);

/// Adds permits until all requests may go, or the run is stopped.
pub(crate) fn pace(begin: Instant, schedule: &Schedule, permits: &Semaphore, stop: &AtomicBool) {
    sharpen();
    let mut given = 0;
    while given < schedule.total && !stop.load(Ordering::Relaxed) {
        let passed = clock::now().saturating_duration_since(begin);
        let due = schedule.due_by(passed);
        if due > given {
            // What does not fit is given in the next turn of the loop.
            let more = usize::try_from(due - given)
                .unwrap_or(1)
                .min(Semaphore::MAX_PERMITS / 4);
            permits.add_permits(more);
            given += more as u64;
        }
        let next = begin + schedule.due(given);
        let left = next.saturating_duration_since(clock::now());
        if !left.is_zero() {
            std::thread::sleep(left.min(NAP));
        }
    }
}

/// Asks the kernel to end the sleeps of this thread at their time, and not up to 50 µs later. It
/// is as well if it does not.
fn sharpen() {
    let thread = std::fs::read_link("/proc/thread-self").ok();
    let number = thread.as_deref().and_then(|path| path.file_name());
    if let Some(number) = number {
        let path = std::path::Path::new("/proc")
            .join(number)
            .join("timerslack_ns");
        std::fs::write(path, "1").unwrap_or_default();
    }
}
