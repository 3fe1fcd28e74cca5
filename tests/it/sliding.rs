//! Sliding sync over HTTP, as the clients ask for it.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

const UNSTABLE: &str = "/unstable/org.matrix.simplified_msc3575/sync";
const STABLE: &str = "/v4/sync";

/// What Element X requires of the rooms in its list.
fn required_state() -> Value {
    json!([
        ["m.room.name", ""],
        ["m.room.encryption", ""],
        ["m.room.member", "$LAZY"],
        ["m.room.member", "$ME"],
        ["m.room.topic", ""],
        ["m.room.avatar", ""],
        ["m.room.canonical_alias", ""],
        ["m.room.power_levels", ""],
        ["org.matrix.msc3401.call.member", "*"],
        ["m.room.join_rules", ""],
        ["m.room.tombstone", ""],
        ["m.room.create", ""],
        ["m.room.history_visibility", ""],
        ["io.element.functional_members", ""],
        ["m.space.parent", "*"],
        ["m.space.child", "*"],
        ["m.beacon_info", "*"],
    ])
}

fn room_list(last: u64) -> Value {
    json!({
        "conn_id": "room-list",
        "lists": {"all_rooms": {
            "ranges": [[0, last]],
            "timeline_limit": 1,
            "required_state": required_state(),
            "filters": {},
        }},
        "extensions": {
            "account_data": {"enabled": true},
            "receipts": {"enabled": true, "rooms": ["*"]},
            "typing": {"enabled": true},
            "io.element.msc4308.thread_subscriptions": {"enabled": true, "limit": 10},
        },
    })
}

async fn ask(user: &User<'_>, pos: &str, timeout_ms: u64, body: Value) -> Value {
    let pos = if pos.is_empty() { String::new() } else { format!("&pos={}", segment(pos)) };
    let path = format!("{UNSTABLE}?set_presence=offline&timeout={timeout_ms}{pos}");
    user.post(&path, body).await.ok()
}

fn pos(answer: &Value) -> &str {
    answer["pos"].as_str().expect("a pos")
}

#[tokio::test]
async fn a_room_list_grows_and_then_waits() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let versions = server.get("/versions").await.ok();
    assert_eq!(versions["unstable_features"]["org.matrix.simplified_msc3575"], true);
    let mut rooms = Vec::new();
    for _ in 0..25 {
        rooms.push(ada.room_with(&[&bob]).await);
    }
    let first = ask(&ada, "", 0, room_list(19)).await;
    assert_eq!(first["lists"]["all_rooms"]["count"], 25);
    assert_eq!(first["rooms"].as_object().expect("rooms").len(), 20);
    let newest = &first["rooms"][&rooms[24]];
    let state = newest["required_state"].as_array().expect("state");
    let keys: Vec<_> = state.iter().map(|event| &event["type"]).collect();
    for event_type in ["m.room.create", "m.room.power_levels", "m.room.join_rules"] {
        assert!(keys.contains(&&json!(event_type)), "{event_type}");
    }
    let own = state.iter().find(|event| event["state_key"] == ada.id.as_str());
    assert_eq!(own.expect("$ME")["content"]["membership"], "join");
    assert_eq!(newest["timeline"].as_array().expect("a timeline").len(), 1);

    let second = ask(&ada, pos(&first), 0, room_list(99)).await;
    assert_eq!(second["rooms"].as_object().expect("rooms").len(), 5);

    let waiting = ask(&ada, pos(&second), 15_000, room_list(99));
    let (third, said) = tokio::join!(waiting, bob.say(&rooms[0], "t1", "hello"));
    let news = &third["rooms"][&rooms[0]];
    assert_eq!(news["timeline"][0]["event_id"], said);
    assert_eq!((&news["notification_count"], &news["num_live"]), (&json!(1), &json!(1)));

    let mut opened = room_list(99);
    opened["room_subscriptions"] =
        json!({&rooms[0]: {"timeline_limit": 20, "required_state": required_state()}});
    let fourth = ask(&ada, pos(&third), 15_000, opened).await;
    assert_eq!(fourth["rooms"][&rooms[0]]["unstable_expanded_timeline"], true);
    assert!(fourth["rooms"][&rooms[0]]["timeline"].as_array().expect("a timeline").len() > 1);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    ada.create_room(json!({})).await;
    let own = pos(&ask(&ada, "", 0, room_list(9)).await).to_owned();
    let list = |ranges: Value| json!({"lists": {"l": {"ranges": ranges, "timeline_limit": 1}}});
    let many: serde_json::Map<_, _> =
        (0..101).map(|index| (format!("l{index}"), json!({"timeline_limit": 1}))).collect();
    for (row, query, body, errcode) in [
        ("a forged pos", "?pos=1.2%2F3", room_list(9), "M_UNKNOWN_POS"),
        ("a range backwards", "", list(json!([[9, 0]])), "M_INVALID_PARAM"),
        ("a negative range", "", list(json!([[-1, 0]])), "M_INVALID_PARAM"),
        ("101 lists", "", json!({"lists": many}), "M_INVALID_PARAM"),
        ("a presence", "?set_presence=asleep", room_list(9), "M_INVALID_PARAM"),
        ("no limit", "", json!({"lists": {"l": {"ranges": [[0, 1]]}}}), "M_BAD_JSON"),
        ("lists of another kind", "", json!({"lists": 5}), "M_BAD_JSON"),
    ] {
        ada.post(&format!("{UNSTABLE}{query}"), body).await.refused(row, 400, errcode);
    }
    let stolen = format!("{UNSTABLE}?pos={}", segment(&own));
    bob.post(&stolen, room_list(9)).await.refused("ada's pos", 400, "M_UNKNOWN_POS");
    let text = ada.call(http::Method::POST, UNSTABLE, "{".to_owned()).await;
    text.refused("no JSON", 400, "M_NOT_JSON");
    let stable = json!({"set_presence": "asleep"});
    ada.post(STABLE, stable).await.refused("a presence", 400, "M_INVALID_PARAM");
    server.post(STABLE, json!({})).await.refused("nobody", 401, "M_MISSING_TOKEN");
    let answer = ada.post(&stolen, room_list(9)).await;
    assert_eq!(answer.status, StatusCode::OK, "ada's own still stands");
}

#[tokio::test]
async fn the_merged_endpoint_takes_everything_from_the_body() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    let body = |pos: Option<&str>| {
        json!({
            "pos": pos,
            "timeout": 15_000,
            "set_presence": "offline",
            "lists": {"all": {
                "range": [0, 9],
                "timeline_limit": 5,
                "required_state": {"include": [{"type": "m.room.create"}], "lazy_members": true},
            }},
        })
    };
    let first = ada.post(STABLE, body(None)).await.ok();
    assert_eq!(first["lists"], json!({"all": {"count": 1}}));
    assert_eq!(first["rooms"][&room]["membership"], "join");
    let waiting = ada.post(STABLE, body(Some(pos(&first))));
    let (second, said) = tokio::join!(waiting, bob.say(&room, "t1", "hello"));
    let second = second.ok();
    assert_eq!(second["rooms"][&room]["timeline"][0]["event_id"], said);

    let from = segment(pos(&second));
    let path = format!("/v3/rooms/{}/messages?dir=b&limit=1&from={from}", segment(&room));
    let page = ada.get(&path).await.ok();
    assert_eq!(page["chunk"][0]["event_id"], said, "a pos is a place in the history, too");
}

#[tokio::test]
async fn logging_out_ends_a_poll() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    ada.create_room(json!({})).await;
    let first = ask(&ada, "", 0, room_list(9)).await;
    let path = format!("{UNSTABLE}?timeout=15000&pos={}", segment(pos(&first)));
    let waiting = ada.post(&path, room_list(9));
    let (poll, out) = tokio::join!(waiting, ada.post("/v3/logout", json!({})));
    out.ok();
    poll.refused("the poll", 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn threads_that_are_followed_are_told_and_can_be_paged_through() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let versions = server.get("/versions").await.ok();
    assert_eq!(versions["unstable_features"]["org.matrix.msc4306"], true);
    let room = ada.create_room(json!({})).await;
    let key = "io.element.msc4308.thread_subscriptions";
    let body = json!({"extensions": {key: {"enabled": true, "limit": 1}}});
    let first = ask(&ada, "", 0, body.clone()).await;
    let mut roots = Vec::new();
    for txn in ["t1", "t2"] {
        let root = ada.say(&room, txn, "root").await;
        let thread = format!("rooms/{}/thread/{}/subscription", segment(&room), segment(&root));
        ada.put(&format!("/unstable/io.element.msc4306/{thread}"), json!({})).await.ok();
        roots.push(root);
    }
    let second = ask(&ada, pos(&first), 15_000, body).await;
    let told = &second["extensions"][key];
    assert_eq!(told["subscribed"][&room][&roots[1]]["automatic"], false);
    let from = segment(told["prev_batch"].as_str().expect("there is more"));
    let path = "/unstable/io.element.msc4308/thread_subscriptions";
    let query = format!("{path}?dir=b&limit=5&from={from}&to={}", segment(pos(&first)));
    let page = ada.get(&query).await.ok();
    assert!(page["subscribed"][&room][&roots[0]].is_object() && page.get("end").is_none());
    ada.get(path).await.refused("no direction", 400, "M_MISSING_PARAM");
    ada.get(&format!("{path}?dir=f")).await.refused("forward", 400, "M_INVALID_PARAM");
    let none = ada.get(&format!("{path}?dir=b&limit=0")).await;
    none.refused("no limit", 400, "M_INVALID_PARAM");
}
