//! Events of ECS on their way: some are lost, some doubled, and they come in any order and late.

use std::time::{Duration, Instant};

use longshore_discovery::ecs::book::Told;
use longshore_discovery::ecs::event::TaskEvent;
use rand::RngExt as _;

use super::world::{World, id};

/// An event, and when it was so.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    event: TaskEvent,
    sent: Instant,
}

impl World {
    /// ECS tells of a task as it is now; of one that has just come up, also that it was on its way.
    pub(super) fn emit(&mut self, id: u32, came: bool) {
        let real = &self.tasks[&id];
        let service = ["a", "b"][real.service];
        let mut tasks = vec![real.description(id)];
        if came {
            let mut before = real.description(id);
            before.version -= 1;
            before.last_status = "PENDING".to_owned();
            before.started_at = None;
            before.containers.iter_mut().for_each(|container| {
                container.running = false;
                container.bindings.clear();
            });
            tasks.insert(0, before);
        }
        for mut task in tasks {
            task.service = Some(service.into());
            let mail = Mail {
                event: TaskEvent {
                    cluster: "arn:aws:ecs:r:1:cluster/c".into(),
                    at: 0,
                    tells_health: false,
                    task,
                },
                sent: self.now,
            };
            let copies = match self.rng.random_range(0..100) {
                0..15 => 0,
                15..35 => 2,
                _ => 1,
            };
            self.mail.extend(vec![mail; copies]);
        }
    }

    /// Some of the events arrive, in any order. Says what should not have come of it.
    pub(super) fn deliver(&mut self, chance: u32) -> Result<usize, String> {
        let count = self.rng.random_range(0..=self.mail.len().min(6));
        for _ in 0..count {
            let mail = self
                .mail
                .swap_remove(self.rng.random_range(0..self.mail.len()));
            let hosts_fail = self.is_throttled() || self.rng.random_range(0..100) < chance;
            self.receive(&mail, hosts_fail, chance)?;
        }
        Ok(count)
    }

    fn receive(&mut self, mail: &Mail, hosts_fail: bool, chance: u32) -> Result<(), String> {
        let task = id(&mail.event.task.arn);
        let services = [0, 1].map(|service| mail.event.concerns(&self.specs[service]));
        let service = match services {
            [true, false] => 0,
            [false, true] => 1,
            other => return Err(format!("an event concerns {other:?}")),
        };
        let before = self.candidates(service);
        let age = self.now - mail.sent;
        let seen_age = match u64::try_from(self.skew) {
            Ok(behind) => age.saturating_sub(Duration::from_millis(behind)),
            Err(_) => age + Duration::from_millis(self.skew.unsigned_abs()),
        };
        let told = self.books[service].told(&mail.event, seen_age, self.now);
        if !mail.event.task.desired_running {
            self.told.insert(task);
        }
        if !self.complete[service] || !matches!(told, Told::Gone | Told::Changed) {
            return Ok(());
        }
        self.find_definitions(service, chance);
        if !hosts_fail {
            self.find_hosts(service);
        }
        self.tell_change(service);
        let candidates = self.candidates(service);
        let lost: Vec<_> = before
            .keys()
            .filter(|id| {
                let task = &self.tasks[id];
                task.alive && task.wanted && !candidates.contains_key(id)
            })
            .collect();
        if !lost.is_empty() {
            return Err(format!("an event about {task} took good targets: {lost:?}"));
        }
        let real = &self.tasks[&task];
        let runs = mail.event.task.last_status == "RUNNING" && real.alive && real.wanted;
        if told == Told::Changed && runs && !hosts_fail && !candidates.contains_key(&task) {
            return Err(format!(
                "an event told of {task}, which runs and is no target"
            ));
        }
        Ok(())
    }
}
