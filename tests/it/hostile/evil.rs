//! The hostile server. It has a key that everybody can ask for, says yes to every transaction, and
//! signs whatever it likes.

use axum::{Json, Router, extract::Request};
use bytes::Bytes;
use events::{
    EventTemplate, Pdu, RequestToSign, RoomVersion, SigningKey, TemplateExpectation,
    auth_events_for,
};
use http::{Method, header};
use http_body_util::Full;
use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName,
    UserId,
};
use serde_json::{Value, json, value::to_raw_value};
use stdx::Tasks;

use super::{Authority, Scene, limits, listener, text};
use crate::{
    server::{Answer, START_MS, Server},
    user::segment,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

pub(super) struct Evil {
    pub(super) name: OwnedServerName,
    key: SigningKey,
    tasks: Tasks,
}

/// An event before it is signed.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) room_id: OwnedRoomId,
    pub(super) sender: OwnedUserId,
    pub(super) event_type: String,
    pub(super) state_key: Option<String>,
    pub(super) content: Value,
    pub(super) prev_events: Vec<OwnedEventId>,
    pub(super) auth_events: Vec<OwnedEventId>,
    pub(super) depth: u64,
    pub(super) redacts: Option<OwnedEventId>,
    pub(super) version: &'static RoomVersion,
}

impl Draft {
    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Evil {
    pub(super) async fn start(authority: &Authority) -> Self {
        let (listener, name) = listener().await;
        let name = ServerName::parse(name).expect("a server name");
        let key = SigningKey::from_seed(&[66; 32], "evil").expect("a key");
        let document = key_document(&name, &key);
        let app = Router::new().fallback(move |request: Request| {
            let is_key = request.uri().path() == "/_matrix/key/v2/server";
            let answer = if is_key { document.clone() } else { json!({ "pdus": {} }) };
            std::future::ready(Json(answer))
        });
        let tasks = Tasks::new();
        let accept = Some(authority.acceptor());
        tasks.spawn("evil", meridian::serve(listener, accept, app, limits(), tasks.clone()));
        Self { name, key, tasks }
    }

    pub(super) fn user(&self, localpart: &str) -> OwnedUserId {
        UserId::parse(format!("@{localpart}:{}", self.name)).expect("a user id")
    }

    /// `path` below `/_matrix/federation`.
    pub(super) async fn ask(
        &self,
        (to, name): (&Server, &str),
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Answer {
        let uri = format!("/_matrix/federation{path}");
        let destination = ServerName::parse(name).expect("a server name");
        let to_sign = RequestToSign {
            method: method.as_str(),
            uri: &uri,
            origin: &self.name,
            destination: Some(&destination),
            content: body.as_deref(),
        };
        // What is no JSON cannot be signed.
        let sig = events::sign_request(&to_sign, &self.key).unwrap_or_else(|_| "A".repeat(86));
        let (origin, key) = (&self.name, self.key.key_id());
        let signature = format!(
            "X-Matrix origin=\"{origin}\",destination=\"{name}\",key=\"{key}\",sig=\"{sig}\""
        );
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{uri}", to.address))
            .header(header::AUTHORIZATION, signature)
            .body(Full::new(body.unwrap_or_default()));
        to.send_request(request.expect("a request")).await
    }

    pub(super) async fn get(&self, to: (&Server, &str), path: &str) -> Answer {
        self.ask(to, Method::GET, path, None).await
    }

    /// Of what is in the texts, byte for byte.
    pub(super) async fn send(&self, to: (&Server, &str), txn: &str, pdus: &[Bytes]) -> Answer {
        let texts: Vec<_> = pdus.iter().map(|pdu| String::from_utf8_lossy(pdu)).collect();
        let (origin, pdus) = (&self.name, texts.join(","));
        let body =
            format!(r#"{{"origin":"{origin}","origin_server_ts":{START_MS},"pdus":[{pdus}]}}"#);
        let path = format!("/v1/send/{}", segment(txn));
        self.ask(to, Method::PUT, &path, Some(body.into())).await
    }

    /// To both servers, which need not like it.
    pub(super) async fn tell_all(&self, scene: &Scene, txn: &str, pdus: &[Bytes]) {
        for (server, name, _) in scene.sides() {
            self.send((server, name), txn, pdus).await.ok();
        }
    }

    /// As an honest server would.
    pub(super) async fn join(&self, scene: &Scene, localpart: &str) {
        let user = self.user(localpart);
        let us = (&scene.us, scene.us_name());
        let room_id = OwnedRoomId::try_from(scene.room.as_str()).expect("a room id");
        let (room, version) = (segment(&scene.room), scene.version);
        let make = format!("/v1/make_join/{room}/{}?ver={version}", segment(user.as_str()));
        let made = self.get(us, &make).await.ok();
        let template = to_raw_value(&made["event"]).expect("JSON");
        let expected = TemplateExpectation {
            room_id: &room_id,
            user: &user,
            membership: "join",
            content: None,
        };
        let version = RoomVersion::parse(version).expect("a known version");
        let (key, name) = (&self.key, &self.name);
        let join = events::complete_template(&template, &expected, START_MS, key, name, version)
            .expect("a good template");
        let path = format!("/v2/send_join/{room}/{}", segment(join.event_id().as_str()));
        self.ask(us, Method::PUT, &path, Some(join.json().clone())).await.ok();
    }

    /// An event in the place that follows the newest event of the room.
    pub(super) async fn draft(
        &self,
        scene: &Scene,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Draft {
        let us = (&scene.us, scene.us_name());
        let version = RoomVersion::parse(scene.version).expect("a known version");
        let (room, sender) = (segment(&scene.room), self.user("mallory"));
        let page = format!("/v3/rooms/{room}/messages?dir=b&limit=1");
        let last = text(&scene.ada().get(&page).await.ok()["chunk"][0]["event_id"]);
        let event = self.get(us, &format!("/v1/event/{}", segment(&last))).await.ok();
        let path = format!("/v1/state/{room}?event_id={}", segment(&last));
        let state = self.get(us, &path).await.ok();
        let raw = to_raw_value(&content).expect("JSON");
        let wanted = auth_events_for(version, event_type, &sender, state_key, &raw);
        let wanted = wanted.unwrap_or_default();
        let auth_events = state["pdus"].as_array().expect("a list").iter().filter(|pdu| {
            wanted.iter().any(|(kind, key)| pdu["type"] == **kind && pdu["state_key"] == **key)
        });
        let id = |pdu: &Value| {
            let pdu = Pdu::from_json(Bytes::from(pdu.to_string()), version).expect("an event");
            pdu.event_id().clone()
        };
        Draft {
            room_id: scene.room.as_str().try_into().expect("a room id"),
            sender,
            event_type: event_type.to_owned(),
            state_key: state_key.map(str::to_owned),
            content,
            prev_events: vec![last.try_into().expect("an event id")],
            auth_events: auth_events.map(id).collect(),
            depth: event["pdus"][0]["depth"].as_u64().expect("a depth") + 1,
            redacts: None,
            version,
        }
    }

    pub(super) async fn message(&self, scene: &Scene, body: &str) -> Draft {
        let content = json!({ "msgtype": "m.text", "body": body });
        self.draft(scene, "m.room.message", None, content).await
    }

    pub(super) fn sign(&self, draft: &Draft) -> Pdu {
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
            origin_server_ts: START_MS,
            redacts: draft.redacts.as_deref(),
        };
        let pdu = events::sign_and_build(&template, &self.key, &self.name, draft.version);
        pdu.expect("it is well-formed")
    }
}

fn key_document(name: &ServerName, key: &SigningKey) -> Value {
    let document = json!({
        "server_name": name,
        "verify_keys": { key.key_id(): { "key": key.public_key().to_base64() } },
        "old_verify_keys": {},
        "valid_until_ts": START_MS + DAY_MS,
    });
    let mut object: CanonicalJsonObject = serde_json::from_value(document).expect("JSON");
    events::sign_json(&mut object, key, name).expect("an object");
    serde_json::to_value(object).expect("JSON")
}
