//! Rooms made of unsigned events: enough for every rule but signatures.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use events::{
    AuthError, Pdu, ResolveError, RoomVersion, StateMap, auth_events_for, check_auth, resolve,
};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde_json::{Value, json, value::to_raw_value};

pub(crate) const ALICE: &str = "@alice:a.test";
pub(crate) const BOB: &str = "@bob:b.test";
pub(crate) const CAROL: &str = "@carol:c.test";
pub(crate) const DAVE: &str = "@dave:b.test";

pub(crate) fn version(number: u8) -> &'static RoomVersion {
    RoomVersion::parse(&number.to_string()).unwrap()
}

/// A place in a room's history to continue from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tip {
    pub(crate) state: StateMap,
    pub(crate) prev: Vec<OwnedEventId>,
}

impl Tip {
    pub(crate) fn id(&self, event_type: &str, state_key: &str) -> Option<&OwnedEventId> {
        self.state.get(&(event_type.to_owned(), state_key.to_owned()))
    }
}

pub(crate) struct TestRoom {
    pub(crate) number: u8,
    pub(crate) version: &'static RoomVersion,
    pub(crate) events: HashMap<OwnedEventId, Arc<Pdu>>,
    pub(crate) tip: Tip,
    room_id: Option<OwnedRoomId>,
    clock: u64,
}

impl TestRoom {
    /// A room with its create event only, Alice's.
    pub(crate) fn empty(number: u8, create: Value) -> Self {
        let version = version(number);
        let room_id = (number < 12).then(|| RoomId::parse("!room:a.test").unwrap());
        let mut room = Self {
            number,
            version,
            events: HashMap::new(),
            tip: Tip::default(),
            room_id,
            clock: 1000,
        };
        let mut content = json!({ "room_version": number.to_string() });
        if number < 11 {
            content["creator"] = json!(ALICE);
        }
        content.as_object_mut().unwrap().extend(create.as_object().unwrap().clone());
        let create = room.send(ALICE, "m.room.create", Some(""), content);
        room.room_id = Some(create.room_id().to_owned());
        room
    }

    /// A public room that Alice created and joined, with her power levels.
    pub(crate) fn public(number: u8) -> Self {
        let mut room = Self::empty(number, json!({}));
        room.join(ALICE);
        let levels = room.levels(json!({}));
        room.send(ALICE, "m.room.power_levels", Some(""), levels);
        room.send(ALICE, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
        room
    }

    /// Power levels with these users, and Alice at 100 where she needs an entry.
    pub(crate) fn levels(&self, users: Value) -> Value {
        let mut users = users;
        if self.number < 12 {
            users[ALICE] = json!(100);
        }
        json!({ "users": users })
    }

    pub(crate) fn join(&mut self, user: &str) -> Arc<Pdu> {
        self.send(user, "m.room.member", Some(user), json!({ "membership": "join" }))
    }

    /// Appends an event to the tip, whether the rules allow it or not.
    pub(crate) fn send(
        &mut self,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Arc<Pdu> {
        let mut tip = std::mem::take(&mut self.tip);
        let event = self.send_at(&mut tip, sender, event_type, state_key, content);
        self.tip = tip;
        event
    }

    pub(crate) fn send_at(
        &mut self,
        tip: &mut Tip,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Arc<Pdu> {
        self.clock += 1;
        let event = self.event_at(tip, sender, event_type, state_key, content, self.clock);
        if let Some(state_key) = state_key {
            let key = (event_type.to_owned(), state_key.to_owned());
            tip.state.insert(key, event.event_id().clone());
        }
        tip.prev = vec![event.event_id().clone()];
        event
    }

    /// An event that continues from `tip`, known to the room but not appended.
    pub(crate) fn event_at(
        &mut self,
        tip: &Tip,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
        ts: u64,
    ) -> Arc<Pdu> {
        let mut json = self.template(tip, sender, event_type, state_key, content);
        json["origin_server_ts"] = json!(ts);
        self.add(&json)
    }

    pub(crate) fn template(
        &self,
        tip: &Tip,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Value {
        let raw = to_raw_value(&content).unwrap();
        let user = UserId::parse(sender).unwrap();
        let keys =
            auth_events_for(self.version, event_type, &user, state_key, &raw).unwrap_or_default();
        let auth: Vec<_> = keys.iter().filter_map(|key| tip.state.get(key)).cloned().collect();
        let depth = tip.prev.iter().filter_map(|id| self.events.get(id)).map(|e| e.depth()).max();
        let mut json = json!({
            "auth_events": self.references(&auth),
            "content": content,
            "depth": depth.unwrap_or(0) + 1,
            "hashes": {},
            "origin_server_ts": 0,
            "prev_events": self.references(&tip.prev),
            "sender": sender,
            "signatures": {},
            "type": event_type,
        });
        if let Some(room_id) = &self.room_id {
            json["room_id"] = json!(room_id);
        }
        if let Some(state_key) = state_key {
            json["state_key"] = json!(state_key);
        }
        if self.number < 3 {
            json["event_id"] = json!(format!("$event{}:{}", self.events.len(), user.server_name()));
        }
        json
    }

    pub(crate) fn references(&self, ids: &[OwnedEventId]) -> Value {
        let pair = |id: &OwnedEventId| if self.number < 3 { json!([id, {}]) } else { json!(id) };
        ids.iter().map(pair).collect()
    }

    pub(crate) fn add(&mut self, json: &Value) -> Arc<Pdu> {
        let bytes = Bytes::from(serde_json::to_vec(json).unwrap());
        let event = Arc::new(Pdu::from_json(bytes, self.version).unwrap());
        self.events.insert(event.event_id().clone(), event.clone());
        event
    }

    pub(crate) fn get(&self, id: &EventId) -> Option<Arc<Pdu>> {
        self.events.get(id).cloned()
    }

    pub(crate) fn state_event(&self, event_type: &str, state_key: &str) -> Option<Arc<Pdu>> {
        self.get(self.tip.id(event_type, state_key)?)
    }

    /// What the rules say of an event at the tip.
    pub(crate) fn verdict(&self, event: &Pdu) -> Result<(), AuthError> {
        check_auth(self.version, event, |event_type, key| self.state_event(event_type, key))
    }

    pub(crate) fn resolve(&self, sets: &[StateMap]) -> Result<StateMap, ResolveError> {
        resolve(self.version, sets, |id| self.get(id))
    }
}
