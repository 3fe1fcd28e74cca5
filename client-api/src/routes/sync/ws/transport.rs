//! What a socket's messages go over: a connection of this process, or one that ends in a gateway.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use accounts::Session;
use frames::codec::{Message, Opcode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::{
    FRAME_BYTES_MAX,
    channel::{Broken, Channel},
    link::Linked,
};

pub(super) enum Transport {
    Direct(Box<Channel<TokioIo<Upgraded>>>),
    Linked(Linked),
}

/// A transport that is being handed over.
pub(super) enum Upgrade {
    Http(OnUpgrade),
    Link(Linked),
}

impl Upgrade {
    /// `None` if nobody is there any more.
    pub(super) async fn transport(self) -> Option<Transport> {
        Some(match self {
            Self::Http(on_upgrade) => {
                let stream = TokioIo::new(on_upgrade.await.ok()?);
                Transport::Direct(Box::new(Channel::new(stream, FRAME_BYTES_MAX)))
            }
            Self::Link(linked) => Transport::Linked(linked),
        })
    }
}

impl Transport {
    /// Waits for the next message. Safe to cancel.
    pub(super) async fn receive(&mut self) -> Result<Message, Broken> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Broken>> {
        match self {
            Self::Direct(channel) => channel.poll_receive(context),
            Self::Linked(linked) => linked.poll_receive(context),
        }
    }

    /// Writes a message. After it was cancelled the next one writes what is left of it first.
    pub(super) async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::Direct(channel) => channel.send(opcode, payload).await,
            Self::Linked(linked) => linked.send(opcode, payload).await,
        }
    }

    /// Ends the connection once the client has read what was sent. A gateway does that by itself
    /// as soon as the transport is dropped.
    pub(super) async fn finish(&mut self) {
        if let Self::Direct(channel) = self {
            channel.finish().await;
        }
    }

    /// Whether somebody else notices that the client is gone, so that no pings are needed.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self, Self::Linked(_))
    }

    /// It is known whose the socket is.
    pub(super) fn belongs_to(&self, session: &Session) {
        if let Self::Linked(linked) = self {
            linked.belongs_to(session);
        }
    }
}
