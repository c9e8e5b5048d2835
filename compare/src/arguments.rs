//! What was asked for, with every bound and default.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use crate::cost::Prices;
use crate::schedule::Steps;

/// The most requests a second. Beyond it one machine measures itself.
pub(crate) const RATE_MAX: f64 = 200_000.0;
/// The longest turn of one side.
const DURATION_MAX: Duration = Duration::from_secs(600);
/// The longest whole run.
pub(crate) const WHOLE_MAX: Duration = Duration::from_secs(4 * 3600);
/// The longest wait for a response.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// The largest body of a request.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// The end of the help.
const AFTER: &str = "\
Each round loads one side, then the other, and the order changes with each round, so that what
changes in the machine or the network meets both. The time of a request counts from when it was
due, so a side that stalls pays for all that had to wait.

Exit status: 0 compared; 1 it could not be done (unreachable, TLS, a file that cannot be written);
2 the command line is wrong, or the addresses are not loopback and --yes-i-own-both is missing;
3 the generator could not keep the rate, and the figures are not valid; 4 more than 1 % of a
side's requests failed.";

/// Put the same constant load on two addresses in turns, and say what B adds to A.
///
/// By convention, A is what you have (an ALB, say), and B is what you might have.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER, after_help = AFTER, args_override_self = true)]
pub struct Arguments {
    /// The first address, such as http://127.0.0.1:8080/path. Costs are those of its traffic.
    #[arg(value_name = "URL_A")]
    pub(crate) url_a: String,
    /// The second address.
    #[arg(value_name = "URL_B")]
    pub(crate) url_b: String,

    /// Requests a second, at most 200000.
    #[arg(long, default_value = "100", value_parser = rate, help_heading = "Load")]
    pub(crate) rate: f64,
    /// Several rates, one after the other (at most 10): 100,200,400, or parts of the maximum:
    /// 30%,60%,90%. In place of --rate.
    #[arg(long, value_name = "LIST", value_parser = steps, conflicts_with = "rate", help_heading = "Load")]
    pub(crate) steps: Option<Steps>,
    /// The rate that is 100 % of --steps. Without it, it is looked for: what the slower side
    /// answers when each connection always has a request.
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "steps", help_heading = "Load")]
    pub(crate) maximum: Option<f64>,
    /// How long each side is loaded in each round and step; 100ms to 10m. The whole run may take
    /// 4 hours.
    #[arg(long, default_value = "5s", value_parser = duration, help_heading = "Load")]
    pub(crate) duration: Duration,
    /// Load before that which is not counted, 0 to 60s.
    #[arg(long, default_value = "1s", value_parser = warmup, help_heading = "Load")]
    pub(crate) warmup: Duration,
    /// How often both sides are loaded, 1 to 100. Intervals of confidence come from how rounds
    /// differ: of less than 5 nothing is certain.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Load")]
    pub(crate) rounds: u32,
    /// Connections to a side, 1 to 10000. Each carries one request at a time with HTTP/1.1.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Load")]
    pub(crate) connections: u32,
    /// Requests at a time on a connection with HTTP/2, 1 to 1000.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000), help_heading = "Load")]
    pub(crate) streams: u32,
    /// A new connection for each request.
    #[arg(long, help_heading = "Load")]
    pub(crate) churn: bool,
    /// Threads that make the load, 1 to 64.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Load")]
    pub(crate) threads: u32,
    /// How long a response may take, from when its request is sent; 1ms to 60s.
    #[arg(long, default_value = "10s", value_parser = timeout, help_heading = "Load")]
    pub(crate) timeout: Duration,

    /// The method.
    #[arg(short = 'X', long, default_value = "GET", help_heading = "Requests")]
    pub(crate) method: Method,
    /// A header field of each request.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field, action = clap::ArgAction::Append, help_heading = "Requests")]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// A path for both, in place of those of the URLs.
    #[arg(long, value_parser = path, help_heading = "Requests")]
    pub(crate) path: Option<String>,
    /// The Host of each request, and the name that TLS asks for, in place of those of the URLs.
    #[arg(long, value_name = "NAME", value_parser = host, help_heading = "Requests")]
    pub(crate) host: Option<String>,
    /// Bytes of the body, such as 512, 16KiB or 1MiB, at most 16MiB. Of several, requests take one
    /// after the other: 0,1KiB,64KiB.
    #[arg(long, value_name = "SIZES", value_parser = size, value_delimiter = ',', action = clap::ArgAction::Set, help_heading = "Requests")]
    pub(crate) body_size: Vec<usize>,

    /// The version of HTTP: 1, 2 (over TLS by ALPN, else at once), or what the server chooses.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Connections")]
    pub(crate) http: Http,
    /// Take any certificate.
    #[arg(long, conflicts_with = "ca", help_heading = "Connections")]
    pub(crate) insecure: bool,
    /// Certificates (PEM) of the authorities to trust, in place of those of the system.
    #[arg(long, value_name = "FILE", help_heading = "Connections")]
    pub(crate) ca: Option<PathBuf>,
    /// Never go on with an earlier TLS session. For --churn.
    #[arg(long, help_heading = "Connections")]
    pub(crate) full_handshakes: bool,

    /// Load addresses beyond loopback. Load on what is not yours is an attack.
    #[arg(long, help_heading = "Safety")]
    pub(crate) yes_i_own_both: bool,
    /// Let A and B be the same, to see how much the measurement itself varies.
    #[arg(long, help_heading = "Safety")]
    pub(crate) allow_equal: bool,

    /// Begin the random draws (of the intervals) with this number, to get the same again.
    #[arg(long, value_name = "NUMBER", help_heading = "Reports")]
    pub(crate) seed: Option<u64>,
    /// Write all figures as JSON.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with plots. It is one file and loads nothing.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub(crate) html: Option<PathBuf>,

    /// What B is made of.
    #[command(flatten)]
    pub(crate) prices: Prices,
}

/// The version of HTTP that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Http {
    /// HTTP/1.1 without TLS; over TLS the server chooses.
    Auto,
    /// HTTP/1.1
    #[value(name = "1")]
    One,
    /// HTTP/2
    #[value(name = "2")]
    Two,
}

impl Arguments {
    /// Seconds of one turn.
    pub(crate) fn turn(&self) -> Duration {
        self.warmup + self.duration
    }

    /// What no single argument is wrong by.
    pub(crate) fn check(&self, steps: usize) -> Result<(), String> {
        let turns = self
            .rounds
            .saturating_mul(2 * u32::try_from(steps).unwrap_or(u32::MAX));
        let whole = self.turn().saturating_mul(turns);
        if whole > WHOLE_MAX {
            return Err(format!(
                "{} rounds of {steps} steps of 2 sides of {} take {}, and a run may take {}: \
                 lower --rounds, --duration or --warmup, or take fewer --steps",
                self.rounds,
                crate::text::span(self.turn()),
                crate::text::span(whole),
                crate::text::span(WHOLE_MAX),
            ));
        }
        Ok(())
    }
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "expected requests a second, such as 500".to_owned())?;
    if number > 0.0 && number <= RATE_MAX {
        return Ok(number);
    }
    Err(format!("a rate is above 0 and at most {RATE_MAX}"))
}

fn steps(text: &str) -> Result<Steps, String> {
    Steps::parse(text)
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let found = longshore_config::parse_duration(text)
        .ok_or_else(|| "expected a duration such as 10s, 500ms or 5m".to_owned())?;
    if found < least || found > most {
        let (least, most) = (crate::text::span(least), crate::text::span(most));
        return Err(format!("it is {least} to {most}"));
    }
    Ok(found)
}

fn duration(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), DURATION_MAX)
}

fn warmup(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO, Duration::from_secs(60))
}

fn timeout(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(1), TIMEOUT_MAX)
}

/// `name: value`
fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("expected 'NAME: VALUE', found {text:?}");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    if name == http::header::HOST {
        return Err("say --host NAME, which also counts for HTTP/2 and TLS".to_owned());
    }
    if [
        http::header::CONNECTION,
        http::header::CONTENT_LENGTH,
        http::header::TRANSFER_ENCODING,
    ]
    .contains(&name)
    {
        return Err(format!(
            "{name} follows from --churn, --body-size and --http and cannot be set"
        ));
    }
    Ok((name, value))
}

fn path(text: &str) -> Result<String, String> {
    match text.parse::<http::uri::PathAndQuery>() {
        Ok(path) if text.starts_with('/') => Ok(path.to_string()),
        _ => Err("expected a path such as /search?q=a".to_owned()),
    }
}

fn host(text: &str) -> Result<String, String> {
    match text.parse::<http::uri::Authority>() {
        Ok(name) if !text.contains('@') => Ok(name.to_string()),
        _ => Err("expected a name such as shop.example.com".to_owned()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let wrong = || "expected bytes such as 512, 16KiB or 1MiB".to_owned();
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let unit = match unit.trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1024,
        "M" | "MiB" => 1024 * 1024,
        _ => return Err(wrong()),
    };
    let number: usize = digits.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(unit).ok_or_else(wrong)?;
    if bytes > BODY_MAX {
        return Err("a body has at most 16MiB".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
