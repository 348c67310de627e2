//! One connection as [`ConnectionSeat`] sees it: bytes that come, the body of a request, and the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use warp::reply::Response;

use super::limits::PIECE;
use super::seats::ConnectionSeat;

/// A part of the memory for answers. An answer that has this as an extension holds it until the client has taken the answer.
#[derive(Clone, Debug)]
pub(super) struct HeldMemory {
    _memory: Arc<OwnedSemaphorePermit>,
}

impl HeldMemory {
    pub fn new(memory: OwnedSemaphorePermit) -> HeldMemory {
        HeldMemory { _memory: Arc::new(memory) }
    }
}

/// A socket that tells the seat when bytes move.
#[derive(Debug)]
pub(super) struct Socket {
    pub stream: TcpStream,
    pub seat: Arc<ConnectionSeat>,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.seat.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.seat.took();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, pieces))?;
        self.seat.took();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The body of a request. It tells the seat when all of it is there.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Incoming,
    seat: Arc<ConnectionSeat>,
}

impl RequestBody {
    pub fn new(body: Incoming, seat: Arc<ConnectionSeat>) -> RequestBody {
        if body.is_end_stream() {
            seat.asked();
        }
        RequestBody { body, seat }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.seat.asked();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

type WarpBody = http_body_util::combinators::UnsyncBoxBody<Bytes, warp::Error>;

/// The body of an answer, in pieces. It tells the seat when all of it is on its way.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: WarpBody,
    piece: Bytes,
    seat: Arc<ConnectionSeat>,
    _held: Option<HeldMemory>,
}

impl AnswerBody {
    /// The answer as it goes over the wire.
    pub fn of(response: Response, seat: Arc<ConnectionSeat>) -> hyper::Response<AnswerBody> {
        let (mut parts, body) = response.into_parts();
        seat.answers(body.size_hint().exact().is_none());
        let held = parts.extensions.remove::<HeldMemory>();
        hyper::Response::from_parts(parts, AnswerBody { body: body.boxed_unsync(), piece: Bytes::new(), seat, _held: held })
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.seat.answered();
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = warp::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, warp::Error>>> {
        if self.piece.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = self.piece.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.piece.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
