//! The harness: a balancer in the process, scripted targets, raw clients, a scripted ECS, DNS servers.

#![allow(clippy::disallowed_methods, reason = "tests watch real time")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a harness that cannot go on fails its test, at the place where it happened"
)]

pub mod admin;
pub mod balancer;
pub mod certificates;
pub mod checked;
pub mod cluster;
pub mod dns;
pub mod docker;
pub mod fleet;
pub mod frames;
pub mod grpc;
pub mod http;
pub mod jar;
pub mod origin;
pub mod process;
pub mod python;
pub mod scrape;
pub mod secure;
pub mod services;
pub mod websocket;
pub mod wire;

use std::future::Future;
use std::time::Duration;

/// The longest that a condition is waited for. Generous, because the machine may be busy; a test
/// that passes does not wait that long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until a condition holds, or fails the test.
///
/// # Panics
/// When [`DEADLINE`] has passed.
#[track_caller]
pub fn eventually<'a, F, T>(what: &'a str, mut check: F) -> impl Future<Output = T> + 'a
where
    F: AsyncFnMut() -> Option<T> + 'a,
    T: 'a,
{
    let place = std::panic::Location::caller();
    async move {
        let wait = async {
            loop {
                if let Some(value) = check().await {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(value) => value,
            Err(_) => panic!("{place}: not within {DEADLINE:?}: {what}"),
        }
    }
}

/// Ends a future that hangs, and with it the test.
///
/// # Panics
/// When [`DEADLINE`] has passed.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}
