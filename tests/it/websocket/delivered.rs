//! `im.meridian.delivered`: receipts for what a socket has acknowledged.

use serde_json::json;

use crate::{server::Server, socket::Socket, user::User};

const DELIVERED: &str = "im.meridian.delivered";

/// Acknowledges batches until one holds the event.
async fn take_in(socket: &mut Socket, event: &str) {
    loop {
        let batch = socket.batch().await;
        socket.ack(&batch).await;
        if batch.to_string().contains(event) {
            return;
        }
    }
}

/// Follows the room until the reader's receipt stands at the event.
async fn until_delivered(user: &User<'_>, mut since: String, room: &str, event: &str) {
    loop {
        let data = user.sync(&since, 10_000).await;
        let ephemeral = &data["rooms"]["join"][room]["ephemeral"]["events"];
        let mut contents = ephemeral.as_array().into_iter().flatten().map(|it| &it["content"]);
        if contents.any(|content| content[event][DELIVERED]["@ada:x.test"]["ts"].is_u64()) {
            return;
        }
        assert!(!data["rooms"].is_null(), "no receipt came: {data}");
        since = data["next_batch"].as_str().expect("a token").to_owned();
    }
}

#[tokio::test]
async fn the_sender_learns_of_the_newest_event_if_the_reader_wants_that() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = bob.room_with(&[&ada]).await;
    ada.set_account_data(DELIVERED, json!({ "enabled": true })).await.ok();
    let mut socket = Socket::open(&ada).await;
    socket.start(json!({ "since": ada.token_now().await })).await;
    bob.say(&room, "1", "first").await;
    let second = bob.say(&room, "2", "second").await;
    ada.say(&room, "3", "not by others").await;
    let since = bob.token_now().await;
    take_in(&mut socket, &second).await;
    until_delivered(&bob, since, &room, &second).await;

    // Having a message is not having read it.
    let since = bob.token_now().await;
    let third = bob.say(&room, "4", "third").await;
    take_in(&mut socket, &third).await;
    until_delivered(&bob, since, &room, &third).await;
    let own = ada.sync("", 0).await;
    let unread = &own["rooms"]["join"][&room]["unread_notifications"]["notification_count"];
    assert_eq!(unread, &json!(1), "{own}");
}

#[tokio::test]
async fn nobody_tells_who_did_not_ask_to() {
    for wish in [
        None,
        Some(json!({ "enabled": false })),
        Some(json!({ "enabled": "yes" })),
        Some(json!({})),
    ] {
        let server = Server::start().await;
        let (ada, bob) = (server.user("ada").await, server.user("bob").await);
        let room = bob.room_with(&[&ada]).await;
        if let Some(wish) = &wish {
            ada.set_account_data(DELIVERED, wish.clone()).await.ok();
        }
        let mut socket = Socket::open(&ada).await;
        socket.start(json!({ "since": ada.token_now().await })).await;
        let newest = bob.say(&room, "1", "hello").await;
        take_in(&mut socket, &newest).await;
        // A receipt that is meant to be seen comes first, so the other would have been there.
        let read = json!({ "room_id": room, "type": "m.read", "event_id": newest });
        Socket::result(&socket.request("receipt", read).await);
        let all = bob.sync("", 0).await.to_string();
        assert!(all.contains("m.read") && !all.contains(DELIVERED), "{wish:?}: {all}");
    }
}
