//! Which rules a request could meet, by its Host and path, so that a listener with ten thousand
//! rules is no slower than one with ten. Pure.

use super::rules::{Facts, Rule};
use super::trie::{Key, Trie};

/// The most places that one rule is filed in. A rule with more pairs of hosts and paths is filed
/// by host alone: its entries would cost more than looking at it.
const PLACES_MAX: usize = 4_096;

/// Rules by the end of the host name, and then by the beginning of the path: what stands before
/// the first wildcard of a path pattern, and behind the last one of a host pattern.
///
/// Other conditions are not indexed: rules that differ in nothing but a header, say, are looked at
/// one after the other.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    hosts: Trie<Trie<Vec<u32>>>,
}

impl RuleIndex {
    /// Of rules in the order in which they are tried.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in (0..).zip(rules) {
            let conditions = || rule.conditions.iter();
            let any = || vec![Key::ANY];
            let hosts = conditions().find_map(|condition| condition.host_keys());
            let paths = conditions().find_map(|condition| condition.path_keys());
            let hosts = hosts.unwrap_or_else(any);
            let mut paths = paths.unwrap_or_else(any);
            if hosts.len().saturating_mul(paths.len()) > PLACES_MAX {
                paths = any();
            }
            for host in &hosts {
                let by_path = index.hosts.entry(host);
                for path in &paths {
                    by_path.entry(path).push(number);
                }
            }
        }
        index
    }

    /// The first rule for which `holds` says yes, of those that the Host and the path leave.
    pub(super) fn first(
        &self,
        facts: &Facts<'_>,
        mut holds: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut first = u32::MAX;
        let host = facts.host_name.bytes().rev();
        let host = host.map(|byte| byte.to_ascii_lowercase());
        self.hosts.find(host, |by_path| {
            by_path.find(facts.path.bytes(), |numbers| {
                // Each list is in order, so that nothing behind a hit, or behind a better rule of
                // another list, matters.
                let found = numbers
                    .iter()
                    .take_while(|number| **number < first)
                    .find(|number| holds(**number as usize));
                if let Some(number) = found {
                    first = *number;
                }
            });
        });
        (first != u32::MAX).then_some(first as usize)
    }
}
