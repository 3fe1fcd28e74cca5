//! The `unsigned` data of an event, which depends on who looks at it and when.

use bytes::Bytes;
use ruma::{DeviceId, UserId, events::room::member::MembershipState};

use crate::{Error, Rooms, StoredEvent, send::DELAYED};

/// Who looks, and what the caller already knows.
#[derive(Clone, Debug)]
pub struct UnsignedFor<'a> {
    pub viewer: &'a UserId,
    pub device: Option<&'a DeviceId>,
    /// The viewer's membership at the event, if the caller knows it; looked up otherwise.
    pub membership: Option<MembershipState>,
    /// Bundled aggregations from [`Rooms::aggregations`], a JSON object.
    pub relations: Option<&'a Bytes>,
}

impl Rooms {
    /// A JSON object: `age`, `transaction_id` or `org.matrix.msc4140.delay_id`, `prev_content`, `prev_sender`, `replaces_state`,
    /// `redacted_because`, `redacted_by`, `membership`, `m.relations`.
    pub async fn unsigned(
        &self,
        event: &StoredEvent,
        for_whom: &UnsignedFor<'_>,
    ) -> Result<Vec<u8>, Error> {
        let mut object = Object::new();
        let now = self.inner.clock.now_ms();
        let age = now.saturating_sub(event.pdu.origin_server_ts());
        object.key("age").extend_from_slice(age.to_string().as_bytes());
        if let Some(txn) = &event.txn
            && event.pdu.sender() == for_whom.viewer
        {
            if txn.device_id == DELAYED {
                // MSC4140, for all devices of the sender.
                object.string("org.matrix.msc4140.delay_id", txn.txn_id.as_str());
            } else if for_whom.device == Some(&*txn.device_id) {
                object.string("transaction_id", txn.txn_id.as_str());
            }
        }
        self.add_previous(event, &mut object).await?;
        self.add_redaction(event, &mut object).await?;
        let membership = match &for_whom.membership {
            Some(membership) => membership.clone(),
            None => self.membership_at(event, for_whom.viewer).await?,
        };
        object.string("membership", membership.as_str());
        if let Some(relations) = for_whom.relations {
            object.key("m.relations").extend_from_slice(relations);
        }
        Ok(object.end())
    }

    /// The membership of the user once the event had happened.
    pub async fn membership_at(
        &self,
        event: &StoredEvent,
        user: &UserId,
    ) -> Result<MembershipState, Error> {
        if event.pdu.state_key() == Some(user.as_str())
            && let Some(membership) = event.pdu.membership()
        {
            return Ok(membership);
        }
        let member = self.state_get(event.state_before, "m.room.member", user.as_str()).await?;
        Ok(member.and_then(|member| member.pdu.membership()).unwrap_or(MembershipState::Leave))
    }

    async fn add_previous(&self, event: &StoredEvent, object: &mut Object) -> Result<(), Error> {
        let Some(state_key) = event.pdu.state_key() else { return Ok(()) };
        let replaced = match event.previous.get() {
            Some(known) => known.clone(),
            None => {
                let event_type = event.pdu.event_type();
                let found = self.state_id(event.state_before, event_type, state_key).await?;
                // Whoever else set it found the same.
                let _known = event.previous.set(found.clone());
                found
            }
        };
        let replaced = match replaced {
            Some(id) => self.inner.events.get(&id).await?,
            None => None,
        };
        if let Some(replaced) = replaced {
            object.key("prev_content").extend_from_slice(replaced.pdu.content_str().as_bytes());
            object.string("prev_sender", replaced.pdu.sender().as_str());
            object.string("replaces_state", replaced.event_id().as_str());
        }
        Ok(())
    }

    async fn add_redaction(&self, event: &StoredEvent, object: &mut Object) -> Result<(), Error> {
        let Some(redaction) = &event.redacted_by else { return Ok(()) };
        // The target shows its redaction from the moment that it is submitted, so its reason must show
        // as early.
        if let Some(redaction) = self.inner.events.get_latest(redaction).await? {
            let out = object.key("redacted_because");
            redaction.client.write(out, Some(redaction.pdu.room_id()), None);
            // Older than `redacted_because`, and still what many readers look for.
            object.string("redacted_by", redaction.event_id().as_str());
        }
        Ok(())
    }
}

/// A JSON object as it is written.
pub(crate) struct Object(Vec<u8>);

impl Object {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(128))
    }

    /// Starts an entry; the value is to be appended. The key needs no escapes.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
        &mut self.0
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) {
        serde_json::to_writer(self.key(key), value).expect("writing text into memory");
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0
    }
}
