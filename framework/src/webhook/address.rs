//! Table of the IP addresses that are not public, however they are written.
//!
//! Of IPv6 only the global unicast block is public. An address that embeds an IPv4 address is
//! classified as that address. Addresses of obsolete tunnels (6to4, Teredo) are never public,
//! because no one operates them any more.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IANA's special-purpose address registry, and one address that only a cloud's own hosts can
/// reach.
const NOT_PUBLIC_V4: [(Ipv4Net, &str); 17] = [
    (v4([0, 0, 0, 0], 8), "this network"),
    (v4([10, 0, 0, 0], 8), "a private network"),
    (v4([100, 64, 0, 0], 10), "a carrier's network"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([168, 63, 129, 16], 32), "a cloud's metadata"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "a private network"),
    (v4([192, 0, 0, 0], 24), "reserved for protocols"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay"),
    (v4([192, 168, 0, 0], 16), "a private network"),
    (v4([198, 18, 0, 0], 15), "a benchmark's network"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// Networks with a name for the error message. Every other address outside of [`GLOBAL_V6`] is
/// refused too.
const NOT_PUBLIC_V6: [(Ipv6Net, &str); 9] = [
    (v6([0, 0, 0, 0], 1, 128), "loopback"),
    (v6([0, 0, 0, 0], 0, 128), "unspecified"),
    (v6([0xfc00, 0, 0, 0], 0, 7), "a private network"),
    (v6([0xfe80, 0, 0, 0], 0, 10), "link-local"),
    (v6([0xff00, 0, 0, 0], 0, 8), "multicast"),
    (v6([0x2001, 0, 0, 0], 0, 23), "reserved for protocols"),
    (v6([0x2001, 0xdb8, 0, 0], 0, 32), "documentation"),
    (v6([0x2002, 0, 0, 0], 0, 16), "a 6to4 tunnel"),
    (v6([0x3fff, 0, 0, 0], 0, 20), "documentation"),
];

const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 0, 3);

/// Prefix of IPv4 addresses in a network that only has IPv6 (RFC 6052).
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 0, 96);

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6([a, b, c, d]: [u16; 4], last: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, last), bits)
}

/// Returns the kind of the address if it is not public.
pub(super) fn not_public(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => not_public_v4(ip),
        IpAddr::V6(ip) if NAT64.contains(&ip) => {
            let [.., a, b, c, d] = ip.octets();
            not_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(ip) => {
            let named = NOT_PUBLIC_V6.iter().find(|(network, _)| network.contains(&ip));
            named.map(|(_, kind)| *kind).or((!GLOBAL_V6.contains(&ip)).then_some("reserved"))
        }
    }
}

fn not_public_v4(ip: Ipv4Addr) -> Option<&'static str> {
    NOT_PUBLIC_V4.iter().find(|(network, _)| network.contains(&ip)).map(|(_, kind)| *kind)
}

/// A range of IP addresses such as `10.0.0.0/8`, or a single address such as `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Returns true if the address is in the range. `::ffff:10.0.0.1` is the same address as
    /// `10.0.0.1`.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        Self(ip.into())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| format!("`{text}` is not a network such as 10.0.0.0/8"))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_that_is_not_public_is_known() {
        let private = "0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 \
            100.127.255.255 127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 \
            172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.0 \
            192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 \
            239.255.255.255 240.0.0.1 255.255.255.255 \
            :: ::1 ::2 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 \
            ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.1.2.3 64:ff9b::169.254.169.254 \
            64:ff9b:1::8.8.8.8 64:ff9b:0:1::1 100::1 2001::1 2001:0:7f00:1::1 2001:2::1 2001:10::1 \
            2001:20::1 2001:db8::1 2002:7f00:1::1 2002:a00:1::1 2002:808:808::1 3fff::1 4000::1 \
            5f00::1 fc00::1 fd00::1 fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 ffff::1";
        for ip in private.split_whitespace() {
            assert!(not_public(ip.parse().unwrap()).is_some(), "{ip} passed");
        }
    }

    #[test]
    fn public_addresses_pass_on_both_sides_of_each_range() {
        let public = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 \
            126.255.255.255 128.0.0.0 168.63.129.15 169.253.255.255 169.255.0.0 172.15.255.255 \
            172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 \
            2000::1 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700:4700::1111 2a00:1450::1 \
            3ffe::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8";
        for ip in public.split_whitespace() {
            assert_eq!(not_public(ip.parse().unwrap()), None, "{ip} was refused");
        }
    }

    #[test]
    fn a_network_is_a_range_or_a_single_address() {
        let within = |network: &str, ip: &str| {
            network.parse::<Network>().unwrap().contains(ip.parse().unwrap())
        };
        assert!(within("10.0.0.0/8", "10.1.2.3") && within("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(within("::1", "::1") && within("127.0.0.1", "127.0.0.1"));
        assert!(!within("127.0.0.1", "127.0.0.2") && !within("10.0.0.0/8", "64:ff9b::10.1.2.3"));
        assert!(
            "localhost".parse::<Network>().is_err() && "10.0.0.0/33".parse::<Network>().is_err()
        );
    }
}
