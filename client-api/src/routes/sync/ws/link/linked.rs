//! One socket of a link, as its session has it.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use accounts::Session;
use bytes::Bytes;
use frames::{
    codec::{Message, Opcode, encode},
    link::{self, CREDIT, CREDIT_STEP, Kind, LinkError},
};
use parking_lot::Mutex;
use ruma::{OwnedDeviceId, OwnedUserId};

use super::{super::channel::Broken, Link};

/// Bytes for a client that are sent at a time, so that those of others come between.
const PIECE_BYTES: usize = 64 << 10;

/// What the link knows of a socket.
pub(super) struct Remote {
    inbox: Mutex<Inbox>,
    owner: OnceLock<(OwnedUserId, OwnedDeviceId)>,
}

#[derive(Default)]
struct Inbox {
    /// At most the socket's credit. Without memory of its own while it is empty.
    messages: VecDeque<Message>,
    /// Of those that were taken, what the gateway was not told.
    taken: u8,
    gone: bool,
    waker: Option<Waker>,
}

/// The transport of a socket that ends in a gateway, which is told when this is dropped.
pub(in super::super) struct Linked {
    number: u32,
    remote: Arc<Remote>,
    link: Arc<Link>,
    /// Frames that are not sent wholly, because a send was given up.
    unsent: Bytes,
}

impl Remote {
    pub(super) fn take(&self, kind: Kind, payload: &[u8]) -> Result<(), LinkError> {
        let message = match kind {
            Kind::Text => {
                let text = str::from_utf8(payload).map_err(|_| LinkError::Payload)?;
                Message::Text(text.to_owned())
            }
            Kind::Close => Message::Close(link::read_close(payload)),
            _ => {
                self.gone();
                return Ok(());
            }
        };
        let mut inbox = self.inbox.lock();
        if inbox.messages.len() >= usize::from(CREDIT) {
            return Err(LinkError::Credit);
        }
        inbox.messages.push_back(message);
        inbox.wake();
        Ok(())
    }

    pub(super) fn gone(&self) {
        let mut inbox = self.inbox.lock();
        inbox.gone = true;
        inbox.wake();
    }

    /// Whose the socket is, if that is known.
    pub(super) fn owner(&self) -> Option<&(OwnedUserId, OwnedDeviceId)> {
        self.owner.get()
    }
}

impl Inbox {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Linked {
    pub(super) fn new(link: &Arc<Link>, number: u32) -> Self {
        let remote = Arc::new(Remote { inbox: Mutex::default(), owner: OnceLock::new() });
        link.remotes.lock().insert(number, Arc::clone(&remote));
        Self { number, remote, link: Arc::clone(link), unsent: Bytes::new() }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(in super::super) fn belongs_to(&self, session: &Session) {
        let owner = (session.user_id.clone(), session.device_id.clone());
        let _same_device = self.remote.owner.set(owner);
        self.link.note(Kind::Live, self.number);
    }

    pub(in super::super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Message, Broken>> {
        let mut inbox = self.remote.inbox.lock();
        let Some(message) = inbox.messages.pop_front() else {
            if inbox.gone {
                return Poll::Ready(Err(Broken::Gone));
            }
            inbox.messages = VecDeque::new();
            inbox.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        inbox.taken += 1;
        if inbox.taken == CREDIT_STEP {
            inbox.taken = 0;
            self.link.note(Kind::Credit, self.number);
        }
        Poll::Ready(Ok(message))
    }

    pub(in super::super) async fn send(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
    ) -> io::Result<()> {
        let mut bytes = Vec::from(std::mem::take(&mut self.unsent));
        encode(opcode, payload, &mut bytes);
        self.unsent = bytes.into();
        while !self.unsent.is_empty() {
            let length = self.unsent.len().min(PIECE_BYTES);
            let kind = if length == self.unsent.len() { Kind::Whole } else { Kind::Part };
            let piece = self.unsent.slice(..length);
            self.link.send(kind, self.number, piece).await?;
            self.unsent = self.unsent.slice(length..);
        }
        self.unsent = Bytes::new();
        Ok(())
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.link.remotes.lock().remove(&self.number);
        self.link.note(Kind::End, self.number);
    }
}
