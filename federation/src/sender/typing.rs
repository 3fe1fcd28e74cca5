//! Tells other servers who of ours types.

use std::collections::{BTreeSet, HashMap};

use ruma::{OwnedRoomId, OwnedUserId};
use tokio::sync::broadcast::error::RecvError;

use super::Sender;

impl Sender {
    pub(super) async fn follow_typing(self) {
        let mut changes = self.inner.rooms.typing_changes();
        let mut told: HashMap<OwnedRoomId, BTreeSet<OwnedUserId>> = HashMap::new();
        loop {
            let room = match changes.recv().await {
                Ok(change) => change.room_id,
                // Who types is told again as soon as it changes.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let own = self.inner.client.server_name();
            let (_, typists) = self.inner.rooms.typing(&room);
            let now: BTreeSet<OwnedUserId> =
                typists.into_iter().filter(|user| user.server_name() == own).collect();
            let before = told.remove(&room).unwrap_or_default();
            let changed: Vec<_> = now.symmetric_difference(&before).cloned().collect();
            if !changed.is_empty() {
                for server in self.servers_in(&room).await {
                    let destination = self.destination(&server);
                    for user in &changed {
                        let types = now.contains(user);
                        let mut pending = destination.pending.lock();
                        pending.add_typing(room.clone(), user.clone(), types);
                    }
                    self.wake(&server);
                }
            }
            if !now.is_empty() {
                told.insert(room, now);
            }
        }
    }
}
