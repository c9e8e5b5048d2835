//! One service under watch: looks at it, and events that are taken at any time, also while a call
//! of a look is under way. A slow API must not hold up what an event tells.

mod hear;
mod tell;
mod wait;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::aim::Aim;
use super::api::{self, ApiError, EcsApi, ErrorKind, Hosts};
use super::book::Book;
use super::feed::Subscription;
use super::lookup::{self, Question};
use super::now;
use super::trust::Trust;
use crate::first::WHOLE_LOOKS;
use crate::target::{Problem, Update};

/// How long additions are gathered after the first one: tasks of a deployment start together, and
/// the addresses of their hosts are asked for in one call.
const GATHER: Duration = Duration::from_millis(250);

/// How old an answer about the service may be that another group has caused.
const SHARED_LIFE: Duration = Duration::from_secs(1);

/// So many looks in a row in which no task could be described, and what is known counts as stale.
const BLIND_LOOKS: u32 = 2;

/// Why something ended.
pub(super) enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// A call failed.
    Failed(ApiError),
}

/// The state of one service under watch, or of a whole cluster.
pub(super) struct Watch<A> {
    aim: A,
    out: mpsc::Sender<Update>,
    events: Option<Subscription>,
    book: Book,
    trust: Trust,
    /// Whether the book holds a complete list. Before that, it is no whole set.
    complete: bool,
    /// Looks before that which did not see everything.
    partial: u32,
    /// Whether the latest one did all but learn definitions and hosts.
    awaits: bool,
    /// How many looks in a row had tasks to describe and could describe none, and why.
    blind: Option<(u32, ApiError)>,
    /// What the latest look had to complain about.
    problems: Vec<Problem>,
    /// When a change that an event told is to be sent.
    send_at: Option<Instant>,
    /// When to look because of something that was told. Not before the spacing of looks.
    look_at: Option<Instant>,
    /// Since when the book has questions that only a look answers.
    open_since: Option<Instant>,
    /// When hosts and definitions were last asked for.
    looked_up: Option<Instant>,
    /// Whether events were relied on when operators were last told.
    relied: bool,
}

impl<A: Aim> Watch<A> {
    pub(super) fn new(aim: A, out: mpsc::Sender<Update>, events: Option<Subscription>) -> Self {
        Self {
            aim,
            out,
            events,
            book: Book::default(),
            trust: Trust::default(),
            complete: false,
            partial: 0,
            awaits: false,
            blind: None,
            problems: Vec::new(),
            send_at: None,
            look_at: None,
            open_since: None,
            looked_up: None,
            relied: false,
        }
    }

    /// One look at the service. An error means that nothing was learnt about which tasks there are.
    ///
    /// Failures of later steps leave single tasks as they were: the problems name them.
    pub(super) async fn look(&mut self, api: &impl EcsApi) -> Result<(), Ended> {
        let began = now();
        self.look_at = None;
        self.awaits = false;
        let relies = self.complete && self.relies(began);
        self.trust.begin(relies.then(|| self.book.serving()));
        let cluster = self.aim.place().cluster.clone();
        let service = self.aim.service().map(str::to_owned);
        let listed = self.during(api.list_tasks(&cluster, service.as_deref()));
        let listed = listed.await?;
        let listed: BTreeSet<Arc<str>> = match listed {
            Ok(arns) => arns.into_iter().collect(),
            // It was deleted, and its tasks with it, if they say so themselves. A service that was
            // never seen is more likely a wrong name.
            Err(error) if error.kind == ErrorKind::NoSuchService && !self.book.is_empty() => {
                BTreeSet::new()
            }
            Err(error) => return Err(Ended::Failed(error)),
        };
        let stir = self.book.differs(&listed);
        self.ask_service(api, stir, SHARED_LIFE).await?;
        self.describe(api, &listed).await?;
        self.book.listed(&listed, began);
        self.look_up(api).await?;
        self.know_all()?;
        self.ask_services(api).await?;
        self.complete = true;
        self.trust.end(&self.book.serving(), now());
        Ok(())
    }

    /// Describes what a list makes worth describing. What fails leaves its tasks as they were.
    async fn describe(
        &mut self,
        api: &impl EcsApi,
        listed: &BTreeSet<Arc<str>>,
    ) -> Result<(), Ended> {
        let cluster = self.aim.place().cluster.clone();
        let wanted = self.book.to_describe(listed, &self.aim, now());
        let (mut answers, mut failure) = (0, None);
        self.problems.clear();
        for batch in wanted.chunks(api::BATCH) {
            let asked = now();
            match self.during(api.describe_tasks(&cluster, batch)).await? {
                Ok(described) => {
                    answers += 1;
                    self.book.described(described, asked);
                }
                Err(error) => {
                    self.problems.push(Problem {
                        subject: format!("{} tasks", batch.len()),
                        reason: format!("kept as they were: {error}"),
                    });
                    failure = Some(error);
                }
            }
        }
        self.blind = match (failure, self.blind.take()) {
            // Before the first whole look there is nothing to keep these tasks as. What was
            // remembered from before a restart is better than a set without them.
            (Some(error), _)
                if !self.complete && (answers == 0 || self.partial + 1 < WHOLE_LOOKS) =>
            {
                self.partial += 1;
                return Err(Ended::Failed(error));
            }
            (Some(error), before) if answers == 0 => {
                Some((before.map_or(0, |(looks, _)| looks) + 1, error))
            }
            // With nothing to describe, nothing is proved.
            (None, before) if answers == 0 => before,
            _ => None,
        };
        Ok(())
    }

    /// Asks about the service, if an answer is wanted that is younger than the known one.
    async fn ask_service(
        &mut self,
        api: &impl EcsApi,
        stir: bool,
        every: Duration,
    ) -> Result<(), Ended> {
        let began = now();
        let Some(service) = self.aim.service().map(str::to_owned) else {
            return Ok(());
        };
        if self.book.service.due(stir, every, began) > began {
            return Ok(());
        }
        let cluster = self.aim.place().cluster.clone();
        let since = began.checked_sub(SHARED_LIFE).unwrap_or(began);
        let asked = api.describe_service(&cluster, &service, since);
        match self.during(asked).await? {
            Ok((service, at)) => self.book.service.answered(service, at),
            Err(error) => self.book.service.failed(error.to_string(), now()),
        }
        Ok(())
    }

    /// Asks about the services of a cluster of which it is not clear which tasks serve.
    async fn ask_services(&mut self, api: &impl EcsApi) -> Result<(), Ended> {
        if self.aim.service().is_some() {
            return Ok(());
        }
        let cluster = self.aim.place().cluster.clone();
        let poll = self.aim.place().poll_interval.get();
        let (names, due) = {
            let serving = self.book.serving_sets(&self.aim);
            // A look begins a moment earlier or later than the interval says.
            (serving.names(), serving.due(poll.mul_f64(0.5), now()))
        };
        self.book.services.retain(&names);
        for name in due {
            let began = now();
            let since = began.checked_sub(SHARED_LIFE).unwrap_or(began);
            let asked = api.describe_service(&cluster, &name, since);
            match self.during(asked).await? {
                Ok((service, at)) => self.book.services.answered(&name, service, at),
                Err(error) => self.book.services.failed(&name, error.to_string(), now()),
            }
        }
        Ok(())
    }

    /// Asks for definitions and hosts that are wanted and not known. What goes wrong becomes the
    /// reason of the tasks that want it.
    async fn look_up(&mut self, api: &impl EcsApi) -> Result<(), Ended> {
        let began = now();
        self.looked_up = Some(began);
        // A whole cluster has many at the start, and without its labels no task is anything. A first
        // look at a service is to see everything, too.
        let rounds = match self.aim.service() {
            Some(_) if self.complete => 1,
            _ => lookup::rounds(&self.aim, &self.book, began),
        };
        for _ in 0..rounds {
            let began = now();
            let questions = lookup::definitions(&self.aim, &self.book, began);
            self.ask(api, questions).await?;
        }
        let found = api.known_hosts(&self.book.unknown_hosts(now()));
        let known = Hosts {
            found,
            ..Hosts::default()
        };
        self.book.found_hosts(known, now());
        // They have a time of their own.
        let questions = lookup::hosts(&self.book, now());
        self.ask(api, questions).await
    }

    async fn ask(&mut self, api: &impl EcsApi, questions: Vec<Question>) -> Result<(), Ended> {
        let cluster = self.aim.place().cluster.clone();
        let mut left = lookup::LIMIT;
        for question in questions {
            let answer = self.during(question.ask(api, &cluster, &mut left)).await?;
            answer.tell(&mut self.book, now());
        }
        Ok(())
    }

    /// Before the first whole look there is nothing to keep those tasks as whose definitions or hosts
    /// could not be learnt, and a set without them would lose what was known before a reload, or was
    /// remembered from before a restart.
    fn know_all(&mut self) -> Result<(), Ended> {
        if self.complete || self.partial + 1 >= WHOLE_LOOKS {
            return Ok(());
        }
        match self.book.awaited(&self.aim) {
            None => Ok(()),
            Some(reason) => {
                self.partial += 1;
                self.awaits = true;
                Err(Ended::Failed(ApiError {
                    operation: "a first look that did not see everything",
                    reason,
                    kind: ErrorKind::Other,
                }))
            }
        }
    }

    /// Makes a look come at that time, or sooner.
    fn look_by(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
    }

    /// Whether [`Self::look_up`] has something to ask now.
    fn asks(&self) -> bool {
        let now = now();
        !self.book.unknown_hosts(now).is_empty()
            || !self.book.unknown_definitions(&self.aim, now).is_empty()
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
