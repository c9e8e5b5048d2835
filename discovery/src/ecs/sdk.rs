//! The calls through the AWS SDK. The only file that imports it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecs::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_ecs::types::{DesiredStatus, HealthStatus, TransportProtocol};

use super::api::{ApiError, BATCH, Binding, Container, Described, EcsApi, ErrorKind, Host, Task};
use super::budget::Budget;
use super::now;

/// The longest that one call may take, retries included.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// The longest that one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(6);

/// How often a call is tried. The SDK's retries spend the account's shared call budget
/// (20 calls/s), and the next poll is a retry anyway, so there are few.
const TRIES: u32 = 2;

/// The most values in one EC2 filter (AWS: 200).
const FILTER_VALUES: usize = 200;

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
}

/// Calls a second at an emulator, which shares its limits with nobody.
const EMULATOR_RATE: f64 = 500.0;

impl Aws {
    /// A budget for the calls to one region.
    #[must_use]
    pub fn budget(&self) -> Budget {
        match self {
            Self::Environment => Budget::default(),
            Self::Emulator { .. } => Budget::of(EMULATOR_RATE),
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
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Self::Emulator { endpoint } = self {
            let credentials =
                aws_sdk_ecs::config::Credentials::new("emulator", "emulator", None, None, "fixed");
            loader = loader
                .endpoint_url(endpoint)
                .credentials_provider(credentials);
            if region.is_none() {
                loader = loader.region(Region::from_static("us-east-1"));
            }
        }
        loader.load().await
    }
}

/// ECS and EC2 through the SDK.
#[derive(Debug, Clone)]
pub struct SdkApi {
    ecs: aws_sdk_ecs::Client,
    ec2: aws_sdk_ec2::Client,
    budget: Arc<Budget>,
}

impl SdkApi {
    /// Clients for a region, or for that of the environment, which make their calls out of that
    /// budget.
    pub async fn connect(aws: &Aws, region: Option<&str>, budget: Arc<Budget>) -> Self {
        let config = aws.config(region).await;
        Self {
            ecs: aws_sdk_ecs::Client::new(&config),
            ec2: aws_sdk_ec2::Client::new(&config),
            budget,
        }
    }

    /// Waits for its turn to make a call.
    async fn turn(&self) {
        self.budget.take(now()).await;
    }

    /// What became of a call that failed.
    fn failed<E>(&self, operation: &'static str, error: E) -> ApiError
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let kind = match error.code() {
            Some("ServiceNotFoundException") => ErrorKind::NoSuchService,
            Some("ThrottlingException" | "Throttling" | "RequestLimitExceeded") => {
                self.budget.throttled(now());
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

    /// EC2 instances by id. A filter, and not the parameter for ids: with that one, a single
    /// instance that is gone fails the call for all.
    async fn instances(&self, ids: &[&str]) -> Result<BTreeMap<String, Instance>, ApiError> {
        let mut found = BTreeMap::new();
        for ids in ids.chunks(FILTER_VALUES) {
            let filter = aws_sdk_ec2::types::Filter::builder()
                .name("instance-id")
                .set_values(Some(ids.iter().map(|id| (*id).to_owned()).collect()))
                .build();
            let mut pages = self
                .ec2
                .describe_instances()
                .filters(filter)
                .into_paginator()
                .page_size(1000)
                .send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| self.failed("DescribeInstances", error))?;
                for instance in page
                    .reservations()
                    .iter()
                    .flat_map(|reservation| reservation.instances())
                {
                    let address = instance
                        .private_ip_address()
                        .or_else(|| instance.ipv6_address());
                    if let (Some(id), Some(address)) =
                        (instance.instance_id(), address.and_then(parse_address))
                    {
                        let zone = instance
                            .placement()
                            .and_then(|placement| placement.availability_zone())
                            .map(Arc::from);
                        found.insert(id.to_owned(), Instance { address, zone });
                    }
                }
            }
        }
        Ok(found)
    }
}

struct Instance {
    address: IpAddr,
    zone: Option<Arc<str>>,
}

impl EcsApi for SdkApi {
    async fn list_tasks(&self, cluster: &str, service: &str) -> Result<Vec<Arc<str>>, ApiError> {
        let mut arns = Vec::new();
        let mut pages = self
            .ecs
            .list_tasks()
            .cluster(cluster)
            .service_name(service)
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
            tasks: answer.tasks().iter().filter_map(task).collect(),
            missing: answer
                .failures()
                .iter()
                .filter(|failure| failure.reason() == Some("MISSING"))
                .filter_map(|failure| failure.arn().map(Into::into))
                .collect(),
        })
    }

    async fn describe_hosts(
        &self,
        cluster: &str,
        arns: &[Arc<str>],
    ) -> Result<Vec<Host>, ApiError> {
        self.turn().await;
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
        let ids: Vec<(&str, &str)> = answer
            .container_instances()
            .iter()
            .filter_map(|host| Some((host.container_instance_arn()?, host.ec2_instance_id()?)))
            .collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<&str> = ids.iter().map(|(_, id)| *id).collect();
        let instances = self.instances(&wanted).await?;
        Ok(ids
            .into_iter()
            .filter_map(|(arn, id)| {
                let instance = instances.get(id)?;
                Some(Host {
                    arn: arn.into(),
                    instance: id.into(),
                    address: instance.address,
                    zone: instance.zone.clone(),
                })
            })
            .collect())
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

fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// An element without an ARN is of no use; one bad element never fails the answer.
fn task(task: &aws_sdk_ecs::types::Task) -> Option<Task> {
    Some(Task {
        arn: task.task_arn()?.into(),
        version: task.version(),
        desired_running: task.desired_status() == Some("RUNNING"),
        last_status: task.last_status().unwrap_or("UNKNOWN").to_owned(),
        started_at: task.started_at().and_then(|at| at.to_millis().ok()),
        unhealthy: task.health_status() == Some(&HealthStatus::Unhealthy),
        zone: task.availability_zone().map(Into::into),
        host: task.container_instance_arn().map(Into::into),
        interface: interface(task),
        containers: task
            .containers()
            .iter()
            .filter_map(|container| {
                Some(Container {
                    name: container.name()?.into(),
                    running: container.last_status() == Some("RUNNING"),
                    bindings: container
                        .network_bindings()
                        .iter()
                        .filter_map(binding)
                        .collect(),
                })
            })
            .collect(),
    })
}

/// The address of the task's own network interface. Attachments hold other things too (Service
/// Connect, volumes), so they are chosen by type, never by place.
fn interface(task: &aws_sdk_ecs::types::Task) -> Option<IpAddr> {
    let attachment = task.attachments().iter().find(|attachment| {
        matches!(attachment.r#type(), Some("ElasticNetworkInterface" | "eni"))
            && !matches!(
                attachment.status(),
                Some("DETACHED" | "DETACHING" | "DELETED")
            )
    })?;
    let detail = |name: &str| {
        attachment
            .details()
            .iter()
            .find(|detail| detail.name() == Some(name))
            .and_then(|detail| parse_address(detail.value()?))
    };
    detail("privateIPv4Address").or_else(|| detail("privateIPv6Address"))
}

fn binding(binding: &aws_sdk_ecs::types::NetworkBinding) -> Option<Binding> {
    if binding.protocol() == Some(&TransportProtocol::Udp) {
        return None;
    }
    let port = |number: Option<i32>| u16::try_from(number?).ok().filter(|port| *port > 0);
    Some(Binding {
        container_port: port(binding.container_port())?,
        host_port: port(binding.host_port())?,
    })
}
