//! A WebSocket's messages over its connection.
//!
//! It holds memory only for what has arrived in part or could not be written yet: between two
//! messages there is neither a read buffer nor a write buffer.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use frames::codec::{Decoder, Message, Opcode, Violation, encode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one read takes at most. On the stack, so it costs nothing while there is nothing to read.
const READ_BYTES: usize = 8 << 10;

/// Why no further message can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection has ended.
    Gone,
    /// The client is there, and does not keep to the protocol.
    Violation(Violation),
}

pub(super) struct Channel<S> {
    stream: S,
    decoder: Decoder,
    /// Frames that are not written wholly. A write that was given up stays here, so that what is
    /// written next does not fall into the middle of a frame.
    unsent: Vec<u8>,
    /// Of `unsent`, what is written.
    written: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    pub(super) fn new(stream: S, message_bytes_max: usize) -> Self {
        let decoder = Decoder::new(message_bytes_max);
        Self { stream, decoder, unsent: Vec::new(), written: 0 }
    }

    /// The next message.
    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Message, Broken>> {
        loop {
            match self.decoder.message() {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                Ok(None) => (),
                Err(violation) => return Poll::Ready(Err(Broken::Violation(violation))),
            }
            let decoder = &mut self.decoder;
            let read = poll_read(&mut self.stream, context, |bytes| decoder.feed(bytes));
            if !matches!(ready!(read), Ok(1..)) {
                return Poll::Ready(Err(Broken::Gone));
            }
        }
    }

    /// Writes a message. After it was cancelled the next one writes what is left of it first.
    pub(super) async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        encode(opcode, payload, &mut self.unsent);
        poll_fn(|context| self.poll_flush(context)).await
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.unsent.len() {
            let rest = &self.unsent[self.written..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        (self.unsent, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Ends the connection once the client has read what was sent: says that nothing follows, and
    /// throws away what the client still sends. With anything unread the connection would be reset
    /// and what was sent last be lost.
    pub(super) async fn finish(&mut self) {
        let stream = &mut self.stream;
        if poll_fn(|context| Pin::new(&mut *stream).poll_shutdown(context)).await.is_err() {
            return;
        }
        while let Ok(1..) = poll_fn(|context| poll_read(&mut *stream, context, |_| ())).await {}
    }
}

/// Reads once; `Ok(0)` is the end.
fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    let mut space = [MaybeUninit::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    take(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::{Broken, Channel, Message, Opcode};

    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_given_up_goes_on_with_the_next() {
        let (near, mut far) = duplex(16);
        let mut channel = Channel::new(near, 1000);
        let text = "x".repeat(100);
        let sent = channel.send(Opcode::Text, text.as_bytes());
        tokio::time::timeout(Duration::from_secs(1), sent).await.expect_err("nobody reads");
        let mut read = Vec::new();
        let ((), _) = tokio::join!(
            async {
                channel.send(Opcode::Text, b"y").await.expect("it is read");
                assert_eq!(channel.unsent.capacity(), 0, "an idle channel holds no memory");
                drop(channel);
            },
            far.read_to_end(&mut read)
        );
        assert_eq!(read, [&[0x81, 100], text.as_bytes(), &[0x81, 1], b"y"].concat());
    }

    #[tokio::test]
    async fn a_message_is_not_lost_when_waiting_for_it_is_cancelled() {
        let (near, mut far) = duplex(1000);
        let mut channel = Channel::new(near, 1000);
        let ping = [0x89, 0x81, 0, 0, 0, 0, b'p'];
        for byte in ping {
            far.write_all(&[byte]).await.expect("there is room");
            tokio::select! {
                biased;
                message = poll_fn(|context| channel.poll_receive(context)) => {
                    assert_eq!((message, byte), (Ok(Message::Ping(b"p".to_vec())), b'p'));
                }
                () = std::future::ready(()) => assert_ne!(byte, b'p'),
            }
        }
        drop(far);
        let next = poll_fn(|context| channel.poll_receive(context)).await;
        assert_eq!(next, Err(Broken::Gone));
    }
}
