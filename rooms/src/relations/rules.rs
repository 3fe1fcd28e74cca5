//! Relations that servers are asked to refuse of their own users.

use events::Pdu;
use ruma::{OwnedEventId, RoomId};
use serde::Deserialize;
use storage::Range;

use super::threads::relation_of;
use crate::{Error, rooms::Inner, store::Relations};

/// Relations of one event that are looked through, the newest first.
const LOOKED_THROUGH: usize = 1000;

#[derive(Deserialize)]
struct Content {
    #[serde(rename = "m.relates_to")]
    relates_to: RelatesTo,
}

#[derive(Deserialize)]
struct RelatesTo {
    rel_type: String,
    event_id: OwnedEventId,
    key: Option<String>,
}

impl RelatesTo {
    fn of(pdu: &Pdu) -> Option<Self> {
        if !pdu.content_str().contains("m.relates_to") {
            return None;
        }
        pdu.content_as::<Content>().ok().map(|content| content.relates_to)
    }
}

impl Inner {
    /// Checks a message that is about to be sent.
    pub(crate) async fn check_relation(&self, room: &RoomId, pdu: &Pdu) -> Result<(), Error> {
        let Some(relation) = RelatesTo::of(pdu).filter(|_| !pdu.is_state()) else { return Ok(()) };
        match relation.rel_type.as_str() {
            "m.thread" => self.check_thread_root(room, &relation).await,
            "m.annotation" => self.check_annotation(room, pdu, &relation).await,
            _ => Ok(()),
        }
    }

    /// "Servers SHOULD reject client requests which attempt to start a thread off an event with an
    /// `m.relates_to` property."
    async fn check_thread_root(&self, room: &RoomId, relation: &RelatesTo) -> Result<(), Error> {
        let root = self.events.get(&relation.event_id).await?;
        let root = root.filter(|root| root.pdu.room_id() == room);
        match root.and_then(|root| relation_of(&root)) {
            Some(_) => Err(Error::BadRelation(
                "a thread cannot start at an event that relates to another".to_owned(),
            )),
            None => Ok(()),
        }
    }

    /// "Homeservers should prevent users from sending a second annotation for a given event with
    /// identical event `type` and annotation `key` (unless the first event has been redacted)."
    async fn check_annotation(
        &self,
        room: &RoomId,
        pdu: &Pdu,
        relation: &RelatesTo,
    ) -> Result<(), Error> {
        let range = Range::prefix((&relation.event_id,)).reversed().limit(LOOKED_THROUGH);
        for row in self.store.scan::<Relations>(room, range).await? {
            let other = row.value;
            if other.rel_type != "m.annotation"
                || other.sender != pdu.sender()
                || other.event_type != pdu.event_type()
            {
                continue;
            }
            let other = self.events.get(&other.event_id).await?;
            let key = other.and_then(|other| RelatesTo::of(&other.pdu)).map(|other| other.key);
            if key.is_some_and(|key| key == relation.key) {
                return Err(Error::DuplicateAnnotation);
            }
        }
        Ok(())
    }
}
