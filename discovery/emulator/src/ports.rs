//! The ports of one host, as the kernel and docker see them.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Protocol;

/// A port of a host, with its protocol: TCP and UDP ports are different things.
pub(crate) type HostPort = (u16, WireProtocol);

/// [`Protocol`] with an order, to be part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WireProtocol {
    Tcp,
    Udp,
}

impl From<Protocol> for WireProtocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

/// Which task holds which port.
///
/// A port is free again the moment its task's processes are gone, and the lowest free one goes
/// to the next task. Real hosts do the same, and that is what makes a stale address dangerous:
/// another service answers there.
#[derive(Debug)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
    held: BTreeMap<HostPort, u64>,
}

impl Ports {
    /// All ports free; dynamic ones are chosen from `first` to `last`, both included.
    pub(crate) fn new((first, last): (u16, u16)) -> Self {
        Self {
            first,
            last,
            held: BTreeMap::new(),
        }
    }

    /// Takes the lowest free dynamic ports that lie side by side and are not in `refused`, and
    /// says which is the first. `None` when there are none.
    pub(crate) fn take_range(
        &mut self,
        owner: u64,
        protocol: WireProtocol,
        count: u16,
        refused: &BTreeSet<u16>,
    ) -> Option<u16> {
        let free = |port| !refused.contains(&port) && !self.held.contains_key(&(port, protocol));
        let mut first = self.first;
        loop {
            let last = first.checked_add(count.checked_sub(1)?)?;
            if last > self.last {
                return None;
            }
            match (first..=last).rev().find(|port| !free(*port)) {
                None => {
                    for port in first..=last {
                        self.held.insert((port, protocol), owner);
                    }
                    return Some(first);
                }
                Some(taken) => first = taken.checked_add(1)?,
            }
        }
    }

    /// Takes one chosen port. False when another task holds it.
    pub(crate) fn take(&mut self, owner: u64, port: u16, protocol: WireProtocol) -> bool {
        *self.held.entry((port, protocol)).or_insert(owner) == owner
    }

    /// Whether nobody holds a port.
    pub(crate) fn is_free(&self, port: u16, protocol: WireProtocol) -> bool {
        !self.held.contains_key(&(port, protocol))
    }

    /// Frees all ports of a task.
    pub(crate) fn free(&mut self, owner: u64) {
        self.held.retain(|_, holder| *holder != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dynamic(ports: &mut Ports, owner: u64) -> Option<u16> {
        ports.take_range(owner, WireProtocol::Tcp, 1, &BTreeSet::new())
    }

    #[test]
    fn the_lowest_free_port_goes_first_and_a_freed_one_returns_at_once() {
        let mut ports = Ports::new((32768, 32770));
        assert_eq!(dynamic(&mut ports, 1), Some(32768));
        assert_eq!(dynamic(&mut ports, 2), Some(32769));
        ports.free(1);
        assert_eq!(dynamic(&mut ports, 3), Some(32768));
    }

    #[test]
    fn a_range_that_is_full_gives_nothing() {
        let mut ports = Ports::new((32768, 32768));
        assert_eq!(dynamic(&mut ports, 1), Some(32768));
        assert_eq!(dynamic(&mut ports, 2), None);
    }

    #[test]
    fn the_ports_of_a_range_lie_side_by_side() {
        let mut ports = Ports::new((32768, 32775));
        assert!(ports.take(1, 32770, WireProtocol::Tcp));
        let refused = BTreeSet::from([32772]);
        let mut take = |count| ports.take_range(2, WireProtocol::Tcp, count, &refused);
        assert_eq!(take(3), Some(32773));
        assert_eq!(take(2), Some(32768));
        assert_eq!(take(2), None);
        assert_eq!(take(1), Some(32771));
    }

    #[test]
    fn a_refused_port_is_passed_over_and_stays_free() {
        let mut ports = Ports::new((32768, 32770));
        let refused = BTreeSet::from([32768]);
        let taken = ports.take_range(1, WireProtocol::Tcp, 1, &refused);
        assert_eq!(taken, Some(32769));
        assert_eq!(dynamic(&mut ports, 2), Some(32768));
    }

    #[test]
    fn a_fixed_port_has_one_holder_for_each_protocol() {
        let mut ports = Ports::new((32768, 60999));
        assert!(ports.take(1, 80, WireProtocol::Tcp));
        assert!(!ports.take(2, 80, WireProtocol::Tcp));
        assert!(ports.take(2, 80, WireProtocol::Udp));
    }
}
