//! Sets of networks, searched in logarithmic time. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks, as ranges that do not touch, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(u128, u128)>);

impl Networks {
    /// These networks.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut ranges: Vec<(u128, u128)> = networks
            .into_iter()
            .map(|network| (number(network.network()), number(network.broadcast())))
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Whether an address is in one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after > 0 && address <= self.0[after - 1].1
    }
}

/// An address as a number; those of IPv4 have a place among those of IPv6 (RFC 4291 §2.5.5.2).
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Networks;

    #[test]
    fn an_address_is_found_in_networks_of_any_order_and_overlap() {
        let list = [
            "10.1.0.0/16",
            "192.0.2.7/32",
            "10.0.0.0/8",
            "2001:db8::/32",
            "172.16.0.0/13",
            "172.24.0.0/13",
        ];
        let networks = Networks::new(list.iter().map(|text| text.parse().expect("a network")));
        for (address, inside) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("9.255.255.255", false),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("2001:db8:1::1", true),
            ("2001:db9::", false),
            ("::ffff:10.2.3.4", true),
            ("::1", false),
        ] {
            let parsed: IpAddr = address.parse().expect("an address");
            assert_eq!(networks.contain(parsed), inside, "{address}");
        }
        assert!(!Networks::default().contain(IpAddr::from([10, 0, 0, 1])));
    }
}
