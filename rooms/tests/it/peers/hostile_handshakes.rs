//! What nobody may hand in through `send_join`, `send_leave`, `send_knock`: refused, kept nowhere,
//! and asked after nowhere.

use bytes::Bytes;
use rooms::{Error, ports::Handshake};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde_json::{Value, json};

use super::{Forged, come_in, edited, public, room_of, snapshot};
use crate::{
    wire::{Wire, name},
    world::{World, change},
};

const HANDSHAKES: [(Handshake, &str); 3] =
    [(Handshake::Join, "join"), (Handshake::Leave, "leave"), (Handshake::Knock, "knock")];

async fn send(
    world: &World,
    server: &str,
    handshake: Handshake,
    room: &RoomId,
    event: &EventId,
    pdu: Bytes,
) -> Result<(), Error> {
    let (rooms, server) = (&world.rooms, name(server));
    match handshake {
        Handshake::Join => rooms.peer_join(&server, room, event, pdu).await.map(drop),
        Handshake::Leave => rooms.peer_leave(&server, room, event, pdu).await,
        Handshake::Knock => rooms.peer_knock(&server, room, event, pdu).await.map(drop),
    }
}

struct Scene {
    wire: Wire,
    one: World,
    two: World,
    room: OwnedRoomId,
    /// An event of a room that two.test is not in.
    foreign: OwnedEventId,
    other_room: OwnedRoomId,
}

/// A room in which @bob:two.test may do what the handshake is about.
async fn scene(version: &str, handshake: Handshake) -> Scene {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let ada = one.user("ada");
    let rule = if handshake == Handshake::Knock { "knock" } else { "public" };
    let room = room_of(&one, &ada, version, json!({ "join_rule": rule })).await;
    let other_room = public(&one, &ada, version).await;
    if handshake == Handshake::Leave {
        come_in(&two, &two.user("bob"), &room, &one).await;
    }
    let foreign = one.send(&ada, &other_room, "foreign").await.unwrap();
    one.send(&ada, &room, "hello").await.unwrap();
    wire.take_calls();
    Scene { wire, one, two, room, foreign, other_room }
}

/// What is sent, in which room and under which id.
struct Attempt {
    what: &'static str,
    server: &'static str,
    room: OwnedRoomId,
    event_id: OwnedEventId,
    pdu: Bytes,
}

async fn attempts(scene: &Scene, membership: &str) -> Vec<Attempt> {
    let Scene { one, room, foreign, other_room, .. } = scene;
    let bob = scene.two.user("bob");
    let honest = || Forged::member(one, room, &bob, membership);
    let mut attempts = Vec::new();
    let mut add = |what, server, room: &OwnedRoomId, pdu: &events::Pdu, json: Bytes| {
        let (room, event_id) = (room.clone(), pdu.event_id().clone());
        attempts.push(Attempt { what, server, room, event_id, pdu: json });
    };
    let pdu = honest().await.pdu();
    let json = pdu.json().clone();
    add("the path names another room", "two.test", other_room, &pdu, json.clone());
    add("another server hands it in", "three.test", room, &pdu, json.clone());
    add("no JSON", "two.test", room, &pdu, json.slice(1..));
    add("an array", "two.test", room, &pdu, "[]".into());
    add("nothing", "two.test", room, &pdu, Bytes::new());
    for field in ["type", "room_id", "sender", "state_key", "content", "depth", "signatures"] {
        add("a field is missing", "two.test", room, &pdu, edited(&json, field, None));
    }
    for field in ["hashes", "origin_server_ts", "prev_events", "auth_events"] {
        add("a field is null", "two.test", room, &pdu, edited(&json, field, Some(Value::Null)));
    }
    for depth in [json!(-1), json!(1u64 << 53), json!(1.5), json!("5"), json!(u64::MAX)] {
        add("an odd depth", "two.test", room, &pdu, edited(&json, "depth", Some(depth)));
    }
    for level in [200, 2000] {
        let nested = format!("{}{}", "[".repeat(level), "]".repeat(level));
        let text = String::from_utf8(json.to_vec()).unwrap();
        let text = text.replacen('{', &format!("{{\"nested\":{nested},"), 1);
        add("deep nesting", "two.test", room, &pdu, text.into());
    }
    let many: Vec<_> = (0..21).map(|n| json!(format!("${n}:two.test"))).collect();
    add("many before it", "two.test", room, &pdu, edited(&json, "prev_events", Some(json!(many))));
    let mut forged = |what, event: Forged| {
        let pdu = event.pdu();
        add(what, "two.test", &event.room_id, &pdu, pdu.json().clone());
    };
    for other in ["join", "leave", "knock", "ban", "invite", "nonsense"] {
        if other != membership {
            forged(
                "another membership",
                honest().await.with(|event| {
                    event.content = json!({ "membership": other });
                }),
            );
        }
    }
    forged("no membership", honest().await.with(|event| event.content = json!({})));
    forged("another type", honest().await.with(|event| event.event_type = "m.room.topic".into()));
    forged(
        "a message",
        honest().await.with(|event| {
            event.event_type = "m.room.message".into();
            event.state_key = None;
        }),
    );
    forged("no state", honest().await.with(|event| event.state_key = None));
    for state_key in ["@eve:two.test", "@ada:one.test", "", "bob"] {
        forged(
            "somebody else",
            honest().await.with(|event| event.state_key = Some(state_key.into())),
        );
    }
    let ada = one.user("ada");
    forged(
        "a user of ours",
        honest().await.with(|event| {
            event.sender = ada.clone();
            event.state_key = Some(ada.to_string());
        }),
    );
    forged(
        "a user of a third server",
        honest().await.with(|event| {
            event.sender = "@bob:three.test".try_into().unwrap();
            event.state_key = Some("@bob:three.test".to_owned());
            event.signer = "three.test".to_owned();
        }),
    );
    forged(
        "another server's signature",
        honest().await.with(|event| {
            event.signer = "three.test".to_owned();
        }),
    );
    forged("an unknown key", honest().await.with(|event| event.signer = "none.test".to_owned()));
    let unknown: OwnedEventId = match pdu.event_id().server_name() {
        Some(_) => "$unknown:two.test".try_into().unwrap(),
        None => "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".try_into().unwrap(),
    };
    for (what, id) in [("unknown", &unknown), ("of another room", foreign)] {
        let _ = what;
        forged(
            "what comes before is not ours",
            honest().await.with(|event| {
                event.prev_events = vec![id.clone()];
            }),
        );
        forged(
            "what comes before is not all ours",
            honest().await.with(|event| {
                event.prev_events.push(id.clone());
            }),
        );
        forged(
            "what authorises it is not ours",
            honest().await.with(|event| {
                event.auth_events.push(id.clone());
            }),
        );
    }
    forged("nothing comes before", honest().await.with(|event| event.prev_events.clear()));
    forged("nothing authorises it", honest().await.with(|event| event.auth_events.clear()));
    forged(
        "authorised twice",
        honest().await.with(|event| {
            let again = event.auth_events.clone();
            event.auth_events.extend(again);
        }),
    );
    attempts
}

#[tokio::test]
async fn nothing_hostile_is_taken_and_nothing_remains_of_it() {
    for version in ["1", "6", "11", "12"] {
        for (handshake, membership) in HANDSHAKES {
            if version.parse::<u8>().unwrap() < 7 && handshake == Handshake::Knock {
                continue;
            }
            let scene = scene(version, handshake).await;
            let _three = scene.wire.server("three.test");
            let Scene { one, room, .. } = &scene;
            let before = (snapshot(one, room).await, snapshot(one, &scene.other_room).await);
            let attempts = attempts(&scene, membership).await;
            assert!(attempts.len() >= 40);
            for Attempt { what, server, room: path, event_id, pdu } in attempts {
                let outcome = send(one, server, handshake, &path, &event_id, pdu).await;
                let outcome = outcome.expect_err(&format!("{what}: {membership}, {version}"));
                assert!(!matches!(outcome, Error::Internal(_)), "{what}: {outcome}");
                let after = (snapshot(one, room).await, snapshot(one, &scene.other_room).await);
                assert_eq!(after, before, "{what}: {membership}, version {version}");
                let kept = one.rooms.event_by_id(&event_id).await.unwrap();
                assert!(kept.is_none(), "{what}: {membership}, version {version}");
            }
            let asked = scene.wire.take_calls();
            assert!(asked.is_empty(), "a stranger makes this server ask nobody: {asked:?}");
            // All that is missing from these is ill will.
            let bob = scene.two.user("bob");
            let honest = Forged::member(one, room, &bob, membership).await.pdu();
            let other_id = &scene.foreign;
            let outcome =
                send(one, "two.test", handshake, room, other_id, honest.json().clone()).await;
            assert!(matches!(outcome, Err(Error::InvalidParam(_))), "{outcome:?}");
            let id = honest.event_id();
            send(one, "two.test", handshake, room, id, honest.json().clone()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_may_not_come_in_does_not() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let invite_only = room_of(&one, &ada, "11", json!({ "join_rule": "invite" })).await;
    let banned = public(&one, &ada, "11").await;
    let early = Forged::member(&one, &banned, &bob, "join").await.pdu();
    one.rooms.ban(change(&ada, &banned, &bob)).await.unwrap();
    let denied = public(&one, &ada, "11").await;
    let acl = json!({ "allow": ["*"], "deny": ["two.test"] });
    one.set(&ada, &denied, "m.room.server_acl", "", acl).await.unwrap();
    let left = public(&one, &ada, "11").await;
    let to_left = Forged::member(&one, &left, &bob, "join").await.pdu();
    one.rooms.leave(&left, &ada, None).await.unwrap();
    let table = [
        ("not invited", Forged::member(&one, &invite_only, &bob, "join").await.pdu()),
        ("banned", Forged::member(&one, &banned, &bob, "join").await.pdu()),
        ("banned since", early),
        ("denied", Forged::member(&one, &denied, &bob, "join").await.pdu()),
        ("we left", to_left),
    ];
    for (what, pdu) in table {
        let room = pdu.room_id();
        let before = snapshot(&one, room).await;
        let (id, json) = (pdu.event_id(), pdu.json().clone());
        let outcome = send(&one, "two.test", Handshake::Join, room, id, json).await;
        assert!(super::is_refused(&outcome), "{what}: {outcome:?}");
        assert_eq!(snapshot(&one, room).await, before, "{what}");
        assert!(one.rooms.event_by_id(id).await.unwrap().is_none(), "{what}");
    }
}

/// Nobody gets this server's signature on a join by naming somebody who cannot give it.
#[tokio::test]
async fn nobody_vouches_who_was_not_asked() {
    for version in ["7", "8", "11", "12"] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let lobby = public(&one, &ada, version).await;
        let rule = if version == "7" { "public" } else { "restricted" };
        let allow = json!([{ "type": "m.room_membership", "room_id": lobby }]);
        let rules = json!({ "join_rule": rule, "allow": allow });
        let room = room_of(&one, &ada, version, rules).await;
        let powerless = one.user("powerless");
        one.invite(&ada, &room, &powerless).await.unwrap();
        one.join(&powerless, &room).await.unwrap();
        let levels = json!({ "users": { ada.as_str(): 100 }, "invite": 50 });
        let levels = if version == "12" { json!({ "invite": 50 }) } else { levels };
        one.set(&ada, &room, "m.room.power_levels", "", levels).await.unwrap();
        let join = async |authoriser: &str| {
            let key = "join_authorised_via_users_server";
            let content = json!({ "membership": "join", key: authoriser });
            Forged::state(&one, &room, &bob, "m.room.member", bob.as_str(), content).await.pdu()
        };
        if version == "7" {
            let join = join(ada.as_str()).await;
            let (id, json) = (join.event_id(), join.json().clone());
            let answer = one.rooms.peer_join(&name("two.test"), &room, id, json).await.unwrap();
            let event: Value = serde_json::from_slice(&answer.event).unwrap();
            assert!(event["signatures"]["one.test"].is_null(), "the key means nothing there");
            continue;
        }
        let not_in_the_lobby = join(ada.as_str()).await;
        let (id, json) = (not_in_the_lobby.event_id(), not_in_the_lobby.json().clone());
        let outcome = send(&one, "two.test", Handshake::Join, &room, id, json).await;
        assert!(matches!(outcome, Err(Error::Forbidden(_))), "{outcome:?}");
        come_in(&two, &bob, &lobby, &one).await;
        let before = snapshot(&one, &room).await;
        let authorisers =
            [powerless.as_str(), "@nobody:one.test", "@bob:two.test", "@x:three.test", "", "ada"];
        for authoriser in authorisers {
            let join = join(authoriser).await;
            let (id, json) = (join.event_id(), join.json().clone());
            let outcome = send(&one, "two.test", Handshake::Join, &room, id, json).await;
            assert!(outcome.is_err(), "{authoriser} in version {version}");
            assert_eq!(snapshot(&one, &room).await, before, "{authoriser}");
        }
        let honest = join(ada.as_str()).await;
        let (id, json) = (honest.event_id(), honest.json().clone());
        send(&one, "two.test", Handshake::Join, &room, id, json).await.expect("ada may");
    }
}
