//! What comes of templates when both sides mean well: `send_join`, `send_leave`, `send_knock`.

use std::collections::HashSet;

use events::Pdu;
use rooms::{Error, RelayFact, peers::JoinAnswer, stream};
use ruma::{OwnedServerName, RoomId, events::room::member::MembershipState as M};
use serde_json::json;

use super::{Forged, come_in, public, room_of, snapshot};
use crate::{
    wire::{Wire, name},
    world::World,
};

async fn send_join(world: &World, server: &str, pdu: &Pdu) -> Result<JoinAnswer, Error> {
    let (room, id) = (pdu.room_id(), pdu.event_id());
    world.rooms.peer_join(&name(server), room, id, pdu.json().clone()).await
}

/// Whom this server tells of events of the room.
async fn relayed(world: &World, room: &RoomId, after: u64) -> Vec<RelayFact> {
    let up_to = world.store.log().position();
    let facts = world.store.facts(after, up_to, usize::MAX).await.unwrap();
    let relays = facts
        .iter()
        .map(|logged| &logged.fact)
        .filter(|fact| fact.stream == stream::RELAY && *fact.subject == *room.as_str());
    relays.filter_map(RelayFact::from_fact).collect()
}

#[tokio::test]
async fn a_join_is_answered_with_all_that_a_new_server_needs() {
    for version in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let ada = one.user("ada");
        let room = public(&one, &ada, version).await;
        come_in(&two, &two.user("bob"), &room, &one).await;
        let before = one.rooms.room(&room).await.unwrap().unwrap();
        let user = ruma::user_id!("@eve:three.test").to_owned();
        let _three = wire.server("three.test");
        let pdu = Forged::member(&one, &room, &user, "join").await.pdu();
        let answer = send_join(&one, "three.test", &pdu).await.unwrap();

        let after = one.rooms.room(&room).await.unwrap().unwrap();
        assert_eq!(one.membership(&user, &room).await, Some(M::Join), "version {version}");
        assert_eq!(after.extremities, [pdu.event_id().clone()]);
        assert_eq!(answer.event, *pdu.json());
        let entries = one.rooms.state_iter(before.state).await.unwrap();
        let of_state: HashSet<_> = entries.into_iter().map(|(_, _, id)| id).collect();
        let told: HashSet<_> =
            answer.state.state.iter().map(|event| event.event_id().clone()).collect();
        assert_eq!(told, of_state, "the state before the join, version {version}");
        let all: HashSet<_> = told
            .into_iter()
            .chain(answer.state.auth_chain.iter().map(|event| event.event_id().clone()))
            .collect();
        let named = answer.state.state.iter().chain(&answer.state.auth_chain);
        assert!(named.flat_map(|event| event.pdu.auth_events()).all(|id| all.contains(id)));
        assert!(pdu.auth_events().iter().all(|id| all.contains(id)));
        let servers: Vec<OwnedServerName> = ["one.test", "three.test", "two.test"].map(name).into();
        assert_eq!(answer.servers_in_room, servers);

        let relays = relayed(&one, &room, before.position).await;
        let told: Vec<_> = relays.iter().map(|fact| (&fact.event_id, &fact.servers)).collect();
        assert_eq!(told, [(pdu.event_id(), &vec![name("two.test")])], "not who handed it in");
    }
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_is_answered_again_and_happens_once() {
    let wire = Wire::default();
    let one = wire.server("one.test");
    let _two = wire.server("two.test");
    let lobby = public(&one, &one.user("ada"), "11").await;
    let user = ruma::user_id!("@bob:two.test").to_owned();
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": lobby }],
    });
    let restricted = room_of(&one, &one.user("ada"), "11", rules).await;
    for room in [&lobby, &restricted] {
        let pdu = Forged::member(&one, room, &user, "join").await;
        let pdu = if *room == restricted { naming(&one, pdu).await } else { pdu }.pdu();
        let first = send_join(&one, "two.test", &pdu).await.unwrap();
        let state = snapshot(&one, room).await;
        for _ in 0..3 {
            let again = send_join(&one, "two.test", &pdu).await.unwrap();
            assert_eq!(again.event, first.event);
            let ids = |answer: &JoinAnswer| -> Vec<_> {
                answer.state.state.iter().map(|event| event.event_id().clone()).collect()
            };
            assert_eq!(ids(&again), ids(&first));
            assert_eq!(snapshot(&one, room).await, state);
        }
        // Later it is no news at all.
        one.send(&one.user("ada"), room, "later").await.unwrap();
        send_join(&one, "two.test", &pdu).await.unwrap();
        let view = one.rooms.room(room).await.unwrap().unwrap();
        assert_eq!((view.joined_members, view.extremities.len()), (2, 1));
    }
}

/// The join as ada lets the user in.
async fn naming(world: &World, pdu: Forged) -> Forged {
    let ada = world.user("ada");
    let room = pdu.room_id.clone();
    let content = json!({ "membership": "join", "join_authorised_via_users_server": ada });
    let sender = pdu.sender.clone();
    Forged::state(world, &room, &sender, "m.room.member", sender.as_str(), content).await
}

#[tokio::test]
async fn a_restricted_join_comes_back_with_our_signature() {
    for version in ["8", "9", "10", "11", "12"] {
        let wire = Wire::default();
        let (one, _two) = (wire.server("one.test"), wire.server("two.test"));
        let ada = one.user("ada");
        let user = ruma::user_id!("@bob:two.test").to_owned();
        let lobby = public(&one, &ada, version).await;
        let rules = json!({
            "join_rule": "restricted",
            "allow": [{ "type": "m.room_membership", "room_id": lobby }],
        });
        let room = room_of(&one, &ada, version, rules).await;
        let join = naming(&one, Forged::member(&one, &room, &user, "join").await).await.pdu();
        let too_early = send_join(&one, "two.test", &join).await;
        assert!(matches!(too_early, Err(Error::Forbidden(_))), "{too_early:?}");
        let visit = Forged::member(&one, &lobby, &user, "join").await.pdu();
        send_join(&one, "two.test", &visit).await.unwrap();
        let answer = send_join(&one, "two.test", &join).await.unwrap();
        let event: serde_json::Value = serde_json::from_slice(&answer.event).unwrap();
        for server in ["one.test", "two.test"] {
            assert!(event["signatures"][server].is_object(), "{server}, version {version}");
        }
        let stored = one.rooms.event_by_id(join.event_id()).await.unwrap().unwrap();
        assert_eq!(*stored.pdu.json(), answer.event, "others get both signatures too");
    }
}

#[tokio::test]
async fn a_knock_is_answered_with_what_the_room_is_and_can_be_taken_back() {
    for version in ["7", "10", "11", "12"] {
        let wire = Wire::default();
        let (one, _two) = (wire.server("one.test"), wire.server("two.test"));
        let ada = one.user("ada");
        let user = ruma::user_id!("@bob:two.test").to_owned();
        let room = room_of(&one, &ada, version, json!({ "join_rule": "knock" })).await;
        one.set(&ada, &room, "m.room.name", "", json!({ "name": "Lab" })).await.unwrap();
        let knock = Forged::member(&one, &room, &user, "knock").await.pdu();
        let (two, id) = (name("two.test"), knock.event_id());
        let shown = one.rooms.peer_knock(&two, &room, id, knock.json().clone()).await.unwrap();
        assert_eq!(one.membership(&user, &room).await, Some(M::Knock));
        let version = events::RoomVersion::parse(version).unwrap();
        let pdus: Vec<_> =
            shown.into_iter().map(|pdu| Pdu::from_json(pdu, version).unwrap()).collect();
        assert!(pdus.iter().all(|pdu| pdu.room_id() == room));
        let has = |kind: &str| pdus.iter().any(|pdu| pdu.event_type() == kind);
        assert!(has("m.room.create") && has("m.room.name") && has("m.room.join_rules"));
        assert!(!has("m.room.power_levels"));

        let leave = Forged::member(&one, &room, &user, "leave").await.pdu();
        let id = leave.event_id();
        one.rooms.peer_leave(&two, &room, id, leave.json().clone()).await.unwrap();
        assert_eq!(one.membership(&user, &room).await, Some(M::Leave));
    }
}

#[tokio::test]
async fn what_lies_on_an_older_branch_is_taken_in_if_it_is_allowed_now() {
    let wire = Wire::default();
    let (one, _two) = (wire.server("one.test"), wire.server("two.test"));
    let ada = one.user("ada");
    let user = ruma::user_id!("@bob:two.test").to_owned();
    let room = public(&one, &ada, "11").await;
    let slow = Forged::member(&one, &room, &user, "join").await.pdu();
    one.send(&ada, &room, "meanwhile").await.unwrap();
    send_join(&one, "two.test", &slow).await.unwrap();
    let view = one.rooms.room(&room).await.unwrap().unwrap();
    assert_eq!((view.joined_members, view.extremities.len()), (2, 2));

    let other = ruma::user_id!("@eve:two.test").to_owned();
    let too_slow = Forged::member(&one, &room, &other, "join").await.pdu();
    let rule = json!({ "join_rule": "invite" });
    one.set(&ada, &room, "m.room.join_rules", "", rule).await.unwrap();
    let refused = send_join(&one, "two.test", &too_slow).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    assert!(one.rooms.event_by_id(too_slow.event_id()).await.unwrap().is_none());
    assert_eq!(one.membership(&other, &room).await, None);
}
