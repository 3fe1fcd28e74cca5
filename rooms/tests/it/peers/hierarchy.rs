//! The hierarchy of a space, as far as another server may know of it.

use rooms::{Error, InitialState, peers::PeerHierarchy};
use ruma::{OwnedRoomId, RoomId, UserId, events::room::member::MembershipState};
use serde_json::{Value, json, value::to_raw_value};

use super::{come_in, is_refused, room_of};
use crate::{
    wire::{Wire, name},
    world::World,
};

async fn space(world: &World, creator: &UserId, rule: &str) -> OwnedRoomId {
    let kind = to_raw_value(&json!({ "type": "m.space" })).unwrap();
    let request = rooms::CreateRoom {
        preset: Some(rooms::Preset::PrivateChat),
        creation_content: Some(&kind),
        initial_state: vec![InitialState {
            event_type: "m.room.join_rules".to_owned(),
            state_key: String::new(),
            content: to_raw_value(&json!({ "join_rule": rule })).unwrap(),
        }],
        ..rooms::CreateRoom::new(creator)
    };
    world.rooms.create(request).await.unwrap()
}

async fn child(world: &World, space: &RoomId, room: &RoomId, suggested: bool) {
    let content = json!({ "via": [world.server], "suggested": suggested });
    let ada = world.user("ada");
    world.set(&ada, space, "m.space.child", room.as_str(), content).await.unwrap();
}

async fn ask(world: &World, server: &str, room: &RoomId) -> Result<PeerHierarchy, Error> {
    world.rooms.peer_hierarchy(&name(server), room, false).await
}

#[tokio::test]
async fn a_server_learns_of_the_rooms_that_its_users_could_come_into() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let _three = wire.server("three.test");
    let ada = one.user("ada");
    let room = async |rule: Value| room_of(&one, &ada, "11", rule).await;
    let plain = |rule: &str| json!({ "join_rule": rule });
    let top = space(&one, &ada, "public").await;
    let open = room(plain("public")).await;
    let knockable = room(plain("knock")).await;
    let closed = room(plain("invite")).await;
    let joined = room(plain("invite")).await;
    let invited = room(plain("invite")).await;
    let lobby = room(plain("public")).await;
    let allow = json!([{ "type": "m.room_membership", "room_id": lobby }]);
    let neighbour = room(json!({ "join_rule": "restricted", "allow": allow })).await;
    let denying = room(plain("public")).await;
    let acl = json!({ "allow": ["*"], "deny": ["two.test"] });
    one.set(&ada, &denying, "m.room.server_acl", "", acl).await.unwrap();
    let abandoned = room(plain("public")).await;
    let unknown = ruma::room_id!("!elsewhere:three.test").to_owned();
    for user in [two.user("bob")] {
        come_in(&two, &user, &lobby, &one).await;
        one.invite(&ada, &joined, &user).await.unwrap();
        come_in(&two, &user, &joined, &one).await;
        one.invite(&ada, &invited, &user).await.unwrap();
    }
    let all =
        [&open, &knockable, &closed, &joined, &invited, &neighbour, &denying, &abandoned, &unknown];
    for room in all {
        child(&one, &top, room, *room == open).await;
    }
    one.rooms.leave(&abandoned, &ada, None).await.unwrap();

    let sorted = |mut rooms: Vec<OwnedRoomId>| {
        rooms.sort();
        rooms
    };
    let of = |rooms: &[rooms::RoomSummary]| {
        sorted(rooms.iter().map(|summary| summary.room.room_id.clone()).collect())
    };
    let found = ask(&one, "two.test", &top).await.unwrap();
    assert_eq!(found.room.room.room_id, top);
    assert_eq!(found.room.children_state.len(), all.len());
    let expected = [&open, &knockable, &joined, &invited, &neighbour].map(Clone::clone).to_vec();
    assert_eq!(of(&found.children), sorted(expected));
    let expected = [&closed, &denying].map(Clone::clone).to_vec();
    assert_eq!(sorted(found.inaccessible_children), sorted(expected));

    let found = ask(&one, "three.test", &top).await.unwrap();
    let expected = [&open, &knockable, &denying].map(Clone::clone).to_vec();
    assert_eq!(of(&found.children), sorted(expected));
    let suggested = one.rooms.peer_hierarchy(&name("two.test"), &top, true).await.unwrap();
    assert_eq!(of(&suggested.children), [open]);
    for room in [&closed, &denying, &abandoned, &unknown] {
        let outcome = ask(&one, "two.test", room).await;
        assert!(is_refused(&outcome), "{room}: {outcome:?}");
    }
    let closed = ask(&one, "two.test", &closed).await.unwrap_err();
    let unknown = ask(&one, "two.test", &unknown).await.unwrap_err();
    assert_eq!(closed.to_string(), unknown.to_string(), "no word on what is hidden");
}

#[tokio::test]
async fn a_space_of_thousands_is_answered_within_bounds() {
    let wire = Wire::default();
    let one = wire.server("one.test");
    let ada = one.user("ada");
    let top = space(&one, &ada, "public").await;
    for _ in 0..110 {
        let room = super::public(&one, &ada, "11").await;
        child(&one, &top, &room, false).await;
    }
    let found = ask(&one, "two.test", &top).await.unwrap();
    assert_eq!(found.children.len(), 100);
    assert_eq!(found.room.children_state.len(), 110);
}

#[tokio::test]
async fn a_room_elsewhere_is_summarised_by_a_server_that_is_in_it() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = async |rule: &str| {
        let rule = json!({ "join_rule": rule });
        room_of(&one, &ada, "11", rule).await
    };
    let (open, closed, invited) =
        (room("public").await, room("invite").await, room("invite").await);
    one.set(&ada, &open, "m.room.name", "", json!({ "name": "open" })).await.unwrap();
    one.invite(&ada, &invited, &bob).await.unwrap();
    let via = [name("one.test")];
    let found = two.rooms.summary_via(&bob, &open, &via).await.unwrap();
    assert_eq!((found.room.room_id, found.membership), (open.clone(), None));
    assert_eq!((found.room.name.as_deref(), &*found.room_version), (Some("open"), "11"));
    let hidden = two.rooms.summary_via(&bob, &closed, &via).await;
    assert!(matches!(hidden, Err(Error::NotFound(_))), "{hidden:?}");
    let found = two.rooms.summary_via(&bob, &invited, &via).await.unwrap();
    assert_eq!(found.membership, Some(MembershipState::Invite));
    come_in(&two, &bob, &open, &one).await;
    let found = two.rooms.summary_via(&bob, &open, &[]).await.unwrap();
    assert_eq!(found.membership, Some(MembershipState::Join));
    assert_eq!(found.room.num_joined_members, 2);
}
