//! A new connection to a target.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::endpoint::Loss;
use super::error::AttemptError;
use super::pool::{Connection, Local, Pool};
use crate::clock;
use crate::http1::stream::Stream;

/// Connects within a time limit. `trusting`: take the connection even if it is not sure that the
/// target is still the one at that address. `header`: what the connection is to begin with.
///
/// # Errors
/// Nothing of a request was sent in any of them.
pub(crate) async fn connect(
    pool: &Pool,
    local: &Local,
    limit: Duration,
    trusting: bool,
    header: Option<&[u8]>,
) -> Result<Connection, AttemptError> {
    let endpoint = local.endpoint();
    let connected = async {
        let mut stream = TcpStream::connect(endpoint.address).await?;
        if let Some(header) = header {
            stream.write_all(header).await?;
        }
        Ok::<_, io::Error>(stream)
    };
    let stream = match tokio::time::timeout(limit, connected).await {
        Err(_) => return Err(AttemptError::ConnectTimeout),
        Ok(Err(error)) => {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                endpoint.lost_connection(clock::now(), Loss::Sudden);
            }
            return Err(AttemptError::Connect(error));
        }
        Ok(Ok(stream)) => stream,
    };
    pool.adopt(local, Stream::Plain(stream), trusting)
}
