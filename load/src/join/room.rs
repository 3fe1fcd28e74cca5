//! A room on another server: its events, built and signed here by the letter of the specification
//! (room version 11), so that the server under test has nobody's mistakes to agree with.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const KEY_ID: &str = "ed25519:1";
const VERSION: &str = "11";
/// `origin_server_ts` of the first event: long ago.
const START_MS: u64 = 1_700_000_000_000;

/// Who signs.
pub(crate) struct Signatory {
    pub(crate) server: String,
    pub(crate) key: SigningKey,
}

impl Signatory {
    /// Adds the signature of an object that has no `signatures` yet.
    pub(crate) fn sign(&self, object: &mut Value) {
        let signature = self.key.sign(canonical(object).as_bytes());
        let signature = STANDARD_NO_PAD.encode(signature.to_bytes());
        object["signatures"] = json!({ &self.server: { KEY_ID: signature } });
    }

    pub(crate) fn verify_key(&self) -> String {
        STANDARD_NO_PAD.encode(self.key.verifying_key().as_bytes())
    }
}

/// What a server that is in the room answers to one that wants in.
pub(crate) struct Room {
    pub(crate) id: String,
    /// State events and, the first of them, the auth chain of a join.
    state: Vec<String>,
    /// Of a join.
    auth_events: Vec<String>,
    last: String,
    depth: u64,
}

/// The first events, which others stand on: create, founder, power levels, join rules.
const AUTH_CHAIN: usize = 4;

impl Room {
    /// A public room with this many members, all of the signatory's server.
    pub(crate) fn make(by: &Signatory, name: &str, members: usize) -> Self {
        let id = format!("!{name}:{}", by.server);
        let founder = format!("@founder:{}", by.server);
        let (state, auth_events, last) = (Vec::new(), Vec::new(), String::new());
        let mut room = Self { id, state, auth_events, last, depth: 0 };
        let create = json!({ "room_version": VERSION });
        let create = room.add(by, &founder, "m.room.create", "", create, &[]);
        let auth = [create.clone()];
        let join = json!({ "membership": "join" });
        let joined = room.add(by, &founder, "m.room.member", &founder, join.clone(), &auth);
        let levels = json!({ "users": { &founder: 100 } });
        let auth = [create.clone(), joined.clone()];
        let levels = room.add(by, &founder, "m.room.power_levels", "", levels, &auth);
        let auth = [create.clone(), joined, levels.clone()];
        let rule = json!({ "join_rule": "public" });
        let rules = room.add(by, &founder, "m.room.join_rules", "", rule, &auth);
        let visibility = json!({ "history_visibility": "shared" });
        room.add(by, &founder, "m.room.history_visibility", "", visibility, &auth);
        room.auth_events = vec![create, levels, rules];
        let auth = room.auth_events.clone();
        for n in 1..members {
            let user = format!("@user{n}:{}", by.server);
            room.add(by, &user, "m.room.member", &user, join.clone(), &auth);
        }
        room
    }

    /// Returns the event's id.
    fn add(
        &mut self,
        by: &Signatory,
        sender: &str,
        event_type: &str,
        state_key: &str,
        content: Value,
        auth_events: &[String],
    ) -> String {
        self.depth += 1;
        let prev: Vec<&String> = Some(&self.last).filter(|id| !id.is_empty()).into_iter().collect();
        let mut event = json!({
            "type": event_type, "room_id": self.id, "sender": sender, "state_key": state_key,
            "content": content, "prev_events": prev, "auth_events": auth_events,
            "depth": self.depth, "origin_server_ts": START_MS + self.depth,
        });
        let hash = STANDARD_NO_PAD.encode(Sha256::digest(canonical(&event).as_bytes()));
        event["hashes"] = json!({ "sha256": hash });
        // Nothing in these events would be redacted, so this is also what the id is the hash of.
        let reference = Sha256::digest(canonical(&event).as_bytes());
        by.sign(&mut event);
        self.state.push(event.to_string());
        self.last = format!("${}", URL_SAFE_NO_PAD.encode(reference));
        self.last.clone()
    }

    /// The answer to `make_join`.
    pub(crate) fn template(&self, user: &str) -> String {
        let event = json!({
            "type": "m.room.member", "room_id": self.id, "sender": user, "state_key": user,
            "content": { "membership": "join" }, "prev_events": [self.last],
            "auth_events": self.auth_events, "depth": self.depth + 1,
            "origin_server_ts": START_MS + self.depth + 1,
        });
        json!({ "room_version": VERSION, "event": event }).to_string()
    }

    /// The answer to `send_join`.
    pub(crate) fn joined(&self, server: &str, event: &str) -> String {
        format!(
            r#"{{"origin":"{server}","members_omitted":false,"servers_in_room":["{server}"],"event":{event},"auth_chain":[{}],"state":[{}]}}"#,
            self.state[..AUTH_CHAIN].join(","),
            self.state.join(",")
        )
    }
}

/// Canonical JSON, of objects without floats and of text without what needs escapes.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let sorted: BTreeMap<&String, &Value> = entries.iter().collect();
            let entries: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", json!(key), canonical(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Signing an empty object", appendices of the specification.
    #[test]
    fn the_specifications_test_vector_comes_out() {
        // `YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1`
        let seed = [
            0x60, 0x90, 0xc1, 0x03, 0xd5, 0xe7, 0xaf, 0x6b, 0x15, 0xa9, 0x70, 0xfd, 0x56, 0x3e,
            0xd7, 0x55, 0x49, 0xe6, 0x15, 0x97, 0x19, 0xae, 0x5c, 0x3c, 0x31, 0xde, 0xe4, 0x31,
            0x6f, 0xb7, 0x5c, 0x0d,
        ];
        let by = Signatory { server: "domain".to_owned(), key: SigningKey::from_bytes(&seed) };
        let mut object = json!({});
        by.sign(&mut object);
        assert_eq!(
            object["signatures"]["domain"][KEY_ID],
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"
        );
    }

    #[test]
    fn objects_are_sorted() {
        let value = json!({ "b": [1, { "d": "x", "c": null }], "a": "é" });
        assert_eq!(canonical(&value), r#"{"a":"é","b":[1,{"c":null,"d":"x"}]}"#);
    }
}
