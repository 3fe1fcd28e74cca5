//! What a client may ask for over a socket besides its sync: each the same call as over HTTP.
//!
//! The id of a sending request is its transaction id, in the same space as over HTTP, so a client
//! may send the same request again over either.

use accounts::Session;
use devices::{SendToDevice, ToDeviceMessages};
use rooms::{NewEvent, NewReceipt, Redaction, Txn};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, TransactionId, presence::PresenceState};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};
use std::time::Duration;

use super::{Pieces, Sockets, frame::Request};
use crate::{
    error::Error,
    guests::permit_call,
    invites::permit_state,
    limits::Action,
    routes::{
        read_marker::set_fully_read, redact::may_redact, sync::presence_state,
        typing::TYPING_DEFAULT,
    },
};

/// Carries out a request of an authenticated client.
pub(super) async fn call(
    sockets: Sockets,
    session: Session,
    request: Request,
) -> Result<Value, Error> {
    let pieces = &sockets.inner.pieces;
    let txn_id: &TransactionId = request.id.as_deref().unwrap_or_default().into();
    let sends = matches!(request.method.as_str(), "send" | "redact" | "to_device");
    if sends && request.id.as_deref().unwrap_or_default().is_empty() {
        return Err(Error::missing_param("A request that sends needs an `id`"));
    }
    // As over HTTP; those that make events have an allowance of their own.
    if matches!(request.method.as_str(), "typing" | "receipt" | "read_markers" | "presence") {
        pieces.gate.limit_user(Action::Other, &session)?;
    }
    if session.guest {
        permit_call(&request.method)?;
    }
    let params = &request.params;
    match request.method.as_str() {
        "ping" => Ok(json!({})),
        "send" => send(pieces, &session, txn_id, read(params)?).await,
        "state" => state(pieces, &session, read(params)?).await,
        "redact" => redact(pieces, &session, txn_id, read(params)?).await,
        "to_device" => to_device(pieces, &session, txn_id, read(params)?).await,
        "typing" => typing(pieces, &session, read(params)?).await,
        "receipt" => receipt(pieces, &session, read(params)?).await,
        "read_markers" => read_markers(pieces, &session, read(params)?).await,
        "presence" => presence(pieces, &session, read(params)?).await,
        other => Err(Error::new(
            http::StatusCode::NOT_FOUND,
            "M_UNRECOGNIZED",
            format!("There is no method {other:?}"),
        )),
    }
}

/// Reads `params`; where all are optional, they may be left out.
pub(super) fn read<T: DeserializeOwned>(params: &RawValue) -> Result<T, Error> {
    let text = if params.get() == "null" { "{}" } else { params.get() };
    serde_json::from_str(text).map_err(|error| Error::bad_json(format!("`params`: {error}")))
}

#[derive(Deserialize)]
struct Send {
    room_id: OwnedRoomId,
    event_type: String,
    content: Box<RawValue>,
}

async fn send(
    pieces: &Pieces,
    session: &Session,
    txn_id: &TransactionId,
    params: Send,
) -> Result<Value, Error> {
    pieces.gate.may_act(session)?;
    pieces.gate.limit_user(Action::Message, session)?;
    let event_id = pieces
        .rooms
        .send(NewEvent {
            room_id: &params.room_id,
            sender: &session.user_id,
            event_type: &params.event_type,
            state_key: None,
            content: &params.content,
            txn: Some(Txn { device_id: &session.device_id, txn_id }),
            timestamp: None,
        })
        .await?;
    pieces.presence.event_sent(&session.user_id, &session.device_id);
    Ok(json!({ "event_id": event_id }))
}

#[derive(Deserialize)]
struct State {
    room_id: OwnedRoomId,
    event_type: String,
    #[serde(default)]
    state_key: String,
    content: Box<RawValue>,
}

async fn state(pieces: &Pieces, session: &Session, params: State) -> Result<Value, Error> {
    pieces.gate.may_act(session)?;
    pieces.gate.limit_user(Action::Message, session)?;
    let State { event_type, state_key, content, .. } = &params;
    permit_state(&pieces.accounts, &session.user_id, event_type, state_key, content).await?;
    let event_id = pieces
        .rooms
        .send(NewEvent {
            room_id: &params.room_id,
            sender: &session.user_id,
            event_type: &params.event_type,
            state_key: Some(&params.state_key),
            content: &params.content,
            // The same state twice is one event anyway.
            txn: None,
            timestamp: None,
        })
        .await?;
    pieces.presence.event_sent(&session.user_id, &session.device_id);
    Ok(json!({ "event_id": event_id }))
}

#[derive(Deserialize)]
struct Redact {
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    reason: Option<String>,
}

async fn redact(
    pieces: &Pieces,
    session: &Session,
    txn_id: &TransactionId,
    params: Redact,
) -> Result<Value, Error> {
    pieces.gate.limit_user(Action::Message, session)?;
    let (gate, rooms) = (&pieces.gate, &pieces.rooms);
    may_redact(gate, rooms, session, &params.room_id, &params.event_id).await?;
    let event_id = pieces
        .rooms
        .redact(Redaction {
            room_id: &params.room_id,
            sender: &session.user_id,
            target: &params.event_id,
            reason: params.reason.as_deref(),
            txn: Some(Txn { device_id: &session.device_id, txn_id }),
        })
        .await?;
    Ok(json!({ "event_id": event_id }))
}

#[derive(Deserialize)]
struct ToDevice {
    event_type: String,
    messages: ToDeviceMessages,
}

async fn to_device(
    pieces: &Pieces,
    session: &Session,
    txn_id: &TransactionId,
    params: ToDevice,
) -> Result<Value, Error> {
    pieces.gate.limit_user(Action::Other, session)?;
    pieces
        .devices
        .send_to_device(SendToDevice {
            sender: &session.user_id,
            device_id: &session.device_id,
            event_type: &params.event_type,
            txn_id,
            messages: &params.messages,
        })
        .await?;
    Ok(json!({}))
}

#[derive(Deserialize)]
struct Typing {
    room_id: OwnedRoomId,
    typing: bool,
    timeout: Option<u64>,
}

async fn typing(pieces: &Pieces, session: &Session, params: Typing) -> Result<Value, Error> {
    if params.typing {
        let timeout = params.timeout.map_or(TYPING_DEFAULT, Duration::from_millis);
        pieces.rooms.start_typing(&params.room_id, &session.user_id, timeout).await?;
    } else {
        pieces.rooms.stop_typing(&params.room_id, &session.user_id).await?;
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
struct Receipt {
    room_id: OwnedRoomId,
    r#type: String,
    event_id: OwnedEventId,
    thread_id: Option<String>,
}

async fn receipt(pieces: &Pieces, session: &Session, params: Receipt) -> Result<Value, Error> {
    let Pieces { rooms, accounts, .. } = pieces;
    match params.r#type.as_str() {
        "m.fully_read" => {
            if params.thread_id.is_some() {
                return Err(Error::invalid_param("m.fully_read cannot have a thread_id"));
            }
            set_fully_read(rooms, accounts, session, &params.room_id, &params.event_id).await?;
        }
        kind @ ("m.read" | "m.read.private") => {
            let receipt = NewReceipt {
                room_id: &params.room_id,
                user: &session.user_id,
                kind,
                event_id: &params.event_id,
                thread: params.thread_id.as_deref(),
            };
            rooms.set_receipt(receipt).await?;
        }
        other => return Err(Error::invalid_param(format!("unknown receipt type {other}"))),
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
struct ReadMarkers {
    room_id: OwnedRoomId,
    #[serde(rename = "m.fully_read")]
    fully_read: Option<OwnedEventId>,
    #[serde(rename = "m.read")]
    read: Option<OwnedEventId>,
    #[serde(rename = "m.read.private")]
    read_private: Option<OwnedEventId>,
}

async fn read_markers(
    pieces: &Pieces,
    session: &Session,
    params: ReadMarkers,
) -> Result<Value, Error> {
    let markers = [
        ("m.fully_read", params.fully_read),
        ("m.read", params.read),
        ("m.read.private", params.read_private),
    ];
    for (kind, event_id) in markers {
        let Some(event_id) = event_id else { continue };
        let room_id = params.room_id.clone();
        let one = Receipt { room_id, r#type: kind.to_owned(), event_id, thread_id: None };
        receipt(pieces, session, one).await?;
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
struct SetPresence {
    presence: Option<String>,
    status_msg: Option<String>,
    active: Option<bool>,
}

async fn presence(pieces: &Pieces, session: &Session, params: SetPresence) -> Result<Value, Error> {
    let (user_id, device_id): (&OwnedUserId, _) = (&session.user_id, &session.device_id);
    if params.presence.is_some() || params.status_msg.is_some() {
        let state: PresenceState = presence_state(params.presence.as_deref())?;
        pieces.presence.set(user_id, device_id, &state, params.status_msg.as_deref()).await?;
    }
    if let Some(active) = params.active {
        pieces.presence.heartbeat(user_id, device_id, active);
    }
    Ok(json!({}))
}
