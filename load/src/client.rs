//! The few calls of the client-server API that the tools make, with their own small types.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::connection::{Connection, Response};

/// Wide enough that a reader which keeps up never sees a limited timeline.
pub(crate) const SYNC_FILTER: &str = r#"{"room":{"timeline":{"limit":1000}}}"#;

/// Of everybody.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Who a request is made as.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) user_id: String,
    pub(crate) token: String,
}

/// The server answered, and the answer was no.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) String);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "refused: {}", self.0)
    }
}

impl std::error::Error for Refusal {}

#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) event_id: String,
    #[serde(default)]
    pub(crate) content: Content,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Content {
    pub(crate) body: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Sync {
    pub(crate) next_batch: String,
    #[serde(default)]
    pub(crate) rooms: SyncRooms,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct SyncRooms {
    #[serde(default)]
    pub(crate) join: BTreeMap<String, JoinedRoom>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct JoinedRoom {
    #[serde(default)]
    pub(crate) timeline: Timeline,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Timeline {
    #[serde(default)]
    pub(crate) events: Vec<Event>,
    #[serde(default)]
    pub(crate) limited: bool,
    pub(crate) prev_batch: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Messages {
    #[serde(default)]
    pub(crate) chunk: Vec<Event>,
    pub(crate) end: Option<String>,
}

#[derive(Deserialize)]
struct Sent {
    event_id: String,
}

/// One account on one connection.
pub(crate) struct Client {
    connection: Connection,
    account: Account,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, account: &Account) -> Self {
        Self { connection: Connection::new(address), account: account.clone() }
    }

    /// A public room, so that others join without being invited.
    pub(crate) async fn create_room(&mut self) -> anyhow::Result<String> {
        self.create_room_with(&json!({ "preset": "public_chat" })).await
    }

    pub(crate) async fn create_room_with(&mut self, body: &Value) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Created {
            room_id: String,
        }
        let created: Created =
            self.call(Method::POST, "/_matrix/client/v3/createRoom", Some(body)).await?;
        Ok(created.room_id)
    }

    pub(crate) async fn join(&mut self, room_id: &str) -> anyhow::Result<()> {
        let path = format!("/_matrix/client/v3/join/{}", encode(room_id));
        let _: Value = self.call(Method::POST, &path, Some(&json!({}))).await?;
        Ok(())
    }

    /// Joins through a server that is in the room.
    pub(crate) async fn join_via(&mut self, room_id: &str, server: &str) -> anyhow::Result<()> {
        let path = format!("/_matrix/client/v3/join/{}?via={}", encode(room_id), encode(server));
        let _: Value = self.call(Method::POST, &path, Some(&json!({}))).await?;
        Ok(())
    }

    pub(crate) async fn joined_rooms(&mut self) -> anyhow::Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Joined {
            joined_rooms: Vec<String>,
        }
        let joined: Joined =
            self.call(Method::GET, "/_matrix/client/v3/joined_rooms", None).await?;
        Ok(joined.joined_rooms)
    }

    /// How many users are joined.
    pub(crate) async fn count_members(&mut self, room_id: &str) -> anyhow::Result<usize> {
        #[derive(Deserialize)]
        struct Members {
            joined: BTreeMap<String, Value>,
        }
        let path = format!("/_matrix/client/v3/rooms/{}/joined_members", encode(room_id));
        let members: Members = self.call(Method::GET, &path, None).await?;
        Ok(members.joined.len())
    }

    /// The id of the newest event.
    pub(crate) async fn newest(&mut self, room_id: &str) -> anyhow::Result<Value> {
        let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=1", encode(room_id));
        let page: Value = self.call(Method::GET, &path, None).await?;
        Ok(page["chunk"][0]["event_id"].clone())
    }

    /// Sends a text message and returns its event id.
    pub(crate) async fn send(
        &mut self,
        room_id: &str,
        transaction_id: &str,
        text: &str,
    ) -> anyhow::Result<String> {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/send/m.room.message/{transaction_id}",
            encode(room_id)
        );
        let sent: Sent = self.call(Method::PUT, &path, Some(&message(text))).await?;
        Ok(sent.event_id)
    }

    /// `online`, `unavailable` or `offline`.
    pub(crate) async fn set_presence(&mut self, presence: &str) -> anyhow::Result<()> {
        let path = format!("/_matrix/client/v3/presence/{}/status", encode(&self.account.user_id));
        let body = json!({ "presence": presence });
        let _: Value = self.call(Method::PUT, &path, Some(&body)).await?;
        Ok(())
    }

    /// What the server of this account believes of a user.
    pub(crate) async fn presence_of(&mut self, user_id: &str) -> anyhow::Result<Value> {
        let path = format!("/_matrix/client/v3/presence/{}/status", encode(user_id));
        let status: Value = self.call(Method::GET, &path, None).await?;
        Ok(status["presence"].clone())
    }

    pub(crate) async fn sync(
        &mut self,
        since: Option<&str>,
        timeout_ms: u32,
    ) -> anyhow::Result<Sync> {
        let body = self.sync_bytes(since, timeout_ms).await?;
        serde_json::from_slice(&body).context("sync response")
    }

    /// The response as it came, for callers that take the time before they parse.
    pub(crate) async fn sync_bytes(
        &mut self,
        since: Option<&str>,
        timeout_ms: u32,
    ) -> anyhow::Result<Bytes> {
        let mut path = format!(
            "/_matrix/client/v3/sync?timeout={timeout_ms}&set_presence=offline&filter={}",
            encode(SYNC_FILTER)
        );
        if let Some(since) = since {
            path.push_str("&since=");
            path.push_str(&encode(since));
        }
        self.call_bytes(Method::GET, &path, None).await
    }

    /// History, newest first, from a token or from the end.
    pub(crate) async fn messages_back(
        &mut self,
        room_id: &str,
        from: Option<&str>,
    ) -> anyhow::Result<Messages> {
        let mut path =
            format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=1000", encode(room_id));
        if let Some(from) = from {
            path.push_str("&from=");
            path.push_str(&encode(from));
        }
        self.call(Method::GET, &path, None).await
    }

    async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<T> {
        let body = self.call_bytes(method, path, body).await?;
        serde_json::from_slice(&body).with_context(|| format!("answer of {path}"))
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// The same account on a connection of its own.
    pub(crate) fn again(&self) -> Self {
        Self { connection: self.connection.again(), account: self.account.clone() }
    }

    pub(crate) async fn call_bytes(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Bytes> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let token = Some(self.account.token.as_str());
        let response = self.connection.request(method, path, token, body).await?;
        if response.status.is_success() {
            return Ok(response.body);
        }
        Err(refusal(&response).into())
    }
}

/// Registers a user, by way of the dummy stage if the server asks for it.
pub(crate) async fn register(address: SocketAddr, name: &str) -> anyhow::Result<Account> {
    #[derive(Deserialize)]
    struct Registered {
        user_id: String,
        access_token: String,
    }
    #[derive(Deserialize)]
    struct Stages {
        session: String,
    }
    let mut connection = Connection::new(address);
    let mut auth = json!({ "type": "m.login.dummy" });
    for _ in 0..2 {
        let body = json!({ "username": name, "password": PASSWORD, "auth": auth });
        let path = "/_matrix/client/v3/register";
        let body = Bytes::from(body.to_string());
        let response = connection.request(Method::POST, path, None, body).await?;
        if response.status.is_success() {
            let user: Registered = serde_json::from_slice(&response.body).context("register")?;
            return Ok(Account { user_id: user.user_id, token: user.access_token });
        }
        match serde_json::from_slice::<Stages>(&response.body) {
            Ok(stages) if response.status == StatusCode::UNAUTHORIZED => {
                auth = json!({ "type": "m.login.dummy", "session": stages.session });
            }
            _ => return Err(refusal(&response).into()),
        }
    }
    anyhow::bail!("{name} cannot be registered with the dummy stage alone")
}

fn refusal(response: &Response) -> Refusal {
    Refusal(format!("{}: {}", response.status, String::from_utf8_lossy(&response.body)))
}

pub(crate) fn message(text: &str) -> Value {
    json!({ "msgtype": "m.text", "body": text })
}

/// Percent-encodes everything that is not unreserved (RFC 3986 section 2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode("!a-b:c.d/{é}"), "%21a-b%3Ac.d%2F%7B%C3%A9%7D");
    }

    #[test]
    fn sync_reads_what_the_tools_need() {
        let sync: Sync = serde_json::from_str(
            r#"{"next_batch":"s1","presence":{"events":[]},"rooms":{"join":{"!r":{"timeline":
            {"limited":true,"prev_batch":"p","events":[{"event_id":"$e","type":"m.room.create",
            "content":{"creator":"@a:b"}}]}}}}}"#,
        )
        .expect("valid");
        let timeline = &sync.rooms.join["!r"].timeline;
        assert!(timeline.limited);
        assert_eq!(timeline.events[0].event_id, "$e");
        assert_eq!(timeline.events[0].content.body, None);
        let empty: Sync = serde_json::from_str(r#"{"next_batch":"s2"}"#).expect("valid");
        assert!(empty.rooms.join.is_empty());
    }
}
