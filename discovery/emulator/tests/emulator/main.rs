//! The emulator through the real SDKs of AWS, and through plain HTTP.

#![allow(clippy::disallowed_methods, reason = "tests watch real time")]
mod lab;

mod control;
mod ec2;
mod ecs_lists;
mod ecs_tasks;
mod ecs_updates;
mod events;
mod faults;
mod http_tasks;
mod lifecycle;
mod modes;
mod scheduling;
mod ssm;
mod task_sets;
