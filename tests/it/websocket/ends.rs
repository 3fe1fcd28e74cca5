//! What ends a session ends its sockets and long polls at once; what ends a server says goodbye.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    server::{Answer, Server},
    socket::{Closed, Socket},
    user::{User, segment},
};

/// From the answer to whoever ended the session until its sockets and polls have ended.
const AT_ONCE: Duration = Duration::from_secs(1);
const PASSWORD: &str = "correct horse";

fn auth(user: &User<'_>) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user.id },
        "password": PASSWORD,
    })
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Logout,
    LogoutAll,
    PasswordChange,
    DeviceDeletion,
    Deactivation,
}

impl Deed {
    /// Done by `other`, unless it has to be by `phone` itself.
    async fn do_it(self, phone: &User<'_>, other: &User<'_>) -> Answer {
        match self {
            Self::Logout => phone.post("/v3/logout", json!({})).await,
            Self::LogoutAll => other.post("/v3/logout/all", json!({})).await,
            Self::PasswordChange => {
                let body = json!({ "new_password": "battery staple", "auth": auth(phone) });
                other.post("/v3/account/password", body).await
            }
            Self::DeviceDeletion => {
                let path = format!("/v3/devices/{}", segment(&phone.device));
                let body = json!({ "auth": auth(phone) }).to_string();
                other.call(http::Method::DELETE, &path, body).await
            }
            Self::Deactivation => {
                other.post("/v3/account/deactivate", json!({ "auth": auth(phone) })).await
            }
        }
    }
}

#[tokio::test]
async fn the_end_of_a_session_ends_what_is_open() {
    let deeds = [
        Deed::Logout,
        Deed::LogoutAll,
        Deed::PasswordChange,
        Deed::DeviceDeletion,
        Deed::Deactivation,
    ];
    for deed in deeds {
        let server = Server::start().await;
        let phone = server.user_with_password("ada", PASSWORD).await;
        let other = server.log_in("ada", PASSWORD, "OTHER").await;
        let mut socket = Socket::open(&phone).await;
        socket.start(json!({})).await;
        socket.batch().await;
        let since = phone.token_now().await;
        // Who does the deed comes online by it, which would answer the poll first.
        let filter = "%7B%22presence%22%3A%7B%22not_types%22%3A%5B%22*%22%5D%7D%7D";
        let path = format!("/v3/sync?timeout=60000&since={since}&filter={filter}");
        let poll = async { (phone.get(&path).await, Instant::now()) };
        let socket = async { (socket.closed().await, Instant::now()) };
        let done = async {
            deed.do_it(&phone, &other).await.ok();
            Instant::now()
        };
        let ((poll, poll_end), (closed, socket_end), done) = tokio::join!(poll, socket, done);
        let late = poll_end.max(socket_end).saturating_duration_since(done);
        assert!(late < AT_ONCE, "{deed:?}: {late:?} after it was answered");
        assert_eq!(closed, Closed::With(4004), "{deed:?}");
        poll.refused(&format!("{deed:?}"), 401, "M_UNKNOWN_TOKEN");
    }
}

async fn with_refresh(server: &Server) -> User<'_> {
    let body = json!({
        "username": "ada", "refresh_token": true, "auth": { "type": "m.login.dummy" },
    });
    User::new(server, &server.post("/v3/register", body).await.ok())
}

#[tokio::test]
async fn a_token_that_expires_is_announced_and_then_ends_the_socket() {
    let server = Server::start().await;
    let ada = with_refresh(&server).await;
    let mut socket = Socket::open(&ada).await;
    socket.request("ping", json!({})).await;
    server.clock.advance(59 * 60_000 + 1_000);
    // Whatever happens on the socket makes it look at the clock.
    socket.request("ping", json!({})).await;
    let notice = socket.frame_where(|frame| frame["method"] == "token_expiring").await;
    let left = notice["expires_in_ms"].as_u64().expect("a time");
    assert!((1..=60_000).contains(&left), "{notice}");
    server.clock.advance(60_000);
    socket.send(json!({ "id": "late", "method": "ping" })).await;
    assert_eq!(socket.closed().await, Closed::With(4005));
}

#[tokio::test]
async fn a_refreshed_token_is_swapped_in() {
    let server = Server::start().await;
    let ada = with_refresh(&server).await;
    let mut socket = Socket::open(&ada).await;
    socket.start(json!({})).await;
    socket.batch().await;
    let fresh =
        server.post("/v3/refresh", json!({ "refresh_token": ada.refresh_token })).await.ok();
    let answer = socket.request("auth", json!({ "access_token": fresh["access_token"] })).await;
    assert_eq!(Socket::result(&answer)["device_id"], ada.device);
    assert!(answer["result"]["expires_in_ms"].is_u64(), "{answer}");
    server.clock.advance(30 * 60_000);
    assert_eq!(socket.request("ping", json!({})).await["result"], json!({}));
    let junk = socket.request("auth", json!({ "access_token": "junk" })).await;
    assert_eq!(junk["error"]["errcode"], "M_UNKNOWN_TOKEN");
    assert_eq!(socket.request("ping", json!({})).await["result"], json!({}), "it lives on");
}

#[tokio::test]
async fn the_token_of_another_device_ends_the_socket() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let mut socket = Socket::open(&ada).await;
    socket
        .send(json!({ "id": "1", "method": "auth", "params": { "access_token": bob.token } }))
        .await;
    assert_eq!(socket.closed().await, Closed::With(4003));
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye() {
    let server = Server::start().await;
    let mut sockets = Vec::new();
    for name in ["ada", "bob", "cyd"] {
        let user = server.user(name).await;
        let mut socket = Socket::open(&user).await;
        socket.start(json!({})).await;
        socket.batch().await;
        sockets.push(socket);
    }
    let read = async {
        for socket in &mut sockets {
            let goodbye = socket.frame_where(|frame| frame["method"] == "goodbye").await;
            assert_eq!(goodbye["reason"], "restart");
            let after = goodbye["retry_after_ms"].as_u64().expect("a time");
            assert!((500..2_500).contains(&after), "{goodbye}");
            assert_eq!(socket.closed().await, Closed::With(1012));
        }
    };
    tokio::join!(server.stop(), read);
}
