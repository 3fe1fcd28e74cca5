//! What administrators may do about accounts, and what it does to those.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::{
    server::Server,
    socket::{Closed, Socket},
    user::{User, message_path, segment},
};

const PASSWORD: &str = "correct horse battery";
const SECTIONS: &str = "[registration]\nshared_secret = \"s\"\n";

pub(crate) async fn administrator<'s>(server: &'s Server, name: &str) -> User<'s> {
    const PATH: &str = "/_synapse/admin/v1/register";
    let answer = server.send(Method::GET, PATH, None, "").await.ok();
    let nonce = answer["nonce"].as_str().expect("a nonce");
    let mut mac = Hmac::<Sha1>::new_from_slice(b"s").expect("any key");
    mac.update([nonce, name, PASSWORD, "admin"].join("\0").as_bytes());
    let mac: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({
        "nonce": nonce, "username": name, "password": PASSWORD, "admin": true, "mac": mac,
    });
    User::new(server, &server.send(Method::POST, PATH, None, body.to_string()).await.ok())
}

fn path(what: &str, user: &str) -> String {
    format!("/v1/admin/{what}/{}", segment(user))
}

#[tokio::test]
async fn whois_tells_of_the_devices_of_ones_own_and_administrators_of_all() {
    let server = Server::unlimited_with(SECTIONS).await;
    let root = administrator(&server, "root").await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    ada.get("/v3/account/whoami").await.ok();
    let whois = format!("/v3/admin/whois/{}", segment(&ada.id));
    for who in [&ada, &root] {
        let found = who.get(&whois).await.ok();
        assert_eq!(found["user_id"], ada.id);
        let connection = &found["devices"][&ada.device]["sessions"][0]["connections"][0];
        assert_eq!(connection["ip"], "127.0.0.1", "{found}");
        assert_eq!(connection["last_seen"], crate::server::START_MS);
        assert!(connection.get("user_agent").is_some(), "{found}");
    }
    bob.get(&whois).await.refused("somebody else", 403, "M_FORBIDDEN");
    let nobody = format!("/v3/admin/whois/{}", segment("@nobody:x.test"));
    bob.get(&nobody).await.refused("nobody, to nobody", 403, "M_FORBIDDEN");
    root.get(&nobody).await.refused("nobody", 404, "M_NOT_FOUND");
    let elsewhere = format!("/v3/admin/whois/{}", segment("@eve:y.test"));
    root.get(&elsewhere).await.refused("elsewhere", 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn only_administrators_restrict_and_only_those_who_are_none() {
    let server = Server::unlimited_with(SECTIONS).await;
    let (root, other) = (administrator(&server, "root").await, administrator(&server, "r2").await);
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    for (what, key) in [("suspend", "suspended"), ("lock", "locked")] {
        let body = json!({ key: true });
        for target in [&*ada.id, "@nobody:x.test"] {
            bob.put(&path(what, target), body.clone()).await.refused(target, 403, "M_FORBIDDEN");
            bob.get(&path(what, target)).await.refused(target, 403, "M_FORBIDDEN");
        }
        for target in [&root.id, &other.id] {
            root.put(&path(what, target), body.clone()).await.refused(target, 403, "M_FORBIDDEN");
        }
        let nobody = root.put(&path(what, "@nobody:x.test"), body.clone()).await;
        nobody.refused("nobody", 404, "M_NOT_FOUND");
        let elsewhere = root.put(&path(what, "@eve:y.test"), body.clone()).await;
        elsewhere.refused("elsewhere", 400, "M_INVALID_PARAM");
        assert_eq!(root.get(&path(what, &ada.id)).await.ok()[key], false);
        assert_eq!(root.put(&path(what, &ada.id), body).await.ok()[key], true);
        assert_eq!(root.get(&path(what, &ada.id)).await.ok()[key], true);
    }
    let moderation = |answer: Value| answer["capabilities"]["m.account_moderation"].clone();
    let told = moderation(root.get("/v3/capabilities").await.ok());
    assert_eq!(told, json!({ "suspend": true, "lock": true }));
    assert_eq!(moderation(bob.get("/v3/capabilities").await.ok()), Value::Null);
}

#[tokio::test]
async fn a_locked_account_waits_until_the_lock_is_taken_off() {
    let server = Server::unlimited_with(SECTIONS).await;
    let root = administrator(&server, "root").await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    let phone = server.log_in("ada", PASSWORD, "PHONE").await;
    let mut socket = Socket::open(&ada).await;
    let since = ada.token_now().await;
    let filter = "%7B%22presence%22%3A%7B%22not_types%22%3A%5B%22*%22%5D%7D%7D";
    let poll = format!("/v3/sync?timeout=60000&since={since}&filter={filter}");
    let lock = async |locked: bool| {
        root.put(&path("lock", &ada.id), json!({ "locked": locked })).await.ok();
    };
    let (poll, ()) = tokio::join!(ada.get(&poll), lock(true));
    assert_eq!(poll.refused("a poll", 401, "M_USER_LOCKED")["soft_logout"], true);
    assert_eq!(socket.closed().await, Closed::With(4006));
    let refused = ada.get("/v3/account/whoami").await.refused("a request", 401, "M_USER_LOCKED");
    assert_eq!(refused["soft_logout"], true);
    let login = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "ada" },
        "password": PASSWORD,
        "device_id": "NEW",
    });
    server.post("/v3/login", login.clone()).await.refused("a login", 401, "M_USER_LOCKED");
    phone.post("/v3/logout", json!({})).await.ok();
    lock(false).await;
    ada.get("/v3/account/whoami").await.ok();
    phone.get("/v3/account/whoami").await.refused("logged out", 401, "M_UNKNOWN_TOKEN");
    let devices = ada.get("/v3/devices").await.ok();
    let devices: Vec<_> = devices["devices"].as_array().into_iter().flatten().collect();
    assert_eq!(devices.len(), 1, "the refused login made no device: {devices:?}");
    server.post("/v3/login", login).await.ok();
}

#[tokio::test]
async fn a_suspended_account_reads_and_takes_back_its_own_words_only() {
    let server = Server::unlimited_with(SECTIONS).await;
    let root = administrator(&server, "root").await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    let other_room = bob.create_room(json!({ "preset": "public_chat" })).await;
    let (mine, his) = (ada.say(&room, "1", "mine").await, bob.say(&room, "1", "his").await);
    let mut socket = Socket::open(&ada).await;
    let suspend = async |suspended: bool| {
        root.put(&path("suspend", &ada.id), json!({ "suspended": suspended })).await.ok();
    };
    suspend(true).await;
    let room_path = format!("/v3/rooms/{}", segment(&room));
    let display_name = format!("/v3/profile/{}/displayname", segment(&ada.id));
    let redact = |event: &str, txn: &str| format!("{room_path}/redact/{}/{txn}", segment(event));
    let content = json!({ "msgtype": "m.text", "body": "no" });
    let before = bob.witness(&room).await;
    let refused = [
        ("send", ada.put(&message_path(&room, "2"), content.clone()).await),
        ("state", ada.set_state(&room, "m.room.name", "{\"name\":\"no\"}").await),
        ("join", ada.join(&other_room).await),
        ("knock", ada.post(&format!("/v3/knock/{}", segment(&other_room)), json!({})).await),
        ("invite", ada.post(&format!("{room_path}/invite"), json!({ "user_id": root.id })).await),
        ("kick", ada.post(&format!("{room_path}/kick"), json!({ "user_id": bob.id })).await),
        ("create", ada.post("/v3/createRoom", json!({})).await),
        ("name", ada.put(&display_name, json!({ "displayname": "no" })).await),
        ("redact", ada.put(&redact(&his, "3"), json!({})).await),
    ];
    for (what, answer) in refused {
        answer.refused(what, 403, "M_USER_SUSPENDED");
    }
    let params = json!({ "room_id": room, "event_type": "m.room.message", "content": content });
    let answer = socket.request("send", params).await;
    assert_eq!(answer["error"]["errcode"], "M_USER_SUSPENDED", "a socket that was open: {answer}");
    assert_eq!(bob.witness(&room).await, before);
    ada.get(&format!("{room_path}/messages?dir=b")).await.ok();
    ada.put(&redact(&mine, "4"), json!({})).await.ok();
    suspend(false).await;
    ada.say(&room, "5", "again").await;
    suspend(true).await;
    ada.post(&format!("{room_path}/leave"), json!({})).await.ok();
}
