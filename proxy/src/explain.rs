//! What would happen to a request, and why: the same steps as `request.rs` takes, told instead of
//! done. Pure.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use longshore_config as config;

use crate::control::compile;
use crate::control::ids::GroupId;
use crate::http1::field::Field;
use crate::http1::head::{RequestHead, room};
use crate::request::admit::admit;
use crate::request::answer::Reason;
use crate::request::desync::{self, Measure};
use crate::request::headers::push_host_and_port;
use crate::request::normal;
use crate::request::policy::Terms;
use crate::request::rules::{Action, Facts};
use crate::request::transform::{Invalid, Transforms};

/// A request that nobody sends.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Of the URL: false for `http`, true for `https`.
    pub secure: bool,
    /// Host and port of the URL, as they were written. Empty if the URL is only a path.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// Header fields. A `Host` takes the place of that of the URL.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Who sends it.
    pub source: IpAddr,
}

impl Request {
    /// A request for a URL, or for a path with a Host among its fields.
    ///
    /// # Errors
    /// What is wrong with the URL, and what would be right.
    pub fn new(
        method: &str,
        url: &str,
        fields: Vec<(HeaderName, HeaderValue)>,
        source: IpAddr,
    ) -> Result<Self, String> {
        let has_host = fields.iter().any(|(name, _)| name == http::header::HOST);
        let whole = url.split_once('#').map_or(url, |(url, _)| url);
        let (secure, rest) = match whole.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, _)) => {
                return Err(format!(
                    "{scheme:?} is not balanced; use http:// or https://"
                ));
            }
            None if has_host && (whole.starts_with('/') || whole == "*") => (false, whole),
            None => {
                return Err(format!(
                    "{url:?} is no URL; write http://HOST/PATH, or /PATH with -H 'Host: HOST'"
                ));
            }
        };
        let at = if rest == "*" {
            0
        } else {
            rest.find(['/', '?']).unwrap_or(rest.len())
        };
        let (authority, target) = rest.split_at(at);
        let slash = if target.starts_with('/') || target == "*" {
            ""
        } else {
            "/"
        };
        Ok(Self {
            method: method.to_owned(),
            secure,
            authority: authority.to_owned(),
            target: format!("{slash}{target}"),
            fields,
            source,
        })
    }

    /// The port of the URL, if it has a host.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let name = normal::without_port(&self.authority);
        match self.authority[name.len()..].strip_prefix(':') {
            Some(port) => port.parse().ok(),
            None if self.authority.is_empty() => None,
            None if self.secure => Some(443),
            None => Some(80),
        }
    }

    /// The head as a client would send it.
    fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let has_host = self
            .fields
            .iter()
            .any(|(name, _)| name == http::header::HOST);
        if !has_host {
            head.extend_from_slice(format!("host: {}\r\n", self.authority).as_bytes());
        }
        for (name, value) in &self.fields {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// What happens to it.
#[derive(Debug)]
pub struct Explanation {
    /// The Host that rules see.
    pub host: String,
    /// The path that rules see.
    pub path: String,
    /// The rules that were tried, in their order. All but the last did not hold.
    pub tried: Vec<Tried>,
    /// The priority of the rule that holds; none if the default action is taken.
    pub rule: Option<u64>,
    /// What is done.
    pub effect: Effect,
}

/// A rule that was tried.
#[derive(Debug)]
pub struct Tried {
    /// Its priority.
    pub priority: u64,
    /// Its conditions.
    pub conditions: Vec<Judged>,
}

/// One condition of it.
#[derive(Debug)]
pub struct Judged {
    /// Its key in the file.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What the request has there.
    pub has: String,
    /// What would hold.
    pub wants: String,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Effect {
    /// It is refused: before any rule is tried, or because no rule answers a TRACE.
    Refused(Reason),
    /// It goes to one of these groups.
    Forward {
        /// Each with its percentage of such requests.
        groups: Vec<(String, f64)>,
        /// A client stays at its group.
        sticky: bool,
        /// The Host, and the path with the query, as the target gets them.
        sent: (String, String),
    },
    /// The client is sent elsewhere. No Location: it would be invalid.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        location: Option<String>,
    },
    /// An answer from the file.
    Fixed {
        /// The status.
        status: u16,
        /// Its media type.
        content_type: String,
        /// Its body.
        body: String,
    },
    /// The transform of the rule gives no valid Host or URL (500).
    TransformFailed,
}

/// The listener for a request: the one on the port of the URL. If there is none (the URL may be
/// that before a port mapping), the first one of that protocol.
#[must_use]
pub fn listener<'c>(config: &'c config::Config, request: &Request) -> Option<&'c config::Listener> {
    let port = |listener: &config::Listener| listener.socket_address().map(|at| at.port());
    let same = |listener: &&config::Listener| {
        (listener.protocol == config::ListenerProtocol::Https) == request.secure
    };
    let all = || config.listeners.iter();
    all()
        .filter(same)
        .find(|listener| request.port().is_some() && port(listener) == request.port())
        .or_else(|| all().find(same))
}

/// What happens to a request at a listener.
#[must_use]
pub fn explain(config: &config::Config, at: &config::Listener, request: &Request) -> Explanation {
    let bytes = request.head();
    let mut room = room();
    let refused = |reason| Explanation {
        host: request.authority.clone(),
        path: request.target.clone(),
        tried: Vec::new(),
        rule: None,
        effect: Effect::Refused(reason),
    };
    let Ok(Some(head)) = RequestHead::parse(&bytes, &mut room) else {
        return refused(Reason::MalformedRequest);
    };
    let admitted = match admit(&head) {
        Ok(admitted) => admitted,
        Err(reason) => return refused(reason),
    };
    let lb = &config.load_balancer;
    let clean_lines = desync::has_clean_lines(&head, &bytes);
    let finding = (!(admitted.is_clean && clean_lines))
        .then(|| desync::judge(&bytes[..head.len]))
        .flatten();
    let get_body = lb.allow_get_body && clean_lines;
    if desync::measure(lb.desync_mitigation_mode, finding, get_body) == Measure::Block {
        return refused(Reason::DesyncMitigation);
    }
    let Ok(path) = normal::path(admitted.path, lb.path_normalization) else {
        return refused(Reason::BadTarget);
    };
    let host = normal::host(admitted.host.unwrap_or_default());
    let facts = Facts {
        method: head.method,
        host: &host,
        host_name: normal::without_port(&host),
        path: &path,
        query: admitted.query,
        fields: head.fields,
        source: request.source,
    };
    let mut rules: Vec<&config::Rule> = at.rules.iter().collect();
    rules.sort_by_key(|rule| rule.priority.get());
    let mut tried = Vec::new();
    let mut found = None;
    for rule in rules {
        let conditions: Vec<Judged> = rule
            .condition
            .iter()
            .flat_map(|condition| judge(condition, &facts))
            .collect();
        let holds = conditions.iter().all(|condition| condition.holds);
        tried.push(Tried {
            priority: rule.priority.get(),
            conditions,
        });
        if holds {
            found = Some(rule);
            break;
        }
    }
    let groups = &config.target_groups;
    let id = |name: &str| {
        let index = groups.iter().position(|group| group.name == name)?;
        u32::try_from(index).ok().map(GroupId)
    };
    let (actions, action, transforms) = match found {
        Some(rule) => {
            let compiled = compile::rule(at, rule, &id);
            (&rule.action, compiled.action, compiled.transforms)
        }
        None => (
            &at.default_action,
            compile::default_action(at, &id),
            Transforms::NONE,
        ),
    };
    // What depends on others is left out: a limit on requests has seen none, and a password may be
    // right.
    let policy = compile::policy_of(at, found, &id);
    let kept_out = policy.and_then(|policy| {
        let judged = Terms::new(&policy).judge(&facts, admitted.body.length(), 0);
        judged.err().map(|answer| answer.reason)
    });
    let effect = match kept_out {
        Some(reason) => Effect::Refused(reason),
        None => effect(config, at, &facts, actions, &action, &transforms),
    };
    Explanation {
        host: facts.host.to_owned(),
        path: facts.path.to_owned(),
        rule: found.map(|rule| rule.priority.get()),
        tried,
        effect,
    }
}

fn effect(
    config: &config::Config,
    at: &config::Listener,
    facts: &Facts<'_>,
    actions: &[config::Action],
    action: &Action,
    transforms: &Transforms,
) -> Effect {
    match action {
        Action::Forward(_) if facts.method == "TRACE" => Effect::Refused(Reason::MethodNotAllowed),
        Action::Forward(_) => {
            let Ok(sent) = sent(config, at, facts, transforms) else {
                return Effect::TransformFailed;
            };
            let forward = actions.iter().find_map(|action| action.forward.as_ref());
            let single = actions
                .iter()
                .filter_map(|action| action.target_group.clone());
            let many = forward
                .iter()
                .flat_map(|forward| &forward.target_group)
                .map(|target| (target.name.clone(), target.weight.get()));
            let weighted: Vec<(String, u64)> = single.map(|name| (name, 1)).chain(many).collect();
            let sum: u64 = weighted.iter().map(|(_, weight)| weight).sum();
            #[allow(
                clippy::cast_precision_loss,
                reason = "weights are below 1,000, and this is for people"
            )]
            let percent = |weight: u64| 100.0 * weight as f64 / sum.max(1) as f64;
            Effect::Forward {
                groups: weighted
                    .into_iter()
                    .map(|(name, weight)| (name, percent(weight)))
                    .collect(),
                sticky: forward
                    .and_then(|forward| forward.stickiness.as_ref())
                    .is_some_and(|with| with.enabled),
                sent,
            }
        }
        Action::Redirect(redirect) => {
            let scheme = match at.protocol {
                config::ListenerProtocol::Http => "http",
                config::ListenerProtocol::Https => "https",
            };
            let location = redirect.location(facts, scheme, port(at));
            Effect::Redirect {
                status: redirect.status.as_u16(),
                location: location
                    .ok()
                    .map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned()),
            }
        }
        Action::Fixed(fixed) => Effect::Fixed {
            status: fixed.status.as_u16(),
            content_type: String::from_utf8_lossy(fixed.content_type.as_bytes()).into_owned(),
            body: String::from_utf8_lossy(&fixed.body).into_owned(),
        },
    }
}

/// The port that a listener's clients come to.
fn port(at: &config::Listener) -> u16 {
    let address = at.socket_address();
    address.map_or(80, |address| address.port())
}

/// The Host and the URL as a target gets them.
fn sent(
    config: &config::Config,
    at: &config::Listener,
    facts: &Facts<'_>,
    transforms: &Transforms,
) -> Result<(String, String), Invalid> {
    let rewritten = transforms.apply(facts.host, facts.path, facts.query)?;
    let url = match facts.query {
        Some(query) => format!("{}?{query}", facts.path),
        None => facts.path.to_owned(),
    };
    let host = match rewritten.host() {
        Some(host) => host.to_owned(),
        None if config.load_balancer.preserve_host_header || facts.host.is_empty() => {
            facts.host.to_owned()
        }
        None => {
            let mut out = Vec::new();
            push_host_and_port(&mut out, facts.host, port(at));
            String::from_utf8_lossy(&out).into_owned()
        }
    };
    Ok((host, rewritten.url().map_or(url, str::to_owned)))
}

/// The conditions in one entry of the file: exactly one, in a validated configuration.
fn judge(condition: &config::Condition, facts: &Facts<'_>) -> Vec<Judged> {
    let kinds = condition.kinds();
    let compiled = compile::conditions(condition);
    kinds
        .into_iter()
        .zip(compiled)
        .map(|(kind, compiled)| Judged {
            kind,
            holds: compiled.holds(facts),
            has: has(condition, kind, facts),
            wants: wants(condition, kind),
        })
        .collect()
}

fn has(condition: &config::Condition, kind: &str, facts: &Facts<'_>) -> String {
    match kind {
        "host_header" => facts.host.to_owned(),
        "path_pattern" => facts.path.to_owned(),
        "http_request_method" => facts.method.to_owned(),
        "query_string" => facts.query.map_or("no query".to_owned(), str::to_owned),
        "source_ip" => facts.source.to_string(),
        _ => {
            let name = condition
                .http_header
                .as_ref()
                .map(|header| &header.http_header_name);
            let wanted =
                |field: &&Field<'_>| name.is_some_and(|name| field.name.eq_ignore_ascii_case(name));
            let values: Vec<String> = facts
                .fields
                .iter()
                .filter(wanted)
                .map(|field| String::from_utf8_lossy(field.value).into_owned())
                .collect();
            let name = name.map_or("", String::as_str);
            if values.is_empty() {
                format!("no {name}")
            } else {
                format!("{name}: {}", values.join(" | "))
            }
        }
    }
}

/// The values of a condition, for people.
pub(crate) fn wants(condition: &config::Condition, kind: &str) -> String {
    let either = |values: &[String], expressions: &[String]| {
        let expressions = expressions.iter().map(|text| format!("regex {text}"));
        values.iter().cloned().chain(expressions).collect()
    };
    let of = |patterns: &Option<config::Patterns>| match patterns {
        Some(patterns) => either(&patterns.values, &patterns.regex_values),
        None => Vec::new(),
    };
    let all: Vec<String> = match kind {
        "host_header" => of(&condition.host_header),
        "path_pattern" => of(&condition.path_pattern),
        "http_request_method" => {
            let values = condition.http_request_method.as_ref();
            values
                .map(|method| method.values.clone())
                .unwrap_or_default()
        }
        "query_string" => {
            let pairs = condition.query_string.iter().flatten();
            pairs
                .map(|pair| match &pair.key {
                    Some(key) => format!("{key}={}", pair.value),
                    None => format!("any={}", pair.value),
                })
                .collect()
        }
        "source_ip" => {
            let networks = condition.source_ip.iter().flat_map(|source| &source.values);
            networks.map(|network| network.0.to_string()).collect()
        }
        _ => {
            let header = condition.http_header.as_ref();
            header.map_or_else(Vec::new, |header| {
                either(&header.values, &header.regex_values)
            })
        }
    };
    all.join(" or ")
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
