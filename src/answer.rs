//! An answer in the form it is served in, made once and served many times: the envelope's bytes and their `ETag`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

const START: &str = r#"{"error":null,"data":"#;
const END: &str = "}";
/// The bytes of an entity tag.
const ETAG: usize = 24;

/// The strong entity tag of these bytes, in its quotes.
///
/// 128 bits, so that no two answers share one by chance. Not a cryptographic hash, which would take longer than all else that
/// is done with the bytes: who can choose both texts could make them share a tag, and would have a client keep the older of two
/// texts of its own.
#[must_use]
pub fn etag_of(bytes: &[u8]) -> String {
    ["\"", &URL_SAFE_NO_PAD.encode(xxh3_128(bytes).to_be_bytes()), "\""].concat()
}

/// A success: `data`, wrapped in the envelope byte for byte. Clones share the bytes: one piece of memory for both, because that
/// of an answer which nobody asked for lately is in no processor's cache any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The envelope, and behind it its tag.
    bytes: Bytes,
}

impl Answer {
    /// Wraps `data`.
    #[must_use]
    pub fn new(data: &RawValue) -> Self {
        Self::of(&[START, data.get(), END].map(str::as_bytes))
    }

    fn of(envelope: &[&[u8]]) -> Self {
        let length: usize = envelope.iter().map(|part| part.len()).sum();
        let mut bytes = Vec::with_capacity(length + ETAG);
        for part in envelope {
            bytes.extend_from_slice(part);
        }
        let etag = etag_of(&bytes);
        bytes.extend_from_slice(etag.as_bytes());
        Self { bytes: bytes.into() }
    }

    /// The answer whose envelope these bytes are; `None` if they are not exactly one.
    #[must_use]
    pub fn from_envelope(envelope: &[u8]) -> Option<Self> {
        let data = envelope.strip_prefix(START.as_bytes())?.strip_suffix(END.as_bytes())?;
        serde_json::from_slice::<&RawValue>(data).ok()?;
        Some(Self::of(&[envelope]))
    }

    /// The `data` in it, as it came. Not as text, which would have to be looked at from end to end to be one.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.bytes.get(START.len()..self.length() - END.len()).unwrap_or_default()
    }

    /// The whole body.
    #[must_use]
    pub fn envelope(&self) -> Bytes {
        self.bytes.slice(..self.length())
    }

    /// The strong entity tag, in its quotes.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.bytes.get(self.length()..).and_then(|etag| std::str::from_utf8(etag).ok()).unwrap_or_default()
    }

    /// The same, to be shared and not copied.
    #[must_use]
    pub fn etag_bytes(&self) -> Bytes {
        self.bytes.slice(self.length()..)
    }

    /// What it takes in memory, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The envelope's, in bytes.
    fn length(&self) -> usize {
        self.bytes.len() - ETAG
    }
}

/// An answer, and how long ago it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The answer.
    pub answer: Answer,
    /// Its age.
    pub age: std::time::Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_wrapped_byte_for_byte_and_the_tag_follows_the_bytes() {
        let answer = |json: &str| Answer::new(&RawValue::from_string(json.to_owned()).unwrap());
        assert_eq!(answer(r#"{"b": 1e400}"#).envelope(), r#"{"error":null,"data":{"b": 1e400}}"#);
        assert_eq!(answer(r#"{"b": 1e400}"#).data(), br#"{"b": 1e400}"#);
        assert_eq!(answer("1").etag(), answer("1").etag());
        assert_ne!(answer("1").etag(), answer("1.0").etag());
        assert_eq!(answer("1").etag().len(), ETAG);
    }

    #[test]
    fn an_envelope_is_an_answer_again_and_nothing_else_is() {
        let answer = Answer::new(&RawValue::from_string(r#"{"b": 1e400}"#.to_owned()).unwrap());
        assert_eq!(Answer::from_envelope(&answer.envelope()), Some(answer.clone()));
        for other in
            ["", "{}", r#"{"error":null,"data":}"#, r#"{"error":null,"data":1}}"#, r#"{"error":null,"data":1,"b":2}"#]
        {
            assert_eq!(Answer::from_envelope(other.as_bytes()), None, "{other}");
        }
    }
}
