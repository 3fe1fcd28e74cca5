//! Replacing a room by one of another version.

use rooms::{CreateRoom, Error, Preset, Profile, UpgradeRoom};
use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::json;

use crate::world::{World, change, is_forbidden};

async fn upgrade(
    world: &World,
    sender: &OwnedUserId,
    room: &OwnedRoomId,
    to: &str,
) -> Result<OwnedRoomId, Error> {
    world
        .rooms
        .upgrade(UpgradeRoom {
            room_id: room,
            sender,
            sender_profile: Profile::default(),
            new_version: to,
            additional_creators: Vec::new(),
        })
        .await
}

#[tokio::test]
async fn the_replacement_is_the_room_again() {
    for (from, to) in [("1", "6"), ("9", "11"), ("9", "12"), ("12", "11"), ("11", "12")] {
        let world = World::new();
        let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
        let request = CreateRoom {
            preset: Some(Preset::PublicChat),
            room_version: Some(from),
            room_alias_name: Some("place"),
            published: true,
            name: Some("the place"),
            ..CreateRoom::new(&ada)
        };
        let old = world.rooms.create(request).await.unwrap();
        world.join(&bob, &old).await.unwrap();
        world.rooms.ban(change(&ada, &old, &eve)).await.unwrap();
        assert!(is_forbidden(upgrade(&world, &bob, &old, to).await));
        let new = upgrade(&world, &ada, &old, to).await.expect("upgrades");

        let tombstone = world.current(&old, "m.room.tombstone", "").await.unwrap();
        assert_eq!(tombstone["replacement_room"], new.as_str());
        let create = world.current(&new, "m.room.create", "").await.unwrap();
        assert_eq!(create["predecessor"]["room_id"], old.as_str());
        assert_eq!(create["predecessor"].get("event_id").is_some(), to != "12");
        assert_eq!(create["room_version"], to);
        let name = world.current(&new, "m.room.name", "").await.unwrap();
        assert_eq!(name["name"], "the place");
        let alias = ruma::room_alias_id!("#place:one.test");
        assert_eq!(world.rooms.resolve_alias(alias).await.unwrap().as_ref(), Some(&new));
        assert!(is_forbidden(world.join(&eve, &new).await), "bans go along");
        assert!(is_forbidden(world.send(&bob, &old, "too late").await));
        world.join(&bob, &new).await.unwrap();
        world.send(&bob, &new, "hello again").await.unwrap();
        let topic = json!({ "topic": "t" });
        assert!(is_forbidden(world.set(&bob, &new, "m.room.topic", "", topic.clone()).await));
        world.set(&ada, &new, "m.room.topic", "", topic).await.expect("ada has her power");
        let levels = world.current(&new, "m.room.power_levels", "").await.unwrap();
        assert_eq!(levels["users"].get(ada.as_str()).is_some(), to != "12");
    }
}

#[tokio::test]
async fn a_room_that_does_not_exist_is_not_found() {
    let world = World::new();
    let ada = world.user("ada");
    let room = ruma::owned_room_id!("!fail:one.test");
    assert!(matches!(upgrade(&world, &ada, &room, "11").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn the_names_of_a_room_are_those_of_its_replacement_only() {
    let world = World::new();
    let ada = world.user("ada");
    let request = CreateRoom { room_alias_name: Some("place"), ..CreateRoom::new(&ada) };
    let old = world.rooms.create(request).await.unwrap();
    let names = json!({ "alias": "#place:one.test" });
    world.set(&ada, &old, "m.room.canonical_alias", "", names.clone()).await.unwrap();
    let new = upgrade(&world, &ada, &old, "11").await.unwrap();
    let old_names = world.current(&old, "m.room.canonical_alias", "").await.unwrap();
    assert_eq!(old_names, json!({}));
    let new_names = world.current(&new, "m.room.canonical_alias", "").await.unwrap();
    assert_eq!(new_names, names);
}

#[tokio::test]
async fn a_replacement_says_that_guests_may_not_come_in() {
    let world = World::new();
    let ada = world.user("ada");
    let old = world.room(&ada, &[]).await;
    assert_eq!(world.current(&old, "m.room.guest_access", "").await, None);
    let new = upgrade(&world, &ada, &old, "11").await.unwrap();
    let said = world.current(&new, "m.room.guest_access", "").await;
    assert_eq!(said, Some(json!({ "guest_access": "forbidden" })));
}

#[tokio::test]
async fn an_unknown_version_changes_nothing() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let position = world.store.log().position();
    let outcome = upgrade(&world, &ada, &room, "99").await;
    assert!(matches!(outcome, Err(Error::UnsupportedRoomVersion(_))));
    assert_eq!(world.store.log().position(), position);
}

#[tokio::test]
async fn a_room_is_not_replaced_by_itself() {
    let world = World::new();
    let ada = world.user("ada");
    let (room, other) = (world.room(&ada, &[]).await, world.room(&ada, &[]).await);
    let set = async |replacement: &OwnedRoomId| {
        let content = json!({ "body": "moved", "replacement_room": replacement });
        world.set(&ada, &room, "m.room.tombstone", "", content).await
    };
    assert!(matches!(set(&room).await, Err(Error::InvalidParam(_))));
    assert_eq!(world.current(&room, "m.room.tombstone", "").await, None);
    set(&other).await.expect("another room");
}
