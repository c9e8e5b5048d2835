//! Peers that nobody here wrote: programs in Python and others, with the libraries that `tests/run`
//! installs.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// The Python that has them. None where somebody decided to go without; `library` is what the
/// caller wants of it.
///
/// # Panics
/// If `LONGSHORE_DNS` is not set, unless `LONGSHORE_SKIP_MOTO=1` is.
#[must_use]
pub fn python(library: &str) -> Option<OsString> {
    let python = std::env::var_os("LONGSHORE_DNS");
    if python.is_none() {
        let skip = std::env::var_os("LONGSHORE_SKIP_MOTO").is_some_and(|value| value == "1");
        assert!(
            skip,
            "LONGSHORE_DNS does not name a Python with {library}. Use tests/run, which installs \
             one, or set LONGSHORE_SKIP_MOTO=1 to go without"
        );
        // Past the test harness, which swallows what passing tests print.
        let note = format!("skipped: {library} for Python because LONGSHORE_SKIP_MOTO=1\n");
        drop(std::io::stderr().write_all(note.as_bytes()));
    }
    python
}

/// A process of one of the programs, and what it says. It ends with this value.
pub struct Peer {
    /// The process.
    pub process: Child,
    says: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a program of this folder. None as with [`python`].
    #[must_use]
    pub fn start(program: &str, library: &str, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(python(library)?);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(program));
        command.args(arguments);
        Some(Self::of(&mut command))
    }

    /// Starts any program.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let mut process = command
            // A server ends with its input, and so with the test, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let says = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, says }
    }

    /// The next line that it says; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("text");
        line.trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for, so that none is left.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
