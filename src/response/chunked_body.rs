//! Response bodies in chunks.
//!
//! A slow reader buffers one chunk, and no copy of the whole body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

/// The bytes that are copied into the connection's buffer at a time.
const CHUNK: usize = 16 * 1024;

/// Splits a body into chunks if it is large and complete.
pub(crate) fn chunked<B: MessageBody + 'static>(body: B) -> BoxBody {
    if !matches!(body.size(), BodySize::Sized(length) if length > CHUNK as u64) {
        return body.boxed();
    }
    match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(ChunkedBody(bytes)),
        Err(body) => body.boxed(),
    }
}

/// Removes and returns the first chunk of `bytes`.
pub(super) fn split_chunk(bytes: &mut Bytes) -> Bytes {
    bytes.split_to(bytes.len().min(CHUNK))
}

/// The unsent bytes, shared by all responses of one entry. Without `try_into_bytes`, which would unite them again.
struct ChunkedBody(Bytes);

impl MessageBody for ChunkedBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready((!self.0.is_empty()).then(|| Ok(split_chunk(&mut self.0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn chunks_of_a_body_are_its_bytes() {
        for length in [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK] {
            let bytes: Bytes = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>().into();
            let mut body = chunked(bytes.clone());
            assert_eq!(body.size(), BodySize::Sized(length as u64));
            let mut whole = Vec::new();
            while let Some(chunk) = std::future::poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
                let chunk = chunk.unwrap();
                assert!(chunk.len() <= CHUNK);
                whole.extend_from_slice(&chunk);
            }
            assert_eq!(whole, bytes);
        }
    }
}
