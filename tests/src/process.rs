//! The `longshore` command as a process of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use crate::DEADLINE;

/// The binary beside the test binary: `cargo test --workspace` does not build it by itself, the
/// test command does.
#[must_use]
pub fn binary() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test binary");
    path.pop();
    path.pop();
    path.push("longshore");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` first",
        path.display()
    );
    path
}

/// Runs a command to its end.
#[must_use]
pub fn output(arguments: &[&str]) -> Output {
    output_with(arguments, &[])
}

/// The same, with more environment variables.
#[must_use]
pub fn output_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(binary())
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("runs")
}

/// A file that is gone with the test.
pub struct TempFile(PathBuf);

impl TempFile {
    /// Writes a file with a name of its own.
    #[must_use]
    pub fn new(text: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "longshore-test-{}-{}.yaml",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    /// Replaces its content.
    pub fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("written");
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap_or_default();
    }
}

/// A directory for what is kept over a restart, gone with the test.
pub struct Kept(PathBuf);

impl Kept {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = format!("longshore-state-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// The keys of a file that say so.
    #[must_use]
    pub fn key(&self) -> String {
        format!("runtime: {{state_directory: '{}'}}\n", self.0.display())
    }

    /// Where a file of it is.
    #[must_use]
    pub fn record(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// A free port, which no other call in this process gets, and which the kernel gives to nobody.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in PORTS {
        let number = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        // Not where a run before this one began, whose connections may still be closing.
        let port = PORTS.start + (std::process::id() * 101 + number) % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("below 65,536");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// What [`free_port`] chooses from: below `net.ipv4.ip_local_port_range` as Linux has it. It may be
/// some time until whoever asked binds one, or it shall stay free, while tests beside this one have
/// the kernel choose theirs.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A child process, killed when dropped.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// A running `longshore`, killed when dropped.
pub struct Process {
    child: Killed,
    lines: Receiver<String>,
    /// What it has written to standard error so far.
    pub log: Vec<String>,
}

impl Process {
    /// Starts `longshore` with arguments.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts `longshore` with arguments and one more environment variable.
    #[must_use]
    pub fn start_with(name: &str, value: &std::ffi::OsStr, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).env(name, value);
        Self::spawn(command)
    }

    /// Starts `longshore` with arguments and at most that many open files.
    #[must_use]
    pub fn start_with_files(files: u32, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(script).arg(binary()).args(arguments);
        Self::spawn(command)
    }

    /// Starts a command that becomes `longshore`, or runs it.
    #[must_use]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let stderr = child.stderr.take().expect("piped");
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // A test that does not read all lines loses the last ones, not the process.
                if sender.try_send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child: Killed(child),
            lines,
            log: Vec::new(),
        }
    }

    /// Starts `longshore run` and waits until it listens; the address is that of the first line.
    #[must_use]
    pub fn run(config: &TempFile) -> (Self, SocketAddr) {
        let path = config.path().to_str().expect("text").to_owned();
        let mut process = Self::start(&["run", "-c", &path]);
        let line = process.wait_for_line("listening ");
        let address = line
            .rsplit(' ')
            .next()
            .and_then(|address| address.parse().ok());
        (process, address.expect("an address"))
    }

    /// Waits for a line with that text.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}):\n{}", self.log.join("\n")),
            }
        }
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.0.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .expect("kill runs");
        assert!(status.success(), "the process takes {name}");
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.0.try_wait().expect("waited").is_some()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.0.try_wait().expect("waited") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end:\n{}", self.log.join("\n"));
    }

    /// Resident memory, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:") * 1024
    }

    /// The highest resident memory so far, in bytes.
    #[must_use]
    pub fn memory_peak(&self) -> u64 {
        self.status("VmHWM:") * 1024
    }

    /// Processor time used so far.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let stat = self.read("stat");
        let after_name = stat.rsplit(')').next().expect("a stat line");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: u64 = [11, 12]
            .iter()
            .map(|&at| fields[at].parse::<u64>().expect("ticks"))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn status(&self, field: &str) -> u64 {
        let status = self.read("status");
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .expect("the field");
        let value = line
            .split_whitespace()
            .nth(1)
            .and_then(|value| value.parse().ok());
        value.expect("a number")
    }

    fn read(&self, name: &str) -> String {
        let mut text = String::new();
        let path = format!("/proc/{}/{name}", self.child.0.id());
        let mut file = std::fs::File::open(path).expect("the process lives");
        file.read_to_string(&mut text).expect("read");
        text
    }
}
