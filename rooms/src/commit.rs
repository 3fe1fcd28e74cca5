//! Submitting a draft: one batch with everything that follows from its events.
//!
//! The writer of a room goes on as soon as its batch is submitted; only who asked for the event
//! waits for the disk. So many writers of one room share a flush.

use std::sync::{Arc, OnceLock};

use events::Pdu;
use ruma::{OwnedServerName, RoomId, ServerName, UserId, events::room::member::MembershipState};
use storage::{Batch, Fact, Pending, Position};

use crate::{
    Error, EventStatus, MembershipFact, RelayFact, RoomEventFact, RoomView, StoredEvent,
    draft::{Draft, DraftEvent, MemberChange, Redacted, Relay, SeenBy},
    room::{Head, Room, StateCache, Writer},
    rooms::Inner,
    store::{
        Depths, EventIds, EventPlace, Events, Heads, MemberRecord, Members, RelationRecord,
        Relations, RemoteUserRooms, Seen, StateNodes, ThreadReplies, ThreadReplyRecord, Times,
        TransactionRecord, Transactions, UserRoomRecord, UserRooms,
    },
    stream,
};

/// What a submitted draft changes in the room's head.
#[must_use = "the head must follow what was submitted"]
pub(crate) struct Outcome {
    pub(crate) view: RoomView,
    /// State events.
    changed: Vec<Arc<Pdu>>,
    /// What was known of the state is not what it is now.
    forked: bool,
    submitted: Submitted,
}

/// Events that are on their way to the disk.
#[must_use = "nothing is acknowledged before this is awaited"]
pub(crate) struct Submitted {
    pending: Pending,
    redacted: Vec<Redacted>,
}

impl Submitted {
    /// Waits until the events are durable.
    pub(crate) async fn durable(self, inner: &Inner) -> Result<(), Error> {
        self.pending.await?;
        // A reader may have found the old row after the event fell out of the cache.
        self.redacted.iter().for_each(|redacted| inner.events.insert(&redacted.event));
        Ok(())
    }
}

impl Draft<'_> {
    /// Hands the events, and what `more` adds to their batch, to the store.
    pub(crate) fn submit(
        self,
        room: &Room,
        more: impl FnOnce(&mut Batch),
    ) -> Result<Outcome, Error> {
        let inner = self.inner;
        let mut after = None;
        let pending = inner.store.submit_with(|first| {
            let (mut batch, stored) = self.to_batch(first);
            let last = stored.last().map_or(first, |event| event.position);
            let view = self.view_at(last);
            batch.put::<Heads>(self.room_id(), (), &view.to_record());
            more(&mut batch);
            // The log cannot reach these positions before we return, so nobody sees them early.
            stored.iter().for_each(|event| inner.events.insert(event));
            for Redacted { event, .. } in &self.redacted {
                inner.events.insert(event);
                room.replace(event);
            }
            room.queue(view.clone(), &stored, inner.store.log().position());
            let related = self.events.iter().any(|event| event.relation.is_some());
            room.note_relations(last, related, !self.redacted.is_empty());
            after = Some(view);
            Ok::<_, Error>(batch)
        })?;
        for member in self.events.iter().flat_map(|event| &event.members) {
            if member.membership != MembershipState::Join {
                inner.typing.stop(room.id(), &member.user);
            }
        }
        inner.trie.publish(self.nodes);
        Ok(Outcome {
            view: after.expect("the store called back, or returned its error"),
            changed: self.changed,
            forked: self.forked,
            submitted: Submitted { pending, redacted: self.redacted },
        })
    }

    fn to_batch(&self, first: Position) -> (Batch, Vec<Arc<StoredEvent>>) {
        let mut rows = Rows { batch: Batch::new(), room_id: self.room_id(), next: first };
        let stored = self.events.iter().map(|event| rows.add(event, self.version)).collect();
        self.events.iter().for_each(|event| self.relay(event, &mut rows));
        self.redacted.iter().for_each(|redacted| rows.redact(redacted));
        for (id, bytes) in self.nodes.rows() {
            rows.batch.derive_put::<StateNodes>(id, (), bytes);
        }
        (rows.batch, stored)
    }

    fn relay(&self, event: &DraftEvent, rows: &mut Rows<'_>) {
        let known = match &event.relay {
            Relay::Nobody => return,
            Relay::Everybody => None,
            Relay::AllBut(server) => Some(&**server),
        };
        let (before, after) = (&*self.servers_before, &*self.servers);
        let came = after.keys().filter(|server| !before.contains_key(*server));
        let outside = event.members.iter().filter_map(waiting_outside);
        let outside =
            outside.filter(|server| !before.contains_key(*server) && !after.contains_key(*server));
        let servers: Vec<OwnedServerName> = before
            .keys()
            .chain(came)
            .map(|server| &**server)
            .chain(outside)
            .filter(|server| *server != self.inner.server_name && Some(*server) != known)
            .map(ToOwned::to_owned)
            .collect();
        if !servers.is_empty() {
            let fact = RelayFact { event_id: event.pdu.event_id().clone(), servers };
            rows.add_fact(stream::RELAY, self.room_id().as_str(), fact.to_payload());
        }
    }

    fn view_at(&self, position: Position) -> RoomView {
        RoomView {
            room_id: self.room_id().to_owned(),
            version: self.version,
            position,
            state: self.state,
            extremities: self.extremities.clone(),
            depth: self.depth,
            create: Arc::clone(self.create.as_ref().expect("a room begins with its create event")),
            joined_members: self.joined_members,
            invited_members: self.invited_members,
            local_joined: Arc::clone(&self.local_joined),
            servers: Arc::clone(&self.servers),
        }
    }
}

/// The server of one whose invite is taken back, or whose knock is refused: it need not be in the
/// room to be told.
fn waiting_outside(change: &MemberChange) -> Option<&ServerName> {
    let waited = matches!(change.before, MembershipState::Invite | MembershipState::Knock);
    let ended = matches!(change.membership, MembershipState::Leave | MembershipState::Ban);
    (waited && ended).then(|| change.user.server_name())
}

impl Writer {
    /// Moves the head on and lets the next writer in.
    pub(crate) fn finish(mut self, outcome: Outcome) -> Submitted {
        self.head().follow(outcome)
    }
}

impl Head {
    pub(crate) fn follow(&mut self, outcome: Outcome) -> Submitted {
        self.view = outcome.view;
        if outcome.forked {
            self.cached_state = StateCache::default();
        }
        for pdu in &outcome.changed {
            self.cached_state.set(pdu);
        }
        for Redacted { event, .. } in &outcome.submitted.redacted {
            if self.cached_state.holds(&event.pdu) {
                self.cached_state.set(&event.pdu);
            }
        }
        outcome.submitted
    }
}

/// The batch of a draft while its events get their positions.
struct Rows<'a> {
    batch: Batch,
    room_id: &'a RoomId,
    next: Position,
}

impl Rows<'_> {
    fn add(
        &mut self,
        event: &DraftEvent,
        version: &'static events::RoomVersion,
    ) -> Arc<StoredEvent> {
        let position = self.next;
        let stored = StoredEvent {
            pdu: Arc::clone(&event.pdu),
            client: event.client.clone(),
            version,
            position,
            state_before: event.state_before,
            room_state: (event.room_state != event.state_after).then_some(event.room_state),
            txn: event.txn.clone(),
            redacted_by: event.redacted_by.clone(),
            status: EventStatus::Accepted,
            previous: OnceLock::new(),
        };
        let room_id = self.room_id;
        let id = event.pdu.event_id();
        self.batch.put::<Events>(room_id, position, &stored.to_record());
        self.batch.put::<Depths>(room_id, (event.pdu.depth(), position), &());
        self.batch.put::<Times>(room_id, (event.pdu.origin_server_ts(), position), &());
        let place = EventPlace { room_id: room_id.to_owned(), position };
        self.batch.derive_put::<EventIds>(id, (), &place);
        self.add_transaction(event);
        self.add_relation(event, position);
        self.add_fact(stream::EVENT, room_id.as_str(), event_fact(event).to_payload());
        for member in &event.members {
            self.add_member(event, member, position);
        }
        Arc::new(stored)
    }

    fn add_fact(&mut self, stream: u8, subject: &str, payload: bytes::Bytes) {
        self.batch.fact(Fact { stream, subject: subject.into(), payload });
        self.next += 1;
    }

    fn add_transaction(&mut self, event: &DraftEvent) {
        let Some(txn) = &event.txn else { return };
        let sort = (&event.pdu.sender(), &txn.device_id, &event.endpoint, &txn.txn_id);
        let record = TransactionRecord { event_id: event.pdu.event_id().clone() };
        self.batch.put::<Transactions>(self.room_id, sort, &record);
    }

    fn add_relation(&mut self, event: &DraftEvent, position: Position) {
        let Some(relation) = &event.relation else { return };
        let record = RelationRecord {
            event_id: event.pdu.event_id().clone(),
            rel_type: relation.rel_type.clone(),
            event_type: event.pdu.event_type().to_owned(),
            sender: event.pdu.sender().to_owned(),
        };
        self.batch.put::<Relations>(self.room_id, (&relation.parent, position), &record);
        if relation.rel_type == "m.thread" {
            let record = ThreadReplyRecord { root: relation.parent.clone() };
            self.batch.put::<ThreadReplies>(self.room_id, position, &record);
        }
    }

    fn add_member(&mut self, event: &DraftEvent, member: &MemberChange, position: Position) {
        let event_id = &member.event_id;
        let membership = &member.membership;
        let record =
            MemberRecord { membership: membership.clone(), event_id: event_id.clone(), position };
        self.batch.put::<Members>(self.room_id, &member.user, &record);
        if !member.is_local {
            match membership {
                MembershipState::Join => {
                    self.batch.derive_put::<RemoteUserRooms>(&member.user, self.room_id, &());
                }
                _ => {
                    self.batch.derive_delete::<RemoteUserRooms>(&member.user, self.room_id);
                }
            }
            return;
        }
        let record = UserRoomRecord {
            membership: membership.clone(),
            event_id: event_id.clone(),
            position,
            state: event.room_state,
            seen: match member.seen {
                SeenBy::Nothing => None,
                SeenBy::ThisEvent => Some(Seen { state: event.room_state, position }),
                SeenBy::Earlier(seen) => Some(seen),
            },
            forgotten: false,
        };
        self.batch.derive_put::<UserRooms>(&member.user, self.room_id, &record);
        let fact = MembershipFact {
            room_id: self.room_id.to_owned(),
            membership: membership.clone(),
            event_position: position,
        };
        self.add_fact(stream::MEMBERSHIP, member.user.as_str(), fact.to_payload());
    }

    fn redact(&mut self, redacted: &Redacted) {
        put_redacted(&mut self.batch, self.room_id, redacted);
    }
}

pub(crate) fn put_redacted(batch: &mut Batch, room_id: &RoomId, redacted: &Redacted) {
    let Redacted { event, relation } = redacted;
    batch.put::<Events>(room_id, event.position, &event.to_record());
    if let Some(relation) = relation {
        batch.delete::<Relations>(room_id, (&relation.parent, event.position));
        batch.delete::<ThreadReplies>(room_id, event.position);
    }
}

fn event_fact(event: &DraftEvent) -> RoomEventFact {
    let pdu = &event.pdu;
    RoomEventFact {
        event_id: pdu.event_id().clone(),
        event_type: pdu.event_type().to_owned(),
        state_key: pdu.state_key().map(str::to_owned),
        sender: pdu.sender().to_owned(),
        membership: pdu
            .membership()
            .and_then(|membership| Some((UserId::parse(pdu.state_key()?).ok()?, membership))),
        redacts: pdu.redacts().map(ToOwned::to_owned),
    }
}
