//! What a waiting request of sliding sync is to be woken for.

use std::collections::BTreeSet;

use ruma::{OwnedRoomId, RoomId};

use super::request::SlidingBody;
use crate::waiter::Change;

#[derive(Debug)]
pub(crate) struct Interest {
    /// `None`: any room, since an event in any room changes the order of lists.
    rooms: Option<BTreeSet<OwnedRoomId>>,
    account_data: bool,
    receipts: bool,
    typing: bool,
    to_device: bool,
    e2ee: bool,
    presence: bool,
    profiles: bool,
    /// A list filters by them.
    tags: bool,
    thread_subscriptions: bool,
}

impl Interest {
    pub(crate) fn of(body: &SlidingBody) -> Self {
        let subscribed = || body.subscriptions.keys().cloned().collect();
        Self {
            rooms: body.lists.is_empty().then(subscribed),
            account_data: body.extensions.account_data.is_some(),
            receipts: body.extensions.receipts.is_some(),
            typing: body.extensions.typing.is_some(),
            to_device: body.extensions.to_device.is_some(),
            e2ee: body.extensions.e2ee,
            presence: body.extensions.presence.is_some(),
            profiles: body.extensions.profiles.is_some(),
            tags: body.lists.values().any(|list| list.filters.ask_for_tags()),
            thread_subscriptions: body.extensions.thread_subscriptions.is_some(),
        }
    }

    fn wants_room(&self, room: &RoomId) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.contains(room))
    }

    /// Of to-device messages and one-time keys, whether they are for the sleeper's device is known
    /// elsewhere.
    pub(crate) fn wants(&self, change: Change<'_>) -> bool {
        let has_rooms = self.rooms.as_ref().is_none_or(|rooms| !rooms.is_empty());
        match change {
            Change::Event { room } | Change::Membership { room } => self.wants_room(room),
            Change::Receipt { room } => self.receipts && self.wants_room(room),
            Change::Typing { room } => self.typing && self.wants_room(room),
            Change::RoomAccountData { room, event_type } => {
                (self.account_data && self.wants_room(room)) || (self.tags && event_type == "m.tag")
            }
            Change::AccountData { event_type } => {
                self.account_data || (has_rooms && event_type == "m.direct")
            }
            Change::ToDevice { .. } => self.to_device,
            Change::OneTimeKeys { .. } | Change::DeviceLists { .. } => self.e2ee,
            Change::Presence => self.presence,
            Change::Profiles => self.profiles,
            Change::ThreadSubscriptions => self.thread_subscriptions,
        }
    }
}
