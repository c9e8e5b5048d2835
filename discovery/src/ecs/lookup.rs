//! What a look asks about beside the tasks: hosts and task definitions. Whatever fails here
//! concerns single tasks and never the look.

use std::sync::Arc;
use std::time::Duration;

use longshore_config::EcsDiscovery;
use tokio::time::{Instant, timeout_at};

use super::api::{BATCH, EcsApi};
use super::book::Book;
use super::now;

/// The longest that all questions of one kind may take in one look: the targets that are known are
/// not sent before they end.
const LIMIT: Duration = Duration::from_secs(12);

/// The most task definitions in one look: each is a call. A service has two during a deployment,
/// and more only if deployments overlap.
const DEFINITIONS: usize = 5;

/// Asks for what is wanted and not known. What goes wrong becomes the reason of the tasks that
/// want it.
pub(super) async fn look_up(api: &impl EcsApi, spec: &EcsDiscovery, book: &mut Book) {
    definitions(api, spec, book).await;
    hosts(api, spec, book).await;
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

async fn hosts(api: &impl EcsApi, spec: &EcsDiscovery, book: &mut Book) {
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
        for arn in batch {
            book.hosts.refused(Arc::clone(arn), reason.clone(), now());
        }
    }
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
