//! Hazards B8, H1, H2 and H3: what stands beside a good event in a transaction, and how far an
//! event may go.

use bytes::Bytes;
use events::Pdu;
use ruma::OwnedRoomId;
use serde_json::{Value, json};

use super::{
    Scene,
    hostile::{Hostile, path},
};

/// An object that has so many levels, itself included.
fn nested(levels: usize) -> String {
    format!("{}{}{}", "{\"a\":".repeat(levels - 1), "{}", "}".repeat(levels - 1))
}

fn replaced(pdu: &[u8], from: &str, to: &str) -> Bytes {
    let text = std::str::from_utf8(pdu).expect("text");
    assert!(text.contains(from), "{from} is in {text}");
    Bytes::from(text.replacen(from, to, 1))
}

/// An event has 127 levels at most, as on other servers; one that has more does not hurt others.
#[tokio::test]
async fn an_event_may_have_127_levels_and_no_more() {
    for version in ["6", "11", "12"] {
        let scene = Scene::new(version).await;
        let Scene { us, evil, room, .. } = &scene;
        for (round, levels) in [100, 125, 126, 127].into_iter().enumerate() {
            let deep: Value = serde_json::from_str(&nested(levels - 1)).expect("JSON");
            let draft = evil.message(us, room, "deep").await.with(|event| event.content = deep);
            let pdu = evil.sign(&draft);
            let sent = evil.send(us, &format!("d{round}"), &[pdu.json().clone()], &[]).await;
            let id = pdu.event_id().as_str();
            assert_eq!(sent.ok("deep")["pdus"][id], json!({}), "{levels} levels");
            us.has_event(room, pdu.event_id()).await;
        }
        for (round, levels) in [128, 129, 130, 200, 990, 30_000].into_iter().enumerate() {
            let honest = evil.sign(&evil.message(us, room, "honest").await);
            let content = r#"{"body":"deep","msgtype":"m.text"}"#;
            let deep = evil.sign(&evil.message(us, room, "deep").await);
            let deep = replaced(deep.json(), content, &nested(levels - 1));
            let mut pdus = vec![deep; 49];
            pdus.insert(25, honest.json().clone());
            let before = us.seen(room, &scene.ada).await;
            let sent = evil.send(us, &format!("b{round}"), &pdus, &[]).await.ok("deep");
            let id = honest.event_id().as_str();
            assert_eq!(sent["pdus"][id], json!({}), "{levels} levels: {sent}");
            let after = us.seen(room, &scene.ada).await;
            assert_eq!(after.timeline.len(), before.timeline.len() + 1, "{levels} levels");
        }
    }
}

/// Where strangers come in, the same bound holds: of joins that are handed in, and of invites.
#[tokio::test]
async fn a_handshake_may_have_127_levels_and_no_more() {
    for version in ["6", "11", "12"] {
        let scene = Scene::without_mallory(version).await;
        let Scene { us, third, evil, ada, room, .. } = &scene;
        let hers: OwnedRoomId = "!hers:evil.test:1".try_into().expect("a room id");
        let create = json!({
            "type": "m.room.create",
            "state_key": "",
            "sender": evil.user("mallory"),
            "content": { "room_version": version },
        });
        for (endpoint, membership) in [("v2/send_join", "join"), ("v2/invite", "invite")] {
            // The ids of rooms of version 12 are not chosen.
            if (version, membership) == ("12", "invite") {
                continue;
            }
            let (user, place) = match membership {
                "join" => (evil.user("newcomer"), room),
                _ => (ada.clone(), &hers),
            };
            let content = json!({ "membership": membership, "deep": {} });
            let sender = if membership == "join" { user.clone() } else { evil.user("mallory") };
            let kind = "m.room.member";
            let draft = evil.draft(us, room, &sender, kind, Some(user.as_str()), content).await;
            let draft = draft.with(|event| event.room_id = place.clone());
            let hand_in = async |pdu: &Pdu, json: Bytes| {
                let uri = path(endpoint, &[place.as_str(), pdu.event_id().as_str()]);
                let event = String::from_utf8(json.to_vec()).expect("text");
                let body = match membership {
                    "join" => event,
                    _ => format!(
                        r#"{{"room_version":"{version}","event":{event},
                        "invite_room_state":[{create}]}}"#
                    ),
                };
                evil.put(us, &uri, body).await
            };
            let shallow = evil.sign(&draft);
            let before = scene.seen().await;
            for levels in [126, 200, 990, 30_000] {
                let deep = replaced(
                    shallow.json(),
                    "\"deep\":{}",
                    &format!("\"deep\":{}", nested(levels)),
                );
                let case = format!("{endpoint}, {levels} levels, version {version}");
                hand_in(&shallow, deep).await.refused(&case);
            }
            assert_eq!(scene.seen().await[0].timeline, before[0].timeline, "{endpoint}");
            let deepest = serde_json::from_str(&nested(125)).expect("JSON");
            let deepest = evil.sign(&draft.with(|event| event.content["deep"] = deepest));
            hand_in(&deepest, deepest.json().clone()).await.ok(&format!("{endpoint}, {version}"));
            if membership == "join" {
                third.has_event(room, deepest.event_id()).await;
            } else {
                assert!(us.told(&hers, ada).await.is_some(), "{endpoint}, version {version}");
            }
        }
    }
}

/// The message at another depth, signed like that: what is refused of it is refused for its depth.
fn at_depth(evil: &Hostile, message: &Pdu, depth: &str) -> Bytes {
    let (from, to) = (format!("\"depth\":{}", message.depth()), format!("\"depth\":{depth}"));
    let mut event: Value = serde_json::from_slice(message.json()).expect("JSON");
    let signatures = event.as_object_mut().and_then(|event| event.remove("signatures"));
    let old = &signatures.expect("signatures")[evil.name.as_str()][evil.key.key_id()];
    // What a redaction leaves of a message is what is signed.
    event["content"] = json!({});
    let new = evil.key.sign(&replaced(event.to_string().as_bytes(), &from, &to));
    let moved = replaced(message.json(), &from, &to);
    replaced(&moved, old.as_str().expect("a signature"), &new)
}

/// What is put in the place of `"depth":…`.
const DEPTHS: [&str; 12] = [
    "-1",
    "9007199254740992",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1.0",
    "1e3",
    "-0",
    "\"5\"",
    "null",
    "[]",
    "NaN",
];

/// What is put in the place of a message's text.
const BODIES: [&str; 9] = [
    "1.5",
    "-0.0",
    "9007199254740992",
    "-9007199254740992",
    "1e400",
    "Infinity",
    "\"\\ud800\"",
    "01",
    "tru",
];

#[tokio::test]
async fn numbers_beyond_all_bounds_hurt_nobody_else() {
    for version in ["6", "10", "12"] {
        let scene = Scene::new(version).await;
        let Scene { us, evil, room, .. } = &scene;
        let before = scene.seen().await;
        let original = evil.sign(&evil.message(us, room, "text").await);
        let depths = DEPTHS.map(|depth| (depth, at_depth(evil, &original, depth)));
        let bodies = BODIES.map(|body| (body, replaced(original.json(), "\"text\"", body)));
        for (round, (to, bad)) in depths.into_iter().chain(bodies).enumerate() {
            // Not all of it is JSON, and what is not spoils the whole body.
            let answer = evil.send(us, &format!("n{round}"), &[bad], &[]).await;
            let accepted = answer.body["pdus"]
                .as_object()
                .is_some_and(|pdus| pdus.values().any(|verdict| verdict.get("error").is_none()));
            assert!(answer.status < 500 && !accepted, "{to}: {answer:?}");
        }
        scene.assert_nothing_but_honest_traffic(&before, version).await;
        let moved = at_depth(evil, &original, &(original.depth() + 1).to_string());
        let sent = evil.send(us, "good", &[moved], &[]).await.ok("a good depth");
        let verdicts = sent["pdus"].as_object().expect("verdicts");
        let good = json!({});
        assert!(verdicts.len() == 1 && verdicts.values().all(|verdict| *verdict == good), "{sent}");
    }
}

/// Nothing of this is an event, and what is beside it is taken in.
#[tokio::test]
async fn what_is_no_event_does_not_hurt_its_neighbours() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, room, .. } = &scene;
    let original = evil.sign(&evil.message(us, room, "text").await).json().clone();
    let junk: Vec<Bytes> =
        ["null", "1", "\"x\"", "[]", "{}", "true", "{\"room_id\":1}", "{\"room_id\":\"!\"}"]
            .into_iter()
            .map(Bytes::from)
            .chain(
                [
                    ("\"m.room.message\"", "null"),
                    ("\"m.room.message\"", "{}"),
                    ("\"prev_events\":[", "\"prev_events\":[1,"),
                    ("\"auth_events\":[", "\"auth_events\":[[],"),
                    ("\"hashes\":{", "\"hashes\":[],\"x\":{"),
                    ("\"signatures\":{", "\"signatures\":7,\"x\":{"),
                    ("\"sender\":\"@", "\"sender\":\""),
                    ("\"room_id\":\"!", "\"room_id\":\"#"),
                    ("\"content\":{", "\"content\":null,\"x\":{"),
                    ("\"origin_server_ts\":", "\"origin_server_ts\":-"),
                ]
                .map(|(from, to)| replaced(&original, from, to)),
            )
            .collect();
    let honest = evil.sign(&evil.message(us, room, "honest").await);
    let mut pdus = junk;
    pdus.insert(7, honest.json().clone());
    let before = us.seen(room, &scene.ada).await;
    evil.send(us, "t", &pdus, &[]).await.ok("junk");
    us.has_event(room, honest.event_id()).await;
    let after = us.seen(room, &scene.ada).await;
    assert_eq!(after.timeline.len(), before.timeline.len() + 1);
}

/// Bytes of the canonical form, at the edge.
#[tokio::test]
async fn an_event_may_have_65536_bytes_and_no_more() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, room, .. } = &scene;
    let empty = evil.sign(&evil.message(us, room, "").await).json().len();
    let body = |size: usize| "x".repeat(size - empty);
    let largest = evil.sign(&evil.message(us, room, &body(65_536)).await);
    assert_eq!(largest.json().len(), 65_536);
    evil.send(us, "t1", &[largest.json().clone()], &[]).await.ok("the largest");
    us.has_event(room, largest.event_id()).await;

    let before = us.seen(room, &scene.ada).await;
    let larger = evil.sign(&evil.message(us, room, &body(65_530)).await);
    let missing = "x".repeat(65_537 - larger.json().len());
    let larger = replaced(larger.json(), "xxxxxx", &format!("xxxxxx{missing}"));
    assert_eq!(larger.len(), 65_537);
    let honest = evil.sign(&evil.message(us, room, "honest").await);
    let sent = evil.send(us, "t2", &[larger, honest.json().clone()], &[]).await.ok("too large");
    assert_eq!(sent["pdus"][honest.event_id().as_str()], json!({}));
    let after = us.seen(room, &scene.ada).await;
    assert_eq!(after.timeline.len(), before.timeline.len() + 1);
}
