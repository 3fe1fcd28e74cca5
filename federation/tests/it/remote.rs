//! What the room engine asks of other servers: how it is asked, and what becomes of answers that are
//! not what was hoped for.

mod answers;
mod calls;
mod media;
mod refusals;

use federation::Remote;
use ruma::OwnedServerName;

use crate::net::{Net, Peer, Seen, json, name};

/// A server that answers everything with the same, and who asks it.
pub(crate) struct World {
    pub(crate) remote: Remote,
    pub(crate) server: OwnedServerName,
    pub(crate) peer: Peer,
}

impl World {
    pub(crate) async fn answering(body: impl ToString) -> Self {
        let body = body.to_string();
        Self::with(move |_| json(&body)).await
    }

    pub(crate) async fn with(
        answer: impl Fn(&Seen) -> Option<axum::response::Response> + Send + Sync + 'static,
    ) -> Self {
        let net = Net::new();
        let peer = net.peer("a.test", 1, answer).await;
        Self { remote: Remote::new(net.client()), server: name("a.test:1"), peer }
    }
}
