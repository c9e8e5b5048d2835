//! TLS, on rustls with aws-lc-rs: with clients and with targets.
//!
//! What is decided once is made in the control half, from files ([`Material`]), and reaches
//! handshakes with the snapshot. `stream.rs` is what carries bytes afterwards.

pub(crate) mod accept;
pub mod anybody;
pub mod certificate;
pub mod choice;
pub(crate) mod clients;
mod file;
pub mod listener;
mod name;
pub mod policy;
pub(crate) mod session;
pub(crate) mod stream;
pub mod target;
pub mod ticket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_config::{Config, CookieKey, ListenerProtocol};

use listener::{Fault, ListenerFiles};
use target::TargetTls;

/// All that a configuration's files of TLS hold.
#[derive(Debug, Default)]
pub struct Material {
    /// In the order of the configuration; none for listeners without TLS.
    pub listeners: Vec<Option<ListenerFiles>>,
    /// By the names of groups; those without TLS are left out.
    pub groups: BTreeMap<String, Arc<TargetTls>>,
    /// What is wrong with files that are not of listeners.
    faults: Vec<Fault>,
}

impl Material {
    /// Reads all files. `own_key` seals session tickets if the configuration has no key for them;
    /// `now` is the time since 1970.
    #[must_use]
    pub fn read(config: &Config, own_key: &CookieKey, now: Duration) -> Self {
        let mut material = Self::default();
        let mut keys = config.runtime.session_ticket_keys.clone();
        if let Some(path) = &config.runtime.session_ticket_key_file {
            match read_keys(path, now) {
                Ok(read) => keys.extend(read),
                Err(message) => material.faults.push(Fault {
                    key: "runtime.session_ticket_key_file".to_owned(),
                    message: format!("{}: {message}", path.display()),
                    is_warning: false,
                }),
            }
        }
        if keys.is_empty() {
            keys.push(own_key.clone());
        }
        let http2 = config.load_balancer.enable_http2.0;
        for (index, listener) in config.listeners.iter().enumerate() {
            let has_tls = listener.protocol == ListenerProtocol::Https;
            material
                .listeners
                .push(has_tls.then(|| ListenerFiles::read(index, listener, &keys, http2, now)));
        }
        for (index, group) in config.target_groups.iter().enumerate() {
            match TargetTls::read(index, group, now) {
                Ok(Some(tls)) => drop(material.groups.insert(group.name.clone(), Arc::new(tls))),
                Ok(None) => {}
                Err(fault) => material.faults.push(fault),
            }
        }
        material
    }

    /// What is wrong with the files.
    #[must_use]
    pub fn faults(&self, now: Duration) -> Vec<Fault> {
        let of_listeners = self.listeners.iter().flatten();
        let mut faults: Vec<Fault> = of_listeners.flat_map(|files| files.faults(now)).collect();
        faults.extend(self.faults.iter().cloned());
        faults
    }
}

/// Keys of session tickets, one a line.
fn read_keys(path: &std::path::Path, now: Duration) -> Result<Vec<CookieKey>, String> {
    let bytes = file::Watched::new(path).read(now)?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let lines = text.lines().enumerate().map(|(at, line)| (at, line.trim()));
    let keys: Vec<CookieKey> = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            CookieKey::parse(line).map_err(|found| {
                format!(
                    "line {}: {found}; expected 32 bytes in base64, as `openssl rand -base64 32` prints them",
                    at + 1
                )
            })
        })
        .collect::<Result<_, _>>()?;
    match keys.len() {
        0 => Err("no key is in it; `openssl rand -base64 32` prints one".to_owned()),
        count if count > longshore_config::limits::COOKIE_KEYS => Err(format!(
            "{count} keys; at most {} are used",
            longshore_config::limits::COOKIE_KEYS
        )),
        _ => Ok(keys),
    }
}
