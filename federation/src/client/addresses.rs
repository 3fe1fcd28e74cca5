//! Which addresses are connected to. Names and redirects come from strangers; where they lead must
//! not be inside the house.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::Config;

/// Private, local and special networks.
const DENIED: [&str; 25] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

#[derive(Clone, Debug)]
pub(super) struct AddressRules {
    denied: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

impl AddressRules {
    pub(super) fn new(config: &Config) -> Self {
        let special = DENIED.iter().map(|net| net.parse().expect("the networks are written right"));
        Self {
            denied: special.chain(config.denied_addresses.iter().copied()).collect(),
            allowed: config.allowed_addresses.clone(),
        }
    }

    pub(super) fn allows(&self, address: IpAddr) -> bool {
        // `::ffff:127.0.0.1` and `::127.0.0.1` lead to where `127.0.0.1` does.
        let address = match address {
            IpAddr::V6(address) => match embedded(address) {
                Some(address) => IpAddr::V4(address),
                None => IpAddr::V6(address),
            },
            address => address,
        };
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        within(&self.allowed) || !within(&self.denied)
    }
}

fn embedded(address: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let low = |segments: [u16; 8]| (u32::from(segments[6]) << 16) | u32::from(segments[7]);
    let segments = address.segments();
    let compatible = segments[..6].iter().all(|part| *part == 0) && low(segments) > 1;
    address.to_ipv4_mapped().or_else(|| compatible.then(|| low(segments).into()))
}

#[cfg(test)]
mod tests {
    use super::AddressRules;
    use crate::Config;

    #[test]
    fn the_inside_is_not_connected_to_in_any_notation() {
        let rules = AddressRules::new(&Config::default());
        for denied in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fd00::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "ff02::1",
            "fec0::1",
            "2001:db8::1",
        ] {
            assert!(!rules.allows(denied.parse().expect("an address")), "{denied}");
        }
        for allowed in ["9.9.9.9", "172.32.0.1", "2620:fe::fe", "::ffff:9.9.9.9"] {
            assert!(rules.allows(allowed.parse().expect("an address")), "{allowed}");
        }
    }

    #[test]
    fn an_operator_may_open_a_network() {
        let config = Config {
            allowed_addresses: vec!["127.0.0.0/8".parse().expect("a network")],
            denied_addresses: vec!["9.9.9.0/24".parse().expect("a network")],
            ..Config::default()
        };
        let rules = AddressRules::new(&config);
        assert!(rules.allows("127.0.0.1".parse().expect("an address")));
        assert!(!rules.allows("10.0.0.1".parse().expect("an address")));
        assert!(!rules.allows("9.9.9.9".parse().expect("an address")));
    }
}
