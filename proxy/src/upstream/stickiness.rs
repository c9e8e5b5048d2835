//! How a group keeps clients at its targets: which cookie, for how long, and who is who.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use longshore_config::{StickinessType, TargetGroup as GroupConfig};

use super::endpoint::Endpoint;
use super::identity::Identity;

/// The stickiness of one group in one snapshot.
#[derive(Debug)]
pub struct Stickiness {
    /// The group, as cookies name it.
    pub scope: Identity,
    /// Whose cookie it follows.
    pub cookie: Follows,
    /// How long a client stays after its latest response, in milliseconds.
    pub duration: u64,
    /// Where each candidate stands in the list of candidates.
    places: HashMap<Identity, usize, BuildHasherDefault<Half>>,
}

/// Whose cookie decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// The balancer's own, of that name.
    Balancer(Box<str>),
    /// The application's, of that name, with one of the balancer's beside it.
    Application(Box<str>),
}

/// ALB's name for its cookie.
pub const AWSALB: &str = "AWSALB";

impl Stickiness {
    /// That of a group with these candidates. None if it is off.
    #[must_use]
    pub fn new(config: &GroupConfig, candidates: &[Arc<Endpoint>]) -> Option<Self> {
        let settings = config.stickiness.as_ref().filter(|with| with.enabled)?;
        let name = settings.cookie_name.as_deref();
        let duration = settings.cookie_duration.get().as_millis();
        Some(Self {
            scope: Identity::group(&config.name),
            cookie: match settings.kind {
                StickinessType::LbCookie => Follows::Balancer(name.unwrap_or(AWSALB).into()),
                StickinessType::AppCookie => Follows::Application(name.unwrap_or_default().into()),
            },
            duration: u64::try_from(duration).unwrap_or(u64::MAX),
            places: candidates
                .iter()
                .enumerate()
                .map(|(place, endpoint)| (endpoint.identity, place))
                .collect(),
        })
    }

    /// Where a target stands in the list of candidates.
    #[must_use]
    pub fn place(&self, target: Identity) -> Option<usize> {
        self.places.get(&target).copied()
    }
}

/// Identities are hashes already, and only the holders of a key choose which ones are looked for.
#[derive(Debug, Default)]
struct Half(u64);

impl Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "one half of the bits is as good as the other"
    )]
    fn write_u128(&mut self, identity: u128) {
        self.0 = identity as u64;
    }
}
