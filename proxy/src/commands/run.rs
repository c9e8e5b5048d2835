//! `longshore run`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use longshore::app::{Balancer, Options};
use longshore_discovery::ecs::Aws;
use tokio::signal::unix::{SignalKind, signal};

use super::notify::{self, Manager};
use super::{block_on, seed, start_log};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    start_log("info");
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
        let manager = Manager::new();
        manager.tell(notify::READY);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    manager.tell(notify::RELOADING);
                    reload(&mut balancer, &arguments.config).await;
                    manager.tell(notify::READY);
                }
                _ = moved.recv() => balancer.reopen_logs(),
                () = balancer.failed() => {
                    eprintln!("longshore: a part of the process has ended; ending too");
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

async fn reload(balancer: &mut Balancer, path: &Path) {
    let config = match longshore_config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            tracing::error!("the configuration stays as it was:\n{errors}");
            return;
        }
    };
    match balancer.reload(config).await {
        Ok(()) => {
            tracing::info!("reloaded");
            print_addresses(balancer);
        }
        Err(error) => tracing::error!(%error, "the configuration stays as it was"),
    }
}

fn print_addresses(balancer: &Balancer) {
    for (name, address) in balancer.addresses() {
        eprintln!("listening {name} {address}");
    }
}
