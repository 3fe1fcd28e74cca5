//! A client's connection once it is a WebSocket's.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// What one read takes at most. On the stack, so it costs nothing while there is nothing to read.
const READ_BYTES: usize = 8 << 10;

/// The plain connection is a variant of its own, since there may be very many.
pub(crate) enum Stream {
    Plain(TcpStream),
    Other(Pin<Box<dyn Duplex>>),
}

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

impl Stream {
    /// The connection under an upgrade, without what the server kept around it, and what of it was
    /// read already.
    pub(crate) fn of(upgraded: Upgraded) -> (Self, Bytes) {
        let upgraded = match upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => return (Self::Plain(parts.io.into_inner()), parts.read_buf),
            Err(upgraded) => upgraded,
        };
        match upgrade::downcast::<TokioIo<TlsStream<TcpStream>>>(upgraded) {
            Ok(parts) => (Self::Other(Box::pin(parts.io.into_inner())), parts.read_buf),
            Err(upgraded) => (Self::Other(Box::pin(TokioIo::new(upgraded))), Bytes::new()),
        }
    }

    /// Reads once and hands it over; `Ok(0)` is the end.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            Self::Other(stream) => stream.as_mut().poll_read(context, &mut buffer),
        })?;
        take(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Never `Ok(0)`.
    pub(crate) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Other(stream) => stream.as_mut().poll_write(context, bytes),
        })?;
        Poll::Ready(if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) })
    }

    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Other(stream) => stream.as_mut().poll_flush(context),
        }
    }

    pub(crate) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Other(stream) => stream.as_mut().poll_shutdown(context),
        }
    }
}
