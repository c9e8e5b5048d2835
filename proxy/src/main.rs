//! The `longshore` command.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Requests allocate small short-lived pieces on many threads, which this allocator serves from
/// lists of each thread's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Layer-7 load balancer for containers that come and go on dynamic ports.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Balance as the file says. SIGTERM drains and ends, SIGHUP reloads the file.
    Run(commands::run::Arguments),
    /// Check a file and print every error with its place.
    Check(commands::check::Arguments),
    /// List what discovery sees now, and why a task is no target. Fails if a source does.
    Targets(commands::targets::Arguments),
    /// Say which rule a request meets and why, and where it goes. Sends nothing.
    Explain(commands::explain::Arguments),
    /// Say what a reload with another file would change in a running process.
    Plan(commands::plan::Arguments),
    /// Ask the admin server of a running process whether it works. For health checks.
    Health(commands::health::Arguments),
    /// Print the event rule and the policies that AWS needs for the ECS sources of a file.
    EventsPolicy(commands::events_policy::Arguments),
    /// Put the same constant load on two addresses in turns, and say what one adds to the other.
    Compare(Box<longshore_compare::Arguments>),
    /// Show it at work, without AWS and without a file.
    Demo(commands::demo::Arguments),
    /// Print the JSON Schema of the file, for editors.
    Schema,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Check(arguments) => commands::check::run(&arguments),
        Command::Targets(arguments) => commands::targets::run(&arguments),
        Command::Explain(arguments) => commands::explain::run(&arguments),
        Command::Plan(arguments) => commands::plan::run(&arguments),
        Command::Health(arguments) => commands::health::run(&arguments),
        Command::EventsPolicy(arguments) => commands::events_policy::run(&arguments),
        Command::Compare(arguments) => longshore_compare::run(&arguments),
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Schema => commands::schema(),
    }
}
