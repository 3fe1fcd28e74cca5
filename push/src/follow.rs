//! Follows the log of facts from a durable position: whom an event notifies, and whose counts a
//! receipt lowers.

use std::sync::Arc;

use bytes::Bytes;
use rooms::{MembershipFact, ReceiptFact, RoomEventFact, StoredEvent, stream};
use ruma::{
    EventId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState, push::Action,
};
use storage::{Batch, Consumer, LoggedFact, Position};
use sync::{RoomRules, SyncError};

use crate::{
    Kind, Push, Pusher,
    service::{Inner, Offers},
    store::{Item, NoticeRecord, OutboxStore},
};

/// Instead of actions: nobody asked the rules yet.
pub(crate) const JUDGE_LATER: Bytes = Bytes::new();

impl Push {
    pub(crate) async fn follow_log(self, mut log: Consumer) {
        self.wake_all().await;
        while let Some(facts) = log.next().await {
            let items = self.inner.items(&facts).await;
            if items.is_empty() {
                continue;
            }
            let mut batch = Batch::new();
            OutboxStore::add(&mut batch, &items);
            log.commit(batch).await;
            items.iter().for_each(|item| self.wake(&item.pusher, item.notice.ts));
        }
    }

    /// What has been waiting since before the start.
    async fn wake_all(&self) {
        for pusher in self.inner.registry.all() {
            if !self.inner.is_alive(&pusher).await {
                self.forget(&pusher).await;
                continue;
            }
            match self.inner.outbox.next(pusher.id, 0, 1).await {
                Ok(rows) => {
                    rows.first().into_iter().for_each(|(_, row)| self.wake(&pusher, row.ts))
                }
                Err(error) => tracing::error!(%error, "what is to be pushed cannot be read"),
            }
        }
    }
}

/// The items of some facts under construction.
struct Collected {
    items: Vec<Item>,
    now: u64,
    offers: Offers,
    /// As JSON; most who are notified of an event are so by one rule.
    last_actions: Option<(Arc<[Action]>, Bytes)>,
}

impl Collected {
    fn actions(&mut self, actions: &Arc<[Action]>) -> Bytes {
        if let Some((known, json)) = &self.last_actions
            && Arc::ptr_eq(known, actions)
        {
            return json.clone();
        }
        let json = Bytes::from(serde_json::to_vec(&actions[..]).expect("actions are JSON"));
        self.last_actions = Some((Arc::clone(actions), json.clone()));
        json
    }

    fn add(&mut self, pushers: &[Arc<Pusher>], position: Position, notice: &NoticeRecord) {
        let wants = |pusher: &&Arc<Pusher>| {
            // A count alone is nothing to write a mail about.
            let is_news = pusher.kind != Kind::Email || notice.event_id.is_some();
            pusher.is_on()
                && self.offers.includes(pusher.kind)
                && pusher.since < position
                && is_news
        };
        let wanting = pushers.iter().filter(wants);
        self.items.extend(wanting.map(|pusher| Item {
            pusher: Arc::clone(pusher),
            position,
            notice: notice.clone(),
        }));
    }
}

impl Inner {
    async fn items(&self, facts: &[LoggedFact]) -> Vec<Item> {
        let now = self.clock.now_ms();
        let offers = self.offers();
        let mut collected = Collected { items: Vec::new(), now, offers, last_actions: None };
        if self.registry.is_empty() {
            return Vec::new();
        }
        for fact in facts {
            let done = match fact.fact.stream {
                stream::EVENT => self.event(fact, &mut collected).await,
                stream::MEMBERSHIP => self.membership(fact, &mut collected).await,
                stream::RECEIPT => {
                    self.receipt(fact, &mut collected);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(error) = done {
                // The next event may be readable.
                tracing::error!(%error, position = fact.position, "nobody is notified");
            }
        }
        collected.items
    }

    async fn event(&self, fact: &LoggedFact, collected: &mut Collected) -> Result<(), SyncError> {
        let Some(told) = RoomEventFact::from_fact(&fact.fact) else { return Ok(()) };
        let Ok(room) = RoomId::parse(&*fact.fact.subject) else { return Ok(()) };
        let members = self.registry.among(&*self.rooms.joined_local_users(&room).await?);
        if members.is_empty() {
            return Ok(());
        }
        if told.redacts.is_some() {
            members.iter().for_each(|(user, _)| self.badges.touch(user, &room, 0));
        }
        self.has_written(&told.sender, &room, fact.position, collected);
        let Some(event) = self.rooms.event_by_id(&told.event_id).await? else { return Ok(()) };
        let mut rules = self.sync.push_rules().in_room(&room).await?;
        for (user, pushers) in &members {
            match rules.quick_verdict(user, &event).await? {
                Some(Some(actions)) => {
                    let actions = collected.actions(&actions);
                    self.notify((user, pushers), &event, fact.position, actions, collected);
                }
                Some(None) => {}
                // It is judged when it is their turn, which keeps nobody else.
                None => self.notify((user, pushers), &event, fact.position, JUDGE_LATER, collected),
            }
        }
        Ok(())
    }

    fn notify(
        &self,
        (user, pushers): (&UserId, &[Arc<Pusher>]),
        event: &StoredEvent,
        position: Position,
        actions: Bytes,
        collected: &mut Collected,
    ) {
        self.badges.touch(user, event.pdu.room_id(), 0);
        let notice = NoticeRecord {
            room_id: event.pdu.room_id().to_owned(),
            event_id: Some(event.event_id().clone()),
            actions,
            ts: collected.now,
        };
        collected.add(pushers, position, &notice);
    }

    /// Who writes has read what was before.
    fn has_written(
        &self,
        sender: &UserId,
        room: &RoomId,
        position: Position,
        collected: &mut Collected,
    ) {
        if self.badges.counts_room(sender, room) == Some(true) {
            self.badges.touch(sender, room, 0);
            self.recount(sender, room, position, collected);
        }
    }

    fn recount(&self, user: &UserId, room: &RoomId, position: Position, collected: &mut Collected) {
        let notice = NoticeRecord {
            room_id: room.to_owned(),
            event_id: None,
            actions: JUDGE_LATER,
            ts: collected.now,
        };
        collected.add(&self.registry.of(user), position, &notice);
    }

    /// An invite, whether this server is in the room or not; or what ends one.
    async fn membership(
        &self,
        fact: &LoggedFact,
        collected: &mut Collected,
    ) -> Result<(), SyncError> {
        let Some(told) = MembershipFact::from_fact(&fact.fact) else { return Ok(()) };
        let Ok(user) = UserId::parse(&*fact.fact.subject) else { return Ok(()) };
        if !self.registry.has(&user) {
            return Ok(());
        }
        let room = &told.room_id;
        let counted = self.badges.counts_room(&user, room) == Some(true);
        self.badges.touch(&user, room, 0);
        if told.membership != MembershipState::Invite {
            if told.membership == MembershipState::Join {
                self.sync.forget_unread(&user, room);
            }
            if counted {
                self.recount(&user, room, fact.position, collected);
            }
            return Ok(());
        }
        let invited = self.rooms.user_room(&user, room).await?;
        let invited = invited.filter(|room| room.membership == MembershipState::Invite);
        let Some(invited) = invited else { return Ok(()) };
        let mut rules = self.sync.push_rules().in_room(room).await?;
        self.invite(&user, &invited.event_id, &mut rules, fact.position, collected).await
    }

    async fn invite(
        &self,
        user: &OwnedUserId,
        event_id: &EventId,
        rules: &mut RoomRules<'_>,
        position: Position,
        collected: &mut Collected,
    ) -> Result<(), SyncError> {
        let Some(event) = self.rooms.event_by_id(event_id).await? else { return Ok(()) };
        let Some(actions) = rules.verdict(user, &event).await? else { return Ok(()) };
        let (pushers, actions) = (self.registry.of(user), collected.actions(&actions));
        self.notify((user, &pushers), &event, position, actions, collected);
        Ok(())
    }

    fn receipt(&self, fact: &LoggedFact, collected: &mut Collected) {
        let Some(receipt) = ReceiptFact::from_fact(&fact.fact) else { return };
        let Ok(room) = RoomId::parse(&*fact.fact.subject) else { return };
        let user = &receipt.user_id;
        let reads = matches!(receipt.kind.as_str(), "m.read" | "m.read.private");
        // If it is not known, the icon may show what was before the start.
        let may_count = self.badges.counts_room(user, &room) != Some(false);
        if reads && self.registry.has(user) && may_count {
            self.badges.touch(user, &room, fact.position);
            self.recount(user, &room, fact.position, collected);
        }
    }
}
