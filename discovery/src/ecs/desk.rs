//! One desk for questions about services: an answer goes to all groups that want to know about
//! services of one cluster, ten in a call.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Turn;

use super::api::{ApiError, ErrorKind, Service};
use super::event::short;
use super::now;

/// The most services in one call (ECS: 10).
const BATCH: usize = 10;

/// A service that nobody asked about for so long is not asked about along with others.
const WANTED: Duration = Duration::from_secs(180);

/// How long services are asked about one by one after a call for several failed: one of them may
/// be what it failed for, such as one that the role may not see.
const ALONE: Duration = Duration::from_secs(300);

/// What a call answers: services by name.
pub(super) type Answer = Result<Vec<(String, Service)>, ApiError>;

/// The questions of one region.
#[derive(Debug, Default)]
pub(super) struct Desk {
    clusters: Mutex<BTreeMap<String, Arc<Turn<Shelf>>>>,
}

/// The services of one cluster. Whoever asks holds it during the call, so that others find the
/// answer when it is their turn.
#[derive(Debug, Default)]
struct Shelf {
    services: BTreeMap<String, Slot>,
    alone_until: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    wanted_at: Instant,
    /// When the call began, and what it told. None: there is no such service.
    answer: Option<(Instant, Option<Service>)>,
}

impl Desk {
    /// The newest answer about a service if its call began at `since` or later; otherwise `call`
    /// is made for it and for others of its cluster.
    pub(super) async fn ask<C>(
        &self,
        cluster: &str,
        service: &str,
        since: Instant,
        call: impl Fn(Vec<String>) -> C,
    ) -> Result<(Service, Instant), ApiError>
    where
        C: Future<Output = Answer>,
    {
        let shelf = {
            let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(clusters.entry(short(cluster).to_owned()).or_default())
        };
        let mut shelf = shelf.lock().await;
        let name = short(service);
        if !shelf.want(name, since, now()) {
            let names = shelf.companions(name, now());
            let several = names.len() > 1;
            match shelf.call(names, &call).await {
                Err(error) if several && error.kind != ErrorKind::Throttled => {
                    shelf.alone_until = Some(now() + ALONE);
                    shelf.call(vec![name.to_owned()], &call).await?;
                }
                other => other?,
            }
        }
        let slot = shelf
            .services
            .get(name)
            .and_then(|slot| slot.answer.as_ref());
        match slot {
            Some((at, Some(service))) => Ok((service.clone(), *at)),
            _ => Err(ApiError {
                operation: "DescribeServices",
                reason: format!("ECS does not know the service {name}"),
                kind: ErrorKind::NoSuchService,
            }),
        }
    }
}

impl Shelf {
    /// Notes that somebody wants to know about a service. Tells whether the answer is there.
    fn want(&mut self, name: &str, since: Instant, now: Instant) -> bool {
        let slot = self.services.entry(name.to_owned()).or_insert(Slot {
            wanted_at: now,
            answer: None,
        });
        slot.wanted_at = now;
        slot.answer.as_ref().is_some_and(|(at, _)| *at >= since)
    }

    /// The services to ask about along with one: those whose answers are oldest.
    fn companions(&mut self, name: &str, now: Instant) -> Vec<String> {
        let wanted = |slot: &Slot| now.saturating_duration_since(slot.wanted_at) < WANTED;
        self.services.retain(|_, slot| wanted(slot));
        let mut names = vec![name.to_owned()];
        if self.alone_until.is_none_or(|until| until <= now) {
            let others = self.services.iter().filter(|(other, _)| *other != name);
            let mut others: Vec<(Option<Instant>, &String)> = others
                .map(|(other, slot)| (slot.answer.as_ref().map(|(at, _)| *at), other))
                .collect();
            others.sort_unstable();
            let room = others.into_iter().take(BATCH - 1);
            names.extend(room.map(|(_, other)| other.clone()));
        }
        names
    }

    async fn call<C>(
        &mut self,
        names: Vec<String>,
        call: impl Fn(Vec<String>) -> C,
    ) -> Result<(), ApiError>
    where
        C: Future<Output = Answer>,
    {
        let began = now();
        let mut told: BTreeMap<String, Service> = call(names.clone()).await?.into_iter().collect();
        for name in names {
            if let Some(slot) = self.services.get_mut(&name) {
                slot.answer = Some((began, told.remove(&name)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
