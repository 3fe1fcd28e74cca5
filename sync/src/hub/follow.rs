//! The tasks of the hub: one for the log, one for typing, one for presence, one that wakes those
//! who could wait, one that sweeps, one that wakes everybody when the process stops.

use std::sync::Arc;

use rooms::{MembershipFact, ReceiptFact, RoomEventFact, stream};
use stdx::Tasks;
use storage::LoggedFact;
use tokio::{sync::broadcast::error::RecvError, time::sleep};

use super::{Hub, bump, sweep};
use crate::{changes::UserMark, waiter::Change};

pub(super) fn spawn(hub: &Arc<Hub>, tasks: &Tasks) {
    tasks.spawn_until_stopped("sync-log", follow_log(Arc::clone(hub)));
    tasks.spawn_until_stopped("sync-typing", follow_typing(Arc::clone(hub)));
    tasks.spawn_until_stopped("sync-presence", follow_presence(Arc::clone(hub)));
    tasks.spawn_until_stopped("sync-later", wake_later(Arc::clone(hub)));
    tasks.spawn_until_stopped("sync-sweep", sweep::run(Arc::clone(hub)));
    tasks.spawn("sync-stop", wake_at_the_end(Arc::clone(hub), tasks.clone()));
}

async fn follow_log(hub: Arc<Hub>) {
    let from = hub.epoch.read().applied;
    let mut follower = hub.sources.store.follow(from);
    loop {
        match follower.next().await {
            Ok(Some(facts)) => {
                let interested = hub.interested_in(&facts).await;
                hub.apply(&facts, &interested);
            }
            Ok(None) => return,
            // The store has failed, and with it the process: whoever watches the store ends it.
            Err(error) => {
                tracing::error!(%error, "sync cannot follow the log any more");
                return;
            }
        }
    }
}

async fn follow_typing(hub: Arc<Hub>) {
    let mut changes = hub.sources.rooms.typing_changes();
    loop {
        match changes.recv().await {
            Ok(change) => hub.typing_changed(change.room_id.as_str()),
            Err(RecvError::Lagged(_)) => hub.typing_changed_anywhere(),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn follow_presence(hub: Arc<Hub>) {
    let mut changes = hub.sources.presence.changes();
    loop {
        // What changed is asked for below: this only says that something did.
        if matches!(changes.recv().await, Err(RecvError::Closed)) {
            return;
        }
        sleep(hub.config.coalesce).await;
        while changes.try_recv().is_ok() {}
        hub.presence_changed().await;
    }
}

/// Wakes those who could wait, all at once, a while after the first of them was marked.
async fn wake_later(hub: Arc<Hub>) {
    loop {
        hub.later_waiting.notified().await;
        sleep(hub.config.coalesce).await;
        let sleepers = std::mem::take(&mut *hub.later.lock());
        for sleeper in sleepers {
            sleeper.wake_queued();
        }
    }
}

/// So that no connection waits for that by itself.
async fn wake_at_the_end(hub: Arc<Hub>, tasks: Tasks) {
    tasks.stopping().await;
    hub.users.read().values().for_each(|user| user.wake_everyone());
}

impl Hub {
    pub(super) fn apply_fact(&self, fact: &LoggedFact, applied: storage::Position) {
        let (position, fact) = (fact.position, &fact.fact);
        match fact.stream {
            stream::EVENT => self.with_room(&fact.subject, |room| {
                room.event.raise(position);
                let event = RoomEventFact::from_fact(fact);
                if event.as_ref().is_none_or(|event| event.membership.is_some()) {
                    room.members.raise(position);
                }
                if event.is_some_and(|event| bump::is_activity(&event.event_type)) {
                    room.bump.raise(position);
                }
                let change = Change::Event { room: &room.room_id };
                room.for_each_watcher(|user| self.wake(user, change));
            }),
            stream::MEMBERSHIP => {
                let Some(change) = MembershipFact::from_fact(fact) else { return };
                self.with_user(&fact.subject, |user| {
                    let MembershipFact { room_id, membership, event_position } = &change;
                    self.admit(user, room_id, membership, *event_position, applied);
                    self.wake(user, Change::Membership { room: room_id });
                });
            }
            stream::RECEIPT => {
                let Some(receipt) = ReceiptFact::from_fact(fact) else { return };
                self.receipt_moved(&fact.subject, &receipt, position);
            }
            accounts::stream::ACCOUNT_DATA => self.account_data_changed(fact, position),
            accounts::stream::THREAD_SUBSCRIPTION => self.with_user(&fact.subject, |user| {
                user.thread_subscriptions.raise(position);
                self.wake(user, Change::ThreadSubscriptions);
            }),
            devices::stream::TO_DEVICE => self.with_user(&fact.subject, |user| {
                user.to_device.raise(position);
                let message = devices::stream::ToDeviceFact::decode(&fact.payload);
                let device = message.as_ref().map(|message| message.device_id.as_str());
                self.wake(user, Change::ToDevice { device });
            }),
            devices::stream::ONE_TIME_KEYS => self.with_user(&fact.subject, |user| {
                user.one_time_keys.raise(position);
                let keys = devices::stream::OneTimeKeysFact::decode(&fact.payload);
                let device = keys.as_ref().map(|keys| keys.device_id.as_str());
                self.wake(user, Change::OneTimeKeys { device });
            }),
            devices::stream::CHANGED_FOR => self.with_user(&fact.subject, |user| {
                self.device_lists_moved(user, position, true);
            }),
            _ => (),
        }
    }

    pub(super) fn device_lists_moved(
        &self,
        user: &UserMark,
        position: storage::Position,
        own: bool,
    ) {
        user.device_lists.raise(position);
        self.wake(user, Change::DeviceLists { own });
    }

    /// A private receipt concerns its user only; a public one everybody in the room.
    fn receipt_moved(&self, room_id: &str, receipt: &ReceiptFact, position: storage::Position) {
        self.with_user(receipt.user_id.as_str(), |user| {
            let mut memberships = user.memberships.write();
            let room = memberships.iter_mut().find(|(id, _)| id.as_str() == room_id);
            if let Some((room, membership)) = room {
                membership.own_receipt = membership.own_receipt.max(position);
                // It changes their own unread counts, which are not a matter of `ephemeral`.
                self.wake(user, Change::Event { room });
            }
        });
        if receipt.kind == "m.read.private" {
            return;
        }
        self.with_room(room_id, |room| {
            room.receipt.raise(position);
            let change = Change::Receipt { room: &room.room_id };
            room.for_each_watcher(|user| {
                if user.user_id != receipt.user_id {
                    self.wake(user, change);
                }
            });
        });
    }

    fn account_data_changed(&self, fact: &storage::Fact, position: storage::Position) {
        let Some(change) = accounts::stream::AccountDataFact::decode(&fact.payload) else { return };
        let event_type = change.event_type.as_str();
        self.with_user(&fact.subject, |user| {
            user.account_data.raise(position);
            let change = match &change.room_id {
                Some(room) => Change::RoomAccountData { room, event_type },
                None => Change::AccountData { event_type },
            };
            self.wake(user, change);
        });
    }

    /// Numbers the change. The numbers are this hub's own: those of `rooms` may be announced out of
    /// order.
    fn typing_changed(&self, room_id: &str) {
        let sequence = self.typing.get() + 1;
        self.with_room(room_id, |room| {
            room.typing.raise(sequence);
            let change = Change::Typing { room: &room.room_id };
            room.for_each_watcher(|user| self.wake(user, change));
        });
        self.typing.raise(sequence);
    }

    /// Changes were missed: every room that somebody watches may have had one.
    fn typing_changed_anywhere(&self) {
        let rooms: Vec<_> = self.rooms.read().keys().cloned().collect();
        for room_id in rooms {
            self.typing_changed(room_id.as_str());
        }
    }
}
