//! The server that sends: rooms, presence, devices and a sender, with the wire behind it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use devices::{Devices, SendToDevice};
use events::{EventTemplate, SigningKey};
use federation::{Config, Sender, SenderPieces};
use presence::Presence;
use rooms::{
    CreateRoom, JoinRequest, NewEvent, NewReceipt, Preset, Profile, Rooms,
    ports::{KeyRequest, KeyRing, PortFuture, Ports, TrustedKey, TrustedKeys},
};
use ruma::{
    DeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, TransactionId, UserId,
    presence::PresenceState, to_device::DeviceIdOrAllDevices,
};
use serde_json::{json, value::to_raw_value};
use stdx::{ManualClock, Rng, Tasks};
use storage::Store;

use super::wire::Wire;

pub(crate) const START: u64 = 1_700_000_000_000;
pub(crate) const PEER: &str = "peer.test";
const US: &str = "us.test";

/// Pauses short enough to be waited for.
pub(crate) fn hasty() -> Config {
    let retry_min = Duration::from_millis(2);
    let retry_max = Duration::from_millis(20);
    Config { retry_min, retry_max, ..Config::default() }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rooms: Rooms,
    pub(crate) presence: Presence,
    pub(crate) devices: Devices,
    pub(crate) wire: Wire,
    pub(crate) ada: OwnedUserId,
    /// A public room of ada's.
    pub(crate) room: OwnedRoomId,
    running: Option<(Sender, Tasks)>,
    starts: u64,
    tasks: Tasks,
}

/// Everybody has the same key.
struct OneKey(SigningKey);

impl KeyRing for OneKey {
    fn verify_keys(&self, wanted: Vec<KeyRequest>) -> PortFuture<'_, TrustedKeys> {
        let key = TrustedKey { key: self.0.public_key(), valid_until: u64::MAX };
        let keys = wanted.into_iter().map(|wanted| ((wanted.server, wanted.key_id), key));
        Box::pin(std::future::ready(keys.collect()))
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32], "one").expect("a key")
}

impl World {
    /// Nothing is sent yet.
    pub(crate) async fn new() -> Self {
        let store = Store::open(&storage::Config::memory(), 1).expect("memory opens");
        let (clock, tasks) = (ManualClock::new(START), Tasks::new());
        let ports = Ports { remote: Ports::isolated().remote, keys: Arc::new(OneKey(key())) };
        let rooms = Rooms::new(
            rooms::Config::default(),
            store.clone(),
            clock.clone(),
            Rng::from_seed(1),
            ServerName::parse(US).expect("a server name"),
            key(),
            ports,
        )
        .expect("the configuration is good");
        let presence =
            Presence::new(presence::Config::default(), clock.clone(), &tasks, store.clone());
        let devices = Devices::new(store.clone(), clock.clone(), Rng::from_seed(2), &tasks);
        let ada = user("ada", US);
        let room = new_room(&rooms, &ada).await;
        let wire = Wire::new();
        let (running, starts) = (None, 0);
        Self { store, clock, rooms, presence, devices, wire, ada, room, running, starts, tasks }
    }

    /// With one user of one peer in ada's room, who is told of all from now on.
    pub(crate) async fn with_peer(config: Config) -> Self {
        let mut world = Self::new().await;
        world.come(PEER).await;
        world.start(config);
        world
    }

    pub(crate) fn start(&mut self, config: Config) {
        self.starts += 1;
        let tasks = Tasks::new();
        let pieces = SenderPieces {
            client: self.wire.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            rng: Rng::from_seed(100 + self.starts),
            tasks: tasks.clone(),
            rooms: self.rooms.clone(),
            devices: self.devices.clone(),
            presence: self.presence.clone(),
        };
        self.running = Some((Sender::new(config, pieces), tasks));
    }

    /// What was written is on disk, what was in memory is gone.
    pub(crate) async fn stop(&mut self) {
        if let Some((_, tasks)) = self.running.take() {
            tasks.shutdown().await;
        }
        self.store.barrier().wait().await.expect("writes");
    }

    /// See [`Wire::stop_the_clock`].
    pub(crate) async fn stop_the_clock(&self) {
        self.store.barrier().wait().await.expect("writes");
        self.wire.stop_the_clock();
    }

    /// A peer's request was authenticated.
    pub(crate) fn hear_from(&self, server: &str) {
        let (sender, _) = self.running.as_ref().expect("it runs");
        sender.heard_from(&ServerName::parse(server).expect("a server name"));
    }

    /// A user of another server joins ada's room.
    pub(crate) async fn come(&self, server: &str) -> OwnedUserId {
        let user = user("eve", server);
        self.come_as(&user, &self.room, "join").await;
        user
    }

    pub(crate) async fn come_as(&self, user: &UserId, room: &RoomId, membership: &str) {
        let view = self.rooms.room(room).await.expect("reads").expect("a room");
        let content = to_raw_value(&json!({ "membership": membership })).expect("JSON");
        let (event_type, state_key) = ("m.room.member", Some(user.as_str()));
        let keys = events::auth_events_for(view.version, event_type, user, state_key, &content);
        let mut auth_events = Vec::new();
        for (event_type, state_key) in keys.expect("a member event") {
            let event = self.rooms.state_get(view.state, &event_type, &state_key).await;
            auth_events.extend(event.expect("reads").map(|event| event.event_id().clone()));
        }
        let template = EventTemplate {
            room_id: Some(room),
            sender: user,
            event_type,
            state_key,
            content: &content,
            prev_events: &view.extremities,
            auth_events: &auth_events,
            depth: view.depth + 1,
            origin_server_ts: START,
            redacts: None,
        };
        let server = user.server_name();
        let pdu = events::sign_and_build(&template, &key(), server, view.version);
        let pdu = pdu.expect("it is well-formed");
        let (rooms, json) = (&self.rooms, pdu.json().clone());
        match membership {
            "join" => drop(rooms.peer_join(server, room, pdu.event_id(), json).await.expect("in")),
            _ => rooms.peer_leave(server, room, pdu.event_id(), json).await.expect("out"),
        }
    }

    /// Users of ours who are in ada's room.
    pub(crate) async fn locals(&self, count: usize) -> Vec<OwnedUserId> {
        let mut users = Vec::new();
        for number in 0..count {
            let user = user(&format!("u{number}"), US);
            self.join(&user, &self.room).await;
            users.push(user);
        }
        users
    }

    pub(crate) async fn join(&self, user: &UserId, room: &RoomId) {
        let request = JoinRequest {
            room_id: room,
            user,
            profile: Profile::default(),
            guest: false,
            reason: None,
            via: Vec::new(),
            extra: None,
        };
        self.rooms.join(request).await.expect("joins");
    }

    pub(crate) async fn say(&self, text: &str) -> OwnedEventId {
        self.say_in(&self.room, text).await
    }

    pub(crate) async fn say_in(&self, room_id: &RoomId, text: &str) -> OwnedEventId {
        let content = &*to_raw_value(&json!({ "body": text })).expect("JSON");
        let event = NewEvent {
            room_id,
            sender: &self.ada,
            event_type: "m.room.message",
            state_key: None,
            content,
            txn: None,
            timestamp: None,
        };
        self.rooms.send(event).await.expect("sends")
    }

    /// Says `<name>0`, `<name>1` and so on, and returns that.
    pub(crate) async fn say_all(&self, name: &str, count: usize) -> Vec<String> {
        let texts: Vec<_> = (0..count).map(|number| format!("{name}{number}")).collect();
        for text in &texts {
            self.say(text).await;
        }
        texts
    }

    pub(crate) async fn type_for(&self, user: &UserId, time: Duration) {
        self.rooms.start_typing(&self.room, user, time).await.expect("types");
    }

    pub(crate) async fn read(&self, user: &UserId, event_id: &OwnedEventId, thread: Option<&str>) {
        let receipt = NewReceipt { room_id: &self.room, user, kind: "m.read", event_id, thread };
        self.rooms.set_receipt(receipt).await.expect("reads");
    }

    /// A message to all devices of a user.
    pub(crate) async fn message(&self, user: &UserId, id: &str) {
        let content = to_raw_value(&json!({ "id": id })).expect("JSON");
        let messages = BTreeMap::from([(
            user.to_owned(),
            BTreeMap::from([(DeviceIdOrAllDevices::AllDevices, content)]),
        )]);
        let send = SendToDevice {
            sender: &self.ada,
            device_id: <&DeviceId>::from("DEVICE"),
            event_type: "m.test",
            txn_id: <&TransactionId>::from(id),
            messages: &messages,
        };
        self.devices.send_to_device(send).await.expect("sends");
    }

    pub(crate) async fn be(&self, user: &UserId, state: PresenceState, status: Option<&str>) {
        let device = <&DeviceId>::from("DEVICE");
        self.presence.set(user, device, &state, status).await.expect("sets");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.stop();
        if let Some((_, tasks)) = &self.running {
            tasks.stop();
        }
    }
}

pub(crate) async fn new_room(rooms: &Rooms, creator: &UserId) -> OwnedRoomId {
    let request = CreateRoom {
        preset: Some(Preset::PublicChat),
        room_version: Some("11"),
        ..CreateRoom::new(creator)
    };
    rooms.create(request).await.expect("creates")
}

pub(crate) fn user(localpart: &str, server: &str) -> OwnedUserId {
    UserId::parse(format!("@{localpart}:{server}")).expect("a user id")
}
