//! What a look asks about beside the tasks: hosts and task definitions. Whatever fails here
//! concerns single tasks and never the look.

use std::time::Duration;

use longshore_config::EcsDiscovery;
use tokio::time::{Instant, timeout_at};

use super::api::{BATCH, EcsApi};
use super::book::Book;
use super::now;
use crate::target::Problem;

/// The longest that all questions of one kind may take in one look: with both kinds, a list and a
/// description that are slow as well, a look still ends in its time.
const LIMIT: Duration = Duration::from_secs(12);

/// The most task definitions in one look: each is a call. A service has two during a deployment,
/// and more only if deployments overlap.
const DEFINITIONS: usize = 5;

/// Asks for what is wanted and not known. Returns what went wrong that is not the matter of one
/// host or of one definition.
pub(super) async fn look_up(
    api: &impl EcsApi,
    spec: &EcsDiscovery,
    book: &mut Book,
) -> Vec<Problem> {
    definitions(api, spec, book).await;
    hosts(api, spec, book).await
}

fn late() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

async fn definitions(api: &impl EcsApi, spec: &EcsDiscovery, book: &mut Book) {
    let began = now();
    let wanted = book.unknown_definitions(spec, began);
    for arn in wanted.into_iter().take(DEFINITIONS) {
        let answer = api.describe_definition(&arn);
        let reason = match timeout_at(Instant::from_std(began + LIMIT), answer).await {
            Ok(Ok(definition)) => {
                book.definitions.found(arn, definition, now());
                continue;
            }
            Ok(Err(error)) => {
                format!("{error} (it needs the permission ecs:DescribeTaskDefinition)")
            }
            Err(_) => late(),
        };
        book.definitions.refused(arn, reason, now());
    }
}

async fn hosts(api: &impl EcsApi, spec: &EcsDiscovery, book: &mut Book) -> Vec<Problem> {
    let mut problems = Vec::new();
    let began = now();
    for batch in book.unknown_hosts(began).chunks(BATCH) {
        let answer = api.describe_hosts(&spec.cluster, batch);
        let reason = match timeout_at(Instant::from_std(began + LIMIT), answer).await {
            Ok(Ok(hosts)) => {
                book.found_hosts(hosts, now());
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => late(),
        };
        problems.push(Problem {
            subject: format!("{} container instances", batch.len()),
            reason: format!("their addresses are not known: {reason}"),
        });
    }
    problems
}
