//! Another server, in the hands of a test: it has a key and a place on the network, and signs what
//! it is told to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::body::Body;
use bytes::Bytes;
use events::{PublicKey, RequestToSign, SigningKey};
use http::{Request, StatusCode, header};
use parking_lot::Mutex;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use serde_json::{Value, json};

use super::home::{Answer, Home, NAME};
use crate::net;

pub(crate) const DAY_MS: u64 = 24 * net::HOUR;
/// The id of every peer's key.
pub(crate) const KEY: &str = "ed25519:peer";

/// What the server says of its keys.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) verify: Vec<(String, PublicKey)>,
    /// With the time of their end.
    pub(crate) old: Vec<(String, PublicKey, u64)>,
    pub(crate) valid_until: u64,
}

struct Shared {
    name: OwnedServerName,
    key: SigningKey,
    keys: Mutex<Keys>,
    /// It answers nobody any more.
    down: Mutex<bool>,
    /// What else it answers, by path.
    answers: Mutex<BTreeMap<String, Value>>,
}

pub(crate) struct Peer {
    pub(crate) name: OwnedServerName,
    pub(crate) key: SigningKey,
    shared: Arc<Shared>,
    listener: net::Peer,
    numbers: AtomicU32,
}

impl Peer {
    /// A server that `home` finds under that name.
    pub(crate) async fn start(home: &Home, host: &str) -> Self {
        let name = net::name(host);
        let mut seed = [0; 32];
        host.bytes().zip(&mut seed).for_each(|(byte, place)| *place = byte);
        let key = SigningKey::from_seed(&seed, "peer").expect("a key");
        let keys = Keys {
            verify: vec![(KEY.to_owned(), key.public_key())],
            old: Vec::new(),
            valid_until: net::START + DAY_MS,
        };
        let shared = Arc::new(Shared {
            name: name.clone(),
            key: key.clone(),
            keys: Mutex::new(keys),
            down: Mutex::default(),
            answers: Mutex::default(),
        });
        let answering = Arc::clone(&shared);
        let listener = home.net.peer(host, 8448, move |seen| answering.answer(seen)).await;
        Self { name, key, shared, listener, numbers: AtomicU32::new(0) }
    }

    pub(crate) fn user(&self, localpart: &str) -> OwnedUserId {
        UserId::parse(format!("@{localpart}:{}", self.name)).expect("a user id")
    }

    /// For ids that nothing else of the peer has.
    pub(crate) fn next_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn set_keys(&self, change: impl FnOnce(&mut Keys)) {
        change(&mut self.shared.keys.lock());
    }

    pub(crate) fn set_down(&self, down: bool) {
        *self.shared.down.lock() = down;
    }

    /// From now on, to requests for a path.
    pub(crate) fn says(&self, uri: &str, answer: Value) {
        self.shared.answers.lock().insert(uri.to_owned(), answer);
    }

    /// How often its keys were asked for.
    pub(crate) fn key_requests(&self) -> usize {
        self.asked("/_matrix/key/v2/server")
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, uri: &str) -> usize {
        self.listener.seen().iter().filter(|seen| seen.uri == uri).count()
    }

    /// The header for a request to `destination`.
    pub(crate) fn authorization(
        &self,
        destination: &str,
        method: &str,
        uri: &str,
        content: Option<&[u8]>,
    ) -> String {
        let sig = self.signature(Some(destination), method, uri, content);
        let Self { name, .. } = self;
        format!(r#"X-Matrix origin="{name}",destination="{destination}",key="{KEY}",sig="{sig}""#)
    }

    pub(crate) fn signature(
        &self,
        destination: Option<&str>,
        method: &str,
        uri: &str,
        content: Option<&[u8]>,
    ) -> String {
        let destination = destination.map(|name| ServerName::parse(name).expect("a server name"));
        let request = RequestToSign {
            method,
            uri,
            origin: &self.name,
            destination: destination.as_deref(),
            content,
        };
        events::sign_request(&request, &self.key).expect("the body is JSON")
    }

    pub(crate) async fn get(&self, home: &Home, uri: &str) -> Answer {
        self.ask(home, "GET", uri, None).await
    }

    pub(crate) async fn put(&self, home: &Home, uri: &str, body: impl Into<Bytes>) -> Answer {
        self.ask(home, "PUT", uri, Some(body.into())).await
    }

    pub(crate) async fn post(&self, home: &Home, uri: &str, body: &Value) -> Answer {
        self.ask(home, "POST", uri, Some(body.to_string().into())).await
    }

    pub(crate) async fn ask(
        &self,
        home: &Home,
        method: &str,
        uri: &str,
        body: Option<Bytes>,
    ) -> Answer {
        let authorization = self.authorization(NAME, method, uri, body.as_deref());
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::AUTHORIZATION, authorization)
            .body(body.map_or_else(Body::empty, Body::from));
        home.ask(request.expect("a request")).await
    }
}

impl Shared {
    fn answer(&self, seen: &net::Seen) -> Option<axum::response::Response> {
        if *self.down.lock() {
            return net::status(StatusCode::BAD_GATEWAY);
        }
        match seen.uri.as_str() {
            "/_matrix/key/v2/server" => net::json(self.document()),
            uri if uri.starts_with("/_matrix/federation/v1/send/") => {
                net::json(json!({ "pdus": {} }))
            }
            uri => match self.answers.lock().get(uri) {
                Some(answer) => net::json(answer),
                None => net::status(StatusCode::NOT_FOUND),
            },
        }
    }

    fn document(&self) -> Value {
        let Keys { verify, old, valid_until } = self.keys.lock().clone();
        let verify = verify.iter().map(|(id, key)| (id.clone(), json!({"key": key.to_base64()})));
        let old = old.iter().map(|(id, key, end)| {
            (id.clone(), json!({ "key": key.to_base64(), "expired_ts": end }))
        });
        let document = json!({
            "server_name": self.name,
            "verify_keys": verify.collect::<serde_json::Map<_, _>>(),
            "old_verify_keys": old.collect::<serde_json::Map<_, _>>(),
            "valid_until_ts": valid_until,
        });
        let mut document = serde_json::from_value(document).expect("canonical JSON");
        events::sign_json(&mut document, &self.key, &self.name).expect("it is an object");
        serde_json::to_value(document).expect("JSON")
    }
}
