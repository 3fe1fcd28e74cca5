//! What must arrive: events by destination, in the order in which they happened.

use bytes::Bytes;
use ruma::{OwnedEventId, OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Position, Range, ReadError, Store, Table, Versioned};

/// What waits for a destination.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Event(OwnedEventId),
    /// The content of an `m.direct_to_device` EDU.
    ToDevice(Bytes),
}

struct ToDevice;

impl Table for ToDevice {
    const NAME: &'static str = "federation_outbox_to_device";
    /// Destination.
    type Partition = String;
    /// Of the fact.
    type Sort = u64;
    type Value = Bytes;
}

struct Events;

#[derive(Debug, Serialize, Deserialize)]
struct EventRecord {
    event_id: OwnedEventId,
}

impl Versioned for EventRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Events {
    const NAME: &'static str = "federation_outbox";
    /// Destination.
    type Partition = String;
    /// Of the fact.
    type Sort = u64;
    type Value = EventRecord;
}

/// Servers that something was ever sent to.
struct Destinations;

impl Table for Destinations {
    const NAME: &'static str = "federation_destinations";
    type Partition = u32;
    type Sort = String;
    type Value = ();
}

/// How far the log was followed.
struct Followed;

#[derive(Debug, Serialize, Deserialize)]
struct FollowedRecord {
    position: Position,
}

impl Versioned for FollowedRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Followed {
    const NAME: &'static str = "federation_followed";
    type Partition = u32;
    type Sort = ();
    type Value = FollowedRecord;
}

/// How often a server has failed in a row; no row for one that answers.
struct Failures;

#[derive(Debug, Serialize, Deserialize)]
struct FailuresRecord {
    failures: u32,
}

impl Versioned for FailuresRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Failures {
    const NAME: &'static str = "federation_failures";
    /// Destination.
    type Partition = String;
    type Sort = ();
    type Value = FailuresRecord;
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

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// `None` before the first start.
    pub(super) async fn followed(&self) -> Result<Option<Position>, ReadError> {
        let record = self.store.get::<Followed>(0, ()).await?;
        Ok(record.map(|record| record.position))
    }

    /// Durable on return: the events are in the outboxes, and the log was followed up to there.
    pub(super) async fn add(
        &self,
        events: &[Relayed],
        followed: Position,
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        batch.put::<Followed>(0, (), &FollowedRecord { position: followed });
        for Relayed { position, item, servers } in events {
            for server in servers {
                match item {
                    Item::Event(event_id) => {
                        let record = EventRecord { event_id: event_id.clone() };
                        batch.derive_put::<Events>(server.as_str(), *position, &record);
                    }
                    Item::ToDevice(content) => {
                        batch.derive_put::<ToDevice>(server.as_str(), *position, content);
                    }
                }
                batch.derive_put::<Destinations>(0, server.as_str(), &());
            }
        }
        self.store.commit(batch).await.map(drop)
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
        self.store.submit(batch).map(drop)
    }

    pub(super) async fn failures(&self, server: &ServerName) -> Result<u32, ReadError> {
        let record = self.store.get::<Failures>(server.as_str(), ()).await?;
        Ok(record.map_or(0, |record| record.failures))
    }

    /// Returns before that is durable: the server would only be tried sooner after a crash.
    pub(super) fn set_failures(
        &self,
        server: &ServerName,
        failures: u32,
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        match failures {
            0 => batch.delete::<Failures>(server.as_str(), ()),
            failures => batch.put::<Failures>(server.as_str(), (), &FailuresRecord { failures }),
        };
        self.store.submit(batch).map(drop)
    }

    pub(super) async fn destinations(&self) -> Result<Vec<OwnedServerName>, ReadError> {
        let rows = self.store.scan::<Destinations>(0, Range::all()).await?;
        Ok(rows.into_iter().filter_map(|row| ServerName::parse(row.sort).ok()).collect())
    }
}
