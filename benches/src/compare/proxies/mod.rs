//! The proxies that are compared: one file each, listed here.

mod caddy;
mod envoy;
mod floor;
mod haproxy;
mod longshore;
mod nginx;
mod pingora;
mod traefik;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::failure::{Context as _, Result, fail};
use crate::process::Running;
use crate::rows::{Feature, Frontend, Row, Target};
use crate::scratch;

/// What a proxy is to do in a row.
pub(crate) struct Setup<'run> {
    pub(crate) listen: u16,
    pub(crate) targets: &'run [u16],
    pub(crate) frontend: Frontend,
    pub(crate) target: Target,
    pub(crate) feature: Feature,
    pub(crate) workers: usize,
    /// Connections that it must have room for.
    pub(crate) connections: usize,
    /// For its files.
    pub(crate) directory: &'run Path,
    /// The files of a certificate and of its key, which also stand in one file, for listeners with
    /// TLS.
    pub(crate) certificate: Certificate,
}

/// Files of a certificate.
#[derive(Default)]
pub(crate) struct Certificate {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) both: String,
}

impl Certificate {
    /// Makes one that signs itself, on P-256 as ALB's usual ones.
    fn make(directory: &Path, core: &str) -> Result<Self> {
        let file = |name: &str| directory.join(name).display().to_string();
        let this = Self {
            cert: file("cert.pem"),
            key: file("key.pem"),
            both: file("both.pem"),
        };
        let words = [
            "req",
            "-x509",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-subj",
            "/CN=bench.test",
            "-days",
            "2",
            "-keyout",
            &this.key,
            "-out",
            &this.cert,
        ];
        let program = crate::process::find("openssl")?;
        let words = words.map(str::to_owned);
        let mut run = Running::start("openssl", &program, &words, core, directory)?;
        run.finish(Duration::from_secs(10), &mut |_| Ok(()))?;
        let read =
            |path: &str| std::fs::read_to_string(path).context(|| format!("cannot read {path}"));
        let both = read(&this.cert)? + &read(&this.key)?;
        scratch::write(Path::new(&this.both), &both)?;
        Ok(this)
    }
}

impl Setup<'_> {
    /// Writes the configuration file and returns its path as an argument.
    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.directory.join(name);
        scratch::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// One piece of configuration for each target.
    fn each_target(&self, piece: impl Fn(usize, u16) -> String) -> String {
        let targets = self.targets.iter().enumerate();
        targets.map(|(index, &port)| piece(index, port)).collect()
    }
}

/// The path that the rule number `index` of `count` is for: the last is the one asked for, and the
/// others are for nobody.
fn rule_path(index: usize, count: usize) -> String {
    if index + 1 == count {
        "/body/".into()
    } else {
        format!("/api-{index}/")
    }
}

/// One piece of configuration for each rule but the last, and one for the last.
fn each_rule(feature: Feature, piece: impl Fn(usize, &str) -> String) -> String {
    match feature {
        Feature::Rules(count) => (0..count)
            .map(|index| piece(index, &rule_path(index, count)))
            .collect(),
        _ => String::new(),
    }
}

/// What a sort of proxy is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one that the others are peers of.
    Ours,
    Peer,
    /// The least that a proxy can do, and no proxy to use.
    Floor,
}

/// A sort of proxy.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// The name of the program.
    pub(crate) program: &'static str,
    version_argument: &'static str,
    /// Why it cannot take part in a row.
    pub(crate) cannot: fn(&Row) -> Option<&'static str>,
    /// Whether it writes an address of the machine in place of 127.0.0.1.
    pub(crate) rewrites_loopback: bool,
    /// Finds the version in what the program prints.
    version: fn(&str) -> Option<&str>,
    /// Writes the configuration and returns the arguments to run with it.
    arguments: fn(&Setup<'_>) -> Result<Vec<String>>,
}

/// All sorts. The first is the one the others are peers of.
pub(crate) const KINDS: &[&Kind] = &[
    &longshore::KIND,
    &nginx::KIND,
    &haproxy::KIND,
    &envoy::KIND,
    &traefik::KIND,
    &caddy::KIND,
    &pingora::KIND,
    &floor::KIND,
];

/// Those that are compared when nobody is named.
pub(crate) const USUAL: &[&str] = &["longshore", "nginx", "haproxy", "envoy"];

/// The name of the first of [`KINDS`].
pub(crate) const OURS: &str = longshore::KIND.name;

/// The name of the least that a proxy can do.
pub(crate) const FLOOR: &str = floor::KIND.name;

/// For those that can do all rows.
fn can_all(_: &Row) -> Option<&'static str> {
    None
}

impl Kind {
    /// Asks the program for its version.
    pub(crate) fn version(&self, program: &Path, core: usize, directory: &Path) -> Result<String> {
        let arguments = [self.version_argument.to_owned()];
        let name = format!("{} {}", self.name, self.version_argument);
        let mut asked = Running::start(&name, program, &arguments, core, directory)?;
        let output = asked.finish(Duration::from_secs(10), &mut |_| Ok(()))?;
        match (self.version)(&output) {
            Some(version) => Ok(version.to_owned()),
            None => Err(asked.failure("no version found")),
        }
    }
}

/// A build of a proxy that takes part in the comparison.
pub(crate) struct Contestant {
    pub(crate) kind: &'static Kind,
    /// Its name in the table.
    pub(crate) label: String,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

/// A proxy that was started for a row.
pub(crate) struct Started {
    pub(crate) kind: &'static Kind,
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
    pub(crate) directory: PathBuf,
    pub(crate) feature: Feature,
    /// When it was started.
    pub(crate) since: Instant,
}

/// How proxies are started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'run> {
    /// Cores as taskset takes them.
    pub(crate) cores: &'run str,
    pub(crate) workers: usize,
    pub(crate) connections: usize,
}

impl Contestant {
    /// Why it cannot take part in a row.
    pub(crate) fn cannot(&self, row: &Row) -> Option<&'static str> {
        if row.is_ours_alone() && self.kind.role != Role::Ours {
            return Some("it is about ours alone");
        }
        (self.kind.cannot)(row)
    }

    /// Starts it on a free port.
    pub(crate) fn start(
        &self,
        row: &Row,
        feature: Feature,
        targets: &[u16],
        place: Place<'_>,
        directory: PathBuf,
    ) -> Result<Started> {
        // Not every proxy can say which port it got, so a free one is asked for
        // here and given back just before the start.
        let reservation = reserve()?;
        let address = reservation.local_addr().context(|| "no free port".into())?;
        let certificate = if row.frontend.is_secure() {
            Certificate::make(&directory, place.cores)?
        } else {
            Certificate::default()
        };
        let arguments = (self.kind.arguments)(&Setup {
            certificate,
            listen: address.port(),
            targets,
            frontend: row.frontend,
            target: row.target,
            feature,
            workers: place.workers,
            connections: place.connections,
            directory: &directory,
        })?;
        drop(reservation);
        let since = Instant::now();
        let (program, cores) = (&self.program, place.cores);
        let process = Running::start(&self.label, program, &arguments, cores, &directory)?;
        Ok(Started {
            kind: self.kind,
            process,
            address,
            directory,
            feature,
            since,
        })
    }
}

/// A listener on a port that nobody has, below those that the kernel gives to connections: one of
/// these could be taken between its giving back and the start of the proxy.
fn reserve() -> Result<TcpListener> {
    /// Linux gives 32,768 and above unless it is told otherwise.
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Another run at the same time begins elsewhere.
    let own = u16::try_from(std::process::id() % u32::from(count)).unwrap_or(0);
    for _ in 0..count {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + own.wrapping_add(number) % count;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    fail(format!("no free port in {PORTS:?}"))
}

/// The first word after `prefix` in the first line that has it.
fn word_after<'text>(text: &'text str, prefix: &str) -> Option<&'text str> {
    let (_, rest) = text.split_once(prefix)?;
    rest.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_programs_print() {
        let found = |kind: &Kind, output| (kind.version)(output).map(ToOwned::to_owned);
        assert_eq!(
            found(&nginx::KIND, "nginx version: nginx/1.22.1\n").unwrap(),
            "1.22.1"
        );
        assert_eq!(
            found(
                &haproxy::KIND,
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://x/\n"
            )
            .unwrap(),
            "2.6.12-1+deb12u4"
        );
        assert_eq!(
            found(
                &envoy::KIND,
                "\nenvoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n"
            )
            .unwrap(),
            "1.40.0"
        );
        assert_eq!(
            found(&longshore::KIND, "longshore 0.1.0\n").unwrap(),
            "0.1.0"
        );
        assert_eq!(found(&envoy::KIND, "envoy"), None);
    }

    #[test]
    fn every_configuration_names_the_port_and_both_targets() {
        let scratch = scratch::Scratch::new().unwrap();
        for kind in KINDS {
            let directory = scratch.directory(kind.name).unwrap();
            let mut texts = String::new();
            for row in crate::rows::ROWS {
                if (kind.cannot)(row).is_some() || row.is_ours_alone() {
                    continue;
                }
                let words = (kind.arguments)(&Setup {
                    feature: row.feature,
                    workers: 1,
                    connections: 64,
                    certificate: Certificate::default(),
                    listen: 40_001,
                    targets: &[40_002, 40_003],
                    frontend: row.frontend,
                    target: row.target,
                    directory: &directory,
                })
                .unwrap();
                texts += &words.join(" ");
            }
            for entry in std::fs::read_dir(&directory).unwrap() {
                texts += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
            }
            for port in ["40001", "40002", "40003"] {
                assert!(texts.contains(port), "{}: {port} in {texts}", kind.name);
            }
        }
    }
}
