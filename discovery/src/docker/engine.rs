//! The calls through bollard. The only file that imports it.

use std::collections::HashMap;
use std::error::Error as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EventMessage, PortSummary, PortSummaryTypeEnum,
};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt as _;
use longshore_config::DockerDiscovery;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::api::{ApiError, Detail, DockerApi, Event, Heard, Port, Summary};

/// The longest that one call may take. An engine is on this machine, or near it.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The events that change whether a container is a target, or where.
const EVENTS: [&str; 9] = [
    "start",
    "die",
    "kill",
    "stop",
    "health_status",
    "pause",
    "unpause",
    "destroy",
    "rename",
];

/// One engine, for one group.
#[derive(Debug, Clone)]
pub struct Engine {
    endpoint: String,
    /// What lists and events are filtered by.
    labels: Vec<String>,
    /// The client that the latest negotiation gave.
    negotiated: Arc<Mutex<Option<Docker>>>,
}

impl Engine {
    /// The engine of a group. Nothing is connected yet.
    #[must_use]
    pub fn new(spec: &DockerDiscovery) -> Self {
        Self {
            endpoint: spec.endpoint.clone(),
            labels: spec
                .labels
                .iter()
                .map(|(name, value)| match value.as_str() {
                    "" => name.clone(),
                    value => format!("{name}={value}"),
                })
                .collect(),
            negotiated: Arc::default(),
        }
    }

    /// A client. It makes a connection for each call and keeps none, so it costs next to nothing,
    /// and an engine that was replaced leaves nothing behind.
    fn client(&self) -> Result<Docker, Error> {
        let seconds = CALL_LIMIT.as_secs();
        if self.endpoint.starts_with("unix://") {
            Docker::connect_with_unix(&self.endpoint, seconds, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_http(&self.endpoint, seconds, API_DEFAULT_VERSION)
        }
    }

    /// Asks the engine which version of its API it speaks, for this call and the inspections after
    /// it: that or our own, whichever is older. Asked anew each time, because an engine may be
    /// replaced between two looks. (bollard 0.21 leaves the version out of the path, which to an
    /// engine means its newest. Then this only shows that the engine is there.)
    async fn negotiate(&self) -> Result<Docker, Error> {
        let client = self.client()?.negotiate_version().await?;
        *self.lock() = Some(client.clone());
        Ok(client)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Docker>> {
        self.negotiated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bounds a call and says which one failed.
async fn call<T>(
    operation: &'static str,
    doing: impl Future<Output = Result<T, Error>>,
) -> Result<T, ApiError> {
    let failed = |reason| ApiError { operation, reason };
    match tokio::time::timeout(CALL_LIMIT, doing).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(reason(&error))),
        Err(_) => Err(failed(format!(
            "no answer within {} s",
            CALL_LIMIT.as_secs()
        ))),
    }
}

/// An error with its causes: the client's own words do not name the system's.
fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl DockerApi for Engine {
    async fn list(&self) -> Result<Vec<Summary>, ApiError> {
        let filters = HashMap::from([
            ("status", vec!["running".to_owned()]),
            ("label", self.labels.clone()),
        ]);
        let options = ListContainersOptionsBuilder::new()
            .filters(&filters)
            .build();
        let list = call("GET /containers/json", async {
            self.negotiate().await?.list_containers(Some(options)).await
        });
        Ok(list.await?.into_iter().map(summary).collect())
    }

    async fn inspect(&self, id: &str) -> Result<Option<Detail>, ApiError> {
        let found = call("GET /containers/{id}/json", async {
            let negotiated = self.lock().clone();
            let client = match negotiated {
                Some(client) => client,
                None => self.negotiate().await?,
            };
            let asked = client
                .inspect_container(id, None::<InspectContainerOptions>)
                .await;
            match asked {
                Ok(container) => Ok(Some(container)),
                Err(Error::DockerResponseServerError {
                    status_code: 404, ..
                }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        match found.await? {
            None => Ok(None),
            // Nothing would be known of it, not even that it does not run.
            Some(container) if container.state.is_none() => Err(ApiError {
                operation: "GET /containers/{id}/json",
                reason: "the answer has no State".to_owned(),
            }),
            Some(container) => Ok(Some(detail(container))),
        }
    }

    async fn watch(&self, since: u64, heard: mpsc::Sender<Heard>) -> ApiError {
        const OPERATION: &str = "GET /events";
        let client = match call("GET /version", self.negotiate()).await {
            Ok(client) => client,
            Err(error) => return error,
        };
        let ended = |reason: &str| ApiError {
            operation: OPERATION,
            reason: reason.to_owned(),
        };
        let strings = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| (*text).to_owned()).collect()
        };
        let filters = HashMap::from([
            ("type", strings(&["container"])),
            ("event", strings(&EVENTS)),
            ("label", self.labels.clone()),
        ]);
        let options = EventsOptionsBuilder::new()
            .since(&since.to_string())
            .filters(&filters)
            .build();
        if heard.send(Heard::Subscribed).await.is_err() {
            return ended("nobody listens");
        }
        let mut events = pin!(client.events(Some(options)));
        loop {
            match events.next().await {
                Some(Ok(message)) => {
                    if let Some(event) = event(message)
                        && heard.send(Heard::Event(event)).await.is_err()
                    {
                        return ended("nobody listens");
                    }
                }
                Some(Err(error)) => return ended(&reason(&error)),
                None => return ended("the engine ended the stream"),
            }
        }
    }
}

fn summary(container: ContainerSummary) -> Summary {
    let names = container.names.unwrap_or_default();
    let networks = container
        .network_settings
        .and_then(|settings| settings.networks);
    Summary {
        id: container.id.unwrap_or_default().into(),
        // Links of other containers to this one are told as names with one slash more.
        name: names
            .iter()
            .filter_map(|name| name.strip_prefix('/'))
            .find(|name| !name.contains('/'))
            .map(Into::into),
        state: container.state.map(|state| state.to_string()),
        labels: container.labels.map(|labels| labels.into_iter().collect()),
        network_mode: container.host_config.and_then(|config| config.network_mode),
        ports: container
            .ports
            .unwrap_or_default()
            .into_iter()
            .map(port)
            .collect(),
        networks: networks
            .unwrap_or_default()
            .into_iter()
            .map(|(name, settings)| {
                let addresses = [settings.ip_address, settings.global_ipv6_address];
                (name, addresses.map(Option::unwrap_or_default))
            })
            .collect(),
    }
}

fn port(port: PortSummary) -> Port {
    Port {
        private: port.private_port,
        public: port.public_port,
        address: port.ip,
        tcp: port.typ == Some(PortSummaryTypeEnum::TCP),
    }
}

fn detail(container: ContainerInspectResponse) -> Detail {
    let state = container.state.unwrap_or_default();
    let config = container.config.unwrap_or_default();
    let is = |flag: Option<bool>| flag == Some(true);
    Detail {
        running: is(state.running) && !is(state.paused) && !is(state.restarting) && !is(state.dead),
        paused: is(state.paused),
        started_at: state.started_at.as_deref().and_then(millis),
        health: state
            .health
            .and_then(|health| health.status)
            .map(|status| status.to_string())
            .filter(|status| !status.is_empty()),
        stop_signal: config.stop_signal.as_deref().and_then(signal),
        stop_seconds: config
            .stop_timeout
            .and_then(|seconds| u64::try_from(seconds).ok()),
    }
}

/// None for what is no event of a container, or says not of which one.
fn event(message: EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    Some(Event {
        id: actor.id.filter(|id| !id.is_empty())?.into(),
        action: message.action?,
        at: message
            .time_nano
            .map(|nanos| nanos / 1_000_000)
            .or_else(|| message.time.map(|seconds| seconds.saturating_mul(1_000))),
        signal: attributes.get("signal").and_then(|text| signal(text)),
    })
}

/// Milliseconds since 1970. None for the year 1, with which the engine says that there was no
/// such time.
fn millis(text: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let millis = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?;
    (millis > 0).then_some(millis)
}

/// The number of a signal that is written as a number or, with or without `SIG`, as a name. Only
/// those names are known that images use to stop.
fn signal(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    match text.strip_prefix("SIG").unwrap_or(text) {
        "HUP" => Some(1),
        "INT" => Some(2),
        "QUIT" => Some(3),
        "KILL" => Some(9),
        "USR1" => Some(10),
        "USR2" => Some(12),
        "TERM" => Some(15),
        "WINCH" => Some(28),
        "RTMIN+3" => Some(37),
        _ => None,
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
