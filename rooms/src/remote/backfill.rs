//! History from before this server came, or from while it was away: fetched when somebody reads
//! that far.

use std::{collections::HashMap, sync::Arc, time::Duration};

use events::{ClientEvent, Pdu};
use ruma::{OwnedEventId, OwnedServerName, RoomId, UserId};
use storage::{Batch, Fact, Position, Range};

use crate::{
    Error, EventStatus, RoomView, Root, StoredEvent,
    rooms::Inner,
    store::{Depths, EventIds, EventPlace, Events, Gaps, PendingRedactions, SideEvents, Times},
    stored_event::HISTORIC,
    stream,
};

/// Events asked for at once.
const PAGE: usize = 100;
/// Gaps that one reader has filled.
const GAPS: usize = 4;
/// Servers asked for one gap.
const SERVERS: usize = 5;
/// What a reader waits for history at most.
const PATIENCE: Duration = Duration::from_secs(15);

type Gap = (u64, OwnedEventId);

impl Inner {
    /// Fetches what is missing right before events at or above `depth`. Returns whether something
    /// came. What cannot be had within the bounds stays missing.
    pub(crate) async fn fill_history(&self, room: &RoomId, depth: u64) -> Result<bool, Error> {
        let Some(view) = self.view(room).await?.filter(|view| !view.local_joined.is_empty()) else {
            return Ok(false);
        };
        let range = Range::from((depth, "")).reversed().limit(GAPS);
        let rows = self.store.scan::<Gaps>(room, range).await?;
        let gaps: Vec<Gap> = rows
            .into_iter()
            .filter_map(|row| Some((row.sort.0, OwnedEventId::try_from(row.sort.1).ok()?)))
            .collect();
        let fill = async {
            let mut came = false;
            for gap in gaps {
                came |= self.fill_gap_before(&view, gap).await?;
            }
            Ok(came)
        };
        tokio::time::timeout(PATIENCE, fill).await.unwrap_or(Ok(false))
    }

    async fn fill_gap_before(&self, view: &RoomView, gap: Gap) -> Result<bool, Error> {
        let room = &view.room_id;
        let event = self.events.get(&gap.1).await?;
        let event = event.filter(|event| event.status == EventStatus::Accepted);
        let Some(event) = event else { return Ok(false) };
        if !self.has_gap(&event.pdu).await? {
            let mut batch = Batch::new();
            batch.delete::<Gaps>(room, (gap.0, &gap.1));
            self.store.commit(batch).await?;
            return Ok(true);
        }
        for server in self.likely_servers(view, event.pdu.sender()) {
            let from = vec![gap.1.clone()];
            let found = match self.ports.remote.backfill(&server, room, from, PAGE).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%error, %room, "no history from this server");
                    continue;
                }
            };
            let checked = self.verified(view.version, room, found).await;
            let pdus: Vec<_> = checked.into_iter().flatten().collect();
            if self.place_history(&server, view, &gap, pdus).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn likely_servers(&self, view: &RoomView, sender: &UserId) -> Vec<OwnedServerName> {
        let first = sender.server_name();
        let others = view.servers.keys().filter(|server| *server != first);
        let present = view.servers.contains_key(first).then(|| first.to_owned());
        present
            .into_iter()
            .chain(others.cloned())
            .filter(|server| *server != self.server_name)
            .take(SERVERS)
            .collect()
    }

    /// Gives verified events their places, the oldest first.
    async fn place_history(
        &self,
        server: &OwnedServerName,
        view: &RoomView,
        gap: &Gap,
        mut pdus: Vec<Arc<Pdu>>,
    ) -> Result<bool, Error> {
        pdus.sort_by_key(|pdu| pdu.depth());
        let mut placing = Placing { placed: HashMap::new(), events: Vec::new(), gaps: Vec::new() };
        for pdu in pdus {
            if self.has_judged(pdu.event_id()).await? {
                continue;
            }
            let Some((state_before, has_gap)) =
                self.historic_state(server, view, &pdu, &placing).await?
            else {
                continue;
            };
            if let Err(reason) = self.judge_historic(view, &pdu, state_before).await? {
                tracing::debug!(event_id = %pdu.event_id(), reason, "history that is not allowed");
                continue;
            }
            if has_gap {
                placing.gaps.push((pdu.depth(), pdu.event_id().clone()));
            }
            placing.add(pdu, view, state_before);
        }
        if placing.events.is_empty() {
            return Ok(false);
        }
        self.commit_history(view, gap, placing).await?;
        Ok(true)
    }

    /// The state before the event, and whether that had to be asked for.
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
            let known = match placing.placed.get(id) {
                Some(event) => Some(Arc::clone(event)),
                None => self.events.get_latest(id).await?,
            };
            match known.filter(|event| event.status != EventStatus::Outlier) {
                Some(event) => roots.push(self.state_after(&event).await?),
                None => missing = true,
            }
        }
        if self.fetch_auth_of(server, view, pdu).await.is_err() {
            return Ok(None);
        }
        if missing {
            match self.state_before_from(server, view, pdu).await {
                Ok(root) => roots.push(root),
                Err(error) => {
                    tracing::debug!(%error, event_id = %pdu.event_id(), "its state is not given");
                    return Ok(None);
                }
            }
        }
        Ok(Some((self.resolved(view.version, roots).await?, missing)))
    }

    async fn commit_history(
        &self,
        view: &RoomView,
        gap: &Gap,
        placing: Placing,
    ) -> Result<(), Error> {
        let room = &view.room_id;
        let mut redacted = HashMap::new();
        for event in &placing.events {
            let id = event.event_id();
            if let Some(row) = self.store.get_latest::<PendingRedactions>(room, id).await? {
                redacted.insert(id.clone(), row.redaction);
            }
        }
        let mut stored = Vec::with_capacity(placing.events.len());
        let pending = self.store.submit_with(|first| {
            let mut batch = Batch::new();
            batch.delete::<Gaps>(room, (gap.0, &gap.1));
            for (position, event) in (first..).zip(&placing.events) {
                let event = StoredEvent { position: position | HISTORIC, ..(**event).clone() };
                let event = match redacted.get(event.event_id()) {
                    Some(redaction) => event.redacted(redaction),
                    None => event,
                };
                put_historic(&mut batch, room, &event);
                stored.push(Arc::new(event));
            }
            for (depth, id) in &placing.gaps {
                batch.put::<Gaps>(room, (*depth, id), &());
            }
            Ok::<_, Error>(batch)
        })?;
        stored.iter().for_each(|event| self.events.insert(event));
        pending.await?;
        Ok(())
    }
}

/// Events that are about to get their places.
struct Placing {
    placed: HashMap<OwnedEventId, Arc<StoredEvent>>,
    events: Vec<Arc<StoredEvent>>,
    gaps: Vec<Gap>,
}

impl Placing {
    fn add(&mut self, pdu: Arc<Pdu>, view: &RoomView, state_before: Root) {
        let event = Arc::new(StoredEvent {
            client: ClientEvent::new(&pdu, view.version),
            pdu,
            version: view.version,
            position: 0,
            state_before,
            room_state: None,
            txn: None,
            redacted_by: None,
            status: EventStatus::Accepted,
        });
        self.placed.insert(event.event_id().clone(), Arc::clone(&event));
        self.events.push(event);
    }
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
