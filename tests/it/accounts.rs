//! How accounts come into being, prove who they are, and end, over HTTP.

use accounts::NewRegistrationToken;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use sha1::Sha1;
use stdx::Rng;

use crate::{
    server::{START_MS, Server},
    socket::Socket,
    user::{User, segment},
};

const PASSWORD: &str = "correct horse";

fn password_auth(user: &str, password: &str, session: &Value) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user },
        "password": password,
        "session": session,
    })
}

fn stages(info: &Value) -> Vec<&str> {
    let stages = info["flows"][0]["stages"].as_array();
    stages.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn registration_asks_for_the_dummy_stage() {
    let server = Server::start().await;
    let mut body = json!({ "username": "ada", "password": PASSWORD });
    let asked = server.post("/v3/register", body.clone()).await;
    assert_eq!(asked.status, 401);
    assert_eq!(stages(&asked.body), ["m.login.dummy"]);
    body["auth"] = json!({ "type": "m.login.dummy", "session": asked.body["session"] });
    let ada = User::new(&server, &server.post("/v3/register", body.clone()).await.ok());
    assert_eq!(ada.get("/v3/account/whoami").await.ok()["user_id"], "@ada:x.test");
    body["auth"] = json!({ "type": "m.login.dummy" });
    server.post("/v3/register", body).await.refused("again", 400, "M_USER_IN_USE");
    let weak = json!({ "username": "bob", "password": "short" });
    server.post("/v3/register", weak).await.refused("weak", 400, "M_WEAK_PASSWORD");
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_may_be_repeated() {
    let server = Server::start().await;
    let mut body = json!({ "password": PASSWORD, "device_id": "d1" });
    let asked = server.post("/v3/register", body.clone()).await;
    let auth = json!({ "type": "m.login.dummy", "session": asked.body["session"] });
    body["auth"] = auth.clone();
    let first = server.post("/v3/register", body.clone()).await.ok();
    let again = server.post("/v3/register", body.clone()).await.ok();
    assert_eq!(again["user_id"], first["user_id"]);
    let user = User::new(&server, &again);
    assert_eq!(user.get("/v3/account/whoami").await.ok()["user_id"], first["user_id"]);
    body["username"] = json!("somebody_else");
    server.post("/v3/register", body).await.refused("another name", 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_registration_remembers_what_was_said_first() {
    let server = Server::start().await;
    let body = json!({ "username": "ada", "password": PASSWORD, "device_id": "d1" });
    let asked = server.post("/v3/register", body).await;
    let session = &asked.body["session"];
    let auth = json!({ "auth": { "type": "m.login.dummy", "session": session } });
    let ada = User::new(&server, &server.post("/v3/register", auth).await.ok());
    assert_eq!((&*ada.id, &*ada.device), ("@ada:x.test", "d1"));
    server.log_in("ada", PASSWORD, "d2").await;
    let quiet = json!({ "username": "bob", "inhibit_login": true });
    let asked = server.post("/v3/register", quiet).await;
    let session = &asked.body["session"];
    let auth = json!({ "auth": { "type": "m.login.dummy", "session": session } });
    let answer = server.post("/v3/register", auth).await.ok();
    assert_eq!((&answer["user_id"], answer.get("access_token")), (&json!("@bob:x.test"), None));
}

#[tokio::test]
async fn a_guest_becomes_a_full_account_with_their_own_token_only() {
    let server = Server::unlimited_with("[registration]\nguests = true\n").await;
    let guest = async || {
        let answer = server.post("/v3/register?kind=guest", json!({})).await.ok();
        User::new(&server, &answer)
    };
    let (ada, eve) = (guest().await, guest().await);
    let name = ada.id.trim_start_matches('@').trim_end_matches(":x.test");
    let body = |token: &str| {
        json!({
            "username": name,
            "password": PASSWORD,
            "guest_access_token": token,
            "auth": { "type": "m.login.dummy" },
        })
    };
    let refused = server.post("/v3/register", body(&eve.token)).await;
    refused.refused("eve's token", 403, "M_FORBIDDEN");
    let full = User::new(&server, &server.post("/v3/register", body(&ada.token)).await.ok());
    assert_eq!(full.id, ada.id);
    assert_ne!(full.get("/v3/account/whoami").await.ok()["is_guest"], true);
    ada.get("/v3/account/whoami").await.refused("the guest's token", 401, "M_UNKNOWN_TOKEN");
    server.log_in(name, PASSWORD, "d2").await;
    let again = server.post("/v3/register", body(&full.token)).await;
    again.refused("no guest", 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn registration_may_be_closed() {
    let server = Server::unlimited_with("[registration]\nenabled = false\n").await;
    let body = json!({ "username": "ada", "auth": { "type": "m.login.dummy" } });
    server.post("/v3/register", body).await.refused("closed", 403, "M_FORBIDDEN");
}

pub(crate) async fn registration_token(server: &Server, uses: u32) -> String {
    let name = ruma::owned_server_name!("x.test");
    let parts = (server.store.clone(), server.clock.clone(), Rng::from_seed(99));
    let config = accounts::Config::default();
    let accounts = accounts::Accounts::open(config, parts.0, parts.1, parts.2, name).await;
    let new = NewRegistrationToken { uses_allowed: Some(uses), ..Default::default() };
    accounts.expect("accounts open").create_registration_token(new).await.expect("a token").token
}

#[tokio::test]
async fn a_registration_token_and_terms_are_asked_for_in_order() {
    let sections = "[registration]\nrequire_token = true\nterms_url = \"https://x.test/terms\"\n";
    let server = Server::unlimited_with(sections).await;
    let token = registration_token(&server, 1).await;
    let register = async |name: &str, auth: Value| {
        server.post("/v3/register", json!({ "username": name, "auth": auth })).await
    };
    let asked = server.post("/v3/register", json!({ "username": "ada" })).await.body;
    assert_eq!(stages(&asked), ["m.login.registration_token", "m.login.terms"]);
    assert!(asked["params"]["m.login.terms"]["policies"].is_object(), "{asked}");
    let session = &asked["session"];
    let with_token = |token: &str| json!({ "type": "m.login.registration_token", "token": token, "session": session });
    let terms = json!({ "type": "m.login.terms", "session": session });
    assert_eq!(register("ada", terms.clone()).await.status, 401, "terms come second");
    assert_eq!(register("ada", with_token("junk")).await.status, 401, "an unknown token");
    let half = register("ada", with_token(&token)).await;
    assert_eq!(half.body["completed"], json!(["m.login.registration_token"]));
    register("ada", terms).await.ok();
    let validity = format!("/v1/register/m.login.registration_token/validity?token={token}");
    assert_eq!(server.get(&validity).await.ok()["valid"], false, "it is spent");
}

#[tokio::test]
async fn a_password_change_needs_the_password() {
    let server = Server::start().await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    let bob = server.user_with_password("bob", PASSWORD).await;
    let other = server.log_in("ada", PASSWORD, "OTHER").await;
    let change = async |auth: Value| {
        ada.post("/v3/account/password", json!({ "new_password": "battery staple", "auth": auth }))
            .await
    };
    let asked = change(Value::Null).await;
    assert_eq!((asked.status.as_u16(), stages(&asked.body)), (401, vec!["m.login.password"]));
    let session = &asked.body["session"];
    let wrong = change(password_auth("ada", "wrong horse", session)).await;
    wrong.refused("a wrong password", 401, "M_FORBIDDEN");
    let theirs = change(password_auth("bob", PASSWORD, session)).await;
    theirs.refused("the password of another", 403, "M_FORBIDDEN");
    let path = format!("/v3/devices/{}", segment(&other.device));
    let body = json!({ "auth": password_auth("ada", PASSWORD, session) }).to_string();
    let misused = ada.call(Method::DELETE, &path, body).await;
    misused.refused("a session of another request", 403, "M_FORBIDDEN");
    change(password_auth("ada", PASSWORD, session)).await.ok();
    other.get("/v3/account/whoami").await.refused("the other device", 401, "M_UNKNOWN_TOKEN");
    ada.get("/v3/account/whoami").await.ok();
    bob.get("/v3/account/whoami").await.ok();
    server.log_in("ada", "battery staple", "NEW").await;
}

#[tokio::test]
async fn devices_are_deleted_with_the_password_only() {
    let server = Server::start().await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    for (name, many) in [("ONE", false), ("TWO", true)] {
        let other = server.log_in("ada", PASSWORD, name).await;
        let delete = async |auth: Value| {
            let body = json!({ "auth": auth, "devices": [name] });
            if many {
                ada.post("/v3/delete_devices", body).await
            } else {
                ada.call(Method::DELETE, &format!("/v3/devices/{name}"), body.to_string()).await
            }
        };
        let asked = delete(Value::Null).await;
        assert_eq!(asked.status, 401, "{}", asked.body);
        other.get("/v3/account/whoami").await.ok();
        delete(password_auth("ada", PASSWORD, &asked.body["session"])).await.ok();
        other.get("/v3/account/whoami").await.refused(name, 401, "M_UNKNOWN_TOKEN");
        ada.get(&format!("/v3/devices/{name}")).await.refused(name, 404, "M_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_deactivated_account_is_over() {
    let server = Server::start().await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    let bob = server.user("bob").await;
    let room = bob.room_with(&[&ada]).await;
    let auth = password_auth("ada", PASSWORD, &Value::Null);
    ada.post("/v3/account/deactivate", json!({ "auth": auth })).await.ok();
    ada.get("/v3/account/whoami").await.refused("the token", 401, "M_UNKNOWN_TOKEN");
    let login = json!({
        "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": "ada" },
    });
    let refused = server.post("/v3/login", login).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let again = json!({ "username": "ada", "auth": { "type": "m.login.dummy" } });
    server.post("/v3/register", again).await.refused("the name", 400, "M_USER_IN_USE");
    let members = format!("/v3/rooms/{}/joined_members", segment(&room));
    let joined = bob.get(&members).await.ok();
    assert!(joined["joined"][&ada.id].is_null(), "{joined}");
}

#[tokio::test]
async fn guests_are_let_in_where_that_is_configured() {
    let closed = Server::start().await;
    let refused = closed.post("/v3/register?kind=guest", json!({})).await;
    refused.refused("no guests", 403, "M_GUEST_ACCESS_FORBIDDEN");
    let server = Server::unlimited_with("[registration]\nguests = true\n").await;
    let guest = User::new(&server, &server.post("/v3/register?kind=guest", json!({})).await.ok());
    assert_eq!(guest.get("/v3/account/whoami").await.ok()["is_guest"], true);
    guest.post("/v3/createRoom", json!({})).await.refused(
        "a room",
        403,
        "M_GUEST_ACCESS_FORBIDDEN",
    );
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({ "preset": "public_chat" })).await;
    guest.join(&room).await.refused("no guests here", 403, "M_GUEST_ACCESS_FORBIDDEN");
    let access = r#"{"guest_access":"can_join"}"#;
    ada.set_state(&room, "m.room.guest_access", access).await.ok();
    guest.join(&room).await.ok();
    server.post("/v3/register?kind=robot", json!({})).await.refused("kind", 400, "M_UNRECOGNIZED");
}

/// Section "Guest access" lists what guests may do.
#[tokio::test]
async fn guests_do_what_is_listed_and_nothing_else() {
    let server = Server::unlimited_with("[registration]\nguests = true\n").await;
    let guest = User::new(&server, &server.post("/v3/register?kind=guest", json!({})).await.ok());
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({ "preset": "public_chat" })).await;
    let access = r#"{"guest_access":"can_join"}"#;
    ada.set_state(&room, "m.room.guest_access", access).await.ok();
    guest.join(&room).await.ok();
    let event = guest.say(&room, "1", "hello").await;
    let (id, room_id) = (segment(&guest.id), segment(&room));
    let name = format!("/v3/profile/{id}/displayname");
    guest.put(&name, json!({ "displayname": "Guest" })).await.ok();
    guest.put(&format!("/v3/devices/{}", guest.device), json!({})).await.ok();
    guest.post(&format!("/v3/user/{id}/filter"), json!({})).await.ok();
    guest.post("/v4/sync?timeout=0", json!({})).await.ok();
    guest.post("/v3/keys/query", json!({ "device_keys": {} })).await.ok();
    guest.post("/v3/publicRooms", json!({})).await.ok();
    for (path, body) in [
        (format!("/v3/rooms/{room_id}/invite"), json!({ "user_id": ada.id })),
        (format!("/v3/rooms/{room_id}/kick"), json!({ "user_id": ada.id })),
        (format!("/v3/knock/{room_id}"), json!({})),
        (format!("/v3/rooms/{room_id}/receipt/m.read/{}", segment(&event)), json!({})),
        ("/v3/search".to_owned(), json!({})),
        ("/v3/pushers/set".to_owned(), json!({})),
        ("/v3/room_keys/version".to_owned(), json!({})),
        ("/v3/keys/device_signing/upload".to_owned(), json!({})),
    ] {
        guest.post(&path, body).await.refused(&path, 403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    for (path, body) in [
        (format!("/v3/profile/{id}/avatar_url"), json!({ "avatar_url": "mxc://x.test/a" })),
        (format!("/v3/profile/{id}/m.tz"), json!({ "m.tz": "Europe/London" })),
        (format!("/v3/rooms/{room_id}/typing/{id}"), json!({ "typing": true })),
        (format!("/v3/presence/{id}/status"), json!({ "presence": "online" })),
        (format!("/v3/user/{id}/account_data/org.example"), json!({})),
    ] {
        guest.put(&path, body).await.refused(&path, 403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    let mut socket = Socket::open(&guest).await;
    let typing = json!({ "room_id": room, "typing": true });
    let answer = socket.request_as("1", "typing", typing).await;
    assert_eq!(answer["error"]["errcode"], "M_GUEST_ACCESS_FORBIDDEN", "{answer}");
    guest.post("/v3/logout", json!({})).await.ok();
}

#[tokio::test]
async fn no_token_is_good_where_nobody_may_register() {
    let path = "/v1/register/m.login.registration_token/validity?token=any";
    let server = Server::with("[registration]\nenabled = false\n").await;
    server.get(path).await.refused("closed", 403, "M_FORBIDDEN");
    assert_eq!(Server::start().await.get(path).await.ok(), json!({ "valid": false }));
}

fn mac(secret: &str, nonce: &str, name: &str, admin: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update([nonce, name, PASSWORD, admin].join("\0").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_shared_secret_registers() {
    const PATH: &str = "/_synapse/admin/v1/register";
    let server =
        Server::unlimited_with("[registration]\nenabled = false\nshared_secret = \"s\"\n").await;
    let nonce = async || {
        let answer = server.send(Method::GET, PATH, None, "").await.ok();
        answer["nonce"].as_str().expect("a nonce").to_owned()
    };
    let register = async |nonce: &str, mac: &str| {
        let body = json!({
            "nonce": nonce, "username": "ada", "password": PASSWORD, "admin": true, "mac": mac,
        });
        server.send(Method::POST, PATH, None, body.to_string()).await
    };
    let wrong = nonce().await;
    let answer = register(&wrong, &mac("t", &wrong, "ada", "admin")).await;
    answer.refused("another secret", 403, "M_FORBIDDEN");
    let less = nonce().await;
    let answer = register(&less, &mac("s", &less, "ada", "notadmin")).await;
    answer.refused("made for less", 403, "M_FORBIDDEN");
    let once = nonce().await;
    let right = mac("s", &once, "ada", "admin");
    let ada = User::new(&server, &register(&once, &right).await.ok());
    ada.get("/v3/account/whoami").await.ok();
    register(&once, &right).await.refused("a used nonce", 400, "M_UNKNOWN");
}

#[tokio::test]
async fn tokens_are_refreshed_once() {
    let server = Server::start().await;
    let body = json!({
        "username": "ada", "refresh_token": true, "auth": { "type": "m.login.dummy" },
    });
    let registered = server.post("/v3/register", body).await.ok();
    assert_eq!(registered["expires_in_ms"], 3_600_000);
    let old = User::new(&server, &registered);
    server.clock.advance(3_600_000);
    let expired = old.get("/v3/account/whoami").await.refused("expired", 401, "M_UNKNOWN_TOKEN");
    assert_eq!(expired["soft_logout"], true);
    let refresh = async |token: &Option<String>| {
        server.post("/v3/refresh", json!({ "refresh_token": token })).await
    };
    let pair = refresh(&old.refresh_token).await.ok();
    let new =
        User { token: pair["access_token"].as_str().expect("a token").to_owned(), ..old.clone() };
    new.get("/v3/account/whoami").await.ok();
    refresh(&old.refresh_token).await.refused("used twice", 401, "M_UNKNOWN_TOKEN");
    // Two have it, so nobody keeps the session.
    new.get("/v3/account/whoami").await.refused("a stolen session", 401, "M_UNKNOWN_TOKEN");
    refresh(&Some("junk".to_owned())).await.refused("junk", 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_login_token_works_once_and_for_two_minutes() {
    let server = Server::start().await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    let token = async || {
        let auth = password_auth("ada", PASSWORD, &Value::Null);
        let answer = ada.post("/v1/login/get_token", json!({ "auth": auth })).await.ok();
        json!({ "type": "m.login.token", "token": answer["login_token"] })
    };
    let asked = ada.post("/v1/login/get_token", json!({})).await;
    assert_eq!(asked.status, 401);
    let first = token().await;
    assert_eq!(server.post("/v3/login", first.clone()).await.ok()["user_id"], ada.id);
    server.post("/v3/login", first).await.refused("used", 403, "M_FORBIDDEN");
    let late = token().await;
    server.clock.advance(121_000);
    server.post("/v3/login", late).await.refused("late", 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_jwt_logs_in_and_registers() {
    let server = Server::unlimited_with("[login.jwt]\nenabled = true\nsecret = \"s\"\n").await;
    let token = |secret: &str, claims: Value| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token");
        json!({ "type": "org.matrix.login.jwt", "token": token })
    };
    let now = START_MS / 1000;
    for _ in 0..2 {
        let answer = server.post("/v3/login", token("s", json!({ "sub": "ada" }))).await.ok();
        assert_eq!(answer["user_id"], "@ada:x.test");
    }
    let rows = [
        ("another secret", token("t", json!({ "sub": "ada" }))),
        ("expired", token("s", json!({ "sub": "ada", "exp": now - 3600 }))),
        ("not yet", token("s", json!({ "sub": "ada", "nbf": now + 3600 }))),
        ("no subject", token("s", json!({}))),
        ("a number", token("s", json!({ "sub": 7 }))),
        ("no name", token("s", json!({ "sub": "a b" }))),
        ("no token", json!({ "type": "org.matrix.login.jwt" })),
    ];
    for (row, body) in rows {
        server.post("/v3/login", body).await.refused(row, 403, "M_FORBIDDEN");
    }
    let off = Server::start().await;
    let body = token("s", json!({ "sub": "ada" }));
    off.post("/v3/login", body).await.refused("switched off", 400, "M_UNKNOWN");
}
