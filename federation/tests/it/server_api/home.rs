//! The server that is asked: everything behind the router, on a store in memory.

use std::sync::Arc;

use accounts::{Accounts, NewUser};
use axum::{Router, body::Body};
use bytes::Bytes;
use devices::Devices;
use events::SigningKey;
use federation::{
    Client, Config, DeviceLists, DeviceListsPieces, Inbound, KeyRing, Pieces, Remote, Sender,
    SenderPieces,
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use presence::Presence;
use rooms::{
    CreateRoom, InitialState, NewEvent, Preset, RoomView, Rooms, StoredEvent, ports::Ports,
};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
};
use serde_json::{Value, json, value::to_raw_value};
use stdx::{ManualClock, Rng, SharedClock, Tasks};
use storage::Store;
use tower::ServiceExt as _;

use crate::net::Net;

pub(crate) const NAME: &str = "home.test";

pub(crate) struct Home {
    /// Where it finds others.
    pub(crate) net: Arc<Net>,
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) devices: Devices,
    pub(crate) presence: Presence,
    pub(crate) router: Router,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    /// Status and error code.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["errcode"].as_str().unwrap_or_default())
    }

    #[track_caller]
    pub(crate) fn refused(self, row: &str, status: u16, errcode: &str) -> Self {
        assert_eq!(self.refusal(), (status, errcode), "{row}: {}", self.body);
        self
    }
}

impl Home {
    pub(crate) async fn start() -> Self {
        let store = Store::open(&storage::Config::memory(), 1).expect("memory opens");
        Self::on(store, Arc::new(Net::new())).await
    }

    /// The same server, after the end of its process.
    pub(crate) async fn restarted(&self) -> Self {
        Self::on(self.store.clone(), Arc::clone(&self.net)).await
    }

    pub(crate) fn clock(&self) -> &ManualClock {
        &self.net.clock
    }

    async fn on(store: Store, net: Arc<Net>) -> Self {
        Self::named(NAME, store, net).await
    }

    /// A server of another name, with the same key.
    pub(crate) async fn named(name: &str, store: Store, net: Arc<Net>) -> Self {
        Self::configured(name, store, net, rooms::Config::default()).await
    }

    pub(crate) async fn configured(
        name: &str,
        store: Store,
        net: Arc<Net>,
        of_rooms: rooms::Config,
    ) -> Self {
        let name: OwnedServerName = ServerName::parse(name).expect("a server name");
        let key = SigningKey::from_seed(&[7; 32], "home").expect("a key");
        let clock: SharedClock = net.clock.clone();
        let rng = Rng::from_seed(store.log().position() ^ 42);
        let tasks = Tasks::new();
        let config = net.config();
        let client = client(&net, &config, &name, &key);
        let keys = KeyRing::new(&config, client.clone(), store.clone(), clock.clone(), key.clone());
        let ports =
            Ports { remote: Arc::new(Remote::new(client.clone())), keys: Arc::new(keys.clone()) };
        let rooms = Rooms::new(
            of_rooms,
            store.clone(),
            clock.clone(),
            rng.clone(),
            name.clone(),
            key,
            ports,
        )
        .expect("the configuration is good");
        let accounts = accounts(&store, &clock, &rng, name).await;
        let devices = Devices::new(store.clone(), clock.clone(), rng.clone(), &tasks);
        let presence =
            Presence::new(presence::Config::default(), clock.clone(), &tasks, store.clone());
        let device_lists = DeviceLists::new(DeviceListsPieces {
            client: client.clone(),
            store: store.clone(),
            rooms: rooms.clone(),
            devices: devices.clone(),
            tasks: tasks.clone(),
        });
        devices.set_remote_keys(Arc::new(device_lists.clone()));
        let sender = Sender::new(
            config,
            SenderPieces {
                client,
                store: store.clone(),
                clock: clock.clone(),
                rng,
                tasks: tasks.clone(),
                rooms: rooms.clone(),
                devices: devices.clone(),
                presence: presence.clone(),
            },
        );
        let inbound = Inbound::new(Pieces {
            store: store.clone(),
            clock,
            tasks,
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            devices: devices.clone(),
            presence: presence.clone(),
            keys,
            device_lists,
            sender,
        });
        let router = federation::router::<Inbound>().with_state(inbound);
        Self { net, store, rooms, accounts, devices, presence, router }
    }

    /// Hands a request to the router as it is.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.expect("routers answer");
        let (parts, body) = answer.into_parts();
        let body: Bytes = body.collect().await.expect("it is in memory").to_bytes();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A user with one device, `DEVICE`.
    pub(crate) async fn user(&self, localpart: &str) -> OwnedUserId {
        let user = NewUser { localpart: Some(localpart), ..NewUser::default() };
        let user = self.accounts.register(user).await.expect("registers").user_id;
        let device = Some("DEVICE".into());
        self.devices.ensure(&user, device, None).await.expect("creates");
        user
    }

    /// A room that everybody may join.
    pub(crate) async fn room(&self, creator: &UserId, version: &str) -> OwnedRoomId {
        self.room_with(creator, version, "m.room.topic", json!({ "topic": "any" })).await
    }

    pub(crate) async fn room_with(
        &self,
        creator: &UserId,
        version: &str,
        event_type: &str,
        content: Value,
    ) -> OwnedRoomId {
        let initial = InitialState {
            event_type: event_type.to_owned(),
            state_key: String::new(),
            content: to_raw_value(&content).expect("JSON"),
        };
        let request = CreateRoom {
            preset: Some(Preset::PublicChat),
            room_version: Some(version),
            initial_state: vec![initial],
            ..CreateRoom::new(creator)
        };
        self.rooms.create(request).await.expect("creates")
    }

    pub(crate) async fn say(&self, user: &UserId, room: &RoomId, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body });
        self.put(user, room, "m.room.message", None, content).await
    }

    pub(crate) async fn set(&self, user: &UserId, room: &RoomId, event_type: &str, content: Value) {
        self.put(user, room, event_type, Some(""), content).await;
    }

    async fn put(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> OwnedEventId {
        let content = &*to_raw_value(&content).expect("JSON");
        let event = NewEvent {
            room_id,
            sender,
            event_type,
            state_key,
            content,
            txn: None,
            timestamp: None,
        };
        self.rooms.send(event).await.expect("sends")
    }

    pub(crate) async fn view(&self, room: &RoomId) -> Arc<RoomView> {
        self.rooms.room(room).await.expect("reads").expect("the room exists")
    }

    /// An event that is part of the room's history.
    pub(crate) async fn shown(&self, event: &EventId) -> Option<Arc<StoredEvent>> {
        let event = self.rooms.event_by_id(event).await.expect("reads");
        event.filter(|event| event.status == rooms::EventStatus::Accepted)
    }
}

fn client(net: &Net, config: &Config, name: &ServerName, key: &SigningKey) -> Client {
    let (names, clock) = (net.names.clone(), net.clock.clone());
    let client = Client::with_resolver(config, names, name.to_owned(), key.clone(), clock);
    client.expect("the configuration is good")
}

async fn accounts(
    store: &Store,
    clock: &SharedClock,
    rng: &Rng,
    name: OwnedServerName,
) -> Accounts {
    let (store, clock, rng) = (store.clone(), clock.clone(), rng.clone());
    let opened = Accounts::open(accounts::Config::default(), store, clock, rng, name);
    opened.await.expect("the store is good")
}
