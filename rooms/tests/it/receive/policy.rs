//! Rooms with a policy server: nothing is sent without its word, and what comes without it is not
//! shown.

use rooms::{Error, Received, Redaction, Txn, ports::RemoteError};
use ruma::events::room::member::MembershipState;
use serde_json::{json, value::to_raw_value};

use super::{KINDS, Scene, hostile::message, is_shown, messages, pdu_of, view};
use crate::{
    peers::{come_in, receive},
    wire::{Answer, policy_key},
    world::{World, change},
};

/// The room of a scene asks `three.test`, where cleo is.
async fn with_policy(version: &str) -> (Scene, World) {
    let scene = Scene::new(version).await;
    let three = scene.wire.server("three.test");
    come_in(&three, &three.user("cleo"), &scene.room, &scene.one).await;
    deliver(&scene, &three).await;
    set_policy(&scene, "three.test").await;
    deliver(&scene, &three).await;
    scene.wire.take_calls();
    (scene, three)
}

async fn set_policy(scene: &Scene, via: &str) {
    let key = policy_key().public_key().to_base64();
    let content = json!({ "via": via, "public_keys": { "ed25519": key } });
    scene.one.set(&scene.ada, &scene.room, "m.room.policy", "", content).await.expect("sets");
}

async fn deliver(scene: &Scene, three: &World) {
    scene.wire.deliver(&[&scene.one, &scene.two, three]).await;
}

/// From now on the policy server says no.
fn say_no(scene: &Scene) {
    scene.wire.corrupt("three.test", |answer| {
        if let Answer::Recommended(answer) = answer {
            *answer = to_raw_value(&json!({})).expect("JSON");
        }
    });
}

#[tokio::test]
async fn what_is_sent_carries_the_word_of_the_policy_server() {
    for version in KINDS {
        let (scene, three) = with_policy(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        let said = one.send(ada, room, "hello").await.unwrap();
        let topic = one.set(ada, room, "m.room.topic", "", json!({ "topic": "t" })).await.unwrap();
        let redaction = one.redact(ada, room, &said).await.unwrap();
        let carl = one.user("carl");
        one.join(&carl, room).await.unwrap();
        one.rooms.ban(change(ada, room, &carl)).await.unwrap();
        assert_eq!(wire.count("policy_sign"), 5, "version {version}");
        deliver(&scene, &three).await;
        for id in [&said, &topic, &redaction] {
            let json = pdu_of(one, id).await.json().clone();
            let json = String::from_utf8(json.to_vec()).unwrap();
            assert!(json.contains("ed25519:policy_server"), "{json}");
            assert!(is_shown(two, bob, room, id).await, "version {version}");
        }
        assert_eq!(wire.count("policy_sign"), 5, "nobody else has to ask, version {version}");
        let redacted = two.rooms.event(bob, room, &said).await.unwrap();
        assert_eq!(redacted.pdu.content_str(), "{}", "version {version}");
        scene.assert_same_state(version).await;
    }
}

#[tokio::test]
async fn what_the_policy_server_does_not_like_is_not_sent() {
    let (scene, three) = with_policy("11").await;
    let Scene { wire, one, ada, room, .. } = &scene;
    let said = one.send(ada, room, "good").await.unwrap();
    say_no(&scene);
    let before = crate::peers::snapshot(one, room).await;
    let refused = one.send(ada, room, "bad").await;
    assert!(matches!(refused, Err(Error::Remote(RemoteError::Malformed { .. }))), "{refused:?}");
    wire.set_down("three.test", true);
    let unreachable = one.set(ada, room, "m.room.topic", "", json!({ "topic": "t" })).await;
    assert!(matches!(unreachable, Err(Error::Remote(_))), "{unreachable:?}");
    let redaction =
        Redaction { room_id: room, sender: ada, target: &said, reason: None, txn: None };
    assert!(one.rooms.redact(redaction).await.is_err());
    assert_eq!(crate::peers::snapshot(one, room).await, before);
    assert_eq!(messages(one, ada, room).await, [said]);

    // The room's own setting needs nobody's word, and so the room gets out of it.
    one.set(ada, room, "m.room.policy", "", json!({})).await.unwrap();
    one.send(ada, room, "free").await.unwrap();
    drop(three);
}

#[tokio::test]
async fn what_comes_without_the_word_is_asked_about_and_else_soft_failed() {
    for version in KINDS {
        let (scene, _three) = with_policy(version).await;
        let Scene { wire, one, ada, room, .. } = &scene;
        let unsigned = message(one, &scene).await;
        let outcome = receive(one, "two.test", &unsigned.pdu()).await;
        assert_eq!(outcome.result.unwrap(), Received::Accepted, "version {version}");
        assert_eq!(wire.count("policy_sign"), 1, "version {version}");

        say_no(&scene);
        let spam = message(one, &scene).await.with(|event| event.content = json!({ "n": 1 }));
        let spam = spam.pdu();
        let outcome = receive(one, "two.test", &spam).await;
        assert!(matches!(outcome.result, Ok(Received::SoftFailed(_))), "{outcome:?}");
        assert!(!is_shown(one, ada, room, spam.event_id()).await, "version {version}");
        wire.set_down("three.test", true);
        let spam = message(one, &scene).await.with(|event| event.content = json!({ "n": 2 }));
        let outcome = receive(one, "two.test", &spam.pdu()).await;
        assert!(matches!(outcome.result, Ok(Received::SoftFailed(_))), "{outcome:?}");
    }
}

/// "at least one joined user in the room": else the room has none, and nobody is asked.
#[tokio::test]
async fn a_policy_server_that_is_not_in_the_room_has_no_say() {
    let (scene, three) = with_policy("11").await;
    let Scene { wire, one, ada, room, .. } = &scene;
    let cleo = three.user("cleo");
    one.rooms.kick(change(ada, room, &cleo)).await.unwrap();
    deliver(&scene, &three).await;
    assert_eq!(one.membership(&cleo, room).await, Some(MembershipState::Leave));
    wire.take_calls();
    one.send(ada, room, "free").await.unwrap();
    let outcome = receive(one, "two.test", &message(one, &scene).await.pdu()).await;
    assert_eq!(outcome.result.unwrap(), Received::Accepted);
    set_policy(&scene, "never.test").await;
    one.send(ada, room, "free").await.unwrap();
    assert_eq!(wire.count("policy_sign"), 0);
}

/// Nobody waits for the policy server but who sends, and a request that comes twice is one event.
#[tokio::test]
async fn a_room_goes_on_while_its_policy_server_thinks() {
    let (scene, _three) = with_policy("11").await;
    let Scene { wire, one, ada, room, .. } = &scene;
    let gate = wire.gate("policy_sign");
    let content = crate::world::message("twice");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (rooms, ada, room, content) =
            (one.rooms.clone(), ada.clone(), room.clone(), content.clone());
        tasks.spawn(async move {
            let event = crate::world::new_event(&ada, &room, "m.room.message", None, &content);
            let txn = Some(Txn { device_id: "PHONE".into(), txn_id: "1".into() });
            rooms.send(rooms::NewEvent { txn, ..event }).await
        });
    }
    gate.reached.acquire_many(2).await.unwrap().forget();
    // It is being asked, and the room takes other events in.
    let open = one.set(ada, room, "m.room.policy", "", json!({})).await.unwrap();
    assert!(is_shown(one, ada, room, &open).await);
    wire.lift_gates();
    let sent: Vec<_> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(sent[0], sent[1]);
    assert_eq!(messages(one, ada, room).await, sent[..1]);
    let event = one.rooms.event_by_id(&sent[0]).await.unwrap().unwrap();
    assert!(event.txn.is_some(), "the device that sent it recognises it");
    assert_eq!(view(one, room).await.extremities.len(), 2, "it stands beside what came meanwhile");
}
