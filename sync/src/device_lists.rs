//! `device_lists`: whose devices to look up again, and whose to forget ([spec]).
//!
//! Changed devices come from the order of changes that `devices` keeps; who newly shares a room, or
//! no longer does, from the members of the rooms that moved. Every room counts, encrypted or not.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user

use std::collections::BTreeSet;

use rooms::Root;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use storage::Position;

use crate::{
    SyncError,
    changes::{Membership, UserMark},
    json::Object,
    service::Inner,
};

const MEMBER: &str = "m.room.member";
/// Changed users read at a time.
const PAGE: usize = 500;
/// Changes of one membership that are followed back; after more, the user counts as one who came.
const CHANGES_MAX: usize = 20;
/// Members of a room that somebody came into or left.
const MEMBERS_MAX: usize = 50_000;

/// Users whose devices changed or came into sight, and users who are out of sight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceLists {
    pub changed: BTreeSet<OwnedUserId>,
    pub left: BTreeSet<OwnedUserId>,
}

/// What is to be looked at for a user: found without reading the store.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// The list of somebody in sight.
    pub(crate) lists: bool,
    /// Rooms whose members moved, or that the user came into or left.
    pub(crate) rooms: Vec<(OwnedRoomId, Membership)>,
}

impl Moved {
    pub(crate) fn is_nothing(&self) -> bool {
        !self.lists && self.rooms.is_empty()
    }
}

/// What moved since `after`, at the moment of the call.
pub(crate) fn moved(user: &UserMark, after: Position) -> Moved {
    let memberships = user.memberships.read();
    let has_moved = |membership: &Membership| {
        let members = membership.room.as_ref().map_or(0, |room| room.members.get());
        membership.position > after || members > after
    };
    let rooms = memberships.iter().filter(|(_, membership)| has_moved(membership));
    Moved {
        lists: user.device_lists.get() > after,
        rooms: rooms.map(|(room_id, room)| (room_id.clone(), room.clone())).collect(),
    }
}

impl DeviceLists {
    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left.is_empty()
    }

    pub(crate) fn write(&self, object: &mut Object<'_>) {
        let mut lists = Object::open(object.key("device_lists"));
        // Those with nobody in them are left out, as clients know it from Synapse.
        let lists_of_users = [("changed", &self.changed), ("left", &self.left)];
        for (name, users) in lists_of_users.into_iter().filter(|(_, users)| !users.is_empty()) {
            serde_json::to_writer(lists.key(name), users).expect("ids are written to memory");
        }
        lists.close();
    }
}

/// The changes after `after`, up to and including `now`.
pub(crate) async fn changes(
    sync: &Inner,
    user: &UserMark,
    moved: &Moved,
    after: Position,
    now: Position,
) -> Result<DeviceLists, SyncError> {
    let (mut changed, mut gone) = (BTreeSet::new(), BTreeSet::new());
    let sight = Sight::of(sync, user);
    for (room_id, membership) in &moved.rooms {
        let change = Change { room_id, membership, after, now };
        sight.members_moved(&change, &mut changed, &mut gone).await?;
    }
    if moved.lists {
        sight.lists_changed(after, now, &mut changed).await?;
    }
    let mut lists = DeviceLists { changed, left: BTreeSet::new() };
    for user_id in gone {
        if !sight.has(&user_id).await? {
            lists.changed.remove(&user_id);
            lists.left.insert(user_id);
        }
    }
    Ok(lists)
}

struct Change<'a> {
    room_id: &'a RoomId,
    membership: &'a Membership,
    after: Position,
    now: Position,
}

/// The rooms in which a user is, and so whom they see.
pub(crate) struct Sight<'a> {
    sync: &'a Inner,
    user: &'a UserId,
    rooms: BTreeSet<OwnedRoomId>,
}

impl<'a> Sight<'a> {
    pub(crate) fn of(sync: &'a Inner, user: &'a UserMark) -> Self {
        let memberships = user.memberships.read();
        let joined = memberships.iter().filter(|(_, room)| room.state == MembershipState::Join);
        let rooms = joined.map(|(room_id, _)| room_id.clone()).collect();
        Self { sync, user: &user.user_id, rooms }
    }

    /// Whether the user sees `other`, themselves included.
    pub(crate) async fn has(&self, other: &UserId) -> Result<bool, SyncError> {
        if other == self.user {
            return Ok(true);
        }
        let theirs = self.sync.sources.rooms.joined_rooms(other).await?;
        Ok(theirs.iter().any(|room_id| self.rooms.contains(room_id)))
    }

    async fn lists_changed(
        &self,
        after: Position,
        now: Position,
        changed: &mut BTreeSet<OwnedUserId>,
    ) -> Result<(), SyncError> {
        let devices = &self.sync.sources.devices;
        changed.extend(devices.changed_for(self.user, after).await?);
        let mut after = after;
        loop {
            let page = devices.changed_device_lists(after, now, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            let is_last = page.len() < PAGE;
            for (_, user_id) in page {
                if !changed.contains(&user_id) && self.has(&user_id).await? {
                    changed.insert(user_id);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn members_moved(
        &self,
        change: &Change<'_>,
        came: &mut BTreeSet<OwnedUserId>,
        gone: &mut BTreeSet<OwnedUserId>,
    ) -> Result<(), SyncError> {
        let rooms = &self.sync.sources.rooms;
        let before = self.root_at(change.room_id, change.after).await?;
        let was_in = self.is_joined(before, self.user.as_str()).await?;
        let is_in = change.membership.state == MembershipState::Join;
        let after = self.root_at(change.room_id, change.now).await?;
        let has_own_news = change.membership.position > change.after;
        // Of whom the user did not see for a while, changes may have passed unseen.
        let was_away =
            is_in && has_own_news && !self.has_stayed(after, self.user.as_str(), change).await?;
        if was_in != is_in || was_away {
            let mut members = rooms.joined_users(change.room_id, MEMBERS_MAX).await?;
            members.retain(|member| member != self.user);
            if is_in {
                came.extend(members)
            } else {
                gone.extend(members)
            }
            return Ok(());
        }
        let (true, Some(before), Some(after)) = (is_in, before, after) else { return Ok(()) };
        for (event_type, key, event_id) in rooms.state_diff(before, after).await? {
            let Ok(member) = UserId::parse(&key) else { continue };
            if event_type != MEMBER || member == self.user {
                continue;
            }
            let event = rooms.event_by_id(&event_id).await?;
            let membership = event.and_then(|event| event.pdu.membership());
            let is_in = membership == Some(MembershipState::Join);
            match (self.is_joined(Some(before), &key).await?, is_in) {
                (false, true) => drop(came.insert(member)),
                (true, false) => drop(gone.insert(member)),
                // Clients encrypt for who is invited too, where history may be seen from then on.
                (false, false) if membership == Some(MembershipState::Invite) => {
                    came.insert(member);
                }
                (true, true) if !self.has_stayed(Some(after), &key, change).await? => {
                    came.insert(member);
                }
                _ => (),
            }
        }
        Ok(())
    }

    async fn is_joined(&self, root: Option<Root>, user_id: &str) -> Result<bool, SyncError> {
        let Some(root) = root else { return Ok(false) };
        let event = self.sync.sources.rooms.state_get(root, MEMBER, user_id).await?;
        Ok(event.is_some_and(|event| is_join(&event)))
    }

    /// Whether whoever is in the room in this state has been there since the token.
    async fn has_stayed(
        &self,
        root: Option<Root>,
        user_id: &str,
        change: &Change<'_>,
    ) -> Result<bool, SyncError> {
        let mut root = root;
        for _ in 0..CHANGES_MAX {
            let Some(current) = root else { return Ok(false) };
            let event = self.sync.sources.rooms.state_get(current, MEMBER, user_id).await?;
            match event.filter(|event| is_join(event)) {
                None => return Ok(false),
                Some(event) if event.position <= change.after => return Ok(true),
                Some(event) => root = Some(event.state_before),
            }
        }
        Ok(false)
    }

    async fn root_at(&self, room: &RoomId, position: Position) -> Result<Option<Root>, SyncError> {
        let rooms = &self.sync.sources.rooms;
        let last = rooms.timeline(room, 0, position, 1, true).await?;
        match last.first() {
            Some(event) => Ok(Some(rooms.room_state_after(event).await?)),
            None => Ok(None),
        }
    }
}

fn is_join(event: &rooms::StoredEvent) -> bool {
    event.pdu.membership() == Some(MembershipState::Join)
}

impl crate::Sync {
    /// What `/keys/changes` answers. Both are tokens of this server; changes after `to` may be in
    /// the answer too.
    pub async fn device_list_changes(
        &self,
        user: &UserId,
        from: &str,
        to: Option<&str>,
    ) -> Result<DeviceLists, SyncError> {
        let sync = &self.inner;
        let from = sync.since(Some(from))?.ok_or(SyncError::InvalidToken)?;
        if let Some(to) = to {
            sync.since(Some(to))?;
        }
        let lease = sync.hub.user(user).await?;
        sync.hub.caught_up().await?;
        let (moved, now) =
            sync.hub.at_one_moment(|now| (moved(&lease.mark, from.durable), now.durable));
        changes(sync, &lease.mark, &moved, from.durable, now).await
    }
}
