//! Which host a request names, and that it names one. It knows no more of a request than its first line and its `Host`.

use memchr::{memchr, memmem};

/// Whether a `Host` is a name or an address, with or without a port, and nothing else: no user, no path, no second name. The
/// server goes by no `Host`; but a proxy before it or a log behind it may, and read it otherwise.
pub(super) fn is_one_host(value: &[u8]) -> bool {
    let is_port = |rest: &[u8]| match rest.strip_prefix(b":") {
        Some(port) => port.iter().all(u8::is_ascii_digit),
        None => rest.is_empty(),
    };
    if let Some(address) = value.strip_prefix(b"[") {
        let end = memchr(b']', address).unwrap_or(0);
        let (address, rest) = address.split_at(end);
        let is_address = !address.is_empty() && address.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte));
        return is_address && rest.strip_prefix(b"]").is_some_and(is_port);
    }
    let (name, rest) = value.split_at(memchr(b':', value).unwrap_or(value.len()));
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) && is_port(rest)
}

/// The host in a request line whose target is a whole URL, `None` for any other. A URL that is not of the web names no host, so
/// that no `Host` is the same one.
pub(super) fn in_target(request_line: &[u8]) -> Option<&[u8]> {
    let target = request_line.split(|byte| *byte == b' ').nth(1)?;
    if target.starts_with(b"/") {
        return None;
    }
    let scheme = memmem::find(target, b"://")?;
    let (scheme, rest) = target.split_at(scheme);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Some(b"");
    }
    rest.get(3..)?.split(|byte| b"/?#".contains(byte)).next()
}
