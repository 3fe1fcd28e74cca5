//! Sections B and H of the hazards: events against the rules, beside one that keeps to them. Nobody
//! is shown any of them, in any way that clients have, here or on the third server.

use bytes::Bytes;
use events::Pdu;
use http::Method;
use serde_json::{Value, json};

use super::{Scene, evil::Draft, server_of};
use crate::{server::PATIENCE, user::segment};

const VERSIONS: [&str; 4] = ["1", "6", "11", "12"];

/// What an event can refer to, and whom it can be about.
struct Around {
    ada: String,
    carl: String,
    /// A message of the room.
    message: String,
    /// The create event of another room of ada's, and a message there.
    foreign: [String; 2],
    /// What both servers have rejected.
    rejected: String,
}

type Change = fn(&mut Draft, &Around);

fn state(draft: &mut Draft, event_type: &str, key: &str, content: Value) {
    draft.event_type = event_type.to_owned();
    draft.state_key = Some(key.to_owned());
    draft.content = content;
}

fn member(draft: &mut Draft, user: &str, membership: &str) {
    state(draft, "m.room.member", user, json!({ "membership": membership }));
}

/// Of a message of mallory's, who has no power.
const AGAINST_THE_RULES: [(&str, Change); 22] = [
    ("a topic", |event, _| state(event, "m.room.topic", "", json!({ "topic": "hers" }))),
    ("a list", |event, _| state(event, "m.room.server_acl", "", json!({ "allow": ["evil"] }))),
    ("no list", |event, _| state(event, "m.room.server_acl", "", json!({}))),
    ("everything open", |event, _| {
        state(event, "m.room.history_visibility", "", json!({ "history_visibility": "x" }));
    }),
    ("power", |event, _| {
        let users = json!({ event.sender.as_str(): 100 });
        state(event, "m.room.power_levels", "", json!({ "users": users }));
    }),
    ("no power for anybody", |event, _| state(event, "m.room.power_levels", "", json!({}))),
    ("a kick of ours", |event, around| member(event, &around.ada, "leave")),
    ("a ban of ours", |event, around| member(event, &around.ada, "ban")),
    ("a ban of a third", |event, around| member(event, &around.carl, "ban")),
    ("a profile of ours", |event, around| member(event, &around.ada, "join")),
    ("somebody else's join", |event, _| member(event, "@x:x.test", "join")),
    ("a membership that is none", |event, _| {
        let own = event.sender.to_string();
        member(event, &own, "owner");
    }),
    ("another beginning", |event, _| {
        let creator = json!({ "creator": event.sender });
        state(event, "m.room.create", "", creator);
    }),
    ("a stranger's word", |event, _| {
        let stranger = format!("@stranger:{}", event.sender.server_name());
        event.sender = stranger.try_into().expect("a user id");
    }),
    ("ada's word", |event, around| {
        event.sender = around.ada.as_str().try_into().expect("a user id");
    }),
    ("carl's word", |event, around| {
        event.sender = around.carl.as_str().try_into().expect("a user id");
    }),
    ("nothing that allows it", |event, _| event.auth_events.clear()),
    ("a message that allows it", |event, around| refer(event, &around.message)),
    ("another room that allows it", |event, around| refer(event, &around.foreign[0])),
    ("another room's message that allows it", |event, around| refer(event, &around.foreign[1])),
    ("what was rejected allows it", |event, around| refer(event, &around.rejected)),
    ("it comes after another room's message", |event, around| {
        event.prev_events = vec![around.foreign[1].as_str().try_into().expect("an event id")];
    }),
];

fn refer(event: &mut Draft, to: &str) {
    event.auth_events.push(to.try_into().expect("an event id"));
}

/// Whether an event can say that in this version.
fn is_expressible(case: &str, version: &str) -> bool {
    // There a create event names no room.
    !(version == "12" && case == "another beginning")
}

async fn around(scene: &Scene) -> Around {
    let Scene { evil, version, .. } = scene;
    let ada = scene.ada();
    let body = json!({ "preset": "public_chat", "room_version": version });
    let other = ada.create_room(body).await;
    let foreign_message = ada.say(&other, "elsewhere", "elsewhere").await;
    let path = format!("/v3/rooms/{}/state", segment(&other));
    let state = ada.get(&path).await.ok();
    let mut events = state.as_array().into_iter().flatten();
    let create = events.find(|event| event["type"] == "m.room.create");
    let create = create.and_then(|event| event["event_id"].as_str()).expect("a create event");
    let rejected = evil.draft(scene, "m.room.topic", Some(""), json!({ "topic": "no" })).await;
    let rejected = evil.sign(&rejected);
    evil.tell_all(scene, "rejected", &[rejected.json().clone()]).await;
    Around {
        ada: ada.id.clone(),
        carl: scene.carl().id,
        message: evil.message(scene, "").await.prev_events[0].to_string(),
        foreign: [create.to_owned(), foreign_message],
        rejected: rejected.event_id().to_string(),
    }
}

/// By its id, for a client of each side.
async fn is_found(scene: &Scene, pdu: &Pdu) -> [u16; 2] {
    let (room, id) = (segment(&scene.room), segment(pdu.event_id().as_str()));
    let mut found = [0; 2];
    for (place, (_, _, user)) in found.iter_mut().zip(scene.sides()) {
        *place = user.get(&format!("/v3/rooms/{room}/event/{id}")).await.status.as_u16();
    }
    found
}

#[tokio::test]
async fn events_against_the_rules_are_shown_to_nobody() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let around = around(&scene).await;
        let before = scene.before().await;
        let honest = scene.evil.message(&scene, "against the rules").await;
        let mut txns = Vec::new();
        for (round, (case, change)) in AGAINST_THE_RULES.into_iter().enumerate() {
            if !is_expressible(case, version) {
                continue;
            }
            let pdu = scene.evil.sign(&honest.clone().with(|event| change(event, &around)));
            scene.evil.tell_all(&scene, &format!("r{round}"), &[pdu.json().clone()]).await;
            let found = is_found(&scene, &pdu).await;
            assert_eq!(found, [404, 404], "{case}, version {version}");
            txns.push(pdu.json().clone());
        }
        // And once more, all together.
        scene.evil.tell_all(&scene, "again", &txns).await;
        scene.assert_nothing_but_honest_traffic(&before, version).await;
        let good = scene.evil.sign(&scene.evil.message(&scene, "by the rules").await);
        scene.evil.tell_all(&scene, "good", &[good.json().clone()]).await;
        assert_eq!(is_found(&scene, &good).await, [200, 200], "version {version}");
    }
}

/// A redaction of what is not hers is an event, and nobody sees it or what it would do.
#[tokio::test]
async fn a_redaction_without_power_is_not_shown_and_takes_nothing() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let (ada, carl) = (scene.ada(), scene.carl());
        let since = carl.token_now().await;
        let kept = ada.say(&scene.room, "kept", "what ada said").await;
        scene.until_told(&carl, &since, &kept).await;
        let before = scene.before().await;
        let create = before.seen[0].timeline[0].clone();
        for target in [&kept, &create] {
            let content = if matches!(version, "11" | "12") {
                json!({ "redacts": target })
            } else {
                json!({})
            };
            let draft = scene.evil.draft(&scene, "m.room.redaction", None, content).await;
            let id = target.as_str().try_into().expect("an event id");
            let pdu = scene.evil.sign(&draft.with(|event| event.redacts = Some(id)));
            scene.evil.tell_all(&scene, target, &[pdu.json().clone()]).await;
            assert_eq!(is_found(&scene, &pdu).await, [404, 404], "version {version}");
        }
        for (_, name, user) in scene.sides() {
            let path = format!("/v3/rooms/{}/event/{}", segment(&scene.room), segment(&kept));
            let event = user.get(&path).await.ok();
            assert_eq!(event["content"]["body"], "what ada said", "{name}, version {version}");
            assert!(event["unsigned"]["redacted_because"].is_null(), "{name}: {event}");
        }
        scene.assert_nothing_but_honest_traffic(&before, version).await;
    }
}

/// An object that has so many levels, itself included.
fn nested(levels: usize) -> String {
    format!("{}{}{}", "{\"a\":".repeat(levels - 1), "{}", "}".repeat(levels - 1))
}

/// The last that may be, of everything: a client can read it, and the room goes on behind it.
#[tokio::test]
async fn the_extremes_that_may_be_reach_clients_and_the_room_goes_on() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let evil = &scene.evil;
        let message = evil.message(&scene, "").await;
        let room = 65_536 - evil.sign(&message).json().len();
        let large = json!({ "msgtype": "m.text", "body": "x".repeat(room) });
        let extremes: [(&str, Draft); 4] = [
            ("65,536 bytes", message.clone().with(|event| event.content = large)),
            ("255 bytes of type", message.clone().with(|event| event.event_type = "t".repeat(255))),
            ("depth 0", message.clone().with(|event| event.depth = 0)),
            ("depth 2^53-1", message.clone().with(|event| event.depth = (1 << 53) - 1)),
        ];
        let since = [scene.ada().token_now().await, scene.carl().token_now().await];
        for (round, (case, draft)) in extremes.into_iter().enumerate() {
            let pdu = evil.sign(&draft);
            evil.tell_all(&scene, &format!("e{round}"), &[pdu.json().clone()]).await;
            assert_eq!(is_found(&scene, &pdu).await, [200, 200], "{case}, version {version}");
            for (since, (_, _, user)) in since.iter().zip(scene.sides()) {
                scene.until_told(&user, since, pdu.event_id().as_str()).await;
            }
        }
        let before = scene.before().await;
        for round in 0..3 {
            scene.ada().say(&scene.room, &format!("a{round}"), "deeper").await;
        }
        let last = scene.ada().say(&scene.room, "last", "deeper").await;
        scene.until_told(&scene.carl(), &before.since[1], &last).await;
        let before = scene.before().await;
        scene.assert_nothing_but_honest_traffic(&before, version).await;
    }
}

/// A client that reads no deeper than 127 levels cannot read an answer around such an event, so it
/// is looked for in the text of the answer.
#[tokio::test]
async fn an_event_of_127_levels_reaches_clients_and_the_room_goes_on() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let since = [scene.ada().token_now().await, scene.carl().token_now().await];
        let deep = serde_json::from_str(&nested(126)).expect("JSON");
        let draft = scene.evil.message(&scene, "").await.with(|event| event.content = deep);
        let pdu = scene.evil.sign(&draft);
        scene.evil.tell_all(&scene, "deep", &[pdu.json().clone()]).await;
        let said = scene.ada().say(&scene.room, "after", "still here").await;
        for (since, (server, name, user)) in since.iter().zip(scene.sides()) {
            let path = format!("/_matrix/client/v3/sync?timeout=5000&since={since}");
            let waited = async {
                loop {
                    let (status, _, body) =
                        server.bytes(Method::GET, &path, Some(&user.token)).await;
                    assert_eq!(status, 200, "{name}, version {version}");
                    let text = String::from_utf8_lossy(&body).into_owned();
                    if text.contains(&said) {
                        return text;
                    }
                }
            };
            let told = tokio::time::timeout(PATIENCE, waited).await.expect("it is told in time");
            assert!(told.contains(pdu.event_id().as_str()), "{name}, version {version}");
            assert!(told.contains(&nested(126)), "{name}, version {version}: as it was sent");
        }
    }
}

/// What no event may be, beside one that is: nothing of it is shown, and its neighbour is.
#[tokio::test]
async fn what_is_no_event_is_shown_to_nobody_and_its_neighbour_is() {
    for version in ["6", "12"] {
        let scene = Scene::new(version).await;
        let evil = &scene.evil;
        let text = evil.sign(&evil.message(&scene, "text").await).json().clone();
        let text = String::from_utf8(text.to_vec()).expect("text");
        let edit = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} in {text}");
            Bytes::from(text.replacen(from, to, 1))
        };
        let content = r#"{"body":"text","msgtype":"m.text"}"#;
        let mut junk: Vec<Bytes> = vec![
            edit(content, &nested(127)),
            edit(content, &nested(990)),
            edit(content, &nested(30_000)),
            edit("\"text\"", &format!("\"{}\"", "x".repeat(65_536))),
            edit("\"m.room.message\"", &format!("\"{}\"", "t".repeat(256))),
            edit("\"m.room.message\"", "null"),
            edit("\"text\"", "1.5"),
            edit("\"text\"", "-0.0"),
            edit("\"text\"", "9007199254740992"),
            edit("\"signatures\":{", "\"signatures\":7,\"x\":{"),
            edit("\"sender\":\"@", "\"sender\":\""),
            edit("\"room_id\":\"!", "\"room_id\":\"#"),
        ];
        // No depth at all, and some that are none.
        let depth = text.split("\"depth\":").nth(1).and_then(|rest| rest.split(',').next());
        let depth = format!("\"depth\":{},", depth.expect("a depth"));
        junk.push(edit(&depth, ""));
        for other in ["-1", "9007199254740992", "9223372036854775807", "1.0", "\"5\"", "null"] {
            junk.push(edit(&depth, &format!("\"depth\":{other},")));
        }
        for field in ["prev_events", "auth_events"] {
            let ids: Vec<_> = (0..21).map(|n| json!(format!("${n:0>43}"))).collect();
            let many = format!("\"{field}\":{}, \"x\":[", json!(ids));
            junk.push(edit(&format!("\"{field}\":["), &many));
        }
        let before = scene.before().await;
        let neighbour = evil.sign(&evil.message(&scene, "a good neighbour").await);
        junk.insert(7, neighbour.json().clone());
        evil.tell_all(&scene, "junk", &junk).await;
        assert_eq!(is_found(&scene, &neighbour).await, [200, 200], "version {version}");
        let after = scene.seen().await;
        for (before, after) in before.seen.iter().zip(&after) {
            assert_eq!(before.state, after.state, "version {version}");
            assert_eq!(before.timeline.len() + 1, after.timeline.len(), "version {version}");
        }
        let before = scene.before().await;
        scene.assert_nothing_but_honest_traffic(&before, version).await;
    }
}

/// Hazard B10: where nobody of ours is any more, nothing that is sent puts anybody back.
#[tokio::test]
async fn a_room_that_was_left_is_left() {
    let scene = Scene::new("11").await;
    let (ada, carl) = (scene.ada(), scene.carl());
    let content = json!({ "membership": "join" });
    let draft = scene.evil.draft(&scene, "m.room.member", Some(&ada.id), content).await;
    let message = scene.evil.message(&scene, "are you there?").await;
    let (room, since) = (segment(&scene.room), carl.token_now().await);
    ada.post(&format!("/v3/rooms/{room}/leave"), json!({})).await.ok();
    let left = ada.token_now().await;
    let pdus = [scene.evil.sign(&draft), scene.evil.sign(&message)];
    let jsons = pdus.each_ref().map(|pdu| pdu.json().clone());
    scene.evil.send((&scene.us, scene.us_name()), "back", &jsons).await.ok();
    let joined = ada.get("/v3/joined_rooms").await.ok();
    assert_eq!(joined["joined_rooms"], json!([]));
    let news = ada.sync(&left, 0).await;
    assert!(news["rooms"].is_null(), "{news}");
    for pdu in &pdus {
        assert_ne!(is_found(&scene, pdu).await[0], 200);
    }
    // Those who are still there see ada go, and not come back.
    let mut since = since;
    loop {
        let news = carl.sync(&since, 5000).await;
        if news["rooms"]["join"][&scene.room].to_string().contains("\"leave\"") {
            break;
        }
        since = news["next_batch"].as_str().expect("a token").to_owned();
    }
    let members = carl.get(&format!("/v3/rooms/{room}/joined_members")).await.ok();
    let ada_name = server_of(&scene.ada);
    assert!(!members["joined"].to_string().contains(ada_name), "{members}");
}
