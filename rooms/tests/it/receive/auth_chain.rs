//! Hazard H5: what a server puts into an answer to `event_auth`. Only what the event stands on is
//! kept, and of that only so much.

use std::sync::Arc;

use bytes::Bytes;
use events::Pdu;
use rooms::{ReceiveError, Received};
use ruma::OwnedEventId;
use serde_json::json;

use super::{Scene, is_shown, view};
use crate::{
    peers::{Forged, receive},
    wire::Answer,
};

/// `two.test` has missed that carl came, and hears him speak.
async fn carl_speaks(scene: &Scene) -> OwnedEventId {
    let Scene { wire, one, room, .. } = scene;
    let carl = one.user("carl");
    one.join(&carl, room).await.unwrap();
    scene.lose().await;
    let said = one.send(&carl, room, "hello").await.unwrap();
    wire.take_calls();
    said
}

/// The gap itself is not handed out; the auth chain is, with `more` in it.
fn answer_with(scene: &Scene, more: Vec<Bytes>) {
    scene.wire.corrupt("one.test", move |answer| match answer {
        Answer::Missing(pdus) => pdus.clear(),
        Answer::EventAuth(pdus) => {
            let honest = std::mem::take(pdus);
            pdus.extend(more.iter().cloned().chain(honest));
        }
        _ => {}
    });
}

#[tokio::test]
async fn what_an_event_does_not_stand_on_is_not_kept() {
    for version in ["2", "11", "12"] {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        let mut junk: Vec<Arc<Pdu>> = Vec::new();
        for n in 0..200 {
            let key = format!("@junk{n}:x.test");
            let ban = json!({ "membership": "ban" });
            junk.push(Forged::state(one, room, ada, "m.room.member", &key, ban).await.pdu());
        }
        let said = carl_speaks(&scene).await;
        answer_with(&scene, junk.iter().map(|pdu| pdu.json().clone()).collect());
        let outcomes = scene.hand_to_two(std::slice::from_ref(&said)).await;
        assert!(wire.count("event_auth") > 0, "version {version}");
        // What came before it is not there, but what allows it is, so it was judged.
        assert!(outcomes[0].result.is_ok(), "version {version}: {outcomes:?}");
        let judged = two.rooms.event_by_id(&said).await.unwrap();
        assert!(judged.is_some(), "version {version}");
        for pdu in junk {
            let kept = two.rooms.event_by_id(pdu.event_id()).await.unwrap();
            assert!(kept.is_none(), "version {version}");
        }
        wire.mend("one.test");
        let honest = one.send(ada, room, "still here").await.unwrap();
        scene.deliver().await;
        assert!(is_shown(two, bob, room, &honest).await, "version {version}");
    }
}

/// A chain as long as one likes, each event on the one before. It is signed and of the room, so only
/// its length speaks against it.
#[tokio::test]
async fn a_chain_without_end_is_not_followed() {
    const LENGTH: usize = 12_000;
    let scene = Scene::new("11").await;
    let Scene { wire, one, two, ada, bob, room } = &scene;
    let template = Forged::member(one, room, bob, "join").await;
    let mut chain: Vec<Arc<Pdu>> = Vec::with_capacity(LENGTH);
    for n in 0..LENGTH {
        let mut event = template.clone();
        event.content["n"] = n.into();
        event.auth_events.truncate(3);
        event.auth_events.extend(chain.last().map(|last| last.event_id().clone()));
        chain.push(event.pdu());
    }
    let top = chain.last().unwrap().event_id().clone();
    let message = super::hostile::message(one, &scene).await;
    let message = message.with(|event| event.auth_events.push(top)).pdu();
    let json: Vec<Bytes> = chain.iter().rev().map(|pdu| pdu.json().clone()).collect();
    wire.corrupt("two.test", move |answer| {
        if let Answer::EventAuth(pdus) = answer {
            pdus.clone_from(&json);
        }
    });
    wire.take_calls();
    let before = view(one, room).await.extremities.clone();
    let outcome = receive(one, "two.test", &message).await;
    assert!(matches!(outcome.result, Err(ReceiveError::MissingContext(_))), "{outcome:?}");
    for pdu in &chain {
        assert!(one.rooms.event_by_id(pdu.event_id()).await.unwrap().is_none(), "one is kept");
    }
    assert_eq!(view(one, room).await.extremities, before);
    wire.mend("two.test");
    let honest = two.send(bob, room, "still here").await.unwrap();
    scene.deliver().await;
    assert!(is_shown(one, ada, room, &honest).await);
    let again = receive(one, "two.test", &message).await;
    assert!(!matches!(again.result, Ok(Received::Accepted)), "{again:?}");
}
