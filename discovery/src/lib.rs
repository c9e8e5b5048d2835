//! What the world says about targets: fixed lists, files, Consul and Amazon ECS.
//!
//! A source sends whole sets, or nothing (see `README.md` beside this crate for the rules). This
//! crate knows nothing of the proxy, and only [`ecs`]'s `sdk` module imports the AWS SDK.

pub mod backoff;
mod clock;
pub mod consul;
pub mod ecs;
mod element;
pub mod file;
mod fixed;
mod target;

pub use fixed::fixed_targets;
pub use target::{Problem, Target, TargetKey, Update};
