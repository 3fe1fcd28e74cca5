//! What is known of an event's children, kept in memory while nothing has changed.
//!
//! A summary says up to which position it counts. The room knows the positions of its newest
//! relation and its newest redaction from the moment they are submitted, so an outdated summary is
//! recognised without reading anything.

use std::{collections::BTreeSet, sync::Arc};

use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedEventId, OwnedUserId};
use serde::{Deserialize, de::IgnoredAny};
use storage::{Position, Range, Row};

use crate::{
    Error, EventStatus, Rooms, StoredEvent,
    room::Room,
    store::{RelationRecord, Relations},
};

const CACHE_BYTES: u64 = 32 << 20;
/// References that are bundled; the rest is there for who asks for relations.
const REFERENCES: usize = 100;
/// Children read at a time.
const PAGE: usize = 1000;

/// The children of one event.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    /// The most recent valid edit, and its `origin_server_ts`.
    pub(super) edit: Option<(u64, OwnedEventId)>,
    pub(super) references: Vec<OwnedEventId>,
    pub(super) replies: u64,
    pub(super) latest_reply: Option<OwnedEventId>,
    pub(super) participants: BTreeSet<OwnedUserId>,
    up_to: Position,
}

impl Summary {
    pub(super) fn is_empty(&self) -> bool {
        self.edit.is_none() && self.references.is_empty() && self.replies == 0
    }

    fn add_reply(&mut self, child: &RelationRecord) {
        self.replies += 1;
        self.latest_reply = Some(child.event_id.clone());
        self.participants.insert(child.sender.clone());
    }

    fn add_reference(&mut self, child: &RelationRecord) {
        if self.references.len() < REFERENCES {
            self.references.push(child.event_id.clone());
        }
    }

    fn add_edit(&mut self, edit: &StoredEvent) {
        // "comparing `origin_server_ts`; if two or more replacement events have identical
        // `origin_server_ts`, the event with the lexicographically largest `event_id`".
        let edit = (edit.pdu.origin_server_ts(), edit.event_id().clone());
        if self.edit.as_ref().is_none_or(|known| *known < edit) {
            self.edit = Some(edit);
        }
    }
}

#[derive(Clone)]
struct SummaryWeight;

impl Weighter<OwnedEventId, Arc<Summary>> for SummaryWeight {
    fn weight(&self, _id: &OwnedEventId, summary: &Arc<Summary>) -> u64 {
        let ids = summary.references.len() + summary.participants.len();
        200 + 60 * ids as u64
    }
}

/// The summaries in memory.
pub(crate) struct Summaries(Cache<OwnedEventId, Arc<Summary>, SummaryWeight>);

impl Default for Summaries {
    fn default() -> Self {
        Self(Cache::with_weighter(100_000, CACHE_BYTES, SummaryWeight))
    }
}

impl Rooms {
    /// The children of the event, whoever may see them.
    pub(super) async fn children(
        &self,
        room: &Room,
        parent: &StoredEvent,
    ) -> Result<Arc<Summary>, Error> {
        let cache = &self.inner.summaries.0;
        // Before the markers, which are set before anything becomes durable.
        let durable = self.inner.store.log().position();
        let (related, redacted) = room.newest_relations();
        let known = cache.get(parent.event_id());
        if let Some(known) = &known
            && known.up_to >= related.max(redacted)
        {
            return Ok(Arc::clone(known));
        }
        // A redaction takes something away, so what was counted before is of no use then.
        let known = known.filter(|known| known.up_to >= redacted);
        let mut summary = known.map(Arc::unwrap_or_clone).unwrap_or_default();
        self.count(&mut summary, parent, durable, None).await?;
        let summary = Arc::new(summary);
        cache.insert(parent.event_id().clone(), Arc::clone(&summary));
        Ok(summary)
    }

    /// The children of the event that the viewer may see.
    pub(super) async fn visible_summary(
        &self,
        parent: &StoredEvent,
        viewer: &ruma::UserId,
    ) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        let durable = self.inner.store.log().position();
        self.count(&mut summary, parent, durable, Some(viewer)).await?;
        Ok(summary)
    }

    /// Adds the children that came after those already counted.
    async fn count(
        &self,
        summary: &mut Summary,
        parent: &StoredEvent,
        up_to: Position,
        viewer: Option<&ruma::UserId>,
    ) -> Result<(), Error> {
        let id = parent.event_id();
        while summary.up_to < up_to {
            let range = Range::after((id, summary.up_to)).up_to((id, up_to)).limit(PAGE);
            let rows = self.inner.store.scan::<Relations>(parent.pdu.room_id(), range).await?;
            let is_last = rows.len() < PAGE;
            summary.up_to = rows.last().filter(|_| !is_last).map_or(up_to, |row| row.sort.1);
            for Row { value: child, .. } in rows {
                let seen = match viewer {
                    Some(viewer) => self.may_see(viewer, parent, &child).await?,
                    None => true,
                };
                if seen {
                    self.count_child(summary, parent, &child).await?;
                }
            }
        }
        Ok(())
    }

    async fn may_see(
        &self,
        viewer: &ruma::UserId,
        parent: &StoredEvent,
        child: &RelationRecord,
    ) -> Result<bool, Error> {
        let event = self.event_by_id(&child.event_id).await?;
        let visible = self.visible(viewer, parent.pdu.room_id(), event.as_slice()).await?;
        Ok(!visible.is_empty())
    }

    async fn count_child(
        &self,
        summary: &mut Summary,
        parent: &StoredEvent,
        child: &RelationRecord,
    ) -> Result<(), Error> {
        match child.rel_type.as_str() {
            "m.thread" => summary.add_reply(child),
            "m.reference" => summary.add_reference(child),
            "m.replace" if child.sender == parent.pdu.sender() => {
                let edit = self.event_by_id(&child.event_id).await?;
                if let Some(edit) = edit.filter(|edit| is_valid_edit(parent, edit)) {
                    summary.add_edit(&edit);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The requirements of "Validity of replacement events", as far as a server can see them.
fn is_valid_edit(original: &StoredEvent, edit: &StoredEvent) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.new_content")]
        _new_content: IgnoredAny,
    }
    let has_new_content = || {
        // That of an encrypted event is inside.
        edit.pdu.event_type() == "m.room.encrypted" || edit.pdu.content_as::<Content>().is_ok()
    };
    edit.status == EventStatus::Accepted
        && edit.pdu.event_type() == original.pdu.event_type()
        && edit.pdu.sender() == original.pdu.sender()
        && !edit.pdu.is_state()
        && !original.pdu.is_state()
        && edit.redacted_by.is_none()
        && has_new_content()
}
