//! A server without an edge, on one thread, and what is asked of it.

use std::{future::Future, path::Path, sync::Arc};

use accounts::Accounts;
use devices::Devices;
use events::SigningKey;
use presence::Presence;
use rooms::{CreateRoom, JoinRequest, NewEvent, Preset, Profile, Rooms, ports::Ports};
use ruma::{
    OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId, device_id, owned_server_name,
    presence::PresenceState,
};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use stdx::{ManualClock, Rng, Tasks};
use storage::{EngineKind, Store};
use sync::{Config, Connection, Filter, Params, Sources, Sync, V3Request};
use tokio::task::JoinSet;

const START: u64 = 1_700_000_000_000;
const BERTH: &str = "x.test.berth";
const AT_ONCE: usize = 256;

pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    rooms: Rooms,
    accounts: Accounts,
    devices: Devices,
    presence: Presence,
    sync: Sync,
    clock: Arc<ManualClock>,
    /// Ended with the world.
    _tasks: Tasks,
}

impl World {
    /// In memory, or on disk in a directory.
    pub(crate) fn new(directory: Option<&Path>) -> anyhow::Result<Self> {
        // Without I/O: a write that wakes the loop would be counted.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let config = match directory {
            None => storage::Config::memory(),
            Some(directory) => storage::Config {
                ballast_bytes: 0,
                low_water_bytes: 0,
                ..storage::Config::at(EngineKind::Fjall, directory.to_owned())
            },
        };
        let store = Store::open(&config, 7)?;
        let entered = runtime.enter();
        let (clock, rng, tasks) = (ManualClock::new(START), Rng::from_seed(1), Tasks::new());
        let name = owned_server_name!("x.test");
        let rooms = Rooms::new(
            rooms::Config::default(),
            store.clone(),
            clock.clone(),
            rng.clone(),
            name.clone(),
            SigningKey::from_seed(&[7; 32], "test")?,
            Ports::isolated(),
        )?;
        let accounts = Accounts::open(
            accounts::Config::default(),
            store.clone(),
            clock.clone(),
            rng.clone(),
            name,
        );
        let accounts = runtime.block_on(accounts)?;
        let devices = Devices::new(store.clone(), clock.clone(), rng, &tasks);
        let presence =
            Presence::new(presence::Config::default(), clock.clone(), &tasks, store.clone());
        let sources = Sources {
            store,
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            devices: devices.clone(),
            presence: presence.clone(),
        };
        let sync = Sync::new(Config::default(), sources, clock.clone(), tasks.clone());
        drop(entered);
        Ok(Self { runtime, rooms, accounts, devices, presence, sync, clock, _tasks: tasks })
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// A user with a device, in none of the rooms.
    pub(crate) fn user(&self, name: &str) -> anyhow::Result<OwnedUserId> {
        self.wait(async {
            let new = accounts::NewUser { localpart: Some(name), ..Default::default() };
            let user = self.accounts.register(new).await?.user_id;
            self.devices.ensure(&user, Some(&device()), None).await?;
            Ok(user)
        })
    }

    /// A public room.
    pub(crate) fn room(&self, creator: &UserId) -> anyhow::Result<OwnedRoomId> {
        let request = CreateRoom { preset: Some(Preset::PublicChat), ..CreateRoom::new(creator) };
        Ok(self.wait(self.rooms.create(request))?)
    }

    /// Adds so many entries to a room's state; many are on their way to the disk at once.
    pub(crate) fn fill(&self, room: &RoomId, sender: &UserId, entries: u64) -> anyhow::Result<()> {
        self.wait(async {
            let mut sending = JoinSet::new();
            for number in 0..entries {
                let (rooms, room, sender) =
                    (self.rooms.clone(), room.to_owned(), sender.to_owned());
                let content = to_raw_value(&json!({ "berth": number }))?;
                sending.spawn(async move {
                    let state_key = berth(number);
                    rooms.send(event(&room, &sender, BERTH, Some(&state_key), &content)).await
                });
                if sending.len() == AT_ONCE
                    && let Some(sent) = sending.join_next().await
                {
                    sent??;
                }
            }
            while let Some(sent) = sending.join_next().await {
                sent??;
            }
            Ok(())
        })
    }

    /// Replaces an entry that [`fill`](Self::fill) has made.
    pub(crate) fn move_berth(
        &self,
        room: &RoomId,
        sender: &UserId,
        number: u64,
        place: &str,
    ) -> anyhow::Result<()> {
        self.send(room, sender, BERTH, Some(&berth(number)), &json!({ "berth": place }))
    }

    pub(crate) fn join(&self, room_id: &RoomId, user: &UserId) -> anyhow::Result<()> {
        let request = JoinRequest {
            room_id,
            user,
            profile: Profile::default(),
            guest: false,
            reason: None,
            via: Vec::new(),
            extra: None,
        };
        Ok(self.wait(self.rooms.join(request))?)
    }

    /// Durable when this returns.
    pub(crate) fn say(&self, room: &RoomId, sender: &UserId, number: u64) -> anyhow::Result<()> {
        let body = format!(
            "The ferry leaves at ten past six from the second pier, for the {number}th time."
        );
        let content = json!({ "msgtype": "m.text", "body": body });
        self.send(room, sender, "m.room.message", None, &content)
    }

    fn send(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        event_type: &str,
        state_key: Option<&str>,
        content: &Value,
    ) -> anyhow::Result<()> {
        let content = to_raw_value(content)?;
        self.wait(self.rooms.send(event(room_id, sender, event_type, state_key, &content)))?;
        Ok(())
    }

    /// The body of the answer to a sync.
    pub(crate) fn sync(&self, user: &UserId, since: Option<&str>) -> anyhow::Result<bytes::Bytes> {
        let device = device();
        let request = V3Request {
            user,
            device: Some(&device),
            since,
            filter: Arc::new(Filter::default()),
            full_state: false,
            set_presence: PresenceState::Offline,
            use_state_after: None,
            timeout: std::time::Duration::ZERO,
        };
        Ok(self.wait(self.sync.v3(request))?)
    }

    fn connect(&self, user: &UserId, set_presence: PresenceState) -> anyhow::Result<Connection> {
        let params = Params {
            since: None,
            filter: Arc::default(),
            full_state: false,
            set_presence,
            use_state_after: None,
        };
        let device = device();
        Ok(self.wait(self.sync.connection(user, &device, params))?)
    }

    /// One that listens and has had its first batch; it has no presence.
    pub(crate) fn listener(&self, user: &UserId) -> anyhow::Result<Connection> {
        let mut connection = self.connect(user, PresenceState::Offline)?;
        self.wait(connection.next())?;
        Ok(connection)
    }

    /// One that makes its user online and is woken, but asks for nothing.
    pub(crate) fn watcher(&self, user: &UserId) -> anyhow::Result<Connection> {
        self.connect(user, PresenceState::Online)
    }

    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }

    pub(crate) fn clock(&self) -> &ManualClock {
        &self.clock
    }

    pub(crate) fn beat(&self, user: &UserId, active: bool) {
        self.presence.heartbeat(user, &device(), active);
    }

    /// Lets the tasks of the server run for so long.
    pub(crate) fn pass(&self, time: std::time::Duration) {
        self.wait(async { tokio::time::sleep(time).await });
    }

    /// The next batch; its body.
    pub(crate) fn deliver(&self, connection: &mut Connection) -> anyhow::Result<bytes::Bytes> {
        Ok(self.wait(connection.next())?.body)
    }
}

fn event<'a>(
    room_id: &'a RoomId,
    sender: &'a UserId,
    event_type: &'a str,
    state_key: Option<&'a str>,
    content: &'a RawValue,
) -> NewEvent<'a> {
    let (txn, timestamp) = (None, None);
    NewEvent { room_id, sender, event_type, state_key, content, txn, timestamp }
}

fn berth(number: u64) -> String {
    format!("ship{number}")
}

fn device() -> OwnedDeviceId {
    device_id!("PHONE").to_owned()
}
