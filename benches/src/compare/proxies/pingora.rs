//! Pingora, by the small proxy in `benches/pingora`, as it has none of its own.

use super::{Kind, Role, Setup, word_after};
use crate::failure::Result;
use crate::rows::{Feature, Frontend, Generator, Row, Target};

pub(super) const KIND: Kind = Kind {
    name: "pingora",
    role: Role::Peer,
    cannot,
    program: "pingora-peer",
    version_argument: "--version",
    rewrites_loopback: false,
    version: |output| word_after(output, "pingora "),
    arguments,
};

fn cannot(row: &Row) -> Option<&'static str> {
    if row.feature != Feature::Plain {
        return Some("its proxy here only forwards; rules, cookies and logs are left to programs");
    }
    (row.generator == Generator::WebSockets).then_some("its proxy here is not about upgrades")
}

fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let mut words = vec![setup.listen.to_string(), setup.workers.to_string()];
    words.extend(setup.targets.iter().map(ToString::to_string));
    if setup.frontend.is_secure() {
        let (cert, key) = (&setup.certificate.cert, &setup.certificate.key);
        words.extend(["--tls".to_owned(), cert.clone(), key.clone()]);
    }
    if matches!(setup.frontend, Frontend::Http2 | Frontend::Http2Tls) {
        words.push("--h2".to_owned());
    }
    if setup.target == Target::Grpc {
        words.push("--target-h2".to_owned());
    }
    Ok(words)
}
