//! Events as somebody makes them who keeps to no rules.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use events::{EventTemplate, Pdu, RoomVersion};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{Value, json, value::to_raw_value};
use sha2::{Digest as _, Sha256};

use super::{
    home::{Answer, Home},
    peer::Peer,
};
use crate::net::START;

#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) sender: OwnedUserId,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) content: Value,
    pub(crate) prev_events: Vec<OwnedEventId>,
    pub(crate) auth_events: Vec<OwnedEventId>,
    pub(crate) depth: u64,
    pub(crate) ts: u64,
    pub(crate) version: &'static RoomVersion,
}

impl Event {
    /// In the place that `home` would give it.
    pub(crate) async fn new(
        home: &Home,
        room: &RoomId,
        sender: &UserId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Self {
        let view = home.view(room).await;
        let raw = to_raw_value(&content).expect("JSON");
        let keys = events::auth_events_for(view.version, event_type, sender, state_key, &raw);
        let mut auth_events = Vec::new();
        for (event_type, state_key) in keys.unwrap_or_default() {
            let event = home.rooms.state_get(view.state, &event_type, &state_key).await;
            auth_events.extend(event.expect("reads").map(|event| event.event_id().clone()));
        }
        Self {
            room_id: room.to_owned(),
            sender: sender.to_owned(),
            event_type: event_type.to_owned(),
            state_key: state_key.map(str::to_owned),
            content,
            prev_events: view.extremities.clone(),
            auth_events,
            depth: view.depth + 1,
            ts: START,
            version: view.version,
        }
    }

    pub(crate) async fn message(home: &Home, room: &RoomId, sender: &UserId, body: &str) -> Self {
        let content = json!({ "msgtype": "m.text", "body": body });
        Self::new(home, room, sender, "m.room.message", None, content).await
    }

    /// The user's own membership.
    pub(crate) async fn member(
        home: &Home,
        room: &RoomId,
        user: &UserId,
        membership: &str,
    ) -> Self {
        let content = json!({ "membership": membership });
        Self::new(home, room, user, "m.room.member", Some(user.as_str()), content).await
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn signed_by(&self, peer: &Peer) -> Arc<Pdu> {
        let content = to_raw_value(&self.content).expect("JSON");
        let template = EventTemplate {
            room_id: Some(&self.room_id),
            sender: &self.sender,
            event_type: &self.event_type,
            state_key: self.state_key.as_deref(),
            content: &content,
            prev_events: &self.prev_events,
            auth_events: &self.auth_events,
            depth: self.depth,
            origin_server_ts: self.ts,
            redacts: None,
        };
        let pdu = events::sign_and_build(&template, &peer.key, &peer.name, self.version);
        Arc::new(pdu.expect("it is well-formed"))
    }
}

/// A PDU of a room of version 6 to 11 whose content is text that our own builder would refuse. `rest`
/// is everything but content, hashes and signatures.
pub(crate) fn sign_text(rest: Value, content: &str, peer: &Peer) -> Bytes {
    let with = |extra: &[(&str, &str)]| -> Vec<u8> {
        let rest = rest.as_object().expect("an object").iter();
        let mut fields: BTreeMap<String, String> =
            rest.map(|(key, value)| (key.clone(), value.to_string())).collect();
        fields.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let fields: Vec<String> =
            fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    };
    let hash = STANDARD_NO_PAD.encode(Sha256::digest(with(&[("content", content)])));
    let hashes = json!({ "sha256": hash }).to_string();
    // Signed is what is left of it when it is redacted.
    let signature = peer.key.sign(&with(&[("content", "{}"), ("hashes", &hashes)]));
    let signatures = json!({ peer.name.as_str(): { peer.key.key_id(): signature } }).to_string();
    with(&[("content", content), ("hashes", &hashes), ("signatures", &signatures)]).into()
}

/// The path segment that stands for an id.
pub(crate) fn segment(id: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    id.bytes().map(encode).collect()
}

impl Peer {
    /// Lets a user of the peer join a room of `home`.
    pub(crate) async fn join(&self, home: &Home, room: &RoomId, localpart: &str) -> OwnedUserId {
        let user = self.user(localpart);
        let join = Event::member(home, room, &user, "join").await.signed_by(self);
        self.hand_in(home, "v2/send_join", &join).await.ok();
        user
    }

    pub(crate) async fn leave(&self, home: &Home, room: &RoomId, localpart: &str) {
        let user = self.user(localpart);
        let leave = Event::member(home, room, &user, "leave").await.signed_by(self);
        self.hand_in(home, "v2/send_leave", &leave).await.ok();
    }

    /// One of the handshakes' second halves.
    pub(crate) async fn hand_in(&self, home: &Home, endpoint: &str, pdu: &Pdu) -> Answer {
        let (room, event) = (segment(pdu.room_id().as_str()), segment(pdu.event_id().as_str()));
        let path = format!("/_matrix/federation/{endpoint}/{room}/{event}");
        self.put(home, &path, pdu.json().clone()).await
    }
}
