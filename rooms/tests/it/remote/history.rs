//! History that a server missed, read by its users.

use std::collections::BTreeSet;

use bytes::Bytes;
use events::{EventTemplate, Pdu, RoomVersion};
use rooms::{Error, MessagesQuery};
use ruma::{
    OwnedEventId, RoomId, UserId,
    api::{Direction, client::filter::RoomEventFilter},
};
use serde_json::{json, value::to_raw_value};

use super::{VERSIONS, altered, join_via, public_room, with_bad_signature};
use crate::{
    wire::{Answer, Wire, key_of, name},
    world::{World, change},
};

/// A server with more history than one answer holds.
const MESSAGES: usize = 250;

struct Read {
    /// The newest first.
    events: Vec<OwnedEventId>,
    bodies: Vec<String>,
    requests: usize,
}

async fn read_all(world: &World, viewer: &UserId, room: &RoomId) -> Result<Read, Error> {
    let filter = RoomEventFilter::default();
    let mut read = Read { events: Vec::new(), bodies: Vec::new(), requests: 0 };
    let mut from: Option<String> = None;
    loop {
        let (dir, limit) = (Direction::Backward, 40);
        let query = MessagesQuery { from: from.as_deref(), to: None, dir, limit, filter: &filter };
        let page = world.rooms.messages(viewer, room, query).await?;
        read.requests += 1;
        assert!(read.requests < 100, "the history has an end");
        for event in page.chunk {
            read.events.push(event.event_id().clone());
            let content: serde_json::Value = event.pdu.content_as().unwrap();
            read.bodies.extend(content["body"].as_str().map(str::to_owned));
        }
        match page.end {
            Some(end) => from = Some(end),
            None => return Ok(read),
        }
    }
}

fn assert_no_twins(read: &Read) {
    let different: BTreeSet<_> = read.events.iter().collect();
    assert_eq!(different.len(), read.events.len(), "an event has one place");
}

async fn messages(world: &World, user: &UserId, room: &RoomId, count: usize) {
    for n in 0..count {
        world.send(user, room, &format!("message {n}")).await.unwrap();
    }
}

#[tokio::test]
async fn the_history_before_a_join_is_read_back_to_its_creation() {
    for version in VERSIONS {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        messages(&one, &ada, &room, MESSAGES).await;
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
        let theirs = read_all(&one, &ada, &room).await.unwrap();
        let ours = read_all(&two, &bob, &room).await.unwrap();
        assert_eq!(theirs.events, ours.events, "version {version}");
        assert_eq!(theirs.bodies.len(), MESSAGES);
        let asked = wire.count("backfill");
        assert!(asked <= 6, "{asked} requests for {} events", ours.events.len());
        let again = read_all(&two, &bob, &room).await.unwrap();
        assert_eq!(again.events, ours.events);
        assert_eq!(wire.count("backfill"), asked, "what is there is not asked for again");
        let restarted = wire.restarted(&two);
        let again = read_all(&restarted, &bob, &room).await.unwrap();
        assert_eq!(again.events, ours.events);
        assert_eq!(wire.count("backfill"), asked);
    }
}

#[tokio::test]
async fn readers_at_the_same_time_find_one_place_for_each_event() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob, eve) = (one.user("ada"), two.user("bob"), two.user("eve"));
    let room = public_room(&one, &ada, "11").await;
    messages(&one, &ada, &room, MESSAGES).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    two.join(&eve, &room).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    let reads = tokio::join!(
        read_all(&two, &bob, &room),
        read_all(&two, &eve, &room),
        read_all(&two, &bob, &room),
    );
    let expected = read_all(&one, &ada, &room).await.unwrap();
    for read in [reads.0, reads.1, reads.2] {
        let read = read.unwrap();
        assert_no_twins(&read);
        assert_eq!(read.bodies, expected.bodies);
    }
    let read = read_all(&two, &bob, &room).await.unwrap();
    assert_eq!(read.events, expected.events);
    assert!(wire.count("backfill") <= 6, "they share what is fetched");
}

#[tokio::test]
async fn what_was_missed_while_nobody_was_in_the_room_is_read_later() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    messages(&one, &ada, &room, 5).await;
    wire.deliver(&[&one, &two]).await;
    two.rooms.leave(&room, &bob, None).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    messages(&one, &ada, &room, 130).await;
    wire.deliver(&[&one, &two]).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    let theirs = read_all(&one, &ada, &room).await.unwrap();
    let ours = read_all(&two, &bob, &room).await.unwrap();
    assert_eq!(theirs.events, ours.events);
    assert_eq!(ours.bodies.len(), 135);
}

#[tokio::test]
async fn the_history_is_shorter_while_nobody_answers_and_whole_later() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    messages(&one, &ada, &room, 20).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    wire.set_down("one.test", true);
    for _ in 0..3 {
        let read = read_all(&two, &bob, &room).await.unwrap();
        assert_eq!(read.events.len(), 1, "the join");
    }
    assert_eq!(wire.count("backfill"), 1, "a dead server is not asked by every reader");
    wire.set_down("one.test", false);
    two.clock.advance(61_000);
    let read = read_all(&two, &bob, &room).await.unwrap();
    assert_eq!(read.bodies.len(), 20);
}

#[tokio::test]
async fn a_newcomer_sees_of_the_past_what_the_room_lets_them() {
    for (setting, sees) in
        [("world_readable", true), ("shared", true), ("invited", false), ("joined", false)]
    {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, "11").await;
        let content = json!({ "history_visibility": setting });
        one.set(&ada, &room, "m.room.history_visibility", "", content).await.unwrap();
        let secret = one.send(&ada, &room, "secret").await.unwrap();
        messages(&one, &ada, &room, 120).await;
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
        let read = read_all(&two, &bob, &room).await.unwrap();
        assert_eq!(read.bodies.contains(&"secret".to_owned()), sees, "{setting}");
        assert_eq!(two.rooms.event(&bob, &room, &secret).await.is_ok(), sees, "{setting}");
    }
}

#[tokio::test]
async fn the_surroundings_of_an_event_are_fetched_too() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    messages(&one, &ada, &room, 20).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    let view = two.rooms.room(&room).await.unwrap().unwrap();
    let filter = RoomEventFilter::default();
    let context = two.rooms.context(&bob, &room, &view.extremities[0], 20, &filter).await.unwrap();
    assert_eq!(context.before.len(), 10);
}

#[tokio::test]
async fn a_moment_in_history_that_is_missing_is_found_and_can_be_read_from() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    let mut sent = Vec::new();
    for n in 0..300 {
        one.clock.advance(1000);
        sent.push(one.send(&ada, &room, &format!("message {n}")).await.unwrap());
    }
    two.clock.advance(400_000);
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    let at = |n: u64| crate::world::START + 1000 * (n + 1);
    let find = |ts, dir| two.rooms.timestamp_to_event(&bob, &room, ts, dir);
    let forward = find(at(50) - 1, Direction::Forward).await.unwrap();
    assert_eq!(forward, (sent[50].clone(), at(50)));
    let backward = find(at(60) + 1, Direction::Backward).await.unwrap();
    assert_eq!(backward, (sent[60].clone(), at(60)));
    let filter = RoomEventFilter::default();
    let context = two.rooms.context(&bob, &room, &sent[60], 11, &filter).await.unwrap();
    let before: Vec<_> = context.before.iter().map(|event| event.event_id().clone()).collect();
    let expected: Vec<_> = sent[55..60].iter().rev().cloned().collect();
    assert_eq!(before, expected);
    let ours = read_all(&two, &bob, &room).await.unwrap();
    assert_no_twins(&ours);
    assert_eq!(ours.events, read_all(&one, &ada, &room).await.unwrap().events);
    wire.take_calls();
    assert_eq!(find(at(70), Direction::Backward).await.unwrap().0, sent[70]);
    assert_eq!(wire.count("timestamp_to_event"), 0, "what is known needs no others");
}

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

#[tokio::test]
async fn one_who_left_does_not_read_what_came_later() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob, eve) = (one.user("ada"), two.user("bob"), two.user("eve"));
    let room = public_room(&one, &ada, "11").await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    one.rooms.kick(change(&ada, &room, &bob)).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    let secret = one.send(&ada, &room, "secret").await.unwrap();
    join_via(&two, &eve, &room, &["one.test"]).await.unwrap();
    let read = read_all(&two, &eve, &room).await.unwrap();
    assert!(read.bodies.contains(&"secret".to_owned()));
    let read = read_all(&two, &bob, &room).await.unwrap();
    assert!(!read.bodies.contains(&"secret".to_owned()));
    assert!(two.rooms.event(&bob, &room, &secret).await.is_err());
}
