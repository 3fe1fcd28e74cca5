//! Rooms of other servers: joining, knocking, leaving and inviting, with peers that may lie.

mod join;

use rooms::{CreateRoom, Error, JoinRequest, Preset};
use ruma::{OwnedRoomId, RoomId, UserId};

use crate::{
    wire::name,
    world::{World, join_request},
};

/// All that exist.
const VERSIONS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];

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
