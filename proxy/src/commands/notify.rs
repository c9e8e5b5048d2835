//! Tells systemd what the process is at, if it was started as a service that is to say so
//! (sd_notify(3), `Type=notify`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Requests are accepted.
pub(crate) const READY: &str = "READY=1\nSTATUS=serving";
/// The file is read again. Ends with [`READY`].
pub(crate) const RELOADING: &str = "RELOADING=1\nSTATUS=reloading";
/// Requests in flight finish, then the process ends.
pub(crate) const STOPPING: &str = "STOPPING=1\nSTATUS=draining";

/// The socket at which the service manager listens.
pub(crate) struct Manager(Option<OsString>);

impl Manager {
    /// As the environment of the process says.
    pub(crate) fn new() -> Self {
        Self(std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()))
    }

    /// Tells it. A manager that cannot be told is logged and no reason to fail.
    pub(crate) fn tell(&self, state: &str) {
        let Some(name) = &self.0 else { return };
        if let Err(error) = send(name, state) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // The manager may be slow; nobody waits for it.
    socket.set_nonblocking(true)?;
    let address = match name.as_bytes() {
        // A name that begins with @ is in the abstract namespace, where that byte is a zero.
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}
