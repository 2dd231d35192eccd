//! An entry of a response cache: a serialised success envelope and the time it arrived.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

const START: &str = r#"{"error":null,"data":"#;
const END: &str = "}";

/// Returns the strong entity tag of `bytes`, with its quotes.
///
/// 128 bits make accidental collisions negligible. The hash is not cryptographic: an author of two texts can make them
/// collide, which misleads the readers of these two texts only.
fn etag_of(bytes: &[u8]) -> String {
    ["\"", &URL_SAFE_NO_PAD.encode(xxh3_128(bytes).to_be_bytes()), "\""].concat()
}

/// A success envelope and its entity tag, serialised once. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    bytes: Bytes,
    etag: Bytes,
}

impl Envelope {
    /// Wraps `data` byte for byte.
    #[must_use]
    pub fn new(data: &RawValue) -> Self {
        Self::with_etag([START, data.get(), END].concat().into())
    }

    fn with_etag(bytes: Bytes) -> Self {
        Self { etag: etag_of(&bytes).into(), bytes }
    }

    /// Parses the result of [`Envelope::bytes`]; `None` if `bytes` is anything else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let data = bytes.strip_prefix(START.as_bytes())?.strip_suffix(END.as_bytes())?;
        serde_json::from_slice::<&RawValue>(data).ok()?;
        Some(Self::with_etag(Bytes::copy_from_slice(bytes)))
    }

    /// Returns the `data` member as it came. Bytes need no validation, unlike a `str`.
    pub(crate) fn data(&self) -> &[u8] {
        self.bytes.get(START.len()..self.bytes.len() - END.len()).unwrap_or_default()
    }

    /// Returns the whole body.
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Returns the strong entity tag, with its quotes.
    pub(crate) fn etag(&self) -> &str {
        std::str::from_utf8(&self.etag).unwrap_or_default()
    }

    /// Returns the strong entity tag as shared bytes.
    pub(crate) fn etag_bytes(&self) -> Bytes {
        self.etag.clone()
    }

    /// Returns its size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.etag.len()
    }
}

/// An envelope and the time it arrived. Wall-clock changes do not affect its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResponse {
    /// The envelope.
    pub envelope: Envelope,
    arrived: Instant,
}

impl CachedResponse {
    /// Creates a response that arrived `age` ago.
    pub(super) fn with_age(envelope: Envelope, age: Duration) -> Self {
        let now = Instant::now();
        Self { envelope, arrived: now.checked_sub(age).unwrap_or(now) }
    }

    /// Returns the time since it arrived.
    pub(crate) fn age(&self) -> Duration {
        self.arrived.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(json: &str) -> Envelope {
        Envelope::new(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn envelope_wraps_data_byte_for_byte() {
        assert_eq!(envelope(r#"{"b": 1e400}"#).bytes(), r#"{"error":null,"data":{"b": 1e400}}"#);
        assert_eq!(envelope(r#"{"b": 1e400}"#).data(), br#"{"b": 1e400}"#);
    }

    #[test]
    fn etag_follows_the_bytes() {
        assert_eq!(envelope("1").etag(), envelope("1").etag());
        assert_ne!(envelope("1").etag(), envelope("1.0").etag());
        assert_eq!(envelope("1").etag().len(), 24);
    }

    #[test]
    fn envelope_is_read_from_its_bytes_and_from_nothing_else() {
        let whole = envelope(r#"{"b": 1e400}"#);
        assert_eq!(Envelope::from_bytes(&whole.bytes()), Some(whole.clone()));
        for other in
            ["", "{}", r#"{"error":null,"data":}"#, r#"{"error":null,"data":1}}"#, r#"{"error":null,"data":1,"b":2}"#]
        {
            assert_eq!(Envelope::from_bytes(other.as_bytes()), None, "{other}");
        }
    }
}
