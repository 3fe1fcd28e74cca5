//! Devices of other servers' users: asked for, followed as long as a room is shared, and fetched
//! again where an update is missing.
//!
//! A user's whole list is fetched by one task at a time (`flights.rs`); who shares a room no longer
//! is forgotten (`follow.rs`).

mod flights;
mod follow;
mod pauses;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use devices::{
    Devices,
    keys::{
        ClaimedKeys, DeviceList, Failures, KeysAnswer, KeysClaim, KeysQuery, RemoteFuture,
        RemoteKeys, SignedJson, SigningKeys,
    },
};
use futures_util::{StreamExt as _, future::join_all, stream};
use rooms::{Rooms, ports::RemoteError};
use ruma::{CanonicalJsonValue, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId};
use stdx::Tasks;
use storage::Store;
use tokio::time::{Instant, timeout_at};

use self::{flights::Flights, pauses::Pauses};
use crate::{Client, Remote};

/// No user waits longer, whatever they ask for.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Users of one server whose lists are fetched while somebody waits; more are asked for in one
/// request, and their lists are fetched afterwards.
const FETCHED_AT_ONCE: usize = 10;

/// Servers that are asked at the same time for one user.
const SERVERS_AT_ONCE: usize = 64;
/// A request that ends in time is told of in time.
const GRACE: Duration = Duration::from_millis(500);

/// The devices of everybody else. Cheap to clone.
#[derive(Clone)]
pub struct DeviceLists {
    inner: Arc<Inner>,
}

/// What it is made of.
pub struct DeviceListsPieces {
    pub client: Client,
    pub store: Store,
    pub rooms: Rooms,
    pub devices: Devices,
    pub tasks: Tasks,
}

struct Inner {
    remote: Remote,
    rooms: Rooms,
    devices: Devices,
    tasks: Tasks,
    flights: Flights,
    pauses: Pauses,
}

impl DeviceLists {
    /// Spawns what forgets lists, and what fetches those that are outdated.
    pub fn new(pieces: DeviceListsPieces) -> Self {
        let DeviceListsPieces { client, store, rooms, devices, tasks } = pieces;
        let log = store.consume("federation device lists", store.log().position());
        let inner = Inner {
            remote: Remote::new(client),
            rooms,
            devices,
            tasks: tasks.clone(),
            flights: Flights::default(),
            pauses: Pauses::default(),
        };
        let lists = Self { inner: Arc::new(inner) };
        tasks.spawn_until_stopped("device lists, log", lists.clone().follow_log(log));
        tasks.spawn_until_stopped("device lists, outdated", lists.clone().fetch_outdated());
        lists
    }

    /// A server made contact: it is asked again at once.
    pub(crate) fn heard_from(&self, server: &ServerName) {
        self.inner.pauses.end(server);
    }

    /// Whether somebody here is in a room with the user, `except` one room.
    pub(crate) async fn shares_room(
        &self,
        user: &UserId,
        except: Option<&RoomId>,
    ) -> Result<bool, rooms::Error> {
        for room in self.inner.rooms.joined_rooms(user).await? {
            if except != Some(&*room)
                && let Some(view) = self.inner.rooms.room(&room).await?
                && !view.local_joined.is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks a server that is not known to be out of reach.
    async fn ask<T>(
        &self,
        server: &ServerName,
        question: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let pauses = &self.inner.pauses;
        if pauses.is_on(server) {
            let reason = "it did not answer a moment ago".to_owned();
            return Err(RemoteError::Unreachable { server: server.to_owned(), reason });
        }
        let answer = question.await;
        match &answer {
            Err(RemoteError::Unreachable { .. }) => pauses.failed(server),
            _ => pauses.end(server),
        }
        answer
    }

    /// The keys of one server's users, as far as they can be had, and why not all are there.
    async fn query_server(
        &self,
        server: &ServerName,
        mut query: KeysQuery,
        time: Duration,
    ) -> (KeysAnswer, Option<RemoteError>) {
        let mut followed = Vec::new();
        for user in query.keys() {
            match self.shares_room(user, None).await {
                Ok(true) => followed.push(user.clone()),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, %user, "whose devices to follow is unknown"),
            }
        }
        let (mut answer, mut problem) = (KeysAnswer::default(), None);
        if followed.len() <= FETCHED_AT_ONCE {
            let fetched = followed.iter().map(|user| self.fetch(user, time));
            for (user, fetched) in followed.iter().zip(join_all(fetched).await) {
                match fetched {
                    Ok(list) => add(&mut answer, &list),
                    Err(error @ RemoteError::Unreachable { .. }) => problem = Some(error),
                    // It may know the other way to ask only.
                    Err(_) => continue,
                }
                query.remove(user);
            }
        }
        if !query.is_empty() {
            let told = self.inner.remote.query_keys(server, &query, time);
            match self.ask(server, told).await {
                Ok(told) => extend(&mut answer, told),
                Err(error) => problem = Some(error),
            }
            if followed.len() > FETCHED_AT_ONCE {
                followed.iter().for_each(|user| self.fetch_later(user));
            }
        }
        (answer, problem)
    }
}

impl RemoteKeys for DeviceLists {
    fn query<'a>(
        &'a self,
        query: &'a KeysQuery,
        timeout: Duration,
    ) -> RemoteFuture<'a, KeysAnswer> {
        let time = timeout.min(TIME_MAX);
        let deadline = Instant::now() + time + GRACE;
        let ask = move |(server, query): (OwnedServerName, KeysQuery)| async move {
            let told = timeout_at(deadline, self.query_server(&server, query, time)).await;
            let late = |_| (KeysAnswer::default(), Some(late(&server)));
            let (told, problem) = told.unwrap_or_else(late);
            (server, told, problem)
        };
        let asked: Vec<_> = by_server(query).into_iter().map(ask).collect();
        Box::pin(async move {
            let mut told = stream::iter(asked).buffer_unordered(SERVERS_AT_ONCE);
            let mut answer = KeysAnswer::default();
            while let Some((server, told, problem)) = told.next().await {
                extend(&mut answer, told);
                answer.failures.extend(problem.map(|problem| (server, problem.to_string())));
            }
            answer
        })
    }

    fn claim<'a>(
        &'a self,
        claim: &'a KeysClaim,
        timeout: Duration,
    ) -> RemoteFuture<'a, (ClaimedKeys, Failures)> {
        let time = timeout.min(TIME_MAX);
        let deadline = Instant::now() + time + GRACE;
        let ask = move |(server, claim): (OwnedServerName, KeysClaim)| async move {
            let told = self.ask(&server, self.inner.remote.claim_keys(&server, &claim, time));
            let told = timeout_at(deadline, told).await;
            let told = told.unwrap_or_else(|_| Err(late(&server)));
            (server, told)
        };
        let asked: Vec<_> = by_server(claim).into_iter().map(ask).collect();
        Box::pin(async move {
            let mut told = stream::iter(asked).buffer_unordered(SERVERS_AT_ONCE);
            let (mut claimed, mut failures) = (ClaimedKeys::new(), Failures::new());
            while let Some((server, told)) = told.next().await {
                match told {
                    Ok(keys) => claimed.extend(keys),
                    Err(error) => drop(failures.insert(server, error.to_string())),
                }
            }
            (claimed, failures)
        })
    }
}

fn late(server: &ServerName) -> RemoteError {
    let reason = "no answer in time".to_owned();
    RemoteError::Unreachable { server: server.to_owned(), reason }
}

fn by_server<T: Clone>(
    asked: &BTreeMap<OwnedUserId, T>,
) -> BTreeMap<OwnedServerName, BTreeMap<OwnedUserId, T>> {
    let mut by_server: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (user, what) in asked {
        let of_server = by_server.entry(user.server_name().to_owned()).or_default();
        of_server.insert(user.clone(), what.clone());
    }
    by_server
}

fn extend(answer: &mut KeysAnswer, told: KeysAnswer) {
    answer.device_keys.extend(told.device_keys);
    answer.master_keys.extend(told.master_keys);
    answer.self_signing_keys.extend(told.self_signing_keys);
}

/// A whole list as an answer to a query.
fn add(answer: &mut KeysAnswer, list: &DeviceList) {
    let devices = list.devices.iter().filter_map(|device| {
        let mut keys = device.keys.clone()?;
        let mut unsigned = SignedJson::new();
        if let Some(name) = &device.display_name {
            let name = CanonicalJsonValue::String(name.clone());
            unsigned.insert("device_display_name".to_owned(), name);
        }
        keys.insert("unsigned".to_owned(), CanonicalJsonValue::Object(unsigned));
        Some((device.device_id.clone(), keys))
    });
    let user = &list.user_id;
    answer.device_keys.insert(user.clone(), devices.collect());
    let SigningKeys { master, self_signing, .. } = list.signing_keys.clone();
    answer.master_keys.extend(master.map(|key| (user.clone(), key)));
    answer.self_signing_keys.extend(self_signing.map(|key| (user.clone(), key)));
}
