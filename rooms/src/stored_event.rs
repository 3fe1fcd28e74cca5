//! An accepted event as readers get it: shared, and serialised once.

use std::sync::{Arc, OnceLock};

use events::{ClientEvent, Pdu, RoomVersion};
use quick_cache::{Weighter, sync::Cache};
use ruma::{EventId, OwnedDeviceId, OwnedEventId, OwnedTransactionId};
use storage::{Position, Store};

use crate::{
    Error, Root,
    store::{EventIds, EventRecord, Events, SideEvents, SideRecord, SideStatus},
};

/// Marks the position of an event that was filled into the history: no range of the log reaches up
/// to it.
pub(crate) const HISTORIC: Position = 1 << 63;

/// What the checks said about an event when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    Accepted,
    /// Allowed by its auth events; what came before it is not known: kept, not part of the history.
    Outlier,
    /// Allowed by its own history but not by the current state: kept, never shown.
    SoftFailed,
    /// Kept because other events refer to it, never shown.
    Rejected,
}

/// The transaction in which a local device sent an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnEcho {
    pub device_id: OwnedDeviceId,
    pub txn_id: OwnedTransactionId,
}

#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub pdu: Arc<Pdu>,
    /// The form for clients, without `unsigned`.
    pub client: ClientEvent,
    pub version: &'static RoomVersion,
    /// 0 of an event without a place in the history; see [`StoredEvent::is_historic`] for what was
    /// filled in later.
    pub position: Position,
    /// The state just before the event, empty if that is unknown (of an outlier).
    pub state_before: Root,
    /// The room's state once the event was accepted, where that is not the event's own.
    pub(crate) room_state: Option<Root>,
    /// Whoever sent it: `pdu.sender()`'s device.
    pub txn: Option<TxnEcho>,
    pub redacted_by: Option<OwnedEventId>,
    pub status: EventStatus,
    /// What it replaced in the state before it, once that was looked up.
    pub(crate) previous: OnceLock<Option<OwnedEventId>>,
}

impl StoredEvent {
    pub(crate) fn from_record(record: EventRecord, position: Position) -> Result<Self, Error> {
        let version = RoomVersion::parse(&record.room_version)
            .ok_or_else(|| damaged(&record.event_id, "its room version is unknown"))?;
        let pdu = Pdu::from_stored(record.event_id.clone(), record.json, version)
            .map_err(|error| damaged(&record.event_id, &error.to_string()))?;
        Ok(Self {
            client: ClientEvent::new(&pdu, version),
            pdu: Arc::new(pdu),
            version,
            position,
            state_before: record.state_before,
            room_state: record.room_state,
            txn: record
                .txn
                .map(|(device, txn)| TxnEcho { device_id: device.into(), txn_id: txn.into() }),
            redacted_by: record.redacted_by,
            status: EventStatus::Accepted,
            previous: OnceLock::new(),
        })
    }

    fn from_side_record(event_id: &EventId, record: SideRecord) -> Result<Self, Error> {
        let version = RoomVersion::parse(&record.room_version)
            .ok_or_else(|| damaged(event_id, "its room version is unknown"))?;
        let pdu = Pdu::from_stored(event_id.to_owned(), record.json, version)
            .map_err(|error| damaged(event_id, &error.to_string()))?;
        let status = match record.status {
            SideStatus::Outlier => EventStatus::Outlier,
            SideStatus::SoftFailed => EventStatus::SoftFailed,
            SideStatus::Rejected => EventStatus::Rejected,
        };
        let rejected = status == EventStatus::Rejected;
        let pdu = if rejected { pdu.into_rejected() } else { pdu };
        Ok(Self {
            client: ClientEvent::new(&pdu, version),
            pdu: Arc::new(pdu),
            version,
            position: 0,
            state_before: record.state_before.unwrap_or(Root::EMPTY),
            room_state: None,
            txn: None,
            redacted_by: None,
            status,
            previous: OnceLock::new(),
        })
    }

    /// Whether the event was filled into the history after later ones had been told: it has a place
    /// in the topological order and none in the order of delivery.
    pub fn is_historic(&self) -> bool {
        self.position & HISTORIC != 0
    }

    /// Whether the room's state once the event was accepted is not what followed from the event.
    pub fn has_forked(&self) -> bool {
        self.room_state.is_some()
    }

    /// Whether all checks were made. Of an outlier, and of one that was rejected as an outlier, the
    /// state before it is not known.
    pub(crate) fn was_judged(&self) -> bool {
        match self.status {
            EventStatus::Accepted | EventStatus::SoftFailed => true,
            EventStatus::Rejected => self.state_before != Root::EMPTY,
            EventStatus::Outlier => false,
        }
    }

    /// Where the event stands in the order of delivery; what was filled in stands before all of it.
    pub(crate) fn delivered_at(&self) -> Position {
        if self.is_historic() { 0 } else { self.position }
    }

    pub(crate) fn to_record(&self) -> EventRecord {
        EventRecord {
            event_id: self.pdu.event_id().clone(),
            room_version: self.version.as_str().to_owned(),
            json: self.pdu.json().clone(),
            state_before: self.state_before,
            room_state: self.room_state,
            txn: self.txn.as_ref().map(|txn| (txn.device_id.to_string(), txn.txn_id.to_string())),
            redacted_by: self.redacted_by.clone(),
        }
    }

    /// What is left of the event once `redaction` has been applied to it.
    pub(crate) fn redacted(&self, redaction: &EventId) -> Self {
        let pdu = self.pdu.redacted(self.version);
        Self {
            client: ClientEvent::new(&pdu, self.version),
            pdu: Arc::new(pdu),
            redacted_by: Some(redaction.to_owned()),
            ..self.clone()
        }
    }

    /// The event of a user who was erased, for those who were not there.
    pub(crate) fn of_erased(&self) -> Self {
        let pdu = self.pdu.redacted(self.version);
        let client = ClientEvent::new(&pdu, self.version);
        Self { client, pdu: Arc::new(pdu), txn: None, ..self.clone() }
    }

    pub fn event_id(&self) -> &OwnedEventId {
        self.pdu.event_id()
    }
}

fn damaged(event_id: &EventId, why: &str) -> Error {
    Error::Internal(format!("the stored event {event_id} cannot be read: {why}"))
}

#[derive(Clone)]
struct EventWeight;

impl Weighter<OwnedEventId, Arc<StoredEvent>> for EventWeight {
    fn weight(&self, _id: &OwnedEventId, event: &Arc<StoredEvent>) -> u64 {
        // The PDU, the client form and what is parsed out of them.
        2 * event.pdu.json().len() as u64 + 600
    }
}

/// Events by id: those in memory, and the way to the others.
pub(crate) struct EventStore {
    store: Store,
    cache: Cache<OwnedEventId, Arc<StoredEvent>, EventWeight>,
}

impl EventStore {
    pub(crate) fn new(store: Store, cache_bytes: u64) -> Self {
        let expected = usize::try_from(cache_bytes / 2600).unwrap_or(usize::MAX);
        Self { store, cache: Cache::with_weighter(expected, cache_bytes, EventWeight) }
    }

    /// Called when the event is submitted, before it is durable, and again for one that changed.
    pub(crate) fn insert(&self, event: &Arc<StoredEvent>) {
        self.cache.insert(event.event_id().clone(), Arc::clone(event));
    }

    /// A durable event.
    pub(crate) async fn get(&self, id: &EventId) -> Result<Option<Arc<StoredEvent>>, Error> {
        let durable = self.store.log().position();
        Ok(self.find(id).await?.filter(|event| event.position & !HISTORIC <= durable))
    }

    /// An event that may not be durable yet: for the writer of its room.
    pub(crate) async fn get_latest(&self, id: &EventId) -> Result<Option<Arc<StoredEvent>>, Error> {
        if let Some(found) = self.find(id).await? {
            return Ok(Some(found));
        }
        self.store.barrier().wait().await?;
        self.find(id).await
    }

    /// A row of the event table as the event it holds.
    pub(crate) fn of_row(
        &self,
        position: Position,
        record: EventRecord,
    ) -> Result<Arc<StoredEvent>, Error> {
        // Not put into the cache from here: a row read before a redaction could replace what the
        // redaction left.
        match self.cache.get(&record.event_id) {
            Some(event) => Ok(event),
            None => Ok(Arc::new(StoredEvent::from_record(record, position)?)),
        }
    }

    async fn find(&self, id: &EventId) -> Result<Option<Arc<StoredEvent>>, Error> {
        // The guard is void if the event is inserted meanwhile, so a row that was read before a
        // redaction cannot replace what the redaction left.
        let guard = match self.cache.get_value_or_guard_async(id).await {
            Ok(event) => return Ok(Some(event)),
            Err(guard) => guard,
        };
        let Some(place) = self.store.get::<EventIds>(id, ()).await? else {
            let Some(record) = self.store.get::<SideEvents>(id, ()).await? else { return Ok(None) };
            let event = Arc::new(StoredEvent::from_side_record(id, record)?);
            let _replaced = guard.insert(Arc::clone(&event));
            return Ok(Some(event));
        };
        let row = self.store.get::<Events>(&place.room_id, place.position).await?;
        let Some(record) = row else { return Ok(None) };
        let event = Arc::new(StoredEvent::from_record(record, place.position)?);
        let _replaced = guard.insert(Arc::clone(&event));
        Ok(Some(event))
    }
}
