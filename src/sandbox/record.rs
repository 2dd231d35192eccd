//! The record of the requests that a sandbox received.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The limits of a bounded record: number of requests, and their bytes.
const MAX_REQUESTS: usize = 1000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A request that a sandbox received.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Time since the start of the sandbox.
    pub received_after: Duration,
    /// The method.
    pub method: String,
    /// Path and query as they were received.
    pub target: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl RecordedRequest {
    pub(super) fn new(method: &str, target: &str, headers: impl Iterator<Item = (String, String)>, body: &[u8]) -> Self {
        Self {
            received_after: Duration::ZERO,
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
    pub(super) requests: VecDeque<RecordedRequest>,
    pub(super) total: u64,
    /// The bytes of `requests`.
    bytes: usize,
    is_bounded: bool,
}

impl Record {
    pub(super) fn unbounded() -> Self {
        Self { started: Instant::now(), requests: VecDeque::new(), total: 0, bytes: 0, is_bounded: false }
    }

    pub(super) fn bounded() -> Self {
        Self { is_bounded: true, ..Self::unbounded() }
    }

    pub(super) fn add(&mut self, request: RecordedRequest) {
        let request = RecordedRequest { received_after: self.started.elapsed(), ..request };
        self.total += 1;
        self.bytes += request.len();
        self.requests.push_back(request);
        while self.is_bounded && (self.requests.len() > MAX_REQUESTS || self.bytes > MAX_BYTES) {
            self.bytes -= self.requests.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
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
            record.add(RecordedRequest::new("GET", &format!("/api/call-catchup/{number}"), std::iter::empty(), b"x"));
        }
        assert_eq!((record.total, record.requests.len()), (1500, 1000));
        assert_eq!(record.requests[0].target, "/api/call-catchup/500");
        record.clear();
        assert_eq!((record.total, record.requests.len()), (0, 0));
    }

    #[test]
    fn bounded_record_is_limited_to_sixteen_mebibytes() {
        let mut record = Record::bounded();
        let headers = || (0..64).map(|number| (format!("x-{number}"), "é".repeat(1500)));
        for number in 0..200 {
            record.add(RecordedRequest::new("GET", &format!("/{number}"), headers(), &vec![b'x'; 100_000]));
        }
        assert!(record.requests.iter().map(RecordedRequest::len).sum::<usize>() <= MAX_BYTES && record.requests.len() > 50);
        assert_eq!((record.total, record.requests.back().unwrap().target.as_str()), (200, "/199"));
        record.clear();
        record.add(RecordedRequest::new("GET", "/", headers(), &[]));
        assert_eq!(record.bytes, record.requests[0].len());
    }
}
