//! Account data, tags, filters, push rules, receipts, threads and relations that no client should send.

use http::Method;
use serde_json::{Value, json};

use super::undisturbed::{Row, World};
use crate::{
    server::Server,
    user::{message_path, segment},
};

fn put(row: &'static str, path: &str, body: Value, status: u16, errcode: &'static str) -> Row {
    (row, Method::PUT, path.to_owned(), body, status, errcode)
}

fn post(row: &'static str, path: &str, body: Value, status: u16, errcode: &'static str) -> Row {
    (row, Method::POST, path.to_owned(), body, status, errcode)
}

fn get(row: &'static str, path: String, status: u16, errcode: &'static str) -> Row {
    (row, Method::GET, path, Value::Null, status, errcode)
}

#[tokio::test]
async fn account_data_and_filters_are_bounded() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let (own, bobs) = (segment(&world.ada.id), segment(&world.bob.id));
    let room = segment(&world.room);
    let data = format!("/v3/user/{own}/account_data");
    let in_room = format!("/v3/user/{own}/rooms/{room}");
    let filters = format!("/v3/user/{own}/filter");
    let mebibyte = json!({ "x": "x".repeat(1 << 20) });
    let tag = json!({ "order": 0.5, "x": "x".repeat(70_000) });
    #[rustfmt::skip]
    let rows = vec![
        put("a mebibyte and some", &format!("{data}/org.x"), mebibyte.clone(), 413, "M_TOO_LARGE"),
        put("the same for a room", &format!("{in_room}/account_data/org.x"), mebibyte, 413, "M_TOO_LARGE"),
        put("a list", &format!("{data}/org.x"), json!([]), 400, "M_BAD_JSON"),
        put("push rules", &format!("{data}/m.push_rules"), json!({}), 405, "M_BAD_JSON"),
        put("for a room that is none", &format!("/v3/user/{own}/rooms/x/account_data/org.x"), json!({}), 400, "M_INVALID_PARAM"),
        put("another's", &format!("/v3/user/{bobs}/account_data/org.x"), json!({}), 403, "M_FORBIDDEN"),
        put("another's room", &format!("/v3/user/{bobs}/rooms/{room}/account_data/org.x"), json!({}), 403, "M_FORBIDDEN"),
        put("another's tag", &format!("/v3/user/{bobs}/rooms/{room}/tags/u.x"), json!({}), 403, "M_FORBIDDEN"),
        put("a tag of 70 kB", &format!("{in_room}/tags/u.x"), tag, 413, "M_TOO_LARGE"),
        put("a tag of a list", &format!("{in_room}/tags/u.x"), json!([]), 400, "M_BAD_JSON"),
        post("a filter of 70 kB", &filters, json!({ "event_fields": ["x".repeat(70_000)] }), 413, "M_TOO_LARGE"),
        post("another's filter", &format!("/v3/user/{bobs}/filter"), json!({}), 403, "M_FORBIDDEN"),
    ];
    world.refuses(rows).await;
    // Just small enough, and of use for nothing: it only costs its owner.
    let rooms: Vec<_> = (0..1000).map(|index| format!("!{index:048}:x.test")).collect();
    let filter =
        json!({ "room": { "rooms": rooms, "timeline": { "types": vec!["*a*a*a*a*a*b"; 200] } } });
    assert!(filter.to_string().len() > 60_000);
    let kept = world.ada.post(&filters, filter).await.ok();
    let id = kept["filter_id"].as_str().expect("an id");
    let synced = world.ada.get(&format!("/v3/sync?filter={id}")).await.ok();
    assert!(synced["rooms"]["join"].is_null(), "{synced}");
}

/// As many tags as there is space for in one room, and no more.
#[tokio::test]
async fn ten_thousand_tags_do_not_fit() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let tags = format!("/v3/user/{}/rooms/{}/tags", segment(&world.ada.id), segment(&world.room));
    let mut kept = 0;
    for index in 0..10_000 {
        let answer = world.ada.put(&format!("{tags}/u.{:0>250}", index), json!({})).await;
        if answer.status != 200 {
            answer.refused("one too many", 413, "M_TOO_LARGE");
            break;
        }
        kept += 1;
    }
    let found = world.ada.get(&tags).await.ok();
    let found = found["tags"].as_object().expect("tags").len();
    assert!(found == kept && kept < 300, "{kept} of {found}");
}

#[tokio::test]
async fn push_rules_are_few_and_simple() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let base = "/v3/pushrules/global";
    let rule = |conditions: Value| json!({ "actions": ["notify"], "conditions": conditions });
    let matches =
        |pattern: &str| json!({ "kind": "event_match", "key": "content.body", "pattern": pattern });
    let content = |pattern: String| json!({ "actions": ["notify"], "pattern": pattern });
    let conditions: Vec<_> = (0..33).map(|_| matches("x")).collect();
    let globs: Vec<_> = (0..10).map(|_| matches(&"*a".repeat(500))).collect();
    let own = format!("{base}/override/own");
    let word = format!("{base}/content/word");
    #[rustfmt::skip]
    let rows = vec![
        put("33 conditions", &own, rule(json!(conditions)), 413, "M_TOO_LARGE"),
        put("globs of 10 kB", &own, rule(json!(globs)), 413, "M_TOO_LARGE"),
        put("a long pattern", &word, content("a".repeat(1025)), 413, "M_TOO_LARGE"),
        put("60 KiB of stars", &word, content("*a".repeat(30 << 10)), 413, "M_TOO_LARGE"),
        put("a long id", &format!("{base}/override/{}", "x".repeat(301)), rule(json!([])), 413, "M_TOO_LARGE"),
        put("an id of the server's", &format!("{base}/override/.m.own"), rule(json!([])), 400, "M_INVALID_PARAM"),
        put("an id with a slash", &format!("{base}/override/a%2Fb"), rule(json!([])), 400, "M_INVALID_PARAM"),
        put("conditions of a text", &own, rule(json!("x")), 400, "M_BAD_JSON"),
        put("a condition of a number", &own, rule(json!([7])), 400, "M_BAD_JSON"),
        put("no actions", &own, json!({ "conditions": [] }), 400, "M_BAD_JSON"),
        put("actions of a number", &own, json!({ "actions": 7 }), 400, "M_BAD_JSON"),
        put("no pattern", &word, json!({ "actions": ["notify"] }), 400, "M_BAD_JSON"),
        put("of a kind that is none", &format!("{base}/magic/own"), rule(json!([])), 400, "M_INVALID_PARAM"),
        put("before one that is none", &format!("{own}?before=none"), rule(json!([])), 404, "M_NOT_FOUND"),
        put("enabling none", &format!("{own}/enabled"), json!({ "enabled": true }), 404, "M_NOT_FOUND"),
        put("actions for none", &format!("{own}/actions"), json!({ "actions": [] }), 404, "M_NOT_FOUND"),
        put("enabled of a text", &format!("{own}/enabled"), json!({ "enabled": "x" }), 400, "M_BAD_JSON"),
    ];
    world.refuses(rows).await;
    // What is allowed is put to a long message without anybody noticing.
    for index in 0..8 {
        let path = format!("{base}/content/word{index}");
        world.bob.put(&path, content("*a".repeat(500))).await.ok();
    }
    let one_more = world.bob.put(&format!("{base}/content/more"), content("*a".repeat(500))).await;
    one_more.refused("one more", 413, "M_TOO_LARGE");
    let since = world.bob.token_now().await;
    world.ada.say(&world.room, "long", &"a".repeat(30_000)).await;
    let seen = world.bob.sync(&since, 0).await;
    let counts = &seen["rooms"]["join"][&world.room]["unread_notifications"];
    assert_eq!(counts["notification_count"], 2, "with what was said before: {counts}");
}

#[tokio::test]
async fn receipts_and_threads_are_about_what_can_be_seen() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let private = world.bob.create_room(json!({ "preset": "private_chat" })).await;
    let hidden = segment(&world.bob.say(&private, "t", "hidden").await);
    let seen = segment(&world.bob.say(&world.room, "t", "seen").await);
    let (room, private) = (segment(&world.room), segment(&private));
    let receipt =
        |room: &str, kind: &str, event: &str| format!("/v3/rooms/{room}/receipt/{kind}/{event}");
    let subscribe = |room: &str, event: &str| {
        format!("/unstable/io.element.msc4306/rooms/{room}/thread/{event}/subscription")
    };
    let relations = |query: &str| format!("/v1/rooms/{room}/relations/{seen}?{query}");
    #[rustfmt::skip]
    let mut cases = vec![
        post("in a room of others", &receipt(&private, "m.read", &hidden), json!({}), 403, "M_FORBIDDEN"),
        post("of a kind that is none", &receipt(&room, "m.magic", &seen), json!({}), 400, "M_INVALID_PARAM"),
        post("a thread of a number", &receipt(&room, "m.read", &seen), json!({ "thread_id": 7 }), 400, "M_BAD_JSON"),
        post("all read of a thread", &receipt(&room, "m.fully_read", &seen), json!({ "thread_id": "main" }), 400, "M_INVALID_PARAM"),
        put("a thread in a room of others", &subscribe(&private, &hidden), json!({}), 404, "M_NOT_FOUND"),
        put("an event of another room", &subscribe(&room, &hidden), json!({}), 404, "M_NOT_FOUND"),
        put("no event", &subscribe(&room, "x"), json!({}), 400, "M_INVALID_PARAM"),
        get("relations in a room of others", format!("/v1/rooms/{private}/relations/{hidden}"), 404, "M_NOT_FOUND"),
        get("relations of another room's", format!("/v1/rooms/{room}/relations/{hidden}"), 404, "M_NOT_FOUND"),
    ];
    for query in ["from=x", "dir=sideways", "limit=-1", "recurse=perhaps"] {
        cases.push(get("a query", relations(query), 400, "M_INVALID_PARAM"));
    }
    for kind in ["m.read", "m.read.private"] {
        for event in [hidden.as_str(), "$none"] {
            let path = receipt(&room, kind, event);
            cases.push(post("of an event that is not there", &path, json!({}), 404, "M_NOT_FOUND"));
        }
    }
    world.refuses(cases).await;
    #[rustfmt::skip]
    let rows = vec![
        ("no such kind", "receipt", json!({ "room_id": world.room, "type": "m.magic", "event_id": "$x" }), "M_INVALID_PARAM"),
        ("no room", "typing", json!({ "room_id": "x", "typing": true }), "M_BAD_JSON"),
        ("no state", "presence", json!({ "presence": "asleep" }), "M_INVALID_PARAM"),
        ("no method", "magic", json!({}), "M_UNRECOGNIZED"),
        ("a forged token", "sync.start", json!({ "mode": "v3", "since": "x" }), "M_UNKNOWN_POS"),
        ("a window of a million", "sync.start", json!({ "mode": "v3", "window": 1_000_000 }), "M_INVALID_PARAM"),
        ("an acknowledgement of nothing", "sync.ack", json!({ "seq": 7 }), "M_INVALID_PARAM"),
    ];
    world.refuses_frames(rows).await;
}

/// A chain of a hundred events, each about the one before: the server goes a few steps and says so.
#[tokio::test]
async fn relations_of_relations_come_to_an_end() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let first = world.ada.say(&world.room, "first", "first").await;
    let mut last = first.clone();
    for number in 0..100 {
        let content = json!({
            "body": "x", "m.relates_to": { "rel_type": "m.reference", "event_id": last },
        });
        let path = message_path(&world.room, &format!("chain{number}"));
        last = crate::user::event_id(&world.ada.put(&path, content).await.ok());
    }
    let path = format!("/v1/rooms/{}/relations/{}", segment(&world.room), segment(&first));
    let page = world.bob.get(&format!("{path}?recurse=true&limit=1000000")).await.ok();
    let depth = page["recursion_depth"].as_u64().expect("it says how deep it went");
    let found = page["chunk"].as_array().expect("events").len() as u64;
    assert!(depth < 10 && found == depth, "{found} events of {depth} steps");
}
