//! How many client connections there may be: in all, from one address, and with how much memory.
//! Looked at once for each connection, and only where there is a limit; each request looks at how
//! short memory is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::control::memory::Pressure;
use crate::request::answer::Reason;

/// Parts of the table, so that workers that accept at the same time seldom wait for each other.
const PARTS: usize = 32;

/// Clients that are being told that there is no room, at the most. Others are not answered: what
/// is told to so many at once is an attack, and each holds a descriptor.
const TOLD_MAX: usize = 1024;

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
pub(crate) struct Crowd {
    parts: [Mutex<HashMap<IpAddr, u32>>; PARTS],
    told: AtomicUsize,
    /// How short of memory the process is: a [`Pressure`].
    pressure: AtomicU8,
}

/// A client that is being told that there is no room; gone when dropped.
#[derive(Debug)]
pub(crate) struct Told<'c>(&'c AtomicUsize);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's entry in the count of its address, to be given back with [`Crowd::leave`]. It
/// refers to nothing: every connection holds one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(Option<Box<IpAddr>>);

impl Crowd {
    /// A place for one more connection from there; `open` counts it already, and those that are
    /// being told as well.
    pub(crate) fn enter(
        &self,
        limits: ConnectionLimits,
        open: impl FnOnce() -> usize,
        source: IpAddr,
    ) -> Result<Place, Reason> {
        if self.pressure.load(Ordering::Relaxed) != Pressure::None as u8 {
            return Err(Reason::MemoryLimit);
        }
        let inside = || open().saturating_sub(self.told.load(Ordering::Relaxed));
        if limits.all.is_some_and(|most| inside() > most) {
            return Err(Reason::ConnectionLimit);
        }
        let Some(most) = limits.per_source else {
            return Ok(Place(None));
        };
        let source = network(source);
        let mut part = self.part(source);
        let count = part.entry(source).or_insert(0);
        if *count >= most {
            return Err(Reason::SourceConnectionLimit);
        }
        *count += 1;
        drop(part);
        Ok(Place(Some(Box::new(source))))
    }

    /// A connection is gone.
    pub(crate) fn leave(&self, Place(source): Place) {
        let Some(source) = source else {
            return;
        };
        let mut part = self.part(*source);
        if let Some(count) = part.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                part.remove(&source);
            }
        }
    }

    /// Whether there is no memory for another request.
    pub(crate) fn sheds_requests(&self) -> bool {
        self.pressure.load(Ordering::Relaxed) == Pressure::Critical as u8
    }

    /// How short of memory the process is, from now on.
    pub(crate) fn set_pressure(&self, pressure: Pressure) {
        if self.pressure.swap(pressure as u8, Ordering::Relaxed) == pressure as u8 {
            return;
        }
        match pressure {
            Pressure::None => tracing::info!("less memory than `runtime.max_memory` again"),
            Pressure::High => {
                tracing::warn!("more memory than `runtime.max_memory`: new connections are refused")
            }
            Pressure::Critical => tracing::error!(
                "an eighth more memory than `runtime.max_memory`: new requests are refused"
            ),
        }
    }

    /// Leave to tell a client that there is no room for it; none if too many are being told.
    pub(crate) fn tell(&self) -> Option<Told<'_>> {
        let told = Told(&self.told);
        (self.told.fetch_add(1, Ordering::Relaxed) < TOLD_MAX).then_some(told)
    }

    fn part(&self, source: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u32>> {
        let last = match source {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[7],
        };
        let part = &self.parts[usize::from(last) % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
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

    use super::{ConnectionLimits, Crowd, TOLD_MAX};
    use crate::request::answer::Reason;

    #[test]
    fn an_address_has_so_many_connections_and_others_have_theirs() {
        let crowd = Crowd::default();
        let limits = ConnectionLimits {
            all: Some(10),
            per_source: Some(2),
        };
        let from = |text: &str| text.parse::<IpAddr>().expect("an address");
        let enter = |text: &str| crowd.enter(limits, || 1, from(text));
        let first = enter("192.0.2.1").expect("room");
        let _second = enter("::ffff:192.0.2.1").expect("room");
        assert_eq!(
            enter("192.0.2.1").err(),
            Some(Reason::SourceConnectionLimit)
        );
        let _other = enter("192.0.2.2").expect("room for another");
        crowd.leave(first);
        let _again = enter("192.0.2.1").expect("room again");
        let _six = enter("2001:db8::1").expect("room");
        let _seven = enter("2001:db8::2").expect("room");
        assert_eq!(
            enter("2001:db8::3").err(),
            Some(Reason::SourceConnectionLimit)
        );
        let _beside = enter("2001:db8:0:1::3").expect("another network");
        let eleven = || crowd.enter(limits, || 11, from("192.0.2.9")).err();
        assert_eq!(eleven(), Some(Reason::ConnectionLimit));
        // Who is being told takes nobody's place, and their number has a bound.
        let mut told = vec![crowd.tell().expect("one may be told")];
        assert_eq!(eleven(), None);
        told.extend((1..TOLD_MAX).map(|_| crowd.tell().expect("within the bound")));
        assert!(crowd.tell().is_none());
        drop(told);
        assert!(crowd.tell().is_some());
        assert_eq!(eleven(), Some(Reason::ConnectionLimit));
    }
}
