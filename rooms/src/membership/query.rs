//! Questions about memberships.

use std::{collections::BTreeSet, sync::Arc};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use storage::Range;

use crate::{
    Error, Rooms, UserRoom,
    store::{Members, RemoteUserRooms, UserRoomRecord, UserRooms},
};

/// Rooms of a user of another server that are looked at.
const MAX_REMOTE_ROOMS: usize = 10_000;

/// Some of a room's joined members.
#[derive(Clone, Debug)]
pub struct MembersPage {
    pub users: Vec<OwnedUserId>,
    /// After whom to go on; `None` at the end.
    pub next: Option<OwnedUserId>,
}

impl UserRoom {
    fn from_row(room_id: &str, record: UserRoomRecord) -> Result<Self, Error> {
        Ok(Self {
            room_id: RoomId::parse(room_id).map_err(|_| {
                Error::Internal(format!("{room_id:?} is stored as a room id and is none"))
            })?,
            membership: record.membership,
            event_id: record.event_id,
            position: record.position,
            state: record.state,
            seen: record.seen.map(|seen| seen.state),
            forgotten: record.forgotten,
        })
    }
}

impl Rooms {
    /// `None` if the user never was in the room.
    pub async fn membership(
        &self,
        user: &UserId,
        room: &RoomId,
    ) -> Result<Option<MembershipState>, Error> {
        let row = self.inner.store.get::<Members>(room, user).await?;
        Ok(row.map(|row| row.membership))
    }

    /// Every room in which the local user has or had a membership, forgotten ones included.
    pub async fn rooms_of(&self, user: &UserId) -> Result<Vec<UserRoom>, Error> {
        let rows = self.inner.store.scan::<UserRooms>(user, Range::all()).await?;
        rows.into_iter().map(|row| UserRoom::from_row(&row.sort, row.value)).collect()
    }

    pub async fn user_room(&self, user: &UserId, room: &RoomId) -> Result<Option<UserRoom>, Error> {
        let row = self.inner.store.get::<UserRooms>(user, room).await?;
        row.map(|row| UserRoom::from_row(room.as_str(), row)).transpose()
    }

    /// The rooms that the user, of whatever server, is joined to.
    pub async fn joined_rooms(&self, user: &UserId) -> Result<Vec<OwnedRoomId>, Error> {
        if !self.inner.is_local(user) {
            let range = Range::all().limit(MAX_REMOTE_ROOMS);
            let rows = self.inner.store.scan::<RemoteUserRooms>(user, range).await?;
            return Ok(rows.into_iter().filter_map(|row| RoomId::parse(row.sort).ok()).collect());
        }
        let rooms = self.rooms_of(user).await?.into_iter();
        let joined = rooms.filter(|room| room.membership == MembershipState::Join);
        Ok(joined.map(|room| room.room_id).collect())
    }

    /// The rooms that both are joined to, in the order of their ids.
    pub async fn mutual_rooms(
        &self,
        local: &UserId,
        other: &UserId,
    ) -> Result<Vec<OwnedRoomId>, Error> {
        let others: BTreeSet<_> = self.joined_rooms(other).await?.into_iter().collect();
        let mut rooms = self.joined_rooms(local).await?;
        rooms.retain(|room| others.contains(room));
        rooms.sort();
        Ok(rooms)
    }

    /// Joined members of a room, of whatever servers, at most `limit`.
    pub async fn joined_users(
        &self,
        room: &RoomId,
        limit: usize,
    ) -> Result<Vec<OwnedUserId>, Error> {
        let range = Range::all().limit(limit);
        let rows = self.inner.store.scan::<Members>(room, range).await?;
        let joined = rows.into_iter().filter(|row| row.value.membership == MembershipState::Join);
        Ok(joined.filter_map(|row| UserId::parse(row.sort).ok()).collect())
    }

    /// As [`joined_users`](Self::joined_users), of which there may be any number: those of the next
    /// `rows` members, in whatever way they are.
    pub async fn joined_users_after(
        &self,
        room: &RoomId,
        after: Option<&UserId>,
        rows: usize,
    ) -> Result<MembersPage, Error> {
        let range = after.map_or_else(Range::all, Range::after).limit(rows);
        let found = self.inner.store.scan::<Members>(room, range).await?;
        let last = found.last().filter(|_| found.len() == rows);
        let next = last.and_then(|row| UserId::parse(&row.sort).ok());
        let joined = found.into_iter().filter(|row| row.value.membership == MembershipState::Join);
        Ok(MembersPage {
            users: joined.filter_map(|row| UserId::parse(row.sort).ok()).collect(),
            next,
        })
    }

    pub async fn joined_local_users(
        &self,
        room: &RoomId,
    ) -> Result<Arc<BTreeSet<OwnedUserId>>, Error> {
        let view = self.inner.view(room).await?;
        Ok(view.map(|view| Arc::clone(&view.local_joined)).unwrap_or_default())
    }

    /// Whether both are joined to some room.
    pub async fn shares_room(&self, local: &UserId, other: &UserId) -> Result<bool, Error> {
        for room in self.rooms_of(local).await? {
            if room.membership == MembershipState::Join
                && self.membership(other, &room.room_id).await? == Some(MembershipState::Join)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
