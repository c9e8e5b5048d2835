//! What sources share that read single targets from JSON. Pure.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;

/// The most characters of a text from outside that a message shows.
const SHOWN_MAX: usize = 80;

/// Whether it is an address that can be one target's, and that address in its shortest form.
pub(crate) fn usable(address: SocketAddr) -> Result<SocketAddr, String> {
    let ip = address.ip().to_canonical();
    let scoped = matches!(address, SocketAddr::V6(address) if address.scope_id() != 0);
    let fault = if address.port() == 0 {
        "the port is 0; expected 1 to 65535"
    } else if ip.is_unspecified() {
        "this address stands for all addresses of a host, and is not that of a target"
    } else if ip.is_multicast() || ip == Ipv4Addr::BROADCAST {
        "this address is that of many hosts, and not of a target"
    } else if scoped {
        "addresses with a scope (`%`) are not served"
    } else {
        return Ok(SocketAddr::new(ip, address.port()));
    };
    Err(format!("{address}: {fault}"))
}

/// A text from outside as messages show it.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// What a value is, in a message.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
