//! Acting as a user, and as a device of theirs.

use http::Method;
use serde_json::{Value, json};

use super::{AS_TOKEN, bridge, ghost, holder, region_with};
use crate::user::{User, segment};

fn as_user(path: &str, user: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}user_id={}", segment(user))
}

async fn whoami(bridge: &User<'_>, query: &str) -> crate::server::Answer {
    bridge.get(&format!("/v3/account/whoami{query}")).await
}

#[tokio::test]
async fn a_bridge_acts_as_its_users_without_a_token_of_theirs() {
    let (server, _dir) = region_with(&[&bridge()], "").await;
    let (bridge, ada) = (holder(&server, AS_TOKEN), server.user("ada").await);
    let bot = whoami(&bridge, "").await.ok();
    assert_eq!(bot, json!({ "user_id": "@bridge-bot:x.test" }));
    let path = format!("/_matrix/client/v3/account/whoami?access_token={AS_TOKEN}");
    assert_eq!(server.send(Method::GET, &path, None, "").await.ok(), bot);

    whoami(&bridge, "?user_id=@ada:x.test").await.refused("a person", 403, "M_FORBIDDEN");
    let bea = "?user_id=@_bridge_bea:x.test";
    whoami(&bridge, bea).await.refused("nobody yet", 403, "M_FORBIDDEN");
    ghost(&bridge, "_bridge_bea").await.ok();
    assert_eq!(whoami(&bridge, bea).await.ok()["user_id"], "@_bridge_bea:x.test");

    let room = ada.room_with(&[]).await;
    let join = as_user(&format!("/v3/rooms/{}/join", segment(&room)), "@_bridge_bea:x.test");
    bridge.post(&join, json!({})).await.ok();
    let send = format!("/v3/rooms/{}/send/m.room.message/1", segment(&room));
    let send = as_user(&send, "@_bridge_bea:x.test");
    let text = json!({ "msgtype": "m.text", "body": "hello" });
    let sent = bridge.put(&send, text.clone()).await.ok();
    assert_eq!(bridge.put(&send, text).await.ok(), sent, "the transaction is known");
    let path = format!("/v3/rooms/{}/messages?dir=b&limit=1", segment(&room));
    let newest = ada.get(&path).await.ok()["chunk"][0].take();
    assert_eq!(newest["sender"], "@_bridge_bea:x.test");
    assert_eq!(newest["event_id"], sent["event_id"]);

    let deactivate = as_user("/v3/account/deactivate", "@_bridge_bea:x.test");
    bridge.post(&deactivate, json!({})).await.ok();
    whoami(&bridge, bea).await.refused("gone", 403, "M_USER_DEACTIVATED");
}

#[tokio::test]
async fn a_bridge_makes_devices_and_acts_as_them() {
    let (server, _dir) = region_with(&[&bridge()], "").await;
    let bridge = holder(&server, AS_TOKEN);
    ghost(&bridge, "_bridge_bea").await.ok();
    let bea = "@_bridge_bea:x.test";
    let device = |id: &str| as_user(&format!("/v3/devices/{id}"), bea);
    let made = bridge.put(&device("PHONE"), json!({ "display_name": "Phone" })).await;
    assert_eq!(made.status, 201);
    assert_eq!(bridge.put(&device("PHONE"), json!({})).await.status, 200);
    assert_eq!(bridge.get(&device("PHONE")).await.ok()["display_name"], "Phone");

    for key in ["device_id", "org.matrix.msc3202.device_id"] {
        let query = format!("?user_id={bea}&{key}=PHONE");
        assert_eq!(whoami(&bridge, &query).await.ok()["device_id"], "PHONE", "{key}");
        let query = format!("?user_id={bea}&{key}=TABLET");
        whoami(&bridge, &query).await.refused(key, 400, "M_UNKNOWN_DEVICE");
        let query = format!("?{key}=PHONE");
        whoami(&bridge, &query).await.refused("the bot's", 400, "M_UNKNOWN_DEVICE");
    }

    let upload = as_user("/v3/keys/upload", bea);
    let keys = json!({ "one_time_keys": { "curve25519:A": "abc" } });
    bridge.post(&upload, keys.clone()).await.refused("no device", 400, "M_MISSING_PARAM");
    let upload = format!("{upload}&device_id=PHONE");
    let counts = bridge.post(&upload, keys).await.ok();
    assert_eq!(counts["one_time_key_counts"]["curve25519"], 1);

    bridge.call(Method::DELETE, &device("PHONE"), "{}".to_owned()).await.ok();
    let query = format!("?user_id={bea}&device_id=PHONE");
    whoami(&bridge, &query).await.refused("deleted", 400, "M_UNKNOWN_DEVICE");
}

#[tokio::test]
async fn a_bridge_says_when_an_event_was() {
    let (server, _dir) = region_with(&[&bridge()], "").await;
    let (bridge, ada) = (holder(&server, AS_TOKEN), server.user("ada").await);
    let room = ada.room_with(&[]).await;
    bridge.join(&room).await.ok();
    let room_path = format!("/v3/rooms/{}", segment(&room));
    let time = async |event: Value| {
        let id = event["event_id"].as_str().expect("an event").to_owned();
        let path = format!("{room_path}/event/{}", segment(&id));
        ada.get(&path).await.ok()["origin_server_ts"].as_u64().expect("a time")
    };
    let text = json!({ "msgtype": "m.text", "body": "long ago" });
    let message = |txn: &str, ts: &str| format!("{room_path}/send/m.room.message/{txn}?ts={ts}");
    let state = |ts: &str| format!("{room_path}/state/org.example.clock/x?ts={ts}");
    assert_eq!(time(bridge.put(&message("1", "1234"), text.clone()).await.ok()).await, 1234);
    ada.set_state(&room, "m.room.power_levels", r#"{"users_default": 100}"#).await;
    let sent = ada.put(&message("1", "1234"), text.clone()).await.ok();
    assert!(time(sent).await > 1234, "a person does not choose");
    for (ts, path) in [("-1", message("2", "-1")), ("2^53", state("9007199254740992"))] {
        let answer = bridge.put(&path, text.clone()).await;
        assert_eq!(answer.status, 400, "{ts}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_bridge_logs_its_users_in() {
    let (server, _dir) = region_with(&[&bridge()], "").await;
    let bridge = holder(&server, AS_TOKEN);
    let flows = server.get("/v3/login").await.ok()["flows"].take();
    let flow = json!({ "type": "m.login.application_service" });
    assert!(flows.as_array().expect("a list").contains(&flow), "{flows}");
    server.user("ada").await;
    ghost(&bridge, "_bridge_bea").await.ok();
    let login = |user: &str| {
        json!({
            "type": "m.login.application_service", "device_id": "DESK",
            "identifier": { "type": "m.id.user", "user": user },
        })
    };
    let bea = bridge.post("/v3/login", login("_bridge_bea")).await.ok();
    let bea = User::new(&server, &bea);
    assert_eq!(whoami(&bea, "").await.ok()["device_id"], "DESK");
    bridge.post("/v3/login", login("ada")).await.refused("a person", 400, "M_EXCLUSIVE");
    let nobody = bridge.post("/v3/login", login("_bridge_eve")).await;
    nobody.refused("nobody", 403, "M_FORBIDDEN");
    server.post("/v3/login", login("_bridge_bea")).await.refused("", 401, "M_MISSING_TOKEN");
    for token in ["no-token", &bea.token] {
        let other = holder(&server, token);
        let refused = other.post("/v3/login", login("_bridge_bea")).await;
        refused.refused(token, 403, "M_FORBIDDEN");
    }
}

#[tokio::test]
async fn rates_are_not_limited_where_the_registration_says_so() {
    let limits = "[rate_limits]\nmessage = [0.001, 1]\nother = [0.001, 20]\n";
    let limited = bridge().replace("AS", "").replace("rate_limited: false", "rate_limited: true");
    let limited = limited.replace("bridge", "slow").replace(AS_TOKEN, "slow-token");
    let (server, _dir) = region_with(&[&bridge(), &limited], limits).await;
    for (token, user, allowed) in [
        (AS_TOKEN, "_bridge_bea", true),
        ("slow-token", "_slow_bea", false),
        ("slow-token", "slow-bot", true),
    ] {
        let bridge = holder(&server, token);
        if user.starts_with('_') {
            ghost(&bridge, user).await.ok();
        }
        let id = format!("@{user}:x.test");
        let room = bridge.post(&as_user("/v3/createRoom", &id), json!({})).await.ok();
        let room = segment(room["room_id"].as_str().expect("a room"));
        let mut refused = 0;
        for txn in 0..5 {
            let path = as_user(&format!("/v3/rooms/{room}/send/m.room.message/{txn}"), &id);
            let text = json!({ "msgtype": "m.text", "body": "" });
            refused += u32::from(bridge.put(&path, text).await.status == 429);
        }
        assert_eq!(refused == 0, allowed, "{user}: {refused}");
    }
}
