//! From a choice to a target.

pub(crate) mod connect;
pub mod endpoint;
pub mod error;
pub(crate) mod lease;
pub mod picker;
pub(crate) mod pool;
pub mod target_group;
