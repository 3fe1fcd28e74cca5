//! State resolution.
use std::{collections::BTreeMap, sync::Arc};
use ruma::{EventId, OwnedEventId};
use crate::{Pdu, RoomVersion};
/// `(event type, state key)`.
pub type StateKey = (String, String);
pub type StateMap = BTreeMap<StateKey, OwnedEventId>;
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("event {0} is not known")]
    MissingEvent(OwnedEventId),
    #[error("event {0} authorises itself")]
    AuthCycle(OwnedEventId),
    #[error("event {0} is not a state event")]
    NotState(OwnedEventId),
}
pub fn resolve(_version: &RoomVersion, _state_sets: &[StateMap], _events: impl Fn(&EventId) -> Option<Arc<Pdu>>) -> Result<StateMap, ResolveError> { unimplemented!() }
