//! Checks of transforms.

use super::Scope;
use super::rule::expression;
use crate::{ActionKind, Rewrite, Rule, TransformKind, limits, regex};

pub(super) fn all(scope: &mut Scope<'_, '_>, rule: &Rule) {
    let is_forward = |action: &crate::Action| action.kind == ActionKind::Forward;
    if !rule.transform.is_empty() && !rule.action.iter().any(is_forward) {
        scope.fault_at(
            "transform",
            "only what is sent to a target is written anew; the rule's action is no `forward`",
        );
    }
    let mut seen = Vec::new();
    scope.each("transform", &rule.transform, |scope, transform| {
        if seen.contains(&transform.kind) {
            scope.fault("each type of transform stands once in a rule; join the two");
        }
        seen.push(transform.kind);
        let settings = [
            (
                TransformKind::HostHeaderRewrite,
                "host_header_rewrite_config",
                &transform.host_header_rewrite_config,
            ),
            (
                TransformKind::UrlRewrite,
                "url_rewrite_config",
                &transform.url_rewrite_config,
            ),
        ];
        for (kind, key, config) in settings {
            match config {
                Some(config) if kind == transform.kind => scope.key(key, |scope| {
                    scope.key("rewrite", |scope| rewrite(scope, &config.rewrite));
                }),
                Some(_) => scope.fault_at(
                    key,
                    "the transform's `type` is another one; remove this key or change `type`",
                ),
                None if kind == transform.kind => {
                    scope.fault(format!("this type of transform needs the key `{key}`"));
                }
                None => {}
            }
        }
    });
}

fn rewrite(scope: &mut Scope<'_, '_>, rewrite: &Rewrite) {
    scope.key("regex", |scope| {
        expression(scope, &rewrite.regex, limits::TRANSFORM_BYTES);
    });
    let replace = &rewrite.replace;
    if replace.len() > limits::TRANSFORM_BYTES
        || !replace.bytes().all(|byte| byte.is_ascii_graphic())
    {
        scope.fault_at(
            "replace",
            format!(
                "expected at most {} visible ASCII characters",
                limits::TRANSFORM_BYTES
            ),
        );
        return;
    }
    let Ok(regex) = regex(&rewrite.regex, false) else {
        return;
    };
    match rewrite.highest_group() {
        Err(place) => scope.fault_at(
            "replace",
            format!("after `$`, at byte {place}, expected a number or a second `$`"),
        ),
        Ok(highest) if highest >= regex.captures_len() => scope.fault_at(
            "replace",
            format!(
                "`${highest}` stands for nothing: the expression has {} groups",
                regex.captures_len() - 1
            ),
        ),
        Ok(_) => {}
    }
}
