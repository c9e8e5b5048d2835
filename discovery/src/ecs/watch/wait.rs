//! From one look to the next.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use super::hear::hear;
use super::{Ended, Watch};
use crate::clock::now;
use crate::ecs::aim::Aim;
use crate::ecs::api::{BATCH, EcsApi};
use crate::ecs::feed::State;
use crate::ecs::service::Motion;
use crate::ecs::{POLL_SPACING, pace};

/// The shortest time between two rounds of questions about hosts and definitions.
const LOOKUP_SPACING: Duration = Duration::from_secs(1);

impl<A: Aim> Watch<A> {
    /// Waits for the next look's time: `pause` after a failed one that ended at `at`, and otherwise
    /// as events and open questions want it, spread by a factor; or until somebody asks.
    pub(in super::super) async fn wait(
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
            let step = match pause {
                Some(_) => None,
                None => self.next_step(moment),
            };
            let lookup = self.next_lookup(moment);
            let wake = [Some(next), self.send_at, self.trust.due(), step, lookup];
            let wake = wake.into_iter().flatten().min().unwrap_or(next);
            tokio::select! {
                () = &mut asked => {
                    self.book.doubt(now());
                    return Ok(());
                }
                heard = hear(&mut self.events) => self.take(heard),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let moment = now();
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= moment);
            if due(self.send_at) {
                self.send_change().await?;
                if self.asks() {
                    // What fails here is a question for later.
                    self.look_up(api).await?;
                    self.send_change().await?;
                }
            }
            if due(step) {
                self.step(api).await?;
            }
            if due(lookup) && self.asks() {
                self.look_up(api).await?;
                self.send_change().await?;
            }
            if self.awaits && self.book.awaited(&self.aim).is_none() {
                // What the first look had to wait for has come, or never will.
                return Ok(());
            }
        }
    }

    fn next_look(&mut self, at: Instant, spread: f64, now: Instant) -> Instant {
        let poll = self.aim.place().poll_interval.get();
        let told = self.look_at.map(|told| told.max(at + POLL_SPACING));
        let relies = self.relies(now);
        let regular = match relies {
            true => self.aim.place().reconcile_interval.get(),
            false => pace::look(poll, self.motion(now), self.book.len()),
        };
        let open = self.open_since.filter(|_| relies);
        let open = open.map(|since| since + poll.mul_f64(spread));
        let regular = at + regular.mul_f64(spread);
        [told, open]
            .into_iter()
            .flatten()
            .fold(regular, Instant::min)
    }

    fn motion(&self, now: Instant) -> Motion {
        let own = match self.book.is_unsettled(&self.aim, now) {
            true => Motion::Tasks,
            false => Motion::Rest,
        };
        own.max(self.book.service.motion(now))
    }

    /// When to ask about the service between two looks. Without events, while something is in
    /// motion: its counts tell when there is something to describe. With events, only about task
    /// sets, as no event tells which one is PRIMARY.
    fn next_step(&mut self, now: Instant) -> Option<Instant> {
        let poll = self.aim.place().poll_interval.get();
        let relies = self.relies(now);
        if self.aim.service().is_none() {
            // Between two looks at a whole cluster there is nothing else so cheap to ask, and
            // looks without events ask this themselves.
            let asks = relies && self.complete;
            return asks.then(|| self.book.serving_sets(&self.aim).next(poll, now))?;
        }
        if relies {
            let sets = self.book.service.has_sets();
            return sets.then(|| self.book.service.due(true, poll, now));
        }
        (self.motion(now) > Motion::Rest)
            .then(|| self.book.service.due(true, pace::step(poll), now))
    }

    /// When a host or a definition may be asked for again.
    fn next_lookup(&self, now: Instant) -> Option<Instant> {
        let due = self.book.next_question(&self.aim, now)?;
        let spaced = self.looked_up.map(|at| at + LOOKUP_SPACING);
        Some(spaced.map_or(due, |spaced| due.max(spaced)))
    }

    /// Asks about the service, and describes the tasks on their way up if it has more that run.
    async fn step(&mut self, api: &impl EcsApi) -> Result<(), Ended> {
        if self.aim.service().is_none() {
            self.ask_services(api).await?;
            return self.send_change().await;
        }
        let relies = self.relies(now());
        let primary = self.book.service.primary().cloned();
        self.ask_service(api, true, Duration::ZERO).await?;
        if self.book.service.primary() != primary.as_ref() {
            // Its tasks should be known before those of the other one go.
            self.look_by(now());
        }
        if relies {
            return Ok(());
        }
        let mut starting = self.book.starting(now());
        starting.truncate(BATCH);
        if starting.is_empty() {
            return Ok(());
        }
        let cluster = self.aim.place().cluster.clone();
        let asked = now();
        // What fails is described by the next look, which says so.
        if let Ok(described) = self.during(api.describe_tasks(&cluster, &starting)).await? {
            self.book.described(described, asked);
            if self.asks() {
                self.look_up(api).await?;
            }
            self.send_change().await?;
        }
        Ok(())
    }

    /// Whether events tell of changes, so that polls may be rare.
    pub(super) fn relies(&mut self, now: Instant) -> bool {
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
    pub(super) async fn during<T>(&mut self, call: impl Future<Output = T>) -> Result<T, Ended> {
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
}
