//! The operations of ECS, over JSON bodies.

use std::time::Instant;

use serde_json::{Value, json};

use crate::args::Args;
use crate::error::{ApiError, EmulatorError};
use crate::faults::TaskFaults;
use crate::list;
use crate::model::DeploymentController;
use crate::names;
use crate::options::ECS_BATCH;
use crate::render;
use crate::render_definition;
use crate::state::HostStatus;
use crate::task_sets;
use crate::world::World;

/// ECS's quota of tasks in one service.
const MOST_TASKS: u64 = 5000;

/// The page number that a request asks for.
pub(crate) fn page_number(operation: &str, body: &Value) -> u32 {
    list::page_number(operation, body.get("nextToken").and_then(Value::as_str))
}

/// Answers one request.
pub(crate) fn answer(
    operation: &str,
    body: &Value,
    world: &mut World,
    faults: &TaskFaults,
    now: Instant,
) -> Result<Value, ApiError> {
    let args = Args(body);
    match operation {
        "ListClusters" => list_clusters(&args, world),
        "DescribeClusters" => describe_clusters(&args, world),
        "ListServices" => list_services(&args, world),
        "DescribeServices" => describe_services(&args, world),
        "ListTasks" => list_tasks(&args, world, faults),
        "DescribeTasks" => describe_tasks(&args, world, faults, now),
        "ListContainerInstances" => list_container_instances(&args, world),
        "DescribeContainerInstances" => describe_container_instances(&args, world),
        "DescribeTaskDefinition" => describe_task_definition(&args, world),
        "StopTask" => stop_task(&args, world, now),
        "UpdateService" => update_service(&args, world, now),
        "CreateTaskSet" => task_sets::create(&args, world, now),
        "UpdateServicePrimaryTaskSet" => task_sets::primary(&args, world, now),
        "DeleteTaskSet" => task_sets::delete(&args, world, now),
        "UpdateContainerInstancesState" => update_container_instances(&args, world),
        _ => Err(ApiError::new(
            400,
            "UnknownOperationException",
            format!("The emulator does not know the operation {operation} of ECS."),
        )),
    }
}

fn pages(
    operation: &str,
    member: &str,
    args: &Args<'_>,
    world: &World,
    default: usize,
    arns: Vec<(String, String)>,
) -> Result<Value, ApiError> {
    let wanted = match args.number("maxResults")? {
        None => default,
        Some(n) => usize::try_from(n)
            .ok()
            .filter(|n| (1..=ECS_BATCH).contains(n))
            .ok_or_else(|| ApiError::invalid("maxResults must be from 1 to 100."))?,
    };
    let size = wanted.min(world.options.page_size);
    let (page, next) = list::page(operation, arns, size, args.text("nextToken")?)?;
    let mut answer = json!({ member: page });
    if let (Some(next), Some(members)) = (next, answer.as_object_mut()) {
        members.insert("nextToken".to_owned(), Value::String(next));
    }
    Ok(answer)
}

fn missing(arn: &str) -> Value {
    json!({ "arn": arn, "reason": "MISSING" })
}

fn list_clusters(args: &Args<'_>, world: &World) -> Result<Value, ApiError> {
    let names = world.clusters.iter();
    let arns = names
        .map(|name| (name.clone(), names::cluster(&world.options, name)))
        .collect();
    pages("ListClusters", "clusterArns", args, world, ECS_BATCH, arns)
}

fn describe_clusters(args: &Args<'_>, world: &World) -> Result<Value, ApiError> {
    let mut wanted = args.texts("clusters")?;
    if wanted.is_empty() {
        wanted.push("default");
    }
    if wanted.len() > ECS_BATCH {
        return Err(ApiError::invalid(
            "clusters cannot have more than 100 elements.",
        ));
    }
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in wanted {
        match world.cluster(name) {
            Ok(name) => clusters.push(render::cluster(world, name)),
            Err(_) => {
                let arn = names::cluster(&world.options, names::short(name));
                failures.push(missing(&arn));
            }
        }
    }
    Ok(json!({ "clusters": clusters, "failures": failures }))
}

fn list_services(args: &Args<'_>, world: &World) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?;
    let launch_type = args.text("launchType")?;
    let arns = world
        .services
        .iter()
        .filter(|(key, _)| key.cluster == cluster)
        .filter(|(_, service)| {
            let primary = service.deployments.last();
            let own = primary.map(|primary| primary.definition.spec.launch_type.wire());
            launch_type.is_none_or(|wanted| own == Some(wanted))
        })
        .map(|(key, _)| {
            let arn = names::service(&world.options, cluster, &key.name);
            (key.name.clone(), arn)
        })
        .collect();
    pages("ListServices", "serviceArns", args, world, 10, arns)
}

fn describe_services(args: &Args<'_>, world: &World) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?;
    let (mut services, mut failures) = (Vec::new(), Vec::new());
    for name in args.batch("services", 10)? {
        let key = world.service_key(cluster, name).ok();
        match key.and_then(|key| world.services.get_key_value(&key)) {
            Some((key, service)) => services.push(render::service(world, key, service)),
            None => {
                let arn = names::service(&world.options, cluster, names::short(name));
                failures.push(missing(&arn));
            }
        }
    }
    Ok(json!({ "services": services, "failures": failures }))
}

fn list_tasks(args: &Args<'_>, world: &World, faults: &TaskFaults) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?;
    let service = match args.text("serviceName")? {
        Some(name) => Some(world.service_key(cluster, name)?),
        None => None,
    };
    let host = match args.text("containerInstance")? {
        Some(name) => Some(world.host(name)?),
        None => None,
    };
    let family = args.text("family")?;
    let started_by = args.text("startedBy")?;
    if started_by.is_some() && (service.is_some() || host.is_some() || family.is_some()) {
        return Err(ApiError::invalid("startedBy must be the only filter."));
    }
    let launch_types = ["EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES"];
    let launch_type = args.one_of("launchType", &launch_types)?;
    let desired = args
        .one_of("desiredStatus", &["RUNNING", "PENDING", "STOPPED"])?
        .unwrap_or("RUNNING");
    let arns = world
        .tasks
        .values()
        .filter(|task| task.service.cluster == cluster && !faults.unlisted.contains(&task.id))
        .filter(|task| match desired {
            "RUNNING" => !task.stop,
            "STOPPED" => task.stop,
            // ECS never wishes a task to be PENDING.
            _ => false,
        })
        .filter(|task| service.as_ref().is_none_or(|key| task.service == *key))
        .filter(|task| host.is_none_or(|host| task.host == Some(host)))
        .filter(|task| family.is_none_or(|family| task.definition.spec.family == family))
        .filter(|task| {
            let own = task.definition.spec.launch_type.wire();
            launch_type.is_none_or(|wanted| own == wanted)
        })
        .filter(|task| started_by.is_none_or(|by| render::deployment_id(task.deployment) == by))
        .map(|task| (format!("{:020}", task.seq), task.arn.clone()))
        .collect();
    pages("ListTasks", "taskArns", args, world, ECS_BATCH, arns)
}

fn describe_tasks(
    args: &Args<'_>,
    world: &World,
    faults: &TaskFaults,
    now: Instant,
) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?;
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for (index, name) in args.batch("tasks", ECS_BATCH)?.into_iter().enumerate() {
        let found = world.task(name).ok().filter(|task| {
            let age = now.saturating_duration_since(task.created);
            task.service.cluster == cluster
                && !faults.missing.contains(&task.id)
                && age >= faults.younger_than
                && !(faults.half && index % 2 == 1)
        });
        match found {
            Some(task) => tasks.push(render::task(world, task)),
            None => {
                let arn = names::task(&world.options, cluster, names::short(name));
                failures.push(missing(&arn));
            }
        }
    }
    Ok(json!({ "tasks": tasks, "failures": failures }))
}

fn list_container_instances(args: &Args<'_>, world: &World) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?;
    let statuses = [
        "ACTIVE",
        "DRAINING",
        "REGISTERING",
        "DEREGISTERING",
        "REGISTRATION_FAILED",
    ];
    let status = args.one_of("status", &statuses)?;
    if args
        .text("filter")?
        .is_some_and(|filter| !filter.is_empty())
    {
        return Err(ApiError::invalid(
            "The emulator does not know the cluster query language.",
        ));
    }
    let arns = world
        .hosts
        .iter()
        .enumerate()
        .filter(|(_, host)| host.cluster == cluster && host.status != HostStatus::Inactive)
        .filter(|(_, host)| status.is_none_or(|wanted| host.status.wire() == wanted))
        .map(|(index, host)| (format!("{index:020}"), host.arn.clone()))
        .collect();
    let operation = "ListContainerInstances";
    pages(
        operation,
        "containerInstanceArns",
        args,
        world,
        ECS_BATCH,
        arns,
    )
}

/// Splits a batch into the hosts that the cluster has, and the failures.
fn hosts(world: &World, cluster: &str, wanted: Vec<&str>) -> (Vec<usize>, Vec<Value>) {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in wanted {
        let own = |index: &usize| {
            let host = world.hosts.get(*index);
            // Here, unlike in the Rust API, an EC2 id is not a name.
            host.is_some_and(|host| host.cluster == cluster && host.ec2_id != name)
        };
        match world.host(name).ok().filter(own) {
            Some(index) => found.push(index),
            None => {
                let short = names::short(name);
                let arn = names::container_instance(&world.options, cluster, short);
                failures.push(missing(&arn));
            }
        }
    }
    (found, failures)
}

fn render_hosts(world: &World, found: &[usize], failures: Vec<Value>) -> Value {
    let instances: Vec<Value> = found
        .iter()
        .filter_map(|index| Some((*index, world.hosts.get(*index)?)))
        .map(|(index, host)| render::container_instance(world, index, host))
        .collect();
    json!({ "containerInstances": instances, "failures": failures })
}

fn describe_container_instances(args: &Args<'_>, world: &World) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?;
    let wanted = args.batch("containerInstances", ECS_BATCH)?;
    let (found, failures) = hosts(world, cluster, wanted);
    Ok(render_hosts(world, &found, failures))
}

fn update_container_instances(args: &Args<'_>, world: &mut World) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?.to_owned();
    let status = args
        .one_of("status", &["ACTIVE", "DRAINING"])?
        .ok_or_else(|| ApiError::invalid("status must be given."))?;
    let wanted = args.batch("containerInstances", 10)?;
    let (mut found, mut failures) = hosts(world, &cluster, wanted);
    found.retain(|index| {
        let changed = world.set_host_status(*index, status == "DRAINING");
        if let Err(EmulatorError::HostLost(arn)) = &changed {
            failures.push(json!({ "arn": arn, "reason": "INACTIVE" }));
        }
        changed.is_ok()
    });
    Ok(render_hosts(world, &found, failures))
}

fn describe_task_definition(args: &Args<'_>, world: &World) -> Result<Value, ApiError> {
    let definition = world.definition(args.needed("taskDefinition")?)?;
    Ok(json!({
        "taskDefinition": render_definition::task_definition(world, &definition),
        "tags": [],
    }))
}

fn stop_task(args: &Args<'_>, world: &mut World, now: Instant) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?.to_owned();
    let reason = args.text("reason")?.unwrap_or("Task stopped by user");
    let found = world.task(args.needed("task")?);
    let seq = found
        .ok()
        .filter(|task| task.service.cluster == cluster)
        .map(|task| task.seq)
        .ok_or_else(|| ApiError::invalid("The referenced task was not found."))?;
    world.stop(seq, "UserInitiated", reason, now);
    let task = world.tasks.get(&seq);
    Ok(json!({ "task": task.map(|task| render::task(world, task)) }))
}

fn update_service(args: &Args<'_>, world: &mut World, now: Instant) -> Result<Value, ApiError> {
    let cluster = args.cluster(world)?;
    let key = world.service_key(cluster, args.needed("service")?)?;
    let desired = match args.number("desiredCount")? {
        None => None,
        Some(n) => Some(desired_count(u64::try_from(n).ok())?),
    };
    let named = match args.text("taskDefinition")? {
        Some(name) => Some(world.definition(name)?),
        None => None,
    };
    let force = args.flag("forceNewDeployment")?;
    let service = world.services.get(&key);
    let current = service.and_then(|service| service.deployments.last());
    let current = current.map(|primary| std::sync::Arc::clone(&primary.definition));
    // Naming the definition that is deployed already begins nothing.
    let rollout = match (named, current) {
        (Some(named), Some(current)) if named.arn == current.arn && !force => None,
        (Some(named), _) => Some(named),
        (None, current) => current.filter(|_| force),
    };
    let sets = service.is_some_and(|service| service.controller != DeploymentController::Ecs);
    if rollout.is_some() && sets {
        return Err(ApiError::invalid(
            "The task definition of a service with task sets is that of its sets.",
        ));
    }
    if let Some(desired) = desired {
        world.scale(&key, desired, now);
    }
    if let Some(definition) = rollout {
        world.deploy(&key, definition, now);
    }
    let service = world.services.get(&key);
    Ok(json!({ "service": service.map(|service| render::service(world, &key, service)) }))
}

/// Checks a desired count against ECS's quota.
pub(crate) fn desired_count(wanted: Option<u64>) -> Result<usize, ApiError> {
    wanted
        .filter(|n| *n <= MOST_TASKS)
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| ApiError::invalid("The desired count must be from 0 to 5000."))
}
