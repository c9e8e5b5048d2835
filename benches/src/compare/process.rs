//! Programs that are started here and ended here, by their id, whatever happens.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Context as _, Failure, Result, fail};
use crate::interrupt;
use crate::procfs;

/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);
/// How much of a log an error shows.
const TAIL_LINES: usize = 15;

/// A started program with everything it printed in a file.
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `program` on a core, or on some, as taskset takes them, its output going to `directory/NAME.log`.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        arguments: &[String],
        cores: impl fmt::Display,
        directory: &Path,
    ) -> Result<Self> {
        let log = directory.join(format!("{}.log", name.replace(['/', ' '], "-")));
        let output = File::create(&log).context(|| format!("cannot make {}", log.display()))?;
        let errors = output
            .try_clone()
            .context(|| format!("cannot share {}", log.display()))?;
        // setpriv: if this harness is killed outright and cannot clean up, the
        // kernel ends its children. Both wrappers exec, so the id is the program's.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &cores.to_string()])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // A Ctrl-C at the terminal is for the harness, which ends its children
            // in order.
            .process_group(0)
            .spawn()
            .context(|| format!("cannot start {name} (setpriv and taskset are needed)"))?;
        Ok(Self {
            name: name.into(),
            child,
            log,
        })
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that it prints to.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// What it printed.
    pub(crate) fn output(&self) -> Result<String> {
        let bytes =
            fs::read(&self.log).context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An error about this program that ends with the tail of its log.
    pub(crate) fn failure(&self, why: &str) -> Failure {
        let output = self.output().unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        let tail = if tail.is_empty() { "(nothing)" } else { &tail };
        Failure(format!("{}: {why}; it printed:\n    {tail}", self.name))
    }

    /// The exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait();
        status.context(|| format!("cannot wait for {}", self.name))
    }

    /// Fails when a program that should be there has ended.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        match self.ended()? {
            Some(status) => Err(self.failure(&format!("ended early ({status})"))),
            None => Ok(()),
        }
    }

    /// Waits for the end, calling `look` on the way, and returns what was printed.
    pub(crate) fn finish(
        &mut self,
        limit: Duration,
        look: &mut dyn FnMut(Duration) -> Result<()>,
    ) -> Result<String> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                if status.success() {
                    return self.output();
                }
                return Err(self.failure(&format!("failed ({status})")));
            }
            if start.elapsed() > limit {
                return Err(self.failure(&format!("still runs after {limit:?}")));
            }
            look(start.elapsed())?;
            interrupt::pause(LOOK)?;
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        send(self.id(), signal).context(|| format!("cannot signal {}", self.name))
    }

    /// Waits until it has ended, at most for `limit`.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> io::Result<bool> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > limit {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
        Ok(true)
    }

    fn stop(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        send(self.id(), Signal::TERM)?;
        if self.wait_for_end(GRACE)? {
            return Ok(());
        }
        // A master killed outright leaves its workers behind, so they are looked
        // up while it can still be found as their parent.
        for id in procfs::tree(self.id()) {
            send(id, Signal::KILL)?;
        }
        self.child.wait().map(|_| ())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!(
                "compare: {} (process {}) could not be ended: {error}",
                self.name,
                self.id()
            );
        }
    }
}

/// Sends a signal to one process; one that is gone already is what was wanted.
fn send(id: u32, signal: Signal) -> io::Result<()> {
    let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
        return Err(io::Error::other(format!("{id} is no process id")));
    };
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A program that is built with this one.
pub(crate) fn beside(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context(|| "where is this program?".into())?;
    Ok(own.with_file_name(program))
}

/// Where a program is: PATH, then the places for system programs that a user's
/// PATH often leaves out.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(
        ["/usr/local/sbin", "/usr/sbin"]
            .into_iter()
            .map(PathBuf::from),
    );
    for place in places {
        let candidate = place.join(program);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    fail(format!(
        "{program} is not installed (benches/compare installs it where apt-get and pip may be used)"
    ))
}
