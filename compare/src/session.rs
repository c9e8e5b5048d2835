//! A whole run: looks at both sides, loads them in turns, and shows what came out.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt as _;

use crate::arguments::{Arguments, RATE_MAX};
use crate::clock;
use crate::html;
use crate::load::{Shape, turn};
use crate::progress::Progress;
use crate::report::{Frame, Report, Rounds, SideReport};
use crate::schedule::{Steps, turns};
use crate::side::{Refusal, Side, resolve};
use crate::tally::Tally;
use crate::text;

/// How the maximum is looked for: so often, and so long for each side.
const SEARCHES: u32 = 3;
const SEARCH: Duration = Duration::from_secs(2);
const SEARCH_WARMUP: Duration = Duration::from_millis(500);

/// If so much of the first turn of a step is late, the rest would be, too.
const HOPELESS: f64 = 0.8;

/// Exit statuses; see the help.
const FAILED: u8 = 1;
const USE: u8 = 2;
const NOT_VALID: u8 = 3;
const ERRORS: u8 = 4;

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match compare(arguments) {
        Ok(code) => code,
        Err(refusal) => {
            let (message, code) = match refusal {
                Refusal::Use(message) => (message, USE),
                Refusal::Failed(message) => (message, FAILED),
            };
            eprintln!("longshore: {message}");
            ExitCode::from(code)
        }
    }
}

fn compare(arguments: &Arguments) -> Result<ExitCode, Refusal> {
    let count = arguments.steps.as_ref().map_or(1, Steps::len);
    arguments.check(count)?;
    let files = [("--json", &arguments.json), ("--html", &arguments.html)];
    for (name, path) in files {
        // Before minutes of load, and not after.
        path.as_deref()
            .map_or(Ok(()), |path| try_file(name, path))?;
    }
    let sides = prepare(arguments)?;
    let stop = stop_at_ctrl_c()?;
    let seed = arguments.seed.unwrap_or_else(draw);
    let progress = Progress::start();
    let shape = shape(arguments);
    let maximum = match (&arguments.steps, arguments.maximum) {
        (Some(Steps::Parts(_)), None) => Some(search(&sides, shape, &progress, &stop)?),
        (_, given) => given,
    };
    let rates = match &arguments.steps {
        Some(steps) => steps.rates(maximum.unwrap_or(RATE_MAX)),
        None => vec![arguments.rate],
    };
    let measured = measure(arguments, &sides, &rates, &progress, &stop)?;
    drop(progress);
    let report = Report::new(
        Frame {
            time: clock::wall().as_secs(),
            seed,
            load: load(arguments),
            sides: sides.each_ref().map(|side| SideReport::of(side)),
            maximum,
            prices: &arguments.prices,
            connections: arguments.connections,
            churn: arguments.churn,
            seconds_of_turn: arguments.duration.as_secs_f64(),
        },
        &measured,
    );
    print_out(&text::show(&report)).map_err(Refusal::Failed)?;
    for (name, path) in files {
        let Some(path) = path else { continue };
        let text = match name {
            "--json" => serde_json::to_string_pretty(&report).map_err(|error| error.to_string()),
            _ => Ok(html::page(&report)),
        };
        let written = text
            .and_then(|text| std::fs::write(path, text + "\n").map_err(|error| error.to_string()));
        written.map_err(|error| Refusal::Failed(format!("{name} {}: {error}", path.display())))?;
    }
    Ok(status(&report))
}

fn status(report: &Report) -> ExitCode {
    if report.rounds == 0 {
        eprintln!("longshore: stopped before a round was whole");
        return ExitCode::from(FAILED);
    }
    if !report.is_valid {
        eprintln!("longshore: the figures are not valid: the generator did not keep the rate");
        return ExitCode::from(NOT_VALID);
    }
    if report.has_failed() {
        eprintln!("longshore: more than 1 % of the requests to a side failed");
        return ExitCode::from(ERRORS);
    }
    ExitCode::SUCCESS
}

fn shape(arguments: &Arguments) -> Shape {
    Shape {
        connections: arguments.connections,
        streams: arguments.streams,
        threads: arguments.threads,
        warmup: arguments.warmup,
        duration: arguments.duration,
    }
}

/// How the load is made, in words.
fn load(arguments: &Arguments) -> String {
    let kept = match arguments.churn {
        true => format!(
            "a new connection for each request, {} at a time",
            arguments.connections
        ),
        false => format!("{} connections", arguments.connections),
    };
    let sizes: Vec<String> = arguments
        .body_size
        .iter()
        .map(ToString::to_string)
        .collect();
    let bodies = match sizes.is_empty() {
        true => String::new(),
        false => format!(" with bodies of {} bytes", sizes.join(", ")),
    };
    format!(
        "{}{bodies}, {kept}, {} a turn after {} of warm-up",
        arguments.method,
        text::span(arguments.duration),
        text::span(arguments.warmup)
    )
}

/// Looks whether a report can be written, and leaves what is there as it is.
fn try_file(name: &str, path: &Path) -> Result<(), Refusal> {
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    let wrong = |error| format!("{name} {}: {error}", path.display());
    opened
        .map(drop)
        .map_err(|error| Refusal::Failed(wrong(error)))
}

fn prepare(arguments: &Arguments) -> Result<[Arc<Side>; 2], Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::Failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let [(a, at_a), (b, at_b)] = resolve(arguments).await?;
        let a = Side::prepare("URL_A", a, at_a, arguments).await;
        let a = a.map_err(Refusal::Failed)?;
        let b = Side::prepare("URL_B", b, at_b, arguments).await;
        let b = b.map_err(Refusal::Failed)?;
        Ok([Arc::new(a), Arc::new(b)])
    })
}

/// The first Ctrl-C ends the measurement and shows what was measured; the second one ends all.
fn stop_at_ctrl_c() -> Result<Arc<AtomicBool>, Refusal> {
    let stop = Arc::new(AtomicBool::new(false));
    let wrong = |error: std::io::Error| Refusal::Failed(format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(wrong)?;
    let set = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                if tokio::signal::ctrl_c().await.is_ok() {
                    set.store(true, Ordering::Relaxed);
                }
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(130);
                }
            });
        })
        .map_err(wrong)?;
    Ok(stop)
}

/// What the slower side answers when each connection always has a request.
fn search(
    sides: &[Arc<Side>; 2],
    shape: Shape,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<f64, Refusal> {
    let shape = Shape {
        warmup: SEARCH_WARMUP,
        duration: SEARCH,
        ..shape
    };
    let takes = shape.warmup + shape.duration;
    progress.begin(takes * SEARCHES * 2);
    let mut best = [0.0f64; 2];
    for turn_of in turns(SEARCHES as usize, 1) {
        let (Some(side), Some(best)) = (sides.get(turn_of.side), best.get_mut(turn_of.side)) else {
            continue;
        };
        progress.turn("looking for the maximum".to_owned(), takes);
        let tally = turn(side, None, shape, stop).map_err(Refusal::Failed)?;
        *best = best.max(tally.succeeded() as f64 / tally.seconds);
    }
    let [a, b] = best;
    for (name, rate) in [("URL_A", a), ("URL_B", b)] {
        if rate < 1.0 {
            return Err(Refusal::Failed(format!(
                "{name} answers less than one request a second, so no maximum was found: say \
                 --maximum RATE, or --rate"
            )));
        }
    }
    Ok(a.min(b).min(RATE_MAX))
}

/// Loads both sides in turns. Rounds that are not whole are left out.
fn measure(
    arguments: &Arguments,
    sides: &[Arc<Side>; 2],
    rates: &[f64],
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Vec<(f64, Rounds)>, Refusal> {
    let order = turns(arguments.rounds as usize, rates.len());
    let takes = arguments.turn();
    progress.begin(takes * u32::try_from(order.len()).unwrap_or(u32::MAX));
    let mut tallies: BTreeMap<(usize, usize), Vec<Tally>> = BTreeMap::new();
    let mut hopeless = false;
    for now in &order {
        let (Some(side), Some(rate)) = (sides.get(now.side), rates.get(now.step)) else {
            continue;
        };
        let name = if now.side == 0 { "A" } else { "B" };
        let label = format!(
            "round {} of {}, {} to {name}",
            now.round + 1,
            arguments.rounds,
            text::rate(*rate)
        );
        progress.turn(label, takes);
        let tally = turn(side, Some(*rate), shape(arguments), stop).map_err(Refusal::Failed)?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        hopeless |= now.round == 0 && tally.late_share() > HOPELESS;
        tallies.entry((now.step, now.side)).or_default().push(tally);
        // Both sides, so that there is something to show.
        let whole = tallies.contains_key(&(now.step, 1 - now.side));
        if hopeless && whole {
            break;
        }
    }
    let mut measured = Vec::new();
    for (step, rate) in rates.iter().enumerate() {
        let mut of = |side| tallies.remove(&(step, side)).unwrap_or_default();
        let mut rounds: Rounds = [of(0), of(1)];
        let [a, b] = &mut rounds;
        let whole = a.len().min(b.len());
        a.truncate(whole);
        b.truncate(whole);
        if whole > 0 {
            measured.push((*rate, rounds));
        }
    }
    Ok(measured)
}

/// A seed for the random draws.
#[allow(clippy::disallowed_methods, reason = "the one place that draws it")]
fn draw() -> u64 {
    // So small that JSON readers that know only floating point keep it whole.
    rand::rng().random::<u64>() >> 16
}

/// Writes to standard output. A reader that has closed it is no error.
fn print_out(text: &str) -> Result<(), String> {
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}
