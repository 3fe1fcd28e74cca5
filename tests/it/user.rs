//! Somebody who is logged in, and what they do over HTTP.

use http::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

#[derive(Clone)]
pub(crate) struct User<'s> {
    pub(crate) server: &'s Server,
    pub(crate) id: String,
    pub(crate) device: String,
    pub(crate) token: String,
    pub(crate) refresh_token: Option<String>,
}

/// What must not change when something is refused.
#[derive(Debug, PartialEq)]
pub(crate) struct Witness {
    next_batch: Value,
    state: Value,
    timeline: Value,
}

/// A path segment.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl<'s> User<'s> {
    /// From the answer to a registration or login.
    pub(crate) fn new(server: &'s Server, answer: &Value) -> Self {
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Self {
            server,
            id: text("user_id"),
            device: text("device_id"),
            token: text("access_token"),
            refresh_token: answer["refresh_token"].as_str().map(str::to_owned),
        }
    }

    /// `path` below `/_matrix/client`.
    pub(crate) async fn call(&self, method: Method, path: &str, body: String) -> Answer {
        let path = format!("/_matrix/client{path}");
        self.server.send(method, &path, Some(&self.token), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, String::new()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, body.to_string()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    pub(crate) async fn create_room(&self, body: Value) -> String {
        let answer = self.post("/v3/createRoom", body).await.ok();
        answer["room_id"].as_str().expect("a room id").to_owned()
    }

    /// A room that all of them are in.
    pub(crate) async fn room_with(&self, others: &[&User<'_>]) -> String {
        let room = self.create_room(json!({ "preset": "public_chat" })).await;
        for other in others {
            other.join(&room).await.ok();
        }
        room
    }

    pub(crate) async fn join(&self, room: &str) -> Answer {
        self.post(&format!("/v3/rooms/{}/join", segment(room)), json!({})).await
    }

    pub(crate) async fn say(&self, room: &str, txn: &str, text: &str) -> String {
        let content = json!({ "msgtype": "m.text", "body": text });
        event_id(&self.put(&message_path(room, txn), content).await.ok())
    }

    pub(crate) async fn set_state(&self, room: &str, event_type: &str, content: &str) -> Answer {
        let path = format!("/v3/rooms/{}/state/{}", segment(room), segment(event_type));
        self.call(Method::PUT, &path, content.to_owned()).await
    }

    pub(crate) async fn sync(&self, since: &str, timeout_ms: u64) -> Value {
        let since = if since.is_empty() { String::new() } else { format!("&since={since}") };
        let path = format!("/v3/sync?set_presence=offline&timeout={timeout_ms}{since}");
        self.get(&path).await.ok()
    }

    pub(crate) async fn token_now(&self) -> String {
        self.sync("", 0).await["next_batch"].as_str().expect("a token").to_owned()
    }

    /// Who holds only the token of a room's member, to compare before and after.
    pub(crate) async fn witness(&self, room: &str) -> Witness {
        let room = segment(room);
        let timeline = format!("/v3/rooms/{room}/messages?dir=b&limit=10");
        Witness {
            next_batch: self.sync("", 0).await["next_batch"].take(),
            state: self.get(&format!("/v3/rooms/{room}/state")).await.ok(),
            timeline: self.get(&timeline).await.ok()["chunk"].take(),
        }
    }

    pub(crate) async fn set_account_data(&self, event_type: &str, content: Value) -> Answer {
        let path = format!("/v3/user/{}/account_data/{}", segment(&self.id), segment(event_type));
        self.put(&path, content).await
    }
}

pub(crate) fn message_path(room: &str, txn: &str) -> String {
    format!("/v3/rooms/{}/send/m.room.message/{}", segment(room), segment(txn))
}

#[track_caller]
pub(crate) fn event_id(answer: &Value) -> String {
    answer["event_id"].as_str().unwrap_or_else(|| panic!("no event id: {answer}")).to_owned()
}

/// The bodies of the messages of a room in a sync answer, in order.
pub(crate) fn messages(sync: &Value, room: &str) -> Vec<String> {
    let events = sync["rooms"]["join"][room]["timeline"]["events"].as_array();
    events
        .into_iter()
        .flatten()
        .filter_map(|event| event["content"]["body"].as_str().map(str::to_owned))
        .collect()
}
