//! How many events a user has not read: push rules over what came after their read receipts, per
//! room and per thread.
//!
//! Kept per user and room and moved forward event by event, so that a delivery evaluates the rules
//! once for what it delivers. What is not kept is counted again from the newest events backwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quick_cache::sync::Cache;
use rooms::{Receipt, StoredEvent};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, push::Action};
use storage::Position;

use crate::{Sources, SyncError};

mod body;
mod elsewhere;
mod glob;
mod matching;
mod own;
mod rules;
mod thread;

pub use rules::{PushRules, RoomRules, Verdict};

/// Events looked at when counting from scratch: more unread than this are counted as this many.
const MAX_RECOUNT: usize = 500;
/// Events that may be missing between what was counted and now, before counting from scratch.
const MAX_ADVANCE: usize = 1000;
/// Notifying events kept per user and room.
const MAX_KEPT: usize = 1000;
const PAGE: usize = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) notifications: u64,
    pub(crate) highlights: u64,
}

/// What is unread in a room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread {
    pub(crate) main: Count,
    /// By the thread's root; only those with notifications.
    pub(crate) threads: BTreeMap<String, Count>,
}

impl Unread {
    pub(crate) fn total(&self) -> Count {
        self.threads.values().fold(self.main, |sum, thread| Count {
            notifications: sum.notifications + thread.notifications,
            highlights: sum.highlights + thread.highlights,
        })
    }
}

/// Up to where a user has read.
#[derive(Debug, Default)]
struct Read {
    everything: Position,
    /// By thread; `main` is one.
    threads: BTreeMap<String, Position>,
}

impl Read {
    fn of(receipts: &[Receipt]) -> Self {
        let mut read = Self::default();
        for receipt in receipts {
            if !matches!(receipt.kind.as_str(), "m.read" | "m.read.private") {
                continue;
            }
            match &receipt.thread {
                // Of the public and the private receipt the one further ahead counts.
                None => read.everything = read.everything.max(receipt.event_position),
                Some(thread) => read.thread(thread, receipt.event_position),
            }
        }
        read
    }

    fn thread(&mut self, thread: &str, position: Position) {
        let read = self.threads.entry(thread.to_owned()).or_default();
        *read = position.max(*read);
    }

    fn covers(&self, thread: &str, position: Position) -> bool {
        position <= self.everything
            || self.threads.get(thread).is_some_and(|read| position <= *read)
    }
}

/// Ignored users notify of nothing, but what they redact is gone.
fn matters(event: &StoredEvent, ignored: &BTreeSet<OwnedUserId>) -> bool {
    event.pdu.event_type() == "m.room.redaction" || !ignored.contains(event.pdu.sender())
}

#[derive(Debug)]
struct Notifying {
    position: Position,
    thread: Arc<str>,
    highlight: bool,
}

/// The state of one user in one room.
#[derive(Debug, Default)]
struct Counted {
    /// Events up to here have been counted; 0: none.
    up_to: Position,
    /// Receipts set up to here have been read.
    receipts_at: Position,
    read: Read,
    /// Own events say that everything before them in their thread was read.
    sent: Read,
    notifying: Vec<Notifying>,
}

type Shared = Arc<tokio::sync::Mutex<Counted>>;

pub(crate) struct UnreadCounts {
    sources: Sources,
    rules: PushRules,
    counted: Cache<(OwnedUserId, OwnedRoomId), Shared>,
}

impl UnreadCounts {
    pub(crate) fn new(sources: Sources, rooms: usize) -> Self {
        let rules = PushRules::new(sources.clone());
        Self { sources, rules, counted: Cache::new(rooms) }
    }

    /// What the user, who is joined, has not read of the events up to `now`. `own_receipt` is at
    /// least the position of their newest receipt in the room.
    pub(crate) async fn count(
        &self,
        user: &UserId,
        room: &RoomId,
        own_receipt: Position,
        now: Position,
        ignored: &BTreeSet<OwnedUserId>,
    ) -> Result<Unread, SyncError> {
        let shared = self.shared(user, room);
        let mut counted = shared.lock().await;
        if counted.receipts_at == 0 || own_receipt > counted.receipts_at {
            counted.read = Read::of(&self.sources.rooms.own_receipts(user, room).await?);
            counted.receipts_at = now.max(own_receipt);
        }
        if counted.up_to == 0 {
            self.recount(user, room, &mut counted, now, ignored).await?;
        } else if counted.up_to < now {
            self.advance(user, room, &mut counted, now, ignored).await?;
        }
        counted.drop_read();
        Ok(counted.sum())
    }

    /// Forgets what was counted, when the user comes back into a room.
    pub(crate) fn forget(&self, user: &UserId, room: &RoomId) {
        self.counted.remove(&(user.to_owned(), room.to_owned()));
    }

    fn shared(&self, user: &UserId, room: &RoomId) -> Shared {
        let key = (user.to_owned(), room.to_owned());
        let shared = self
            .counted
            .get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(Shared::default()));
        match shared {
            Ok(shared) => shared,
            Err(never) => match never {},
        }
    }

    async fn recount(
        &self,
        user: &UserId,
        room: &RoomId,
        counted: &mut Counted,
        now: Position,
        ignored: &BTreeSet<OwnedUserId>,
    ) -> Result<(), SyncError> {
        let mut unread = Vec::new();
        let mut before = now;
        'pages: while unread.len() < MAX_RECOUNT {
            let floor = counted.read.everything;
            let page = self.sources.rooms.timeline(room, floor, before, PAGE, true).await?;
            for event in &page {
                before = event.position - 1;
                if self.is_own_arrival(user, event).await? {
                    break 'pages;
                }
                unread.push(Arc::clone(event));
            }
            if page.len() < PAGE {
                break;
            }
        }
        unread.reverse();
        unread.retain(|event| matters(event, ignored));
        self.add(user, room, counted, &unread).await?;
        counted.up_to = now;
        Ok(())
    }

    /// What was before the user came into the room is not unread.
    async fn is_own_arrival(&self, user: &UserId, event: &StoredEvent) -> Result<bool, SyncError> {
        let pdu = &event.pdu;
        if pdu.event_type() != "m.room.member" || pdu.state_key() != Some(user.as_str()) {
            return Ok(false);
        }
        let before =
            self.sources.rooms.state_get(event.state_before, "m.room.member", user.as_str());
        let membership = before.await?.and_then(|member| member.pdu.membership());
        Ok(membership != Some(ruma::events::room::member::MembershipState::Join))
    }

    async fn advance(
        &self,
        user: &UserId,
        room: &RoomId,
        counted: &mut Counted,
        now: Position,
        ignored: &BTreeSet<OwnedUserId>,
    ) -> Result<(), SyncError> {
        let rooms = &self.sources.rooms;
        let news = rooms.timeline(room, counted.up_to, now, MAX_ADVANCE, false).await?;
        if news.len() == MAX_ADVANCE {
            counted.notifying.clear();
            return self.recount(user, room, counted, now, ignored).await;
        }
        let news: Vec<_> = news.into_iter().filter(|event| matters(event, ignored)).collect();
        self.add(user, room, counted, &news).await?;
        counted.up_to = now;
        Ok(())
    }

    async fn add(
        &self,
        user: &UserId,
        room: &RoomId,
        counted: &mut Counted,
        events: &[Arc<StoredEvent>],
    ) -> Result<(), SyncError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut rules = self.rules.in_room(room).await?;
        for event in events {
            if event.pdu.event_type() == "m.room.redaction" {
                self.redacted(counted, event).await?;
            }
            let own = event.pdu.sender() == user;
            let counts = !own && event.redacted_by.is_none();
            let verdict = if counts { rules.verdict(user, event).await? } else { None };
            let highlight = verdict.map(|actions| actions.iter().any(Action::is_highlight));
            if !own && highlight.is_none() {
                continue;
            }
            let thread = thread::of(&self.sources.rooms, event).await?;
            match highlight {
                None => counted.sent.thread(&thread, event.position),
                Some(highlight) => {
                    counted.notifying.push(Notifying {
                        position: event.position,
                        thread,
                        highlight,
                    });
                }
            }
        }
        counted.bound();
        Ok(())
    }

    async fn redacted(
        &self,
        counted: &mut Counted,
        redaction: &StoredEvent,
    ) -> Result<(), SyncError> {
        let Some(target) = redaction.pdu.redacts() else { return Ok(()) };
        if let Some(target) = self.sources.rooms.event_by_id(target).await? {
            counted.notifying.retain(|event| event.position != target.position);
        }
        Ok(())
    }
}

impl Counted {
    fn drop_read(&mut self) {
        let Self { read, sent, notifying, .. } = self;
        notifying.retain(|event| {
            let Notifying { position, thread, .. } = event;
            !read.covers(thread, *position) && !sent.covers(thread, *position)
        });
    }

    fn bound(&mut self) {
        let surplus = self.notifying.len().saturating_sub(MAX_KEPT);
        self.notifying.drain(..surplus);
    }

    fn sum(&self) -> Unread {
        let mut unread = Unread::default();
        for event in &self.notifying {
            let count = if &*event.thread == thread::MAIN {
                &mut unread.main
            } else {
                unread.threads.entry((*event.thread).to_owned()).or_default()
            };
            count.notifications += 1;
            count.highlights += u64::from(event.highlight);
        }
        unread
    }
}
