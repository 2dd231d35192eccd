//! Requires exactly one valid `Host` (RFC 9112 section 3.2).
//!
//! It equals the authority of an absolute-form target.
//!
//! A proxy in front may route by `Host`, and must not read another one than the server.

use std::net::Ipv6Addr;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::HOST;
use actix_web::web;

use super::loopback_host::DevHost;
use crate::response::ApiError;

/// Checks `Host`, and with `dev` that it is local.
pub(super) fn check(request: &ServiceRequest) -> Result<(), ApiError> {
    match request.app_data::<web::Data<DevHost>>() {
        _ if !names_one_host(request) => Err(ApiError::bad_request("Host must name one host.")),
        Some(dev_host) if !dev_host.is_named_by(request.headers()) => {
            Err(ApiError::bad_request("Host must be localhost, or an address that the server printed."))
        }
        _ => Ok(()),
    }
}

fn names_one_host(request: &ServiceRequest) -> bool {
    let mut hosts = request.headers().get_all(HOST);
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        // actix-web accepts no `Host` with HTTP/1.0 only.
        return request.headers().get(HOST).is_none() && request.uri().authority().is_none();
    };
    let uri = request.uri();
    host.to_str().is_ok_and(|host| parse_host(host).is_some())
        && uri.authority().is_none_or(|authority| authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
        && matches!(uri.scheme_str(), None | Some("http" | "https"))
}

/// Parses one name or address, and returns it with its port. An IPv6 address has its brackets.
///
/// The third form of RFC 3986, `IPvFuture`, is rejected: no such address exists.
pub(super) fn parse_host(value: &str) -> Option<(&str, &str)> {
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let end = value.rfind(']').map_or_else(|| value.find(':').unwrap_or(value.len()), |bracket| bracket + 1);
    let (host, port) = value.split_at_checked(end)?;
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte));
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = address.map_or(is_name, |address| address.parse::<Ipv6Addr>().is_ok());
    let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
    (is_host && port.bytes().all(is_digit)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn host_is_one_name_or_address() {
        for host in ["t", "a-b.example", "t:80", "t:", "127.0.0.1:1", "[::1]", "[::1]:80"] {
            assert!(parse_host(host).is_some(), "{host}");
        }
        for host in [
            "",
            " ",
            "a,b",
            "a, b",
            "u@t",
            "u:p@t",
            "t/p",
            "http://t",
            "t:80:80",
            "t:x",
            "t?q",
            "t#f",
            "[::1",
            "::1",
            "[]",
            ":80",
            "[::1]80",
            "[::1]:x",
            "[::1]:80]",
            "[[::1]]",
            "[a]",
            "[v1.a]",
            "[fe80::1%25eth0]",
            "a[b]",
            "t::80",
            "t:+80",
            "t%41",
        ] {
            assert!(parse_host(host).is_none(), "{host}");
        }
    }

    #[test]
    fn absolute_target_must_name_the_host() {
        let agree = |target: &str, host: &str| {
            names_one_host(&TestRequest::with_uri(target).insert_header((HOST, host)).to_srv_request())
        };
        assert!(agree("/a", "t") && agree("http://t/a", "T") && agree("https://t:1/a", "t:1"));
        for target in ["http://evil/a", "http://t:1/a", "http://u@t/a", "ftp://t/a"] {
            assert!(!agree(target, "t"), "{target}");
        }
        let two = TestRequest::with_uri("/a").append_header((HOST, "t")).append_header((HOST, "t")).to_srv_request();
        assert!(!names_one_host(&two));
        assert!(names_one_host(&TestRequest::with_uri("/a").to_srv_request()));
        assert!(!names_one_host(&TestRequest::with_uri("http://t/a").to_srv_request()));
    }
}
