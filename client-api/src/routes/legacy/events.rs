//! `GET /events`: what happened since a token, waiting for it if need be.

use std::{collections::BTreeSet, time::Duration};

use accounts::{Accounts, Session};
use axum::extract::State;
use http::StatusCode;
use presence::Presence;
use rooms::Rooms;
use ruma::{
    EventId, OwnedRoomId, RoomId, events::AnyTimelineEvent, events::room::member::MembershipState,
    presence::PresenceState, serde::Raw,
};
use serde::Deserialize;
use serde_json::{Value, json};
use storage::Position;
use sync::Sync as SyncEngine;

use super::{events_of, old_form, own_member, query, take_entries, told, with_room};
use crate::{error::Error, extract::AuthedRaw, gate::session_over, render, respond::RawJson};

/// Of one room in one answer. Who was away longer starts over with `/initialSync`.
const EVENTS_MAX: usize = 1000;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const TIMEOUT_MAX: Duration = Duration::from_secs(5 * 60);

#[derive(Deserialize)]
struct Query {
    from: Option<String>,
    /// Milliseconds.
    timeout: Option<u64>,
    /// Never specified for `/events`, but sent by clients; one that is no number is refused.
    #[serde(rename = "limit")]
    _limit: Option<u64>,
    /// A room into which the user looks without being in it.
    room_id: Option<OwnedRoomId>,
}

pub(super) async fn events(
    State(accounts): State<Accounts>,
    State(presence): State<Presence>,
    State(rooms): State<Rooms>,
    State(sync): State<SyncEngine>,
    AuthedRaw { session, parts, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let query: Query = query(parts.uri.query())?;
    if session.guest && query.room_id.is_none() {
        let text = "Guests may only listen to a room that they name";
        return Err(Error::new(StatusCode::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN", text));
    }
    let online = PresenceState::Online;
    let _online = presence.syncing(&session.user_id, &session.device_id, &online).await;
    let reader = Reader { rooms: &rooms, sync: &sync, session: &session };
    let peeked = reader.peeked(query.room_id).await?;
    let from = match query.from.filter(|from| !from.is_empty()) {
        Some(from) => from,
        None => now(&sync, &session).await?,
    };
    let timeout = query.timeout.map_or(TIMEOUT_DEFAULT, Duration::from_millis).min(TIMEOUT_MAX);
    tokio::select! {
        waited = reader.wait(&from, peeked.as_deref(), timeout) => waited?,
        () = accounts.session_ended(session.id) => return Err(session_over(&accounts, &session)),
    }
    let (chunk, end) = reader.read(&from, peeked).await?;
    let body = json!({ "start": from, "end": end, "chunk": chunk });
    Ok(RawJson(body.to_string().into()))
}

/// `GET /events/{eventId}`: an event wherever it is, if the user may see it.
pub(super) async fn event(
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let not_found = || Error::not_found("Event not found.");
    let [event_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let event_id = <&EventId>::try_from(event_id.as_str()).map_err(|_| not_found())?;
    let found = rooms.event_by_id(event_id).await?.ok_or_else(not_found)?;
    let room = found.pdu.room_id();
    let event =
        rooms.event(&session.user_id, room, event_id).await.map_err(|error| match error {
            // Whether there is one is nobody's business who may not see it.
            rooms::Error::NotJoined | rooms::Error::Forbidden(_) => not_found(),
            other => other.into(),
        })?;
    let rendered: Vec<Raw<AnyTimelineEvent>> =
        render::events(&rooms, &session, room, &[event]).await?;
    let rendered = rendered.into_iter().next().ok_or_else(not_found)?;
    Ok(RawJson(rendered.json().get().to_owned().into()))
}

/// A token that stands for this moment.
pub(super) async fn now(sync: &SyncEngine, session: &Session) -> Result<String, Error> {
    let nothing = json!({
        "room": { "rooms": [] },
        "presence": { "types": [] },
        "account_data": { "types": [] },
    });
    let body = told(sync, session, None, &nothing, Duration::ZERO).await?;
    Ok(text(&body["next_batch"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

struct Reader<'a> {
    rooms: &'a Rooms,
    sync: &'a SyncEngine,
    session: &'a Session,
}

impl Reader<'_> {
    /// The room that was asked for, unless the user hears of it anyway.
    async fn peeked(&self, room: Option<OwnedRoomId>) -> Result<Option<OwnedRoomId>, Error> {
        let Some(room) = room else { return Ok(None) };
        let user = &self.session.user_id;
        self.rooms.visible_state(user, &room).await?;
        let membership = self.rooms.membership(user, &room).await?;
        Ok(Some(room).filter(|_| membership != Some(MembershipState::Join)))
    }

    /// Waits until there is something to tell, or for the time given.
    async fn wait(
        &self,
        from: &str,
        peeked: Option<&RoomId>,
        timeout: Duration,
    ) -> Result<(), Error> {
        let after = self.sync.position_of(from)?;
        let own = self.told(from, timeout);
        let Some(room) = peeked.filter(|_| !timeout.is_zero()) else {
            return own.await.map(drop);
        };
        tokio::select! {
            told = own => told.map(drop),
            news = self.rooms.event_after(room, after) => Ok(news?),
        }
    }

    /// Which rooms moved, and everything but their events, which are read from the rooms: a sync
    /// answer may leave some out.
    async fn told(&self, from: &str, timeout: Duration) -> Result<Value, Error> {
        let filter = json!({ "room": { "timeline": { "limit": 1 }, "state": { "types": [] } } });
        told(self.sync, self.session, Some(from), &filter, timeout).await
    }

    async fn read(
        &self,
        from: &str,
        peeked: Option<OwnedRoomId>,
    ) -> Result<(Vec<Value>, String), Error> {
        let mut body = self.told(from, Duration::ZERO).await?;
        let end = text(&body["next_batch"]);
        let span = (self.sync.position_of(from)?, self.sync.position_of(&end)?);
        let mut moved: BTreeSet<OwnedRoomId> = peeked.into_iter().collect();
        let mut others = Vec::new();
        for section in ["join", "leave"] {
            for (room_id, mut room) in take_entries(&mut body["rooms"][section]) {
                for part in ["ephemeral", "account_data"] {
                    let events = events_of(room[part].take());
                    others.extend(events.into_iter().map(|event| with_room(&room_id, event)));
                }
                moved.extend(RoomId::parse(room_id));
            }
        }
        for (room_id, mut room) in take_entries(&mut body["rooms"]["invite"]) {
            let state = events_of(room["invite_state"].take());
            let invite = own_member(&state, &self.session.user_id).cloned();
            others.extend(invite.map(|invite| with_room(&room_id, invite)));
        }
        others.extend(events_of(body["account_data"].take()));
        others.extend(events_of(body["presence"].take()));
        let mut chunk = self.events_of_rooms(&moved, span).await?;
        chunk.append(&mut others);
        Ok((chunk, end))
    }

    /// Those of all rooms in the order in which they came.
    async fn events_of_rooms(
        &self,
        moved: &BTreeSet<OwnedRoomId>,
        (after, up_to): (Position, Position),
    ) -> Result<Vec<Value>, Error> {
        let mut found = Vec::new();
        for room in moved {
            let newest = self.rooms.timeline(room, after, up_to, EVENTS_MAX, true).await?;
            let visible = self.rooms.visible(&self.session.user_id, room, &newest).await?;
            let rendered: Vec<Raw<AnyTimelineEvent>> =
                render::events(self.rooms, self.session, room, &visible).await?;
            for (event, rendered) in visible.iter().zip(rendered) {
                let value: Value = serde_json::from_str(rendered.json().get())
                    .map_err(|error| Error::internal(&error))?;
                found.push((event.position, old_form(value)));
            }
        }
        found.sort_by_key(|(position, _)| *position);
        Ok(found.into_iter().map(|(_, event)| event).collect())
    }
}
