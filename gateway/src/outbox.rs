//! What is to be written to one client. Without memory while there is nothing, which is nearly
//! always.

use std::{
    io,
    task::{Context, Poll, ready},
};

use frames::codec::{Opcode, encode};

use crate::stream::Stream;

#[derive(Default)]
pub(crate) struct Outbox(Option<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Of `bytes`, what is written.
    written: usize,
    /// The core's bytes end within a frame of theirs.
    in_frame: bool,
    /// Frames of the gateway that wait for that frame's end.
    held: Vec<u8>,
}

impl Outbox {
    /// Bytes of the core. `whole`: they end with a frame.
    pub(crate) fn core(&mut self, bytes: &[u8], whole: bool) {
        let waiting = self.0.get_or_insert_default();
        waiting.bytes.extend_from_slice(bytes);
        waiting.in_frame = !whole;
        if whole {
            waiting.bytes.append(&mut waiting.held);
        }
    }

    /// A frame of the gateway itself.
    pub(crate) fn own(&mut self, opcode: Opcode, payload: &[u8]) {
        let waiting = self.0.get_or_insert_default();
        let out = if waiting.in_frame { &mut waiting.held } else { &mut waiting.bytes };
        encode(opcode, payload, out);
    }

    pub(crate) fn is_in_frame(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| waiting.in_frame)
    }

    /// Writes what there is. `progress` is told of each piece that was written.
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        mut progress: impl FnMut(),
    ) -> Poll<io::Result<()>> {
        let Some(waiting) = &mut self.0 else { return Poll::Ready(Ok(())) };
        while waiting.written < waiting.bytes.len() {
            let rest = &waiting.bytes[waiting.written..];
            waiting.written += ready!(stream.poll_write(context, rest))?;
            progress();
        }
        ready!(stream.poll_flush(context))?;
        if waiting.in_frame {
            (waiting.bytes, waiting.written) = (Vec::new(), 0);
        } else {
            self.0 = None;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use frames::codec::Opcode;

    use super::Outbox;

    #[test]
    fn nothing_falls_into_the_middle_of_a_frame() {
        let mut outbox = Outbox::default();
        outbox.own(Opcode::Ping, b"");
        outbox.core(b"ab", false);
        outbox.own(Opcode::Pong, b"x");
        outbox.core(b"c", false);
        outbox.core(b"d", true);
        outbox.own(Opcode::Ping, b"");
        let waiting = outbox.0.expect("something waits");
        assert_eq!(waiting.bytes, b"\x89\x00abcd\x8a\x01x\x89\x00");
    }
}
