//! Task sets: the tasks of services whose deployments are somebody else's work, CodeDeploy's or
//! the user's.
//!
//! Each set has its own task definition and a share of the desired count. One of them is PRIMARY
//! and serves production; the others are ACTIVE, or DRAINING once they are deleted. Which one is
//! PRIMARY changes nothing else: the tasks of all sets run on. A task names its set in
//! `startedBy`.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::args::Args;
use crate::emulator::Emulator;
use crate::error::{ApiError, EmulatorError};
use crate::model::{DeploymentController, TaskStatus};
use crate::names;
use crate::render;
use crate::state::{Definition, Seq, Service, ServiceKey, SetStatus, TaskSet};
use crate::world::World;

const SCHEDULER: &str = "ServiceSchedulerInitiated";
const REASON: &str = "Scaling activity initiated by task set";

impl TaskSet {
    /// Its share of the desired count, rounded up.
    fn wanted(&self, desired: usize) -> usize {
        match self.status {
            SetStatus::Draining => 0,
            SetStatus::Primary | SetStatus::Active => {
                (desired * usize::from(self.percent)).div_ceil(100)
            }
        }
    }
}

impl World {
    /// Creates a service without tasks, whose task sets are still to come.
    pub(crate) fn create_set_service(
        &mut self,
        cluster: &str,
        name: &str,
        controller: DeploymentController,
        desired: usize,
        now: Instant,
    ) -> Result<(), EmulatorError> {
        let key = self.new_service_key(cluster, name)?;
        let service = Service {
            controller,
            desired,
            deployments: Vec::new(),
            sets: Vec::new(),
            live: Default::default(),
            created: now,
            failures: 0,
            not_before: None,
        };
        self.services.insert(key, service);
        self.touch();
        Ok(())
    }

    /// Creates an ACTIVE task set with so many hundredths of the desired count. Returns its id.
    pub(crate) fn create_task_set(
        &mut self,
        key: &ServiceKey,
        definition: Arc<Definition>,
        percent: u8,
        now: Instant,
    ) -> Result<String, EmulatorError> {
        let number = self.number();
        let Some(service) = self.services.get_mut(key) else {
            return Err(EmulatorError::NoTaskSets(key.name.clone()));
        };
        if service.controller == DeploymentController::Ecs {
            return Err(EmulatorError::NoTaskSets(key.name.clone()));
        }
        service.sets.push(TaskSet {
            number,
            definition,
            percent: percent.min(100),
            status: SetStatus::Active,
            created: now,
            updated: now,
        });
        self.dirty.insert(key.clone());
        self.touch();
        Ok(render::deployment_id(number))
    }

    /// Makes a set PRIMARY, and the one that was so ACTIVE.
    pub(crate) fn set_primary(
        &mut self,
        key: &ServiceKey,
        id: &str,
        now: Instant,
    ) -> Result<(), EmulatorError> {
        let chosen = self.task_set(key, id)?;
        let sets = self.services.get_mut(key).map(|service| &mut service.sets);
        for set in sets.into_iter().flatten() {
            let status = match set.number == chosen {
                true => SetStatus::Primary,
                false if set.status == SetStatus::Primary => SetStatus::Active,
                false => set.status,
            };
            if status != set.status {
                set.status = status;
                set.updated = now;
            }
        }
        self.touch();
        Ok(())
    }

    /// Deletes a set: it is DRAINING until its tasks have ended.
    pub(crate) fn delete_task_set(
        &mut self,
        key: &ServiceKey,
        id: &str,
        now: Instant,
    ) -> Result<(), EmulatorError> {
        let chosen = self.task_set(key, id)?;
        let sets = self.services.get_mut(key).map(|service| &mut service.sets);
        for set in sets.into_iter().flatten().filter(|s| s.number == chosen) {
            set.status = SetStatus::Draining;
            set.updated = now;
        }
        self.dirty.insert(key.clone());
        self.touch();
        Ok(())
    }

    fn task_set(&self, key: &ServiceKey, id: &str) -> Result<u64, EmulatorError> {
        // An ARN ends in the id, which has a slash of its own.
        let is = |set: &&TaskSet| id.ends_with(&render::deployment_id(set.number));
        let service = self.services.get(key);
        let found = service.and_then(|service| service.sets.iter().find(is));
        let number = found.map(|set| set.number);
        number.ok_or_else(|| EmulatorError::UnknownTaskSet(id.to_owned()))
    }

    /// Brings the sets of a service nearer to what they should be; see `World::reconcile`.
    pub(crate) fn reconcile_sets(&mut self, key: &ServiceKey, now: Instant) {
        let Some(service) = self.services.get(key) else {
            return;
        };
        let waiting = service.not_before.is_some_and(|until| now < until);
        let desired = service.desired;
        let sets = service.sets.iter();
        let sets: Vec<(u64, Arc<Definition>, usize)> = sets
            .map(|set| {
                let definition = Arc::clone(&set.definition);
                (set.number, definition, set.wanted(desired))
            })
            .collect();
        for (number, definition, wanted) in sets {
            let (running, starting) = self.of_set(key, number);
            let have = running.len() + starting.len();
            if !waiting {
                let missing = wanted.saturating_sub(have);
                self.place(key, number, &definition, missing, now);
            }
            let surplus = have.saturating_sub(wanted);
            for seq in starting.iter().rev().chain(&running).take(surplus) {
                self.stop(*seq, SCHEDULER, REASON, now);
            }
        }
        // A deleted set is gone with its last task.
        let ending: Vec<u64> = self
            .tasks
            .values()
            .filter(|task| task.service == *key && task.last != TaskStatus::Stopped)
            .map(|task| task.deployment)
            .collect();
        if let Some(service) = self.services.get_mut(key) {
            service
                .sets
                .retain(|set| set.status != SetStatus::Draining || ending.contains(&set.number));
        }
    }

    fn of_set(&self, key: &ServiceKey, number: u64) -> (Vec<Seq>, Vec<Seq>) {
        let live = self.services.get(key).map(|service| &service.live);
        let tasks = live.into_iter().flatten().filter_map(|s| self.tasks.get(s));
        tasks
            .filter(|task| task.deployment == number)
            .map(|task| task.seq)
            .partition(|seq| {
                let task = self.tasks.get(seq);
                task.is_some_and(|task| task.last == TaskStatus::Running)
            })
    }
}

/// The member `taskSets` of a service; newest first.
pub(crate) fn render_all(world: &World, key: &ServiceKey, service: &Service) -> Vec<Value> {
    let sets = service.sets.iter().rev();
    sets.map(|set| render_set(world, key, service, set))
        .collect()
}

fn render_set(world: &World, key: &ServiceKey, service: &Service, set: &TaskSet) -> Value {
    let (running, pending) = render::counts(world, service, Some(set.number));
    let id = render::deployment_id(set.number);
    let wanted = set.wanted(service.desired);
    let steady = running == wanted && pending == 0;
    json!({
        "taskSetArn": names::task_set(&world.options, &key.cluster, &key.name, &id),
        "id": id,
        "serviceArn": names::service(&world.options, &key.cluster, &key.name),
        "clusterArn": names::cluster(&world.options, &key.cluster),
        "status": set.status.wire(),
        "taskDefinition": set.definition.arn,
        "computedDesiredCount": wanted,
        "runningCount": running,
        "pendingCount": pending,
        "scale": { "value": f64::from(set.percent), "unit": "PERCENT" },
        "stabilityStatus": if steady { "STEADY_STATE" } else { "STABILIZING" },
        "createdAt": world.clock.seconds(set.created),
        "updatedAt": world.clock.seconds(set.updated),
        "loadBalancers": [],
        "serviceRegistries": [],
        "tags": [],
    })
}

fn answer(world: &World, key: &ServiceKey, id: &str) -> Result<Value, ApiError> {
    let number = world.task_set(key, id)?;
    let service = world.services.get(key);
    let set = service.and_then(|service| {
        let set = service.sets.iter().find(|set| set.number == number)?;
        Some(render_set(world, key, service, set))
    });
    Ok(json!({ "taskSet": set }))
}

fn key(args: &Args<'_>, world: &World) -> Result<ServiceKey, ApiError> {
    let cluster = args.cluster(world)?;
    Ok(world.service_key(cluster, args.needed("service")?)?)
}

/// CreateTaskSet.
pub(crate) fn create(args: &Args<'_>, world: &mut World, now: Instant) -> Result<Value, ApiError> {
    let key = key(args, world)?;
    let definition = world.definition(args.needed("taskDefinition")?)?;
    let scale = args.0.get("scale").and_then(|scale| scale.get("value"));
    let percent = scale.and_then(Value::as_f64).unwrap_or(100.0);
    if !(0.0..=100.0).contains(&percent) {
        return Err(ApiError::invalid("The scale must be from 0 to 100."));
    }
    let id = world.create_task_set(&key, definition, percent.ceil() as u8, now)?;
    answer(world, &key, &id)
}

/// UpdateServicePrimaryTaskSet.
pub(crate) fn primary(args: &Args<'_>, world: &mut World, now: Instant) -> Result<Value, ApiError> {
    let key = key(args, world)?;
    let id = args.needed("primaryTaskSet")?;
    world.set_primary(&key, id, now)?;
    answer(world, &key, id)
}

/// DeleteTaskSet. The PRIMARY one goes only by force.
pub(crate) fn delete(args: &Args<'_>, world: &mut World, now: Instant) -> Result<Value, ApiError> {
    let key = key(args, world)?;
    let id = args.needed("taskSet")?;
    let number = world.task_set(&key, id)?;
    let service = world.services.get(&key);
    let primary = service.is_some_and(|service| {
        let mut sets = service.sets.iter();
        sets.any(|set| set.number == number && set.status == SetStatus::Primary)
    });
    if primary && !args.flag("force")? {
        return Err(ApiError::invalid(
            "The PRIMARY task set is deleted only by force.",
        ));
    }
    world.delete_task_set(&key, id, now)?;
    answer(world, &key, id)
}

impl Emulator {
    /// Creates a service with the deployment controller CODE_DEPLOY or EXTERNAL. It has no tasks
    /// before [`Emulator::create_task_set`].
    pub fn create_set_service(
        &self,
        cluster: &str,
        service: &str,
        controller: DeploymentController,
        desired: usize,
    ) -> Result<(), EmulatorError> {
        self.shared
            .with(|world, now| world.create_set_service(cluster, service, controller, desired, now))
    }

    /// Creates an ACTIVE task set with so many hundredths of the desired count. Returns its id.
    pub fn create_task_set(
        &self,
        cluster: &str,
        service: &str,
        task_definition: &str,
        percent: u8,
    ) -> Result<String, EmulatorError> {
        self.shared.with(|world, now| {
            let key = world.service_key(cluster, service)?;
            let definition = world.definition(task_definition)?;
            world.create_task_set(&key, definition, percent, now)
        })
    }

    /// Makes a task set PRIMARY, and the one that was so ACTIVE. Their tasks run on.
    pub fn set_primary_task_set(
        &self,
        cluster: &str,
        service: &str,
        task_set: &str,
    ) -> Result<(), EmulatorError> {
        self.shared.with(|world, now| {
            let key = world.service_key(cluster, service)?;
            world.set_primary(&key, task_set, now)
        })
    }

    /// Deletes a task set, PRIMARY or not: it is DRAINING until its tasks have ended.
    pub fn delete_task_set(
        &self,
        cluster: &str,
        service: &str,
        task_set: &str,
    ) -> Result<(), EmulatorError> {
        self.shared.with(|world, now| {
            let key = world.service_key(cluster, service)?;
            world.delete_task_set(&key, task_set, now)
        })
    }
}
