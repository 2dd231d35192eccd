//! Where one answer of Admin Control begins and ends, as far as a connection must know it. Knows bytes, and no socket.
//!
//! awc reads answers; this only watches, for two things that awc has no idea of: interim responses, which are dropped here,
//! and whether a connection has nothing left on it that could be taken for the answer to another call.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use httparse::{ParserConfig, Response, Status};

/// The longest head, in bytes; and the most that interim responses before it may take.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// As many header lines as awc reads.
const MAX_HEADERS: usize = 96;

/// What the first bytes of an answer are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A head that goes on, as far as it is here.
    Incomplete,
    /// Longer than any head should be, with a line that two readers read differently, or none at all. awc reads some of these
    /// (a blank before a colon), and would take what follows for a body that nobody has measured.
    Refused,
    /// So many bytes of responses that announce another one (1xx).
    Interim(usize),
    /// The head of the answer, in so many bytes.
    Final(usize, Body),
}

/// How an answer's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes, beyond doubt, and the connection goes on after it.
    Exactly(usize),
    /// In another way, or the connection ends with it.
    Otherwise,
}

/// Looks at what has been read so far. `scanned` is how much of it is known to hold no end of a head; kept between calls, so
/// that a head that comes byte by byte is not read from its beginning each time.
pub(super) fn head(bytes: &[u8], scanned: &mut usize) -> Head {
    let from = scanned.saturating_sub(3);
    let ends = bytes.get(from..).is_some_and(|new| {
        let blank_line = |line: &[u8]| line == b"\n\n" || line == b"\n\r";
        new.windows(2).any(blank_line)
    });
    *scanned = bytes.len();
    if !ends {
        return if bytes.len() > MAX_HEAD { Head::Refused } else { Head::Incomplete };
    }
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let length = match ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers) {
        Ok(Status::Complete(length)) => length,
        // The blank line's own end is still to come.
        Ok(Status::Partial) if bytes.len() <= MAX_HEAD => {
            *scanned = from;
            return Head::Incomplete;
        }
        Ok(Status::Partial) | Err(_) => return Head::Refused,
    };
    if !ends_each_line_in_full(bytes.get(..length).unwrap_or_default()) {
        return Head::Refused;
    }
    match response.code {
        // 101 is no interim response: what follows it is another protocol.
        Some(100 | 102..=199) => Head::Interim(length),
        Some(code) => Head::Final(length, body(code, &response)),
        None => Head::Refused,
    }
}

/// Whether no line feed stands alone.
fn ends_each_line_in_full(head: &[u8]) -> bool {
    head.split_inclusive(|byte| *byte == b'\n').all(|line| line.ends_with(b"\r\n"))
}

/// Says at the end of the head in the first `length` bytes that the connection ends with this answer. awc would keep it open
/// until the next call otherwise, for a use that never comes.
pub(super) fn announce_the_end(bytes: &mut BytesMut, length: usize) {
    let rest = bytes.split_off(length.saturating_sub(b"\r\n".len()));
    bytes.extend_from_slice(b"Connection: close\r\n");
    bytes.unsplit(rest);
}

fn body(code: u16, response: &Response<'_, '_>) -> Body {
    let without_body = matches!(code, 101 | 204 | 205 | 304);
    if without_body || response.version != Some(1) {
        return Body::Otherwise;
    }
    let mut length = None;
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if is("content-length") {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            match value.parse() {
                Ok(announced) if digits && length.is_none() => length = Some(announced),
                _ => return Body::Otherwise,
            }
        }
        if is("transfer-encoding") || is("upgrade") || (is("connection") && !value.eq_ignore_ascii_case("keep-alive")) {
            return Body::Otherwise;
        }
    }
    length.map_or(Body::Otherwise, Body::Exactly)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Head {
        head(text.as_bytes(), &mut 0)
    }

    #[test]
    fn only_a_plain_length_leaves_a_connection_that_can_be_used_again() {
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(plain), Head::Final(plain.len(), Body::Exactly(5)));
        let kept = "HTTP/1.1 404 Not Found\r\nCONTENT-LENGTH: 0\r\nConnection: Keep-Alive\r\n\r\nx";
        assert_eq!(read(kept), Head::Final(kept.len() - 1, Body::Exactly(0)));
        for headers in [
            "",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nConnection: close\r\n",
            "Content-Length: 5\r\nConnection: keep-alive, close\r\n",
            "Content-Length: 5\r\nUpgrade: h2c\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            assert_eq!(read(&text), Head::Final(text.len(), Body::Otherwise), "{headers}");
        }
        for status in ["HTTP/1.0 200 OK", "HTTP/1.1 204 None", "HTTP/1.1 304 Same", "HTTP/1.1 101 Other"] {
            let text = format!("{status}\r\nContent-Length: 5\r\n\r\n");
            assert_eq!(read(&text), Head::Final(text.len(), Body::Otherwise), "{status}");
        }
    }

    #[test]
    fn interim_responses_are_told_from_answers() {
        for code in [100, 102, 103, 199] {
            let text = format!("HTTP/1.1 {code} X\r\nLink: </x>\r\n\r\n");
            assert_eq!(read(&format!("{text}HTTP/1.1 200 OK\r\n")), Head::Interim(text.len()), "{code}");
        }
    }

    #[test]
    fn a_line_feed_that_stands_alone_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\n",
        ] {
            assert_eq!(read(text), Head::Refused, "{text:?}");
        }
        let after = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(&format!("{after}\n\n\n\n\n")), Head::Final(after.len(), Body::Exactly(5)));
    }

    #[test]
    fn the_end_is_announced_last_of_all() {
        let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nbody");
        let length = bytes.len() - "body".len();
        announce_the_end(&mut bytes, length);
        assert_eq!(bytes, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\n\r\nbody");
    }

    #[test]
    fn a_head_may_come_byte_by_byte_but_not_for_ever() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let mut scanned = 0;
        for length in 0..text.len() {
            assert_eq!(head(&text[..length], &mut scanned), Head::Incomplete, "{length}");
        }
        assert_eq!(head(text, &mut scanned), Head::Final(text.len(), Body::Exactly(5)));
        let endless = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"X: y\r\n".repeat(MAX_HEAD / 6)].concat();
        assert_eq!(head(&endless, &mut 0), Head::Refused);
        assert_eq!(head(b"SSH-2.0-x\r\n\r\n", &mut 0), Head::Refused);
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", &mut 0), Head::Refused);
    }
}
