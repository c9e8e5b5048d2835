//! `longshore check`

use std::path::PathBuf;
use std::process::ExitCode;

use longshore::clock;
use longshore::tls::Material;
use longshore::tls::listener::Fault;
use longshore_config::CookieKey;

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
    let shown = |faults: Vec<Fault>, mark: &str| {
        let all = faults.into_iter();
        let all = all.map(|fault| (fault.key, format!("{mark}{}", fault.message)));
        longshore_config::located(path, all.collect())
    };
    if !warnings.is_empty() {
        eprintln!("{}", shown(warnings, "warning: "));
    }
    if errors.is_empty() {
        print_out("ok\n")
    } else {
        eprintln!("{}", shown(errors, ""));
        ExitCode::FAILURE
    }
}
