//! What an event builds on is missing: it is asked for, and what cannot be had leads to no wrong
//! state.

use bytes::Bytes;
use events::{Pdu, RoomVersion};
use rooms::ReceiveError;
use ruma::{EventId, OwnedEventId};
use serde_json::json;

use super::{KINDS, Scene, VERSIONS, accepted, history, is_shown, messages, pdu_of, view};
use crate::{
    peers::{come_in, snapshot},
    wire::{Answer, name},
    world::change,
};

/// `one.test` says so much that `two.test` does not hear, and then something that it hears.
async fn miss(scene: &Scene, count: usize) -> (Vec<OwnedEventId>, OwnedEventId) {
    let missed = scene.say(count).await;
    scene.lose().await;
    scene.wire.take_calls();
    (missed, scene.one.send(&scene.ada, &scene.room, "at last").await.unwrap())
}

#[tokio::test]
async fn a_small_gap_is_filled_in_order() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let (mut expected, last) = miss(&scene, 15).await;
        scene.deliver().await;
        expected.push(last);
        let calls = scene.wire.take_calls();
        assert_eq!(calls.len(), 1, "version {version}: {calls:?}");
        assert_eq!(messages(&scene.two, &scene.bob, &scene.room).await, expected);
        assert_eq!(view(&scene.two, &scene.room).await.extremities, expected[15..]);
        scene.assert_same_state(version).await;
    }
}

#[tokio::test]
async fn a_gap_of_several_pages_is_filled_in_order() {
    let scene = Scene::new("11").await;
    let (mut expected, last) = miss(&scene, 70).await;
    scene.deliver().await;
    expected.push(last);
    assert_eq!(scene.wire.count("missing_events"), 4);
    assert_eq!(scene.wire.count("state_ids"), 0);
    assert_eq!(messages(&scene.two, &scene.bob, &scene.room).await, expected);
}

/// A server that was away for long must get on, whatever it missed.
#[tokio::test]
async fn a_gap_of_any_size_does_not_keep_a_server_from_going_on() {
    for version in ["2", "12"] {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let topic = json!({ "topic": "missed" });
        one.set(ada, room, "m.room.topic", "", topic.clone()).await.unwrap();
        let (missed, last) = miss(&scene, 1000).await;
        scene.deliver().await;
        assert!(is_shown(two, bob, room, &last).await, "version {version}");
        assert_eq!(two.current(room, "m.room.topic", "").await, Some(topic));
        scene.assert_same_state(version).await;
        assert!(scene.wire.take_calls().len() < 40, "the effort is bounded");
        let answer = two.send(bob, room, "I was away").await.unwrap();
        scene.deliver().await;
        assert!(is_shown(one, ada, room, &answer).await, "version {version}");
        // Whoever scrolls back finds what was missed.
        let mut expected = missed;
        expected.extend([last, answer]);
        assert_eq!(messages(two, bob, room).await, expected, "version {version}");
    }
}

#[tokio::test]
async fn state_set_in_a_gap_that_cannot_be_filled_is_known_after_it() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        let topic = json!({ "topic": "missed" });
        one.set(ada, room, "m.room.topic", "", topic.clone()).await.unwrap();
        let carl = one.user("carl");
        one.join(&carl, room).await.unwrap();
        let (_, last) = miss(&scene, 3).await;
        wire.corrupt("one.test", |answer| {
            if let Answer::Missing(events) = answer {
                events.clear();
            }
        });
        scene.deliver().await;
        assert!(is_shown(two, bob, room, &last).await, "version {version}");
        assert_eq!(two.current(room, "m.room.topic", "").await, Some(topic));
        assert_eq!(view(two, room).await.joined_members, 3, "version {version}");
        scene.assert_same_state(version).await;
        assert!(wire.count("state_ids") == 1 && wire.count("state") == 0, "version {version}");
    }
}

#[tokio::test]
async fn a_state_of_which_most_is_unknown_is_asked_for_as_a_whole() {
    let scene = Scene::new("11").await;
    let Scene { wire, one, two, room, .. } = &scene;
    for n in 0..80 {
        one.join(&one.user(&format!("guest{n}")), room).await.unwrap();
    }
    miss(&scene, 3).await;
    wire.corrupt("one.test", |answer| {
        if let Answer::Missing(events) = answer {
            events.clear();
        }
    });
    scene.deliver().await;
    scene.assert_same_state("80 members came").await;
    assert_eq!(view(two, room).await.joined_members, 82);
    assert_eq!((wire.count("state"), wire.count("event")), (1, 0));
}

/// Neither what was missed nor the event that showed it is believed, until the state is known.
#[tokio::test]
async fn an_event_whose_past_cannot_be_had_leaves_nothing_behind() {
    type Break = fn(&mut Answer);
    let cases: [(&str, Break); 3] = [
        ("no state", |answer| match answer {
            Answer::Missing(events) => events.clear(),
            Answer::StateIds(ids) => *ids = rooms::ports::StateIds::default(),
            _ => {}
        }),
        ("state of which nothing can be had", |answer| match answer {
            Answer::Missing(events) => events.clear(),
            Answer::StateIds(ids) => {
                let id = |n| OwnedEventId::try_from(format!("$none{n}")).unwrap();
                ids.state = (0..100).map(id).collect();
                ids.auth_chain = Vec::new();
            }
            Answer::State(state) => *state = rooms::ports::FullState::default(),
            _ => {}
        }),
        ("a state that is too large", |answer| match answer {
            Answer::Missing(events) => events.clear(),
            Answer::StateIds(ids) => {
                let id = |n| OwnedEventId::try_from(format!("$none{n}")).unwrap();
                ids.state = (0..500_000).map(id).collect();
            }
            _ => {}
        }),
    ];
    for (case, broken) in cases {
        let scene = Scene::new("11").await;
        let Scene { wire, two, bob, room, .. } = &scene;
        let (missed, last) = miss(&scene, 30).await;
        let before = snapshot(two, room).await;
        wire.corrupt("one.test", broken);
        let outcomes = scene.hand_to_two(std::slice::from_ref(&last)).await;
        let result = &outcomes[0].result;
        assert!(matches!(result, Err(ReceiveError::MissingContext(_))), "{case}: {result:?}");
        assert_eq!(snapshot(two, room).await, before, "{case}");
        assert!(!is_shown(two, bob, room, &last).await, "{case}");

        wire.mend("one.test");
        assert!(accepted(&scene.hand_to_two(&[last]).await[0]), "{case}");
        assert!(is_shown(two, bob, room, &missed[0]).await, "{case}");
    }
}

/// A server may hand on an event without the signatures that it came with; its sender's server has
/// them.
#[tokio::test]
async fn a_missing_event_with_wrong_signatures_is_asked_for_at_its_senders_server() {
    for (version, is_away) in [("1", false), ("6", false), ("12", false), ("11", true)] {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        let three = wire.server("three.test");
        let carl = three.user("carl");
        wire.set_down("two.test", true);
        come_in(&three, &carl, room, one).await;
        let said = three.send(&carl, room, "hello").await.unwrap();
        wire.deliver(&[one, two, &three]).await;
        wire.set_down("two.test", false);
        let last = one.send(ada, room, "at last").await.unwrap();
        wire.corrupt("one.test", |answer| match answer {
            Answer::Missing(events) | Answer::Backfilled(events) => {
                events.iter_mut().for_each(without_signatures);
            }
            Answer::Event(event) => without_signatures(event),
            _ => {}
        });
        wire.set_down("three.test", is_away);
        wire.take_calls();
        scene.hand_to_two(std::slice::from_ref(&last)).await;
        let calls = wire.take_calls();
        let of_three: Vec<_> = calls.iter().filter(|(_, server)| server == "three.test").collect();
        assert!(of_three.len() <= 10, "version {version}: {of_three:?}");
        let is_there = |id| async move {
            history(two, bob, room).await.iter().any(|event| *event.event_id() == id)
        };
        assert_eq!(is_there(said).await, !is_away, "version {version}");
        let membership = two.membership_of(&carl, room).await;
        assert_eq!(membership.is_some(), !is_away, "version {version}: {membership:?}");
    }
}

fn without_signatures(pdu: &mut Bytes) {
    let mut json: serde_json::Value = serde_json::from_slice(pdu).unwrap();
    if json["sender"] == "@carl:three.test" {
        json["signatures"] = json!({ "three.test": { "ed25519:wire": "A".repeat(86) } });
        *pdu = serde_json::to_vec(&json).unwrap().into();
    }
}

/// Of what is missing before an event, this is given and nothing else.
fn give_only(scene: &Scene, version: &str, given: &EventId) {
    let (version, given) = (RoomVersion::parse(version).unwrap(), given.to_owned());
    scene.wire.corrupt("one.test", move |answer| {
        if let Answer::Missing(events) = answer {
            let id =
                |json: &Bytes| Pdu::from_json(json.clone(), version).unwrap().event_id().clone();
            events.retain(|json| id(json) == given);
        }
    });
}

/// A server may have taken in an event without knowing the state before it, as it would say itself.
#[tokio::test]
async fn where_no_state_is_known_before_an_event_that_after_its_ancestors_may_be() {
    for (version, guests) in KINDS.map(|version| (version, 0)).into_iter().chain([("11", 80)]) {
        let case = format!("version {version}, {guests} guests");
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        for n in 0..guests {
            one.join(&one.user(&format!("guest{n}")), room).await.unwrap();
        }
        let (topic, title) = (json!({ "topic": "missed" }), json!({ "name": "the hole" }));
        one.set(ada, room, "m.room.topic", "", topic.clone()).await.unwrap();
        let hole = one.set(ada, room, "m.room.name", "", title.clone()).await.unwrap();
        let (given, last) = miss(&scene, 1).await;
        give_only(&scene, version, &given[0]);
        for id in [&given[0], &last] {
            wire.hide_state_at(id);
        }
        scene.deliver().await;
        assert_eq!(two.current(room, "m.room.topic", "").await, Some(topic), "{case}");
        assert_eq!(two.current(room, "m.room.name", "").await, Some(title), "{case}");
        scene.assert_same_state(&case).await;
        let calls = (wire.count("state_ids"), wire.count("state"));
        assert_eq!(calls, (2, usize::from(guests > 0)), "{case}");
        let known = history(two, bob, room).await;
        for id in [&given[0], &last, &hole] {
            assert!(known.iter().any(|event| event.event_id() == id), "{case}: {id}");
        }
    }
}

#[tokio::test]
async fn an_ancestor_that_is_not_given_is_no_place_to_know_the_state_at() {
    let scene = Scene::new("11").await;
    let Scene { wire, one, two, ada, bob, room } = &scene;
    let title = json!({ "name": "the hole" });
    let hole = one.set(ada, room, "m.room.name", "", title).await.unwrap();
    let (given, last) = miss(&scene, 1).await;
    let before = snapshot(two, room).await;
    give_only(&scene, "11", &given[0]);
    let gives = wire.mischief("one.test");
    wire.corrupt("one.test", move |answer| match answer {
        Answer::Event(json) => *json = Bytes::from_static(b"{}"),
        other => gives(other),
    });
    for id in [&given[0], &last] {
        wire.hide_state_at(id);
    }
    let outcomes = scene.hand_to_two(std::slice::from_ref(&last)).await;
    let result = &outcomes[0].result;
    assert!(matches!(result, Err(ReceiveError::MissingContext(_))), "{result:?}");
    // At the last event, at the one before it and at the hole.
    assert_eq!(wire.count("state_ids"), 3);
    assert_eq!(snapshot(two, room).await, before);
    assert!(two.current(room, "m.room.name", "").await.is_none());
    wire.mend("one.test");
    assert!(accepted(&scene.hand_to_two(&[last]).await[0]));
    assert!(is_shown(two, bob, room, &hole).await);
}

/// A server that does not show what its own event comes right after is not asked what the state is
/// there.
#[tokio::test]
async fn whoever_hides_what_an_event_comes_after_does_not_say_the_state_there() {
    let scene = Scene::new("11").await;
    let Scene { wire, two, room, .. } = &scene;
    let (missed, last) = miss(&scene, 2).await;
    let before = snapshot(two, room).await;
    wire.corrupt("one.test", |answer| {
        if let Answer::Missing(events) = answer {
            events.clear();
        }
    });
    wire.hide_state_at(&last);
    let outcomes = scene.hand_to_two(std::slice::from_ref(&last)).await;
    let result = &outcomes[0].result;
    assert!(matches!(result, Err(ReceiveError::MissingContext(_))), "{result:?}");
    assert_eq!(wire.count("state_ids"), 1, "not at {}", missed[1]);
    assert_eq!(snapshot(two, room).await, before);
}

/// The state before the event is asked for event by event, and the connection breaks half-way.
#[tokio::test]
async fn a_state_that_only_half_arrived_is_not_used() {
    let scene = Scene::new("11").await;
    let Scene { wire, one, two, ada, room, .. } = &scene;
    for n in 0..5 {
        one.join(&one.user(&format!("guest{n}")), room).await.unwrap();
    }
    one.set(ada, room, "m.room.topic", "", json!({ "topic": "missed" })).await.unwrap();
    let (_, last) = miss(&scene, 30).await;
    let before = snapshot(two, room).await;
    let unplugged = wire.clone();
    wire.corrupt("one.test", move |answer| match answer {
        Answer::Missing(events) => events.clear(),
        Answer::StateIds(_) => unplugged.set_down("one.test", true),
        _ => {}
    });
    let outcomes = scene.hand_to_two(std::slice::from_ref(&last)).await;
    let result = &outcomes[0].result;
    assert!(matches!(result, Err(ReceiveError::MissingContext(_))), "{result:?}");
    assert_eq!(snapshot(two, room).await, before);
    wire.set_down("one.test", false);
    wire.mend("one.test");
    assert!(accepted(&scene.hand_to_two(&[last]).await[0]));
    scene.assert_same_state("after the connection is back").await;
}

#[tokio::test]
async fn a_kick_in_a_gap_ends_the_membership() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        let dora = two.user("dora");
        two.join(&dora, room).await.unwrap();
        scene.deliver().await;
        one.rooms.kick(change(ada, room, bob)).await.unwrap();
        let (_, last) = miss(&scene, 3).await;
        wire.corrupt("one.test", |answer| {
            if let Answer::Missing(events) = answer {
                events.clear();
            }
        });
        scene.deliver().await;
        assert!(is_shown(two, &dora, room, &last).await, "version {version}");
        let membership = two.membership_of(bob, room).await;
        assert_eq!(membership, Some("leave".into()), "version {version}");
        assert!(two.send(bob, room, "still here?").await.is_err(), "version {version}");
        assert_eq!(view(two, room).await.local_joined.iter().collect::<Vec<_>>(), [&dora]);
    }
}

#[tokio::test]
async fn a_gap_that_many_come_upon_at_once_is_asked_for_once() {
    let scene = Scene::new("11").await;
    let Scene { wire, one, two, bob, room, .. } = &scene;
    let (mut expected, last) = miss(&scene, 15).await;
    let json = pdu_of(one, &last).await.json().clone();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (rooms, room, pdus) = (two.rooms.clone(), room.clone(), vec![json.clone()]);
        tasks.spawn(async move { rooms.receive(&name("one.test"), &room, pdus).await });
    }
    let outcomes: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(outcomes.iter().filter(|outcome| accepted(outcome)).count(), 1);
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
    expected.push(last);
    assert_eq!(messages(two, bob, room).await, expected);
    assert_eq!(wire.count("missing_events"), 1);
}
