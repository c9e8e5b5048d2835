//! `longshore explain`: which rule a request meets, and why.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use http::{HeaderName, HeaderValue};
use longshore::explain::{Effect, Explanation, Request, Tried, explain, listener};
use longshore_config::{Config, Listener, ListenerProtocol, TargetGroup};

use super::admin::Server;
use super::print_out;
use longshore_compare::table;

mod past;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", required_unless_present = "trace_id")]
    config: Option<PathBuf>,
    /// The admin server of a running Longshore. With it, targets are shown as they are now.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Say what became of requests instead, by a trace identifier or a part of it.
    #[arg(long, value_name = "ID", requires = "admin")]
    trace_id: Option<String>,
    /// The method, such as GET.
    #[arg(required_unless_present = "trace_id")]
    method: Option<String>,
    /// A URL, or a path with -H 'Host: …'.
    #[arg(required_unless_present = "trace_id")]
    url: Option<String>,
    /// A header field of the request.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The address that the request comes from.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    source_ip: IpAddr,
    /// The listener, by its name, instead of the one on the URL's port.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let told = match (&arguments.trace_id, &arguments.admin) {
        (Some(id), Some(admin)) => past(arguments, admin, id),
        _ => now(arguments),
    };
    match told {
        Ok(text) => print_out(&text),
        Err(error) => {
            eprintln!("longshore: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `name: value`
fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("expected 'NAME: VALUE', found {text:?}");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    Ok((name, value))
}

/// What became of the requests of a trace.
fn past(arguments: &Arguments, admin: &str, id: &str) -> Result<String, String> {
    let config = match &arguments.config {
        Some(path) => Some(longshore_config::load(path).map_err(|errors| errors.to_string())?),
        None => None,
    };
    past::told(&Server::new(admin, config.as_ref())?, id)
}

/// What would happen now.
fn now(arguments: &Arguments) -> Result<String, String> {
    let path = arguments.config.as_ref();
    let path = path.ok_or("which file? say -c FILE")?;
    let config = longshore_config::load(path).map_err(|errors| errors.to_string())?;
    let live = match &arguments.admin {
        Some(admin) => Some(Server::new(admin, Some(&config))?.get("/targets")?),
        None => None,
    };
    told(arguments, &config, live.as_ref())
}

fn told(
    arguments: &Arguments,
    config: &Config,
    live: Option<&serde_json::Value>,
) -> Result<String, String> {
    let given = arguments.method.as_ref().zip(arguments.url.as_ref());
    let (method, url) = given.ok_or("which request? say METHOD URL")?;
    let request = Request::new(method, url, arguments.headers.clone(), arguments.source_ip)?;
    let at = match &arguments.listener {
        Some(name) => {
            let named = config
                .listeners
                .iter()
                .find(|listener| listener.name == *name);
            named.ok_or_else(|| {
                let names = config
                    .listeners
                    .iter()
                    .map(|listener| listener.name.as_str());
                let names: Vec<&str> = names.collect();
                format!(
                    "there is no listener {name:?}; there are {}",
                    names.join(", ")
                )
            })?
        }
        None => listener(config, &request).ok_or_else(|| {
            let scheme = if request.secure { "HTTPS" } else { "HTTP" };
            format!("the file has no {scheme} listener; choose one with --listener NAME")
        })?,
    };
    let explanation = explain(config, at, &request);
    Ok(show(config, at, &request, &explanation, live))
}

fn show(
    config: &Config,
    at: &Listener,
    request: &Request,
    explanation: &Explanation,
    live: Option<&serde_json::Value>,
) -> String {
    let protocol = match at.protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https => "HTTPS",
    };
    let address = at
        .socket_address()
        .map(|at| at.to_string())
        .unwrap_or_default();
    let mut out = format!("listener  {} ({protocol} {address})\n", at.name);
    out.push_str(&format!(
        "request   {} {}, Host {}, from {}\n",
        request.method, explanation.path, explanation.host, request.source
    ));
    if explanation.rule.is_some() || !explanation.tried.is_empty() {
        out.push_str("rules\n");
        out.push_str(&rules(explanation));
    }
    out.push_str(&effect(explanation));
    if let Effect::Forward { groups, .. } = &explanation.effect {
        for (name, percent) in groups {
            let group = config
                .target_groups
                .iter()
                .find(|group| group.name == *name);
            if let Some(live) = live {
                out.push_str(&past::targets(live, name, *percent));
            } else if let Some(group) = group {
                out.push_str(&targets(group, *percent));
            }
        }
    }
    out
}

fn rules(explanation: &Explanation) -> String {
    let row = |tried: &Tried| -> Vec<Vec<String>> {
        let holds = tried.conditions.iter().all(|condition| condition.holds);
        let conditions = tried.conditions.iter().enumerate();
        let first = |number: usize, text: String| if number == 0 { text } else { String::new() };
        conditions
            .map(|(number, condition)| {
                vec![
                    first(number, tried.priority.to_string()),
                    first(
                        number,
                        if holds { "matches" } else { "no match" }.to_owned(),
                    ),
                    condition.kind.to_owned(),
                    if condition.holds {
                        "holds"
                    } else {
                        "does not hold"
                    }
                    .to_owned(),
                    condition.has.clone(),
                    condition.wants.clone(),
                ]
            })
            .collect()
    };
    let mut rows: Vec<Vec<String>> = explanation.tried.iter().flat_map(row).collect();
    if explanation.rule.is_none() {
        let mut default = vec!["default".to_owned(), "matches".to_owned()];
        default.resize(6, String::new());
        rows.push(default);
    }
    let head = [
        "PRIORITY",
        "RULE",
        "CONDITION",
        "",
        "REQUEST HAS",
        "RULE WANTS",
    ];
    table(&head, &rows, 2)
}

fn effect(explanation: &Explanation) -> String {
    let by = match explanation.rule {
        Some(priority) => format!("rule {priority}"),
        None => "default action".to_owned(),
    };
    match &explanation.effect {
        Effect::Refused(reason) => format!(
            "action    refused: {} {}\n",
            reason.status().as_u16(),
            reason.name()
        ),
        Effect::Forward {
            groups,
            sticky,
            sent,
        } => {
            let shares: Vec<String> = groups
                .iter()
                .map(|(name, percent)| match groups.len() {
                    1 => name.clone(),
                    _ => format!("{name} {percent:.1} %"),
                })
                .collect();
            let stays = if *sticky {
                ", a client stays at its group"
            } else {
                ""
            };
            let (host, url) = sent;
            format!(
                "action    forward to {} ({by}{stays})\nsent as   {url}, Host {host}\n",
                shares.join(", ")
            )
        }
        Effect::Redirect { status, location } => match location {
            Some(location) => format!("action    redirect: {status} to {location} ({by})\n"),
            None => format!("action    redirect whose Location would be invalid ({by})\n"),
        },
        Effect::Fixed {
            status,
            content_type,
            body,
        } => {
            format!("action    fixed_response: {status} {content_type} {body:?} ({by})\n")
        }
        Effect::TransformFailed => {
            format!("action    500: the transform of {by} gives no valid Host or URL\n")
        }
    }
}

fn targets(group: &TargetGroup, percent: f64) -> String {
    let mut out = format!("group     {}", group.name);
    if percent == 0.0 {
        out.push_str(" (weight 0: gets nothing)");
    }
    out.push('\n');
    if group.discovery.is_some() {
        out.push_str("  its targets are discovered; `longshore targets -c FILE` lists them\n");
        return out;
    }
    if group.targets.is_empty() {
        out.push_str("  no targets: 503 no_targets\n");
        return out;
    }
    let rows: Vec<Vec<String>> = group
        .targets
        .iter()
        .map(|target| {
            vec![
                format!("{}:{}", target.address, target.port.number()),
                target.weight.get().to_string(),
            ]
        })
        .collect();
    out.push_str(&table(&["TARGET", "WEIGHT"], &rows, 2));
    out
}
