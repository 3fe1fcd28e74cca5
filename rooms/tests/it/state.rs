//! State as different viewers may read it, and `unsigned`.

use rooms::{Error, UnsignedFor};
use ruma::{OwnedUserId, events::room::member::MembershipState};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn one_who_left_sees_the_room_as_it_was() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = world.room(&ada, &[&bob]).await;
    world.set(&ada, &room, "m.room.name", "", json!({ "name": "old" })).await.unwrap();
    world.rooms.leave(&room, &bob, None).await.unwrap();
    world.set(&ada, &room, "m.room.name", "", json!({ "name": "new" })).await.unwrap();
    let name = |viewer: OwnedUserId| {
        let (world, room) = (&world, &room);
        async move {
            let event = world.rooms.state_event(&viewer, room, "m.room.name", "").await?;
            Ok::<_, Error>(event.pdu.content_as::<Value>().unwrap()["name"].clone())
        }
    };
    assert_eq!(name(ada.clone()).await.unwrap(), "new");
    assert_eq!(name(bob.clone()).await.unwrap(), "old");
    assert!(matches!(name(eve.clone()).await, Err(Error::NotJoined)));
    assert!(matches!(world.rooms.joined_members(&bob, &room).await, Err(Error::NotJoined)));
    let visible = json!({ "history_visibility": "world_readable" });
    world.set(&ada, &room, "m.room.history_visibility", "", visible).await.unwrap();
    assert_eq!(name(eve).await.unwrap(), "new");
    let missing = world.rooms.state_event(&ada, &room, "m.room.topic", "").await;
    assert!(matches!(missing, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn one_who_never_was_in_sees_nothing_by_being_turned_away() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = world.room(&ada, &[&bob]).await;
    world.invite(&ada, &room, &eve).await.unwrap();
    assert!(matches!(world.rooms.state(&eve, &room).await, Err(Error::NotJoined)));
    world.rooms.leave(&room, &eve, None).await.unwrap();
    assert!(matches!(world.rooms.state(&eve, &room).await, Err(Error::NotJoined)));
    world.rooms.ban(crate::world::change(&ada, &room, &eve)).await.unwrap();
    assert!(matches!(world.rooms.state(&eve, &room).await, Err(Error::NotJoined)));

    // A ban after leaving does not show what happened in between.
    world.rooms.leave(&room, &bob, None).await.unwrap();
    let left = world.rooms.visible_state(&bob, &room).await.unwrap();
    world.set(&ada, &room, "m.room.name", "", json!({ "name": "later" })).await.unwrap();
    world.rooms.ban(crate::world::change(&ada, &room, &bob)).await.unwrap();
    assert_eq!(world.rooms.visible_state(&bob, &room).await.unwrap(), left);
    let now = Some(world.store.log().position());
    let members = world.rooms.members(&bob, &room, now, None, None).await.unwrap();
    let own = members.iter().find(|event| event.pdu.state_key() == Some(bob.as_str())).unwrap();
    assert_eq!(own.pdu.membership(), Some(MembershipState::Leave));
}

#[tokio::test]
async fn members_at_a_point_and_by_membership() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = world.room(&ada, &[&bob]).await;
    let then = world.store.log().position();
    world.join(&eve, &room).await.unwrap();
    world.rooms.leave(&room, &bob, None).await.unwrap();
    let names = |at, membership, not_membership| {
        let (world, room, ada) = (&world, &room, &ada);
        async move {
            let members =
                world.rooms.members(ada, room, at, membership, not_membership).await.unwrap();
            let key = |event: &std::sync::Arc<rooms::StoredEvent>| {
                event.pdu.state_key().unwrap().split(':').next().unwrap().to_owned()
            };
            let mut names: Vec<_> = members.iter().map(key).collect();
            names.sort();
            names
        }
    };
    assert_eq!(names(None, None, None).await, ["@ada", "@bob", "@eve"]);
    assert_eq!(names(None, Some(&MembershipState::Join), None).await, ["@ada", "@eve"]);
    assert_eq!(names(None, None, Some(&MembershipState::Join)).await, ["@bob"]);
    assert_eq!(names(Some(then), None, None).await, ["@ada", "@bob"]);
    let joined = world.rooms.joined_members(&ada, &room).await.unwrap();
    assert_eq!(joined.len(), 2);
}

#[tokio::test]
async fn the_difference_of_two_states_is_what_was_set() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let before = world.rooms.room(&room).await.unwrap().unwrap();
    for number in 0..50 {
        let key = format!("key{number}");
        world.set(&ada, &room, "org.example.s", &key, json!({ "n": number })).await.unwrap();
    }
    let after = world.rooms.room(&room).await.unwrap().unwrap();
    let diff = world.rooms.state_diff(before.state, after.state).await.unwrap();
    assert_eq!(diff.len(), 50);
    assert!(world.rooms.state_diff(after.state, after.state).await.unwrap().is_empty());
    let all = world.rooms.state_iter(after.state).await.unwrap();
    assert_eq!(all.len(), world.rooms.state(&ada, &room).await.unwrap().len());
    let last = world.rooms.event_by_id(&after.extremities[0]).await.unwrap().unwrap();
    assert_eq!(world.rooms.state_after(&last).await.unwrap(), after.state);
}

#[tokio::test]
async fn unsigned_data_is_for_its_viewer() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[]).await;
    let id = world.send_with(&ada, &room, "hi", "PHONE", "t").await.unwrap();
    world.join(&bob, &room).await.unwrap();
    world.clock.advance(1234);
    let event = world.rooms.event_by_id(&id).await.unwrap().unwrap();
    let unsigned = |viewer, device: &'static str| {
        let (world, event) = (&world, &event);
        async move {
            let for_whom = UnsignedFor {
                viewer,
                device: Some(device.into()),
                membership: None,
                relations: None,
            };
            let bytes = world.rooms.unsigned(event, &for_whom).await.unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()
        }
    };
    let own = json!({ "age": 1234, "transaction_id": "t", "membership": "join" });
    assert_eq!(unsigned(&ada, "PHONE").await, own);
    assert_eq!(unsigned(&ada, "LAPTOP").await, json!({ "age": 1234, "membership": "join" }));
    assert_eq!(unsigned(&bob, "PHONE").await, json!({ "age": 1234, "membership": "leave" }));

    world.set(&ada, &room, "m.room.name", "", json!({ "name": "a" })).await.unwrap();
    let id = world.set(&ada, &room, "m.room.name", "", json!({ "name": "b" })).await.unwrap();
    let event = world.rooms.event_by_id(&id).await.unwrap().unwrap();
    let for_whom = UnsignedFor { viewer: &ada, device: None, membership: None, relations: None };
    let bytes = world.rooms.unsigned(&event, &for_whom).await.unwrap();
    let unsigned: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(unsigned["prev_content"], json!({ "name": "a" }));
    assert!(unsigned["replaces_state"].is_string());

    let redaction = world.redact(&ada, &room, &id).await.unwrap();
    let event = world.rooms.event_by_id(&id).await.unwrap().unwrap();
    let bytes = world.rooms.unsigned(&event, &for_whom).await.unwrap();
    let unsigned: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(unsigned["redacted_because"]["event_id"], redaction.as_str());
    assert_eq!(unsigned["redacted_by"], redaction.as_str());
}
