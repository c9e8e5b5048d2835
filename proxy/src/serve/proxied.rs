//! Who the client of a connection is, where a proxy in front tells it.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::proxy_protocol::{BadHeader, Ends, Parsed, parse};

/// How long a PROXY header may take. It is the first thing that a proxy sends, without waiting for
/// its client.
const LIMIT: Duration = Duration::from_secs(5);

/// Why there is no PROXY header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHeader {
    #[error("{0}")]
    Bad(#[from] BadHeader),
    #[error("the connection ended: {0}")]
    Ended(#[from] io::Error),
    #[error("it did not come in {} s", LIMIT.as_secs())]
    TooLate,
}

/// Reads the header that a connection must begin with, and nothing that comes behind it. None if
/// the proxy speaks for itself.
///
/// # Errors
/// If there is none: such a connection must not be served, or its proxy would be taken for the
/// client.
pub(crate) async fn ends(stream: &mut TcpStream) -> Result<Option<Ends>, NoHeader> {
    let read = tokio::time::timeout(LIMIT, read(stream));
    read.await.unwrap_or(Err(NoHeader::TooLate))
}

async fn read(stream: &mut TcpStream) -> Result<Option<Ends>, NoHeader> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes)? {
            Parsed::Header { ends, .. } => return Ok(ends),
            Parsed::More(count) => {
                let before = bytes.len();
                bytes.resize(before + count, 0);
                stream.read_exact(&mut bytes[before..]).await?;
            }
        }
    }
}
