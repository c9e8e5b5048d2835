//! What the world says about targets: fixed lists, files, Consul, DNS and Amazon ECS.
//!
//! A source sends whole sets, or nothing (see `README.md` beside this crate for the rules). This
//! crate knows nothing of the proxy, only [`ecs`]'s `sdk` module imports the AWS SDK, and only
//! [`dns`]'s `resolver` module the resolver library.

pub mod backoff;
mod clock;
pub mod consul;
pub mod dns;
pub mod ecs;
mod element;
pub mod file;
mod fixed;
mod target;

pub use fixed::fixed_targets;
pub use target::{Problem, Target, TargetKey, Update};
