//! `GET /initialSync`, and that of one room.

use std::{collections::BTreeSet, time::Duration};

use accounts::Session;
use axum::extract::State;
use presence::Presence;
use rooms::{MessagesQuery, Rooms};
use ruma::{
    RoomId,
    api::{Direction, client::filter::RoomEventFilter},
    events::{AnyStateEvent, AnyTimelineEvent},
    presence::PresenceState,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sync::Sync as SyncEngine;

use super::{events::now, events_of, old_form, own_member, query, take_entries, told, with_room};
use crate::{error::Error, extract::AuthedRaw, gate::Gate, render, respond::RawJson};

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 500;
/// Members of a room whose presence is told with it.
const PRESENCES_MAX: usize = 1000;

#[derive(Deserialize)]
struct Query {
    limit: Option<usize>,
    #[serde(default)]
    archived: bool,
}

impl Query {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX)
    }
}

pub(super) async fn initial_sync(
    State(gate): State<Gate>,
    State(presence): State<Presence>,
    State(rooms): State<Rooms>,
    State(sync): State<SyncEngine>,
    AuthedRaw { session, parts, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let query: Query = query(parts.uri.query())?;
    let online = PresenceState::Online;
    let _online = presence.syncing(&session.user_id, &session.device_id, &online).await;
    let filter = json!({
        "room": { "timeline": { "limit": query.limit() }, "include_leave": query.archived },
        // Never were part of this answer.
        "account_data": { "not_types": ["m.push_rules"] },
    });
    let mut body = told(&sync, &session, None, &filter, Duration::ZERO).await?;
    let end = body["next_batch"].take();
    let (mut found, mut receipts) = (Vec::new(), Vec::new());
    for membership in ["join", "leave"] {
        for (room_id, room) in take_entries(&mut body["rooms"][membership]) {
            let mut room = snapshot(&rooms, &room_id, membership, room, &end).await?;
            receipts.extend(take_receipts(&mut room, &room_id));
            found.push(room);
        }
    }
    for (room_id, mut room) in take_entries(&mut body["rooms"]["invite"]) {
        found.push(invitation(&session, &room_id, events_of(room["invite_state"].take())));
    }
    let mut presences = events_of(body["presence"].take());
    if !presences.iter().any(|event| event["content"]["user_id"] == session.user_id.as_str()) {
        presences.push(presence_of(&presence, &session.user_id, gate.now_ms()).await?);
    }
    let answer = json!({
        "end": end,
        "rooms": found,
        "receipts": receipts,
        "presence": presences,
        "account_data": events_of(body["account_data"].take()),
    });
    Ok(RawJson(answer.to_string().into()))
}

pub(super) async fn room_initial_sync(
    State(gate): State<Gate>,
    State(presence): State<Presence>,
    State(rooms): State<Rooms>,
    State(sync): State<SyncEngine>,
    AuthedRaw { session, parts, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let query: Query = query(parts.uri.query())?;
    let room_id = path_args.first().map(String::as_str).unwrap_or_default();
    let room_id = RoomId::parse(room_id)
        .map_err(|_| Error::invalid_param(format!("{room_id:?} is not a room id")))?;
    rooms.visible_state(&session.user_id, &room_id).await?;
    let filter = json!({
        "room": {
            "rooms": [room_id],
            "timeline": { "limit": query.limit() },
            "include_leave": true,
        },
        "presence": { "types": [] },
    });
    let mut body = told(&sync, &session, None, &filter, Duration::ZERO).await?;
    let end = body["next_batch"].take();
    // The room is the only one that was asked for.
    let found = ["join", "leave"].into_iter().find_map(|section| {
        let (_, room) = take_entries(&mut body["rooms"][section]).pop()?;
        Some((section, room))
    });
    if let Some((membership, room)) = found {
        let mut room = snapshot(&rooms, room_id.as_str(), membership, room, &end).await?;
        room["receipts"] = take_receipts(&mut room, room_id.as_str()).into();
        room["presence"] = match membership {
            "join" => presences(&presence, &rooms, &room_id, gate.now_ms()).await?,
            _ => json!([]),
        };
        return Ok(RawJson(room.to_string().into()));
    }
    // Only a look from outside.
    let room = looked_at(&rooms, &sync, &session, &room_id, query.limit()).await?;
    Ok(RawJson(room.to_string().into()))
}

/// A room of a sync answer. Its receipts are still under `ephemeral`.
async fn snapshot(
    rooms: &Rooms,
    room_id: &str,
    membership: &str,
    mut room: Value,
    end: &Value,
) -> Result<Value, Error> {
    let mut timeline = room["timeline"].take();
    let start = match timeline["prev_batch"].take() {
        Value::Null => end.clone(),
        start => start,
    };
    let in_room = |events: Vec<Value>| -> Vec<Value> {
        events.into_iter().map(|event| with_room(room_id, event)).collect()
    };
    Ok(json!({
        "room_id": room_id,
        "membership": membership,
        "visibility": visibility(rooms, room_id).await?,
        "messages": { "start": start, "end": end, "chunk": in_room(events_of(timeline)) },
        "state": in_room(events_of(room["state_after"].take())),
        "account_data": events_of(room["account_data"].take()),
        "ephemeral": room["ephemeral"].take(),
    }))
}

async fn visibility(rooms: &Rooms, room_id: &str) -> Result<&'static str, Error> {
    let Ok(room_id) = RoomId::parse(room_id) else { return Ok("private") };
    Ok(if rooms.is_published(&room_id).await? { "public" } else { "private" })
}

fn take_receipts(room: &mut Value, room_id: &str) -> Vec<Value> {
    let ephemeral = room.as_object_mut().and_then(|room| room.remove("ephemeral"));
    let events = events_of(ephemeral.unwrap_or_default()).into_iter();
    let receipts = events.filter(|event| event["type"] == "m.receipt");
    receipts.map(|event| with_room(room_id, event)).collect()
}

fn invitation(session: &Session, room_id: &str, state: Vec<Value>) -> Value {
    let invite = own_member(&state, &session.user_id).cloned().unwrap_or_default();
    json!({
        "room_id": room_id,
        "membership": "invite",
        "inviter": invite["sender"],
        "invite": with_room(room_id, invite.clone()),
        "state": state,
        "messages": { "chunk": [] },
    })
}

async fn looked_at(
    rooms: &Rooms,
    sync: &SyncEngine,
    session: &Session,
    room_id: &RoomId,
    limit: usize,
) -> Result<Value, Error> {
    let user = &session.user_id;
    let end = now(sync, session).await?;
    let mut chunk = Vec::new();
    let mut start = end.clone();
    if limit > 0 {
        let filter = RoomEventFilter::default();
        let (from, dir) = (Some(end.as_str()), Direction::Backward);
        let query = MessagesQuery { from, to: None, dir, limit, filter: &filter };
        let page = rooms.messages(user, room_id, query).await?;
        let rendered: Vec<Raw<AnyTimelineEvent>> =
            render::events(rooms, session, room_id, &page.chunk).await?;
        chunk = values(&rendered)?;
        chunk.reverse();
        start = page.end.unwrap_or(page.start);
    }
    let state = rooms.state(user, room_id).await?;
    let state: Vec<Raw<AnyStateEvent>> =
        render::state_events(rooms, session, room_id, &state).await?;
    Ok(json!({
        "room_id": room_id,
        "visibility": visibility(rooms, room_id.as_str()).await?,
        "messages": { "start": start, "end": end, "chunk": chunk },
        "state": values(&state)?,
        "account_data": [],
        "presence": [],
        "receipts": [],
    }))
}

fn values<T>(events: &[Raw<T>]) -> Result<Vec<Value>, Error> {
    let value = |event: &Raw<T>| serde_json::from_str(event.json().get()).map(old_form);
    events.iter().map(value).collect::<Result<_, _>>().map_err(|error| Error::internal(&error))
}

async fn presences(
    presence: &Presence,
    rooms: &Rooms,
    room_id: &RoomId,
    now_ms: u64,
) -> Result<Value, Error> {
    let members: BTreeSet<_> =
        rooms.joined_users(room_id, PRESENCES_MAX).await?.into_iter().collect();
    let mut events = Vec::with_capacity(members.len());
    for member in members {
        events.push(presence_of(presence, &member, now_ms).await?);
    }
    Ok(events.into())
}

async fn presence_of(
    presence: &Presence,
    user: &ruma::UserId,
    now_ms: u64,
) -> Result<Value, Error> {
    let content = presence.get(user).await?.content(now_ms);
    let content = serde_json::to_value(content).map_err(|error| Error::internal(&error))?;
    Ok(old_form(json!({ "type": "m.presence", "sender": user, "content": content })))
}
