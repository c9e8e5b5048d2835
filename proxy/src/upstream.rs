//! From a choice to a target.

pub mod admission;
pub mod budget;
pub(crate) mod connect;
pub mod cursors;
pub mod endpoint;
pub mod error;
pub mod identity;
pub(crate) mod lease;
mod line_socket;
pub(crate) mod lines;
pub(crate) mod load;
pub mod maglev;
pub mod passive;
pub mod picker;
pub(crate) mod pool;
pub mod shares;
mod silence;
pub mod stickiness;
pub mod target_group;
pub(crate) mod trial;
