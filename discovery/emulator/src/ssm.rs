//! DescribeInstanceInformation of Systems Manager: the machines outside AWS.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::list;
use crate::model::HostKind;
use crate::state::HostState;
use crate::world::World;

/// The limits of Systems Manager.
const PAGE: std::ops::RangeInclusive<u64> = 5..=50;
const DEFAULT_PAGE: usize = 10;
const MOST_FILTER_VALUES: usize = 100;

/// The page number that a request asks for.
pub(crate) fn page_number(operation: &str, body: &Value) -> u32 {
    list::page_number(operation, body.get("NextToken").and_then(Value::as_str))
}

/// Answers one request.
pub(crate) fn answer(operation: &str, body: &Value, world: &World) -> Result<Value, ApiError> {
    match operation {
        "DescribeInstanceInformation" => describe(operation, body, world),
        _ => Err(ApiError::new(
            400,
            "UnknownOperationException",
            format!("The emulator does not know the operation {operation} of Systems Manager."),
        )),
    }
}

fn describe(operation: &str, body: &Value, world: &World) -> Result<Value, ApiError> {
    let size = match body.get("MaxResults") {
        None | Some(Value::Null) => DEFAULT_PAGE,
        Some(size) => size
            .as_u64()
            .filter(|size| PAGE.contains(size))
            .and_then(|size| usize::try_from(size).ok())
            .ok_or_else(|| invalid("ValidationException", "MaxResults must be from 5 to 50."))?,
    };
    let mut nodes: BTreeMap<&str, &HostState> = world
        .hosts
        .iter()
        .filter(|host| host.kind == HostKind::External && host.lost.is_none())
        .map(|host| (host.ec2_id.as_str(), host))
        .collect();
    let filters = body.get("Filters").and_then(Value::as_array);
    for filter in filters.into_iter().flatten() {
        let wanted = ids(filter)?;
        nodes.retain(|id, _| wanted.contains(id));
    }
    let entries = nodes
        .into_iter()
        .map(|(id, host)| (id.to_owned(), information(host)))
        .collect();
    let token = body.get("NextToken").and_then(Value::as_str);
    let size = size.min(world.options.page_size);
    let (page, next) = list::page(operation, entries, size, token)
        .map_err(|error| invalid("InvalidNextToken", &error.message))?;
    let mut answer = json!({ "InstanceInformationList": page });
    if let (Some(next), Some(members)) = (next, answer.as_object_mut()) {
        members.insert("NextToken".to_owned(), Value::String(next));
    }
    Ok(answer)
}

fn invalid(code: &'static str, message: &str) -> ApiError {
    ApiError::new(400, code, message)
}

/// The ids that a filter lets through.
fn ids(filter: &Value) -> Result<Vec<&str>, ApiError> {
    if filter.get("Key").and_then(Value::as_str) != Some("InstanceIds") {
        return Err(invalid(
            "InvalidFilterKey",
            "The emulator knows the filter InstanceIds only.",
        ));
    }
    let values = filter.get("Values").and_then(Value::as_array);
    let values: Vec<&str> = values
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if values.is_empty() || values.len() > MOST_FILTER_VALUES {
        return Err(invalid(
            "ValidationException",
            "A filter must have from 1 to 100 values.",
        ));
    }
    Ok(values)
}

fn information(host: &HostState) -> Value {
    json!({
        "InstanceId": host.ec2_id,
        "PingStatus": if host.agent_connected { "Online" } else { "ConnectionLost" },
        "ResourceType": "ManagedInstance",
        "PlatformType": "Linux",
        "IPAddress": host.address.to_string(),
        "ComputerName": format!("{}.example.test", host.ec2_id),
    })
}
