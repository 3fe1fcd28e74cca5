//! The rooms of a user at one moment, from memory, in the order of the newest event.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use ruma::{OwnedRoomId, events::room::member::MembershipState};
use storage::Position;

use crate::{
    SyncError, Token,
    changes::{Membership, UserMark},
    device_lists::{self, Moved},
    hub::Moment,
    service::Inner,
};

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) membership: Membership,
    /// Position of the newest event, or of the membership for who is not in the room.
    pub(crate) activity: Position,
}

impl Entry {
    pub(crate) fn is_joined(&self) -> bool {
        self.membership.state == MembershipState::Join
    }

    pub(crate) fn is_invite(&self) -> bool {
        self.membership.state == MembershipState::Invite
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.membership.state, MembershipState::Leave | MembershipState::Ban)
    }
}

/// What is known without reading the store.
pub(crate) struct Snapshot {
    pub(crate) now: Moment,
    /// Newest first.
    pub(crate) entries: Vec<Entry>,
    pub(crate) account_data: Position,
    pub(crate) thread_subscriptions: Position,
    pub(crate) profiles: Position,
    pub(crate) to_device: Position,
    pub(crate) presence: u64,
    pub(crate) one_time_keys: Position,
    pub(crate) device_lists: Moved,
}

pub(crate) async fn take(
    sync: &Inner,
    user: &UserMark,
    since: Option<&Token>,
) -> Result<Snapshot, SyncError> {
    loop {
        let (mut snapshot, ahead) = sync.hub.at_one_moment(|now| look(user, since, now));
        // The rooms were read from the store while the log was still behind it.
        if ahead > snapshot.now.durable {
            sync.hub.reach(ahead).await?;
            continue;
        }
        for entry in &mut snapshot.entries {
            let Some(room) = &entry.membership.room else { continue };
            if !room.event_is_exact.load(Ordering::Acquire) {
                sync.hub.make_exact(room).await?;
                entry.activity = entry.activity.max(room.event.get());
            }
        }
        snapshot.entries.sort_by(|one, other| {
            other.activity.cmp(&one.activity).then_with(|| one.room_id.cmp(&other.room_id))
        });
        return Ok(snapshot);
    }
}

fn look(user: &UserMark, since: Option<&Token>, now: Moment) -> (Snapshot, Position) {
    let memberships = user.memberships.read();
    let ahead = memberships.values().map(|membership| membership.position).max();
    let snapshot = Snapshot {
        now,
        entries: entries(&memberships),
        account_data: user.account_data.get(),
        thread_subscriptions: user.thread_subscriptions.get(),
        profiles: user.profiles.get(),
        to_device: user.to_device.get(),
        presence: user.presence.get(),
        one_time_keys: user.one_time_keys.get(),
        device_lists: Moved::default(),
    };
    drop(memberships);
    let device_lists = since.map(|since| device_lists::moved(user, since.durable));
    (Snapshot { device_lists: device_lists.unwrap_or_default(), ..snapshot }, ahead.unwrap_or(0))
}

fn entries(memberships: &BTreeMap<OwnedRoomId, Membership>) -> Vec<Entry> {
    let entry = |(room_id, membership): (&OwnedRoomId, &Membership)| {
        let newest = membership.room.as_ref().map_or(0, |room| room.event.get());
        Entry {
            room_id: room_id.clone(),
            membership: membership.clone(),
            activity: newest.max(membership.position),
        }
    };
    memberships.iter().map(entry).collect()
}
