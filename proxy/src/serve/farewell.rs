//! How a client connection ends without taking back what was sent on it.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long a connection that is to end waits for a client that may still be sending: in all, and
/// for its next byte.
pub(super) const LINGER: Duration = Duration::from_secs(30);
pub(super) const LINGER_QUIET: Duration = Duration::from_secs(5);

/// From one look at what the kernel has left to the next.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the kernel has sent what it holds, at most [`LINGER`]: for a client that reads slowly
/// that may be megabytes. Whoever closes before that may lose them: to a reset, if the client sends
/// something more, and in a container to the end of the process, which ends its network too.
pub(super) async fn sent(is_sent: impl Fn() -> bool) {
    let all = async {
        while !is_sent() {
            sleep(LOOK).await;
        }
    };
    // The time being over is an end like another.
    timeout(LINGER, all).await.unwrap_or_default();
}
