//! A scripted ECS with a balancer before it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_discovery::ecs::Aws;
use longshore_emulator::{Emulator, Host, HttpTasks, Options, TaskDefinition, TaskView};

use crate::balancer::{self, Running};

/// An emulator with one cluster, `prod`, and one host.
pub struct Cluster {
    /// The ECS and EC2 endpoint.
    pub ecs: Emulator,
    /// The processes of its tasks.
    pub tasks: HttpTasks,
}

impl Cluster {
    /// Starts an emulator; its tasks start and stop without delay.
    pub async fn start() -> Self {
        Self::start_with(Options {
            start_delay: Duration::ZERO,
            stop_timeout: Duration::from_secs(5),
            ..Options::default()
        })
        .await
    }

    /// The same, with delays as they are given.
    pub async fn start_with(options: Options) -> Self {
        let tasks = HttpTasks::new();
        let ecs = Emulator::start(options, Arc::new(tasks.clone()))
            .await
            .expect("the emulator starts");
        ecs.create_cluster("prod");
        ecs.add_host("prod", Host::new(ecs.spare_address(), "eu-central-1a"));
        Self { ecs, tasks }
    }

    /// Creates a service of bridge tasks with a dynamic port each, and waits until it serves.
    pub async fn service(&self, name: &str, count: usize) {
        self.ecs
            .register_task_definition(TaskDefinition::bridge(name, 8080));
        self.ecs
            .create_service("prod", name, name, count)
            .expect("created");
        self.serving(name, count).await;
    }

    /// Waits until a service has that many serving tasks.
    pub async fn serving(&self, service: &str, count: usize) -> Vec<TaskView> {
        let what = format!("{count} tasks of {service} serve");
        crate::eventually(&what, async || {
            let tasks = self.tasks_of(service);
            (tasks.len() == count).then_some(tasks)
        })
        .await
    }

    /// The serving tasks of a service.
    #[must_use]
    pub fn tasks_of(&self, service: &str) -> Vec<TaskView> {
        let tasks = self.ecs.tasks().into_iter();
        tasks
            .filter(|task| task.service == service && task.is_serving() && task.alive)
            .collect()
    }

    /// How often operations of the API were called, in sum.
    #[must_use]
    pub fn calls(&self, operations: &[&str]) -> u64 {
        let calls = self.ecs.calls();
        let count = |operation: &&str| calls.get(*operation).copied().unwrap_or_default();
        operations.iter().map(count).sum()
    }

    /// A balancer with a listener and a group for each service, in the same order.
    pub async fn balance(&self, services: &[&str]) -> Running {
        self.balance_with(
            services,
            "health_check: {path: /health, interval: 1, timeout: 1}",
        )
        .await
    }

    /// The same, with more keys for each group, one a line.
    pub async fn balance_with(&self, services: &[&str], group: &str) -> Running {
        self.balance_on("", services, group).await
    }

    /// The same, with more keys of the file.
    pub async fn balance_on(&self, top: &str, services: &[&str], group: &str) -> Running {
        let mut text = format!("{top}listeners:\n");
        for (index, name) in services.iter().enumerate() {
            text.push_str(&format!(
                "  - {{name: {name}, address: '127.0.0.1:{}', default_action: [{{type: forward, target_group: {name}}}]}}\n",
                index + 1
            ));
        }
        text.push_str("target_groups:\n");
        for name in services {
            text.push_str(&format!(
                "  - name: {name}\n    discovery: {{ecs: {{cluster: prod, service: {name}, poll_interval: 1s}}}}\n"
            ));
            for line in group.lines() {
                text.push_str(&format!("    {line}\n"));
            }
        }
        let aws = Aws::Emulator {
            endpoint: self.ecs.endpoint_url(),
        };
        balancer::start_with(&text, aws).await
    }
}

/// The address of a service's listener.
#[must_use]
pub fn listener(balancer: &Running, service: &str) -> SocketAddr {
    let addresses = balancer.balancer.addresses();
    let found = addresses.iter().find(|(name, _)| name == service);
    found.unwrap_or_else(|| panic!("no listener {service}")).1
}
