//! `make_` and `send_` `join`, `leave` and `knock`, and `invite`, in both versions.

use std::collections::BTreeMap;

use accounts::InviteVerdict;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, put},
};
use bytes::Bytes;
use rooms::{peers::IncomingInvite, ports::Handshake};
use ruma::{EventId, OwnedServerName, OwnedUserId, ServerName};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{RawJson, event::pdus, json, raw};
use crate::{
    error::Error,
    extract::{Signed, id},
    inbound::Inbound,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    let v1 = |path: &str| format!("/_matrix/federation/v1/{path}");
    let v2 = |path: &str| format!("/_matrix/federation/v2/{path}");
    Router::new()
        .route(&v1("make_join/{room_id}/{user_id}"), get(make_join))
        .route(&v1("make_leave/{room_id}/{user_id}"), get(make_leave))
        .route(&v1("make_knock/{room_id}/{user_id}"), get(make_knock))
        .route(&v1("send_join/{room_id}/{event_id}"), put(send_join_v1))
        .route(&v2("send_join/{room_id}/{event_id}"), put(send_join))
        .route(&v1("send_leave/{room_id}/{event_id}"), put(send_leave_v1))
        .route(&v2("send_leave/{room_id}/{event_id}"), put(send_leave))
        .route(&v1("send_knock/{room_id}/{event_id}"), put(send_knock))
        .route(&v1("invite/{room_id}/{event_id}"), put(invite_v1))
        .route(&v2("invite/{room_id}/{event_id}"), put(invite))
}

async fn make(inbound: &Inbound, signed: &Signed, handshake: Handshake) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        /// "Defaults to [1]".
        #[serde(default)]
        ver: Vec<String>,
    }
    let [room, user] = signed.request.path()?;
    let Query { mut ver } = signed.request.query()?;
    if ver.is_empty() {
        ver.push("1".to_owned());
    }
    let rooms = &inbound.inner.rooms;
    let made = rooms.peer_make(&signed.origin, handshake, id(room)?, id(user)?, &ver).await?;
    #[derive(Serialize)]
    struct Body {
        room_version: &'static str,
        event: Box<RawValue>,
    }
    json(&Body { room_version: made.room_version, event: made.event })
}

async fn make_join(State(inbound): State<Inbound>, signed: Signed) -> Result<RawJson, Error> {
    make(&inbound, &signed, Handshake::Join).await
}

async fn make_leave(State(inbound): State<Inbound>, signed: Signed) -> Result<RawJson, Error> {
    make(&inbound, &signed, Handshake::Leave).await
}

async fn make_knock(State(inbound): State<Inbound>, signed: Signed) -> Result<RawJson, Error> {
    make(&inbound, &signed, Handshake::Knock).await
}

/// Which version of an endpoint was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    V1,
    V2,
}

impl Called {
    /// Of a wrong signature the second version's text says `M_INVALID_PARAM`. The first is older
    /// than that text, and what it is called by expects to be forbidden.
    fn refuse(self, error: rooms::Error) -> Error {
        match (self, error) {
            (Self::V1, rooms::Error::BadSignature(reason)) => Error::forbidden(reason),
            (_, error) => error.into(),
        }
    }
}

/// The event that the path names. What is wrong with the body is told first, so a path that cannot
/// name any event has the id that none has.
fn in_path(event_id: &str) -> &EventId {
    let none = || <&EventId>::try_from("$").expect("an id");
    <&EventId>::try_from(event_id).unwrap_or_else(|_| none())
}

async fn join(inbound: &Inbound, signed: &Signed, called: Called) -> Result<Box<RawValue>, Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        origin: &'a ServerName,
        event: &'a RawValue,
        state: Vec<&'a RawValue>,
        auth_chain: Vec<&'a RawValue>,
        members_omitted: bool,
        servers_in_room: Vec<OwnedServerName>,
    }
    let [room, event] = signed.request.path()?;
    let pdu = signed.request.body.clone();
    let rooms = &inbound.inner.rooms;
    let joined = rooms.peer_join(&signed.origin, id(room)?, in_path(event), pdu).await;
    let joined = joined.map_err(|error| called.refuse(error))?;
    let event: &RawValue =
        serde_json::from_slice(&joined.event).map_err(|error| Error::internal(&error))?;
    let body = Body {
        origin: inbound.server_name(),
        event,
        state: pdus(&joined.state.state)?,
        auth_chain: pdus(&joined.state.auth_chain)?,
        members_omitted: joined.members_omitted,
        servers_in_room: joined.servers_in_room,
    };
    serde_json::value::to_raw_value(&body).map_err(|error| Error::internal(&error))
}

async fn send_join(State(inbound): State<Inbound>, signed: Signed) -> Result<RawJson, Error> {
    json(&join(&inbound, &signed, Called::V2).await?)
}

async fn send_join_v1(State(inbound): State<Inbound>, signed: Signed) -> Result<RawJson, Error> {
    json(&(200, join(&inbound, &signed, Called::V1).await?))
}

async fn leave(inbound: &Inbound, signed: &Signed, called: Called) -> Result<(), Error> {
    let [room, event] = signed.request.path()?;
    let pdu = signed.request.body.clone();
    let left = inbound.inner.rooms.peer_leave(&signed.origin, id(room)?, in_path(event), pdu).await;
    left.map_err(|error| called.refuse(error))
}

async fn send_leave(State(inbound): State<Inbound>, signed: Signed) -> Result<RawJson, Error> {
    leave(&inbound, &signed, Called::V2).await?;
    json(&json!({}))
}

async fn send_leave_v1(State(inbound): State<Inbound>, signed: Signed) -> Result<RawJson, Error> {
    leave(&inbound, &signed, Called::V1).await?;
    json(&json!([200, {}]))
}

async fn send_knock(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    let [room, event] = request.path()?;
    let pdu = request.body.clone();
    let shown = inbound.inner.rooms.peer_knock(&origin, id(room)?, in_path(event), pdu).await?;
    json(&BTreeMap::from([("knock_room_state", raw(&shown)?)]))
}

async fn invite(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        event: Box<RawValue>,
        #[serde(default)]
        invite_room_state: Vec<Box<RawValue>>,
        room_version: String,
        #[serde(default)]
        via: Vec<OwnedServerName>,
    }
    let [room, event_id] = request.path()?;
    let body: Body = request.json()?;
    let invite = IncomingInvite {
        room_id: id(room)?,
        event_id: id(event_id)?,
        room_version: &body.room_version,
        event: bytes(body.event),
        stripped_state: body.invite_room_state.into_iter().map(bytes).collect(),
        via: body.via,
    };
    let event = take_invite(&inbound, &origin, invite, Called::V2).await?;
    let event: &RawValue =
        serde_json::from_slice(&event).map_err(|error| Error::internal(&error))?;
    json(&BTreeMap::from([("event", event)]))
}

/// The first version has the event as the body, and its answer in an array. It says nothing of the
/// room's version: "Note that invites ... for room versions 1 and 2".
async fn invite_v1(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Unsigned {
        invite_room_state: Vec<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        unsigned: Unsigned,
    }
    let [room, event_id] = request.path()?;
    let Body { unsigned } = request.json()?;
    let invite = IncomingInvite {
        room_id: id(room)?,
        event_id: id(event_id)?,
        room_version: "1",
        event: request.body.clone(),
        stripped_state: unsigned.invite_room_state.into_iter().map(bytes).collect(),
        via: Vec::new(),
    };
    let event = take_invite(&inbound, &origin, invite, Called::V1).await?;
    let event: &RawValue =
        serde_json::from_slice(&event).map_err(|error| Error::internal(&error))?;
    json(&(200, BTreeMap::from([("event", event)])))
}

async fn take_invite(
    inbound: &Inbound,
    origin: &ServerName,
    invite: IncomingInvite<'_>,
    called: Called,
) -> Result<Bytes, Error> {
    let inner = &inbound.inner;
    let user = inner.rooms.peer_invited_user(origin, &invite).await?;
    let account = inner.accounts.find_user(&user).await.map_err(|error| Error::internal(&error))?;
    // Whoever has no account yet may get one, with the first single sign-on for instance, and finds
    // the invite then. Users of this server are invited so too.
    if account.is_some_and(|account| account.deactivated) {
        return Err(Error::not_found(format!("There is no user {user}")));
    }
    #[derive(Deserialize)]
    struct Sender {
        sender: OwnedUserId,
    }
    let Sender { sender } = serde_json::from_slice(&invite.event)
        .map_err(|_| Error::bad_json("The event has no sender"))?;
    let permission = inner.accounts.invite_permission(&user).await;
    let permission = permission.map_err(|error| Error::internal(&error))?;
    if permission.of(&sender) == InviteVerdict::Blocked {
        return Err(Error::invite_blocked(&user));
    }
    inner.rooms.peer_invite(origin, invite).await.map_err(|error| called.refuse(error))
}

fn bytes(json: Box<RawValue>) -> Bytes {
    Bytes::from(String::from(Box::<str>::from(json)))
}
