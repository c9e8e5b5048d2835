//! From sockets to requests.

pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod timers;
pub(crate) mod worker;
