//! Keys, signatures, backups and messages to devices that no client should send.

use http::Method;
use serde_json::{Map, Value, json};

use super::undisturbed::{Row, World};
use crate::{
    server::Server,
    user::{User, segment},
};

const DEHYDRATED: &str = "/unstable/org.matrix.msc3814.v1/dehydrated_device";

fn post(row: &'static str, path: &str, body: Value, errcode: &'static str) -> Row {
    (row, Method::POST, path.to_owned(), body, 400, errcode)
}

fn put(row: &'static str, path: &str, body: Value, status: u16, errcode: &'static str) -> Row {
    (row, Method::PUT, path.to_owned(), body, status, errcode)
}

/// An object with so many entries.
fn many(count: usize, key: impl Fn(usize) -> String, value: &Value) -> Value {
    (0..count).map(|index| (key(index), value.clone())).collect::<Map<_, _>>().into()
}

fn device_keys(user: &User<'_>) -> Value {
    json!({
        "user_id": user.id, "device_id": user.device, "algorithms": [],
        "keys": { format!("curve25519:{}", user.device): "x" }, "signatures": {},
    })
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

fn cross_key(user: &User<'_>, usage: &str, seed: u8) -> Value {
    let key = events::SigningKey::from_seed(&[seed; 32], "x").expect("a key");
    let public = key.public_key().to_base64();
    json!({
        "user_id": user.id, "usage": [usage], "keys": { format!("ed25519:{public}"): public },
    })
}

#[tokio::test]
async fn keys_that_are_none_are_not_kept() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let (ada, bob) = (&world.ada, &world.bob);
    let (upload, own) = ("/v3/keys/upload", device_keys(ada));
    let keys = |keys: Value| json!({ "device_keys": keys });
    let one_time = |keys: Value| json!({ "one_time_keys": keys });
    let fallback = |keys: Value| json!({ "fallback_keys": keys });
    let key = json!({ "key": "k" });
    let named = |index: usize| format!("signed_curve25519:{index}");
    let large = json!({ "key": "k".repeat(9 << 10) });
    let elsewhere = format!("{upload}/OTHER");
    #[rustfmt::skip]
    let rows = vec![
        post("another's", upload, keys(device_keys(bob)), "M_BAD_JSON"),
        post("of another device", upload, keys(with(own.clone(), "device_id", json!("X"))), "M_BAD_JSON"),
        post("no user", upload, keys(json!({ "device_id": ada.device })), "M_BAD_JSON"),
        post("a number", upload, keys(json!(7)), "M_BAD_JSON"),
        post("a list", upload, keys(json!([])), "M_BAD_JSON"),
        post("a float", upload, keys(with(own.clone(), "n", json!(1.5))), "M_BAD_JSON"),
        post("2^53", upload, keys(with(own.clone(), "n", json!(1_u64 << 53))), "M_BAD_JSON"),
        post("keys of a list", upload, keys(with(own.clone(), "keys", json!([]))), "M_BAD_JSON"),
        post("signatures of a list", upload, keys(with(own.clone(), "signatures", json!([]))), "M_BAD_JSON"),
        post("70 KiB", upload, keys(with(own.clone(), "x", json!("x".repeat(70_000)))), "M_TOO_LARGE"),
        post("for another device", &elsewhere, one_time(json!({ named(1): key })), "M_INVALID_PARAM"),
        post("one-time keys of a list", upload, one_time(json!([])), "M_BAD_JSON"),
        post("a one-time key of a number", upload, one_time(json!({ named(1): 7 })), "M_BAD_JSON"),
        post("no algorithm", upload, one_time(json!({ "x": key })), "M_BAD_JSON"),
        post("a long id", upload, one_time(json!({ format!("a:{}", "x".repeat(300)): key })), "M_BAD_JSON"),
        post("9 KiB", upload, one_time(json!({ named(1): large })), "M_TOO_LARGE"),
        post("10,000 of them", upload, one_time(many(10_000, named, &key)), "M_INVALID_PARAM"),
        post("nine algorithms", upload, one_time(many(9, |n| format!("a{n}:x"), &key)), "M_INVALID_PARAM"),
        post("nine fallback keys", upload, fallback(many(9, |n| format!("a{n}:x"), &key)), "M_INVALID_PARAM"),
        post("two of one algorithm", upload, fallback(many(2, named, &key)), "M_BAD_JSON"),
    ];
    world.refuses(rows).await;
}

#[tokio::test]
async fn questions_for_keys_are_bounded() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let (query, claim) = ("/v3/keys/query", "/v3/keys/claim");
    let user = |index: usize| format!("@nobody{index}:x.test");
    let device = |index: usize| format!("D{index}");
    let asked = |users: Value| json!({ "device_keys": users });
    let claimed = |users: Value| json!({ "one_time_keys": users });
    let devices: Vec<_> = (0..10_001).map(device).collect();
    let algorithm = json!("signed_curve25519");
    world
        .refuses(vec![
            post("10,001 users", query, asked(many(10_001, user, &json!([]))), "M_INVALID_PARAM"),
            post(
                "10,001 devices",
                query,
                asked(json!({ &world.bob.id: devices })),
                "M_INVALID_PARAM",
            ),
            post("no users", query, json!({}), "M_BAD_JSON"),
            post("users of a list", query, asked(json!([])), "M_BAD_JSON"),
            post("devices of a text", query, asked(json!({ &world.bob.id: "D" })), "M_BAD_JSON"),
            post("a localpart", query, asked(json!({ "bob": [] })), "M_BAD_JSON"),
            post(
                "a negative time",
                query,
                json!({ "device_keys": {}, "timeout": -1 }),
                "M_BAD_JSON",
            ),
            post(
                "10,001 claims",
                claim,
                claimed(json!({ &world.bob.id: many(10_001, device, &algorithm) })),
                "M_INVALID_PARAM",
            ),
            post("claims of a list", claim, claimed(json!([])), "M_BAD_JSON"),
            post(
                "an algorithm of a number",
                claim,
                claimed(json!({ &world.bob.id: { "D": 7 } })),
                "M_BAD_JSON",
            ),
            post(
                "a claim of a localpart",
                claim,
                claimed(json!({ "bob": { "D": "a" } })),
                "M_BAD_JSON",
            ),
        ])
        .await;
    // As many as are allowed, who do not exist.
    let found = world.ada.post(query, asked(many(10_000, user, &json!([])))).await.ok();
    assert_eq!(found["failures"], json!({}));
    let none = world.ada.post(claim, claimed(many(10_000, user, &json!({ "D": "a" })))).await.ok();
    assert_eq!(none["one_time_keys"], json!({}));
}

#[tokio::test]
async fn an_identity_is_not_taken_over() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let (ada, bob) = (&world.ada, &world.bob);
    let path = "/v3/keys/device_signing/upload";
    let master = |key: Value| json!({ "master_key": key });
    let own = cross_key(ada, "self_signing", 2);
    #[rustfmt::skip]
    let rows = vec![
        post("without a master key", path, json!({ "self_signing_key": own }), "M_MISSING_PARAM"),
        post("another's", path, master(cross_key(bob, "master", 1)), "M_INVALID_PARAM"),
        post("of another use", path, master(cross_key(ada, "self_signing", 1)), "M_INVALID_PARAM"),
        post("two keys", path, master(with(cross_key(ada, "master", 1), "keys", json!({ "ed25519:a": "a", "ed25519:b": "b" }))), "M_INVALID_PARAM"),
        post("no key", path, master(with(cross_key(ada, "master", 1), "keys", json!({}))), "M_INVALID_PARAM"),
        post("not signed by it", path, json!({ "master_key": cross_key(ada, "master", 1), "self_signing_key": own }), "M_INVALID_SIGNATURE"),
        post("70 KiB", path, master(with(cross_key(ada, "master", 1), "x", json!("x".repeat(70_000)))), "M_TOO_LARGE"),
        post("a number", path, master(json!(7)), "M_BAD_JSON"),
    ];
    world.refuses(rows).await;
    ada.post(path, master(cross_key(ada, "master", 1))).await.ok();
    let other = |auth: Value| json!({ "master_key": cross_key(ada, "master", 9), "auth": auth });
    world
        .refuses(vec![
            (
                "replaced without the password",
                Method::POST,
                path.to_owned(),
                other(Value::Null),
                401,
                "",
            ),
            (
                "with a session that is none",
                Method::POST,
                path.to_owned(),
                other(json!({ "type": "m.login.password", "session": "x" })),
                403,
                "M_FORBIDDEN",
            ),
            (
                "with a stage that is none",
                Method::POST,
                path.to_owned(),
                other(json!({ "type": "m.login.dummy" })),
                401,
                "M_UNRECOGNIZED",
            ),
        ])
        .await;
    let seen = bob.post("/v3/keys/query", json!({ "device_keys": { &ada.id: [] } })).await.ok();
    assert_eq!(seen["master_keys"][&ada.id]["keys"], cross_key(ada, "master", 1)["keys"]);
}

/// They are answered one by one, so the answer is a good one.
#[tokio::test]
async fn signatures_that_are_wrong_or_too_many_are_not_kept() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let ada = &world.ada;
    ada.post("/v3/keys/upload", json!({ "device_keys": device_keys(ada) })).await.ok();
    let path = "/v3/keys/signatures/upload";
    world
        .refuses(vec![
            post("a list", path, json!([]), "M_BAD_JSON"),
            post("an object of a number", path, json!({ &ada.id: { "D": 7 } }), "M_BAD_JSON"),
            post(
                "1,001 objects",
                path,
                json!({ &ada.id: many(1001, |n| format!("D{n}"), &json!({})) }),
                "M_TOO_LARGE",
            ),
        ])
        .await;
    let position = server.store.log().position();
    let signed = with(device_keys(ada), "signatures", json!({ &ada.id: { "ed25519:K": "c2ln" } }));
    let upload = json!({ &ada.id: { &ada.device: signed, "NONE": device_keys(ada) } });
    let answer = ada.post(path, upload).await.ok();
    let failures = &answer["failures"][&ada.id];
    assert_eq!(failures[&ada.device]["errcode"], "M_INVALID_SIGNATURE", "{answer}");
    assert!(failures["NONE"]["errcode"].is_string(), "{answer}");
    assert_eq!(server.store.log().position(), position);
}

/// Of room keys: the path that all are under, of a room, of one session, each with what it takes.
fn levels(session: &Value) -> [(String, Value); 3] {
    let (keys, room) = ("/v3/room_keys/keys", segment("!r:x.test"));
    let sessions = json!({ "sessions": { "s": session } });
    [
        (keys.to_owned(), json!({ "rooms": { "!r:x.test": sessions } })),
        (format!("{keys}/{room}"), sessions),
        (format!("{keys}/{room}/s"), session.clone()),
    ]
}

/// What is asked of a version that is none: to read, write and delete, at each level.
fn of_version(version: &str, session: &Value, status: u16, errcode: &'static str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (path, body) in levels(session) {
        let path = format!("{path}?version={version}");
        rows.push(put("into a version that is none", &path, body, status, errcode));
        for method in [Method::GET, Method::DELETE] {
            rows.push(("of one", method, path.clone(), Value::Null, 404, "M_NOT_FOUND"));
        }
    }
    rows
}

#[tokio::test]
async fn backups_take_what_belongs_into_them() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let version = "/v3/room_keys/version";
    let session = json!({
        "first_message_index": 0, "forwarded_count": 0, "is_verified": true, "session_data": {},
    });
    let backup = |auth_data: Value| json!({ "algorithm": "m.test", "auth_data": auth_data });
    let mut none = vec![
        post("no algorithm", version, json!({ "auth_data": {} }), "M_BAD_JSON"),
        post("no data", version, json!({ "algorithm": "m.test" }), "M_BAD_JSON"),
        post("data of a list", version, backup(json!([])), "M_BAD_JSON"),
    ];
    none.extend(of_version("1", &session, 404, "M_NOT_FOUND"));
    world.refuses(none).await;

    world.ada.post(version, backup(json!({ "public_key": "x" }))).await.ok();
    let large = with(session.clone(), "session_data", json!({ "x": "x".repeat(9 << 10) }));
    let [(keys, _), (room, _), (one, _)] = levels(&session);
    let (one_of, long) =
        (format!("{one}?version=1"), format!("{room}/{}?version=1", "s".repeat(300)));
    #[rustfmt::skip]
    let mut cases = vec![
        ("70 KiB", Method::POST, version.to_owned(), backup(json!({ "x": "x".repeat(70_000) })), 413, "M_TOO_LARGE"),
        put("of another algorithm", &format!("{version}/1"), json!({ "algorithm": "m.other", "auth_data": {} }), 400, "M_INVALID_PARAM"),
        put("of another version", &format!("{version}/1"), with(backup(json!({})), "version", json!("7")), 400, "M_INVALID_PARAM"),
        put("a session of a number", &one_of, json!(7), 400, "M_BAD_JSON"),
        put("a session without an index", &one_of, json!({ "session_data": {} }), 400, "M_BAD_JSON"),
        put("a session of 9 KiB", &one_of, large, 413, "M_TOO_LARGE"),
        put("a long session id", &long, session.clone(), 400, "M_INVALID_PARAM"),
        put("rooms of a list", &format!("{keys}?version=1"), json!({ "rooms": [] }), 400, "M_BAD_JSON"),
        put("a room that is none", &format!("{keys}/x/s?version=1"), session.clone(), 400, "M_INVALID_PARAM"),
        put("no version", &one, session.clone(), 400, "M_MISSING_PARAM"),
    ];
    for (method, body) in [
        (Method::GET, Value::Null),
        (Method::PUT, backup(json!({}))),
        (Method::DELETE, Value::Null),
    ] {
        for number in ["99", "-1", "x"] {
            let path = format!("{version}/{number}");
            cases.push((
                "an unknown version",
                method.clone(),
                path,
                body.clone(),
                404,
                "M_NOT_FOUND",
            ));
        }
    }
    cases.extend(of_version("99", &session, 403, "M_WRONG_ROOM_KEYS_VERSION"));
    world.refuses(cases).await;
}

#[tokio::test]
async fn half_a_dehydrated_device_is_none() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let sound = json!({
        "device_id": "ASLEEP",
        "device_data": { "algorithm": "m.test" },
        "device_keys": with(device_keys(&world.ada), "device_id", json!("ASLEEP")),
    });
    let named = |device: &str| {
        let keys = with(device_keys(&world.ada), "device_id", json!(device));
        with(with(sound.clone(), "device_id", json!(device)), "device_keys", keys)
    };
    let body = |key: &str, value: Value| with(sound.clone(), key, value);
    let key = json!({ "key": "k".repeat(9 << 10) });
    let events = format!("{DEHYDRATED}/ASLEEP/events");
    world
        .refuses(vec![
            put("no data", DEHYDRATED, body("device_data", Value::Null), 400, "M_BAD_JSON"),
            put(
                "data of 70 KiB",
                DEHYDRATED,
                body("device_data", json!({ "x": "x".repeat(70_000) })),
                400,
                "M_BAD_JSON",
            ),
            put("no keys", DEHYDRATED, body("device_keys", Value::Null), 400, "M_BAD_JSON"),
            put(
                "another's keys",
                DEHYDRATED,
                body("device_keys", device_keys(&world.bob)),
                400,
                "M_BAD_JSON",
            ),
            put("a device in use", DEHYDRATED, named(&world.ada.device), 400, "M_INVALID_PARAM"),
            put("all devices", DEHYDRATED, named("*"), 400, "M_INVALID_PARAM"),
            put(
                "a long name",
                DEHYDRATED,
                body("initial_device_display_name", json!("x".repeat(101))),
                400,
                "M_INVALID_PARAM",
            ),
            put(
                "a large key",
                DEHYDRATED,
                body("one_time_keys", json!({ "a:b": key })),
                400,
                "M_TOO_LARGE",
            ),
            post("a forged token", &events, json!({ "next_batch": "x" }), "M_INVALID_PARAM"),
            (
                "a forged token",
                Method::GET,
                format!("{events}?from=d-1"),
                Value::Null,
                400,
                "M_INVALID_PARAM",
            ),
            ("of no device", Method::GET, events, Value::Null, 403, "M_FORBIDDEN"),
        ])
        .await;
}

#[tokio::test]
async fn messages_to_devices_are_few_and_small() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let path = |txn: &str| format!("/v3/sendToDevice/m.test/{txn}");
    let to_bob = |content: Value| json!({ "messages": { &world.bob.id: { "*": content } } });
    let large = json!({ "x": "x".repeat(66_000) });
    world
        .refuses(vec![
            put("70 KiB", &path("1"), to_bob(large.clone()), 413, "M_TOO_LARGE"),
            put("a list", &path("1"), to_bob(json!([])), 400, "M_BAD_JSON"),
            put("no messages", &path("1"), json!({}), 400, "M_BAD_JSON"),
            put("messages of a list", &path("1"), json!({ "messages": [] }), 400, "M_BAD_JSON"),
            put(
                "a localpart",
                &path("1"),
                json!({ "messages": { "bob": { "*": {} } } }),
                400,
                "M_BAD_JSON",
            ),
            put(
                "a long txn id",
                &path(&"x".repeat(300)),
                to_bob(json!({})),
                400,
                "M_INVALID_PARAM",
            ),
        ])
        .await;
    world
        .refuses_frames(vec![
            (
                "70 KiB",
                "to_device",
                with(to_bob(large), "event_type", json!("m.test")),
                "M_TOO_LARGE",
            ),
            (
                "a list",
                "to_device",
                with(to_bob(json!([])), "event_type", json!("m.test")),
                "M_BAD_JSON",
            ),
            ("no type", "to_device", to_bob(json!({})), "M_BAD_JSON"),
            (
                "a localpart",
                "to_device",
                json!({ "event_type": "m.test", "messages": { "bob": { "*": {} } } }),
                "M_BAD_JSON",
            ),
        ])
        .await;
    // Ten thousand who are not there, and bob, who gets his.
    let since = world.bob.token_now().await;
    let mut targets = many(10_000, |n| format!("@nobody{n}:x.test"), &json!({ "*": {} }));
    targets[&world.bob.id] = json!({ "*": { "n": 1 } });
    world.ada.put(&path("2"), json!({ "messages": targets })).await.ok();
    let got = world.bob.sync(&since, 0).await;
    assert_eq!(got["to_device"]["events"].as_array().map(Vec::len), Some(1), "{got}");
}
