//! What a join leaves in the room, over HTTP.

use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

async fn member(user: &User<'_>, room: &str) -> Value {
    let path = format!("/v3/rooms/{}/state/m.room.member/{}", segment(room), segment(&user.id));
    user.get(&path).await.ok()
}

#[tokio::test]
async fn further_keys_of_a_join_are_in_the_member_event() {
    let server = Server::start().await;
    let (ada, bob, eve) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let room = ada.room_with(&[]).await;
    let body = json!({ "foo": "bar", "reason": "why not", "membership": "ban" });
    bob.post(&format!("/v3/rooms/{}/join", segment(&room)), body.clone()).await.ok();
    eve.post(&format!("/v3/join/{}", segment(&room)), body).await.ok();
    for user in [&bob, &eve] {
        let content = member(user, &room).await;
        assert_eq!(content["foo"], "bar");
        assert_eq!(content["reason"], "why not");
        assert_eq!(content["membership"], "join");
    }
    let mallory = server.user("mallory").await;
    let bad = json!({ "displayname": 5 });
    let path = format!("/v3/join/{}", segment(&room));
    mallory.post(&path, bad).await.refused("no name", 400, "M_BAD_JSON");
}
