//! What a sandbox was asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The bounds of a bounded record: requests, and their bytes.
const MAX_REQUESTS: usize = 1000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// One request that a sandbox got.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When, since the sandbox started.
    pub after: Duration,
    /// The method.
    pub method: String,
    /// Path and query as they came over the wire.
    pub target: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    pub(super) fn new(method: &str, target: &str, headers: impl Iterator<Item = (String, String)>, body: &[u8]) -> Self {
        Self {
            after: Duration::ZERO,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body: body.to_vec(),
        }
    }

    fn len(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>());
        self.method.len() + self.target.len() + self.body.len() + headers.sum::<usize>()
    }
}

/// The requests, in the order they arrived.
pub(super) struct Record {
    started: Instant,
    pub(super) asked: VecDeque<Asked>,
    pub(super) total: u64,
    /// The bytes of `asked`.
    bytes: usize,
    is_bounded: bool,
}

impl Record {
    pub(super) fn unbounded() -> Self {
        Self { started: Instant::now(), asked: VecDeque::new(), total: 0, bytes: 0, is_bounded: false }
    }

    pub(super) fn bounded() -> Self {
        Self { is_bounded: true, ..Self::unbounded() }
    }

    pub(super) fn add(&mut self, asked: Asked) {
        let asked = Asked { after: self.started.elapsed(), ..asked };
        self.total += 1;
        self.bytes += asked.len();
        self.asked.push_back(asked);
        while self.is_bounded && (self.asked.len() > MAX_REQUESTS || self.bytes > MAX_BYTES) {
            self.bytes -= self.asked.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    pub(super) fn clear(&mut self) {
        self.asked.clear();
        (self.total, self.bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_record_counts_all_and_keeps_the_last_thousand() {
        let mut record = Record::bounded();
        for number in 0..1500 {
            record.add(Asked::new("GET", &format!("/api/call-catchup/{number}"), std::iter::empty(), b"x"));
        }
        assert_eq!((record.total, record.asked.len()), (1500, 1000));
        assert_eq!(record.asked[0].target, "/api/call-catchup/500");
        record.clear();
        assert_eq!((record.total, record.asked.len()), (0, 0));
    }

    #[test]
    fn bounded_record_takes_sixteen_megabytes_at_most() {
        let mut record = Record::bounded();
        let headers = || (0..64).map(|number| (format!("x-{number}"), "é".repeat(1500)));
        for number in 0..200 {
            record.add(Asked::new("GET", &format!("/{number}"), headers(), &vec![b'x'; 100_000]));
        }
        assert!(record.asked.iter().map(Asked::len).sum::<usize>() <= MAX_BYTES && record.asked.len() > 50);
        assert_eq!((record.total, record.asked.back().unwrap().target.as_str()), (200, "/199"));
        record.clear();
        record.add(Asked::new("GET", "/", headers(), &[]));
        assert_eq!(record.bytes, record.asked[0].len());
    }
}
