use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore_config::{EcsDiscovery, Span};

use super::{Answer, DEFINITIONS, LIMIT, Question, definitions, hosts};
use crate::ecs::api::{
    ApiError, Container, Definition, Described, EcsApi, ErrorKind, Host, Hosts, MappedPorts,
    PortMapping, Service, Task,
};
use crate::ecs::book::Book;
use crate::ecs::now;

/// Denies one definition and all hosts, and notes what it was asked for.
#[derive(Default)]
struct Denying {
    asked: Mutex<Vec<String>>,
    /// How long it takes until there is room for a call.
    turn: Duration,
}

impl Denying {
    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *asked)
    }

    fn note(&self, what: String) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(what);
    }
}

fn denied(operation: &'static str) -> ApiError {
    ApiError {
        operation,
        reason: "denied".to_owned(),
        kind: ErrorKind::Other,
    }
}

impl EcsApi for Denying {
    async fn list_tasks(&self, _: &str, _: Option<&str>) -> Result<Vec<Arc<str>>, ApiError> {
        Err(denied("ListTasks"))
    }

    async fn describe_tasks(&self, _: &str, _: &[Arc<str>]) -> Result<Described, ApiError> {
        Err(denied("DescribeTasks"))
    }

    async fn describe_service(
        &self,
        _: &str,
        _: &str,
        _: Instant,
    ) -> Result<(Service, Instant), ApiError> {
        Err(denied("DescribeServices"))
    }

    async fn describe_hosts(&self, _: &str, arns: &[Arc<str>]) -> Result<Hosts, ApiError> {
        self.note(format!("{} hosts", arns.len()));
        Err(denied("DescribeContainerInstances"))
    }

    fn known_hosts(&self, _: &[Arc<str>]) -> Vec<Host> {
        Vec::new()
    }

    async fn turn(&self) {
        tokio::time::sleep(self.turn).await;
    }

    async fn describe_definition(&self, arn: &str) -> Result<Definition, ApiError> {
        self.note(arn.to_owned());
        if arn == "d0" {
            return Err(denied("DescribeTaskDefinition"));
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
            labels: Default::default(),
        })
    }
}

/// All questions of one look.
async fn look_up(api: &Denying, spec: &EcsDiscovery, book: &mut Book) {
    let began = now();
    let mut questions = definitions(spec, book, began);
    questions.extend(hosts(book, began));
    let mut left = LIMIT;
    for question in questions {
        let answer = question.ask(api, &spec.cluster, &mut left).await;
        answer.tell(book, now());
    }
}

fn spec() -> EcsDiscovery {
    EcsDiscovery {
        cluster: "prod".to_owned(),
        service: "app".to_owned(),
        container: None,
        container_port: None,
        port_name: None,
        poll_interval: Span::default(),
        events_queue: None,
        reconcile_interval: Span::default(),
        region: None,
    }
}

/// Tasks in host mode, each with a host and a definition of its own.
fn book(tasks: usize) -> Book {
    let tasks: Vec<Task> = (0..tasks)
        .map(|number| Task {
            arn: format!("t{number}").into(),
            version: 1,
            desired_running: true,
            last_status: "RUNNING".to_owned(),
            started_at: None,
            unhealthy: false,
            checked: false,
            service: None,
            started_by: None,
            zone: None,
            host: Some(format!("h{number}").into()),
            definition: Some(format!("d{number}").into()),
            interface: None,
            containers: vec![Container {
                name: "web".into(),
                running: true,
                bindings: vec![],
                ranges: vec![],
            }],
        })
        .collect();
    let listed: BTreeSet<Arc<str>> = tasks.iter().map(|task| Arc::clone(&task.arn)).collect();
    let mut book = Book::default();
    let missing = Vec::new();
    book.described(Described { tasks, missing }, now());
    book.listed(&listed, now());
    book
}

#[tokio::test]
async fn what_is_denied_hides_nothing_else_and_is_given_a_pause() {
    let (api, mut book) = (Denying::default(), book(3));
    look_up(&api, &spec(), &mut book).await;
    assert_eq!(api.asked(), ["d0", "d1", "d2", "3 hosts"]);
    let (targets, problems) = book.targets(&spec());
    assert!(targets.is_empty());
    let reasons: Vec<&str> = problems.iter().map(|problem| &*problem.reason).collect();
    assert!(
        reasons[0].contains("needs the permission ecs:DescribeTaskDefinition"),
        "{reasons:?}"
    );
    for reason in &reasons[1..] {
        assert!(
            reason.contains("DescribeContainerInstances: denied"),
            "{reason}"
        );
    }
    look_up(&api, &spec(), &mut book).await;
    assert!(api.asked().is_empty(), "each has its pause");
}

#[tokio::test]
async fn one_look_asks_for_few_definitions_and_the_next_for_the_others() {
    let (api, mut book) = (Denying::default(), book(DEFINITIONS + 2));
    look_up(&api, &spec(), &mut book).await;
    assert_eq!(api.asked().len(), DEFINITIONS + 1);
    look_up(&api, &spec(), &mut book).await;
    assert_eq!(api.asked(), ["d5", "d6"]);
}

#[tokio::test]
async fn the_wait_for_a_turn_does_not_count_and_without_time_there_is_none() {
    let api = Denying {
        turn: Duration::from_millis(300),
        ..Denying::default()
    };
    let ask = async |left: &mut Duration| {
        let question = Question::Definition("d1".into());
        let began = now();
        let answer = question.ask(&api, "prod", left).await;
        let Answer::Definition(_, answer) = answer else {
            panic!("it was asked for a definition");
        };
        (answer.is_ok(), now() - began >= api.turn)
    };
    let mut left = Duration::from_millis(200);
    assert_eq!(ask(&mut left).await, (true, true));
    assert!(!left.is_zero(), "{left:?}");
    assert_eq!(api.asked(), ["d1"]);
    left = Duration::ZERO;
    assert_eq!(ask(&mut left).await, (false, false));
    assert!(api.asked().is_empty());
}
