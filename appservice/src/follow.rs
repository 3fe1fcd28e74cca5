//! Follows the log of facts from a durable position, and typing and presence as they change.

use std::sync::atomic::Ordering;

use ::presence::PresenceChange;
use rooms::{MembershipFact, ReceiptFact, RoomEventFact, TypingChange, stream};
use ruma::{OwnedRoomId, RoomId, UserId};
use storage::{Batch, Consumer, LoggedFact, Position};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    deliveries::{Deliveries, Inner, Queue},
    pending::Pending,
    store::{DeliveryStore, EventRecord},
};

/// An event for some of the queues.
struct Wanted {
    position: Position,
    record: EventRecord,
    by: Vec<bool>,
}

impl Deliveries {
    /// `now`: where the log ended when the server started.
    pub(crate) async fn follow_log(self, mut log: Consumer, now: Position) {
        while let Some(facts) = log.next().await {
            let mut wanted = Vec::new();
            for fact in facts.iter() {
                wanted.extend(self.inner.wanted(fact).await);
            }
            if !wanted.is_empty() {
                self.inner.queue(&wanted, &mut log).await;
            }
            // What need not arrive is not told again after a restart.
            for fact in facts.iter().filter(|fact| fact.position > now) {
                self.inner.notice_receipt(fact).await;
            }
        }
    }

    pub(crate) async fn follow_typing(self, mut changes: Receiver<TypingChange>) {
        loop {
            let room = match changes.recv().await {
                Ok(change) => change.room_id,
                // What was missed is told when it changes again.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let wanting = self.inner.wanting_room(&room).await;
            self.inner.notice(&wanting, |_, pending| pending.add_typing(&room));
        }
    }

    /// `seen`: the sequence that the changes go on from.
    pub(crate) async fn follow_presence(
        self,
        mut changes: Receiver<PresenceChange>,
        mut seen: u64,
    ) {
        loop {
            let changed = match changes.recv().await {
                Ok(change) => {
                    seen = change.sequence;
                    vec![change.user_id]
                }
                Err(RecvError::Lagged(_)) => {
                    let missed = self.inner.presence.changed_since(seen).unwrap_or_default();
                    missed.into_iter().map(|(user, _)| user).collect()
                }
                Err(RecvError::Closed) => return,
            };
            for user in changed {
                match self.inner.interest.in_presence(&user).await {
                    Ok(wanting) => {
                        self.inner.notice(&wanting, |_, pending| pending.add_presence(user.clone()))
                    }
                    Err(error) => tracing::warn!(%error, "whom to tell cannot be read"),
                }
            }
        }
    }
}

impl Inner {
    async fn wanted(&self, logged: &LoggedFact) -> Option<Wanted> {
        let found = match logged.fact.stream {
            stream::EVENT => self.wanted_event(logged).await,
            stream::MEMBERSHIP => self.wanted_invite(logged).await,
            _ => return None,
        };
        let (record, by) = match found {
            Ok(found) => found?,
            Err(error) => {
                // The next event may be readable.
                tracing::error!(%error, position = logged.position, "nobody is told of an event");
                return None;
            }
        };
        let position = logged.position;
        by.contains(&true).then_some(Wanted { position, record, by })
    }

    async fn wanted_event(
        &self,
        logged: &LoggedFact,
    ) -> Result<Option<(EventRecord, Vec<bool>)>, rooms::Error> {
        let Some(told) = RoomEventFact::from_fact(&logged.fact) else { return Ok(None) };
        let Ok(room_id) = RoomId::parse(&*logged.fact.subject) else { return Ok(None) };
        let mut by = self.interest.in_room(&room_id).await?;
        // Whoever leaves is no member any more.
        let target = told.membership.as_ref().map(|(user, _)| &**user);
        for user in [Some(&*told.sender), target].into_iter().flatten() {
            add(&mut by, self.interest.in_user(user));
        }
        Ok(Some((EventRecord { room_id, event_id: told.event_id }, by)))
    }

    /// An invite into a room that this server is not in, or what ends one.
    async fn wanted_invite(
        &self,
        logged: &LoggedFact,
    ) -> Result<Option<(EventRecord, Vec<bool>)>, rooms::Error> {
        let Some(told) = MembershipFact::from_fact(&logged.fact) else { return Ok(None) };
        let Ok(user) = UserId::parse(&*logged.fact.subject) else { return Ok(None) };
        let by: Vec<bool> = self.interest.in_user(&user).collect();
        if !by.contains(&true) {
            return Ok(None);
        }
        let now = self.rooms.user_room(&user, &told.room_id).await?;
        let Some(now) = now.filter(|now| now.membership == told.membership) else {
            return Ok(None);
        };
        let event = self.rooms.event_by_id(&now.event_id).await?;
        // One that has a place in the room is told of as an event.
        if event.is_none_or(|event| event.position != 0) {
            return Ok(None);
        }
        Ok(Some((EventRecord { room_id: told.room_id, event_id: now.event_id }, by)))
    }

    async fn queue(&self, wanted: &[Wanted], log: &mut Consumer) {
        let mut rows = Vec::new();
        for Wanted { position, record, by } in wanted {
            let queues = self.queues.iter().zip(by).filter(|(_, wants)| **wants);
            rows.extend(queues.map(|(queue, _)| (queue.id(), *position, record.clone())));
        }
        // Before they can be sent.
        for queue in &self.queues {
            let more = rows.iter().filter(|(id, ..)| *id == queue.id()).count();
            queue.waiting.fetch_add(more, Ordering::Relaxed);
        }
        let mut batch = Batch::new();
        DeliveryStore::add(&mut batch, &rows);
        log.commit(batch).await;
        self.queues.iter().for_each(|queue| queue.news.notify_one());
    }

    async fn notice_receipt(&self, logged: &LoggedFact) {
        if logged.fact.stream != stream::RECEIPT {
            return;
        }
        let Some(receipt) = ReceiptFact::from_fact(&logged.fact) else { return };
        let Ok(room) = RoomId::parse(&*logged.fact.subject) else { return };
        let is_private = match receipt.kind.as_str() {
            "m.read" => false,
            "m.read.private" => true,
            _ => return,
        };
        let wanting = self.wanting_room(&room).await;
        let now = self.clock.now_ms();
        let key = (room, receipt.user_id, receipt.thread, is_private);
        self.notice(&wanting, |queue, pending| {
            // "Private read receipts MUST only be sent for users matching one of the application
            // service's namespaces."
            if !is_private || queue.service.covers_user(&key.1) {
                pending.add_receipt(key.clone(), receipt.event_id.clone(), now);
            }
        });
    }

    async fn wanting_room(&self, room: &OwnedRoomId) -> Vec<bool> {
        self.interest.in_room(room).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "whom to tell cannot be read");
            Vec::new()
        })
    }

    /// Adds something to what waits in memory for those who want it and take such things.
    fn notice(&self, wanting: &[bool], add: impl Fn(&Queue, &mut Pending)) {
        for (queue, wants) in self.queues.iter().zip(wanting) {
            if *wants && queue.service.receive_ephemeral {
                add(queue, &mut queue.pending.lock());
                queue.news.notify_one();
            }
        }
    }
}

fn add(wanting: &mut [bool], more: impl Iterator<Item = bool>) {
    for (wants, more) in wanting.iter_mut().zip(more) {
        *wants |= more;
    }
}
