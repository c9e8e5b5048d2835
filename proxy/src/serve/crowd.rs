//! How many client connections there may be: in all, and from one address. Looked at once for each
//! connection, and only where there is a limit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::request::answer::Reason;

/// Parts of the table, so that workers that accept at the same time seldom wait for each other.
const PARTS: usize = 32;

/// Limits on client connections; none: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// In all.
    pub all: Option<usize>,
    /// From one address, or one network of 64 bits of IPv6: whoever has one has all of it.
    pub per_source: Option<u32>,
}

/// The open connections of each address, while there is a limit.
#[derive(Debug, Default)]
pub(crate) struct Crowd([Mutex<HashMap<IpAddr, u32>>; PARTS]);

/// A connection in the count of its address; gone when dropped.
#[derive(Debug)]
pub(crate) struct Place<'c> {
    crowd: &'c Crowd,
    source: Option<IpAddr>,
}

impl Crowd {
    /// A place for one more connection from there; `open` counts it already.
    pub(crate) fn enter(
        &self,
        limits: ConnectionLimits,
        open: usize,
        source: IpAddr,
    ) -> Result<Place<'_>, Reason> {
        if limits.all.is_some_and(|most| open > most) {
            return Err(Reason::ConnectionLimit);
        }
        let Some(most) = limits.per_source else {
            let crowd = self;
            return Ok(Place {
                crowd,
                source: None,
            });
        };
        let source = network(source);
        let mut part = self.part(source);
        let count = part.entry(source).or_insert(0);
        if *count >= most {
            return Err(Reason::SourceConnectionLimit);
        }
        *count += 1;
        drop(part);
        Ok(Place {
            crowd: self,
            source: Some(source),
        })
    }

    fn part(&self, source: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u32>> {
        let last = match source {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[7],
        };
        let part = &self.0[usize::from(last) % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(source) = self.source else {
            return;
        };
        let mut part = self.crowd.part(source);
        if let Some(count) = part.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                part.remove(&source);
            }
        }
    }
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{ConnectionLimits, Crowd};
    use crate::request::answer::Reason;

    #[test]
    fn an_address_has_so_many_connections_and_others_have_theirs() {
        let crowd = Crowd::default();
        let limits = ConnectionLimits {
            all: Some(10),
            per_source: Some(2),
        };
        let from = |text: &str| text.parse::<IpAddr>().expect("an address");
        let enter = |text: &str| crowd.enter(limits, 1, from(text));
        let first = enter("192.0.2.1").expect("room");
        let _second = enter("::ffff:192.0.2.1").expect("room");
        assert_eq!(
            enter("192.0.2.1").err(),
            Some(Reason::SourceConnectionLimit)
        );
        let _other = enter("192.0.2.2").expect("room for another");
        drop(first);
        let _again = enter("192.0.2.1").expect("room again");
        let _six = enter("2001:db8::1").expect("room");
        let _seven = enter("2001:db8::2").expect("room");
        assert_eq!(
            enter("2001:db8::3").err(),
            Some(Reason::SourceConnectionLimit)
        );
        let _beside = enter("2001:db8:0:1::3").expect("another network");
        let full = crowd.enter(limits, 11, from("192.0.2.9"));
        assert_eq!(full.err(), Some(Reason::ConnectionLimit));
    }
}
