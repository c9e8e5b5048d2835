//! What is shown of a target's health: ALB's states, reason codes and descriptions. Pure.

use super::threshold::{Health, State};

/// What stands between a target and its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// It can get requests at its address.
    pub(super) is_usable: bool,
    /// A rule forwards to its group.
    pub(super) is_in_use: bool,
    /// It is checked.
    pub(super) is_checked: bool,
    /// Its first check has begun.
    pub(super) has_begun: bool,
}

/// A state with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) state: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) description: Option<String>,
}

impl Status {
    fn new(state: &'static str, reason: &'static str, description: impl Into<String>) -> Self {
        Self {
            state,
            reason: Some(reason),
            description: Some(description.into()),
        }
    }

    /// Of a target that left.
    pub(super) fn draining() -> Self {
        let description = "Target deregistration is in progress";
        Self::new("draining", "Target.DeregistrationInProgress", description)
    }

    /// Of a target that its source still names, at an address that another one has.
    pub(super) fn superseded() -> Self {
        let description =
            "Target is not registered to the target group: a younger target has its address";
        Self::new("unused", "Target.NotRegistered", description)
    }

    /// Of a registered target.
    pub(super) fn of(health: &Health, standing: Standing) -> Self {
        if !standing.is_usable {
            let description = "Target IP address is unusable: it is a listener of this load balancer, or no address of a host";
            return Self::new("unused", "Target.IpUnusable", description);
        }
        let verdict = Self::of_health(health, standing);
        if standing.is_in_use {
            return verdict;
        }
        // ALB does not check such targets. Here they are, so that a rule that is moved to the group
        // finds it ready.
        let mut description =
            "Target group is not configured to receive traffic from the load balancer".to_owned();
        description.push_str(&format!("; the verdict of its checks is {}", verdict.state));
        if let Some(more) = verdict.description {
            description.push_str(&format!(" ({more})"));
        }
        Self::new("unused", "Target.NotInUse", description)
    }

    fn of_health(health: &Health, standing: Standing) -> Self {
        let state = health.state().name();
        if !standing.is_checked {
            // ALB has this reason for a state of its own, `unavailable`, and only for Lambda
            // functions.
            let description = "Health checks are disabled: the target counts as healthy";
            return Self::new(state, "Target.HealthCheckDisabled", description);
        }
        match (health.failure(), health.state()) {
            (Some(failure), State::Initial) => {
                Self::new("unavailable", failure.code(), failure.description())
            }
            (Some(failure), _) => Self::new(state, failure.code(), failure.description()),
            (None, State::Initial) if standing.has_begun => Self::new(
                state,
                "Elb.InitialHealthChecking",
                "Initial health checks in progress",
            ),
            (None, State::Initial) => Self::new(
                state,
                "Elb.RegistrationInProgress",
                "Target registration is in progress",
            ),
            (None, _) => Self {
                state,
                reason: None,
                description: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::threshold::{Failure, Health, Thresholds};
    use super::{Standing, Status};

    const CHECKED: Standing = Standing {
        is_usable: true,
        is_in_use: true,
        is_checked: true,
        has_begun: true,
    };

    fn after(checks: impl IntoIterator<Item = Result<(), Failure>>) -> Health {
        let thresholds = Thresholds {
            healthy: 2,
            unhealthy: 2,
        };
        let mut health = Health::new();
        for check in checks {
            health.apply(check, thresholds);
        }
        health
    }

    #[test]
    fn every_state_has_albs_name_and_reason() {
        let waiting = Standing {
            has_begun: false,
            ..CHECKED
        };
        let unchecked = Standing {
            is_checked: false,
            ..CHECKED
        };
        let unused = Standing {
            is_in_use: false,
            ..CHECKED
        };
        let unusable = Standing {
            is_usable: false,
            ..CHECKED
        };
        let status = Failure::Status(503);
        let failed = Failure::Failed("refused".to_owned());
        let internal = Failure::Internal("too many open files".to_owned());
        for (health, standing, state, reason, description) in [
            (
                after([]),
                waiting,
                "initial",
                Some("Elb.RegistrationInProgress"),
                "in progress",
            ),
            (
                after([]),
                CHECKED,
                "initial",
                Some("Elb.InitialHealthChecking"),
                "in progress",
            ),
            (after([Ok(())]), CHECKED, "healthy", None, ""),
            (
                after([Err(status.clone())]),
                CHECKED,
                "unhealthy",
                Some("Target.ResponseCodeMismatch"),
                "Health checks failed with these codes: [503]",
            ),
            (
                after([Err(Failure::Grpc(14))]),
                CHECKED,
                "unhealthy",
                Some("Target.ResponseCodeMismatch"),
                "Health checks failed with these codes: [14]",
            ),
            (
                after([Err(Failure::Timeout)]),
                CHECKED,
                "unhealthy",
                Some("Target.Timeout"),
                "Request timed out",
            ),
            (
                after([Err(failed)]),
                CHECKED,
                "unhealthy",
                Some("Target.FailedHealthChecks"),
                "Health checks failed: refused",
            ),
            (
                after([Ok(()), Err(Failure::Timeout)]),
                CHECKED,
                "healthy",
                Some("Target.Timeout"),
                "Request timed out",
            ),
            (
                after([Err(internal.clone())]),
                CHECKED,
                "unavailable",
                Some("Elb.InternalError"),
                "too many open files",
            ),
            (
                after([Err(status), Err(internal.clone())]),
                CHECKED,
                "unhealthy",
                Some("Elb.InternalError"),
                "too many open files",
            ),
            (
                after([Ok(()), Err(internal.clone()), Err(internal)]),
                CHECKED,
                "healthy",
                Some("Elb.InternalError"),
                "too many open files",
            ),
            (
                Health::unchecked(),
                unchecked,
                "healthy",
                Some("Target.HealthCheckDisabled"),
                "disabled",
            ),
            (
                after([Ok(())]),
                unused,
                "unused",
                Some("Target.NotInUse"),
                "the verdict of its checks is healthy",
            ),
            (
                after([Err(Failure::Timeout)]),
                unused,
                "unused",
                Some("Target.NotInUse"),
                "is unhealthy (Request timed out)",
            ),
            (
                after([]),
                unusable,
                "unused",
                Some("Target.IpUnusable"),
                "unusable",
            ),
        ] {
            let found = Status::of(&health, standing);
            assert_eq!((found.state, found.reason), (state, reason));
            let text = found.description.unwrap_or_default();
            assert!(text.contains(description), "{text:?} {description:?}");
        }
        let (draining, superseded) = (Status::draining(), Status::superseded());
        assert_eq!(draining.reason, Some("Target.DeregistrationInProgress"));
        assert_eq!(
            (superseded.state, superseded.reason),
            ("unused", Some("Target.NotRegistered"))
        );
    }
}
