//! From a choice to a target.

pub(crate) mod connect;
pub mod endpoint;
pub mod error;
pub mod identity;
pub(crate) mod lease;
pub mod picker;
pub(crate) mod pool;
pub mod stickiness;
pub mod target_group;
