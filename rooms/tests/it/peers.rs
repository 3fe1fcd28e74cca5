//! What this server answers to others: whoever asks for what is not theirs gets nothing, and what a
//! stranger sends has no effect.

mod handshakes;
mod hierarchy;
mod history;
mod hostile_handshakes;
mod hostile_invites;
mod invites;
mod invites_out;
mod reads;
mod templates;

use std::sync::Arc;

use bytes::Bytes;
use events::{EventTemplate, Pdu, RoomVersion};
use rooms::{CreateRoom, Error, InitialState, Preset, ReceiveOutcome};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    wire::{key_of, name},
    world::{World, join_request},
};

/// An event as somebody makes it who keeps to no rules.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Value,
    pub(crate) prev_events: Vec<OwnedEventId>,
    pub(crate) auth_events: Vec<OwnedEventId>,
    pub(crate) depth: u64,
    pub(crate) redacts: Option<OwnedEventId>,
    /// Who signs it.
    pub(crate) signer: String,
    pub(crate) version: &'static RoomVersion,
}

impl Forged {
    /// The user's own membership, in the place that `world` would give it.
    pub(crate) async fn member(
        world: &World,
        room: &RoomId,
        user: &OwnedUserId,
        membership: &str,
    ) -> Self {
        let content = json!({ "membership": membership });
        Self::state(world, room, user, "m.room.member", user.as_str(), content).await
    }

    pub(crate) async fn state(
        world: &World,
        room: &RoomId,
        sender: &OwnedUserId,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> Self {
        let view = world.rooms.room(room).await.expect("reads").expect("the room exists");
        let raw = to_raw_value(&content).expect("JSON");
        let keys = events::auth_events_for(view.version, event_type, sender, Some(state_key), &raw);
        let mut auth_events = Vec::new();
        for (event_type, state_key) in keys.unwrap_or_default() {
            let event = world.rooms.state_get(view.state, &event_type, &state_key).await;
            auth_events.extend(event.expect("reads").map(|event| event.event_id().clone()));
        }
        Self {
            room_id: room.to_owned(),
            sender: sender.clone(),
            event_type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            content,
            prev_events: view.extremities.clone(),
            auth_events,
            depth: view.depth + 1,
            redacts: None,
            signer: sender.server_name().to_string(),
            version: view.version,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn pdu(&self) -> Arc<Pdu> {
        let content = to_raw_value(&self.content).expect("JSON");
        let template = EventTemplate {
            room_id: Some(&self.room_id),
            sender: &self.sender,
            event_type: &self.event_type,
            state_key: self.state_key.as_deref(),
            content: &content,
            prev_events: &self.prev_events,
            auth_events: &self.auth_events,
            depth: self.depth,
            origin_server_ts: crate::world::START,
            redacts: self.redacts.as_deref(),
        };
        let (key, signer) = (key_of(&self.signer), name(&self.signer));
        let pdu = events::sign_and_build(&template, &key, &signer, self.version);
        Arc::new(pdu.expect("it is well-formed"))
    }
}

/// The PDU with one of its fields replaced, or taken away: nobody has signed that.
pub(crate) fn edited(pdu: &[u8], field: &str, value: Option<Value>) -> Bytes {
    let mut json: serde_json::Map<String, Value> = serde_json::from_slice(pdu).expect("JSON");
    match value {
        Some(value) => json.insert(field.to_owned(), value),
        None => json.remove(field),
    };
    serde_json::to_vec(&json).expect("JSON").into()
}

/// A room that whoever likes may join, or those only who are invited.
pub(crate) async fn room_of(
    world: &World,
    creator: &UserId,
    version: &str,
    join_rule: Value,
) -> OwnedRoomId {
    let rules = InitialState {
        event_type: "m.room.join_rules".to_owned(),
        state_key: String::new(),
        content: to_raw_value(&join_rule).expect("JSON"),
    };
    let request = CreateRoom {
        preset: Some(Preset::PrivateChat),
        room_version: Some(version),
        initial_state: vec![rules],
        ..CreateRoom::new(creator)
    };
    world.rooms.create(request).await.expect("creates")
}

pub(crate) async fn public(world: &World, creator: &UserId, version: &str) -> OwnedRoomId {
    room_of(world, creator, version, json!({ "join_rule": "public" })).await
}

/// The user of another server comes in, through a server that is in the room.
pub(crate) async fn come_in(world: &World, user: &UserId, room: &RoomId, via: &World) {
    let request = rooms::JoinRequest { via: vec![name(&via.server)], ..join_request(user, room) };
    world.rooms.join(request).await.expect("joins");
}

pub(crate) async fn receive(world: &World, from: &str, pdu: &Pdu) -> ReceiveOutcome {
    let pdus = vec![pdu.json().clone()];
    let mut outcomes = world.rooms.receive(&name(from), pdu.room_id(), pdus).await;
    outcomes.pop().expect("one verdict for one event")
}

/// Everything that a refused request must leave as it was.
pub(crate) async fn snapshot(world: &World, room: &RoomId) -> (u64, Vec<OwnedEventId>) {
    let view = world.rooms.room(room).await.expect("reads").expect("the room exists");
    (world.store.log().position(), view.extremities.clone())
}

pub(crate) fn is_refused<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Forbidden(_) | Error::NotFound(_)))
}
