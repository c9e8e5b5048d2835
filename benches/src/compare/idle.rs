//! Memory for each idle connection: that of a proxy that was just started grows from some
//! connections to many more, each after a request.

use std::time::{Duration, Instant};

use crate::failure::Result;
use crate::interrupt;
use crate::load::Load;
use crate::process::{self, Running};
use crate::procfs;

/// Connections before the first look: what is there once for all is there then.
pub(crate) const BEFORE: usize = 500;
/// How long memory has to settle.
const SETTLE: Duration = Duration::from_millis(500);
const OPENING: Duration = Duration::from_secs(120);

/// Bytes of resident memory that each of `count` connections takes.
#[expect(
    clippy::cast_precision_loss,
    reason = "memory and connections are far below 2^52"
)]
pub(crate) fn bytes(root: u32, load: &Load<'_>, count: usize) -> Result<f64> {
    let first = Holder::start(load, "idle-before", BEFORE)?;
    let before = procfs::tree_resident_kib(root);
    let second = Holder::start(load, "idle", count)?;
    let after = procfs::tree_resident_kib(root);
    drop((first, second));
    Ok(after.saturating_sub(before) as f64 * 1024.0 / count as f64)
}

/// A program that holds connections, as long as this value lives.
struct Holder(#[expect(dead_code, reason = "it ends when dropped")] Running);

impl Holder {
    fn start(load: &Load<'_>, name: &str, count: usize) -> Result<Self> {
        let how = if load.row.frontend.is_secure() {
            "tls"
        } else {
            "plain"
        };
        let arguments = [
            load.target.to_string(),
            load.row.path(),
            load.row.body.to_string(),
            count.to_string(),
            how.to_owned(),
        ];
        let program = process::beside("idle")?;
        let mut holder = Running::start(name, &program, &arguments, load.core, load.directory)?;
        let begin = Instant::now();
        while !holder.output()?.contains("open ") {
            holder.expect_alive()?;
            if begin.elapsed() > OPENING {
                return Err(holder.failure("its connections are not open"));
            }
            interrupt::pause(Duration::from_millis(20))?;
        }
        interrupt::pause(SETTLE)?;
        Ok(Self(holder))
    }
}
