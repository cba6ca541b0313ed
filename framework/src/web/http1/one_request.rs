//! A connection that delivers a request only after the response to the one before.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;

/// Bytes that are read ahead while a response is on its way. Reading goes on so that a client that
/// hangs up is noticed.
pub(super) const AHEAD_BYTES: usize = 4 * 1024;

/// Shared by a connection and the service that responds to its requests, both on one thread.
#[derive(Clone, Default)]
pub(super) struct Gate(Rc<Shared>);

#[derive(Default)]
struct Shared {
    /// Requests that were delivered without those that were responded to. A response that precedes
    /// the end of its request makes it negative for a while.
    under_way: Cell<i32>,
    reader: RefCell<Option<Waker>>,
}

impl Gate {
    fn delivered(&self) {
        self.0.under_way.set(self.0.under_way.get() + 1);
    }

    pub(super) fn responded(&self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }

    fn is_closed(&self) -> bool {
        self.0.under_way.get() > 0
    }

    fn wait(&self, context: &Context<'_>) {
        self.0.reader.replace(Some(context.waker().clone()));
    }
}

/// The bytes of a connection, one request at a time.
pub(super) struct OneRequest<T> {
    connection: T,
    gate: Gate,
    framing: Framing,
    /// Bytes behind the current request.
    ahead: Vec<u8>,
    /// The client has sent its last byte.
    has_ended: bool,
    /// The next byte begins a request.
    is_between: bool,
}

impl<T> OneRequest<T> {
    pub(super) fn new(connection: T) -> Self {
        Self {
            connection,
            gate: Gate::default(),
            framing: Framing::default(),
            ahead: Vec::new(),
            has_ended: false,
            is_between: true,
        }
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    #[cfg(test)]
    pub(super) fn ahead_bytes(&self) -> usize {
        self.ahead.len()
    }

    /// Number of these bytes that may be delivered now.
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let (admitted, ends) = self.framing.take(bytes);
        self.is_between = ends;
        if ends {
            self.gate.delivered();
        }
        admitted
    }
}

impl<T: AsyncRead + Unpin> OneRequest<T> {
    /// Reads ahead until the gate opens. Ready means that the connection has ended.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gate.wait(context);
        while !self.has_ended && self.ahead.len() < AHEAD_BYTES {
            let mut bytes = [0; 1024];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.connection).poll_read(context, &mut read))?;
            self.has_ended = read.filled().is_empty();
            self.ahead.extend_from_slice(read.filled());
        }
        if self.has_ended && self.ahead.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for OneRequest<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_between && this.gate.is_closed() {
            return this.poll_ahead(context);
        }
        if !this.ahead.is_empty() {
            let ahead = std::mem::take(&mut this.ahead);
            let fits = ahead.len().min(buffer.remaining());
            let admitted = this.admit(&ahead[..fits]);
            buffer.put_slice(&ahead[..admitted]);
            this.ahead.extend_from_slice(&ahead[admitted..]);
            return Poll::Ready(Ok(()));
        }
        if this.has_ended {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.connection).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        if read.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let admitted = this.admit(read);
        this.ahead.extend_from_slice(&read[admitted..]);
        buffer.set_filled(before + admitted);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for OneRequest<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

/// Opens the gate of the connection when the response has been handed to it whole, or is given up.
/// This is the outermost middleware.
pub(crate) async fn responds(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<Responding>, Error> {
    let opens = request.conn_data::<Gate>().cloned().map(Opens);
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| Responding { body: body.boxed(), _opens: opens }))
}

struct Opens(Gate);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.responded();
    }
}

/// The body of a response that is under way until it is dropped.
pub(crate) struct Responding {
    body: BoxBody,
    _opens: Option<Opens>,
}

impl MessageBody for Responding {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
