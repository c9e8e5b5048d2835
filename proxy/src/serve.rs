//! From sockets to requests.

pub(crate) mod client;
mod connection;
pub(crate) mod crowd;
mod desks;
mod farewell;
mod http2;
pub(crate) mod listener;
mod proxied;
pub(crate) mod timers;
pub(crate) mod worker;

#[cfg(test)]
mod sizes_tests;
