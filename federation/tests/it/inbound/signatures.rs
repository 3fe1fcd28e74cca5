//! Hazards A4, A5, A9 and A14 where events and invites are sent to us: what nobody has signed who
//! may, what was signed when the key did not count any more, and rooms that are not what they claim.

use bytes::Bytes;
use events::{EventTemplate, Pdu, SigningKey};
use serde_json::{Value, json, value::to_raw_value};

use super::{
    Scene,
    hostile::{Draft, Hostile, path},
    version,
};
use crate::{keys::DAY, net::START};

fn edited(pdu: &Pdu, edit: impl FnOnce(&mut Value)) -> Bytes {
    let mut json: Value = serde_json::from_slice(pdu.json()).expect("JSON");
    edit(&mut json);
    json.to_string().into()
}

/// Signed as its server would, with whatever key and time.
fn signed(evil: &Hostile, draft: &Draft, key: &SigningKey, origin_server_ts: u64) -> Pdu {
    let content = to_raw_value(&draft.content).expect("JSON");
    let is_create = draft.event_type == "m.room.create";
    let template = EventTemplate {
        room_id: (!is_create || !draft.version.room_id_is_create_hash()).then_some(&draft.room_id),
        sender: &draft.sender,
        event_type: &draft.event_type,
        state_key: draft.state_key.as_deref(),
        content: &content,
        prev_events: &draft.prev_events,
        auth_events: &draft.auth_events,
        depth: draft.depth,
        origin_server_ts,
        redacts: None,
    };
    let pdu = events::sign_and_build(&template, key, &evil.name, draft.version);
    pdu.expect("it is well-formed")
}

/// Each in a transaction with a good event, to us and to the third server.
#[tokio::test]
async fn what_its_server_has_not_signed_is_heard_by_nobody() {
    for number in ["6", "11", "12"] {
        let scene = Scene::new(number).await;
        let Scene { us, third, evil, ada, carl, room, .. } = &scene;
        let same_id = SigningKey::from_seed(&[67; 32], "evil").expect("a key");
        let message = evil.message(us, room, "forged").await;
        let honest = evil.sign(&message);
        let by = |sender: &ruma::UserId| {
            let draft = message.clone().with(|event| event.sender = sender.to_owned());
            evil.sign(&draft).json().clone()
        };
        let signatures = |value: Value| edited(&honest, |json| json["signatures"] = value);
        let forged = [
            ("no signature", signatures(json!({}))),
            ("no signatures", edited(&honest, |json| drop(json["signatures"].take()))),
            (
                "a wrong signature",
                signatures(json!({ "evil.test:1": { "ed25519:evil": "A".repeat(86) } })),
            ),
            (
                "a key that nobody has",
                edited(&honest, |json| {
                    let signature = json["signatures"]["evil.test:1"]["ed25519:evil"].take();
                    json["signatures"]["evil.test:1"] = json!({ "ed25519:other": signature });
                }),
            ),
            (
                "another server's signature",
                edited(&honest, |json| {
                    let keys = json["signatures"]["evil.test:1"].take();
                    json["signatures"] = json!({ "third.test:1": keys });
                }),
            ),
            ("another key of that name", signed(evil, &message, &same_id, START).json().clone()),
            ("another time", edited(&honest, |json| json["origin_server_ts"] = json!(1))),
            ("another sender", edited(&honest, |json| json["sender"] = json!("@x:evil.test:1"))),
            ("in ada's name", by(ada)),
            ("in carl's name", by(carl)),
        ];
        for (n, (case, json)) in forged.into_iter().enumerate() {
            let good = evil.sign(&evil.message(us, room, case).await);
            for region in [us, third] {
                let pdus = [json.clone(), good.json().clone()];
                let answer = evil.send(region, &format!("t{n}"), &pdus, &[]).await.ok(case);
                let case = format!("{case}, version {number}, {}", region.name);
                assert_eq!(answer["pdus"][good.event_id().as_str()], json!({}), "{case}: {answer}");
                region.has_event(room, good.event_id()).await;
                if let Ok(pdu) = Pdu::from_json(json.clone(), version(number)) {
                    let kept = region.rooms.event_by_id(pdu.event_id()).await.expect("reads");
                    assert!(kept.is_none(), "{case}");
                    let verdict = &answer["pdus"][pdu.event_id().as_str()];
                    assert!(verdict["error"].is_string(), "{case}: {answer}");
                }
            }
        }
        let before = scene.seen().await;
        scene.assert_nothing_but_honest_traffic(&before, number).await;
    }
}

/// "Any keys that are known to have expired prior to the event's `origin_server_ts` are ignored",
/// which the first four versions know nothing of. The key here counts for a day.
#[tokio::test]
async fn a_key_signs_for_its_time_only() {
    for (number, enforces) in [("1", false), ("4", false), ("5", true), ("11", true), ("12", true)]
    {
        let scene = Scene::new(number).await;
        let Scene { us, third, evil, room, .. } = &scene;
        for (at, counts) in [(START + DAY, true), (START + DAY + 1, !enforces)] {
            let draft = evil.message(us, room, &format!("at {at}")).await;
            let pdu = signed(evil, &draft, &evil.key, at);
            for region in [us, third] {
                let sent = evil.send(region, &format!("at{at}"), &[pdu.json().clone()], &[]).await;
                let answer = sent.ok("a transaction");
                let verdict = &answer["pdus"][pdu.event_id().as_str()];
                let case = format!("version {number}, {at}, {}: {answer}", region.name);
                assert_eq!(verdict["error"].is_string(), !counts, "{case}");
                if counts {
                    region.has_event(room, pdu.event_id()).await;
                } else {
                    let kept = region.rooms.event_by_id(pdu.event_id()).await.expect("reads");
                    assert!(kept.is_none(), "{case}");
                }
            }
        }
        let before = scene.seen().await;
        scene.assert_nothing_but_honest_traffic(&before, number).await;
    }
}

/// Before version 12 anybody can make a create event with the id of a room that there is.
#[tokio::test]
async fn a_known_room_is_not_taken_over() {
    for number in ["6", "10", "11"] {
        let scene = Scene::without_mallory(number).await;
        let Scene { us, third, evil, mallory, room, .. } = &scene;
        let bob = us.user("bob").await;
        let before = scene.seen().await;
        let content = json!({ "room_version": number, "creator": mallory });
        let draft = evil.draft(us, room, mallory, "m.room.create", Some(""), content).await;
        let create = evil.sign(&draft.clone().with(|event| {
            (event.prev_events, event.auth_events, event.depth) = (Vec::new(), Vec::new(), 1);
        }));
        let member = |target: &str, membership: &str| {
            let draft = draft.clone().with(|event| {
                event.event_type = "m.room.member".to_owned();
                event.state_key = Some(target.to_owned());
                event.content = json!({ "membership": membership });
                event.prev_events = vec![create.event_id().clone()];
                event.auth_events = vec![create.event_id().clone()];
                event.depth = 2;
            });
            evil.sign(&draft)
        };
        let (join, invite) = (member(mallory.as_str(), "join"), member(bob.as_str(), "invite"));
        let second = evil.sign(&draft);
        for region in [us, third] {
            let pdus = [&create, &join, &invite, &second].map(|pdu| pdu.json().clone());
            evil.send(region, "takeover", &pdus, &[]).await.ok("a transaction");
            let ids = [room.as_str(), join.event_id().as_str()];
            let joined = evil.put(region, &path("v2/send_join", &ids), join.json().clone()).await;
            joined.refused("a join that stands on another room");
        }
        let event: Value = serde_json::from_slice(invite.json()).expect("JSON");
        let shown: Value = serde_json::from_slice(create.json()).expect("JSON");
        let body = json!({ "room_version": number, "event": event, "invite_room_state": [shown] });
        let ids = [room.as_str(), invite.event_id().as_str()];
        let _whatever_is_said = evil.put(us, &path("v2/invite", &ids), body.to_string()).await;
        assert_eq!(us.told(room, &bob).await, None, "version {number}");
        for region in [us, third] {
            assert_eq!(region.membership(room, mallory).await, None, "version {number}");
        }
        scene.assert_nothing_but_honest_traffic(&before, number).await;
    }
}

/// An invite says of which version its room is, in words that are known here, or is none.
#[tokio::test]
async fn no_version_is_guessed() {
    let scene = Scene::without_mallory("11").await;
    let Scene { us, evil, mallory, room, .. } = &scene;
    let bob = us.user("bob").await;
    let before = scene.seen().await;
    let content = json!({ "membership": "invite" });
    let key = Some(bob.as_str());
    let draft = evil.draft(us, room, mallory, "m.room.member", key, content).await;
    let draft = draft.with(|event| event.room_id = "!hers:evil.test:1".try_into().expect("an id"));
    let invite = evil.sign(&draft);
    let event: Value = serde_json::from_slice(invite.json()).expect("JSON");
    let ids = [draft.room_id.as_str(), invite.event_id().as_str()];
    let uri = path("v2/invite", &ids);
    for said in [
        json!({ "room_version": 11 }),
        json!({ "room_version": null }),
        json!({ "room_version": ["11"] }),
        json!({ "room_version": "" }),
        json!({ "room_version": "011" }),
        json!({ "room_version": "13" }),
        json!({ "room_version": "org.example.11" }),
        json!({}),
    ] {
        let mut body = said.clone();
        body["event"] = event.clone();
        body["invite_room_state"] = json!([]);
        evil.put(us, &uri, body.to_string()).await.refused(&said.to_string());
    }
    assert_eq!(us.told(&draft.room_id, &bob).await, None);
    scene.assert_nothing_but_honest_traffic(&before, "versions").await;
    let body = json!({ "room_version": "11", "event": event, "invite_room_state": [] });
    evil.put(us, &uri, body.to_string()).await.ok("the version that it is");
    assert!(us.told(&draft.room_id, &bob).await.is_some());
}
