//! From the configuration's rules to those that requests are matched against. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use longshore_config as config;

use super::ids::GroupId;
use super::snapshot::Listener;
use crate::observe::ledger::ListenerLedger;
use crate::request::basic::BasicAuth;
use crate::request::compress::Compression;
use crate::request::condition::{Condition, HostPattern, TextPattern};
use crate::request::cors::Cors;
use crate::request::edits::Edits;
use crate::request::headers::Renamed;
use crate::request::mirror::Mirror;
use crate::request::networks::Networks;
use crate::request::pattern::{Pattern, Regex};
use crate::request::policy::{Access, Policy};
use crate::request::rate::RateLimit;
use crate::request::redirect::Redirect;
use crate::request::retry::Policy as RetryPolicy;
use crate::request::rules::{Action, Fixed, Own, Rule, RuleTable, Split};
use crate::request::sticky::Keeps;
use crate::request::transform::{Rewriter, Transforms};
use crate::upstream::identity::Identity;

/// A listener as requests see it, with `more` rules than its own. `server` is what its answers say
/// of themselves; what `before` has counted and remembers goes on.
#[must_use]
pub fn listener(
    listener: &config::Listener,
    more: &[(u64, config::Rule)],
    server: &str,
    group: &dyn Fn(&str) -> Option<GroupId>,
    workers: usize,
    before: Option<&Listener>,
) -> Listener {
    let rules = rule_table_after(listener, more, group, before.map(|before| &*before.rules));
    let before = before.map(|before| &*before.ledger);
    let priorities = rules.rules().iter().map(|rule| rule.priority);
    Listener {
        ledger: Arc::new(ListenerLedger::new(workers, priorities, before)),
        name: listener.name.as_str().into(),
        server: listener
            .routing_http_response_server_enabled
            .0
            .then(|| server.into()),
        policy: rules.default_policy().cloned(),
        trusted_proxies: listener
            .proxy_protocol
            .as_ref()
            .map(|with| with.trusted.iter().map(|network| network.0).collect()),
        tls: None,
        renamed: renamed(listener),
        rules: Arc::new(rules),
    }
}

/// The fields about TLS to which a listener gives other names. None if to none.
fn renamed(listener: &config::Listener) -> Option<Arc<[Renamed]>> {
    let names = listener.tls_header_names().into_iter();
    let renamed: Arc<[Renamed]> = names
        .filter_map(|(_, name, other)| Some((name, other?.to_owned())))
        .collect();
    (!renamed.is_empty()).then_some(renamed)
}

/// What a listener's attributes do to responses.
fn attributes(listener: &config::Listener) -> Edits {
    let set = listener.response_headers().into_iter();
    Edits {
        set: set
            .filter_map(|(_, name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect(),
        ..Edits::default()
    }
}

/// The rules of a listener, and `more` with their priorities. `group` finds the number of a group;
/// a validated configuration names only groups that exist, and one that does not would get no
/// requests.
#[must_use]
pub fn rule_table(
    listener: &config::Listener,
    more: &[(u64, config::Rule)],
    group: &dyn Fn(&str) -> Option<GroupId>,
) -> RuleTable {
    rule_table_after(listener, more, group, None)
}

/// The same. Where the settings are as `before`, what was counted and remembered by them goes on:
/// labels of containers make rules anew at any time, and nobody is to get more attempts by that.
fn rule_table_after(
    listener: &config::Listener,
    more: &[(u64, config::Rule)],
    group: &dyn Fn(&str) -> Option<GroupId>,
    before: Option<&RuleTable>,
) -> RuleTable {
    let before_of_listener = before
        .and_then(RuleTable::default_policy)
        .map(|policy| &**policy);
    let before: BTreeMap<u64, &Policy> = before
        .map_or(&[][..], RuleTable::rules)
        .iter()
        .filter_map(|rule| Some((rule.priority, &**rule.policy.as_ref()?)))
        .collect();
    let known = Kept::new(before_of_listener, None);
    let policy_of_listener = policy(listener, None, None, &known, group);
    let own = listener.rules.iter();
    let own = own.map(|config| (config, rule(listener, config, group)));
    let more = more.iter();
    let more = more.map(|(priority, config)| (config, rule_at(*priority, listener, config, group)));
    let rules = own
        .chain(more)
        .map(|(config, rule)| Rule {
            policy: policy_of_rule(listener, config, policy_of_listener.as_ref(), group, || {
                Kept::new(before.get(&rule.priority).copied(), before_of_listener)
            }),
            ..rule
        })
        .collect();
    RuleTable::new(rules, default_action(listener, group)).with_policy(policy_of_listener)
}

/// What a rule of a listener, or the listener alone, does beside an action, as if nothing had
/// happened before.
pub(crate) fn policy_of(
    listener: &config::Listener,
    rule: Option<&config::Rule>,
    group: &dyn Fn(&str) -> Option<GroupId>,
) -> Option<Arc<Policy>> {
    let own = policy(listener, None, None, &Kept::default(), group);
    match rule {
        Some(rule) => policy_of_rule(listener, rule, own.as_ref(), group, Kept::default),
        None => own,
    }
}

/// That of a rule; `own` is that of its listener.
fn policy_of_rule(
    listener: &config::Listener,
    rule: &config::Rule,
    own: Option<&Arc<Policy>>,
    group: &dyn Fn(&str) -> Option<GroupId>,
    kept: impl FnOnce() -> Kept,
) -> Option<Arc<Policy>> {
    let Some(of_rule) = &rule.policy else {
        return own.cloned();
    };
    let own = own.map(|own| &**own);
    policy(listener, Some(of_rule), own, &kept(), group)
}

/// What was counted and remembered by the policy of a listener or of a rule.
#[derive(Default)]
struct Kept {
    rate_limit: Option<Arc<RateLimit>>,
    basic_auth: Option<Arc<BasicAuth>>,
}

impl Kept {
    /// That of `policy`, but for what it has from its listener.
    fn new(policy: Option<&Policy>, of_listener: Option<&Policy>) -> Self {
        fn own<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> Option<Arc<T>> {
            let shared = |one: &Arc<T>| other.is_some_and(|other| Arc::ptr_eq(one, other));
            one.filter(|one| !shared(one)).cloned()
        }
        Self {
            rate_limit: own(
                policy.and_then(|policy| policy.rate_limit.as_ref()),
                of_listener.and_then(|policy| policy.rate_limit.as_ref()),
            ),
            basic_auth: own(
                policy.and_then(|policy| policy.basic_auth.as_ref()),
                of_listener.and_then(|policy| policy.basic_auth.as_ref()),
            ),
        }
    }

    fn rate_limit(&self, settings: &config::RateLimit) -> Arc<RateLimit> {
        let known = self.rate_limit.as_ref().filter(|it| it.is_of(settings));
        known.map_or_else(|| Arc::new(RateLimit::new(settings)), Arc::clone)
    }

    fn basic_auth(&self, settings: &config::BasicAuth) -> Arc<BasicAuth> {
        let known = self.basic_auth.as_ref().filter(|it| it.is_of(settings));
        known.map_or_else(|| Arc::new(BasicAuth::new(settings)), Arc::clone)
    }
}

/// What a listener, and a rule with a policy of its own, do to requests and responses. None if
/// nothing. `own` is the listener's: what it counts and remembers is one for all of its rules.
fn policy(
    listener: &config::Listener,
    rule: Option<&config::Policy>,
    own: Option<&Policy>,
    kept: &Kept,
    group: &dyn Fn(&str) -> Option<GroupId>,
) -> Option<Arc<Policy>> {
    let base = listener.policy.as_ref();
    let attributes = attributes(listener);
    if base.is_none() && rule.is_none() && attributes.is_empty() {
        return None;
    }
    let policies = || rule.into_iter().chain(base);
    let networks = |list: &Vec<config::Cidr>| Networks::new(list.iter().map(|network| network.0));
    let all = |of: fn(&config::Policy) -> Option<&config::HeaderEdits>, first: Edits| {
        let mut all: Vec<Edits> = policies().filter_map(of).map(edits).collect();
        let mut sum = first;
        while let Some(edits) = all.pop() {
            sum = edits.after(&sum);
        }
        (!sum.is_empty()).then_some(sum)
    };
    Some(Arc::new(Policy {
        access: Access {
            allow: policies()
                .find_map(|policy| policy.source_ip_allow.as_ref())
                .map(networks),
            deny: policies()
                .find_map(|policy| policy.source_ip_deny.as_ref())
                .map(networks),
        },
        rate_limit: match (rule.and_then(|rule| rule.rate_limit.as_ref()), own) {
            (None, Some(own)) => own.rate_limit.clone(),
            (of_rule, _) => of_rule
                .or_else(|| base?.rate_limit.as_ref())
                .map(|limit| kept.rate_limit(limit)),
        },
        cors: policies()
            .find_map(|policy| policy.cors.as_ref())
            .map(Cors::new),
        basic_auth: match (rule.and_then(|rule| rule.basic_auth.as_ref()), own) {
            (None, Some(own)) => own.basic_auth.clone(),
            (of_rule, _) => of_rule
                .or_else(|| base?.basic_auth.as_ref())
                .map(|auth| kept.basic_auth(auth)),
        },
        body_limit: policies()
            .find_map(|policy| policy.request_body_limit)
            .map(|limit| limit.get()),
        compression: policies()
            .find_map(|policy| policy.compression.as_ref())
            .and_then(Compression::new),
        mirror: policies()
            .find_map(|policy| policy.mirror.as_ref())
            .and_then(|mirror| Mirror::new(mirror, group(&mirror.target_group))),
        request: all(|policy| policy.request_headers.as_ref(), Edits::default()),
        response: all(|policy| policy.response_headers.as_ref(), attributes),
    }))
}

fn edits(settings: &config::HeaderEdits) -> Edits {
    let pairs = |map: &BTreeMap<String, String>| {
        map.iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    Edits {
        set: pairs(&settings.set),
        add: pairs(&settings.add),
        remove: settings.remove.clone(),
    }
}

/// One rule of a listener.
pub(crate) fn rule(
    listener: &config::Listener,
    rule: &config::Rule,
    group: &dyn Fn(&str) -> Option<GroupId>,
) -> Rule {
    rule_at(rule.priority.get(), listener, rule, group)
}

fn rule_at(
    priority: u64,
    listener: &config::Listener,
    rule: &config::Rule,
    group: &dyn Fn(&str) -> Option<GroupId>,
) -> Rule {
    let scope = || Identity::rule(&listener.name, Some(priority));
    Rule {
        priority,
        conditions: rule.condition.iter().flat_map(conditions).collect(),
        action: first_action(&rule.action, group, &scope),
        transforms: transforms(&rule.transform),
        policy: None,
    }
}

/// What happens to a request that no rule of a listener matches.
pub(crate) fn default_action(
    listener: &config::Listener,
    group: &dyn Fn(&str) -> Option<GroupId>,
) -> Action {
    let scope = || Identity::rule(&listener.name, None);
    first_action(&listener.default_action, group, &scope)
}

fn transforms(all: &[config::Transform]) -> Transforms {
    let host = all
        .iter()
        .find_map(|transform| transform.host_header_rewrite_config.as_ref());
    let url = all
        .iter()
        .find_map(|transform| transform.url_rewrite_config.as_ref());
    Transforms {
        host: host.and_then(|config| Rewriter::new(&config.rewrite, true)),
        url: url.and_then(|config| Rewriter::new(&config.rewrite, false)),
    }
}

fn first_action(
    actions: &[config::Action],
    group: &dyn Fn(&str) -> Option<GroupId>,
    scope: &dyn Fn() -> Identity,
) -> Action {
    let Some(action) = actions.first() else {
        return Action::Forward(Split::new([]));
    };
    if let Some(settings) = &action.redirect {
        return Action::Redirect(redirect(settings));
    }
    if let Some(settings) = &action.fixed_response {
        return Action::Fixed(fixed(settings));
    }
    let single = action.target_group.iter().map(|name| (1, name.as_str()));
    let weighted = action
        .forward
        .iter()
        .flat_map(|forward| &forward.target_group)
        .map(|target| (target.weight.get(), target.name.as_str()));
    let split = Split::new(
        single
            .chain(weighted)
            .filter_map(|(weight, name)| Some((weight, group(name)?))),
    );
    let forward = action.forward.as_ref();
    let split = split.that_fails_over(forward.is_some_and(|forward| forward.failover));
    let kept = forward.and_then(|forward| keeps(forward, group, scope));
    Action::Forward(split.that_keeps(kept).with_own(own(action)))
}

fn own(action: &config::Action) -> Option<Box<Own>> {
    (action.retry.is_some() || action.timeouts.is_some()).then(|| {
        Box::new(Own {
            retry: action
                .retry
                .as_ref()
                .map(|retry| Arc::new(RetryPolicy::new(retry))),
            timeouts: action.timeouts.unwrap_or_default(),
        })
    })
}

fn keeps(
    forward: &config::Forward,
    group: &dyn Fn(&str) -> Option<GroupId>,
    scope: &dyn Fn() -> Identity,
) -> Option<Keeps> {
    let stickiness = forward.stickiness.as_ref().filter(|with| with.enabled)?;
    let duration = stickiness.duration.get().as_millis();
    Some(Keeps {
        scope: scope(),
        duration: u64::try_from(duration).unwrap_or(u64::MAX),
        groups: forward
            .target_group
            .iter()
            .filter(|target| target.weight.get() > 0)
            .filter_map(|target| Some((Identity::group(&target.name), group(&target.name)?)))
            .collect(),
    })
}

fn redirect(settings: &config::Redirect) -> Redirect {
    Redirect {
        status: status(settings.status_code.code()),
        protocol: settings.protocol.clone(),
        host: settings.host.clone(),
        port: settings.port.clone(),
        path: settings.path.clone(),
        query: settings.query.clone(),
    }
}

fn fixed(settings: &config::FixedResponse) -> Fixed {
    Fixed {
        status: status(u16::try_from(settings.status_code.get()).unwrap_or(500)),
        content_type: HeaderValue::from_str(&settings.content_type)
            .unwrap_or(HeaderValue::from_static("text/plain")),
        body: settings.message_body.clone().into(),
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The one kind that a validated condition has.
pub(crate) fn conditions(condition: &config::Condition) -> Vec<Condition> {
    let mut all = Vec::with_capacity(1);
    if let Some(host) = &condition.host_header {
        let patterns = patterns(&host.values, &host.regex_values, true);
        let texts = host.values.iter().chain(&host.regex_values);
        all.push(Condition::Host(
            texts
                .zip(patterns)
                .map(|(text, pattern)| HostPattern {
                    with_port: names_port(text),
                    pattern,
                })
                .collect(),
        ));
    }
    if let Some(path) = &condition.path_pattern {
        all.push(Condition::Path(
            patterns(&path.values, &path.regex_values, false).collect(),
        ));
    }
    if let Some(method) = &condition.http_request_method {
        all.push(Condition::Method(
            method
                .values
                .iter()
                .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
                .collect(),
        ));
    }
    if let Some(header) = &condition.http_header
        && let Ok(name) = HeaderName::from_bytes(header.http_header_name.as_bytes())
    {
        let patterns = patterns(&header.values, &header.regex_values, true);
        all.push(Condition::Header(name, patterns.collect()));
    }
    if let Some(pairs) = &condition.query_string {
        let escaped = |text: &str| Pattern::new(text, true, true);
        all.push(Condition::Query(
            pairs
                .iter()
                .map(|pair| (pair.key.as_deref().map(escaped), escaped(&pair.value)))
                .collect(),
        ));
    }
    if let Some(source) = &condition.source_ip {
        all.push(Condition::Source(
            source.values.iter().map(|network| network.0).collect(),
        ));
    }
    all
}

/// The alternatives of a condition, which has one of the two sorts.
fn patterns(
    values: &[String],
    expressions: &[String],
    fold: bool,
) -> impl Iterator<Item = TextPattern> {
    let wild = values
        .iter()
        .map(move |value| TextPattern::Wild(Pattern::new(value, fold, false)));
    let regex = expressions
        .iter()
        .filter_map(move |text| Regex::new(text, fold).map(TextPattern::Regex));
    wild.chain(regex)
}

/// Whether a pattern for the Host speaks of a port: a colon that is not part of an IPv6 address or
/// of a group of a regular expression.
fn names_port(pattern: &str) -> bool {
    let after = pattern.rsplit_once(']').map_or(pattern, |(_, after)| after);
    after.replace("(?:", "").contains(':')
}
