//! Sends response bodies in small pieces, so that a client that does not read costs little memory.
//!
//! actix copies each chunk of a body into the connection's write buffer, however large it is. A
//! client that sends requests and reads no response would cost one largest body per connection.
//! [`in_pieces`] splits chunks without copying them. The unsent rest of a static body stays in
//! memory that all connections share.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Bytes;

/// Size of a piece: one piece fills the initial write buffer of a connection.
const PIECE_BYTES: usize = 8 * 1024;

/// Sends every body in pieces of at most 8 KiB: `App::new().wrap(from_fn(in_pieces))`, after all
/// middlewares that change a body. Also set the server's `h1_write_buffer_size` to 8 KiB.
///
/// # Errors
/// Those of the request.
pub(super) async fn in_pieces<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let answer = next.call(request).await?;
    Ok(answer.map_body(|_, body| match body.size() {
        BodySize::None => body.boxed(),
        BodySize::Sized(bytes) if bytes <= PIECE_BYTES as u64 => body.boxed(),
        _ => BoxBody::new(Pieces { body: Box::pin(body), rest: Bytes::new() }),
    }))
}

struct Pieces<B> {
    body: Pin<Box<B>>,
    /// Rest of the current chunk, not sent yet.
    rest: Bytes,
}

impl<B: MessageBody> MessageBody for Pieces<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        while self.rest.is_empty() {
            match ready!(self.body.as_mut().poll_next(context)) {
                Some(Ok(chunk)) => self.rest = chunk,
                ended => return Poll::Ready(ended),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[actix_web::test]
    async fn a_body_comes_in_pieces_that_share_its_memory() {
        let whole = Bytes::from((0..100_000).map(|n| n as u8).collect::<Vec<_>>());
        let mut pieces = Pieces { body: Box::pin(whole.clone()), rest: Bytes::new() };
        assert_eq!(pieces.size(), BodySize::Sized(100_000));
        let mut at = 0;
        while let Some(piece) = poll_fn(|context| Pin::new(&mut pieces).poll_next(context)).await {
            let piece = piece.unwrap();
            assert!(piece.len() <= PIECE_BYTES);
            assert_eq!(piece.as_ptr(), whole[at..].as_ptr());
            at += piece.len();
        }
        assert_eq!(at, whole.len());
    }
}
