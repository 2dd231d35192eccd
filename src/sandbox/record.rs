//! What a sandbox was asked.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many requests a sandbox remembers that may run for days, how many bytes of each one's parts, and of all together.
const KEPT: usize = 1000;
const KEPT_BYTES: usize = 4096;
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

    /// The same, cut to what may be remembered for days.
    fn cut(mut self) -> Self {
        self.body.truncate(KEPT_BYTES);
        self.body.shrink_to_fit();
        self.headers.truncate(64);
        let headers = self.headers.iter_mut().flat_map(|(name, value)| [name, value]);
        for text in [&mut self.method, &mut self.target].into_iter().chain(headers) {
            text.truncate(text.floor_char_boundary(KEPT_BYTES));
            text.shrink_to_fit();
        }
        self
    }

    fn len(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>());
        self.method.len() + self.target.len() + self.body.len() + headers.sum::<usize>()
    }
}

/// The requests, in the order they arrived.
pub(super) struct Record {
    started: Instant,
    asked: VecDeque<Asked>,
    total: u64,
    /// The lengths of those that are remembered.
    bytes: usize,
    bounded: bool,
}

impl Record {
    pub(super) fn of_everything() -> Self {
        Self { started: Instant::now(), asked: VecDeque::new(), total: 0, bytes: 0, bounded: false }
    }

    pub(super) fn of_the_last() -> Self {
        Self { bounded: true, ..Self::of_everything() }
    }

    pub(super) fn add(&mut self, asked: Asked) {
        self.total += 1;
        let asked = Asked { after: self.started.elapsed(), ..asked };
        if !self.bounded {
            self.asked.push_back(asked);
            return;
        }
        let asked = asked.cut();
        self.bytes += asked.len();
        self.asked.push_back(asked);
        while self.asked.len() > KEPT || self.bytes > MAX_BYTES {
            self.bytes -= self.asked.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.iter().cloned().collect()
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn forget(&mut self) {
        self.asked.clear();
        (self.total, self.bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_last_counts_all_and_keeps_a_thousand_of_four_kilobytes() {
        let mut record = Record::of_the_last();
        for number in 0..1500 {
            record.add(Asked::new("GET", &format!("/api/call-catchup/{number}"), std::iter::empty(), &vec![b'x'; 100_000]));
        }
        let asked = record.asked();
        assert_eq!((record.total(), asked.len()), (1500, 1000));
        assert_eq!((asked[0].target.as_str(), asked[0].body.len()), ("/api/call-catchup/500", 4096));
        record.forget();
        assert_eq!((record.total(), record.asked().len()), (0, 0));
    }

    #[test]
    fn requests_with_many_long_headers_take_sixteen_megabytes_at_most() {
        let mut record = Record::of_the_last();
        let headers = || (0..64).map(|number| (format!("x-{number}"), "é".repeat(1500)));
        for number in 0..200 {
            record.add(Asked::new("GET", &format!("/{number}"), headers(), &[]));
        }
        let asked = record.asked();
        assert!(asked.iter().map(Asked::len).sum::<usize>() <= MAX_BYTES && asked.len() > 50, "{}", asked.len());
        assert_eq!((record.total(), asked.last().unwrap().target.as_str()), (200, "/199"));
        record.forget();
        record.add(Asked::new("GET", "/", headers(), &[]));
        assert_eq!(record.bytes, record.asked()[0].len());
    }
}
