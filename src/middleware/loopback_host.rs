//! Local names and addresses, to which `dev` limits `Host` against DNS rebinding.
//!
//! An attacker's name can resolve to 127.0.0.1, but the browser still sends that name as `Host`.

use std::net::IpAddr;

use actix_web::http::header::{HOST, HeaderMap};

use super::host::parse_host;

/// The address beside loopback that requests may name.
pub(crate) struct DevHost(pub IpAddr);

impl DevHost {
    /// Returns whether `Host` is local. [`host`](super::host) admits one at most.
    pub(super) fn is_named_by(&self, headers: &HeaderMap) -> bool {
        is_local(headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(), self.0)
    }
}

/// Returns whether `authority` (a `Host`, with or without a port) names loopback, or the address `listen`.
///
/// The port is not compared, because tunnels and published ports of containers change it. A listener on all addresses accepts
/// all IP addresses.
pub(crate) fn is_local(authority: &str, listen: IpAddr) -> bool {
    parse_host(authority).is_some_and(|(host, _)| names_local(host, listen))
}

/// Returns whether `origin` is that of a page of the same server.
///
/// It has one of the server's local names, and the port of `host`.
pub(crate) fn is_same_origin(origin: &str, host: &str, listen: IpAddr) -> bool {
    let origin = origin.strip_prefix("http://").and_then(parse_host);
    let port_of = |(_, port): (&str, &str)| port.parse().unwrap_or(80_u16);
    origin.is_some_and(|origin| names_local(origin.0, listen) && Some(port_of(origin)) == parse_host(host).map(port_of))
}

fn names_local(host: &str, listen: IpAddr) -> bool {
    let name = host.trim_matches(['[', ']']).to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback() || ip == listen || listen.is_unspecified(),
        // RFC 6761 section 6.3.
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn foreign_host_is_not_local() {
        for host in [
            "localhost",
            "LOCALHOST:8081",
            "app.localhost:3000",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.255.0.9:8080",
            "[::1]",
            "[::1]:8081",
            "[::ffff:127.0.0.1]:8081",
        ] {
            assert!(is_local(host, LOOPBACK), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-localhost",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost/x",
            "localhost?x",
            "localhost#x",
            "localhost\\x",
            "localhost:x",
            "localhost, evil.example",
            "0.0.0.0:8081",
            "[::]",
            "192.0.2.1:8081",
            "128.0.0.1",
        ] {
            assert!(!is_local(host, LOOPBACK), "{host}");
        }
    }

    #[test]
    fn listen_address_is_local() {
        assert!(is_local("192.0.2.1:8081", "192.0.2.1".parse().unwrap()));
        assert!(!is_local("192.0.2.2:8081", "192.0.2.1".parse().unwrap()));
        for listen in ["0.0.0.0", "::"] {
            let listen = listen.parse().unwrap();
            assert!(is_local("192.0.2.2", listen) && is_local("[2001:db8::1]:1", listen));
            assert!(!is_local("evil.example", listen) && !is_local("sandbox:8081", listen));
        }
    }

    #[test]
    fn foreign_origin_is_not_the_own_one() {
        for origin in ["http://localhost:8081", "http://127.0.0.1:8081", "http://[::1]:8081"] {
            assert!(is_same_origin(origin, "127.0.0.1:8081", LOOPBACK), "{origin}");
        }
        assert!(is_same_origin("http://localhost", "127.0.0.1:80", LOOPBACK));
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://evil.example:8081",
            "https://localhost:8081",
            "http://localhost:3000",
            "http://localhost",
            "http://localhost:8081/x",
            "file://",
        ] {
            assert!(!is_same_origin(origin, "127.0.0.1:8081", LOOPBACK), "{origin}");
        }
        assert!(!is_same_origin("http://localhost:8081", "evil.example:8081 x", LOOPBACK));
    }
}
