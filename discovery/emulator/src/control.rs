//! What people with nothing but curl can do, under `/_emulator/`.

use std::sync::Arc;
use std::time::Instant;

use http::Method;
use http::request::Parts;
use serde_json::{Value, json};

use crate::ec2::Form;
use crate::ecs;
use crate::error::EmulatorError;
use crate::server::{Answer, response};
use crate::shared::{Shared, lock};
use crate::view::{TaskView, view};
use crate::world::World;

/// The beginning of every path of this surface.
pub(crate) const PREFIX: &str = "/_emulator/";

const JSON: &str = "application/json";
const PATHS: [&str; 8] = [
    "GET /_emulator/tasks",
    "GET /_emulator/calls",
    "POST /_emulator/services/{cluster}/{service}/scale?desired=N",
    "POST /_emulator/services/{cluster}/{service}/deploy?definition=family[:revision]",
    "POST /_emulator/tasks/{task id or any}/stop[?service=NAME]",
    "POST /_emulator/tasks/{task id or any}/crash[?service=NAME]",
    "POST /_emulator/hosts/{ec2 or container instance id}/drain",
    "POST /_emulator/hosts/{ec2 or container instance id}/lose",
];

/// What went wrong: an HTTP status and the body.
struct Refusal(u16, Value);

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self(status, json!({ "error": message.into() }))
    }
}

impl From<EmulatorError> for Refusal {
    fn from(error: EmulatorError) -> Self {
        let status = match error {
            EmulatorError::NotRunning(_)
            | EmulatorError::HostLost(_)
            | EmulatorError::ServiceExists { .. } => 409,
            _ => 404,
        };
        Self::new(status, error.to_string())
    }
}

/// Answers one request.
pub(crate) fn answer(shared: &Arc<Shared>, request: &Parts) -> Answer {
    let (status, body) = match route(shared, request) {
        Ok(body) => (200, body),
        Err(Refusal(status, body)) => (status, body),
    };
    response(status, JSON, format!("{body:#}\n"))
}

fn route(shared: &Arc<Shared>, request: &Parts) -> Result<Value, Refusal> {
    let path = request.uri.path();
    let path = path.strip_prefix(PREFIX).unwrap_or_default();
    let parts: Vec<String> = path.split('/').map(crate::ec2::decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let query = Form::parse(request.uri.query().unwrap_or_default());
    let wanted = match parts.as_slice() {
        ["tasks" | "calls"] => &Method::GET,
        ["services", _, _, "scale" | "deploy"]
        | ["tasks", _, "stop" | "crash"]
        | ["hosts", _, "drain" | "lose"] => &Method::POST,
        _ => {
            let body = json!({ "error": "there is nothing here", "paths": PATHS });
            return Err(Refusal(404, body));
        }
    };
    if request.method != wanted {
        return Err(Refusal::new(405, format!("use {wanted} for this path")));
    }
    match parts.as_slice() {
        ["calls"] => {
            let calls = lock(&shared.calls);
            Ok(json!({ "calls": calls.all, "throttled": calls.throttled }))
        }
        ["services", cluster, service, "scale"] => {
            let text = query.get("desired").unwrap_or_default();
            let desired = ecs::desired_count(text.parse().ok()).map_err(|_| {
                Refusal::new(
                    400,
                    format!("desired must be a number from 0 to 5000, and is \"{text}\""),
                )
            })?;
            shared.with(|world, now| {
                let key = world.service_key(cluster, service)?;
                world.scale(&key, desired, now);
                Ok(json!({ "cluster": cluster, "service": service, "desired": desired }))
            })
        }
        ["services", cluster, service, "deploy"] => shared.with(|world, now| {
            let key = world.service_key(cluster, service)?;
            let definition = world.definition(query.get("definition").unwrap_or_default())?;
            let name = definition.name.clone();
            world.deploy(&key, definition, now);
            Ok(json!({ "cluster": cluster, "service": service, "definition": name }))
        }),
        ["tasks", task, action] => shared.with(|world, now| {
            let id = choose(world, task, query.get("service"))?;
            let seq = world.task(&id)?.seq;
            match *action {
                "crash" => world.crash(&id)?,
                _ => world.stop(seq, "UserInitiated", "Task stopped by curl", now),
            }
            Ok(json!({ "task": show(&view(world, world.task(&id)?), now) }))
        }),
        ["hosts", name, action] => shared.with(|world, now| {
            let host = world.host(name)?;
            match *action {
                "drain" => world.set_host_status(host, true)?,
                _ => world.lose_host(host, now),
            }
            Ok(json!({ "host": name, "done": action }))
        }),
        _ => shared.with(|world, now| {
            let tasks = world.tasks.values();
            let tasks: Vec<Value> = tasks.map(|task| show(&view(world, task), now)).collect();
            Ok(json!({ "tasks": tasks }))
        }),
    }
}

/// A task by its id, or the oldest that serves.
fn choose(world: &World, task: &str, service: Option<&str>) -> Result<String, Refusal> {
    let of_service = |name: &str| service.is_none_or(|wanted| wanted == name);
    if task != "any" {
        let found = world.task(task)?;
        if of_service(&found.service.name) {
            return Ok(found.id.clone());
        }
        let message = format!("the task is of the service \"{}\"", found.service.name);
        return Err(Refusal::new(404, message));
    }
    if let Some(service) = service
        && !world.services.keys().any(|key| key.name == service)
    {
        let message = format!("no service is called \"{service}\"");
        return Err(Refusal::new(404, message));
    }
    world
        .tasks
        .values()
        .find(|task| of_service(&task.service.name) && view(world, task).is_serving())
        .map(|task| task.id.clone())
        .ok_or_else(|| Refusal::new(409, "no task runs"))
}

fn show(task: &TaskView, now: Instant) -> Value {
    let seconds = |at: Option<Instant>| {
        at.map(|at| now.saturating_duration_since(at).as_millis() as f64 / 1000.0)
    };
    json!({
        "id": task.id,
        "arn": task.arn,
        "cluster": task.cluster,
        "service": task.service,
        "definition": task.definition,
        "container": task.container,
        "last_status": task.last_status.wire(),
        "desired_status": task.desired_status.wire(),
        "alive": task.alive,
        "addresses": task.addresses,
        "container_instance": task.container_instance,
        "ec2_instance_id": task.ec2_instance_id,
        "zone": task.zone,
        "version": task.version,
        "stop_code": task.stop_code,
        "seconds_since_running": seconds(task.running_at),
        "seconds_since_stop_requested": seconds(task.stop_requested_at),
        "seconds_since_stopped": seconds(task.stopped_at),
    })
}
