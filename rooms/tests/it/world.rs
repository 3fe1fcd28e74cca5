//! A server's room engine on a store in memory, and short ways to use it.

use std::sync::Arc;

use events::SigningKey;
use rooms::{
    Config, CreateRoom, Error, JoinRequest, MembershipChange, NewEvent, Preset, Profile, Redaction,
    Rooms, StoredEvent, Txn,
};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
};
use serde_json::{Value, value::to_raw_value};
use stdx::{ManualClock, Rng};
use storage::Store;

pub(crate) const START: u64 = 1_700_000_000_000;

pub(crate) struct World {
    pub(crate) rooms: Rooms,
    pub(crate) store: Store,
    pub(crate) server: String,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::named("one.test")
    }

    pub(crate) fn named(server: &str) -> Self {
        let store = Store::open(&storage::Config::memory(), 1).expect("memory opens");
        Self::on(server, store, Config::default())
    }

    pub(crate) fn on(server: &str, store: Store, config: Config) -> Self {
        let clock = ManualClock::new(START);
        let key = SigningKey::from_seed(&[7; 32], "1").expect("a key");
        let rooms = Rooms::new(
            config,
            store.clone(),
            clock.clone(),
            Rng::from_seed(store.log().position()),
            server.try_into().expect("a server name"),
            key,
            rooms::ports::Ports::isolated(),
        )
        .expect("the configuration is good");
        Self { rooms, store, server: server.to_owned(), clock }
    }

    /// The same data in a new process, as it were.
    pub(crate) fn reopened(&self) -> Self {
        Self::on(&self.server, self.store.clone(), Config::default())
    }

    pub(crate) fn user(&self, name: &str) -> OwnedUserId {
        UserId::parse(format!("@{name}:{}", self.server)).expect("a user id")
    }

    /// A public room of `creator` in which the others are.
    pub(crate) async fn room(&self, creator: &UserId, others: &[&OwnedUserId]) -> OwnedRoomId {
        let request = CreateRoom { preset: Some(Preset::PublicChat), ..CreateRoom::new(creator) };
        let room = self.rooms.create(request).await.expect("creates");
        for user in others {
            self.join(user, &room).await.expect("joins");
        }
        room
    }

    pub(crate) async fn join(&self, user: &UserId, room: &RoomId) -> Result<(), Error> {
        self.rooms.join(join_request(user, room)).await
    }

    pub(crate) async fn send(
        &self,
        user: &UserId,
        room: &RoomId,
        body: &str,
    ) -> Result<OwnedEventId, Error> {
        let content = message(body);
        self.rooms.send(new_event(user, room, "m.room.message", None, &content)).await
    }

    pub(crate) async fn send_with(
        &self,
        user: &UserId,
        room: &RoomId,
        body: &str,
        device: &str,
        txn: &str,
    ) -> Result<OwnedEventId, Error> {
        let content = message(body);
        let event = new_event(user, room, "m.room.message", None, &content);
        let txn = Some(Txn { device_id: device.into(), txn_id: txn.into() });
        self.rooms.send(NewEvent { txn, ..event }).await
    }

    pub(crate) async fn set(
        &self,
        user: &UserId,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> Result<OwnedEventId, Error> {
        let content = to_raw_value(&content).expect("JSON");
        self.rooms.send(new_event(user, room, event_type, Some(state_key), &content)).await
    }

    pub(crate) async fn redact(
        &self,
        user: &UserId,
        room: &RoomId,
        target: &OwnedEventId,
    ) -> Result<OwnedEventId, Error> {
        let redaction =
            Redaction { room_id: room, sender: user, target, reason: Some("no"), txn: None };
        self.rooms.redact(redaction).await
    }

    pub(crate) async fn invite(
        &self,
        sender: &UserId,
        room: &RoomId,
        target: &UserId,
    ) -> Result<(), Error> {
        self.rooms.invite(change(sender, room, target), Profile::default(), false).await
    }

    pub(crate) async fn membership(&self, user: &UserId, room: &RoomId) -> Option<MembershipState> {
        self.rooms.membership(user, room).await.expect("reads")
    }

    /// The membership that a local user sees, in a room that this server need not be in; of others,
    /// that in the room.
    pub(crate) async fn membership_of(
        &self,
        user: &UserId,
        room: &RoomId,
    ) -> Option<MembershipState> {
        if user.server_name().as_str() != self.server {
            return self.membership(user, room).await;
        }
        let row = self.rooms.user_room(user, room).await.expect("reads");
        row.map(|row| row.membership)
    }

    /// The content of a state event now.
    pub(crate) async fn current(
        &self,
        room: &RoomId,
        event_type: &str,
        key: &str,
    ) -> Option<Value> {
        let view = self.rooms.room(room).await.expect("reads").expect("the room exists");
        let event = self.rooms.state_get(view.state, event_type, key).await.expect("reads")?;
        Some(event.pdu.content_as().expect("JSON"))
    }

    /// Every event of the room from the last to the first, by following `prev_events`.
    pub(crate) async fn chain(&self, room: &RoomId) -> Vec<Arc<StoredEvent>> {
        let view = self.rooms.room(room).await.expect("reads").expect("the room exists");
        assert_eq!(view.extremities.len(), 1, "the room has not forked");
        let mut next = view.extremities.first().cloned();
        let mut chain = Vec::new();
        while let Some(id) = next {
            let event = self.rooms.event_by_id(&id).await.expect("reads").expect("is stored");
            assert!(event.pdu.prev_events().len() <= 1);
            next = event.pdu.prev_events().first().cloned();
            chain.push(event);
        }
        chain
    }
}

pub(crate) fn message(body: &str) -> Box<serde_json::value::RawValue> {
    to_raw_value(&serde_json::json!({ "msgtype": "m.text", "body": body })).expect("JSON")
}

pub(crate) fn new_event<'a>(
    user: &'a UserId,
    room: &'a RoomId,
    event_type: &'a str,
    state_key: Option<&'a str>,
    content: &'a serde_json::value::RawValue,
) -> NewEvent<'a> {
    NewEvent {
        room_id: room,
        sender: user,
        event_type,
        state_key,
        content,
        txn: None,
        timestamp: None,
    }
}

pub(crate) fn change<'a>(
    sender: &'a UserId,
    room: &'a RoomId,
    target: &'a UserId,
) -> MembershipChange<'a> {
    MembershipChange { room_id: room, sender, target, reason: None }
}

pub(crate) fn join_request<'a>(user: &'a UserId, room: &'a RoomId) -> JoinRequest<'a> {
    JoinRequest {
        room_id: room,
        user,
        profile: Profile::default(),
        guest: false,
        reason: None,
        via: Vec::new(),
        extra: None,
    }
}

pub(crate) fn is_forbidden<T: std::fmt::Debug>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Forbidden(_) | Error::NotJoined))
}
