//! `longshore run`

use std::path::PathBuf;
use std::process::ExitCode;

use longshore::app::{Balancer, Options, Reloads, StartError};
use longshore::observe::console;
use longshore_discovery::ecs::Aws;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

mod reading;
mod watch;

use self::reading::{Read, Reading, Ready, read};
use self::watch::{Mark, Watch, looks};
use super::notify::{self, Manager};
use super::{block_on, seed, start_log};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let _last_lines = start_log("info");
    let Read { mark, came } = read(&arguments.config);
    let config = match came {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    block_on(async {
        let signals = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::hangup()),
            signal(SignalKind::user_defined1()),
        );
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup), Ok(mut moved)) = signals else {
            eprintln!("longshore: signals cannot be received");
            return ExitCode::FAILURE;
        };
        let options = Options {
            aws: Aws::Environment,
            seed: seed(),
        };
        let mut balancer = match Balancer::start(config, options).await {
            Ok(balancer) => balancer,
            Err(error) => {
                eprintln!("longshore: {error}");
                return ExitCode::FAILURE;
            }
        };
        print_addresses(&balancer);
        let path = &arguments.config;
        let mut seen = match looks(path.clone()) {
            Ok(seen) => seen,
            Err(error) => {
                eprintln!(
                    "longshore: no thread to look at {}: {error}",
                    path.display()
                );
                return ExitCode::FAILURE;
            }
        };
        let mut reloads = balancer.take_reloads();
        let mut watch = Watch::new(mark);
        let manager = Manager::new();
        manager.tell(notify::READY);
        let mut reading: Option<Reading> = None;
        loop {
            let idle = reading.is_none();
            let asked = tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv(), if idle => None,
                reply = asked(&mut reloads), if idle => Some(reply),
                // Taken also if it does not count: an old one must not be taken for news later.
                mark = look(&mut seen) => {
                    // Nothing is tried again before the file is another one.
                    if !(idle && balancer.reloads_on_change() && watch.look(mark)) {
                        continue;
                    }
                    None
                }
                read = done(&mut reading) => {
                    watch = Watch::new(read.as_ref().and_then(|read| read.mark));
                    // The log says what was wrong.
                    let taken = match read {
                        Some(read) => take(&mut balancer, read.came).await,
                        None => Err("the file could not be read: see the log".to_owned()),
                    };
                    if let Some(asked) = reading.take().and_then(|reading| reading.asked) {
                        // Whoever is gone can read the log.
                        drop(asked.send(taken));
                    }
                    manager.tell(notify::READY);
                    continue;
                }
                _ = moved.recv() => {
                    balancer.reopen_logs();
                    continue;
                }
                () = balancer.failed() => {
                    console::say("longshore: a part of the process has ended; ending too");
                    return ExitCode::FAILURE;
                }
            };
            manager.tell(notify::RELOADING);
            reading = Some(Reading::begin(path, balancer.preparer(), asked));
        }
        tracing::info!("draining");
        manager.tell(notify::STOPPING);
        // None would be the end of the process.
        let moved = async || moved.recv().await.unwrap_or_default();
        tokio::select! {
            complete = balancer.drain_with(moved) => if !complete {
                tracing::warn!("the drain timeout ended requests in flight");
            },
            // Whoever asks twice does not want to wait.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        ExitCode::SUCCESS
    })
}

/// The next reload that the admin server asks for.
async fn asked(reloads: &mut Option<Reloads>) -> oneshot::Sender<Result<(), String>> {
    if let Some(reloads) = reloads
        && let Some(reply) = reloads.recv().await
    {
        return reply;
    }
    // Nobody asks any more.
    std::future::pending().await
}

/// The next look at the file.
async fn look(seen: &mut mpsc::Receiver<Option<Mark>>) -> Option<Mark> {
    match seen.recv().await {
        Some(mark) => mark,
        // It looks as long as this process lives.
        None => std::future::pending().await,
    }
}

/// Waits for the file that is being read, if one is.
async fn done(reading: &mut Option<Reading>) -> Option<Read<Ready>> {
    match reading {
        Some(reading) => reading.done().await,
        None => std::future::pending().await,
    }
}

/// Takes the configuration that was read.
async fn take(balancer: &mut Balancer, ready: Ready) -> Result<(), String> {
    let taken = match ready {
        Ok(prepared) => balancer.take(prepared).await,
        Err(error) => Err(error),
    };
    match taken {
        Ok(()) => {
            tracing::info!("reloaded");
            print_addresses(balancer);
            Ok(())
        }
        Err(error) => {
            // Of a file there may be many lines.
            if let StartError::Config(errors) = &error {
                tracing::error!("the configuration stays as it was:\n{errors}");
            } else {
                tracing::error!(%error, "the configuration stays as it was");
            }
            Err(error.to_string())
        }
    }
}

fn print_addresses(balancer: &Balancer) {
    for (name, address) in balancer.addresses() {
        console::say(&format!("listening {name} {address}"));
    }
}
