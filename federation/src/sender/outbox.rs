//! What must arrive: events by destination, in the order in which they happened.

mod tables;

use std::collections::HashMap;

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, ServerName};
use storage::{Batch, CommitError, Position, Range, ReadError, Store};

use self::tables::{Destinations, EventRecord, Events, FailuresTable, ToDevice, UnansweredTable};
pub(super) use self::tables::{Failures, Unanswered};

/// Rows that are read at a time to thin an outbox.
const PAGE: usize = 1000;

/// What waits for a destination.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Event(OwnedRoomId, OwnedEventId),
    /// The content of an `m.direct_to_device` EDU.
    ToDevice(Bytes),
}

/// Something for some servers.
pub(super) struct Relayed {
    pub(super) position: Position,
    pub(super) item: Item,
    pub(super) servers: Vec<OwnedServerName>,
}

pub(super) struct Outbox {
    store: Store,
}

impl Outbox {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(super) fn add(batch: &mut Batch, events: &[Relayed]) {
        for Relayed { position, item, servers } in events {
            for server in servers {
                match item {
                    Item::Event(room_id, event_id) => {
                        let (event_id, room_id) = (event_id.clone(), Some(room_id.clone()));
                        let record = EventRecord { event_id, room_id };
                        batch.derive_put::<Events>(server.as_str(), *position, &record);
                    }
                    Item::ToDevice(content) => {
                        batch.derive_put::<ToDevice>(server.as_str(), *position, content);
                    }
                }
                batch.derive_put::<Destinations>(0, server.as_str(), &());
            }
        }
    }

    /// The oldest events for a destination after a position.
    pub(super) async fn next(
        &self,
        server: &ServerName,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, OwnedEventId)>, ReadError> {
        let range = Range::after(after).limit(limit);
        let rows = self.store.scan::<Events>(server.as_str(), range).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value.event_id)).collect())
    }

    /// The oldest messages to devices of a destination, as contents of EDUs.
    pub(super) async fn next_to_device(
        &self,
        server: &ServerName,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Bytes)>, ReadError> {
        let range = Range::after(after).limit(limit);
        let rows = self.store.scan::<ToDevice>(server.as_str(), range).await?;
        Ok(rows.into_iter().map(|row| (row.sort, row.value)).collect())
    }

    /// Returns before that is durable: events that are sent again after a crash are known.
    pub(super) fn remove(
        &self,
        server: &ServerName,
        positions: &[Position],
        to_device: &[Position],
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        for position in to_device {
            batch.delete::<ToDevice>(server.as_str(), *position);
        }
        for position in positions {
            batch.delete::<Events>(server.as_str(), *position);
        }
        batch.delete::<UnansweredTable>(server.as_str(), ());
        self.store.submit(batch).map(drop)
    }

    /// Of the events after a position, leaves the newest of each room. Returns how many are left.
    pub(super) async fn thin_events(
        &self,
        server: &ServerName,
        after: Position,
        of_each_room: usize,
    ) -> Result<usize, rooms::Error> {
        let mut by_room = HashMap::<OwnedRoomId, usize>::new();
        let (mut kept, mut before) = (0, Position::MAX);
        loop {
            let range = Range::after(after).before(before).reversed().limit(PAGE);
            let rows = self.store.scan::<Events>(server.as_str(), range).await?;
            let Some(last) = rows.last() else { return Ok(kept) };
            before = last.sort;
            let mut batch = Batch::new();
            for row in rows {
                let is_kept = row.value.room_id.is_none_or(|room| {
                    let of_room = by_room.entry(room).or_default();
                    *of_room += 1;
                    *of_room <= of_each_room
                });
                match is_kept {
                    true => kept += 1,
                    false => drop(batch.delete::<Events>(server.as_str(), row.sort)),
                }
            }
            self.store.commit(batch).await?;
        }
    }

    /// Of the messages to devices after a position, leaves the newest. Returns how many are left.
    pub(super) async fn thin_to_device(
        &self,
        server: &ServerName,
        after: Position,
        keep: usize,
    ) -> Result<usize, rooms::Error> {
        let (mut kept, mut before) = (0, Position::MAX);
        loop {
            let range = Range::after(after).before(before).reversed().limit(PAGE);
            let rows = self.store.scan::<ToDevice>(server.as_str(), range).await?;
            let Some(last) = rows.last() else { return Ok(kept) };
            before = last.sort;
            let mut batch = Batch::new();
            for row in rows {
                match kept < keep {
                    true => kept += 1,
                    false => drop(batch.delete::<ToDevice>(server.as_str(), row.sort)),
                }
            }
            self.store.commit(batch).await?;
        }
    }

    pub(super) async fn unanswered(
        &self,
        server: &ServerName,
    ) -> Result<Option<Unanswered>, ReadError> {
        self.store.get::<UnansweredTable>(server.as_str(), ()).await
    }

    /// Returns before that is durable, so a crash may forget it. The same events go in a transaction
    /// of another name then, and are known if they arrived.
    pub(super) fn set_unanswered(
        &self,
        server: &ServerName,
        transaction: &Unanswered,
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        batch.put::<UnansweredTable>(server.as_str(), (), transaction);
        self.store.submit(batch).map(drop)
    }

    pub(super) async fn failures(&self, server: &ServerName) -> Result<Failures, ReadError> {
        let record = self.store.get::<FailuresTable>(server.as_str(), ()).await?;
        Ok(record.unwrap_or_default())
    }

    /// Returns before that is durable: the server would only be tried sooner after a crash.
    pub(super) fn set_failures(
        &self,
        server: &ServerName,
        failures: Failures,
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        match failures.count {
            0 => batch.delete::<FailuresTable>(server.as_str(), ()),
            _ => batch.put::<FailuresTable>(server.as_str(), (), &failures),
        };
        self.store.submit(batch).map(drop)
    }

    pub(super) async fn destinations(&self) -> Result<Vec<OwnedServerName>, ReadError> {
        let rows = self.store.scan::<Destinations>(0, Range::all()).await?;
        Ok(rows.into_iter().filter_map(|row| ServerName::parse(row.sort).ok()).collect())
    }
}
