//! A server of which every byte is up to the test.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use bytes::Bytes;
use events::{EventTemplate, Pdu, RequestToSign, RoomVersion, SigningKey, TemplateExpectation};
use http::{Request, header};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId};
use serde_json::{Value, json, value::to_raw_value};

use super::region::{Answer, Region};
use crate::{
    keys::Document,
    net::{Net, Peer, START, json, name},
};

pub(crate) struct Hostile {
    pub(crate) name: OwnedServerName,
    pub(crate) key: SigningKey,
    _listener: Peer,
}

/// An event before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Value,
    pub(crate) prev_events: Vec<OwnedEventId>,
    pub(crate) auth_events: Vec<OwnedEventId>,
    pub(crate) depth: u64,
    pub(crate) version: &'static RoomVersion,
}

impl Draft {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Hostile {
    /// It has a key that everybody can ask for, and says yes to every transaction and every invite.
    pub(crate) async fn start(net: &Net, server: &str) -> Self {
        let name = name(server);
        let key = SigningKey::from_seed(&[66; 32], "evil").expect("a key");
        let document = Document::of(server, &key).json();
        let (invited, signer) = (name.clone(), key.clone());
        let answer = move |seen: &crate::net::Seen| match seen.uri.as_str() {
            "/_matrix/key/v2/server" => json(&document),
            uri if uri.starts_with("/_matrix/federation/v2/invite/") => {
                json(accepted_invite(&seen.body, &signer, &invited))
            }
            _ => json(json!({ "pdus": {} })),
        };
        let (host, port) = (name.host().to_owned(), name.port().expect("a port"));
        // However it is spelled, it is found if it is looked for at all.
        let plain = host.trim_end_matches('.').trim_matches(['[', ']']).to_ascii_lowercase();
        let listener = Peer::start(net.authority.issue(&[&plain]), answer).await;
        for spelling in [host.clone(), host.to_ascii_lowercase(), plain] {
            net.names.lead(&spelling, port, listener.address);
        }
        Self { name, key, _listener: listener }
    }

    /// Its name is its address, so that is where everybody finds it. `host` is a loopback address.
    pub(crate) async fn at(net: &Net, host: &str) -> Self {
        let key = SigningKey::from_seed(&[66; 32], "evil").expect("a key");
        let document = Arc::new(OnceLock::new());
        let said = Arc::clone(&document);
        let answer = move |seen: &crate::net::Seen| match seen.uri.as_str() {
            "/_matrix/key/v2/server" => said.get().and_then(json),
            _ => json(json!({ "pdus": {} })),
        };
        let certificate = net.authority.issue(&[host.trim_matches(['[', ']'])]);
        let listener = Peer::at(&format!("{host}:0"), certificate, &[b"h2"], answer).await;
        let name = name(&listener.address.to_string());
        let own = document.set(Document::of(name.as_str(), &key).json());
        own.expect("it has said nothing before");
        Self { name, key, _listener: listener }
    }

    pub(crate) fn user(&self, localpart: &str) -> OwnedUserId {
        UserId::parse(format!("@{localpart}:{}", self.name)).expect("a user id")
    }

    /// The header of a request to `destination`.
    pub(crate) fn header(
        &self,
        destination: &ServerName,
        method: &str,
        uri: &str,
        body: Option<&[u8]>,
    ) -> String {
        let sig = self.sig(Some(destination), method, uri, body);
        let (origin, key) = (&self.name, self.key.key_id());
        format!(
            "X-Matrix origin=\"{origin}\",destination=\"{destination}\",key=\"{key}\",sig=\"{sig}\""
        )
    }

    pub(crate) fn sig(
        &self,
        destination: Option<&ServerName>,
        method: &str,
        uri: &str,
        content: Option<&[u8]>,
    ) -> String {
        let request = RequestToSign { method, uri, origin: &self.name, destination, content };
        // What is no JSON cannot be signed.
        events::sign_request(&request, &self.key).unwrap_or_else(|_| "A".repeat(86))
    }

    pub(crate) async fn get(&self, to: &Region, uri: &str) -> Answer {
        self.request(to, "GET", uri, None).await
    }

    pub(crate) async fn put(&self, to: &Region, uri: &str, body: impl Into<Bytes>) -> Answer {
        self.request(to, "PUT", uri, Some(body.into())).await
    }

    pub(crate) async fn request(
        &self,
        to: &Region,
        method: &str,
        uri: &str,
        body: Option<Bytes>,
    ) -> Answer {
        let header = self.header(&to.name, method, uri, body.as_deref());
        to.ask(request(method, uri, &[&header], body.unwrap_or_default())).await
    }

    pub(crate) async fn send(
        &self,
        to: &Region,
        txn: &str,
        pdus: &[Bytes],
        edus: &[Value],
    ) -> Answer {
        let body = transaction(&self.name, pdus, edus);
        self.put(to, &format!("/_matrix/federation/v1/send/{txn}"), body).await
    }

    /// As an honest server would.
    pub(crate) async fn join(&self, to: &Region, room: &RoomId, user: &UserId) -> Answer {
        let join = self.made(to, "join", room, user).await;
        let id = join.event_id();
        self.put(to, &path("v2/send_join", &[room.as_str(), id.as_str()]), join.json().clone())
            .await
    }

    /// What a template of `to` becomes.
    pub(crate) async fn made(
        &self,
        to: &Region,
        membership: &str,
        room: &RoomId,
        user: &UserId,
    ) -> Pdu {
        let versions: String = (1..=12).map(|version| format!("&ver={version}")).collect();
        let make = path(&format!("v1/make_{membership}"), &[room.as_str(), user.as_str()]);
        let made = self.get(to, &format!("{make}?{}", &versions[1..])).await.ok("a template");
        let version = RoomVersion::parse(made["room_version"].as_str().expect("a version"));
        let expected = TemplateExpectation { room_id: room, user, membership, content: None };
        let template = to_raw_value(&made["event"]).expect("JSON");
        let (version, name) = (version.expect("a known version"), &self.name);
        events::complete_template(&template, &expected, START, &self.key, name, version)
            .expect("a good template")
    }

    /// An event in the place that `region` would give it.
    pub(crate) async fn draft(
        &self,
        region: &Region,
        room: &RoomId,
        sender: &UserId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Draft {
        let view = region.view(room).await;
        let raw = to_raw_value(&content).expect("JSON");
        let keys = events::auth_events_for(view.version, event_type, sender, state_key, &raw);
        let mut auth_events = Vec::new();
        for (event_type, state_key) in keys.unwrap_or_default() {
            let event = region.rooms.state_get(view.state, &event_type, &state_key).await;
            auth_events.extend(event.expect("reads").map(|event| event.event_id().clone()));
        }
        Draft {
            room_id: room.to_owned(),
            sender: sender.to_owned(),
            event_type: event_type.to_owned(),
            state_key: state_key.map(str::to_owned),
            content,
            prev_events: view.extremities.clone(),
            auth_events,
            depth: view.depth + 1,
            version: view.version,
        }
    }

    pub(crate) async fn message(&self, region: &Region, room: &RoomId, body: &str) -> Draft {
        let content = json!({ "msgtype": "m.text", "body": body });
        let mallory = self.user("mallory");
        self.draft(region, room, &mallory, "m.room.message", None, content).await
    }

    pub(crate) fn sign(&self, draft: &Draft) -> Pdu {
        let content = to_raw_value(&draft.content).expect("JSON");
        let template = EventTemplate {
            room_id: Some(&draft.room_id),
            sender: &draft.sender,
            event_type: &draft.event_type,
            state_key: draft.state_key.as_deref(),
            content: &content,
            prev_events: &draft.prev_events,
            auth_events: &draft.auth_events,
            depth: draft.depth,
            origin_server_ts: START,
            redacts: None,
        };
        let pdu = events::sign_and_build(&template, &self.key, &self.name, draft.version);
        pdu.expect("it is well-formed")
    }
}

/// The answer to `PUT /v2/invite`: the event with the signature of whoever is invited.
fn accepted_invite(body: &[u8], key: &SigningKey, server: &ServerName) -> Value {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let version = RoomVersion::parse(body["room_version"].as_str().expect("a version"));
    let version = version.expect("a known version");
    let invite = Pdu::from_json(Bytes::from(body["event"].to_string()), version).expect("an event");
    let signed = events::add_signature(&invite, key, server, version).expect("signs");
    let event: Value = serde_json::from_slice(signed.json()).expect("JSON");
    json!({ "event": event })
}

pub(crate) fn request(method: &str, uri: &str, headers: &[&str], body: Bytes) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for value in headers {
        request = request.header(header::AUTHORIZATION, *value);
    }
    request.body(Body::from(body)).expect("a request")
}

/// Text by text, so that PDUs stay what they are.
pub(crate) fn transaction(origin: &ServerName, pdus: &[Bytes], edus: &[Value]) -> Bytes {
    let pdus: Vec<&str> = pdus.iter().map(|pdu| std::str::from_utf8(pdu).expect("text")).collect();
    let (pdus, edus) = (pdus.join(","), json!(edus));
    let body = format!(
        r#"{{"origin":"{origin}","origin_server_ts":{START},"pdus":[{pdus}],"edus":{edus}}}"#
    );
    body.into()
}

/// Below `/_matrix/federation/`, with what is put into it encoded.
pub(crate) fn path(endpoint: &str, segments: &[&str]) -> String {
    let mut path = format!("/_matrix/federation/{endpoint}");
    for segment in segments {
        path.push('/');
        path.push_str(&encoded(segment));
    }
    path
}

pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
