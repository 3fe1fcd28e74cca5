//! Events of servers that do not keep to the rules: refused for the right reason, never shown, and
//! in nobody's way.

use bytes::Bytes;
use events::Pdu;
use rooms::{ReceiveError, ReceiveOutcome, Received};
use ruma::OwnedEventId;
use serde_json::{Value, json};

use super::{KINDS, Scene, VERSIONS, is_shown, messages, pdu_of, state, view};
use crate::{
    peers::{Forged, edited, public, receive, snapshot},
    wire::{Wire, name},
    world::World,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Dropped,
    Rejected,
    SoftFailed,
    MissingContext,
    Accepted,
}

pub(super) fn fate(outcome: &ReceiveOutcome) -> Fate {
    match &outcome.result {
        Ok(Received::Accepted) => Fate::Accepted,
        Ok(Received::Rejected(_)) => Fate::Rejected,
        Ok(Received::SoftFailed(_)) => Fate::SoftFailed,
        Err(ReceiveError::Dropped(_)) => Fate::Dropped,
        Err(ReceiveError::MissingContext(_)) => Fate::MissingContext,
        other => panic!("{other:?}"),
    }
}

/// A message of bob's, as his server would make it.
pub(super) async fn message(world: &World, scene: &Scene) -> Forged {
    let content = json!({ "msgtype": "m.text", "body": "evil" });
    let forged = Forged::state(world, &scene.room, &scene.bob, "m.room.message", "", content).await;
    forged.with(|event| event.state_key = None)
}

/// Events that a hostile one can refer to.
struct Around {
    message: OwnedEventId,
    rejected: OwnedEventId,
    /// The create event and a message of another room that `one.test` is in.
    foreign: [OwnedEventId; 2],
}

async fn around(scene: &Scene, version: &str) -> Around {
    let Scene { one, ada, room, .. } = scene;
    let other = public(one, ada, version).await;
    let foreign_message = one.send(ada, &other, "elsewhere").await.unwrap();
    let foreign_create = view(one, &other).await.create.event_id().clone();
    let message = one.send(ada, room, "hello").await.unwrap();
    let rejected = Forged::state(one, room, &scene.bob, "m.room.topic", "", json!({})).await.pdu();
    assert_eq!(fate(&receive(one, "two.test", &rejected).await), Fate::Rejected);
    scene.deliver().await;
    Around {
        message,
        rejected: rejected.event_id().clone(),
        foreign: [foreign_create, foreign_message],
    }
}

type Change = fn(&mut Forged, &Around);

/// Signed by bob's server, so these are about what the event says.
const SIGNED: [(&str, Change, Fate); 20] = [
    ("nothing wrong", |_, _| {}, Fate::Accepted),
    ("signed by somebody else", |event, _| event.signer = "one.test".into(), Fate::Dropped),
    (
        "of a user of another server",
        |e, _| e.sender = "@ada:one.test".try_into().unwrap(),
        Fate::Dropped,
    ),
    (
        "an auth event of another room",
        |event, around| {
            event.auth_events.push(around.foreign[0].clone());
        },
        Fate::Rejected,
    ),
    (
        "a message as an auth event",
        |event, around| {
            event.auth_events.push(around.message.clone());
        },
        Fate::Rejected,
    ),
    (
        "a message of another room as an auth event",
        |event, around| {
            event.auth_events.push(around.foreign[1].clone());
        },
        Fate::Rejected,
    ),
    (
        "a rejected auth event",
        |event, around| {
            event.auth_events.push(around.rejected.clone());
        },
        Fate::Rejected,
    ),
    (
        "an auth event twice",
        |event, _| {
            event.auth_events.push(event.auth_events[0].clone());
        },
        Fate::Rejected,
    ),
    ("no auth events", |event, _| event.auth_events.clear(), Fate::Rejected),
    (
        "an auth event that nobody has",
        |event, _| {
            event.auth_events.push(unknown(1));
        },
        Fate::MissingContext,
    ),
    (
        "a prev event that nobody has",
        |event, _| {
            event.prev_events = vec![unknown(1)];
        },
        Fate::MissingContext,
    ),
    (
        "a prev event of another room",
        |event, around| {
            event.prev_events = vec![around.foreign[1].clone()];
        },
        Fate::MissingContext,
    ),
    ("nothing before it", |event, _| event.prev_events.clear(), Fate::Rejected),
    (
        "a sender who never was in the room",
        |event, _| {
            event.sender = "@mallory:two.test".try_into().unwrap();
        },
        Fate::Rejected,
    ),
    (
        "a topic by somebody without power",
        |event, _| {
            event.event_type = "m.room.topic".into();
            event.state_key = Some(String::new());
        },
        Fate::Rejected,
    ),
    (
        "power for oneself",
        |event, _| {
            event.event_type = "m.room.power_levels".into();
            event.state_key = Some(String::new());
            event.content = json!({ "users": { "@bob:two.test": 100 } });
        },
        Fate::Rejected,
    ),
    (
        "the membership of somebody else",
        |event, _| {
            event.event_type = "m.room.member".into();
            event.state_key = Some("@ada:one.test".into());
            event.content = json!({ "membership": "leave" });
        },
        Fate::Rejected,
    ),
    (
        "a join for another",
        |event, _| {
            event.event_type = "m.room.member".into();
            event.state_key = Some("@mallory:two.test".into());
            event.content = json!({ "membership": "join" });
        },
        Fate::Rejected,
    ),
    (
        "a membership that does not exist",
        |event, _| {
            event.event_type = "m.room.member".into();
            event.state_key = Some("@bob:two.test".into());
            event.content = json!({ "membership": "owner" });
        },
        Fate::Rejected,
    ),
    (
        "a second create event",
        |event, _| {
            event.event_type = "m.room.create".into();
            event.state_key = Some(String::new());
            event.content = json!({ "creator": "@bob:two.test" });
        },
        Fate::Rejected,
    ),
];

fn unknown(n: u32) -> OwnedEventId {
    let id = format!("${n:0>43}");
    OwnedEventId::try_from(id).expect("an event id")
}

/// Whether an event can have ids of that form in its references.
fn is_expressible(case: &str, version: &str) -> bool {
    // Ids of versions 1 and 2 have a server name, and create events of version 12 no room.
    match version {
        "1" | "2" => !case.ends_with("that nobody has"),
        "12" => case != "a second create event",
        _ => true,
    }
}

#[tokio::test]
async fn an_event_that_breaks_a_rule_is_refused_and_shown_to_nobody() {
    for version in VERSIONS {
        for (case, alter, expected) in SIGNED {
            if !is_expressible(case, version) {
                continue;
            }
            let case = format!("{case}, version {version}");
            let scene = Scene::new(version).await;
            let around = around(&scene, version).await;
            let Scene { one, ada, room, .. } = &scene;
            let before = (snapshot(one, room).await, state(one, room).await);
            let forged = message(one, &scene).await.with(|event| alter(event, &around)).pdu();
            let outcome = receive(one, "two.test", &forged).await;
            assert_eq!(fate(&outcome), expected, "{case}: {outcome:?}");
            assert_eq!(
                is_shown(one, ada, room, forged.event_id()).await,
                expected == Fate::Accepted
            );
            if expected != Fate::Accepted {
                let after = (snapshot(one, room).await, state(one, room).await);
                assert_eq!(before, after, "{case}");
            }
            assert_honest_traffic(&scene, &case).await;
        }
    }
}

/// Both sides still hear each other.
async fn assert_honest_traffic(scene: &Scene, case: &str) {
    let Scene { one, two, ada, bob, room, .. } = scene;
    let said = one.send(ada, room, "still here").await.unwrap();
    scene.deliver().await;
    let answer = two.send(bob, room, "me too").await.unwrap();
    scene.deliver().await;
    assert!(is_shown(two, bob, room, &said).await, "{case}");
    assert!(is_shown(one, ada, room, &answer).await, "{case}");
}

type Edit = fn(&Bytes) -> Bytes;

/// What nobody has signed.
const UNSIGNED: [(&str, Edit); 16] = [
    ("no signatures", |pdu| edited(pdu, "signatures", Some(json!({})))),
    ("signatures gone", |pdu| edited(pdu, "signatures", None)),
    ("a signature that is none", |pdu| {
        edited(pdu, "signatures", Some(json!({ "two.test": { "ed25519:wire": "" } })))
    }),
    ("the signature of another event", |pdu| {
        let zeros = "A".repeat(86);
        edited(pdu, "signatures", Some(json!({ "two.test": { "ed25519:wire": zeros } })))
    }),
    ("the signature of an unknown key", |pdu| {
        let keys: Value = serde_json::from_slice(pdu).unwrap();
        let signature = keys["signatures"]["two.test"]["ed25519:wire"].clone();
        edited(pdu, "signatures", Some(json!({ "two.test": { "ed25519:other": signature } })))
    }),
    ("another depth", |pdu| edited(pdu, "depth", Some(json!(1)))),
    ("another time", |pdu| edited(pdu, "origin_server_ts", Some(json!(1)))),
    ("another sender", |pdu| edited(pdu, "sender", Some(json!("@eve:two.test")))),
    ("another type", |pdu| edited(pdu, "type", Some(json!("m.other")))),
    ("made a state event", |pdu| edited(pdu, "state_key", Some(json!("")))),
    ("another past", |pdu| edited(pdu, "prev_events", Some(json!([])))),
    ("another room", |pdu| edited(pdu, "room_id", Some(json!("!other:one.test")))),
    ("a negative depth", |pdu| edited(pdu, "depth", Some(json!(-1)))),
    ("a depth that is text", |pdu| edited(pdu, "depth", Some(json!("5")))),
    ("a depth beyond all", |pdu| edited(pdu, "depth", Some(json!(1_u64 << 53)))),
    ("cut short", |pdu| pdu.slice(..pdu.len() - 1)),
];

#[tokio::test]
async fn what_its_server_has_not_signed_is_dropped_and_its_neighbours_are_not() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let original = two.send(bob, room, "original").await.unwrap();
        let neighbour = two.send(bob, room, "neighbour").await.unwrap();
        scene.lose().await;
        let original = pdu_of(two, &original).await.json().clone();
        let mut pdus: Vec<_> = UNSIGNED.iter().map(|(_, edit)| edit(&original)).collect();
        pdus.insert(8, original);
        pdus.insert(3, pdu_of(two, &neighbour).await.json().clone());
        let outcomes = one.rooms.receive(&name("two.test"), room, pdus).await;
        assert_eq!(outcomes.len(), UNSIGNED.len() + 2);
        let dropped = outcomes.iter().filter(|outcome| fate(outcome) == Fate::Dropped).count();
        // In versions 1 and 2 the id is part of the event, and the first to come has it.
        assert_eq!(dropped, UNSIGNED.len(), "version {version}: {outcomes:?}");
        assert_eq!(messages(one, ada, room).await.len(), 2, "version {version}");
        assert_honest_traffic(&scene, version).await;
    }
}

/// "assumed that this is because we have only been given a redacted version of the event".
#[tokio::test]
async fn an_event_with_another_content_is_taken_in_without_it() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let id = two.send(bob, room, "what bob said").await.unwrap();
        scene.lose().await;
        let content = json!({ "msgtype": "m.text", "body": "what bob never said" });
        let altered = edited(pdu_of(two, &id).await.json(), "content", Some(content));
        let outcomes = one.rooms.receive(&name("two.test"), room, vec![altered]).await;
        assert_eq!(fate(&outcomes[0]), Fate::Accepted, "version {version}");
        let shown = one.rooms.event(ada, room, &id).await.unwrap();
        assert_eq!(shown.pdu.content_str(), "{}", "version {version}");
        assert_honest_traffic(&scene, version).await;
    }
}

#[tokio::test]
async fn the_extremes_of_depth_leave_a_room_usable() {
    for version in KINDS {
        for depth in [0, 1, (1 << 53) - 1] {
            let scene = Scene::new(version).await;
            let Scene { one, ada, room, .. } = &scene;
            let forged = message(one, &scene).await.with(|event| event.depth = depth).pdu();
            assert_eq!(fate(&receive(one, "two.test", &forged).await), Fate::Accepted);
            assert!(is_shown(one, ada, room, forged.event_id()).await);
            let case = format!("depth {depth}, version {version}");
            for n in 0..3 {
                one.send(ada, room, &format!("{n}")).await.unwrap();
            }
            assert!(view(one, room).await.depth < 1 << 53, "{case}");
            assert_honest_traffic(&scene, &case).await;
        }
    }
}

/// Hazard A11: senders choose the ids of versions 1 and 2.
#[tokio::test]
async fn a_second_event_with_the_id_of_another_changes_nothing() {
    for version in ["1", "2"] {
        let scene = Scene::new(version).await;
        let Scene { one, ada, bob, room, two, .. } = &scene;
        let first = one.send(ada, room, "the first").await.unwrap();
        let own = two.send(bob, room, "bob's own").await.unwrap();
        scene.deliver().await;
        let before = snapshot(one, room).await;
        for (id, expected) in [(&first, Fate::Dropped), (&own, Fate::Dropped)] {
            let forged = message(one, &scene).await;
            let Some(forged) = with_id(&forged, id) else { continue };
            let outcomes = one.rooms.receive(&name("two.test"), room, vec![forged]).await;
            let known = matches!(outcomes[0].result, Ok(Received::Known));
            assert!(known || fate(&outcomes[0]) == expected, "{id}: {outcomes:?}");
            assert_eq!(snapshot(one, room).await, before);
        }
        let shown = one.rooms.event(ada, room, &first).await.unwrap();
        assert!(shown.pdu.content_str().contains("the first"));
        let shown = one.rooms.event(ada, room, &own).await.unwrap();
        assert!(shown.pdu.content_str().contains("bob's own"));
    }
}

/// The event under another id, signed by `two.test`.
fn with_id(forged: &Forged, id: &OwnedEventId) -> Option<Bytes> {
    let pdu = forged.pdu();
    let renamed = edited(pdu.json(), "event_id", Some(json!(id)));
    let unsigned = edited(&renamed, "signatures", Some(json!({})));
    let pdu = Pdu::from_json(unsigned, forged.version).ok()?;
    let key = crate::wire::key_of("two.test");
    let signed = events::add_signature(&pdu, &key, &name("two.test"), forged.version).ok()?;
    Some(signed.json().clone())
}

/// Hazard B9: ids of versions 1 and 2 are chosen, so events can refer to each other in a circle.
#[tokio::test]
async fn events_that_authorise_each_other_are_refused() {
    for version in ["1", "2"] {
        let scene = Scene::new(version).await;
        let Scene { wire, one, ada, room, .. } = &scene;
        let ids = ["$a:two.test", "$b:two.test"].map(|id| OwnedEventId::try_from(id).unwrap());
        let mut circle = Vec::new();
        for (own, other) in [(0, 1), (1, 0)] {
            let forged = message(one, &scene).await.with(|event| {
                event.auth_events.push(ids[other].clone());
            });
            circle.push(with_id(&forged, &ids[own]).expect("it is an event"));
        }
        let answered = circle.clone();
        wire.corrupt("two.test", move |answer| {
            if let crate::wire::Answer::EventAuth(events) = answer {
                events.extend(answered.clone());
            }
        });
        let outcomes = one.rooms.receive(&name("two.test"), room, circle).await;
        for outcome in &outcomes {
            assert!(!matches!(outcome.result, Ok(Received::Accepted)), "{outcome:?}");
        }
        for id in &ids {
            assert!(!is_shown(one, ada, room, id).await, "{id}, version {version}");
        }
        assert_honest_traffic(&scene, version).await;
    }
}

#[tokio::test]
async fn an_event_that_refers_to_too_many_is_not_looked_up() {
    let scene = Scene::new("11").await;
    let Scene { wire, one, room, .. } = &scene;
    let pdu = message(one, &scene).await.pdu();
    wire.take_calls();
    for (field, count) in [("auth_events", 11), ("prev_events", 21)] {
        let ids: Vec<_> = (0..count).map(unknown).collect();
        let pdus = vec![edited(pdu.json(), field, Some(json!(ids)))];
        let outcomes = one.rooms.receive(&name("two.test"), room, pdus).await;
        let Err(ReceiveError::Dropped(reason)) = &outcomes[0].result else { panic!("{field}") };
        assert!(reason.contains("too many"), "{reason}");
    }
    assert_eq!(wire.take_calls(), []);
}

/// A server that is in no room of ours may not even take part.
#[tokio::test]
async fn nothing_of_an_unknown_room_is_kept() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let bob = two.user("bob");
    let room = public(&two, &bob, "11").await;
    let id = two.send(&bob, &room, "hello").await.unwrap();
    let pdu = pdu_of(&two, &id).await;
    let before = one.store.log().position();
    let outcome = receive(&one, "two.test", &pdu).await;
    assert!(matches!(outcome.result, Err(ReceiveError::UnknownRoom)), "{outcome:?}");
    assert_eq!(one.store.log().position(), before);
    assert!(one.rooms.event_by_id(&id).await.unwrap().is_none());
}
