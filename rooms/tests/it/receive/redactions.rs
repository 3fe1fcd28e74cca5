//! Redactions by users of other servers: those that may, take everything away everywhere; the
//! others, nothing.

use std::sync::Arc;

use events::Pdu;
use rooms::{Received, peers::MissingQuery};
use ruma::{OwnedEventId, OwnedUserId, RoomId};
use serde_json::json;

use super::{
    KINDS, Scene, VERSIONS, accepted, history,
    hostile::{Fate, fate},
    is_shown, pdu_of,
};
use crate::{
    peers::{Forged, come_in, public, receive},
    wire::{Answer, name},
    world::{World, change},
};

/// A redaction as its sender's server would make it, whether it is allowed or not.
async fn redaction(
    world: &World,
    room: &RoomId,
    sender: &OwnedUserId,
    target: &OwnedEventId,
) -> Forged {
    let forged = Forged::state(world, room, sender, "m.room.redaction", "", json!({})).await;
    forged.with(|event| {
        event.state_key = None;
        event.redacts = Some(target.clone());
    })
}

/// Whether the word is still to be had, by a client or by another server.
async fn leaks(world: &World, viewer: &OwnedUserId, room: &RoomId, id: &OwnedEventId) -> bool {
    let rooms = &world.rooms;
    let peer = name(if world.server == "one.test" { "two.test" } else { "one.test" });
    let mut outlets = String::new();
    for event in history(world, viewer, room).await {
        outlets.push_str(event.pdu.content_str());
    }
    if let Ok(event) = rooms.event(viewer, room, id).await {
        outlets.push_str(&format!("{:?}{:?}", event.pdu.json(), event.client));
    }
    let up_to = world.store.log().position();
    for event in rooms.timeline(room, 0, up_to, usize::MAX, true).await.unwrap() {
        outlets.push_str(event.pdu.content_str());
    }
    let from = super::view(world, room).await.extremities.clone();
    outlets.push_str(&format!("{:?}", rooms.peer_event(&peer, id).await));
    outlets.push_str(&format!("{:?}", rooms.peer_backfill(&peer, room, from.clone(), 100).await));
    let query = MissingQuery { earliest: Vec::new(), latest: from, limit: 20, min_depth: 0 };
    outlets.push_str(&format!("{:?}", rooms.peer_missing_events(&peer, room, query).await));
    outlets.contains("secret")
}

#[tokio::test]
async fn a_redaction_takes_the_content_away_on_every_server() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, wire } = &scene;
        let by_bob = two.send(bob, room, "bob's secret").await.unwrap();
        let by_ada = one.send(ada, room, "ada's secret").await.unwrap();
        let second = two.send(bob, room, "bob's other secret").await.unwrap();
        scene.deliver().await;
        assert!(leaks(one, ada, room, &by_bob).await, "the test can fail");
        one.redact(ada, room, &by_ada).await.unwrap();
        one.redact(ada, room, &second).await.unwrap();
        two.redact(bob, room, &by_bob).await.unwrap();
        scene.deliver().await;
        for id in [&by_bob, &by_ada, &second] {
            assert!(!leaks(one, ada, room, id).await, "{id}, version {version}");
            assert!(!leaks(two, bob, room, id).await, "{id}, version {version}");
            assert!(is_shown(two, bob, room, id).await, "an empty place is left");
        }
        let reopened = wire.restarted(two);
        assert!(!leaks(&reopened, bob, room, &by_ada).await, "version {version}");
    }
}

#[tokio::test]
async fn whoever_has_no_power_redacts_nothing_of_others() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let Scene { one, ada, bob, room, .. } = &scene;
        let kept = one.send(ada, room, "no secret").await.unwrap();
        let elsewhere = public(one, ada, version).await;
        let foreign = one.send(ada, &elsewhere, "elsewhere").await.unwrap();
        scene.deliver().await;
        for target in [&kept, &foreign] {
            let forged = redaction(one, room, bob, target).await.pdu();
            let outcome = receive(one, "two.test", &forged).await;
            // In versions 1 and 2 it is no event at all; later it is one without effect.
            let expected =
                if ["1", "2"].contains(&version) { Fate::Rejected } else { Fate::Accepted };
            assert_eq!(fate(&outcome), expected, "version {version}: {outcome:?}");
        }
        // Not even with a level that would do for the other room's events.
        let foreign_by_admin = redaction(one, room, ada, &foreign).await.pdu();
        receive(one, "one.test", &foreign_by_admin).await;
        for (room, id) in [(room, &kept), (&elsewhere, &foreign)] {
            let event = one.rooms.event(ada, room, id).await.unwrap();
            assert!(event.pdu.content_str().contains("body"), "version {version}");
            assert!(event.redacted_by.is_none(), "version {version}");
        }
    }
}

/// "they should not be sent to clients until both the redaction event and the event the redaction
/// affects have been received, and can be validated".
#[tokio::test]
async fn a_redaction_is_shown_when_it_takes_effect() {
    for version in ["3", "6", "11", "12"] {
        let scene = Scene::new(version).await;
        let Scene { one, ada, bob, room, .. } = &scene;
        let elsewhere = public(one, ada, version).await;
        let foreign = one.send(ada, &elsewhere, "elsewhere").await.unwrap();
        let kept = one.send(ada, room, "no secret").await.unwrap();
        let shown = async |id: &OwnedEventId| {
            let ids = history(one, ada, room).await;
            let found = ids.iter().any(|event| event.event_id() == id);
            assert_eq!(one.rooms.event(ada, room, id).await.is_ok(), found, "version {version}");
            found
        };
        let later = Forged::state(one, room, bob, "m.room.message", "", json!({ "body": "late" }));
        let later = later.await.with(|event| event.state_key = None).pdu();
        for (case, target) in
            [("elsewhere", &foreign), ("no power", &kept), ("not there", later.event_id())]
        {
            let forged = redaction(one, room, bob, target).await.pdu();
            assert!(accepted(&receive(one, "two.test", &forged).await), "version {version}");
            assert!(!shown(forged.event_id()).await, "{case}, version {version}");
            if case == "not there" {
                assert!(accepted(&receive(one, "two.test", &later).await), "version {version}");
                assert!(shown(forged.event_id()).await, "version {version}");
            }
        }
        let effective = one.redact(ada, room, &kept).await.unwrap();
        let of_it = one.redact(ada, room, &effective).await.unwrap();
        assert!(shown(&effective).await && shown(&of_it).await, "version {version}");
    }
}

/// What was redacted before it came, by somebody who may, is never seen with its content.
#[tokio::test]
async fn a_redaction_that_comes_before_its_target_waits_for_it() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        let target = one.send(ada, room, "ada's secret").await.unwrap();
        let redaction = one.redact(ada, room, &target).await.unwrap();
        // The event as it was before.
        let original = original(&scene, &target, "ada's secret").await;
        scene.lose().await;
        wire.corrupt("one.test", |answer| {
            if let Answer::Missing(events) = answer {
                events.clear();
            }
        });
        assert!(accepted(&scene.hand_to_two(std::slice::from_ref(&redaction)).await[0]));
        let reopened = wire.restarted(two);
        for world in [two, &reopened] {
            let outcome = receive(world, "one.test", &original).await;
            assert!(outcome.result.is_ok(), "{outcome:?}");
            assert!(!leaks(world, bob, room, &target).await, "version {version}");
        }
        assert!(is_shown(&reopened, bob, room, &target).await, "version {version}");
        let event = reopened.rooms.event(bob, room, &target).await.unwrap();
        assert_eq!(event.redacted_by, Some(redaction), "version {version}");
    }
}

/// The event with the content that its server has taken away, as a third server might still have
/// it: signatures cover the hash of that content.
async fn original(scene: &Scene, id: &OwnedEventId, body: &str) -> Arc<Pdu> {
    let stored = scene.one.rooms.event_by_id(id).await.unwrap().unwrap();
    let content = json!({ "msgtype": "m.text", "body": body });
    let whole = crate::peers::edited(stored.pdu.json(), "content", Some(content));
    let pdu = Pdu::from_json(whole, stored.version).unwrap();
    assert!(events::verify_content_hash(&pdu), "it is the original");
    assert_eq!(pdu.event_id(), id);
    Arc::new(pdu)
}

/// Several wait for one target: the first that may take effect does, whoever came first.
#[tokio::test]
async fn a_redaction_without_power_is_in_nobodys_way() {
    for version in ["3", "6", "11", "12"] {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, room, .. } = &scene;
        let three = wire.server("three.test");
        let cleo = three.user("cleo");
        come_in(&three, &cleo, room, one).await;
        wire.deliver(&[one, two, &three]).await;
        let target = one.send(ada, room, "ada's secret").await.unwrap();
        let proper = one.redact(ada, room, &target).await.unwrap();
        let original = original(&scene, &target, "ada's secret").await;
        let improper = redaction(two, room, &cleo, &target).await.pdu();
        wire.corrupt("one.test", |answer| {
            if let Answer::Missing(events) = answer {
                events.clear();
            }
        });
        for _ in 0..2 {
            assert!(receive(two, "three.test", &improper).await.result.is_ok());
        }
        assert!(accepted(&scene.hand_to_two(&[proper]).await[0]), "version {version}");
        assert!(accepted(&receive(two, "one.test", &original).await), "version {version}");
        assert!(!leaks(two, &scene.bob, room, &target).await, "version {version}");
    }
}

#[tokio::test]
async fn a_redaction_that_is_kept_aside_has_no_effect() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let target = two.send(bob, room, "bob's secret").await.unwrap();
        scene.deliver().await;
        // Made before the ban, as it says.
        let evasion = redaction(one, room, bob, &target).await;
        one.rooms.ban(change(ada, room, bob)).await.unwrap();
        let outcome = receive(one, "two.test", &evasion.pdu()).await;
        assert!(matches!(outcome.result, Ok(Received::SoftFailed(_))), "{outcome:?}");
        assert!(leaks(one, ada, room, &target).await, "version {version}");
    }
}

/// Hazard B4: redactions in a circle, and of what a room stands on.
#[tokio::test]
async fn redactions_in_a_circle_and_of_what_a_room_stands_on_leave_it_usable() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let said = one.send(ada, room, "hello").await.unwrap();
        let first = one.redact(ada, room, &said).await.unwrap();
        let second = one.redact(ada, room, &first).await.unwrap();
        let third = one.redact(ada, room, &second).await.unwrap();
        scene.deliver().await;
        for id in [&first, &second, &third] {
            assert!(is_shown(two, bob, room, id).await, "version {version}");
        }
        let state = super::state(one, room).await;
        for ((event_type, _), id) in &state {
            let forged = redaction(one, room, ada, id).await;
            let forged = forged.with(|event| event.prev_events = vec![third.clone()]);
            let outcome = receive(two, "one.test", &forged.pdu()).await;
            assert!(accepted(&outcome), "{event_type}: {outcome:?}");
        }
        let answer = two.send(bob, room, "still here").await.unwrap();
        let outcome = &scene.hand_to_one(std::slice::from_ref(&answer)).await[0];
        assert!(accepted(outcome), "version {version}: {outcome:?}");
        let pdu = pdu_of(two, &answer).await;
        assert!(is_shown(one, ada, room, pdu.event_id()).await, "version {version}");
        let reopened = scene.wire.restarted(two);
        reopened.send(bob, room, "and again").await.unwrap();
    }
}
