//! What the world says about targets: fixed lists, files, Consul, DNS, Docker and Amazon ECS.
//!
//! A source sends whole sets, or nothing (see `README.md` beside this crate for the rules). This
//! crate knows nothing of the proxy. Each client library is used in one place: the AWS SDK in
//! [`ecs`]'s `sdk`, hickory in [`dns`]'s `resolver`, bollard in [`docker`]'s `engine`.

pub mod backoff;
mod clock;
pub mod consul;
pub mod dns;
pub mod docker;
pub mod ecs;
mod element;
pub mod file;
mod first;
mod fixed;
pub mod naming;
mod target;

pub use fixed::fixed_targets;
pub use target::{Claim, Problem, Target, TargetKey, Update};
