//! Section E of the hazards: a server that a room's access control list denies, under every name
//! that it can find for itself, at every way into the room.

use bytes::Bytes;
use ruma::ServerName;
use serde_json::{Value, json};

use super::{
    Scene,
    hostile::{Hostile, encoded, path},
};

/// Names of one server that the list denies, or that could pass for one that it allows.
const NAMES: [&str; 14] = [
    "evil.test:2",
    "EVIL.test:3",
    "eViL.TeSt:4",
    "evil.test.:5",
    "a.evil.test:6",
    "A.B.Evil.Test:7",
    "a.evil.test.:8",
    "xn--evil-9na.test:9",
    "127.0.0.1:10",
    "127.1:11",
    "2130706433:12",
    "0x7f.0.0.1:13",
    "[::1]:14",
    "[::ffff:127.0.0.1]:15",
];

fn list() -> Value {
    json!({
        "allow": ["*"],
        "deny": ["evil.test", "*.evil.test", "xn--evil*"],
        "allow_ip_literals": false,
    })
}

/// What the specification lists as protected, as a request each.
async fn requests(scene: &Scene, evil: &Hostile) -> Vec<(String, &'static str, Option<Bytes>)> {
    let Scene { us, room, .. } = scene;
    let id = us.view(room).await.extremities[0].to_string();
    let (room, user) = (room.as_str(), evil.user("mallory"));
    let newcomer = evil.user("newcomer");
    let at = format!("?event_id={}", encoded(&id));
    let member = async |membership: &str| {
        let content = json!({ "membership": membership });
        let key = Some(newcomer.as_str());
        let room = &scene.room;
        evil.sign(&evil.draft(us, room, &newcomer, "m.room.member", key, content).await)
    };
    let mut requests = Vec::new();
    for membership in ["join", "leave", "knock"] {
        let make = path(&format!("v1/make_{membership}"), &[room, newcomer.as_str()]);
        requests.push((format!("{make}?ver=11"), "GET", None));
        let pdu = member(membership).await;
        let versions: &[&str] = if membership == "knock" { &["v1"] } else { &["v1", "v2"] };
        for version in versions {
            let endpoint = format!("{version}/send_{membership}");
            let uri = path(&endpoint, &[room, pdu.event_id().as_str()]);
            requests.push((uri, "PUT", Some(pdu.json().clone())));
        }
    }
    let invite = evil.sign(&{
        let content = json!({ "membership": "invite" });
        let key = Some("@ada:us.test:1");
        evil.draft(us, &scene.room, &user, "m.room.member", key, content).await
    });
    let event: Value = serde_json::from_slice(invite.json()).expect("JSON");
    let body = json!({ "room_version": "11", "event": event, "invite_room_state": [] });
    let uri = path("v2/invite", &[room, invite.event_id().as_str()]);
    requests.push((uri, "PUT", Some(body.to_string().into())));
    let missing = json!({ "earliest_events": [], "latest_events": [id], "limit": 10 });
    requests.extend([
        (format!("{}{at}", path("v1/state", &[room])), "GET", None),
        (format!("{}{at}", path("v1/state_ids", &[room])), "GET", None),
        (path("v1/event_auth", &[room, &id]), "GET", None),
        (path("v1/event", &[&id]), "GET", None),
        (format!("{}?limit=10&v={}", path("v1/backfill", &[room]), encoded(&id)), "GET", None),
        (path("v1/get_missing_events", &[room]), "POST", Some(missing.to_string().into())),
        (format!("{}?ts=0&dir=f", path("v1/timestamp_to_event", &[room])), "GET", None),
    ]);
    requests
}

#[tokio::test]
async fn a_denied_server_is_let_in_under_none_of_its_names() {
    let scene = Scene::without_mallory("11").await;
    let Scene { net, us, ada, room, .. } = &scene;
    let event = us.say(ada, room, "before the list").await;
    let mut servers = Vec::new();
    for server in NAMES {
        let evil = Hostile::start(net, server).await;
        // Some of these names are none that anybody is asked for keys at. They get no further.
        let known = evil.get(us, "/_matrix/federation/v1/publicRooms").await.status == 200;
        if known {
            evil.join(us, room, &evil.user("mallory")).await.ok(server);
        }
        servers.push((evil, known));
    }
    let known: Vec<_> =
        servers.iter().filter(|(_, joined)| *joined).map(|(s, _)| &s.name).collect();
    assert!(known.len() >= 8, "most got in at first: {known:?}");
    us.send(ada, room, "m.room.server_acl", Some(""), list()).await;
    let listed = us.say(ada, room, "after the list").await;
    scene.third.has_event(room, &listed).await;
    let before = scene.seen().await;
    for (evil, joined) in &servers {
        for (uri, method, body) in requests(&scene, evil).await {
            let answer = evil.request(us, method, &uri, body).await;
            let case = format!("{}: {method} {uri}", evil.name);
            answer.refused(&case);
            // An event that is asked for without a room is not there.
            let expected = if uri.contains("/v1/event/") { 404 } else { 403 };
            assert!(!joined || answer.status == expected, "{case}: {answer:?}");
        }
        let pdu = evil.sign(&evil.message(us, room, "let me in").await);
        let mallory = evil.user("mallory");
        let typing = json!({ "room_id": room, "user_id": mallory, "typing": true });
        let read = json!({ mallory.as_str(): { "event_ids": [event], "data": { "ts": 1 } } });
        let edus = [
            json!({ "edu_type": "m.typing", "content": typing }),
            json!({ "edu_type": "m.receipt", "content": { room.as_str(): { "m.read": read } } }),
        ];
        let sent = evil.send(us, "t", &[pdu.json().clone()], &edus).await;
        if *joined {
            let verdict = &sent.ok("a transaction")["pdus"][pdu.event_id().as_str()];
            assert!(verdict["error"].is_string(), "{}: {verdict}", evil.name);
        }
        assert!(us.rooms.typing(room).1.is_empty(), "{}", evil.name);
        assert!(us.rooms.receipts(room).await.expect("reads").is_empty(), "{}", evil.name);
    }
    scene.assert_nothing_but_honest_traffic(&before, "denied servers").await;
    let allowed = Hostile::start(net, "devil.test:20").await;
    allowed.join(us, room, &allowed.user("mallory")).await.ok("it is not denied");
}

/// "allow ... defaults to an empty list when not provided": then nobody may come.
#[tokio::test]
async fn a_list_denies_by_what_it_says_and_by_what_it_does_not_say() {
    let scene = Scene::without_mallory("11").await;
    let Scene { us, ada, room, .. } = &scene;
    let server = <&ServerName>::try_from("evil.test:2").expect("a name");
    let many: Vec<String> = (0..2000).map(|n| format!("*{n}*.?vil.{n}")).collect();
    for (list, allowed) in [
        (json!({}), false),
        (json!({ "allow": [] }), false),
        (json!({ "deny": [] }), false),
        (json!({ "allow": ["*"] }), true),
        (json!({ "allow": ["*"], "deny": ["evil.tes?"] }), false),
        (json!({ "allow": ["*"], "deny": ["*"] }), false),
        (json!({ "allow": ["EVIL.TEST"], "deny": ["x"] }), true),
        (json!({ "allow": ["*"], "deny": ["EVIL.TEST"] }), false),
        (json!({ "allow": ["*"], "deny": many }), true),
    ] {
        us.send(ada, room, "m.room.server_acl", Some(""), list.clone()).await;
        let lets_in = us.rooms.allows_server(server, room).await.expect("reads");
        assert_eq!(lets_in, allowed, "{list}");
    }
}

/// An allowed server may build on what a denied one has said, and may hand it on: the list is about
/// who asks, and a room whose history stopped there would part. The denied server gets nothing by it.
#[tokio::test]
async fn what_a_denied_server_has_said_comes_in_through_one_that_is_allowed() {
    let scene = Scene::new("11").await;
    let Scene { net, us, third, evil, ada, room, .. } = &scene;
    let devil = Hostile::start(net, "devil.test:20").await;
    let mallory = devil.user("mallory");
    devil.join(us, room, &mallory).await.ok("it is not denied");
    let listed = us.send(ada, room, "m.room.server_acl", Some(""), list()).await;
    third.has_event(room, &listed).await;

    let denied = evil.sign(&evil.message(us, room, "denied").await);
    let sent = evil.send(us, "t1", &[denied.json().clone()], &[]).await.ok("a transaction");
    assert!(sent["pdus"][denied.event_id().as_str()]["error"].is_string(), "{sent}");
    let built = devil.message(us, room, "on it").await;
    let built = devil.sign(&built.with(|event| {
        event.prev_events = vec![denied.event_id().clone()];
        event.depth += 1;
    }));
    for region in [us, third] {
        // What came before is hidden: nothing is taken in, and nothing breaks.
        let alone = devil.send(region, "t2", &[built.json().clone()], &[]).await.ok("alone");
        assert!(alone["pdus"][built.event_id().as_str()]["error"].is_string(), "{alone}");
        let both = [denied.json().clone(), built.json().clone()];
        let both = devil.send(region, "t3", &both, &[]).await.ok("both");
        for pdu in [&denied, &built] {
            assert_eq!(both["pdus"][pdu.event_id().as_str()], json!({}), "{both}");
            region.has_event(room, pdu.event_id()).await;
        }
    }
    for (uri, method, body) in requests(&scene, evil).await {
        evil.request(us, method, &uri, body).await.refused(&uri);
    }
    let before = scene.seen().await;
    scene.assert_nothing_but_honest_traffic(&before, "through another").await;
}
