//! Which address a request came from, where proxies stand in between. Knows no HTTP framework.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// The networks whose `X-Forwarded-For` is believed (`APP_SERVER__TRUSTED_PROXIES`); none by default.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(pub Vec<IpNet>);

/// The address that a request came from, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl TrustedProxies {
    /// The right-most address that is not a trusted proxy: each trusted hop says who came to it, and what stands further to
    /// the left may have been written by the client itself.
    ///
    /// `peer` is the other end of the connection, `forwarded` the values of all `X-Forwarded-For` lines in their order.
    pub fn client<'a>(&self, peer: Option<IpAddr>, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> ClientAddress {
        let mut client = peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_canonical();
        let hops = forwarded.rev().flat_map(|line| line.rsplit(',')).map(str::trim);
        for hop in hops {
            let (true, Ok(address)) = (self.trusts(client), hop.parse::<IpAddr>()) else {
                break;
            };
            client = address.to_canonical();
        }
        ClientAddress(client)
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_hops_are_believed_and_only_up_to_the_first_that_is_not() {
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
        ] {
            let client = proxies.client(Some(peer.parse().unwrap()), forwarded.iter().copied());
            assert_eq!(client, ClientAddress(expected.parse().unwrap()), "{peer} {forwarded:?}");
        }
        assert_eq!(
            TrustedProxies::default().client(None, ["1.1.1.1"].into_iter()),
            ClientAddress(Ipv4Addr::UNSPECIFIED.into())
        );
    }
}
