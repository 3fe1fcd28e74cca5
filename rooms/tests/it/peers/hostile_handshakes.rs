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

type Forgery = fn(&Scene, &mut Forged);

/// Well-formed, and well signed by whoever signs it.
const FORGERIES: [(&str, Forgery); 21] = [
    ("no membership", |_, event| event.content = json!({})),
    ("a nonsensical one", |_, event| event.content = json!({ "membership": "nonsense" })),
    ("a ban", |_, event| event.content = json!({ "membership": "ban" })),
    ("an invite", |_, event| event.content = json!({ "membership": "invite" })),
    ("another type", |_, event| event.event_type = "m.room.topic".into()),
    ("a message", |_, event| {
        event.event_type = "m.room.message".into();
        event.state_key = None;
    }),
    ("no state", |_, event| event.state_key = None),
    ("another of their users", |_, event| event.state_key = Some("@eve:two.test".into())),
    ("a user of ours", |_, event| event.state_key = Some("@ada:one.test".into())),
    ("nobody", |_, event| event.state_key = Some(String::new())),
    ("no user id", |_, event| event.state_key = Some("bob".into())),
    ("a user of ours does it", |_, event| {
        event.sender = "@ada:one.test".try_into().unwrap();
        event.state_key = Some("@ada:one.test".into());
    }),
    ("a user of a third server does it", |_, event| {
        event.sender = "@bob:three.test".try_into().unwrap();
        event.state_key = Some("@bob:three.test".into());
        event.signer = "three.test".into();
    }),
    ("another server's signature", |_, event| event.signer = "three.test".into()),
    ("an unknown key", |_, event| event.signer = "none.test".into()),
    ("it goes on from another room", |scene, event| {
        event.prev_events = vec![scene.foreign.clone()];
    }),
    ("it goes on from another room too", |scene, event| {
        event.prev_events.push(scene.foreign.clone());
    }),
    ("another room authorises it", |scene, event| event.auth_events.push(scene.foreign.clone())),
    ("it goes on from nothing", |_, event| event.prev_events.clear()),
    ("nothing authorises it", |_, event| event.auth_events.clear()),
    ("authorised twice", |_, event| {
        let again = event.auth_events.clone();
        event.auth_events.extend(again);
    }),
];

/// Events that nobody has heard of.
const UNKNOWN: [(&str, Forgery); 3] = [
    ("it goes on from what is not known", |scene, event| {
        event.prev_events = vec![scene.unknown(event)];
    }),
    ("it goes on from what is not all known", |scene, event| {
        event.prev_events.push(scene.unknown(event));
    }),
    ("what authorises it is not known", |scene, event| {
        event.auth_events.push(scene.unknown(event));
    }),
];

impl Scene {
    fn unknown(&self, event: &Forged) -> OwnedEventId {
        let id = match event.version.as_str() {
            "1" => "$unknown:two.test",
            _ => "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        };
        id.try_into().unwrap()
    }

    async fn honest(&self, membership: &str) -> Forged {
        Forged::member(&self.one, &self.room, &self.two.user("bob"), membership).await
    }
}

fn nested(pdu: &[u8], levels: usize) -> Bytes {
    let nested = format!("{{\"nested\":{}{},", "[".repeat(levels), "]".repeat(levels));
    let text = String::from_utf8(pdu.to_vec()).unwrap();
    text.replacen('{', &nested, 1).into()
}

/// What is no event, or not the one that was signed.
fn edits(pdu: &Bytes) -> Vec<(&'static str, Bytes)> {
    let mut edits = vec![
        ("no JSON", pdu.slice(1..)),
        ("an array", "[]".into()),
        ("nothing", Bytes::new()),
        ("nesting", nested(pdu, 200)),
        ("deep nesting", nested(pdu, 2000)),
    ];
    for field in ["type", "room_id", "sender", "state_key", "content", "depth", "signatures"] {
        edits.push(("a field is missing", edited(pdu, field, None)));
    }
    for field in ["hashes", "origin_server_ts", "prev_events", "auth_events"] {
        edits.push(("a field is null", edited(pdu, field, Some(Value::Null))));
    }
    for depth in [json!(-1), json!(1u64 << 53), json!(1.5), json!("5"), json!(u64::MAX)] {
        edits.push(("an odd depth", edited(pdu, "depth", Some(depth))));
    }
    let many: Vec<_> = (0..21).map(|n| json!(format!("${n}:two.test"))).collect();
    edits.push(("many before it", edited(pdu, "prev_events", Some(json!(many)))));
    edits
}

async fn attempts(scene: &Scene, membership: &str) -> Vec<Attempt> {
    let pdu = scene.honest(membership).await.pdu();
    let attempt = |what, server, room: &OwnedRoomId, pdu: &events::Pdu, json: Bytes| {
        let (room, event_id) = (room.clone(), pdu.event_id().clone());
        Attempt { what, server, room, event_id, pdu: json }
    };
    let (path, json) = (&scene.other_room, pdu.json().clone());
    let mut attempts = vec![
        attempt("the path names another room", "two.test", path, &pdu, json.clone()),
        attempt("another server hands it in", "three.test", &scene.room, &pdu, json.clone()),
    ];
    for (what, json) in edits(&json) {
        attempts.push(attempt(what, "two.test", &scene.room, &pdu, json));
    }
    for (what, forge) in FORGERIES.into_iter().chain(UNKNOWN) {
        let pdu = scene.honest(membership).await.with(|event| forge(scene, event)).pdu();
        attempts.push(attempt(what, "two.test", &scene.room, &pdu, pdu.json().clone()));
    }
    for (_, other) in HANDSHAKES.into_iter().filter(|(_, other)| *other != membership) {
        let content = json!({ "membership": other });
        let pdu = scene.honest(membership).await.with(|event| event.content = content).pdu();
        let what = "the path names another membership";
        attempts.push(attempt(what, "two.test", &scene.room, &pdu, pdu.json().clone()));
    }
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
            let honest = scene.honest(membership).await.pdu();
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
