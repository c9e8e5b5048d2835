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

use longshore_benches::steady::{
    Client, Proxy, ROUND, TARGETS, free_address, millis, print_table, round,
};

const ROUNDS: usize = 5;
/// Prometheus asks each 15 s as a rule.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);

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
    let mut rows = ["left alone", "one scrape a second"].map(|name| (name, Vec::new()));
    let (mut scrapes, mut bytes) = (Vec::new(), 0);
    for turn in 0..=ROUNDS {
        for (kind, (_, sum)) in rows.iter_mut().enumerate() {
            let done = Arc::new(AtomicBool::new(false));
            let scraper = (kind == 1).then(|| {
                let done = Arc::clone(&done);
                thread::spawn(move || -> io::Result<Vec<(Duration, usize)>> {
                    let mut all = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        all.push(scrape(admin)?);
                        thread::sleep(SCRAPE_EVERY);
                    }
                    Ok(all)
                })
            });
            let times = round(proxy.address)?;
            done.store(true, Ordering::Relaxed);
            let scraped = match scraper {
                Some(scraper) => scraper
                    .join()
                    .map_err(|_| io::Error::other("the scraper panicked"))??,
                None => Vec::new(),
            };
            // The first round warms up.
            if turn > 0 {
                sum.extend(times);
                bytes = scraped
                    .iter()
                    .fold(bytes, |most, (_, size)| most.max(*size));
                scrapes.extend(scraped.into_iter().map(|(took, _)| took));
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
    print_table(&mut rows);
    Ok(())
}

/// Scrapes once: how long it took from connecting to the last byte, and how many there were.
fn scrape(admin: SocketAddr) -> io::Result<(Duration, usize)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let took = began.elapsed();
    if !(text.starts_with(b"HTTP/1.1 200") && text.ends_with(b"# EOF\n")) {
        return Err(io::Error::other("a scrape that is not whole"));
    }
    // Of each target at least how many requests it was given.
    let series = b"\nlongshore_target_requests_total{";
    let found = text.windows(series.len()).filter(|part| part == series);
    if found.count() != TARGETS as usize {
        return Err(io::Error::other("a scrape without all targets"));
    }
    Ok((took, text.len()))
}
