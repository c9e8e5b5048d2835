use std::collections::BTreeMap;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_config::EcsDiscovery;
use tokio::sync::mpsc;

use super::hear::Heard;
use super::{Ended, Watch};
use crate::clock::wall;
use crate::ecs::api::{ApiError, Definition, Described, EcsApi, ErrorKind, Host, Hosts, Service};
use crate::ecs::api::{BATCH, MappedPorts, PortMapping, Task};
use crate::ecs::book::tests::{arn, spec, task};
use crate::ecs::event::TaskEvent;
use crate::ecs::now;
use crate::target::{Target, Update};

/// A definition that may not be read, and why.
const DENIED: &str = "denied";

/// ECS as a test wants it.
#[derive(Default)]
struct Scripted {
    tasks: Vec<Task>,
    /// How long a description takes.
    delay: Duration,
    /// Whether EC2 refuses to tell of hosts.
    hostless: bool,
    /// Whether it says nothing of them.
    silent: bool,
    /// Definitions that were asked for.
    defined: Mutex<Vec<String>>,
    /// When tasks were described, and which.
    described: Mutex<Vec<(Instant, Vec<Arc<str>>)>>,
}

impl Scripted {
    fn with(tasks: Vec<Task>) -> Self {
        Self {
            tasks,
            ..Self::default()
        }
    }

    /// When a task was described.
    fn described(&self, id: u32) -> Vec<Instant> {
        let calls = self.calls();
        let calls = calls.iter().filter(|(_, arns)| arns.contains(&arn(id)));
        calls.map(|(at, _)| *at).collect()
    }

    fn calls(&self) -> MutexGuard<'_, Vec<(Instant, Vec<Arc<str>>)>> {
        self.described
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl EcsApi for Scripted {
    async fn list_tasks(&self, _: &str, _: Option<&str>) -> Result<Vec<Arc<str>>, ApiError> {
        Ok(self.tasks.iter().map(|it| Arc::clone(&it.arn)).collect())
    }

    async fn describe_tasks(&self, _: &str, arns: &[Arc<str>]) -> Result<Described, ApiError> {
        assert!(arns.len() <= BATCH);
        self.calls().push((now(), arns.to_vec()));
        tokio::time::sleep(self.delay).await;
        let tasks = self.tasks.iter().filter(|it| arns.contains(&it.arn));
        Ok(Described {
            tasks: tasks.cloned().collect(),
            missing: Vec::new(),
        })
    }

    async fn describe_service(
        &self,
        _: &str,
        _: &str,
        since: Instant,
    ) -> Result<(Service, Instant), ApiError> {
        let count = u32::try_from(self.tasks.len()).expect("few");
        let service = Service {
            desired: count,
            running: count,
            pending: 0,
            rolling: false,
            task_sets: None,
        };
        Ok((service, since))
    }

    fn known_hosts(&self, _: &[Arc<str>]) -> Vec<Host> {
        Vec::new()
    }

    async fn turn(&self) {}

    async fn describe_hosts(&self, _: &str, arns: &[Arc<str>]) -> Result<Hosts, ApiError> {
        if self.silent {
            return Ok(Hosts::default());
        }
        if self.hostless {
            let unknown = arns.iter().map(|arn| (Arc::clone(arn), DENIED.to_owned()));
            let unknown = unknown.collect();
            let found = Vec::new();
            return Ok(Hosts { found, unknown });
        }
        let found = arns.iter().map(|arn| Host {
            arn: Arc::clone(arn),
            instance: "i-1".into(),
            address: [127, 0, 0, 2].into(),
            zone: None,
        });
        Ok(Hosts {
            found: found.collect(),
            unknown: Vec::new(),
        })
    }

    async fn describe_definition(&self, arn: &str) -> Result<Definition, ApiError> {
        let mut asked = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(arn.to_owned());
        if arn == DENIED {
            return Err(ApiError {
                operation: "DescribeTaskDefinition",
                reason: DENIED.to_owned(),
                kind: ErrorKind::Other,
            });
        }
        Ok(Definition {
            arn: arn.into(),
            network_mode: Some("host".into()),
            ports: vec![PortMapping {
                container: "web".into(),
                ports: MappedPorts::One(80),
                name: None,
                app_protocol: None,
            }],
            labels: BTreeMap::new(),
        })
    }
}

/// A task in host mode: only its definition tells its port.
fn in_host_mode(id: u32, definition: &str) -> Task {
    let mut task = task(id, 1);
    task.containers[0].bindings.clear();
    task.definition = Some(definition.into());
    task
}

fn watch() -> (Watch<EcsDiscovery>, mpsc::Receiver<Update>) {
    let (out, updates) = mpsc::channel(16);
    (Watch::new(spec(), out, None), updates)
}

/// A look that succeeds.
async fn look(watch: &mut Watch<EcsDiscovery>, api: &Scripted) -> Vec<Target> {
    assert!(watch.look(api).await.is_ok(), "it succeeds");
    watch.book.targets(&spec()).0
}

#[tokio::test]
async fn a_description_confirms_from_when_it_was_asked_for_and_not_from_its_answer() {
    let (mut watch, _updates) = watch();
    let mut api = Scripted::with(vec![task(1, 1)]);
    api.delay = Duration::from_millis(50);
    look(&mut watch, &api).await;
    // A list alone: what counts is the description before.
    let [target] = &look(&mut watch, &api).await[..] else {
        panic!("one target");
    };
    let [asked] = api.described(1)[..] else {
        panic!("one description");
    };
    assert!(target.confirmed_at <= asked);
}

#[tokio::test]
async fn an_early_look_that_somebody_asked_for_describes_targets_and_a_regular_one_does_not() {
    let (mut watch, _updates) = watch();
    let api = Scripted::with(vec![task(1, 1)]);
    look(&mut watch, &api).await;
    look(&mut watch, &api).await;
    assert_eq!(api.described(1).len(), 1);
    let asked = now();
    let waited = watch.wait(&api, asked, None, 1.0, future::ready(()));
    assert!(waited.await.is_ok());
    let targets = look(&mut watch, &api).await;
    assert_eq!(api.described(1).len(), 2);
    assert!(targets[0].confirmed_at >= asked, "which confirms it");
    look(&mut watch, &api).await;
    assert_eq!(api.described(1).len(), 2, "once");
}

/// The errors of the first looks, up to one that succeeds with so many targets.
async fn first_looks(api: &Scripted, targets: usize) -> Vec<String> {
    let (mut watch, _updates) = watch();
    let mut errors = Vec::new();
    while errors.len() < 10 {
        match watch.look(api).await {
            Ok(()) => {
                assert_eq!(watch.book.targets(&spec()).0.len(), targets);
                return errors;
            }
            Err(Ended::Failed(error)) => errors.push(error.to_string()),
            Err(Ended::Unheard) => panic!("the receiver is there"),
        }
    }
    errors
}

#[tokio::test]
async fn a_first_look_is_not_taken_without_hosts_or_needed_definitions_and_the_third_one_is() {
    let hostless = Scripted {
        hostless: true,
        ..Scripted::with(vec![task(1, 1)])
    };
    let tasks = vec![task(1, 1), in_host_mode(2, DENIED)];
    for (api, left) in [(hostless, 0), (Scripted::with(tasks), 1)] {
        let errors = first_looks(&api, left).await;
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].contains(DENIED), "{errors:?}");
    }
}

#[tokio::test]
async fn a_later_look_is_taken_without_the_hosts_of_new_tasks() {
    let (mut watch, _updates) = watch();
    let mut api = Scripted::with(vec![task(1, 1)]);
    look(&mut watch, &api).await;
    let other = Task {
        host: Some("other".into()),
        ..task(2, 1)
    };
    api.tasks.push(other);
    api.hostless = true;
    assert_eq!(look(&mut watch, &api).await.len(), 1);
}

#[tokio::test]
async fn a_first_look_asks_for_all_definitions_and_a_later_one_for_few() {
    let (mut watch, _updates) = watch();
    let of = |ids: std::ops::Range<u32>| ids.map(|id| in_host_mode(id, &format!("d{id}")));
    let mut api = Scripted::with(of(0..12).collect());
    assert_eq!(look(&mut watch, &api).await.len(), 12);
    api.tasks.extend(of(12..24));
    assert_eq!(look(&mut watch, &api).await.len(), 17);
}

#[tokio::test]
async fn a_first_look_that_waited_for_a_host_is_made_again_as_soon_as_that_is_known() {
    let (mut watch, _updates) = watch();
    let mut api = Scripted::with(vec![task(1, 1)]);
    api.silent = true;
    assert!(watch.look(&api).await.is_err());
    api.silent = false;
    let long = Duration::from_secs(3600);
    let waited = watch.wait(&api, now(), Some(long), 1.0, future::pending());
    let waited = tokio::time::timeout(Duration::from_secs(60), waited).await;
    assert!(matches!(waited, Ok(Ok(()))), "it does not wait for long");
    assert_eq!(look(&mut watch, &api).await.len(), 1);
}

#[tokio::test]
async fn an_event_that_seems_old_brings_a_look_soon_although_there_was_one_just_now() {
    let (mut watch, _updates) = watch();
    let api = Scripted::with(vec![task(1, 1)]);
    look(&mut watch, &api).await;
    let long_ago = wall() - Duration::from_secs(600);
    let event = TaskEvent {
        cluster: "arn:aws:ecs:r:1:cluster/prod".into(),
        at: i64::try_from(long_ago.as_millis()).expect("small"),
        tells_health: true,
        task: Task {
            service: Some("app".into()),
            ..task(2, 1)
        },
    };
    watch.take(Heard::Event(Arc::new(event)));
    let soon = now() + Duration::from_secs(15);
    assert!(watch.look_at.is_some_and(|at| at > now() && at <= soon));
    look(&mut watch, &api).await;
    assert_eq!(watch.look_at, None);
}
