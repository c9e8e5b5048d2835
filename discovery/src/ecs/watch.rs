//! One service under watch: looks at it, and events that are taken at any time, also while a call
//! of a look is under way. A slow API must not hold up what an event tells.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_config::EcsDiscovery;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;

use super::api::{self, ApiError, EcsApi, ErrorKind};
use super::book::{Book, Told};
use super::event::TaskEvent;
use super::feed::{State, Subscription};
use super::lookup::{self, Question};
use super::trust::Trust;
use super::{POLL_SPACING, now, wall};
use crate::target::{Problem, Target, Update};

/// How soon to look again while a task is on its way up, without events.
const UNSETTLED_DELAY: Duration = Duration::from_secs(1);

/// How long additions are gathered after the first one: tasks of a deployment start together, and
/// the addresses of their hosts are asked for in one call.
const GATHER: Duration = Duration::from_millis(250);

/// Why something ended.
pub(super) enum Ended {
    /// Nobody listens any more.
    Unheard,
    /// A call failed.
    Failed(ApiError),
}

/// The state of one service under watch.
pub(super) struct Watch {
    spec: EcsDiscovery,
    out: mpsc::Sender<Update>,
    events: Option<Subscription>,
    book: Book,
    trust: Trust,
    /// Whether the book holds a complete list. Before that, it is no whole set.
    complete: bool,
    /// What the latest look had to complain about.
    problems: Vec<Problem>,
    /// When a change that an event told is to be sent.
    send_at: Option<Instant>,
    /// Something was told that a look is needed for.
    look_due: bool,
    /// Since when the book has questions that only a look answers.
    open_since: Option<Instant>,
    /// Whether events were relied on when operators were last told.
    relied: bool,
}

/// What comes by way of the queue.
enum Heard {
    Event(Arc<TaskEvent>),
    Missed,
    State,
}

/// Waits for news of the queue; for ever without one.
async fn hear(events: &mut Option<Subscription>) -> Heard {
    let Some(subscription) = events else {
        return std::future::pending().await;
    };
    let mut state = subscription.state.clone();
    tokio::select! {
        event = subscription.events.recv() => match event {
            Ok(event) => Heard::Event(event),
            Err(RecvError::Lagged(_)) => Heard::Missed,
            // The subscription holds a sender, so this does not happen.
            Err(RecvError::Closed) => std::future::pending().await,
        },
        Ok(()) = state.changed() => {
            subscription.state.mark_unchanged();
            Heard::State
        }
        else => std::future::pending().await,
    }
}

impl Watch {
    pub(super) fn new(
        spec: EcsDiscovery,
        out: mpsc::Sender<Update>,
        events: Option<Subscription>,
    ) -> Self {
        Self {
            spec,
            out,
            events,
            book: Book::default(),
            trust: Trust::default(),
            complete: false,
            problems: Vec::new(),
            send_at: None,
            look_due: false,
            open_since: None,
            relied: false,
        }
    }

    /// One look at the service. An error means that nothing was learnt about which tasks there are.
    ///
    /// Failures of later steps leave single tasks as they were: the problems name them.
    pub(super) async fn look(&mut self, api: &impl EcsApi) -> Result<(), Ended> {
        let began = now();
        self.look_due = false;
        let relies = self.complete && self.relies(began);
        self.trust.begin(relies.then(|| self.book.serving()));
        let (cluster, service) = (self.spec.cluster.clone(), self.spec.service.clone());
        let listed = self.during(api.list_tasks(&cluster, &service)).await?;
        let listed: BTreeSet<Arc<str>> = match listed {
            Ok(arns) => arns.into_iter().collect(),
            // It was deleted, and its tasks with it, if they say so themselves. A service that was
            // never seen is more likely a wrong name.
            Err(error) if error.kind == ErrorKind::NoSuchService && !self.book.is_empty() => {
                BTreeSet::new()
            }
            Err(error) => return Err(Ended::Failed(error)),
        };
        let mut problems = Vec::new();
        for batch in self
            .book
            .to_describe(&listed, &self.spec, began)
            .chunks(api::BATCH)
        {
            match self.during(api.describe_tasks(&cluster, batch)).await? {
                Ok(described) => self.book.described(described, now()),
                Err(error) => problems.push(Problem {
                    subject: format!("{} tasks", batch.len()),
                    reason: format!("kept as they were: {error}"),
                }),
            }
        }
        self.book.listed(&listed, began);
        self.look_up(api).await?;
        self.problems = problems;
        self.complete = true;
        self.trust.end(&self.book.serving(), now());
        Ok(())
    }

    /// Asks for definitions and hosts that are wanted and not known. What goes wrong becomes the
    /// reason of the tasks that want it.
    async fn look_up(&mut self, api: &impl EcsApi) -> Result<(), Ended> {
        let began = now();
        let questions = lookup::definitions(&self.spec, &self.book, began);
        self.ask(api, questions, began).await?;
        // Their time begins now.
        let began = now();
        let questions = lookup::hosts(&self.book, began);
        self.ask(api, questions, began).await
    }

    async fn ask(
        &mut self,
        api: &impl EcsApi,
        questions: Vec<Question>,
        began: Instant,
    ) -> Result<(), Ended> {
        let cluster = self.spec.cluster.clone();
        for question in questions {
            let answer = self.during(question.ask(api, &cluster, began)).await?;
            answer.tell(&mut self.book, now());
        }
        Ok(())
    }

    /// Whether [`Self::look_up`] has something to ask now.
    fn asks(&self) -> bool {
        let now = now();
        !self.book.unknown_hosts(now).is_empty()
            || !self.book.unknown_definitions(&self.spec, now).is_empty()
    }

    /// Waits for the next look's time: `pause` after a failed one that ended at `at`, and otherwise
    /// as events and open questions want it, spread by a factor; or until somebody asks.
    pub(super) async fn wait(
        &mut self,
        api: &impl EcsApi,
        at: Instant,
        pause: Option<Duration>,
        spread: f64,
        asked: impl Future<Output = ()>,
    ) -> Result<(), Ended> {
        let mut asked = pin!(asked);
        loop {
            let moment = now();
            self.note_reliance(moment);
            let next = match pause {
                Some(pause) => at + pause,
                None => self.next_look(at, spread, moment),
            };
            if next <= moment {
                return Ok(());
            }
            let wake = [Some(next), self.send_at, self.trust.due()];
            let wake = wake.into_iter().flatten().min().unwrap_or(next);
            tokio::select! {
                () = &mut asked => return Ok(()),
                heard = hear(&mut self.events) => self.take(heard),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            if self.send_at.is_some_and(|at| at <= now()) {
                self.send_change().await?;
                if self.asks() {
                    // What fails here is a question for the next look.
                    self.look_up(api).await?;
                    self.send_change().await?;
                }
            }
        }
    }

    fn next_look(&mut self, at: Instant, spread: f64, now: Instant) -> Instant {
        let poll = self.spec.poll_interval.get();
        if self.look_due {
            return at + POLL_SPACING;
        }
        if self.relies(now) {
            let regular = at + self.spec.reconcile_interval.get().mul_f64(spread);
            let open = self.open_since.map(|since| since + poll.mul_f64(spread));
            return open.map_or(regular, |open| open.min(regular));
        }
        let unsettled = self.book.is_unsettled(&self.spec);
        let period = if unsettled {
            poll.min(UNSETTLED_DELAY)
        } else {
            poll
        };
        at + period.mul_f64(spread)
    }

    /// Whether events tell of changes, so that polls may be rare.
    fn relies(&mut self, now: Instant) -> bool {
        let works = self.events.as_ref().is_some_and(|events| {
            // Without its sender the reader is gone.
            *events.state.borrow() == State::Works && events.state.has_changed().is_ok()
        });
        works && self.trust.holds(now)
    }

    /// Notes whether events are relied on, so that operators are told when that changes.
    fn note_reliance(&mut self, now: Instant) {
        let relies = self.relies(now);
        if relies != self.relied {
            self.relied = relies;
            self.send_at = Some(now);
        }
    }

    /// Waits for a call, and takes events meanwhile.
    async fn during<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Ended> {
        let mut call = pin!(call);
        loop {
            let send_at = self.send_at;
            let due = async {
                match send_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                done = &mut call => return Ok(done),
                heard = hear(&mut self.events) => self.take(heard),
                () = due => {}
            }
            if self.send_at.is_some_and(|at| at <= now()) {
                self.send_change().await?;
            }
        }
    }

    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Event(event) => self.take_event(&event),
            Heard::Missed => {
                self.trust.excuse();
                self.look_due = true;
            }
            Heard::State => self.trust.excuse(),
        }
        // What has come meanwhile goes into the same set.
        while let Some(more) = self.events.as_mut().map(|it| it.events.try_recv()) {
            match more {
                Ok(event) => self.take_event(&event),
                Err(TryRecvError::Lagged(_)) => {
                    self.trust.excuse();
                    self.look_due = true;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn take_event(&mut self, event: &TaskEvent) {
        if !event.concerns(&self.spec) {
            return;
        }
        self.trust.told(&event.task.arn);
        let since = u64::try_from(event.at).unwrap_or_default();
        // Never in the future, whatever the two clocks say.
        let age = wall().saturating_sub(Duration::from_millis(since));
        let now = now();
        match self.book.told(event, age, now) {
            Told::Nothing => {}
            Told::Gone => self.send_at = Some(now),
            Told::Changed => self.send_at = self.send_at.or(Some(now + GATHER)),
            Told::Look => self.look_due = true,
        }
    }

    /// Sends what a look found.
    pub(super) async fn send_all(&mut self, at: Instant) -> Result<(), Ended> {
        let (targets, problems) = self.whole();
        let update = Update::Set {
            targets,
            problems,
            at,
        };
        self.send(update).await?;
        self.open_since = None;
        self.sent();
        Ok(())
    }

    /// Sends what events told. Cut short, it begins anew: the time for it stays.
    async fn send_change(&mut self) -> Result<(), Ended> {
        if self.complete {
            let (targets, problems) = self.whole();
            self.send(Update::Changed { targets, problems }).await?;
        }
        self.sent();
        Ok(())
    }

    fn sent(&mut self) {
        self.send_at = None;
        match self.book.wants_look(&self.spec) {
            true => self.open_since = self.open_since.or(Some(now())),
            false => self.open_since = None,
        }
    }

    fn whole(&mut self) -> (Vec<Target>, Vec<Problem>) {
        let (targets, more) = self.book.targets(&self.spec);
        let mut problems = self.problems.clone();
        problems.extend(more);
        let reason = self
            .events
            .as_ref()
            .and_then(|events| match &*events.state.borrow() {
                State::Starting | State::Works => None,
                State::Fails(error) => Some(format!("polling as without it: {error}")),
            });
        let reason = match reason {
            None if self.events.is_some() && !self.trust.holds(now()) => Some(
                "polling as without it for ten minutes: looks found changes that no event told"
                    .to_owned(),
            ),
            reason => reason,
        };
        problems.extend(reason.map(|reason| Problem {
            subject: "events_queue".to_owned(),
            reason,
        }));
        (targets, problems)
    }

    pub(super) async fn send(&self, update: Update) -> Result<(), Ended> {
        self.out.send(update).await.map_err(|_| Ended::Unheard)
    }
}
