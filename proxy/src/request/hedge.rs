//! A second target is asked while the first one still has time to answer; whoever answers first
//! serves. It costs targets a little work, and takes the slowest of them out of a client's wait.
//!
//! Only what may be done twice without harm: requests with a safe method that were sent whole and
//! can be sent again, and clients that stay at no target. That a method is idempotent is not enough:
//! the slower of two targets may do its part after the client's next request.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::attempts::Attempts;
use super::choose::{Choice, choose};
use super::exchange::{self, Asking, Inbound, Response};
use super::link::Link;
use super::plan::Destination;
use super::retry::Policy;
use super::upload::Upload;
use super::{blame, open, pooled, reason_for, unless_gone, within_budget};
use crate::clock;
use crate::control::snapshot::Limits;
use crate::observe::outcome::Outcome;
use crate::serve::client::Client;
use crate::upstream::error::AttemptError;
use crate::upstream::identity::Identity;
use crate::upstream::lease::Lease;
use crate::upstream::passive::Fault;
use crate::upstream::pool::Connection;

/// After what time a second target is asked. None: never, for this request.
pub(super) fn delay(
    policy: &Policy,
    inbound: &Inbound<'_>,
    upload: &Upload,
    stays: Option<Identity>,
) -> Option<Duration> {
    let may_be_doubled = inbound.safe && !inbound.websocket && upload.is_repeatable();
    policy
        .hedge_after
        .filter(|_| may_be_doubled && stays.is_none())
}

/// What one request brings to it.
pub(super) struct Hedged<'a> {
    pub(super) client: &'a Client,
    pub(super) inbound: &'a Inbound<'a>,
    pub(super) limits: &'a Limits,
    pub(super) destination: Destination,
    pub(super) policy: &'a Policy,
}

/// One of the two.
struct Runner {
    lease: Lease,
    connection: Box<Connection>,
    asking: Asking,
    since: Instant,
}

type Attempted = (Lease, Result<(Response, Box<Connection>), AttemptError>);

enum First<T> {
    Answered(Result<Response, AttemptError>),
    Other(T),
}

impl Hedged<'_> {
    /// An attempt at one target, and after `delay` at another one too. Returns the one whose
    /// response it is, or that failed last; then `attempts` has the other one.
    pub(super) async fn attempt(
        &self,
        delay: Duration,
        link: &mut Link,
        lease: Lease,
        upload: &mut Upload,
        attempts: &mut Attempts,
        outcome: &mut Outcome<'_>,
    ) -> Attempted {
        outcome.attempts(&lease);
        let connection = match pooled(self.client, &lease, self.inbound, attempts) {
            Some(connection) => {
                outcome.reuses();
                Ok(connection)
            }
            None => {
                let opened = open(self.client, &lease, self.inbound, attempts, self.limits);
                let opened = unless_gone(self.client, link, opened).await;
                let opened = opened.unwrap_or(Err(AttemptError::ClientGone));
                opened.inspect(|_| outcome.connected())
            }
        };
        let mut first = match connection {
            Ok(connection) => self.begin(lease, connection),
            Err(error) => return (lease, Err(error)),
        };
        let timer = tokio::time::sleep(self.client.left_of(delay));
        match self.race(link, &mut first, upload, timer).await {
            First::Answered(answer) => return first.end(answer),
            First::Other(()) => {}
        }
        let Some(lease) = self.second(&first, upload, attempts) else {
            let answer = self.alone(link, &mut first, upload).await;
            return first.end(answer);
        };
        self.client.worker.metrics.hedges.add(1);
        let connection = match pooled(self.client, &lease, self.inbound, attempts) {
            Some(connection) => Ok(connection),
            None => {
                let opened = open(self.client, &lease, self.inbound, attempts, self.limits);
                match self.race(link, &mut first, upload, opened).await {
                    First::Answered(answer) => return first.end(answer),
                    First::Other(opened) => opened,
                }
            }
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                self.failed(&lease, &error, attempts);
                drop(lease);
                let answer = self.alone(link, &mut first, upload).await;
                return first.end(answer);
            }
        };
        let second = self.begin(lease, connection);
        self.both(link, first, second, upload, attempts, outcome)
            .await
    }

    fn begin(&self, lease: Lease, mut connection: Box<Connection>) -> Runner {
        let asking = Asking::begin(self.client, &mut connection, &lease, self.limits);
        Runner {
            lease,
            connection,
            asking,
            since: clock::now(),
        }
    }

    /// The second target, if one is to be asked and the budget of the group has room for it.
    fn second(&self, first: &Runner, upload: &Upload, attempts: &mut Attempts) -> Option<Lease> {
        if !upload.is_done() || attempts.lost() + 2 > self.policy.attempts {
            return None;
        }
        attempts.note_hedged(&first.lease);
        let replayable = self.inbound.replayable;
        let chosen = choose(
            self.client,
            self.destination,
            None,
            replayable,
            false,
            attempts,
        );
        let Choice::Lease(lease) = chosen else {
            return None;
        };
        let is_other = lease.endpoint().id != first.lease.endpoint().id;
        (is_other && within_budget(self.client, self.destination.group)).then_some(lease)
    }

    /// The first one's answer, or what comes of something else if that is sooner.
    async fn race<T>(
        &self,
        link: &mut Link,
        first: &mut Runner,
        upload: &mut Upload,
        other: impl Future<Output = T>,
    ) -> First<T> {
        let mut other = pin!(other);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = self.poll(link, first, upload, cx) {
                return Poll::Ready(First::Answered(answer));
            }
            other.as_mut().poll(cx).map(First::Other)
        })
        .await
    }

    async fn alone(
        &self,
        link: &mut Link,
        runner: &mut Runner,
        upload: &mut Upload,
    ) -> Result<Response, AttemptError> {
        poll_fn(|cx| self.poll(link, runner, upload, cx)).await
    }

    fn poll(
        &self,
        link: &mut Link,
        runner: &mut Runner,
        upload: &mut Upload,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Result<Response, AttemptError>> {
        // Two share what wakes their client's task. It has to hear of the end of the one that is
        // looked at, and of the winner's in what follows.
        self.client.hear_of(runner.lease.local());
        exchange::poll_ask(
            self.client,
            link,
            &mut runner.connection,
            upload,
            self.inbound,
            &runner.lease,
            self.limits,
            &mut runner.asking,
            cx,
        )
    }

    /// The first of two to answer. If one fails, or answers what is tried again, the other one has
    /// all of its time.
    async fn both(
        &self,
        link: &mut Link,
        mut first: Runner,
        mut second: Runner,
        upload: &mut Upload,
        attempts: &mut Attempts,
        outcome: &mut Outcome<'_>,
    ) -> Attempted {
        let mut copy = upload.again();
        let (is_first, answer) = poll_fn(|cx| {
            if let Poll::Ready(answer) = self.poll(link, &mut first, upload, cx) {
                return Poll::Ready((true, answer));
            }
            let second = self.poll(link, &mut second, &mut copy, cx);
            second.map(|answer| (false, answer))
        })
        .await;
        let (ended, mut other) = match is_first {
            true => (first, second),
            false => (second, first),
        };
        let in_vain = match &answer {
            // Another target would be asked after it, and one is at work already.
            Ok(response) => self.policy.names(response.status) && link.take_back(),
            Err(error) => !matches!(error, AttemptError::ClientGone),
        };
        if !in_vain {
            attempts.note_overtaken();
            other.connection.ended_by_us();
            if !is_first {
                self.client.worker.metrics.hedges_won.add(1);
                outcome.overtaken(&ended.lease, ended.since);
                std::mem::swap(upload, &mut copy);
            }
            self.client.worker.buffers.put_output(copy.take_output());
            return ended.end(answer);
        }
        match answer {
            Ok(response) => {
                self.answered_badly(&ended, &response, attempts);
                if is_first {
                    outcome.answered(response.status);
                    outcome.is_in_vain();
                }
            }
            Err(error) => {
                self.failed(&ended.lease, &error, attempts);
                if is_first {
                    outcome.failed(reason_for(&error));
                }
            }
        }
        if is_first {
            std::mem::swap(upload, &mut copy);
            outcome.overtaken(&other.lease, other.since);
        }
        drop(ended);
        self.client
            .attempt_begins(other.lease.local(), self.limits.idle);
        self.leave_its_time(&other);
        let answer = self.alone(link, &mut other, upload).await;
        other.end(answer)
    }

    /// What is left of the time of one that is alone from now on: until now that of the other counted,
    /// which began at another moment.
    fn leave_its_time(&self, runner: &Runner) {
        let spent = clock::now().saturating_duration_since(runner.since);
        let left = |limit: Option<Duration>| limit.map(|limit| limit.saturating_sub(spent));
        self.client.limit_attempt(left(self.policy.per_try));
        if let Some(limit) = left(self.limits.response_header) {
            self.client.limit_head(limit, self.limits.idle);
        }
    }

    /// Notes that one of two has answered with a status after which another target is asked.
    fn answered_badly(&self, runner: &Runner, response: &Response, attempts: &mut Attempts) {
        let took = clock::now().saturating_duration_since(runner.since);
        runner.lease.answered(response.status, took);
        if let Some(fault) = Fault::of_status(response.status) {
            blame(self.client, self.destination.group, &runner.lease, fault);
        }
        attempts.note_response(&runner.lease);
        response.leave(&runner.connection);
    }

    /// Notes that one of two has failed.
    fn failed(&self, lease: &Lease, error: &AttemptError, attempts: &mut Attempts) {
        attempts.note(lease, error);
        if let Some(fault) = error.fault() {
            blame(self.client, self.destination.group, lease, fault);
        }
    }
}

impl Runner {
    fn end(self, answer: Result<Response, AttemptError>) -> Attempted {
        let Self {
            lease, connection, ..
        } = self;
        (lease, answer.map(|response| (response, connection)))
    }
}
