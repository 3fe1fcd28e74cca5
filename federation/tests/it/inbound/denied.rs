//! Section E of the hazards: a server that a room's access control list denies, under every name
//! that it can find for itself, at every way into the room.

use bytes::Bytes;
use ruma::{EventId, ServerName};
use serde_json::{Value, json};

use super::{
    Scene,
    hostile::{Hostile, encoded, path},
};

/// Names of one server that the list denies, or that could pass for one that it allows.
const NAMES: [&str; 26] = [
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
    "EVIL.TEST.:16",
    "evil.test:65535",
    "deep.down.a.evil.test:17",
    "xn--evil.test:18",
    "XN--EVIL-9NA.test.:19",
    "127.0.0.1.:20",
    "0x7F000001:21",
    "017700000001:22",
    "127.0.1:23",
    "[0:0:0:0:0:0:0:1]:24",
    "[::FFFF:7F00:1]:25",
    "10.0.0.1:26",
];

fn list() -> Value {
    json!({
        "allow": ["*"],
        "deny": ["evil.test", "*.evil.test", "xn--evil*"],
        "allow_ip_literals": false,
    })
}

/// What the specification lists as protected, as a request each, and what else concerns a room.
async fn requests(scene: &Scene, evil: &Hostile) -> Vec<(String, &'static str, Option<Bytes>)> {
    let Scene { us, room, .. } = scene;
    let room_version = us.view(room).await.version.as_str();
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
        requests.push((format!("{make}?ver={room_version}"), "GET", None));
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
    let body = json!({ "room_version": room_version, "event": event, "invite_room_state": [] });
    let uri = path("v2/invite", &[room, invite.event_id().as_str()]);
    requests.push((uri, "PUT", Some(body.to_string().into())));
    if room_version == "1" {
        let uri = path("v1/invite", &[room, invite.event_id().as_str()]);
        requests.push((uri, "PUT", Some(invite.json().clone())));
    }
    let signed = json!({ "mxid": newcomer, "token": "t", "signatures": { "id.test": {} } });
    let exchange = json!({
        "type": "m.room.member",
        "room_id": room,
        "sender": "@ada:us.test:1",
        "state_key": newcomer,
        "content": {
            "membership": "invite",
            "third_party_invite": { "display_name": "n", "signed": signed },
        },
    });
    let uri = path("v1/exchange_third_party_invite", &[room]);
    requests.push((uri, "PUT", Some(exchange.to_string().into())));
    let missing = json!({ "earliest_events": [], "latest_events": [id], "limit": 10 });
    requests.extend([
        (format!("{}{at}", path("v1/state", &[room])), "GET", None),
        (format!("{}{at}", path("v1/state_ids", &[room])), "GET", None),
        (path("v1/event_auth", &[room, &id]), "GET", None),
        (path("v1/event", &[&id]), "GET", None),
        (format!("{}?limit=10&v={}", path("v1/backfill", &[room]), encoded(&id)), "GET", None),
        (path("v1/get_missing_events", &[room]), "POST", Some(missing.to_string().into())),
        (format!("{}?ts=0&dir=f", path("v1/timestamp_to_event", &[room])), "GET", None),
        (path("v1/hierarchy", &[room]), "GET", None),
    ]);
    requests
}

/// A hostile server under each of the names, and whether it got into the room at first.
async fn disguised(scene: &Scene) -> Vec<(Hostile, bool)> {
    let Scene { net, us, room, .. } = scene;
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
    servers
}

#[tokio::test]
async fn a_denied_server_is_let_in_under_none_of_its_names() {
    for version in ["1", "11"] {
        let scene = Scene::without_mallory(version).await;
        let Scene { net, us, ada, room, .. } = &scene;
        let event = us.say(ada, room, "before the list").await;
        let servers = disguised(&scene).await;
        let known: Vec<_> =
            servers.iter().filter(|(_, joined)| *joined).map(|(s, _)| &s.name).collect();
        assert!(known.len() >= 12, "most got in at first: {known:?}");
        us.send(ada, room, "m.room.server_acl", Some(""), list()).await;
        let listed = us.say(ada, room, "after the list").await;
        scene.third.has_event(room, &listed).await;
        let before = scene.seen().await;
        for (evil, joined) in &servers {
            for (uri, method, body) in requests(&scene, evil).await {
                let answer = evil.request(us, method, &uri, body).await;
                let case = format!("{}: {method} {uri}", evil.name);
                answer.refused(&case);
                // Without a right to it, neither an event nor a summary is there.
                let hides = uri.contains("/v1/event/") || uri.contains("/v1/hierarchy/");
                let expected = if hides { 404 } else { 403 };
                assert!(!joined || answer.status == expected, "{case}: {answer:?}");
            }
            sends_nothing(&scene, evil, *joined, &event).await;
        }
        scene.assert_nothing_but_honest_traffic(&before, "denied servers").await;
        let allowed = Hostile::start(net, "devil.test:20").await;
        allowed.join(us, room, &allowed.user("mallory")).await.ok("it is not denied");
    }
}

/// Neither events nor notices, however it is called.
async fn sends_nothing(scene: &Scene, evil: &Hostile, joined: bool, event: &EventId) {
    let Scene { us, room, .. } = scene;
    let message = evil.message(us, room, "let me in").await;
    let topic = json!({ "topic": "denied" });
    let mallory = evil.user("mallory");
    let topic = evil.draft(us, room, &mallory, "m.room.topic", Some(""), topic).await;
    let pdus = [evil.sign(&message), evil.sign(&topic)];
    let typing = json!({ "room_id": room, "user_id": mallory, "typing": true });
    let read = json!({ mallory.as_str(): { "event_ids": [event], "data": { "ts": 1 } } });
    let edus = [
        json!({ "edu_type": "m.typing", "content": typing }),
        json!({ "edu_type": "m.receipt", "content": { room.as_str(): { "m.read": read } } }),
    ];
    let jsons = pdus.each_ref().map(|pdu| pdu.json().clone());
    let sent = evil.send(us, "t", &jsons, &edus).await;
    if joined {
        let verdicts = sent.ok("a transaction")["pdus"].clone();
        for pdu in &pdus {
            let verdict = &verdicts[pdu.event_id().as_str()];
            assert!(verdict["error"].is_string(), "{}: {verdicts}", evil.name);
        }
    }
    assert!(us.rooms.typing(room).1.is_empty(), "{}", evil.name);
    assert!(us.rooms.receipts(room).await.expect("reads").is_empty(), "{}", evil.name);
}

/// "allow ... defaults to an empty list when not provided": then nobody may come.
#[tokio::test]
async fn a_list_denies_by_what_it_says_and_by_what_it_does_not_say() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, ada, mallory, room, .. } = &scene;
    let levels = json!({ "users": { ada.as_str(): 100, mallory.as_str(): 100 } });
    us.send(ada, room, "m.room.power_levels", Some(""), levels).await;
    let server = <&ServerName>::try_from("evil.test:2").expect("a name");
    let many: Vec<String> = (0..2000).map(|n| format!("*{n}*.?vil.{n}")).collect();
    let lists = [
        (json!({}), false),
        (json!({ "allow": [] }), false),
        (json!({ "deny": [] }), false),
        (json!({ "allow": ["*"] }), true),
        (json!({ "allow": ["*"], "deny": ["evil.tes?"] }), false),
        (json!({ "allow": ["*"], "deny": ["*"] }), false),
        (json!({ "allow": ["EVIL.TEST"], "deny": ["x"] }), true),
        (json!({ "allow": ["*"], "deny": ["EVIL.TEST"] }), false),
        (json!({ "allow": ["*"], "deny": many }), true),
    ];
    for (round, (list, allowed)) in lists.into_iter().enumerate() {
        us.send(ada, room, "m.room.server_acl", Some(""), json!({ "allow": ["*"] })).await;
        // By a server that checks nothing: others do not let their users lock them out.
        let kind = "m.room.server_acl";
        let pdu = evil.sign(&evil.draft(us, room, mallory, kind, Some(""), list.clone()).await);
        let sent = evil.send(us, &format!("l{round}"), &[pdu.json().clone()], &[]).await;
        assert_eq!(sent.ok("a list")["pdus"][pdu.event_id().as_str()], json!({}), "{list}");
        let lets_in = us.rooms.allows_server(server, room).await.expect("reads");
        assert_eq!(lets_in, allowed, "{list}");
    }
}

/// Servers without a name, which the list can keep out as such, or one by one.
#[tokio::test]
async fn a_server_is_denied_by_its_address() {
    for (host, other) in [("127.0.0.1", "[::1]"), ("[::1]", "127.0.0.1")] {
        for (list, denied) in [
            (json!({ "allow": ["*"], "allow_ip_literals": false }), true),
            (json!({ "allow": ["*"], "deny": [host] }), true),
            (json!({ "allow": ["*"], "deny": ["127.*", "[::*"] }), true),
            (json!({ "allow": ["*.test", other] }), true),
            (json!({ "allow": ["*"], "deny": [other] }), false),
        ] {
            let scene = Scene::without_mallory("11").await;
            let Scene { net, us, ada, room, .. } = &scene;
            let event = us.say(ada, room, "before the list").await;
            let evil = Hostile::at(net, host).await;
            evil.join(us, room, &evil.user("mallory")).await.ok("nothing is denied yet");
            let listed = us.send(ada, room, "m.room.server_acl", Some(""), list.clone()).await;
            scene.third.has_event(room, &listed).await;
            let before = scene.seen().await;
            let case = format!("{}: {list}", evil.name);
            if !denied {
                let uri = path("v1/event_auth", &[room.as_str(), event.as_str()]);
                evil.get(us, &uri).await.ok(&case);
                continue;
            }
            for (uri, method, body) in requests(&scene, &evil).await {
                evil.request(us, method, &uri, body).await.refused(&format!("{case}, {uri}"));
            }
            sends_nothing(&scene, &evil, true, &event).await;
            scene.assert_nothing_but_honest_traffic(&before, &case).await;
        }
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
