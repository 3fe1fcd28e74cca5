//! What is left of a user who had themselves erased, and for whom.

use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, message_path, segment},
};

const PASSWORD: &str = "correct horse battery";

/// The bodies of the messages that the user can read, the newest first; those without one are
/// `None`.
async fn read(user: &User<'_>, room: &str) -> Vec<Option<String>> {
    let path = format!("/v3/rooms/{}/messages?dir=b&limit=100", segment(room));
    let page = user.get(&path).await.ok();
    let events = page["chunk"].as_array().into_iter().flatten();
    let messages = events.filter(|event| event["type"] == "m.room.message");
    messages.map(|event| event["content"]["body"].as_str().map(str::to_owned)).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

async fn deactivate(user: &User<'_>, erase: bool) {
    let auth = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user.id },
        "password": PASSWORD,
    });
    user.post("/v3/account/deactivate", json!({ "auth": auth, "erase": erase })).await.ok();
}

#[tokio::test]
async fn who_comes_after_an_erasure_sees_what_a_redaction_would_leave() {
    let server = Server::start().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    let bob = server.user_with_password("bob", PASSWORD).await;
    let room = ada.room_with(&[&bob]).await;
    let first = bob.say(&room, "1", "secret").await;
    let edit = json!({
        "msgtype": "m.text", "body": "* edited secret",
        "m.new_content": { "msgtype": "m.text", "body": "edited secret" },
        "m.relates_to": { "rel_type": "m.replace", "event_id": first },
    });
    bob.put(&message_path(&room, "2"), edit).await.ok();
    ada.say(&room, "3", "public").await;
    let all = some(&["public", "* edited secret", "secret"]);
    assert_eq!(read(&ada, &room).await, all);
    deactivate(&bob, true).await;
    eve.join(&room).await.ok();
    assert_eq!(read(&ada, &room).await, all, "who was there still sees it");
    assert_eq!(read(&eve, &room).await, [Some("public".to_owned()), None, None]);
    let event = format!("/v3/rooms/{}/event/{}", segment(&room), segment(&first));
    let seen = eve.get(&event).await.ok();
    assert_eq!(seen["content"], json!({}), "{seen}");
    assert!(!eve.sync("", 0).await.to_string().contains("secret"), "sync tells no more");
    assert!(!seen.to_string().contains("secret"), "nor what is bundled: {seen}");
    let context = format!("/v3/rooms/{}/context/{}", segment(&room), segment(&first));
    assert!(!eve.get(&context).await.ok().to_string().contains("secret"));
    assert!(ada.get(&event).await.ok().to_string().contains("edited secret"));
}

#[tokio::test]
async fn an_account_that_only_ends_leaves_its_words() {
    let server = Server::start().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    let bob = server.user_with_password("bob", PASSWORD).await;
    let room = ada.room_with(&[&bob]).await;
    bob.say(&room, "1", "words").await;
    deactivate(&bob, false).await;
    eve.join(&room).await.ok();
    assert_eq!(read(&eve, &room).await, some(&["words"]));
}

#[tokio::test]
async fn account_data_and_profile_of_an_erased_account_are_gone() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user_with_password("bob", PASSWORD).await;
    for number in 0..600 {
        bob.set_account_data(&format!("test.{number}"), json!({ "a": 1 })).await.ok();
    }
    deactivate(&bob, true).await;
    let profile = format!("/v3/profile/{}", segment(&bob.id));
    ada.get(&profile).await.refused("the profile", 404, "M_NOT_FOUND");
    let name = ruma::owned_server_name!("x.test");
    let parts = (server.store.clone(), server.clock.clone(), stdx::Rng::from_seed(99));
    let config = accounts::Config::default();
    let accounts = accounts::Accounts::open(config, parts.0, parts.1, parts.2, name).await;
    let accounts = accounts.expect("accounts open");
    let user = ruma::UserId::parse(&bob.id).expect("an id");
    let left = accounts.all_account_data(&user).await.expect("it is read");
    let left: Vec<Value> = left.iter().map(|event| json!(event.event_type)).collect();
    assert_eq!(left, [json!("m.push_rules")], "what everybody has");
}
