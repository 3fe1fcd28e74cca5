//! Rooms of other servers: joining, knocking, leaving and inviting, with peers that may lie.

mod handshakes;
mod history;
mod hostile_history;
mod hostile_join;
mod join;
mod templates;

use bytes::Bytes;
use rooms::{CreateRoom, Error, JoinRequest, Preset};
use ruma::{OwnedRoomId, RoomId, UserId, events::room::member::MembershipState};
use serde_json::Value;

use crate::{
    wire::{Wire, name},
    world::{World, join_request},
};

/// All that exist.
const VERSIONS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

const JOIN: Option<MembershipState> = Some(MembershipState::Join);

async fn public_room(world: &World, creator: &UserId, version: &str) -> OwnedRoomId {
    let request = CreateRoom {
        preset: Some(Preset::PublicChat),
        room_version: Some(version),
        ..CreateRoom::new(creator)
    };
    world.rooms.create(request).await.expect("creates")
}

async fn join_via(world: &World, user: &UserId, room: &RoomId, via: &[&str]) -> Result<(), Error> {
    let via = via.iter().map(|server| name(server)).collect();
    world.rooms.join(JoinRequest { via, ..join_request(user, room) }).await
}

/// A PDU with something else in it.
fn altered(pdu: &Bytes, alter: impl FnOnce(&mut Value)) -> Bytes {
    let mut value: Value = serde_json::from_slice(pdu).expect("JSON");
    alter(&mut value);
    serde_json::to_vec(&value).expect("JSON").into()
}

/// A PDU whose signatures are those of another event.
fn with_bad_signature(pdu: &Bytes) -> Bytes {
    altered(pdu, |pdu| {
        for keys in pdu["signatures"].as_object_mut().expect("signatures").values_mut() {
            for signature in keys.as_object_mut().expect("keys").values_mut() {
                *signature = "A".repeat(86).into();
            }
        }
    })
}

fn is_of_type(pdu: &Bytes, event_type: &str, state_key: &str) -> bool {
    let value: Value = serde_json::from_slice(pdu).expect("JSON");
    value["type"] == event_type && value["state_key"] == state_key
}

/// The names of the requests since the last time.
fn asked(wire: &Wire) -> Vec<(&'static str, String)> {
    wire.take_calls().into_iter().map(|(call, server)| (call, server.to_string())).collect()
}

/// Whether a server knows the room in any way.
async fn knows(world: &World, room: &RoomId, user: &UserId) -> bool {
    world.rooms.room(room).await.expect("reads").is_some()
        || world.rooms.user_room(user, room).await.expect("reads").is_some()
}
