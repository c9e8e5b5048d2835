//! Targets that may have left without anybody having said so.

use std::time::{Duration, Instant};

use super::controller::Controller;
use super::group::Group;

/// From one question about targets in doubt to the next. Sources have a spacing of their own; this is
/// what their budgets can bear for as long as a doubt lasts.
const QUESTION_SPACING: Duration = Duration::from_secs(5);

impl Controller {
    /// Asks sources about targets in doubt, which get no requests while there are others: a look in
    /// its turn may not settle it, as a list of tasks does not show their ports.
    pub(super) fn tend_doubts(&mut self, now: Instant) {
        if self.next_question.is_some_and(|next| now < next) {
            return;
        }
        self.next_question = Some(now + QUESTION_SPACING);
        let doubtful = |group: &&Group| {
            let mut members = group.members.iter();
            members.any(|member| member.endpoint.is_doubtful())
        };
        for group in self.groups.values().filter(doubtful) {
            for source in &group.look_now {
                source.notify_one();
            }
        }
    }
}
