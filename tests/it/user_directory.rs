//! Who is found by whom. The index follows the log, so what it shows is waited for.

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    server::{PATIENCE, Server},
    user::{User, segment},
};

async fn search(user: &User<'_>, term: &str) -> Value {
    user.post("/v3/user_directory/search", json!({ "search_term": term })).await.ok()
}

fn ids(found: &Value) -> Vec<&str> {
    let users = found["results"].as_array().into_iter().flatten();
    users.filter_map(|user| user["user_id"].as_str()).collect()
}

/// Asks until the answer is as expected.
async fn finds(user: &User<'_>, term: &str, expected: &[&User<'_>]) {
    let mut expected: Vec<&str> = expected.iter().map(|user| &*user.id).collect();
    expected.sort_unstable();
    let begun = Instant::now();
    loop {
        let found = search(user, term).await;
        let mut found = ids(&found);
        found.sort_unstable();
        if found == expected {
            return;
        }
        let waited = begun.elapsed();
        assert!(waited < PATIENCE, "{} finds {found:?} by {term:?}, not {expected:?}", user.id);
        tokio::task::yield_now().await;
    }
}

/// A room that only those are in who are invited.
async fn private_room(user: &User<'_>, others: &[&User<'_>]) -> String {
    let room = user.create_room(json!({ "preset": "private_chat" })).await;
    for other in others {
        let invite = format!("/v3/rooms/{}/invite", segment(&room));
        user.post(&invite, json!({ "user_id": other.id })).await.ok();
        other.join(&room).await.ok();
    }
    room
}

async fn leave(user: &User<'_>, room: &str) {
    user.post(&format!("/v3/rooms/{}/leave", segment(room)), json!({})).await.ok();
}

async fn set_name(user: &User<'_>, name: &str) {
    let path = format!("/v3/profile/{}/displayname", segment(&user.id));
    user.put(&path, json!({ "displayname": name })).await.ok();
}

#[tokio::test]
async fn users_of_public_rooms_are_found_by_everybody_as_long_as_they_are_there() {
    let server = Server::start().await;
    let (ada, bob, eve) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let room = ada.create_room(json!({ "preset": "public_chat" })).await;
    finds(&eve, "ada", &[&ada]).await;
    bob.join(&room).await.ok();
    finds(&eve, "bo", &[&bob]).await;
    finds(&eve, "@bob:x.test", &[&bob]).await;
    finds(&eve, "eve", &[]).await;
    leave(&bob, &room).await;
    finds(&eve, "bob", &[]).await;
    set_name(&ada, "Countess of Lovelace").await;
    finds(&eve, "love", &[&ada]).await;
    let found = search(&eve, "countess lovelace").await;
    let expected = json!({
        "results": [{ "user_id": ada.id, "display_name": "Countess of Lovelace" }],
        "limited": false,
    });
    assert_eq!(found, expected);
    set_name(&ada, "Ada King").await;
    finds(&eve, "love", &[]).await;
    finds(&eve, "king", &[&ada]).await;
    ada.post("/v3/logout/all", json!({})).await.ok();
    finds(&eve, "king", &[&ada]).await;
}

#[tokio::test]
async fn users_of_private_rooms_are_found_by_those_who_share_one() {
    let server = Server::start().await;
    let (ada, bob, eve) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let (one, two) = (private_room(&ada, &[&bob]).await, private_room(&ada, &[&bob]).await);
    finds(&ada, "bob", &[&bob]).await;
    finds(&bob, "ada", &[&ada]).await;
    finds(&ada, "ada", &[]).await;
    finds(&eve, "ada", &[]).await;
    set_name(&bob, "Robert").await;
    finds(&ada, "robert", &[&bob]).await;
    finds(&eve, "robert", &[]).await;
    leave(&bob, &one).await;
    finds(&ada, "robert", &[&bob]).await;
    leave(&bob, &two).await;
    finds(&ada, "robert", &[]).await;
    finds(&bob, "ada", &[]).await;
    // An invite is not a room that is shared.
    let room = ada.create_room(json!({ "invite": [bob.id] })).await;
    finds(&ada, "bob", &[]).await;
    bob.join(&room).await.ok();
    finds(&ada, "bob", &[&bob]).await;
}

#[tokio::test]
async fn rooms_that_open_and_close_take_their_members_along() {
    let server = Server::start().await;
    let (ada, bob, eve) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let room = private_room(&ada, &[&bob]).await;
    finds(&ada, "bob", &[&bob]).await;
    let (public, invite) = (r#"{"join_rule":"public"}"#, r#"{"join_rule":"invite"}"#);
    let readable = r#"{"history_visibility":"world_readable"}"#;
    let shared = r#"{"history_visibility":"shared"}"#;
    for (event_type, content, found) in [
        ("m.room.join_rules", public, true),
        ("m.room.join_rules", invite, false),
        ("m.room.history_visibility", readable, true),
        ("m.room.join_rules", public, true),
        ("m.room.join_rules", invite, true),
        ("m.room.history_visibility", shared, false),
    ] {
        ada.set_state(&room, event_type, content).await.ok();
        let expected: &[&User<'_>] = if found { &[&bob] } else { &[] };
        finds(&eve, "bob", expected).await;
        finds(&ada, "bob", &[&bob]).await;
    }
}

/// Without waiting: the index may be behind, and then it is the room that decides.
#[tokio::test]
async fn nobody_is_shown_a_moment_longer_than_they_may_be() {
    let server = Server::start().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    for _ in 0..20 {
        let room = ada.create_room(json!({ "preset": "public_chat" })).await;
        finds(&eve, "ada", &[&ada]).await;
        leave(&ada, &room).await;
        assert_eq!(ids(&search(&eve, "ada").await), Vec::<&str>::new());
    }
    let room = ada.create_room(json!({ "preset": "public_chat" })).await;
    for _ in 0..20 {
        ada.set_state(&room, "m.room.join_rules", r#"{"join_rule":"public"}"#).await.ok();
        finds(&eve, "ada", &[&ada]).await;
        ada.set_state(&room, "m.room.join_rules", r#"{"join_rule":"invite"}"#).await.ok();
        assert_eq!(ids(&search(&eve, "ada").await), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn results_are_limited_and_the_very_name_comes_first() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({ "preset": "public_chat" })).await;
    for number in 0..60 {
        let user = server.user(&format!("user{number}")).await;
        user.join(&room).await.ok();
    }
    let last = server.user("user").await;
    last.join(&room).await.ok();
    let begun = Instant::now();
    while !ids(&search(&ada, "user").await).contains(&&*last.id) {
        assert!(begun.elapsed() < PATIENCE, "the last one is never found");
    }
    let found = search(&ada, "user").await;
    assert_eq!((ids(&found).len(), &found["limited"]), (10, &json!(true)));
    assert_eq!(ids(&found)[0], last.id, "the very name");
    let ask = async |limit: Value| {
        let body = json!({ "search_term": "user", "limit": limit });
        ada.post("/v3/user_directory/search", body).await
    };
    assert_eq!(ids(&ask(json!(3)).await.ok()).len(), 3);
    assert_eq!(ids(&ask(json!(1000)).await.ok()).len(), 50);
    ask(json!(-1)).await.refused("a limit", 400, "M_BAD_JSON");
    assert_eq!(search(&ada, "").await, json!({ "results": [], "limited": false }));
    let nobody = server.send(Method::POST, "/_matrix/client/v3/user_directory/search", None, "{}");
    nobody.await.refused("a stranger", 401, "M_MISSING_TOKEN");
}

#[tokio::test]
async fn a_name_that_is_redacted_finds_nobody() {
    let server = Server::start().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    let room = ada.create_room(json!({ "preset": "public_chat" })).await;
    set_name(&ada, "Regretted").await;
    finds(&eve, "regretted", &[&ada]).await;
    let me = format!("/v3/rooms/{}/state/m.room.member/{}", segment(&room), segment(&ada.id));
    let event = ada.get(&format!("{me}?format=event")).await.ok();
    let event = segment(event["event_id"].as_str().expect("an id"));
    let redact = format!("/v3/rooms/{}/redact/{event}/1", segment(&room));
    ada.put(&redact, json!({})).await.ok();
    finds(&eve, "regretted", &[]).await;
    finds(&eve, "ada", &[&ada]).await;
}
