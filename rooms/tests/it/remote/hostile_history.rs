//! History as servers tell it that lie, or that took in what they should not have.

use bytes::Bytes;
use events::{EventTemplate, Pdu, RoomVersion};
use ruma::{OwnedEventId, RoomId, UserId};
use serde_json::{json, value::to_raw_value};

use super::{
    altered,
    history::{assert_no_twins, messages, read_all},
    join_via, public_room, with_bad_signature,
};
use crate::{
    peers::Forged,
    wire::{Answer, Wire, key_of, name},
    world::World,
};

type Alter = fn(&mut Vec<Bytes>);

#[tokio::test]
async fn what_is_no_history_of_the_room_does_not_get_into_it() {
    let cases: [(&str, Alter); 7] = [
        ("nothing", Vec::clear),
        ("no events", |pdus| *pdus = ["", "{}", "[", "null"].map(|json| json.into()).to_vec()),
        ("bad signatures", |pdus| {
            pdus.iter_mut().for_each(|pdu| *pdu = with_bad_signature(pdu));
        }),
        ("no signatures", |pdus| {
            let bare = |pdu: &Bytes| altered(pdu, |pdu| pdu["signatures"] = json!({}));
            pdus.iter_mut().for_each(|pdu| *pdu = bare(pdu));
        }),
        ("another room", |pdus| {
            let moved = |pdu: &Bytes| altered(pdu, |pdu| pdu["room_id"] = "!a:one.test".into());
            pdus.iter_mut().for_each(|pdu| *pdu = moved(pdu));
        }),
        ("deeper events", |pdus| {
            let deep = |pdu: &Bytes| altered(pdu, |pdu| pdu["depth"] = 9_000_000.into());
            pdus.iter_mut().for_each(|pdu| *pdu = deep(pdu));
        }),
        ("the same event a thousand times", |pdus| {
            let last = pdus.pop().unwrap();
            *pdus = vec![last; 1000];
        }),
    ];
    for (case, alter) in cases {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, "11").await;
        messages(&one, &ada, &room, 10).await;
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
        wire.corrupt("one.test", move |answer| {
            if let Answer::Backfilled(pdus) = answer {
                alter(pdus);
            }
        });
        let read = read_all(&two, &bob, &room).await.unwrap();
        assert_no_twins(&read);
        assert!(read.events.len() <= 2, "{case}: {} events", read.events.len());
        two.send(&bob, &room, "the room goes on").await.unwrap();
        wire.mend("one.test");
        two.clock.advance(61_000);
        let read = read_all(&two, &bob, &room).await.unwrap();
        assert_no_twins(&read);
        assert_eq!(read.bodies.len(), 11, "{case}");
    }
}

/// Hazard A10, by way of the state that belongs to the oldest event of a page.
#[tokio::test]
async fn the_state_of_the_past_is_not_made_of_another_rooms_events() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let (room, other) = (public_room(&one, &ada, "11").await, public_room(&one, &ada, "11").await);
    let topic = json!({ "topic": "of the other room" });
    let topic = one.set(&ada, &other, "m.room.topic", "", topic).await.unwrap();
    messages(&one, &ada, &room, 150).await;
    for room in [&room, &other] {
        join_via(&two, &bob, room, &["one.test"]).await.unwrap();
    }
    let foreign = topic.clone();
    wire.corrupt("one.test", move |answer| {
        if let Answer::StateIds(ids) = answer {
            ids.state.push(foreign.clone());
            ids.auth_chain.push(foreign.clone());
        }
    });
    let read = read_all(&two, &bob, &room).await.unwrap();
    assert!(wire.count("state_ids") > 0, "the state was asked for");
    assert_eq!(read.bodies.len(), 150);
    for id in &read.events {
        let event = two.rooms.event_by_id(id).await.unwrap().unwrap();
        let found = two.rooms.state_get(event.state_before, "m.room.topic", "").await.unwrap();
        assert!(found.is_none(), "before {id}");
    }
}

/// Hazard A10 again: an event of the past that says it comes after one of another room.
#[tokio::test]
async fn the_state_of_the_past_does_not_follow_from_another_rooms_events() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let (room, other) = (public_room(&one, &ada, "11").await, public_room(&one, &ada, "11").await);
    messages(&one, &ada, &room, 2).await;
    for room in [&room, &other] {
        join_via(&two, &bob, room, &["one.test"]).await.unwrap();
    }
    let topic = json!({ "topic": "of the other room" });
    let elsewhere = one.set(&ada, &other, "m.room.topic", "", topic).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    let content = json!({ "msgtype": "m.text", "body": "bridge" });
    let bridge = Forged::state(&one, &room, &ada, "m.room.message", "", content).await;
    let bridge = bridge.with(|event| {
        event.state_key = None;
        event.prev_events = vec![elsewhere];
        event.depth = 3;
    });
    let bridge = bridge.pdu();
    let json = bridge.json().clone();
    wire.corrupt("one.test", move |answer| {
        if let Answer::Backfilled(pdus) = answer {
            pdus.push(json.clone());
        }
    });
    read_all(&two, &bob, &room).await.unwrap();
    assert!(wire.count("backfill") > 0);
    if let Some(event) = two.rooms.event_by_id(bridge.event_id()).await.unwrap() {
        let state = two.rooms.state_iter(event.state_before).await.unwrap();
        assert!(state.iter().all(|(kind, ..)| kind != "m.room.topic"), "{state:?}");
    }
}

/// Wrong content is taken as redacted: the signature covers no more.
#[tokio::test]
async fn history_with_another_content_is_shown_redacted() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    messages(&one, &ada, &room, 10).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    wire.corrupt("one.test", move |answer| {
        if let Answer::Backfilled(pdus) = answer {
            let lie = |pdu: &mut serde_json::Value| {
                if pdu["type"] == "m.room.message" {
                    pdu["content"]["body"] = "a lie".into();
                }
            };
            pdus.iter_mut().for_each(|pdu| *pdu = altered(pdu, lie));
        }
    });
    let read = read_all(&two, &bob, &room).await.unwrap();
    assert_eq!(read.bodies, Vec::<String>::new());
    assert_eq!(read.events, read_all(&one, &ada, &room).await.unwrap().events);
}

/// The original of a redacted event comes from a server that did not redact it.
#[tokio::test]
async fn redactions_in_the_history_take_effect_if_they_may() {
    for (between, allowed) in [(0, true), (150, true), (0, false), (150, false)] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let three = wire.server("three.test");
        let (ada, bob, carl) = (one.user("ada"), two.user("bob"), three.user("carl"));
        let room = public_room(&one, &ada, "11").await;
        join_via(&three, &carl, &room, &["one.test"]).await.unwrap();
        wire.deliver(&[&one, &three]).await;
        let secret = one.send(&ada, &room, "secret").await.unwrap();
        let original = one.rooms.event_by_id(&secret).await.unwrap().unwrap();
        let original = original.pdu.json().clone();
        messages(&one, &ada, &room, between).await;
        wire.deliver(&[&one, &three]).await;
        // Carl's redaction is an event like any other, and without effect.
        redact_unchecked(&one, &carl, &room, &secret).await;
        if allowed {
            one.redact(&ada, &room, &secret).await.unwrap();
        }
        messages(&one, &ada, &room, 3).await;
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
        let version = RoomVersion::parse("11").unwrap();
        let id = secret.clone();
        wire.corrupt("one.test", move |answer| {
            if let Answer::Backfilled(pdus) = answer {
                for pdu in pdus {
                    let parsed = Pdu::from_json(pdu.clone(), version).unwrap();
                    if *parsed.event_id() == id {
                        *pdu = original.clone();
                    }
                }
            }
        });
        let read = read_all(&two, &bob, &room).await.unwrap();
        assert!(read.events.contains(&secret), "{between} between");
        let shown = read.bodies.contains(&"secret".to_owned());
        assert_eq!(shown, !allowed, "{between} between, allowed: {allowed}");
        let event = two.rooms.event(&bob, &room, &secret).await.unwrap();
        assert_eq!(event.redacted_by.is_some(), allowed, "{between} between");
    }
}

/// A redaction that its sender's server lets pass, whether or not it has an effect.
async fn redact_unchecked(one: &World, sender: &UserId, room: &RoomId, target: &OwnedEventId) {
    let view = one.rooms.room(room).await.unwrap().unwrap();
    let mut auth_events = Vec::new();
    for (event_type, key) in
        [("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", sender.as_str())]
    {
        let event = one.rooms.state_get(view.state, event_type, key).await.unwrap().unwrap();
        auth_events.push(event.event_id().clone());
    }
    let content = to_raw_value(&json!({ "redacts": target })).unwrap();
    let template = EventTemplate {
        room_id: Some(room),
        sender,
        event_type: "m.room.redaction",
        state_key: None,
        content: &content,
        prev_events: &view.extremities,
        auth_events: &auth_events,
        depth: view.depth + 1,
        origin_server_ts: crate::world::START,
        redacts: None,
    };
    let server = sender.server_name();
    let key = key_of(server.as_str());
    let pdu = events::sign_and_build(&template, &key, server, view.version).unwrap();
    let outcomes = one.rooms.receive(server, room, vec![pdu.json().clone()]).await;
    assert!(matches!(outcomes[0].result, Ok(rooms::Received::Accepted)), "{outcomes:?}");
}

/// Hazard B7.
#[tokio::test]
async fn five_hundred_rejected_events_do_not_end_the_history() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let evil = wire.server("evil.test");
    let (ada, bob, mallory) = (one.user("ada"), two.user("bob"), evil.user("mallory"));
    let room = public_room(&one, &ada, "11").await;
    messages(&one, &ada, &room, 10).await;
    join_via(&evil, &mallory, &room, &["one.test"]).await.unwrap();
    wire.deliver(&[&one, &evil]).await;
    let view = one.rooms.room(&room).await.unwrap().unwrap();
    let state = |event_type: &'static str, key: String| {
        let (one, view) = (&one, &view);
        async move {
            let event = one.rooms.state_get(view.state, event_type, &key).await.unwrap();
            event.unwrap().event_id().clone()
        }
    };
    let auth = vec![
        state("m.room.create", String::new()).await,
        state("m.room.power_levels", String::new()).await,
    ];
    let member = state("m.room.member", mallory.to_string()).await;
    let stranger = evil.user("stranger");
    let mut prev = view.extremities[0].clone();
    let mut depth = view.depth;
    let sign = |sender: &UserId, prev: &OwnedEventId, auth: &[OwnedEventId], depth: u64| {
        let content = to_raw_value(&json!({ "msgtype": "m.text", "body": "spam" })).unwrap();
        let template = EventTemplate {
            room_id: Some(&room),
            sender,
            event_type: "m.room.message",
            state_key: None,
            content: &content,
            prev_events: std::slice::from_ref(prev),
            auth_events: auth,
            depth,
            origin_server_ts: crate::world::START,
            redacts: None,
        };
        let (key, server) = (key_of("evil.test"), name("evil.test"));
        events::sign_and_build(&template, &key, &server, view.version).unwrap()
    };
    for _ in 0..500 {
        depth += 1;
        let pdu = sign(&stranger, &prev, &auth, depth);
        prev = pdu.event_id().clone();
        let outcomes = one.rooms.receive(&name("evil.test"), &room, vec![pdu.json().clone()]).await;
        assert!(matches!(outcomes[0].result, Ok(rooms::Received::Rejected(_))), "{outcomes:?}");
    }
    let auth = [auth[0].clone(), auth[1].clone(), member];
    let pdu = sign(&mallory, &prev, &auth, depth + 1);
    let outcomes = one.rooms.receive(&name("evil.test"), &room, vec![pdu.json().clone()]).await;
    assert!(matches!(outcomes[0].result, Ok(rooms::Received::Accepted)), "{outcomes:?}");

    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    let ours = read_all(&two, &bob, &room).await.unwrap();
    let theirs = read_all(&one, &ada, &room).await.unwrap();
    assert_eq!(ours.events, theirs.events);
    assert_eq!(ours.bodies.len(), 11, "what was said, and one piece of spam");
    assert!(ours.requests <= 20, "{} requests", ours.requests);
}
