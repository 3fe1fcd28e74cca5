//! Events that others refer to: judged by their auth events alone, and kept without a place in
//! history.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use events::{ClientEvent, Pdu, RoomVersion};
use ruma::OwnedEventId;
use storage::Batch;

use super::{auth_events::Verdict, order::foundations_first};
use crate::{
    Error, EventStatus, Root, StoredEvent,
    rooms::Inner,
    store::{SideEvents, SideRecord, SideStatus},
};

/// Events that are judged before other tasks get their turn.
const STEP: usize = 64;

/// Events that are about to be stored, by id.
pub(super) type Held = HashMap<OwnedEventId, Arc<StoredEvent>>;

impl Inner {
    /// Judges verified events and stores them; durable on return. One whose auth events are not
    /// known, here or among the others, is left out.
    pub(crate) async fn hold_outliers(
        &self,
        version: &'static RoomVersion,
        mut pdus: Vec<Arc<Pdu>>,
    ) -> Result<(), Error> {
        let mut held = Held::new();
        // In version 12 everything stands on the create event without naming it.
        pdus.sort_by_key(|pdu| pdu.event_type() != "m.room.create");
        let pdus = foundations_first(pdus, Pdu::auth_events);
        for (count, pdu) in pdus.into_iter().enumerate() {
            if count % STEP == STEP - 1 {
                tokio::task::yield_now().await;
            }
            if self.events.get_latest(pdu.event_id()).await?.is_some() {
                continue;
            }
            let Some(verdict) = self.judge_outlier(version, &pdu, &held).await? else { continue };
            let status = match verdict {
                Ok(()) => EventStatus::Outlier,
                Err(reason) => {
                    tracing::debug!(event_id = %pdu.event_id(), reason, "an outlier is rejected");
                    EventStatus::Rejected
                }
            };
            let event = side_event(pdu, version, status, None);
            held.insert(event.event_id().clone(), event);
        }
        self.store_aside(held.into_values().collect()).await
    }

    async fn judge_outlier(
        &self,
        version: &RoomVersion,
        pdu: &Pdu,
        held: &Held,
    ) -> Result<Option<Verdict>, Error> {
        let is_create = pdu.event_type() == "m.room.create";
        let implied = (version.room_id_is_create_hash() && !is_create)
            .then(|| events::room_create_event_id(pdu.room_id()))
            .flatten();
        for id in pdu.auth_events().iter().chain(&implied) {
            if !held.contains_key(id) && self.events.get_latest(id).await?.is_none() {
                return Ok(None);
            }
        }
        self.check_auth_events(version, pdu, held).await.map(Some)
    }

    /// Keeps events that are not shown. Durable on return.
    pub(super) async fn store_aside(&self, events: Vec<Arc<StoredEvent>>) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for event in &events {
            batch.derive_put::<SideEvents>(event.event_id(), (), &side_record(event));
        }
        self.store.commit(batch).await?;
        // An outlier that was judged is in the cache in its old form.
        events
            .iter()
            .filter(|event| event.status != EventStatus::Outlier)
            .for_each(|event| self.events.insert(event));
        Ok(())
    }
}

pub(crate) fn side_record(event: &StoredEvent) -> SideRecord {
    let status = match event.status {
        EventStatus::SoftFailed => SideStatus::SoftFailed,
        EventStatus::Rejected => SideStatus::Rejected,
        EventStatus::Outlier | EventStatus::Accepted => SideStatus::Outlier,
    };
    SideRecord {
        room_version: event.version.as_str().to_owned(),
        json: event.pdu.json().clone(),
        status,
        state_before: (event.state_before != Root::EMPTY).then_some(event.state_before),
    }
}

pub(crate) fn side_event(
    pdu: Arc<Pdu>,
    version: &'static RoomVersion,
    status: EventStatus,
    state_before: Option<Root>,
) -> Arc<StoredEvent> {
    let pdu = match status {
        EventStatus::Rejected => Arc::new(Pdu::clone(&pdu).into_rejected()),
        _ => pdu,
    };
    Arc::new(StoredEvent {
        client: ClientEvent::new(&pdu, version),
        pdu,
        version,
        position: 0,
        state_before: state_before.unwrap_or(Root::EMPTY),
        room_state: None,
        txn: None,
        redacted_by: None,
        status,
        previous: OnceLock::new(),
    })
}
