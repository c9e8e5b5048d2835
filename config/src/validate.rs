//! What no single value can tell: names that must exist, pairs that exclude each other, features
//! that this version does not serve.

mod action;
mod admin;
mod attributes;
mod balancing;
mod discovery;
mod health;
mod labels;
mod policy;
mod rule;
mod stickiness;
mod tls;
mod transform;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::node::Step;
use crate::{
    Config, Listener, OutlierDetection, ProtocolVersion, Retry, RetryOn, TargetGroup, limits,
};

/// Takes a path into the configuration and what is wrong there.
pub(crate) type Report<'a> = &'a mut dyn FnMut(&[Step], String);

/// Where a check stands: its path, the names of all groups and of those with stickiness, and where
/// faults go.
struct Scope<'a, 'r> {
    path: Vec<Step>,
    groups: &'a [String],
    sticky: Vec<&'a str>,
    report: Report<'r>,
}

impl Scope<'_, '_> {
    fn key<R>(&mut self, key: &str, inner: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(Step::Key(key.to_owned()));
        let result = inner(self);
        self.path.pop();
        result
    }

    fn each<'t, T>(&mut self, key: &str, items: &'t [T], mut inner: impl FnMut(&mut Self, &'t T)) {
        self.path.push(Step::Key(key.to_owned()));
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Index(index));
            inner(self, item);
            self.path.pop();
        }
        self.path.pop();
    }

    fn fault(&mut self, message: impl Into<String>) {
        (self.report)(&self.path, message.into());
    }

    fn fault_at(&mut self, key: &str, message: impl Into<String>) {
        self.key(key, |scope| scope.fault(message));
    }
}

/// Checks a whole configuration. `groups` holds the names of all groups in the file, also of
/// those that have faults of their own.
pub(crate) fn validate(config: &Config, groups: &[String], report: Report<'_>) {
    let sticky = config
        .target_groups
        .iter()
        .filter(|group| group.stickiness.as_ref().is_some_and(|with| with.enabled))
        .map(|group| group.name.as_str())
        .collect();
    let mut scope = Scope {
        path: Vec::new(),
        groups,
        sticky,
        report,
    };
    if let Some(admin) = &config.admin {
        scope.key("admin", |scope| {
            if !admin.address.ip().is_loopback() && admin.token.is_none() {
                scope.fault_at(
                    "address",
                    "other machines could reach it: use a loopback address, such as 127.0.0.1:9901, or set `token`",
                );
            }
            check_port(scope, "address", admin.address);
            admin::keys(scope, admin);
        });
    }
    let zone = config.runtime.zone.as_deref();
    scope.key("runtime", |scope| {
        stickiness::keys(scope, "cookie_keys", &config.runtime.cookie_keys);
        stickiness::keys(
            scope,
            "session_ticket_keys",
            &config.runtime.session_ticket_keys,
        );
        balancing::zone(scope, zone);
    });
    scope.key("load_balancer", |scope| {
        attributes::of_load_balancer(scope, &config.load_balancer);
        attributes::logs(scope, &config.load_balancer);
        scope.key("zonal_shift", |scope| {
            health::shift(scope, &config.load_balancer.zonal_shift);
        });
    });
    if config.listeners.is_empty() {
        scope.fault_at("listeners", "at least one listener is needed");
    }
    unique(
        &mut scope,
        "listeners",
        config.listeners.iter().map(|l| l.name.as_str()),
    );
    unique(
        &mut scope,
        "target_groups",
        config.target_groups.iter().map(|g| g.name.as_str()),
    );
    same_address(&mut scope, config);
    scope.each("listeners", &config.listeners, listener);
    let mirrors: Vec<&str> = config.groups_mirrored().collect();
    scope.each("target_groups", &config.target_groups, |scope, group| {
        if mirrors.contains(&group.name.as_str())
            && group.protocol_version.unwrap_or_default() != ProtocolVersion::Http1
        {
            scope.fault_at(
                "protocol_version",
                "a policy's `mirror` names this group, and copies are sent with HTTP1 alone",
            );
        }
        target_group(scope, group);
        balancing::balancing(scope, group, zone);
    });
    stickiness::names(&mut scope, &config.target_groups);
    unique(
        &mut scope,
        "label_discovery",
        config.label_discovery.iter().map(|one| one.name.as_str()),
    );
    scope.each("label_discovery", &config.label_discovery, |scope, one| {
        labels::labels(scope, one, &config.listeners);
    });
}

fn unique<'n>(scope: &mut Scope<'_, '_>, list: &str, names: impl Iterator<Item = &'n str>) {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, name) in names.enumerate() {
        if let Some(other) = first.get(name) {
            let message = format!("the name {name:?} is that of {list}[{other}] already");
            scope.path.push(Step::Key(list.to_owned()));
            scope.path.push(Step::Index(index));
            scope.fault_at("name", message);
            scope.path.truncate(scope.path.len() - 2);
        } else {
            first.insert(name, index);
        }
    }
}

fn same_address(scope: &mut Scope<'_, '_>, config: &Config) {
    let admin = config.admin.as_ref();
    let mut taken: Vec<(SocketAddr, &str)> = admin
        .map(|admin| (admin.address, "admin"))
        .into_iter()
        .collect();
    scope.each("listeners", &config.listeners, |scope, listener| {
        let Some(address) = listener.socket_address() else {
            return;
        };
        let other = taken.iter().find(|(other, _)| overlap(*other, address));
        if let Some((other, name)) = other {
            let key = if listener.address.is_some() {
                "address"
            } else {
                "port"
            };
            let fault = match *other == address {
                true => format!("{address} is that of {name:?} already"),
                false => format!(
                    "{address} and {other} of {name:?} overlap: one of them stands for all addresses"
                ),
            };
            scope.fault_at(key, fault);
        }
        taken.push((address, &listener.name));
    });
}

/// Whether two sockets cannot listen there at a time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // A listener at `[::]` takes IPv4 too.
    let covers =
        |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

fn check_name(scope: &mut Scope<'_, '_>, name: &str) {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > limits::NAME_BYTES || !name.chars().all(valid) {
        scope.fault_at(
            "name",
            format!(
                "a name has 1 to {} letters, digits, `-`, `_` and `.`; found {name:?}",
                limits::NAME_BYTES
            ),
        );
    }
}

fn check_port(scope: &mut Scope<'_, '_>, key: &str, address: SocketAddr) {
    if address.port() == 0 {
        scope.fault_at(key, "the port is 0; expected 1 to 65535");
    }
}

/// A socket that takes IPv6 alone cannot have an address that stands for one of IPv4.
fn not_mapped(scope: &mut Scope<'_, '_>, address: SocketAddr) {
    if let IpAddr::V6(ip) = address.ip()
        && let Some(ip) = ip.to_ipv4_mapped()
    {
        let plain = SocketAddr::new(IpAddr::V4(ip), address.port());
        scope.fault_at(
            "address",
            format!("{address} is an address of IPv4 in the form of IPv6; write {plain}"),
        );
    }
}

fn listener(scope: &mut Scope<'_, '_>, listener: &Listener) {
    check_name(scope, &listener.name);
    match (listener.address, listener.port) {
        (Some(address), None) => {
            check_port(scope, "address", address);
            not_mapped(scope, address);
        }
        (None, Some(_)) => {}
        (None, None) => scope.fault("one of the keys `address` and `port` is needed"),
        (Some(_), Some(_)) => {
            scope.fault_at(
                "port",
                "`address` holds a port already; remove one of the two",
            );
        }
    }
    tls::of_listener(scope, listener);
    if let Some(with) = &listener.proxy_protocol
        && with.trusted.is_empty()
    {
        scope.fault_at(
            "proxy_protocol",
            "`trusted` is empty, so nobody could connect with a header; name the networks of the proxies before this listener",
        );
    }
    attributes::of_listener(scope, listener);
    if let Some(policy) = &listener.policy {
        scope.key("policy", |scope| policy::policy(scope, policy));
    }
    action::one(scope, "default_action", &listener.default_action);
    rule::rules(scope, &listener.rules);
}

fn target_group(scope: &mut Scope<'_, '_>, group: &TargetGroup) {
    check_name(scope, &group.name);
    tls::of_group(scope, group);
    if group.proxy_protocol.is_some()
        && group.protocol_version.unwrap_or_default() != ProtocolVersion::Http1
    {
        scope.fault_at(
            "proxy_protocol",
            "needs `protocol_version: HTTP1`: connections of HTTP/2 carry the requests of many clients",
        );
    }
    if let Some(with) = &group.stickiness {
        scope.key("stickiness", |scope| stickiness::of_group(scope, with));
    }
    if let Some(found) = &group.discovery {
        if !group.targets.is_empty() {
            scope.fault_at(
                "targets",
                "a group has either `targets` or `discovery`; remove one of the two",
            );
        }
        scope.key("discovery", |scope| discovery::source(scope, found));
    }
    let mut seen = BTreeMap::new();
    let mut index = 0_usize;
    scope.each("targets", &group.targets, |scope, target| {
        let address = SocketAddr::new(target.address, target.port.number());
        if let Some(other) = seen.insert(address, index) {
            scope.fault(format!("{address} is that of targets[{other}] already"));
        }
        index += 1;
    });
    health::checks(scope, group);
    health::minimums(scope, group);
    if let Some(with) = &group.retry {
        scope.key("retry", |scope| retry(scope, with));
    }
    scope.key("outlier_detection", |scope| {
        outlier_detection(scope, &group.outlier_detection)
    });
}

fn retry(scope: &mut Scope<'_, '_>, retry: &Retry) {
    let waits = !retry.backoff.get().is_zero() || retry.per_try_timeout.is_some();
    if (waits || retry.hedge_after.is_some()) && retry.attempts.get() == 1 {
        scope.fault_at(
            "attempts",
            "with one attempt nothing is tried again; remove this key, or `backoff`, `per_try_timeout` and `hedge_after`",
        );
    }
    let limits = (retry.hedge_after, retry.per_try_timeout);
    if matches!(limits, (Some(hedge), Some(limit)) if hedge.get() >= limit.get()) {
        scope.fault_at(
            "hedge_after",
            "at that time the first attempt has ended by `per_try_timeout`; set this one below it",
        );
    }
    if retry.per_try_timeout.is_some() && !retry.on.contains(&RetryOn::Timeout) {
        scope.fault_at(
            "per_try_timeout",
            "after this time nothing would be tried again; add `timeout` to `on`",
        );
    }
}

fn outlier_detection(scope: &mut Scope<'_, '_>, detection: &OutlierDetection) {
    if detection.base_ejection_time.get() > detection.max_ejection_time.get() {
        scope.fault_at(
            "base_ejection_time",
            "the first ejection may not take longer than `max_ejection_time`, which is 300s unless it is set",
        );
    }
}
