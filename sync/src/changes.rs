//! In memory: how far each room and each user moved, for those who were connected recently.
//!
//! A mark is the position of the last change and is exact above a floor. Comparing marks with a
//! token is all that a sync without news costs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use devices::keys::KeyCounts;
use parking_lot::{Mutex, RwLock};
use ruma::{
    OwnedDeviceId, OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState,
};
use smallvec::SmallVec;
use storage::Position;

use crate::{
    hub::presence::PresenceNews,
    sliding::facts::Kept,
    unwanted::Unwanted,
    waiter::{Change, Waiter},
};

/// The highest value seen, whatever the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Mark(AtomicU64);

impl Mark {
    pub(crate) fn at(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Whether that was news.
    pub(crate) fn raise(&self, to: u64) -> bool {
        self.0.fetch_max(to, Ordering::AcqRel) < to
    }
}

/// A room in which somebody who was connected recently is joined.
#[derive(Debug)]
pub(crate) struct RoomMark {
    pub(crate) room_id: OwnedRoomId,
    /// Position of the newest event, once `event_is_exact`.
    pub(crate) event: Mark,
    pub(crate) event_is_exact: AtomicBool,
    /// Position of the newest event of those that people care about, once `bump_is_exact`.
    pub(crate) bump: Mark,
    pub(crate) bump_is_exact: AtomicBool,
    /// Position of the newest public receipt, or of when the room began to be followed.
    pub(crate) receipt: Mark,
    /// Position of the newest change of a membership, or of when the room began to be followed.
    pub(crate) members: Mark,
    /// Sequence of the last change of who is typing.
    pub(crate) typing: Mark,
    /// What the room was created as, once somebody asked; it never changes.
    pub(crate) room_type: OnceLock<Option<String>>,
    watchers: RwLock<Vec<Arc<UserMark>>>,
}

impl RoomMark {
    /// Facts above `floor` will be applied to the mark.
    pub(crate) fn new(room_id: OwnedRoomId, floor: Position, typing: u64) -> Self {
        Self {
            room_id,
            event: Mark::default(),
            event_is_exact: AtomicBool::new(false),
            bump: Mark::default(),
            bump_is_exact: AtomicBool::new(false),
            receipt: Mark::at(floor),
            members: Mark::at(floor),
            typing: Mark::at(typing),
            room_type: OnceLock::new(),
            watchers: RwLock::default(),
        }
    }

    pub(crate) fn watch(&self, user: &Arc<UserMark>) {
        let mut watchers = self.watchers.write();
        if !watchers.iter().any(|watcher| Arc::ptr_eq(watcher, user)) {
            watchers.push(Arc::clone(user));
        }
    }

    pub(crate) fn unwatch(&self, user: &UserId) {
        self.watchers.write().retain(|watcher| watcher.user_id != user);
    }

    pub(crate) fn is_watched(&self) -> bool {
        !self.watchers.read().is_empty()
    }

    pub(crate) fn for_each_watcher(&self, mut visit: impl FnMut(&Arc<UserMark>)) {
        for watcher in self.watchers.read().iter() {
            visit(watcher);
        }
    }
}

/// A membership of a user and, while joined, the room's mark.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) state: MembershipState,
    /// Of the member event.
    pub(crate) position: Position,
    pub(crate) room: Option<Arc<RoomMark>>,
    /// Of the user's newest receipt of their own, if that is above the user's floor.
    pub(crate) own_receipt: Position,
}

/// A user who was connected recently.
#[derive(Debug)]
pub(crate) struct UserMark {
    pub(crate) user_id: OwnedUserId,
    /// Facts above this position have been applied to this mark.
    pub(crate) floor: Position,
    pub(crate) memberships: RwLock<BTreeMap<OwnedRoomId, Membership>>,
    pub(crate) loaded: tokio::sync::OnceCell<()>,
    pub(crate) account_data: Mark,
    /// Of the threads that the user follows.
    pub(crate) thread_subscriptions: Mark,
    pub(crate) to_device: Mark,
    /// Of the profile of somebody in a room of the user's, or of the user.
    pub(crate) profiles: Mark,
    /// Of the devices or keys of somebody in a room of the user's, and of the user.
    pub(crate) device_lists: Mark,
    /// Of the one-time keys of any of the user's devices, if that was seen: what they are is asked.
    pub(crate) one_time_keys: Mark,
    /// What each device has left, and the mark above when it was read.
    pub(crate) key_counts: Mutex<BTreeMap<OwnedDeviceId, (Position, Arc<KeyCounts>)>>,
    /// Sequence of the last change of presence that is of interest to the user.
    pub(crate) presence: Mark,
    pub(crate) presence_news: Mutex<PresenceNews>,
    /// Requests and connections that rely on this mark being kept.
    pub(crate) leases: AtomicU64,
    /// Sweep in which the user was last seen.
    pub(crate) last_used: AtomicU64,
    /// The last to-device message given to each device, until the device confirms it.
    pub(crate) given: Mutex<BTreeMap<OwnedDeviceId, Option<Position>>>,
    /// What the user does not want to see, and how far their account data was then.
    pub(crate) unwanted: Mutex<Option<(Position, Arc<Unwanted>)>>,
    /// What their account data says of their rooms.
    pub(crate) facts: Mutex<Kept>,
    waiters: Mutex<SmallVec<[Arc<Waiter>; 2]>>,
}

impl UserMark {
    /// Facts above `floor` and changes of presence above `presence_floor` will be applied to the
    /// mark: it counts as moved up to there, so that older tokens lead to a look into the store.
    pub(crate) fn new(user_id: OwnedUserId, floor: Position, presence_floor: u64) -> Self {
        Self {
            user_id,
            floor,
            memberships: RwLock::default(),
            loaded: tokio::sync::OnceCell::new(),
            account_data: Mark::at(floor),
            thread_subscriptions: Mark::at(floor),
            to_device: Mark::at(floor),
            profiles: Mark::at(floor),
            device_lists: Mark::at(floor),
            one_time_keys: Mark::default(),
            key_counts: Mutex::default(),
            presence: Mark::at(presence_floor),
            presence_news: Mutex::new(PresenceNews::after(presence_floor)),
            leases: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
            given: Mutex::default(),
            unwanted: Mutex::default(),
            facts: Mutex::default(),
            waiters: Mutex::default(),
        }
    }

    pub(crate) fn add_waiter(&self, waiter: Arc<Waiter>) {
        self.waiters.lock().push(waiter);
    }

    pub(crate) fn remove_waiter(&self, waiter: &Arc<Waiter>) {
        self.waiters.lock().retain(|other| !Arc::ptr_eq(other, waiter));
    }

    pub(crate) fn wake_everyone(&self) {
        self.waiters.lock().iter().for_each(|waiter| waiter.wake());
    }

    pub(crate) fn for_each_waiter(&self, change: Change<'_>, mut visit: impl FnMut(&Arc<Waiter>)) {
        for waiter in self.waiters.lock().iter().filter(|waiter| waiter.wants(change)) {
            visit(waiter);
        }
    }
}
