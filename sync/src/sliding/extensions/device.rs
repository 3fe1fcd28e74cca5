//! `to_device` and `e2ee`: what a device is told, whatever rooms it looks at.

use super::Extended;
use crate::{
    SyncError, device_lists,
    json::{self, Events, Object},
    sections::{
        key_counts,
        to_device::{self, Reading},
    },
    sliding::{
        answer::{Ask, Context},
        request::ToDevice,
        snapshot::Snapshot,
        to_device_token,
    },
};

/// "`since` […] independent of `pos`": it is a token of its own, which clients keep for longer.
pub(super) async fn to_device(
    context: &Context<'_>,
    ask: &Ask<'_>,
    asked: &ToDevice,
    snapshot: &Snapshot,
    extended: &mut Extended,
) -> Result<(), SyncError> {
    let (sync, now) = (context.sync, snapshot.now.durable);
    let after = to_device_token::parse(sync, asked.since.as_deref())?.unwrap_or(0);
    let mut events = Events::default();
    let mut up_to = now;
    if snapshot.to_device > after || after == 0 {
        let reading = Reading { device: ask.device, after, now, limit: asked.limit };
        up_to = to_device::read(sync, ask.user, reading, &mut events).await?;
    }
    extended.to_device = Some(up_to);
    let mut object = Object::open(extended.written.key("to_device"));
    json::text(object.key("next_batch"), &to_device_token::write(sync, up_to));
    if !events.is_empty() {
        events.write_list(object.key("events"));
        extended.empty = false;
    }
    object.close();
    Ok(())
}

pub(super) async fn e2ee(
    context: &Context<'_>,
    ask: &Ask<'_>,
    snapshot: &Snapshot,
    extended: &mut Extended,
) -> Result<(), SyncError> {
    let sync = context.sync;
    let mut object = Object::open(extended.written.key("e2ee"));
    // "Only present on an incremental sync."
    if let Some(since) = context.base.since {
        let (after, now) = (since.durable, snapshot.now.durable);
        if !snapshot.device_lists.is_nothing() {
            let moved = &snapshot.device_lists;
            let lists = device_lists::changes(sync, ask.user, moved, after, now).await?;
            if !lists.is_empty() {
                lists.write(&mut object);
                extended.empty = false;
            }
        }
        if snapshot.one_time_keys > after {
            extended.empty = false;
        }
    }
    // In every answer: that there is no unused fallback key is told by an empty list.
    if let Some(counts) = key_counts::load(sync, ask.user, Some(ask.device)).await? {
        key_counts::write(&counts, &mut object);
    }
    object.close();
    Ok(())
}
