//! Hazard C4: who was put out of a room by another server is told nothing of what comes after, by
//! no way of asking, and a stranger is told nothing at all.

use http::Method;
use serde_json::{Value, json};

use super::{Scene, server_of};
use crate::{
    server::PATIENCE,
    user::{User, event_id, segment},
};

const SLIDING: &str = "/unstable/org.matrix.simplified_msc3575/sync";

fn subscription(connection: &str, room: &str) -> Value {
    let wanted = json!({ "timeline_limit": 20, "required_state": [["*", "*"]] });
    json!({
        "conn_id": connection,
        "lists": { "all": { "ranges": [[0, 9]], "timeline_limit": 20, "required_state": [["*", "*"]] } },
        "room_subscriptions": { room: wanted },
        "extensions": { "typing": { "enabled": true }, "receipts": { "enabled": true } },
    })
}

async fn slide(user: &User<'_>, pos: &str, body: Value) -> Value {
    let pos = if pos.is_empty() { String::new() } else { format!("&pos={}", segment(pos)) };
    user.post(&format!("{SLIDING}?timeout=0{pos}"), body).await.ok()
}

/// Everything that a client can ask about a room.
pub(super) async fn all_outlets(user: &User<'_>, room: &str, event: &str) -> String {
    let (seg, id) = (segment(room), segment(event));
    let mut outlets = String::new();
    for path in [
        "/v3/sync?set_presence=offline".to_owned(),
        format!("/v3/rooms/{seg}/state"),
        format!("/v3/rooms/{seg}/state/m.room.topic"),
        format!("/v3/rooms/{seg}/members"),
        format!("/v3/rooms/{seg}/joined_members"),
        format!("/v3/rooms/{seg}/messages?dir=b&limit=100"),
        format!("/v3/rooms/{seg}/messages?dir=f&limit=100"),
        format!("/v3/rooms/{seg}/event/{id}"),
        format!("/v3/rooms/{seg}/context/{id}?limit=50"),
        format!("/v1/rooms/{seg}/relations/{id}"),
        format!("/v1/rooms/{seg}/threads"),
        format!("/v1/rooms/{seg}/hierarchy"),
        format!("/v1/rooms/{seg}/timestamp_to_event?ts=0&dir=f"),
        format!("/v3/rooms/{seg}/initialSync"),
        "/v3/notifications".to_owned(),
    ] {
        let answer = user.call(Method::GET, &path, String::new()).await;
        assert!(answer.status.as_u16() < 500, "{path}: {}", answer.body);
        outlets.push_str(&answer.body.to_string());
    }
    outlets.push_str(&slide(user, "", subscription("anew", room)).await.to_string());
    outlets
}

async fn kick(scene: &Scene, room: &str, who: &str, how: &str) {
    let path = format!("/v3/rooms/{}/{how}", segment(room));
    scene.ada().post(&path, json!({ "user_id": who })).await.ok();
}

#[tokio::test]
async fn who_was_put_out_is_told_nothing_of_what_comes_after() {
    for how in ["kick", "ban"] {
        let scene = Scene::new("11").await;
        let (ada, carl) = (scene.ada(), scene.carl());
        let dora = scene.third.user("dora").await;
        let join = format!("/v3/join/{}?via={}", segment(&scene.room), scene.us_name());
        dora.post(&join, json!({})).await.ok();
        // Of a room that everybody may join, everybody may read a summary.
        let since = carl.token_now().await;
        let rules = ada.set_state(&scene.room, "m.room.join_rules", r#"{"join_rule":"invite"}"#);
        scene.until_told(&carl, &since, &event_id(&rules.await.ok())).await;
        // In an open poll, an open sliding connection, and a subscription.
        let since = carl.token_now().await;
        let first = slide(&carl, "", subscription("open", &scene.room)).await;
        let pos = first["pos"].as_str().expect("a position").to_owned();
        let dora_since = dora.token_now().await;
        let (told, ()) = tokio::join!(
            async {
                let mut since = since.clone();
                loop {
                    let news = carl.sync(&since, 5000).await;
                    if news["rooms"]["leave"][&scene.room].is_object() {
                        return news;
                    }
                    since = news["next_batch"].as_str().expect("a token").to_owned();
                }
            },
            kick(&scene, &scene.room, &carl.id, how),
        );
        let since = told["next_batch"].as_str().expect("a token").to_owned();
        let said = ada.say(&scene.room, "after", "the secret").await;
        ada.set_state(&scene.room, "m.room.topic", r#"{"topic":"the secret"}"#).await.ok();
        let hers = scene.evil.sign(&scene.evil.message(&scene, "the secret").await);
        scene.evil.tell_all(&scene, "after", &[hers.json().clone()]).await;
        // It is there, for those who are.
        scene.until_told(&dora, &dora_since, hers.event_id().as_str()).await;
        for event in [said.as_str(), hers.event_id().as_str()] {
            let outlets = all_outlets(&carl, &scene.room, event).await;
            assert!(!outlets.contains("the secret"), "{how}: {outlets}");
            assert!(!outlets.contains(event), "{how}: {outlets}");
        }
        let news = carl.sync(&since, 0).await.to_string();
        let slid = slide(&carl, &pos, subscription("open", &scene.room)).await;
        let again = slid["pos"].as_str().expect("a position");
        let later = slide(&carl, again, subscription("open", &scene.room)).await;
        for told in [&news, &slid.to_string(), &later.to_string()] {
            assert!(!told.contains("the secret"), "{how}: {told}");
            assert!(!told.contains(&said), "{how}: {told}");
        }
    }
}

/// By a room's id alone, on the server that has the room and on one that has it from there.
#[tokio::test]
async fn a_stranger_is_told_nothing_by_a_rooms_id() {
    let scene = Scene::new("12").await;
    let (ada, carl) = (scene.ada(), scene.carl());
    let rules = r#"{"join_rule":"invite"}"#;
    ada.set_state(&scene.room, "m.room.join_rules", rules).await.ok();
    ada.set_state(&scene.room, "m.room.topic", r#"{"topic":"the secret"}"#).await.ok();
    let since = carl.token_now().await;
    let said = ada.say(&scene.room, "secret", "the secret").await;
    let waited = scene.until_told(&carl, &since, &said);
    tokio::time::timeout(PATIENCE, waited).await.expect("it is there");
    for server in [&scene.us, &scene.third] {
        let eve = server.user("eve").await;
        let outlets = all_outlets(&eve, &scene.room, &said).await;
        for word in ["the secret", said.as_str(), server_of(&scene.ada)] {
            let own = word == server_of(&scene.ada) && eve.id.ends_with(word);
            let is_told = outlets.replace(&scene.room, "").contains(word);
            assert!(own || !is_told, "{word} in {outlets}");
        }
    }
}
