//! What a target, a group or a rule is, in 16 bytes that are the same in every process.
//!
//! Cookies carry these, and no address, so a cookie is good at every replica and after every
//! restart. A hash of 128 bits: that two things of one configuration share one by chance is out of
//! the question, and nobody from outside chooses what is hashed.

use aws_lc_rs::digest::{Context, SHA256};
use longshore_discovery::TargetKey;

/// The first half of a SHA-256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(u128);

impl Identity {
    /// The length as bytes.
    pub const LENGTH: usize = 16;

    /// A target, by what it is and never by where.
    #[must_use]
    pub fn target(key: &TargetKey) -> Self {
        Self::of(
            b"target",
            &[
                key.task.as_bytes(),
                key.container.as_bytes(),
                &key.port.to_be_bytes(),
            ],
        )
    }

    /// A group, by its name.
    #[must_use]
    pub fn group(name: &str) -> Self {
        Self::of(b"group", &[name.as_bytes()])
    }

    /// A rule, by its listener's name and its priority; the default action has none.
    #[must_use]
    pub fn rule(listener: &str, priority: Option<u64>) -> Self {
        let priority = priority.map_or([0; 8], u64::to_be_bytes);
        Self::of(b"rule", &[listener.as_bytes(), &priority])
    }

    /// Each part with its length, so that no two lists of parts are the same bytes.
    fn of(what: &[u8], parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in std::iter::once(&what).chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let digest = context.finish();
        let mut half = [0; Self::LENGTH];
        half.copy_from_slice(&digest.as_ref()[..Self::LENGTH]);
        Self::from_bytes(half)
    }

    /// As bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::LENGTH] {
        self.0.to_be_bytes()
    }

    /// From bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use longshore_discovery::TargetKey;

    use super::Identity;

    #[test]
    fn an_identity_is_the_same_in_every_process_and_version() {
        let key = TargetKey {
            task: "arn:aws:ecs:eu-central-1:1:task/prod/abc".into(),
            container: "app".into(),
            port: 8080,
        };
        // Written down: another value would move every sticky client at an upgrade.
        let bytes = Identity::target(&key).to_bytes();
        assert_eq!(
            bytes,
            0xdec6b959_d241e5c3_d1464654_b978a226_u128.to_be_bytes()
        );
    }

    #[test]
    fn what_differs_in_any_part_has_another_identity() {
        let key = |task: &str, container: &str, port| TargetKey {
            task: task.into(),
            container: container.into(),
            port,
        };
        let all = [
            Identity::target(&key("ab", "c", 1)),
            Identity::target(&key("a", "bc", 1)),
            Identity::target(&key("ab", "c", 2)),
            Identity::group("ab"),
            Identity::group("a"),
            Identity::rule("ab", None),
            Identity::rule("ab", Some(1)),
            Identity::rule("a", Some(1)),
        ];
        let distinct: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
