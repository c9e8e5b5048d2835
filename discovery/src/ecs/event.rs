//! What a message of the events queue says. Pure: text in, plain data out.
//!
//! EventBridge's form is that of `DescribeTasks` with other times, other words for the network
//! interface, and no word on health. Nothing in it is relied on: what is missing or of another type
//! makes the message malformed if a task cannot be told without it, and is left out otherwise.

use std::net::IpAddr;
use std::sync::Arc;

use longshore_config::EcsDiscovery;
use serde_json::Value;

use super::api::{Binding, Container, RangeBinding, Task};

/// The longest body that is looked at. SQS allows 1 MiB; a task of ten containers has 20 KB.
const BODY_MAX: usize = 1 << 20;

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// "ECS Task State Change".
    Task(Box<TaskEvent>),
    /// An event of another kind, by its name. It is of no use here.
    Other(String),
}

/// A task, as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// The ARN of its cluster.
    pub cluster: Arc<str>,
    /// When it was so, in milliseconds since 1970.
    pub at: i64,
    /// Whether the event tells of its health. If not, [`Task::unhealthy`] says nothing.
    pub tells_health: bool,
    /// The task.
    pub task: Task,
}

impl TaskEvent {
    /// Whether the event is about a task of this service.
    #[must_use]
    pub fn concerns(&self, spec: &EcsDiscovery) -> bool {
        let service = self.task.service.as_deref();
        service.is_some_and(|service| same_name(service, &spec.service))
            && self.is_of(&spec.cluster)
    }

    /// Whether the event is about a task of this cluster.
    #[must_use]
    pub fn is_of(&self, cluster: &str) -> bool {
        same_cluster(&self.cluster, cluster)
    }
}

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too long to be an event.
    #[error("it has {0} bytes, and at most {BODY_MAX} are read")]
    TooLong(usize),
    /// Not JSON, or not an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// Without this a task cannot be told.
    #[error("{0} is missing or of another type")]
    Lacks(&'static str),
}

/// Reads a message: an event as EventBridge writes it, or the same in the envelope of SNS.
///
/// # Errors
/// Why it cannot be read.
pub fn parse(body: &str) -> Result<Message, Malformed> {
    if body.len() > BODY_MAX {
        return Err(Malformed::TooLong(body.len()));
    }
    let outer = object(body)?;
    match outer.get("Message").and_then(Value::as_str) {
        Some(inner) if outer.get("detail").is_none() => event(&object(inner)?),
        _ => event(&outer),
    }
}

fn object(text: &str) -> Result<Value, Malformed> {
    serde_json::from_str(text)
        .ok()
        .filter(Value::is_object)
        .ok_or(Malformed::NotAnObject)
}

fn event(event: &Value) -> Result<Message, Malformed> {
    let kind = text(event, "detail-type").ok_or(Malformed::Lacks("detail-type"))?;
    if text(event, "source") != Some("aws.ecs") || kind != "ECS Task State Change" {
        return Ok(Message::Other(kind.to_owned()));
    }
    let detail = event
        .get("detail")
        .filter(|detail| detail.is_object())
        .ok_or(Malformed::Lacks("detail"))?;
    let arn: Arc<str> = text(detail, "taskArn")
        .filter(|arn| !arn.is_empty())
        .ok_or(Malformed::Lacks("detail.taskArn"))?
        .into();
    let desired = text(detail, "desiredStatus").ok_or(Malformed::Lacks("detail.desiredStatus"))?;
    let last = text(detail, "lastStatus").ok_or(Malformed::Lacks("detail.lastStatus"))?;
    // `updatedAt` has milliseconds, `time` has seconds.
    let at = moment(detail, "updatedAt")
        .or_else(|| moment(event, "time"))
        .ok_or(Malformed::Lacks("time"))?;
    let health = text(detail, "healthStatus");
    Ok(Message::Task(Box::new(TaskEvent {
        cluster: text(detail, "clusterArn")
            .ok_or(Malformed::Lacks("detail.clusterArn"))?
            .into(),
        at,
        tells_health: health.is_some(),
        task: Task {
            arn,
            version: integer(detail, "version").ok_or(Malformed::Lacks("detail.version"))?,
            // A task never leaves STOPPED, whatever is desired of it.
            desired_running: desired == "RUNNING" && last != "STOPPED",
            last_status: last.to_owned(),
            started_at: moment(detail, "startedAt"),
            unhealthy: health == Some("UNHEALTHY"),
            checked: matches!(health, Some("HEALTHY" | "UNHEALTHY")),
            service: text(detail, "group")
                .and_then(|group| group.strip_prefix("service:"))
                .map(Into::into),
            started_by: text(detail, "startedBy").map(Into::into),
            zone: text(detail, "availabilityZone").map(Into::into),
            host: text(detail, "containerInstanceArn").map(Into::into),
            definition: text(detail, "taskDefinitionArn").map(Into::into),
            interface: interface(detail),
            containers: list(detail, "containers").filter_map(container).collect(),
        },
    })))
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A whole number, also written as `3.0`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the bound keeps it exact: integers below 2^53 are the same as floats"
)]
fn integer(value: &Value, key: &str) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = value.get(key)?;
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        (float.fract() == 0.0 && float.abs() < EXACT).then_some(float as i64)
    })
}

fn port(value: &Value, key: &str) -> Option<u16> {
    u16::try_from(integer(value, key)?)
        .ok()
        .filter(|port| *port > 0)
}

fn container(container: &Value) -> Option<Container> {
    Some(Container {
        name: text(container, "name")?.into(),
        running: text(container, "lastStatus") == Some("RUNNING"),
        bindings: tcp(container).filter_map(binding).collect(),
        ranges: tcp(container).filter_map(range).collect(),
    })
}

fn tcp(container: &Value) -> impl Iterator<Item = &Value> {
    list(container, "networkBindings").filter(|binding| text(binding, "protocol") != Some("udp"))
}

fn binding(binding: &Value) -> Option<Binding> {
    Some(Binding {
        container_port: port(binding, "containerPort")?,
        host_port: port(binding, "hostPort")?,
    })
}

fn range(binding: &Value) -> Option<RangeBinding> {
    let inside = text(binding, "containerPortRange");
    let outside = text(binding, "hostPortRange");
    (inside.is_some() || outside.is_some()).then(|| RangeBinding {
        container_range: inside.unwrap_or_default().into(),
        host_range: outside.unwrap_or_default().into(),
    })
}

/// The address of the task's own network interface. Attachments hold other things too, so they are
/// chosen by type, never by place.
fn interface(detail: &Value) -> Option<IpAddr> {
    let attachment = list(detail, "attachments").find(|attachment| {
        matches!(
            text(attachment, "type"),
            Some("eni" | "ElasticNetworkInterface")
        ) && !matches!(
            text(attachment, "status"),
            Some("DETACHED" | "DETACHING" | "DELETED")
        )
    })?;
    let address = |name: &str| -> Option<IpAddr> {
        let named = |item: &&Value| text(item, "name") == Some(name);
        text(list(attachment, "details").find(named)?, "value")?
            .parse()
            .ok()
    };
    // The containers tell the same, and the IPv6 address only they by a documented name.
    let shown = |name: &str| -> Option<IpAddr> {
        let mut interfaces = list(detail, "containers")
            .flat_map(|container| list(container, "networkInterfaces"))
            .filter(|own| {
                text(own, "attachmentId").is_none_or(|id| Some(id) == text(attachment, "id"))
            });
        interfaces.find_map(|own| text(own, name)?.parse().ok())
    };
    address("privateIPv4Address")
        .or_else(|| shown("privateIpv4Address"))
        .or_else(|| shown("ipv6Address"))
        .or_else(|| address("privateIPv6Address"))
}

/// Whether a name or ARN of the event, and a name or ARN of the file, can mean the same thing.
fn same_name(told: &str, wanted: &str) -> bool {
    short(told) == short(wanted)
}

/// The last part of an ARN, or the name itself.
pub(super) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// ARNs are compared whole, so that clusters of one name in two accounts stay apart.
fn same_cluster(told: &str, wanted: &str) -> bool {
    if told.starts_with("arn:") && wanted.starts_with("arn:") {
        told == wanted
    } else {
        same_name(told, wanted)
    }
}

/// RFC 3339, in milliseconds since 1970: `2026-11-21T10:57:17Z`, `…:17.25Z`, `…:17+01:00`.
fn moment(value: &Value, key: &str) -> Option<i64> {
    millis(text(value, key)?)
}

/// See [`moment`]. Written by hand, for there is no other use for a calendar here.
fn millis(text: &str) -> Option<i64> {
    // Only ASCII, so that any place in it can be cut at.
    if !text.is_ascii() || text.len() < 20 || text.len() > 40 {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        all.then(|| digits.parse().ok()).flatten()
    };
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if !marks
        .iter()
        .all(|(at, mark)| text.get(*at..at + 1) == Some(mark))
    {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let valid = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut fraction = 0;
    if let Some(digits) = rest.strip_prefix('.') {
        let end = digits.find(|c: char| !c.is_ascii_digit())?;
        let written = digits.get(..end).filter(|written| !written.is_empty())?;
        let padded = format!("{written:0<3}");
        fraction = padded.get(..3)?.parse().ok()?;
        rest = digits.get(end..)?;
    }
    let offset = match rest {
        "Z" => 0,
        _ => {
            let sign = match rest.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let (hours, minutes) = rest.get(1..)?.split_once(':')?;
            if hours.len() != 2 || minutes.len() != 2 {
                return None;
            }
            let part = |digits: &str| digits.parse::<u8>().ok().map(i64::from);
            sign * (part(hours)? * 3600 + part(minutes)? * 60)
        }
    };
    // Years that begin in March have their leap day last; 719,468 days lie between 0000-03-01 and
    // 1970-01-01.
    let years = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) + of_year
            - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(seconds * 1000 + fraction)
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
