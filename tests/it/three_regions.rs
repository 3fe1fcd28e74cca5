//! Three regions in one process share nothing.

use serde_json::json;

use crate::{
    server::{START_MS, Server},
    user::{User, messages, segment},
};

const NAMES: [&str; 3] = ["a.test", "b.test", "c.test"];
const SECTIONS: &str = "[rate_limits]\nenabled = false\n";

async fn three() -> Vec<Server> {
    let mut servers = Vec::new();
    for name in NAMES {
        servers.push(Server::named(name, SECTIONS).await);
    }
    servers
}

#[tokio::test]
async fn users_on_each_talk_and_nothing_leaks() {
    let servers = three().await;
    let mut rooms = Vec::new();
    for (server, name) in servers.iter().zip(NAMES) {
        let (ada, bob) = (server.user("ada").await, server.user("bob").await);
        assert_eq!(ada.id, format!("@ada:{name}"));
        let room = ada
            .create_room(json!({ "preset": "public_chat", "visibility": "public", "name": name }))
            .await;
        bob.join(&room).await.ok();
        ada.say(&room, "t1", &format!("hello {name}")).await;
        let seen = bob.sync("", 0).await;
        assert_eq!(messages(&seen, &room), [format!("hello {name}")]);
        rooms.push((ada, room));
    }
    for (at, (ada, _)) in rooms.iter().enumerate() {
        let directory = ada.get("/v3/publicRooms").await.ok();
        assert_eq!(directory["chunk"].as_array().map(Vec::len), Some(1), "{directory}");
        assert_eq!(directory["chunk"][0]["name"], NAMES[at]);
        for (_, foreign) in rooms.iter().enumerate().filter(|(other, _)| *other != at) {
            strangers(ada, foreign).await;
        }
    }
}

/// What one region's user is told of another region's user and room.
async fn strangers(ada: &User<'_>, (other, room): &(User<'_>, String)) {
    let guest = User { token: other.token.clone(), ..ada.clone() };
    guest.get("/v3/account/whoami").await.refused("a foreign token", 401, "M_UNKNOWN_TOKEN");
    let state = format!("/v3/rooms/{}/state", segment(room));
    ada.get(&state).await.refused("a foreign room", 403, "M_FORBIDDEN");
    let since = other.token_now().await;
    let answer = ada.get(&format!("/v3/sync?since={since}")).await;
    answer.refused("a foreign position", 400, "M_INVALID_PARAM");
    let profile = ada.get(&format!("/v3/profile/{}", segment(&other.id))).await;
    assert_ne!(profile.status, 200, "{}", profile.body);
}

#[tokio::test]
async fn each_has_its_own_clock_and_end() {
    let mut servers = three().await;
    servers[1].clock.advance(86_400_000);
    let mut stamps = Vec::new();
    for server in &servers {
        let ada = server.user("ada").await;
        let room = ada.create_room(json!({})).await;
        let event = ada.say(&room, "t", "now").await;
        let path = format!("/v3/rooms/{}/event/{}", segment(&room), segment(&event));
        let event = ada.get(&path).await.ok();
        stamps.push(event["origin_server_ts"].as_u64().expect("a time"));
    }
    assert_eq!(stamps, [START_MS, START_MS + 86_400_000, START_MS]);
    servers.remove(0).stop().await;
    for server in &servers {
        server.get("/versions").await.ok();
    }
}
