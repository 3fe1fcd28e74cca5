//! Who is typing: in memory only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use tokio::{
    sync::{Notify, broadcast},
    time::{Instant, sleep_until},
};

use crate::{Error, Rooms};

/// Nobody types for longer without saying so again.
const MAX_TIMEOUT: Duration = Duration::from_secs(120);
/// Changes that a listener may lag behind before it is told to look everywhere.
const CHANGES: usize = 1024;
/// Rooms whose last change is remembered although nobody types there.
const QUIET_ROOMS: usize = 65_536;

/// The list of a room changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingChange {
    pub room_id: OwnedRoomId,
    pub sequence: u64,
}

pub(crate) struct Typing {
    lists: Mutex<Lists>,
    changes: broadcast::Sender<TypingChange>,
    /// The next deadline may have come nearer.
    started: Notify,
}

impl Default for Typing {
    fn default() -> Self {
        Self {
            lists: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES),
            started: Notify::new(),
        }
    }
}

#[derive(Default)]
struct Lists {
    sequence: u64,
    rooms: HashMap<OwnedRoomId, List>,
    /// Everybody on the lists, who ends first first.
    deadlines: BTreeSet<(Instant, OwnedRoomId, OwnedUserId)>,
}

#[derive(Default)]
struct List {
    /// Of the last change.
    sequence: u64,
    users: BTreeMap<OwnedUserId, Instant>,
}

impl Lists {
    fn changed(&mut self, room_id: &RoomId) -> TypingChange {
        self.sequence += 1;
        if let Some(list) = self.rooms.get_mut(room_id) {
            list.sequence = self.sequence;
        }
        TypingChange { room_id: room_id.to_owned(), sequence: self.sequence }
    }

    fn start(&mut self, room_id: &RoomId, user: &UserId, until: Instant) -> Option<TypingChange> {
        if self.rooms.len() >= QUIET_ROOMS && !self.rooms.contains_key(room_id) {
            self.forget_quiet_rooms();
        }
        let list = self.rooms.entry(room_id.to_owned()).or_default();
        let before = list.users.insert(user.to_owned(), until);
        let deadline = |until| (until, room_id.to_owned(), user.to_owned());
        self.deadlines.insert(deadline(until));
        match before {
            None => Some(self.changed(room_id)),
            Some(before) => {
                if before != until {
                    self.deadlines.remove(&deadline(before));
                }
                None
            }
        }
    }

    fn stop(&mut self, room_id: &RoomId, user: &UserId) -> Option<TypingChange> {
        let until = self.rooms.get_mut(room_id)?.users.remove(user)?;
        self.deadlines.remove(&(until, room_id.to_owned(), user.to_owned()));
        Some(self.changed(room_id))
    }

    /// Takes those off the lists who have not renewed their typing.
    fn expire(&mut self, now: Instant) -> Vec<TypingChange> {
        let mut ended = BTreeSet::new();
        while self.deadlines.first().is_some_and(|(until, ..)| *until <= now) {
            let Some((_, room_id, user)) = self.deadlines.pop_first() else { break };
            if let Some(list) = self.rooms.get_mut(&room_id) {
                list.users.remove(&user);
            }
            ended.insert(room_id);
        }
        ended.iter().map(|room_id| self.changed(room_id)).collect()
    }

    /// Who has been away for so long that they missed the change of such a room finds it out with
    /// the next one.
    fn forget_quiet_rooms(&mut self) {
        let mut quiet: Vec<_> = self
            .rooms
            .values()
            .filter(|list| list.users.is_empty())
            .map(|list| list.sequence)
            .collect();
        quiet.sort_unstable();
        let newest_half = quiet.get(quiet.len() / 2).copied().unwrap_or_default();
        self.rooms.retain(|_, list| !list.users.is_empty() || list.sequence > newest_half);
    }
}

impl Typing {
    /// The user is not in the room any more, or types no longer.
    pub(crate) fn stop(&self, room_id: &RoomId, user: &UserId) {
        let change = self.lists.lock().stop(room_id, user);
        self.tell(change);
    }

    fn tell(&self, changes: impl IntoIterator<Item = TypingChange>) {
        for change in changes {
            // An error only says that nobody listens.
            let _nobody = self.changes.send(change);
        }
    }
}

impl Rooms {
    /// The user types in the room, for `timeout` unless they say so again.
    pub async fn start_typing(
        &self,
        room: &RoomId,
        user: &UserId,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.check_joined(room, user).await?;
        let typing = &self.inner.typing;
        let until = Instant::now() + timeout.min(MAX_TIMEOUT);
        let change = typing.lists.lock().start(room, user, until);
        typing.started.notify_one();
        typing.tell(change);
        Ok(())
    }

    pub async fn stop_typing(&self, room: &RoomId, user: &UserId) -> Result<(), Error> {
        self.check_joined(room, user).await?;
        self.inner.typing.stop(room, user);
        Ok(())
    }

    /// Who types in the room now, and the sequence of the list's last change (0: never).
    pub fn typing(&self, room: &RoomId) -> (u64, Vec<OwnedUserId>) {
        let typing = &self.inner.typing;
        let mut lists = typing.lists.lock();
        let changes = lists.expire(Instant::now());
        let list = lists.rooms.get(room);
        let answer = list
            .map_or((0, Vec::new()), |list| (list.sequence, list.users.keys().cloned().collect()));
        drop(lists);
        typing.tell(changes);
        answer
    }

    /// The sequence of the newest change in any room.
    pub fn typing_sequence(&self) -> u64 {
        self.inner.typing.lists.lock().sequence
    }

    pub fn typing_changes(&self) -> broadcast::Receiver<TypingChange> {
        self.inner.typing.changes.subscribe()
    }

    /// Ends the typing of those who do not renew it. Never returns: whoever owns the server's
    /// tasks runs it, once.
    pub async fn expire_typing(self) {
        let typing = &self.inner.typing;
        loop {
            let next = typing.lists.lock().deadlines.first().map(|(until, ..)| *until);
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    let changes = typing.lists.lock().expire(Instant::now());
                    typing.tell(changes);
                }
                () = typing.started.notified() => {}
            }
        }
    }

    async fn check_joined(&self, room: &RoomId, user: &UserId) -> Result<(), Error> {
        match self.membership(user, room).await? {
            Some(MembershipState::Join) => Ok(()),
            _ => Err(Error::NotJoined),
        }
    }
}
