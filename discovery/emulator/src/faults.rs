//! Faults that can be switched on and off while the emulator runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::names;
use crate::shared::lock;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `ThrottlingException` (HTTP 400) from ECS and Systems Manager, `RequestLimitExceeded`
    /// (HTTP 503) from EC2.
    Throttle,
    /// `ServerException` from ECS, `InternalError` from EC2, `InternalServerError` from Systems
    /// Manager, all HTTP 500.
    ServerError,
    /// `AccessDeniedException` (HTTP 400) from ECS and Systems Manager, `UnauthorizedOperation`
    /// (HTTP 403) from EC2.
    AccessDenied,
    /// HTTP 200 with a body that breaks off in the middle of a value.
    MalformedBody,
    /// HTTP 200 with no body. The Rust SDK for ECS reads it as an answer without members.
    EmptyBody,
    /// The connection closes without an answer.
    CloseConnection,
    /// No answer until the fault is cleared; then the call is answered as if nothing had been.
    Hang,
}

/// How long a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next so many calls that it applies to.
    Next(u32),
    /// Every call until it is cleared.
    UntilCleared,
}

/// The faults of one emulator. Clones are handles to the same set.
///
/// Where several rules apply to a call, the oldest that is not used up decides. An SDK that
/// retries uses up several calls of a rule.
#[derive(Debug, Clone)]
pub struct Faults {
    rules: Arc<Mutex<Rules>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Rules {
    next: u64,
    rules: Vec<Rule>,
    latency: BTreeMap<String, Duration>,
    view: TaskFaults,
    disrupted: BTreeSet<String>,
}

#[derive(Debug)]
struct Rule {
    id: u64,
    operation: String,
    page: Option<u32>,
    fault: Fault,
    /// `None`: without end.
    left: Option<u32>,
}

/// What DescribeTasks and ListTasks hide.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskFaults {
    /// Ids of tasks that are not listed.
    pub unlisted: BTreeSet<String>,
    /// Ids of tasks that are not found.
    pub missing: BTreeSet<String>,
    /// Tasks younger than this are not found.
    pub younger_than: Duration,
    /// Every second task of a batch is a failure.
    pub half: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rules: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Faults {
    /// Stands for every operation.
    pub const ALL: &'static str = "*";

    /// Makes calls of an operation (`ListTasks`, `DescribeInstances`, [`Faults::ALL`], …) fail.
    pub fn fail(&self, operation: &str, fault: Fault, times: Times) {
        self.add(operation, None, fault, times);
    }

    /// Makes one page of a List operation or of DescribeInstances fail. Pages count from 1, and
    /// a call without nextToken asks for page 1.
    pub fn fail_page(&self, operation: &str, page: u32, fault: Fault, times: Times) {
        self.add(operation, Some(page), fault, times);
    }

    fn add(&self, operation: &str, page: Option<u32>, fault: Fault, times: Times) {
        let mut rules = lock(&self.rules);
        rules.next += 1;
        let rule = Rule {
            id: rules.next,
            operation: operation.to_owned(),
            page,
            fault,
            left: match times {
                Times::Next(calls) => Some(calls),
                Times::UntilCleared => None,
            },
        };
        rules.rules.push(rule);
    }

    /// Delays every answer of an operation, or of [`Faults::ALL`]. The longer of the two
    /// applies; zero takes the delay away.
    pub fn latency(&self, operation: &str, delay: Duration) {
        lock(&self.rules)
            .latency
            .insert(operation.to_owned(), delay);
    }

    /// Makes DescribeTasks answer MISSING for these tasks (ids or ARNs), beside those named
    /// before.
    pub fn missing<I: AsRef<str>>(&self, tasks: impl IntoIterator<Item = I>) {
        lock(&self.rules).view.missing.extend(ids(tasks));
    }

    /// Makes ListTasks leave out these tasks (ids or ARNs), beside those named before.
    pub fn unlisted<I: AsRef<str>>(&self, tasks: impl IntoIterator<Item = I>) {
        lock(&self.rules).view.unlisted.extend(ids(tasks));
    }

    /// Makes DescribeTasks answer MISSING for tasks created less than `age` ago; zero ends it.
    pub fn missing_younger_than(&self, age: Duration) {
        lock(&self.rules).view.younger_than = age;
    }

    /// Makes DescribeTasks answer MISSING for every second task of each batch: the second, the
    /// fourth, and so on in the order of the request.
    pub fn half_failures(&self, on: bool) {
        lock(&self.rules).view.half = on;
    }

    /// Disrupts an availability zone: DescribeInstances fails as a whole if it asks for a machine
    /// in that zone, or for no machines by name.
    pub fn disrupt_zone(&self, zone: &str) {
        lock(&self.rules).disrupted.insert(zone.to_owned());
    }

    /// The zones that are disrupted.
    pub(crate) fn disrupted(&self) -> BTreeSet<String> {
        lock(&self.rules).disrupted.clone()
    }

    /// Ends all faults of all kinds, and lets hanging calls go on.
    pub fn clear(&self) {
        let mut rules = lock(&self.rules);
        let next = rules.next;
        *rules = Rules {
            next,
            ..Rules::default()
        };
        drop(rules);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Ends the failures and the delay of one operation (those for [`Faults::ALL`] under that
    /// name), and lets its hanging calls go on.
    pub fn clear_operation(&self, operation: &str) {
        let mut rules = lock(&self.rules);
        rules.rules.retain(|rule| rule.operation != operation);
        rules.latency.remove(operation);
        drop(rules);
        self.changed.send_modify(|count| *count += 1);
    }

    /// The fault of this call, if it has one, with the number of its rule.
    pub(crate) fn decide(&self, operation: &str, page: u32) -> Option<(Fault, u64)> {
        let mut rules = lock(&self.rules);
        let found = rules.rules.iter_mut().find(|rule| {
            (rule.operation == operation || rule.operation == Self::ALL)
                && rule.page.is_none_or(|wanted| wanted == page)
                && rule.left != Some(0)
        })?;
        if let Some(left) = &mut found.left {
            *left -= 1;
        }
        let decided = (found.fault, found.id);
        // A used-up rule that makes calls hang stays, because they hang until it is cleared.
        rules
            .rules
            .retain(|rule| rule.left != Some(0) || rule.fault == Fault::Hang);
        Some(decided)
    }

    /// The delay of this call.
    pub(crate) fn delay(&self, operation: &str) -> Duration {
        let rules = lock(&self.rules);
        let of = |name: &str| rules.latency.get(name).copied().unwrap_or_default();
        of(operation).max(of(Self::ALL))
    }

    /// What DescribeTasks and ListTasks hide now.
    pub(crate) fn task_faults(&self) -> TaskFaults {
        lock(&self.rules).view.clone()
    }

    /// Waits until a rule is cleared.
    pub(crate) async fn cleared(&self, rule: u64) {
        let mut changed = self.changed.subscribe();
        while lock(&self.rules).rules.iter().any(|r| r.id == rule) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

fn ids<I: AsRef<str>>(tasks: impl IntoIterator<Item = I>) -> impl Iterator<Item = String> {
    let tasks = tasks.into_iter();
    tasks.map(|task| names::short(task.as_ref()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_two_calls_fails_two_calls() {
        let faults = Faults::default();
        faults.fail("ListTasks", Fault::Throttle, Times::Next(2));
        assert!(faults.decide("DescribeTasks", 1).is_none());
        assert!(faults.decide("ListTasks", 1).is_some());
        assert!(faults.decide("ListTasks", 7).is_some());
        assert!(faults.decide("ListTasks", 1).is_none());
    }

    #[test]
    fn a_rule_for_a_page_leaves_the_other_pages_alone() {
        let faults = Faults::default();
        faults.fail_page("ListTasks", 2, Fault::ServerError, Times::UntilCleared);
        assert!(faults.decide("ListTasks", 1).is_none());
        assert!(faults.decide("ListTasks", 2).is_some());
        assert!(faults.decide("ListTasks", 2).is_some());
        faults.clear();
        assert!(faults.decide("ListTasks", 2).is_none());
    }
}
