use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Services;
use crate::ecs::api::{Service, Task, TaskSet};

const SECOND: Duration = Duration::from_secs(1);

fn task(service: &str, by: &str, started_at: i64) -> Task {
    Task {
        arn: format!("{service}/{by}/{started_at}").into(),
        version: 1,
        desired_running: true,
        last_status: "RUNNING".to_owned(),
        started_at: Some(started_at),
        unhealthy: false,
        checked: false,
        service: Some(service.into()),
        started_by: Some(by.into()),
        zone: None,
        host: None,
        definition: None,
        interface: None,
        containers: Vec::new(),
    }
}

fn sets(sets: Option<&[(&str, &str)]>) -> Service {
    let sets = sets.map(|sets| {
        let sets = sets.iter().map(|(id, status)| TaskSet {
            id: (*id).into(),
            status: (*status).into(),
        });
        sets.collect()
    });
    Service {
        desired: 1,
        running: 1,
        pending: 0,
        rolling: false,
        task_sets: sets,
    }
}

fn served<'t>(services: &Services, tasks: &'t [Task]) -> Vec<&'t str> {
    let serving = services.of(tasks.iter());
    let tasks = tasks.iter();
    tasks
        .filter(|task| serving.excludes(task).is_none())
        .map(|task| &*task.arn)
        .collect()
}

fn due(services: &Services, tasks: &[Task], now: Instant) -> Vec<Arc<str>> {
    services.of(tasks.iter()).due(5 * SECOND, now)
}

#[test]
fn only_a_service_with_tasks_of_several_starters_is_asked_about() {
    let now = Instant::now();
    let services = Services::default();
    let calm = [task("a", "1", 1), task("a", "1", 2), task("b", "1", 3)];
    assert!(due(&services, &calm, now).is_empty());
    assert_eq!(services.of(calm.iter()).next(SECOND, now), None);
    let rolls = [task("a", "1", 1), task("b", "1", 1), task("b", "2", 9)];
    assert_eq!(due(&services, &rolls, now), ["b".into()]);
}

#[test]
fn until_it_is_known_which_serves_the_one_that_runs_longest_does() {
    let tasks = [task("a", "new", 9), task("a", "old", 1), task("b", "x", 5)];
    let services = Services::default();
    assert_eq!(served(&services, &tasks), ["a/old/1", "b/x/5"]);
}

#[test]
fn of_a_service_with_task_sets_only_the_primary_serves_also_when_it_changes() {
    let now = Instant::now();
    let name = "a".into();
    let mut services = Services::default();
    let tasks = [task("a", "blue", 1), task("a", "green", 9)];
    services.answered(
        &name,
        sets(Some(&[("blue", "PRIMARY"), ("green", "ACTIVE")])),
        now,
    );
    assert_eq!(served(&services, &tasks), ["a/blue/1"]);
    assert!(due(&services, &tasks, now).is_empty());
    let later = now + 5 * SECOND;
    assert_eq!(due(&services, &tasks, later), [Arc::clone(&name)]);
    services.answered(
        &name,
        sets(Some(&[("blue", "ACTIVE"), ("green", "PRIMARY")])),
        later,
    );
    assert_eq!(served(&services, &tasks), ["a/green/9"]);
    // Only the one that serves is left: nothing to ask. Only the other one: perhaps.
    let much_later = later + 60 * SECOND;
    assert!(due(&services, &tasks[1..], much_later).is_empty());
    assert_eq!(due(&services, &tasks[..1], much_later), [Arc::clone(&name)]);
    // And then there is no time to lose.
    let soon = later + Duration::from_millis(250);
    assert_eq!(due(&services, &tasks[..1], soon), [name]);
}

#[test]
fn all_deployments_of_a_service_without_task_sets_serve() {
    let now = Instant::now();
    let mut services = Services::default();
    services.answered(&"a".into(), sets(None), now);
    let tasks = [task("a", "1", 1), task("a", "2", 9)];
    assert_eq!(served(&services, &tasks).len(), 2);
}

#[test]
fn where_nothing_can_be_asked_all_serve_and_the_permission_is_named() {
    let now = Instant::now();
    let mut services = Services::default();
    services.failed(&"a".into(), "denied".to_owned(), now);
    let tasks = [task("a", "1", 1), task("a", "2", 9)];
    assert_eq!(served(&services, &tasks).len(), 2);
    assert!(
        due(&services, &tasks, now + SECOND).is_empty(),
        "not at once"
    );
    assert_eq!(due(&services, &tasks, now + 2 * SECOND), ["a".into()]);
    let problem = services.problems().next().expect("it says so");
    assert_eq!(problem.subject, "service a");
    assert!(
        problem.reason.contains("ecs:DescribeServices"),
        "{problem:?}"
    );
}

#[test]
fn many_services_that_roll_at_once_are_asked_about_a_few_at_a_time() {
    let now = Instant::now();
    let mut services = Services::default();
    let tasks: Vec<Task> = (0..25)
        .flat_map(|n| {
            let name = format!("s{n}");
            [task(&name, "1", 1), task(&name, "2", 2)]
        })
        .collect();
    let mut asked = Vec::new();
    for round in 0..3 {
        let now = now + round * SECOND;
        let names = due(&services, &tasks, now);
        assert!(names.len() <= 10);
        for name in names {
            services.answered(&name, sets(None), now);
            asked.push(name);
        }
    }
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 25, "each once before any is asked about twice");
}
