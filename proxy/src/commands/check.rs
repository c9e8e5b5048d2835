//! `longshore check`

use std::path::PathBuf;
use std::process::ExitCode;

use super::print_out;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match longshore_config::load(&arguments.config) {
        Ok(_) => print_out("ok\n"),
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}
