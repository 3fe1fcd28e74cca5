//! Users who do not want to be invited: `m.invite_permission_config`.

use http::Method;
use serde_json::{Value, json};

use crate::{
    server::{Answer, Server},
    socket::Socket,
    user::{User, segment},
};

const CONFIG: &str = "m.invite_permission_config";

async fn set_action(user: &User<'_>, content: Value) {
    user.set_account_data(CONFIG, content).await.ok();
}

async fn invite(by: &User<'_>, room: &str, user: &User<'_>) -> Answer {
    by.post(&format!("/v3/rooms/{}/invite", segment(room)), json!({ "user_id": user.id })).await
}

fn invited(sync: &Value, room: &str) -> bool {
    sync["rooms"]["invite"][room].is_object()
}

async fn slide(user: &User<'_>) -> Value {
    let lists =
        json!({ "all": { "ranges": [[0, 20]], "timeline_limit": 1, "required_state": [] } });
    user.post("/v4/sync?timeout=0", json!({ "lists": lists })).await.ok()["rooms"].take()
}

#[tokio::test]
async fn who_blocks_invites_is_invited_by_no_way() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.create_room(json!({})).await;
    set_action(&bob, json!({ "default_action": "block" })).await;
    invite(&ada, &room, &bob).await.refused("invite", 403, "M_INVITE_BLOCKED");
    let path = format!("/v3/rooms/{}/state/m.room.member/{}", segment(&room), segment(&bob.id));
    let member = json!({ "membership": "invite" });
    ada.put(&path, member.clone()).await.refused("state", 403, "M_INVITE_BLOCKED");
    let body = json!({ "invite": [bob.id] });
    ada.post("/v3/createRoom", body).await.refused("createRoom", 403, "M_INVITE_BLOCKED");
    let joined = ada.get("/v3/joined_rooms").await.ok();
    assert_eq!(joined["joined_rooms"], json!([room]), "a room is left of what was refused");
    let mut socket = Socket::open(&ada).await;
    let state = json!({
        "room_id": room, "event_type": "m.room.member", "state_key": bob.id, "content": member,
    });
    let answer = socket.request_as("1", "state", state).await;
    assert_eq!(answer["error"]["errcode"], "M_INVITE_BLOCKED", "{answer}");
    assert!(!invited(&bob.sync("", 0).await, &room));
    // Other memberships are not invites, and who was invited before may still be told to go.
    ada.put(&path, json!({ "membership": "ban" })).await.ok();
    // Whoever wants to may still join.
    let open = ada.room_with(&[&bob]).await;
    assert!(bob.sync("", 0).await["rooms"]["join"][&open].is_object());
}

#[tokio::test]
async fn what_is_no_block_blocks_nothing() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    for content in [
        json!({}),
        json!({ "default_action": "allow" }),
        json!({ "default_action": "Block" }),
        json!({ "default_action": ["block"] }),
        json!({ "default_action": null }),
    ] {
        set_action(&bob, json!({ "default_action": "block" })).await;
        set_action(&bob, content.clone()).await;
        let room = ada.create_room(json!({})).await;
        let answer = invite(&ada, &room, &bob).await;
        assert_eq!(answer.status, 200, "{content}: {}", answer.body);
        assert!(invited(&bob.sync("", 0).await, &room), "{content}");
    }
}

/// MSC4155: what is ignored is taken as if nothing were the matter, and not shown.
#[tokio::test]
async fn single_inviters_are_blocked_or_ignored() {
    let server = Server::start().await;
    let (ada, bob, eve) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let versions = server.get("/versions").await.ok();
    assert_eq!(versions["unstable_features"]["org.matrix.msc4155"], true);
    let (of_ada, of_eve) = (ada.create_room(json!({})).await, eve.create_room(json!({})).await);
    let filter = json!({ "blocked_users": [eve.id] });
    let kind = "org.matrix.msc4155.invite_permission_config";
    bob.set_account_data(kind, filter).await.ok();
    invite(&eve, &of_eve, &bob).await.refused("eve", 403, "M_INVITE_BLOCKED");
    invite(&ada, &of_ada, &bob).await.ok();
    let filter = json!({ "ignored_users": ["@e*"], "blocked_servers": ["x.test"] });
    bob.set_account_data(kind, filter).await.ok();
    invite(&eve, &of_eve, &bob).await.ok();
    let told = bob.sync("", 0).await;
    assert!(!invited(&told, &of_eve) && !invited(&told, &of_ada), "{told}");
    assert!(slide(&bob).await.as_object().is_none_or(serde_json::Map::is_empty));
    bob.set_account_data(kind, json!({ "enabled": false })).await.ok();
    let told = bob.sync("", 0).await;
    assert!(invited(&told, &of_eve) && invited(&told, &of_ada), "{told}");
}

/// "Invite events for this user already in the database […] MUST NOT be served over client
/// synchronisation endpoints", and "MAY" be if blocking is disabled.
#[tokio::test]
async fn invites_of_before_are_hidden_while_all_are_blocked() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.create_room(json!({})).await;
    let since = bob.token_now().await;
    invite(&ada, &room, &bob).await.ok();
    let seen = async || {
        let notified = bob.get("/v3/notifications").await.ok()["notifications"].take();
        let old = bob.get("/v3/initialSync").await.ok();
        [
            invited(&bob.sync("", 0).await, &room),
            invited(&bob.sync(&since, 0).await, &room),
            slide(&bob).await[&room].is_object(),
            notified[0]["room_id"] == room.as_str(),
            old["rooms"][0]["room_id"] == room.as_str(),
        ]
    };
    assert_eq!(seen().await, [true; 5]);
    set_action(&bob, json!({ "default_action": "block" })).await;
    assert_eq!(seen().await, [false; 5]);
    // "Other endpoints […] are not affected".
    let state = format!("/v3/rooms/{}/state/m.room.member/{}", segment(&room), segment(&bob.id));
    let answer = ada.call(Method::GET, &state, String::new()).await.ok();
    assert_eq!(answer["membership"], "invite");
    set_action(&bob, json!({})).await;
    assert_eq!(seen().await, [true; 5]);
}
