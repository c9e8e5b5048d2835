//! `longshore targets`: what discovery sees now.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use longshore::app::{Balancer, Options, StartError};
use longshore::control::view::{GroupView, LabelsView, ProblemView, TargetsView};
use longshore_config::ProtocolVersion;
use longshore_discovery::ecs::Aws;

use super::{block_on, duration, print_out, seed, start_log};
use longshore_compare::table;

/// From one look at what is known to the next.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file. Its listeners are not opened.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON, in the form of the admin server's /targets.
    #[arg(long)]
    json: bool,
    /// How long to wait for sources and first health checks.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    wait: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let _last_lines = start_log("error");
    let mut config = match longshore_config::load(&arguments.config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    // The control half as it runs before requests, and nothing that accepts any.
    config.admin = None;
    config.runtime.state_directory = None;
    // A message reaches one reader only: those of the process that serves are not taken from it.
    for group in &mut config.target_groups {
        if let Some(ecs) = group.discovery.as_mut().and_then(|it| it.ecs.as_mut()) {
            ecs.events_queue = None;
        }
    }
    for block in &mut config.label_discovery {
        if let Some(ecs) = &mut block.ecs {
            ecs.events_queue = None;
        }
    }
    block_on(async {
        let options = Options {
            aws: Aws::Environment,
            seed: seed(),
        };
        let looked = async {
            let balancer = Balancer::start_to_look(config, options).await?;
            let view = look(&balancer, arguments.wait).await?;
            balancer.drain().await;
            Ok::<_, StartError>(view)
        };
        match looked.await {
            Ok(view) => {
                let groups = view.target_groups.iter().map(|group| group.discovery);
                let labels = view.label_discovery.iter().map(|labels| labels.discovery);
                let failed = groups.chain(labels).any(|discovery| discovery != "fresh");
                let text = if arguments.json {
                    serde_json::to_string_pretty(&view).map(|json| json + "\n")
                } else {
                    let groups = view.target_groups.iter().map(show);
                    let labels = view.label_discovery.iter().map(show_labels);
                    Ok(groups.chain(labels).collect())
                };
                match text {
                    Ok(text) if !failed => print_out(&text),
                    Ok(text) => {
                        print_out(&text);
                        ExitCode::FAILURE
                    }
                    Err(error) => {
                        eprintln!("longshore: {error}");
                        ExitCode::FAILURE
                    }
                }
            }
            Err(error) => {
                eprintln!("longshore: {error}");
                ExitCode::FAILURE
            }
        }
    })
}

/// What is known once every source has answered or failed and every target was checked, or after
/// the wait.
async fn look(balancer: &Balancer, wait: Duration) -> Result<TargetsView, StartError> {
    let known = async {
        loop {
            let view = balancer.targets().await?;
            let explored = view
                .label_discovery
                .iter()
                .all(|it| it.discovery != "waiting");
            let settled = explored
                && view.target_groups.iter().all(|group| {
                    group.discovery != "waiting"
                        && group.targets.iter().all(|target| target.state != "initial")
                });
            if settled {
                return Ok(view);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(wait, known).await {
        Ok(view) => view,
        Err(_) => balancer.targets().await,
    }
}

fn show(group: &GroupView) -> String {
    let spoken = match group.protocol_version_by {
        "targets" if group.protocol_version != ProtocolVersion::default().name() => {
            format!(", {}", group.protocol_version)
        }
        "some_targets" => format!(", {}, but not all targets say so", group.protocol_version),
        _ => String::new(),
    };
    let mut out = format!("{} ({}{spoken})", group.name, group.source);
    match &group.discovery_error {
        Some(error) => out.push_str(&format!(": {error}\n")),
        None if group.discovery != "fresh" => out.push_str(": no answer yet\n"),
        None => out.push_str(&format!(": {} targets\n", group.targets.len())),
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let rows: Vec<Vec<String>> = group
        .targets
        .iter()
        .map(|target| {
            vec![
                target.id.clone(),
                target.address.clone(),
                text(&target.instance),
                text(&target.zone),
                target.state.to_owned(),
                text(&target.description),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let head = ["TARGET", "ADDRESS", "INSTANCE", "ZONE", "HEALTH", "WHY"];
        out.push_str(&table(&head, &rows, 2));
    }
    out.push_str(&show_problems(&group.not_targets));
    out.push('\n');
    out
}

fn show_labels(labels: &LabelsView) -> String {
    let mut out = format!("labels of {} ({})", labels.name, labels.source);
    match &labels.discovery_error {
        Some(error) => out.push_str(&format!(": {error}\n")),
        None if labels.discovery != "fresh" => out.push_str(": no answer yet\n"),
        None => out.push_str(&format!(": {} containers\n", labels.containers)),
    }
    out.push_str(&show_problems(&labels.not_targets));
    out.push('\n');
    out
}

fn show_problems(problems: &[ProblemView]) -> String {
    let rows = problems.iter();
    let rows = rows.map(|problem| vec![problem.subject.clone(), problem.reason.clone()]);
    let rows: Vec<Vec<String>> = rows.collect();
    match rows.is_empty() {
        true => String::new(),
        false => table(&["NO TARGET", "WHY"], &rows, 2),
    }
}
