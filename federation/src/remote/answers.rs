//! What other servers answer, read without trusting more of it than is used.

use std::collections::BTreeMap;

use bytes::Bytes;
use rooms::ports::{RemoteError, SendInvite, SentJoin};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, ServerName};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{RequestError, client::Answer, lists};

/// Of an error's text, this much is passed on.
const MESSAGE_MAX: usize = 500;

/// Elements of one list. Rooms with more state, or a longer chain, cannot be joined in one answer
/// anyway: events take hundreds of bytes each.
const LIST_MAX: usize = 1 << 20;
/// Servers that are named in one answer.
const SERVERS_MAX: usize = 1 << 16;

#[derive(Deserialize)]
pub(super) struct Pdus {
    #[serde(deserialize_with = "lists::pdus::<_, LIST_MAX>")]
    pub(super) pdus: Vec<Bytes>,
}

#[derive(Deserialize)]
pub(super) struct Events {
    #[serde(deserialize_with = "lists::pdus::<_, LIST_MAX>")]
    pub(super) events: Vec<Bytes>,
}

#[derive(Deserialize)]
pub(super) struct State {
    #[serde(default, deserialize_with = "lists::pdus::<_, LIST_MAX>")]
    pub(super) pdus: Vec<Bytes>,
    #[serde(deserialize_with = "lists::pdus::<_, LIST_MAX>")]
    pub(super) auth_chain: Vec<Bytes>,
}

/// An id that is none belongs to an event that nobody can have.
#[derive(Deserialize)]
pub(super) struct Ids {
    #[serde(deserialize_with = "lists::readable::<_, _, LIST_MAX>")]
    pub(super) pdu_ids: Vec<OwnedEventId>,
    #[serde(deserialize_with = "lists::readable::<_, _, LIST_MAX>")]
    pub(super) auth_chain_ids: Vec<OwnedEventId>,
}

#[derive(Deserialize)]
pub(super) struct Moment {
    pub(super) event_id: OwnedEventId,
    pub(super) origin_server_ts: u64,
}

#[derive(Deserialize)]
pub(super) struct Made {
    pub(super) room_version: Option<String>,
    pub(super) event: Box<RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Joined {
    event: Option<Box<RawValue>>,
    #[serde(deserialize_with = "lists::pdus::<_, LIST_MAX>")]
    state: Vec<Bytes>,
    #[serde(deserialize_with = "lists::pdus::<_, LIST_MAX>")]
    auth_chain: Vec<Bytes>,
    #[serde(default, deserialize_with = "lists::readable::<_, _, SERVERS_MAX>")]
    servers_in_room: Vec<OwnedServerName>,
    members_omitted: Option<bool>,
}

impl From<Joined> for SentJoin {
    fn from(joined: Joined) -> Self {
        Self {
            event: joined.event.map(bytes),
            state: joined.state,
            auth_chain: joined.auth_chain,
            servers_in_room: joined.servers_in_room,
            members_omitted: joined.members_omitted.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Knocked {
    #[serde(default, deserialize_with = "lists::pdus::<_, LIST_MAX>")]
    pub(super) knock_room_state: Vec<Bytes>,
}

#[derive(Deserialize)]
pub(super) struct Invited {
    pub(super) event: Box<RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Alias {
    pub(super) room_id: OwnedRoomId,
    #[serde(default, deserialize_with = "lists::readable::<_, _, SERVERS_MAX>")]
    pub(super) servers: Vec<OwnedServerName>,
}

pub(super) fn bytes(json: Box<RawValue>) -> Bytes {
    Bytes::from(String::from(Box::<str>::from(json)))
}

/// The body of `PUT /v2/invite`.
pub(super) fn invite(invite: &SendInvite) -> Result<Bytes, serde_json::Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        event: &'a RawValue,
        invite_room_state: Vec<&'a RawValue>,
        room_version: &'a str,
        via: &'a [OwnedServerName],
    }
    let body = Body {
        event: serde_json::from_slice(&invite.event)?,
        invite_room_state: invite
            .stripped_state
            .iter()
            .map(|event| serde_json::from_slice(event))
            .collect::<Result<_, _>>()?,
        room_version: &invite.room_version,
        via: &invite.via,
    };
    serde_json::to_vec(&body).map(Bytes::from)
}

/// The body of `PUT /v1/invite`: the event, with what is shown of the room in its `unsigned`.
pub(super) fn invite_v1(invite: &SendInvite) -> Result<Bytes, serde_json::Error> {
    let mut event: BTreeMap<&str, &RawValue> = serde_json::from_slice(&invite.event)?;
    let shown: Vec<&RawValue> = invite
        .stripped_state
        .iter()
        .map(|event| serde_json::from_slice(event))
        .collect::<Result<_, _>>()?;
    let unsigned = to_raw_value(&BTreeMap::from([("invite_room_state", shown)]))?;
    event.insert("unsigned", &unsigned);
    serde_json::to_vec(&event).map(Bytes::from)
}

pub(super) fn malformed(server: &ServerName, reason: &dyn std::fmt::Display) -> RemoteError {
    RemoteError::Malformed { server: server.to_owned(), reason: reason.to_string() }
}

pub(super) fn unreachable(server: &ServerName, error: &RequestError) -> RemoteError {
    let server = server.to_owned();
    match error {
        RequestError::TooLarge(_) => RemoteError::Malformed { server, reason: error.to_string() },
        _ => RemoteError::Unreachable { server, reason: error.to_string() },
    }
}

pub(super) fn refused(server: &ServerName, answer: &Answer) -> RemoteError {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        errcode: String,
        error: String,
        room_version: Option<String>,
    }
    let status = answer.status.as_u16();
    let server = server.to_owned();
    if answer.status.is_server_error() || status == 429 {
        return RemoteError::Unreachable { server, reason: format!("it answers {status}") };
    }
    let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
    let bounded = |text: String| text.chars().take(MESSAGE_MAX).collect::<String>();
    let (errcode, message) = (bounded(body.errcode), bounded(body.error));
    let room_version = body.room_version.filter(|_| errcode == "M_INCOMPATIBLE_ROOM_VERSION");
    RemoteError::Refused {
        server,
        status,
        errcode,
        message,
        room_version: room_version.map(bounded),
    }
}
