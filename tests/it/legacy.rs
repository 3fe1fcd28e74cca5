//! What clients used before `/sync`: the event stream and the first look at everything.

use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

async fn events(user: &User<'_>, query: &str) -> (Vec<Value>, String) {
    let mut body = user.get(&format!("/v3/events?{query}")).await.ok();
    let Value::Array(chunk) = body["chunk"].take() else { panic!("no chunk: {body}") };
    (chunk, body["end"].as_str().expect("an end").to_owned())
}

fn of_type<'e>(events: &'e [Value], event_type: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == event_type).collect()
}

fn bodies(events: &[Value]) -> Vec<&str> {
    let messages = of_type(events, "m.room.message");
    messages.iter().filter_map(|event| event["content"]["body"].as_str()).collect()
}

#[tokio::test]
async fn the_stream_tells_each_event_once_and_in_order() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let (one, two) = (ada.room_with(&[&bob]).await, ada.room_with(&[&bob]).await);
    let (_, from) = events(&ada, "timeout=0").await;
    for number in 0..20 {
        let room = if number % 2 == 0 { &one } else { &two };
        bob.say(room, &number.to_string(), &number.to_string()).await;
    }
    let receipt = format!("/v3/rooms/{}/receipt/m.read/", segment(&one));
    let last = bob.say(&one, "last", "last").await;
    bob.post(&format!("{receipt}{}", segment(&last)), json!({})).await.ok();
    ada.set_account_data("test.data", json!({ "a": 1 })).await.ok();
    let (found, end) = events(&ada, &format!("timeout=0&from={from}")).await;
    let mut expected: Vec<String> = (0..20).map(|number: u32| number.to_string()).collect();
    expected.push("last".to_owned());
    assert_eq!(bodies(&found), expected);
    assert_eq!(found[0]["room_id"], one);
    assert_eq!(found[0]["user_id"], bob.id);
    assert_eq!(of_type(&found, "m.receipt")[0]["room_id"], one);
    assert_eq!(of_type(&found, "test.data")[0]["content"]["a"], 1);
    let (rest, _) = events(&ada, &format!("timeout=0&from={end}")).await;
    assert_eq!(bodies(&rest), Vec::<&str>::new());
}

#[tokio::test]
async fn the_stream_waits_and_tells_of_invitations() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[]).await;
    let (_, from) = events(&bob, "timeout=0").await;
    let query = format!("timeout=20000&from={from}");
    let invite = json!({ "user_id": bob.id });
    let path = format!("/v3/rooms/{}/invite", segment(&room));
    let ((mut found, mut end), invited) =
        tokio::join!(events(&bob, &query), ada.post(&path, invite));
    invited.ok();
    // The presence of bob himself may come first.
    while of_type(&found, "m.room.member").is_empty() {
        (found, end) = events(&bob, &format!("timeout=20000&from={end}")).await;
    }
    let member = of_type(&found, "m.room.member")[0];
    assert_eq!((&member["room_id"], &member["sender"]), (&json!(room), &json!(ada.id)));
    assert_eq!(member["content"]["membership"], "invite");
}

#[tokio::test]
async fn a_room_is_looked_into_from_outside_only_where_everybody_may_read() {
    let server = Server::start().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    let room = ada.room_with(&[]).await;
    ada.say(&room, "1", "hidden").await;
    let look = format!("/v3/rooms/{}/initialSync", segment(&room));
    let stream = format!("/v3/events?timeout=0&room_id={}", segment(&room));
    eve.get(&look).await.refused("initialSync", 403, "M_FORBIDDEN");
    eve.get(&stream).await.refused("events", 403, "M_FORBIDDEN");
    let open = json!({ "history_visibility": "world_readable" }).to_string();
    ada.set_state(&room, "m.room.history_visibility", &open).await.ok();
    ada.say(&room, "2", "open").await;
    let seen = eve.get(&look).await.ok();
    let Value::Array(chunk) = &seen["messages"]["chunk"] else { panic!("no chunk: {seen}") };
    assert_eq!(bodies(chunk), ["open"]);
    assert_eq!(chunk[0]["type"], "m.room.history_visibility");
    let end = seen["messages"]["end"].as_str().expect("an end");
    let query = format!("timeout=20000&from={end}&room_id={}", segment(&room));
    let ((mut found, mut end), _) = tokio::join!(events(&eve, &query), ada.say(&room, "3", "news"));
    while bodies(&found).is_empty() {
        let query = format!("timeout=20000&from={end}&room_id={}", segment(&room));
        (found, end) = events(&eve, &query).await;
    }
    assert_eq!(bodies(&found), ["news"]);
}

#[tokio::test]
async fn a_guest_listens_only_to_a_room_that_they_name() {
    let server = Server::unlimited_with("[registration]\nguests = true\n").await;
    let answer = server.post("/v3/register?kind=guest", json!({})).await.ok();
    let guest = User::new(&server, &answer);
    let stream = guest.get("/v3/events?timeout=0").await;
    stream.refused("everything", 403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[tokio::test]
async fn the_first_look_shows_every_room_as_it_is() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let (room, left) = (ada.room_with(&[&bob]).await, ada.room_with(&[&bob]).await);
    let message = ada.say(&room, "1", "hello").await;
    ada.say(&left, "2", "before").await;
    let receipt = format!("/v3/rooms/{}/receipt/m.read/{}", segment(&room), segment(&message));
    bob.post(&receipt, json!({})).await.ok();
    bob.post(&format!("/v3/rooms/{}/leave", segment(&left)), json!({})).await.ok();
    ada.say(&left, "3", "after").await;

    bob.set_account_data("test.data", json!({ "a": 1 })).await.ok();
    let body = bob.get("/v3/initialSync?limit=1").await.ok();
    assert_eq!(body["account_data"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!(body["rooms"].as_array().map(Vec::len), Some(1));
    let shown = &body["rooms"][0];
    assert_eq!((&shown["room_id"], &shown["membership"]), (&json!(room), &json!("join")));
    assert_eq!(shown["messages"]["chunk"][0]["event_id"], message);
    let Value::Array(state) = &shown["state"] else { panic!("no state: {shown}") };
    assert_eq!(of_type(state, "m.room.member").len(), 2);
    let receipt = &body["receipts"][0]["content"][&message]["m.read"][&bob.id];
    assert!(receipt["ts"].is_u64(), "{body}");
    let own = body["presence"]
        .as_array()
        .and_then(|all| all.iter().find(|event| event["content"]["user_id"] == bob.id.as_str()));
    assert_eq!(own.expect("own presence")["content"]["presence"], "online");

    let body = bob.get("/v3/initialSync?limit=2&archived=true").await.ok();
    let rooms = body["rooms"].as_array().expect("rooms");
    let shown = rooms.iter().find(|shown| shown["room_id"] == left.as_str()).expect("the room");
    assert_eq!(shown["membership"], "leave");
    assert_eq!(shown["messages"]["chunk"][0]["content"]["body"], "before");
    let one = bob.get(&format!("/v3/rooms/{}/initialSync?limit=0", segment(&left))).await.ok();
    assert_eq!((&one["membership"], &one["messages"]["chunk"]), (&json!("leave"), &json!([])));
    bob.get("/v3/initialSync?limit=x").await.refused("limit", 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn an_event_is_found_by_its_id_alone_by_who_may_see_it() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.create_room(json!({})).await;
    let event = ada.say(&room, "1", "hello").await;
    let path = format!("/v3/events/{}", segment(&event));
    let found = ada.get(&path).await.ok();
    assert_eq!((&found["content"]["body"], &found["room_id"]), (&json!("hello"), &json!(room)));
    bob.get(&path).await.refused("a stranger", 404, "M_NOT_FOUND");
    ada.get("/v3/events/$none").await.refused("no event", 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn a_room_is_forgotten_once_it_is_left() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let path = |what: &str| format!("/v3/rooms/{}/{what}", segment(&room));
    ada.post(&path("forget"), json!({})).await.refused("inside", 400, "M_UNKNOWN");
    ada.post(&path("leave"), json!({})).await.ok();
    ada.post(&path("forget"), json!({})).await.ok();
}
