//! What an emulator can be told when it starts.

use std::time::Duration;

/// The largest page and the largest batch that ECS knows.
pub(crate) const ECS_BATCH: usize = 100;

/// Settings of an [`Emulator`](crate::Emulator), fixed for its life.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time from the creation of a task to the start of its containers. The first half of it
    /// the task is PROVISIONING, the second half PENDING. May be zero. Default 50 ms.
    pub start_delay: Duration,
    /// Time between SIGTERM and SIGKILL. Default 30 s, as on ECS.
    pub stop_timeout: Duration,
    /// Time that the API goes on calling the tasks of a lost host RUNNING. Default 1 s
    /// (on AWS it is minutes).
    pub loss_detection: Duration,
    /// Time between the unasked end of a process and the API knowing of it. Default 100 ms.
    pub crash_detection: Duration,
    /// Time that the agent takes to report a step of a stop: from desiredStatus STOPPED to
    /// lastStatus STOPPING, and from DEPROVISIONING to STOPPED. Default 20 ms.
    pub report_delay: Duration,
    /// The most entries that one page of a List operation, or of DescribeInstances, holds,
    /// 1 to 100; values outside are moved to the nearest bound. A small one makes a small
    /// cluster use many pages. Default 100.
    pub page_size: usize,
    /// Whether the token buckets of AWS apply. Default false.
    pub throttle: bool,
    /// The region in every ARN and zone. Default `eu-central-1`.
    pub region: String,
    /// The account in every ARN, twelve digits. Default `123456789012`.
    pub account: String,
    /// The first and the last port of the dynamic range, both included. Default 32768 to
    /// 60999, as on a Linux container instance.
    pub dynamic_ports: (u16, u16),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            start_delay: Duration::from_millis(50),
            stop_timeout: Duration::from_secs(30),
            loss_detection: Duration::from_secs(1),
            crash_detection: Duration::from_millis(100),
            report_delay: Duration::from_millis(20),
            page_size: ECS_BATCH,
            throttle: false,
            region: "eu-central-1".to_owned(),
            account: "123456789012".to_owned(),
            dynamic_ports: (32768, 60999),
        }
    }
}
