//! From a file to a [`Config`].

use std::io::Read as _;
use std::path::Path;

use serde_saphyr::Error as YamlError;
use serde_saphyr::budget::{Budget, BudgetBreach};

use crate::Config;
use crate::decode::{Problem, decode};
use crate::env::{Environment, expand};
use crate::error::{ConfigError, ConfigErrors, Position};
use crate::limits;
use crate::node::{Node, Value, position_of, read_path, show_path};
use crate::validate::validate;
use crate::written::Written;

/// Reads and checks a file; `${NAME}` is taken from the environment of the process.
///
/// # Errors
/// Every error of the file; or one, when it cannot be read, is larger than
/// [`limits::FILE_BYTES`], is not UTF-8, or is no YAML.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    let fail = |message| ConfigErrors::one(&name, Position::START, message);
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file that is too large from one that just fits.
    std::fs::File::open(path)
        .and_then(|file| {
            file.take(limits::FILE_BYTES as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| fail(format!("the file cannot be read: {error}")))?;
    if bytes.len() > limits::FILE_BYTES {
        return Err(fail(format!(
            "the file is larger than {} MiB, the most that is read",
            limits::FILE_BYTES / 1024 / 1024
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        let column = good.iter().rev().take_while(|&&byte| byte != b'\n').count() as u64 + 1;
        ConfigErrors::one(
            &name,
            Position { line, column },
            "the file is not UTF-8 here".to_owned(),
        )
    })?;
    parse(&name, &text, &|name| std::env::var(name).ok())
}

/// Reads and checks a text. `name` stands for the file in errors.
///
/// # Errors
/// Every error of the text, or one when it is no YAML.
pub fn parse(name: &str, text: &str, environment: Environment<'_>) -> Result<Config, ConfigErrors> {
    let mut root = read_tree(name, text)?;
    let written = Written::new(&root);
    let mut problems = Vec::new();
    expand(&mut root, environment, &mut Vec::new(), &mut problems);
    let mut groups = root.texts_of("target_groups", "name");
    let mut decoded = decode::<Config>(root);
    problems.append(&mut decoded.problems);
    if let Some(config) = &decoded.value {
        // Some may have been taken out meanwhile, and a list that was spelled wrong came in.
        groups.extend(decoded.root.texts_of("target_groups", "name"));
        let mut faults = Vec::new();
        validate(config, &groups, &mut |path, message| {
            let path = decoded.root.path_in_file(path);
            if !decoded.is_consequence(&path, &problems) {
                let position = decoded.root.nearest(&path).position;
                faults.push(Problem {
                    path,
                    position,
                    message,
                });
            }
        });
        problems.extend(faults);
    }
    match decoded.value {
        Some(config) if problems.is_empty() => Ok(Config { written, ..config }),
        _ => Err(ConfigErrors {
            file: name.to_owned(),
            errors: in_order(problems),
        }),
    }
}

/// Errors that were found outside of this crate, at the places of their keys (such as
/// `listeners[0].certificates[1].cert`) in a file that was loaded before.
#[must_use]
pub fn located(path: &Path, faults: Vec<(String, String)>) -> ConfigErrors {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let root = read_tree(&name, &text).ok();
    let problems = faults.into_iter().map(|(key, message)| {
        let path = read_path(&key);
        let position = root.as_ref().map(|root| root.nearest(&path).position);
        Problem {
            position: position.unwrap_or(Position::START),
            path,
            message,
        }
    });
    ConfigErrors {
        file: name,
        errors: in_order(problems.collect()),
    }
}

fn read_tree(name: &str, text: &str) -> Result<Node, ConfigErrors> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: budget(),
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits::ALIAS_VALUES,
        },
    };
    let mut root: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let position = position_of(error.location());
        ConfigErrors::one(name, position, yaml_message(error.without_snippet()))
    })?;
    root.read_numbers(text);
    match root.value {
        Value::Mapping(_) => Ok(root),
        Value::Null => Err(ConfigErrors::one(
            name,
            Position::START,
            "the file is empty; it needs at least `listeners`".to_owned(),
        )),
        _ => Err(ConfigErrors::one(
            name,
            root.position,
            "expected keys and values such as `listeners:` at the top of the file".to_owned(),
        )),
    }
}

/// What the YAML library may read: all of a file that is not too large, and of aliases and nesting no
/// more than is meant by somebody.
fn budget() -> Option<Budget> {
    serde_saphyr::budget! {
        max_events: limits::YAML_EVENTS + limits::ALIAS_VALUES,
        max_nodes: limits::YAML_EVENTS + limits::ALIAS_VALUES,
        max_depth: limits::YAML_NESTING,
        flow_nesting_limit: limits::YAML_NESTING,
        max_total_scalar_bytes: limits::YAML_TEXT_BYTES,
        // Each alias, and each merge (`<<`), repeats a value at least.
        max_aliases: limits::ALIAS_VALUES,
        max_merge_keys: limits::ALIAS_VALUES,
        max_anchors: limits::ALIAS_VALUES,
        max_recorded_anchor_events: limits::ALIAS_VALUES,
        max_recorded_anchor_bytes: limits::YAML_TEXT_BYTES,
        // One anchor may stand for what a thousand rules share.
        enforce_alias_anchor_ratio: false,
    }
}

/// The YAML library's message without its own place, without advice on its programming interface, and
/// with what would be right.
fn yaml_message(mut error: &YamlError) -> String {
    // What is wrong behind an alias.
    while let YamlError::AliasError { error: inner, .. } = error {
        error = inner;
    }
    match error {
        YamlError::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => return too_deep(),
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => {
            return format!(
                "the aliases (`*name`) of the file repeat more than {} values or {} MiB of text; use fewer, and let none stand for a value with other aliases",
                limits::ALIAS_VALUES,
                limits::YAML_TEXT_BYTES / 1024 / 1024
            );
        }
        _ => {}
    }
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let text = match text.strip_prefix("line ") {
        Some(rest) => rest.split_once(": ").map_or(text, |(_, rest)| rest),
        None => text,
    };
    if let Some(rest) = text.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(',').next().unwrap_or(rest);
        return format!("the key `{key}` stands here twice");
    }
    if text.starts_with("multiple YAML documents") {
        return "a second YAML document (`---`) begins here; a file holds one".to_owned();
    }
    // The library reads ahead of its own count of levels, and says this when that is too far.
    if text.starts_with("recursion limit exceeded") {
        return too_deep();
    }
    format!("not valid YAML: {text}")
}

fn too_deep() -> String {
    format!(
        "lists and mappings are nested more than {} levels deep here; no key of this file needs so many",
        limits::YAML_NESTING
    )
}

fn in_order(mut problems: Vec<Problem>) -> Vec<ConfigError> {
    problems.sort_by_key(|problem| problem.position);
    problems.dedup();
    problems.truncate(limits::ERRORS);
    problems
        .into_iter()
        .map(|problem| ConfigError {
            position: problem.position,
            key: show_path(&problem.path),
            message: problem.message,
        })
        .collect()
}
