//! The client's address behind proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The networks whose `X-Forwarded-For` is trusted (`APP_SERVER__TRUSTED_PROXIES`); none by default.
#[derive(Default)]
pub(crate) struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    /// Returns the right-most address that is not a trusted proxy. Addresses to its left may be forged.
    ///
    /// `forwarded` has the values of all `X-Forwarded-For` lines in their order.
    pub(crate) fn client<'a>(&self, peer: Option<IpAddr>, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_canonical();
        let hops = forwarded.rev().flat_map(|line| line.rsplit(',')).map(str::trim);
        for hop in hops {
            let (true, Some(address)) = (self.trusts(client), parse_hop(hop)) else {
                break;
            };
            client = address.to_canonical();
        }
        client
    }

    /// Returns whether the address is a trusted proxy's.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Parses an element of `X-Forwarded-For`: an address, which may have brackets and a port.
///
/// Azure Application Gateway adds the port. Zone ids are rejected: they name an interface of another machine.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    if hop.contains('%') {
        return None;
    }
    match hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => hop.parse().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip())).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_is_the_first_untrusted_hop_from_the_right() {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (peer, forwarded, expected) in [
            ("192.0.2.1", vec!["1.1.1.1"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", vec!["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", vec!["1.1.1.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", vec!["1.1.1.1", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", vec!["1.1.1.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", vec!["192.0.2.7, "], "10.0.0.1"),
            ("::ffff:10.0.0.1", vec!["::ffff:192.0.2.7"], "192.0.2.7"),
            ("fd00::1", vec!["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", vec!["203.0.113.77:51234"], "203.0.113.77"),
            ("10.0.0.1", vec!["1.1.1.1, 203.0.113.77:51234, 10.0.0.2:443"], "203.0.113.77"),
            ("10.0.0.1", vec!["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", vec!["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", vec!["[::ffff:192.0.2.7]:80"], "192.0.2.7"),
        ] {
            let client = proxies.client(Some(peer.parse().unwrap()), forwarded.iter().copied());
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
        assert_eq!(TrustedProxies::default().client(None, ["1.1.1.1"].into_iter()), IpAddr::from(Ipv4Addr::UNSPECIFIED));
    }

    #[test]
    fn invalid_hop_yields_the_proxys_address() {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        for hop in [
            "",
            "unknown",
            "_hidden",
            "192.0.2.7:",
            "192.0.2.7:http",
            "192.0.2.7:65536",
            "192.0.2.7:80:80",
            "192.0.2.7 80",
            "192.0.2.7/32",
            "192.0.2",
            "192.0.2.07",
            "0xc0000207",
            "[192.0.2.7]",
            "[192.0.2.7]:80",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]:",
            "[2001:db8::1]:65536",
            "[2001:db8::1]443",
            "[[2001:db8::1]]",
            "[]",
            "[]:80",
            ":80",
            "fe80::1%eth0",
            "fe80::1%1",
            "[fe80::1%1]",
            "[fe80::1%1]:443",
            "for=192.0.2.7",
            "for=\"[2001:db8::1]:443\"",
            "\"192.0.2.7\"",
            "\"[2001:db8::1]\"",
        ] {
            let client = proxies.client("10.0.0.1".parse().ok(), ["192.0.2.9", hop].into_iter());
            assert_eq!(client, "10.0.0.1".parse::<IpAddr>().unwrap(), "{hop}");
        }
    }
}
