//! Events of the past get their places in history, with the state at each of them.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use events::{ClientEvent, Pdu};
use ruma::{OwnedEventId, OwnedServerName, RoomId};
use storage::{Batch, Fact, Position};

use super::backfill::Gap;
use crate::{
    Error, EventStatus, RoomView, Root, StoredEvent,
    commit::put_redacted,
    draft::Redacted,
    receive::{foundations_first, side_event, side_record},
    rooms::Inner,
    store::{
        Depths, EventIds, EventPlace, Events, Gaps, PendingRedaction, PendingRedactions,
        SideEvents, Times,
    },
    stored_event::HISTORIC,
    stream,
};

/// Events that are about to get their places, the oldest first.
#[derive(Default)]
struct Placing {
    events: Vec<Arc<StoredEvent>>,
    by_id: HashMap<OwnedEventId, Arc<StoredEvent>>,
    gaps: Vec<Gap>,
}

impl Inner {
    /// Gives verified events their places: what comes before `after`, or what is wanted for itself.
    /// Those that were not allowed are kept aside, since others
    /// refer to them. Returns whether there was any that had no place before.
    pub(super) async fn place_history(
        &self,
        server: &OwnedServerName,
        view: &RoomView,
        after: Option<&Pdu>,
        mut pdus: Vec<Arc<Pdu>>,
    ) -> Result<bool, Error> {
        let mut placing = Placing::default();
        // What depths say is not relied on.
        pdus.sort_by_key(|pdu| pdu.depth());
        for pdu in foundations_first(pdus, Pdu::prev_events) {
            if self.has_judged(pdu.event_id()).await? {
                continue;
            }
            let Some((state_before, has_gap)) =
                self.historic_state(server, view, &pdu, &placing).await?
            else {
                continue;
            };
            if has_gap {
                placing.gaps.push((pdu.depth(), pdu.event_id().clone()));
            }
            let event = match self.judge_historic(view, &pdu, state_before).await? {
                Ok(()) => historic(pdu, view, state_before),
                Err(reason) => {
                    tracing::debug!(event_id = %pdu.event_id(), reason, "rejected in history");
                    side_event(pdu, view.version, EventStatus::Rejected, Some(state_before))
                }
            };
            // Its nodes must be there for whoever asks for that state later.
            self.state_after(&event).await?;
            placing.by_id.insert(event.event_id().clone(), Arc::clone(&event));
            placing.events.push(event);
        }
        if placing.events.is_empty() {
            return Ok(false);
        }
        self.commit_history(view, after, placing).await?;
        Ok(true)
    }

    /// The state before the event, and whether that had to be asked for. `None` if it is not known.
    async fn historic_state(
        &self,
        server: &OwnedServerName,
        view: &RoomView,
        pdu: &Pdu,
        placing: &Placing,
    ) -> Result<Option<(Root, bool)>, Error> {
        let mut roots = Vec::new();
        let mut missing = false;
        for id in pdu.prev_events() {
            let known = match placing.by_id.get(id) {
                Some(event) => Some(Arc::clone(event)),
                // What has a place in another room has none in this.
                None => self
                    .events
                    .get_latest(id)
                    .await?
                    .filter(|event| event.was_judged() && event.pdu.room_id() == pdu.room_id()),
            };
            match known {
                Some(event) => roots.push(self.state_after(&event).await?),
                None => missing = true,
            }
        }
        let fetched = async {
            self.fetch_auth_of(server, view, pdu).await?;
            if missing {
                roots.push(self.state_before_from(server, view, pdu).await?);
            }
            Ok::<_, crate::ReceiveError>(())
        };
        if let Err(error) = fetched.await {
            tracing::debug!(%error, event_id = %pdu.event_id(), "what it stands on is not given");
            return Ok(None);
        }
        Ok(Some((self.resolved(view.version, roots).await?, missing)))
    }

    async fn commit_history(
        &self,
        view: &RoomView,
        after: Option<&Pdu>,
        mut placing: Placing,
    ) -> Result<(), Error> {
        let room_id = &view.room_id;
        // No event gets two places: whoever else could give it one is locked out.
        let mut writer = self.writer(room_id).await?.ok_or(Error::NotFound("the room"))?;
        let mut events = Vec::with_capacity(placing.events.len());
        for event in std::mem::take(&mut placing.events) {
            if !self.has_judged(event.event_id()).await? {
                events.push(event);
            }
        }
        let mut is_closed = true;
        for id in after.into_iter().flat_map(|after| after.prev_events()) {
            is_closed &= placing.by_id.contains_key(id) || self.has_judged(id).await?;
        }
        let room = Arc::clone(&writer.room);
        let mut draft = writer.draft(self);
        let (events, pending_redactions) = draft.redact_history(events).await?;
        let redacted: Vec<Redacted> = std::mem::take(&mut draft.redacted);
        let mut stored = Vec::with_capacity(events.len());
        let mut last = 0;
        let pending = self.store.submit_with(|first| {
            let mut batch = Batch::new();
            if let Some(after) = after.filter(|_| is_closed) {
                batch.delete::<Gaps>(room_id, (after.depth(), after.event_id()));
            }
            let mut position = first;
            for event in events {
                if event.status == EventStatus::Accepted {
                    let placed = StoredEvent { position: position | HISTORIC, ..event };
                    put_historic(&mut batch, room_id, &placed);
                    stored.push(Arc::new(placed));
                    (last, position) = (position, position + 1);
                } else {
                    batch.derive_put::<SideEvents>(event.event_id(), (), &side_record(&event));
                    stored.push(Arc::new(event));
                }
            }
            for (depth, id) in &placing.gaps {
                batch.put::<Gaps>(room_id, (*depth, id), &());
            }
            for (target, record) in &pending_redactions {
                batch.put::<PendingRedactions>(room_id, target, record);
            }
            redacted.iter().for_each(|redacted| put_redacted(&mut batch, room_id, redacted));
            // Before the log can reach these positions.
            stored.iter().for_each(|event| self.events.insert(event));
            for Redacted { event, .. } in &redacted {
                self.events.insert(event);
                room.replace(event);
            }
            room.note_relations(last, false, !redacted.is_empty());
            Ok::<_, Error>(batch)
        })?;
        drop(writer);
        pending.await?;
        // A reader may have found the old row after the event fell out of the cache.
        redacted.iter().for_each(|redacted| self.events.insert(&redacted.event));
        Ok(())
    }
}

impl crate::draft::Draft<'_> {
    /// Events of the past as redactions leave them that came before, come with them, or are known.
    /// Besides, the redactions among them whose targets are still to come.
    async fn redact_history(
        &mut self,
        events: Vec<Arc<StoredEvent>>,
    ) -> Result<(Vec<StoredEvent>, Vec<(OwnedEventId, PendingRedaction)>), Error> {
        let mut done: Vec<StoredEvent> = Vec::with_capacity(events.len());
        let mut pending = HashMap::new();
        for event in events {
            let mut event = StoredEvent::clone(&event);
            if event.status != EventStatus::Accepted {
                done.push(event);
                continue;
            }
            let (_, redaction) = self.redacted_before(Arc::clone(&event.pdu)).await?;
            if let Some(redaction) = redaction {
                event = event.redacted(&redaction);
            }
            if let Some(target) = self.redact_target(&event.pdu).await? {
                match done.iter_mut().find(|earlier| *earlier.event_id() == target) {
                    Some(earlier) => {
                        if earlier.redacted_by.is_none()
                            && self.may_redact(&event.pdu, &earlier.pdu).await?
                        {
                            *earlier = earlier.redacted(event.event_id());
                        }
                    }
                    None => {
                        let record = match pending.remove(&target) {
                            Some(record) => Some(record),
                            None => self.pending_redaction(&target).await?,
                        };
                        pending.insert(target, PendingRedaction::with(record, event.event_id()));
                    }
                }
            }
            done.push(event);
        }
        Ok((done, pending.into_iter().collect()))
    }
}

fn historic(pdu: Arc<Pdu>, view: &RoomView, state_before: Root) -> Arc<StoredEvent> {
    Arc::new(StoredEvent {
        client: ClientEvent::new(&pdu, view.version),
        pdu,
        version: view.version,
        position: 0,
        state_before,
        room_state: None,
        txn: None,
        redacted_by: None,
        status: EventStatus::Accepted,
        previous: OnceLock::new(),
    })
}

fn put_historic(batch: &mut Batch, room: &RoomId, event: &StoredEvent) {
    let (id, position): (_, Position) = (event.event_id(), event.position);
    batch.put::<Events>(room, position, &event.to_record());
    batch.put::<Depths>(room, (event.pdu.depth(), position), &());
    batch.put::<Times>(room, (event.pdu.origin_server_ts(), position), &());
    let place = EventPlace { room_id: room.to_owned(), position };
    batch.derive_put::<EventIds>(id, (), &place);
    batch.derive_delete::<SideEvents>(id, ());
    // It gives the event its position; nobody need hear of it.
    let payload = bytes::Bytes::new();
    batch.fact(Fact { stream: stream::HISTORY, subject: room.as_str().into(), payload });
}
