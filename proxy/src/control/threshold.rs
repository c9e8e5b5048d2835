//! From single checks to a verdict. Pure.

/// The state of a target, in ALB's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not checked yet.
    Initial,
    /// Gets requests.
    Healthy,
    /// Gets none, unless all are unhealthy.
    Unhealthy,
}

impl State {
    /// ALB's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Why a check failed, with ALB's reason codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// `Target.ResponseCodeMismatch`: a status of HTTP.
    Status(u16),
    /// `Target.ResponseCodeMismatch`: a code of gRPC.
    Grpc(u16),
    /// `Target.Timeout`.
    Timeout,
    /// `Target.FailedHealthChecks`: no connection, no HTTP, or another answer than was asked for.
    Failed(String),
    /// `Elb.InternalError`: the check could not be made. Says nothing about the target.
    Internal(String),
}

impl Failure {
    /// ALB's reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Status(_) | Self::Grpc(_) => "Target.ResponseCodeMismatch",
            Self::Timeout => "Target.Timeout",
            Self::Failed(_) => "Target.FailedHealthChecks",
            Self::Internal(_) => "Elb.InternalError",
        }
    }

    /// For people; it begins with ALB's words.
    #[must_use]
    pub fn description(&self) -> String {
        match self {
            Self::Status(code) | Self::Grpc(code) => {
                format!("Health checks failed with these codes: [{code}]")
            }
            Self::Timeout => "Request timed out".to_owned(),
            Self::Failed(why) => format!("Health checks failed: {why}"),
            Self::Internal(why) => format!("Health checks could not be made: {why}"),
        }
    }
}

/// How many checks in a row turn the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes that make an unhealthy target healthy.
    pub healthy: u64,
    /// Failures that make a healthy target unhealthy.
    pub unhealthy: u64,
}

/// The verdict on one target so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    state: State,
    /// It has passed a check since it was registered.
    passed: bool,
    /// Checks in a row that speak against the state.
    against: u64,
    failure: Option<Failure>,
}

impl Health {
    /// Of a target that is checked from now on.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Initial,
            passed: false,
            against: 0,
            failure: None,
        }
    }

    /// Of a target of a group without checks.
    #[must_use]
    pub const fn unchecked() -> Self {
        Self {
            state: State::Healthy,
            passed: true,
            against: 0,
            failure: None,
        }
    }

    /// The verdict.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether it has passed a check, or needs none.
    #[must_use]
    pub const fn has_passed(&self) -> bool {
        self.passed
    }

    /// Why the latest check failed, if it did.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Takes one check. True if the verdict changed.
    ///
    /// ALB: a new target needs one success, whatever the threshold; the thresholds are for later
    /// changes. New is a target until its first success, so that one that was asked a moment too
    /// early does not wait for the threshold. One failure is enough to call a new target
    /// unhealthy, because it gets no requests either way, and then at least the reason is seen.
    ///
    /// A check that could not be made turns nothing: if this process runs out of sockets, its
    /// targets are as well as they were.
    pub fn apply(&mut self, check: Result<(), Failure>, thresholds: Thresholds) -> bool {
        if matches!(check, Err(Failure::Internal(_))) {
            self.failure = check.err();
            return false;
        }
        let before = self.state;
        let passed = check.is_ok();
        let new = !self.passed;
        self.passed |= passed;
        self.failure = check.err();
        let (verdict, needed) = match (before, passed) {
            (State::Initial, true) => (State::Healthy, 1),
            (State::Initial, false) => (State::Unhealthy, 1),
            (State::Unhealthy, true) if new => (State::Healthy, 1),
            (State::Unhealthy, true) => (State::Healthy, thresholds.healthy),
            (State::Healthy, false) => (State::Unhealthy, thresholds.unhealthy),
            (State::Healthy, true) | (State::Unhealthy, false) => {
                self.against = 0;
                return false;
            }
        };
        self.against += 1;
        if self.against < needed {
            return false;
        }
        self.against = 0;
        self.state = verdict;
        true
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Health, State, Thresholds};

    const THRESHOLDS: Thresholds = Thresholds {
        healthy: 3,
        unhealthy: 2,
    };

    fn states(checks: &[bool]) -> Vec<State> {
        let mut health = Health::new();
        checks
            .iter()
            .map(|passed| {
                let check = if *passed {
                    Ok(())
                } else {
                    Err(Failure::Timeout)
                };
                health.apply(check, THRESHOLDS);
                health.state()
            })
            .collect()
    }

    #[test]
    fn a_new_target_is_healthy_after_one_success() {
        assert_eq!(states(&[true]), [State::Healthy]);
    }

    #[test]
    fn a_healthy_target_leaves_after_the_unhealthy_threshold_and_not_before() {
        use State::{Healthy, Unhealthy};
        assert_eq!(
            states(&[true, false, true, false, false]),
            [Healthy, Healthy, Healthy, Healthy, Unhealthy]
        );
    }

    #[test]
    fn an_unhealthy_target_returns_after_the_healthy_threshold_and_not_before() {
        use State::{Healthy, Unhealthy};
        assert_eq!(
            states(&[true, false, false, true, true, false, true, true, true])[2..],
            [
                Unhealthy, Unhealthy, Unhealthy, Unhealthy, Unhealthy, Unhealthy, Healthy
            ]
        );
    }

    #[test]
    fn a_target_that_has_never_passed_needs_one_success_however_often_it_failed() {
        use State::{Healthy, Unhealthy};
        let expected = [Unhealthy, Unhealthy, Unhealthy, Healthy];
        assert_eq!(states(&[false, false, false, true]), expected);
    }

    #[test]
    fn a_check_that_could_not_be_made_turns_nothing() {
        let failed = || Err(Failure::Internal("no sockets".to_owned()));
        let mut health = Health::new();
        for _ in 0..3 {
            assert!(!health.apply(failed(), THRESHOLDS));
        }
        assert_eq!(health.state(), State::Initial);
        assert!(health.apply(Ok(()), THRESHOLDS), "it is still new");
        health.apply(Err(Failure::Timeout), THRESHOLDS);
        health.apply(failed(), THRESHOLDS);
        assert_eq!(health.state(), State::Healthy);
        assert!(
            health.apply(Err(Failure::Timeout), THRESHOLDS),
            "the second failure of a kind that counts"
        );
    }

    #[test]
    fn the_latest_failure_is_kept_as_the_reason() {
        let mut health = Health::new();
        health.apply(Err(Failure::Status(503)), THRESHOLDS);
        assert_eq!(
            health.failure().map(Failure::code),
            Some("Target.ResponseCodeMismatch")
        );
        health.apply(Ok(()), THRESHOLDS);
        assert_eq!(health.failure(), None);
    }
}
