//! Sending events: messages, state, redactions.

use ruma::{DeviceId, EventId, OwnedEventId, RoomId, TransactionId, UserId};
use serde_json::value::RawValue;

use crate::{
    Error, Rooms,
    draft::{Draft, Says},
    membership::guests,
    room::Writer,
    rooms::Inner,
    state_rules,
    store::Transactions,
};

/// A transaction id, scoped to the device that chose it.
#[derive(Clone, Copy, Debug)]
pub struct Txn<'a> {
    pub device_id: &'a DeviceId,
    pub txn_id: &'a TransactionId,
}

/// In place of a device, of events that were delayed. No device has such an id.
pub(crate) const DELAYED: &str = "\u{1}delayed";

impl<'a> Txn<'a> {
    /// Of an event that was scheduled under an id, by whichever device.
    pub fn of_delayed(delay_id: &'a str) -> Self {
        Self { device_id: DELAYED.into(), txn_id: delay_id.into() }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub event_type: &'a str,
    /// Makes it a state event.
    pub state_key: Option<&'a str>,
    pub content: &'a RawValue,
    pub txn: Option<Txn<'a>>,
    /// `origin_server_ts` in milliseconds, for those who may choose it.
    pub timestamp: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Redaction<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub target: &'a EventId,
    pub reason: Option<&'a str>,
    pub txn: Option<Txn<'a>>,
}

impl Rooms {
    /// Sends an event and returns once it is durable.
    ///
    /// A state event equal to the sender's current one is not sent again: its id is returned.
    pub async fn send(&self, event: NewEvent<'_>) -> Result<OwnedEventId, Error> {
        match (event.event_type, event.state_key) {
            ("m.room.create", _) => {
                Err(Error::Forbidden("a room has one create event, made with the room".to_owned()))
            }
            ("m.room.member", Some(_)) => self.send_member(event).await,
            ("m.room.redaction", None) => self.send_redaction(event).await,
            // Clients would follow it round and round. Synapse refuses it too.
            ("m.room.tombstone", _) if replaces_itself(&event) => {
                Err(Error::InvalidParam("a room is not replaced by itself".to_owned()))
            }
            _ => self.inner.send(&event).await,
        }
    }

    /// Redacts an event. Returns the id of the redaction.
    pub async fn redact(&self, redaction: Redaction<'_>) -> Result<OwnedEventId, Error> {
        let mut content = crate::content::Content::new();
        content.set_some("reason", redaction.reason);
        self.inner.redact(&redaction, None, &content.to_raw()).await
    }

    /// `m.room.redaction` sent as an ordinary event names its target in its content.
    async fn send_redaction(&self, event: NewEvent<'_>) -> Result<OwnedEventId, Error> {
        #[derive(serde::Deserialize)]
        struct Content {
            redacts: OwnedEventId,
        }
        let Content { redacts } = serde_json::from_str(event.content.get())
            .map_err(|_| Error::BadJson("a redaction names an event in `redacts`".to_owned()))?;
        let NewEvent { room_id, sender, txn, .. } = event;
        let redaction = Redaction { room_id, sender, target: &redacts, reason: None, txn };
        self.inner.redact(&redaction, event.timestamp, event.content).await
    }
}

fn replaces_itself(event: &NewEvent<'_>) -> bool {
    #[derive(serde::Deserialize)]
    struct Content {
        replacement_room: String,
    }
    let content = serde_json::from_str(event.content.get());
    content.is_ok_and(|content: Content| content.replacement_room == event.room_id.as_str())
}

impl Inner {
    async fn send(&self, event: &NewEvent<'_>) -> Result<OwnedEventId, Error> {
        let says = Says {
            sender: event.sender,
            event_type: event.event_type,
            state_key: event.state_key,
            content: event.content,
            redacts: None,
            timestamp: event.timestamp,
            txn: event.txn,
        };
        let mut writer = self.member_writer(event.room_id).await?;
        if let Some(sent) = self.sent_before(event.room_id, &says).await? {
            drop(writer);
            return self.answer_with(sent).await;
        }
        let room = writer.room.clone();
        let mut draft = writer.draft(self);
        if let Some(state_key) = says.state_key {
            if let Some(same) = unchanged(&mut draft, &says, state_key).await? {
                drop(writer);
                return self.answer_with(same).await;
            }
            state_rules::check(self, &mut draft, &says).await?;
        }
        let pdu = draft.append(says).await?;
        // After the authorisation: strangers are told nothing of the room's events.
        self.check_relation(event.room_id, &pdu).await?;
        if draft.needs_recommendation(&pdu).await? {
            drop(writer);
            return self.send_recommended(event.room_id, pdu, &says).await;
        }
        let event_id = pdu.event_id().clone();
        if says.event_type == "m.room.guest_access" && says.state_key == Some("") {
            guests::put_out(&mut draft).await?;
        }
        let outcome = draft.submit(&room, |_| {})?;
        writer.finish(outcome).durable(self).await?;
        Ok(event_id)
    }

    async fn redact(
        &self,
        redaction: &Redaction<'_>,
        timestamp: Option<u64>,
        content: &RawValue,
    ) -> Result<OwnedEventId, Error> {
        let says = Says {
            sender: redaction.sender,
            event_type: "m.room.redaction",
            state_key: None,
            content,
            redacts: Some(redaction.target),
            timestamp,
            txn: redaction.txn,
        };
        let mut writer = self.member_writer(redaction.room_id).await?;
        if let Some(sent) = self.sent_before(redaction.room_id, &says).await? {
            drop(writer);
            return self.answer_with(sent).await;
        }
        let room = writer.room.clone();
        let mut draft = writer.draft(self);
        // Membership first: whether the event exists is no business of others.
        let pdu = draft.append(says).await?;
        let target = self.events.get_latest(redaction.target).await?;
        let target = target.ok_or(Error::NotFound("the event to redact"))?;
        if target.pdu.room_id() != redaction.room_id {
            return Err(Error::InvalidParam("the event to redact is in another room".to_owned()));
        }
        check_target(target.pdu.event_type())?;
        // Peers apply a redaction by anybody of the sender's server: only we can tell its users apart.
        let levels = draft.power_levels().await?;
        if redaction.sender != target.pdu.sender()
            && levels.for_user(redaction.sender) < levels.redact()
        {
            let reason = "your power does not allow to redact events of others";
            return Err(Error::Forbidden(reason.to_owned()));
        }
        if draft.needs_recommendation(&pdu).await? {
            drop(writer);
            return self.send_recommended(redaction.room_id, pdu, &says).await;
        }
        draft.apply_redaction(&target, pdu.event_id());
        let outcome = draft.submit(&room, |_| {})?;
        writer.finish(outcome).durable(self).await?;
        Ok(pdu.event_id().clone())
    }

    /// The writer of a room for somebody who says they are in it. Whether the room exists is not
    /// told to those who are not.
    pub(crate) async fn member_writer(&self, room_id: &RoomId) -> Result<Writer, Error> {
        self.writer(room_id).await?.ok_or(Error::NotJoined)
    }

    /// The event of an earlier request with the same transaction id.
    pub(crate) async fn sent_before(
        &self,
        room_id: &RoomId,
        says: &Says<'_>,
    ) -> Result<Option<OwnedEventId>, Error> {
        let Some(txn) = says.txn else { return Ok(None) };
        let endpoint = says.endpoint();
        let sort = (&says.sender, &txn.device_id, &endpoint, &txn.txn_id);
        let record = self.store.get_latest::<Transactions>(room_id, sort).await?;
        Ok(record.map(|record| record.event_id))
    }

    /// Answers with an event that may still be on its way to the disk.
    pub(crate) async fn answer_with(&self, event_id: OwnedEventId) -> Result<OwnedEventId, Error> {
        self.store.barrier().wait().await?;
        Ok(event_id)
    }
}

/// What rooms cannot do without is not redacted, whatever the sender's power.
fn check_target(event_type: &str) -> Result<(), Error> {
    match event_type {
        "m.room.create" | "m.room.server_acl" => {
            Err(Error::Forbidden(format!("`{event_type}` cannot be redacted")))
        }
        _ => Ok(()),
    }
}

/// The current event, if the sender would only say again what they have said in it.
pub(crate) async fn unchanged(
    draft: &mut Draft<'_>,
    says: &Says<'_>,
    state_key: &str,
) -> Result<Option<OwnedEventId>, Error> {
    let Some(current) = draft.state(says.event_type, state_key).await? else { return Ok(None) };
    if current.sender() != says.sender {
        return Ok(None);
    }
    let numbers = events::canonical::Numbers::Strict;
    let content = events::canonical::canonicalise(says.content.get().as_bytes(), numbers)
        .map_err(|error| Error::BadJson(error.to_string()))?;
    let same = content == current.content_str().as_bytes();
    Ok(same.then(|| current.event_id().clone()))
}
