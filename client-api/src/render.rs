//! Events in the form for clients, with the `unsigned` of whoever looks.

use std::sync::Arc;

use accounts::Session;
use rooms::{Rooms, StoredEvent, UnsignedFor};
use ruma::{RoomId, serde::Raw};
use serde_json::value::RawValue;

use crate::error::Error;

/// Renders events of one room for a session, with their bundled aggregations.
///
/// The bytes of an event are those that every other reader gets; only `unsigned` is made anew.
pub(crate) async fn events<T>(
    rooms: &Rooms,
    session: &Session,
    room_id: &RoomId,
    events: &[Arc<StoredEvent>],
) -> Result<Vec<Raw<T>>, Error> {
    let relations = rooms.aggregations(&session.user_id, room_id, events).await?;
    let mut rendered = Vec::with_capacity(events.len());
    for event in events {
        let viewer = UnsignedFor {
            viewer: &session.user_id,
            device: Some(&session.device_id),
            membership: None,
            relations: relations.get(event.pdu.event_id()),
        };
        rendered.push(render(rooms, event, &viewer, room_id).await?);
    }
    Ok(rendered)
}

/// As [`events`], for state: nothing is bundled.
pub(crate) async fn state_events<T>(
    rooms: &Rooms,
    session: &Session,
    room_id: &RoomId,
    events: &[Arc<StoredEvent>],
) -> Result<Vec<Raw<T>>, Error> {
    let viewer = UnsignedFor {
        viewer: &session.user_id,
        device: Some(&session.device_id),
        membership: None,
        relations: None,
    };
    let mut rendered = Vec::with_capacity(events.len());
    for event in events {
        rendered.push(render(rooms, event, &viewer, room_id).await?);
    }
    Ok(rendered)
}

async fn render<T>(
    rooms: &Rooms,
    event: &StoredEvent,
    viewer: &UnsignedFor<'_>,
    room_id: &RoomId,
) -> Result<Raw<T>, Error> {
    let unsigned = rooms.unsigned(event, viewer).await?;
    let mut json = Vec::with_capacity(1024);
    event.client.write(&mut json, Some(room_id), Some(&unsigned));
    raw(json)
}

/// Wraps JSON that we wrote ourselves.
pub(crate) fn raw<T>(json: Vec<u8>) -> Result<Raw<T>, Error> {
    let text = String::from_utf8(json).map_err(|error| Error::internal(&error))?;
    let value = RawValue::from_string(text).map_err(|error| Error::internal(&error))?;
    Ok(Raw::from_json(value))
}
