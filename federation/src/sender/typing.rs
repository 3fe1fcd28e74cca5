//! Tells other servers who of ours types.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use rooms::TypingChange;
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::Sender;

/// Others end somebody's typing by themselves, some after half a minute: who types for longer is
/// told of again.
const RENEW: Duration = Duration::from_secs(20);

/// By room, those of ours who were said to be typing.
type Told = HashMap<OwnedRoomId, BTreeSet<OwnedUserId>>;

impl Sender {
    pub(super) async fn follow_typing(self, mut changes: Receiver<TypingChange>) {
        let mut renewal = tokio::time::interval(RENEW);
        let mut told = Told::new();
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => self.typing_changed(&mut told, &change.room_id, false).await,
                    // What was missed is found at the next renewal, or told as soon as it changes.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = renewal.tick() => {
                    for room in told.keys().cloned().collect::<Vec<_>>() {
                        self.typing_changed(&mut told, &room, true).await;
                    }
                }
            }
        }
    }

    async fn typing_changed(&self, told: &mut Told, room: &RoomId, renew: bool) {
        let own = self.inner.rooms.server_name();
        let (_, typists) = self.inner.rooms.typing(room);
        let now: BTreeSet<OwnedUserId> =
            typists.into_iter().filter(|user| user.server_name() == own).collect();
        let before = told.remove(room).unwrap_or_default();
        let news: Vec<&OwnedUserId> = match renew {
            true => now.union(&before).collect(),
            false => now.symmetric_difference(&before).collect(),
        };
        if !news.is_empty() {
            for server in self.servers_in(room).await {
                let destination = self.destination(&server);
                for user in &news {
                    let types = now.contains(*user);
                    let mut pending = destination.pending.lock();
                    pending.add_typing(room.to_owned(), (*user).clone(), types);
                }
                self.wake(&server);
            }
        }
        if !now.is_empty() {
            told.insert(room.to_owned(), now);
        }
    }
}
