use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_config::EcsDiscovery;
use tokio::sync::mpsc;

use super::Watch;
use crate::ecs::api::{ApiError, Definition, Described, EcsApi, ErrorKind, Host, Hosts, Service};
use crate::ecs::api::{BATCH, Task};
use crate::ecs::book::tests::{arn, spec, task};
use crate::ecs::now;
use crate::target::{Target, Update};

/// ECS as a test wants it.
#[derive(Default)]
struct Scripted {
    tasks: Vec<Task>,
    /// How long a description takes.
    delay: Duration,
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

    async fn describe_definition(&self, _: &str) -> Result<Definition, ApiError> {
        Err(ApiError {
            operation: "DescribeTaskDefinition",
            reason: "denied".to_owned(),
            kind: ErrorKind::Other,
        })
    }
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
