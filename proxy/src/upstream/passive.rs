//! What requests show of a target, as each worker counts it alone. No clock: time is an argument, in
//! milliseconds that all workers count alike.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a request failed at its target, from worse to better: each says that it did better than
/// those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It refused the connection: nobody listens.
    Refused,
    /// No response: no connection, a reset, silence, no HTTP, or a response cut short.
    Failed,
    /// It answered 502, 503 or 504.
    Gateway,
    /// It answered another 5xx.
    Server,
}

impl Fault {
    /// What a status says against its target.
    #[must_use]
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            502..=504 => Some(Self::Gateway),
            500.. => Some(Self::Server),
            _ => None,
        }
    }
}

/// Requests in a row that ended badly: `[refused, without a response, gateway, 5xx]`, where each
/// counts those before it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runs(pub [u16; 4]);

impl Runs {
    fn unpack(packed: u64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "one quarter each")]
        let part = |index: u32| (packed >> (16 * index)) as u16;
        Self([part(0), part(1), part(2), part(3)])
    }

    fn pack(self) -> u64 {
        let parts = self.0.iter().rev();
        parts.fold(0, |packed, part| packed << 16 | u64::from(*part))
    }

    /// With one fault more.
    #[must_use]
    pub fn then(self, fault: Fault) -> Self {
        let first = fault as usize;
        let mut runs = self.0;
        for (index, run) in runs.iter_mut().enumerate() {
            *run = if index < first {
                0
            } else {
                run.saturating_add(1)
            };
        }
        Self(runs)
    }

    /// The first limit that is reached; 0 is none.
    #[must_use]
    pub fn reach(self, limits: [u16; 4]) -> Option<Fault> {
        let faults = [Fault::Refused, Fault::Failed, Fault::Gateway, Fault::Server];
        let reached = |(run, limit): (u16, u16)| limit > 0 && run >= limit;
        let index = self.0.into_iter().zip(limits).position(reached)?;
        Some(faults[index])
    }

    /// Whether a worker that has this run should have the target looked at: if all of `workers` had
    /// as long a run as this, a limit would be reached, or it alone reaches one; and not for each fault
    /// after that.
    #[must_use]
    pub fn calls(self, limits: [u16; 4], workers: usize) -> bool {
        let workers = u16::try_from(workers.max(1)).unwrap_or(u16::MAX);
        let parts = self.0.into_iter().zip(limits);
        parts.into_iter().any(|(run, limit)| {
            let part = limit.div_ceil(workers);
            part > 0 && run > 0 && (run % part == 0 || run == limit)
        })
    }
}

/// One worker's part. The worker alone writes it, on its own cache lines.
#[derive(Debug, Default)]
pub(crate) struct Passive {
    /// [`Runs`] since the latest success.
    runs: AtomicU64,
    /// When the run began.
    since: AtomicU64,
    /// When a request last succeeded.
    succeeded: AtomicU64,
    /// The sum of the microseconds to response heads, and how many; only if that is wanted.
    micros: AtomicU64,
    timed: AtomicU64,
}

impl Passive {
    pub(crate) fn succeeded(&self, now: u64) {
        if self.runs.load(Ordering::Relaxed) != 0 {
            self.runs.store(0, Ordering::Relaxed);
        }
        self.succeeded.store(now, Ordering::Relaxed);
    }

    /// `succeeded`: when a request of any worker last did. A run that had begun by then is over,
    /// and another one begins.
    pub(crate) fn failed(&self, fault: Fault, now: u64, succeeded: u64) -> Runs {
        let mut before = self.runs.load(Ordering::Relaxed);
        if before == 0 || self.since.load(Ordering::Relaxed) <= succeeded {
            before = 0;
            self.since.store(now, Ordering::Relaxed);
        }
        let runs = Runs::unpack(before).then(fault);
        self.runs.store(runs.pack(), Ordering::Relaxed);
        runs
    }

    pub(crate) fn took(&self, micros: u64) {
        let relaxed = Ordering::Relaxed;
        let sum = self.micros.load(relaxed).wrapping_add(micros);
        self.micros.store(sum, relaxed);
        self.timed.store(self.timed.load(relaxed) + 1, relaxed);
    }

    pub(crate) fn timed(&self) -> Timed {
        Timed {
            micros: self.micros.load(Ordering::Relaxed),
            count: self.timed.load(Ordering::Relaxed),
        }
    }

    /// When a request of the worker last succeeded; 0: never.
    pub(crate) fn last_success(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// The run, and when it began.
    fn run(&self) -> (Runs, u64) {
        let runs = Runs::unpack(self.runs.load(Ordering::Relaxed));
        (runs, self.since.load(Ordering::Relaxed))
    }
}

/// How long response heads took: a sum of microseconds, and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timed {
    /// The sum.
    pub micros: u64,
    /// How many.
    pub count: u64,
}

/// What all workers together have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Requests in a row that ended badly.
    pub runs: Runs,
    /// When a request last succeeded; 0: never.
    pub succeeded: u64,
}

/// Adds up the runs that have begun since the latest success of any worker: those are one run.
pub(crate) fn seen<'p>(parts: impl Iterator<Item = &'p Passive> + Clone) -> Seen {
    let succeeded = latest_success(parts.clone());
    let mut sum = Runs::default();
    for part in parts {
        let (run, since) = part.run();
        for (index, one) in run.0.into_iter().enumerate() {
            // What happened in the same moment may have been before or after. A refusal counts: nobody
            // listens, whatever was answered on a connection that was open.
            let same = index == 0 && since == succeeded;
            if succeeded == 0 || since > succeeded || same {
                sum.0[index] = sum.0[index].saturating_add(one);
            }
        }
    }
    Seen {
        runs: sum,
        succeeded,
    }
}

/// When a request of any worker last succeeded; 0: never.
pub(crate) fn latest_success<'p>(parts: impl Iterator<Item = &'p Passive>) -> u64 {
    parts.map(Passive::last_success).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Fault, Passive, Runs, latest_success, seen};

    #[test]
    fn a_run_is_packed_and_unpacked_as_it_was() {
        for runs in [Runs([1, 2, 3, 4]), Runs([u16::MAX; 4]), Runs::default()] {
            assert_eq!(Runs::unpack(runs.pack()), runs);
        }
    }

    #[test]
    fn what_is_less_bad_ends_the_runs_of_what_is_worse() {
        let runs = Runs::default().then(Fault::Refused).then(Fault::Refused);
        assert_eq!(runs, Runs([2, 2, 2, 2]));
        assert_eq!(runs.then(Fault::Failed), Runs([0, 3, 3, 3]));
        assert_eq!(runs.then(Fault::Gateway), Runs([0, 0, 3, 3]));
        assert_eq!(runs.then(Fault::Server), Runs([0, 0, 0, 3]));
        assert_eq!(Runs([u16::MAX; 4]).then(Fault::Refused).0, [u16::MAX; 4]);
    }

    #[test]
    fn a_limit_is_reached_and_not_before_and_0_is_none() {
        let limits = [1, 5, 0, 0];
        assert_eq!(Runs([1, 1, 1, 1]).reach(limits), Some(Fault::Refused));
        assert_eq!(Runs([0, 4, 9, 9]).reach(limits), None);
        assert_eq!(Runs([0, 5, 5, 5]).reach(limits), Some(Fault::Failed));
    }

    /// A request of that worker failed.
    fn fail(workers: &[Passive], worker: usize, fault: Fault, now: u64) {
        workers[worker].failed(fault, now, latest_success(workers.iter()));
    }

    #[test]
    fn runs_of_several_workers_are_one_until_any_of_them_has_a_success() {
        let workers = [Passive::default(), Passive::default()];
        workers[0].succeeded(100);
        for time in [150, 160] {
            fail(&workers, 0, Fault::Failed, time);
            fail(&workers, 1, Fault::Failed, time);
        }
        assert_eq!(seen(workers.iter()).runs.0[1], 4);
        workers[1].succeeded(200);
        assert_eq!(seen(workers.iter()).runs.0[1], 0, "the other's is older");
        fail(&workers, 0, Fault::Failed, 210);
        fail(&workers, 1, Fault::Failed, 210);
        assert_eq!(seen(workers.iter()).runs.0[1], 2, "and begins anew");
        workers[0].succeeded(220);
        fail(&workers, 0, Fault::Failed, 230);
        assert_eq!(seen(workers.iter()).runs.0[1], 1);
    }

    #[test]
    fn faults_of_one_worker_are_no_run_while_another_one_has_successes_between_them() {
        let workers = [Passive::default(), Passive::default()];
        for time in (100..200).step_by(2) {
            fail(&workers, 0, Fault::Failed, time);
            assert_eq!(seen(workers.iter()).runs.0[1], 1, "at {time}");
            workers[1].succeeded(time + 1);
            assert_eq!(seen(workers.iter()).runs.0[1], 0, "at {time}");
        }
    }

    #[test]
    fn a_success_in_the_same_moment_ends_a_run_of_another_worker_but_no_refusal() {
        let workers = [Passive::default(), Passive::default()];
        fail(&workers, 0, Fault::Refused, 100);
        workers[1].succeeded(100);
        assert_eq!(seen(workers.iter()).runs.0, [1, 0, 0, 0]);
        workers[1].succeeded(101);
        assert_eq!(seen(workers.iter()).runs.0, [0; 4]);
        fail(&workers, 0, Fault::Failed, 101);
        fail(&workers, 0, Fault::Failed, 102);
        assert_eq!(seen(workers.iter()).runs.0[1], 1, "it goes on");
    }

    #[test]
    fn a_worker_calls_when_its_part_of_a_limit_is_reached() {
        let limits = [0, 5, 0, 0];
        let calls = |run| Runs([0, run, run, run]).calls(limits, 2);
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(calls),
            [false, false, true, false, true, true]
        );
        assert!(!Runs::default().calls([1; 4], 8));
        assert!(Runs([1; 4]).calls([1, 0, 0, 0], 8));
    }
}
