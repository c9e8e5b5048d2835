//! The commands, a file each.

mod admin;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod events_policy;
pub(crate) mod explain;
pub(crate) mod health;
mod notify;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod targets;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use longshore::observe::actions;
use longshore::observe::console::{self, LastLines};
use longshore::observe::journal::Journal;
use rand::RngExt as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Prints the JSON Schema.
pub(crate) fn schema() -> ExitCode {
    print_out(&format!("{:#}\n", longshore_config::schema()))
}

/// Writes to standard output. A reader that has closed it (`longshore schema | head`) is no error.
pub(crate) fn print_out(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("longshore: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The application log, to standard error, and its latest events for operators. `RUST_LOG`
/// overrides the level of the former. What comes back waits for the last lines when dropped.
#[must_use]
pub(crate) fn start_log(level: &str) -> Option<LastLines> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let (filter, handle) = reload::Layer::new(filter);
    actions::set_level_by(move |text| {
        let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    });
    let (writer, last_lines) = match console::start() {
        Ok((console, last_lines)) => (BoxMakeWriter::new(console), Some(last_lines)),
        // A system without a thread to spare: better a log that may be waited for than none.
        Err(_) => (BoxMakeWriter::new(std::io::stderr), None),
    };
    let text = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(text.with_filter(filter))
        .with(Journal.with_filter(filter_fn(Journal::wants)))
        .init();
    last_lines
}

/// A runtime for the command itself: signals and waiting.
pub(crate) fn block_on(future: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => {
            eprintln!("longshore: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A duration of a command line, written as in the file.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    longshore_config::parse_duration(text)
        .ok_or_else(|| "expected a duration such as 10s, 500ms or 5m".to_owned())
}

/// A seed for everything that is drawn at random.
#[allow(clippy::disallowed_methods, reason = "the one place that draws it")]
pub(crate) fn seed() -> u64 {
    rand::rng().random()
}
