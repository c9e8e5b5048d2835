//! What the world says about targets: fixed lists, Amazon ECS and Docker.
//!
//! A source sends whole sets, or nothing (see `README.md` beside this crate for the rules). This
//! crate knows nothing of the proxy. Only [`ecs`]'s `sdk` module imports the AWS SDK, and only
//! [`docker`]'s `engine` module imports bollard.

pub mod backoff;
pub mod docker;
pub mod ecs;
mod fixed;
mod target;

pub use fixed::fixed_targets;
pub use target::{Problem, Target, TargetKey, Update};
