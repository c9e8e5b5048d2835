//! `longshore run`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use longshore::app::{Balancer, Options, Reloads};
use longshore::observe::console;
use longshore_discovery::ecs::Aws;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

mod watch;

use self::watch::{Mark, Watch};
use super::notify::{self, Manager};
use super::{block_on, seed, start_log};

/// From one look at the file to the next, where changes of it count.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let _last_lines = start_log("info");
    // Before it is read: what is written meanwhile is seen later.
    let read = Mark::of(&arguments.config);
    let config = match longshore_config::load(&arguments.config) {
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
        let mut reloads = balancer.take_reloads();
        let path = &arguments.config;
        let (mut watch, mut looks) = (Watch::new(read), tokio::time::interval(LOOK));
        let manager = Manager::new();
        manager.tell(notify::READY);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    watch = Watch::new(Mark::of(path));
                    // The log has said what was wrong.
                    reload(&mut balancer, path, &manager).await.unwrap_or_default();
                }
                reply = asked(&mut reloads) => {
                    watch = Watch::new(Mark::of(path));
                    let reloaded = reload(&mut balancer, path, &manager).await;
                    // Whoever is gone can read the log.
                    drop(reply.send(reloaded));
                }
                _ = looks.tick(), if balancer.reloads_on_change() => {
                    if watch.look(Mark::of(path)) {
                        // The log has said what was wrong, and nothing is tried again before the
                        // file is another one.
                        reload(&mut balancer, path, &manager).await.unwrap_or_default();
                    }
                }
                _ = moved.recv() => balancer.reopen_logs(),
                () = balancer.failed() => {
                    console::say("longshore: a part of the process has ended; ending too");
                    return ExitCode::FAILURE;
                }
            }
        }
        tracing::info!("draining");
        manager.tell(notify::STOPPING);
        tokio::select! {
            complete = balancer.drain() => if !complete {
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

/// Reloads, and tells the service manager when that begins and ends.
async fn reload(balancer: &mut Balancer, path: &Path, manager: &Manager) -> Result<(), String> {
    manager.tell(notify::RELOADING);
    let reloaded = read_again(balancer, path).await;
    manager.tell(notify::READY);
    reloaded
}

async fn read_again(balancer: &mut Balancer, path: &Path) -> Result<(), String> {
    let config = match longshore_config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            tracing::error!("the configuration stays as it was:\n{errors}");
            return Err(errors.to_string());
        }
    };
    match balancer.reload(config).await {
        Ok(()) => {
            tracing::info!("reloaded");
            print_addresses(balancer);
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "the configuration stays as it was");
            Err(error.to_string())
        }
    }
}

fn print_addresses(balancer: &Balancer) {
    for (name, address) in balancer.addresses() {
        console::say(&format!("listening {name} {address}"));
    }
}
