//! The command line.

use std::path::PathBuf;

use crate::failure::{Context as _, Result, fail};
use crate::measure::Plan;
use crate::proxies::{KINDS, OURS, USUAL};
use crate::rows::{self, ROWS, Row};

/// The name that stands for the origin without a proxy.
const DIRECT: &str = "direct";

pub(crate) const USAGE: &str = "\
usage: benches/compare [OPTION…]
  --rows NAME,…          what to measure (h1-small); all for all
  --proxies NAME,…       who (longshore,nginx,haproxy,envoy,direct); there are also
                         traefik, caddy, pingora and floor; all for all
  --rounds N             interleaved rounds (5)
  --seconds N            length of each timed interval (4)
  --warmup N             seconds before each, not counted; 0 for none (1)
  --connections N        in place of the number of each row (64 for h1 rows)
  --longshore [LABEL=]PATH  a built binary; repeat to compare builds
  --cores P,L            core of the proxies, core of load and origin (0,1)
  --proxy-cores N,…      cores of each proxy, from core P on, and as many workers (1);
                         with more numbers each is there more than once
  --latency PERCENT,…    also p50, p99 and p99.9 at constant rates of so much of what
                         was reached, in rows of wrk without TLS; 30,60,90 is usual
  --same-rates           of what the slowest reached, for all, in place of each its own
  --idle N               also the memory of each of N idle connections, in h1-small
                         and h1-tls
  --strace               also count system calls per request, after the rounds
  --json FILE            everything that was measured
  --markdown FILE        the tables, which are printed as well
  --results DIR          both, and a plot for each row, in a folder
  --list                 print the rows and end
  --check                check the options and end
exit status: 0, 1 when something failed, 2 when a proxy gave errors under load";

/// Each takes a port of the machine and a descriptor at the client, and two at a proxy.
const IDLE_MAX: usize = 8_000;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) rows: Vec<&'static Row>,
    /// Names of [`KINDS`], in order.
    pub(crate) proxies: Vec<&'static str>,
    pub(crate) direct: bool,
    /// Builds of Longshore with their labels.
    pub(crate) builds: Vec<(String, PathBuf)>,
    pub(crate) plan: Plan,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) results: Option<PathBuf>,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Box<Arguments>),
    Help,
    List,
    /// The options are right, and that was all that was asked.
    Checked,
}

/// Reads the command line.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Command> {
    let mut arguments = Arguments {
        rows: vec![&ROWS[0]],
        proxies: USUAL.to_vec(),
        direct: true,
        builds: Vec::new(),
        plan: Plan {
            rounds: 5,
            seconds: 4,
            warmup: 1,
            connections: None,
            strace: false,
            latency: Vec::new(),
            same_rates: false,
            idle: 0,
            proxy_cores: vec![1],
            proxy_core: 0,
            load_core: 1,
        },
        json: None,
        markdown: None,
        results: None,
    };
    let plan = &mut arguments.plan;
    let mut only_check = false;
    while let Some(option) = words.next() {
        match option.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--list" => return Ok(Command::List),
            "--check" => {
                only_check = true;
                continue;
            }
            "--strace" => {
                plan.strace = true;
                continue;
            }
            "--same-rates" => {
                plan.same_rates = true;
                continue;
            }
            _ => {}
        }
        let Some(value) = words.next() else {
            return fail(format!("{option} needs a value, or is unknown\n{USAGE}"));
        };
        match option.as_str() {
            "--rows" => arguments.rows = rows::named(&value)?,
            "--proxies" => (arguments.proxies, arguments.direct) = proxies(&value)?,
            "--rounds" => plan.rounds = within(&option, &value, 1, 1000)?,
            "--seconds" => plan.seconds = within(&option, &value, 1, 600)? as u64,
            "--warmup" => plan.warmup = within(&option, &value, 0, 600)? as u64,
            "--connections" => plan.connections = Some(within(&option, &value, 1, 4000)?),
            "--proxy-cores" => plan.proxy_cores = list(&option, &value, 1, 64)?,
            "--latency" => plan.latency = list(&option, &value, 1, 100)?,
            "--idle" => plan.idle = within(&option, &value, 0, IDLE_MAX)?,
            "--cores" => (plan.proxy_core, plan.load_core) = cores(&value)?,
            "--longshore" => arguments.builds.push(build(&value)),
            "--json" => arguments.json = Some(value.into()),
            "--markdown" => arguments.markdown = Some(value.into()),
            "--results" => arguments.results = Some(value.into()),
            _ => return fail(format!("unknown option {option}\n{USAGE}")),
        }
    }
    let mut labels: Vec<&str> = arguments.builds.iter().map(|(label, _)| &**label).collect();
    labels.sort_unstable();
    if let Some(twice) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
        return fail(format!(
            "two builds are labelled {}; give each its own with --longshore LABEL=PATH",
            twice[0]
        ));
    }
    let several = plan.proxy_cores != [1];
    if several && (plan.idle > 0 || !plan.latency.is_empty()) {
        return fail(
            "--idle and --latency are for proxies with one core: with more of them the load, which \
             does not sleep, has one of theirs",
        );
    }
    if only_check {
        return Ok(Command::Checked);
    }
    Ok(Command::Run(Box::new(arguments)))
}

fn proxies(list: &str) -> Result<(Vec<&'static str>, bool)> {
    if list == "all" {
        return Ok((KINDS.iter().map(|kind| kind.name).collect(), true));
    }
    let mut names = Vec::new();
    let mut direct = false;
    for asked in list.split(',') {
        if asked == DIRECT {
            direct = true;
            continue;
        }
        match KINDS.iter().find(|kind| kind.name == asked) {
            Some(kind) if names.contains(&kind.name) => {}
            Some(kind) => names.push(kind.name),
            None => {
                let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
                return fail(format!(
                    "no proxy {asked}; there are {}, {DIRECT}",
                    known.join(", ")
                ));
            }
        }
    }
    Ok((names, direct))
}

fn within(option: &str, value: &str, min: usize, max: usize) -> Result<usize> {
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => fail(format!(
            "{option} {value}: not a number from {min} to {max}"
        )),
    }
}

/// Numbers with commas between them.
fn list(option: &str, value: &str, min: usize, max: usize) -> Result<Vec<usize>> {
    let numbers = value.split(',');
    numbers
        .map(|number| within(option, number, min, max))
        .collect()
}

fn cores(value: &str) -> Result<(usize, usize)> {
    let Some((proxy, load)) = value.split_once(',') else {
        return fail(format!("--cores {value}: two numbers, as in 0,1"));
    };
    let number = |text: &str| text.parse().context(|| format!("--cores {value}"));
    let (proxy, load) = (number(proxy)?, number(load)?);
    if proxy == load {
        return fail(format!("--cores {value}: the two must differ"));
    }
    Ok((proxy, load))
}

/// `LABEL=PATH`, or a path alone.
fn build(value: &str) -> (String, PathBuf) {
    match value.split_once('=') {
        Some((label, path)) if !label.contains('/') => (format!("{OURS} {label}"), path.into()),
        _ => (OURS.into(), value.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Arguments> {
        match parse(line.split_whitespace().map(ToOwned::to_owned))? {
            Command::Run(arguments) => Ok(*arguments),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_given_is_everyone_on_the_first_row() {
        let arguments = run("").unwrap();
        assert_eq!(arguments.rows[0].name, "h1-small");
        assert_eq!(
            arguments.proxies,
            ["longshore", "nginx", "haproxy", "envoy"]
        );
        assert!(arguments.direct);
        assert_eq!((arguments.plan.rounds, arguments.plan.seconds), (5, 4));
    }

    #[test]
    fn proxies_are_chosen_by_name_and_the_origin_is_one() {
        let arguments = run("--proxies nginx,direct --seconds 2 --strace --cores 3,2").unwrap();
        assert_eq!(arguments.proxies, ["nginx"]);
        assert!(arguments.direct && arguments.plan.strace);
        assert_eq!(
            (arguments.plan.proxy_core, arguments.plan.load_core),
            (3, 2)
        );
        assert!(!run("--proxies envoy").unwrap().direct);
    }

    #[test]
    fn latency_is_measured_at_shares_of_saturation() {
        assert_eq!(run("--latency 30,60").unwrap().plan.latency, [30, 60]);
        assert!(run("").unwrap().plan.latency.is_empty());
    }

    #[test]
    fn builds_have_labels() {
        let arguments = run("--longshore old=a/b --longshore c/d").unwrap();
        assert_eq!(
            arguments.builds,
            [
                ("longshore old".into(), "a/b".into()),
                ("longshore".into(), PathBuf::from("c/d"))
            ]
        );
        let twice = run("--longshore a --longshore b").unwrap_err().to_string();
        assert!(
            twice.contains("two builds are labelled longshore"),
            "{twice}"
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in [
            "--rounds 0",
            "--seconds 1.5",
            "--proxies apache",
            "--proxy-cores 0",
            "--idle 100000",
            "--rows h9",
            "--cores 1",
            "--cores 1,1",
            "--proxy-cores 2 --latency 60",
            "--proxy-cores 1,2 --idle 6000",
            "--latency 0",
            "--latency 60,101",
            "--rounds",
            "--fast yes",
        ] {
            assert!(run(line).is_err(), "{line}");
        }
    }
}
