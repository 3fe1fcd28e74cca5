//! Knocking at a room of other servers: `make_knock`, `send_knock`.

use super::worse;
use crate::{
    Error, KnockRequest, membership::member_content, peers::shown_state, ports::Handshake,
    rooms::Inner,
};

impl Inner {
    pub(crate) async fn knock_remotely(&self, request: &KnockRequest<'_>) -> Result<(), Error> {
        let KnockRequest { room_id: room, user, profile, reason, via } = request;
        let candidates = self.candidates(room, user, via).await?;
        let content = member_content("knock", profile, *reason).to_raw();
        let remote = &self.ports.remote;
        let mut problem = None;
        for server in &candidates {
            let sent = async {
                let (pdu, version) =
                    self.made(server, Handshake::Knock, room, user, &content).await?;
                let json = pdu.json().clone();
                let shown = remote.send_knock(server, room, pdu.event_id(), json).await?;
                Ok::<_, Error>((pdu, version, shown))
            };
            match sent.await {
                Ok((pdu, version, shown)) => {
                    let shown = shown_state(shown);
                    return self.tell_outsider(&pdu, version, user, shown, candidates).await;
                }
                Err(Error::Remote(error)) => problem = Some(worse(problem, error)),
                Err(error) => return Err(error),
            }
        }
        Err(problem.map_or(Error::NotFound("the room"), Error::Remote))
    }
}
