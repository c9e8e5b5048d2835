//! Compares Longshore with other proxies on this machine; `benches/compare`
//! installs what is missing, builds and starts this. See `benches/README.md`.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod arguments;
mod backend;
mod check;
mod failure;
mod idle;
mod interrupt;
mod latency;
mod load;
mod machine;
mod measure;
mod process;
mod procfs;
mod proxies;
mod report;
mod rows;
mod scratch;
mod stats;
mod syscalls;

use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use arguments::{Arguments, Command, USAGE};
use backend::Backend;
use failure::{Context as _, Result};
use proxies::{Contestant, KINDS, OURS, Role};
use report::{Measured, json, plot, table};
use scratch::Scratch;

fn main() -> ExitCode {
    let done = match arguments::parse(std::env::args().skip(1)) {
        Ok(Command::Run(arguments)) => run(&arguments),
        Ok(Command::Checked) => Ok(true),
        Ok(Command::Help) => {
            println!("{USAGE}");
            Ok(true)
        }
        Ok(Command::List) => {
            for row in rows::ROWS {
                println!("{:12} {}", row.name, row.about);
            }
            Ok(true)
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports; `false` when someone gave errors under load.
fn run(arguments: &Arguments) -> Result<bool> {
    interrupt::install()?;
    let plan = &arguments.plan;
    keep_off_the_proxies_core(plan.load_core)?;
    raise_descriptors()?;
    let machine = machine::describe();
    // Before all processes, so that it is dropped after them.
    let scratch = Scratch::new()?;
    let contestants = contestants(arguments, &scratch)?;
    let directory = scratch.directory("origin")?;
    let mut backend = Backend::start(&arguments.rows, plan.load_core, &directory)?;

    let mut measured = Vec::new();
    for &row in &arguments.rows {
        let direct = arguments.direct;
        let outcomes = measure::row(row, plan, &contestants, direct, &mut backend, &scratch)?;
        measured.push(Measured {
            row,
            connections: plan.connections.unwrap_or(row.connections),
            outcomes,
        });
    }

    let versions: Vec<(String, String)> = contestants
        .iter()
        .map(|one| (one.label.clone(), one.version.clone()))
        .collect();
    let words: Vec<String> = versions.iter().map(|(l, v)| format!("{l} {v}")).collect();
    let text = table::render(&measured, plan, &machine, &words.join(", "));
    println!("{text}");
    if let Some(path) = &arguments.markdown {
        scratch::write(path, &text)?;
    }
    let value = json::render(&measured, plan, &machine, &versions);
    let value = format!("{value:#}\n");
    if let Some(path) = &arguments.json {
        scratch::write(path, &value)?;
    }
    if let Some(folder) = &arguments.results {
        std::fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
        scratch::write(&folder.join("compare.json"), &value)?;
        scratch::write(&folder.join("compare.md"), &text)?;
        for one in &measured {
            let file = folder.join(format!("{}.svg", one.row.name));
            scratch::write(&file, &plot::render(one))?;
        }
    }
    Ok(!measured.iter().any(Measured::has_errors))
}

/// This program mostly sleeps, but not on the core that is measured.
fn keep_off_the_proxies_core(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
        .context(|| format!("cannot run on core {core} (two cores are needed, see --cores)"))
}

/// As many open files as are allowed: many connections are part of some rows. What is started here
/// has the same.
fn raise_descriptors() -> Result<()> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        ..limits
    };
    setrlimit(Resource::Nofile, raised).context(|| "cannot have more open files".into())
}

/// Finds the programs and asks each for its version.
fn contestants(arguments: &Arguments, scratch: &Scratch) -> Result<Vec<Contestant>> {
    let directory = scratch.directory("versions")?;
    let mut contestants = Vec::new();
    for kind in KINDS {
        if !arguments.proxies.contains(&kind.name) {
            continue;
        }
        let builds: Vec<(String, PathBuf)> = if kind.role == Role::Floor {
            vec![(kind.name.into(), process::beside(kind.program)?)]
        } else if kind.name != OURS {
            vec![(kind.name.into(), process::find(kind.program)?)]
        } else if arguments.builds.is_empty() {
            let own = std::env::current_exe().context(|| "where is this program?".into())?;
            vec![(OURS.into(), own.with_file_name(kind.program))]
        } else {
            arguments.builds.clone()
        };
        for (label, program) in builds {
            // Programs are started in a directory of their own.
            let program = program
                .canonicalize()
                .context(|| format!("{label}: {}", program.display()))?;
            let version = kind.version(&program, arguments.plan.load_core, &directory)?;
            contestants.push(Contestant {
                kind,
                label,
                program,
                version,
            });
        }
    }
    Ok(contestants)
}
