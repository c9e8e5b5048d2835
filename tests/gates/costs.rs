//! What the kernel and the processor have to do for a message: system calls and instructions of
//! `longshore` as a process, in figures that a busy machine does not change.
//!
//! The calls are counted by strace, the instructions by valgrind (callgrind). Without one of them its
//! test looks at nothing and says so; `tests/run` installs both.

#![allow(clippy::disallowed_methods, reason = "tests watch real time")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what cannot go on fails the test, at the place where it happened"
)]

mod calls;
mod instructions;
mod messages;

use std::process::{Command, Stdio};

/// Whether a command ends well here: it is installed, and allowed to do what it is for.
fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
