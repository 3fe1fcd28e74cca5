//! What an honest server sends is shown, once, and outlives the process.

use rooms::{Received, stream};
use ruma::events::room::member::MembershipState;
use serde_json::json;

use super::{Scene, VERSIONS, accepted, history, is_shown, messages, pdu_of, state, view};
use crate::{
    peers::{come_in, snapshot},
    wire::name,
    world::{change, join_request},
};

#[tokio::test]
async fn what_one_server_sends_the_other_shows() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let hello = one.send(ada, room, "hello").await.unwrap();
        let topic = one.set(ada, room, "m.room.topic", "", json!({ "topic": "t" })).await.unwrap();
        scene.deliver().await;
        let answer = two.send(bob, room, "hello ada").await.unwrap();
        scene.deliver().await;

        let expected = [hello.clone(), answer.clone()];
        assert_eq!(messages(two, bob, room).await, expected, "version {version}");
        assert_eq!(messages(one, ada, room).await, expected, "version {version}");
        for id in [&hello, &topic, &answer] {
            assert!(is_shown(two, bob, room, id).await, "{id}, version {version}");
            assert!(is_shown(one, ada, room, id).await, "{id}, version {version}");
        }
        assert_eq!(pdu_of(two, &answer).await.prev_events(), [topic], "version {version}");
        scene.assert_same_state(version).await;
        let (at_one, at_two) = (view(one, room).await, view(two, room).await);
        assert_eq!(at_one.extremities, at_two.extremities, "version {version}");
        assert_eq!(at_one.joined_members, at_two.joined_members);
        assert_eq!(at_one.servers, at_two.servers);
    }
}

#[tokio::test]
async fn memberships_of_other_servers_are_counted() {
    let scene = Scene::new("11").await;
    let Scene { wire, one, two, ada, bob, room } = &scene;
    let three = wire.server("three.test");
    let cleo = three.user("cleo");
    come_in(&three, &cleo, room, one).await;
    let worlds = [one, two, &three];
    wire.deliver(&worlds).await;
    let at_two = view(two, room).await;
    assert_eq!((at_two.joined_members, at_two.servers.len()), (3, 3));
    assert_eq!(at_two.local_joined.iter().collect::<Vec<_>>(), [bob]);

    three.rooms.leave(room, &cleo, None).await.unwrap();
    wire.deliver(&worlds).await;
    let at_two = view(two, room).await;
    assert_eq!((at_two.joined_members, at_two.servers.len()), (2, 2));

    one.rooms.kick(change(ada, room, bob)).await.unwrap();
    wire.deliver(&worlds).await;
    let at_two = view(two, room).await;
    assert_eq!((at_two.joined_members, at_two.local_joined.len()), (1, 0));
    assert_eq!(two.membership_of(bob, room).await, Some(MembershipState::Leave));
    assert!(two.send(bob, room, "still here?").await.is_err());
    let facts = two.store.facts(0, two.store.log().position(), usize::MAX).await.unwrap();
    let told = facts.iter().rev().find(|logged| logged.fact.stream == stream::MEMBERSHIP).unwrap();
    let fact = rooms::MembershipFact::from_fact(&told.fact).unwrap();
    assert_eq!(fact.membership, MembershipState::Leave, "sync learns of the kick");
}

#[tokio::test]
async fn an_event_that_comes_again_changes_nothing() {
    for version in ["1", "11", "12"] {
        let scene = Scene::new(version).await;
        let Scene { one, two, bob, room, .. } = &scene;
        let ids = scene.say(3).await;
        scene.deliver().await;
        let (before, state_before) = (snapshot(two, room).await, state(two, room).await);
        for outcome in scene.hand_to_two(&ids).await {
            assert_eq!(outcome.result.unwrap(), Received::Known, "version {version}");
        }
        let json = pdu_of(one, &ids[0]).await.json().clone();
        let outcomes = two.rooms.receive(&name("one.test"), room, vec![json; 50]).await;
        assert!(
            outcomes.iter().all(|outcome| outcome.result.as_ref().unwrap() == &Received::Known)
        );
        assert_eq!(snapshot(two, room).await, before, "version {version}");
        assert_eq!(state(two, room).await, state_before, "version {version}");
        assert_eq!(messages(two, bob, room).await, ids, "version {version}");
    }
}

#[tokio::test]
async fn one_of_many_who_bring_an_event_at_once_is_the_first() {
    let scene = Scene::new("11").await;
    let ids = scene.say(20).await;
    scene.lose().await;
    let mut pdus = Vec::new();
    for id in &ids {
        pdus.push(pdu_of(&scene.one, id).await.json().clone());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (rooms, room, pdus) = (scene.two.rooms.clone(), scene.room.clone(), pdus.clone());
        tasks.spawn(async move { rooms.receive(&name("one.test"), &room, pdus).await });
    }
    let outcomes: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(outcomes.iter().filter(|outcome| accepted(outcome)).count(), 20);
    let known = outcomes.iter().filter(|outcome| matches!(outcome.result, Ok(Received::Known)));
    assert_eq!(known.count(), 140);
    assert_eq!(messages(&scene.two, &scene.bob, &scene.room).await, ids);
}

#[tokio::test]
async fn events_that_come_together_are_taken_in_from_the_oldest_on() {
    let scene = Scene::new("11").await;
    let ids = scene.say(10).await;
    scene.lose().await;
    scene.wire.take_calls();
    let mut pdus = Vec::new();
    for id in ids.iter().rev() {
        pdus.push(pdu_of(&scene.one, id).await.json().clone());
    }
    let outcomes = scene.two.rooms.receive(&name("one.test"), &scene.room, pdus).await;
    assert!(outcomes.iter().all(accepted));
    assert_eq!(scene.wire.take_calls(), [], "nothing was missing");
    assert_eq!(messages(&scene.two, &scene.bob, &scene.room).await, ids);
}

#[tokio::test]
async fn what_was_accepted_outlives_the_process() {
    let scene = Scene::new("12").await;
    let Scene { wire, one, two, ada, bob, room } = &scene;
    one.set(ada, room, "m.room.topic", "", json!({ "topic": "before" })).await.unwrap();
    scene.say(5).await;
    scene.deliver().await;
    let seen: Vec<_> =
        history(two, bob, room).await.iter().map(|event| event.event_id().clone()).collect();
    let before = view(two, room).await;
    let reopened = wire.restarted(two);
    let after = view(&reopened, room).await;
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    let again: Vec<_> =
        history(&reopened, bob, room).await.iter().map(|event| event.event_id().clone()).collect();
    assert_eq!(seen, again);
}

/// Hazard B10.
#[tokio::test]
async fn a_room_that_nobody_local_is_in_is_closed_to_other_servers() {
    let scene = Scene::new("11").await;
    let Scene { two, bob, room, .. } = &scene;
    two.rooms.leave(room, bob, None).await.unwrap();
    scene.deliver().await;
    let before = snapshot(two, room).await;
    let ids = scene.say(2).await;
    for outcome in scene.hand_to_two(&ids).await {
        assert!(matches!(outcome.result, Err(rooms::ReceiveError::UnknownRoom)), "{outcome:?}");
    }
    assert_eq!(snapshot(two, room).await, before);
    assert_eq!(two.membership_of(bob, room).await, Some(MembershipState::Leave));
}

/// "the server MUST set those users' room membership to `leave`", whoever changed the setting.
#[tokio::test]
async fn guests_go_when_another_server_says_that_they_may_not_be_there() {
    for is_forked in [false, true] {
        let scene = Scene::new("11").await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let set = async |world: &crate::world::World, user, access: &str| {
            let content = json!({ "guest_access": access });
            world.set(user, room, "m.room.guest_access", "", content).await.unwrap();
        };
        let levels = json!({ "users": { ada.as_str(): 100, bob.as_str(): 100 } });
        one.set(ada, room, "m.room.power_levels", "", levels).await.unwrap();
        set(one, ada, "can_join").await;
        let (guest, carl) = (one.user("guest"), one.user("carl"));
        let request = rooms::JoinRequest { guest: true, ..join_request(&guest, room) };
        one.rooms.join(request).await.unwrap();
        one.join(&carl, room).await.unwrap();
        scene.deliver().await;
        if is_forked {
            one.send(ada, room, "at the same time").await.unwrap();
        }
        set(two, bob, "forbidden").await;
        scene.deliver().await;
        for world in [one, two] {
            let membership = async |user| world.membership_of(user, room).await;
            assert_eq!(membership(&guest).await, Some("leave".into()), "forked: {is_forked}");
            for user in [ada, bob, &carl] {
                assert_eq!(membership(user).await, Some("join".into()), "{user}: {is_forked}");
            }
        }
        scene.assert_same_state("the guest is gone").await;
    }
}
