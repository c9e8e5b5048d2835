//! An Amazon ECS, EC2 and Systems Manager endpoint inside a process, for the demo and the tests of Longshore.
//!
//! [`Emulator`] listens on a loopback port and speaks the wire protocols of these services well
//! enough for the AWS SDKs and the `aws` command. Behind them is a model of ECS: clusters,
//! hosts, task definitions, and services whose tasks come and go on dynamic ports. The tasks
//! are run by a [`TaskRuntime`]; [`HttpTasks`] is one whose tasks are HTTP servers.
//!
//! It is a model. Passing a test on it shows agreement with the documentation of ECS as its
//! authors read it, not with AWS. `README.md` says what is modelled and what is not.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::net::Ipv4Addr;
//! use std::sync::Arc;
//! use longshore_emulator::{Emulator, Host, HttpTasks, Options, TaskDefinition};
//!
//! let tasks = HttpTasks::new();
//! let ecs = Emulator::start(Options::default(), Arc::new(tasks.clone())).await?;
//! ecs.create_cluster("demo");
//! ecs.add_host("demo", Host::new(Ipv4Addr::new(127, 0, 0, 2), "eu-central-1a"));
//! ecs.register_task_definition(TaskDefinition::bridge("web", 8080));
//! ecs.create_service("demo", "web", "web", 3)?;
//! println!("aws --endpoint-url {} ecs list-tasks --cluster demo", ecs.endpoint_url());
//! # Ok(())
//! # }
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "the emulator is a part of the outside world, with a clock of its own"
)]

mod args;
mod bucket;
mod control;
mod ec2;
mod ecs;
mod emulator;
mod error;
mod events;
mod faults;
mod http_tasks;
mod launch;
mod life;
mod list;
mod model;
mod names;
mod options;
mod ports;
mod render;
mod render_definition;
mod runtime;
mod scheduler;
mod server;
mod shared;
mod sqs;
mod ssm;
mod state;
mod task_sets;
mod view;
mod world;

pub use emulator::Emulator;
pub use error::EmulatorError;
pub use events::EventOptions;
pub use faults::{Fault, Faults, Times};
pub use http_tasks::HttpTasks;
pub use model::{
    Addresses, Container, DeploymentController, Health, Host, HostKind, LaunchType, NetworkMode,
    PortMapping, Protocol, TaskDefinition, TaskStatus,
};
pub use options::Options;
pub use runtime::{BoxFuture, RunningTask, TaskPort, TaskRuntime, TaskStart};
pub use view::TaskView;
