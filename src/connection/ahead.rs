//! What came together with a request and belongs to the next ones: little, because so little is read at a time. Must not know what
//! a request is.

use bytes::{Buf as _, Bytes};
use tokio::io::ReadBuf;

/// How much is read at a time that may belong to more than one request, and so the most that is ever held of what was sent
/// ahead. Enough for nearly every head.
pub(super) const MOST: usize = 2 * 1024;

/// Bytes that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Ahead(Bytes);

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies as much as there is room for; it stays here until it is known how much of it was taken.
    pub(super) fn give(&self, buffer: &mut ReadBuf<'_>) {
        buffer.put_slice(self.0.get(..buffer.remaining()).unwrap_or(&self.0));
    }

    /// Of what was given, or read from elsewhere if nothing was here, so much was taken, and `rest` was not.
    pub(super) fn keep(&mut self, rest: &[u8], taken: usize) {
        if self.is_empty() {
            if !rest.is_empty() {
                self.0 = Bytes::copy_from_slice(rest);
            }
            return;
        }
        self.0.advance(taken.min(self.0.len()));
        if self.0.is_empty() {
            // The memory of what was taken goes with it.
            self.0 = Bytes::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(ahead: &Ahead, room: usize) -> Vec<u8> {
        let mut space = vec![0; room];
        let mut buffer = ReadBuf::new(&mut space);
        ahead.give(&mut buffer);
        buffer.filled().to_vec()
    }

    #[test]
    fn what_was_not_taken_is_given_again_and_nothing_twice() {
        let mut ahead = Ahead::default();
        ahead.keep(b"", 9);
        assert!(ahead.is_empty());
        ahead.keep(b"abcdef", 3);
        assert_eq!(given(&ahead, 4), b"abcd");
        ahead.keep(b"cd", 2);
        assert_eq!(given(&ahead, 9), b"cdef");
        ahead.keep(b"", 4);
        assert!(ahead.is_empty());
    }
}
