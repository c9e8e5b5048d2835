//! `longshore demo`: ECS in a box, tasks on dynamic ports, and a balancer before them.

use std::error::Error;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use longshore::app::{Balancer, Options, StartError};
use longshore::control::view::{TargetView, TargetsView};
use longshore_config::Config;
use longshore_discovery::ecs::Aws;
use longshore_emulator::{Emulator, Host, HttpTasks, TaskDefinition};

use super::{block_on, duration, print_out, seed, start_log};
use longshore_compare::table;

/// The one host of the demo: an address of its own, so that its ports are its own.
const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How long the tasks may take to become healthy before the table is printed as it is.
const READY_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The port on 127.0.0.1 to serve at.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The number of tasks.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=200))]
    tasks: u16,
    /// End after that time, such as 10s. Without it Ctrl-C ends the demo.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    limit: Option<Duration>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let _last_lines = start_log("longshore=info");
    block_on(async {
        match show(arguments).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("longshore: {error}");
                if let Some(StartError::Bind { .. }) = error.downcast_ref() {
                    eprintln!("longshore: choose another port with --port");
                }
                ExitCode::FAILURE
            }
        }
    })
}

async fn show(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let tasks = usize::from(arguments.tasks);
    let emulator = Emulator::start(
        longshore_emulator::Options::default(),
        Arc::new(HttpTasks::new()),
    )
    .await?;
    emulator.create_cluster("demo");
    emulator.add_host("demo", Host::new(HOST, "eu-central-1a"));
    emulator.register_task_definition(TaskDefinition::bridge("web", 8080));
    emulator.create_service("demo", "web", "web", tasks)?;

    let options = Options {
        aws: Aws::Emulator {
            endpoint: emulator.endpoint_url(),
        },
        seed: seed(),
    };
    let balancer = Balancer::start(config(arguments.port)?, options).await?;
    let view = ready(&balancer, tasks).await?;
    print_out(&greeting(arguments.port, &balancer, &emulator, &view));

    let limit = async {
        match arguments.limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        () = limit => {}
        () = balancer.failed() => return Err(StartError::Gone.into()),
    }
    balancer.drain().await;
    emulator.shutdown().await;
    Ok(())
}

/// The demo's configuration, which a user could have written.
fn config(port: u16) -> Result<Config, Box<dyn Error>> {
    let text = format!(
        "listeners:
  - name: web
    address: 127.0.0.1:{port}
    default_action: [{{type: forward, target_group: web}}]
admin: {{address: 127.0.0.1:9901}}
runtime: {{drain_timeout: 1s}}
target_groups:
  - name: web
    discovery:
      ecs: {{cluster: demo, service: web, container_port: 8080, poll_interval: 500ms}}
    deregistration_delay: 10
    health_check: {{path: /health, interval: 2, timeout: 1, healthy_threshold: 2}}
"
    );
    let mut config = longshore_config::parse("demo", &text, &|_| None)?;
    if let Some(admin) = &mut config.admin {
        // Any free port: a file must name one, the demo must not fail for it.
        admin.address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    }
    Ok(config)
}

/// Waits until every task is a healthy target, or until that takes too long.
async fn ready(balancer: &Balancer, tasks: usize) -> Result<TargetsView, StartError> {
    let wait = async {
        loop {
            let view = balancer.targets().await?;
            let healthy = targets(&view)
                .filter(|target| target.state == "healthy")
                .count();
            if healthy >= tasks {
                return Ok(view);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(READY_LIMIT, wait).await {
        Ok(view) => view,
        Err(_) => balancer.targets().await,
    }
}

fn targets(view: &TargetsView) -> impl Iterator<Item = &TargetView> {
    view.target_groups.iter().flat_map(|group| &group.targets)
}

fn greeting(port: u16, balancer: &Balancer, emulator: &Emulator, view: &TargetsView) -> String {
    let mut out = format!(
        "\nLongshore serves http://127.0.0.1:{port}/ from one ECS service, whose tasks sit on dynamic\n\
         ports of one host. They were found through the AWS SDK, at an emulator in this process.\n\n"
    );
    out.push_str(&rows(view));
    let ecs = emulator.address();
    let admin = balancer
        .admin_address()
        .map_or_else(String::new, |address| address.to_string());
    // Writing to a String does not fail.
    write!(
        out,
        "\nTry in another terminal:\n\
         \n  Watch the spread\n    for i in $(seq 9); do curl -s http://127.0.0.1:{port}/ | head -1; done\n\
         \n  Stop a task and see its replacement take traffic\n    curl -s -X POST http://{ecs}/_emulator/tasks/any/stop\n\
         \n  Scale to ten tasks\n    curl -s -X POST 'http://{ecs}/_emulator/services/demo/web/scale?desired=10'\n\
         \nThe dashboard: http://{admin}/\nThe targets as JSON: curl -s http://{admin}/targets\nCtrl-C ends everything.\n\n"
    )
    .unwrap_or_default();
    out
}

/// The targets as a table.
fn rows(view: &TargetsView) -> String {
    let rows: Vec<Vec<String>> = targets(view)
        .map(|target| {
            let (host, port) = target
                .address
                .rsplit_once(':')
                .unwrap_or((&target.address, ""));
            let id = target.id.split('/').next().unwrap_or_default();
            vec![
                id.chars().take(12).collect(),
                target.instance.clone().unwrap_or_default(),
                host.to_owned(),
                port.to_owned(),
                target.zone.clone().unwrap_or_default(),
                target.state.to_owned(),
            ]
        })
        .collect();
    let head = ["TASK", "INSTANCE", "HOST", "PORT", "ZONE", "HEALTH"];
    table(&head, &rows, 2)
}
