//! Reading state: at a root, and as a viewer may see it.

use std::sync::Arc;

use ruma::{
    EventId, OwnedEventId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
};

use crate::{Error, Rooms, Root, StoredEvent};

impl Rooms {
    /// A durable event, whoever asks.
    pub async fn event_by_id(
        &self,
        _event_id: &EventId,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        unimplemented!()
    }
    pub async fn state_get(
        &self,
        _root: Root,
        _event_type: &str,
        _state_key: &str,
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        unimplemented!()
    }
    /// `(type, state key, event id)` of every entry.
    pub async fn state_iter(
        &self,
        _root: Root,
    ) -> Result<Vec<(String, String, OwnedEventId)>, Error> {
        unimplemented!()
    }
    /// The entries of `new` that `old` does not have or has otherwise. Costs what the difference costs.
    pub async fn state_diff(
        &self,
        _old: Root,
        _new: Root,
    ) -> Result<Vec<(String, String, OwnedEventId)>, Error> {
        unimplemented!()
    }
    /// The state just after the event.
    pub async fn state_after(&self, _event: &StoredEvent) -> Result<Root, Error> {
        unimplemented!()
    }
    /// The root of the state that the viewer may see: the current one, or that at the time of leaving.
    pub async fn visible_state(&self, _viewer: &UserId, _room: &RoomId) -> Result<Root, Error> {
        unimplemented!()
    }
    pub async fn state(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        unimplemented!()
    }
    pub async fn state_event(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _event_type: &str,
        _state_key: &str,
    ) -> Result<Arc<StoredEvent>, Error> {
        unimplemented!()
    }
    /// Member events. `at` is a position of the log.
    pub async fn members(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
        _at: Option<storage::Position>,
        _membership: Option<&MembershipState>,
        _not_membership: Option<&MembershipState>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        unimplemented!()
    }
    pub async fn joined_members(
        &self,
        _viewer: &UserId,
        _room: &RoomId,
    ) -> Result<Vec<(OwnedUserId, crate::Profile)>, Error> {
        unimplemented!()
    }
}
