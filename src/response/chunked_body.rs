//! Bodies in slices: what a slow reader holds in memory is one of them, and not a copy of the whole answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

/// Copied into the connection's buffer at a time, in bytes.
const SLICE: usize = 16 * 1024;

/// The same body; in slices if it is large and there already.
pub(crate) fn sliced<B: MessageBody + 'static>(body: B) -> BoxBody {
    if !matches!(body.size(), BodySize::Sized(length) if length > SLICE as u64) {
        return body.boxed();
    }
    match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(Slices(bytes)),
        Err(body) => body.boxed(),
    }
}

/// What has not been sent yet. The bytes are shared with every other answer made of them. It has no `try_into_bytes`, or else
/// its box would be made of the whole again.
struct Slices(Bytes);

impl MessageBody for Slices {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.0.len().min(SLICE);
        Poll::Ready(Some(Ok(self.0.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn a_large_body_is_the_same_bytes_in_slices_and_a_small_one_is_left_alone() {
        for length in [0, 1, SLICE, SLICE + 1, 5 * SLICE] {
            let bytes: Bytes = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>().into();
            let mut body = sliced(bytes.clone());
            assert_eq!(body.size(), BodySize::Sized(length as u64));
            let mut whole = Vec::new();
            while let Some(slice) = std::future::poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
                let slice = slice.unwrap();
                assert!(slice.len() <= SLICE);
                whole.extend_from_slice(&slice);
            }
            assert_eq!(whole, bytes);
        }
    }
}
