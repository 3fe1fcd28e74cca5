//! What became of the user's own membership of a room since the token.

use std::sync::Arc;

use rooms::StoredEvent;
use ruma::{RoomId, events::room::member::MembershipState};
use storage::Position;

use crate::{SyncError, compute::Scope};

/// Own member events that are followed back; more in one window count as a new join.
const MAX_CHANGES: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct OwnHistory {
    /// Joined at the token and at every moment since, whatever the profile was.
    pub(crate) stayed: bool,
    /// Joined at the token, or at some moment since.
    pub(crate) was_joined: bool,
    /// Came in since the token, so the client does not know the state.
    pub(crate) came_in: bool,
}

/// `position` is that of the user's newest member event.
pub(crate) async fn since(
    scope: &Scope<'_>,
    room: &RoomId,
    position: Position,
) -> Result<OwnHistory, SyncError> {
    let mut memberships = Vec::new();
    let mut current = own_event(scope, room, position).await?;
    while let Some(event) = current {
        memberships.push(event.pdu.membership() == Some(MembershipState::Join));
        if event.position <= scope.after() {
            break;
        }
        if memberships.len() > MAX_CHANGES {
            memberships.push(false);
            break;
        }
        let (root, user) = (event.state_before, scope.user.as_str());
        current = scope.sync.sources.rooms.state_get(root, "m.room.member", user).await?;
        if current.is_none() {
            memberships.push(false);
        }
    }
    Ok(OwnHistory {
        stayed: memberships.iter().all(|joined| *joined),
        was_joined: memberships.iter().any(|joined| *joined),
        // Newest first: joined just after not joined.
        came_in: memberships.windows(2).any(|pair| pair == [true, false]),
    })
}

pub(crate) async fn own_event(
    scope: &Scope<'_>,
    room: &RoomId,
    position: Position,
) -> Result<Option<Arc<StoredEvent>>, SyncError> {
    let before = position.saturating_sub(1);
    let events = scope.sync.sources.rooms.timeline(room, before, position, 1, false).await?;
    Ok(events.into_iter().next())
}
