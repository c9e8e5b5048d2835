//! Ctrl-C and SIGTERM become an error at the next wait, so that what was started
//! is ended on the way out as after any other error.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::{Context as _, Result, fail};

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Starts to listen for the signals that end a program.
pub(crate) fn install() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ASKED))
            .context(|| format!("cannot listen for signal {signal}"))?;
    }
    Ok(())
}

/// Whether the run was asked to end.
pub(crate) fn requested() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Sleeps, and fails when the run was asked to end.
pub(crate) fn pause(duration: Duration) -> Result<()> {
    std::thread::sleep(duration);
    if requested() {
        return fail("interrupted");
    }
    Ok(())
}
