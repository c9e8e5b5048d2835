//! A new connection to a target.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::endpoint::Loss;
use super::error::AttemptError;
use super::lines::Lines;
use super::pool::{Connection, Local, Pool};
use crate::clock;
use crate::http1::stream::Stream;
use crate::tls::stream::TlsStream;

/// How often a connection that takes so long is given up if its target has left meanwhile. A task
/// with an address of its own takes that with it, so that nobody refuses; those that come soon,
/// which are nearly all, cost no more timers than without.
const RETIRED_LOOK: Duration = Duration::from_millis(250);

/// Connects within a time limit, which also holds for TLS and the beginning of HTTP/2. `trusting`:
/// take the connection even if it is not sure that the target is still the one at that address.
/// `header`: what the connection is to begin with. With HTTP/2 it is a stream, on a new connection
/// unless one has come to have room meanwhile.
///
/// # Errors
/// Nothing of a request was sent in any of them.
pub(crate) async fn connect(
    pool: &Pool,
    local: &Rc<Local>,
    limit: Duration,
    trusting: bool,
    header: Option<&[u8]>,
    now: impl Fn() -> u64,
) -> Result<Box<Connection>, AttemptError> {
    let opened = async {
        if local.endpoint().http2 {
            let connect = async || open(pool, local, trusting, header).await;
            Box::pin(Lines::open(local, now, connect)).await
        } else {
            open(pool, local, trusting, header).await
        }
    };
    let (mut opened, mut left) = (pin!(opened), limit);
    loop {
        let step = left.min(RETIRED_LOOK);
        if let Ok(opened) = tokio::time::timeout(step, &mut opened).await {
            // It may have left during a handshake, or while an HTTP/2 connection began.
            return match opened {
                Ok(_) if local.endpoint().is_retired() => Err(AttemptError::Doubtful),
                opened => opened,
            };
        }
        left = left.saturating_sub(step);
        if left.is_zero() || local.endpoint().is_retired() {
            return Err(AttemptError::ConnectTimeout);
        }
    }
}

async fn open(
    pool: &Pool,
    local: &Local,
    trusting: bool,
    header: Option<&[u8]>,
) -> Result<Box<Connection>, AttemptError> {
    let endpoint = local.endpoint();
    let socket = match TcpStream::connect(endpoint.address).await {
        Ok(socket) => socket,
        Err(error) => {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                endpoint.lost_connection(clock::now(), Loss::Sudden);
            }
            return Err(AttemptError::Connect(error));
        }
    };
    let stream = match &endpoint.tls {
        None => Stream::Plain(socket),
        Some(tls) => {
            let begun = tls.connection(endpoint.address.ip());
            let stream = TlsStream::new(socket, begun.map_err(AttemptError::Tls)?);
            Stream::Tls(Box::new(stream))
        }
    };
    // Before a byte is sent: whoever has the port now need not know whom we look for, nor for whom.
    let mut connection = pool.adopt(local, stream, trusting)?;
    if let Some(header) = header {
        begin(&connection, header).map_err(AttemptError::Connect)?;
    }
    if endpoint.tls.is_some() {
        poll_fn(|cx| connection.wire.stream.poll_handshake(cx))
            .await
            .map_err(AttemptError::Tls)?;
    }
    Ok(connection)
}

/// Sends what a connection that was just made begins with, below TLS. Nothing was sent on it, so
/// that there is room for all of it.
fn begin(connection: &Connection, header: &[u8]) -> io::Result<()> {
    let socket = connection.wire.stream.socket();
    let socket = socket.ok_or(io::ErrorKind::Unsupported)?;
    if socket.send(header)? < header.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}
