//! A client of sliding sync, as the tests need one.

use std::time::Duration;

use ruma::{
    DeviceId, RoomId, UserId, api::client::sync::sync_events::v5::response, device_id,
    presence::PresenceState,
};
use serde_json::{Value, json};
use sync::{Dialect, SlidingBody, SlidingRequest, SyncError};

use crate::world::World;

/// One connection, and where it is.
pub(crate) struct Slide<'w> {
    pub(crate) world: &'w World,
    pub(crate) user: &'w UserId,
    pub(crate) device: &'static DeviceId,
    pub(crate) dialect: Dialect,
    pub(crate) pos: Option<String>,
}

impl<'w> Slide<'w> {
    pub(crate) fn new(world: &'w World, user: &'w UserId) -> Self {
        let device = device_id!("PHONE");
        Self { world, user, device, dialect: Dialect::Unstable, pos: None }
    }

    /// On another device.
    pub(crate) fn elsewhere(world: &'w World, user: &'w UserId) -> Self {
        Self { device: device_id!("TABLET"), ..Self::new(world, user) }
    }

    pub(crate) fn stable(world: &'w World, user: &'w UserId) -> Self {
        Self { dialect: Dialect::Stable, ..Self::new(world, user) }
    }

    pub(crate) async fn try_ask(
        &self,
        body: &Value,
        timeout: Duration,
    ) -> Result<Value, SyncError> {
        let body = body.to_string();
        let request = SlidingRequest {
            user: self.user,
            device: self.device,
            pos: self.pos.as_deref(),
            timeout,
            set_presence: PresenceState::Offline,
            body: SlidingBody::parse(self.dialect, self.user, body.as_bytes()).expect("valid"),
        };
        let answer = self.world.sync.sliding(request).await?;
        let answer = serde_json::from_slice(&answer).expect("the answer is JSON");
        if self.dialect == Dialect::Unstable {
            is_readable(&answer);
        }
        Ok(answer)
    }

    /// The next answer, at once, which the client does not process.
    pub(crate) async fn peek(&self, body: &Value) -> Value {
        self.try_ask(body, Duration::ZERO).await.expect("an answer")
    }

    pub(crate) async fn ask(&mut self, body: &Value) -> Value {
        let answer = self.peek(body).await;
        self.pos = Some(answer["pos"].as_str().expect("a pos").to_owned());
        answer
    }

    /// The next answer, as a long poll.
    pub(crate) async fn wait(&mut self, body: &Value) -> Value {
        let answer = self.try_ask(body, Duration::from_secs(120)).await.expect("an answer");
        self.pos = Some(answer["pos"].as_str().expect("a pos").to_owned());
        answer
    }
}

/// Clients that are built on ruma read the whole answer, or none of it.
fn is_readable(answer: &Value) {
    for room in answer["rooms"].as_object().expect("rooms").values() {
        serde_json::from_value::<response::Room>(room.clone()).expect("a room");
    }
    for list in answer["lists"].as_object().expect("lists").values() {
        serde_json::from_value::<response::List>(list.clone()).expect("a list");
    }
    let extensions = answer["extensions"].clone();
    serde_json::from_value::<response::Extensions>(extensions).expect("extensions");
}

/// One list called `all` over the first rooms.
pub(crate) fn all(last: u64, timeline_limit: u64, required_state: &Value) -> Value {
    json!({"lists": {"all": {
        "ranges": [[0, last]],
        "timeline_limit": timeline_limit,
        "required_state": required_state,
    }}})
}

/// A list with filters, without events.
pub(crate) fn filtered(filters: &Value) -> Value {
    let mut body = all(99, 0, &json!([]));
    body["lists"]["all"]["filters"] = filters.clone();
    body
}

pub(crate) fn subscribed(room: &RoomId, limit: u64, required_state: &Value) -> Value {
    let config = json!({"timeline_limit": limit, "required_state": required_state});
    let room = room.as_str();
    json!({"room_subscriptions": {room: config}})
}

pub(crate) fn with(mut body: Value, extension: &str, value: &Value) -> Value {
    body["extensions"][extension] = value.clone();
    body
}

pub(crate) fn room<'a>(answer: &'a Value, room: &RoomId) -> &'a Value {
    &answer["rooms"][room.as_str()]
}

/// The rooms that an answer tells of.
pub(crate) fn told(answer: &Value) -> Vec<&str> {
    answer["rooms"].as_object().expect("rooms").keys().map(String::as_str).collect()
}

/// The first window of the list, in order.
pub(crate) fn window(answer: &Value) -> Vec<&str> {
    let ids = answer["lists"]["all"]["ops"][0]["room_ids"].as_array().expect("room_ids");
    ids.iter().map(|id| id.as_str().expect("text")).collect()
}

/// Bodies of the messages of a timeline.
pub(crate) fn bodies(room: &Value) -> Vec<&str> {
    let events = room["timeline"].as_array().into_iter().flatten();
    events.filter_map(|event| event["content"]["body"].as_str()).collect()
}

/// `type|state_key` of what is told of the state, sorted.
pub(crate) fn state(room: &Value) -> Vec<String> {
    let events = room["required_state"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut keys: Vec<_> = events
        .map(|event| format!("{}|{}", text(&event["type"]), text(&event["state_key"])))
        .collect();
    keys.sort();
    keys
}
