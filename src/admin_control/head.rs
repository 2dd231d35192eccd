//! Parses the head of a response strictly, to find where its body ends.

use std::io;
use std::mem::MaybeUninit;

use httparse::{ParserConfig, Response, Status};

/// The longest response head, and the limit on interim responses before it, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The number of header lines that awc reads.
const MAX_HEADERS: usize = 96;

/// The start of the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A part of a head.
    Incomplete,
    /// An interim response (1xx), with its length in bytes. Another response follows.
    Interim(usize),
    /// The head of the final response, with its length in bytes.
    Final(usize, Body),
}

/// The way in which the end of a body is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// By the `Content-Length`; `bytes` are missing.
    Length { bytes: usize, is_reusable: bool },
    /// By awc (chunked) or the end of the connection, or there is no body. The connection is not reused.
    Other,
}

/// Parses the head at the start of `bytes`.
///
/// # Errors
///
/// If it is not an HTTP/1 head, too long, framed in two ways, or has a line that parsers interpret differently.
pub(super) fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() <= MAX_HEAD => return Ok(Head::Incomplete),
        Ok(Status::Partial) => return Err(invalid("the response head is too long")),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let head = bytes.get(..length).unwrap_or_default();
    if head.starts_with(b"\n") || head.windows(2).any(|pair| pair.ends_with(b"\n") && pair != b"\r\n") {
        return Err(invalid("a line of the response head ends without CR"));
    }
    // 101 is not an interim response: another protocol follows.
    if matches!(response.code, Some(100 | 102..=199)) {
        return Ok(Head::Interim(length));
    }
    Ok(Head::Final(length, body(&response)?))
}

/// Finds the framing of the body.
fn body(response: &Response<'_, '_>) -> io::Result<Body> {
    let values = |name: &'static str| {
        response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let mut lengths = values("content-length");
    let has_encoding = values("transfer-encoding").next().is_some();
    let bytes = match (lengths.next(), lengths.next()) {
        (None, _) => return Ok(Body::Other),
        (Some(length), None) if !has_encoding => {
            parse_length(length).ok_or_else(|| invalid("Content-Length is no number"))?
        }
        _ => return Err(invalid("the response is framed in two ways")),
    };
    // These statuses have no body, whatever length is announced.
    if matches!(response.code, Some(101 | 204 | 205 | 304)) {
        return Ok(Body::Other);
    }
    let is_kept_alive = values("connection").all(|value| value.trim_ascii().eq_ignore_ascii_case(b"keep-alive"));
    let is_reusable = response.version == Some(1) && is_kept_alive && values("upgrade").next().is_none();
    Ok(Body::Length { bytes, is_reusable })
}

/// Parses digits only: `usize` accepts a sign.
fn parse_length(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub(super) fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses the head with another one behind it. Returns `None` for an interim response.
    fn body_of(head: &str) -> Option<Body> {
        let head = format!("{head}\r\n\r\n");
        let (length, body) = match parse_head(format!("{head}HTTP/1.1 200 OK\r\n\r\n").as_bytes()).unwrap() {
            Head::Incomplete => panic!("{head} is complete"),
            Head::Interim(length) => (length, None),
            Head::Final(length, body) => (length, Some(body)),
        };
        assert_eq!(length, head.len(), "{head}");
        body
    }

    fn assert_rejected(bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        assert_eq!(parse_head(bytes).unwrap_err().kind(), io::ErrorKind::InvalidData, "{}", bytes.escape_ascii());
    }

    #[test]
    fn plain_length_is_reusable() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5",
            "HTTP/1.1 500 Oops\r\ncontent-length:  5 \r\nX: y",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=5",
        ] {
            assert_eq!(body_of(head), Some(Body::Length { bytes: 5, is_reusable: true }), "{head}");
        }
    }

    #[test]
    fn length_is_not_reusable_if_anything_says_so() {
        for head in [
            "HTTP/1.0 200 OK\r\nContent-Length: 5",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nConnection: close",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive, upgrade",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nUpgrade: h2c",
        ] {
            assert_eq!(body_of(head), Some(Body::Length { bytes: 5, is_reusable: false }), "{head}");
        }
    }

    #[test]
    fn response_without_length_or_body_is_not_measured() {
        for head in ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "HTTP/1.1 200 OK\r\nX: y"] {
            assert_eq!(body_of(head), Some(Body::Other), "{head}");
        }
        for status in [101, 204, 205, 304] {
            assert_eq!(body_of(&format!("HTTP/1.1 {status} X\r\nContent-Length: 5")), Some(Body::Other), "{status}");
        }
    }

    #[test]
    fn interim_response_is_distinguished_from_the_final_one() {
        for code in [100, 102, 103, 199] {
            assert_eq!(body_of(&format!("HTTP/1.1 {code} X\r\nLink: </x>")), None, "{code}");
        }
    }

    #[test]
    fn response_framed_in_two_ways_is_rejected() {
        for headers in [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
        ] {
            assert_rejected(format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"));
        }
    }

    #[test]
    fn lone_line_feed_in_a_head_is_rejected_but_not_behind_it() {
        for text in [
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\n",
            "\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ] {
            assert_rejected(text);
        }
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n\n\n").unwrap(), Head::Final(19, Body::Other));
    }

    #[test]
    fn partial_head_is_awaited_up_to_its_limit() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        for length in 0..text.len() {
            assert_eq!(parse_head(&text[..length]).unwrap(), Head::Incomplete, "{length}");
        }
        assert_rejected([b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &b"y".repeat(MAX_HEAD)].concat());
        assert_rejected([b"HTTP/1.1 200 OK\r\n".as_slice(), &b"X: y\r\n".repeat(MAX_HEADERS + 1)].concat());
        assert_rejected("SSH-2.0-x\r\n\r\n");
        assert_rejected("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello");
    }
}
