//! What a line of trailers is. The parser skips them all and looks at none. It knows no more of a request.

use memchr::memchr;

/// Whether a line is a field: a name that is a token, a colon right behind it, and no control character in its value (RFC 9110
/// sections 5.1 and 5.5). Another reader could take anything else for something else.
pub(super) fn is_field(line: &[u8]) -> bool {
    let (name, value) = line.split_at(memchr(b':', line).unwrap_or(0));
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let may_be = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
    !name.is_empty() && name.iter().all(is_of_token) && value.iter().all(may_be)
}
