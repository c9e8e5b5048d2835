//! The sockets of listeners and of the admin server.

use std::net::{SocketAddr, TcpListener};

use tokio::sync::oneshot;

use super::StartError;
use crate::serve::listener::{self, Bound};

/// A listener that is accepted on.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) name: String,
    /// As configured.
    pub(super) asked: SocketAddr,
    /// As bound: the port is a real one.
    pub(super) bound: SocketAddr,
    /// Each ends when a worker has closed its socket.
    pub(super) closed: Vec<oneshot::Receiver<()>>,
}

/// Takes the address of a listener.
pub(super) fn bind(
    listener: &longshore_config::Listener,
    workers: usize,
) -> Result<(Listening, Bound), StartError> {
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    let asked = listener.socket_address().unwrap_or(unspecified);
    let bound = listener::bind(asked, workers).map_err(|error| StartError::Bind {
        name: listener.name.clone(),
        address: asked,
        error,
    })?;
    let listening = Listening {
        name: listener.name.clone(),
        asked,
        bound: bound.address,
        closed: Vec::new(),
    };
    Ok((listening, bound))
}

/// Lets clients come.
pub(super) fn open(
    (listening, bound): (Listening, Bound),
) -> Result<(Listening, Vec<TcpListener>), StartError> {
    match bound.listen() {
        Ok(sockets) => Ok((listening, sockets)),
        Err(error) => Err(StartError::Bind {
            name: listening.name,
            address: listening.bound,
            error,
        }),
    }
}

/// Takes the address of the admin server, and lets clients come.
pub(super) fn bind_admin(admin: &longshore_config::Admin) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = TcpListener::bind(admin.address)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    bind().map_err(|error| StartError::Bind {
        name: "admin".to_owned(),
        address: admin.address,
        error,
    })
}
