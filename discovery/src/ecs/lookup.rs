//! What a look asks about beside the tasks: hosts and task definitions. Whatever fails here
//! concerns single tasks and never the look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::aim::Aim;
use super::api::{BATCH, Definition, EcsApi, Hosts};
use super::book::Book;
use super::now;

/// The longest that all questions of one kind may take in one look, without the waits for their
/// turns: the targets that are known are not sent before they end.
pub(super) const LIMIT: Duration = Duration::from_secs(12);

/// The most task definitions in one look: each is a call. A service has two during a deployment,
/// and more only if deployments overlap.
const DEFINITIONS: usize = 5;

/// Something to ask about.
#[derive(Debug)]
pub(super) enum Question {
    Definition(Arc<str>),
    Hosts(Vec<Arc<str>>),
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Answer {
    Definition(Arc<str>, Result<Definition, String>),
    Hosts(Vec<Arc<str>>, Result<Hosts, String>),
}

/// The task definitions that are wanted and not known.
pub(super) fn definitions(aim: &impl Aim, book: &Book, now: Instant) -> Vec<Question> {
    let wanted = book.unknown_definitions(aim, now).into_iter();
    wanted.take(DEFINITIONS).map(Question::Definition).collect()
}

/// How many times [`definitions`] must be asked for all of them.
pub(super) fn rounds(aim: &impl Aim, book: &Book, now: Instant) -> usize {
    let wanted = book.unknown_definitions(aim, now);
    wanted.len().div_ceil(DEFINITIONS)
}

/// The hosts that are wanted and not known.
pub(super) fn hosts(book: &Book, now: Instant) -> Vec<Question> {
    let wanted = book.unknown_hosts(now);
    let batches = wanted.chunks(BATCH);
    batches.map(|batch| Question::Hosts(batch.into())).collect()
}

impl Question {
    /// Asks it, within what is left of the time for all of its kind. The book is not needed
    /// meanwhile, so that events can change it.
    pub(super) async fn ask(self, api: &impl EcsApi, cluster: &str, left: &mut Duration) -> Answer {
        if left.is_zero() {
            return match self {
                Self::Definition(arn) => Answer::Definition(arn, Err(late())),
                Self::Hosts(arns) => Answer::Hosts(arns, Err(late())),
            };
        }
        // Not within the time: with many groups, or after AWS has complained, all would spend theirs
        // here, and no host would ever be known.
        api.turn().await;
        let began = now();
        let end = tokio::time::Instant::from_std(began + *left);
        let answer = self.answer(api, cluster, end).await;
        *left = left.saturating_sub(now().saturating_duration_since(began));
        answer
    }

    async fn answer(self, api: &impl EcsApi, cluster: &str, end: tokio::time::Instant) -> Answer {
        match self {
            Self::Definition(arn) => {
                let answer = match timeout_at(end, api.describe_definition(&arn)).await {
                    Ok(answer) => answer.map_err(|error| {
                        format!("{error} (it needs the permission ecs:DescribeTaskDefinition)")
                    }),
                    Err(_) => Err(late()),
                };
                Answer::Definition(arn, answer)
            }
            Self::Hosts(arns) => {
                let answer = match timeout_at(end, api.describe_hosts(cluster, &arns)).await {
                    Ok(answer) => answer.map_err(|error| error.to_string()),
                    Err(_) => Err(late()),
                };
                Answer::Hosts(arns, answer)
            }
        }
    }
}

impl Answer {
    /// Tells the book. What went wrong becomes the reason of the tasks that want it.
    pub(super) fn tell(self, book: &mut Book, now: Instant) {
        match self {
            Self::Definition(arn, Ok(definition)) => book.definitions.found(arn, definition, now),
            Self::Definition(arn, Err(reason)) => {
                let given_up = book
                    .definitions
                    .refused(Arc::clone(&arn), reason.clone(), now);
                if given_up {
                    tracing::warn!(
                        definition = %arn,
                        reason,
                        "a task definition cannot be learnt, nor what its ports speak"
                    );
                }
            }
            Self::Hosts(_, Ok(hosts)) => book.found_hosts(hosts, now),
            Self::Hosts(arns, Err(reason)) => {
                for arn in arns {
                    book.hosts.refused(arn, reason.clone(), now);
                }
            }
        }
    }
}

fn late() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
