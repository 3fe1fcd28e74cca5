//! Step 6: "Passes authorization rules based on the current state of the room, otherwise it is
//! 'soft failed'."

use std::sync::Arc;

use events::{Pdu, RoomVersion};

use super::auth_events::Verdict;
use crate::{Error, Root, rooms::Inner};

impl Inner {
    pub(super) async fn check_by_current_state(
        &self,
        version: &RoomVersion,
        create: &Arc<Pdu>,
        pdu: &Pdu,
        state_before: Root,
        current: Root,
    ) -> Result<Verdict, Error> {
        // Equal roots are equal states, and that one has said yes.
        if state_before == current {
            return Ok(Ok(()));
        }
        self.check_by_state(version, create, pdu, current).await
    }
}
