//! The calls through the AWS SDK. Only this file and those in its folder import it.

mod hosts;
mod queue;
mod read;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region as AwsRegion, SdkConfig};
use aws_sdk_ecs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_ecs::types::DesiredStatus;

use super::api::{ApiError, BATCH, Definition, Described, EcsApi, ErrorKind, Host, Hosts, Service};
use super::budget::{Budget, Limit};
use super::desk::Desk;
use super::machines::Machines;
use super::now;
use hosts::Asked;
pub(super) use queue::SdkQueue;

/// The longest that one call may take, retries included.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// The longest that one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(6);

/// How often a call is tried. The SDK's retries spend the account's shared call budget
/// (20 calls/s), and the next poll is a retry anyway, so there are few.
const TRIES: u32 = 2;

const DESCRIBE_SERVICES: &str = "DescribeServices";

/// How AWS is reached.
#[derive(Debug, Clone)]
pub enum Aws {
    /// The SDK's own chain: environment, profile, task or instance role, `AWS_ENDPOINT_URL`.
    Environment,
    /// One endpoint for every service, with credentials that mean nothing: an emulator.
    Emulator {
        /// Such as `http://127.0.0.1:4566`.
        endpoint: String,
    },
    /// The same, within the limits that hold for AWS.
    Limited {
        /// Such as `http://127.0.0.1:4566`.
        endpoint: String,
    },
}

/// Calls a second at an emulator, which shares its limits with nobody.
const EMULATOR_RATE: f64 = 500.0;

impl Aws {
    /// What the groups of one region share.
    #[must_use]
    pub fn region(&self) -> Region {
        Region {
            budget: match self {
                Self::Environment | Self::Limited { .. } => Budget::default(),
                Self::Emulator { .. } => Budget::of(EMULATOR_RATE),
            },
            desk: Desk::default(),
            machines: Machines::default(),
        }
    }

    async fn config(&self, region: Option<&str>) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_timeout(CALL_LIMIT)
                    .operation_attempt_timeout(TRY_LIMIT)
                    .build(),
            );
        if let Some(region) = region {
            loader = loader.region(AwsRegion::new(region.to_owned()));
        }
        if let Self::Emulator { endpoint } | Self::Limited { endpoint } = self {
            let credentials =
                aws_sdk_ecs::config::Credentials::new("emulator", "emulator", None, None, "fixed");
            loader = loader
                .endpoint_url(endpoint)
                .credentials_provider(credentials);
            if region.is_none() {
                loader = loader.region(AwsRegion::from_static("us-east-1"));
            }
        }
        loader.load().await
    }
}

/// What the groups of one region share: the limits of the account, answers about services, and the
/// addresses of hosts.
#[derive(Debug, Default)]
pub struct Region {
    budget: Budget,
    desk: Desk,
    machines: Machines,
}

impl Region {
    /// Calls so far, and how many of them AWS refused as too many.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.budget.counts()
    }

    /// The hosts that were found and whose addresses do not change. None of them is forgotten when
    /// it ends.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        self.machines.all()
    }

    /// Takes hosts that were found before, as before a restart. They are not asked for again.
    pub fn recall(&self, hosts: &[Host]) {
        self.machines.note(hosts);
    }

    /// Waits until hosts have been found that are not among those of before.
    pub async fn learnt(&self) {
        self.machines.learnt().await;
    }
}

/// ECS, EC2 and Systems Manager through the SDK.
#[derive(Debug, Clone)]
pub struct SdkApi {
    ecs: aws_sdk_ecs::Client,
    ec2: aws_sdk_ec2::Client,
    ssm: aws_sdk_ssm::Client,
    shared: Arc<Region>,
}

impl SdkApi {
    /// Clients for a region, or for that of the environment, with what they share with others.
    pub async fn connect(aws: &Aws, region: Option<&str>, shared: Arc<Region>) -> Self {
        let config = aws.config(region).await;
        Self {
            ecs: aws_sdk_ecs::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
            ssm: aws_sdk_ssm::Client::new(&config),
            shared,
        }
    }

    /// What became of a call that failed.
    fn failed<E>(&self, operation: &'static str, error: E) -> ApiError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let kind = match error.code() {
            Some("ServiceNotFoundException") => ErrorKind::NoSuchService,
            Some("ThrottlingException" | "Throttling" | "RequestLimitExceeded") => {
                let limit = match operation {
                    DESCRIBE_SERVICES => Limit::Services,
                    _ => Limit::Tasks,
                };
                self.shared.budget.throttled(limit, now());
                ErrorKind::Throttled
            }
            _ => ErrorKind::Other,
        };
        ApiError {
            operation,
            // The SDK's own text is "service error" and the like; the chain below it has the cause.
            reason: DisplayErrorContext(error).to_string(),
            kind,
        }
    }
}

impl EcsApi for SdkApi {
    async fn list_tasks(
        &self,
        cluster: &str,
        service: Option<&str>,
    ) -> Result<Vec<Arc<str>>, ApiError> {
        let mut arns = Vec::new();
        let mut pages = self
            .ecs
            .list_tasks()
            .cluster(cluster)
            .set_service_name(service.map(str::to_owned))
            .desired_status(DesiredStatus::Running)
            .into_paginator()
            .page_size(100)
            .send();
        while let Some(page) = {
            self.turn().await;
            pages.next().await
        } {
            let page = page.map_err(|error| self.failed("ListTasks", error))?;
            // The SDK takes an empty body for an answer without the list. A service without tasks
            // has a list without entries.
            let listed = page.task_arns.ok_or_else(|| hollow("ListTasks"))?;
            arns.extend(listed.into_iter().map(Arc::from));
        }
        Ok(arns)
    }

    async fn describe_tasks(
        &self,
        cluster: &str,
        arns: &[Arc<str>],
    ) -> Result<Described, ApiError> {
        debug_assert!(arns.len() <= BATCH, "batched by the caller");
        self.turn().await;
        let answer = self
            .ecs
            .describe_tasks()
            .cluster(cluster)
            .set_tasks(Some(owned(arns)))
            .send()
            .await
            .map_err(|error| self.failed("DescribeTasks", error))?;
        if answer.tasks().is_empty() && answer.failures().is_empty() {
            return Err(hollow("DescribeTasks"));
        }
        Ok(Described {
            tasks: answer.tasks().iter().filter_map(read::task).collect(),
            missing: answer
                .failures()
                .iter()
                .filter(|failure| failure.reason() == Some("MISSING"))
                .filter_map(|failure| failure.arn().map(Into::into))
                .collect(),
        })
    }

    async fn describe_service(
        &self,
        cluster: &str,
        service: &str,
        since: Instant,
    ) -> Result<(Service, Instant), ApiError> {
        let call = |names: Vec<String>| async move {
            self.shared.budget.take(Limit::Services, now()).await;
            let answer = self
                .ecs
                .describe_services()
                .cluster(cluster)
                .set_services(Some(names))
                .send()
                .await
                .map_err(|error| self.failed(DESCRIBE_SERVICES, error))?;
            if answer.services().is_empty() && answer.failures().is_empty() {
                return Err(hollow(DESCRIBE_SERVICES));
            }
            let services = answer.services().iter().filter_map(read::service);
            Ok(services
                .map(|(name, service)| (name.to_owned(), service))
                .collect())
        };
        let desk = &self.shared.desk;
        desk.ask(cluster, service, since, call).await
    }

    async fn turn(&self) {
        self.shared.budget.take(Limit::Tasks, now()).await;
    }

    fn known_hosts(&self, arns: &[Arc<str>]) -> Vec<Host> {
        self.shared.machines.of(arns)
    }

    async fn describe_hosts(&self, cluster: &str, arns: &[Arc<str>]) -> Result<Hosts, ApiError> {
        let answer = self
            .ecs
            .describe_container_instances()
            .cluster(cluster)
            .set_container_instances(Some(owned(arns)))
            .send()
            .await
            .map_err(|error| self.failed("DescribeContainerInstances", error))?;
        if answer.container_instances().is_empty() && answer.failures().is_empty() {
            return Err(hollow("DescribeContainerInstances"));
        }
        let machines = answer.container_instances().iter();
        let machines: Vec<Asked<'_>> = machines.filter_map(Asked::read).collect();
        let mut hosts = self.addresses(&machines).await;
        let left = hosts::left_out(arns, &hosts, answer.failures());
        hosts.unknown.extend(left);
        self.shared.machines.note(&hosts.found);
        Ok(hosts)
    }

    async fn describe_definition(&self, arn: &str) -> Result<Definition, ApiError> {
        let answer = self
            .ecs
            .describe_task_definition()
            .task_definition(arn)
            .send()
            .await
            .map_err(|error| self.failed("DescribeTaskDefinition", error))?;
        let definition = answer
            .task_definition()
            // One without containers does not exist.
            .filter(|definition| !definition.container_definitions().is_empty())
            .ok_or_else(|| hollow("DescribeTaskDefinition"))?;
        Ok(read::definition(arn, definition))
    }
}

fn owned(arns: &[Arc<str>]) -> Vec<String> {
    arns.iter().map(ToString::to_string).collect()
}

/// An answer that says nothing about what was asked. Taking it for "there is none" would lose
/// targets.
fn hollow(operation: &'static str) -> ApiError {
    ApiError {
        operation,
        reason: "the answer is empty".to_owned(),
        kind: ErrorKind::Other,
    }
}
