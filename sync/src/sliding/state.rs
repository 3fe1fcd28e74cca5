//! What a connection remembers: which rooms it was told, and how much of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use storage::Position;

use super::required::Required;

/// A room of which the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Told up to here only; `None`: up to the token of the `pos`.
    pub(crate) behind: Option<Position>,
    /// The client has at least so many of the newest events, without a gap.
    pub(crate) timeline_limit: u32,
    pub(crate) required: Arc<Required>,
    pub(crate) is_dm: bool,
}

/// The fields of profiles that a client is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProfileFields {
    #[default]
    None,
    Some(BTreeSet<String>),
    All,
}

impl ProfileFields {
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) | (_, Self::None) => true,
            (Self::Some(fields), Self::Some(other)) => other.is_subset(fields),
            (Self::None, _) | (_, Self::All) => false,
        }
    }
}

/// One version of a connection's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) rooms: BTreeMap<OwnedRoomId, Sent>,
    pub(crate) profiles: ProfileFields,
}

/// What an answer changes of the state.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// `None`: the room is forgotten.
    pub(crate) rooms: BTreeMap<OwnedRoomId, Option<Sent>>,
    pub(crate) profiles: Option<ProfileFields>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.profiles.is_none()
    }
}

impl State {
    pub(crate) fn with(&self, changes: Changes) -> Self {
        let mut rooms = self.rooms.clone();
        for (room_id, sent) in changes.rooms {
            match sent {
                Some(sent) => drop(rooms.insert(room_id, sent)),
                None => drop(rooms.remove(&room_id)),
            }
        }
        Self { rooms, profiles: changes.profiles.unwrap_or_else(|| self.profiles.clone()) }
    }
}

/// As it is stored: what is required, which is the same of most rooms, is written once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    required: Vec<Required>,
    rooms: Vec<SentRecord>,
    profiles: ProfileFields,
}

/// Before profiles were told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StateRecordV1 {
    required: Vec<Required>,
    rooms: Vec<SentRecord>,
}

impl From<StateRecordV1> for StateRecord {
    fn from(old: StateRecordV1) -> Self {
        let StateRecordV1 { required, rooms } = old;
        Self { required, rooms, profiles: ProfileFields::None }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct SentRecord {
    room_id: OwnedRoomId,
    behind: Option<Position>,
    timeline_limit: u32,
    required: u32,
    is_dm: bool,
}

impl From<&State> for StateRecord {
    fn from(state: &State) -> Self {
        let mut required: BTreeMap<&Required, u32> = BTreeMap::new();
        let mut written = Vec::new();
        let rooms = state.rooms.iter().map(|(room_id, sent)| SentRecord {
            room_id: room_id.clone(),
            behind: sent.behind,
            timeline_limit: sent.timeline_limit,
            required: *required.entry(&sent.required).or_insert_with(|| {
                written.push(Required::clone(&sent.required));
                u32::try_from(written.len() - 1).unwrap_or(u32::MAX)
            }),
            is_dm: sent.is_dm,
        });
        let rooms = rooms.collect();
        Self { required: written, rooms, profiles: state.profiles.clone() }
    }
}

impl From<StateRecord> for State {
    fn from(record: StateRecord) -> Self {
        let required: Vec<_> = record.required.into_iter().map(Arc::new).collect();
        let rooms = record.rooms.into_iter().map(|room| {
            let index = usize::try_from(room.required).unwrap_or(usize::MAX);
            let sent = Sent {
                behind: room.behind,
                timeline_limit: room.timeline_limit,
                required: required.get(index).cloned().unwrap_or_default(),
                is_dm: room.is_dm,
            };
            (room.room_id, sent)
        });
        Self { rooms: rooms.collect(), profiles: record.profiles }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::Arc,
    };

    use ruma::owned_room_id;

    use super::{Changes, ProfileFields, Sent, State, StateRecord};
    use crate::sliding::required::{Element, Part, Required};

    #[test]
    fn a_state_reads_back_and_writes_what_is_required_once() {
        let element = Element { event_type: Some("t".to_owned()), state_key: None };
        let part = Part { include: vec![element], ..Part::default() };
        let (some, none) = (Arc::new(Required::of(part)), Arc::new(Required::default()));
        let sent = |behind, required: &Arc<Required>| Sent {
            behind,
            timeline_limit: 20,
            required: Arc::clone(required),
            is_dm: behind.is_some(),
        };
        let rooms = BTreeMap::from([
            (owned_room_id!("!a:x"), sent(None, &some)),
            (owned_room_id!("!b:x"), sent(Some(7), &none)),
            (owned_room_id!("!c:x"), sent(None, &some)),
        ]);
        let profiles = ProfileFields::Some(BTreeSet::from(["displayname".to_owned()]));
        let state = State { rooms, profiles };
        let record = StateRecord::from(&state);
        assert_eq!(record.required.len(), 2);
        assert_eq!(State::from(record), state);

        let rooms = BTreeMap::from([(owned_room_id!("!b:x"), None)]);
        let gone = state.with(Changes { rooms, profiles: None });
        assert_eq!((gone.rooms.len(), gone.profiles), (2, state.profiles));
    }

    #[test]
    fn fields_of_profiles_cover_each_other_or_not() {
        let some = |names: &[&str]| {
            ProfileFields::Some(names.iter().map(|name| (*name).to_owned()).collect())
        };
        let (none, all) = (ProfileFields::None, ProfileFields::All);
        for (told, asked, covers) in [
            (&all, &some(&["a"]), true),
            (&all, &all, true),
            (&some(&["a", "b"]), &some(&["a"]), true),
            (&some(&["a"]), &some(&["a", "b"]), false),
            (&some(&["a"]), &all, false),
            (&none, &some(&[]), false),
            (&none, &none, true),
        ] {
            assert_eq!(told.covers(asked), covers, "{told:?} {asked:?}");
        }
    }
}
