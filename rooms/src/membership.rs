//! Who is in a room: what changes it, and the questions about it.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
};
use serde_json::value::RawValue;
use storage::Position;

use crate::{Error, Rooms, Root};

/// What a member event says about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub displayname: Option<String>,
    pub avatar_url: Option<String>,
}

#[derive(Clone, Debug)]
pub struct JoinRequest<'a> {
    pub room_id: &'a RoomId,
    pub user: &'a UserId,
    pub profile: Profile,
    pub guest: bool,
    pub reason: Option<&'a str>,
    /// Further keys of the member event's content, a JSON object.
    pub extra: Option<&'a RawValue>,
}

#[derive(Clone, Debug)]
pub struct KnockRequest<'a> {
    pub room_id: &'a RoomId,
    pub user: &'a UserId,
    pub profile: Profile,
    pub reason: Option<&'a str>,
}

/// `sender` changes the membership of `target`.
#[derive(Clone, Copy, Debug)]
pub struct MembershipChange<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub target: &'a UserId,
    pub reason: Option<&'a str>,
}

/// A room as one of its (former) local users has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRoom {
    pub room_id: OwnedRoomId,
    pub membership: MembershipState,
    pub event_id: OwnedEventId,
    /// Of the member event.
    pub position: Position,
    /// The room's state just after the member event: what somebody who left may see.
    pub state: Root,
    /// The user wants to hear of it no more.
    pub forgotten: bool,
}

impl Rooms {
    /// Joins a room of this server. Joining again changes nothing.
    pub async fn join(&self, _request: JoinRequest<'_>) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn invite(
        &self,
        _change: MembershipChange<'_>,
        _profile: Profile,
        _is_direct: bool,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    /// Leaves, rejects an invitation or takes a knock back.
    pub async fn leave(
        &self,
        _room: &RoomId,
        _user: &UserId,
        _reason: Option<&str>,
    ) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn kick(&self, _change: MembershipChange<'_>) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn ban(&self, _change: MembershipChange<'_>) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn unban(&self, _change: MembershipChange<'_>) -> Result<(), Error> {
        unimplemented!()
    }
    pub async fn knock(&self, _request: KnockRequest<'_>) -> Result<(), Error> {
        unimplemented!()
    }
    /// Hides a room that the user has left.
    pub async fn forget(&self, _room: &RoomId, _user: &UserId) -> Result<(), Error> {
        unimplemented!()
    }
    /// Writes the profile into the user's member event of each joined room.
    pub async fn set_profile_in_rooms(
        &self,
        _user: &UserId,
        _profile: &Profile,
    ) -> Result<(), Error> {
        unimplemented!()
    }

    /// `None` if the user never was in the room.
    pub async fn membership(
        &self,
        _user: &UserId,
        _room: &RoomId,
    ) -> Result<Option<MembershipState>, Error> {
        unimplemented!()
    }
    /// Every room in which the local user has or had a membership, forgotten ones included.
    pub async fn rooms_of(&self, _user: &UserId) -> Result<Vec<UserRoom>, Error> {
        unimplemented!()
    }
    pub async fn user_room(
        &self,
        _user: &UserId,
        _room: &RoomId,
    ) -> Result<Option<UserRoom>, Error> {
        unimplemented!()
    }
    pub async fn joined_local_users(
        &self,
        _room: &RoomId,
    ) -> Result<Arc<BTreeSet<OwnedUserId>>, Error> {
        unimplemented!()
    }
    /// Whether both are joined to some room.
    pub async fn shares_room(&self, _local: &UserId, _other: &UserId) -> Result<bool, Error> {
        unimplemented!()
    }
    /// The stripped state that goes with an invitation or a knock of the user: JSON objects.
    pub async fn stripped_state(
        &self,
        _user_room: &UserRoom,
        _user: &UserId,
    ) -> Result<Vec<Bytes>, Error> {
        unimplemented!()
    }
}
