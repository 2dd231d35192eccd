//! What a response cache holds: a success envelope in the form it is sent in, and when it arrived.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

const START: &str = r#"{"error":null,"data":"#;
const END: &str = "}";
/// The length of an entity tag in bytes.
const ETAG_LENGTH: usize = 24;

/// Returns the strong entity tag of `bytes`, with its quotes.
///
/// 128 bits: no collisions by chance. It is no cryptographic hash: an author of both texts could make them collide, and would
/// only mislead readers of these two texts.
#[must_use]
pub fn etag_of(bytes: &[u8]) -> String {
    ["\"", &URL_SAFE_NO_PAD.encode(xxh3_128(bytes).to_be_bytes()), "\""].concat()
}

/// A success envelope and its entity tag, serialised once. Clones share the bytes.
///
/// Both lie in one allocation, so that a response that was not read lately costs one cache miss of the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    bytes: Bytes,
}

impl Envelope {
    /// Wraps `data` byte for byte.
    #[must_use]
    pub fn new(data: &RawValue) -> Self {
        Self::from_parts(&[START, data.get(), END].map(str::as_bytes))
    }

    fn from_parts(envelope: &[&[u8]]) -> Self {
        let length: usize = envelope.iter().map(|part| part.len()).sum();
        let mut bytes = Vec::with_capacity(length + ETAG_LENGTH);
        for part in envelope {
            bytes.extend_from_slice(part);
        }
        let etag = etag_of(&bytes);
        bytes.extend_from_slice(etag.as_bytes());
        Self { bytes: bytes.into() }
    }

    /// Reads an envelope that [`Envelope::bytes`] gave; `None` if `bytes` is not exactly one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let data = bytes.strip_prefix(START.as_bytes())?.strip_suffix(END.as_bytes())?;
        serde_json::from_slice::<&RawValue>(data).ok()?;
        Some(Self::from_parts(&[bytes]))
    }

    /// Returns the `data` member as it came. As bytes: to be a `str`, it would have to be validated from end to end.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.bytes.get(START.len()..self.length() - END.len()).unwrap_or_default()
    }

    /// Returns the whole body.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.slice(..self.length())
    }

    /// Returns the strong entity tag, with its quotes.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.bytes.get(self.length()..).and_then(|etag| std::str::from_utf8(etag).ok()).unwrap_or_default()
    }

    /// Returns the strong entity tag as shared bytes.
    #[must_use]
    pub fn etag_bytes(&self) -> Bytes {
        self.bytes.slice(self.length()..)
    }

    /// Returns its size in memory, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn length(&self) -> usize {
        self.bytes.len() - ETAG_LENGTH
    }
}

/// An envelope and when it arrived, by the monotonic clock.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) envelope: Envelope,
    arrived: Instant,
}

impl Entry {
    /// An envelope that arrived `age` ago.
    pub(super) fn with_age(envelope: Envelope, age: Duration) -> Self {
        let now = Instant::now();
        Self { envelope, arrived: now.checked_sub(age).unwrap_or(now) }
    }

    pub(super) fn age(&self) -> Duration {
        self.arrived.elapsed()
    }

    pub(super) fn response(self) -> CachedResponse {
        CachedResponse { age: self.age(), envelope: self.envelope }
    }
}

/// An envelope and its age, as a caller gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResponse {
    /// The envelope.
    pub envelope: Envelope,
    /// The time since it arrived.
    pub age: Duration,
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
        assert_eq!(envelope("1").etag().len(), ETAG_LENGTH);
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
