//! A second parser of request boundaries, by RFC 9112: where the server ends a request, this one must too.
//!
//! It accepts what the RFC permits: bare line feeds, blanks after a chunk size, any text in a trailer line.

/// Returns whether `bytes` are complete, unambiguously framed requests and nothing else.
pub fn are_whole_requests(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        // Empty lines before a request are ignored (section 2.2).
        while let Some(after) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = after;
        }
        if rest.is_empty() {
            return true;
        }
        match behind_request(rest) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
}

fn behind_request(bytes: &[u8]) -> Option<&[u8]> {
    let (request_line, mut rest) = line(bytes)?;
    let [method, target, version] = request_line.split(|byte| *byte == b' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let current = version == b"HTTP/1.1";
    let is_target = !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    if !is_token(method) || !is_target || !(current || version == b"HTTP/1.0") || method == b"CONNECT" {
        return None;
    }
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
    loop {
        let header;
        (header, rest) = line(rest)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = field(header)?;
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts += 1,
            b"content-length" => lengths.push(value),
            b"transfer-encoding" => codings.push(value),
            _ => {}
        }
    }
    if hosts > 1 || hosts == 0 && current {
        return None;
    }
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(rest),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => rest.get(number(length, 10)?..),
        ([], [coding]) if current && coding.eq_ignore_ascii_case(b"chunked") => behind_chunks(rest),
        _ => None,
    }
}

fn behind_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (of_chunk, data) = line(rest)?;
        let digits = of_chunk.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = of_chunk.split_at(digits);
        let extension = extension.trim_ascii_start();
        if !(extension.is_empty() || extension.starts_with(b";")) {
            return None;
        }
        match number(size, 16)? {
            0 => {
                rest = data;
                break;
            }
            size => rest = data.get(size..)?.strip_prefix(b"\r\n")?,
        }
    }
    loop {
        let trailer;
        (trailer, rest) = line(rest)?;
        if trailer.is_empty() {
            return Some(rest);
        }
    }
}

/// Splits off the first line, without its end; `None` if it has control characters.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at(end);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let may_be = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
    line.iter().all(may_be).then_some((line, &rest[1..]))
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
    is_token(name).then_some((name, value[1..].trim_ascii()))
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn number(digits: &[u8], radix: u32) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[test]
fn whole_requests_are_recognised() {
    let post = "POST / HTTP/1.1\r\nHost: t\r\n";
    for whole in [
        String::new(),
        "\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\nGET / HTTP/1.0\r\n\r\n".to_owned(),
        format!("{post}X: y\n\r\n"),
        format!("{post}Content-Length: 3\r\n\r\nabc"),
        format!("{post}Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"),
    ] {
        assert!(are_whole_requests(whole.as_bytes()), "{whole}");
    }
    for other in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: t\r\nX : y\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n".to_owned(),
        format!("{post}Content-Length: 3\r\n\r\nab"),
        format!("{post}Content-Length: 3\r\n\r\nabcd"),
        format!("{post}Content-Length: +3\r\n\r\nabc"),
        format!("{post}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        format!("{post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n"),
    ] {
        assert!(!are_whole_requests(other.as_bytes()), "{other}");
    }
}
