//! Step 7: "has a valid signature by the Policy Server, if the room is using a Policy Server,
//! otherwise it is 'soft failed'". Section "Policy Servers", server-server API. The same server is
//! asked before anybody hears of an event of ours.

use std::sync::Arc;

use events::{Pdu, PolicyServer};
use ruma::{OwnedEventId, RoomId};

use super::{auth_events::Verdict, gap::Budget};
use crate::{
    Error, RoomView,
    draft::{Draft, Says},
    ports::RemoteError,
    rooms::Inner,
    trie::NewNodes,
};

impl Inner {
    /// The policy server of a room in its current state: it counts if one of its users is there.
    async fn policy_server(&self, view: &RoomView) -> Result<Option<PolicyServer>, Error> {
        let nodes = NewNodes::default();
        let Some(id) = self.trie.get(view.state, "m.room.policy", "", &nodes).await? else {
            return Ok(None);
        };
        let event = self.events.get_latest(&id).await?;
        let policy = event.and_then(|event| PolicyServer::parse(event.pdu.content_str()));
        Ok(policy.filter(|policy| view.servers.contains_key(policy.via())))
    }

    /// Whether the room's policy server, if it has one, has said yes to the event.
    pub(super) async fn check_policy(&self, view: &RoomView, pdu: &Pdu) -> Result<Verdict, Error> {
        Ok(match self.policy_server(view).await? {
            Some(policy) if !policy.recommends(pdu, view.version) => {
                Err(format!("{} has not recommended it", policy.via()))
            }
            _ => Ok(()),
        })
    }

    /// "If the Policy Server's signature is invalid or missing, the homeserver SHOULD ask for a new
    /// signature": as many times as the budget allows, and not again of one that does not answer.
    pub(super) async fn ask_policy(
        &self,
        view: &RoomView,
        pdu: Arc<Pdu>,
        budget: &mut Budget,
    ) -> Result<Arc<Pdu>, Error> {
        let Some(view) = self.view(&view.room_id).await? else { return Ok(pdu) };
        let Some(policy) = self.policy_server(&view).await? else { return Ok(pdu) };
        if policy.recommends(&pdu, view.version) || !budget.spend_policy() {
            return Ok(pdu);
        }
        match self.recommended(&view, &policy, &pdu).await {
            Ok(signed) => Ok(signed),
            Err(error) => {
                tracing::debug!(%error, event_id = %pdu.event_id(), "it is not recommended");
                if matches!(error, RemoteError::Unreachable { .. }) {
                    budget.end_policy();
                }
                Ok(pdu)
            }
        }
    }

    /// An event that is to be sent, or was handed in by somebody outside the room: with the
    /// signature that it needs, or the reason why it is not recommended.
    pub(crate) async fn with_recommendation(
        &self,
        room: &RoomId,
        pdu: Arc<Pdu>,
    ) -> Result<Arc<Pdu>, Error> {
        let Some(view) = self.view(room).await? else { return Ok(pdu) };
        match self.policy_server(&view).await? {
            Some(policy) if !policy.recommends(&pdu, view.version) => {
                Ok(self.recommended(&view, &policy, &pdu).await?)
            }
            _ => Ok(pdu),
        }
    }

    /// Sends an event that a draft has authorised and that nobody has heard of. Durable on return.
    pub(crate) async fn send_recommended(
        &self,
        room: &RoomId,
        pdu: Arc<Pdu>,
        says: &Says<'_>,
    ) -> Result<OwnedEventId, Error> {
        let pdu = self.with_recommendation(room, pdu).await?;
        let writer = self.member_writer(room).await?;
        // The request may have come twice meanwhile.
        if let Some(sent) = self.sent_before(room, says).await? {
            drop(writer);
            return self.answer_with(sent).await;
        }
        let event_id = pdu.event_id().clone();
        self.take_own(writer, pdu, says).await?.durable(self).await?;
        Ok(event_id)
    }

    /// Never called under a room's writer.
    async fn recommended(
        &self,
        view: &RoomView,
        policy: &PolicyServer,
        pdu: &Pdu,
    ) -> Result<Arc<Pdu>, RemoteError> {
        let server = policy.via();
        let malformed = |reason: &str| RemoteError::Malformed {
            server: server.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = if server == self.server_name {
            self.own_recommendation(pdu, view.version).await?
        } else {
            self.ports.remote.policy_sign(server, pdu.json().clone()).await?
        };
        let signed = policy.add_answer(pdu, &answer, view.version);
        signed.map(Arc::new).ok_or_else(|| malformed("it is no signature on the event"))
    }
}

impl Draft<'_> {
    /// Whether an event of the draft is not to be sent before the room's policy server has signed
    /// it.
    pub(crate) async fn needs_recommendation(&mut self, pdu: &Pdu) -> Result<bool, Error> {
        let Some(event) = self.state("m.room.policy", "").await? else { return Ok(false) };
        let Some(policy) = PolicyServer::parse(event.content_str()) else { return Ok(false) };
        let is_present = self.servers.contains_key(policy.via());
        Ok(is_present && !policy.recommends(pdu, self.version))
    }
}
