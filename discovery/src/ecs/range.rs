//! Ranges of ports, as ECS writes them: `8080-8085`.

use std::fmt;

/// Ports from a first to a last one, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// One port.
    #[must_use]
    pub fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// Reads what ECS writes. None: it is no range of ports.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        // `parse` alone would take a plus sign.
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|port| digits && *port > 0)
        };
        let (first, last): (u16, u16) = (number(first)?, number(last)?);
        (first <= last).then_some(Self { first, last })
    }

    /// The port, if there is only one.
    #[must_use]
    pub fn single(self) -> Option<u16> {
        (self.first == self.last).then_some(self.first)
    }

    /// How far a port is from the first one. None: it is not in the range.
    #[must_use]
    pub fn offset(self, port: u16) -> Option<u16> {
        let offset = port.checked_sub(self.first)?;
        (port <= self.last).then_some(offset)
    }

    /// The port so far from the first one. None: it is not in the range.
    #[must_use]
    pub fn at(self, offset: u16) -> Option<u16> {
        let port = self.first.checked_add(offset)?;
        (port <= self.last).then_some(port)
    }

    /// Whether two ranges have as many ports, so that one can lead to the other.
    #[must_use]
    pub fn fits(self, other: Self) -> bool {
        self.last - self.first == other.last - other.first
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(port) => write!(f, "{port}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_anything_else_is_not() {
        let range = PortRange::parse("8080-8085").expect("a range");
        assert_eq!(range.to_string(), "8080-8085");
        let one = PortRange::parse("80-80").expect("a range");
        assert_eq!((one.single(), one.to_string()), (Some(80), "80".to_owned()));
        for text in [
            "", "-", "80", "80-", "-80", "85-80", "0-5", "1-65536", "+1-2", " 1-2", "1-2-3", "a-b",
        ] {
            assert_eq!(PortRange::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_port_keeps_its_offset_from_one_range_to_the_other() {
        let inside = PortRange::parse("8080-8085").expect("a range");
        let outside = PortRange::parse("32780-32785").expect("a range");
        assert!(inside.fits(outside) && !inside.fits(PortRange::one(1)));
        let through = |port| inside.offset(port).and_then(|offset| outside.at(offset));
        assert_eq!(through(8080), Some(32780));
        assert_eq!(through(8085), Some(32785));
        assert_eq!((through(8079), through(8086)), (None, None));
        let last = PortRange::parse("65535-65535").expect("a range");
        assert_eq!(last.at(1), None);
    }
}
