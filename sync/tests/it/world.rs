//! One server without an edge, and what the tests ask of it.

use std::{sync::Arc, time::Duration};

use accounts::Accounts;
use devices::Devices;
use events::SigningKey;
use presence::Presence;
use rooms::{
    CreateRoom, JoinRequest, MembershipChange, NewEvent, NewReceipt, Preset, Profile, Rooms, Txn,
    ports::{KeyRequest, KeyRing, PortFuture, Ports, TrustedKey, TrustedKeys},
};
use ruma::{
    DeviceId, EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, TransactionId, UserId,
    device_id, owned_server_name, presence::PresenceState,
};
use serde_json::{Value, value::RawValue};
use stdx::{ManualClock, Rng, Tasks};
use storage::Store;
use sync::{Config, Filter, Params, Sources, StateAfter, Sync, V3Request};

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) devices: Devices,
    pub(crate) presence: Presence,
    pub(crate) sync: Sync,
    pub(crate) tasks: Tasks,
    pub(crate) clock: Arc<ManualClock>,
}

/// The one key of all other servers. None of them can be reached.
pub(crate) struct Elsewhere;

impl Elsewhere {
    pub(crate) fn key() -> SigningKey {
        SigningKey::from_seed(&[9; 32], "elsewhere").expect("a key")
    }
}

impl KeyRing for Elsewhere {
    fn verify_keys(&self, wanted: Vec<KeyRequest>) -> PortFuture<'_, TrustedKeys> {
        let key = TrustedKey { key: Self::key().public_key(), valid_until: u64::MAX };
        let keys = wanted.into_iter().map(|request| ((request.server, request.key_id), key));
        Box::pin(std::future::ready(keys.collect()))
    }
}

/// Parameters of a sync that are the same in most tests.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) filter: String,
    pub(crate) full_state: bool,
    pub(crate) state_after: Option<StateAfter>,
    pub(crate) timeout: Duration,
    pub(crate) presence: PresenceState,
    pub(crate) device: &'static DeviceId,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            filter: "{}".to_owned(),
            full_state: false,
            state_after: None,
            timeout: Duration::ZERO,
            presence: PresenceState::Offline,
            device: device_id!("PHONE"),
        }
    }
}

impl Ask {
    pub(crate) fn filtered(filter: &str) -> Self {
        Self { filter: filter.to_owned(), ..Self::default() }
    }

    pub(crate) fn waiting() -> Self {
        Self { timeout: Duration::from_secs(120), ..Self::default() }
    }
}

/// When worlds begin.
pub(crate) const START: u64 = 1_700_000_000_000;

impl World {
    pub(crate) async fn new() -> Self {
        let store = Store::open(&storage::Config::memory(), 7).expect("memory opens");
        Self::on(store).await
    }

    pub(crate) async fn on(store: Store) -> Self {
        Self::with(store, accounts::Config::default()).await
    }

    pub(crate) async fn with(store: Store, accounts: accounts::Config) -> Self {
        Self::build(store, accounts, START).await
    }

    /// Begins at a time, in milliseconds.
    pub(crate) async fn at(store: Store, now: u64) -> Self {
        Self::build(store, accounts::Config::default(), now).await
    }

    async fn build(store: Store, accounts: accounts::Config, now: u64) -> Self {
        let clock = ManualClock::new(now);
        let rng = Rng::from_seed(1);
        let tasks = Tasks::new();
        let name = owned_server_name!("x.test");
        let key = SigningKey::from_seed(&[7; 32], "test").expect("a key");
        let rooms = Rooms::new(
            rooms::Config::default(),
            store.clone(),
            clock.clone(),
            rng.clone(),
            name.clone(),
            key,
            Ports { keys: Arc::new(Elsewhere), ..Ports::isolated() },
        )
        .expect("rooms open");
        let accounts = Accounts::open(accounts, store.clone(), clock.clone(), rng.clone(), name);
        let accounts = accounts.await.expect("accounts open");
        let devices = Devices::new(store.clone(), clock.clone(), rng, &tasks);
        let presence =
            Presence::new(presence::Config::default(), clock.clone(), &tasks, store.clone());
        tasks.spawn_until_stopped("typing", rooms.clone().expire_typing());
        let sources = Sources {
            store: store.clone(),
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            devices: devices.clone(),
            presence: presence.clone(),
        };
        let sync = Sync::new(Config::default(), sources, clock.clone(), tasks.clone());
        Self { store, rooms, accounts, devices, presence, sync, tasks, clock }
    }

    /// A registered user with the device `PHONE`.
    pub(crate) async fn user(&self, name: &str) -> OwnedUserId {
        let new = accounts::NewUser { localpart: Some(name), ..Default::default() };
        let user = self.accounts.register(new).await.expect("the name is free").user_id;
        self.devices.ensure(&user, Some(device_id!("PHONE")), None).await.expect("a device");
        user
    }

    pub(crate) async fn ask(&self, user: &UserId, since: Option<&str>, ask: &Ask) -> Value {
        let request = V3Request {
            user,
            device: Some(ask.device),
            since,
            filter: Arc::new(Filter::parse(&ask.filter).expect("a valid filter")),
            full_state: ask.full_state,
            set_presence: ask.presence.clone(),
            use_state_after: ask.state_after,
            timeout: ask.timeout,
        };
        let body = self.sync.v3(request).await.expect("sync answers");
        serde_json::from_slice(&body).expect("the answer is JSON")
    }

    pub(crate) async fn initial(&self, user: &UserId) -> Value {
        self.ask(user, None, &Ask::default()).await
    }

    pub(crate) async fn next(&self, user: &UserId, since: &str) -> Value {
        self.ask(user, Some(since), &Ask::default()).await
    }

    /// The token of now.
    pub(crate) async fn token(&self, user: &UserId) -> String {
        token_of(&self.initial(user).await)
    }

    pub(crate) fn params(&self, since: Option<&str>) -> Params {
        Params {
            since: since.map(str::to_owned),
            filter: Arc::default(),
            full_state: false,
            set_presence: PresenceState::Offline,
            use_state_after: None,
        }
    }

    pub(crate) async fn room(&self, creator: &UserId, preset: Preset) -> OwnedRoomId {
        self.room_of_type(creator, preset, None).await
    }

    pub(crate) async fn room_of_type(
        &self,
        creator: &UserId,
        preset: Preset,
        room_type: Option<&str>,
    ) -> OwnedRoomId {
        let content = room_type.map(|room_type| serde_json::json!({"type": room_type}).to_string());
        let content = content.map(|content| RawValue::from_string(content).expect("JSON"));
        let request = CreateRoom {
            creator,
            creator_profile: Profile::default(),
            invitee_profiles: Vec::new(),
            published: false,
            room_alias_name: None,
            name: None,
            topic: None,
            invite: Vec::new(),
            room_version: None,
            creation_content: content.as_deref(),
            initial_state: Vec::new(),
            preset: Some(preset),
            is_direct: false,
            power_level_content_override: None,
        };
        self.rooms.create(request).await.expect("the room is created")
    }

    pub(crate) async fn account_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        event_type: &str,
        content: &Value,
    ) {
        let content = RawValue::from_string(content.to_string()).expect("JSON");
        let set = self.accounts.set_account_data(user, room, event_type, &content).await;
        set.expect("account data is set");
    }

    /// A public room with everybody in it.
    pub(crate) async fn shared_room(&self, users: &[&UserId]) -> OwnedRoomId {
        let (creator, others) = users.split_first().expect("somebody");
        let room = self.room(creator, Preset::PublicChat).await;
        for user in others {
            self.join(&room, user).await;
        }
        room
    }

    pub(crate) async fn join(&self, room_id: &RoomId, user: &UserId) {
        let request = JoinRequest {
            room_id,
            user,
            profile: Profile::default(),
            guest: false,
            reason: None,
            via: Vec::new(),
            extra: None,
        };
        self.rooms.join(request).await.expect("the user may join");
    }

    pub(crate) async fn invite(&self, room_id: &RoomId, sender: &UserId, target: &UserId) {
        let change = change(room_id, sender, target);
        self.rooms.invite(change, Profile::default(), false).await.expect("may invite");
    }

    pub(crate) async fn event(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        event_type: &str,
        state_key: Option<&str>,
        content: &Value,
    ) -> OwnedEventId {
        let content = RawValue::from_string(content.to_string()).expect("JSON");
        let event = NewEvent {
            room_id,
            sender,
            event_type,
            state_key,
            content: &content,
            txn: None,
            timestamp: None,
        };
        self.rooms.send(event).await.expect("the event is sent")
    }

    pub(crate) async fn say(&self, room: &RoomId, sender: &UserId, body: &str) -> OwnedEventId {
        let content = serde_json::json!({"msgtype": "m.text", "body": body});
        self.event(room, sender, "m.room.message", None, &content).await
    }

    pub(crate) async fn say_with_txn(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        device_id: &DeviceId,
        txn_id: &TransactionId,
    ) -> OwnedEventId {
        let content = RawValue::from_string(r#"{"msgtype":"m.text","body":"t"}"#.to_owned());
        let content = content.expect("JSON");
        let event = NewEvent {
            room_id,
            sender,
            event_type: "m.room.message",
            state_key: None,
            content: &content,
            txn: Some(Txn { device_id, txn_id }),
            timestamp: None,
        };
        self.rooms.send(event).await.expect("the event is sent")
    }

    pub(crate) async fn topic(&self, room: &RoomId, sender: &UserId, topic: &str) -> OwnedEventId {
        let content = serde_json::json!({"topic": topic});
        self.event(room, sender, "m.room.topic", Some(""), &content).await
    }

    pub(crate) async fn read(
        &self,
        room_id: &RoomId,
        user: &UserId,
        kind: &str,
        event_id: &EventId,
        thread: Option<&str>,
    ) {
        let receipt = NewReceipt { room_id, user, kind, event_id, thread };
        self.rooms.set_receipt(receipt).await.expect("the receipt is set");
    }
}

pub(crate) fn change<'a>(
    room_id: &'a RoomId,
    sender: &'a UserId,
    target: &'a UserId,
) -> MembershipChange<'a> {
    MembershipChange { room_id, sender, target, reason: None }
}

pub(crate) fn token_of(answer: &Value) -> String {
    answer["next_batch"].as_str().expect("next_batch").to_owned()
}

pub(crate) fn joined<'a>(answer: &'a Value, room: &RoomId) -> &'a Value {
    &answer["rooms"]["join"][room.as_str()]
}

pub(crate) fn left<'a>(answer: &'a Value, room: &RoomId) -> &'a Value {
    &answer["rooms"]["leave"][room.as_str()]
}

/// The events of a section such as `timeline`.
pub(crate) fn events<'a>(room: &'a Value, section: &str) -> &'a [Value] {
    room[section]["events"].as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn ids(room: &Value, section: &str) -> Vec<String> {
    let events = events(room, section).iter();
    events.map(|event| event["event_id"].as_str().expect("event_id").to_owned()).collect()
}

/// Bodies of messages.
pub(crate) fn bodies(room: &Value) -> Vec<&str> {
    let events = events(room, "timeline").iter();
    events.filter_map(|event| event["content"]["body"].as_str()).collect()
}

/// `type|state_key` of the events of a section, sorted.
pub(crate) fn keys(room: &Value, section: &str) -> Vec<String> {
    let key = |event: &Value| {
        let state_key = event["state_key"].as_str().unwrap_or("-");
        format!("{}|{state_key}", event["type"].as_str().expect("type"))
    };
    let mut keys: Vec<_> = events(room, section).iter().map(key).collect();
    keys.sort();
    keys
}

pub(crate) fn of_type<'a>(events: &'a [Value], event_type: &str) -> Option<&'a Value> {
    events.iter().find(|event| event["type"] == event_type)
}

/// Whether the answer says nothing but its token.
pub(crate) fn is_empty(answer: &Value) -> bool {
    answer.as_object().expect("an object").keys().all(|key| {
        // These are in every answer to a device.
        let counts = ["device_one_time_keys_count", "device_unused_fallback_key_types"];
        key == "next_batch" || counts.contains(&key.as_str())
    })
}
