//! What happens is told to an application service, once, in order, and for as long as it takes.

use http::Method;
use serde_json::{Value, json};

use super::{
    AS_TOKEN,
    bridge::{Bridge, events},
    ghost, holder, region_with, registration,
};
use crate::user::{User, segment};

fn has_body(body: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["content"]["body"] == body
}

async fn join_as(bridge: &User<'_>, room: &str, user: &str) {
    let path = format!("/v3/rooms/{}/join?user_id={}", segment(room), segment(user));
    bridge.post(&path, json!({})).await.ok();
}

#[tokio::test]
async fn events_of_rooms_that_it_is_interested_in_are_sent_to_a_bridge() {
    let bridge = Bridge::start().await;
    let yaml = registration("bridge", AS_TOKEN, &bridge.url(), "_bridge_");
    let (server, _dir) = region_with(&[&yaml], "").await;
    let (token, ada) = (holder(&server, AS_TOKEN), server.user("ada").await);
    ghost(&token, "_bridge_bea").await.ok();

    let private = ada.create_room(json!({})).await;
    ada.say(&private, "1", "nobody else's").await;
    let room = ada.room_with(&[]).await;
    ada.say(&room, "1", "before").await;
    join_as(&token, &room, "@_bridge_bea:x.test").await;
    ada.say(&room, "2", "with a ghost").await;
    let event = bridge.event("events", has_body("with a ghost")).await;
    assert_eq!((&event["room_id"], &event["sender"]), (&json!(room), &json!(ada.id)));
    let joined = bridge.event("events", |event| event["type"] == "m.room.member").await;
    assert_eq!(joined["state_key"], "@_bridge_bea:x.test");

    // An invite asks for nobody to be in the room; its room is shown with it.
    let named = json!({ "name": "Tea", "invite": ["@_bridge_bea:x.test"] });
    let invited = ada.create_room(named).await;
    let invite = bridge.event("events", |event| event["content"]["membership"] == "invite").await;
    assert_eq!(invite["room_id"], json!(invited));
    let state = invite["unsigned"]["invite_room_state"].to_string();
    assert!(state.contains("Tea"), "{invite}");

    // A room by its alias, and for as long as it has it.
    let aliased = ada.room_with(&[]).await;
    let alias = format!("/v3/directory/room/{}", segment("#_bridge_tea:x.test"));
    token.put(&alias, json!({ "room_id": aliased })).await.ok();
    ada.say(&aliased, "1", "with an alias").await;
    bridge.event("events", has_body("with an alias")).await;
    token.call(Method::DELETE, &alias, String::new()).await.ok();
    ada.say(&aliased, "2", "without").await;
    ada.say(&room, "3", "the end").await;
    bridge.event("events", has_body("the end")).await;

    let seen = bridge.seen();
    let told = events(&seen, "events");
    for body in ["nobody else's", "before", "without"] {
        assert!(!told.iter().any(has_body(body)), "{body}");
    }
    let first = &seen[0];
    assert_eq!(first.path, "/as/_matrix/app/v1/transactions/1");
    assert_eq!(first.headers["authorization"], "Bearer hs-bridge");
    assert_eq!(first.method, Method::PUT);
    assert!(events(&seen, "ephemeral").is_empty());
}

#[tokio::test]
async fn a_transaction_is_sent_as_it_is_until_it_is_answered_and_others_do_not_wait() {
    let (broken, well) = (Bridge::start().await, Bridge::start().await);
    broken.answer(|_| (500, json!({})));
    let yaml = registration("broken", AS_TOKEN, &broken.url(), "_broken_");
    let other = registration("well", "well-token", &well.url(), "_well_");
    let (server, _dir) = region_with(&[&yaml, &other], "").await;
    let (token, ada) = (holder(&server, AS_TOKEN), server.user("ada").await);
    let room = ada.room_with(&[]).await;
    for (token, user) in [(&token, "_broken_bea"), (&holder(&server, "well-token"), "_well_bea")] {
        ghost(token, user).await.ok();
        join_as(token, &room, &format!("@{user}:x.test")).await;
    }
    ada.say(&room, "1", "one").await;
    well.event("events", has_body("one")).await;
    broken.find(|seen| (seen.len() >= 2).then_some(())).await;
    ada.say(&room, "2", "two").await;
    well.event("events", has_body("two")).await;
    broken.answer(|_| (200, json!({})));
    broken.event("events", has_body("two")).await;
    let seen = broken.seen();
    let first: Vec<_> = seen.iter().filter(|sent| sent.path.ends_with("/1")).collect();
    assert!(first.len() > 1 && first.iter().all(|sent| sent.body == first[0].body), "{seen:#?}");
    // In order, and each once but for the repetitions.
    let mut told = events(&seen[first.len() - 1..], "events");
    told.retain(|event| event["type"] == "m.room.message");
    let bodies: Vec<_> = told.iter().map(|event| event["content"]["body"].clone()).collect();
    assert_eq!(bodies, ["one", "two"], "{seen:#?}");
}

#[tokio::test]
async fn a_bridge_of_before_the_paths_had_versions_is_told_by_the_older_one() {
    let bridge = Bridge::start().await;
    bridge.answer(|sent| match sent.path.contains("/_matrix/app/v1") {
        true => (404, json!({ "errcode": "M_UNRECOGNIZED" })),
        false => (200, json!({})),
    });
    let yaml = registration("bridge", AS_TOKEN, &bridge.url(), "_bridge_");
    let (server, _dir) = region_with(&[&yaml], "").await;
    let token = holder(&server, AS_TOKEN);
    let room = token.post("/v3/createRoom", json!({})).await.ok();
    let path = bridge.find(|seen| Some(seen.get(1)?.path.clone())).await;
    assert_eq!(path, "/as/transactions/1?access_token=hs-bridge");
    let created = bridge.event("events", |event| event["type"] == "m.room.create").await;
    assert_eq!(created["room_id"], room["room_id"]);
}

#[tokio::test]
async fn what_passes_is_told_to_those_who_asked_for_it() {
    let (curious, other) = (Bridge::start().await, Bridge::start().await);
    let yaml = registration("curious", AS_TOKEN, &curious.url(), "_curious_");
    let yaml = format!("{yaml}receive_ephemeral: true\n");
    let plain = registration("other", "other-token", &other.url(), "_other_");
    let (server, _dir) = region_with(&[&yaml, &plain], "").await;
    let (token, ada) = (holder(&server, AS_TOKEN), server.user("ada").await);
    let room = ada.room_with(&[]).await;
    token.join(&room).await.ok();
    holder(&server, "other-token").join(&room).await.ok();
    let said = ada.say(&room, "1", "look").await;

    let typing = format!("/v3/rooms/{}/typing/{}", segment(&room), segment(&ada.id));
    ada.put(&typing, json!({ "typing": true, "timeout": 30_000 })).await.ok();
    let typing = curious.event("ephemeral", |event| event["type"] == "m.typing").await;
    assert_eq!(typing["content"]["user_ids"], json!([ada.id]));
    assert_eq!(typing["room_id"], json!(room));

    let receipt =
        |kind: &str| format!("/v3/rooms/{}/receipt/{kind}/{}", segment(&room), segment(&said));
    ada.post(&receipt("m.read.private"), json!({})).await.ok();
    token.post(&receipt("m.read.private"), json!({})).await.ok();
    ada.post(&receipt("m.read"), json!({ "thread_id": "main" })).await.ok();
    let has_receipt = |kind: &'static str, user: String| {
        let said = said.clone();
        move |event: &Value| event["content"][&said][kind].get(&user).is_some()
    };
    let public = curious.event("ephemeral", has_receipt("m.read", ada.id.clone())).await;
    assert_eq!(public["room_id"], json!(room));
    assert_eq!(public["content"][&said]["m.read"][&ada.id]["thread_id"], "main");
    let bot = "@curious-bot:x.test".to_owned();
    curious.event("ephemeral", has_receipt("m.read.private", bot)).await;

    let presence = format!("/v3/presence/{}/status", segment(&ada.id));
    ada.put(&presence, json!({ "presence": "online", "status_msg": "tea" })).await.ok();
    let is_it = |event: &Value| event["content"]["status_msg"] == "tea";
    let presence = curious.event("ephemeral", is_it).await;
    assert_eq!((&presence["type"], &presence["sender"]), (&json!("m.presence"), &json!(ada.id)));

    let seen = events(&curious.seen(), "ephemeral");
    assert!(!seen.iter().any(has_receipt("m.read.private", ada.id.clone())), "{seen:#?}");
    ada.say(&room, "2", "the end").await;
    other.event("events", has_body("the end")).await;
    assert_eq!(events(&other.seen(), "ephemeral"), [Value::Null; 0]);
}
