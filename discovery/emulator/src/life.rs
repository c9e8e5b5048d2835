//! The life of a task, step by step.
//!
//! `version` counts as on Fargate: 1 PROVISIONING, 2 PENDING, 3 RUNNING, 4 desiredStatus
//! STOPPED, 5 DEPROVISIONING, 6 STOPPED. STOPPING does not count.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use crate::error::EmulatorError;
use crate::model::{Addresses, Health, NetworkMode, TaskStatus};
use crate::names;
use crate::state::{Definition, Effect, Eni, HostStatus, Process, Seq, ServiceKey, Task, Timer};
use crate::world::World;

impl World {
    /// Creates a task in PROVISIONING.
    pub(crate) fn create_task(
        &mut self,
        service: &ServiceKey,
        deployment: u64,
        definition: Arc<Definition>,
        host: Option<usize>,
        zone: String,
        now: Instant,
    ) -> Seq {
        let seq = self.number();
        let id = self.hex(32);
        let eni = (definition.mode() == NetworkMode::Awsvpc).then(|| {
            let spare = self.spare_address();
            let [_, b, c, d] = spare.octets();
            let (ipv4, ipv6) = match definition.spec.addresses {
                Addresses::Ipv4 => (Some(spare), None),
                Addresses::DualStack => {
                    let low = u128::from(u32::from(spare));
                    let high = u128::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0));
                    (Some(spare), Some(Ipv6Addr::from(high | low)))
                }
                Addresses::Ipv6 => (None, Some(spare.to_ipv6_mapped())),
            };
            Eni {
                address: ipv4.map_or(IpAddr::V6(spare.to_ipv6_mapped()), IpAddr::V4),
                ipv4,
                ipv6,
                id: format!("eni-{}", self.hex(17)),
                attachment: self.hex(32),
                mac: format!("0a:00:7f:{b:02x}:{c:02x}:{d:02x}"),
            }
        });
        let task = Task {
            seq,
            arn: names::task(&self.options, &service.cluster, &id),
            id: id.clone(),
            service: service.clone(),
            deployment,
            definition,
            host,
            zone,
            last: TaskStatus::Provisioning,
            stop: false,
            version: 1,
            health: Health::Unknown,
            process: Process::NotStarted,
            bindings: Vec::new(),
            refused: BTreeSet::new(),
            eni,
            created: now,
            running: None,
            stop_asked: None,
            exited: None,
            stopped: None,
            killed: false,
            stop_code: None,
            stop_reason: None,
        };
        self.ids.insert(id, seq);
        self.tasks.insert(seq, task);
        self.at(now + self.options.start_delay / 2, Timer::Advance(seq));
        self.touch();
        seq
    }

    /// PROVISIONING → PENDING → the start of the containers.
    pub(crate) fn advance(&mut self, seq: Seq, now: Instant) {
        let Some(task) = self.tasks.get_mut(&seq) else {
            return;
        };
        if task.stop || task.process != Process::NotStarted || self.closing {
            return;
        }
        match task.last {
            TaskStatus::Provisioning => {
                task.last = TaskStatus::Pending;
                task.version += 1;
                self.at(now + self.options.start_delay / 2, Timer::Advance(seq));
                self.touch();
            }
            TaskStatus::Pending => self.start(seq, now),
            _ => {}
        }
    }

    /// desiredStatus becomes STOPPED, and SIGTERM follows in the same step: without an ELB,
    /// ECS puts nothing between the two.
    pub(crate) fn stop(&mut self, seq: Seq, code: &'static str, reason: &str, now: Instant) {
        let Some(task) = self.tasks.get_mut(&seq) else {
            return;
        };
        if task.stop {
            return;
        }
        task.stop = true;
        task.version += 1;
        task.stop_asked = Some(now);
        task.stop_code = Some(code);
        task.stop_reason = Some(reason.to_owned());
        let (id, key) = (task.id.clone(), task.service.clone());
        let process = task.process;
        if process == Process::NotStarted {
            task.process = Process::Gone;
        }
        if let Some(service) = self.services.get_mut(&key) {
            service.live.remove(&seq);
        }
        self.dirty.insert(key);
        self.touch();
        if self.on_dead_machine(seq) {
            // Nobody is there to be told. The detection of the loss ends the task.
            return;
        }
        match process {
            Process::NotStarted | Process::Gone => self.exit_known(seq, now),
            Process::Starting => self.effects.push(Effect::Cancel(id)),
            Process::Running => {
                self.effects.push(Effect::Terminate(id));
                let options = &self.options;
                let (report, kill) = (now + options.report_delay, now + options.stop_timeout);
                self.at(report, Timer::ReportStopping(seq));
                self.at(kill, Timer::Kill(seq));
            }
        }
    }

    pub(crate) fn report_stopping(&mut self, seq: Seq) {
        if let Some(task) = self.tasks.get_mut(&seq)
            && task.last == TaskStatus::Running
            && task.process == Process::Running
        {
            task.last = TaskStatus::Stopping;
            self.touch();
        }
    }

    pub(crate) fn kill(&mut self, seq: Seq) {
        if let Some(task) = self.tasks.get_mut(&seq)
            && task.process == Process::Running
        {
            task.killed = true;
            self.effects.push(Effect::Kill(task.id.clone()));
        }
    }

    /// Ends the processes of a task at once, without the API knowing.
    pub(crate) fn crash(&mut self, name: &str) -> Result<(), EmulatorError> {
        let task = self.task(name)?;
        if task.process != Process::Running {
            return Err(EmulatorError::NotRunning(name.to_owned()));
        }
        let seq = task.seq;
        self.kill(seq);
        Ok(())
    }

    /// Makes the processes of a task end by themselves as after SIGTERM, without the API knowing.
    pub(crate) fn exit(&mut self, name: &str) -> Result<(), EmulatorError> {
        let task = self.task(name)?;
        if task.process != Process::Running {
            return Err(EmulatorError::NotRunning(name.to_owned()));
        }
        let id = task.id.clone();
        self.effects.push(Effect::Terminate(id));
        Ok(())
    }

    /// The processes have ended, for whatever reason. Their ports are free from now on.
    pub(crate) fn exited(&mut self, id: &str, now: Instant) {
        let Some(seq) = self.ids.get(id).copied() else {
            return;
        };
        self.free_ports(seq);
        let dead = self.on_dead_machine(seq);
        let Some(task) = self.tasks.get_mut(&seq) else {
            return;
        };
        if task.process == Process::Gone {
            return;
        }
        task.process = Process::Gone;
        task.exited = Some(now);
        let asked = task.stop;
        let cluster = task.service.cluster.clone();
        // Some service may have waited for a port that is free now.
        self.disturb(&cluster);
        match (dead, asked) {
            (true, _) => {}
            (false, true) => self.exit_known(seq, now),
            (false, false) => {
                self.at(now + self.options.crash_detection, Timer::ExitKnown(seq));
            }
        }
    }

    /// The API learns that the processes have ended.
    pub(crate) fn exit_known(&mut self, seq: Seq, now: Instant) {
        let Some(task) = self.tasks.get_mut(&seq) else {
            return;
        };
        if task.last >= TaskStatus::Deprovisioning || task.process != Process::Gone {
            return;
        }
        if !task.stop {
            // Calls back here, with the task told to stop.
            let reason = "Essential container in task exited";
            self.stop(seq, "EssentialContainerExited", reason, now);
            return;
        }
        task.last = TaskStatus::Deprovisioning;
        task.version += 1;
        self.at(now + self.options.report_delay, Timer::Stopped(seq));
        self.touch();
    }

    pub(crate) fn stopped(&mut self, seq: Seq, now: Instant) {
        if let Some(task) = self.tasks.get_mut(&seq)
            && task.last != TaskStatus::Stopped
        {
            task.last = TaskStatus::Stopped;
            task.version += 1;
            task.stopped = Some(now);
            let key = task.service.clone();
            self.dirty.insert(key);
            self.keep_for_a_while(seq, now);
            self.touch();
        }
    }

    /// The machine dies: its processes end, EC2 forgets it, and ECS does not know yet.
    pub(crate) fn lose_host(&mut self, host: usize, now: Instant) {
        let Some(state) = self.hosts.get_mut(host) else {
            return;
        };
        if state.lost.is_some() {
            return;
        }
        state.lost = Some(now);
        for task in self.tasks.values_mut().filter(|t| t.host == Some(host)) {
            let id = task.id.clone();
            match task.process {
                Process::Running => {
                    task.killed = true;
                    self.effects.push(Effect::Kill(id));
                }
                Process::Starting => self.effects.push(Effect::Cancel(id)),
                Process::NotStarted | Process::Gone => {}
            }
        }
        self.at(now + self.options.loss_detection, Timer::HostLost(host));
        self.touch();
    }

    /// ECS notices that the machine is gone: its tasks are STOPPED, without steps between.
    pub(crate) fn host_lost(&mut self, host: usize, now: Instant) {
        let Some(state) = self.hosts.get_mut(host) else {
            return;
        };
        state.status = HostStatus::Inactive;
        state.agent_connected = false;
        state.version += 1;
        let cluster = state.cluster.clone();
        let reason = format!("Host EC2 (instance {}) terminated.", state.ec2_id);
        let ended: Vec<Seq> = self
            .tasks
            .values()
            .filter(|t| t.host == Some(host) && t.last != TaskStatus::Stopped)
            .map(|t| t.seq)
            .collect();
        for seq in ended {
            self.stop(seq, "TerminationNotice", &reason, now);
            self.stopped(seq, now);
        }
        self.disturb(&cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Host, TaskDefinition};
    use crate::options::Options;
    use crate::runtime::TaskStart;
    use crate::state::Clock;
    use std::net::Ipv4Addr;
    use std::time::{Duration, SystemTime};

    const MS: Duration = Duration::from_millis(1);

    /// A world with one host and one service of one task, at its first moment.
    fn world(options: Options) -> (World, Instant) {
        let start = Instant::now();
        let mut world = World::new(options, Clock::new(start, SystemTime::UNIX_EPOCH), 1);
        let host = Host::new(Ipv4Addr::new(127, 0, 0, 2), "a");
        world.add_host("demo", host, start);
        world.register(TaskDefinition::bridge("web", 80), start);
        world
            .create_service("demo", "web", "web", 1, start)
            .expect("the service is new");
        assert!(world.step(start).is_empty());
        (world, start)
    }

    fn status(world: &World) -> (TaskStatus, u64) {
        let task = world.tasks.values().next().expect("there is a task");
        (task.last, task.version)
    }

    /// Lets time pass until the containers are wanted, and says which task they are of.
    fn wanted(world: &mut World, at: Instant) -> TaskStart {
        match world.step(at).as_slice() {
            [Effect::Start(order)] => (**order).clone(),
            other => panic!("one start is expected: {other:?}"),
        }
    }

    #[test]
    fn the_first_half_of_the_delay_is_provisioning_and_the_second_pending() {
        let (mut world, start) = world(Options::default());
        assert_eq!(status(&world), (TaskStatus::Provisioning, 1));
        assert_eq!(world.next(), Some(start + 25 * MS));
        assert!(world.step(start + 24 * MS).is_empty());
        assert_eq!(status(&world), (TaskStatus::Provisioning, 1));
        assert!(world.step(start + 25 * MS).is_empty());
        assert_eq!(status(&world), (TaskStatus::Pending, 2));
        let order = wanted(&mut world, start + 50 * MS);
        assert_eq!(status(&world), (TaskStatus::Pending, 2));
        world.started(&order.id, start + 60 * MS);
        assert_eq!(status(&world), (TaskStatus::Running, 3));
    }

    #[test]
    fn a_stop_that_meets_a_start_under_way_still_has_its_timeout() {
        let (mut world, start) = world(Options::default());
        world.step(start + 25 * MS);
        let order = wanted(&mut world, start + 50 * MS);
        let key = world.service_key("demo", "web").expect("it is there");
        world.scale(&key, 0, start + 51 * MS);
        let effects = world.step(start + 51 * MS);
        assert!(matches!(effects.as_slice(), [Effect::Cancel(_)]));
        // The cancellation comes too late: the containers are up.
        let up = start + 52 * MS;
        world.started(&order.id, up);
        let effects = world.step(up);
        assert!(matches!(effects.as_slice(), [Effect::Terminate(_)]));
        let effects = world.step(up + Duration::from_secs(30));
        assert!(matches!(effects.as_slice(), [Effect::Kill(_)]));
        world.exited(&order.id, up + Duration::from_secs(31));
        world.step(up + Duration::from_secs(32));
        assert_eq!(status(&world).0, TaskStatus::Stopped);
    }

    #[test]
    fn a_task_placed_on_a_dead_machine_stays_pending_until_the_loss_is_known() {
        let (mut world, start) = world(Options::default());
        world.lose_host(0, start);
        assert!(world.step(start + 999 * MS).is_empty());
        assert_eq!(status(&world), (TaskStatus::Pending, 2));
        assert!(world.step(start + 1000 * MS).is_empty());
        assert_eq!(status(&world), (TaskStatus::Stopped, 4));
    }

    #[test]
    fn a_stopped_task_is_forgotten_after_an_hour() {
        let (mut world, start) = world(Options::default());
        let key = world.service_key("demo", "web").expect("it is there");
        world.scale(&key, 0, start);
        world.step(start);
        world.step(start + 20 * MS);
        assert_eq!(status(&world).0, TaskStatus::Stopped);
        world.step(start + Duration::from_secs(3599));
        assert_eq!(world.tasks.len(), 1);
        world.step(start + Duration::from_secs(3602));
        assert_eq!(world.tasks.len(), 0);
    }
}
