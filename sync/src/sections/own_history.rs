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

/// Since when a user is in a room, as far as that tells what they were at an event without a look
/// at the state before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stay {
    /// Position of their newest member event.
    since: Position,
    /// They had no membership before.
    is_first: bool,
}

impl Stay {
    /// `root` is the room's state now; `None` if the user is not in the room.
    pub(crate) async fn now(
        scope: &Scope<'_>,
        root: rooms::Root,
    ) -> Result<Option<Self>, SyncError> {
        let (rooms, user) = (&scope.sync.sources.rooms, scope.user.as_str());
        let own = rooms.state_get(root, "m.room.member", user).await?;
        let is_in =
            |event: &Arc<StoredEvent>| event.pdu.membership() == Some(MembershipState::Join);
        let Some(own) = own.filter(|own| is_in(own) && !own.is_historic() && !own.has_forked())
        else {
            return Ok(None);
        };
        let before = rooms.state_get(own.state_before, "m.room.member", user).await?;
        Ok(Some(Self { since: own.position, is_first: before.is_none() }))
    }

    /// The user's membership once the event had happened, if it was delivered in the order in which
    /// things happened.
    pub(crate) fn at(&self, event: &StoredEvent) -> Option<MembershipState> {
        if event.is_historic() || event.has_forked() {
            return None;
        }
        if event.position > self.since {
            return Some(MembershipState::Join);
        }
        let is_before = self.is_first && event.position < self.since;
        is_before.then_some(MembershipState::Leave)
    }

    fn covers(&self, events: &[Arc<StoredEvent>]) -> bool {
        events.iter().all(|event| self.at(event) == Some(MembershipState::Join))
    }
}

/// Whether the user is known to have been in the room at all of these events.
pub(crate) fn stayed(stay: Option<&Stay>, events: &[Arc<StoredEvent>]) -> bool {
    stay.is_some_and(|stay| stay.covers(events))
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
