//! What users have said of a room holds for the room that replaces it.

use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

async fn tag(user: &User<'_>, room: &str) {
    let path = format!("/v3/user/{}/rooms/{}/tags/u.fine", segment(&user.id), segment(room));
    user.put(&path, json!({ "order": 0.5 })).await.ok();
}

async fn tags(user: &User<'_>, room: &str) -> Value {
    let path = format!("/v3/user/{}/rooms/{}/tags", segment(&user.id), segment(room));
    user.get(&path).await.ok()["tags"].take()
}

#[tokio::test]
async fn tags_and_direct_chats_go_along_for_who_goes_along() {
    let server = Server::start().await;
    let (ada, bob, eve) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let old = ada.room_with(&[&bob]).await;
    for user in [&ada, &bob, &eve] {
        tag(user, &old).await;
    }
    ada.set_account_data("m.direct", json!({ &*bob.id: [old] })).await.ok();
    let mute = json!({ "actions": [] });
    ada.put(&format!("/v3/pushrules/global/room/{}", segment(&old)), mute).await.ok();
    let path = format!("/v3/rooms/{}/upgrade", segment(&old));
    let upgraded = ada.post(&path, json!({ "new_version": "11" })).await.ok();
    let new = upgraded["replacement_room"].as_str().expect("a room id");
    let expected = json!({ "u.fine": { "order": 0.5 } });
    assert_eq!(tags(&ada, new).await, expected);
    let path = format!("/v3/user/{}/account_data/m.direct", segment(&ada.id));
    assert_eq!(ada.get(&path).await.ok(), json!({ &*bob.id: [old, new] }));
    let rule = ada.get(&format!("/v3/pushrules/global/room/{}", segment(new))).await.ok();
    assert_eq!(rule["actions"], json!([]));
    assert_eq!(tags(&bob, new).await, json!({}));
    bob.join(new).await.ok();
    assert_eq!(tags(&bob, new).await, expected);
    // Who was never in the old room, whatever they said of it.
    eve.join(new).await.ok();
    assert_eq!(tags(&eve, new).await, json!({}));
}

#[tokio::test]
async fn a_room_that_only_claims_to_replace_another_gets_nothing() {
    let server = Server::start().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    let old = ada.room_with(&[]).await;
    tag(&ada, &old).await;
    let predecessor = json!({ "predecessor": { "room_id": old, "event_id": "$x" } });
    let body = json!({ "preset": "public_chat", "creation_content": predecessor });
    let new = eve.create_room(body).await;
    ada.join(&new).await.ok();
    assert_eq!(tags(&ada, &new).await, json!({}));
}

#[tokio::test]
async fn an_event_is_redacted_without_a_transaction_as_clients_of_old_do() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.room_with(&[]).await;
    let event = ada.say(&room, "1", "gone").await;
    let path = format!("/v3/rooms/{}/redact/{}", segment(&room), segment(&event));
    ada.post(&path, json!({ "reason": "why" })).await.ok();
    let path = format!("/v3/rooms/{}/event/{}", segment(&room), segment(&event));
    assert_eq!(ada.get(&path).await.ok()["content"], json!({}));
}
