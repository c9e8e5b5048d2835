//! What a watch is for: the tasks of one service, or all tasks of a cluster that say by labels what
//! they want. Pure.

use std::sync::Arc;
use std::time::Instant;

use longshore_config::EcsDiscovery;

use super::api::{Definition, Host, Task};
use super::event::TaskEvent;
use super::known::State;
use super::port;
use super::resolve::{Unresolved, resolve};
use crate::naming::Naming;
use crate::target::Target;

/// A task, or a container of it, and the target that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The container. None: the task as a whole.
    pub container: Option<Arc<str>>,
    /// The target, or why it is none.
    pub target: Result<Target, Unresolved>,
}

/// What a definition is to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It would tell nothing that matters.
    Nothing,
    /// It would tell what a target speaks, which is a target without it. So hope is given up.
    Help,
    /// Without it the task is no target.
    Need,
}

/// What a watch is for.
pub trait Aim: Send + Sync {
    /// Where to look, and how often. Its service is empty if all tasks of the cluster are meant.
    fn place(&self) -> &EcsDiscovery;

    /// Whether an event is about a task that is meant.
    fn concerns(&self, event: &TaskEvent) -> bool;

    /// Whether the definition of a task is needed to judge it.
    fn definition(&self, task: &Task) -> Wish;

    /// What a task is. Nothing: nobody wants it.
    ///
    /// # Errors
    /// Why that cannot be told.
    fn parts(
        &self,
        task: &Task,
        host: &State<'_, Host>,
        definition: &State<'_, Definition>,
        confirmed_at: Instant,
    ) -> Result<Vec<Part>, Unresolved>;

    /// The service, if one is meant.
    fn service(&self) -> Option<&str> {
        let service = self.place().service.as_str();
        (!service.is_empty()).then_some(service)
    }
}

impl Aim for EcsDiscovery {
    fn place(&self) -> &EcsDiscovery {
        self
    }

    fn concerns(&self, event: &TaskEvent) -> bool {
        event.concerns(self)
    }

    fn definition(&self, task: &Task) -> Wish {
        match port::needs_definition(task, self) {
            true => Wish::Need,
            false => Wish::Nothing,
        }
    }

    fn parts(
        &self,
        task: &Task,
        host: &State<'_, Host>,
        definition: &State<'_, Definition>,
        confirmed_at: Instant,
    ) -> Result<Vec<Part>, Unresolved> {
        let target = resolve(task, host, definition, self, Naming::Keys, confirmed_at)?;
        Ok(vec![Part {
            container: None,
            target: Ok(target),
        }])
    }
}

/// A service of which is also to be learnt what its tasks speak (`appProtocol`).
#[derive(Debug, Clone)]
pub struct Speaking(pub EcsDiscovery);

impl Aim for Speaking {
    fn place(&self) -> &EcsDiscovery {
        &self.0
    }

    fn concerns(&self, event: &TaskEvent) -> bool {
        self.0.concerns(event)
    }

    fn definition(&self, task: &Task) -> Wish {
        match self.0.definition(task) {
            Wish::Nothing if task.desired_running && task.last_status == "RUNNING" => Wish::Help,
            wish => wish,
        }
    }

    fn parts(
        &self,
        task: &Task,
        host: &State<'_, Host>,
        definition: &State<'_, Definition>,
        confirmed_at: Instant,
    ) -> Result<Vec<Part>, Unresolved> {
        self.0.parts(task, host, definition, confirmed_at)
    }
}
