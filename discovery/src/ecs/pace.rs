//! How often a service is looked at. Pure.
//!
//! A look costs one call for each 100 tasks out of a limit that the whole account shares, so what
//! is in motion is looked at more often only as far as that stays cheap.

use std::time::Duration;

use super::api::BATCH;
use super::service::Motion;

/// From one look to the next while something is in motion.
const STEP: Duration = Duration::from_secs(2);

/// What each page of the list stretches that to, so that looks at tasks in motion take at most one
/// call a second, or what `poll_interval` takes, if that is more: tasks come and go every day.
const PAGE_TASKS: Duration = Duration::from_secs(1);

/// The same during a deployment: four calls a second, a fifth of what the account has. It ends.
const PAGE_ROLLOUT: Duration = Duration::from_millis(250);

/// From one look to the next, without events, for a service of so many tasks.
pub(super) fn look(poll: Duration, motion: Motion, tasks: usize) -> Duration {
    let pages = u32::try_from(tasks.div_ceil(BATCH)).unwrap_or(u32::MAX);
    let page = match motion {
        Motion::Rest => return poll,
        Motion::Tasks => PAGE_TASKS,
        Motion::Rollout => PAGE_ROLLOUT,
    };
    poll.min(STEP.max(page.saturating_mul(pages)))
}

/// From one question about a service in motion to the next, where looks are further apart.
pub(super) fn step(poll: Duration) -> Duration {
    poll.min(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_motion_is_looked_at_every_two_seconds_as_long_as_that_is_cheap() {
        let poll = Duration::from_secs(5);
        let seconds = |motion, tasks| look(poll, motion, tasks).as_secs_f64();
        for tasks in [0, 100, 1_000, 10_000] {
            assert_eq!(seconds(Motion::Rest, tasks), 5.0);
        }
        assert_eq!(seconds(Motion::Tasks, 200), 2.0);
        assert_eq!(seconds(Motion::Tasks, 201), 3.0);
        assert_eq!(seconds(Motion::Tasks, 1_000), 5.0);
        assert_eq!(seconds(Motion::Rollout, 800), 2.0);
        assert_eq!(seconds(Motion::Rollout, 1_000), 2.5);
        assert_eq!(seconds(Motion::Rollout, 10_000), 5.0);
    }

    #[test]
    fn a_shorter_interval_of_the_file_holds() {
        let poll = Duration::from_secs(1);
        assert_eq!(look(poll, Motion::Rollout, 1), poll);
        assert_eq!((step(poll), step(5 * poll)), (poll, STEP));
    }
}
