//! `longshore plan`: what a reload with another file would change.

use std::path::PathBuf;
use std::process::ExitCode;

use longshore_config::{Difference, differences};
use serde_json::Value;

use super::admin::Server;
use super::print_out;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The new configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The admin server of the running Longshore.
    #[arg(long, value_name = "URL")]
    admin: String,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match plan(arguments) {
        Ok(text) => print_out(&text),
        Err(error) => {
            eprintln!("longshore: {error}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &Arguments) -> Result<String, String> {
    let config = longshore_config::load(&arguments.config).map_err(|errors| errors.to_string())?;
    // A token that the new file has is not in force yet, but most likely the same.
    let running = Server::new(&arguments.admin, Some(&config))?.get("/config")?;
    Ok(show(&differences(&running, config.written.value())))
}

/// A line for each difference, and what is worth a thought.
fn show(all: &[Difference]) -> String {
    if all.is_empty() {
        return "no changes\n".to_owned();
    }
    let mut out = String::new();
    for difference in all {
        let Difference { path, old, new } = difference;
        let line = match (old, new) {
            (Some(old), Some(new)) => format!("~ {path}: {} -> {}", text(old), text(new)),
            (None, Some(new)) => format!("+ {path}: {}", text(new)),
            (Some(old), None) => format!("- {path}: {}", text(old)),
            (None, None) => continue,
        };
        out.push_str(&line);
        if let Some(note) = note(difference) {
            out.push_str(&format!("\n    {note}"));
        }
        out.push('\n');
    }
    let refused = all.iter().filter(|one| needs_restart(&one.path)).count();
    out.push_str(&match refused {
        0 => format!("{} changes\n", all.len()),
        _ => format!(
            "{} changes; a reload refuses them, a restart takes them\n",
            all.len()
        ),
    });
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn needs_restart(path: &str) -> bool {
    path == "admin"
        || path.starts_with("admin.")
        || matches!(path, "runtime.workers" | "runtime.state_directory")
}

/// What a change means that cannot be seen in it.
fn note(difference: &Difference) -> Option<&'static str> {
    let path: Vec<&str> = difference.path.split('.').collect();
    match (path.as_slice(), &difference.old, &difference.new) {
        _ if needs_restart(&difference.path) => Some("needs a restart"),
        (["listeners", _], Some(_), None) => {
            Some("its port closes; clients that are connected are told to connect anew")
        }
        (["listeners", _, "address" | "port"], Some(_), Some(_)) => Some(
            "the new address opens, the old one closes; clients that are connected are told to connect anew",
        ),
        (["target_groups", _], Some(_), None) => Some("its requests in flight end with the group"),
        (["target_groups", _, "discovery" | "protocol" | "tls", ..], ..) => {
            Some("the group begins anew: its targets are found and checked again")
        }
        (["target_groups", _, "protocol_version"], ..) => Some(
            "targets are connected to anew; who is healthy stays so until a check says otherwise",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use longshore_config::differences;
    use serde_json::json;

    use super::show;

    #[test]
    fn each_change_has_a_line_and_what_it_means() {
        let old = json!({
            "runtime": {"workers": 2},
            "listeners": [{"name": "a", "port": 80}, {"name": "b", "port": 81}],
            "target_groups": [{"name": "g", "protocol": "HTTP", "deregistration_delay": 30}]
        });
        let mut new = old.clone();
        assert_eq!(show(&differences(&old, &new)), "no changes\n");
        new["listeners"] = json!([{"name": "a", "port": 8080}]);
        new["target_groups"][0]["protocol"] = json!("HTTPS");
        new["target_groups"][0]["deregistration_delay"] = json!(10);
        assert_eq!(
            show(&differences(&old, &new)),
            "~ listeners.a.port: 80 -> 8080
    the new address opens, the old one closes; clients that are connected are told to connect anew
- listeners.b: {\"name\":\"b\",\"port\":81}
    its port closes; clients that are connected are told to connect anew
~ target_groups.g.deregistration_delay: 30 -> 10
~ target_groups.g.protocol: HTTP -> HTTPS
    the group begins anew: its targets are found and checked again
4 changes
"
        );
        new["target_groups"][0]["protocol_version"] = json!("HTTP2");
        let text = show(&differences(&old, &new));
        assert!(
            text.contains("+ target_groups.g.protocol_version: HTTP2\n    targets are connected to anew; who is healthy stays"),
            "{text}"
        );
        new["runtime"]["workers"] = json!(4);
        let text = show(&differences(&old, &new));
        assert!(
            text.contains("~ runtime.workers: 2 -> 4\n    needs a restart\n"),
            "{text}"
        );
        assert!(
            text.ends_with("6 changes; a reload refuses them, a restart takes them\n"),
            "{text}"
        );
    }
}
