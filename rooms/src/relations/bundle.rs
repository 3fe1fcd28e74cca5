//! The children of an event as they are bundled with it under `m.relations`.

use std::sync::Arc;

use bytes::Bytes;
use ruma::{EventId, UserId};
use serde::Deserialize;

use super::summary::Summary;
use crate::{Error, Rooms, StoredEvent, UnsignedFor, room::Room, unsigned::Object};

/// A summary whose events are at hand.
struct Shown {
    summary: Arc<Summary>,
    edit: Option<Arc<StoredEvent>>,
    latest_reply: Option<Arc<StoredEvent>>,
}

impl Rooms {
    pub(super) async fn bundle(
        &self,
        viewer: &UserId,
        room: &Room,
        event: &StoredEvent,
    ) -> Result<Option<Bytes>, Error> {
        let summary = self.children(room, event).await?;
        if summary.is_empty() {
            return Ok(None);
        }
        let Some(shown) = self.shown(viewer, event, summary).await? else { return Ok(None) };
        let mut bundle = Object::new();
        let mut is_empty = true;
        if let Some(edit) = &shown.edit {
            self.write_event(viewer, edit, None, bundle.key("m.replace")).await?;
            is_empty = false;
        }
        if !shown.summary.references.is_empty() {
            write_references(&shown.summary, bundle.key("m.reference"));
            is_empty = false;
        }
        if let Some(latest) = &shown.latest_reply {
            let out = bundle.key("m.thread");
            self.write_thread(viewer, room, event, &shown.summary, latest, out).await?;
            is_empty = false;
        }
        Ok((!is_empty).then(|| bundle.end().into()))
    }

    /// What the viewer is shown of the children. Usually they may see all of them.
    async fn shown(
        &self,
        viewer: &UserId,
        event: &StoredEvent,
        summary: Arc<Summary>,
    ) -> Result<Option<Shown>, Error> {
        let newest = [summary.edit.as_ref().map(|(_, id)| id), summary.latest_reply.as_ref()];
        let newest = newest.into_iter().flatten().chain(summary.references.last());
        let mut newest_events = Vec::new();
        for id in newest {
            newest_events.extend(self.event_by_id(id).await?);
        }
        let visible = self.visible(viewer, event.pdu.room_id(), &newest_events).await?;
        let summary = if visible.len() == newest_events.len() {
            summary
        } else {
            Arc::new(self.visible_summary(event, viewer).await?)
        };
        if summary.is_empty() {
            return Ok(None);
        }
        let edit = match summary.edit.as_ref().filter(|_| may_be_replaced(event)) {
            Some((_, id)) => self.shown_as(viewer, event, id, &visible).await?,
            None => None,
        };
        let latest_reply = match &summary.latest_reply {
            Some(id) => self.shown_as(viewer, event, id, &visible).await?,
            None => None,
        };
        Ok(Some(Shown { summary, edit, latest_reply }))
    }

    /// A child as the viewer sees it: not all may be left of it.
    async fn shown_as(
        &self,
        viewer: &UserId,
        parent: &StoredEvent,
        id: &EventId,
        visible: &[Arc<StoredEvent>],
    ) -> Result<Option<Arc<StoredEvent>>, Error> {
        if let Some(event) = visible.iter().find(|event| event.event_id() == id) {
            return Ok(Some(Arc::clone(event)));
        }
        let event = self.event_by_id(id).await?;
        Ok(self.visible(viewer, parent.pdu.room_id(), event.as_slice()).await?.pop())
    }

    async fn write_thread(
        &self,
        viewer: &UserId,
        room: &Room,
        root: &StoredEvent,
        summary: &Summary,
        latest: &StoredEvent,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let participated = root.pdu.sender() == viewer || summary.participants.contains(viewer);
        let mut thread = Object::new();
        thread.key("count").extend_from_slice(summary.replies.to_string().as_bytes());
        let yes_or_no: &[u8] = if participated { b"true" } else { b"false" };
        thread.key("current_user_participated").extend_from_slice(yes_or_no);
        // "child events of the `latest_event` should themselves be aggregated". A reply is no
        // root, so it is edited and referred to, and there is no loop.
        let below = self.reply_bundle(viewer, room, latest).await?;
        self.write_event(viewer, latest, below.as_ref(), thread.key("latest_event")).await?;
        out.extend_from_slice(&thread.end());
        Ok(())
    }

    async fn reply_bundle(
        &self,
        viewer: &UserId,
        room: &Room,
        reply: &StoredEvent,
    ) -> Result<Option<Bytes>, Error> {
        let summary = self.children(room, reply).await?;
        if summary.is_empty() {
            return Ok(None);
        }
        let Some(shown) = self.shown(viewer, reply, summary).await? else { return Ok(None) };
        let mut bundle = Object::new();
        if let Some(edit) = &shown.edit {
            self.write_event(viewer, edit, None, bundle.key("m.replace")).await?;
        }
        if !shown.summary.references.is_empty() {
            write_references(&shown.summary, bundle.key("m.reference"));
        }
        Ok(Some(bundle.end().into()))
    }

    async fn write_event(
        &self,
        viewer: &UserId,
        event: &StoredEvent,
        relations: Option<&Bytes>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let whom = UnsignedFor { viewer, device: None, membership: None, relations };
        let unsigned = self.unsigned(event, &whom).await?;
        event.client.write(out, Some(event.pdu.room_id()), Some(&unsigned));
        Ok(())
    }
}

fn write_references(summary: &Summary, out: &mut Vec<u8>) {
    #[derive(serde::Serialize)]
    struct References<'a> {
        chunk: Vec<Reference<'a>>,
    }
    #[derive(serde::Serialize)]
    struct Reference<'a> {
        event_id: &'a EventId,
    }
    let chunk = summary.references.iter().map(|event_id| Reference { event_id }).collect();
    serde_json::to_writer(out, &References { chunk }).expect("writing text into memory");
}

/// "If the original event is redacted, any `m.replace` relationship should not be bundled with
/// it", and "the original event must not, itself, have a `rel_type` of `m.replace`".
fn may_be_replaced(original: &StoredEvent) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: RelatesTo,
    }
    #[derive(Deserialize)]
    struct RelatesTo {
        rel_type: String,
    }
    let content = original.pdu.content_as::<Content>();
    let is_edit = content.is_ok_and(|content| content.relates_to.rel_type == "m.replace");
    original.redacted_by.is_none() && !is_edit
}
