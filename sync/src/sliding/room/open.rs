//! A room that the user may come into: an invitation, or a knock.

use std::sync::Arc;

use super::{Before, NOTHING_UNREAD, Room, Told};
use crate::{
    SyncError,
    json::Events,
    sliding::{result::RoomResult, state::Sent},
};

impl Room<'_> {
    pub(super) async fn open(&self) -> Result<Told, SyncError> {
        let membership = &self.selected.entry.membership;
        let rooms = &self.context.sync.sources.rooms;
        let sent =
            Sent { behind: None, timeline_limit: 0, required: Arc::default(), is_dm: self.is_dm };
        let is_known = matches!(self.before(), Before::UpTo(told) if membership.position <= told);
        if is_known && self.sent.is_some_and(|old| old.is_dm == self.is_dm) {
            return Ok(Told { sent: Some(sent), ..Told::default() });
        }
        let row = rooms.user_room(self.context.base.user, self.id()).await?;
        // If it is over already, the next answer tells what came of it.
        let Some(row) = row.filter(|row| row.membership == membership.state) else {
            return Ok(Told::default());
        };
        let mut stripped = Events::default();
        for event in rooms.stripped_state(&row, self.context.base.user).await? {
            stripped.next().extend_from_slice(&event);
        }
        let mut result = RoomResult::new(membership.state.clone(), membership.position);
        result.initial = true;
        result.is_dm = Some(self.is_dm);
        result.stripped = Some(stripped);
        result.unread = Some(NOTHING_UNREAD);
        Ok(Told { result: Some(result), sent: Some(sent), is_initial: true, ..Told::default() })
    }
}
