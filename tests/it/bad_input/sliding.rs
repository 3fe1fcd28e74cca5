//! Sliding sync: lists, ranges, subscriptions and positions that no client should send.

use http::Method;
use serde_json::{Map, Value, json};

use super::undisturbed::{Row, World};
use crate::{server::Server, user::segment};

const UNSTABLE: &str = "/unstable/org.matrix.simplified_msc3575/sync?set_presence=offline";
const STABLE: &str = "/v4/sync";

fn many(count: usize, key: impl Fn(usize) -> String, value: &Value) -> Value {
    (0..count).map(|index| (key(index), value.clone())).collect::<Map<_, _>>().into()
}

/// One list, with something in it that is not as it should be.
fn list(key: &str, value: Value) -> Value {
    let mut list = json!({ "ranges": [[0, 9]], "timeline_limit": 1, "required_state": [] });
    list[key] = value;
    json!({ "lists": { "l": list } })
}

fn unstable(row: &'static str, body: Value, errcode: &'static str) -> Row {
    (row, Method::POST, UNSTABLE.to_owned(), body, 400, errcode)
}

fn stable(row: &'static str, body: Value, errcode: &'static str) -> Row {
    (row, Method::POST, STABLE.to_owned(), body, 400, errcode)
}

fn invalid_lists() -> Vec<Row> {
    let pairs: Vec<_> = (0..10_000).map(|index| json!(["m.x", format!("{index}")])).collect();
    let spaces: Vec<_> = (0..10_000).map(|index| format!("!{index}:x.test")).collect();
    let one = json!({ "timeline_limit": 1, "required_state": [] });
    let long = "x".repeat(300);
    vec![
        unstable("a range backwards", list("ranges", json!([[9, 0]])), "M_INVALID_PARAM"),
        unstable("a negative range", list("ranges", json!([[-5, -1]])), "M_INVALID_PARAM"),
        unstable("beyond all numbers", list("ranges", json!([[0, 1e30]])), "M_INVALID_PARAM"),
        unstable("a range of halves", list("ranges", json!([[0, 0.5]])), "M_INVALID_PARAM"),
        unstable("10,000 ranges", list("ranges", json!(vec![[0, 1]; 10_000])), "M_INVALID_PARAM"),
        unstable("a range of three", list("ranges", json!([[0, 1, 2]])), "M_BAD_JSON"),
        unstable("a range of texts", list("ranges", json!([["0", "1"]])), "M_BAD_JSON"),
        unstable("10,000 pairs", list("required_state", json!(pairs)), "M_INVALID_PARAM"),
        unstable("a pair of one", list("required_state", json!([["m.x"]])), "M_BAD_JSON"),
        unstable("a pair of numbers", list("required_state", json!([[1, 2]])), "M_BAD_JSON"),
        unstable("a negative limit", list("timeline_limit", json!(-1)), "M_INVALID_PARAM"),
        unstable("10,000 spaces", list("filters", json!({ "spaces": spaces })), "M_INVALID_PARAM"),
        unstable("filters of a number", list("filters", json!(7)), "M_BAD_JSON"),
        unstable(
            "10,000 lists",
            json!({ "lists": many(10_000, |n| format!("{n}"), &one) }),
            "M_INVALID_PARAM",
        ),
        unstable(
            "10,000 subscriptions",
            json!({ "room_subscriptions": many(10_000, |n| format!("!{n}:x"), &one) }),
            "M_INVALID_PARAM",
        ),
        unstable("a long list name", json!({ "lists": { &long: one } }), "M_INVALID_PARAM"),
        unstable("a long connection", json!({ "conn_id": long }), "M_INVALID_PARAM"),
        unstable("a connection of a number", json!({ "conn_id": 7 }), "M_BAD_JSON"),
        unstable("an extension of a list", json!({ "extensions": { "e2ee": [] } }), "M_BAD_JSON"),
        unstable(
            "a negative number of messages",
            json!({ "extensions": { "to_device": { "enabled": true, "limit": -1 } } }),
            "M_INVALID_PARAM",
        ),
        unstable(
            "a forged token of messages",
            json!({ "extensions": { "to_device": { "enabled": true, "since": "x" } } }),
            "M_INVALID_PARAM",
        ),
        stable(
            "a range backwards",
            json!({ "lists": { "l": { "range": [9, 0], "timeline_limit": 1, "required_state": {} } } }),
            "M_INVALID_PARAM",
        ),
        stable(
            "10,000 elements",
            json!({ "lists": { "l": { "timeline_limit": 1, "required_state": { "include": vec![json!({}); 10_000] } } } }),
            "M_INVALID_PARAM",
        ),
        stable("a negative time", json!({ "timeout": -1 }), "M_INVALID_PARAM"),
        stable("a forged pos", json!({ "pos": "x", "set_presence": "offline" }), "M_UNKNOWN_POS"),
    ]
}

#[tokio::test]
async fn what_no_list_should_be_is_refused() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    world.refuses(invalid_lists()).await;
}

/// Whoever guesses a `pos`, or has somebody else's, learns nothing and takes nothing away.
#[tokio::test]
async fn a_pos_is_good_for_nobody_else() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let body = list("ranges", json!([[0, 9]]));
    let bobs = world.bob.post(UNSTABLE, body.clone()).await.ok();
    let own = world.ada.post(UNSTABLE, body.clone()).await.ok();
    let (bobs, own) = (bobs["pos"].as_str().expect("a pos"), own["pos"].as_str().expect("a pos"));
    let forged = [
        bobs.to_owned(),
        format!("{own}0"),
        format!("9{own}"),
        own[..own.len() - 1].to_owned(),
        own.replace(|digit: char| digit.is_ascii_digit(), "9"),
        "1.2/3".to_owned(),
        "18446744073709551616".to_owned(),
        "-1".to_owned(),
        "\u{0}".to_owned(),
        "x".repeat(3000),
    ];
    let path = |pos: &str| format!("{UNSTABLE}&pos={}", segment(pos));
    let refused = |pos: &String| {
        ("a forged pos", Method::POST, path(pos), body.clone(), 400, "M_UNKNOWN_POS")
    };
    world.refuses(forged.iter().map(refused).collect()).await;
    for (user, pos) in [(&world.ada, own), (&world.bob, bobs)] {
        let next = user.post(&path(pos), body.clone()).await.ok();
        assert!(next["rooms"][&world.room].is_object(), "{next}");
    }
}

/// A window that ends behind all numbers is one of all rooms, and costs what these cost.
#[tokio::test]
async fn the_largest_of_everything_is_answered() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let one = json!({
        "ranges": vec![json!([0, u64::MAX]); 20],
        "timeline_limit": u64::MAX,
        "required_state": (0..1000).map(|n| json!(["*", format!("{n}")])).collect::<Vec<_>>(),
    });
    let subscription = json!({ "timeline_limit": u64::MAX, "required_state": [["*", "*"]] });
    let mut rooms = many(99, |n| format!("!none{n}:x.test"), &subscription);
    rooms[&world.room] = subscription.clone();
    let body = json!({
        "conn_id": "c".repeat(255),
        "lists": many(100, |n| format!("l{n}"), &one),
        "room_subscriptions": rooms,
    });
    let answer = world.ada.post(UNSTABLE, body).await.ok();
    let told = answer["rooms"].as_object().expect("rooms");
    assert_eq!(
        told.keys().collect::<Vec<_>>(),
        [&world.room],
        "nothing of rooms that are not hers"
    );
    assert_eq!(answer["lists"]["l99"]["count"], 1);
    assert!(told[&world.room]["timeline"].as_array().expect("events").len() <= 100);
}

/// Connections of one device: the oldest go, and say so to whoever still uses them.
#[tokio::test]
async fn a_device_has_few_connections() {
    let server = Server::start().await;
    let world = World::new(&server).await;
    let body = |number: usize| {
        let mut body = list("ranges", json!([[0, 9]]));
        body["conn_id"] = json!(format!("c{number}"));
        body
    };
    let kept = world.bob.post(UNSTABLE, body(0)).await.ok();
    let first = world.ada.post(UNSTABLE, body(0)).await.ok();
    let mut last = Value::Null;
    for number in 1..200 {
        // They are told apart by when they were used.
        server.clock.advance(1);
        last = world.ada.post(UNSTABLE, body(number)).await.ok();
    }
    let path = |answer: &Value| {
        format!("{UNSTABLE}&pos={}", segment(answer["pos"].as_str().expect("a pos")))
    };
    let gone = world.ada.post(&path(&first), body(0)).await;
    gone.refused("the first of 200", 400, "M_UNKNOWN_POS");
    world.ada.post(&path(&last), body(199)).await.ok();
    world.bob.post(&path(&kept), body(0)).await.ok();
}
