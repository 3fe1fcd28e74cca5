//! Restricted rooms: members of another room may join.

use rooms::{CreateRoom, Error, InitialState, Preset};
use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::{json, value::to_raw_value};

use crate::world::{World, is_forbidden};

async fn restricted_room(
    world: &World,
    creator: &OwnedUserId,
    allow: &OwnedRoomId,
    version: &str,
    rule: &str,
) -> OwnedRoomId {
    let rules = json!({
        "join_rule": rule,
        "allow": [
            { "type": "org.example.unknown", "room_id": allow },
            { "type": "m.room_membership", "room_id": allow },
        ],
    });
    let request = CreateRoom {
        preset: Some(Preset::PrivateChat),
        room_version: Some(version),
        initial_state: vec![InitialState {
            event_type: "m.room.join_rules".to_owned(),
            state_key: String::new(),
            content: to_raw_value(&rules).unwrap(),
        }],
        ..CreateRoom::new(creator)
    };
    world.rooms.create(request).await.expect("creates")
}

#[tokio::test]
async fn members_of_the_other_room_come_in() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    for (version, rule) in [
        ("8", "restricted"),
        ("10", "knock_restricted"),
        ("11", "restricted"),
        ("12", "restricted"),
    ] {
        let lobby = world.room(&ada, &[&bob]).await;
        let room = restricted_room(&world, &ada, &lobby, version, rule).await;
        assert!(is_forbidden(world.join(&eve, &room).await));
        assert_eq!(world.membership(&eve, &room).await, None);
        world.join(&bob, &room).await.expect("bob is in the lobby");
        let content = world.current(&room, "m.room.member", bob.as_str()).await.unwrap();
        assert_eq!(content["join_authorised_via_users_server"], ada.as_str(), "{version}");

        // Leaving the lobby does not put out of the room, but one who has left both is out.
        world.rooms.leave(&lobby, &bob, None).await.unwrap();
        world.send(&bob, &room, "still in").await.unwrap();
        world.rooms.leave(&room, &bob, None).await.unwrap();
        assert!(is_forbidden(world.join(&bob, &room).await));
        world.invite(&ada, &room, &eve).await.unwrap();
        world.join(&eve, &room).await.expect("an invitation needs no lobby");
    }
}

#[tokio::test]
async fn nobody_vouches_for_themselves() {
    let world = World::new();
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    let lobby = world.room(&ada, &[]).await;
    let room = restricted_room(&world, &ada, &lobby, "11", "restricted").await;
    let forged = json!({ "membership": "join", "join_authorised_via_users_server": ada.as_str() });
    let outcome = world.set(&eve, &room, "m.room.member", eve.as_str(), forged).await;
    assert!(is_forbidden(outcome));
}

#[tokio::test]
async fn somebody_with_the_power_to_invite_must_be_there() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let lobby = world.room(&ada, &[&bob, &eve]).await;
    let room = restricted_room(&world, &ada, &lobby, "11", "restricted").await;
    world.join(&bob, &room).await.unwrap();
    let levels = json!({ "users": { ada.as_str(): 100 }, "invite": 50 });
    world.set(&ada, &room, "m.room.power_levels", "", levels).await.unwrap();
    world.rooms.leave(&room, &ada, None).await.unwrap();
    assert!(matches!(world.join(&eve, &room).await, Err(Error::UnableToGrantJoin)));
    assert_eq!(world.membership(&eve, &room).await, None);
}
