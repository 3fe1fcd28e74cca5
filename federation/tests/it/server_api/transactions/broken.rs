//! Transactions with events that are broken or forged among good ones.

use std::collections::BTreeSet;

use bytes::Bytes;
use events::Pdu;
use serde_json::{Value, json};

use super::{Scene, scene};
use crate::server_api::{event::sign_text, peer::Peer};

/// The PDU with one of its fields replaced, or taken away: nobody has signed that.
fn edited(pdu: &Pdu, field: &str, value: Option<&str>) -> Bytes {
    let mut json: serde_json::Map<String, Value> =
        serde_json::from_slice(pdu.json()).expect("JSON");
    json.remove(field);
    let rest = serde_json::to_string(&json).expect("JSON");
    match value {
        Some(value) => format!("{{\"{field}\":{value},{}", &rest[1..]).into(),
        None => rest.into(),
    }
}

/// Finding 7 of the notes: a parser that gives up on one event must not give up on the transaction.
#[tokio::test]
async fn depth_of_nesting_counts_for_each_event_alone() {
    let scene = scene("11").await;
    let mut depths = Vec::new();
    // The event's braces and the content's are two levels.
    for levels in [3, 125, 126, 127, 128, 129, 200, 990, 30_000] {
        let nested = format!("{}1{}", "[".repeat(levels - 2), "]".repeat(levels - 2));
        depths.push((levels, nested));
    }
    let plain = scene.message("plain").await.signed_by(&scene.peer);
    let mut pdus = vec![plain.json().clone()];
    for (_, nested) in &depths {
        pdus.push(signed_text(&scene, &format!("{{\"body\":\"x\",\"deep\":{nested}}}")).await);
    }
    let answer = scene.send("deep", &pdus).await.ok();
    let verdicts = answer["pdus"].as_object().expect("an object");
    assert_eq!(verdicts[plain.event_id().as_str()], json!({}));
    let view = scene.home.view(&scene.room).await;
    let taken: BTreeSet<String> = verdicts
        .iter()
        .filter(|(_, verdict)| **verdict == json!({}))
        .map(|(id, _)| id.clone())
        .collect();
    // 3, 125, 126 and 127 levels, and the plain one.
    assert_eq!(taken.len(), 5, "{verdicts:?}");
    assert!(view.extremities.iter().all(|id| taken.contains(id.as_str())));
}

/// A message with that content, whose JSON no parser needs to be able to read.
async fn signed_text(scene: &Scene, content: &str) -> Bytes {
    let event = scene.message("").await;
    let unsigned = json!({
        "auth_events": event.auth_events,
        "depth": event.depth,
        "origin_server_ts": event.ts,
        "prev_events": event.prev_events,
        "room_id": event.room_id,
        "sender": event.sender,
        "type": "m.room.message",
    });
    sign_text(unsigned, content, &scene.peer)
}

#[tokio::test]
async fn a_broken_event_leaves_its_neighbours_alone() {
    let scene = scene("11").await;
    let Scene { home, peer, room, ada, .. } = &scene;
    let other = home.room(ada, "11").await;
    let pdu = scene.message("broken").await.signed_by(peer);
    let huge = "9".repeat(400);
    let mut rows: Vec<(&str, Bytes)> = vec![
        ("null", "null".into()),
        ("a number", "5".into()),
        ("a text", "\"$event\"".into()),
        ("a list", "[[]]".into()),
        ("nothing", "{}".into()),
        ("no hashes", edited(&pdu, "hashes", None)),
        ("no signatures", edited(&pdu, "signatures", None)),
        ("signatures of nobody", edited(&pdu, "signatures", Some("{}"))),
        ("signatures that are a list", edited(&pdu, "signatures", Some("[]"))),
        ("no room", edited(&pdu, "room_id", None)),
        ("no such room", edited(&pdu, "room_id", Some("\"!none:home.test\""))),
        ("no room id", edited(&pdu, "room_id", Some("\"none\""))),
        ("a room id that is a number", edited(&pdu, "room_id", Some("5"))),
        ("another room", edited(&pdu, "room_id", Some(&format!("\"{other}\"")))),
        ("another sender", edited(&pdu, "sender", Some(&format!("\"{ada}\"")))),
        ("no sender", edited(&pdu, "sender", None)),
        ("a sender without a server", edited(&pdu, "sender", Some("\"@eve\""))),
        ("no content", edited(&pdu, "content", None)),
        ("a content that is a list", edited(&pdu, "content", Some("[]"))),
        ("a type that is a number", edited(&pdu, "type", Some("1"))),
        ("a state key that is a number", edited(&pdu, "state_key", Some("1"))),
        ("an event id of our own making", edited(&pdu, "event_id", Some("\"$x\""))),
        ("no end", edited(&pdu, "depth", Some(&huge))),
        ("prev_events that are an object", edited(&pdu, "prev_events", Some("{}"))),
        ("the same key twice", edited(&pdu, "type", Some("\"a\",\"type\":\"b\""))),
    ];
    for depth in ["-1", "9007199254740992", "9223372036854775807", "1.0", "1e3", "-0", "\"5\""] {
        rows.push(("a depth", edited(&pdu, "depth", Some(depth))));
    }
    for (number, (row, broken)) in rows.into_iter().enumerate() {
        let good = scene.message(&number.to_string()).await.signed_by(peer);
        let pdus = [broken.clone(), good.json().clone(), broken];
        let answer = scene.send(&format!("broken{number}"), &pdus).await.ok();
        assert_eq!(answer["pdus"][good.event_id().as_str()], json!({}), "{row}");
        assert!(scene.is_shown(&good).await, "{row}");
        assert_eq!(home.view(room).await.extremities, [good.event_id().clone()], "{row}");
    }
    assert!(!scene.is_shown(&pdu).await);
}

#[tokio::test]
async fn a_forged_event_leaves_its_neighbours_alone() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, .. } = &scene;
    let stranger = Peer::start(home, "stranger.test").await;
    let other = home.room(ada, "11").await;
    let event = scene.message("forged").await;
    let foreign = home.view(&other).await.extremities.clone();
    let forged = [
        ("signed by another", event.clone().with(|event| event.ts += 1).signed_by(&stranger)),
        (
            "of a user of ours",
            event.clone().with(|event| event.sender = ada.clone()).signed_by(peer),
        ),
        (
            "after an event of another room",
            event.clone().with(|event| event.prev_events = foreign.clone()).signed_by(peer),
        ),
        (
            "authorised in another room",
            event.clone().with(|event| event.auth_events = foreign.clone()).signed_by(peer),
        ),
        (
            "in another room",
            event.clone().with(|event| event.room_id = other.clone()).signed_by(peer),
        ),
        (
            "of somebody who is not in the room",
            event.clone().with(|event| event.sender = peer.user("nobody")).signed_by(peer),
        ),
    ];
    for (number, (row, broken)) in forged.into_iter().enumerate() {
        let good = scene.message(&number.to_string()).await.signed_by(peer);
        let pdus = [broken.json().clone(), good.json().clone()];
        let answer = scene.send(&format!("broken{number}"), &pdus).await.ok();
        assert!(scene.is_shown(&good).await, "{row}: {answer}");
        assert!(!scene.is_shown(&broken).await, "{row}: {answer}");
    }
}
