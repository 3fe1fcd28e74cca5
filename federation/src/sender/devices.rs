//! Tells other servers of the devices and cross-signing keys of ours: those that share a room with
//! the user, of every change, and those that come to share one, that there is a list.
//!
//! What is told is as it is when the log is followed, so the newest update is always true. Updates
//! of a user refer to the one before; after a restart, or where one was dropped, they do not, and
//! the other server fetches the whole list.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use ::devices::{
    keys::{DeviceWithKeys, SigningKeys},
    stream::{DEVICE_LIST, DeviceListFact, SIGNING_KEYS, SigningKeysFact},
};
use bytes::Bytes;
use parking_lot::Mutex;
use rooms::{RoomEventFact, stream};
use ruma::{
    DeviceId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::room::member::MembershipState,
};
use serde_json::{Value, json};
use storage::{LoggedFact, Position};

use super::{
    Sender, edu,
    outbox::{Item, Relayed},
};

/// After a failure of the store, which usually ends the process.
const PAUSE: Duration = Duration::from_secs(1);
/// Users, and users in rooms, that are remembered. Forgetting costs some fetching of lists.
const REMEMBERED: usize = 100_000;

/// What is remembered of what was told.
#[derive(Default)]
pub(super) struct DeviceStreams {
    /// The newest change of each user's devices.
    newest: Mutex<HashMap<OwnedUserId, Position>>,
    /// Who was seen to join which room: a changed profile is a join too.
    joined: Mutex<HashSet<(OwnedUserId, OwnedRoomId)>>,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
    #[error(transparent)]
    Devices(#[from] ::devices::StoreError),
}

impl Sender {
    /// What must be sent because of a fact, if it is about devices.
    pub(super) async fn device_news(&self, logged: &LoggedFact) -> Option<Relayed> {
        let (edu, servers) = loop {
            match self.try_device_news(logged).await {
                Ok(news) => break news?,
                Err(error) => tracing::error!(%error, "whom to tell of devices cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let servers: Vec<_> = servers.into_iter().collect();
        let is_for_somebody = !servers.is_empty();
        is_for_somebody.then(|| {
            let (position, item) = (logged.position, Item::ToDevice(edu));
            Relayed { position, item, servers }
        })
    }

    async fn try_device_news(
        &self,
        logged: &LoggedFact,
    ) -> Result<Option<(Bytes, BTreeSet<OwnedServerName>)>, Problem> {
        let fact = &logged.fact;
        match fact.stream {
            DEVICE_LIST => {
                let (Some(user), Some(DeviceListFact { device_id, .. })) =
                    (self.local(&fact.subject), DeviceListFact::decode(&fact.payload))
                else {
                    return Ok(None);
                };
                let servers = self.sharing(&user).await?;
                let edu = self.device_list_update(&user, &device_id, logged.position).await?;
                Ok(Some((edu, servers)))
            }
            SIGNING_KEYS => {
                let is_public = SigningKeysFact::decode(&fact.payload)
                    .is_some_and(|SigningKeysFact { cross_signing }| cross_signing);
                let Some(user) = self.local(&fact.subject).filter(|_| is_public) else {
                    return Ok(None);
                };
                let servers = self.sharing(&user).await?;
                Ok(Some((self.signing_key_update(&user).await?, servers)))
            }
            stream::EVENT => {
                let membership = RoomEventFact::from_fact(fact).and_then(|fact| fact.membership);
                let Some((user, membership)) = membership else { return Ok(None) };
                let (Some(user), Ok(room)) =
                    (self.local(user.as_str()), RoomId::parse(&*fact.subject))
                else {
                    return Ok(None);
                };
                self.moved(user, room, membership).await
            }
            _ => Ok(None),
        }
    }

    fn local(&self, user: &str) -> Option<OwnedUserId> {
        let user = UserId::parse(user).ok()?;
        (user.server_name() == self.inner.rooms.server_name()).then_some(user)
    }

    /// Other servers in rooms of the user.
    async fn sharing(&self, user: &UserId) -> Result<BTreeSet<OwnedServerName>, Problem> {
        let rooms = &self.inner.rooms;
        let mut servers = BTreeSet::new();
        for room in rooms.joined_rooms(user).await? {
            if let Some(view) = rooms.room(&room).await? {
                servers.extend(view.servers.keys().cloned());
            }
        }
        servers.remove(rooms.server_name());
        Ok(servers)
    }

    /// Other servers in a room of the user that are in no other room of theirs. Most rooms have
    /// none that are not met elsewhere, so as few of the user's rooms are looked at as will tell.
    async fn met_in(
        &self,
        user: &UserId,
        room: &RoomId,
    ) -> Result<BTreeSet<OwnedServerName>, Problem> {
        let rooms = &self.inner.rooms;
        let view = rooms.room(room).await?.filter(|view| view.local_joined.contains(user));
        let Some(view) = view else { return Ok(BTreeSet::new()) };
        let mut met: BTreeSet<_> = view.servers.keys().cloned().collect();
        met.remove(rooms.server_name());
        if met.is_empty() {
            return Ok(met);
        }
        for other in rooms.joined_rooms(user).await?.into_iter().filter(|other| other != room) {
            if let Some(view) = rooms.room(&other).await? {
                met.retain(|server| !view.servers.contains_key(server));
            }
            if met.is_empty() {
                break;
            }
        }
        Ok(met)
    }

    async fn device_list_update(
        &self,
        user: &UserId,
        device_id: &DeviceId,
        position: Position,
    ) -> Result<Bytes, Problem> {
        let device = self.inner.devices.device_with_keys(user, device_id).await?;
        let previous = {
            let mut newest = self.inner.device_streams.newest.lock();
            if newest.len() >= REMEMBERED {
                newest.clear();
            }
            newest.insert(user.to_owned(), position)
        };
        let prev_id: Vec<Position> = previous.into_iter().filter(|id| *id < position).collect();
        let content = match device {
            Some(device) => update(user, device, position, &prev_id),
            None => json!({
                "user_id": user,
                "device_id": device_id,
                "stream_id": position,
                "prev_id": prev_id,
                "deleted": true,
            }),
        };
        Ok(edu("m.device_list_update", &content))
    }

    async fn signing_key_update(&self, user: &UserId) -> Result<Bytes, Problem> {
        let SigningKeys { master, self_signing, .. } =
            self.inner.devices.signing_keys(user).await?;
        let mut content = json!({ "user_id": user });
        for (name, key) in [("master_key", master), ("self_signing_key", self_signing)] {
            if let Some(key) = key {
                content[name] = json!(key);
            }
        }
        Ok(edu("m.signing_key_update", &content))
    }

    /// "When that user joins a room which contains servers which are not already receiving
    /// updates": an update that refers to none before, for them to fetch the list.
    async fn moved(
        &self,
        user: OwnedUserId,
        room: OwnedRoomId,
        membership: MembershipState,
    ) -> Result<Option<(Bytes, BTreeSet<OwnedServerName>)>, Problem> {
        let in_room = (user, room);
        let joined = &self.inner.device_streams.joined;
        if membership != MembershipState::Join {
            joined.lock().remove(&in_room);
            return Ok(None);
        }
        if joined.lock().contains(&in_room) {
            return Ok(None);
        }
        let (user, room) = &in_room;
        let news = self.met_in(user, room).await?;
        let mut edu_of_one = None;
        if !news.is_empty() {
            let list = self.inner.devices.device_list(user).await?;
            let device = list.devices.into_iter().find(|device| device.keys.is_some());
            let content = device.map(|device| update(user, device, list.stream_id, &[]));
            edu_of_one = content.map(|content| edu("m.device_list_update", &content));
        }
        {
            let mut joined = joined.lock();
            if joined.len() >= REMEMBERED {
                joined.clear();
            }
            joined.insert(in_room);
        }
        Ok(edu_of_one.map(|edu| (edu, news)))
    }
}

/// The content of an `m.device_list_update`.
fn update(
    user: &UserId,
    device: DeviceWithKeys,
    stream_id: Position,
    prev_id: &[Position],
) -> Value {
    let DeviceWithKeys { device_id, display_name, keys } = device;
    let mut content = json!({
        "user_id": user,
        "device_id": device_id,
        "stream_id": stream_id,
        "prev_id": prev_id,
        "deleted": false,
    });
    if let Some(name) = display_name {
        content["device_display_name"] = name.into();
    }
    if let Some(keys) = keys {
        content["keys"] = json!(keys);
    }
    content
}
