//! What a scrape of `/metrics` costs with 10,000 targets, and whether clients notice it: requests at
//! a constant rate through a Longshore that is scraped once in a second, and through the same one
//! left alone, in turns.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use longshore_benches::steady::{Client, Proxy, ROUND, TARGETS, free_address, millis, round};

const ROUNDS: usize = 9;
/// What is told of each round: thousandths of its requests, and what they are called.
const SHARES: [(usize, &str); 4] = [(500, "p50"), (900, "p90"), (990, "p99"), (999, "p99.9")];
/// Prometheus asks each 15 s as a rule.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// More bytes than a scrape has.
const ROOM: usize = 24 * 1024 * 1024;

fn main() -> ExitCode {
    let Some(program) = std::env::args_os().nth(1) else {
        eprintln!("usage: scrapes PATH-OF-LONGSHORE");
        return ExitCode::from(1);
    };
    match run(Path::new(&program)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scrapes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &Path) -> io::Result<()> {
    let admin = free_address()?;
    let proxy = Proxy::start(program, &format!("admin: {{address: '{admin}'}}\n"))?;
    // What a target never did has no series: each gets two requests first.
    let mut client = Client::connect(proxy.address)?;
    for _ in 0..2 * TARGETS {
        client.ask()?;
    }
    // Of each kind its rounds, each by its shares.
    let mut rows = ["left alone", "one scrape a second"].map(|name| (name, Vec::new()));
    let (mut scrapes, mut bytes) = (Vec::new(), 0);
    // Prometheus is on another machine as a rule: what it does with a text must not take time from
    // the clients here. So texts get room that is there already, and are looked at after a round.
    let mut rooms = vec![vec![1; ROOM]; 1 + usize::try_from(ROUND.as_secs()).unwrap_or(0)];
    for turn in 0..=ROUNDS {
        // Whose turn is first changes, so that what grows or fades with time touches both alike.
        for kind in [turn % 2, 1 - turn % 2] {
            let done = Arc::new(AtomicBool::new(false));
            let scraper = (kind == 1).then(|| {
                let (done, rooms) = (Arc::clone(&done), std::mem::take(&mut rooms));
                thread::spawn(move || scrape_until(&done, admin, rooms))
            });
            let mut times = round(proxy.address)?;
            times.sort_unstable();
            done.store(true, Ordering::Relaxed);
            let mut took = Vec::new();
            if let Some(scraper) = scraper {
                let scraped = scraper.join();
                (took, rooms) = scraped.map_err(|_| io::Error::other("the scraper panicked"))??;
                for text in &rooms[..took.len()] {
                    look_at(text)?;
                    bytes = bytes.max(text.len());
                }
            }
            // The first round warms up.
            if turn > 0 {
                rows[kind]
                    .1
                    .push(SHARES.map(|(share, _)| millis(&times, share)));
                scrapes.extend(took);
            }
        }
    }
    scrapes.sort_unstable();
    println!("{TARGETS} targets, {ROUNDS} rounds of {ROUND:?} each");
    println!(
        "{} scrapes of {bytes} bytes: median {:.1} ms, max {:.1} ms",
        scrapes.len(),
        millis(&scrapes, 500),
        millis(&scrapes, 1_000)
    );
    print_rounds(&rows);
    Ok(())
}

/// Prints the median of each share over all rounds, and the least and the most.
fn print_rounds(rows: &[(&str, Vec<[f64; SHARES.len()]>)]) {
    let names = SHARES.map(|(_, name)| format!(" {name} ms |"));
    println!("| |{}", names.concat());
    println!("| ---{} |", " | ---".repeat(SHARES.len()));
    for (name, rounds) in rows {
        print!("| {name} |");
        for index in 0..SHARES.len() {
            let mut all: Vec<f64> = rounds.iter().map(|round| round[index]).collect();
            all.sort_unstable_by(f64::total_cmp);
            if let [least, .., most] = all[..] {
                print!(" {:.2} ({least:.2}–{most:.2}) |", all[all.len() / 2]);
            }
        }
        println!();
    }
}

/// Scrapes once in a while until it is told to end, each time into the next of the rooms: how long
/// each took, and the rooms.
fn scrape_until(
    done: &AtomicBool,
    admin: SocketAddr,
    mut rooms: Vec<Vec<u8>>,
) -> io::Result<(Vec<Duration>, Vec<Vec<u8>>)> {
    let mut all = Vec::new();
    for text in &mut rooms {
        if done.load(Ordering::Relaxed) {
            break;
        }
        all.push(scrape(admin, text)?);
        thread::sleep(SCRAPE_EVERY);
    }
    Ok((all, rooms))
}

/// Scrapes once: how long it took from connecting to the last byte.
fn scrape(admin: SocketAddr, text: &mut Vec<u8>) -> io::Result<Duration> {
    text.clear();
    let began = Instant::now();
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // HTTP/1.0 has no chunks, so that what comes is the text.
    write!(
        stream,
        "GET /metrics HTTP/1.0\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
    )?;
    stream.read_to_end(text)?;
    Ok(began.elapsed())
}

/// # Errors
/// The text of a scrape is not whole.
fn look_at(text: &[u8]) -> io::Result<()> {
    let is_good = text.starts_with(b"HTTP/1.0 200") || text.starts_with(b"HTTP/1.1 200");
    if !(is_good && text.ends_with(b"# EOF\n")) {
        return Err(io::Error::other("a scrape that is not whole"));
    }
    // Of each target at least how many requests it was given.
    let series = b"\nlongshore_target_requests_total{";
    let found = text.windows(series.len()).filter(|part| part == series);
    if found.count() != TARGETS as usize {
        return Err(io::Error::other("a scrape without all targets"));
    }
    Ok(())
}
