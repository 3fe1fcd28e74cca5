//! Follows the log and the volatile changes, keeps the marks of `changes.rs`, and wakes exactly
//! those who wait for what changed.
//!
//! There is one task per kind of source, none per connection. A change costs one visit per
//! interested user who was connected recently; a wake-up is a flag and a permit.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use ruma::{
    OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
};
use stdx::Tasks;
use storage::{LoggedFact, Position};
use tokio::sync::{Notify, watch};

use crate::{
    Config, Filter, Sources, SyncError,
    changes::{Mark, Membership, RoomMark, UserMark},
    sliding::Interest,
    waiter::{Change, Waiter, Wanted},
};

mod bump;
pub(crate) mod follow;
mod interest;
pub(crate) mod presence;
mod sweep;

use self::interest::Interested;

pub(crate) struct Hub {
    sources: Sources,
    config: Config,
    users: RwLock<HashMap<OwnedUserId, Arc<UserMark>>>,
    rooms: RwLock<HashMap<OwnedRoomId, Arc<RoomMark>>>,
    /// Facts are applied under the write lock and moments are taken under the read lock, so a
    /// moment never shows half of a group of facts.
    epoch: RwLock<Epoch>,
    advanced: watch::Sender<Position>,
    typing: Mark,
    presence: Mark,
    /// Those who are woken together after a while, because what they wait for can wait.
    later: Mutex<Vec<Arc<Waiter>>>,
    later_waiting: Notify,
    sweeps: AtomicU64,
    stop: Tasks,
}

#[derive(Debug)]
struct Epoch {
    applied: Position,
}

/// How far everything is, at one point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) durable: Position,
    pub(crate) typing: u64,
    pub(crate) presence: u64,
}

impl Hub {
    pub(crate) fn start(sources: Sources, config: Config, tasks: &Tasks) -> Arc<Self> {
        let from = sources.store.log().position();
        let hub = Arc::new(Self {
            users: RwLock::default(),
            rooms: RwLock::default(),
            epoch: RwLock::new(Epoch { applied: from }),
            advanced: watch::Sender::new(from),
            typing: Mark::default(),
            presence: Mark::at(sources.presence.sequence()),
            later: Mutex::default(),
            later_waiting: Notify::new(),
            sweeps: AtomicU64::new(0),
            stop: tasks.clone(),
            sources,
            config,
        });
        follow::spawn(&hub, tasks);
        hub
    }

    /// Reads memory at one point between two groups of facts.
    pub(crate) fn at_one_moment<R>(&self, read: impl FnOnce(Moment) -> R) -> R {
        let epoch = self.epoch.read();
        read(Moment {
            durable: epoch.applied,
            typing: self.typing.get(),
            presence: self.presence.get(),
        })
    }

    /// Waits until what is durable now has been applied, so that somebody who was just answered
    /// finds what they wrote.
    pub(crate) async fn caught_up(&self) -> Result<(), SyncError> {
        let target = self.sources.store.log().position();
        if self.epoch.read().applied >= target {
            return Ok(());
        }
        tokio::select! {
            biased;
            reached = self.reach(target) => reached,
            () = self.stop.stopping() => Err(SyncError::Stopping),
        }
    }

    pub(crate) async fn reach(&self, target: Position) -> Result<(), SyncError> {
        let mut advanced = self.advanced.subscribe();
        loop {
            let applied = *advanced.borrow_and_update();
            if applied >= target {
                return Ok(());
            }
            // Positions skip where a batch was refused: then no fact will come to move us.
            if self.sources.store.facts(applied, target, 1).await?.is_empty() {
                self.advance(target, |_| ());
                return Ok(());
            }
            // The sender lives as long as `self`.
            let _closed = advanced.changed().await;
        }
    }

    /// Applies something that brings memory up to `to`.
    fn advance(&self, to: Position, apply: impl FnOnce(&Self)) {
        let mut epoch = self.epoch.write();
        apply(self);
        epoch.applied = epoch.applied.max(to);
        self.advanced.send_replace(epoch.applied);
    }

    /// The user's mark, with their rooms; held until the lease is dropped.
    pub(crate) async fn user(self: &Arc<Self>, user_id: &UserId) -> Result<Lease, SyncError> {
        let lease = self.lease(user_id);
        lease.mark.last_used.store(self.sweeps.load(Ordering::Relaxed), Ordering::Relaxed);
        lease.mark.loaded.get_or_try_init(|| self.load(&lease.mark)).await?;
        Ok(lease)
    }

    fn lease(self: &Arc<Self>, user_id: &UserId) -> Lease {
        if let Some(mark) = self.users.read().get(user_id) {
            return Lease::new(self, mark);
        }
        let epoch = self.epoch.read();
        let mut users = self.users.write();
        let mark = users.entry(user_id.to_owned()).or_insert_with(|| {
            let presence = self.presence.get();
            Arc::new(UserMark::new(user_id.to_owned(), epoch.applied, presence))
        });
        Lease::new(self, mark)
    }

    /// Reads the user's rooms. Facts that come meanwhile are applied too; the newer one wins.
    async fn load(&self, user: &Arc<UserMark>) -> Result<(), SyncError> {
        for room in self.sources.rooms.rooms_of(&user.user_id).await? {
            let mark = {
                let epoch = self.epoch.read();
                self.admit(user, &room.room_id, &room.membership, room.position, epoch.applied)
            };
            if let Some(mark) = mark {
                self.make_exact(&mark).await?;
            }
        }
        // Who was not among the watchers of their rooms yet was not told of it.
        user.lose_presence(self.sources.presence.sequence());
        Ok(())
    }

    /// Notes a membership, and follows the room while it is `join`.
    fn admit(
        &self,
        user: &Arc<UserMark>,
        room_id: &RoomId,
        state: &MembershipState,
        position: Position,
        floor: Position,
    ) -> Option<Arc<RoomMark>> {
        let mut memberships = user.memberships.write();
        let before = memberships.get(room_id);
        if before.is_some_and(|known| known.position >= position) {
            return None;
        }
        let followed = before.and_then(|known| known.room.clone());
        let own_receipt = before.map_or(user.floor, |known| known.own_receipt);
        let room = if *state == MembershipState::Join {
            Some(followed.unwrap_or_else(|| self.watched_room(user, room_id, floor)))
        } else {
            if let Some(mark) = followed {
                mark.unwatch(&user.user_id);
            }
            None
        };
        let membership = Membership { state: state.clone(), position, room, own_receipt };
        let mark = membership.room.clone();
        memberships.insert(room_id.to_owned(), membership);
        mark
    }

    /// The room's mark, with the user among its watchers before a sweep could find it unwatched.
    fn watched_room(
        &self,
        user: &Arc<UserMark>,
        room_id: &RoomId,
        floor: Position,
    ) -> Arc<RoomMark> {
        let mut rooms = self.rooms.write();
        let mark = rooms.entry(room_id.to_owned()).or_insert_with(|| {
            // Whether the client has the list as it is now is not known: it counts as changed.
            let (ever, _) = self.sources.rooms.typing(room_id);
            let typing = if ever == 0 { 0 } else { self.typing.get() };
            Arc::new(RoomMark::new(room_id.to_owned(), floor, typing))
        });
        mark.watch(user);
        Arc::clone(mark)
    }

    /// Looks up once how far the room was before it was followed.
    pub(crate) async fn make_exact(&self, mark: &RoomMark) -> Result<(), SyncError> {
        if mark.event_is_exact.load(Ordering::Acquire) {
            return Ok(());
        }
        let newest = self.sources.rooms.timeline(&mark.room_id, 0, Position::MAX, 1, true).await?;
        if let Some(event) = newest.first() {
            mark.event.raise(event.position);
        }
        mark.event_is_exact.store(true, Ordering::Release);
        Ok(())
    }

    /// Puts a sleeper to the user's others until the returned guard is dropped.
    pub(crate) fn register(
        self: &Arc<Self>,
        user: &UserId,
        device: Option<OwnedDeviceId>,
        filter: Arc<Filter>,
    ) -> Registered {
        self.register_waiter(user, Waiter::new(device, Wanted::Filtered(filter)))
    }

    pub(crate) fn register_sliding(
        self: &Arc<Self>,
        user: &UserId,
        device: OwnedDeviceId,
        interest: Arc<Interest>,
    ) -> Registered {
        self.register_waiter(user, Waiter::new(Some(device), Wanted::Sliding(interest)))
    }

    fn register_waiter(self: &Arc<Self>, user: &UserId, waiter: Waiter) -> Registered {
        let lease = self.lease(user);
        let waiter = Arc::new(waiter);
        lease.mark.add_waiter(Arc::clone(&waiter));
        Registered { lease, waiter }
    }

    /// Wakes the users' sleepers who want the change: at once, or together with others.
    fn wake(&self, user: &UserMark, change: Change<'_>) {
        if !change.can_wait() {
            user.for_each_waiter(change, |waiter| waiter.wake());
            return;
        }
        user.for_each_waiter(change, |waiter| {
            if waiter.queue() {
                self.later.lock().push(Arc::clone(waiter));
                self.later_waiting.notify_one();
            }
        });
    }

    fn with_room(&self, room_id: &str, visit: impl FnOnce(&Arc<RoomMark>)) {
        let Ok(room_id) = <&RoomId>::try_from(room_id) else { return };
        let mark = self.rooms.read().get(room_id).cloned();
        if let Some(mark) = mark {
            visit(&mark);
        }
    }

    fn with_user(&self, user_id: &str, visit: impl FnOnce(&Arc<UserMark>)) {
        let Ok(user_id) = <&UserId>::try_from(user_id) else { return };
        let mark = self.users.read().get(user_id).cloned();
        if let Some(mark) = mark {
            visit(&mark);
        }
    }

    fn apply(&self, facts: &[LoggedFact], interested: &[Interested]) {
        let Some(last) = facts.last() else { return };
        self.advance(last.position, |hub| {
            for fact in facts {
                hub.apply_fact(fact, last.position);
            }
            interested.iter().for_each(|interested| hub.tell(interested));
        });
    }
}

/// Keeps a user's mark up to date as long as it lives.
pub(crate) struct Lease {
    pub(crate) mark: Arc<UserMark>,
    hub: Arc<Hub>,
}

impl Lease {
    fn new(hub: &Arc<Hub>, mark: &Arc<UserMark>) -> Self {
        mark.leases.fetch_add(1, Ordering::AcqRel);
        Self { mark: Arc::clone(mark), hub: Arc::clone(hub) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.mark.last_used.store(self.hub.sweeps.load(Ordering::Relaxed), Ordering::Relaxed);
        self.mark.leases.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A sleeper among those of its user.
pub(crate) struct Registered {
    lease: Lease,
    pub(crate) waiter: Arc<Waiter>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.lease.mark.remove_waiter(&self.waiter);
    }
}
