//! What a running Longshore knows: its targets as they are, and what became of requests.

use serde_json::Value;

use crate::commands::admin::Server;
use longshore_compare::table;

/// What became of the requests of a trace.
pub(super) fn told(server: &Server<'_>, id: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '=' | '_' | '.' | ';');
    if id.is_empty() || !id.chars().all(plain) {
        return Err(format!("{id:?} is no part of a trace identifier"));
    }
    let asked = id.replace('=', "%3D").replace(';', "%3B");
    let found = server.get(&format!("/requests?trace={asked}"))?;
    let requests = found.as_array().map(Vec::as_slice).unwrap_or_default();
    if requests.is_empty() {
        return Err(format!(
            "no request of {id} is known any more; each worker keeps the latest of admin.recent_requests"
        ));
    }
    Ok(requests.iter().map(show).collect::<Vec<_>>().join("\n"))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn show(request: &Value) -> String {
    let of = |key: &str| text(&request[key]);
    let mut out = format!(
        "request   {} {} from {} at {}\nresponse  {} {}\n",
        of("method"),
        of("url"),
        of("client"),
        of("time"),
        of("status"),
        match &request["reason"] {
            Value::Null if request["whole"] == false => "not whole".to_owned(),
            Value::Null => "of the target".to_owned(),
            reason => text(reason),
        },
    );
    if request["classification"] != Value::Null {
        out.push_str(&format!(
            "finding   {} {}\n",
            of("classification"),
            of("classification_reason")
        ));
    }
    out.push_str(&format!(
        "listener  {}\nrule      {}\n",
        of("listener"),
        of("rule")
    ));
    if request["target_group"] != Value::Null {
        let open = match request["fail_open"] == true {
            true => ", open to unhealthy ones",
            false => "",
        };
        out.push_str(&format!(
            "group     {} ({} candidates{open})\n",
            of("target_group"),
            of("candidates")
        ));
    }
    let attempts = request["attempts"].as_array();
    let rows: Vec<Vec<String>> = attempts
        .into_iter()
        .flatten()
        .map(|attempt| {
            let result = match &attempt["status"] {
                Value::Null => text(&attempt["failure"]),
                status => text(status),
            };
            vec![
                text(&attempt["target"]),
                text(&attempt["address"]),
                result,
                text(&attempt["seconds"]),
            ]
        })
        .collect();
    if !rows.is_empty() {
        out.push_str(&table(
            &["TARGET", "ADDRESS", "RESULT", "SECONDS"],
            &rows,
            2,
        ));
    }
    let seconds = &request["seconds"];
    out.push_str(&format!(
        "seconds   total {}, request {}, target {}, response {}, connecting and waiting {}\n",
        text(&seconds["total"]),
        text(&seconds["request"]),
        text(&seconds["target"]),
        text(&seconds["response"]),
        text(&seconds["elsewhere"]),
    ));
    out
}

/// The targets of a group as they are.
pub(super) fn targets(live: &Value, name: &str, percent: f64) -> String {
    let mut out = format!("group     {name}");
    if percent == 0.0 {
        out.push_str(" (weight 0: gets nothing)");
    }
    out.push('\n');
    let mut groups = live["target_groups"].as_array().into_iter().flatten();
    let Some(group) = groups.find(|group| group["name"] == name) else {
        out.push_str("  the running process has no such group\n");
        return out;
    };
    let targets = group["targets"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = targets
        .map(|target| {
            let why = match &target["ejection"]["reason"] {
                Value::Null => text(&target["reason"]),
                reason => format!("ejected: {}", text(reason)),
            };
            vec![
                text(&target["id"]),
                text(&target["address"]),
                text(&target["state"]),
                why,
                text(&target["weight"]),
                text(&target["in_flight"]),
            ]
        })
        .collect();
    if rows.is_empty() {
        out.push_str("  no targets: 503 no_targets\n");
    } else {
        let head = [
            "TARGET",
            "ADDRESS",
            "STATE",
            "REASON",
            "WEIGHT",
            "IN FLIGHT",
        ];
        out.push_str(&table(&head, &rows, 2));
    }
    out
}
