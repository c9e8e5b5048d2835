//! Checks of stickiness: names of cookies, keys, and groups that must keep clients first.

use std::collections::BTreeMap;

use super::Scope;
use crate::{CookieKey, Forward, Stickiness, StickinessType, TargetGroup, limits};

/// What ALB keeps for itself, and so do we: `AWSALB`, `AWSALBCORS`, `AWSALBTG`, `AWSALBTGCORS`,
/// `AWSALBAPP-0` and what may come.
const RESERVED: &str = "AWSALB";

/// Checks the stickiness of one group.
pub(super) fn of_group(scope: &mut Scope<'_, '_>, stickiness: &Stickiness) {
    match (&stickiness.cookie_name, stickiness.kind) {
        (Some(name), kind) => scope.key("cookie_name", |scope| cookie_name(scope, name, kind)),
        (None, StickinessType::AppCookie) if stickiness.enabled => {
            scope.fault("`type: app_cookie` needs `cookie_name`, the name of the application's session cookie");
        }
        (None, _) => {}
    }
}

fn cookie_name(scope: &mut Scope<'_, '_>, name: &str, kind: StickinessType) {
    // RFC 6265 §4.1.1: a token (RFC 9110 §5.6.2).
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > limits::COOKIE_NAME_BYTES || !name.chars().all(token) {
        scope.fault(format!(
            "the name of a cookie has 1 to {} letters, digits and characters of `!#$%&'*+-.^_|~`; found {name:?}",
            limits::COOKIE_NAME_BYTES
        ));
    } else if name
        .get(..RESERVED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
    {
        let mend = match kind {
            StickinessType::LbCookie => "leave the key out for `AWSALB`, or choose another name",
            StickinessType::AppCookie => "name the cookie that your application sets",
        };
        scope.fault(format!(
            "names that begin with `{RESERVED}` are the load balancer's own; {mend}"
        ));
    }
}

/// Checks that no cookie of the balancer has the name of another one that means something else.
pub(super) fn names(scope: &mut Scope<'_, '_>, groups: &[TargetGroup]) {
    // What each name is for; several groups may share the cookie of one name.
    let mut owners: BTreeMap<String, (String, &str)> = BTreeMap::new();
    scope.each("target_groups", groups, |scope, group| {
        let enabled = group.stickiness.as_ref().filter(|with| with.enabled);
        let Some((name, kind)) =
            enabled.and_then(|with| Some((with.cookie_name.as_ref()?, with.kind)))
        else {
            return;
        };
        let uses = match kind {
            StickinessType::LbCookie => vec![
                (name.clone(), "the load balancer's cookie"),
                (format!("{name}CORS"), "the load balancer's cookie for CORS"),
            ],
            StickinessType::AppCookie => vec![(name.clone(), "the application's cookie")],
        };
        for (used, purpose) in uses {
            let (other, owner) = owners
                .entry(used.clone())
                .or_insert_with(|| (group.name.clone(), purpose))
                .clone();
            if owner != purpose {
                scope.key("stickiness", |scope| {
                    scope.fault_at(
                        "cookie_name",
                        format!("`{used}` is {purpose} here and {owner} in {other:?}; give one of them another name"),
                    );
                });
            }
        }
    });
}

/// Checks a forward action.
pub(super) fn of_forward(scope: &mut Scope<'_, '_>, forward: &Forward) {
    let keeps = |name: &str| scope.sticky.contains(&name);
    let sticky = forward
        .target_group
        .iter()
        .find(|target| keeps(&target.name));
    let enabled = forward.stickiness.as_ref().is_some_and(|with| with.enabled);
    if let Some(target) = sticky
        && forward.target_group.len() > 1
        && !enabled
    {
        scope.fault_at(
            "target_group",
            format!(
                "{:?} keeps clients at one target, but this forward sends them to another group at any time; add `stickiness: {{enabled: true, duration: 1d}}` beside `target_group`",
                target.name
            ),
        );
    }
}

/// Checks a list of keys, those of cookies or of session tickets.
pub(super) fn keys(scope: &mut Scope<'_, '_>, list: &str, keys: &[CookieKey]) {
    if keys.len() > limits::COOKIE_KEYS {
        scope.fault_at(
            list,
            format!(
                "{} keys; at most {} are used",
                keys.len(),
                limits::COOKIE_KEYS
            ),
        );
    }
    let mut index = 0;
    scope.each(list, keys, |scope, key| {
        if let Some(other) = keys[..index].iter().position(|earlier| earlier == key) {
            scope.fault(format!("this key is that of {list}[{other}] already"));
        } else if key.is_constant() {
            scope.fault(
                "this key is one byte over and over; `openssl rand -base64 32` prints a random one",
            );
        }
        index += 1;
    });
}
