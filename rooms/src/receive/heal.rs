//! Forward extremities are kept few: every event that comes on a branch of its own makes the next
//! one dearer, so where no local user speaks, this server joins the branches.

use std::sync::Arc;

use ruma::RoomId;
use serde_json::value::RawValue;

use crate::{Error, draft::Says, rooms::Inner, visibility::DUMMY};

/// More are joined.
const EXTREMITIES_MAX: usize = 10;
/// Local users who may turn out to have no power to send it.
const SENDERS_MAX: usize = 10;

impl Inner {
    /// Joins the branches by an event that no client is shown, if there are many and a local user
    /// may send it. Durable on return.
    pub(super) async fn heal(&self, room: &RoomId) -> Result<(), Error> {
        // The writer is not taken where nothing is to be done.
        let seen = self.view(room).await?;
        if seen.is_none_or(|view| view.extremities.len() <= EXTREMITIES_MAX) {
            return Ok(());
        }
        let Some(mut writer) = self.writer(room).await? else { return Ok(()) };
        if writer.view().extremities.len() <= EXTREMITIES_MAX {
            return Ok(());
        }
        let content = RawValue::from_string("{}".to_owned());
        let content = content.map_err(|error| Error::Internal(error.to_string()))?;
        let users = Arc::clone(&writer.view().local_joined);
        for sender in users.iter().take(SENDERS_MAX) {
            let says = Says {
                sender,
                event_type: DUMMY,
                state_key: None,
                content: &content,
                redacts: None,
                timestamp: None,
                txn: None,
            };
            let place = Arc::clone(&writer.room);
            let mut draft = writer.draft(self);
            let pdu = match draft.append(says).await {
                Ok(pdu) => pdu,
                Err(Error::Forbidden(_)) => continue,
                Err(error) => return Err(error),
            };
            if draft.needs_recommendation(&pdu).await? {
                drop(writer);
                return self.send_recommended(room, pdu, &says).await.map(drop);
            }
            let outcome = draft.submit(&place, |_| {})?;
            return writer.finish(outcome).durable(self).await;
        }
        Ok(())
    }
}
