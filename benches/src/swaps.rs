//! Whether clients notice that a set of 10,000 targets is swapped: requests at a constant rate
//! through a Longshore whose file is reloaded with another target once in a second, and through
//! the same one left alone, in turns.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use longshore_benches::steady::{Proxy, ROUND, TARGETS, print_table, round};

const ROUNDS: usize = 5;
const RELOAD_EVERY: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let Some(program) = std::env::args_os().nth(1) else {
        eprintln!("usage: swaps PATH-OF-LONGSHORE");
        return ExitCode::from(1);
    };
    match run(Path::new(&program)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("swaps: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &Path) -> io::Result<()> {
    let proxy = Arc::new(Proxy::start(program, "")?);
    let mut number = 0;
    let mut rows = ["left alone", "one reload a second"].map(|name| (name, Vec::new()));
    let mut reloads = 0;
    for turn in 0..=ROUNDS {
        for (kind, (_, sum)) in rows.iter_mut().enumerate() {
            let done = Arc::new(AtomicBool::new(false));
            let swaps = (kind == 1).then(|| {
                let (proxy, done) = (Arc::clone(&proxy), Arc::clone(&done));
                let first = number;
                thread::spawn(move || -> io::Result<u32> {
                    let mut count = 0;
                    while !done.load(Ordering::Relaxed) {
                        count += 1;
                        proxy.swap(first + count)?;
                        thread::sleep(RELOAD_EVERY);
                    }
                    Ok(count)
                })
            });
            let times = round(proxy.address)?;
            done.store(true, Ordering::Relaxed);
            if let Some(swaps) = swaps {
                let count = swaps
                    .join()
                    .map_err(|_| io::Error::other("it panicked"))??;
                number += count;
                reloads += count;
            }
            // The first round warms up.
            if turn > 0 {
                sum.extend(times);
            }
        }
    }
    println!("{TARGETS} targets, {ROUNDS} rounds of {ROUND:?} each; {reloads} reloads in all");
    print_table(&mut rows);
    Ok(())
}
