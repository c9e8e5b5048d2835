//! A new connection to a target.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
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
            return opened;
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
    let connected = async {
        let mut stream = TcpStream::connect(endpoint.address).await?;
        if let Some(header) = header {
            stream.write_all(header).await?;
        }
        Ok::<_, io::Error>(stream)
    };
    let socket = match connected.await {
        Ok(socket) => socket,
        Err(error) => {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                endpoint.lost_connection(clock::now(), Loss::Sudden);
            }
            return Err(AttemptError::Connect(error));
        }
    };
    let Some(tls) = &endpoint.tls else {
        return pool.adopt(local, Stream::Plain(socket), trusting);
    };
    let begun = tls.connection(endpoint.address.ip());
    let stream = TlsStream::new(socket, begun.map_err(AttemptError::Tls)?);
    // Before a byte is sent: whoever has the port now need not know whom we look for.
    let mut connection = pool.adopt(local, Stream::Tls(Box::new(stream)), trusting)?;
    poll_fn(|cx| connection.wire.stream.poll_handshake(cx))
        .await
        .map_err(AttemptError::Tls)?;
    Ok(connection)
}
