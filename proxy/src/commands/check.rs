//! `longshore check`

use std::path::PathBuf;
use std::process::ExitCode;

use longshore::clock;
use longshore::tls::Material;
use longshore::tls::listener::Fault;
use longshore_config::{Config, CookieKey, Warning};

use super::print_out;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let path = &arguments.config;
    let config = match longshore_config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    let now = clock::wall();
    // No ticket is sealed here.
    let material = Material::read(&config, &CookieKey::new([0; 32]), now);
    let faults = material.faults(now);
    let (warnings, errors): (Vec<_>, Vec<_>) =
        faults.into_iter().partition(|fault| fault.is_warning);
    let odd = odd(&config, &material);
    let shown = |faults: Vec<Fault>, mark: &str| {
        let all = faults.into_iter();
        let all = all.map(|fault| (fault.key, format!("{mark}{}", fault.message)));
        longshore_config::located(path, all.collect())
    };
    if !warnings.is_empty() {
        eprintln!("{}", shown(warnings, "warning: "));
    }
    if !odd.is_empty() {
        eprintln!("{}", longshore_config::located(path, odd));
    }
    if errors.is_empty() {
        print_out("ok\n")
    } else {
        eprintln!("{}", shown(errors, ""));
        ExitCode::FAILURE
    }
}

/// What is allowed, and most likely a mistake.
fn odd(config: &Config, material: &Material) -> Vec<Warning> {
    let mut odd = config.warnings();
    for (index, (listener, files)) in config.listeners.iter().zip(&material.listeners).enumerate() {
        let Some(files) = files else {
            continue;
        };
        for (number, rule) in listener.rules.iter().enumerate() {
            let hosts = rule
                .condition
                .iter()
                .filter_map(|one| one.host_header.as_ref());
            let names = hosts.flat_map(|hosts| &hosts.values);
            // A certificate is for names, and a pattern may mean any.
            let names = names.filter(|name| !name.contains(['*', '?', ':']));
            for name in files.uncovered(names.map(String::as_str)) {
                let message = format!(
                    "no certificate of the listener is for {name:?}: browsers will refuse the default one"
                );
                odd.push((
                    format!("listeners[{index}].rules[{number}].condition"),
                    message,
                ));
            }
        }
    }
    let marked = odd.into_iter();
    marked
        .map(|(key, message)| (key, format!("warning: {message}")))
        .collect()
}
